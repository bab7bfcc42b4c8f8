"""Binance Spot's history through real `doit` processes, from a local Binance in its own process."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, iso_day, parse_time
from tests.e2e.conftest import ROOT, Project, copy_project
from tests.e2e.test_interrupted import INTERRUPTED, Keep
from tests.lines import Line
from tests.servers.binance import SIDES, Hidden, Logged, read_log, running_process, send_control
from tests.servers.binance_archive import Override
from tests.servers.binance_faults import Fault
from tests.servers.binance_market import synthetic_market

REAL = ROOT.parent / "shared/data"
NAME = "binance_spot:BTC/USDT"
KLINES = "/api/v3/klines"

LISTED, END, NOW = "2024-01-10T04:00:00Z", "2024-04-01T00:00:00Z", "2024-03-06T12:00:30Z"
OUTAGE = ("2024-02-10T03:00:00Z", "2024-02-11T02:00:00Z")
MARKETS = (
    *("--synthetic", "BTCUSDT", LISTED, END, "1"),
    *("--synthetic", "ETHUSDT", LISTED, END, "1"),
    *("--outage", "ETHUSDT", *OUTAGE),
    *("--now", NOW),
)
TWO_MONTHS = ("venue=binance_spot", "start=2024-01-01", "end=2024-03-06", "backfill")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running_process(*MARKETS) as url:
        yield url


@pytest.fixture(scope="module")
def migrated(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = copy_project(tmp_path_factory.mktemp("migrated") / "clone")
    shutil.copy(migrated_db, made.db_path)
    return made


@pytest.fixture
def binance(url: str, migrated: Project, tmp_path: Path) -> Project:
    """Return a project whose Binance is the local one, which behaves."""
    send_control(url, behave=True, reset_log=True, now_ms=parse_time(NOW))
    return project_at(url, migrated, tmp_path / "clone")


@pytest.fixture(scope="module")
def whole(url: str, migrated: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project that was filled without an interruption; do not change it."""
    send_control(url, behave=True, now_ms=parse_time(NOW))
    made = project_at(url, migrated, tmp_path_factory.mktemp("whole") / "clone")
    made.doit(*TWO_MONTHS)
    return made


def project_at(url: str, migrated: Project, root: Path) -> Project:
    shutil.copytree(migrated.root, root)
    project = Project(root)
    point_to(project, url)
    return project


def point_to(
    project: Project,
    url: str,
    *,
    symbols: str = "BTC/USDT: BTCUSDT",
    archive_url: str = "",
) -> None:
    project.write(
        "config/venues/binance_spot.yaml",
        f"venue: binance_spot\nenabled: false\nsymbols: {{{symbols}}}\n"
        f"rest_url: {url}\narchive_url: {archive_url or url}\n",
    )


def fill(project: Project, start: str, end: str, *words: str, code: int = 0) -> Any:
    return project.doit(
        *words, "venue=binance_spot", f"start={start}", f"end={end}", "backfill", code=code
    )


def files_asked(url: str) -> list[str]:
    """Return the archive files that were asked for, in the order of their names."""
    names = [Path(logged.path).name for logged in read_log(url)]
    return sorted(n.removeprefix("BTCUSDT-1m-")[:-4] for n in names if n.endswith(".zip"))


def asked_for_bars(url: str) -> list[Logged]:
    """Return the requests but those for the clock and the listing."""
    return [
        logged
        for logged in read_log(url)
        if logged.path != "/api/v3/time" and logged.query.get("startTime") != "0"
    ]


def rows(project: Project, symbol: str = "BTC/USDT") -> list[tuple[object, ...]]:
    return project.sql(
        "SELECT ts_ms, open, high, low, close, volume FROM ohlcv_1m"
        f" WHERE venue = 'binance_spot' AND symbol = '{symbol}' ORDER BY ts_ms"
    )


def truth(start: str, end: str, native: str = "BTCUSDT") -> list[tuple[object, ...]]:
    outages = [(parse_time(OUTAGE[0]), parse_time(OUTAGE[1]))] if native == "ETHUSDT" else []
    market = synthetic_market(native, parse_time(LISTED), parse_time(END), 1, outages=outages)
    return [
        (row[0], *map(float, row[1:6])) for row in market.rows(parse_time(start), parse_time(end))
    ]


def ledger(
    project: Project, columns: str = "day_ms, start_ms, end_ms, bars, missing, digest"
) -> Any:
    return project.sql(f"SELECT {columns} FROM history_coverage ORDER BY venue, symbol, day_ms")


# What is asked for


def test_months_days_and_rest_become_the_rows_of_the_market(binance: Project, url: str) -> None:
    first = fill(binance, "2024-01-01", "2024-03-06T12:00:00Z")

    assert rows(binance) == truth("2024-01-01", "2024-03-06T12:00:00Z")
    said = first.stdout.splitlines()
    # The file of January is one: the symbol was listed in it. The last half day is REST's.
    assert f"   {NAME}: 2 monthly files, 5 daily files, 1 request, about 4.7 MB" in said
    assert " minutes in " in said[-1]
    assert first.stderr == ""


def test_the_days_before_the_listing_are_known_and_never_asked_for_again(
    whole: Project, url: str
) -> None:
    before = parse_time("2024-01-10")
    known = whole.sql(
        "SELECT day_ms, bars, missing FROM history_coverage"
        " WHERE source = 'not listed' ORDER BY day_ms"
    )
    assert known == [(parse_time(f"2024-01-0{day}"), 0, 1440) for day in range(1, 10)]
    assert whole.sql(
        f"SELECT start_ms, end_ms, bars, missing FROM history_coverage WHERE day_ms = {before}"
    ) == [(before, before + DAY_MS, 1200, 240)]

    send_control(url, reset_log=True)
    again = whole.doit(*TWO_MONTHS)

    assert again.stdout.splitlines() == ["-- migrate", f"-- backfill:{NAME}"]
    assert read_log(url) == []


def test_an_earlier_start_and_a_later_end_ask_only_for_what_is_new(
    binance: Project, url: str
) -> None:
    fill(binance, "2024-02-12", "2024-02-14")
    send_control(url, reset_log=True)

    fill(binance, "2024-02-09", "2024-02-14")
    assert files_asked(url) == ["2024-02-09", "2024-02-10", "2024-02-11"]

    send_control(url, reset_log=True)
    fill(binance, "2024-02-09", "2024-02-16")
    assert files_asked(url) == ["2024-02-14", "2024-02-15"]
    assert rows(binance) == truth("2024-02-09", "2024-02-16")


def test_a_hole_in_the_middle_is_filled(binance: Project, url: str) -> None:
    fill(binance, "2024-02-12", "2024-02-13")
    fill(binance, "2024-02-15", "2024-02-16")
    send_control(url, reset_log=True)

    planned = binance.doit(
        "venue=binance_spot", "start=2024-02-12", "end=2024-02-16", "plan", "backfill"
    ).stdout
    fill(binance, "2024-02-12", "2024-02-16")

    assert planned.splitlines()[1:] == [
        f"    2 days of {NAME} not stored yet: 2024-02-13T00:00:00Z .. 2024-02-15T00:00:00Z; "
        "2 daily files, about 0.1 MB"
    ]
    assert files_asked(url) == ["2024-02-13", "2024-02-14"]
    assert rows(binance) == truth("2024-02-12", "2024-02-16")


def test_a_tail_is_followed_by_rest_and_the_open_minute_never_enters(
    binance: Project, url: str
) -> None:
    fill(binance, "2024-03-05", "2024-03-06")
    send_control(url, reset_log=True)

    fill(binance, "2024-03-05", "2024-03-06T12:10:00Z")

    # The venue's clock says 12:00:30.
    assert rows(binance) == truth("2024-03-05", "2024-03-06T12:00:00Z")
    (asked,) = asked_for_bars(url)
    assert asked.query["startTime"] == str(parse_time("2024-03-06"))
    assert asked.query["endTime"] == str(parse_time("2024-03-06T12:00:00Z") - 1)


def test_several_symbols_are_filled_in_one_call_and_by_two_processes(
    binance: Project, url: str
) -> None:
    point_to(binance, url, symbols="BTC/USDT: BTCUSDT, ETH/USDT: ETHUSDT")

    end = fill(binance, "2024-02-01", "2024-03-01", "-n", "2")  # a task's options come last

    assert "backfill:binance_spot:ETH/USDT" in end.stdout
    assert rows(binance) == truth("2024-02-01", "2024-03-01")
    assert rows(binance, "ETH/USDT") == truth("2024-02-01", "2024-03-01", "ETHUSDT")


# Minutes that the venue does not have


def test_what_two_looks_did_not_find_is_asked_for_again_on_request_only(
    binance: Project, url: str
) -> None:
    outage = [parse_time("2024-02-10T03:00:00Z"), parse_time("2024-02-11T02:00:00Z")]
    lost = [parse_time("2024-02-12T10:00:00Z"), parse_time("2024-02-12T10:30:00Z")]
    hidden = [Hidden("BTCUSDT", side, *span) for side in SIDES for span in (outage, lost)]
    span = ("venue=binance_spot", "start=2024-02-09", "end=2024-02-14", "backfill")
    send_control(url, hidden=hidden)
    binance.doit(*span)
    assert ledger(binance, "missing") == [(0,), (1260,), (120,), (30,), (0,)]

    send_control(url, reset_log=True)
    binance.doit(*span)
    assert read_log(url) == []

    send_control(url, behave=True, hidden=[h for h in hidden if h.start_ms == outage[0]])
    planned = binance.doit(*span[:-1], "plan", *span[-1:], "--recheck")
    again = binance.doit(*span, "--recheck")

    assert planned.stdout.splitlines() == [
        f"backfill:{NAME}",
        "    --recheck: 1,410 minutes missing at the venue",
    ]
    assert again.stdout.splitlines()[-2:] == [
        f"   {NAME}: 2024-02-12: 30 of 30 missing minutes found, from 2024-02-12T10:00:00Z on",
        f"   {NAME}: fetched 1,410 missing minutes again: 30 found",
    ]
    assert ledger(binance, "missing") == [(0,), (1260,), (120,), (0,), (0,)]
    gone = range(*outage, MINUTE_MS)
    assert rows(binance) == [r for r in truth("2024-02-09", "2024-02-14") if r[0] not in gone]


def test_recheck_takes_no_task_away_from_another(binance: Project) -> None:
    planned = binance.doit(
        "venue=binance_spot", "start=2024-02-01", "end=2024-02-03", "plan", "backfill", "--recheck",
        "backtest",
    )  # fmt: skip

    assert "backtest:btc_usdt_perp_v1" in planned.stdout


# Faults, and what the user sees of them

AT_ONCE = [
    pytest.param(
        Fault(match="/api/", kind="status", status=451, times=None),
        "binance_spot: {url} refuses this place or network (HTTP 451 Unavailable For Legal "
        "Reasons): ...",
        id="451",
    ),
    pytest.param(
        Fault(match="/api/", kind="status", status=403, times=None),
        "binance_spot: {url} refuses this place or network (HTTP 403 Forbidden): ...",
        id="403",
    ),
    pytest.param(
        Fault(match="/api/", kind="status", status=418, until_ms=1_710_000_000_000),
        "binance_spot: {url} bans this address until 2024-03-09T16:00:00Z (HTTP 418) ...",
        id="418",
    ),
]


@pytest.mark.parametrize(("fault", "line"), AT_ONCE)
def test_a_refusal_stops_before_anything_is_downloaded(
    binance: Project, url: str, fault: Fault, line: str
) -> None:
    send_control(url, faults=[fault])

    end = fill(binance, "2024-02-12", "2024-02-14", code=1)

    assert end.stderr == Line(f"ERROR: backfill:{NAME}: {line.format(url=url)}\n")
    assert files_asked(url) == []
    assert rows(binance) == []


def test_an_unknown_symbol_is_refused_before_anything_is_downloaded(
    binance: Project, url: str
) -> None:
    point_to(binance, url, symbols="BTC/USDT: BTCUSD")

    end = fill(binance, "2024-02-12", "2024-02-14", code=1)

    assert end.stderr == (
        f"ERROR: backfill:{NAME}: binance_spot does not know BTCUSD: its symbols look like "
        "BTCUSDT, correct `symbols` in config/venues/binance_spot.yaml\n"
    )
    assert files_asked(url) == []


def test_one_unknown_symbol_of_several_is_refused_before_anything_is_downloaded(
    binance: Project, url: str
) -> None:
    point_to(binance, url, symbols="BTC/USDT: BTCUSDT, ETH/USDT: ETHUSTD")

    end = fill(binance, "2024-02-12", "2024-02-14", code=1)

    assert end.stderr == (
        "ERROR: symbols:binance_spot: binance_spot does not know ETHUSTD: its symbols look like "
        "BTCUSDT, correct `symbols` in config/venues/binance_spot.yaml\n"
    )
    assert files_asked(url) == []
    binance.doit("venue=binance_spot", "start=2024-02-12", "end=2024-02-14", f"backfill:{NAME}")
    assert rows(binance) == truth("2024-02-12", "2024-02-14")


def test_what_gets_better_is_mended_and_said(binance: Project, url: str) -> None:
    send_control(
        url,
        faults=[
            Fault(match="02-12.zip$", kind="status", status=503),
            Fault(match="02-13.zip$", kind="truncate"),
            Fault(match="02-14.zip$", kind="reset"),
            Fault(match="02-15.zip$", kind="corrupt"),
            Fault(match="02-16.zip.CHECKSUM", kind="bad_checksum", times=None),
            Fault(match=f"{KLINES}.*limit=1000", kind="malformed_json"),
            Fault(match=f"{KLINES}.*limit=1000", kind="status", status=429, retry_after=4, after=1),
        ],
    )

    end = fill(binance, "2024-02-12", "2024-02-17")

    assert rows(binance) == truth("2024-02-12", "2024-02-17")
    assert end.stderr == ""
    said = end.stdout.splitlines()
    assert f"   {NAME}: {url} limits requests (HTTP 429), continuing in 4 s" in said
    assert (
        f"   {NAME}: BTCUSDT-1m-2024-02-16.zip: its CHECKSUM differs from its sha256 "
        "after two downloads; taken from REST"
    ) in said
    sources = ledger(binance, "source")
    assert all(text.startswith("BTCUSDT-1m-2024-02-1") for (text,) in sources[:4])
    assert sources[4] == ("rest",)


def test_a_host_that_stays_ill_or_goes_away_ends_in_one_line_and_what_was_whole_is_kept(
    binance: Project, url: str, migrated: Project, tmp_path: Path, children: Keep
) -> None:
    ill, left = binance, project_at(url, migrated, tmp_path / "left")
    span = ("venue=binance_spot", "start=2024-02-01", "end=2024-03-05", "backfill")
    with running_process(*MARKETS) as other:
        point_to(left, other)
        send_control(url, faults=[Fault(match="daily", kind="status", status=503, times=None)])
        stalls = [Fault(match="daily", kind="stall", seconds=60, times=None)]
        send_control(other, faults=stalls)
        runs = [children(ill.start(*span)), children(left.start(*span))]
        until(lambda: len(ledger(left)) == 29)
    ends = [run.communicate(timeout=60) for run in runs]

    for project, run, (_, err), problem in zip(
        (ill, left), runs, ends, ("HTTP 503 Service Unavailable", "Connection refused"), strict=True
    ):
        assert run.returncode == 1
        (line,) = err.splitlines()
        assert line == Line(
            f"ERROR: backfill:{NAME}: binance_spot: http://127.0.0.1:..."
            f"/BTCUSDT-1m-2024-03-01.zip: {problem}, 6 times: ...; fetched data is kept"
        )
        assert rows(project) == truth("2024-02-01", "2024-03-01")
    assert "HTTP 503 Service Unavailable for /data/spot/daily/" in ends[0][0]


# Interrupted


def until(done: Callable[[], bool], timeout_s: float = 90) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + timeout_s
    while not done():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def months_held(project: Project) -> set[str]:
    """Return the months that the ledger holds to their last day."""
    held = {day for (day,) in ledger(project, "day_ms")}
    ends = {"2024-01": "2024-01-31", "2024-02": "2024-02-29"}
    return {month for month, last in ends.items() if parse_time(last) in held}


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, -signal.SIGINT, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="kill -9"),
    ],
)
def test_an_interrupted_fill_goes_on_from_what_is_whole(
    binance: Project, whole: Project, url: str, children: Keep, number: int, code: int
) -> None:
    send_control(
        url,
        faults=[Fault(match="2024-02.zip$", kind="stall", seconds=100, times=None)],
        reset_log=True,
    )
    child = children(binance.start(*TWO_MONTHS))
    until(lambda: bool(months_held(binance)))
    os.kill(child.pid, number)
    _, err = child.communicate(timeout=60)  # not the 100 s of a download

    assert child.returncode == code
    if number != signal.SIGKILL:
        assert err == INTERRUPTED
    assert months_held(binance) == {"2024-01"}
    send_control(url, behave=True, reset_log=True)
    binance.doit(*TWO_MONTHS)
    assert files_asked(url) == ["2024-02", *(f"2024-03-0{day}" for day in range(1, 6))]
    assert binance.state() == whole.state()
    assert ledger(binance, "source") == ledger(whole, "source")


def test_killed_at_random_moments_it_ends_with_the_same_rows_and_digests(
    binance: Project, whole: Project, url: str, children: Keep
) -> None:
    send_control(url, faults=[Fault(match=".zip$", kind="slow", seconds=0.2, times=None)])
    for _ in range(3):
        had = months_held(binance)
        send_control(url, reset_log=True)
        child = children(binance.start(*TWO_MONTHS))
        time.sleep(0.5 + random.random())  # from its imports to its last days
        os.kill(child.pid, signal.SIGKILL)
        child.wait(30)
        assert not had & set(files_asked(url))

    binance.doit(*TWO_MONTHS)

    assert binance.state() == whole.state()
    assert ledger(binance, "source") == ledger(whole, "source")
    binance.doit("verify")


YEARS = ("2017-08-17T04:00:00Z", "2025-08-17T00:00:00Z")
EIGHT_YEARS = ("venue=binance_spot", "start=2017-08-17", "end=2025-08-17", "backfill")
OUTAGES = [  # docs/venues/binance.md: an afternoon, across a midnight, minutes
    ("2017-09-06T16:00:00Z", "2017-09-06T23:00:00Z"),
    ("2018-02-08T00:29:00Z", "2018-02-09T09:59:00Z"),
    ("2019-11-13T05:30:00Z", "2019-11-13T05:33:00Z"),
    ("2023-03-24T12:40:00Z", "2023-03-24T14:00:00Z"),
]
OFF_MINUTE = [("2017-12", "2017-12-04", "2017-12-18"), ("2018-02", "2018-02-09", "2018-02-11")]
YEARS_MISSING = 240 + 420 + 2010 + 3 + 80  # before the listing, then the outages


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_eight_years_killed_five_times_equal_an_uninterrupted_run(
    migrated: Project, tmp_path: Path, children: Keep
) -> None:
    outages = [word for outage in OUTAGES for word in ("--outage", "BTCUSDT", *outage)]
    with running_process("--synthetic", "BTCUSDT", *YEARS, "1", *outages) as url:
        off_minute = [
            Override(
                file=f"BTCUSDT-1m-{month}",
                kind="off_minute",
                start_ms=parse_time(start),
                end_ms=parse_time(end),
            )
            for month, start, end in OFF_MINUTE
        ]
        send_control(url, overrides=off_minute)
        whole = project_at(url, migrated, tmp_path / "whole")
        killed = project_at(url, migrated, tmp_path / "killed")
        child = children(whole.start(*EIGHT_YEARS))
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0
        assert usage.ru_maxrss / 1024 < 600  # MB, whatever the span

        for number in range(1, 6):
            held = days_held(killed)
            send_control(url, reset_log=True)
            child = children(killed.start(*EIGHT_YEARS))
            until(lambda days=300 * number: len(days_held(killed)) > days, timeout_s=120)
            time.sleep(random.random())
            os.kill(child.pid, signal.SIGKILL)
            child.wait(30)
            assert child.returncode == -signal.SIGKILL
            assert not held & {f"{name}-01" for name in files_asked(url)}
        killed.doit(*EIGHT_YEARS)

        minutes = (parse_time(YEARS[1]) - parse_time("2017-08-17")) // MINUTE_MS
        assert ledger(killed, "count(*), sum(bars), sum(missing)") == [
            (2922, minutes - YEARS_MISSING, YEARS_MISSING)
        ]
        assert killed.state() == whole.state()
        assert ledger(killed, "source") == ledger(whole, "source")
        send_control(url, reset_log=True)
        killed.doit(*EIGHT_YEARS)
        assert read_log(url) == []
        assert killed.doit("verify").stdout == f"ohlcv_1m {NAME}: whole\n"
        killed.doit("verify", "--against", "rest", "--sample", "50")


@pytest.mark.slow
def test_200_symbols_that_are_up_to_date_cost_less_than_5_ms_each(
    migrated: Project, tmp_path: Path, children: Keep
) -> None:
    names = ["BTC", *(f"C{number:03}" for number in range(199))]
    project = project_at("http://127.0.0.1:9", migrated, tmp_path / "clone")
    point_to(project, "http://127.0.0.1:9", symbols=", ".join(f"{n}/USDT: {n}USDT" for n in names))
    first, last = parse_time("2017-08-17"), parse_time("2025-08-17")
    held = f"""
        WITH RECURSIVE days(ms) AS
            (VALUES ({first}) UNION ALL SELECT ms + {DAY_MS} FROM days WHERE ms + {DAY_MS} < {last})
        INSERT INTO history_coverage SELECT 'binance_spot', column1, 'ohlcv_1m', ms, ms,
            ms + {DAY_MS}, 0, 1440, 'rest', NULL, NULL, 0
        FROM days, (VALUES {", ".join(f"('{name}/USDT')" for name in names)})"""
    project.sql(held)

    def cpu_s(task: str) -> float:
        child = children(project.start(*EIGHT_YEARS[:-1], task))
        _, status, usage = os.wait4(child.pid, 0)  # what it prints fits into the pipe
        assert status == 0
        return usage.ru_utime + usage.ru_stime

    one_s, all_s = (min(cpu_s(task) for _ in range(3)) for task in (f"backfill:{NAME}", "backfill"))

    assert (all_s - one_s) / 199 < 0.005


def days_held(project: Project) -> set[str]:
    return {iso_day(int(day_ms)) for (day_ms,) in ledger(project, "day_ms")}


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mount a small tmpfs there, as root."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder],
        capture_output=True,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def take_all_space(path: Path) -> None:
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_ends_in_one_line_and_the_next_run_goes_on(
    binance: Project, whole: Project, url: str, children: Keep
) -> None:
    held = (binance.root / "data/tbv8.sqlite").read_bytes()
    with small_disk(binance.root / "data", "24m"):
        binance.db_path.write_bytes(held)
        send_control(url, faults=[Fault(match="2024-02.zip$", kind="slow", seconds=2)])
        child = children(binance.start(*TWO_MONTHS))
        until(lambda: bool(months_held(binance)))
        take_all_space(binance.root / "data/other")
        out, err = child.communicate(timeout=30)

        assert child.returncode == 1, out
        (line,) = err.splitlines()
        assert line == (
            Line(f"ERROR: backfill:{NAME}: data/tbv8.sqlite: the disk is full, no stored data ...")
        )
        assert months_held(binance) == {"2024-01"}
        (binance.root / "data/other").unlink()
        binance.doit(*TWO_MONTHS)
        assert binance.state() == whole.state()


def test_a_disk_that_is_too_small_is_said_before_anything_is_downloaded(
    binance: Project, url: str
) -> None:
    held = (binance.root / "data/tbv8.sqlite").read_bytes()
    with small_disk(binance.root / "data", "10m"):
        binance.db_path.write_bytes(held)
        end = binance.doit(*TWO_MONTHS, code=1)

        assert "data/tbv8.sqlite: 80,400 bars take about 11.5 MB, but " in end.stderr
        assert end.stderr.endswith(
            " MB are free on its disk: free some space, set another db_path in config/data.yaml, "
            "or a later start_date in config/history.yaml\n"
        )
        assert len(end.stderr.splitlines()) == 1
        assert files_asked(url) == []


# Verified


def test_a_changed_bar_is_found_dropped_and_brought_back(binance: Project, url: str) -> None:
    fill(binance, "2024-02-12", "2024-02-15")
    binance.doit("verify")
    whole = binance.state()
    ts_ms = parse_time("2024-02-13T12:00:00Z")
    binance.sql(f"UPDATE ohlcv_1m SET volume = volume + 1 WHERE ts_ms = {ts_ms}")

    found = binance.doit("verify", code=1)
    binance.doit("verify", "--repair")
    send_control(url, reset_log=True)
    fill(binance, "2024-02-12", "2024-02-15")

    assert f"    ohlcv_1m {NAME} 2024-02-13: a row was changed outside of tbv8" in found.stdout
    assert files_asked(url) == ["2024-02-13"]
    assert binance.state() == whole
    binance.doit("verify")


def test_random_hours_are_compared_with_the_bars_of_rest(binance: Project, url: str) -> None:
    fill(binance, "2024-02-12", "2024-02-13")
    ts_ms = parse_time("2024-02-12T12:00:00Z")
    binance.sql(f"UPDATE ohlcv_1m SET open = 1, low = 1, volume = 2 WHERE ts_ms = {ts_ms}")
    binance.sql(f"DELETE FROM ohlcv_1m WHERE ts_ms = {ts_ms + HOUR_MS}")

    end = binance.doit("verify", "--against", "rest", "--sample", "24", "--seed", "1", code=1)

    changed, gone, summary = end.stdout.splitlines()
    there, *_, last = truth("2024-02-12T12:00:00Z", "2024-02-12T13:01:00Z")
    assert changed == (
        f"    ohlcv_1m {NAME} 2024-02-12: 2024-02-12T12:00:00Z is 1.0, {there[2]}, 1.0, {there[4]}"
        f", 2.0, at the venue {', '.join(map(repr, there[1:]))}"
    )
    assert gone == (
        f"    ohlcv_1m {NAME} 2024-02-12: 2024-02-12T13:00:00Z is no bar, at the venue "
        f"{', '.join(map(repr, last[1:]))}"
    )
    assert summary == "compared 24 random hours with REST (--seed 1): 2 differences"


def test_verify_tells_json_and_nothing_else(binance: Project) -> None:
    fill(binance, "2024-02-12", "2024-02-14")
    ts_ms = parse_time("2024-02-12T12:00:00Z")
    binance.sql(f"UPDATE ohlcv_1m SET volume = 2 WHERE ts_ms = {ts_ms}")

    filtered = binance.doit("verify", "--json", "--dataset", "bars_5m")
    end = binance.doit("verify", "--json", "--venue", "binance_spot", "--repair")

    assert json.loads(filtered.stdout) == {"problems": [], "dropped_days": 0}
    assert json.loads(end.stdout) == {
        "problems": [
            {
                "venue": "binance_spot",
                "symbol": "BTC/USDT",
                "dataset": "ohlcv_1m",
                "day_ms": parse_time("2024-02-12"),
                "problem": "a row was changed outside of tbv8",
            }
        ],
        "dropped_days": 1,
    }
    assert ledger(binance, "day_ms") == [(parse_time("2024-02-13"),)]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(
            ("--venue", "binance_spt"),
            "ERROR: --venue: unknown venue 'binance_spt', did you mean 'binance_spot'? Known: "
            "binance_perp, binance_spot, bybit, hyperliquid, mexc, sample",
            id="venue",
        ),
        pytest.param(
            ("--symbol", "BTCUSDT"),
            "ERROR: --symbol: unknown symbol 'BTCUSDT', did you mean 'BTC/USDT'? Known: "
            "BTC/USDT, ETH/USDT",
            id="symbol",
        ),
        pytest.param(
            ("ohlcv_1m",),
            "ERROR: 'ohlcv_1m': choose with --venue, --symbol and --dataset",
            id="a word",
        ),
        pytest.param(
            ("--dataset", "bars_6m"),
            "ERROR: --dataset: unknown dataset 'bars_6m', did you mean 'bars_5m'? Known: "
            "bars_12h, bars_15m, bars_1d, bars_1h, bars_1m, bars_1mo, bars_1w, bars_2h, bars_30m, "
            "bars_4h, bars_5m, funding, ohlcv_1m",
            id="dataset",
        ),
        pytest.param(
            ("--against", "archive"),
            "ERROR: --against: unknown source 'archive'; known: rest",
            id="source",
        ),
        pytest.param(
            ("--against", "rest", "--sample", "many"),
            "ERROR: --sample: expected a whole number from 1, got 'many'",
            id="sample",
        ),
        pytest.param(
            ("--against", "rest", "--repair"),
            "ERROR: --against compares ohlcv_1m only, and repairs nothing",
            id="repair",
        ),
    ],
)
def test_verify_refuses_what_it_does_not_know(
    migrated: Project, words: tuple[str, ...], line: str
) -> None:
    end = migrated.doit("verify", *words, code=3)

    assert end.stderr.splitlines()[0] == line


# Binance's own files


@pytest.mark.skipif(not (REAL / "binance").is_dir(), reason=f"no files of Binance's in {REAL}")
def test_real_files_add_up_to_the_bars_of_the_exchange(migrated: Project, tmp_path: Path) -> None:
    options = ("--archive", str(REAL / "binance/1m"), "--now", "2024-04-03T00:00:30Z")
    with running_process(*options) as url:
        project = project_at(url, migrated, tmp_path / "clone")
        project.doit(
            "venue=binance_spot", "start=2024-01-01", "end=2024-04-01", "aggregate",
            *("--venue", "binance_spot", "--timeframes", "15m,1h,1d"),
        )  # fmt: skip
        project.doit(
            "venue=binance_spot", "start=2023-03-23", "end=2023-03-26", "aggregate",
            *("--venue", "binance_spot", "--timeframes", "15m,1h"),
        )  # fmt: skip

    for timeframe, names in {
        "15m": ("2023-03-23_25", "2024Q1"),
        "1h": ("2023-03-23_25", "2024Q1"),
        "1d": ("2024Q1",),
    }.items():
        exchange = [bar for name in names for bar in exchange_bars(timeframe, name)]
        built = project.sql(
            f"SELECT ts_ms, open, high, low, close, round(volume, 8) FROM bars_{timeframe}"
            " WHERE venue = 'binance_spot' ORDER BY ts_ms"
        )
        assert [bar for bar in built if timeframe != "1d" or bar[0] >= exchange[0][0]] == exchange
    missing = "SELECT day_ms, missing FROM history_coverage WHERE dataset = 'ohlcv_1m' AND missing"
    assert project.sql(missing) == [(parse_time("2023-03-24"), 80)]


def exchange_bars(timeframe: str, name: str) -> list[tuple[object, ...]]:
    path = REAL / f"binance/truth/BTCUSDT-{timeframe}-{name}.csv"
    with path.open(newline="") as file:
        return [(int(f[0]), *map(float, f[1:6])) for f in csv.reader(file)]


def test_a_database_that_is_taken_away_ends_a_backfill_that_waits(
    binance: Project, url: str, children: Keep
) -> None:
    slow = Fault(match="monthly", kind="slow", seconds=100, times=100)
    send_control(url, faults=[slow])
    child = children(binance.start(*TWO_MONTHS))
    assert child.stdout is not None
    for line in child.stdout:
        if "monthly file" in line:
            break

    binance.db_path.rename(binance.root / "data" / "moved.sqlite")
    _, err = child.communicate(timeout=60)  # not the 100 s of a download

    assert child.returncode == 1
    assert err == (
        f"ERROR: backfill:{NAME}: data/tbv8.sqlite: was removed, moved or replaced while it was "
        "open, so the last writes may be in the moved file: run again\n"
    )
    assert not binance.db_path.exists()
