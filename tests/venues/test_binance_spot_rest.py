"""Binance Spot's REST: pages, second looks, limits, refusals and failures."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Span, parse_time
from tbv8.venues.base import Endpoints
from tbv8.venues.binance.history import open_history
from tbv8.venues.binance.host import HostOptions, failure_of
from tbv8.venues.binance_spot import PRODUCT as SPOT
from tests.lines import Line
from tests.servers.binance import BinanceServer, Hidden
from tests.servers.binance_faults import Fault
from tests.servers.binance_market import Market, market_from_rows, synthetic_market
from tests.venues.binance_spot import (
    BTC,
    KLINES,
    VirtualTime,
    bars_of,
    fetched,
    joined,
    notes,
    opened,
    served,
    sources,
    span,
    truth,
)

NOW = "2024-03-10T23:00:30"
TODAY = span("2024-03-10", "2024-03-10T23:00:00")
PAGE = "startTime=17100"  # a page of that day, and not the listing


@pytest.fixture(scope="module")
def market() -> Market:
    return synthetic_market(BTC, parse_time("2024-03-01"), parse_time("2024-03-11"), 9)


@pytest.fixture
def time() -> VirtualTime:
    return VirtualTime()


@pytest.fixture
def server(market: Market, time: VirtualTime) -> Iterator[BinanceServer]:
    with served(market, NOW, time=time) as server:
        yield server


def looks(server: BinanceServer) -> list[tuple[int, int]]:
    """Return start and limit of the calls that have no end, but for the listing."""
    calls = [logged.query for logged in server.requests_of(KLINES)]
    return [(int(q["startTime"]), int(q["limit"])) for q in calls if "endTime" not in q][1:]


def test_a_day_is_pages_of_a_thousand(market: Market, server: BinanceServer) -> None:
    pieces = fetched(server, [TODAY])

    assert sources(pieces) == ["rest"]
    assert bars_of(pieces) == truth(market, [TODAY])
    pages = [logged.query for logged in server.requests_of(KLINES) if "endTime" in logged.query]
    middle_ms = TODAY.start_ms + 1000 * MINUTE_MS
    assert [(int(q["startTime"]), int(q["endTime"])) for q in pages] == [
        (TODAY.start_ms, middle_ms - 1),
        (middle_ms, TODAY.end_ms - 1),
    ]
    assert looks(server) == []


def test_a_hole_by_rest_is_requested_a_second_time(market: Market, server: BinanceServer) -> None:
    hole = span("2024-03-10T12:40:00", "2024-03-10T14:00:00")
    server.hide(Hidden(BTC, "rest", hole.start_ms, hole.end_ms))

    [piece] = fetched(server, [TODAY])

    assert piece.span.minutes - piece.bars.num_rows == 80
    assert looks(server) == [(hole.start_ms, 81)]


def test_a_hole_longer_than_a_page_is_confirmed_by_one_request(server: BinanceServer) -> None:
    hole = span("2024-03-10T01:00:00", "2024-03-10T20:00:00")
    server.hide(Hidden(BTC, "rest", hole.start_ms, hole.end_ms))

    [piece] = fetched(server, [TODAY])

    assert piece.span.minutes - piece.bars.num_rows == 19 * 60
    assert looks(server) == [(hole.start_ms, 1000)]


def test_a_page_that_was_empty_by_mistake_is_requested_again(
    market: Market, server: BinanceServer
) -> None:
    server.faults.add(Fault(match=PAGE, kind="empty_json"))

    pieces = fetched(server, [TODAY])

    assert bars_of(pieces) == truth(market, [TODAY])
    assert notes(pieces) == []


@pytest.mark.parametrize("times", [2, 3, 5])
def test_empty_replies_for_known_bars_are_never_accepted(
    market: Market, server: BinanceServer, times: int
) -> None:
    server.faults.add(Fault(match=PAGE, kind="empty_json", times=times))

    pieces = fetched(server, [TODAY])

    assert bars_of(pieces) == truth(market, [TODAY])


def test_a_venue_with_only_empty_replies_is_a_one_line_error(server: BinanceServer) -> None:
    server.faults.add(Fault(match=PAGE, kind="empty_json", times=None))

    with pytest.raises(VenueError) as failed:
        fetched(server, [TODAY])

    assert str(failed.value) == (
        Line(f"binance_spot: {server.url}{KLINES}: an empty reply for known bars, 6 times: ...")
    )


def test_an_end_of_all_trading_is_confirmed_by_the_newest_bar(time: VirtualTime) -> None:
    ended = parse_time("2024-03-09T12:00:00Z")
    days = span("2024-03-09T00:00:00", "2024-03-10T23:00:00")
    market = synthetic_market(BTC, parse_time("2024-03-01"), ended, 9)
    with served(market, NOW, time=time) as server:
        pieces = fetched(server, [days])

        assert bars_of(pieces) == truth(market, [days])
        a_day_ago = parse_time(f"{NOW}Z") // MINUTE_MS * MINUTE_MS - DAY_MS
        assert joined(pieces) == [Span(days.start_ms, a_day_ago)]
        assert server.requests_of(KLINES)[-1].query["limit"] == "1"
        assert time.waits_s == []


@pytest.mark.parametrize(
    ("start", "known"),
    [
        pytest.param("2024-03-10T00:00:00", ["2024-03-10T22:57:00"], id="the end of a page"),
        pytest.param("2024-03-10T22:57:00", [], id="a whole gap"),
    ],
)
def test_the_newest_minutes_are_not_missing_before_later_bars(
    market: Market, server: BinanceServer, start: str, known: list[str]
) -> None:
    gap = span(start, "2024-03-10T23:00:00")
    server.hide(Hidden(BTC, "rest", parse_time("2024-03-10T22:57:00Z"), parse_time("2024-03-12")))

    lagging = fetched(server, [gap])
    server.behave()
    whole = fetched(server, [gap])

    assert joined(lagging) == [span(start, end) for end in known]
    assert bars_of(lagging) == truth(market, joined(lagging))
    assert joined(whole) == [gap]
    assert bars_of(whole) == truth(market, [gap])


def test_rows_off_the_minute_are_floored_and_counted(time: VirtualTime) -> None:
    start_ms = TODAY.start_ms
    rows = [
        (start_ms + n * MINUTE_MS + offset, *["1.5"] * 4, "2", 0, "3", 1, "1", "2", "0")
        for n in range(10)
        for offset in ((14_789,) if n < 3 else (0, 20_000) if n == 5 else (0,))
    ]
    with served(market_from_rows(BTC, rows), "2024-03-10T00:10:00", time=time) as server:  # type: ignore[arg-type]
        [piece] = fetched(server, [Span(start_ms, start_ms + 10 * MINUTE_MS)])

    assert piece.bars["ts_ms"].to_pylist() == [start_ms + n * MINUTE_MS for n in range(10)]
    assert piece.notes == ("REST: floored 4 bars to the minute, dropped 1 bar of repeated minutes",)


def test_a_page_of_impossible_bars_is_requested_again(
    market: Market, server: BinanceServer
) -> None:
    bad = [1710028800000, "2", "1", "1", "2", "1", 0, "0", 0, "0", "0", "0"]
    for body in (f"[{bad}]".replace("'", '"'), '[[1,"2"]]', "[1]", "{}", "[[null]]", '"x"'):
        server.faults.add(Fault(match=PAGE, kind="malformed_json", body=body))

    pieces = fetched(server, [TODAY], time=VirtualTime(), tries=7)

    assert bars_of(pieces) == truth(market, [TODAY])


# Failures


TRANSIENT = [
    pytest.param({"kind": "malformed_json"}, "the reply is not bars", id="malformed"),
    pytest.param({"kind": "truncate"}, "the reply broke off", id="truncated"),
    pytest.param({"kind": "reset"}, "Connection reset by peer", id="reset"),
    pytest.param({"kind": "reset", "fraction": 0.5}, "", id="reset in the middle"),
    pytest.param({"kind": "stall", "seconds": 0.02}, "", id="closed without a word"),
    pytest.param({"kind": "status", "status": 500}, "HTTP 500", id="500"),
    pytest.param({"kind": "status", "status": 503}, "HTTP 503", id="503"),
    pytest.param({"kind": "status", "status": 504, "body": "{}"}, "HTTP 504", id="504 with JSON"),
]


@pytest.mark.parametrize(("fault", "problem"), TRANSIENT)
def test_a_temporary_failure_is_retried(
    market: Market, server: BinanceServer, time: VirtualTime, fault: dict[str, Any], problem: str
) -> None:
    server.faults.add(Fault(match=PAGE, times=3, **fault))

    pieces = fetched(server, [TODAY], time=time)

    assert bars_of(pieces) == truth(market, [TODAY])
    assert len(time.waits_s) == 3


@pytest.mark.parametrize(("fault", "problem"), TRANSIENT)
def test_a_permanent_failure_is_a_one_line_error(
    server: BinanceServer, fault: dict[str, Any], problem: str
) -> None:
    server.faults.add(Fault(match=PAGE, times=None, **fault))

    with pytest.raises(VenueError) as failed:
        fetched(server, [TODAY])

    assert f"binance_spot: {server.url}{KLINES}: " in str(failed.value)
    assert problem in str(failed.value)
    assert ", 6 times: run the same command again later" in str(failed.value)
    assert "\n" not in str(failed.value)
    assert server.count(KLINES) == 7


@pytest.mark.parametrize("fault", [param.values[0] for param in TRANSIENT])
def test_the_clock_and_the_listing_are_retried_too(
    server: BinanceServer, fault: dict[str, Any]
) -> None:
    server.faults.add(Fault(match="/time", times=2, **fault))
    server.faults.add(Fault(match="startTime=0", times=2, **fault))

    with opened(server) as history:
        assert history.clock_ms() == parse_time(f"{NOW}Z")
        assert history.first_ms(BTC) == parse_time("2024-03-01")


def test_a_timeout_is_retried(market: Market, server: BinanceServer) -> None:
    server.faults.add(Fault(match=PAGE, kind="slow", seconds=0.5))
    server.faults.add(Fault(match="/time", kind="slow", seconds=0.5))

    pieces = fetched(server, [TODAY], read_s=0.2, ccxt_s=0.2)

    assert bars_of(pieces) == truth(market, [TODAY])


def test_an_unreachable_host_is_a_one_line_error() -> None:
    time = VirtualTime()
    nowhere = Endpoints(rest_url="http://127.0.0.1:9", archive_url="http://127.0.0.1:9")
    options = HostOptions(clock=time.now_s, wait=time.wait)
    with open_history(SPOT, nowhere, options) as history, pytest.raises(VenueError) as failed:
        history.clock_ms()

    assert str(failed.value) == (
        Line("binance_spot: http://127.0.0.1:9/api/v3/time: Connection refused, 6 times: ...")
    )


@pytest.mark.parametrize("url", ["127.0.0.1:9", "ftp://127.0.0.1", "http://"])
def test_an_invalid_address_is_not_retried(url: str) -> None:
    with (
        open_history(SPOT, Endpoints(rest_url=url)) as history,
        pytest.raises(VenueError) as refused,
    ):
        history.clock_ms()

    assert "correct `rest_url` in config/venues/binance_spot.yaml" in str(refused.value)


def test_an_address_without_the_api_is_named(server: BinanceServer) -> None:
    endpoints = Endpoints(rest_url=f"{server.url}/data", archive_url=server.url)
    with open_history(SPOT, endpoints) as history, pytest.raises(VenueError) as refused:
        history.clock_ms()

    assert f"{server.url}/data/api/v3/time: HTTP 404 Not Found" in str(refused.value)
    assert "correct `rest_url` in config/venues/binance_spot.yaml" in str(refused.value)
    assert server.count() == 1


# Limits


def test_weight_used_by_other_programs_is_respected(
    market: Market, server: BinanceServer, time: VirtualTime
) -> None:
    server.weight.charge(4_794)  # another program on this address, at 20 s past the minute

    pieces = fetched(server, [TODAY], time=time)

    # 1 for the clock, 2 for the listing, 2 for a page; the next page would pass 80 %.
    assert time.waits_s == [40.5]
    assert bars_of(pieces) == truth(market, [TODAY])
    assert server.count(status=429) == 0


def test_a_429_waits_for_its_retry_after(
    market: Market, server: BinanceServer, time: VirtualTime
) -> None:
    server.faults.add(Fault(match=PAGE, kind="status", status=429, retry_after=33))

    pieces = fetched(server, [TODAY], time=time)

    assert time.waits_s == [33]
    assert bars_of(pieces) == truth(market, [TODAY])


@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        pytest.param("Sun, 10 Mar 2024 12:00:50 GMT", 30, id="a date"),
        pytest.param("soon", 40, id="nothing that can be read: the next minute"),
        pytest.param("0", 0, id="at once"),
    ],
)
def test_a_429_may_give_a_date_or_no_time(
    server: BinanceServer, time: VirtualTime, retry_after: str, wait_s: float
) -> None:
    server.faults.add(Fault(match="/time", kind="status", status=429, retry_after=retry_after))

    with opened(server, time=time) as history:
        history.clock_ms()

    assert sum(time.waits_s) == pytest.approx(wait_s)


def test_repeated_429s_end_the_run(server: BinanceServer, time: VirtualTime) -> None:
    server.faults.add(Fault(match="/time", kind="status", status=429, times=None, retry_after=10))

    with opened(server, time=time) as history, pytest.raises(VenueError) as refused:
        history.clock_ms()

    assert "HTTP 429 Too Many Requests, 6 times: run the same command" in str(refused.value)
    assert sum(time.waits_s) == 50


def test_a_429_for_hours_is_an_error_with_its_end(server: BinanceServer, time: VirtualTime) -> None:
    server.faults.add(Fault(match="/time", kind="status", status=429, retry_after=7200))

    with opened(server, time=time) as history, pytest.raises(VenueError) as refused:
        history.clock_ms()

    assert "accepts no requests until 2024-03-10T14:00:20Z" in str(refused.value)
    assert time.waits_s == []


def test_a_lower_weight_limit_is_learnt_and_causes_no_ban(time: VirtualTime) -> None:
    wanted = span("2024-03-01", "2024-03-10")
    market = synthetic_market(BTC, wanted.start_ms, parse_time("2024-03-11"), 4)
    with served(market, NOW, time=time) as server:
        server.weight.limit = 16
        server.daily_delay_ms = 1000 * 24 * 60 * MINUTE_MS  # all by REST

        pieces = fetched(server, [wanted], time=time)

        assert bars_of(pieces) == truth(market, [wanted])
        assert server.count(status=418) == 0
        assert 1 <= server.count(status=429) <= 3


def test_a_ban_ends_the_run_at_once_with_its_end(server: BinanceServer, time: VirtualTime) -> None:
    until_ms = parse_time("2024-03-12T01:02:03Z")
    server.faults.add(Fault(match=PAGE, kind="status", status=418, times=None, until_ms=until_ms))

    with pytest.raises(VenueError) as banned:
        fetched(server, [TODAY], time=time)

    assert str(banned.value) == (
        f"binance_spot: {server.url} bans this address until 2024-03-12T01:02:03Z (HTTP 418) "
        "after too many requests: run the same command again after that"
    )
    assert server.count(status=418) == 1
    assert time.waits_s == []


@pytest.mark.parametrize(
    ("retry_after", "until"),
    [("120", "2024-03-10T12:02:20Z"), ("?", "an unknown time")],
)
def test_a_ban_without_its_usual_text_is_read_from_the_header(
    server: BinanceServer, time: VirtualTime, retry_after: str, until: str
) -> None:
    fault = Fault(match="/time", kind="status", status=418, retry_after=retry_after, body="{}")
    server.faults.add(fault)

    with opened(server, time=time) as history, pytest.raises(VenueError, match=until):
        history.clock_ms()


@pytest.mark.parametrize("status", [403, 451])
@pytest.mark.parametrize("match", ["/time", "startTime=0", PAGE])
def test_a_geo_block_ends_the_run_at_once_and_names_another_host(
    server: BinanceServer, time: VirtualTime, status: int, match: str
) -> None:
    server.faults.add(Fault(match=match, kind="status", status=status, times=None))

    with pytest.raises(VenueError) as refused:
        fetched(server, [TODAY], time=time)

    assert f"{server.url} refuses this place or network (HTTP {status} " in str(refused.value)
    assert "set `rest_url` in config/venues/binance_spot.yaml to" in str(refused.value)
    assert "https://data-api.binance.vision" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert server.count(status=status) == 1
    assert time.waits_s == []


def test_a_symbol_that_ceases_to_be_known_is_refused(server: BinanceServer) -> None:
    body = '{"code":-1121,"msg":"Invalid symbol."}'
    server.faults.add(Fault(match=PAGE, kind="status", status=400, times=None, body=body))

    with pytest.raises(VenueError, match="binance_spot does not know BTCUSDT"):
        fetched(server, [TODAY])

    assert server.count(status=400) == 1


def test_any_other_refusal_is_reported_with_its_text(server: BinanceServer) -> None:
    body = '{"code":-1104,"msg":"Not all sent parameters were read."}'
    server.faults.add(Fault(match=PAGE, kind="status", status=400, times=None, body=body))

    with pytest.raises(VenueError, match=r"HTTP 400 Bad Request .*Not all sent parameters"):
        fetched(server, [TODAY])


def test_an_untrusted_certificate_is_not_retried() -> None:
    untrusted = requests.exceptions.SSLError("Max retries exceeded")
    untrusted.__context__ = ssl.SSLCertVerificationError(1, "certificate verify failed")

    assert failure_of(untrusted).is_final
    assert not failure_of(requests.exceptions.SSLError("EOF occurred")).is_final


def test_all_calls_have_our_user_agent_and_use_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((urlsplit(self.path).netloc, self.headers["User-Agent"]))
            now_ms = TODAY.start_ms + MINUTE_MS
            row = [TODAY.start_ms, *"11111", now_ms - 1, "1", 1, "1", "1", "0"]
            body = json.dumps({"serverTime": now_ms} if "time" in self.path else [row]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.server_port}")
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.server_port}")
        with open_history(SPOT, Endpoints(rest_url="http://api.invalid")) as history:
            [piece] = history.fetch(BTC, [Span(TODAY.start_ms, TODAY.start_ms + MINUTE_MS)])
        proxy.shutdown()

    assert piece.bars.num_rows == 1
    assert seen == [("api.invalid", "tbv8")] * 3  # the clock, the listing, a page
