"""Is a result what its config, bars, code and versions would give now, and are its files whole?"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from tbv8.config.document import plain
from tbv8.config.records import Strategy
from tbv8.config.source import digest_source, foreign_imports, project_imports
from tbv8.freshness.data import refusals
from tbv8.freshness.state import Part, State
from tbv8.market import ONE_MINUTE, Series, Timeframe, iso
from tbv8.store.database import Query, open_reader
from tbv8.store.ledger import fingerprint, read_held_days

_PACKAGE = Path(__file__).parent.parent
_EDITED = "edited by hand"  # in place of a digest that is not known


class Input(msgspec.Struct, frozen=True):
    """One part of a result's key, as the manifest keeps it."""

    digest: str
    value: Any


class Manifest(msgspec.Struct, frozen=True):
    """What a result was made of, and the sha256 of each of its other files."""

    inputs: dict[str, Input]
    outputs: dict[str, str]


def backtest_state(db_path: Path, strategy: Strategy, *, results_path: Path) -> State:
    """Tell whether a result's manifest has today's inputs and its files are whole."""
    span = strategy.bars_span
    with open_reader(db_path) as query:
        current = backtest_inputs(query, strategy)
        refused = {
            name: tuple(refusals(read_held_days(query, series, ONE_MINUTE, span), series))
            for series, timeframe in strategy.reads
            if timeframe == ONE_MINUTE  # of built bars their aggregation tells
            and current[name := _bars(series, timeframe)].digest == _EDITED
        }
    folder = results_path / strategy.strategy_id
    manifest = read_manifest(folder)
    if manifest is None:
        damaged = (folder / "manifest.json").exists()
        why = "manifest.json is damaged" if damaged else "there is no result yet"
        return State((why, *chain.from_iterable(refused.values())), _parts(current, {}))
    reasons: list[str] = []
    for name, part in current.items():
        recorded = manifest.inputs.get(name, Input("", None))
        if recorded.digest != part.digest:
            changes = refused.get(name) or _changes(name, recorded.value, part.value)
            reasons.extend(changes or [f"{name} changed"])
    reasons.extend(_damage(folder, manifest.outputs))
    return State(tuple(reasons), _parts(current, manifest.inputs))


def static_state(strategy: Strategy, *, results_path: Path) -> State:
    """Tell whether a result was made with today's config, code and versions, whatever the data."""
    manifest = read_manifest(results_path / strategy.strategy_id) or Manifest({}, {})
    current = static_inputs(strategy)
    parts = _parts(
        current, {name: manifest.inputs[name] for name in current if name in manifest.inputs}
    )
    changed = tuple(f"{part.name} changed" for part in parts if part.current != part.recorded)
    return State(changed, parts)


def backtest_inputs(query: Query, strategy: Strategy) -> dict[str, Input]:
    """Return every part of a result's key, as it is now."""
    run = strategy.bars_span
    start_ms = strategy.span.start_ms if strategy.warm_up_ms else run.start_ms
    span = {"start": iso(start_ms), "end": iso(run.end_ms)}
    return {**static_inputs(strategy), "span": _input(span), **_fingerprints(query, strategy)}


def _fingerprints(query: Query, strategy: Strategy) -> dict[str, Input]:
    """Return the part of each series and timeframe that the strategy reads."""
    found = {}
    for series, timeframe in strategy.reads:
        span = timeframe.whole(strategy.bars_span)
        days = read_held_days(query, series, timeframe, span)
        value = {"venue": series.venue, "symbol": series.symbol, "timeframe": timeframe.text}
        digest = fingerprint(query, series, days, span)
        found[_bars(series, timeframe)] = Input(digest or _EDITED, value)
    return found


def _bars(series: Series, timeframe: Timeframe) -> str:
    """Return the name of the part of a result's key that stands for some bars."""
    return f"bars:{series.symbol}:{timeframe}"


def static_inputs(strategy: Strategy) -> dict[str, Input]:
    """Return the parts of a result's key that no data decides."""
    root = _PACKAGE.parent
    ran_by = [
        path
        for name in ("trading", "results", "backtest", "page")
        for path in (_PACKAGE / name).rglob("*.py")
    ]
    ran_by += [_PACKAGE / "market.py"]
    ran_by += [path for path in [_PACKAGE / "risk.py"] if path.exists()]
    read = project_imports([strategy.module_path], root=root)
    return {
        "config": _input(_strategy_config(strategy)),
        "strategy": _input(_sources(read, root)),
        "engine": _input(_sources(ran_by, root)),
        "versions": _input(_versions() | _foreign_versions(read)),
    }


def read_manifest(folder: Path) -> Manifest | None:
    """Return a result's manifest; None when there is none, or it is not one."""
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return None


def _parts(current: Mapping[str, Input], recorded: Mapping[str, Input]) -> tuple[Part, ...]:
    def digest(inputs: Mapping[str, Input], name: str) -> str | None:
        return inputs[name].digest if name in inputs else None

    names = dict.fromkeys([*current, *recorded])
    return tuple(Part(name, digest(current, name), digest(recorded, name)) for name in names)


def _strategy_config(strategy: Strategy) -> dict[str, Any]:
    fields = msgspec.to_builtins(strategy, builtin_types=(Decimal,), enc_hook=str)
    return {key: plain(fields[key]) for key in sorted(fields.keys() - {"path", "root", "span"})}


def _sources(paths: Iterable[Path], root: Path) -> dict[str, str]:
    return {path.relative_to(root).as_posix(): digest_source(path) for path in sorted(paths)}


@lru_cache
def _versions() -> dict[str, str]:
    packages = ("nautilus_trader", "numpy", "plotly")
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def _foreign_versions(paths: Iterable[Path]) -> dict[str, str]:
    """Return the versions of the packages, beside those of every key, that sources import."""
    return {
        package: version(package)
        for name in sorted(foreign_imports(paths) - {"tbv8", "nautilus_trader", "numpy"})
        for package in _packages(name)
    }


@lru_cache
def _packages(name: str) -> tuple[str, ...]:
    """Return the packages that bring a module: mostly one, of the same name."""
    try:
        version(name)
    except PackageNotFoundError:
        return tuple(sorted({*packages_distributions().get(name, ())}))
    return (name,)


def _input(value: Any) -> Input:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return Input(hashlib.sha256(text.encode()).hexdigest(), value)


def _changes(part: str, before: Any, now: Any) -> list[str]:
    """Say which keys of a part differ; nothing where only their types do (1 and true)."""
    if part.startswith("bars:"):
        return [f"the {now['timeframe']} bars of {now['symbol']} in its span changed"]
    old, new = dict(_flat(before)), dict(_flat(now))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    if part in ("strategy", "engine"):
        return [f"{key} changed" for key in keys]
    return [f"{key}: {old.get(key)} became {new.get(key)}" for key in keys]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value


def _damage(folder: Path, outputs: Mapping[str, str]) -> Iterator[str]:
    for name, digest in outputs.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is gone"
            continue
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                yield f"{name} was changed"
