"""Strategies from `config/strategies/`, checked against the venues and their history."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.config.document import (
    Document,
    Key,
    nearest,
    read_document,
    to_record,
    type_problem,
    unknown,
    unknown_key,
)
from tbv8.config.files import Instrument, Routing, StrategyFile
from tbv8.config.folder import check_name, load_files
from tbv8.config.records import Funding, Risk, Strategy, Venue, length_key
from tbv8.config.source import (
    INJECTED,
    STRATEGIES,
    classes,
    config_params,
    injected_params,
    module_path,
    param_types,
    strategy_modules,
    strategy_sources,
    untracked_imports,
)
from tbv8.config.spans import (
    LoadInputs,
    ResolvedSpan,
    resolve_span,
    to_warm_up_ms,
    with_options,
)
from tbv8.config.values import check_amount, to_timeframe
from tbv8.config.venues import QUOTES, check_rate, check_symbol, warn_of_percent
from tbv8.errors import ConfigError, OptionsError
from tbv8.market import ONE_MINUTE, Series, Span, Timeframe
from tbv8.venues.registry import find_venue


def load_strategies(
    inputs: LoadInputs,
) -> tuple[dict[str, Strategy], dict[str, Strategy], dict[str, ConfigError]]:
    """Return the valid strategies, those valid for paper alone, and the errors; each by id."""
    cure = "config/strategies/btc_usdt_perp_v1.yaml, the README shows one"
    loaded, errors = load_files(
        inputs.root, "strategies", "strategy", cure, partial(_load_strategy, inputs)
    )
    paper_only = {name: loaded.pop(name) for name in inputs.without_history if name in loaded}
    errors |= {name: inputs.without_history[name] for name in paper_only}
    return loaded, paper_only, dict(sorted(errors.items()))


def _load_strategy(inputs: LoadInputs, document: Document) -> Strategy:
    raw = to_record(document, StrategyFile)
    strategy_id = check_name(document, "strategy_id", raw.strategy_id)
    symbols = _strategy_symbols(document, raw)
    try:
        history = with_options(inputs, lambda i: _strategy_history(i, document, raw, symbols))
    except ConfigError as e:  # a paper session reads the bars of its own venue
        with nullcontext() if isinstance(e, OptionsError) else suppress(ConfigError):
            no_history = ResolvedSpan(raw.routing.primary, Span(0, 0))
            strategy = _make_strategy(inputs, document, raw, symbols, no_history)
            inputs.without_history[strategy_id] = e
            return strategy
        raise
    return _make_strategy(inputs, document, raw, symbols, history)


def _make_strategy(
    inputs: LoadInputs,
    document: Document,
    raw: StrategyFile,
    symbols: tuple[str, ...],
    history: ResolvedSpan,
) -> Strategy:
    """Return the strategy of a file, with its resolved span."""
    timeframe = to_timeframe(document, ("timeframe",), raw.timeframe)
    check_amount(document, ("backtest", "starting_balance_usd"), raw.backtest.starting_balance_usd)
    if raw.backtest.slippage_ticks < 0:
        document.refuse(
            ("backtest", "slippage_ticks"),
            f"expected 0 or more, got {raw.backtest.slippage_ticks}",
        )
    module, class_name = _strategy_class(document, raw.strategy, root=inputs.root)
    further_bars = _further_bars(document, raw.bars, timeframe)
    path = module_path(module, root=inputs.root)
    _check_params(document, path, class_name, raw.params)
    _check_markets(document, path, class_name, symbols, further_bars)
    _check_imports(document, module, root=inputs.root)
    fixed = _funding(document, raw, inputs.warnings)
    instruments = _instruments(document, raw.routing, symbols, inputs, fixed)
    return Strategy(
        strategy_id=raw.strategy_id,
        path=document.path,
        symbol=symbols[0],
        symbols=symbols,
        timeframe=timeframe,
        bars=further_bars,
        module=module,
        class_name=class_name,
        params=raw.params,
        routing=raw.routing,
        risk=_risk(document, raw.risk, symbols),
        source=Series(history.venue, symbols[0]),
        span=history.span,
        not_in_history=history.not_in_history,
        warm_up_ms=to_warm_up_ms(document, raw.backtest.warm_up),
        detail="none" if timeframe == ONE_MINUTE else raw.backtest.detail,
        funding=_funding_mode(raw, history.venue, instruments),
        instruments=instruments,
        starting_balance_usd=raw.backtest.starting_balance_usd,
        slippage_ticks=raw.backtest.slippage_ticks,
        simulated=find_venue(history.venue).simulated,
        root=inputs.root,
    )


def _strategy_history(
    inputs: LoadInputs, document: Document, raw: StrategyFile, symbols: tuple[str, ...]
) -> ResolvedSpan:
    """Return the result of `resolve_span`; refuse a data venue without every symbol and bar."""
    resolved = resolve_span(inputs, raw.backtest, document, symbols)
    name = resolved.venue
    if name in inputs.broken.venues:
        raise inputs.broken.venues[name]
    venue_symbols = inputs.venues[name].symbols
    for key, symbol in zip(_symbol_keys(raw), symbols, strict=True):
        if symbol not in venue_symbols:
            cure = ""
            if not nearest(symbol, venue_symbols):
                possible = find_venue(name).symbols
                file = f"config/venues/{name}.yaml"
                can_add = not possible or symbol in possible
                add = f"add it to `symbols` of {file}, or " if can_add else ""
                cure = f": {add}write another backtest.market_data_venue"
            document.refuse(key, f"{unknown(f'symbol of {name}', symbol, venue_symbols)}{cure}")
    _check_has_bars(inputs, document, raw, symbols, resolved)
    return resolved


def _check_has_bars(
    inputs: LoadInputs,
    document: Document,
    raw: StrategyFile,
    symbols: tuple[str, ...],
    history: ResolvedSpan,
) -> None:
    """Refuse a span without a whole bar of each timeframe."""
    venue, span = history.venue, history.span
    main = to_timeframe(document, ("timeframe",), raw.timeframe)
    run = Span(span.start_ms - to_warm_up_ms(document, raw.backtest.warm_up), span.end_ms)
    needed: list[tuple[Key, Timeframe, Span]] = [(("timeframe",), main, main.whole(span))]
    for further in _further_bars(document, raw.bars, main):
        whole = further.whole(main.whole(run))
        needed.append((("bars", raw.bars.index(further.text)), further, whole))
    for key, timeframe, whole in needed:
        if whole:
            continue
        if span == inputs.history_span(inputs.venues[venue], symbols):
            document.refuse(
                key,
                f"{venue} has only {span.minutes:,} minutes of history, {span}, without one whole "
                f"{timeframe} bar: add bars to it, or write a shorter timeframe",
            )
        document.refuse(
            key,
            f"no whole {timeframe} bar lies in {span}: write dates further apart, or a shorter "
            "timeframe",
        )


def _symbol_keys(raw: StrategyFile) -> list[Key]:
    """Return the key of each symbol of a strategy."""
    keys: list[Key] = [("symbols", index) for index in range(len(raw.symbols))]
    if raw.symbol is not None:
        keys[:1] = [("symbol",)]
    return keys


def _strategy_symbols(document: Document, raw: StrategyFile) -> tuple[str, ...]:
    """Return every symbol of a strategy, the main one first."""
    if raw.symbol is None and not raw.symbols:
        if "symbols" in document.value:
            document.refuse(("symbols",), "expected at least one symbol, such as BTC/USDT")
        document.refuse(("symbol",), "missing: write this key")
    if raw.symbols and raw.symbol not in (None, raw.symbols[0]):
        document.refuse(("symbol",), f"{raw.symbol!r} is not the first of symbols: remove this key")
    symbols = raw.symbols if raw.symbol is None else [raw.symbol, *raw.symbols[1:]]
    quote = symbols[0].rpartition("/")[2]
    for index, (key, symbol) in enumerate(zip(_symbol_keys(raw), symbols, strict=True)):
        check_symbol(document, key, symbol)
        if symbol in symbols[:index]:
            document.refuse(key, f"{symbol!r} is given twice: remove one")
        symbol_quote = symbol.rpartition("/")[2]
        if symbol_quote not in QUOTES and symbol_quote.upper() in QUOTES:
            document.refuse(key, f"{symbol!r} is in small letters: write {symbol.upper()}")
        if symbol_quote not in QUOTES:
            document.refuse(
                key,
                f"{symbol!r} is quoted in {symbol_quote}, but risk limits are in dollars: choose a "
                f"symbol quoted in {', '.join(QUOTES[:-1])} or {QUOTES[-1]}",
            )
        if symbol_quote != quote:
            document.refuse(key, f"{symbol!r} is not quoted in {quote} as {symbols[0]} is")
    return tuple(symbols)


def _further_bars(
    document: Document, texts: list[str], timeframe: Timeframe
) -> tuple[Timeframe, ...]:
    """Return the further timeframes, the longest first."""
    further_bars: list[Timeframe] = []
    for index, text in enumerate(texts):
        further = to_timeframe(document, ("bars", index), text)
        if further == timeframe:
            document.refuse(("bars", index), f"{text!r} is the main timeframe: remove it")
        if further in further_bars:
            document.refuse(("bars", index), f"{text!r} is given twice: remove one")
        for earlier in (timeframe, *further_bars):
            if earlier.label == further.label:
                step, unit = earlier.label
                document.refuse(
                    ("bars", index),
                    f"NautilusTrader gives bars of {text} and {earlier} the same name, "
                    f"{step}-{unit}, so a strategy could not tell them apart: remove one",
                )
        further_bars.append(further)
    return tuple(sorted(further_bars, key=length_key, reverse=True))


def _risk(document: Document, limits: Mapping[str, Decimal], symbols: tuple[str, ...]) -> Risk:
    """Return the limits, with each `max_position_<base>` under its symbol."""
    bases = {symbol: symbol.partition("/")[0] for symbol in symbols}
    positions = {symbol: f"max_position_{base.lower()}" for symbol, base in bases.items()}
    names = (*positions.values(), "max_daily_loss_usd", "max_leverage")
    for key, value in limits.items():
        if key not in names:
            document.refuse(("risk", key), unknown_key(key, names))
        check_amount(document, ("risk", key), value)
    units = {positions[symbol]: f", in {base}" for symbol, base in bases.items()}
    for key in names:
        if key not in limits:
            document.refuse(("risk", key), f"missing: write this key{units.get(key, '')}")
    return Risk(
        max_positions={symbol: limits[key] for symbol, key in positions.items()},
        max_daily_loss_usd=limits["max_daily_loss_usd"],
        max_leverage=limits["max_leverage"],
    )


def _funding(document: Document, raw: StrategyFile, warnings: list[str]) -> Decimal | None:
    """Return the rate per 8 h that replaces each instrument's; None if it is not written."""
    key, funding = ("backtest", "funding"), raw.backtest.funding
    if funding is None:
        return None
    if funding == "none":
        return Decimal(0)
    if funding == "history":
        return None
    try:
        rate = Decimal(str(funding))
    except ArithmeticError:
        document.refuse(
            key, f"expected history, none or a rate per 8 h such as 0.0001, got {funding!r}"
        )
    check_rate(document, key, rate)
    warn_of_percent(warnings, document, key, rate)
    return rate


def _funding_mode(
    raw: StrategyFile, data_venue: str, instruments: Mapping[str, Mapping[str, Instrument]]
) -> Funding:
    """Return the funding mode: `backtest.funding`, else by the instruments' rates and the venue."""
    if raw.backtest.funding is not None:
        return "history" if raw.backtest.funding == "history" else "fixed"
    if any(rules.funding_rate_8h for rules in instruments[raw.routing.primary].values()):
        return "fixed"
    return "history" if find_venue(data_venue).funding else "held"


def _instruments(
    document: Document,
    routing: Routing,
    symbols: tuple[str, ...],
    inputs: LoadInputs,
    funding: Decimal | None,
) -> dict[str, dict[str, Instrument]]:
    """Return the rules by venue and symbol at both venues, with the `funding` of the backtest."""
    if routing.mode != "PRIMARY_ONLY" and routing.secondary is None:
        document.refuse(("routing", "secondary"), f"missing: {routing.mode} needs a second venue")
    if routing.secondary == routing.primary:
        document.refuse(("routing", "secondary"), "is the primary: name another venue")
    if routing.secondary is not None and "mode" not in document.value["routing"]:
        key = ("routing", "secondary")
        inputs.warnings.append(
            f"{document.place(key)}: routing.secondary: {routing.secondary} is not simulated: "
            "write `mode: PRIMARY_LIVE_SECONDARY_SHADOW` beside it, or remove it"
        )
    rules_by_venue = {}
    for role, name in (("primary", routing.primary), ("secondary", routing.secondary)):
        if name is None:
            continue
        inputs.broken.check(name)
        venue = document.choose(("routing", role), name, inputs.venues, "venue")
        for symbol in symbols:
            if symbol not in venue.instruments:
                inputs.broken.check_rules(name, symbol)
                candidates = [
                    v.name for v in inputs.venues.values() if v.instruments.keys() >= {*symbols}
                ]
                alternatives = f"one of {', '.join(candidates)}, or " if candidates else ""
                document.refuse(
                    ("routing", role),
                    f"{name} has no instrument rules for {symbol}: write {alternatives}"
                    f"{_rules_line(inputs.root, venue, symbol)}",
                )
        rules = {symbol: venue.instruments[symbol] for symbol in symbols}
        if funding is not None:
            rules = {
                symbol: replace(instrument, funding_rate_8h=funding)
                for symbol, instrument in rules.items()
            }
        rules_by_venue[name] = rules
    return rules_by_venue


def _rules_line(root: Path, venue: Venue, symbol: str) -> str:
    """Return the cure for a symbol without rules: a line for the venue's file, and its place."""
    numbers = 'tick_size: "0.1", lot_size: "0.001", maker_fee: "0.0002", taker_fee: "0.0005"'
    line = f"{symbol}: {{{numbers}, max_leverage: 20}}"
    path = root / "config" / "venues" / f"{venue.name}.yaml"
    document = read_document(path if path.is_file() else path.with_suffix(".yml"), root=root)
    note = ", with the venue's own numbers"
    if symbol not in venue.symbols:
        is_list = isinstance(document.value["symbols"], list)
        entry = f"{symbol}" if is_list else f"`{symbol}: its name at {venue.name}`"
        note += f"; and {entry} into {document.place(('symbols',))}, `symbols:`"
    place = document.place(("instruments",))
    if not document.value.get("instruments"):
        where = (
            f"in place of {place}" if "instruments" in document.value else f"into {document.path}"
        )
        return f"`instruments: {{{line}}}` {where}{note}"
    first = document.place(("instruments", next(iter(document.value["instruments"]))))
    if place == first:
        return f"`{line}` into the braces of {place}{note}"
    return f"`  {line}` below {place}, `instruments:`{note}"


def _strategy_class(document: Document, text: str, *, root: Path) -> tuple[str, str]:
    """Return module and class of `ema_cross.EmaCross` or `path/to/file.py:Class`.

    Module, class and the config class beside it must exist.
    """
    key = ("strategy",)
    if ":" in text or "/" in text or text.endswith(".py"):
        file, class_name = _file_and_class(document, text, root=root)
        module = file
    else:
        module, dot, class_name = text.rpartition(".")
        if not dot or not all(part.isidentifier() for part in text.split(".")):
            document.refuse(
                key,
                f"{text!r} is neither module.Class, such as ema_cross.EmaCross, nor "
                "path/to/file.py:Class",
            )
        modules = list(strategy_modules())
        if module not in modules:
            document.refuse(key, f"{unknown('module', module, modules)} in tbv8/strategies/")
        file = f"tbv8/strategies/{module.replace('.', '/')}.py"
    classes_by_name = classes(module_path(module, root=root))
    names = [name for name in classes_by_name if f"{name}Config" in classes_by_name]
    if class_name not in classes_by_name:
        document.refuse(key, f"{unknown('class', class_name, names)} in {file}")
    if class_name not in names:
        if (strategy := class_name.removesuffix("Config")) in names:
            name = text.removesuffix("Config")
            document.refuse(key, f"is the config class of {strategy}: write {name}")
        alternatives = f", or name another class: {', '.join(names)}" if names else ""
        document.refuse(
            key, f"{file} has no class {class_name}Config: write one for its params{alternatives}"
        )
    return module, class_name


def _check_imports(document: Document, module: str, *, root: Path) -> None:
    """Refuse a strategy with an import of a module that opens files without an audit event."""
    sources, folder = strategy_sources(module, root=root)
    package = STRATEGIES.parent
    user_sources = [
        path
        for path in sources
        if path.is_relative_to(STRATEGIES) or not path.is_relative_to(package)
    ]
    for problem in untracked_imports(user_sources, root=folder):
        document.refuse(("strategy",), problem)


def _file_and_class(document: Document, text: str, *, root: Path) -> tuple[str, str]:
    """Return the two halves of `path/to/file.py:Class`, with the path as written."""
    key = ("strategy",)
    file, _, class_name = text.rpartition(":")
    path = PurePosixPath(file)
    if path.suffix != ".py" or not path.stem.isidentifier() or not class_name.isidentifier():
        document.refuse(key, f"{text!r} is not path/to/file.py:Class")
    if path.is_absolute():
        cure = f"write a relative path, such as ../research/{path.name}"
        document.refuse(key, f"{file!r} is not relative to the project's folder: {cure}")
    if not (root / path).is_file():
        place = os.path.normpath((root / path).absolute())
        document.refuse(
            key,
            f"no file {path.as_posix()!r} (looked for {place}): write its path relative to the "
            "project's folder",
        )
    return path.as_posix(), class_name


def _check_params(
    document: Document, path: Path, class_name: str, values: Mapping[str, Any]
) -> None:
    classes_by_name = classes(path)
    accepted = config_params(classes_by_name[f"{class_name}Config"], classes_by_name)
    for name in values:
        if name in INJECTED:
            document.refuse(("params", name), "set by tbv8 itself: remove it")
        if accepted.closed:
            document.choose(("params", name), name, accepted.required, f"param of {class_name}")
    types = param_types(classes_by_name[f"{class_name}Config"], classes_by_name)
    for name, value in values.items():
        if problem := param_problem(value, types.get(name, Any)):
            document.refuse(("params", name), problem)
    for name, required in accepted.required.items():
        if required and name not in values:
            document.refuse(("params", name), f"missing: {class_name} needs it")


def param_problem(value: Any, kind: Any) -> str | None:
    """Return the problem of a param of the wrong type; None if it fits."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as e:
        return type_problem(str(e), value)
    return None


def _check_markets(
    document: Document,
    path: Path,
    class_name: str,
    symbols: tuple[str, ...],
    bars: tuple[Timeframe, ...],
) -> None:
    """Refuse several symbols or further bars if the config class accepts only one."""
    classes_by_name = classes(path)
    name = f"{class_name}Config"
    injected = injected_params(classes_by_name[name], classes_by_name)
    if not injected.closed:
        return
    if len(symbols) > 1 and injected.required.keys().isdisjoint({"instrument_ids", "bar_types"}):
        document.refuse(
            ("symbols",),
            f"{name} takes one instrument_id, so only {symbols[0]} would be traded: write `symbol: "
            f"{symbols[0]}`, or give {name} the field instrument_ids",
        )
    if bars and "bar_types" not in injected.required:
        document.refuse(
            ("bars",),
            f"{name} takes one bar_type, so bars of {', '.join(map(str, bars))} would not be used: "
            f"remove this key, or give {name} the field bar_types",
        )
