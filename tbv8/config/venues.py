"""The venues of `config/venues/`, each checked by itself."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Collection, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.config.document import Document, Key, nearest, plain, to_record, unknown
from tbv8.config.files import HOST, Instrument, VenueFile
from tbv8.config.folder import check_name, load_files
from tbv8.config.records import Venue
from tbv8.config.values import check_amount, check_decimals
from tbv8.errors import ConfigError
from tbv8.venues.base import ExchangeOrigin, FilesOrigin, HistorySource
from tbv8.venues.base import Venue as KnownVenue
from tbv8.venues.ccxt import exchanges
from tbv8.venues.registry import find_history, find_venue, make_history
from tbv8.venues.units import multiplier_in

QUOTES = ("USD", "USDT", "USDC")
"""The quote currencies that count as dollars."""
_DAY_HOURS = 24
_RATES = ("maker_fee", "taker_fee", "funding_rate_8h")
_PLACEHOLDERS = ("{symbol}", "{base}", "{quote}")
_PERCENT = Decimal("0.01")  # no venue charges this much: probably 0.045 % written as 0.045


def load_venues(root: Path, warnings: list[str]) -> tuple[dict[str, Venue], BrokenVenues]:
    """Return the venues without errors, and the errors of the others."""
    broken = BrokenVenues({}, {})
    cure = "`{venue: sample, symbols: [BTC/USDT]}` into config/venues/sample.yaml"
    venues, broken_venues = load_files(
        root, "venues", "venue", cure, partial(_load_venue, root, broken.instruments, warnings)
    )
    broken.venues.update(broken_venues)
    return venues, broken


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
            warn_of_percent(warnings, document, ("instruments", symbol, key), rate)
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
        return make_history(ExchangeOrigin(exchange=raw.exchange))
    path = _files_path(document, raw.path, symbols)
    zone = raw.zone or ""
    if zone and zone != "UTC":
        from zoneinfo import available_timezones

        document.choose(("zone",), zone, dict.fromkeys(sorted(available_timezones())), "time zone")
    return make_history(FilesOrigin(path=path, root=root, symbols=symbols, zone=zone))


def _files_path(document: Document, path: str | None, symbols: Collection[str]) -> str:
    key = ("path",)
    if path is None or not path.strip() or not path.isprintable():
        document.refuse(key, "missing: write the path of the files, such as bars/{symbol}.csv")
    for placeholder in re.findall(r"\{[^{}]*\}", path):
        if placeholder not in _PLACEHOLDERS:
            document.refuse(key, unknown("placeholder", placeholder, _PLACEHOLDERS))
    if len(symbols) > 1 and not any(placeholder in path for placeholder in _PLACEHOLDERS):
        document.refuse(
            key, f"{path!r} is the same for every symbol: write {{symbol}} in place of its name"
        )
    return path


def _symbols(document: Document, raw: dict[str, str] | list[str]) -> dict[str, str | None]:
    """Return the native symbol of each symbol; None if only the symbol is written."""
    if not raw:
        document.refuse(("symbols",), "expected at least one symbol, such as BTC/USDT")
    if isinstance(raw, list):
        for index, symbol in enumerate(raw):
            check_symbol(document, ("symbols", index), symbol)
            if symbol in raw[:index]:
                document.refuse(("symbols", index), f"{symbol!r} is given twice: remove one")
        return dict.fromkeys(raw)
    for symbol, native in raw.items():
        check_symbol(document, ("symbols", symbol), symbol)
        if not native.strip():
            document.refuse(("symbols", symbol), f"expected the venue's own name, got {native!r}")
        first = next(key for key, name in raw.items() if name == native)
        if first != symbol:
            document.refuse(("symbols", symbol), f"{native!r} is the native symbol of {first} too")
    return dict(raw)


def _check_symbols_of_history(
    document: Document, symbols: Mapping[str, str | None], venue: KnownVenue
) -> None:
    """Refuse a symbol that its venue can never have."""
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
    """Return the multipliers other than 1; refuse one that contradicts its native symbol."""
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


def check_symbol(document: Document, key: Key, symbol: str) -> None:
    """Refuse a text that is not a symbol."""
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
        check_rate(document, (*key, name), getattr(rules, name))


def check_rate(document: Document, key: Key, rate: Decimal) -> None:
    """Refuse a rate that cannot be a fraction of the notional."""
    if not (rate.is_finite() and rate.copy_abs() < Decimal("0.1")):
        document.refuse(key, f"expected a fraction of the notional such as 0.00045, got {rate}")
    check_decimals(document, key, rate)


def warn_of_percent(
    warnings: list[str], document: Document, key: tuple[str, ...], rate: Decimal
) -> None:
    """Add a warning if a fee or a funding rate looks like percent."""
    if text := percent_text(rate):
        warnings.append(f"{document.place(key)}: {'.'.join(key)}: {text}")


def percent_text(rate: Decimal) -> str:
    """Return the value of a rate that looks like percent, and the cure; "" for any other rate."""
    if rate.copy_abs() < _PERCENT:
        return ""
    percent, fraction = plain(rate * 100), plain(rate / 100)
    return f"{rate} is {percent} % of the notional: if you meant {rate} %, write {fraction}"


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


class BrokenVenues(msgspec.Struct, frozen=True):
    """Errors of whole venues, and errors of single instruments of other venues."""

    venues: dict[str, ConfigError]
    instruments: dict[tuple[str, str], ConfigError]

    def check(self, venue: str) -> None:
        """Raise the error of a venue, if there is one."""
        if venue in self.venues:
            raise self.venues[venue]

    def check_rules(self, venue: str, symbol: str) -> None:
        """Raise the error of the instrument that was meant for a symbol without rules."""
        for (name, configured), error in self.instruments.items():
            if name == venue and (configured == symbol or nearest(configured, [symbol])):
                raise error
