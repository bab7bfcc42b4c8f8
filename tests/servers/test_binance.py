"""The local Binance: true to the wire when asked nothing else, and wrong exactly as it was told."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.servers.binance import (
    BinanceServer,
    Hidden,
    WeightMeter,
    read_log,
    running_process,
    send_control,
)
from tests.servers.binance_archive import FUTURES_HEADER, Override, OverrideKind
from tests.servers.binance_faults import Fault, FaultKind
from tests.servers.binance_market import (
    DAY_MS,
    MINUTE_MS,
    TINY_COIN,
    Market,
    Row,
    market_from_archive,
    market_from_rows,
    synthetic_market,
)

REAL_1M = Path(__file__).resolve().parents[3] / "shared/data/binance/1m"
needs_real_data = pytest.mark.skipif(
    not REAL_1M.is_dir(), reason=f"Binance's own files are not at {REAL_1M}"
)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def row(open_ms: int, price: str = "100.50000000") -> Row:
    close_ms = open_ms + 59_999
    return (open_ms, price, price, price, price, "2.50000000", close_ms, "251.25", 3, "1", "2", "0")


START = at("2024-01-02")
NOW = at("2024-01-04T00:10:30")
ABSENT = (at("2024-01-02T12:00"), at("2024-01-02T13:00"))


@pytest.fixture(scope="module")
def market() -> Market:
    return synthetic_market("BTCUSDT", START, at("2024-01-05"), 1, outages=[ABSENT])


@pytest.fixture
def server(market: Market) -> Iterator[BinanceServer]:
    with BinanceServer({"BTCUSDT": market}, now_ms=NOW) as server:
        yield server


def archive_url(server: BinanceServer, date: str, symbol: str = "BTCUSDT") -> str:
    period = "daily" if date.count("-") == 2 else "monthly"
    return f"{server.url}/data/spot/{period}/klines/{symbol}/1m/{symbol}-1m-{date}.zip"


def csv_of(zipped: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        return archive.read(archive.namelist()[0]).decode()


def lines_of(server: BinanceServer, date: str) -> list[str]:
    reply = requests.get(archive_url(server, date), timeout=5)
    assert reply.status_code == 200
    return csv_of(reply.content).splitlines()


def klines(server: BinanceServer, **params: Any) -> requests.Response:
    params = {"symbol": "BTCUSDT", "interval": "1m", **params}
    return requests.get(f"{server.url}/api/v3/klines", params=params, timeout=5)


def opens(reply: requests.Response) -> list[int]:
    assert reply.status_code == 200, reply.text
    return [row[0] for row in reply.json()]


# the archive


@needs_real_data
def test_a_real_daily_file_is_served_as_binance_wrote_it() -> None:
    paths = sorted(REAL_1M.glob("BTCUSDT-1m-2023-03-2*.zip"))

    with BinanceServer({"BTCUSDT": market_from_archive(paths)}, now_ms=at("2023-04-10")) as server:
        served = [
            requests.get(archive_url(server, f"2023-03-{day}"), timeout=5) for day in (23, 24)
        ]
        month = requests.get(archive_url(server, "2023-03"), timeout=5)

    real = [csv_of(path.read_bytes()) for path in paths]
    assert [csv_of(reply.content) for reply in served] == real[:2]
    assert csv_of(month.content) == "".join(real)


@needs_real_data
def test_rest_serves_the_rows_of_a_real_file_around_an_outage() -> None:
    paths = sorted(REAL_1M.glob("BTCUSDT-1m-2023-03-2*.zip"))

    with BinanceServer({"BTCUSDT": market_from_archive(paths)}, now_ms=at("2023-04-10")) as server:
        rows = klines(server, startTime=at("2023-03-24T12:39"), limit=2).json()

    assert rows[0] == [
        *[1679661540000, *["28080.00000000"] * 4, "0.00000000", 1679661581646, "0.00000000"],
        *[0, "0.00000000", "0.00000000", "0"],
    ]
    assert rows[1][0] == at("2023-03-24T14:00")


def test_times_turn_to_microseconds_with_2025() -> None:
    rows = [row(at("2024-12-31T23:59")), row(at("2025-01-01T00:00"))]

    with BinanceServer(
        {"BTCUSDT": market_from_rows("BTCUSDT", rows)}, now_ms=at("2025-01-03")
    ) as server:
        before, after = lines_of(server, "2024-12-31"), lines_of(server, "2025-01-01")
        rest = klines(server, startTime=0).json()

    rest_of_row = "100.50000000,100.50000000,100.50000000,100.50000000,2.50000000"
    assert before == [f"1735689540000,{rest_of_row},1735689599999,251.25,3,1,2,0"]
    assert after == [f"1735689600000000,{rest_of_row},1735689659999999,251.25,3,1,2,0"]
    assert rest == [list(row) for row in rows]


def test_a_checksum_is_the_sha256sum_line_of_its_zip(server: BinanceServer) -> None:
    url = archive_url(server, "2024-01-02")

    zipped = requests.get(url, timeout=5).content
    checksum = requests.get(f"{url}.CHECKSUM", timeout=5).text

    assert checksum == f"{hashlib.sha256(zipped).hexdigest()}  BTCUSDT-1m-2024-01-02.zip\n"


def test_a_file_has_the_same_bytes_each_time_that_it_is_made(market: Market) -> None:
    made = []
    for _ in range(2):
        with BinanceServer({"BTCUSDT": market}, now_ms=NOW) as server:
            made.append(requests.get(archive_url(server, "2024-01-02"), timeout=5).content)

    assert made[0] == made[1]


def test_a_daily_file_appears_when_its_day_is_over_and_the_delay_too(
    server: BinanceServer,
) -> None:
    url = archive_url(server, "2024-01-03")
    server.daily_delay_ms = 60 * MINUTE_MS

    server.now_ms = at("2024-01-04T00:59:59")
    before = requests.get(url, timeout=5).status_code
    server.now_ms = at("2024-01-04T01:00:00")

    assert (before, requests.get(url, timeout=5).status_code) == (404, 200)


@pytest.mark.parametrize(
    ("month", "monday"),
    [
        pytest.param("2024-01", "2024-02-05", id="a month that ends on a Wednesday"),
        pytest.param("2024-03", "2024-04-01", id="a month that ends on a Sunday"),
        pytest.param("2023-12", "2024-01-01", id="a year that ends on a Sunday"),
        pytest.param("2024-04", "2024-05-06", id="a month that ends on a Tuesday"),
    ],
)
def test_a_monthly_file_appears_on_the_next_months_first_monday(month: str, monday: str) -> None:
    market = synthetic_market("BTCUSDT", at(f"{month}-28"), at(f"{month}-29"), 1)

    with BinanceServer({"BTCUSDT": market}, now_ms=at(monday) - 1) as server:
        before = requests.get(archive_url(server, month), timeout=5).status_code
        server.now_ms = at(monday)
        after = lines_of(server, month)

    assert before == 404
    assert len(after) == 1440


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("daily/klines/NOPEUSDT/1m/NOPEUSDT-1m-2024-01-02", id="unknown symbol"),
        pytest.param("daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-01", id="before listing"),
        pytest.param("daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-04", id="today"),
        pytest.param("daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-02-30", id="no such day"),
        pytest.param("daily/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01", id="a month among days"),
        pytest.param("monthly/klines/BTCUSDT/1m/BTCUSDT-1m-2024-01-02", id="a day among months"),
        pytest.param("daily/klines/ETHUSDT/1m/BTCUSDT-1m-2024-01-02", id="another folder"),
        pytest.param("daily/klines/BTCUSDT/5m/BTCUSDT-5m-2024-01-02", id="another interval"),
    ],
)
@pytest.mark.parametrize("end", [".zip", ".zip.CHECKSUM"])
def test_a_file_that_is_not_there_is_a_404(server: BinanceServer, path: str, end: str) -> None:
    reply = requests.get(f"{server.url}/data/spot/{path}{end}", timeout=5)

    assert reply.status_code == 404
    assert "NoSuchKey" in reply.text


def overridden(line: str, *, opened: int, closed: int) -> str:
    fields = line.split(",")
    return ",".join([str(opened), *fields[1:6], str(closed), *fields[7:]])


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("off_minute", None),
        ("duplicate", None),
        ("outside", None),
        ("unsorted", None),
        ("absent", None),
        ("columns_11", None),
        ("non_numeric", None),
        ("high_below_open", None),
        ("other_unit", None),
        ("header", None),
        ("text", "a,b\nc"),
        ("empty", None),
    ],
)
def test_an_archive_file_can_be_wrong_in_its_rows(
    server: BinanceServer, market: Market, kind: OverrideKind, text: str | None
) -> None:
    true = list(market.lines(START + DAY_MS, START + 2 * DAY_MS))
    minute = {"start_ms": START + DAY_MS, "end_ms": START + DAY_MS + 1}
    server.override(Override(file="BTCUSDT-1m-2024-01-03", kind=kind, text=text, **minute))

    served = lines_of(server, "2024-01-03")

    first, opened = true[0], START + DAY_MS
    fields = first.split(",")
    before, behind = opened - MINUTE_MS, opened + DAY_MS
    assert (
        served
        == {
            "off_minute": [
                overridden(first, opened=opened + 14_789, closed=opened + 74_788),
                *true[1:],
            ],
            "duplicate": [first, *true],
            "outside": [
                overridden(first, opened=before, closed=before + 59_999),
                first,
                overridden(first, opened=behind, closed=behind + 59_999),
                *true[1:],
            ],
            "unsorted": true[::-1],
            "absent": true[1:],
            "columns_11": [first.removesuffix(",0"), *true[1:]],
            "non_numeric": [",".join([*fields[:4], "n/a", *fields[5:]]), *true[1:]],
            "high_below_open": [
                ",".join([*fields[:2], f"{Decimal(fields[1]) / 2:.8f}", *fields[3:]]),
                *true[1:],
            ],
            "other_unit": [
                overridden(first, opened=opened * 1000, closed=opened * 1000 + 59_999_999),
                *true[1:],
            ],
            "header": [FUTURES_HEADER, *true],
            "text": ["a,b", "c"],
            "empty": [],
        }[kind]
    )


def test_an_override_without_times_moves_every_row_of_its_file_and_no_other(
    server: BinanceServer,
) -> None:
    server.override(Override(file="BTCUSDT-1m-2024-01-02", kind="off_minute"))

    moved, other = lines_of(server, "2024-01-02"), lines_of(server, "2024-01-03")

    assert {int(line.split(",")[0]) % MINUTE_MS for line in moved} == {14_789}
    assert {int(line.split(",")[0]) % MINUTE_MS for line in other} == {0}


def test_a_zip_can_hold_another_name_or_be_no_zip_or_be_late(server: BinanceServer) -> None:
    server.override(
        Override(file="BTCUSDT-1m-2024-01-02", kind="inner_name", text="x.csv"),
        Override(file="BTCUSDT-1m-2024-01-03", kind="not_zip", text="<html>"),
    )
    named = requests.get(archive_url(server, "2024-01-02"), timeout=5)
    no_zip = requests.get(archive_url(server, "2024-01-03"), timeout=5)
    checksum = requests.get(f"{archive_url(server, '2024-01-03')}.CHECKSUM", timeout=5)
    server.override(Override(file="BTCUSDT-1m-2024-01-02", kind="not_published"))
    late = requests.get(archive_url(server, "2024-01-02"), timeout=5)

    assert zipfile.ZipFile(io.BytesIO(named.content)).namelist() == ["x.csv"]
    assert no_zip.text == "<html>"
    assert checksum.text.split()[0] == hashlib.sha256(b"<html>").hexdigest()
    assert late.status_code == 404


def test_minutes_can_be_hidden_from_one_side_only(server: BinanceServer) -> None:
    hidden = range(START, START + 3 * MINUTE_MS, MINUTE_MS)
    server.hide(
        Hidden("BTCUSDT", "archive", hidden[0], hidden[1]),
        Hidden("BTCUSDT", "rest", hidden[1], hidden[2] + 1),
    )

    archive = [int(line.split(",")[0]) for line in lines_of(server, "2024-01-02")]
    rest = opens(klines(server, startTime=START, limit=3))

    assert archive[:2] == [hidden[1], hidden[2]]
    assert rest == [hidden[0], hidden[2] + MINUTE_MS, hidden[2] + 2 * MINUTE_MS]


# REST


M = MINUTE_MS
OPEN_MS = at("2024-01-04T00:10")


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        pytest.param({"limit": 2}, [OPEN_MS - M, OPEN_MS], id="neither: the newest"),
        pytest.param({"startTime": 0, "limit": 2}, [START, START + M], id="start: the oldest"),
        pytest.param(
            {"endTime": START + 5 * M, "limit": 2}, [START + 4 * M, START + 5 * M], id="end alone"
        ),
        pytest.param(
            {"startTime": START, "endTime": START + 2 * M, "limit": 2},
            [START, START + M],
            id="both",
        ),
        pytest.param(
            {"startTime": START, "endTime": START + M}, [START, START + M], id="end is inclusive"
        ),
        pytest.param({"startTime": START, "endTime": START + M - 1}, [START], id="end less a ms"),
        pytest.param({"startTime": START, "endTime": START}, [START], id="one instant"),
        pytest.param(
            {"startTime": START + 1, "limit": 1}, [START + M], id="a start inside a minute"
        ),
        pytest.param({"startTime": ABSENT[0], "limit": 1}, [ABSENT[1]], id="start in an outage"),
        pytest.param(
            {"startTime": ABSENT[0], "endTime": ABSENT[1] - 1}, [], id="both in an outage"
        ),
        pytest.param({"startTime": START + M, "endTime": START}, [], id="end before start"),
        pytest.param({"startTime": OPEN_MS + M}, [], id="in the future"),
        pytest.param({"endTime": START - 1}, [], id="before listing"),
        pytest.param(
            {"startTime": START * 1000, "endTime": START * 1000 + 59_999_999},
            [START],
            id="microseconds",
        ),
    ],
)
def test_klines_are_the_window_that_binance_documents(
    server: BinanceServer, params: dict[str, int], expected: list[int]
) -> None:
    assert opens(klines(server, **params)) == expected


@pytest.mark.parametrize(
    ("limit", "rows"),
    [
        pytest.param({}, 500, id="default"),
        pytest.param({"limit": 1000}, 1000, id="the most"),
        pytest.param({"limit": 1500}, 1000, id="clamped"),
    ],
)
def test_a_page_has_500_rows_or_what_limit_says_up_to_1000(
    server: BinanceServer, limit: dict[str, int], rows: int
) -> None:
    assert len(opens(klines(server, startTime=START, **limit))) == rows


def test_a_page_and_an_archive_file_hold_the_same_rows(server: BinanceServer) -> None:
    rows = klines(server, startTime=START + DAY_MS, limit=1000).json()

    lines = lines_of(server, "2024-01-03")
    assert [",".join(map(str, row)) for row in rows] == lines[:1000]


def test_the_open_minute_is_the_last_row_and_changes_until_it_is_over(
    server: BinanceServer, market: Market
) -> None:
    looks = [klines(server, limit=1).json()[0] for _ in range(2)]
    server.now_ms = OPEN_MS + MINUTE_MS
    closed = klines(server, limit=2).json()[0]

    final = market.minute(OPEN_MS)
    assert final is not None
    assert {look[0] for look in looks} == {OPEN_MS}
    assert {look[6] for look in looks} == {OPEN_MS + 59_999}
    assert Decimal(looks[0][5]) < Decimal(looks[1][5]) < Decimal(final[5])
    assert all(float(look[3]) <= float(look[4]) <= float(look[2]) for look in looks)
    assert closed == list(final)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        pytest.param({"symbol": "NOPEUSDT"}, -1121, id="unknown symbol"),
        pytest.param({"symbol": "btcusdt"}, -1100, id="lower case"),
        pytest.param({"symbol": None}, -1102, id="no symbol"),
        pytest.param({"symbol": ""}, -1105, id="empty symbol"),
        pytest.param({"interval": "5m"}, -1120, id="an interval that is not played"),
        pytest.param({"interval": "1M"}, -1120, id="month"),
        pytest.param({"interval": None}, -1102, id="no interval"),
        pytest.param({"since": 1}, -1104, id="unknown parameter"),
        pytest.param({"startTime": "2024-01-01"}, -1100, id="a date"),
        pytest.param({"startTime": -1}, -1100, id="negative time"),
        pytest.param({"limit": 0}, -1130, id="limit 0"),
        pytest.param({"limit": [1, 2]}, -1101, id="twice"),
    ],
)
def test_a_wrong_parameter_is_a_400_with_binances_code(
    server: BinanceServer, params: dict[str, Any], code: int
) -> None:
    reply = klines(server, **params)

    assert (reply.status_code, reply.json()["code"]) == (400, code)


def test_an_unknown_parameter_is_told_by_numbers_only(server: BinanceServer) -> None:
    assert klines(server, star_time=1, end_time=2).json() == {
        "code": -1104,
        "msg": "Not all sent parameters were read; read '2' parameter(s) but was sent '4'.",
    }


def test_a_header_switches_rest_to_microseconds(server: BinanceServer) -> None:
    reply = requests.get(
        f"{server.url}/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime=0&limit=1",
        headers={"X-MBX-TIME-UNIT": "MICROSECOND"},
        timeout=5,
    )

    [row] = reply.json()
    assert (row[0], row[6]) == (START * 1000, START * 1000 + 59_999_999)


def test_the_clock_is_the_tests(server: BinanceServer) -> None:
    server.now_ms = 1_700_000_000_000

    assert requests.get(f"{server.url}/api/v3/time", timeout=5).json() == {
        "serverTime": 1_700_000_000_000
    }
    assert requests.get(f"{server.url}/api/v3/ping", timeout=5).json() == {}


def test_a_symbol_is_unknown_before_its_listing(server: BinanceServer) -> None:
    server.now_ms = START - 1

    reply = requests.get(f"{server.url}/api/v3/exchangeInfo?symbol=BTCUSDT", timeout=5)

    assert reply.json() == {"code": -1121, "msg": "Invalid symbol."}
    everything = requests.get(f"{server.url}/api/v3/exchangeInfo", timeout=5).json()
    assert everything["symbols"] == []


def test_ccxt_loads_the_markets_and_reads_bars() -> None:
    import ccxt  # half a second that the collection of tests does not need

    markets = {
        "BTCUSDT": synthetic_market("BTCUSDT", START, at("2024-01-05"), 1),
        "PEPEUSDT": synthetic_market("PEPEUSDT", START, at("2024-01-05"), 1, coin=TINY_COIN),
    }
    with BinanceServer(markets, now_ms=NOW) as server:
        exchange = ccxt.binance(
            {
                "urls": {"api": {"public": f"{server.url}/api/v3"}},
                "options": {
                    "defaultType": "spot",
                    "fetchMarkets": {"types": ["spot"]},
                    "fetchMargins": False,
                },
            }
        )
        loaded = exchange.load_markets()
        bars = exchange.fetch_ohlcv("BTC/USDT", "1m", since=START, limit=2)
        raw = exchange.publicGetKlines(
            {"symbol": "PEPEUSDT", "interval": "1m", "startTime": START, "limit": 2}
        )
        with pytest.raises(ccxt.BadSymbol):
            exchange.publicGetKlines({"symbol": "NOPEUSDT", "interval": "1m"})

    first = markets["BTCUSDT"].minute(START)
    assert first is not None
    assert sorted(loaded) == ["BTC/USDT", "PEPE/USDT"]
    assert loaded["BTC/USDT"]["precision"]["price"] == 0.01
    assert loaded["PEPE/USDT"]["precision"]["price"] == 1e-8
    assert bars[0] == [START, *(float(value) for value in first[1:6])]
    assert bars[1][0] == START + MINUTE_MS
    assert [tuple(row) for row in raw] == [*markets["PEPEUSDT"].rows(START, START + 2 * MINUTE_MS)]


# weight


def test_weight_is_counted_and_told_on_every_rest_reply(server: BinanceServer) -> None:
    paths = ["klines?symbol=BTCUSDT&interval=1m", "klines", "time", "exchangeInfo", "nope"]

    used = [
        requests.get(f"{server.url}/api/v3/{path}", timeout=5).headers["X-MBX-USED-WEIGHT-1M"]
        for path in paths
    ]
    archive = requests.get(archive_url(server, "2024-01-02"), timeout=5)

    assert used == ["2", "4", "5", "25", "26"]
    assert "X-MBX-USED-WEIGHT-1M" not in archive.headers


def test_too_much_weight_is_refused_until_the_minute_is_over(market: Market) -> None:
    weight = WeightMeter(4, clock=lambda: 1_700_000_055.5)  # 15.5 s into its minute

    with BinanceServer({"BTCUSDT": market}, now_ms=NOW, weight=weight) as server:
        replies = [klines(server) for _ in range(3)]
        server.weight.advance(44.5)
        after = klines(server)

    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert replies[2].headers["Retry-After"] == "45"
    assert replies[2].json() == {
        "code": -1003,
        "msg": "Too much request weight used; current limit is 4 request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API.",
    }
    assert (after.status_code, after.headers["X-MBX-USED-WEIGHT-1M"]) == (200, "2")


def test_a_client_that_does_not_stop_is_banned_beyond_the_minute(market: Market) -> None:
    weight = WeightMeter(3, ban_after=2, ban_s=120, clock=lambda: 1_700_000_000.0)

    with BinanceServer({"BTCUSDT": market}, now_ms=NOW, weight=weight) as server:
        statuses = [klines(server).status_code for _ in range(4)]
        server.weight.advance(100)
        banned = klines(server)
        server.weight.advance(20)
        after = requests.get(f"{server.url}/api/v3/ping", timeout=5)

    assert statuses == [200, 429, 429, 418]
    assert (banned.status_code, banned.headers["Retry-After"]) == (418, "20")
    assert banned.json() == {
        "code": -1003,
        "msg": "Way too much request weight used; IP banned until 1700000120000. "
        "Please use WebSocket Streams for live updates to avoid bans.",
    }
    assert after.status_code == 200


# faults


@pytest.mark.parametrize(
    ("fault", "retry_after", "text"),
    [
        pytest.param(
            Fault(match="klines", kind="status", status=429, retry_after=7), "7", "-1003", id="429"
        ),
        pytest.param(
            Fault(match="klines", kind="status", status=418, until_ms=4_000_000_000_000),
            None,
            "IP banned until 4000000000000.",
            id="418",
        ),
        pytest.param(
            Fault(match="klines", kind="status", status=451), "", "b. Eligibility", id="451"
        ),
        pytest.param(Fault(match="klines", kind="status", status=403), "", "Forbidden", id="403"),
        pytest.param(Fault(match="klines", kind="status", status=404), "", "NoSuchKey", id="404"),
        pytest.param(
            Fault(match="klines", kind="status", status=503, retry_after="soon"),
            "soon",
            "503",
            id="503",
        ),
        pytest.param(
            Fault(match="klines", kind="status", status=200, body="[[1]]"), "", "[[1]]", id="own"
        ),
    ],
)
def test_a_status_comes_with_the_body_that_binance_documents(
    server: BinanceServer, fault: Fault, retry_after: str | None, text: str
) -> None:
    server.faults.add(fault)

    reply = requests.get(archive_url(server, "2024-01-02"), timeout=5)

    assert reply.status_code == fault.status
    assert text in reply.text
    assert retry_after is None or reply.headers.get("Retry-After", "") == retry_after


def test_a_fault_lets_some_pass_strikes_some_and_is_over(server: BinanceServer) -> None:
    server.faults.add(
        Fault(match="klines", kind="status", status=500, after=1, times=2),
        Fault(match=r"limit=\d+$", kind="status", status=502),
    )

    statuses = [klines(server, limit=1).status_code for _ in range(5)]

    assert statuses == [502, 500, 500, 200, 200]


def test_a_fault_for_ever_ends_when_the_server_is_told_to_behave(server: BinanceServer) -> None:
    server.faults.add(Fault(match="time", kind="status", status=500, times=None))

    statuses = [requests.get(f"{server.url}/api/v3/time", timeout=5).status_code for _ in range(3)]
    server.behave()

    assert statuses == [500, 500, 500]
    assert requests.get(f"{server.url}/api/v3/time", timeout=5).status_code == 200


@pytest.mark.parametrize(
    ("fault", "timeout_s", "error"),
    [
        pytest.param(
            Fault(match="", kind="reset", fraction=0.5),
            5,
            requests.exceptions.ChunkedEncodingError,
            id="reset in the body",
        ),
        pytest.param(
            Fault(match="", kind="stall", seconds=60), 0.1, requests.ReadTimeout, id="stall"
        ),
        pytest.param(
            Fault(match="", kind="stall", seconds=0.01), 5, requests.ConnectionError, id="closed"
        ),
        pytest.param(
            Fault(match="", kind="slow", seconds=60), 0.1, requests.ReadTimeout, id="slow"
        ),
    ],
)
def test_a_connection_can_break(
    server: BinanceServer, fault: Fault, timeout_s: float, error: type[Exception]
) -> None:
    server.faults.add(fault)

    with pytest.raises(error):
        requests.get(archive_url(server, "2024-01-02"), timeout=timeout_s)

    assert lines_of(server, "2024-01-02")


def test_a_reset_is_an_rst_and_a_truncation_is_a_clean_end(server: BinanceServer) -> None:
    server.faults.add(Fault(match="time", kind="reset"), Fault(match="time", kind="truncate"))

    with pytest.raises(requests.ConnectionError, match="Connection reset by peer"):
        requests.get(f"{server.url}/api/v3/time", timeout=5)
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        requests.get(f"{server.url}/api/v3/time", timeout=5)


def test_a_dripping_reply_outlives_a_read_timeout_and_arrives_whole(
    server: BinanceServer, market: Market
) -> None:
    server.faults.add(Fault(match="", kind="drip", seconds=0.28, pieces=28))

    started_s = time.monotonic()
    reply = requests.get(archive_url(server, "2024-01-02"), timeout=0.2)

    assert time.monotonic() - started_s > 0.2
    assert csv_of(reply.content).splitlines() == list(market.lines(START, START + DAY_MS))


def test_a_corrupt_zip_and_a_bad_checksum_do_not_agree(server: BinanceServer) -> None:
    url = archive_url(server, "2024-01-02")
    server.faults.add(
        Fault(match="2024-01-02", kind="corrupt"), Fault(match="2024-01-02", kind="bad_checksum")
    )

    bad_checksum = requests.get(f"{url}.CHECKSUM", timeout=5).text
    corrupt = requests.get(url, timeout=5).content
    checksum, zipped = requests.get(f"{url}.CHECKSUM", timeout=5), requests.get(url, timeout=5)

    assert checksum.text.split()[0] == hashlib.sha256(zipped.content).hexdigest()
    assert bad_checksum[64:] == checksum.text[64:] == "  BTCUSDT-1m-2024-01-02.zip\n"
    assert bad_checksum[:64] != checksum.text[:64]
    assert len(corrupt) == len(zipped.content)
    with pytest.raises((zipfile.BadZipFile, zipfile.zlib.error)):  # type: ignore[attr-defined]
        csv_of(corrupt)


def test_json_can_be_cut_or_empty(server: BinanceServer) -> None:
    server.faults.add(
        Fault(match="klines", kind="malformed_json"), Fault(match="klines", kind="empty_json")
    )

    malformed, empty, whole = (klines(server, limit=1) for _ in range(3))

    with pytest.raises(json.JSONDecodeError):
        json.loads(malformed.text)
    assert (malformed.status_code, empty.text, len(whole.json())) == (200, "[]", 1)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda kind: Fault(match="", kind=kind), id="fault"),
        pytest.param(lambda kind: Override(file="", kind=kind), id="override"),
        pytest.param(lambda side: Hidden("BTCUSDT", side, 0, 1), id="hidden"),
    ],
)
def test_a_kind_that_does_not_exist_is_refused(make: Callable[[str], object]) -> None:
    with pytest.raises(ValueError, match="'nope' is no"):
        make("nope")


# the log, the life of the server, other processes


def test_the_log_tells_what_was_asked_and_what_was_sent(server: BinanceServer) -> None:
    server.faults.add(Fault(match="time", kind="reset"))

    size = len(klines(server, limit=1).content)
    requests.get(archive_url(server, "2024-01"), timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{server.url}/api/v3/time", timeout=5)

    rest, monthly, broken = server.log
    assert (rest.method, rest.path, rest.status, rest.sent) == ("GET", "/api/v3/klines", 200, size)
    assert rest.query == {"symbol": "BTCUSDT", "interval": "1m", "limit": "1"}
    assert server.requests_of("monthly") == [monthly]
    assert server.count(status=404) == 1
    assert (broken.status, broken.sent, broken.fault) == (0, 0, "reset")


def test_a_head_request_tells_the_size_and_sends_nothing(server: BinanceServer) -> None:
    reply = requests.head(archive_url(server, "2024-01-02"), timeout=5)

    size = len(requests.get(archive_url(server, "2024-01-02"), timeout=5).content)
    assert (reply.headers["Content-Length"], reply.content) == (str(size), b"")


def test_one_connection_serves_many_requests(server: BinanceServer) -> None:
    with requests.Session() as session:
        before = threading.active_count()
        for _ in range(5):
            session.get(f"{server.url}/api/v3/time", timeout=5)

        assert threading.active_count() <= before + 1


def test_closing_ends_every_thread_also_of_a_stalled_and_an_idle_client(market: Market) -> None:
    before = set(threading.enumerate())
    server = BinanceServer({"BTCUSDT": market}, now_ms=NOW)
    server.faults.add(Fault(match="time", kind="stall", seconds=60))

    with requests.Session() as session:
        session.get(f"{server.url}/api/v3/ping", timeout=5)
        with pytest.raises(requests.ReadTimeout):
            requests.get(f"{server.url}/api/v3/time", timeout=0.05)
        server.close()
        server.close()

    assert set(threading.enumerate()) <= before


def test_another_process_is_steered_and_read_over_http() -> None:
    options = ["--synthetic", "BTCUSDT", "2017-08-17", "2025-08-17", "7"]
    options += ["--outage", "BTCUSDT", "2025-08-16T23:00", "2025-08-17", "--weight-limit", "10"]

    with running_process(*options) as url:
        newest = requests.get(f"{url}/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1", timeout=5)
        send_control(
            url,
            now_ms=at("2020-01-01"),
            reset_log=True,
            faults=[Fault(match="ping", kind="status", status=503)],
        )
        ping = requests.get(f"{url}/api/v3/ping", timeout=5)
        clock = requests.get(f"{url}/api/v3/time", timeout=5)
        refused = requests.post(f"{url}/_control", json={"fault": []}, timeout=5)
        log = read_log(url)

    assert opens(newest) == [at("2025-08-16T22:59")]
    assert ping.status_code == 503
    assert clock.json() == {"serverTime": at("2020-01-01")}
    assert (refused.status_code, "unknown keys ['fault']" in refused.text) == (400, True)
    assert [(logged.path, logged.status) for logged in log] == [
        ("/api/v3/ping", 503),
        ("/api/v3/time", 200),
    ]


@pytest.mark.parametrize(
    "message",
    [
        {"faults": [{"match": "x", "kind": "nope"}], "now_ms": 1},
        {"faults": [{"match": "x", "sort": "reset"}], "now_ms": 1},
        {"overrides": [{"file": "x", "kind": "nope"}], "now_ms": 1},
        {"weight_limit": "many", "now_ms": 1},
    ],
)
def test_a_message_that_is_not_understood_changes_nothing(
    server: BinanceServer, message: dict[str, Any]
) -> None:
    reply = requests.post(f"{server.url}/_control", json=message, timeout=5)

    assert reply.status_code == 400
    assert server.now_ms == NOW


# synthetic markets


def test_a_synthetic_day_is_the_same_whichever_is_asked_first() -> None:
    days = [at("2024-02-29"), at("2021-03-01")]
    one = synthetic_market("BTCUSDT", at("2017-08-17T04:00"), at("2025-08-17"), 7)
    two = synthetic_market("BTCUSDT", at("2017-08-17T04:00"), at("2025-08-17"), 7)

    forward = [list(one.lines(day, day + DAY_MS)) for day in days]
    backward = [list(two.lines(day, day + DAY_MS)) for day in reversed(days)]

    assert forward == backward[::-1]


def test_synthetic_markets_differ_by_seed_and_by_symbol() -> None:
    firsts = {
        synthetic_market(symbol, START, START + DAY_MS, seed).minute(START)
        for symbol, seed in (("BTCUSDT", 1), ("BTCUSDT", 2), ("ETHUSDT", 1))
    }

    assert len(firsts) == 3


@pytest.mark.parametrize(
    ("market", "tick", "decimals", "least_volume"),
    [
        pytest.param(
            synthetic_market("BTCUSDT", START, START + 2 * DAY_MS, 1), "0.01", 8, 0, id="ordinary"
        ),
        pytest.param(
            synthetic_market("PEPEUSDT", START, START + 2 * DAY_MS, 1, coin=TINY_COIN),
            "0.00000001",
            2,
            10**11,
            id="tiny",
        ),
    ],
)
def test_a_synthetic_market_looks_like_one(
    market: Market, tick: str, decimals: int, least_volume: int
) -> None:
    rows = list(market.rows(START, START + 2 * DAY_MS))

    prices = [[Decimal(price) for price in row[1:5]] for row in rows]
    flat = [row for row in rows if row[8] == 0]
    usual_volume = sorted(Decimal(row[5]) for row in rows)[len(rows) // 2]
    assert [row[0] for row in rows] == list(range(START, START + 2 * DAY_MS, MINUTE_MS))
    assert all(price % Decimal(tick) == 0 for four in prices for price in four)
    assert all(0 < low <= min(o, c) <= max(o, c) <= high for o, high, low, c in prices)
    assert all(abs(now[0] - before[3]) <= Decimal(tick) for before, now in pairwise(prices))
    assert 0 < len(flat) < len(rows) / 10
    assert all(len(set(row[1:5])) == 1 and Decimal(row[5]) == Decimal(row[7]) == 0 for row in flat)
    assert {len(row[5].partition(".")[2]) for row in rows} == {decimals}
    assert usual_volume > least_volume


def test_a_market_needs_rows_and_a_known_quote() -> None:
    with pytest.raises(ValueError, match="needs a row"):
        market_from_rows("BTCUSDT", [])
    with pytest.raises(ValueError, match="'BTCXYZ' ends with none of"):
        synthetic_market("BTCXYZ", START, START + DAY_MS, 1)
    with pytest.raises(ValueError, match="expected <SYMBOL>-1m-YYYY"):
        market_from_archive([Path("BTCUSDT-1m-2024-01.zip")])


def test_every_kind_of_fault_can_be_sent_over_http(server: BinanceServer) -> None:
    kinds: tuple[FaultKind, ...] = ("status", "reset", "truncate", "stall", "drip", "slow")

    send_control(server.url, faults=[Fault(match="never", kind=kind) for kind in kinds])
    send_control(
        server.url,
        overrides=[{"file": "BTCUSDT-1m-2024-01-02", "kind": "empty"}],
        hidden=[Hidden("BTCUSDT", "rest", 0, START + MINUTE_MS)],
    )

    assert lines_of(server, "2024-01-02") == []
    assert opens(klines(server, startTime=0, limit=1)) == [START + MINUTE_MS]
