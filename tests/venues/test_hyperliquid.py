"""Hyperliquid's frames and REST replies, as captured and as documented, become market nouns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tbv8.errors import VenueError
from tbv8.market import Bar, Bbo, Span, Trade
from tbv8.venues.base import Ack, ErrorFrame, Listing
from tbv8.venues.hyperliquid.live import HyperliquidFeed, HyperliquidLive
from tests.venues.frames import check_event, damaged

MESSAGES = Path(__file__).parents[3] / "shared" / "data" / "messages"
BTC = Listing(native="BTC")
LIVE = HyperliquidLive()

needs_captures = pytest.mark.skipif(not MESSAGES.is_dir(), reason="no captured messages here")


@pytest.fixture
def feed() -> HyperliquidFeed:
    return HyperliquidFeed({"BTC/USDT": BTC, "PEPE/USDT": Listing(native="kPEPE")})


def frame(channel: str, data: Any) -> bytes:
    return json.dumps({"channel": channel, "data": data}).encode()


def trade(**changes: Any) -> dict[str, Any]:
    users = ["0x1", "0x2"]
    return {
        "coin": "BTC",
        "side": "A",
        "px": "84143.0",
        "sz": "0.00036",
        "time": 1790232216193,
        "hash": "0x0",
        "tid": 1045359869404765,
        "users": users,
    } | changes


SOLD = Trade("hyperliquid", "BTC/USDT", 1790232216193, "1045359869404765", 84143.0, 0.00036, "sell")


def test_a_trade_has_price_size_and_taker_side(feed: HyperliquidFeed) -> None:
    assert feed.parse(frame("trades", [trade()])) == [SOLD]
    (bought,) = feed.parse(frame("trades", [trade(side="B")]))
    assert isinstance(bought, Trade)
    assert bought.side == "buy"


def test_trades_without_users_as_old_captures_have_them_are_read(feed: HyperliquidFeed) -> None:
    old = trade()
    del old["users"]

    assert feed.parse(frame("trades", [old])) == [SOLD]


def test_trades_come_by_time_and_those_of_one_block_in_the_order_of_the_frame(
    feed: HyperliquidFeed,
) -> None:
    replay = [trade(time=3, tid=1), trade(time=2, tid=9), trade(time=2, tid=4)]

    events = feed.parse(frame("trades", replay))

    assert [e.trade_id for e in events if isinstance(e, Trade)] == ["9", "4", "1"]


def test_an_empty_frame_of_trades_has_no_events(feed: HyperliquidFeed) -> None:
    assert list(feed.parse(frame("trades", []))) == []


def test_events_of_another_coin_are_ignored(feed: HyperliquidFeed) -> None:
    assert list(feed.parse(frame("trades", [trade(coin="btc"), trade(coin="ETH")]))) == []


@pytest.mark.parametrize(
    ("bbo", "expected"),
    [
        pytest.param(
            [{"px": "80639.0", "sz": "0.00186", "n": 2}, {"px": "80640.0", "sz": "13.7", "n": 4}],
            (80639.0, 0.00186, 80640.0, 13.7),
            id="both sides",
        ),
        pytest.param([{"px": "1.0", "sz": "2.0", "n": 1}, None], (1.0, 2.0, None, None), id="bid"),
        pytest.param([None, {"px": "1.5", "sz": "2.0", "n": 1}], (None, None, 1.5, 2.0), id="ask"),
        pytest.param([None, None], (None, None, None, None), id="none"),
    ],
)
def test_a_quote_has_none_for_an_empty_side(
    feed: HyperliquidFeed, bbo: list[Any], expected: tuple[float | None, ...]
) -> None:
    events = feed.parse(frame("bbo", {"coin": "BTC", "time": 1788490065008, "bbo": bbo}))

    assert list(events) == [Bbo("hyperliquid", "BTC/USDT", 1788490065008, *expected)]


def test_an_ack_names_its_stream(feed: HyperliquidFeed) -> None:
    echo = {"method": "subscribe", "subscription": {"type": "trades", "coin": "kPEPE"}}

    assert list(feed.parse(frame("subscriptionResponse", echo))) == [Ack("trades", "PEPE/USDT")]


def test_already_subscribed_counts_as_an_ack(feed: HyperliquidFeed) -> None:
    text = 'Already subscribed: {"type":"bbo","coin":"BTC"}'

    assert list(feed.parse(frame("error", text))) == [Ack("bbo", "BTC/USDT")]


def test_an_error_frame_has_the_venues_text(feed: HyperliquidFeed) -> None:
    text = "Cannot subscribe to more than 1000 channels."

    assert list(feed.parse(frame("error", text))) == [ErrorFrame(text)]


@pytest.mark.parametrize(
    "silent",
    [
        pytest.param(b'{"channel":"pong"}', id="pong"),
        pytest.param(frame("candle", {"t": 1}), id="a channel that is not read"),
        pytest.param(frame("tomorrow", [1, {"a": None}]), id="an unknown channel"),
        pytest.param(b"Websocket connection established.", id="the greeting"),
        pytest.param(
            frame("error", 'Already unsubscribed: {"type":"bbo","coin":"BTC"}'), id="unsubscribed"
        ),
        pytest.param(
            frame(
                "subscriptionResponse",
                {"method": "unsubscribe", "subscription": {"type": "bbo", "coin": "BTC"}},
            ),
            id="ack of an unsubscribe",
        ),
        pytest.param(
            frame(
                "subscriptionResponse",
                {"method": "subscribe", "subscription": {"type": "userFills", "user": "0x0"}},
            ),
            id="ack of another's subscription",
        ),
    ],
)
def test_frames_without_market_data_have_no_events(feed: HyperliquidFeed, silent: bytes) -> None:
    assert list(feed.parse(silent)) == []


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b'{"channel":"trades","data":[{"coin":"BTC","px":"84', id="cut in its middle"),
        pytest.param(frame("trades", [trade(side="C")]), id="a third side"),
        pytest.param(frame("trades", [trade(px="0")]), id="a price of nothing"),
        pytest.param(frame("trades", [trade(px="nan")]), id="a price that is no number"),
        pytest.param(frame("trades", [trade(sz="inf")]), id="an endless size"),
        pytest.param(frame("trades", [{"coin": "BTC"}]), id="fields missing"),
        pytest.param(b'{"channel":"trades","data":[{"coin":"B\xff"}]}', id="no UTF-8"),
        pytest.param(frame("trades", [trade(time=10**30)]), id="a time beyond the database"),
        pytest.param(frame("bbo", {"coin": "BTC", "bid": "1", "ask": "2"}), id="another form"),
        pytest.param(b'{"no":"channel"}', id="no channel"),
    ],
)
def test_undocumented_frames_are_refused(feed: HyperliquidFeed, broken: bytes) -> None:
    with pytest.raises(VenueError, match="hyperliquid"):
        feed.parse(broken)


def test_a_subscription_names_one_coin_as_the_venue_spells_it(feed: HyperliquidFeed) -> None:
    assert json.loads(feed.subscribe("PEPE/USDT", "trades")) == {
        "method": "subscribe",
        "subscription": {"type": "trades", "coin": "kPEPE"},
    }
    assert json.loads(feed.unsubscribe("BTC/USDT", "bbo"))["method"] == "unsubscribe"


LEVEL = {"px": "80639.0", "sz": "0.00186", "n": 2}
FRAMES = [
    frame("trades", [trade(), trade(tid=2)]),
    frame("bbo", {"coin": "BTC", "time": 1788490065008, "bbo": [LEVEL, None]}),
    frame("subscriptionResponse", {"method": "subscribe", "subscription": {"type": "bbo"}}),
    frame("error", 'Already subscribed: {"type":"bbo","coin":"BTC"}'),
]


@given(broken=damaged(FRAMES))
def test_a_damaged_frame_gives_at_most_valid_events(
    broken: bytes,
) -> None:
    try:
        events = HyperliquidFeed({"BTC/USDT": BTC}).parse(broken)
    except VenueError:
        return
    for event in events:
        check_event(event)


@needs_captures
def test_a_captured_session_is_parsed_including_its_replay(feed: HyperliquidFeed) -> None:
    lines = (MESSAGES / "hyperliquid_recorded_2025-01-26.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    parsed = [(r["recv_ns"] // 10**6, feed.parse(r["raw"].encode())) for r in records]
    trades = [(ms, e) for ms, events in parsed for e in events if isinstance(e, Trade)]

    raw = [json.loads(r["raw"]) for r in records]
    sent = [t for r in raw if r["channel"] == "trades" for t in r["data"] if t["coin"] == "BTC"]
    assert sorted(t.trade_id for _, t in trades) == sorted(str(t["tid"]) for t in sent)
    assert max(ms - t.ts_ms for ms, t in trades) > 40_000  # the replay
    assert {t.size for _, t in trades} == {float(t["sz"]) for t in sent}


@needs_captures
def test_every_captured_frame_is_parsed(feed: HyperliquidFeed) -> None:
    for line in (MESSAGES / "hyperliquid_misc.jsonl").read_text().splitlines():
        raw = json.loads(line)["raw"]
        if '"channel"' in raw:
            feed.parse(raw.encode())


def test_recent_trades_are_sorted_by_time() -> None:
    ask = LIVE.recent_trades_request("BTC/USDT", BTC)
    reply = json.dumps([trade(time=5, tid=3), trade(time=5, tid=2), trade(time=1, tid=1)])

    trades = ask.parse(reply.encode())

    assert json.loads(ask.body or b"") == {"type": "recentTrades", "coin": "BTC"}
    assert [t.trade_id for t in trades] == ["1", "2", "3"]


def test_delisted_markets_have_a_problem() -> None:
    reply = b'{"universe":[{"name":"BTC","szDecimals":5},{"name":"MATIC","isDelisted":true}]}'

    listings = LIVE.listings_request().parse(reply)

    assert listings["BTC"].problem is None
    assert listings["MATIC"].problem == "delisted"


def test_bars_are_requested_in_milliseconds_and_cut_to_the_span() -> None:
    span = Span(1742428740000, 1742428860000)
    candles = [
        {"t": t, "T": t + 59999, "o": "1", "h": "3", "l": "0.5", "c": "2", "v": "0.30000000000004"}
        for t in (1742428800000, 1742428740000, 1742428860000)
    ]

    ask = LIVE.minutes_request(BTC, span)
    bars = ask.parse(json.dumps(candles).encode())

    assert json.loads(ask.body or b"")["req"] == {
        "coin": "BTC",
        "interval": "1m",
        "startTime": 1742428740000,
        "endTime": 1742428859999,
    }
    assert bars == [Bar(t, 1.0, 3.0, 0.5, 2.0, 0.3) for t in (1742428740000, 1742428800000)]


def test_the_book_and_the_clock_are_parsed() -> None:
    book = {"time": 7, "levels": [[{"px": "1", "sz": "2", "n": 1}], []]}

    bbo = LIVE.bbo_request("BTC/USDT", BTC).parse(json.dumps(book).encode())

    assert bbo == Bbo("hyperliquid", "BTC/USDT", 7, 1.0, 2.0, None, None)
    assert LIVE.clock_request().parse(b'{"specialStatuses":null,"time":12}') == 12


def test_null_as_for_an_unknown_coin_is_refused() -> None:
    with pytest.raises(VenueError):
        LIVE.bbo_request("BTC/USDT", BTC).parse(b"null")
