"""Run the tests against deliberate mistakes: `uv run tests/mutants.py [NAME...]`.

A mutant is one wrong line in the place of a right one, and the rule that it breaks. Each file in
tests/mutants/ holds those of one subject, as TOML (literal strings need no escapes in code):

    [[module]]
    file = "tbv8/recorder/outbox.py"
    tests = ["tests/recorder/test_outbox.py"]       # files or single tests; keep them fast

    [module.mutants.half-free]                      # its name, unique over all subjects
    rule = "a full buffer takes rows again once half of it is free"
    old = "self._limit // 2 if self._full"          # occurs exactly once in `file`
    new = "self._limit if self._full"

A mutant may name `tests` of its own. One that no test can catch has `equivalent = "why"` and is not
run. NAME is a subject, a module's path or a mutant; without one all run. Each mutant gets a copy of
the tree in a temporary folder; the working tree is only read.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[1]
TABLES = ROOT / "tests" / "mutants"
MIN_CAUGHT = 0.95
TEST_TIMEOUT_S = 60
"""A test that hangs because of a mutant has caught it."""

type Outcome = Literal["caught", "SURVIVED", "NOT RUN"]

_OUTCOMES: dict[int, Outcome] = {0: "SURVIVED", 1: "caught"}
"""By pytest's exit code. With any other the tests did not run, as when an import fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A mistake to make in one file, and the tests that should fail because of it."""

    subject: str
    name: str
    file: str
    rule: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str | None = None

    def mutate(self, source: str) -> str:
        """Return `source` with the mistake.

        Raises:
            ValueError: The old text does not occur exactly once.
        """
        if (count := source.count(self.old)) != 1:
            raise ValueError(f"{self.name}: {self.old!r} occurs {count} times in {self.file}")
        return source.replace(self.old, self.new)


def load_mutants(tables: Path = TABLES) -> list[Mutant]:
    """Load the mutants of all subjects, in the order of the files."""
    return [
        Mutant(
            subject=table.stem,
            name=name,
            file=module["file"],
            tests=tuple(fields.pop("tests", module["tests"])),
            **fields,
        )
        for table in sorted(tables.glob("*.toml"))
        for module in tomllib.loads(table.read_text())["module"]
        for name, fields in module["mutants"].items()
    ]


def select(mutants: Sequence[Mutant], names: Sequence[str]) -> list[Mutant]:
    """Return the mutants that `names` mean, or all without names.

    Raises:
        ValueError: A name means none.
    """
    known = {word for mutant in mutants for word in _names(mutant)}
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"no subject, module or mutant is named {unknown[0]!r}")
    return [mutant for mutant in mutants if not names or not _names(mutant).isdisjoint(names)]


def _names(mutant: Mutant) -> set[str]:
    return {mutant.subject, mutant.file, mutant.name}


def run(mutants: Sequence[Mutant], *, root: Path = ROOT, jobs: int = 2) -> Iterator[Outcome]:
    """Yield what becomes of each mutant, in order.

    Raises:
        ValueError: The tests fail without a mutant too.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        clean = Path(folder) / "clean"
        _copy_tree(root, clean)
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        if (ended := _pytest(clean, tests)).returncode != 0:
            raise ValueError(f"the tests must pass without a mutant first:\n{ended.stdout}")
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(lambda mutant: _outcome(mutant, clean), mutants)


def _copy_tree(root: Path, target: Path) -> None:
    """Copy what belongs to the project, committed or not; no results, no environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    ).stdout.split("\0")
    for name in listed:
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)


def _outcome(mutant: Mutant, clean: Path) -> Outcome:
    with tempfile.TemporaryDirectory(prefix=f"{mutant.name}-", dir=clean.parent) as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(clean, tree)
        file = tree / mutant.file
        # Python takes a compiled file for fresh by time in seconds and size: both may be equal.
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        file.write_text(mutant.mutate(file.read_text()))
        return _OUTCOMES.get(_pytest(tree, mutant.tests).returncode, "NOT RUN")


def _pytest(tree: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    options = ["-n", "0", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={TEST_TIMEOUT_S}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=tree,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def report(mutants: Sequence[Mutant], outcomes: Iterable[Outcome]) -> bool:
    """Print each mutant as its outcome comes; return whether enough were caught."""
    caught = 0
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        caught += outcome == "caught"
        print(f"{outcome:8}  {mutant.name}: {mutant.rule}", flush=True)
    share = caught / len(mutants) if mutants else 1.0
    print(f"{caught} of {len(mutants)} caught: {share:.1%}")
    return share >= MIN_CAUGHT


def main() -> int:
    """Run the mutants that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="subject, module or mutant")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    options = parser.parse_args()
    began_s = time.monotonic()
    try:
        chosen = select(load_mutants(), options.names)
        runnable = [mutant for mutant in chosen if mutant.equivalent is None]
        enough = report(runnable, run(runnable, jobs=options.jobs))
    except ValueError as e:
        print(e, file=sys.stderr)
        return 2
    for mutant in chosen:
        if mutant.equivalent is not None:
            print(f"equal     {mutant.name}: {mutant.equivalent}")
    print(f"{time.monotonic() - began_s:.0f} s")
    return 0 if enough else 1


if __name__ == "__main__":
    sys.exit(main())
