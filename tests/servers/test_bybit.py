"""The local Bybit: true to the wire, and wrong as told; test_hyperliquid.py has the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.servers.bybit import BybitOptions, bybit_market, bybit_server
from tests.servers.live_client import Client, connected, shape
from tests.servers.live_faults import Fault
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer

NOON = 1_790_164_800_000  # a whole minute
# As captured in March 2026, and as documented in July.
TRADE = {
    "topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": 1774021164273,
    "data": [{
        "T": 1774021164272, "s": "BTCUSDT", "S": "Sell", "v": "0.001", "p": "69916.80",
        "L": "MinusTick", "i": "8c931d9a-b703-5c34-9aeb-860867cf1f66", "BT": False, "RPI": False,
        "seq": 549792210006,
    }],
}  # fmt: skip
BOOK = {
    "topic": "orderbook.1.BTCUSDT", "ts": 1772694601512, "type": "snapshot",
    "data": {"s": "BTCUSDT", "b": [["1", "2"]], "a": [["1", "2"]], "u": 3, "seq": 4},
    "cts": 1772694601509,
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """A market that does only what a test pushes, at a clock that a test moves."""
    options = BybitOptions(unknown_every=0, tick_s=0.002)
    market = bybit_market("BTCUSDT", rate=0, quote_rate=0, history_minutes=1200)
    clock = VenueClock(start_ms=NOON, speed=0)
    with bybit_server([market, bybit_market("ETHUSDT")], clock=clock, options=options) as server:
        yield server


def say(client: Client, op: str, *topics: str, name: str = "") -> Any:
    client.say({"op": op, "args": topics, "req_id": name})
    while (answer := client.read()).get("op") != op:
        pass
    return answer


def find(client: Client, topic: str) -> Any:
    while (frame := client.read()).get("topic") != topic:
        pass
    return frame


def ask(server: LiveServer, call: str, **params: Any) -> Any:
    url = f"{server.rest_url}/v5/market/{call}"
    reply = requests.get(url, params={"category": "linear", **params}, timeout=3)
    assert reply.status_code == 200, reply.text
    return reply.json()


def listed(server: LiveServer, call: str, **params: Any) -> Any:
    answer = ask(server, call, **params)
    assert answer["retCode"] == 0, answer
    return answer["result"]["list"]


class TestFrames:
    def test_frames_have_the_keys_and_types_of_captured_ones(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            say(client, "subscribe", "publicTrade.BTCUSDT", "orderbook.1.BTCUSDT")
            server.trade("BTCUSDT", "69916.8", "0.001", "sell")
            server.quote("BTCUSDT", ("1", "2"), ("3", "4"))
            trade = find(client, "publicTrade.BTCUSDT")
            book = find(client, "orderbook.1.BTCUSDT")

        assert shape(trade) == shape(TRADE)
        assert shape(book) == shape(BOOK)
        assert trade["data"][0]["S"] == "Sell"
        assert trade["data"][0]["i"] == server.truth("BTCUSDT").trades[0].trade_id

    def test_an_ack_has_no_other_name_than_that_of_its_request(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            answer = say(client, "subscribe", "publicTrade.BTCUSDT", name="mine")
            assert answer.pop("conn_id")
            assert answer == {"success": True, "ret_msg": "", "req_id": "mine", "op": "subscribe"}
            assert say(client, "ping") | {"conn_id": ""} == {
                "success": True, "ret_msg": "pong", "conn_id": "", "req_id": "", "op": "ping",
            }  # fmt: skip

    @pytest.mark.parametrize(
        ("second", "words"),
        [
            ("publicTrade.BTCUSDT", "error:already subscribed,topic:publicTrade.BTCUSDT"),
            ("publicTrade.NOPE", "error:handler not found,topic:publicTrade.NOPE"),
        ],
    )
    def test_one_wrong_topic_takes_all_of_its_request_down(
        self, server: LiveServer, second: str, words: str
    ) -> None:
        with connected(server.ws_url) as client:
            assert say(client, "subscribe", "publicTrade.BTCUSDT")["success"]
            refused = say(client, "subscribe", "publicTrade.ETHUSDT", second)

        assert (refused["success"], refused["ret_msg"]) == (False, words)
        assert server.status()["sockets"] == [] or server.status()["sockets"][0][
            "subscriptions"
        ] == ["publicTrade.BTCUSDT"]

    def test_the_book_comes_at_once_and_again_when_nothing_changes(
        self, server: LiveServer
    ) -> None:
        server.quote("BTCUSDT", ("1", "2"), None)
        server.control(options={"repeat_s": 0.05})
        with connected(server.ws_url) as client:
            say(client, "subscribe", "orderbook.1.BTCUSDT")
            first, again = (find(client, "orderbook.1.BTCUSDT") for _ in range(2))

        assert first == again
        assert first["data"]["a"] == []

    def test_a_socket_without_pings_ends_and_one_with_them_does_not(
        self, server: LiveServer
    ) -> None:
        with connected(server.ws_url) as quiet, connected(server.ws_url) as client:
            server.control(options={"timeout_s": 0.3})
            for _ in range(4):
                time.sleep(0.1)
                say(client, "ping")
            assert quiet.read_to_end() == ([], None)
            assert say(client, "ping")


class TestRest:
    def test_rows_of_bars_come_newest_first_in_quotes_and_open_at_the_last_close(
        self, server: LiveServer
    ) -> None:
        start_ms = NOON - 10 * 60_000
        rows = listed(server, "kline", symbol="BTCUSDT", interval="1", start=start_ms, end=NOON - 1)

        assert [int(row[0]) for row in rows] == list(range(NOON - 60_000, start_ms - 1, -60_000))
        assert all(type(cell) is str for row in rows for cell in row)
        assert [row[1] for row in rows[:-1]] == [row[4] for row in rows[1:]]
        bars = server.truth("BTCUSDT", start_ms).bars[::-1]
        assert [float(row[4]) for row in rows] == [bar.close for bar in bars]
        assert [float(row[5]) for row in rows] == [bar.volume for bar in bars]

    @pytest.mark.parametrize(("limit", "count"), [({}, 200), ({"limit": 5000}, 1000)])
    def test_of_more_bars_than_a_page_the_newest_stay(
        self, server: LiveServer, limit: Any, count: int
    ) -> None:
        rows = listed(server, "kline", symbol="BTCUSDT", interval="1", start=0, end=NOON, **limit)

        assert len(rows) == count
        assert int(rows[0][0]) >= NOON - 60_000

    def test_funding_wants_both_ends_or_none_of_them(self, server: LiveServer) -> None:
        newest = listed(server, "funding/history", symbol="BTCUSDT", limit=3)
        times = [int(row["fundingRateTimestamp"]) for row in newest]
        between = listed(
            server, "funding/history", symbol="BTCUSDT", startTime=times[2], endTime=times[1]
        )

        assert times == [NOON - NOON % 28_800_000 - 28_800_000 * back for back in range(3)]
        assert between == newest[1:]
        assert ask(server, "funding/history", symbol="BTCUSDT", startTime=0)["retCode"] == 10001

    def test_instruments_come_page_by_page_under_a_quoted_cursor(self, server: LiveServer) -> None:
        server.control(options={"instruments_a_page": 1})
        first = ask(server, "instruments-info", limit=1000)["result"]
        url = f"{server.rest_url}/v5/market/instruments-info?category=linear"
        second = requests.get(f"{url}&cursor={first['nextPageCursor']}", timeout=3).json()

        assert [row["symbol"] for row in first["list"]] == ["BTCUSDT"]
        assert [row["symbol"] for row in second["result"]["list"]] == ["ETHUSDT"]
        assert second["result"]["nextPageCursor"] == ""

    def test_a_refusal_is_a_code_in_a_200(self, server: LiveServer) -> None:
        assert ask(server, "kline", symbol="NOPE", interval="1")["retCode"] == 10001
        assert (
            ask(server, "kline", symbol="BTCUSDT", interval="1", category="x")["retCode"] == 10001
        )
        server.fault(Fault(kind="rest", code=10006))
        assert ask(server, "time")["retMsg"] == "Too many visits!"
        assert int(ask(server, "time")["result"]["timeNano"]) // 10**6 == NOON

    def test_recent_trades_are_those_of_the_socket_newest_first(self, server: LiveServer) -> None:
        for number in range(3):
            server.trade("BTCUSDT", f"{84_000 + number}", "0.5")

        rows = listed(server, "recent-trade", symbol="BTCUSDT", limit=2)

        assert [row["price"] for row in rows] == ["84002", "84001"]
        assert [t.served for t in server.truth("BTCUSDT").trades] == [0, 1, 1]

    def test_ccxt_loads_markets_and_klines(self, server: LiveServer) -> None:
        import ccxt  # half a second that the collection of tests does not need

        urls = {
            "api": dict.fromkeys(("public", "private", "spot", "futures", "v2"), server.rest_url)
        }
        exchange = ccxt.bybit({"urls": urls, "options": {"fetchMarkets": {"types": ["linear"]}}})
        exchange.has["fetchCurrencies"] = False

        market = exchange.load_markets()["BTC/USDT:USDT"]
        rows = exchange.fetch_ohlcv("BTC/USDT:USDT", "1m", NOON - 5 * 60_000, 5)

        assert market["id"] == "BTCUSDT"
        assert [row[0] for row in rows] == list(range(NOON - 5 * 60_000, NOON, 60_000))
