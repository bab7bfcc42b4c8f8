"""The local MEXC futures: true to the wire, and wrong as told; test_hyperliquid.py has the rest."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
import requests

from tests.servers.live_client import Client, captured, connected, needs_captured, shape
from tests.servers.live_faults import Fault
from tests.servers.live_market import VenueClock
from tests.servers.live_process import running_process
from tests.servers.live_server import LiveServer
from tests.servers.mexc import MexcOptions, mexc_market, mexc_server

NOON = 1_790_164_800_000  # a whole minute


def quiet(**changes: Any) -> Any:
    return mexc_market("BTC_USDT", **{"rate": 0, "quote_rate": 0, **changes})


@pytest.fixture
def server() -> Iterator[LiveServer]:
    """A market that does only what a test pushes, at a clock that a test moves."""
    options = MexcOptions(unknown_every=0, tick_s=0.002, exponent_every=0)
    clock = VenueClock(start_ms=NOON, speed=0)
    with mexc_server([quiet()], clock=clock, options=options) as server:
        yield server


def take(client: Client, method: str, **param: Any) -> None:
    client.say({"method": method, "param": {"symbol": "BTC_USDT", **param}})
    client.find(f"rs.{method}")


def push(server: LiveServer, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        server.trade("BTC_USDT", str(84_000 + number), "5", trade_id=1_000 + number)


def ids(frame: dict[str, Any]) -> list[str]:
    return [deal["i"] for deal in frame["data"]]


def ask(server: LiveServer, path: str) -> Any:
    reply = requests.get(f"{server.rest_url}/api/v1/contract/{path}", timeout=3)
    assert reply.status_code == 200, reply.text
    return reply.json()


class TestFrames:
    @needs_captured
    def test_frames_have_the_keys_and_types_of_captured_ones(self) -> None:
        real: dict[str, Any] = {}
        for frame in captured("mexc_futures_misc.jsonl", "2026-09"):
            real.setdefault(frame["channel"], shape(frame))
        with (
            mexc_server([mexc_market(rate=60, quote_rate=60, one_sided=0)]) as server,
            connected(server.ws_url) as client,
        ):
            param = {"symbol": "BTC_USDT", "limit": 5, "interval": "Min1"}
            for method in ("sub.deal", "sub.depth.full", "sub.kline"):
                client.say({"method": method, "param": param})
            client.say({"method": "sub.deal", "param": {"symbol": "NOPE_USDT"}})
            client.say({"method": "ping"})
            made: dict[str, Any] = {}
            compared = {"push.deal", "push.depth.full", "push.kline", "pong", "rs.error"}
            compared |= {"rs.sub.deal", "rs.sub.depth.full"}
            while not compared <= made.keys():
                frame = client.read()
                made.setdefault(frame["channel"], shape(frame))
        assert {channel: made[channel] for channel in compared} == {
            channel: real[channel] for channel in compared
        }

    def test_an_ack_names_no_symbol_and_comes_again(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            for _ in range(2):
                client.say({"method": "sub.deal", "param": {"symbol": "BTC_USDT"}})
                assert client.read() == {"channel": "rs.sub.deal", "data": "success", "ts": NOON}
            push(server, 1)
            assert ids(client.read()) == ["1000"]
            assert client.is_silent(0.05)

    def test_a_pushed_trade_is_on_the_wire_as_the_venue_writes_it(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, "sub.deal")
            server.trade("BTC_USDT", "77526", "208", "buy", trade_id=16_005_949_690)
            assert client.read() == {
                "symbol": "BTC_USDT",
                "data": [
                    {
                        "p": 77526, "v": 208, "T": 1, "O": 3, "M": 1, "t": NOON,
                        "i": "16005949690", "cts": str(NOON),
                    }
                ],
                "channel": "push.deal",
                "ts": NOON,
            }  # fmt: skip
        trade = server.truth("BTC_USDT").trades[0]
        assert (trade.price, trade.size, trade.sent) == (77_526.0, 0.0208, 1)

    def test_prints_are_merged_newest_first_unless_compress_is_false(self) -> None:
        with (
            mexc_server([mexc_market(rate=1000)]) as server,
            connected(server.ws_url) as merged,
            connected(server.ws_url) as single,
        ):
            take(merged, "sub.deal")
            take(single, "sub.deal", compress=False)
            several = merged.find("push.deal", skip=lambda frame: len(frame["data"]) < 3)
            numbers = [int(i) for i in ids(several)]
            assert numbers == sorted(numbers, reverse=True)
            assert {len(single.find("push.deal")["data"]) for _ in range(20)} == {1}

    @pytest.mark.parametrize(
        ("option", "deals"),
        [
            ({"ids": "int"}, [{"i": 1000, "cts": NOON}]),
            ({"ids": "absent"}, [{}]),
            ({"deals": "object", "ids": "absent"}, {}),
        ],
    )
    def test_older_forms_of_a_trade(
        self, server: LiveServer, option: dict[str, str], deals: Any
    ) -> None:
        server.control(options=option)
        with connected(server.ws_url) as client:
            take(client, "sub.deal")
            push(server, 1)
            common = {"p": 84000, "v": 5, "T": 1, "O": 3, "M": 1, "t": NOON}
            data = client.read()["data"]
            assert data == ([{**common, **deals[0]}] if isinstance(deals, list) else common)

    def test_numbers_may_bear_exponents(self, server: LiveServer) -> None:
        server.control(options={"exponent_every": 1})
        with connected(server.ws_url) as client:
            take(client, "sub.deal")
            server.trade("BTC_USDT", "75480", "11")
            server.trade("BTC_USDT", "0.00003", "2000")
            assert '"p":7.548E+4,"v":1.1E+1,' in str(client.socket.recv(1))
            assert '"p":3E-5,"v":2E+3,' in str(client.socket.recv(1))

    def test_depth_repeats_its_top_under_a_rising_version(self) -> None:
        with (
            mexc_server([mexc_market(quote_rate=200)]) as server,
            connected(server.ws_url) as client,
        ):
            take(client, "sub.depth.full", limit=5)
            pushed = [client.find("push.depth.full")["data"] for _ in range(60)]
            quotes = server.truth("BTC_USDT").quotes
        tops = [(data["bids"][:1], data["asks"][:1]) for data in pushed]
        equal = sum(
            [level[:2] for side in a for level in side] == [x[:2] for side in b for x in side]
            for a, b in pairwise(tops)
        )
        assert 5 < equal < 45
        versions = [data["version"] for data in pushed]
        assert versions == sorted(set(versions))
        assert all(len(data["asks"]) in (0, 5) for data in pushed)
        assert {quote.changed for quote in quotes} == {True, False}

    def test_an_empty_side_is_an_empty_list_and_ts_lags_cts(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, "sub.depth.full", limit=5)
            server.quote("BTC_USDT", None, ("84000.1", "7"))
            frame = client.read()
            assert frame["data"]["bids"] == []
            assert frame["data"]["asks"][0][:2] == [84000.1, 7]
            assert (frame["data"]["cts"], frame["ts"]) == (NOON, NOON + 3)
        assert server.truth("BTC_USDT").quotes[0][:5] == (NOON, None, None, 84000.1, 0.0007)

    def test_a_frame_can_be_binary_gzip(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, "sub.deal")
            server.fault(Fault(kind="gzip"))
            push(server, 2)
            zipped = client.socket.recv(1)
            assert isinstance(zipped, bytes)
            assert ids(json.loads(gzip.decompress(zipped))) == ["1000"]
            assert ids(client.read()) == ["1001"]


class TestManners:
    def test_an_unknown_contract_gets_an_error_and_the_socket_stays(
        self, server: LiveServer
    ) -> None:
        with connected(server.ws_url) as client:
            client.say({"method": "sub.deal", "param": {"symbol": "NOPE_USDT"}})
            error = {"channel": "rs.error", "data": "Contract [NOPE_USDT] not exists", "ts": NOON}
            assert client.read() == error
            param = {"symbol": "BTC_USDT", "interval": "Min7"}
            client.say({"method": "sub.kline", "param": param})
            assert client.read() == {"channel": "rs.error", "data": "Not support interval"}

    @pytest.mark.parametrize("said", ['{"method":"sub.nonsense","param":{}}', "{no json", "[]"])
    def test_what_it_does_not_know_gets_no_answer(self, server: LiveServer, said: str) -> None:
        with connected(server.ws_url) as client:
            client.socket.send(said)
            client.say({"method": "ping"})
            assert client.read() == {"channel": "pong", "data": NOON, "ts": NOON}

    def test_it_may_pong_twice(self, server: LiveServer) -> None:
        server.control(options={"pongs": 2})
        with connected(server.ws_url) as client:
            client.say({"method": "ping"})
            assert client.read() == client.read()

    def test_data_and_protocol_pings_replace_no_ping_and_it_says_so_before_it_closes(self) -> None:
        options = MexcOptions(timeout_s=0.3)
        with (
            mexc_server([mexc_market(rate=200)], options=options) as server,
            connected(server.ws_url) as client,
        ):
            take(client, "sub.deal")
            client.socket.ping()
            frames, code = client.read_to_end()
        assert code == 1005
        assert len(frames) > 3
        assert "more than 60 seconds no response, close the channel" in frames[-1]

    def test_an_idle_socket_ends_without_a_word(self, server: LiveServer) -> None:
        server.control(options={"timeout_s": 0.1})
        with connected(server.ws_url) as client:
            assert client.read_to_end() == ([], None)

    def test_pings_keep_it_open(self, server: LiveServer) -> None:
        server.control(options={"timeout_s": 0.15})
        with connected(server.ws_url) as client:
            for _ in range(5):
                client.say({"method": "ping"})
                assert client.find("pong")
                time.sleep(0.05)
            assert server.count("close") == 0

    def test_unsubscribing_ends_the_stream(self, server: LiveServer) -> None:
        with connected(server.ws_url) as client:
            take(client, "sub.deal")
            take(client, "unsub.deal")
            push(server, 1)
            assert client.is_silent(0.05)


class TestRest:
    def test_ping_and_detail(self, server: LiveServer) -> None:
        assert ask(server, "ping") == {"success": True, "code": 0, "data": NOON}
        (contract,) = ask(server, "detail")["data"]
        expected = {"symbol": "BTC_USDT", "contractSize": 0.0001, "priceUnit": 0.1, "volUnit": 1}
        assert contract.items() >= expected.items()
        assert ask(server, "detail?symbol=BTC_USDT")["data"] == contract
        server.control(options={"detail_of_one": "list"})
        assert ask(server, "detail?symbol=BTC_USDT")["data"] == [contract]

    @pytest.mark.parametrize("path", ["detail?symbol=X_USDT", "kline/BTCUSDT", "deals/X_USDT"])
    def test_an_unknown_contract_is_code_1001_in_a_200(self, server: LiveServer, path: str) -> None:
        refusal = {"success": False, "code": 1001, "message": "Contract does not exist"}
        assert ask(server, path) == refusal

    def test_deals_are_the_last_hundred_newest_first(self, server: LiveServer) -> None:
        push(server, 120)
        assert ids(ask(server, "deals/BTC_USDT?limit=3")) == ["1119", "1118", "1117"]
        assert len(ids(ask(server, "deals/BTC_USDT?limit=500"))) == 100
        assert sum(trade.served for trade in server.truth("BTC_USDT").trades) == 103

    def test_klines_are_columns_of_contracts_by_seconds(self, server: LiveServer) -> None:
        server.trade("BTC_USDT", "80000", "3", ts_ms=NOON - 60_000)
        server.trade("BTC_USDT", "80100.5", "2", ts_ms=NOON - 1)
        data = ask(server, "kline/BTC_USDT?interval=Min1&start=0&end=9999999999")["data"]
        assert data["time"] == [NOON // 1000 - 60, NOON // 1000]
        assert {name: data[name][0] for name in ("open", "close", "high", "low", "vol")} == {
            "open": 80_000, "close": 80_100.5, "high": 80_100.5, "low": 80_000, "vol": 5,
        }  # fmt: skip
        assert data["amount"][0] == float(Decimal("80000") * 3 + Decimal("80100.5") * 2) / 10_000
        assert server.truth("BTC_USDT").bars[0].volume == 0.0005

    @pytest.mark.parametrize(
        ("query", "first_ago", "last_ago"),
        [
            pytest.param("", 1_999, 0, id="neither end"),
            pytest.param("&end={0}", 2_099, 100, id="only end"),
            pytest.param("&start={0}", 100, 0, id="only start"),
            pytest.param("&start={0}&end={1}", 100, 10, id="both"),
        ],
    )
    def test_at_most_two_thousand_klines(self, query: str, first_ago: int, last_ago: int) -> None:
        clock = VenueClock(start_ms=NOON, speed=0)
        with mexc_server([quiet(history_minutes=2_500)], clock=clock) as server:
            now_s = NOON // 1000
            asked = query.format(now_s - 100 * 60, now_s - 10 * 60)
            minutes = ask(server, f"kline/BTC_USDT?interval=Min1{asked}")["data"]["time"]
        assert (minutes[0], minutes[-1]) == (now_s - first_ago * 60, now_s - last_ago * 60)
        assert len(minutes) == first_ago - last_ago + 1

    def test_depth_has_the_top(self, server: LiveServer) -> None:
        server.quote("BTC_USDT", ("84000", "5"), ("84000.1", "7"))
        data = ask(server, "depth/BTC_USDT?limit=5")["data"]
        assert (data["bids"][0][:2], data["asks"][0][:2]) == ([84_000, 5], [84_000.1, 7])
        assert data["timestamp"] == NOON

    def test_too_many_calls_are_code_510(self, server: LiveServer) -> None:
        codes = [ask(server, "ping")["code"] for _ in range(21)]
        assert codes == [0] * 20 + [510]

    def test_faults_come_with_codes_and_statuses(self, server: LiveServer) -> None:
        server.fault(Fault(kind="rest", match="deals", code=510), Fault(kind="rest", match="deals"))
        assert ask(server, "deals/BTC_USDT")["code"] == 510
        url = f"{server.rest_url}/api/v1/contract/deals/BTC_USDT"
        assert requests.get(url, timeout=3).status_code == 500
        assert ask(server, "deals/BTC_USDT")["code"] == 0

    def test_ccxt_loads_markets_and_klines(self) -> None:
        import ccxt  # half a second that the collection of tests does not need

        clock = VenueClock(start_ms=NOON, speed=0)
        with mexc_server([quiet(history_minutes=50)], clock=clock) as server:
            url = server.rest_url
            spot = {"public": url, "private": url}
            contract = {"public": f"{url}/api/v1/contract", "private": f"{url}/api/v1/private"}
            exchange = ccxt.mexc({"urls": {"api": {"spot": spot, "contract": contract}}})
            assert exchange.load_markets()["BTC/USDT:USDT"]["contractSize"] == 0.0001
            rows = exchange.fetch_ohlcv("BTC/USDT:USDT", "1m", NOON - 20 * 60_000, 10)
            bars = server.truth("BTC_USDT", NOON - 20 * 60_000).bars[:10]
        assert [row[:5] for row in rows] == [list(bar[:5]) for bar in bars]
        assert [row[5] for row in rows] == [round(bar.volume * 10_000) for bar in bars]


def test_another_process_floods_and_loses_nothing() -> None:
    with running_process(
        "tests.servers.mexc", "--symbols=BTC,ETH", "--rate=0", "--quote-rate=0",
        "--option=unknown_every=0",
    ) as server, connected(server.ws_url) as client:  # fmt: skip
        for symbol in ("BTC_USDT", "ETH_USDT"):
            take(client, "sub.deal", symbol=symbol)
            take(client, "sub.depth.full", symbol=symbol, limit=5)
        server.flood(["BTC_USDT", "ETH_USDT"], 4_000, rate=20_000, bbo_every=4)
        frames = [client.read(5) for _ in range(4_000)]
        truths = [server.truth(symbol) for symbol in ("BTC_USDT", "ETH_USDT")]
    deals = [frame for frame in frames if frame["channel"] == "push.deal"]
    assert len(deals) == sum(len(truth.trades) for truth in truths) == 3_000
    assert sum(len(truth.quotes) for truth in truths) == 1_000
    for frame in frames:
        assert abs(frame["ts"] / 1000 - time.time()) < 30
    sent = sorted((frame["ts"], frame["data"][0]["i"]) for frame in deals)
    assert sent == sorted((t.ts_ms, t.trade_id) for truth in truths for t in truth.trades)
