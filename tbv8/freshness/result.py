"""Freshness of a result: its config, bars, code, versions and files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec

from tbv8.config.document import plain
from tbv8.config.records import Strategy
from tbv8.config.source import (
    digest_file,
    digest_source,
    foreign_imports,
    source_name,
    strategy_sources,
)
from tbv8.freshness.data import edit_problems
from tbv8.freshness.reasons import FUNDING_PREFIX, changes
from tbv8.freshness.state import Part, State
from tbv8.manifest import (
    ADDRESS_PART,
    FILES_PART,
    PAGE,
    PAGE_PART,
    PLOTLY_BESIDE,
    Input,
    Manifest,
    damage,
    make_input,
    read_manifest,
)
from tbv8.market import ONE_MINUTE, Series, Timeframe, iso
from tbv8.page.plotly import PLOTLY_FILE, has_plotly
from tbv8.store.database import Query, open_reader
from tbv8.store.funding import describe_stretches, funding_fingerprint, read_stretches
from tbv8.store.ledger import fingerprint, read_stored_days

PACKAGE = Path(__file__).parent.parent
"""The folder of tbv8 itself."""

_DRAWING = ("page", "results/tearsheet", "results/read.py")
_EDITED = "edited by hand"  # in place of the digest of edited bars


def backtest_state(db_path: Path, strategy: Strategy, *, results_path: Path) -> State:
    """Compare a result's manifest with the present inputs, and check its files."""
    span = strategy.bars_span
    with open_reader(db_path) as query:
        current = backtest_inputs(query, strategy, results_path=results_path)
        edit_reasons = {
            name: tuple(edit_problems(read_stored_days(query, series, ONE_MINUTE, span), series))
            for series, timeframe in strategy.reads
            if timeframe == ONE_MINUTE  # edited bars of others are a reason of their aggregate task
            and current[name := _bars(series, timeframe)].digest == _EDITED
        }
    folder = results_path / strategy.strategy_id
    manifest = read_manifest(folder)
    if manifest is None:
        damaged = (folder / "manifest.json").exists()
        reason = "manifest.json is damaged" if damaged else "no result yet"
        return State((reason, *chain.from_iterable(edit_reasons.values())), to_parts(current, {}))
    current[FILES_PART] = opened_files(strategy, manifest)
    reasons: list[str] = []
    consequences: list[str] = []  # other bars, since the config or the span changed
    is_other_span = manifest.inputs.get("span", Input("", None)).digest != current["span"].digest
    for name, part in current.items():
        recorded = manifest.inputs.get(name, Input("", None))
        if recorded.digest != part.digest:
            part_reasons = edit_reasons.get(name) or changes(name, recorded.value, part.value)
            is_bars = name.startswith("bars:")
            is_other = (is_bars and recorded.value != part.value) or (
                is_other_span and (is_bars or name.startswith(FUNDING_PREFIX))
            )
            found = consequences if is_other and name not in edit_reasons else reasons
            found.extend(part_reasons or [f"{name} changed"])
    reasons = reasons or consequences
    reasons.extend(damage(folder, manifest.outputs))
    return State(tuple(reasons), to_parts(current, manifest.inputs))


def needs_only_drawing(
    folder: Path, inputs: Mapping[str, Input], *, strategy: Strategy
) -> Manifest | None:
    """Return the manifest of a result if only its page is stale; None for any other.

    Args:
        folder: The result's folder.
        inputs: Every part of its present key.
        strategy: The strategy.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    current = {**inputs, FILES_PART: opened_files(strategy, manifest)}
    is_unchanged = all(
        manifest.inputs.get(name, Input("", None)).digest == part.digest
        for name, part in current.items()
        if name != PAGE_PART
    )
    data_files = dict(manifest.outputs)
    page = {PAGE: data_files.pop(PAGE, "")}
    redraws = manifest.inputs.get(PAGE_PART) != inputs[PAGE_PART] or any(damage(folder, page))
    is_redrawable = is_unchanged and redraws and not any(damage(folder, data_files))
    return manifest if is_redrawable else None


def static_state(strategy: Strategy, *, results_path: Path) -> State:
    """Compare a result's config, code and versions with the present ones, but not its data."""
    manifest = read_manifest(results_path / strategy.strategy_id) or Manifest({}, {})
    current = static_inputs(strategy)
    parts = to_parts(
        current, {name: manifest.inputs[name] for name in current if name in manifest.inputs}
    )
    changed = tuple(f"{part.name} changed" for part in parts if part.current != part.recorded)
    return State(changed, parts)


def backtest_inputs(
    query: Query, strategy: Strategy, *, results_path: Path | None = None
) -> dict[str, Input]:
    """Return every part of a result's present key.

    `results_path` is the folder of all results; its plotly.min.js may be shared by the page.
    """
    run = strategy.bars_span
    start_ms = strategy.span.start_ms if strategy.warm_up_ms else run.start_ms
    span: dict[str, Any] = {"start": iso(start_ms), "end": iso(run.end_ms)}
    if strategy.not_in_history:
        span["not_in_history"] = [str(part) for part in strategy.not_in_history]
    return {
        **static_inputs(strategy),
        "span": make_input(span),
        **_fingerprints(query, strategy),
        **_charged(query, strategy),
        PAGE_PART: _page_input(is_plotly_beside=has_plotly(results_path)),
    }


def opened_files(strategy: Strategy, manifest: Manifest) -> Input:
    """Return the present digests of the files that the strategy opened during the run."""
    recorded = manifest.inputs.get(FILES_PART, Input("", None)).value
    paths = recorded if isinstance(recorded, dict) else {}
    return make_input({str(path): digest_file(strategy.root / str(path)) for path in paths})


def _fingerprints(query: Query, strategy: Strategy) -> dict[str, Input]:
    """Return the key's part for each series and timeframe that the strategy reads."""
    inputs = {}
    for series, timeframe in strategy.reads:
        span = timeframe.whole(strategy.bars_span)
        days = read_stored_days(query, series, timeframe, span)
        value = {"venue": series.venue, "symbol": series.symbol, "timeframe": timeframe.text}
        digest = fingerprint(query, series, days, span)
        inputs[_bars(series, timeframe)] = Input(digest or _EDITED, value)
    return inputs


def _charged(query: Query, strategy: Strategy) -> dict[str, Input]:
    """Return the key's part for the charged funding of each symbol at each venue."""
    inputs = {}
    for venue, symbol in strategy.funding_of:
        venues = strategy.funding_venues(venue)
        stretches = read_stretches(query, symbol, venues, strategy.bars_span)
        digest = funding_fingerprint(query, symbol, stretches)
        value = {"venue": venue, "symbol": symbol, "rates": describe_stretches(stretches)}
        inputs[f"{FUNDING_PREFIX}{venue}:{symbol}"] = Input(digest or _EDITED, value)
    return inputs


def _bars(series: Series, timeframe: Timeframe) -> str:
    """Return the name of the key's part for some bars."""
    return f"bars:{series.symbol}:{timeframe}"


def static_inputs(strategy: Strategy) -> dict[str, Input]:
    """Return the parts of a result's key that do not depend on data."""
    engine_files = code_files("market.py", "risk", "trading", "results", "backtest")
    return _key(strategy, engine_files - code_files(*_DRAWING), "nautilus_trader", "numpy")


def session_inputs(strategy: Strategy, addresses: Mapping[str, Sequence[str]]) -> dict[str, Input]:
    """Return the parts of a paper session's key: all inputs but its minutes.

    Args:
        strategy: The strategy.
        addresses: By venue, the addresses of its live data that are not the venue's own.
    """
    live = ("live/driver.py", "live/minutes.py")
    engine_files = code_files("market.py", "risk", "trading", *live)
    lists = {venue: list(urls) for venue, urls in addresses.items()}  # as the journal has them
    other = {ADDRESS_PART: make_input(lists)} if lists else {}
    return {**_key(strategy, engine_files, "nautilus_trader", "numpy"), **other}


def _key(strategy: Strategy, engine_files: Iterable[Path], *packages: str) -> dict[str, Input]:
    """Return the parts of a key: a strategy's config and code, its engine, and their versions."""
    sources, root = strategy_sources(strategy.module, root=strategy.root)
    versions = {"python": sys.version.split()[0], **package_versions(*packages)}
    return {
        "config": make_input(_strategy_config(strategy)),
        "strategy": make_input(source_digests(sources, root)),
        "engine": make_input(source_digests(engine_files, PACKAGE.parent)),
        "versions": make_input(versions | _foreign_versions(sources)),
    }


def _page_input(*, is_plotly_beside: bool) -> Input:
    """Return the part of a result's key that affects only its page."""
    shared = {PLOTLY_FILE: PLOTLY_BESIDE} if is_plotly_beside else {}
    drawn_by = source_digests(code_files(*_DRAWING), PACKAGE.parent)
    return make_input(drawn_by | package_versions("plotly") | shared)


def code_files(*names: str) -> set[Path]:
    """Return the named modules of tbv8, and all modules of the named folders."""
    places = [PACKAGE / name for name in names]
    files = {path for path in places if path.is_file()}
    return files.union(*(path.rglob("*.py") for path in places))


def to_parts(current: Mapping[str, Input], recorded: Mapping[str, Input]) -> tuple[Part, ...]:
    """Return every part of a key with its present and its recorded digest."""

    def digest(inputs: Mapping[str, Input], name: str) -> str | None:
        return inputs[name].digest if name in inputs else None

    names = dict.fromkeys([*current, *recorded])
    return tuple(Part(name, digest(current, name), digest(recorded, name)) for name in names)


def _strategy_config(strategy: Strategy) -> dict[str, Any]:
    fields = msgspec.to_builtins(strategy, builtin_types=(Decimal,), enc_hook=str)
    return {
        key: plain(fields[key])
        for key in sorted(fields.keys() - {"path", "root", "span", "not_in_history"})
    }


def source_digests(paths: Iterable[Path], root: Path) -> dict[str, str]:
    """Return the digest of each source by its path from `root`, or from the parent of tbv8.

    The order is that of these relative paths, so that it is the same on every machine.
    """
    names = {source_name(path, root): path for path in paths}
    return {name: digest_source(names[name]) for name in sorted(names)}


@lru_cache
def package_versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of packages."""
    return {name: version(name) for name in packages}


def _foreign_versions(paths: Iterable[Path]) -> dict[str, str]:
    """Return the versions of other packages that the sources import."""
    return {
        package: version(package)
        for name in sorted(foreign_imports(paths) - {"tbv8", "nautilus_trader", "numpy"})
        for package in _packages(name)
    }


@lru_cache
def _packages(name: str) -> tuple[str, ...]:
    """Return the packages that provide a module: usually one, of the same name."""
    try:
        version(name)
    except PackageNotFoundError:
        return tuple(sorted({*packages_distributions().get(name, ())}))
    return (name,)
