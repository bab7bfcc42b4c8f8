"""The YAML files of `config/` as one frozen Project, checked whole before anything runs.

The records whose names begin with an underscore are the files as written; the others are what the
rest of tbv8 reads: every default filled in, every name resolved, times as milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from tbv8.document import Document, read_document, to_record, unknown
from tbv8.errors import ConfigError
from tbv8.market import (
    DAY_MS,
    MINUTE_MS,
    ONE_MINUTE,
    Series,
    Span,
    Timeframe,
    iso,
    parse_time,
    parse_timeframe,
)
from tbv8.source import classes, params

Mode = Literal["PRIMARY_ONLY", "PRIMARY_LIVE_SECONDARY_SHADOW"]
Channel = Literal["trades", "bbo"]
HistorySpan = Callable[[str], Span | None]
"""The span for which a venue has history at all; None for one that has none to give."""

OVERRIDES = ("venue", "start", "end")
_PACKAGE = Path(__file__).parent


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an order in one symbol is worth at one venue; fees as fractions of the notional."""

    tick_size: Decimal
    lot_size: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    max_leverage: Decimal = Decimal(1)


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue; a native symbol of None is spelt by the venue's own rule."""

    name: str
    enabled: bool
    symbols: dict[str, str | None]
    channels: tuple[Channel, ...]
    ws_url: str | None
    rest_url: str | None
    archive_url: str | None
    instruments: dict[str, Instrument]


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where orders go, and which venue is only simulated beside it."""

    primary: str
    secondary: str | None = None
    mode: Mode = "PRIMARY_ONLY"


class Risk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits that no order gets past; the position in base units."""

    max_position: Decimal
    max_daily_loss_usd: Decimal
    max_leverage: Decimal


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy with all that it inherits.

    `source` is the series whose bars it reads, `span` the wanted span cut to what that venue has,
    `instruments` the rules of its primary and secondary venue.
    """

    strategy_id: str
    path: Path
    symbol: str
    timeframe: Timeframe
    module: str
    class_name: str
    params: dict[str, Any]
    routing: Routing
    risk: Risk
    source: Series
    span: Span
    instruments: dict[str, Instrument]
    starting_balance_usd: Decimal
    slippage_ticks: int

    @property
    def module_path(self) -> Path:
        """The file of the strategy's class."""
        return _module_path(self.module)


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `config/` and the command line ask for.

    `wanted` are the spans asked of each series: of the history venue, and of strategies.
    """

    root: Path
    db_path: Path
    results_path: Path
    timeframes: tuple[Timeframe, ...]
    venues: dict[str, Venue]
    strategies: dict[str, Strategy]
    wanted: dict[Series, list[Span]]

    def timeframes_of(self, series: Series) -> list[Timeframe]:
        """Return the timeframes to build of a series, short ones first; 1m needs no building."""
        asked = set(self.timeframes)
        asked |= {s.timeframe for s in self.strategies.values() if s.source == series}
        return sorted(
            (timeframe for timeframe in asked if timeframe.text != "1m"),
            key=lambda timeframe: (timeframe.fixed_ms or 31 * DAY_MS, timeframe.text),
        )


class _DataFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    db_path: str
    results_path: str = "data/results"
    timeframes: list[str] = []


class _History(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    market_data_venue: str
    start_date: str
    end_date: str | None = None
    refresh: str = "1d"


class _HistoryFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    history: _History


class _VenueFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    venue: str
    symbols: dict[str, str] | list[str]
    enabled: bool = False
    channels: tuple[Channel, ...] = ("trades", "bbo")
    ws_url: str | None = None
    rest_url: str | None = None
    archive_url: str | None = None
    instruments: dict[str, Instrument] = {}


class _Backtest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    market_data_venue: str | None = None
    start_date: str | None = None
    end_date: str | None = None
    starting_balance_usd: Decimal = Decimal(10_000)
    slippage_ticks: int = 0


class _StrategyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    strategy_id: str
    symbol: str
    timeframe: str
    strategy: str = "ema_cross.EmaCross"
    params: dict[str, Any] = {}
    routing: Routing
    risk: Risk
    backtest: _Backtest = _Backtest()


def load_project(
    root: Path, *, overrides: Mapping[str, str], now_ms: int, history_span: HistorySpan
) -> Project:
    """Read and check every file of `root/config`.

    Args:
        root: The project's folder, the one with `dodo.py`.
        overrides: `venue`, `start` and `end` of the command line.
        now_ms: The clock, read once.
        history_span: Asked for each venue whose history is wanted.

    Raises:
        ConfigError: Something is missing or wrong; the first thing found.
    """
    for name in overrides:
        if name not in OVERRIDES:
            raise ConfigError(unknown("variable", name, OVERRIDES), key=name)
    data_file = _read(root, "data.yaml", "write `db_path: data/tbv8.sqlite` into it")
    data = to_record(data_file, _DataFile)
    timeframes = tuple(
        _timeframe(data_file, ("timeframes", index), text)
        for index, text in enumerate(data.timeframes)
    )
    history_file = _read(
        root,
        "history.yaml",
        'write `history: {market_data_venue: sample, start_date: "2017-08-17"}` into it',
    )
    words = to_record(history_file, _HistoryFile).history
    venues = dict(_load_venues(root))
    wanted = _Wanted(
        history=words,
        document=history_file,
        overrides=overrides,
        now_ms=now_ms,
        history_span=history_span,
        venues=venues,
    )
    history_venue, history = _resolve_span(wanted, None, None)
    strategies = dict(_load_strategies(root, venues, wanted))
    spans = {Series(history_venue, symbol): [history] for symbol in venues[history_venue].symbols}
    for strategy in strategies.values():
        asked = spans.setdefault(strategy.source, [])
        if strategy.span not in asked:
            asked.append(strategy.span)
    return Project(
        root=root,
        db_path=_below(root, data.db_path),
        results_path=_below(root, data.results_path),
        timeframes=timeframes,
        venues=venues,
        strategies=strategies,
        wanted=spans,
    )


def _below(root: Path, text: str) -> Path:
    """Return a configured path as users would write it: relative to where pydoit runs."""
    path = root / text
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _read(root: Path, name: str, cure: str) -> Document:
    path = root / "config" / name
    if not path.is_file():
        raise ConfigError(f"there is no such file: {cure}", path=path.relative_to(root))
    return read_document(path, root=root)


def _read_folder(root: Path, name: str, what: str, sample: str) -> Iterator[Document]:
    folder = root / "config" / name
    paths = sorted(path for path in folder.glob("*.y*ml") if path.suffix in (".yaml", ".yml"))
    if not paths:
        raise ConfigError(
            f"there is no {what}: write {sample}, the README shows one",
            path=folder.relative_to(root),
        )
    stems: dict[str, Path] = {}
    for path in paths:
        if path.stem in stems:
            raise ConfigError(
                f"there is {stems[path.stem].name} too: two files with one id, remove one",
                path=path.relative_to(root),
            )
        stems[path.stem] = path
        yield read_document(path, root=root)


def _named(document: Document, key: str, name: str) -> str:
    """Return `name` when it is the file's own name."""
    if name != document.path.stem:
        document.refuse((key,), f"{name!r} must be the file's name, {document.path.stem!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        document.refuse((key,), f"{name!r} must be letters, digits, _ and -")
    return name


def _load_venues(root: Path) -> Iterator[tuple[str, Venue]]:
    for document in _read_folder(root, "venues", "venue", "config/venues/sample.yaml"):
        raw = to_record(document, _VenueFile)
        name = _named(document, "venue", raw.venue)
        symbols: dict[str, str | None] = (
            dict(raw.symbols) if isinstance(raw.symbols, dict) else dict.fromkeys(raw.symbols)
        )
        if not symbols:
            document.refuse(("symbols",), "expected at least one symbol, such as BTC/USDT")
        for index, symbol in enumerate(symbols):
            place = index if isinstance(raw.symbols, list) else symbol
            _check_symbol(document, ("symbols", place), symbol)
        for symbol, rules in raw.instruments.items():
            _check_instrument(document, symbol, rules, symbols)
        yield (
            name,
            Venue(
                name=name,
                enabled=raw.enabled,
                symbols=symbols,
                channels=raw.channels,
                ws_url=_url(document, "ws_url", raw.ws_url, ("ws", "wss")),
                rest_url=_url(document, "rest_url", raw.rest_url, ("http", "https")),
                archive_url=_url(document, "archive_url", raw.archive_url, ("http", "https")),
                instruments=raw.instruments,
            ),
        )


def _check_symbol(document: Document, key: tuple[str | int, ...], symbol: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]+/[A-Za-z0-9]+", symbol):
        document.refuse(key, f"{symbol!r} is not a symbol: write BASE/QUOTE, such as BTC/USDT")


def _check_instrument(
    document: Document, symbol: str, rules: Instrument, symbols: Mapping[str, Any]
) -> None:
    key = ("instruments", symbol)
    document.choose(key, symbol, symbols, "symbol")
    for name in ("tick_size", "lot_size", "max_leverage"):
        value: Decimal = getattr(rules, name)
        if not (value.is_finite() and value > 0):
            document.refuse((*key, name), f"expected a number above 0, got {value}")
    for name in ("maker_fee", "taker_fee"):
        fee: Decimal = getattr(rules, name)
        if not (fee.is_finite() and abs(fee) < Decimal("0.1")):
            document.refuse(
                (*key, name), f"expected a fraction of the notional such as 0.00045, got {fee}"
            )


def _url(document: Document, key: str, url: str | None, schemes: tuple[str, str]) -> str | None:
    if url is not None and not re.match(rf"({'|'.join(schemes)})://[^/\s]+", url):
        document.refuse(
            (key,), f"expected {' or '.join(f'{s}://' for s in schemes)}..., got {url!r}"
        )
    return url and url.rstrip("/")


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What decides a wanted span, beside a strategy's own words."""

    history: _History
    document: Document
    overrides: Mapping[str, str]
    now_ms: int
    history_span: HistorySpan
    venues: Mapping[str, Venue]


class _Word(msgspec.Struct, frozen=True):
    """A configured text and where it stands; without a document, the command line."""

    text: str | None
    key: tuple[str, ...]
    document: Document | None = None

    def refuse(self, problem: str) -> NoReturn:
        if self.document is None:
            raise ConfigError(problem, key=self.key[-1])
        self.document.refuse(self.key, problem)

    def time_ms(self) -> int:
        try:
            ts_ms = parse_time(self.text or "")
        except ValueError as e:
            self.refuse(str(e))
        if ts_ms % MINUTE_MS:
            self.refuse(f"{self.text!r} is not on a minute")
        return ts_ms


def _word(
    wanted: _Wanted, own: _Backtest | None, document: Document | None, option: str, key: str
) -> _Word:
    """Return what holds: the command line's word, else the strategy's own, else history.yaml's."""
    if option in wanted.overrides:
        return _Word(wanted.overrides[option], (option,))
    if own is not None and getattr(own, key) is not None:
        return _Word(getattr(own, key), ("backtest", key), document)
    return _Word(getattr(wanted.history, key), ("history", key), wanted.document)


def _resolve_span(
    wanted: _Wanted, own: _Backtest | None, document: Document | None
) -> tuple[str, Span]:
    """Return the data venue, and the span wanted of it cut to what it has."""
    venue = _word(wanted, own, document, "venue", "market_data_venue")
    name = str(venue.text)
    if name not in wanted.venues:
        venue.refuse(unknown("venue", name, wanted.venues))
    start = _word(wanted, own, document, "start", "start_date")
    end = _word(wanted, own, document, "end", "end_date")
    start_ms = start.time_ms()
    if end.text is None:
        end_ms = _refresh(wanted).floor(wanted.now_ms)
    else:
        end_ms = end.time_ms()
        if end_ms <= start_ms:
            end.refuse(f"{end.text!r} is not after the start, {iso(start_ms)}")
        end_ms = min(end_ms, ONE_MINUTE.floor(wanted.now_ms))
    if start_ms >= end_ms:
        start.refuse(f"{start.text!r} is not before the end, {iso(end_ms)}")
    span = Span(start_ms, end_ms)
    available = wanted.history_span(name) or span
    if not span.intersection(available):
        late = start_ms >= available.end_ms
        (start if late else end).refuse(f"{name} has history of {available} only, not of {span}")
    return name, span.intersection(available)


def _refresh(wanted: _Wanted) -> Timeframe:
    key = ("history", "refresh")
    refresh = _timeframe(wanted.document, key, wanted.history.refresh)
    if refresh.fixed_ms is None or refresh.fixed_ms > DAY_MS:
        wanted.document.refuse(key, f"{refresh} is longer than 1d: write 1d")
    return refresh


def _timeframe(document: Document, key: tuple[str | int, ...], text: str) -> Timeframe:
    try:
        return parse_timeframe(text)
    except ValueError as e:
        document.refuse(key, str(e))


def _load_strategies(
    root: Path, venues: Mapping[str, Venue], wanted: _Wanted
) -> Iterator[tuple[str, Strategy]]:
    sample = "config/strategies/btc_usdt_perp_v1.yaml"
    for document in _read_folder(root, "strategies", "strategy", sample):
        raw = to_record(_with_max_position(document), _StrategyFile)
        strategy_id = _named(document, "strategy_id", raw.strategy_id)
        _check_symbol(document, ("symbol",), raw.symbol)
        data_venue, span = _resolve_span(wanted, raw.backtest, document)
        document.choose(
            ("symbol",), raw.symbol, venues[data_venue].symbols, f"symbol of {data_venue}"
        )
        _check_numbers(document, raw)
        module, class_name = _strategy_class(document, raw.strategy)
        _check_params(document, module, class_name, raw.params)
        yield (
            strategy_id,
            Strategy(
                strategy_id=strategy_id,
                path=document.path,
                symbol=raw.symbol,
                timeframe=_timeframe(document, ("timeframe",), raw.timeframe),
                module=module,
                class_name=class_name,
                params=raw.params,
                routing=raw.routing,
                risk=raw.risk,
                source=Series(data_venue, raw.symbol),
                span=span,
                instruments=_instruments(document, raw, venues),
                starting_balance_usd=raw.backtest.starting_balance_usd,
                slippage_ticks=raw.backtest.slippage_ticks,
            ),
        )


def _with_max_position(document: Document) -> Document:
    """Return the document with `risk.max_position_<base>` under its general name."""
    symbol, risk = document.value.get("symbol"), document.value.get("risk")
    if not isinstance(symbol, str) or not isinstance(risk, dict):
        return document
    name = f"max_position_{symbol.partition('/')[0].lower()}"
    others = [key for key in risk if str(key).startswith("max_position") and key != name]
    if others:
        document.refuse(("risk", others[0]), f"unknown key, did you mean {name!r}?")
    if name not in risk:
        document.refuse(("risk", name), "missing: write this key, in units of the base")
    general = {("max_position" if key == name else key): item for key, item in risk.items()}
    lines = document.lines | {("risk", "max_position"): document.lines[("risk", name)]}
    return Document(document.path, document.value | {"risk": general}, lines)


def _check_numbers(document: Document, raw: _StrategyFile) -> None:
    base = raw.symbol.partition("/")[0].lower()
    for key, value in (
        (("risk", f"max_position_{base}"), raw.risk.max_position),
        (("risk", "max_daily_loss_usd"), raw.risk.max_daily_loss_usd),
        (("risk", "max_leverage"), raw.risk.max_leverage),
        (("backtest", "starting_balance_usd"), raw.backtest.starting_balance_usd),
    ):
        if not (value.is_finite() and value > 0):
            document.refuse(key, f"expected a number above 0, got {value}")
    if raw.backtest.slippage_ticks < 0:
        document.refuse(
            ("backtest", "slippage_ticks"),
            f"expected 0 or more, got {raw.backtest.slippage_ticks}",
        )


def _instruments(
    document: Document, raw: _StrategyFile, venues: Mapping[str, Venue]
) -> dict[str, Instrument]:
    routing = raw.routing
    if routing.mode != "PRIMARY_ONLY" and routing.secondary is None:
        document.refuse(("routing", "secondary"), f"missing: {routing.mode} needs one")
    found = {}
    for role, name in (("primary", routing.primary), ("secondary", routing.secondary)):
        if name is None:
            continue
        venue = document.choose(("routing", role), name, venues, "venue")
        if raw.symbol not in venue.instruments:
            document.refuse(
                ("routing", role),
                f"{name} has no instrument rules of {raw.symbol}: write them under `instruments:` "
                f"in config/venues/{name}.yaml",
            )
        found[name] = venue.instruments[raw.symbol]
    return found


def _module_path(module: str) -> Path:
    return _PACKAGE / "strategies" / f"{module.replace('.', '/')}.py"


def _strategy_class(document: Document, text: str) -> tuple[str, str]:
    """Return module and class of `ema_cross.EmaCross`; both must exist, the config class too."""
    key = ("strategy",)
    module, dot, class_name = text.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text):
        document.refuse(key, f"{text!r} is not module.Class, such as ema_cross.EmaCross")
    path = _module_path(module)
    if not path.is_file():
        folder = _PACKAGE / "strategies"
        modules = [p.stem for p in folder.glob("*.py") if p.stem != "__init__"]
        document.refuse(key, f"{unknown('module', module, modules)} in tbv8/strategies/")
    try:
        known = classes(path)
    except SyntaxError as e:
        shown = path.relative_to(_PACKAGE.parent)
        raise ConfigError(f"not Python: {e.msg}", path=shown, line=e.lineno) from e
    names = [name for name in known if f"{name}Config" in known]
    if class_name not in known:
        document.refuse(key, f"{unknown('class', class_name, names)} in {path.name}")
    if class_name not in names:
        document.refuse(key, f"{path.name} has no class {class_name}Config for its params")
    return module, class_name


def _check_params(
    document: Document, module: str, class_name: str, given: Mapping[str, Any]
) -> None:
    known = params(classes(_module_path(module))[f"{class_name}Config"])
    for name in given:
        document.choose(("params", name), name, known, f"param of {class_name}")
    for name, required in known.items():
        if required and name not in given:
            document.refuse(("params", name), f"missing: {class_name} needs it")
