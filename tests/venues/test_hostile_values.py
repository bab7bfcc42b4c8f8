"""Every field of every message of every venue, with values that no market makes.

What comes of it is a VenueError, or a value that can be written and could be meant.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from math import isfinite
from typing import Any

import pytest

from tbv8.errors import VenueError
from tbv8.market import Bar, Bbo, Span, Trade, parse_time
from tbv8.venues.base import Listing
from tbv8.venues.binance.host import RequestFailedError
from tbv8.venues.binance.minutes import MinuteBars
from tbv8.venues.binance.rest import _parse_klines
from tbv8.venues.bybit.live import BybitFeed, BybitLive
from tbv8.venues.hyperliquid.live import HyperliquidFeed, HyperliquidLive
from tbv8.venues.mexc.live import MexcFeed, MexcLive
from tests.venues.frames import check_event

NOW = 1_790_164_800_000
HOUR = Span(NOW, NOW + 3_600_000)
_HELD = "HELD BY A VALUE"
ODD = [
    "null", "[]", "{}", "[[]]", '""', '"x"', "0", "-1", "-0.0", "0.5", "1e-400", "-1e-9", "true",
    "1e308", "-1e308", "1e999999", '"1e999999"', "NaN", "Infinity", '"nan"', '"inf"', '"-inf"',
    "1" + "0" * 30, "-1" + "0" * 30, "9" * 5000, '"' + "9" * 5000 + '"', "9007199254740991",
    str(2**63), str(2**64), str(parse_time("2100-01-01")), '"\\u0000"', '"\\ud800"', '"\\u001b[2J"',
    '"' + "a" * 10_000 + '"', "[" * 5000, '"\\u0663"',
]  # fmt: skip

MEXC_BTC = Listing(native="BTC_USDT", contract_size=Decimal("0.0001"))
HYPER_BTC = Listing(native="BTC")
MEXC, HYPER, BYBIT = MexcLive(), HyperliquidLive(), BybitLive()
BYBIT_BTC = Listing(native="BTCUSDT")


def mexc_reply(data: Any) -> Any:
    return {"success": True, "code": 0, "data": data, "message": ""}


DEAL = {"p": 77525.9, "v": 3, "T": 2, "O": 3, "M": 1, "t": NOW, "i": "16005949540"}
BOOK = {"asks": [[77526.0, 5, 1]], "bids": [[77525.9, 4, 1]], "version": 7}
KLINES = {
    "time": [NOW // 1000, NOW // 1000 + 60],
    **{name: [2.0, 2.0] for name in ("open", "high", "low", "close", "vol", "amount")},
    **{name: [2.0, 2.0] for name in ("realOpen", "realHigh", "realLow", "realClose")},
}
TRADE = {"coin": "BTC", "side": "A", "px": "84143.0", "sz": "0.00036", "time": NOW, "tid": 104}
LEVELS = [[{"px": "1.0", "sz": "2.0", "n": 1}], [{"px": "1.5", "sz": "2.0", "n": 1}]]
CANDLE = {"t": NOW, "T": NOW + 59_999, "s": "BTC", "i": "1m", "n": 3} | dict.fromkeys(
    "ochlv", "2.0"
)
CONTRACT = {"symbol": "BTC_USDT", "contractSize": 0.0001, "state": 0}


def bybit_reply(*rows: Any) -> Any:
    result = {"category": "linear", "list": rows, "nextPageCursor": ""}
    return {"retCode": 0, "retMsg": "OK", "result": result, "time": NOW}


PRINT = {"T": NOW, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "2.5", "i": "8c93-9a", "seq": 9}
PRINT |= {"BT": False, "RPI": False}
RECENT = {"execId": "8c93-9a", "price": "2.5", "size": "0.001", "side": "Buy", "time": str(NOW)}
SIDES = {"b": [["2.5", "1"]], "a": [["3.5", "0.01"]], "u": 7, "seq": 9}
ROW = [str(NOW), "2.0", "2.0", "2.0", "2.0", "3.0", "6.0"]
INSTRUMENT = {"symbol": "BTCUSDT", "contractType": "LinearPerpetual", "status": "Trading"}


def mexc_frame(raw: bytes) -> Any:
    feed = MexcFeed({"BTC/USDT": MEXC_BTC})
    feed.subscribe("BTC/USDT", "bbo")
    return feed.parse(raw)


def hyper_frame(raw: bytes) -> Any:
    return HyperliquidFeed({"BTC/USDT": HYPER_BTC}).parse(raw)


def bybit_frame(raw: bytes) -> Any:
    return BybitFeed({"BTC/USDT": BYBIT_BTC}).parse(raw)


def topic(name: str, data: Any, **more: Any) -> Any:
    return {"topic": f"{name}.BTCUSDT", "type": "snapshot", "ts": NOW, "data": data, **more}


def channel(name: str, data: Any, **more: Any) -> Any:
    return {"channel": name, "data": data, **more}


MESSAGES: dict[str, tuple[Callable[[bytes], Any], Any]] = {
    "bybit trades": (bybit_frame, topic("publicTrade", [PRINT, PRINT])),
    "bybit book": (bybit_frame, topic("orderbook.1", SIDES, cts=NOW)),
    "bybit ack": (
        bybit_frame,
        {"success": True, "ret_msg": "", "req_id": "publicTrade.BTCUSDT", "op": "subscribe"},
    ),
    "bybit clock": (
        BYBIT.clock_request().parse,
        {"retCode": 0, "result": {"timeNano": str(NOW * 10**6)}},
    ),
    "bybit markets": (BYBIT.listings_request().parse, bybit_reply(INSTRUMENT, INSTRUMENT)),
    "bybit recent": (
        BYBIT.recent_trades_request("BTC/USDT", BYBIT_BTC).parse,
        bybit_reply(RECENT, RECENT),
    ),
    "bybit bbo": (
        BYBIT.bbo_request("BTC/USDT", BYBIT_BTC).parse,
        {"retCode": 0, "result": SIDES | {"ts": NOW, "cts": NOW}},
    ),
    "bybit minutes": (BYBIT.minutes_request(BYBIT_BTC, HOUR).parse, bybit_reply(ROW, ROW)),
    "mexc deals": (mexc_frame, channel("push.deal", [DEAL, DEAL], symbol="BTC_USDT", ts=NOW)),
    "mexc depth": (
        mexc_frame,
        channel("push.depth.full", BOOK | {"cts": NOW}, symbol="BTC_USDT", ts=NOW),
    ),
    "mexc ack": (mexc_frame, channel("rs.sub.deal", "success", ts=NOW)),
    "mexc error": (mexc_frame, channel("rs.error", "no", ts=NOW)),
    "mexc clock": (MEXC.clock_request().parse, mexc_reply(NOW)),
    "mexc markets": (MEXC.listings_request().parse, mexc_reply([CONTRACT])),
    "mexc recent": (
        MEXC.recent_trades_request("BTC/USDT", MEXC_BTC).parse,
        mexc_reply([DEAL, DEAL]),
    ),
    "mexc book": (
        MEXC.bbo_request("BTC/USDT", MEXC_BTC).parse,
        mexc_reply(BOOK | {"timestamp": NOW}),
    ),
    "mexc minutes": (MEXC.minutes_request(MEXC_BTC, HOUR).parse, mexc_reply(KLINES)),
    "hyperliquid trades": (hyper_frame, channel("trades", [TRADE, TRADE])),
    "hyperliquid bbo": (
        hyper_frame,
        channel("bbo", {"coin": "BTC", "time": NOW, "bbo": [LEVELS[0][0], LEVELS[1][0]]}),
    ),
    "hyperliquid ack": (
        hyper_frame,
        channel(
            "subscriptionResponse",
            {"method": "subscribe", "subscription": {"type": "trades", "coin": "BTC"}},
        ),
    ),
    "hyperliquid error": (hyper_frame, channel("error", "no")),
    "hyperliquid clock": (HYPER.clock_request().parse, {"specialStatuses": None, "time": NOW}),
    "hyperliquid markets": (
        HYPER.listings_request().parse,
        {"universe": [{"name": "BTC", "szDecimals": 5, "maxLeverage": 40, "isDelisted": False}]},
    ),
    "hyperliquid recent": (
        HYPER.recent_trades_request("BTC/USDT", HYPER_BTC).parse,
        [TRADE, TRADE],
    ),
    "hyperliquid book": (
        HYPER.bbo_request("BTC/USDT", HYPER_BTC).parse,
        {"coin": "BTC", "time": NOW, "levels": LEVELS},
    ),
    "hyperliquid minutes": (HYPER.minutes_request(HYPER_BTC, HOUR).parse, [CANDLE, CANDLE]),
}


def held_out(value: Any) -> Iterator[Any]:
    """Yield copies of a JSON value with one value in it, whole or part, marked to be replaced."""
    yield _HELD
    if isinstance(value, dict):
        for key, item in value.items():
            for changed in held_out(item):
                yield value | {key: changed}
    elif isinstance(value, list):
        for at, item in enumerate(value):
            for changed in held_out(item):
                yield [*value[:at], changed, *value[at + 1 :]]


def odd_messages(message: Any) -> Iterator[bytes]:
    for stored in held_out(message):
        text = json.dumps(stored)
        for odd in ODD:
            yield text.replace(f'"{_HELD}"', odd).encode()


def check(value: Any) -> None:
    """Assert that a value can be written, and could be meant."""
    if isinstance(value, Trade | Bbo):
        check_event(value)
        with sqlite3.connect(":memory:") as connection:
            columns = [getattr(value, name) for name in value.__struct_fields__]
            connection.execute(f"SELECT {', '.join('?' * len(columns))}", columns)
    elif isinstance(value, Bar):
        assert HOUR.start_ms <= value.ts_ms < HOUR.end_ms
        assert isinstance(value.is_possible, bool)
    elif isinstance(value, Listing):
        size = value.contract_size
        assert size is None or Decimal("1e-12") <= size <= Decimal("1e12")
    elif isinstance(value, list | tuple):
        for item in value:
            check(item)
    elif isinstance(value, dict):
        check(list(value.values()))
    elif isinstance(value, int):
        assert 0 < value < parse_time("2100-01-01")


@pytest.mark.parametrize("name", MESSAGES)
def test_impossible_values_are_refused_in_every_field(name: str) -> None:
    parse, message = MESSAGES[name]
    check(parse(json.dumps(message).encode()))

    output = []
    for raw in odd_messages(message):
        try:
            value = parse(raw)
        except VenueError as e:
            output.append(str(e))
        else:
            check(value)
    assert output
    assert max(map(len, output)) < 800
    assert not [line for line in output if "\n" in line]


def test_rows_of_binance_with_impossible_values_are_refused_or_dropped() -> None:
    row = [NOW, "2.0", "2.0", "2.0", "2.0", "3.0", NOW + 59_999, "6.0", 1, "1.0", "2.0", "0"]
    odd: list[Any] = [
        None, [], {}, "", "x", 0, -1, -1.5, True, 1e308, float("nan"), float("inf"), "nan", "inf",
        "-inf", "1e999999", "-1", "0", 10**30, -(10**30), 10**400, "9" * 5000, 2**53 - 1, 2**63,
        "\x00", "\ud800", "٣",
    ]  # fmt: skip

    for place in range(len(row)):
        for value in odd:
            rows = [[*row[:place], value, *row[place + 1 :]], [NOW + 60_000, *row[1:]]]
            try:
                found = _parse_klines(rows, HOUR, {})
            except RequestFailedError:
                continue
            assert isinstance(found, MinuteBars)
            assert found.ts_ms.tolist()[-1] == NOW + 60_000
            for column in found.values:
                assert all(isfinite(number) and 0 <= number <= 1e24 for number in column.tolist())


@pytest.mark.parametrize(
    "size",
    ["-1", "0", "1e-13", "1e13", '"-0.0001"', "1e999999", '"NaN"', '"Infinity"', "null", "9" * 5000,
     "0." + "1" * 5000],
)  # fmt: skip
def test_an_impossible_contract_size_makes_only_its_market_unusable(
    size: str,
) -> None:
    others = [{"symbol": "ETH_USDT", "contractSize": 0.01, "state": 0}]
    text = json.dumps(mexc_reply([CONTRACT | {"contractSize": _HELD}, *others]))

    markets = MEXC.listings_request().parse(text.replace(f'"{_HELD}"', size).encode())

    assert markets["ETH_USDT"] == Listing(native="ETH_USDT", contract_size=Decimal("0.01"))
    broken = markets["BTC_USDT"]
    assert broken.contract_size is None
    assert broken.problem is not None
    assert "contract size" in broken.problem
    assert len(broken.problem) < 100
    with pytest.raises(VenueError, match=r"BTC_USDT is .* contract size"):
        MEXC.minutes_request(broken, HOUR).parse(json.dumps(mexc_reply(KLINES)).encode())


def test_a_book_version_far_ahead_ends_with_the_subscription() -> None:
    feed = MexcFeed({"BTC/USDT": MEXC_BTC})
    book = channel("push.depth.full", BOOK | {"cts": NOW}, symbol="BTC_USDT", ts=NOW)
    ahead = book | {"data": BOOK | {"version": 2**62}}
    assert len(feed.parse(json.dumps(ahead).encode())) == 1
    assert feed.parse(json.dumps(book).encode()) == ()

    feed.subscribe("BTC/USDT", "bbo")

    assert len(feed.parse(json.dumps(book).encode())) == 1
