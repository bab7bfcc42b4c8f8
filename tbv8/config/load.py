"""The YAML files of `config/` as one frozen Project, checked whole before anything runs.

`tbv8.config.files` has the files as written, and `tbv8.config.records` what the rest of tbv8 reads.
"""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

import msgspec
from msgspec.structs import replace

from tbv8.config.document import (
    Document,
    Key,
    expected,
    nearest,
    plain,
    read_document,
    to_record,
    unknown,
    unknown_key,
)
from tbv8.config.files import (
    HOST,
    NAME,
    VARIABLE,
    BacktestSection,
    DataFile,
    HistoryFile,
    HistorySection,
    Instrument,
    NotifySection,
    PaperSection,
    Routing,
    StrategyFile,
    VenueFile,
)
from tbv8.config.records import (
    Funding,
    Kind,
    Notify,
    PaperLimits,
    Problem,
    Project,
    Risk,
    Strategy,
    Venue,
    length,
)
from tbv8.config.source import (
    GIVEN,
    STRATEGIES,
    classes,
    given,
    module_path,
    param_types,
    params,
    strategy_modules,
    strategy_sources,
    untracked_imports,
)
from tbv8.coverage import gaps
from tbv8.errors import ConfigError
from tbv8.market import (
    DAY_MS,
    MINUTE_MS,
    ONE_MINUTE,
    Series,
    Span,
    Timeframe,
    iso,
    iso_day,
    parse_duration_ms,
    parse_time,
    parse_timeframe,
)
from tbv8.venues.base import FromExchange, FromFiles, HistorySource
from tbv8.venues.base import Venue as KnownVenue
from tbv8.venues.ccxt import exchanges
from tbv8.venues.registry import find_history, find_venue, make_history
from tbv8.venues.units import multiplier_in

HistorySpan = Callable[[Venue, Path], Span | None]
"""The span of a venue's history, given the database's path; None if it has no history."""

OVERRIDES = ("venue", "start", "end", "workers", "on", "address")
QUOTES = ("USD", "USDT", "USDC")
"""The quote currencies that count as dollars."""

_TIMES_MS = range(parse_time("9999-01-01"))
_AMOUNT_LIMIT = Decimal(10) ** 12  # NautilusTrader's own is 1.7e13
_DECIMALS = 16  # NautilusTrader keeps no more
_DAY_HOURS = 24
_RESERVED = (
    "config",
    "tbv8",
    "migrations",
    "tests",
    "docs",
    ".git",
    "data/export",
    "data/.doit.db",
)
_RATES = ("maker_fee", "taker_fee", "funding_rate_8h")
_PLACEHOLDERS = ("{symbol}", "{base}", "{quote}")
_PERCENT = Decimal("0.01")  # no venue charges this much: probably 0.045 % written as 0.045


def find_project(folder: Path) -> Path:
    """Return the nearest project folder: `folder` itself or a parent.

    Raises:
        ConfigError: None of them has a dodo.py beside a folder `config`.
    """
    folder = folder.resolve()
    for candidate in (folder, *folder.parents):
        if (candidate / "dodo.py").is_file() and (candidate / "config").is_dir():
            return candidate
    raise ConfigError(
        "neither this folder nor a parent is a tbv8 project: change to a project, or create one "
        "with `tbv8 init FOLDER`",
        path=folder,
    )


def load_project(
    root: Path, *, overrides: Mapping[str, str], now_ms: int, history_span: HistorySpan
) -> Project:
    """Read and check every file of `root/config`.

    Args:
        root: The project's folder, with `dodo.py` in it.
        overrides: The command line's `venue`, `start`, `end`, `workers`, `on` and `address`.
        now_ms: The clock, read once.
        history_span: Called with each venue that needs history, and the database's path.

    Raises:
        ConfigError: The first missing or wrong value.
    """
    for name in overrides:
        if name not in OVERRIDES:
            raise ConfigError(unknown("variable", name, OVERRIDES), key=name)
    data = _load_data(root)
    history_file = _read(
        root,
        "history.yaml",
        'write `history: {market_data_venue: sample, start_date: "2017-08-17"}` into it',
    )
    settings = to_record(history_file, HistoryFile).history
    warnings: list[str] = []
    venues, broken = _load_venues(root, warnings)
    inputs = _Inputs(
        root=root,
        history=settings,
        refresh=_refresh(history_file, settings.refresh),
        document=history_file,
        overrides=overrides,
        now_ms=now_ms,
        history_span=lambda venue: history_span(venue, data.db_path),
        venues=venues,
        broken=broken,
        warnings=warnings,
        without_history={},
    )
    history_venue, history, _ = _resolve_span(inputs, None, None)
    strategies, paper_only, broken_strategies = _load_strategies(inputs)
    symbols = venues[history_venue].symbols if history_venue in venues else ()
    whole = {Series(history_venue, symbol): [history] for symbol in symbols}
    return Project(
        root=root,
        db_path=data.db_path,
        results_path=data.results_path,
        timeframes=data.timeframes,
        venues=venues,
        strategies=strategies,
        paper_only=paper_only,
        wanted=_with_runs(whole, strategies.values()),
        history_venue=history_venue,
        now_ms=now_ms,
        paper=data.paper,
        notify=data.notify,
        problems=_problems(broken, broken_strategies),
        warnings=tuple(warnings),
    )


def _paper(document: Document, raw: PaperSection) -> PaperLimits:
    def duration_ms(key: str, text: str) -> int:
        try:
            return parse_duration_ms(text)
        except ValueError as e:
            document.refuse(("paper", key), str(e))

    stale_after = raw.stale_after
    return PaperLimits(
        stale_after_ms=None if stale_after is None else duration_ms("stale_after", stale_after),
        clock_limit_ms=duration_ms("clock_limit", raw.clock_limit),
    )


def _notify(document: Document, raw: NotifySection | None) -> Notify | None:
    if raw is None:
        return None
    if not re.fullmatch(VARIABLE, raw.urls_env):
        cure = "write the name of an environment variable, such as TBV8_NOTIFY_URLS"
        document.refuse(("notify", "urls_env"), f"{cure}; the URLs themselves are secrets")
    return Notify(urls_env=raw.urls_env, without=raw.without)


class _DataSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of data.yaml, with its defaults."""

    db_path: Path
    results_path: Path
    timeframes: tuple[Timeframe, ...]
    paper: PaperLimits
    notify: Notify | None


def _load_data(root: Path) -> _DataSettings:
    file = _read(root, "data.yaml", "write `db_path: data/tbv8.sqlite` into it")
    data = to_record(file, DataFile)
    db_path = _below(root, file, "db_path", data.db_path)
    results_path = _below(root, file, "results_path", data.results_path)
    _check_places(root, file, db_path, results_path)
    timeframes = (
        _timeframe(file, ("timeframes", index), text) for index, text in enumerate(data.timeframes)
    )
    return _DataSettings(
        db_path=db_path,
        results_path=results_path,
        timeframes=tuple(timeframes),
        paper=_paper(file, data.paper),
        notify=_notify(file, data.notify),
    )


def _load_venues(root: Path, warnings: list[str]) -> tuple[dict[str, Venue], _BrokenVenues]:
    """Return the venues without errors, and the errors of the others."""
    broken = _BrokenVenues({}, {})
    cure = "`{venue: sample, symbols: [BTC/USDT]}` into config/venues/sample.yaml"
    venues, broken_venues = load_files(
        root, "venues", "venue", cure, partial(_load_venue, root, broken.instruments, warnings)
    )
    broken.venues.update(broken_venues)
    return venues, broken


def _with_runs(
    spans: dict[Series, list[Span]], strategies: Iterable[Strategy]
) -> dict[Series, list[Span]]:
    """Return the spans together with the strategies' run spans."""
    for strategy in strategies:
        for series in strategy.sources:
            runs = spans.setdefault(series, [])
            if strategy.run_span not in runs:
                runs.append(strategy.run_span)
    return spans


def _problems(broken: _BrokenVenues, strategies: Mapping[str, ConfigError]) -> tuple[Problem, ...]:
    errors: list[tuple[Kind, str, ConfigError]] = [
        *(("venue", name, e) for name, e in broken.venues.items()),
        *(("instrument", name, e) for (name, _), e in broken.instruments.items()),
        *(("strategy", name, e) for name, e in strategies.items()),
    ]
    return tuple(Problem(kind=kind, name=name, error=e) for kind, name, e in errors)


def _below(root: Path, document: Document, key: str, text: str) -> Path:
    """Return a configured path as users would write it: relative to the working directory."""
    if not text.strip() or "://" in text or not text.isprintable():
        document.refuse((key,), f"expected a path such as data/tbv8.sqlite, got {text!r}")
    path = root / text
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _check_places(root: Path, document: Document, db_path: Path, results_path: Path) -> None:
    """Refuse a path where tbv8 would overwrite the project or its own data."""
    cure = "choose a separate path, such as data/results or data/tbv8.sqlite"
    real_db, real_results = os.path.realpath(db_path), os.path.realpath(results_path)
    reserved = {name: os.path.realpath(root / name) for name in _RESERVED}
    for key, path, real in (
        ("results_path", results_path, real_results),
        ("db_path", db_path, real_db),
    ):
        for name, other in reserved.items():
            if _overlap(real, other):
                document.refuse((key,), f"{str(path)!r} would overlap {name}: {cure}")
    if _overlap(real_db, real_results):
        key = "results_path" if "results_path" in document.value else "db_path"
        problem = f"database {str(db_path)!r} and results {str(results_path)!r} would overlap"
        document.refuse((key,), f"{problem}: {cure}")
    if db_path.is_dir():
        document.refuse(("db_path",), f"{str(db_path)!r} is a folder: write the path of a file")
    for key, real in (("db_path", real_db), ("results_path", real_results)):
        folder = Path(real).parent
        if not folder.is_relative_to(os.path.realpath(root)) and not folder.is_dir():
            document.refuse(
                (key,),
                f"there is no folder {str(folder)!r}, and tbv8 creates none outside of the "
                f"project: run `mkdir -p {folder}`, or write another path",
            )


def _overlap(path: str, other: str) -> bool:
    """Return True if two paths, with links resolved, are the same or one lies in the other."""
    return os.path.commonpath([path, other]) in (path, other)


def _read(root: Path, name: str, cure: str) -> Document:
    path = root / "config" / name
    if not path.is_file():
        if path.with_suffix(".yml").is_file():
            cure = f"rename {path.stem}.yml"
        raise ConfigError(f"file not found: {cure}", path=path.relative_to(root))
    return read_document(path, root=root)


def load_files[T](
    root: Path, name: str, noun: str, cure: str | None, load: Callable[[Document], T]
) -> tuple[dict[str, T], dict[str, ConfigError]]:
    """Load each file of a folder of config/; return the records and the errors, by file name."""
    loaded: dict[str, T] = {}
    broken: dict[str, ConfigError] = {}
    for path in _paths(root, name, noun, cure):
        try:
            if (twin := path.with_suffix(".yaml")) != path and twin.exists():
                raise ConfigError(
                    f"same id as {twin.name}: remove one of the two files",
                    path=path.relative_to(root),
                )
            loaded[path.stem] = load(read_document(path, root=root))
        except ConfigError as e:
            loaded.pop(path.stem, None)
            broken[path.stem] = e
    return loaded, broken


def _paths(root: Path, name: str, noun: str, cure: str | None) -> list[Path]:
    """Return the files of a folder of config/; without a `cure` the folder may be empty."""
    folder = root / "config" / name
    paths = sorted(
        path
        for path in folder.glob("[!.]*")  # no backup files of editors
        if path.suffix in (".yaml", ".yml")
    )
    if not paths and cure is not None:
        raise ConfigError(
            f"no {noun} found: write {cure}",
            path=folder.relative_to(root),
        )
    return paths


def check_name(document: Document, key: str, name: str) -> str:
    """Return a name; refuse it if it is not the name of the file."""
    if name != document.path.stem:
        document.refuse((key,), f"{name!r} must be the file's name, {document.path.stem!r}")
    if problem := name_problem(name):
        document.refuse((key,), problem)
    return name


def name_problem(name: str) -> str | None:
    """Return the problem of an id that cannot be a file's name; None if it can."""
    if re.fullmatch(NAME, name):
        return None
    return f"{name!r} must consist of letters, digits, _ and -, and begin with a letter or digit"


def _load_venue(
    root: Path,
    broken: dict[tuple[str, str], ConfigError],
    warnings: list[str],
    document: Document,
) -> Venue:
    """Return a venue; errors in the rules of an instrument go into `broken`."""
    raw = to_record(document, VenueFile)
    name = check_name(document, "venue", raw.venue)
    symbols = _symbols(document, raw.symbols)
    _check_symbols_of_history(document, symbols, find_venue(name))
    multipliers = _multipliers(document, raw, symbols)
    if len(set(raw.channels)) < len(raw.channels) or not raw.channels:
        document.refuse(
            ("channels",), "expected one or more of trades, bbo, funding and mark, each once"
        )
    for index, host in enumerate(raw.redirect_hosts):
        if not re.fullmatch(HOST, host):
            expected = f"expected a host such as data.example.com, got {host!r}"
            document.refuse(("redirect_hosts", index), expected)
    venue = Venue(
        name=name,
        enabled=raw.enabled,
        symbols=symbols,
        channels=raw.channels,
        ws_url=_url(document, "ws_url", raw.ws_url, ("ws", "wss")),
        rest_url=_url(document, "rest_url", raw.rest_url, ("http", "https")),
        archive_url=_url(document, "archive_url", raw.archive_url, ("http", "https")),
        instruments={},
        redirect_hosts=raw.redirect_hosts,
        multipliers=multipliers,
        exchange=raw.exchange,
        own_history=_own_history(document, raw, symbols, root=root),
    )
    for symbol, rules in raw.instruments.items():
        try:
            _check_instrument(document, symbol, rules, symbols)
        except ConfigError as e:
            broken[name, symbol] = e
            continue
        hours = rules.funding_hours or find_venue(name).funding_hours
        venue.instruments[symbol] = replace(rules, funding_hours=hours)
        for key in _RATES:
            rate = getattr(rules, key)
            _warn_of_percent(warnings, document, ("instruments", symbol, key), rate)
    return venue


def _own_history(
    document: Document, raw: VenueFile, symbols: Mapping[str, str | None], *, root: Path
) -> HistorySource | None:
    """Return the history source that the venue's file configures; None if it has none."""
    keys = (
        ("path", raw.path, "files", ": write both, or neither"),
        (
            "zone",
            raw.zone,
            "files",
            " and `path`: write all three, or for `doit import` its --zone",
        ),
        ("exchange", raw.exchange, "ccxt", ": write both, or neither"),
    )
    for key, value, kind, cure in keys:
        if value is not None and raw.history != kind:
            document.refuse((key,), f"needs `history: {kind}`{cure}")
    if raw.history is None:
        return None
    if find_history(raw.venue) is not None:
        document.refuse(
            ("history",),
            f"tbv8 has a history source for {raw.venue}: choose another name for this venue",
        )
    if raw.history == "ccxt":
        if raw.exchange is None:
            document.refuse(
                ("exchange",), "missing: write ccxt's name of the exchange, such as kraken"
            )
        document.choose(("exchange",), raw.exchange, dict.fromkeys(exchanges()), "exchange")
        return make_history(FromExchange(exchange=raw.exchange))
    path = _files_path(document, raw.path, symbols)
    zone = raw.zone or ""
    if zone and zone != "UTC":
        from zoneinfo import available_timezones

        document.choose(("zone",), zone, dict.fromkeys(sorted(available_timezones())), "time zone")
    return make_history(FromFiles(path=path, root=root, symbols=symbols, zone=zone))


def _files_path(document: Document, path: str | None, symbols: Collection[str]) -> str:
    key = ("path",)
    if path is None or not path.strip() or not path.isprintable():
        document.refuse(key, "missing: write the path of the files, such as bars/{symbol}.csv")
    for placeholder in re.findall(r"\{[^{}]*\}", path):
        if placeholder not in _PLACEHOLDERS:
            document.refuse(key, unknown("placeholder", placeholder, _PLACEHOLDERS))
    if len(symbols) > 1 and not any(word in path for word in _PLACEHOLDERS):
        document.refuse(
            key, f"{path!r} is the same for every symbol: write {{symbol}} in place of its name"
        )
    return path


def _symbols(document: Document, written: dict[str, str] | list[str]) -> dict[str, str | None]:
    """Return symbol -> native symbol; None if only the symbol was written."""
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
        first = next(key for key, name in written.items() if name == native)
        if first != symbol:
            document.refuse(("symbols", symbol), f"{native!r} is the native symbol of {first} too")
    return dict(written)


def _check_symbols_of_history(
    document: Document, symbols: Mapping[str, str | None], venue: KnownVenue
) -> None:
    """Refuse a symbol that the history of its venue can never have."""
    for index, (symbol, native) in enumerate(symbols.items()):
        if venue.symbols and (native or symbol) not in venue.symbols:
            is_list = isinstance(document.value["symbols"], list)
            document.refuse(
                ("symbols", index if is_list else symbol),
                f"{venue.name} has only {' and '.join(venue.symbols)}: remove {native or symbol!r}",
            )


def _multipliers(
    document: Document, raw: VenueFile, symbols: Mapping[str, str | None]
) -> dict[str, Decimal]:
    """Return the multipliers other than 1: bars are stored by them, so that none may be wrong."""
    for symbol, rules in raw.instruments.items():
        check_amount(document, ("instruments", symbol, "multiplier"), rules.multiplier)
    multipliers = {symbol: rules.multiplier for symbol, rules in raw.instruments.items()}
    for symbol, native in symbols.items():
        if native is None or (multiplier := multiplier_in(native, symbol)) == 1:
            continue
        if multipliers.get(symbol) == multiplier:
            continue
        base, _, quote = symbol.partition("/")
        in_rules = ("instruments", symbol, "multiplier")
        document.refuse(
            in_rules if symbol in multipliers else ("symbols", symbol),
            f"{native!r} trades {multiplier} {base} as one: write `multiplier: {multiplier}` into "
            f"instruments.{symbol}, or name the symbol {native.removesuffix(quote)}/{quote}",
        )
    return {symbol: number for symbol, number in multipliers.items() if number != 1}


def _check_symbol(document: Document, key: tuple[str | int, ...], symbol: str) -> None:
    if not re.fullmatch(r"[^\W_]+/[^\W_]+", symbol):  # letters and digits of any script
        document.refuse(key, f"{symbol!r} is not a symbol: write BASE/QUOTE, such as BTC/USDT")


def _check_instrument(
    document: Document, symbol: str, rules: Instrument, symbols: Mapping[str, Any]
) -> None:
    key = ("instruments", symbol)
    if symbol not in symbols:
        cure = "" if nearest(symbol, symbols) else ": add it to `symbols` too"
        document.refuse(key, f"{unknown('symbol', symbol, symbols)}{cure}")
    for name in ("tick_size", "lot_size", "max_leverage"):
        check_amount(document, (*key, name), getattr(rules, name))
    if rules.min_notional_usd != 0:
        check_amount(document, (*key, "min_notional_usd"), rules.min_notional_usd)
    if rules.funding_hours < 0 or (rules.funding_hours and _DAY_HOURS % rules.funding_hours):
        document.refuse(
            (*key, "funding_hours"), f"expected a divisor of 24, got {rules.funding_hours}"
        )
    for name in _RATES:
        _check_rate(document, (*key, name), getattr(rules, name))


def _check_rate(document: Document, key: tuple[str, ...], rate: Decimal) -> None:
    if not (rate.is_finite() and rate.copy_abs() < Decimal("0.1")):
        document.refuse(key, f"expected a fraction of the notional such as 0.00045, got {rate}")
    _check_decimals(document, key, rate)


def _warn_of_percent(
    warnings: list[str], document: Document, key: tuple[str, ...], rate: Decimal
) -> None:
    """Add a warning if a fee or a funding rate looks like percent."""
    if rate.copy_abs() >= _PERCENT:
        percent, fraction = plain(rate * 100), plain(rate / 100)
        warnings.append(
            f"{document.place(key)}: {'.'.join(key)}: {rate} is {percent} % of the notional: "
            f"if you meant {rate} %, write {fraction}"
        )


def check_amount(document: Document, key: Key, value: Decimal) -> None:
    """Refuse an amount that is not above 0, too large, or with too many decimals."""
    if not (value.is_finite() and value > 0):
        document.refuse(key, f"expected a number above 0, got {value}")
    if value >= _AMOUNT_LIMIT:
        document.refuse(key, f"expected a number below {_AMOUNT_LIMIT}, got {value}")
    _check_decimals(document, key, value)


def _check_decimals(document: Document, key: Key, value: Decimal) -> None:
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


class _BrokenVenues(msgspec.Struct, frozen=True):
    """Errors of whole venues, and errors of single instruments of other venues."""

    venues: dict[str, ConfigError]
    instruments: dict[tuple[str, str], ConfigError]

    def check(self, venue: str) -> None:
        """Raise the error of a venue, if there is one."""
        if venue in self.venues:
            raise self.venues[venue]

    def check_rules(self, venue: str, symbol: str) -> None:
        """Raise the error of the instrument that was meant for a symbol without rules."""
        for (name, written), error in self.instruments.items():
            if name == venue and (written == symbol or nearest(written, [symbol])):
                raise error


class _Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs for loading a strategy, apart from its own file.

    `without_history` collects the errors about the history of strategies that are otherwise valid.
    """

    root: Path
    history: HistorySection
    refresh: Timeframe
    document: Document
    overrides: Mapping[str, str]
    now_ms: int
    history_span: Callable[[Venue], Span | None]
    venues: Mapping[str, Venue]
    broken: _BrokenVenues
    warnings: list[str]
    without_history: dict[str, ConfigError]


class _Setting(msgspec.Struct, frozen=True):
    """A configured text, its place, and its rank: history.yaml, strategy, command line.

    Without a document it comes from the command line.
    """

    text: str | None
    key: tuple[str, ...]
    rank: int
    document: Document | None = None

    def refuse(self, problem: str) -> NoReturn:
        if self.document is None:
            raise ConfigError(problem, key=self.key[-1])
        self.document.refuse(self.key, problem)

    def describe(self, time_ms: int) -> str:
        """Return a time together with its place in a file."""
        place = f" in {self.document.place(self.key)}" if self.document else ""
        return f"{iso(time_ms)}{place}"

    def time_ms(self) -> int:
        try:
            ts_ms = parse_time(self.text or "")
        except ValueError as e:
            self.refuse(str(e))
        if ts_ms % MINUTE_MS:
            self.refuse(f"{self.text!r} is not a whole minute: leave the seconds out")
        if ts_ms not in _TIMES_MS:
            self.refuse(f"{self.text!r} is out of range: write a year from 1970 to 9998")
        return ts_ms


def _settings(
    inputs: _Inputs,
    backtest: BacktestSection | None,
    document: Document | None,
    option: str,
    key: str,
) -> list[_Setting]:
    """Return every setting written for `key`; the last one takes effect."""
    settings = [_Setting(getattr(inputs.history, key), ("history", key), 0, inputs.document)]
    if backtest is not None and getattr(backtest, key) is not None:
        settings.append(_Setting(getattr(backtest, key), ("backtest", key), 1, document))
    if option in inputs.overrides:
        settings.append(_Setting(inputs.overrides[option], (option,), 2))
    return settings


def _resolve_span(
    inputs: _Inputs, backtest: BacktestSection | None, document: Document | None
) -> tuple[str, Span, tuple[Span, ...]]:
    """Return the data venue, the configured span limited to its history, and the other parts.

    Those are the parts before and after the history that a strategy or the command line names.

    Settings that are overridden are checked too, so that each file is correct by itself.
    """
    for setting in _settings(inputs, backtest, document, "venue", "market_data_venue"):
        name = str(setting.text)
        if name not in inputs.venues and name not in inputs.broken.venues:
            setting.refuse(unknown("venue", name, inputs.venues))
    for start in _settings(inputs, backtest, document, "start", "start_date"):
        start_ms = start.time_ms()
    for end in _settings(inputs, backtest, document, "end", "end_date"):
        end_ms = inputs.refresh.floor(inputs.now_ms) if end.text is None else end.time_ms()
    span = Span(start_ms, _limit_to_now(inputs, start, start_ms, end, end_ms))
    venue_span = inputs.history_span(inputs.venues[name]) if name in inputs.venues else None
    available = venue_span or span
    if not span.intersection(available):
        starts_late = start_ms >= available.end_ms
        (start if starts_late else end).refuse(
            f"{name} has no history of {span}, only of {available}: write dates in there"
        )
    in_history = span.intersection(available)
    configured = Span(
        start_ms if start.rank else in_history.start_ms, end_ms if end.rank else in_history.end_ms
    )
    outside = tuple(gaps(configured, [available])) if venue_span else ()
    span = in_history
    if backtest is not None and document is not None:
        _check_warm_up(document, backtest, span, venue=name, venue_span=venue_span)
    return name, span, outside


def _check_warm_up(
    document: Document,
    backtest: BacktestSection,
    span: Span,
    *,
    venue: str,
    venue_span: Span | None,
) -> None:
    """Refuse a warm-up that begins before the venue's history, or a start that is not 00:00 UTC."""
    key = ("backtest", "warm_up")
    warm_up_ms = _warm_up_ms(document, backtest.warm_up)
    if not warm_up_ms:
        return
    if span.start_ms % DAY_MS:
        document.refuse(
            key,
            f"a span after a warm-up must start at 00:00 UTC, not at {iso(span.start_ms)}: write a "
            "start_date without a time",
        )
    begin_ms, first_ms = span.start_ms - warm_up_ms, venue_span.start_ms if venue_span else 0
    if begin_ms < first_ms:
        earliest_ms = -(-(first_ms + warm_up_ms) // DAY_MS) * DAY_MS
        document.refuse(
            key,
            f"{venue} has no history {backtest.warm_up} before {iso(span.start_ms)}, it begins at "
            f"{iso(first_ms)}: write start_date: {iso_day(earliest_ms)} or later",
        )


def _warm_up_ms(document: Document, text: str) -> int:
    key = ("backtest", "warm_up")
    if text in ("0m", "0h", "0d"):
        return 0
    try:
        warm_up_ms = parse_duration_ms(text)
    except ValueError:
        document.refuse(key, f"{text!r} is not a duration: write 30d, 36h or 0d")
    if warm_up_ms % MINUTE_MS:
        document.refuse(key, f"{text!r} is not whole minutes: write 30d, 36h or 0d")
    return warm_up_ms


def _limit_to_now(
    inputs: _Inputs, start: _Setting, start_ms: int, end: _Setting, end_ms: int
) -> int:
    """Return the end, no later than now; errors blame the setting of the higher rank."""
    if end.text is not None and end_ms <= start_ms:
        if start.rank > end.rank:
            start.refuse(f"{start.text!r} is not before the end, {end.describe(end_ms)}")
        end.refuse(f"{end.text!r} is not after the start, {start.describe(start_ms)}")
    now_ms = ONE_MINUTE.floor(inputs.now_ms)
    if start_ms >= now_ms:
        start.refuse(f"{start.text!r} is not before now, {iso(now_ms)}: write an earlier time")
    if start_ms >= end_ms:
        start.refuse(
            f"{start.text!r} is not before the end, {iso(end_ms)}, the last full "
            f"{inputs.refresh} before now: write an earlier time"
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


def _load_strategies(
    inputs: _Inputs,
) -> tuple[dict[str, Strategy], dict[str, Strategy], dict[str, ConfigError]]:
    """Return the valid strategies, those valid for paper only, and the errors by name."""
    cure = "config/strategies/btc_usdt_perp_v1.yaml, the README shows one"
    loaded, errors = load_files(
        inputs.root, "strategies", "strategy", cure, partial(_load_strategy, inputs)
    )
    paper_only = {name: loaded.pop(name) for name in inputs.without_history if name in loaded}
    errors |= {name: inputs.without_history[name] for name in paper_only}
    return loaded, paper_only, dict(sorted(errors.items()))


def _load_strategy(inputs: _Inputs, document: Document) -> Strategy:
    raw = to_record(document, StrategyFile)
    strategy_id = check_name(document, "strategy_id", raw.strategy_id)
    symbols = _strategy_symbols(document, raw)
    try:
        history = _strategy_history(inputs, document, raw, symbols)
    except ConfigError as e:  # a paper session reads the bars of its own venue
        with suppress(ConfigError):
            of_paper = (raw.routing.primary, Span(0, 0), ())
            strategy = _make_strategy(inputs, document, raw, symbols, of_paper)
            inputs.without_history[strategy_id] = e
            return strategy
        raise
    return _make_strategy(inputs, document, raw, symbols, history)


def _make_strategy(
    inputs: _Inputs,
    document: Document,
    raw: StrategyFile,
    symbols: tuple[str, ...],
    history: tuple[str, Span, tuple[Span, ...]],
) -> Strategy:
    """Return a strategy with its data venue, its span and the parts outside of the history."""
    data_venue, span, not_in_history = history
    timeframe = _timeframe(document, ("timeframe",), raw.timeframe)
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
        source=Series(data_venue, symbols[0]),
        span=span,
        not_in_history=not_in_history,
        warm_up_ms=_warm_up_ms(document, raw.backtest.warm_up),
        detail="none" if timeframe == ONE_MINUTE else raw.backtest.detail,
        funding=_funding_mode(raw, data_venue, instruments),
        instruments=instruments,
        starting_balance_usd=raw.backtest.starting_balance_usd,
        slippage_ticks=raw.backtest.slippage_ticks,
        simulated=find_venue(data_venue).simulated,
        root=inputs.root,
    )


def _strategy_history(
    inputs: _Inputs, document: Document, raw: StrategyFile, symbols: tuple[str, ...]
) -> tuple[str, Span, tuple[Span, ...]]:
    """Return the result of `_resolve_span`, for a data venue that has every symbol."""
    resolved = _resolve_span(inputs, raw.backtest, document)
    name = resolved[0]
    if name in inputs.broken.venues:
        raise inputs.broken.venues[name]
    known = inputs.venues[name].symbols
    for key, symbol in zip(_symbol_keys(raw), symbols, strict=True):
        if symbol not in known:
            cure = ""
            if not nearest(symbol, known):
                of_venue = find_venue(name).symbols
                file = f"config/venues/{name}.yaml"
                can_add = not of_venue or symbol in of_venue
                add = f"add it to `symbols` of {file}, or " if can_add else ""
                cure = f": {add}write another backtest.market_data_venue"
            document.refuse(key, f"{unknown(f'symbol of {name}', symbol, known)}{cure}")
    _check_has_bars(inputs, document, raw, name, resolved[1])
    return resolved


def _check_has_bars(
    inputs: _Inputs, document: Document, raw: StrategyFile, venue: str, span: Span
) -> None:
    """Refuse a span in which no whole bar of a timeframe lies."""
    main = _timeframe(document, ("timeframe",), raw.timeframe)
    run = Span(span.start_ms - _warm_up_ms(document, raw.backtest.warm_up), span.end_ms)
    needed: list[tuple[Key, Timeframe, Span]] = [(("timeframe",), main, main.whole(span))]
    for further in _further_bars(document, raw.bars, main):
        whole = further.whole(main.whole(run))
        needed.append((("bars", raw.bars.index(further.text)), further, whole))
    for key, timeframe, whole in needed:
        if whole:
            continue
        if span == inputs.history_span(inputs.venues[venue]):
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
        _check_symbol(document, key, symbol)
        if symbol in symbols[:index]:
            document.refuse(key, f"{symbol!r} is given twice, remove one")
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
        further = _timeframe(document, ("bars", index), text)
        if further == timeframe:
            document.refuse(("bars", index), f"{text!r} is the main timeframe: remove it")
        if further in further_bars:
            document.refuse(("bars", index), f"{text!r} is given twice, remove one")
        for earlier in (timeframe, *further_bars):
            if earlier.label == further.label:
                step, unit = earlier.label
                document.refuse(
                    ("bars", index),
                    f"NautilusTrader gives bars of {text} and {earlier} the same name, "
                    f"{step}-{unit}, so a strategy could not tell them apart: remove one",
                )
        further_bars.append(further)
    return tuple(sorted(further_bars, key=length, reverse=True))


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
    key, written = ("backtest", "funding"), raw.backtest.funding
    if written is None:
        return None
    if written == "none":
        return Decimal(0)
    if written == "history":
        return None
    try:
        rate = Decimal(str(written))
    except ArithmeticError:
        document.refuse(
            key, f"expected history, none or a rate per 8 h such as 0.0001, got {written!r}"
        )
    _check_rate(document, key, rate)
    _warn_of_percent(warnings, document, key, rate)
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
    inputs: _Inputs,
    funding: Decimal | None,
) -> dict[str, dict[str, Instrument]]:
    """Return the rules of every symbol at both venues, with the `funding` of the backtest."""
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
                able = [
                    v.name for v in inputs.venues.values() if v.instruments.keys() >= {*symbols}
                ]
                alternatives = f"one of {', '.join(able)}, or " if able else ""
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
    """Return what to write into a venue's file for the rules of a symbol, and where."""
    numbers = 'tick_size: "0.1", lot_size: "0.001", maker_fee: "0.0002", taker_fee: "0.0005"'
    line = f"{symbol}: {{{numbers}, max_leverage: 20}}"
    path = root / "config" / "venues" / f"{venue.name}.yaml"
    document = read_document(path if path.is_file() else path.with_suffix(".yml"), root=root)
    also = ", with the venue's own numbers"
    if symbol not in venue.symbols:
        is_list = isinstance(document.value["symbols"], list)
        entry = f"{symbol}" if is_list else f"`{symbol}: its name at {venue.name}`"
        also += f"; and {entry} into {document.place(('symbols',))}, `symbols:`"
    place = document.place(("instruments",))
    if not document.value.get("instruments"):
        where = (
            f"in place of {place}" if "instruments" in document.value else f"into {document.path}"
        )
        return f"`instruments: {{{line}}}` {where}{also}"
    first = document.place(("instruments", next(iter(document.value["instruments"]))))
    if place == first:
        return f"`{line}` into the braces of {place}{also}"
    return f"`  {line}` below {place}, `instruments:`{also}"


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
            written = text.removesuffix("Config")
            document.refuse(key, f"holds the params of {strategy}: write {written}")
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
    accepted = params(classes_by_name[f"{class_name}Config"], classes_by_name)
    for name in values:
        if name in GIVEN:
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
        return expected(str(e), value)
    return None


def _check_markets(
    document: Document,
    path: Path,
    class_name: str,
    symbols: tuple[str, ...],
    bars: tuple[Timeframe, ...],
) -> None:
    """Refuse several symbols or further bars if the config class takes one of each."""
    classes_by_name = classes(path)
    name = f"{class_name}Config"
    taken = given(classes_by_name[name], classes_by_name)
    if not taken.closed:
        return
    if len(symbols) > 1 and taken.required.keys().isdisjoint({"instrument_ids", "bar_types"}):
        document.refuse(
            ("symbols",),
            f"{name} takes one instrument_id, so only {symbols[0]} would be traded: write `symbol: "
            f"{symbols[0]}`, or give {name} the field instrument_ids",
        )
    if bars and "bar_types" not in taken.required:
        document.refuse(
            ("bars",),
            f"{name} takes one bar_type, so bars of {', '.join(map(str, bars))} would not be used: "
            f"remove this key, or give {name} the field bar_types",
        )
