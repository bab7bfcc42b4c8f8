"""What a parser of a recorded venue must not believe, and what it must not mix up."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tbv8.errors import VenueError
from tbv8.market import Bar, Span
from tbv8.venues.base import Listing, RefusedError, minutes_in
from tbv8.venues.hyperliquid.live import HyperliquidFeed, HyperliquidLive
from tbv8.venues.mexc.live import MexcFeed, MexcLive

CONTRACT = Listing(native="BTC_USDT", contract_size=Decimal("0.0001"))
COIN = Listing(native="BTC")


@pytest.fixture
def mexc() -> MexcFeed:
    return MexcFeed({"BTC/USDT": CONTRACT})


def mexc_deals(*deals: dict[str, Any]) -> bytes:
    data = [{"p": 5.0, "v": 3, "T": 1, "t": 9} | deal for deal in deals]
    return json.dumps({"channel": "push.deal", "symbol": "BTC_USDT", "data": data}).encode()


def mexc_depth(version: int, **times: Any) -> bytes:
    data = {"asks": [[2, 1, 1]], "bids": [[1, 1, 1]], "version": version}
    message = {"channel": "push.depth.full", "symbol": "BTC_USDT", "data": data}
    return json.dumps(message | times).encode()


# MEXC.


def test_each_depth_is_compared_with_the_newest_version(mexc: MexcFeed) -> None:
    seen = [bool(mexc.parse(mexc_depth(version, ts=9))) for version in (5, 7, 6, 7, 8)]

    assert seen == [True, True, False, True, True]


def test_deals_are_sorted_by_time_and_numeric_id(
    mexc: MexcFeed,
) -> None:
    by_number = mexc.parse(mexc_deals({"i": "10"}, {"i": "9"}, {"i": "100"}))
    without = mexc.parse(mexc_deals({"p": 7.0}, {"p": 6.0}))  # newest first

    assert [deal.trade_id for deal in by_number] == ["9", "10", "100"]
    assert [deal.price for deal in without] == [6.0, 7.0]


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param({"success": False, "code": 0}, id="success is false"),
        pytest.param({"success": True, "code": 510, "data": 9}, id="a code beside success"),
    ],
)
def test_a_reply_is_accepted_only_with_success_and_code_0(reply: dict[str, Any]) -> None:
    with pytest.raises(RefusedError):
        MexcLive().clock_request().parse(json.dumps(reply).encode())


def test_a_book_without_a_time_is_refused(mexc: MexcFeed) -> None:
    with pytest.raises(VenueError, match="without a time"):
        mexc.parse(mexc_depth(5))


def test_a_trade_of_no_size_is_refused(mexc: MexcFeed) -> None:
    with pytest.raises(VenueError, match="a trade without a side or a size"):
        mexc.parse(mexc_deals({"v": 0}))


def test_the_best_level_of_each_side_stays_on_its_side() -> None:
    book = {"asks": [[6, 20, 1], [7, 1, 1]], "bids": [[5, 10, 1], [4, 1, 1]], "timestamp": 9}
    reply = json.dumps({"success": True, "code": 0, "data": book}).encode()

    found = MexcLive().bbo_request("BTC/USDT", CONTRACT).parse(reply)

    assert (found.bid_price, found.bid_size) == (5.0, 0.001)
    assert (found.ask_price, found.ask_size) == (6.0, 0.002)


# Hyperliquid.


def test_a_trade_of_no_size_is_refused_by_hyperliquid_too() -> None:
    trade = {"coin": "BTC", "side": "A", "px": "5", "sz": "0", "time": 9, "tid": 1}
    frame = json.dumps({"channel": "trades", "data": [trade]}).encode()

    with pytest.raises(VenueError, match="a trade without a side or a size"):
        HyperliquidFeed({"BTC/USDT": COIN}).parse(frame)


def test_a_candle_has_its_prices_in_their_places_and_a_volume_of_ten_decimals() -> None:
    candle = {"t": 60_000, "o": "2", "h": "4", "l": "1", "c": "3", "v": "0.30000000000000004"}
    ask = HyperliquidLive().minutes_request(COIN, Span(60_000, 120_000))

    assert ask.parse(json.dumps([candle]).encode()) == [Bar(60_000, 2.0, 4.0, 1.0, 3.0, 0.3)]


# Both.


def test_bars_are_cut_to_the_span_sorted_and_deduplicated() -> None:
    opens = (180_000, 120_000, 90_000, 60_000, 0, 120_000)
    bars = [Bar(open_ms, 1.0, 1.0, 1.0, 1.0, float(n)) for n, open_ms in enumerate(opens)]

    found = minutes_in(Span(60_000, 180_000), bars)

    assert [(bar.ts_ms, bar.volume) for bar in found] == [(60_000, 3.0), (120_000, 5.0)]
