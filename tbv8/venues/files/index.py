"""An index of the user's files: the sha256 and the span of each, cached in `data/.files.json`.

The cache is keyed by size, inode and times of change, so a start of doit costs one `stat` per file,
and an unchanged file is not scanned again. It may be deleted: the next scan rebuilds it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from glob import escape, has_magic
from pathlib import Path

import msgspec

from tbv8.errors import DataError
from tbv8.market import Span
from tbv8.venues.base import FilesOrigin

CACHE_PATH = Path("data/.files.json")
"""The path of the cache, below the project's folder."""

_CLOCK_TICK_NS = 20_000_000  # two writes within a tick of the file system's clock look the same
_SPELLINGS = ("{}{}", "{}_{}", "{}-{}")


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a scanned file.

    Args:
        mark: The state of the file on disk when it was scanned (see `disk_state`).
        sha256: The digest of the file; "" if it cannot be used.
        start_ms: The open of its first bar. A file that can no longer be used keeps the span of
            its last usable state; 0 if it never had one.
        end_ms: The end of its last bar, likewise.
        problem: The reason why it cannot be used, to follow the file's name; "" for none.
        zone: The configured time zone at the scan.
    """

    mark: tuple[int, int, int, int]
    sha256: str = ""
    start_ms: int = 0
    end_ms: int = 0
    problem: str = ""
    zone: str = ""

    @property
    def span(self) -> Span:
        """The span from its first bar to the end of its last one."""
        return Span(self.start_ms, self.end_ms)


class FileIndex:
    """The index of one venue's files.

    Args:
        origin: The settings from the venue's YAML.
    """

    def __init__(self, origin: FilesOrigin) -> None:
        self._origin = origin
        self._natives = {native or symbol: symbol for symbol, native in origin.symbols.items()}
        self._cache_path = origin.root / CACHE_PATH
        self.zone = origin.zone

    def paths(self, native: str) -> list[Path]:
        """Return the paths of a symbol's files, sorted.

        Raises:
            DataError: There is no file, or files match several spellings of the symbol.
        """
        patterns = list(self._patterns(native))
        files_by_pattern = {
            pattern: files for pattern in patterns if (files := self._files(pattern))
        }
        if not files_by_pattern:
            tried = " or ".join(repr(pattern) for pattern in patterns)
            raise DataError(
                f"{self._natives.get(native, native)}: there is no file {tried}: put it there, or "
                "correct `path` in the venue's file in config/venues"
            )
        if len(files_by_pattern) > 1:
            raise DataError(
                f"{self._natives.get(native, native)}: there are files of two spellings, "
                f"{' and '.join(map(repr, files_by_pattern))}: remove one, or write `symbols` as a "
                "mapping to the right one"
            )
        return next(iter(files_by_pattern.values()))

    def facts(self, natives: Iterable[str]) -> dict[Path, Facts]:
        """Return the facts of all files of some symbols, after a scan of those that changed.

        Raises:
            DataError: A symbol has no file.
        """
        paths = [path for native in natives for path in self.paths(native)]
        before = self._read_cache()
        marks = {path: disk_state(path) for path in paths}
        facts_by_path = {
            path: facts
            for path in paths
            if (facts := before.get(str(path))) is not None
            and (facts.mark, facts.zone) == (marks[path], self.zone)
        }
        if changed := [path for path in paths if path not in facts_by_path]:
            scanned = {
                path: _with_known_span(facts, before.get(str(path)))
                for path, facts in _scan(changed, self.zone).items()
            }
            facts_by_path |= {path: facts for path, facts in scanned.items() if facts is not None}
            self._write_cache(before, scanned)
        return {path: facts_by_path[path] for path in paths}

    def by_source(self, native: str) -> dict[str, Span]:
        """Return the spans of a symbol's files, by the files' names in the ledger.

        Raises:
            DataError: The symbol has no file, or one of its files cannot be used.
        """
        facts_by_path = self.facts([native])
        for path, facts in facts_by_path.items():
            if facts.problem:
                raise DataError(f"{self.name(path)}{facts.problem}")
        return {
            self.source(path, facts.sha256): facts.span for path, facts in facts_by_path.items()
        }

    def span(self, now_ms: int) -> Span:
        """Return the span from the first bar of all symbols to the end of the last one.

        Without any usable file it is all time until `now_ms`, so that a backfill begins and reports
        why.
        """
        return self._span or Span(0, now_ms)

    @cached_property
    def _span(self) -> Span | None:
        spans = []
        with suppress(DataError):
            facts = self.facts(self._natives)
            spans = [file.span for file in facts.values() if file.end_ms]
        if not spans:
            return None
        return Span(min(span.start_ms for span in spans), max(span.end_ms for span in spans))

    def name(self, path: Path) -> str:
        """Return the name of a file: its path, relative to the project's folder if below it."""
        return (path.relative_to(self._origin.root) if self._is_below(path) else path).as_posix()

    def source(self, path: Path, sha256: str) -> str:
        """Return the ledger's name of a file."""
        return file_source(self.name(path), sha256, zone=self.zone)

    def _is_below(self, path: Path) -> bool:
        return path.is_relative_to(self._origin.root)

    def _patterns(self, native: str) -> Iterator[str]:
        symbol = self._natives.get(native, native)
        base, _, quote = symbol.partition("/")
        spellings = [form.format(base, quote) for form in _SPELLINGS]
        path = str(Path(self._origin.path).expanduser())
        magic = escape if has_magic(path) else str
        for name in spellings if native == symbol else [native]:
            words = {"symbol": name, "base": base, "quote": quote}
            pattern = path
            for word, value in words.items():
                pattern = pattern.replace(f"{{{word}}}", magic(value))
            yield pattern
            if "{symbol}" not in path:
                return

    def _files(self, pattern: str) -> list[Path]:
        root, path_pattern = self._origin.root, Path(pattern)
        if not has_magic(pattern):
            matches = [root / path_pattern]
        elif path_pattern.is_absolute():
            matches = list(
                Path(path_pattern.anchor).glob(str(path_pattern.relative_to(path_pattern.anchor)))
            )
        else:
            matches = list(root.glob(pattern))
        return sorted(path for path in matches if path.is_file())

    def _read_cache(self) -> dict[str, Facts]:
        with suppress(OSError, msgspec.DecodeError):
            return msgspec.json.decode(self._cache_path.read_bytes(), type=dict[str, Facts])
        return {}

    def _write_cache(self, before: Mapping[str, Facts], scanned: Mapping[Path, Facts]) -> None:
        settled_ns = time.time_ns() - _CLOCK_TICK_NS
        entries = {path: facts for path, facts in before.items() if Path(path).exists()}
        entries |= {
            str(path): facts for path, facts in scanned.items() if max(facts.mark[:2]) < settled_ns
        }
        temporary = self._cache_path.with_name(f"{self._cache_path.name}.{os.getpid()}")
        with suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(entries))
            temporary.replace(self._cache_path)


def file_source(name: str, sha256: str, *, zone: str = "") -> str:
    """Return the ledger's name of a file: `<name> sha256:<hex>`, as for a venue's archive files."""
    read_in = f" in {zone}" if zone else ""
    return f"{name.replace(';', '%3B')}{read_in} sha256:{sha256}"


def disk_state(path: Path) -> tuple[int, int, int, int]:
    """Return the state of a file on disk: times of change, size and inode."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino


def _with_known_span(facts: Facts, before: Facts | None) -> Facts:
    """Return facts; for a file that can no longer be used, with the span of the earlier facts."""
    if not facts.problem or before is None:
        return facts
    return msgspec.structs.replace(facts, start_ms=before.start_ms, end_ms=before.end_ms)


def _scan(paths: Sequence[Path], zone: str) -> dict[Path, Facts]:
    """Return the facts of files, read by another process: pyarrow must not be loaded before a fork.

    Raises:
        DataError: That process failed.
    """
    process = subprocess.run(
        [sys.executable, "-m", "tbv8.venues.files.scan", zone],
        input=msgspec.json.encode([str(path) for path in paths]),
        cwd=Path(__file__).parents[3],
        capture_output=True,
        check=False,
    )
    if process.returncode:
        reason = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise DataError(
            f"{paths[0]}: its scan failed with exit code {process.returncode}: {reason}"
        )
    facts = msgspec.json.decode(process.stdout, type=list[Facts])
    return dict(zip(paths, facts, strict=True))
