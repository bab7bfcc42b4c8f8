"""Bars of a timeframe from 1m bars: the same ones whatever happened on the way."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbv8.build import build_bars
from tbv8.errors import DataError
from tbv8.freshness import data as data_module
from tbv8.freshness.data import aggregate_state
from tbv8.market import DAY_MS, MINUTE_MS, Series, Span, parse_timeframe
from tbv8.store.bars import BarStore, open_bars, read_stored_bars
from tests.builders import (
    BTC,
    ETH,
    ROOT,
    Row,
    at,
    bars_in,
    day,
    days,
    hold,
    in_any_order,
    ledger_in,
    minute_bars,
    naive_bars,
    naive_digest,
    rows,
    rows_of,
    shell,
    table_of,
)

HOUR = 60 * MINUTE_MS
EMPTY = naive_digest([])

# From the middle of a January to the middle of an April, with a week that is not held, hours and
# single minutes that the venue does not have, and a whole day without bars.
LONG = [
    Span(at("2024-01-18T13:07"), at("2024-02-20T11:11")),
    Span(at("2024-02-27"), at("2024-04-10T05:03")),
]
HOLES = [
    Span(at("2024-01-20T10:00"), at("2024-01-20T10:03")),
    Span(at("2024-01-31T22:30"), at("2024-02-01T03:30")),
    Span(at("2024-02-14"), at("2024-02-15")),
    Span(at("2024-03-31T23:59"), at("2024-04-01T00:01")),
]
BUILT = "day_ms, start_ms, end_ms, bars, missing, source, digest, built_from"

some_series = (Series("sample", f"N{number}/USDT") for number in itertools.count())
"""A series of its own for each example of hypothesis: they share one file."""


def build(
    db_path: Path, timeframe: str, series: Series = BTC, *, chunk_days: int = 90, now_ms: int = 5
) -> None:
    build_bars(db_path, series, parse_timeframe(timeframe), chunk_days=chunk_days, now_ms=now_ms)


def dataset(timeframe: str) -> str:
    return parse_timeframe(timeframe).dataset


def built(db_path: Path, timeframe: str, series: Series = BTC) -> tuple[list[Row], list[Row]]:
    """Return the rows and the ledger of a timeframe, all but when it was built."""
    name = dataset(timeframe)
    return bars_in(db_path, series, name), ledger_in(db_path, series, name, BUILT)


def days_built_at(db_path: Path, timeframe: str, now_ms: int) -> list[str]:
    name = dataset(timeframe)
    found = rows(
        db_path,
        "SELECT date(day_ms / 1000, 'unixepoch') FROM history_coverage"
        " WHERE dataset = ? AND updated_ms = ? ORDER BY day_ms",
        (name, now_ms),
    )
    return [text for (text,) in found]


def is_fresh(db_path: Path, timeframe: str, series: Series = BTC) -> bool:
    return not aggregate_state(db_path, series, parse_timeframe(timeframe)).reasons


def naive_build(
    minutes: Sequence[Row], known: Sequence[Span], timeframe: str
) -> tuple[list[Row], list[Row]]:
    """Return the bars, and (day, start, end, bars, missing, digest) of each day, by hand."""
    by_open = {row[0]: row for row in minutes}
    bars: list[Row] = []
    whole: dict[int, list[tuple[int, int]]] = {}
    for span in known:
        for open_ms, close_ms in naive_bars(timeframe, span.start_ms, span.end_ms):
            if close_ms > span.end_ms:
                continue
            whole.setdefault(open_ms // DAY_MS * DAY_MS, []).append((open_ms, close_ms))
            opens = range(open_ms, close_ms, MINUTE_MS)
            inside = [by_open[ts] for ts in opens if ts in by_open]
            traded = [row for row in inside if row[5] > 0] or inside
            if inside:
                bars.append(
                    (
                        open_ms,
                        traded[0][1],
                        max(row[2] for row in traded),
                        min(row[3] for row in traded),
                        traded[-1][4],
                        sum(row[5] for row in inside),
                        len(inside),
                    )
                )
    ledger: list[Row] = []
    for day_ms, spans in sorted(whole.items()):
        of_day = [bar for bar in bars if day_ms <= bar[0] < day_ms + DAY_MS]
        start_ms, end_ms = spans[0][0], spans[-1][1]
        missing = (end_ms - start_ms) // MINUTE_MS - sum(bar[6] for bar in of_day)
        ledger.append((day_ms, start_ms, end_ms, len(of_day), missing, naive_digest(of_day)))
    return bars, ledger


@cache
def naive_week(timeframe: str) -> list[Row]:
    """Return the bars of the week of `week_db`, by hand."""
    return naive_build(rows_of(minute_bars(days(0, 7))), [days(0, 7)], timeframe)[0]


@pytest.fixture(scope="module")
def shared_db(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("build") / "tbv8.sqlite"
    path.write_bytes(migrated_db.read_bytes())
    return path


@pytest.fixture(scope="module")
def long_once(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "tbv8.sqlite"
    path.write_bytes(migrated_db.read_bytes())
    for span in LONG:
        hold(path, BTC, span, minute_bars(span, without=HOLES))
    return path


@pytest.fixture
def long_db(long_once: Path, tmp_path: Path) -> Path:
    """Return a database with the long history, nothing of it built."""
    return Path(shutil.copy(long_once, tmp_path / "long.sqlite"))


@pytest.fixture(scope="module")
def week_once(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copy(migrated_db, tmp_path_factory.mktemp("week") / "tbv8.sqlite"))
    hold(path, BTC, days(0, 7))
    return path


@pytest.fixture
def week_db(week_once: Path, tmp_path: Path) -> Path:
    """Return a database with a week of minutes, nothing of it built."""
    return Path(shutil.copy(week_once, tmp_path / "tbv8.sqlite"))


# What is built.


@pytest.mark.parametrize("timeframe", ["15m", "7h", "1d", "3d", "1w", "1M"])
def test_bars_and_ledger_are_those_that_a_hand_would_make(long_db: Path, timeframe: str) -> None:
    minutes = [row for span in LONG for row in rows_of(minute_bars(span, without=HOLES))]
    expected_bars, expected_ledger = naive_build(minutes, LONG, timeframe)

    build(long_db, timeframe, now_ms=1234)

    name = dataset(timeframe)
    assert bars_in(long_db, BTC, name) == expected_bars
    columns = "day_ms, start_ms, end_ms, bars, missing, digest"
    assert ledger_in(long_db, BTC, name, columns) == expected_ledger
    about = set(ledger_in(long_db, BTC, name, "source, updated_ms, built_from IS NULL"))
    assert about == {("built", 1234, 0)}
    assert is_fresh(long_db, timeframe)


def test_what_the_venue_lacks_shows_in_minutes_and_missing(db_path: Path) -> None:
    # given two days, the first of which lacks minutes 1, 3 and 5 to 9, the second all
    table = rows_of(minute_bars(days(0, 1)))
    del table[5:10], table[3], table[1]
    hold(db_path, BTC, days(0, 2), table_of(table))

    build(db_path, "5m")

    bars, ledger = built(db_path, "5m")
    assert [(bar[0], bar[6]) for bar in bars[:2]] == [(day(0), 3), (day(0) + 10 * MINUTE_MS, 5)]
    assert len(bars) == 287
    assert [row[:5] for row in ledger] == [
        (day(0), day(0), day(1), 287, 7),
        (day(1), day(1), day(2), 0, 1440),
    ]
    assert ledger[1][6] == EMPTY


def test_a_bar_is_built_only_when_its_whole_time_is_known(db_path: Path) -> None:
    hold(db_path, BTC, Span(day(0) + 7 * MINUTE_MS, day(0) + 29 * MINUTE_MS))

    build(db_path, "5m")
    build(db_path, "1h")

    bars, ledger = built(db_path, "5m")
    assert [(bar[0] - day(0)) // MINUTE_MS for bar in bars] == [10, 15, 20]
    start_ms, end_ms = day(0) + 10 * MINUTE_MS, day(0) + 25 * MINUTE_MS
    assert [row[:5] for row in ledger] == [(day(0), start_ms, end_ms, 3, 0)]
    assert built(db_path, "1h") == ([], [])


def test_a_timeframe_named_for_the_first_time_gets_its_table(week_db: Path) -> None:
    build(week_db, "7m")

    assert bars_in(week_db, BTC, "bars_7m") == naive_week("7m")
    assert is_fresh(week_db, "7m")
    shell(week_db, "UPDATE bars_7m SET close = 1 WHERE ts_ms < ?", (day(0) + HOUR,))
    assert not is_fresh(week_db, "7m")


def test_a_series_without_minutes_has_nothing_to_build(week_db: Path) -> None:
    build(week_db, "5m", ETH)

    assert built(week_db, "5m", ETH) == ([], [])
    assert is_fresh(week_db, "5m", ETH)


def test_recorded_minutes_are_built_where_there_is_no_history(week_db: Path) -> None:
    hold(week_db, BTC, days(5, 9), minute_bars(days(5, 9), shift=1), dataset="bars_1m")

    build(week_db, "1h")

    minutes = rows_of(minute_bars(days(0, 7))) + rows_of(minute_bars(days(7, 9), shift=1))
    assert built(week_db, "1h")[0] == naive_build(minutes, [days(0, 9)], "1h")[0]

    # and when history comes, then only the day on which it tells another story is built again
    hold(week_db, BTC, days(7, 8), minute_bars(days(7, 8), shift=1))
    hold(week_db, BTC, days(8, 9))
    build(week_db, "1h", now_ms=6)
    assert days_built_at(week_db, "1h", 6) == ["2024-01-09"]


def test_an_absent_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tbv8.sqlite: there is no database"):
        build(tmp_path / "tbv8.sqlite", "5m")


# What it does not depend on.


@pytest.mark.parametrize("timeframe", ["1h", "7h", "3d", "1w", "1M"])
def test_the_result_does_not_depend_on_how_many_days_are_in_memory(
    long_db: Path, tmp_path: Path, timeframe: str
) -> None:
    found = []
    for chunk_days in (1, 2, 10, 10_000):
        path = Path(shutil.copy(long_db, tmp_path / f"{chunk_days}.sqlite"))
        build(path, timeframe, chunk_days=chunk_days)
        found.append(built(path, timeframe))

    assert found[0][0]
    assert found == [found[0]] * 4


@pytest.mark.parametrize(
    ("timeframe", "others"),
    [
        *((text, "5m 1h 4h 1d") for text in ("1h", "7h", "12h", "3d", "1w", "1M")),
        pytest.param("1w", "7h", id="1w: 7h fit in its length, not in its place"),
        pytest.param("14h", "7h", id="14h: of 7h"),
        pytest.param("3d", "36h", id="3d: of 36h"),
    ],
)
def test_the_result_does_not_depend_on_what_else_is_built(
    long_db: Path, timeframe: str, others: str
) -> None:
    alone = Path(shutil.copy(long_db, long_db.with_name("alone.sqlite")))
    build(alone, timeframe)

    for other in others.split():
        if other != timeframe:
            build(long_db, other)
    build(long_db, timeframe)

    assert built(long_db, timeframe) == built(alone, timeframe)


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("UPDATE bars_5m SET high = 999 WHERE ts_ms = {2}", id="edited by hand"),
        pytest.param("DELETE FROM bars_5m WHERE ts_ms < {3}", id="bars deleted"),
        pytest.param(
            "DELETE FROM history_coverage WHERE dataset = 'bars_5m' AND day_ms = {2}",
            id="a day not built",
        ),
        pytest.param(
            "UPDATE history_coverage SET built_from = 'x/y' WHERE dataset = 'bars_5m'"
            " AND day_ms = {2}",
            id="a day built by other code from other minutes",
        ),
        pytest.param(
            "UPDATE history_coverage SET end_ms = end_ms - 300000 WHERE dataset = 'bars_5m'"
            " AND day_ms = {2}",
            id="a day built in part",
        ),
    ],
)
def test_finer_bars_that_are_not_what_their_minutes_give_are_not_built_upon(
    week_db: Path, sql: str
) -> None:
    build(week_db, "5m")
    shell(week_db, sql.format(*map(day, range(7))))

    build(week_db, "1h")

    assert built(week_db, "1h")[0] == naive_week("1h")


def test_finer_bars_of_minutes_that_changed_since_are_not_built_upon(week_db: Path) -> None:
    build(week_db, "5m")
    hold(week_db, BTC, days(2, 4), minute_bars(days(2, 4), shift=1))

    build(week_db, "1h")

    minutes = rows_of(minute_bars(days(0, 7)))
    minutes[2 * 1440 : 4 * 1440] = rows_of(minute_bars(days(2, 4), shift=1))
    assert built(week_db, "1h")[0] == naive_build(minutes, [days(0, 7)], "1h")[0]


def volumes_of_a_day(db_path: Path, volumes: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the volumes of 1d bars, built from 1m bars, and when 5m and 1h bars are there."""
    table = [
        (day(0) + n * MINUTE_MS, 1.0, 1.0, 1.0, 1.0, volumes[n % len(volumes)]) for n in range(1440)
    ]
    alone, among = next(some_series), next(some_series)
    for series in (alone, among):
        hold(db_path, series, days(0, 1), table_of(table))
    for timeframe in ("5m", "1h"):
        build(db_path, timeframe, among)
    found = []
    for series in (alone, among):
        build(db_path, "4h", series)
        found.append([bar[5] for bar in bars_in(db_path, series, "bars_4h")])
    return found[0], found[1]


@given(
    st.lists(st.integers(0, 10**17), min_size=1, max_size=30),
    st.sampled_from([1, 10**3, 10**6, 10**9]),
)
@settings(max_examples=15)
def test_volumes_of_eight_decimals_add_up_the_same_from_any_bars(
    shared_db: Path, units: list[int], divisor: int
) -> None:
    """A venue's volume has at most eight decimals: the sum is exact, and rounded once."""
    units = [unit // divisor for unit in units]

    alone, among = volumes_of_a_day(shared_db, [unit / 10**8 for unit in units])

    decimals = [Decimal(repr(unit / 10**8)) for unit in units]
    four_hours = [
        sum(decimals[n % len(units)] for n in range(a, a + 240)) for a in range(0, 1440, 240)
    ]
    assert alone == [float(total) for total in four_hours]
    assert among == alone


def test_volumes_with_the_noise_of_floats_add_up_the_same_from_any_bars(shared_db: Path) -> None:
    noisy = 1_000_000.0000000001

    alone, among = volumes_of_a_day(shared_db, [noisy, noisy, noisy, noisy, 1_000_000.0])

    assert among == alone


@given(st.data())
@settings(max_examples=10)
def test_the_result_does_not_depend_on_the_order_in_which_history_arrived(
    shared_db: Path, data: st.DataObject
) -> None:
    # given ten days in pieces, of which some are built before the next ones come
    timeframe = data.draw(st.sampled_from(["1h", "7h", "1d", "3d", "1w"]), label="timeframe")
    hours = st.integers(1, 239)
    cuts = data.draw(st.lists(hours, min_size=1, max_size=4, unique=True), label="cuts")
    edges = [day(0) + hour * HOUR for hour in sorted({0, 240, *cuts})]
    hole = Span(day(2) + HOUR, day(2) + 3 * HOUR)
    by_parts, once = next(some_series), next(some_series)

    # when
    for span in in_any_order(data, [Span(*pair) for pair in itertools.pairwise(edges)]):
        hold(shared_db, by_parts, span, minute_bars(span, without=[hole]))
        if data.draw(st.booleans(), label="build"):
            build(shared_db, timeframe, by_parts, chunk_days=data.draw(st.integers(1, 12)))
    build(shared_db, timeframe, by_parts)
    hold(shared_db, once, days(0, 10), minute_bars(days(0, 10), without=[hole]))
    build(shared_db, timeframe, once)

    # then
    assert built(shared_db, timeframe, by_parts) == built(shared_db, timeframe, once)
    assert is_fresh(shared_db, timeframe, by_parts)


def test_building_again_changes_nothing(long_db: Path) -> None:
    build(long_db, "1h", now_ms=5)
    before = ledger_in(long_db, BTC, "bars_1h")

    build(long_db, "1h", now_ms=6)

    assert ledger_in(long_db, BTC, "bars_1h") == before


def test_a_build_killed_in_a_transaction_has_kept_whole_chunks_and_goes_on(week_db: Path) -> None:
    """The table is made on the way: what is committed after it must outlive the process too."""
    once = Path(shutil.copy(week_db, week_db.with_name("once.sqlite")))
    build(once, "7m")
    code = """
import os, signal, sys
from pathlib import Path
from tbv8.build import build_bars
from tbv8.market import Series, parse_timeframe
from tbv8.store.bars import BarStore

write, calls = BarStore.write_days, []

def write_days(*args, **more):
    calls.append(write(*args, **more))
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

BarStore.write_days = write_days
series = Series("sample", "BTC/USDT")
build_bars(Path(sys.argv[1]), series, parse_timeframe("7m"), chunk_days=1, now_ms=5)
"""

    killed = subprocess.run([sys.executable, "-c", code, str(week_db)], cwd=ROOT, check=False)

    # then the first two chunks are there, whole, and nothing of the third
    assert killed.returncode == -signal.SIGKILL
    assert days_built_at(week_db, "7m", 5) == ["2024-01-01", "2024-01-02"]
    bars, ledger = built(once, "7m")
    assert built(week_db, "7m") == ([bar for bar in bars if bar[0] < day(2)], ledger[:2])

    # and the next run builds the rest alone
    build(week_db, "7m", now_ms=6)
    assert days_built_at(week_db, "7m", 6) == [f"2024-01-0{n}" for n in range(3, 8)]
    assert built(week_db, "7m") == built(once, "7m")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("at_chunk", [1, 2, 4])
def test_a_build_that_is_stopped_goes_on_where_it_was(
    week_db: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], at_chunk: int
) -> None:
    write, calls = BarStore.write_days, []

    def write_days(self: BarStore, *args: object, **more: object) -> None:
        calls.append(args)
        if len(calls) == at_chunk:
            raise error
        write(self, *args, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(BarStore, "write_days", write_days)
        with pytest.raises(error):
            build(week_db, "1h", chunk_days=2, now_ms=5)
    kept = days_built_at(week_db, "1h", 5)
    assert len(kept) == len(bars_in(week_db, BTC, "bars_1h")) / 24 == (at_chunk - 1) * 2

    build(week_db, "1h", now_ms=6)

    assert built(week_db, "1h")[0] == naive_week("1h")
    assert days_built_at(week_db, "1h", 5) == kept
    assert len(days_built_at(week_db, "1h", 6)) == 7 - len(kept)


# What is built again.


def other_minute(db_path: Path, text: str) -> None:
    """Fetch a day again, with another bar at that minute."""
    ts_ms = at(text)
    span = Span(ts_ms // DAY_MS * DAY_MS, ts_ms // DAY_MS * DAY_MS + DAY_MS)
    table = rows_of(minute_bars(span, without=HOLES))
    place = [row[0] for row in table].index(ts_ms)
    table[place] = (ts_ms, 200.0, 900.0, 1.0, 300.0, 77.0)
    hold(db_path, BTC, span, table_of(table))


@pytest.mark.parametrize(
    ("timeframe", "changed", "again"),
    [
        pytest.param("15m", "2024-03-05T12:34", ["2024-03-05"], id="15m: the day"),
        pytest.param(
            "7h",
            "2024-03-05T12:34",
            ["2024-03-04", "2024-03-05"],
            id="7h: the day, and the one before whose last bar reaches into it",
        ),
        pytest.param("3d", "2024-03-06T00:00", ["2024-03-06"], id="3d: the day it opens on"),
        pytest.param("3d", "2024-03-08T23:59", ["2024-03-06"], id="3d: its last day"),
        pytest.param("3d", "2024-03-09T00:00", ["2024-03-09"], id="3d: the day after"),
        pytest.param("1w", "2024-03-10T23:59", ["2024-03-04"], id="1w: its Sunday"),
        pytest.param("1w", "2024-03-11T00:00", ["2024-03-11"], id="1w: its Monday"),
        pytest.param("1w", "2024-04-02T00:00", ["2024-04-01"], id="1w: across a month's end"),
        pytest.param("1w", "2024-01-18T14:00", [], id="1w: a week not whole"),
        pytest.param("1M", "2024-03-01T00:00", ["2024-03-01"], id="1M: its first day"),
        pytest.param("1M", "2024-03-31T23:58", ["2024-03-01"], id="1M: its last day"),
        pytest.param("1M", "2024-02-29T12:00", [], id="1M: a month not whole"),
    ],
)
def test_a_changed_minute_is_built_again_in_the_days_that_need_it_alone(
    long_db: Path, timeframe: str, changed: str, again: list[str]
) -> None:
    build(long_db, timeframe, now_ms=5)
    before, _ledger = built(long_db, timeframe)

    if changed == "2024-01-18T14:00":
        span = Span(LONG[0].start_ms, at("2024-01-19"))
        hold(long_db, BTC, span, minute_bars(span, shift=1))
    else:
        other_minute(long_db, changed)
    build(long_db, timeframe, now_ms=6)

    assert days_built_at(long_db, timeframe, 6) == again
    assert (built(long_db, timeframe)[0] != before) == bool(again)
    with open_bars(long_db) as store:
        minutes = rows_of(store.read(BTC, "ohlcv_1m", Span(LONG[0].start_ms, LONG[1].end_ms)))
    assert built(long_db, timeframe)[0] == naive_build(minutes, LONG, timeframe)[0]
    assert is_fresh(long_db, timeframe)


@pytest.mark.parametrize(
    ("timeframe", "again"),
    [
        ("1h", [f"2024-02-{n}" for n in range(20, 27)]),
        ("3d", ["2024-02-20", "2024-02-23", "2024-02-26"]),
        ("1w", ["2024-02-19", "2024-02-26"]),
        ("1M", ["2024-02-01"]),
    ],
)
def test_late_minutes_build_what_they_make_whole(
    long_db: Path, timeframe: str, again: list[str]
) -> None:
    build(long_db, timeframe, now_ms=5)
    late = Span(LONG[0].end_ms, LONG[1].start_ms)

    hold(long_db, BTC, late)
    build(long_db, timeframe, now_ms=6)

    known = [Span(LONG[0].start_ms, LONG[1].end_ms)]
    minutes = rows_of(minute_bars(LONG[0], without=HOLES)) + rows_of(minute_bars(late))
    minutes += rows_of(minute_bars(LONG[1], without=HOLES))
    assert built(long_db, timeframe)[0] == naive_build(minutes, known, timeframe)[0]
    assert days_built_at(long_db, timeframe, 6) == again


def test_other_series_are_left_alone(week_db: Path) -> None:
    hold(week_db, ETH, days(0, 7), minute_bars(days(0, 7), shift=1))
    build(week_db, "1h", now_ms=5)
    build(week_db, "1h", ETH, now_ms=5)
    eth, four_hours = built(week_db, "1h", ETH), built(week_db, "4h")

    hold(week_db, BTC, days(0, 7), minute_bars(days(0, 7), shift=2))
    build(week_db, "1h", now_ms=6)

    assert built(week_db, "1h", ETH) == eth
    assert built(week_db, "4h") == four_hours == ([], [])
    assert set(ledger_in(week_db, ETH, "bars_1h", "updated_ms")) == {(5,)}


def test_other_code_builds_all_again(
    week_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(week_db, "1d", now_ms=5)
    (tmp_path / "aggregate.py").write_text("OTHER = 1\n")
    monkeypatch.setattr(data_module, "_AGGREGATE", tmp_path / "aggregate.py")
    assert not is_fresh(week_db, "1d")

    build(week_db, "1d", now_ms=6)

    assert len(days_built_at(week_db, "1d", 6)) == 7
    assert is_fresh(week_db, "1d")


# Lost ground, and hands in the rows.


def forget_minutes(db_path: Path, day_ms: int) -> None:
    """Forget a 1m day, as `doit verify --repair` does."""
    with open_bars(db_path) as store, store.transaction():
        store.remove_day(BTC, "ohlcv_1m", day_ms)


@pytest.mark.parametrize(
    ("timeframe", "left"),
    [
        ("1h", [0, 1, 3, 4, 5, 6]),
        ("7h", [0, 1, 3, 4, 5, 6]),
        ("1w", []),
    ],
)
def test_days_that_lost_their_minutes_are_removed(
    week_db: Path, timeframe: str, left: list[int]
) -> None:
    build(week_db, timeframe)

    forget_minutes(week_db, day(2))
    assert not is_fresh(week_db, timeframe)
    build(week_db, timeframe, now_ms=6)

    known = [days(0, 2), days(3, 7)]
    minutes = [row for span in known for row in rows_of(minute_bars(span))]
    assert built(week_db, timeframe)[0] == naive_build(minutes, known, timeframe)[0]
    assert [row[0] for row in built(week_db, timeframe)[1]] == [day(n) for n in left]
    assert is_fresh(week_db, timeframe)


def test_a_series_that_lost_all_its_minutes_loses_its_bars(week_db: Path) -> None:
    build(week_db, "1h")
    for number in range(7):
        forget_minutes(week_db, day(number))

    build(week_db, "1h")

    assert built(week_db, "1h") == ([], [])


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("UPDATE ohlcv_1m SET close = 1 WHERE ts_ms = ?", id="a bar changed"),
        pytest.param("DELETE FROM ohlcv_1m WHERE ts_ms = ?", id="a bar deleted"),
        pytest.param(
            "INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ? + 1, 1, 1, 1, 1, 1)",
            id="a bar added",
        ),
        pytest.param("UPDATE ohlcv_1m SET close = 'two' WHERE ts_ms = ?", id="a word for a number"),
    ],
)
def test_a_1m_day_edited_by_hand_is_refused_in_one_line_before_any_work(
    week_db: Path, sql: str
) -> None:
    shell(week_db, sql, (day(3),))

    with pytest.raises(DataError) as refused:
        build(week_db, "1h", chunk_days=1)

    said = str(refused.value)
    assert said.startswith("ohlcv_1m sample:BTC/USDT 2024-01-04: its rows do not match its ledger")
    assert "`doit verify --repair` drops the day, and the next run" in said
    assert "\n" not in said
    assert built(week_db, "1h") == ([], [])
    assert not is_fresh(week_db, "1h")


def test_what_was_built_before_a_refusal_stays(week_db: Path) -> None:
    build(week_db, "1h", now_ms=5)
    before = built(week_db, "1h")
    shell(week_db, "UPDATE ohlcv_1m SET close = 1 WHERE ts_ms = ?", (day(3),))

    with pytest.raises(DataError):
        build(week_db, "1h", now_ms=6)
    assert built(week_db, "1h") == before

    hold(week_db, BTC, days(3, 4))
    build(week_db, "1h", now_ms=7)
    assert built(week_db, "1h") == before
    assert days_built_at(week_db, "1h", 7) == []


@pytest.mark.parametrize(
    ("sql", "again"),
    [
        pytest.param(
            "UPDATE bars_1h SET close = 1 WHERE ts_ms = {2}", ["2024-01-03"], id="a bar changed"
        ),
        pytest.param("DELETE FROM bars_1h WHERE ts_ms = {2}", ["2024-01-03"], id="a bar deleted"),
        pytest.param(
            "UPDATE bars_1h SET minutes = 'all' WHERE ts_ms = {2}", ["2024-01-03"], id="a word"
        ),
        pytest.param(
            "UPDATE bars_1h SET ts_ms = ts_ms + 1 WHERE ts_ms = {3} - 3600000",
            ["2024-01-03"],
            id="a bar moved",
        ),
        pytest.param(
            "UPDATE bars_1h SET ts_ms = ts_ms + 3600001 WHERE ts_ms = {3} - 3600000",
            ["2024-01-03", "2024-01-04"],
            id="a bar moved to the next day",
        ),
        pytest.param(
            "DELETE FROM bars_1h", [f"2024-01-0{n}" for n in range(1, 8)], id="all bars deleted"
        ),
        pytest.param(
            "INSERT INTO bars_1h VALUES ('sample', 'BTC/USDT', {2} + 1, 1, 1, 1, 1, 1, 60)",
            ["2024-01-03"],
            id="a bar added",
        ),
        pytest.param(
            "REPLACE INTO bars_1h VALUES ('sample', 'BTC/USDT', {2}, 1, 1, 1, 1, 1, 60)",
            ["2024-01-03"],
            id="a bar put in the place of another",
        ),
        pytest.param(
            "DELETE FROM history_coverage WHERE dataset = 'bars_1h' AND day_ms = {2}",
            ["2024-01-03"],
            id="its ledger deleted",
        ),
    ],
)
def test_a_built_day_edited_by_hand_is_built_again(
    week_db: Path, sql: str, again: list[str]
) -> None:
    build(week_db, "1h", now_ms=5)
    before = built(week_db, "1h")

    shell(week_db, sql.format(*map(day, range(7))))
    assert not is_fresh(week_db, "1h")
    build(week_db, "1h", now_ms=6)

    assert built(week_db, "1h") == before
    assert days_built_at(week_db, "1h", 6) == again
    assert is_fresh(week_db, "1h")


def test_a_bar_added_by_hand_before_the_first_of_its_day_is_removed(week_db: Path) -> None:
    """7h bars do not open at each midnight: what lies before the first is of the day too."""
    build(week_db, "7h")
    before = built(week_db, "7h")
    (first,) = [row[1] for row in before[1] if row[0] == day(4)]
    assert first > day(4)
    shell(
        week_db,
        "INSERT INTO bars_7h VALUES ('sample', 'BTC/USDT', ?, 1, 1, 1, 1, 1, 420)",
        (day(4) + 1,),
    )

    build(week_db, "7h")

    assert built(week_db, "7h") == before


def test_whoever_reads_built_bars_finds_what_a_hand_has_done(week_db: Path) -> None:
    build(week_db, "1h")
    shell(week_db, "UPDATE bars_1h SET minutes = 59 WHERE ts_ms = ?", (day(2),))

    with (
        pytest.raises(DataError, match=r"bars_1h sample:BTC/USDT 2024-01-03: .*doit verify"),
        open_bars(week_db) as store,
    ):
        read_stored_bars(store, BTC, parse_timeframe("1h"), days(0, 7))
