"""Bybit's frames and REST replies, as captured and as documented, become market nouns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, Bar, Bbo, Span, Trade
from tbv8.venues.base import Ack, ErrorFrame, Listing, Payment, RefusedError, Request
from tbv8.venues.bybit.live import BybitFeed, BybitLive
from tests.venues.frames import check_event, damaged

BTC = Listing(native="BTCUSDT")
LIVE = BybitLive()
NOW = 1774021164272
HOUR = Span(1670605200000, 1670608800000)


@pytest.fixture
def feed() -> BybitFeed:
    return BybitFeed({"BTC/USDT": BTC, "PEPE/USDT": Listing(native="1000PEPEUSDT")})


def printed(**changes: Any) -> dict[str, Any]:
    """Return a trade as captured on the socket in March 2026."""
    return {
        "T": NOW, "s": "BTCUSDT", "S": "Sell", "v": "0.001", "p": "69916.80", "L": "MinusTick",
        "i": "8c931d9a-b703-5c34-9aeb-860867cf1f66", "BT": False, "RPI": False,
        "seq": 549792210006,
    } | changes  # fmt: skip


def trades_frame(*data: Any, symbol: str = "BTCUSDT", **changes: Any) -> bytes:
    head = {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": NOW + 1}
    return json.dumps(head | {"data": data} | changes).encode()


def book_frame(bids: Any, asks: Any, *, u: int = 7, seq: int = 9, **changes: Any) -> bytes:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": seq}
    head = {"topic": "orderbook.1.BTCUSDT", "ts": NOW + 3, "type": "snapshot"}
    return json.dumps(head | {"data": data, "cts": NOW} | changes).encode()


def answer(**changes: Any) -> bytes:
    usual = {"success": True, "ret_msg": "", "conn_id": "d6ki1eae0cl5msgggj7g-1uoz2"}
    return json.dumps(
        usual | {"req_id": "publicTrade.BTCUSDT", "op": "subscribe"} | changes
    ).encode()


def reply(result: Any, **changes: Any) -> bytes:
    usual = {"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": NOW}
    return json.dumps(usual | changes).encode()


def rows(*of: Any, **more: Any) -> bytes:
    return reply({"category": "linear", "list": of} | more)


SOLD = Trade(
    "bybit", "BTC/USDT", NOW, "8c931d9a-b703-5c34-9aeb-860867cf1f66", 69916.8, 0.001, "sell"
)


def test_a_trade_has_price_size_and_taker_side(feed: BybitFeed) -> None:
    assert list(feed.parse(trades_frame(printed()))) == [SOLD]
    (bought,) = feed.parse(trades_frame(printed(S="Buy")))
    assert isinstance(bought, Trade)
    assert bought.side == "buy"


def test_trades_of_one_match_stay_in_the_order_of_their_frame(feed: BybitFeed) -> None:
    events = feed.parse(trades_frame(printed(i="b"), printed(i="a"), printed(i="c", T=NOW - 1)))

    assert [event.trade_id for event in events if isinstance(event, Trade)] == ["c", "b", "a"]


def test_a_block_trade_was_not_in_the_book_and_is_left_out(feed: BybitFeed) -> None:
    block = printed(BT=True, p="1000", i="block")
    requested = {"execId": "x", "price": "1", "size": "2", "side": "Buy", "time": "7"}

    assert list(feed.parse(trades_frame(block, printed(RPI=True)))) == [SOLD]
    assert (
        LIVE.recent_trades_request("BTC/USDT", BTC).parse(rows(requested | {"isBlockTrade": True}))
        == []
    )


def test_a_book_is_a_quote_of_the_matching_engines_time(feed: BybitFeed) -> None:
    both = feed.parse(book_frame([["62710.2", "5.52"]], [["62710.3", "0.01"]]))
    empty = feed.parse(book_frame([], [], seq=10))
    of_old = feed.parse(book_frame([], [["1.5", "2"]], seq=11, cts=None))

    assert list(both) == [Bbo("bybit", "BTC/USDT", NOW, 62710.2, 5.52, 62710.3, 0.01)]
    assert list(empty) == [Bbo("bybit", "BTC/USDT", NOW, None, None, None, None)]
    assert list(of_old) == [Bbo("bybit", "BTC/USDT", NOW + 3, None, None, 1.5, 2.0)]


def test_a_book_older_than_an_earlier_one_is_dropped_until_the_service_restarts(
    feed: BybitFeed,
) -> None:
    level = [["1", "2"]]

    def seen(seq: int, u: int = 7) -> bool:
        return bool(feed.parse(book_frame(level, level, seq=seq, u=u)))

    assert [seen(5), seen(7), seen(6), seen(7)] == [True, True, False, True]
    assert [seen(2, u=1), seen(3), seen(1)] == [True, True, False]
    feed.subscribe("BTC/USDT", "bbo")
    assert seen(1)


def test_a_delta_of_the_best_level_is_undocumented(feed: BybitFeed) -> None:
    with pytest.raises(VenueError, match="'delta' of orderbook"):
        feed.parse(book_frame([], [["32499.27", "0.01"], ["32529.54", "0"]], type="delta"))


def test_a_subscription_has_its_topic_as_id(
    feed: BybitFeed,
) -> None:
    order = json.loads(feed.subscribe("PEPE/USDT", "bbo"))
    topic = "orderbook.1.1000PEPEUSDT"

    assert order == {"op": "subscribe", "args": [topic], "req_id": topic}
    assert json.loads(feed.unsubscribe("BTC/USDT", "trades"))["op"] == "unsubscribe"
    assert list(feed.parse(answer(req_id=topic))) == [Ack("bbo", "PEPE/USDT")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({}, [Ack("trades", "BTC/USDT")], id="taken"),
        pytest.param({"ret_msg": "subscribe"}, [Ack("trades", "BTC/USDT")], id="as of spot"),
        pytest.param(
            {"success": False, "ret_msg": "error:already subscribed,topic:publicTrade.BTCUSDT"},
            [Ack("trades", "BTC/USDT")],
            id="subscribed before",
        ),
        pytest.param(
            {"success": False, "ret_msg": "error:handler not found,topic:publicTrade.BTCUSDT"},
            [ErrorFrame("error:handler not found,topic:publicTrade.BTCUSDT")],
            id="refused",
        ),
        pytest.param({"req_id": ""}, [], id="of nobody's"),
        pytest.param({"op": "unsubscribe"}, [], id="an end"),
        pytest.param({"op": "ping", "ret_msg": "pong", "req_id": ""}, [], id="a pong"),
        pytest.param(
            {"op": "", "success": False, "ret_msg": "error:invalid op", "req_id": ""},
            [ErrorFrame("error:invalid op")],
            id="an error",
        ),
    ],
)
def test_a_reply_is_an_ack_or_a_refusal_or_nothing(
    feed: BybitFeed, changes: dict[str, Any], expected: Sequence[Any]
) -> None:
    assert list(feed.parse(answer(**changes))) == expected


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param(b'{"args":["1672916271846"],"op":"pong"}', id="a pong of options"),
        pytest.param(trades_frame(printed(), symbol="ETHUSDT"), id="another's trades"),
        pytest.param(
            b'{"topic":"kline.1.BTCUSDT","data":[{"confirm":false}],"ts":5,"type":"snapshot"}',
            id="a topic that is not read",
        ),
        pytest.param(trades_frame(), id="no trades"),
    ],
)
def test_frames_without_market_data_have_no_events(feed: BybitFeed, silent: bytes) -> None:
    assert list(feed.parse(silent)) == []


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","data":[{"T"', id="cut"),
        pytest.param(b"hello", id="no JSON"),
        pytest.param(b'{"no":"topic"}', id="neither data nor an answer"),
        pytest.param(trades_frame(printed(S="None")), id="a third side"),
        pytest.param(trades_frame(printed(v="0")), id="a size of nothing"),
        pytest.param(trades_frame(printed(p="nan")), id="a price that is no number"),
        pytest.param(trades_frame(printed(i="a\n")), id="an id that no screen shows"),
        pytest.param(trades_frame(printed(i="")), id="no id"),
        pytest.param(trades_frame(printed(T=10**14)), id="a time beyond the database"),
        pytest.param(book_frame([["1", "2"]], [], cts=None, ts=0), id="a book without a time"),
        pytest.param(book_frame([["0", "2"]], []), id="a bid of nothing"),
    ],
)
def test_undocumented_frames_are_refused(feed: BybitFeed, broken: bytes) -> None:
    with pytest.raises(VenueError, match="bybit"):
        feed.parse(broken)


FRAMES = [
    trades_frame(printed(), printed(i="2")),
    book_frame([["62710.2", "5.52"]], [["62710.3", "0.01"]]),
    answer(),
    answer(success=False, ret_msg="error:already subscribed,topic:publicTrade.BTCUSDT"),
]


@given(broken=damaged(FRAMES))
def test_a_damaged_frame_gives_at_most_valid_events(
    broken: bytes,
) -> None:
    try:
        events = BybitFeed({"BTC/USDT": BTC}).parse(broken)
    except VenueError:
        return
    for event in events:
        check_event(event)


# REST


def test_recent_trades_are_sorted_by_time_and_sequence() -> None:
    def row(name: str, time: int, seq: int) -> dict[str, Any]:
        told = {"symbol": "BTCUSDT", "price": "1", "size": "2", "side": "Buy"}
        flags = {"isBlockTrade": False, "isRPITrade": False}
        return {"execId": name, "time": f"{time}", "seq": f"{seq}"} | told | flags

    request = LIVE.recent_trades_request("BTC/USDT", BTC)
    trades = request.parse(
        rows(row("d", 9, 3), row("c", 9, 3), row("e", 9, 4), row("a", 5, 1), row("b", 6, 2))
    )

    assert (request.path, request.params["limit"]) == ("/v5/market/recent-trade", 1000)
    assert [trade.trade_id for trade in trades] == ["a", "b", "c", "d", "e"]
    assert trades[0] == Trade("bybit", "BTC/USDT", 5, "a", 1.0, 2.0, "buy")


def test_bars_are_sorted_by_time_and_their_quoted_numbers_parsed() -> None:
    newest_first = [
        ["1670605260000", "17071", "17073", "17027", "17055.5", "268.611", "15.7"],
        ["1670605200000", "17071.5", "17071.5", "17061", "17071", "4.177", "0.2"],
        ["1670605140000", "17086.5", "17088", "16978", "17071.5", "6.356", "0.3"],
    ]
    request = LIVE.minutes_request(BTC, HOUR)

    assert request.params == {
        "category": "linear",
        "symbol": "BTCUSDT",
        "interval": "1",
        "start": HOUR.start_ms,
        "end": HOUR.end_ms - 1,
        "limit": 1000,
    }
    assert request.parse(rows(*newest_first, symbol="BTCUSDT")) == [
        Bar(1670605200000, 17071.5, 17071.5, 17061.0, 17071.0, 4.177),
        Bar(1670605260000, 17071.0, 17073.0, 17027.0, 17055.5, 268.611),
    ]


def test_the_clock_the_book_and_the_marks_are_parsed() -> None:
    book = {"s": "BTCUSDT", "b": [["62710.2", "5.52"]], "a": [], "ts": 9, "u": 2, "seq": 3}
    ticker = {"symbol": "BTCUSDT", "markPrice": "16596.00", "openInterest": "200.5"}
    new = {"symbol": "NEWUSDT", "markPrice": "", "singleOpenInterest": ""}

    assert (
        LIVE.clock_request().parse(reply({"timeSecond": "12", "timeNano": "12345678901"})) == 12345
    )
    assert LIVE.bbo_request("BTC/USDT", BTC).parse(reply(book | {"cts": 7})) == Bbo(
        "bybit", "BTC/USDT", 7, 62710.2, 5.52, None, None
    )
    marks = LIVE.marks_request().parse(
        rows(ticker | {"singleOpenInterest": "100.25"}, new, ticker | {"symbol": "ETHUSDT"})
    )
    assert marks == {"BTCUSDT": (16596.0, 100.25), "ETHUSDT": (16596.0, None)}


CONTRACT = {
    "symbol": "BTCUSDT",
    "contractType": "LinearPerpetual",
    "status": "Trading",
    "baseCoin": "BTC",
    "launchTime": "1585526400000",
    "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
    "priceFilter": {"minPrice": "0.10", "maxPrice": "199999.80", "tickSize": "0.10"},
    "lotSizeFilter": {"minOrderQty": "0.001", "qtyStep": "0.001", "minNotionalValue": "5"},
}


def test_markets_are_read_page_by_page_with_the_type_of_others() -> None:
    dated = CONTRACT | {"symbol": "BTC-25DEC26", "contractType": "LinearFutures"}
    early = CONTRACT | {"symbol": "NEWUSDT", "status": "PreLaunch"}
    request = LIVE.listings_request()

    second = request.parse(rows(CONTRACT, dated, nextPageCursor="first%3DBTCUSDT%26last%3DETHUSDT"))
    assert isinstance(second, Request)
    listings = second.parse(rows(early, nextPageCursor=""))

    assert "cursor" not in request.params
    assert second.params == request.params | {"cursor": "first=BTCUSDT&last=ETHUSDT"}
    assert {name: market.problem for name, market in listings.items()} == {
        "BTCUSDT": None,
        "BTC-25DEC26": "no perpetual but of type 'LinearFutures'",
        "NEWUSDT": "in status 'PreLaunch'",
    }


def test_pages_without_an_end_are_not_followed_for_ever() -> None:
    page = rows(CONTRACT, nextPageCursor="again")
    requested: Any = LIVE.listings_request()
    for _ in range(19):
        requested = requested.parse(page)

    with pytest.raises(VenueError, match="more than 20 pages"):
        requested.parse(page)


@pytest.mark.parametrize(
    ("symbol", "base", "multiplier"),
    [("BTC/USDT", "BTC", 1), ("PEPE/USDT", "1000PEPE", 1000), ("LADYS/USDT", "10000LADYS", 10000)],
)
def test_rules_are_in_units_of_the_symbol(symbol: str, base: str, multiplier: int) -> None:
    found = LIVE.contracts_request().parse(
        rows(CONTRACT | {"baseCoin": base}, {"symbol": "NEWUSDT"})
    )

    assert isinstance(found, dict)
    assert set(found) == {"BTCUSDT"}
    rules = found["BTCUSDT"].rules_of(symbol)
    assert rules.tick_size == Decimal("0.10") / multiplier
    assert rules.lot_size == Decimal("0.001") * multiplier
    assert (rules.min_notional_usd, rules.max_leverage) == (5, 100)
    assert (rules.maker_fee, rules.multiplier) == (None, multiplier)


def paid(*hours: float) -> bytes:
    return rows(
        *(
            {"symbol": "BTCUSDT", "fundingRate": "0.0001", "fundingRateTimestamp": f"{at}"}
            for at in (int(hour * 3_600_000) for hour in hours)
        )
    )


def test_payments_are_requested_backwards_until_a_page_is_not_full() -> None:
    span = Span(0, 400 * 3_600_000)
    request = LIVE.payments_request(BTC, span)

    second = request.parse(paid(*range(399, 199, -1)))
    assert isinstance(second, Request)
    found = second.parse(paid(*range(199, 99, -1)))

    assert request.params["endTime"] == span.end_ms - 1
    assert second.params == request.params | {"endTime": 200 * 3_600_000 - 1}
    assert isinstance(found, list)
    assert sorted(payment.time_ms // 3_600_000 for payment in found) == list(range(100, 400))
    assert found[0] == Payment(399 * 3_600_000, 0.0001)
    with pytest.raises(VenueError, match="payments after the requested ones"):
        request.parse(paid(*range(999, 799, -1)))


def test_the_oldest_payment_is_searched_from_the_launch_on() -> None:
    now_ms = 1_600_000_000_000
    request = LIVE.oldest_payments_request(BTC)

    first = request.parse(reply({"list": [CONTRACT]}, time=now_ms))
    assert isinstance(first, Request)
    second = first.parse(paid())
    assert isinstance(second, Request)
    found = second.parse(paid(438_888, 438_880))

    assert request.params["symbol"] == "BTCUSDT"
    assert first.params["startTime"] == 1_585_526_400_000
    assert second.params["startTime"] == 1_585_526_400_000 + 60 * DAY_MS
    assert isinstance(found, list)
    assert min(payment.time_ms for payment in found) == 438_880 * 3_600_000
    assert request.parse(reply({"list": []})) == []


@pytest.mark.parametrize(
    ("code", "kind", "too_often"),
    [(10001, RefusedError, False), (10006, RefusedError, True), (10016, VenueError, None)],
    ids=["no", "too often", "the server's own fault"],
)
def test_a_refusal_is_recognised_by_its_code_despite_http_200(
    code: int, kind: type[VenueError], too_often: bool | None
) -> None:
    with pytest.raises(VenueError, match=f"code {code} 'Why'") as caught:
        LIVE.clock_request().parse(reply({}, retCode=code, retMsg="Why"))

    assert type(caught.value) is kind
    assert getattr(caught.value, "too_often", None) is too_often


def test_a_symbol_in_usdc_has_the_venues_other_spelling() -> None:
    assert LIVE.native_symbol("BTC/USDT") == "BTCUSDT"
    assert LIVE.native_symbol("BTC/USDC") == "BTCPERP"
