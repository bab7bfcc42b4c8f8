"""The YAML files of `config/` as one frozen Project, checked whole before anything runs.

The records whose names begin with an underscore are the files as written; the others are what the
rest of tbv8 reads: every default filled in, every name resolved, times as milliseconds.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal, NoReturn

import msgspec

from tbv8.document import Document, read_document, to_record, unknown, unknown_key
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
from tbv8.source import GIVEN, classes, params

Mode = Literal["PRIMARY_ONLY", "PRIMARY_LIVE_SECONDARY_SHADOW"]
Channel = Literal["trades", "bbo"]
Kind = Literal["venue", "instrument", "strategy"]
HistorySpan = Callable[[str], Span | None]
"""The span for which a venue has history at all; None for one that has none to give."""

OVERRIDES = ("venue", "start", "end")
_PACKAGE = Path(__file__).parent
_TIMES_MS = range(parse_time("9999-01-01"))
_TOO_MUCH = Decimal(10) ** 12  # of anything; NautilusTrader ends at 1.7e13
_DECIMALS = 16  # NautilusTrader keeps no more
_DAY_HOURS = 24
_TAKEN = ("config", "tbv8", "migrations", "tests", "docs", ".git", "data/export", "data/.doit.db")


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an order in one symbol is worth at one venue; fees as fractions of the notional.

    `funding_rate_8h` is what a long position pays for eight hours, and a short one gets; it is
    charged every `funding_hours`, each time its share of the eight. 0 stands for the venue's own.
    """

    tick_size: Decimal
    lot_size: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    max_leverage: Decimal = Decimal(1)
    funding_rate_8h: Decimal = Decimal(0)
    funding_hours: int = 0


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


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a strategy, a venue or an instrument; it stops only what needs that one.

    `name` is that of the file.
    """

    kind: Kind
    name: str
    error: ConfigError


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `config/` and the command line ask for.

    `wanted` are the spans asked of each series: of the history venue, and of strategies. `now_ms`
    is the clock, read once. Whatever has a problem is left out of the rest.
    """

    root: Path
    db_path: Path
    results_path: Path
    timeframes: tuple[Timeframe, ...]
    venues: dict[str, Venue]
    strategies: dict[str, Strategy]
    wanted: dict[Series, list[Span]]
    history_venue: str
    now_ms: int
    problems: tuple[Problem, ...] = ()

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
    risk: dict[str, Decimal]
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
        ConfigError: Something is missing or wrong that everything needs; the first thing found.
    """
    for name in overrides:
        if name not in OVERRIDES:
            raise ConfigError(unknown("variable", name, OVERRIDES), key=name)
    data_file = _read(root, "data.yaml", "write `db_path: data/tbv8.sqlite` into it")
    data = to_record(data_file, _DataFile)
    db_path = _below(root, data_file, "db_path", data.db_path)
    results_path = _below(root, data_file, "results_path", data.results_path)
    _check_places(root, data_file, db_path, results_path)
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
    broken = _Broken({}, {})
    cure = "`{venue: sample, symbols: [BTC/USDT]}` into config/venues/sample.yaml"
    venues, broken_venues = _load_each(
        root, "venues", "venue", cure, partial(_load_venue, broken.instruments)
    )
    broken.venues.update(broken_venues)
    wanted = _Wanted(
        history=words,
        refresh=_refresh(history_file, words.refresh),
        document=history_file,
        overrides=overrides,
        now_ms=now_ms,
        history_span=history_span,
        venues=venues,
        broken=broken,
    )
    history_venue, history = _resolve_span(wanted, None, None)
    cure = "config/strategies/btc_usdt_perp_v1.yaml, the README shows one"
    strategies, broken_strategies = _load_each(
        root, "strategies", "strategy", cure, partial(_load_strategy, wanted)
    )
    symbols = venues[history_venue].symbols if history_venue in venues else ()
    spans = {Series(history_venue, symbol): [history] for symbol in symbols}
    for strategy in strategies.values():
        asked = spans.setdefault(strategy.source, [])
        if strategy.span not in asked:
            asked.append(strategy.span)
    return Project(
        root=root,
        db_path=db_path,
        results_path=results_path,
        timeframes=timeframes,
        venues=venues,
        strategies=strategies,
        wanted=spans,
        history_venue=history_venue,
        now_ms=now_ms,
        problems=(
            *_problems("venue", broken.venues.items()),
            *_problems("instrument", ((name, e) for (name, _), e in broken.instruments.items())),
            *_problems("strategy", broken_strategies.items()),
        ),
    )


def _problems(kind: Kind, errors: Iterable[tuple[str, ConfigError]]) -> Iterator[Problem]:
    return (Problem(kind=kind, name=name, error=e) for name, e in errors)


def _below(root: Path, document: Document, key: str, text: str) -> Path:
    """Return a configured path as users would write it: relative to where pydoit runs."""
    if not text.strip() or "://" in text or not text.isprintable():
        document.refuse((key,), f"expected a path such as data/tbv8.sqlite, got {text!r}")
    path = root / text
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _check_places(root: Path, document: Document, db_path: Path, results_path: Path) -> None:
    """Refuse a place at which tbv8 would write over the project or over its own data."""
    cure = "write a place of its own, such as data/results or data/tbv8.sqlite"
    for key, path in (("results_path", results_path), ("db_path", db_path)):
        for name in _TAKEN:
            if _overlap(path, root / name):
                document.refuse((key,), f"{str(path)!r} would lie over {name}: {cure}")
    if _overlap(db_path, results_path):
        key = "results_path" if "results_path" in document.value else "db_path"
        problem = f"database {str(db_path)!r} and results {str(results_path)!r} would lie over"
        document.refuse((key,), f"{problem} each other: {cure}")
    if db_path.is_dir():
        document.refuse(("db_path",), f"{str(db_path)!r} is a folder: write a file's name")


def _overlap(path: Path, other: Path) -> bool:
    """Tell whether one is the other, or lies in it, wherever links lead."""
    one, two = Path(os.path.realpath(path)), Path(os.path.realpath(other))
    return one.is_relative_to(two) or two.is_relative_to(one)


def _read(root: Path, name: str, cure: str) -> Document:
    path = root / "config" / name
    if not path.is_file():
        if path.with_suffix(".yml").is_file():
            cure = f"rename {path.stem}.yml"
        raise ConfigError(f"there is no such file: {cure}", path=path.relative_to(root))
    return read_document(path, root=root)


def _load_each[T](
    root: Path, name: str, what: str, cure: str, load: Callable[[Document], T]
) -> tuple[dict[str, T], dict[str, ConfigError]]:
    """Load each file of a folder by itself; return what is loaded, and what is wrong, by name."""
    loaded: dict[str, T] = {}
    broken: dict[str, ConfigError] = {}
    for path in _paths(root, name, what, cure):
        try:
            if (twin := path.with_suffix(".yaml")) != path and twin.exists():
                raise ConfigError(
                    f"there is {twin.name} too: two files with one id, remove one",
                    path=path.relative_to(root),
                )
            loaded[path.stem] = load(read_document(path, root=root))
        except ConfigError as e:
            loaded.pop(path.stem, None)
            broken[path.stem] = e
    return loaded, broken


def _paths(root: Path, name: str, what: str, cure: str) -> list[Path]:
    folder = root / "config" / name
    paths = sorted(
        path
        for path in folder.glob("[!.]*")  # not what an editor keeps beside an open file
        if path.suffix in (".yaml", ".yml")
    )
    if not paths:
        raise ConfigError(
            f"there is no {what}: write {cure}",
            path=folder.relative_to(root),
        )
    return paths


def _named(document: Document, key: str, name: str) -> str:
    """Return `name` when it is the file's own name."""
    if name != document.path.stem:
        document.refuse((key,), f"{name!r} must be the file's name, {document.path.stem!r}")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        document.refuse((key,), f"{name!r} must be letters, digits, _ and -")
    return name


def _load_venue(broken: dict[tuple[str, str], ConfigError], document: Document) -> Venue:
    """Return a venue; what is wrong with an instrument's rules goes into `broken`."""
    raw = to_record(document, _VenueFile)
    name = _named(document, "venue", raw.venue)
    symbols = _symbols(document, raw.symbols)
    if len(set(raw.channels)) < len(raw.channels) or not raw.channels:
        document.refuse(("channels",), "expected trades, bbo or both, each once")
    venue = Venue(
        name=name,
        enabled=raw.enabled,
        symbols=symbols,
        channels=raw.channels,
        ws_url=_url(document, "ws_url", raw.ws_url, ("ws", "wss")),
        rest_url=_url(document, "rest_url", raw.rest_url, ("http", "https")),
        archive_url=_url(document, "archive_url", raw.archive_url, ("http", "https")),
        instruments=dict(raw.instruments),
    )
    for symbol, rules in raw.instruments.items():
        try:
            _check_instrument(document, symbol, rules, symbols)
        except ConfigError as e:
            broken[name, symbol] = e
            del venue.instruments[symbol]
    return venue


def _symbols(document: Document, written: dict[str, str] | list[str]) -> dict[str, str | None]:
    """Return symbol -> native symbol; None where only the symbol was written."""
    if not written:
        document.refuse(("symbols",), "expected at least one symbol, such as BTC/USDT")
    if isinstance(written, list):
        for index, symbol in enumerate(written):
            _check_symbol(document, ("symbols", index), symbol)
            if symbol in written[:index]:
                document.refuse(("symbols", index), f"{symbol!r} is given twice, remove one")
        return dict.fromkeys(written)
    for symbol, native in written.items():
        _check_symbol(document, ("symbols", symbol), symbol)
        if not native.strip():
            document.refuse(("symbols", symbol), f"expected the venue's own name, got {native!r}")
        first = next(other for other, name in written.items() if name == native)
        if first != symbol:
            document.refuse(("symbols", symbol), f"{native!r} is the native symbol of {first} too")
    return dict(written)


def _check_symbol(document: Document, key: tuple[str | int, ...], symbol: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]+/[A-Za-z0-9]+", symbol):
        document.refuse(key, f"{symbol!r} is not a symbol: write BASE/QUOTE, such as BTC/USDT")


def _check_instrument(
    document: Document, symbol: str, rules: Instrument, symbols: Mapping[str, Any]
) -> None:
    key = ("instruments", symbol)
    document.choose(key, symbol, symbols, "symbol")
    for name in ("tick_size", "lot_size", "max_leverage"):
        _check_amount(document, (*key, name), getattr(rules, name))
    if rules.funding_hours < 0 or (rules.funding_hours and _DAY_HOURS % rules.funding_hours):
        document.refuse(
            (*key, "funding_hours"), f"expected a divisor of 24, got {rules.funding_hours}"
        )
    for name in ("maker_fee", "taker_fee", "funding_rate_8h"):
        fee: Decimal = getattr(rules, name)
        if not (fee.is_finite() and fee.copy_abs() < Decimal("0.1")):
            document.refuse(
                (*key, name), f"expected a fraction of the notional such as 0.00045, got {fee}"
            )
        _check_decimals(document, (*key, name), fee)


def _check_amount(document: Document, key: tuple[str, ...], value: Decimal) -> None:
    if not (value.is_finite() and value > 0):
        document.refuse(key, f"expected a number above 0, got {value}")
    if value >= _TOO_MUCH:
        document.refuse(key, f"expected a number below {_TOO_MUCH}, got {value}")
    _check_decimals(document, key, value)


def _check_decimals(document: Document, key: tuple[str, ...], value: Decimal) -> None:
    if value != round(value, _DECIMALS):
        document.refuse(key, f"expected at most {_DECIMALS} decimals, got {value}")


def _url(document: Document, key: str, url: str | None, schemes: tuple[str, str]) -> str | None:
    if url is not None and not _is_url(url, schemes):
        document.refuse(
            (key,), f"expected {' or '.join(f'{s}://' for s in schemes)}..., got {url!r}"
        )
    return url and url.rstrip("/")


def _is_url(text: str, schemes: tuple[str, str]) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        printable = text.isprintable() and " " not in text
        return bool(printable and parts.scheme in schemes and parts.hostname and parts.port != 0)
    except ValueError:  # a port that is not a number, half an IPv6 address
        return False


class _Broken(msgspec.Struct, frozen=True):
    """What is wrong with venues, and with instruments of venues that are right otherwise."""

    venues: dict[str, ConfigError]
    instruments: dict[tuple[str, str], ConfigError]

    def check(self, venue: str, symbol: str) -> None:
        """Raise what is wrong with a venue or with its rules of a symbol, if anything is."""
        error = self.venues.get(venue) or self.instruments.get((venue, symbol))
        if error is not None:
            raise error


class _Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What decides a wanted span, beside a strategy's own words."""

    history: _History
    refresh: Timeframe
    document: Document
    overrides: Mapping[str, str]
    now_ms: int
    history_span: HistorySpan
    venues: Mapping[str, Venue]
    broken: _Broken


class _Word(msgspec.Struct, frozen=True):
    """A configured text, where it stands, and its rank: history.yaml, strategy, command line.

    Without a document it is the command line's.
    """

    text: str | None
    key: tuple[str, ...]
    rank: int
    document: Document | None = None

    def refuse(self, problem: str) -> NoReturn:
        if self.document is None:
            raise ConfigError(problem, key=self.key[-1])
        self.document.refuse(self.key, problem)

    def at(self, time_ms: int) -> str:
        """Return a time, and in which file it stands."""
        place = f" in {self.document.place(self.key)}" if self.document else ""
        return f"{iso(time_ms)}{place}"

    def time_ms(self) -> int:
        try:
            ts_ms = parse_time(self.text or "")
        except ValueError as e:
            self.refuse(str(e))
        if ts_ms % MINUTE_MS:
            self.refuse(f"{self.text!r} is not on a minute")
        if ts_ms not in _TIMES_MS:
            self.refuse(f"{self.text!r} is out of range: write a year from 1970 to 9998")
        return ts_ms


def _words(
    wanted: _Wanted, own: _Backtest | None, document: Document | None, option: str, key: str
) -> list[_Word]:
    """Return every word that was written for `key`, the one that holds last."""
    words = [_Word(getattr(wanted.history, key), ("history", key), 0, wanted.document)]
    if own is not None and getattr(own, key) is not None:
        words.append(_Word(getattr(own, key), ("backtest", key), 1, document))
    if option in wanted.overrides:
        words.append(_Word(wanted.overrides[option], (option,), 2))
    return words


def _resolve_span(
    wanted: _Wanted, own: _Backtest | None, document: Document | None
) -> tuple[str, Span]:
    """Return the data venue, and the span wanted of it cut to what it has.

    What does not hold for this call is checked too: a file is right by itself.
    """
    for word in _words(wanted, own, document, "venue", "market_data_venue"):
        name = str(word.text)
        if name not in wanted.venues and name not in wanted.broken.venues:
            word.refuse(unknown("venue", name, wanted.venues))
    for start in _words(wanted, own, document, "start", "start_date"):
        start_ms = start.time_ms()
    for end in _words(wanted, own, document, "end", "end_date"):
        end_ms = wanted.refresh.floor(wanted.now_ms) if end.text is None else end.time_ms()
    span = Span(start_ms, _cut_to_now(wanted, start, start_ms, end, end_ms))
    available = wanted.history_span(name) or span
    if not span.intersection(available):
        late = start_ms >= available.end_ms
        (start if late else end).refuse(f"{name} has history of {available} only, not of {span}")
    return name, span.intersection(available)


def _cut_to_now(wanted: _Wanted, start: _Word, start_ms: int, end: _Word, end_ms: int) -> int:
    """Return the end, no later than now; whichever word is the more special must give way."""
    if end.text is not None and end_ms <= start_ms:
        if start.rank > end.rank:
            start.refuse(f"{start.text!r} is not before the end, {end.at(end_ms)}")
        end.refuse(f"{end.text!r} is not after the start, {start.at(start_ms)}")
    now_ms = ONE_MINUTE.floor(wanted.now_ms)
    if start_ms >= now_ms:
        start.refuse(f"{start.text!r} is not before now, {iso(now_ms)}: write an earlier one")
    if start_ms >= end_ms:
        start.refuse(
            f"{start.text!r} is not before the end, {iso(end_ms)}, the last full "
            f"{wanted.refresh} before now: write an earlier one"
        )
    return min(end_ms, now_ms)


def _refresh(document: Document, text: str) -> Timeframe:
    key = ("history", "refresh")
    refresh = _timeframe(document, key, text)
    if refresh.fixed_ms is None or refresh.fixed_ms > DAY_MS:
        document.refuse(key, f"{text!r} is longer than 1d: write 1d")
    return refresh


def _timeframe(document: Document, key: tuple[str | int, ...], text: str) -> Timeframe:
    try:
        return parse_timeframe(text)
    except ValueError as e:
        document.refuse(key, str(e))


def _load_strategy(wanted: _Wanted, document: Document) -> Strategy:
    raw = to_record(document, _StrategyFile)
    strategy_id = _named(document, "strategy_id", raw.strategy_id)
    _check_symbol(document, ("symbol",), raw.symbol)
    data_venue, span = _resolve_span(wanted, raw.backtest, document)
    if data_venue in wanted.broken.venues:
        raise wanted.broken.venues[data_venue]
    document.choose(
        ("symbol",), raw.symbol, wanted.venues[data_venue].symbols, f"symbol of {data_venue}"
    )
    _check_amount(document, ("backtest", "starting_balance_usd"), raw.backtest.starting_balance_usd)
    if raw.backtest.slippage_ticks < 0:
        document.refuse(
            ("backtest", "slippage_ticks"),
            f"expected 0 or more, got {raw.backtest.slippage_ticks}",
        )
    module, class_name = _strategy_class(document, raw.strategy)
    _check_params(document, module, class_name, raw.params)
    return Strategy(
        strategy_id=strategy_id,
        path=document.path,
        symbol=raw.symbol,
        timeframe=_timeframe(document, ("timeframe",), raw.timeframe),
        module=module,
        class_name=class_name,
        params=raw.params,
        routing=raw.routing,
        risk=_risk(document, raw),
        source=Series(data_venue, raw.symbol),
        span=span,
        instruments=_instruments(document, raw, wanted),
        starting_balance_usd=raw.backtest.starting_balance_usd,
        slippage_ticks=raw.backtest.slippage_ticks,
    )


def _risk(document: Document, raw: _StrategyFile) -> Risk:
    """Return the limits, with `max_position_<base>` under its general name."""
    base = raw.symbol.partition("/")[0]
    names = {
        f"max_position_{base.lower()}": "max_position",
        "max_daily_loss_usd": "max_daily_loss_usd",
        "max_leverage": "max_leverage",
    }
    for key, value in raw.risk.items():
        if key not in names:
            document.refuse(("risk", key), unknown_key(key, names))
        _check_amount(document, ("risk", key), value)
    for key, name in names.items():
        if key not in raw.risk:
            unit = f", in {base}" if name == "max_position" else ""
            document.refuse(("risk", key), f"missing: write this key{unit}")
    return Risk(**{name: raw.risk[key] for key, name in names.items()})


def _instruments(document: Document, raw: _StrategyFile, wanted: _Wanted) -> dict[str, Instrument]:
    routing = raw.routing
    if routing.mode != "PRIMARY_ONLY" and routing.secondary is None:
        document.refuse(("routing", "secondary"), f"missing: {routing.mode} needs one")
    if routing.secondary == routing.primary:
        document.refuse(("routing", "secondary"), "is the primary: name another venue")
    found = {}
    for role, name in (("primary", routing.primary), ("secondary", routing.secondary)):
        if name is None:
            continue
        wanted.broken.check(name, raw.symbol)
        venue = document.choose(("routing", role), name, wanted.venues, "venue")
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


def _modules() -> Iterator[str]:
    """Yield the modules below `tbv8/strategies/`, as a strategy file names them."""
    folder = _PACKAGE / "strategies"
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        if path.stem != "__init__" and all(part.isidentifier() for part in parts):
            yield ".".join(parts)


def _strategy_class(document: Document, text: str) -> tuple[str, str]:
    """Return module and class of `ema_cross.EmaCross`; both must exist, the config class too."""
    key = ("strategy",)
    module, dot, class_name = text.rpartition(".")
    if not dot or not all(part.isidentifier() for part in text.split(".")):
        document.refuse(key, f"{text!r} is not module.Class, such as ema_cross.EmaCross")
    modules = list(_modules())
    if module not in modules:
        document.refuse(key, f"{unknown('module', module, modules)} in tbv8/strategies/")
    known = classes(_module_path(module))
    names = [name for name in known if f"{name}Config" in known]
    file = f"tbv8/strategies/{module.replace('.', '/')}.py"
    if class_name not in known:
        document.refuse(key, f"{unknown('class', class_name, names)} in {file}")
    if class_name not in names:
        document.refuse(key, f"{file} has no class {class_name}Config: write one for its params")
    return module, class_name


def _check_params(
    document: Document, module: str, class_name: str, given: Mapping[str, Any]
) -> None:
    known = classes(_module_path(module))
    taken = params(known[f"{class_name}Config"], known)
    for name in given:
        if name in GIVEN:
            document.refuse(("params", name), "tbv8 gives this one itself: remove it")
        if taken.closed:
            document.choose(("params", name), name, taken.required, f"param of {class_name}")
    for name, required in taken.required.items():
        if required and name not in given:
            document.refuse(("params", name), f"missing: {class_name} needs it")
