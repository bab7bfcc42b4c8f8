"""The local Hyperliquid: true to the wire when asked nothing else, and wrong exactly as told.

Here, too, is what all live servers share: truth, clock, faults, floods, processes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from urllib.error import HTTPError

import pytest
import requests
from websockets.exceptions import InvalidStatus, WebSocketException
from websockets.sync.client import connect

from tests.servers.hyperliquid import HyperliquidOptions, hyperliquid_market, hyperliquid_server
from tests.servers.live_client import Client, captured, connected, needs_captured, shape
from tests.servers.live_faults import Fault
from tests.servers.live_market import BarRow, VenueClock
from tests.servers.live_process import running_process
from tests.servers.live_server import LiveServer

NOON = 1_790_164_800_000  # a whole minute
TRADES = {"type": "trades", "coin": "BTC"}
BBO = {"type": "bbo", "coin": "BTC"}


def quiet(**changes: Any) -> Any:
    return hyperliquid_market("BTC", **{"rate": 0, "quote_rate": 0, **changes})


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """A market that does only what a test pushes, at a clock that a test moves."""
    options = HyperliquidOptions(unknown_every=0, tick_s=0.002)
    clock = VenueClock(start_ms=NOON, speed=0)
    with hyperliquid_server([quiet()], clock=clock, options=options) as server:
        yield server


def take(client: Client, *subscriptions: dict[str, Any]) -> None:
    for subscription in subscriptions:
        client.say({"method": "subscribe", "subscription": subscription})
        client.find("subscriptionResponse")


def push(server: LiveServer, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        server.trade("BTC", str(84_000 + number), "0.5", trade_id=1_000 + number)


def tids(frame: dict[str, Any]) -> list[int]:
    return [trade["tid"] for trade in frame["data"]]


def info(server: LiveServer, **body: Any) -> Any:
    reply = requests.post(f"{server.rest_url}/info", json=body, timeout=30)
    assert reply.status_code == 200, reply.text
    return reply.json()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s:
        if holds():
            return True
        time.sleep(0.005)
    return False


class TestFrames:
    @needs_captured
    def test_frames_have_the_keys_and_types_of_captured_ones(self) -> None:
        real: dict[str, Any] = {}
        for frame in captured("hyperliquid_misc.jsonl", "2026-07"):
            if isinstance(frame, dict) and "channel" in frame and "null" not in json.dumps(frame):
                real[frame["channel"]] = shape(frame)
        with (
            hyperliquid_server([hyperliquid_market(rate=60, quote_rate=60, one_sided=0)]) as server,
            connected(server.ws_url) as client,
        ):
            candle = {"type": "candle", "coin": "BTC", "interval": "1m"}
            book = {"type": "l2Book", "coin": "BTC", "fast": True}
            for wanted in (TRADES, BBO, candle, book, BBO):
                client.say({"method": "subscribe", "subscription": wanted})
            client.say({"method": "ping"})
            made: dict[str, Any] = {}
            compared = {"trades", "bbo", "candle", "l2Book", "pong", "error"}
            while not compared <= made.keys():
                frame = client.read()
                made.setdefault(frame["channel"], shape(frame))
        assert {channel: made[channel] for channel in compared} == {
            channel: real[channel] for channel in compared
        }

    def test_an_ack_echoes_the_object_with_its_defaults_before_any_data(
        self, server: LiveServer
    ) -> None:
        with connected(server.ws_url) as client:
            client.say({"method": "subscribe", "subscription": {"type": "l2Book", "coin": "BTC"}})
            assert client.read() == {
                "channel": "subscriptionResponse",
                "data": {
                    "method": "subscribe",
                    "subscription": {
                        "type": "l2Book", "coin": "BTC",
                        "nSigFigs": None, "mantissa": None, "fast": False,
                    },
                },
            }  # fmt: skip

    def test_a_pushed_trade_is_on_the_wire_as_the_venue_writes_it(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            server.trade("BTC", "84143", "0.00036", "sell", trade_id=1_045_359_869_404_765)
            trade = client.find("trades")["data"][0]
            assert trade.pop("hash").startswith("0x")
            assert len(trade.pop("users")) == 2
            assert trade == {
                "coin": "BTC", "side": "A", "px": "84143.0", "sz": "0.00036",
                "time": NOON, "tid": 1_045_359_869_404_765,
            }  # fmt: skip

    def test_trades_of_one_tick_come_in_one_frame(self) -> None:
        with (
            hyperliquid_server([hyperliquid_market(rate=1000)]) as server,
            connected(server.ws_url) as client,
        ):
            take(client, TRADES)
            client.find("trades")
            assert any(len(client.find("trades")["data"]) > 1 for _ in range(20))

    def test_an_empty_side_is_null_and_bbo_comes_only_on_change(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, BBO)
            assert client.find("bbo")["data"]["bbo"] == [None, None]
            server.quote("BTC", ("83999", "2"), None, ts_ms=NOON + 5)
            frame = client.find("bbo")["data"]
            assert frame["time"] == NOON + 5
            assert frame["bbo"][0].items() >= {"px": "83999.0", "sz": "2.0"}.items()
            assert frame["bbo"][1] is None

    def test_no_made_up_quote_repeats_its_predecessor(self) -> None:
        with hyperliquid_server([hyperliquid_market(quote_rate=50)]) as server:
            quotes = server.truth("BTC").quotes
        assert len(quotes) > 100
        assert all(quote.changed for quote in quotes)
        assert {None} < {quote.bid_price for quote in quotes}


class TestReplay:
    def test_the_first_frame_after_each_subscribe_holds_old_trades(
        self, server: LiveServer
    ) -> None:
        push(server, 20)
        for _ in range(2):
            with connected(server.ws_url) as client:
                take(client, TRADES)
                replayed = tids(client.read())
                assert 2 <= len(replayed) <= 10
                assert replayed == list(range(1_020 - len(replayed), 1_020))

    def test_its_size_can_be_set(self, server: LiveServer) -> None:
        push(server, 60)
        server.control(options={"replay": 50})
        with connected(server.ws_url) as client:
            take(client, TRADES)
            assert len(client.read()["data"]) == 50

    def test_nothing_is_lost_or_doubled_between_replay_and_stream(self) -> None:
        with (
            hyperliquid_server([hyperliquid_market(rate=500)], clock=VenueClock()) as server,
            connected(server.ws_url) as client,
        ):
            take(client, TRADES)
            seen = [tid for _ in range(30) for tid in tids(client.find("trades"))]
            made = [int(trade.trade_id) for trade in server.truth("BTC").trades]
        start = made.index(seen[0])
        assert seen == made[start : start + len(seen)]


class TestManners:
    def test_a_ping_gets_its_pong(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            client.say({"method": "ping"})
            assert client.read() == {"channel": "pong"}

    @pytest.mark.parametrize("coin", ["NOPE", "btc", "0"])
    def test_an_unknown_coin_ends_the_socket_without_a_word(
        self, server: LiveServer, coin: str
    ) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            client.say({"method": "subscribe", "subscription": {"type": "bbo", "coin": coin}})
            assert client.read_to_end() == ([], None)
        assert server.count("close", "unknown coin") == 1

    def test_a_socket_that_hears_nothing_is_closed_and_pings_keep_it(
        self, server: LiveServer
    ) -> None:
        server.control(options={"timeout_s": 0.2})
        with connected(server.ws_url) as silent, connected(server.ws_url) as pinging:
            for _ in range(4):
                pinging.say({"method": "ping"})
                pinging.find("pong")
                time.sleep(0.08)
            assert silent.read_to_end() == ([], None)
            assert len(server.status()["sockets"]) == 1

    @pytest.mark.parametrize(
        ("said", "error"),
        [
            pytest.param(
                '{"method":"subscribe","subscription":{"type":"trades","coin":"BTC"}}',
                'Already subscribed: {"type":"trades","coin":"BTC"}',
                id="subscribing twice",
            ),
            pytest.param(
                '{"method":"unsubscribe","subscription":{"type":"bbo","coin":"BTC"}}',
                'Already unsubscribed: {"type":"bbo","coin":"BTC"}',
                id="unsubscribing what is not subscribed",
            ),
            pytest.param(
                '{"method":"subscribe","subscription":{"type":"bbo","coin":["BTC","ETH"]}}',
                "Error parsing JSON into valid websocket request: "
                '{"method":"subscribe","subscription":{"type":"bbo","coin":["BTC","ETH"]}}',
                id="a list of coins",
            ),
            pytest.param(
                "{no json",
                "Error parsing JSON into valid websocket request: {no json",
                id="no JSON",
            ),
            pytest.param(
                '{"method":"subscribe","subscription":{"type":"noSuchType","coin":"BTC"}}',
                "Error parsing JSON into valid websocket request: "
                '{"method":"subscribe","subscription":{"type":"noSuchType","coin":"BTC"}}',
                id="an unknown type",
            ),
        ],
    )
    def test_what_it_refuses_gets_an_error_and_the_stream_goes_on(
        self, server: LiveServer, said: str, error: str
    ) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            client.socket.send(said)
            assert client.read() == {"channel": "error", "data": error}
            push(server, 1)
            assert tids(client.read()) == [1_000]

    def test_unsubscribing_ends_one_stream_only(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES, BBO)
            client.say({"method": "unsubscribe", "subscription": TRADES})
            ack = client.find("subscriptionResponse")
            assert ack["data"] == {"method": "unsubscribe", "subscription": TRADES}
            push(server, 1)
            server.quote("BTC", None, ("1", "1"))
            assert client.read()["channel"] == "bbo"

    def test_unknown_channels_are_sprinkled_in(self) -> None:
        options = HyperliquidOptions(unknown_every=3)
        with (
            hyperliquid_server([hyperliquid_market(rate=200)], options=options) as server,
            connected(server.ws_url) as client,
        ):
            take(client, TRADES)
            assert client.find("outcomeNews", "blockNews")

    def test_it_can_greet_with_a_line_that_is_no_json(self, server: LiveServer) -> None:
        server.control(options={"greeting": True})
        with connected(server.ws_url) as client:
            assert client.socket.recv(1) == "Websocket connection established."

    def test_the_thirty_first_dial_of_a_minute_is_refused(self, server: LiveServer) -> None:
        for _ in range(30):
            with connected(server.ws_url):
                pass
        with pytest.raises(InvalidStatus), connected(server.ws_url):
            pass
        assert server.count("open") == 30
        assert server.count("refused", "too many dials") == 1

    def test_a_delisted_coin_is_acknowledged_and_says_nothing(self) -> None:
        matic = hyperliquid_market("MATIC", delisted=True)
        with hyperliquid_server([matic]) as server, connected(server.ws_url) as client:
            take(client, {"type": "bbo", "coin": "MATIC"})
            assert client.read()["data"]["bbo"] == [None, None]
            assert client.is_silent()
            assert info(server, type="meta")["universe"][0]["isDelisted"] is True


class TestRest:
    def test_recent_trades_are_the_last_ten_newest_first(self, server: LiveServer) -> None:
        push(server, 30)
        trades = info(server, type="recentTrades", coin="BTC")
        assert [trade["tid"] for trade in trades] == list(range(1_029, 1_019, -1))
        served = [trade.trade_id for trade in server.truth("BTC").trades if trade.served]
        assert served == [str(tid) for tid in range(1_020, 1_030)]

    def test_candles_are_the_trades_of_their_minutes(self, server: LiveServer) -> None:
        server.trade("BTC", "100", "1", ts_ms=NOON - 60_000)
        server.trade("BTC", "103", "2", ts_ms=NOON - 1)
        server.trade("BTC", "99", "0.5", ts_ms=NOON - 30_000)  # late
        server.control(clock={"advance_ms": 61_000})
        req = {"coin": "BTC", "interval": "1m", "startTime": NOON - 60_000}
        first, second, open_one = info(server, type="candleSnapshot", req=req)
        assert first == {
            "t": NOON - 60_000, "T": NOON - 1, "s": "BTC", "i": "1m",
            "o": "100.0", "c": "103.0", "h": "103.0", "l": "99.0", "v": "3.5", "n": 3,
        }  # fmt: skip
        assert (second["t"], second["o"], second["v"], second["n"]) == (NOON, "103.0", "0.0", 0)
        assert open_one["t"] == NOON + 60_000
        assert server.truth("BTC").bars == [
            BarRow(NOON - 60_000, 100.0, 103.0, 99.0, 103.0, 3.5, 3),
            BarRow(NOON, 103.0, 103.0, 103.0, 103.0, 0.0, 0),
        ]
        server.control(options={"quiet_candles": False, "open_candle": False})
        assert info(server, type="candleSnapshot", req=req) == [first]

    def test_only_the_newest_five_thousand_candles_exist(self) -> None:
        clock = VenueClock(start_ms=NOON, speed=0)
        with hyperliquid_server([quiet(history_minutes=5_100)], clock=clock) as server:
            req = {"coin": "BTC", "interval": "1m", "startTime": 0}
            candles = info(server, type="candleSnapshot", req=req)
            assert len(candles) == 5_000
            assert candles[-1]["t"] == NOON
            server.control(options={"candles_a_reply": 500})
            page = info(server, type="candleSnapshot", req=req)
            assert [c["t"] for c in page] == [c["t"] for c in candles[:500]]
            req |= {"startTime": NOON - 120_000, "endTime": NOON - 60_000}
            page = info(server, type="candleSnapshot", req=req)
            assert [c["t"] for c in page] == [NOON - 120_000, NOON - 60_000]

    @pytest.mark.parametrize(
        ("method", "body", "content_type", "status", "text"),
        [
            pytest.param("POST", '{"type":"x"}', "application/json", 422,
                "Failed to deserialize the JSON body into the target type", id="unknown type"),
            pytest.param("POST", '{"type":"recentTrades"}', "application/json", 422,
                "Failed to deserialize the JSON body into the target type", id="missing field"),
            pytest.param("POST", "{", "application/json", 400,
                "Failed to parse the request body as JSON", id="broken JSON"),
            pytest.param("POST", '{"type":"meta"}', "text/plain", 415, None, id="content type"),
            pytest.param("GET", "", "application/json", 405, None, id="GET"),
            pytest.param("POST", '{"type":"l2Book","coin":"NOPE"}', "application/json", 200,
                "null", id="book of an unknown coin"),
            pytest.param("POST", '{"type":"meta","dex":"nope"}', "application/json", 500,
                "null", id="unknown dex"),
        ],
    )  # fmt: skip
    def test_what_it_refuses_gets_the_documented_status(
        self, server: LiveServer, method: str, body: str, content_type: str,
        status: int, text: str | None,
    ) -> None:  # fmt: skip
        reply = requests.request(
            method, f"{server.rest_url}/info", data=body, timeout=3,
            headers={"Content-Type": content_type},
        )  # fmt: skip
        assert reply.status_code == status
        assert text in (None, reply.text)

    def test_the_weight_of_a_minute_ends_in_429(self, server: LiveServer) -> None:
        statuses = [
            requests.post(f"{server.rest_url}/info", json={"type": "meta"}, timeout=3).status_code
            for _ in range(61)
        ]
        assert statuses == [200] * 60 + [429]
        server.control(options={"limits": False})
        assert info(server, type="exchangeStatus") == {"specialStatuses": None, "time": NOON}

    def test_ccxt_loads_markets_and_candles(self) -> None:
        import ccxt  # half a second that the collection of tests does not need

        clock = VenueClock(start_ms=NOON, speed=0)
        with hyperliquid_server([quiet(history_minutes=50)], clock=clock) as server:
            exchange = ccxt.hyperliquid(
                {"urls": {"api": {"public": server.rest_url, "private": server.rest_url}}}
            )
            market = exchange.load_markets()["BTC/USDC:USDC"]
            assert market["baseName"] == "BTC"
            rows = exchange.fetch_ohlcv(
                "BTC/USDC:USDC", "1m", NOON - 20 * 60_000, 10, {"until": NOON - 1}
            )
            bars = server.truth("BTC", NOON - 20 * 60_000).bars[:10]
            assert rows == [list(bar[:6]) for bar in bars]


class TestTruth:
    def test_the_same_seed_gives_the_same_market(self) -> None:
        def made(seed: int) -> Any:
            clock = VenueClock(start_ms=NOON, speed=0)
            with hyperliquid_server([hyperliquid_market()], seed=seed, clock=clock) as server:
                server.control(clock={"advance_ms": 60_000})
                assert eventually(lambda: len(server.truth("BTC", NOON).trades) > 100)
                truth = server.truth("BTC")
            return [trade[:5] for trade in truth.trades], truth.bars

        assert made(1) == made(1)
        assert made(1) != made(2)

    def test_a_fast_clock_closes_bars_soon(self) -> None:
        clock = VenueClock(speed=600)
        with hyperliquid_server([hyperliquid_market(warm_minutes=0)], clock=clock) as server:
            assert eventually(lambda: len(server.truth("BTC").bars) >= 3)
            bars = server.truth("BTC").bars
            assert {b.ts_ms - a.ts_ms for a, b in pairwise(bars)} == {60_000}

    def test_skew_moves_the_times_of_what_happens_next(self, server: LiveServer) -> None:
        server.control(clock={"skew_ms": -5_000})
        assert server.trade("BTC", "1", "1").ts_ms == NOON - 5_000
        assert info(server, type="exchangeStatus")["time"] == NOON - 5_000

    def test_a_trade_that_was_sent_to_nobody_is_in_it_all_the_same(
        self, server: LiveServer
    ) -> None:
        push(server, 1)
        with connected(server.ws_url) as client:
            take(client, BBO)
            push(server, 1, first=1)
        assert [(t.trade_id, t.sent) for t in server.truth("BTC").trades] == [
            ("1000", 0),
            ("1001", 0),
        ]


class TestSocketFaults:
    @pytest.mark.parametrize(("how", "code"), [("rst", None), ("fin", None), ("close", 1012)])
    def test_drop_ends_all_sockets(self, server: LiveServer, how: Any, code: int | None) -> None:
        with connected(server.ws_url) as one, connected(server.ws_url) as other:
            server.fault(Fault(kind="drop", how=how, code=1012))
            assert one.read_to_end() == other.read_to_end() == ([], code)

    def test_half_open_sockets_stay_and_say_nothing(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            server.control(options={"timeout_s": 0.05})
            server.fault(Fault(kind="half_open"))
            push(server, 1)
            client.say({"method": "ping"})
            pong = client.socket.ping()
            assert client.is_silent(0.15)
            assert not pong.is_set()
        assert server.truth("BTC").trades[0].sent == 0

    @pytest.mark.parametrize(
        ("how", "error"),
        [
            ("reset", (OSError, EOFError, WebSocketException)),  # it depends on who is faster
            ("status", InvalidStatus),
            ("refused", ConnectionRefusedError),
        ],
    )
    def test_refuse_keeps_new_sockets_out_for_a_while(
        self, server: LiveServer, how: Any, error: Any
    ) -> None:
        times = None if how == "refused" else 1
        with connected(server.ws_url) as client:
            server.fault(Fault(kind="refuse", how=how, times=times, seconds=0.1, status=503))
            time.sleep(0.02)
            with pytest.raises(error), connected(server.ws_url):
                pass
            client.say({"method": "ping"})
            assert client.find("pong")
        time.sleep(0.12)
        with connected(server.ws_url):
            pass

    def test_refuse_can_let_a_handshake_hang(self, server: LiveServer) -> None:
        server.fault(Fault(kind="refuse", how="hang", times=1))
        with pytest.raises(TimeoutError), connect(server.ws_url, open_timeout=0.1):
            pass

    @pytest.mark.parametrize(
        ("fault", "frame"),
        [
            (Fault(kind="text", body="hello"), "hello"),
            (Fault(kind="malformed"), '{"channel":"trades","data":[{"coin":"BTC","px":"84'),
            (Fault(kind="error", body="Oops"), '{"channel":"error","data":"Oops"}'),
            (Fault(kind="binary", body="xyz"), b"xyz"),
            (Fault(kind="unknown", body='{"channel":"new"}'), '{"channel":"new"}'),
        ],
    )
    def test_a_frame_more_can_be_sent(
        self, server: LiveServer, fault: Fault, frame: str | bytes
    ) -> None:
        with connected(server.ws_url) as client:
            server.fault(fault)
            assert client.socket.recv(1) == frame

    def test_pongs_and_acks_can_be_missing(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            server.fault(Fault(kind="no_pong", times=1), Fault(kind="no_ack"))
            client.say({"method": "ping"})
            client.say({"method": "subscribe", "subscription": TRADES})
            client.say({"method": "ping"})
            assert client.read() == {"channel": "pong"}
            push(server, 1)
            assert tids(client.read()) == [1_000]


class TestStreamFaults:
    @pytest.mark.parametrize(
        ("fault", "frames"),
        [
            pytest.param(Fault(kind="duplicate"), [[1_000], [1_000], [1_001]], id="duplicate"),
            pytest.param(
                Fault(kind="duplicate", after=1), [[1_000], [1_001], [1_001]], id="after one"
            ),
            pytest.param(
                Fault(kind="late", seconds=0.05), [[1_001], [1_002], [1_003], [1_000]], id="late"
            ),
            pytest.param(Fault(kind="stall", times=2), [[1_002], [1_003]], id="stall, lost"),
        ],
    )
    def test_a_fault_changes_what_is_sent(
        self, server: LiveServer, fault: Fault, frames: list[list[int]]
    ) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            server.fault(fault)
            push(server, 4)
            assert [tids(client.find("trades")) for _ in frames] == frames
        assert [trade.ts_ms for trade in server.truth("BTC").trades] == [NOON] * 4

    def test_one_stream_stalls_while_others_flow_and_may_come_later(
        self, server: LiveServer
    ) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES, BBO)
            client.find("bbo")
            server.fault(Fault(kind="stall", channel="trades", how="held"))
            push(server, 2)
            server.quote("BTC", None, ("1", "1"))
            assert client.read()["channel"] == "bbo"
            assert client.is_silent(0.05)
            server.behave()
            assert tids(client.read()) == [1_000, 1_001]

    def test_a_window_is_reordered(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            server.fault(Fault(kind="reorder", count=4))
            push(server, 5)
            seen = [tid for _ in range(5) for tid in tids(client.find("trades"))]
        assert seen[:4] != [1_000, 1_001, 1_002, 1_003]
        assert sorted(seen[:4]) == [1_000, 1_001, 1_002, 1_003]
        assert seen[4] == 1_004

    def test_old_trades_come_again_in_mid_stream(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            push(server, 4)
            for _ in range(4):
                client.find("trades")
            server.fault(Fault(kind="replay", count=3))
            assert tids(client.find("trades")) == [1_001, 1_002, 1_003]

    def test_a_corrupt_frame_reached_nobody(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, TRADES)
            server.fault(Fault(kind="corrupt"))
            push(server, 2)
            with pytest.raises(ValueError, match="line 1 column"):
                json.loads(client.socket.recv(1))
            assert tids(client.read()) == [1_001]
        assert [trade.sent for trade in server.truth("BTC").trades] == [0, 1]


class TestRestFaults:
    @pytest.mark.parametrize(("status", "body"), [(429, ""), (500, "null"), (503, "503")])
    def test_a_status_strikes_what_matches(
        self, server: LiveServer, status: int, body: str
    ) -> None:
        server.fault(Fault(kind="rest", match="recentTrades", status=status))
        assert info(server, type="meta")
        wanted = {"type": "recentTrades", "coin": "BTC"}
        reply = requests.post(f"{server.rest_url}/info", json=wanted, timeout=3)
        assert (reply.status_code, reply.text) == (status, body)
        assert info(server, **wanted) == []
        assert [e.status for e in server.log() if e.event == "rest"] == [200, status, 200]

    def test_rest_can_be_slow_hang_reset_and_be_malformed(self, server: LiveServer) -> None:
        server.fault(
            Fault(kind="rest", how="slow", seconds=0.1),
            Fault(kind="rest", how="hang", seconds=0.1),
            Fault(kind="rest", how="reset"),
            Fault(kind="rest", how="malformed"),
        )
        started_s = time.monotonic()
        assert info(server, type="meta")
        assert time.monotonic() - started_s >= 0.1
        for _ in range(2):
            with pytest.raises(requests.ConnectionError):
                info(server, type="meta")
        with pytest.raises(requests.JSONDecodeError):
            info(server, type="meta")
        assert info(server, type="meta")

    def test_a_fault_that_makes_no_sense_is_refused(self) -> None:
        for wrong in ({"kind": "x"}, {"kind": "drop", "how": "slow"}, {"kind": "late"}):
            with pytest.raises(ValueError, match=r"kind|how|needs"):
                Fault(**wrong)  # type: ignore[arg-type]


def test_another_process_can_be_steered_and_tells_its_truth() -> None:
    with running_process(
        "tests.servers.hyperliquid",
        "--symbols=BTC,ETH", "--rate=0", "--quote-rate=0", f"--start-ms={NOON}", "--speed=0",
        "--option=unknown_every=0",
    ) as server:  # fmt: skip
        with connected(server.ws_url) as client:
            take(client, TRADES)
            server.trade("BTC", "84000", "0.5", "sell", trade_id=7, ts_ms=NOON - 90_000)
            assert tids(client.find("trades")) == [7]
            server.fault(Fault(kind="drop"))
            assert client.read_to_end() == ([], None)
        truth = server.truth("BTC")
        assert truth.trades == [(NOON - 90_000, "7", 84_000.0, 0.5, "sell", 1, 0)]
        assert [bar.ts_ms for bar in truth.bars] == [NOON - 120_000, NOON - 60_000]
        assert server.truth("ETH").trades == []
        assert (server.count("open"), server.count("close", "dropped")) == (1, 1)
        assert server.status()["now_ms"] == NOON
        with pytest.raises(HTTPError):
            server.control(nonsense=1)


def test_a_flood_is_counted_to_the_last_message(server: LiveServer) -> None:
    with connected(server.ws_url) as client:
        take(client, TRADES, BBO)
        client.find("bbo")
        server.flood(["BTC"], 3_000, bbo_every=3)
        frames = [client.read(5) for _ in range(3_000)]
        assert eventually(lambda: server.status()["flood"]["stage"] == "done")
        status = server.status()["flood"]
    seen = [tid for frame in frames if frame["channel"] == "trades" for tid in tids(frame)]
    truth = server.truth("BTC")
    assert (status["sent"], len(seen), len(truth.quotes)) == (3_000, 2_000, 1_001)
    assert [str(tid) for tid in seen] == [trade.trade_id for trade in truth.trades]
    assert {trade.ts_ms for trade in truth.trades} == {NOON}
    assert {frame["data"]["time"] for frame in frames if frame["channel"] == "bbo"} == {NOON}
