"""Is the wanted history held, and is every timeframe what its 1m days would give now?"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import astuple, replace

from tbv8.build import build_bars
from tbv8.config.source import digest_source, parse_source
from tbv8.errors import DataError, NotMigratedError
from tbv8.freshness import data as data_module
from tbv8.freshness.data import (
    BuildableDay,
    aggregate_state,
    backfill_state,
    build_code,
    buildable_days,
    built_from,
    find_stale_days,
    migration_state,
)
from tbv8.freshness.state import State, count_days, days_text, digest_text, from_to
from tbv8.market import DAY_MS, MINUTE_MS, Series, Span, parse_timeframe
from tbv8.store.database import REVISION, open_reader
from tbv8.store.ledger import LedgerDay, StoredDay, read_days, read_stored_days
from tests.builders import (
    BTC,
    ETH,
    LEDGER,
    ROOT,
    at,
    day,
    days,
    hold,
    ledger_in,
    minute_bars,
    naive_bars,
    shell,
)

HOUR = 60 * MINUTE_MS
FIVE_MINUTES = parse_timeframe("5m")
MEXC = Series("mexc", "BTC/USDT")


def reasons(db_path: Path, timeframe: str = "5m", series: Series = BTC) -> tuple[str, ...]:
    return aggregate_state(db_path, series, parse_timeframe(timeframe)).reasons


def build(db_path: Path, timeframe: str = "5m", series: Series = BTC) -> None:
    build_bars(db_path, series, parse_timeframe(timeframe), chunk_days=7, now_ms=5)


# Which days can be built.


def naive_buildable(
    known: Sequence[StoredDay], timeframe: str, first_ms: int, end_ms: int
) -> list[tuple[int, Span, str]]:
    """Group the bars all of whose time is known by the UTC day on which they open."""
    parts = {held.ledger.day_ms: held.ledger for held in known}

    def known_ms(start_ms: int, end_ms: int) -> int:
        midnights = range(start_ms // DAY_MS * DAY_MS, end_ms, DAY_MS)
        there = [parts[ms] for ms in midnights if ms in parts]
        return sum(max(0, min(end_ms, p.end_ms) - max(start_ms, p.start_ms)) for p in there)

    by_day: dict[int, list[tuple[int, int]]] = {}
    for open_ms, close_ms in naive_bars(timeframe, first_ms, end_ms):
        if known_ms(open_ms, close_ms) == close_ms - open_ms:
            by_day.setdefault(open_ms // DAY_MS * DAY_MS, []).append((open_ms, close_ms))
    found = []
    for day_ms, bars in sorted(by_day.items()):
        start_ms, end_ms = bars[0][0], bars[-1][1]
        digests = [parts[d].digest for d in range(start_ms // DAY_MS * DAY_MS, end_ms, DAY_MS)]
        minutes_digest = hashlib.sha256("\n".join(map(str, digests)).encode()).hexdigest()
        found.append((day_ms, Span(start_ms, end_ms), minutes_digest))
    return found


def held_day(day_ms: int, start: int = 0, end: int = 1440, digest: str | None = "") -> StoredDay:
    return StoredDay(
        dataset="ohlcv_1m",
        ledger=LedgerDay(
            day_ms=day_ms,
            start_ms=day_ms + start * MINUTE_MS,
            end_ms=day_ms + end * MINUTE_MS,
            bars=end - start,
            missing=0,
            source="rest",
            digest=f"digest of {day_ms}" if digest == "" else digest,
        ),
    )


def known_days(draw_from: int) -> st.SearchStrategy[list[StoredDay]]:
    """Return days from the 25th of January on, most of them whole, some in part, some not held."""
    minute = st.integers(0, 96).map(lambda quarter: quarter * 15)
    part = st.tuples(minute, minute).map(sorted).filter(lambda pair: pair[0] < pair[1])
    edge = part.flatmap(lambda p: st.sampled_from([(0, p[1]), (p[0], 1440), tuple(p)]))
    one = st.one_of(st.just((0, 1440)), st.just((0, 1440)), st.just((0, 1440)), edge, st.none())
    runs = st.lists(st.tuples(st.integers(1, draw_from), one), min_size=1, max_size=9)

    def lay(lengths: list[tuple[int, tuple[int, int] | None]]) -> list[StoredDay]:
        found, number = [], 24
        for length, shape in lengths:
            if shape == (0, 1440):
                found += [held_day(day(number + n)) for n in range(length)]
                number += length
            else:
                found += [held_day(day(number), *shape)] if shape else []
                number += 1
        return found

    return runs.map(lay)


@pytest.mark.parametrize(
    ("timeframe", "longest_run"),
    [
        ("15m", 2),
        ("1h", 3),
        ("7h", 5),
        ("90m", 3),
        ("1d", 10),
        ("36h", 9),
        ("3d", 15),
        ("100h", 15),
    ],
)
@given(st.data())
@settings(max_examples=25)
def test_days_that_can_be_built_are_those_of_whole_known_bars(
    timeframe: str, longest_run: int, data: st.DataObject
) -> None:
    check_buildable(data.draw(known_days(longest_run)), timeframe)


@pytest.mark.parametrize(("timeframe", "longest_run"), [("1w", 25), ("1M", 70)])
@given(st.data())
@settings(max_examples=40)
def test_weeks_and_months_can_be_built_when_they_are_known_to_their_end(
    timeframe: str, longest_run: int, data: st.DataObject
) -> None:
    check_buildable(data.draw(known_days(longest_run)), timeframe)


def check_buildable(known: list[StoredDay], timeframe: str) -> None:
    last = known[-1].ledger.day_ms if known else day(25)

    found = list(buildable_days(known, parse_timeframe(timeframe)))

    expected = naive_buildable(known, timeframe, day(0), last + DAY_MS)
    assert [(b.day_ms, b.span, b.minutes_digest) for b in found] == expected


@pytest.mark.parametrize(
    ("timeframe", "known", "expected"),
    [
        pytest.param(
            "5m",
            [held_day(day(0), 3, 1437)],
            [(day(0), Span(day(0) + 5 * MINUTE_MS, day(0) + 1435 * MINUTE_MS))],
            id="5m of a part of a day",
        ),
        pytest.param("1h", [held_day(day(0), 30, 89)], [], id="no hour whole"),
        pytest.param(
            "7h",
            [held_day(at("1970-01-01")), held_day(at("1970-01-02"), 0, 240)],
            [(0, Span(0, 28 * HOUR))],
            id="7h reaches into the next day, of which no bar of its own is known",
        ),
        pytest.param(
            "7h",
            [held_day(at("1970-01-01"))],
            [(0, Span(0, 21 * HOUR))],
            id="7h without the next day",
        ),
        pytest.param(
            "3d",
            [held_day(at(f"1970-01-0{n}")) for n in range(2, 8)],
            [(at("1970-01-04"), Span(at("1970-01-04"), at("1970-01-07")))],
            id="3d aligned to the epoch",
        ),
        pytest.param(
            "1w",
            [held_day(day(n)) for n in range(-1, 8)],
            [(day(0), days(0, 7))],
            id="a week begins on Monday",
        ),
        pytest.param(
            "1w",
            [held_day(day(n), 0, 1439 if n == 3 else 1440) for n in range(14)],
            [(day(7), days(7, 14))],
            id="a week that lacks a minute of Thursday",
        ),
        pytest.param(
            "1M",
            [held_day(at("2024-01-31") + n * DAY_MS) for n in range(30)],
            [(at("2024-02-01"), Span(at("2024-02-01"), at("2024-03-01")))],
            id="a leap February",
        ),
        pytest.param(
            "1M",
            [held_day(at("2023-12-01") + n * DAY_MS) for n in range(31)],
            [(at("2023-12-01"), Span(at("2023-12-01"), at("2024-01-01")))],
            id="the month before a new year",
        ),
        pytest.param(
            "1M",
            [held_day(at("2024-04-01") + n * DAY_MS) for n in range(29)],
            [],
            id="a month without its last day",
        ),
    ],
)
def test_days_that_can_be_built_by_name(
    timeframe: str, known: list[StoredDay], expected: list[tuple[int, Span]]
) -> None:
    found = list(buildable_days(known, parse_timeframe(timeframe)))

    assert [(b.day_ms, b.span) for b in found] == expected


def test_what_a_day_is_made_of_is_the_days_that_its_bars_touch() -> None:
    known = [held_day(day(n)) for n in range(21)]
    first, second, third = buildable_days(known, parse_timeframe("1w"))

    for changed in (6, 7, 13, 14):
        others = [*known[:changed], held_day(day(changed), digest="other"), *known[changed + 1 :]]
        found = list(buildable_days(others, parse_timeframe("1w")))
        same = [
            a.minutes_digest == b.minutes_digest
            for a, b in zip((first, second, third), found, strict=True)
        ]
        assert same == [number != changed // 7 for number in range(3)]

    edited = [*known[:9], held_day(day(9), digest=None), *known[10:]]
    found = list(buildable_days(edited, parse_timeframe("1w")))
    assert found == [first, BuildableDay(day(7), day(7), day(14), None), third]


# Stale, and why.


def test_a_timeframe_not_built_yet_is_stale(db_path: Path) -> None:
    assert reasons(db_path) == ()
    hold(db_path, BTC, days(0, 3))

    assert reasons(db_path) == (
        "3 days not built yet in bars_5m of sample:BTC/USDT: 2024-01-01 .. 2024-01-03",
    )

    build(db_path)
    assert reasons(db_path) == ()


@pytest.mark.parametrize(
    ("timeframe", "expected"),
    [
        ("5m", "2 days not built yet in bars_5m of sample:BTC/USDT: 2024-01-08 .. 2024-01-09"),
        ("1d", "1 day not built yet in bars_1d of sample:BTC/USDT: 2024-01-08"),
        ("1w", None),
    ],
)
def test_new_minutes_make_only_the_days_stale_that_they_complete(
    db_path: Path, timeframe: str, expected: str | None
) -> None:
    hold(db_path, BTC, days(0, 7))
    build(db_path, timeframe)

    hold(db_path, BTC, Span(day(7), day(8) + HOUR))

    assert reasons(db_path, timeframe) == ((expected,) if expected else ())


CHANGED = "1 day built in bars_5m of sample:BTC/USDT from 1m bars that have changed: 2024-01-02"


@pytest.fixture(scope="module")
def built_once(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "tbv8.sqlite"
    path.write_bytes(migrated_db.read_bytes())
    hold(path, BTC, Span(day(0), day(3) + 4 * HOUR))
    hold(path, ETH, days(0, 3))
    hold(path, MEXC, days(0, 3), dataset="bars_1m")
    build(path)
    build(path, "1h")
    build(path, "5m", ETH)
    assert reasons(path) == ()
    return path


@pytest.fixture
def built_db(built_once: Path, tmp_path: Path) -> Path:
    """Return a database with three days and four hours, built as 5m and 1h, and neighbours."""
    return Path(shutil.copy(built_once, tmp_path / "tbv8.sqlite"))


REFUSED_RECORDING = (
    "1 day of bars_1m of mexc:BTC/USDT was changed outside of tbv8: 2024-01-02: refused, since "
    "recorded data cannot be fetched again: restore a copy of the database, or drop the "
    "day with `doit verify --repair --give-up`"
)
REFUSED = (
    "1 day of ohlcv_1m of sample:BTC/USDT was changed outside of tbv8: 2024-01-02: "
    "refused until `doit verify --repair`"
)


def fetch_other(db_path: Path) -> None:
    hold(db_path, BTC, days(1, 2), minute_bars(days(1, 2), shift=1))


def fetch_with_a_hole(db_path: Path) -> None:
    hole = Span(day(1), day(1) + MINUTE_MS)
    hold(db_path, BTC, days(1, 2), minute_bars(days(1, 2), without=[hole]))


def grow_the_last_day(db_path: Path) -> None:
    hold(db_path, BTC, Span(day(3) + 4 * HOUR, day(4)))


def grow_the_last_day_by_nothing(db_path: Path) -> None:
    """Add time without bars: the digest of the day stays, what is known of it does not."""
    span = Span(day(3) + 4 * HOUR, day(4))
    hold(db_path, BTC, span, minute_bars(span, without=[span]))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(fetch_other, CHANGED, id="a 1m day fetched with other bars"),
        pytest.param(fetch_with_a_hole, CHANGED, id="a 1m day fetched without a bar"),
        pytest.param(
            "UPDATE ohlcv_1m SET close = 1 WHERE symbol = 'BTC/USDT' AND ts_ms = {1}",
            REFUSED,
            id="a 1m bar changed by hand",
        ),
        pytest.param(
            "DELETE FROM ohlcv_1m WHERE symbol = 'BTC/USDT' AND ts_ms = {1}",
            REFUSED,
            id="a 1m bar deleted by hand",
        ),
        pytest.param(
            "INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', {1} + 1, 1, 1, 1, 1, 1)",
            REFUSED,
            id="a 1m bar added by hand",
        ),
        pytest.param(
            "UPDATE history_coverage SET digest = 'x' WHERE symbol = 'BTC/USDT'"
            " AND dataset = 'ohlcv_1m' AND day_ms = {1}",
            CHANGED,
            id="another digest of the 1m day",
        ),
        pytest.param(
            "UPDATE history_coverage SET digest = iif(dataset = 'bars_5m', digest, NULL),"
            " built_from = 'None/' || substr(built_from, 66) WHERE symbol = 'BTC/USDT'"
            " AND dataset IN ('ohlcv_1m', 'bars_5m') AND day_ms = {1}",
            REFUSED,
            id="no digest of the 1m day, and a built day that tells of none",
        ),
        pytest.param(
            grow_the_last_day, CHANGED.replace("01-02", "01-04"), id="the last day has grown"
        ),
        pytest.param(
            grow_the_last_day_by_nothing,
            CHANGED.replace("01-02", "01-04"),
            id="more of the last day is known to be empty",
        ),
        pytest.param(
            "UPDATE bars_5m SET close = 1 WHERE symbol = 'BTC/USDT' AND ts_ms = {1}",
            "1 day changed in bars_5m of sample:BTC/USDT outside of tbv8: 2024-01-02",
            id="a built bar changed by hand",
        ),
        pytest.param(
            "DELETE FROM bars_5m WHERE symbol = 'BTC/USDT' AND ts_ms >= {1}",
            "3 days changed in bars_5m of sample:BTC/USDT outside of tbv8: "
            "2024-01-02 .. 2024-01-04",
            id="built bars deleted by hand",
        ),
        pytest.param(
            "INSERT INTO bars_5m VALUES ('sample', 'BTC/USDT', {1} + 1, 1, 1, 1, 1, 1, 5)",
            "1 day changed in bars_5m of sample:BTC/USDT outside of tbv8: 2024-01-02",
            id="a built bar added by hand",
        ),
        pytest.param(
            "DELETE FROM history_coverage WHERE symbol = 'BTC/USDT' AND dataset = 'bars_5m'"
            " AND day_ms = {1}",
            "1 day not built yet in bars_5m of sample:BTC/USDT: 2024-01-02",
            id="a built day's ledger gone",
        ),
        pytest.param(
            "UPDATE history_coverage SET built_from = NULL WHERE symbol = 'BTC/USDT'"
            " AND dataset = 'bars_5m' AND day_ms = {1}",
            CHANGED,
            id="a built day of unknown origin",
        ),
        pytest.param(
            "DELETE FROM history_coverage WHERE symbol = 'BTC/USDT' AND dataset = 'ohlcv_1m'"
            " AND day_ms = {1}",
            "1 day of bars_5m of sample:BTC/USDT whose 1m bars are gone: 2024-01-02",
            id="a 1m day forgotten",
        ),
    ],
)
def test_what_a_timeframe_is_made_of_makes_it_stale(
    built_db: Path, change: object, expected: str
) -> None:
    if isinstance(change, str):
        shell(built_db, change.format(*map(day, range(4))))
    else:
        assert callable(change)
        change(built_db)

    assert reasons(built_db) == (expected,)
    assert reasons(built_db, series=ETH) == ()


def test_a_recorded_day_that_was_changed_has_another_cure_than_history(built_db: Path) -> None:
    build(built_db, series=MEXC)
    shell(built_db, f"UPDATE bars_1m SET close = 1 WHERE ts_ms = {day(1)}")

    assert reasons(built_db, series=MEXC) == (REFUSED_RECORDING,)

    hold(built_db, MEXC, days(1, 2))
    assert "refused" not in "".join(reasons(built_db, series=MEXC))


def test_every_reason_is_told_with_its_days(built_db: Path) -> None:
    fetch_other(built_db)
    hold(built_db, BTC, days(5, 7))
    shell(
        built_db,
        "DELETE FROM history_coverage WHERE symbol = 'BTC/USDT' AND dataset = 'ohlcv_1m'"
        f" AND day_ms = {day(0)}",
    )
    shell(built_db, f"DELETE FROM bars_5m WHERE ts_ms = {day(2)}")

    name = "bars_5m of sample:BTC/USDT"
    assert reasons(built_db) == (
        f"2 days not built yet in {name}: 2024-01-06 .. 2024-01-07",
        f"1 day built in {name} from 1m bars that have changed: 2024-01-02",
        f"1 day changed in {name} outside of tbv8: 2024-01-03",
        f"1 day of {name} whose 1m bars are gone: 2024-01-01",
    )


some_series = (Series("sample", f"N{number}/USDT") for number in itertools.count())
"""A series of its own for each example of hypothesis: they share one file."""


@pytest.fixture(scope="module")
def shared_db(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copy(migrated_db, tmp_path_factory.mktemp("shared") / "tbv8.sqlite"))


def write_ledger(db_path: Path, series: Series, ledger: Iterable[StoredDay]) -> None:
    with closing(sqlite3.connect(db_path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany(
            f"INSERT INTO history_coverage (venue, symbol, dataset, {LEDGER})"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
            [(series.venue, series.symbol, d.dataset, *astuple(d.ledger)) for d in ledger],
        )


CHANGES = (
    "DELETE FROM history_coverage",
    "UPDATE history_coverage SET digest = NULL",
    "UPDATE history_coverage SET digest = 'another'",
    "UPDATE history_coverage SET built_from = NULL",
    "UPDATE history_coverage SET built_from = 'f' || built_from",
    "UPDATE history_coverage SET built_from = built_from || 'f'",
    "UPDATE history_coverage SET start_ms = start_ms + 60000",
    "UPDATE history_coverage SET end_ms = end_ms - 60000",
    "UPDATE history_coverage SET end_ms = 'soon'",
    "UPDATE history_coverage SET end_ms = end_ms + 172800000",
    "UPDATE OR IGNORE history_coverage SET day_ms = day_ms + 86400000",
)


@pytest.mark.parametrize("timeframe", ["5m", "4h", "7h", "1d", "36h", "1w", "1M"])
@given(st.data())
@settings(max_examples=40)
def test_what_is_called_fresh_is_what_a_comparison_of_every_day_finds_fresh(
    shared_db: Path, timeframe: str, data: st.DataObject
) -> None:
    # given days of history, of a recorder, or of both, and what was built of them
    series, tf = next(some_series), parse_timeframe(timeframe)
    longest_run = 70 if timeframe == "1M" else 9
    for dataset in data.draw(st.sampled_from([["ohlcv_1m"], ["bars_1m"], ["bars_1m", "ohlcv_1m"]])):
        known = data.draw(known_days(longest_run), label=dataset)
        write_ledger(shared_db, series, [replace(day, dataset=dataset) for day in known])
    with open_reader(shared_db) as query:
        minutes = read_stored_days(query, series, parse_timeframe("1m"))
    built = [
        StoredDay(
            dataset=tf.dataset,
            ledger=LedgerDay(
                day_ms=one.day_ms,
                start_ms=one.span.start_ms,
                end_ms=one.span.end_ms,
                bars=1,
                missing=0,
                source="built",
                digest=f"built {one.day_ms}",
                built_from=built_from(one),
            ),
        )
        for one in buildable_days(minutes, tf)
    ]
    write_ledger(shared_db, series, built)

    # when somebody changes some of it
    held = [*minutes, *built]
    for _ in range(data.draw(st.integers(0, 2 if held else 0), label="changes")):
        of = data.draw(st.sampled_from(held))
        shell(
            shared_db,
            f"{data.draw(st.sampled_from(CHANGES))}"
            " WHERE symbol = ? AND dataset = ? AND day_ms = ?",
            (series.symbol, of.dataset, of.ledger.day_ms),
        )

    # then
    state = aggregate_state(shared_db, series, tf)
    with open_reader(shared_db) as query:
        minutes = read_stored_days(query, series, parse_timeframe("1m"))
        days = read_days(query, series, tf.dataset)
    builds = find_stale_days(buildable_days(minutes, tf), days)
    edited = {day.ledger.day_ms for day in minutes if day.ledger.digest is None}
    refused = [reason for reason in state.reasons if "refused" in reason]
    assert state.reasons == (*refused, *builds.reasons(series, tf))
    assert bool(refused) == bool(edited and (builds.days or builds.without_minutes))
    recorded = [(one.built_from or "").partition("/") for one in days]
    assert [(part.current, part.recorded) for part in state.parts] == [
        (
            digest_text(str(one.minutes_digest) for one in buildable_days(minutes, tf)),
            digest_text(minutes_digest for minutes_digest, _, _ in recorded),
        ),
        (build_code(), ", ".join(sorted({code for _, _, code in recorded}))),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("UPDATE ohlcv_1m SET close = 1 WHERE symbol = 'ETH/USDT'", id="other symbol"),
        pytest.param("DELETE FROM bars_1m WHERE venue = 'mexc'", id="another venue"),
        pytest.param("DELETE FROM bars_1h", id="another timeframe"),
        pytest.param("UPDATE bars_5m SET close = 1 WHERE symbol = 'ETH/USDT'", id="its 5m bars"),
        pytest.param("UPDATE history_coverage SET updated_ms = updated_ms + 1", id="when"),
        pytest.param("UPDATE history_coverage SET source = 'elsewhere'", id="from where"),
        pytest.param("INSERT INTO trades VALUES ('v', 's', 1, 't', 1, 1, 'buy', 1)", id="a trade"),
    ],
)
def test_nothing_else_makes_it_stale(built_db: Path, sql: str) -> None:
    before = aggregate_state(built_db, BTC, FIVE_MINUTES)

    shell(built_db, sql)

    assert aggregate_state(built_db, BTC, FIVE_MINUTES) == before
    assert before.reasons == ()


def test_the_same_bars_fetched_again_make_nothing_stale(built_db: Path) -> None:
    hold(built_db, BTC, days(0, 3), source="another archive", updated_ms=99)
    hold(built_db, ETH, days(0, 9), minute_bars(days(0, 9), shift=3))

    assert reasons(built_db) == ()


def test_a_minute_past_the_last_whole_bar_makes_nothing_stale_but_its_day(db_path: Path) -> None:
    hold(db_path, BTC, Span(day(0), day(1) + HOUR))
    build(db_path, "4h")
    assert reasons(db_path, "4h") == ()

    hold(db_path, BTC, Span(day(1) + HOUR, day(1) + 2 * HOUR))

    assert reasons(db_path, "4h") == ()


@pytest.mark.parametrize(
    ("before", "after", "stale"),
    [
        pytest.param("Expr.last", "Expr.first", True, id="another aggregation"),
        pytest.param("# A volume", "# The volume", False, id="a comment"),
        pytest.param("import polars as pl\n", "import polars as pl\n\n\n", False, id="blank lines"),
    ],
)
def test_the_code_that_makes_bars_is_in_their_key_and_its_comments_are_not(
    built_db: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    after: str,
    stale: bool,
) -> None:
    source = (ROOT / "tbv8" / "aggregate.py").read_text(encoding="utf-8")
    assert before in source
    (tmp_path / "aggregate.py").write_text(source.replace(before, after), encoding="utf-8")

    monkeypatch.setattr(data_module, "_AGGREGATE", tmp_path / "aggregate.py")

    expected = (
        "4 days built in bars_5m of sample:BTC/USDT by another aggregate.py: "
        "2024-01-01 .. 2024-01-04"
    )
    assert reasons(built_db) == ((expected,) if stale else ())


def test_the_parts_of_the_key_say_which_of_them_differs(built_db: Path) -> None:
    def differing() -> list[str]:
        parts = aggregate_state(built_db, BTC, FIVE_MINUTES).parts
        assert [part.name for part in parts] == ["1m bars", "aggregate.py"]
        return [part.name for part in parts if part.current != part.recorded]

    assert differing() == []
    fetch_other(built_db)
    assert differing() == ["1m bars"]
    shell(
        built_db,
        "UPDATE history_coverage SET built_from = replace(built_from, '/', '/0')"
        " WHERE dataset = 'bars_5m'",
    )
    assert differing() == ["1m bars", "aggregate.py"]


# The database and the history.


def test_a_database_of_this_revision_is_fresh_and_any_other_is_not(
    db_path: Path, tmp_path: Path
) -> None:
    assert migration_state(db_path).reasons == ()
    absent = tmp_path / "absent.sqlite"
    assert migration_state(absent).reasons == (f"{absent}: there is no database",)
    shell(db_path, "UPDATE alembic_version SET version_num = '0000'")
    (reason,) = migration_state(db_path).reasons
    assert f"has revision 0000, but this tbv8 needs {REVISION}" in reason


def test_of_a_damaged_database_nothing_is_told(db_path: Path) -> None:
    db_path.write_bytes(b"notes" * 1000)

    with pytest.raises(DataError, match="not a database, or damaged: restore a copy") as e:
        migration_state(db_path)
    assert not isinstance(e.value, NotMigratedError)


def missing(db_path: Path, *spans: Span, series: Series = BTC) -> State:
    return backfill_state(db_path, series, spans)


def test_history_is_fresh_when_the_ledger_leaves_no_gap_in_it(db_path: Path) -> None:
    assert missing(db_path, days(0, 2)).reasons == (
        "2 days of sample:BTC/USDT not stored yet: 2024-01-01T00:00:00Z .. 2024-01-03T00:00:00Z",
    )
    hold(db_path, BTC, days(0, 1))
    assert missing(db_path, days(0, 2)).reasons == (
        "1 day of sample:BTC/USDT not stored yet: 2024-01-02T00:00:00Z .. 2024-01-03T00:00:00Z",
    )
    hold(db_path, BTC, days(1, 2), minute_bars(days(1, 2), without=[days(1, 2)]))

    state = missing(db_path, days(0, 2))
    assert state.reasons == ()
    assert all(part.current == part.recorded for part in state.parts)
    assert missing(db_path, days(0, 2), series=ETH).reasons != ()
    assert missing(db_path, days(0, 2), series=MEXC).reasons != ()


def test_recorded_bars_are_not_history(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 2), dataset="bars_1m")

    assert missing(db_path, days(0, 2)).reasons != ()


def test_several_wanted_spans_are_all_looked_at(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 2))

    state = missing(db_path, days(0, 1), days(4, 5), Span(day(6), day(6) + HOUR))

    assert state.reasons == (
        "2 days of sample:BTC/USDT not stored yet: "
        "2024-01-05T00:00:00Z .. 2024-01-06T00:00:00Z and 1 more",
    )
    (part,) = state.parts
    assert part.current != part.recorded


def test_history_of_an_absent_database_cannot_be_asked(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tbv8.sqlite: there is no database"):
        missing(tmp_path / "tbv8.sqlite", days(0, 1))


def test_asking_leaves_the_file_as_it_is(built_db: Path) -> None:
    before = built_db.read_bytes(), ledger_in(built_db, BTC)

    reasons(built_db)
    missing(built_db, days(0, 9))
    migration_state(built_db)

    assert (built_db.read_bytes(), ledger_in(built_db, BTC)) == before


# Words.


def test_days_are_told_in_words() -> None:
    assert days_text(0) == "0 days"
    assert days_text(1) == "1 day"
    assert count_days([days(0, 2), Span(day(1), day(3) + 1)]) == "4 days"
    assert from_to([day(3)]) == "2024-01-04"
    assert from_to([day(3), day(2), day(1)]) == "2024-01-02 .. 2024-01-04"
    assert from_to([day(3), day(0)]) == "2024-01-01 and 2024-01-04"
    assert from_to([day(3), day(0), day(1)]) == "2024-01-01 .. 2024-01-04, not all between"
    lines = hashlib.sha256(b"a\nb").hexdigest()
    assert digest_text(["a", "b"]) == lines
    assert digest_text(["a\nb"]) == lines


def test_sources_are_read_once_in_a_process() -> None:
    """So that a question and the action after it speak of the same code."""
    path = ROOT / "tbv8" / "aggregate.py"

    assert parse_source(path) is parse_source(path)
    assert digest_source(path) == digest_source(path)
