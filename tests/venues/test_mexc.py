"""MEXC futures' frames and REST replies, as captured and as documented, become market nouns."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tbv8.errors import VenueError
from tbv8.market import Bar, Bbo, Span, Trade
from tbv8.venues.base import Ack, ErrorFrame, Listing, RefusedError
from tbv8.venues.mexc.live import MexcFeed, MexcLive
from tests.venues.frames import check_event, damaged

MESSAGES = Path(__file__).parents[3] / "shared" / "data" / "messages"
BTC = Listing(native="BTC_USDT", contract_size=Decimal("0.0001"))
LIVE = MexcLive()

needs_captures = pytest.mark.skipif(not MESSAGES.is_dir(), reason="no captured messages here")


@pytest.fixture
def feed() -> MexcFeed:
    rif = Listing(native="RIF_USDT", contract_size=Decimal(10))
    return MexcFeed({"BTC/USDT": BTC, "RIF/USDT": rif})


def frame(channel: str, data: Any, **more: Any) -> bytes:
    message = {"symbol": "BTC_USDT", "data": data, "channel": channel, "ts": 1788335242156}
    return json.dumps(message | more).encode()


def deal(**changes: Any) -> dict[str, Any]:
    return {"p": 77525.9, "v": 3, "T": 2, "O": 3, "M": 1, "t": 1788335242156} | changes


def ids(events: Any) -> list[str]:
    return [event.trade_id for event in events]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param([deal(i="16005949540", cts="1788335242156")], id="an array, id in quotes"),
        pytest.param([deal(i=16005949540)], id="an array, id a number"),
        pytest.param(deal(i=16005949540), id="an object"),
    ],
)
def test_a_deal_is_a_trade_in_base_units(feed: MexcFeed, data: Any) -> None:
    expected = Trade("mexc", "BTC/USDT", 1788335242156, "16005949540", 77525.9, 0.0003, "sell")

    assert list(feed.parse(frame("push.deal", data))) == [expected]


def test_deals_of_a_frame_are_sorted_by_time_and_id(feed: MexcFeed) -> None:
    newest_first = [deal(t=9, i="7"), deal(t=5, i="10"), deal(t=5, i="9")]

    assert ids(feed.parse(frame("push.deal", newest_first))) == ["9", "10", "7"]


def test_deals_without_ids_get_distinct_ids_within_a_frame(feed: MexcFeed) -> None:
    twins = frame("push.deal", [deal(), deal(), deal(v=4)])

    first, again = feed.parse(twins), feed.parse(twins)

    name = "1788335242156-sell-77525.9"
    assert ids(first) == [f"{name}-0.0004-1", f"{name}-0.0003-1", f"{name}-0.0003-2"]
    assert ids(again) == ids(first)


@pytest.mark.parametrize(
    ("number", "size"),
    [
        pytest.param("7.548E+4", 7.548, id="exponent"),
        pytest.param("55.0", 0.0055, id="trailing zero"),
        pytest.param("12345678901", 1234567.8901, id="many"),
        pytest.param("3", 0.0003, id="where 3 * 0.0001 is not 0.0003"),
    ],
)
def test_contracts_become_the_nearest_float_of_base_units(
    feed: MexcFeed, number: str, size: float
) -> None:
    text = '{"symbol":"BTC_USDT","data":[{"p":7.7526e4,"v":%s,"T":1,"t":5}],"channel":"push.deal"}'

    (event,) = feed.parse((text % number).encode())

    assert isinstance(event, Trade)
    assert (event.price, event.size, event.side) == (77526.0, size, "buy")


def test_sizes_are_multiplied_by_the_contract_size(feed: MexcFeed) -> None:
    (event,) = feed.parse(frame("push.deal", [deal(v=7, i=1)], symbol="RIF_USDT"))

    assert isinstance(event, Trade)
    assert (event.symbol, event.size) == ("RIF/USDT", 70.0)


def depth(version: int, **changes: Any) -> bytes:
    data = {
        "cts": 1789897581009,
        "asks": [[80468.7, 3446, 2], [80469.1, 1239, 1]],
        "bids": [[80468.6, 31288, 7]],
        "version": version,
    }
    return frame("push.depth.full", data | changes, ts=1789897581013)


def test_a_full_depth_is_a_quote_at_the_time_of_the_engine(feed: MexcFeed) -> None:
    expected = Bbo("mexc", "BTC/USDT", 1789897581009, 80468.6, 3.1288, 80468.7, 0.3446)

    assert list(feed.parse(depth(5))) == [expected]


def test_a_full_depth_without_cts_has_the_time_of_the_frame(feed: MexcFeed) -> None:
    (event,) = feed.parse(depth(5, cts=None))

    assert isinstance(event, Bbo)
    assert event.ts_ms == 1789897581013


def test_an_empty_side_is_none(feed: MexcFeed) -> None:
    (event,) = feed.parse(depth(5, bids=[]))

    assert isinstance(event, Bbo)
    assert (event.bid_price, event.bid_size, event.ask_price) == (None, None, 80468.7)


def test_a_depth_of_a_lower_version_is_dropped(feed: MexcFeed) -> None:
    feed.parse(depth(5))

    assert list(feed.parse(depth(4))) == []
    assert len(feed.parse(depth(6))) == 1


FRAMES = [
    frame("push.deal", [deal(i="16005949540", cts="1788335242156"), deal()]),
    frame("push.deal", deal(i=5)),
    depth(5),
    b'{"channel":"rs.error","data":"Contract [NOPE_USDT] not exists","ts":1788498321790}',
]


@given(broken=damaged(FRAMES))
def test_a_damaged_frame_gives_at_most_valid_events(
    broken: bytes,
) -> None:
    try:
        events = MexcFeed({"BTC/USDT": BTC}).parse(broken)
    except VenueError:
        return
    for event in events:
        check_event(event)


def test_a_gzip_frame_is_inflated(feed: MexcFeed) -> None:
    assert ids(feed.parse(gzip.compress(frame("push.deal", [deal(i=4)])))) == ["4"]


@pytest.mark.parametrize(
    ("channel", "ours"), [("rs.sub.deal", "trades"), ("rs.sub.depth.full", "bbo")]
)
def test_an_ack_names_no_symbol(feed: MexcFeed, channel: str, ours: Any) -> None:
    raw = json.dumps({"channel": channel, "data": "success", "ts": 1788335242021}).encode()

    assert list(feed.parse(raw)) == [Ack(ours)]


def test_an_error_frame_has_the_venues_text(feed: MexcFeed) -> None:
    raw = b'{"channel":"rs.error","data":"Contract [NOPE_USDT] not exists","ts":1788498321790}'

    assert list(feed.parse(raw)) == [ErrorFrame("Contract [NOPE_USDT] not exists")]


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param(b'{"channel":"pong","data":1788336475469,"ts":1788336475469}', id="pong"),
        pytest.param(frame("push.ticker", {"lastPrice": 1}), id="a channel that is not read"),
        pytest.param(frame("push.tomorrow", None), id="an unknown channel"),
        pytest.param(frame("push.deal", [deal()], symbol="BTC_USD"), id="another contract"),
        pytest.param(b'{"channel":"rs.unsub.deal","data":"success"}', id="ack of an unsubscribe"),
    ],
)
def test_frames_without_market_data_have_no_events(feed: MexcFeed, silent: bytes) -> None:
    assert list(feed.parse(silent)) == []


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"symbol":"BTC_USDT","data":[{"p":84', id="cut in its middle"),
        pytest.param(b"hello", id="no JSON"),
        pytest.param(b"\x1f\x8b no gzip", id="a binary frame that is no gzip"),
        pytest.param(frame("push.deal", [deal(T=3)]), id="a third side"),
        pytest.param(frame("push.deal", [deal(v=0)]), id="a size of nothing"),
        pytest.param(frame("push.deal", {"deals": [{"p": "1", "q": "2"}]}), id="a spot frame"),
        pytest.param(depth(5, asks=[[1.0]]), id="a level without a size"),
    ],
)
def test_undocumented_frames_are_refused(feed: MexcFeed, broken: bytes) -> None:
    with pytest.raises(VenueError, match="mexc"):
        feed.parse(broken)


def test_subscriptions_are_for_unmerged_deals_and_the_top_of_the_book(feed: MexcFeed) -> None:
    assert json.loads(feed.subscribe("BTC/USDT", "trades")) == {
        "method": "sub.deal",
        "param": {"symbol": "BTC_USDT", "compress": False},
    }
    assert json.loads(feed.subscribe("BTC/USDT", "bbo")) == {
        "method": "sub.depth.full",
        "param": {"symbol": "BTC_USDT", "limit": 5},
    }
    assert json.loads(feed.unsubscribe("BTC/USDT", "bbo"))["method"] == "unsub.depth.full"


@needs_captures
def test_captured_frames_of_all_years_are_parsed(feed: MexcFeed) -> None:
    events: list[Any] = []
    for line in (MESSAGES / "mexc_futures_misc.jsonl").read_text().splitlines():
        raw = json.loads(line)["raw"]
        if '"channel":"push.d' in raw and '"deals"' not in raw and '"q":' not in raw:
            events += feed.parse(raw.encode())

    trades = [event for event in events if isinstance(event, Trade)]
    assert {t.trade_id for t in trades} >= {"16005949540", "1616370338806-sell-57602.0-0.0014-1"}
    assert any(isinstance(event, Bbo) for event in events)


def reply(data: Any) -> bytes:
    return json.dumps({"success": True, "code": 0, "data": data}).encode()


def test_markets_come_as_a_list_or_alone_with_their_contract_size() -> None:
    contract = {"symbol": "BTC_USDT", "contractSize": 0.0001, "state": 0, "priceUnit": 0.1}
    ask = LIVE.listings_request()

    assert ask.parse(reply([contract])) == {"BTC_USDT": BTC}
    assert ask.parse(reply(contract)) == {"BTC_USDT": BTC}
    assert ask.parse(reply(contract | {"state": 3}))["BTC_USDT"].problem == "offline"
    # A paused one is known, and goes on some time.
    assert ask.parse(reply(contract | {"state": 4}))["BTC_USDT"].problem is None
    contract.pop("contractSize")
    assert ask.parse(reply([contract]))["BTC_USDT"].problem == "without a contract size"


def test_bars_are_requested_in_seconds_and_parsed_from_columns() -> None:
    columns = {
        "time": [1609740660, 1609740600],
        "open": [33040.5, 33016.5],
        "close": [33041, 33040.5],
        "high": [33050, 33094.0],
        "low": [33030, 32995.0],
        "vol": [10, 67332.0],
        "amount": [33.0, 222515.85925],
    }
    ask = LIVE.minutes_request(BTC, Span(1609740600000, 1609740720000))

    assert ask.params == {"interval": "Min1", "start": 1609740600, "end": 1609740719}
    assert ask.parse(reply(columns)) == [
        Bar(1609740600000, 33016.5, 33094.0, 32995.0, 33040.5, 6.7332),
        Bar(1609740660000, 33040.5, 33050.0, 33030.0, 33041.0, 0.001),
    ]


def test_bars_use_real_prices_where_the_venue_has_them() -> None:
    # Shown: opens are the close before, and highs and lows hold them. A minute without trades and
    # one whose real prices are null keep what is shown. Captured in push.kline: o 84109.4 ro 84112
    columns = {
        "time": [1609740600, 1609740660, 1609740720],
        "open": [84109.4, 84062.6, 84062.6],
        "high": [84114.5, 84062.6, 84070.0],
        "low": [84054.0, 84062.6, 84062.6],
        "close": [84062.6, 84062.6, 84070.0],
        "vol": [10, 0, 5],
        "realOpen": [84112.0, 1.0, None],
        "realHigh": [84114.5, 1.0, None],
        "realLow": [84060.0, 1.0, None],
        "realClose": [84062.6, 1.0, None],
    }
    reply = json.dumps({"success": True, "code": 0, "data": columns}).encode()

    bars = LIVE.minutes_request(BTC, Span(1609740600000, 1609740780000)).parse(reply)

    assert bars == [
        Bar(1609740600000, 84112.0, 84114.5, 84060.0, 84062.6, 0.001),
        Bar(1609740660000, 84062.6, 84062.6, 84062.6, 84062.6, 0.0),
        Bar(1609740720000, 84062.6, 84070.0, 84062.6, 84070.0, 0.0005),
    ]


def test_columns_of_different_lengths_are_refused() -> None:
    columns = {name: [1] for name in ("time", "open", "high", "low", "close")} | {"vol": []}

    with pytest.raises(VenueError, match="different lengths"):
        LIVE.minutes_request(BTC, Span(0, 60_000)).parse(reply(columns))


def test_recent_deals_the_book_and_the_clock_are_parsed() -> None:
    deals = LIVE.recent_trades_request("BTC/USDT", BTC).parse(
        reply([deal(t=2, i=2), deal(t=1, i=1)])
    )
    book = {"asks": [[29625, 630, 1]], "bids": [], "version": 3, "timestamp": 1654326901060}

    assert ids(deals) == ["1", "2"]
    assert LIVE.bbo_request("BTC/USDT", BTC).parse(reply(book)) == Bbo(
        "mexc", "BTC/USDT", 1654326901060, None, None, 29625.0, 0.063
    )
    assert LIVE.clock_request().parse(reply(1654326901060)) == 1654326901060


@pytest.mark.parametrize(("code", "too_often"), [(510, True), (1001, False)])
def test_a_refusal_comes_with_http_200(code: int, too_often: bool) -> None:
    raw = json.dumps({"success": False, "code": code, "message": "no"}).encode()

    with pytest.raises(RefusedError, match=f"code {code}") as refused:
        LIVE.clock_request().parse(raw)

    assert refused.value.too_often is too_often
