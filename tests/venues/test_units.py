"""Markets of 1000 units: every price and amount is of one unit, to the last bit."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.market import MINUTE_MS, Bar, Bbo, Trade
from tbv8.venues.base import Ack, Listing, Request, Rows
from tbv8.venues.units import (
    UnitRows,
    multiplier_in,
    unit_amount,
    unit_feed,
    unit_price,
    unit_request,
)

THOUSAND = Listing(native="kPEPE", multiplier=Decimal(1000))
ONE = Listing(native="BTC")
TRADE = Trade("hyperliquid", "PEPE/USDT", 1, "a", 0.012345, 3.5, "buy")
UNIT_TRADE = Trade("hyperliquid", "PEPE/USDT", 1, "a", 0.000012345, 3500.0, "buy")
QUOTE = Bbo("hyperliquid", "PEPE/USDT", 1, 0.0123, 1.0, None, None)


@pytest.mark.parametrize(
    ("native", "symbol", "multiplier"),
    [
        ("kPEPE", "PEPE/USDT", 1000),
        ("1000PEPEUSDT", "PEPE/USDT", 1000),
        ("1000000MOGUSDT", "MOG/USDT", 1_000_000),
        ("1MBABYDOGEUSDT", "BABYDOGE/USDT", 1_000_000),
        ("10000LADYSUSDT", "LADYS/USDT", 10_000),
        ("PEPEUSDT", "PEPE/USDT", 1),
        ("kPEPE", "kPEPE/USDT", 1),
        ("1000PEPEUSDT", "1000PEPE/USDT", 1),
        ("100PEPEUSDT", "PEPE/USDT", 1),
        ("1INCHUSDT", "INCH/USDT", 1),
        ("XBTUSDTM", "BTC/USDT", 1),
    ],
)
def test_a_native_symbol_has_its_multiplier_in_its_name(
    native: str, symbol: str, multiplier: int
) -> None:
    assert multiplier_in(native, symbol) == multiplier


@given(
    units=st.integers(1, 10**12),
    places=st.integers(0, 8),
    multiplier=st.sampled_from([10, 1000, 10_000, 1_000_000]),
)
def test_decimal_numbers_are_divided_and_multiplied_in_decimal(
    units: int, places: int, multiplier: int
) -> None:
    sent = float(f"{units}e-{places}")
    digits = len(str(multiplier)) - 1

    assert unit_price(sent, Decimal(multiplier)) == float(f"{units}e-{places + digits}")
    assert unit_amount(sent, Decimal(multiplier)) == float(f"{units}e{digits - places}")


class OneFrame:
    """A feed that finds the same events in each frame."""

    def subscribe(self, symbol: str, channel: str) -> str:
        return f"{symbol} {channel}"

    unsubscribe = subscribe

    def parse(self, _frame: bytes) -> list[Trade | Bbo | Ack]:
        return [TRADE, QUOTE, Ack("trades", "PEPE/USDT")]


def test_a_feed_of_a_multiplied_market_has_events_per_unit() -> None:
    events = unit_feed(OneFrame(), {"PEPE/USDT": THOUSAND}).parse(b"")

    quote = Bbo("hyperliquid", "PEPE/USDT", 1, 0.0000123, 1000.0, None, None)
    assert events == [UNIT_TRADE, quote, Ack("trades", "PEPE/USDT")]


def test_a_feed_without_a_multiplied_market_is_unchanged() -> None:
    feed = OneFrame()

    assert unit_feed(feed, {"PEPE/USDT": ONE}) is feed


def test_a_reply_of_several_pages_is_converted_once() -> None:
    last = Request(path="/2", parse=lambda _reply: [TRADE, TRADE])
    first: Request[list[Trade]] = Request(path="/1", parse=lambda _reply: last)

    page = unit_request(first, THOUSAND).parse(b"")

    assert isinstance(page, Request)
    assert page.path == "/2"
    assert page.parse(b"") == [UNIT_TRADE, UNIT_TRADE]
    assert unit_request(first, ONE) is first


def test_bars_of_a_history_are_per_unit() -> None:
    bar = Bar(MINUTE_MS, 0.0123, 0.0125, 0.0121, 0.0124, 12.5)

    class OneBar(Rows):
        def fetch_direct(self, _native: str, _span: object) -> pa.Table:
            names = ("ts_ms", "open", "high", "low", "close", "volume")
            return pa.table({name: [getattr(bar, name)] for name in names})

    table = UnitRows(OneBar(), Decimal(1000)).fetch_direct("kPEPE", None)  # type: ignore[arg-type]

    assert table.to_pylist() == [
        {
            "ts_ms": MINUTE_MS,
            "open": 0.0000123,
            "high": 0.0000125,
            "low": 0.0000121,
            "close": 0.0000124,
            "volume": 12500.0,
        }
    ]
    assert table.schema.types[1:] == [pa.float64()] * 5
