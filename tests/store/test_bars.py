"""Bars in and out of the file: every bit of them, whole days, and nothing by halves."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator
from pathlib import Path

import adbc_driver_manager
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbv8.errors import DataError
from tbv8.market import MINUTE_MS, ONE_MINUTE, Series, Span, parse_timeframe
from tbv8.store import bars as bars_module
from tbv8.store.bars import (
    BUILT_BARS,
    MINUTE_BARS,
    BarStore,
    day_digests,
    open_bars,
    read_checked,
    read_stored_bars,
    schema_of,
    write_history,
)
from tbv8.store.ledger import digest_rows, fingerprint, read_days, read_stored_days
from tests.builders import (
    BTC,
    ETH,
    MONDAY,
    bars_in,
    day,
    days,
    hold,
    in_any_order,
    ledger_in,
    minute_bars,
    naive_digest,
    rows,
    rows_of,
    shell,
    table_of,
)

HOUR = 60 * MINUTE_MS
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # sha256 of nothing

some_series = (Series("sample", f"N{number}/USDT") for number in itertools.count())
"""A series of its own for each example of hypothesis: they share one file."""

finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def shared_db(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bars") / "tbv8.sqlite"
    path.write_bytes(migrated_db.read_bytes())
    return path


@pytest.fixture(scope="module")
def shared_store(shared_db: Path) -> Iterator[BarStore]:
    with open_bars(shared_db) as store:
        yield store


def flat(ts_ms: int, price: float = 1.0) -> tuple[float, ...]:
    return (ts_ms, price, price, price, price, 1.0)


def read(db_path: Path, series: Series, dataset: str, span: Span) -> pa.Table:
    with open_bars(db_path) as store:
        return store.read(series, dataset, span)


def replace(db_path: Path, series: Series, dataset: str, span: Span, bars: pa.Table) -> None:
    with open_bars(db_path) as store, store.transaction():
        store.replace_rows(series, dataset, span, bars)


def bits(table: pa.Table) -> list[bytes]:
    return [b"".join(struct.pack("<d", float(v)) for v in row) for row in rows_of(table)]


# Rows.


@given(st.lists(st.tuples(finite, finite, finite, finite, finite), max_size=20))
@settings(max_examples=60)
def test_bars_are_read_back_bit_for_bit(
    shared_store: BarStore, values: list[tuple[float, ...]]
) -> None:
    written = table_of([(day(0) + n * MINUTE_MS, *row) for n, row in enumerate(values)])
    series = next(some_series)

    with shared_store.transaction():
        shared_store.replace_rows(series, "ohlcv_1m", days(0, 1), written)
    found = shared_store.read(series, "ohlcv_1m", days(0, 1))

    assert found.schema == MINUTE_BARS
    positive_zero = table_of([tuple(v + 0 if v == 0 else v for v in r) for r in rows_of(written)])
    assert bits(found) == bits(positive_zero)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        pytest.param(5e-324, 5e-324, id="the smallest denormal"),
        pytest.param(2.225073858507201e-308, 2.225073858507201e-308, id="the largest denormal"),
        pytest.param(1.7976931348623157e308, 1.7976931348623157e308, id="the largest float"),
        pytest.param(9007199254740993.0, 9007199254740992.0, id="past the exact integers"),
        pytest.param(9.223372036854775807e18, 2.0**63, id="past the integers of SQLite"),
        pytest.param(0.1 + 0.2, 0.30000000000000004, id="not the shortest decimal"),
        pytest.param(-0.0, 0.0, id="minus nothing is nothing"),
    ],
)
def test_awkward_floats_are_kept(db_path: Path, value: float, found: float) -> None:
    hold(db_path, BTC, days(0, 1), table_of([flat(day(0), value)]))

    (row,) = rows_of(read(db_path, BTC, "ohlcv_1m", days(0, 1)))

    assert row[1] == found
    assert math.copysign(1, row[1]) == math.copysign(1, found)


def test_bars_of_a_timeframe_have_their_minutes(db_path: Path) -> None:
    written = table_of([(day(0), 1.0, 4.0, 0.5, 2.0, 10.0, 5), (day(0) + HOUR, 2, 2, 2, 2, 0, 60)])

    replace(db_path, BTC, "bars_1h", days(0, 1), written)

    found = read(db_path, BTC, "bars_1h", days(0, 1))
    assert found.schema == BUILT_BARS
    assert found == written


@pytest.mark.parametrize(
    ("dataset", "schema"),
    [
        ("ohlcv_1m", MINUTE_BARS),
        ("bars_1m", MINUTE_BARS),
        ("bars_5m", BUILT_BARS),
        ("bars_1mo", BUILT_BARS),
    ],
)
def test_an_empty_span_is_a_table_of_bars_too(
    db_path: Path, dataset: str, schema: pa.Schema
) -> None:
    assert read(db_path, BTC, dataset, days(0, 1)).schema == schema
    assert schema_of(dataset) == schema


def test_reading_gives_the_bars_that_open_in_the_span_by_time(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 2))
    hold(db_path, ETH, days(0, 2), minute_bars(days(0, 2), shift=1))

    found = read(db_path, BTC, "ohlcv_1m", Span(day(1) - 2 * MINUTE_MS, day(1) + MINUTE_MS))

    assert found["ts_ms"].to_pylist() == [day(1) - 2 * MINUTE_MS, day(1) - MINUTE_MS, day(1)]
    assert found == minute_bars(Span(day(1) - 2 * MINUTE_MS, day(1) + MINUTE_MS))


def test_rows_are_replaced_in_the_span_and_nowhere_else(db_path: Path) -> None:
    # given three minutes around an hour, of two symbols and in two datasets
    opens = [day(0) + HOUR - MINUTE_MS, day(0) + HOUR, day(0) + HOUR + MINUTE_MS, day(0) + 2 * HOUR]
    for series, dataset in ((BTC, "ohlcv_1m"), (ETH, "ohlcv_1m"), (BTC, "bars_1m")):
        replace(db_path, series, dataset, days(0, 1), table_of([flat(ts) for ts in opens]))

    # when the hour comes again with one changed, one new, and one that is gone
    hour = Span(day(0) + HOUR, day(0) + 2 * HOUR)
    changed, new = flat(opens[1], 9.0), flat(opens[1] + 5 * MINUTE_MS, 7.0)
    replace(db_path, BTC, "ohlcv_1m", hour, table_of([changed, new]))

    # then
    assert bars_in(db_path, BTC) == [flat(opens[0]), changed, new, flat(opens[3])]
    assert bars_in(db_path, ETH) == [flat(ts) for ts in opens]
    assert bars_in(db_path, BTC, "bars_1m") == [flat(ts) for ts in opens]


def test_an_empty_table_empties_the_span(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 3))

    replace(db_path, BTC, "ohlcv_1m", days(1, 2), MINUTE_BARS.empty_table())

    left = [row[0] for row in bars_in(db_path, BTC)]
    assert left == [*range(day(0), day(1), MINUTE_MS), *range(day(2), day(3), MINUTE_MS)]


def test_writing_again_touches_no_row(db_path: Path) -> None:
    # given a day, and a note of every touch of a row
    hold(db_path, BTC, days(0, 1), updated_ms=1)
    before = ledger_in(db_path, BTC), bars_in(db_path, BTC)
    shell(db_path, "CREATE TABLE touched (what TEXT)")
    for action in ("INSERT", "UPDATE", "DELETE"):
        shell(
            db_path,
            f"CREATE TRIGGER note_{action} AFTER {action} ON ohlcv_1m"
            f" BEGIN INSERT INTO touched VALUES ('{action}'); END",
        )

    hold(db_path, BTC, days(0, 1), updated_ms=1)
    assert rows(db_path, "SELECT * FROM touched") == []
    assert (ledger_in(db_path, BTC), bars_in(db_path, BTC)) == before

    # and when one minute differs, then it alone is touched
    table = rows_of(minute_bars(days(0, 1)))
    table[7] = flat(day(0) + 7 * MINUTE_MS, 3.5)
    hold(db_path, BTC, days(0, 1), table_of(table))
    assert rows(db_path, "SELECT * FROM touched") == [("UPDATE",)]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_a_value_that_is_no_number_is_refused_before_any_write(
    db_path: Path, column: str, value: float
) -> None:
    good = minute_bars(days(0, 1))
    values = good[column].to_numpy().copy()
    values[-1] = value
    bad = good.set_column(good.schema.get_field_index(column), column, pa.array(values))

    with pytest.raises(ValueError, match=f"{BTC}: {column} holds a value"):
        hold(db_path, BTC, days(0, 1), bad)

    assert bars_in(db_path, BTC) == ledger_in(db_path, BTC) == []


@pytest.mark.parametrize(
    "opens",
    [
        pytest.param([day(0) - MINUTE_MS, day(0)], id="before the span"),
        pytest.param([day(0), day(1)], id="at its end"),
        pytest.param([day(0), day(0)], id="one twice"),
        pytest.param([day(0) + MINUTE_MS, day(0)], id="out of order"),
    ],
)
def test_unsorted_bars_or_bars_outside_of_their_span_are_refused(
    db_path: Path, opens: list[int]
) -> None:
    with pytest.raises(ValueError, match="not sorted, unique and within"):
        hold(db_path, BTC, days(0, 1), table_of([flat(ts) for ts in opens]))

    assert bars_in(db_path, BTC) == ledger_in(db_path, BTC) == []


# Transactions.


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_transaction_that_fails_leaves_nothing(db_path: Path, error: type[BaseException]) -> None:
    hold(db_path, BTC, days(0, 2))
    before = bars_in(db_path, BTC), ledger_in(db_path, BTC)

    def fail_late(store: BarStore) -> None:
        with store.transaction():
            store.replace_rows(BTC, "ohlcv_1m", days(0, 3), minute_bars(days(1, 3), shift=1))
            store.remove_day(BTC, "ohlcv_1m", day(1))
            raise error

    with open_bars(db_path) as store:
        with pytest.raises(error):
            fail_late(store)

        # and the store is good for the next one
        write_history(store, ETH, days(0, 1), minute_bars(days(0, 1)), source="r", updated_ms=1)

    assert (bars_in(db_path, BTC), ledger_in(db_path, BTC)) == before
    assert len(bars_in(db_path, ETH)) == 1440


def test_a_statement_that_fails_leaves_nothing_and_the_store_goes_on(db_path: Path) -> None:
    def ask_wrongly(store: BarStore) -> None:
        with store.transaction():
            store.replace_rows(BTC, "ohlcv_1m", days(0, 1), minute_bars(days(0, 1)))
            store.read(BTC, "bars_9m", days(0, 1))

    with open_bars(db_path) as store:
        with pytest.raises(adbc_driver_manager.Error, match="no such table: bars_9m"):
            ask_wrongly(store)

        with store.transaction():
            assert store.read(BTC, "ohlcv_1m", days(0, 1)).num_rows == 0


def test_a_full_disk_is_a_one_line_error_without_a_loss(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 1))
    before = bars_in(db_path, BTC), ledger_in(db_path, BTC)

    def write_too_much() -> None:
        bars = minute_bars(days(0, 20), shift=1)
        with open_bars(db_path) as store:
            store.query("PRAGMA max_page_count = 80")
            write_history(store, BTC, days(0, 20), bars, source="r", updated_ms=2)

    with pytest.raises(DataError) as refused:
        write_too_much()

    assert str(refused.value) == (
        f"{db_path}: the disk is full, no stored data is lost: free some space and run again"
    )
    assert (bars_in(db_path, BTC), ledger_in(db_path, BTC)) == before


def test_a_second_writer_waits_and_is_then_refused_in_one_line(
    db_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars_module, "BUSY_TIMEOUT_S", 0)

    with open_bars(db_path) as first, first.transaction():
        with pytest.raises(DataError) as refused, open_bars(db_path) as second:
            write_history(
                second, BTC, days(0, 1), minute_bars(days(0, 1)), source="r", updated_ms=1
            )
        with open_bars(db_path) as reader:  # who only reads does not wait
            assert reader.read(BTC, "ohlcv_1m", days(0, 1)).num_rows == 0

    assert str(refused.value).startswith(f"{db_path}: locked by another program for a minute: ")


def test_the_store_waits_a_minute_for_others(db_path: Path) -> None:
    with open_bars(db_path) as store:
        assert store.query("PRAGMA busy_timeout") == [(60_000,)]
        assert store.query("PRAGMA synchronous") == [(1,)]  # NORMAL


def test_damage_after_the_first_rows_is_a_one_line_error(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 10))
    ((root, size),) = rows(
        db_path,
        "SELECT rootpage, page_size FROM sqlite_master, pragma_page_size WHERE name = 'ohlcv_1m'",
    )
    raw = bytearray(db_path.read_bytes())
    for page in range(len(raw) // size // 2, len(raw) // size):
        raw[page * size : (page + 1) * size] = b"\xff" * size
    assert root < len(raw) // size // 2
    db_path.write_bytes(raw)

    with pytest.raises(DataError) as refused:
        read(db_path, BTC, "ohlcv_1m", days(0, 10))

    assert str(refused.value) == (
        f"{db_path}: damaged: restore a copy, or move it away and run again to rebuild it"
    )


# Digests.


def test_a_digest_is_that_of_the_design() -> None:
    """Expected values are of `xxd -r -p | sha256sum` over the fields, packed by hand.

    00f451c28c010000  000000000000f83f 0000000000000040 000000000000f03f 000000000000f43f
    0000000000000000  and, for the built one, 0500000000000000.
    """
    row = (MONDAY, 1.5, 2.0, 1.0, 1.25, -0.0)
    plain = "d07ebfe77fc9f20e146f7b72ca2adad5c292a8681c65d2510cb62f692cf849f0"
    built = "264b07ad66dd99caf660239e8af2cc3041fc3f279dd84024e1c3bc3cbcf365e3"

    assert day_digests(table_of([row])) == {MONDAY: (1, plain)}
    assert day_digests(table_of([(*row, 5)])) == {MONDAY: (1, built)}
    assert digest_rows([row]) == plain
    assert digest_rows([(*row, 5)]) == built
    assert digest_rows([]) == EMPTY
    assert day_digests(MINUTE_BARS.empty_table()) == {}


@given(
    st.lists(
        st.tuples(st.integers(0, 3 * 1440 - 1), finite, finite, finite, finite, finite),
        max_size=30,
        unique_by=lambda row: row[0],
    ),
    st.booleans(),
)
@settings(max_examples=60)
def test_digests_of_a_table_are_those_of_the_rows_of_each_day(
    values: list[tuple[float, ...]], built: bool
) -> None:
    by_day: dict[int, list[tuple[float, ...]]] = {}
    for number, *prices in sorted(values):
        extra = [int(number) % 60 + 1] if built else []
        row = (day(0) + int(number) * MINUTE_MS, *prices, *extra)
        by_day.setdefault(day(int(number) // 1440), []).append(row)
    table = table_of([row for found in by_day.values() for row in found])

    found = day_digests(table)

    assert found == {d: (len(of_day), naive_digest(of_day)) for d, of_day in by_day.items()}
    assert found == {d: (len(of_day), digest_rows(of_day)) for d, of_day in by_day.items()}


def test_digests_do_not_depend_on_how_a_table_is_cut_into_chunks() -> None:
    whole = minute_bars(days(0, 3))
    cut = pa.concat_tables([whole[:10], whole[10:1500], whole[1500:]])

    assert day_digests(cut) == day_digests(whole)
    assert day_digests(whole[1440:2880]) == {day(1): day_digests(whole)[day(1)]}


# Days and their ledger.


def test_a_written_day_is_in_the_ledger_with_its_missing_minutes(db_path: Path) -> None:
    hole = Span(day(1) + 2 * HOUR, day(1) + 3 * HOUR)
    bars = minute_bars(Span(day(0), day(2) + HOUR), without=[hole])

    hold(
        db_path,
        BTC,
        Span(day(0), day(2) + HOUR),
        bars,
        source="BTCUSDT-1m.zip sha256:00",
        updated_ms=42,
    )

    digests = [
        naive_digest(row for row in rows_of(bars) if day(n) <= row[0] < day(n + 1))
        for n in range(3)
    ]
    source = "BTCUSDT-1m.zip sha256:00"
    assert ledger_in(db_path, BTC) == [
        (day(0), day(0), day(1), 1440, 0, source, digests[0], None, 42),
        (day(1), day(1), day(2), 1380, 60, source, digests[1], None, 42),
        (day(2), day(2), day(2) + HOUR, 60, 0, source, digests[2], None, 42),
    ]


def test_days_without_bars_are_in_the_ledger_too(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 2), MINUTE_BARS.empty_table(), source="not listed", updated_ms=3)

    assert ledger_in(db_path, BTC) == [
        (day(0), day(0), day(1), 0, 1440, "not listed", EMPTY, None, 3),
        (day(1), day(1), day(2), 0, 1440, "not listed", EMPTY, None, 3),
    ]


@pytest.mark.parametrize("moment", [day(0), day(0) + HOUR])
def test_an_empty_span_writes_nothing(db_path: Path, moment: int) -> None:
    hold(db_path, BTC, Span(moment, moment), MINUTE_BARS.empty_table())

    assert ledger_in(db_path, BTC) == []


@pytest.mark.parametrize(
    "cuts",
    [
        pytest.param([(0, 300), (300, 1440)], id="appended"),
        pytest.param([(300, 1440), (0, 300)], id="prepended"),
        pytest.param([(300, 600), (600, 900), (0, 300), (900, 1440)], id="on both sides"),
        pytest.param([(0, 700), (500, 1440)], id="overlapping"),
        pytest.param([(400, 500), (0, 1440)], id="around"),
        pytest.param([(0, 1440), (400, 500)], id="within"),
    ],
)
def test_a_day_written_in_parts_equals_a_day_written_at_once(
    db_path: Path, cuts: list[tuple[int, int]]
) -> None:
    hole = Span(day(0) + 450 * MINUTE_MS, day(0) + 550 * MINUTE_MS)
    hold(db_path, ETH, days(0, 1), minute_bars(days(0, 1), without=[hole]))

    for number, (start, end) in enumerate(cuts):
        part = Span(day(0) + start * MINUTE_MS, day(0) + end * MINUTE_MS)
        hold(db_path, BTC, part, minute_bars(part, without=[hole]), source=f"piece {number}")

    columns = "day_ms, start_ms, end_ms, bars, missing, digest, built_from"
    assert ledger_in(db_path, BTC, columns=columns) == ledger_in(db_path, ETH, columns=columns)
    assert bars_in(db_path, BTC) == bars_in(db_path, ETH)


def test_a_day_written_in_parts_lists_each_source_once(db_path: Path) -> None:
    for hour, source in enumerate(["rest", "a.zip sha256:00; rest", "rest"]):
        hold(db_path, BTC, Span(day(0) + hour * HOUR, day(0) + (hour + 1) * HOUR), source=source)
    assert ledger_in(db_path, BTC, columns="source") == [("rest; a.zip sha256:00",)]


def test_a_day_fetched_as_a_whole_replaces_its_sources(db_path: Path) -> None:
    hold(db_path, BTC, Span(day(0), day(0) + HOUR), source="rest")

    hold(db_path, BTC, days(0, 1), source="a.zip sha256:00")

    assert ledger_in(db_path, BTC, columns="source") == [("a.zip sha256:00",)]


def test_a_part_apart_from_the_stored_span_of_its_day_is_refused(db_path: Path) -> None:
    hold(db_path, BTC, Span(day(0), day(0) + HOUR))
    before = bars_in(db_path, BTC), ledger_in(db_path, BTC)

    with pytest.raises(ValueError, match=r"2024-01-01: .* is apart from"):
        hold(db_path, BTC, Span(day(0) + 2 * HOUR, day(0) + 3 * HOUR))

    assert (bars_in(db_path, BTC), ledger_in(db_path, BTC)) == before


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("UPDATE ohlcv_1m SET close = close + 1 WHERE ts_ms = ?", id="a bar changed"),
        pytest.param("DELETE FROM ohlcv_1m WHERE ts_ms = ?", id="a bar deleted"),
        pytest.param(
            "INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ? + 1, 1, 1, 1, 1, 1)",
            id="a bar added",
        ),
        pytest.param(
            "REPLACE INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ?, 1, 1, 1, 1, 1)",
            id="a bar put in the place of another",
        ),
    ],
)
def test_a_day_edited_by_hand_is_not_extended_but_may_be_fetched_again(
    db_path: Path, sql: str
) -> None:
    hold(db_path, BTC, Span(day(0), day(1) + HOUR))
    shell(db_path, sql, (day(1) + 7 * MINUTE_MS,))
    before = bars_in(db_path, BTC), ledger_in(db_path, BTC)

    with pytest.raises(DataError) as refused:
        hold(db_path, BTC, Span(day(1) + HOUR, day(3)))

    output = str(refused.value)
    assert output.startswith("ohlcv_1m sample:BTC/USDT 2024-01-02: ")
    assert "doit verify" in output
    assert "\n" not in output
    assert (bars_in(db_path, BTC), ledger_in(db_path, BTC)) == before

    hold(db_path, BTC, days(1, 3))
    assert bars_in(db_path, BTC) == rows_of(minute_bars(days(0, 3)))


@given(st.data())
@settings(max_examples=25)
def test_the_order_in_which_spans_arrive_does_not_matter(
    shared_store: BarStore, data: st.DataObject
) -> None:
    # given two and a half days of minutes with holes, cut into pieces of which some come twice
    minutes = 2 * 1440 + 720
    places = st.integers(0, minutes)
    holes = [
        Span(day(0) + start * MINUTE_MS, day(0) + (start + length) * MINUTE_MS)
        for start, length in data.draw(
            st.lists(st.tuples(places, st.integers(1, 2000)), max_size=3), label="holes"
        )
    ]
    cuts = sorted({0, minutes, *data.draw(st.lists(places, max_size=7), label="cuts")})
    twice = data.draw(st.lists(st.tuples(places, places), max_size=2), label="twice")
    pieces = [
        Span(day(0) + min(pair) * MINUTE_MS, day(0) + max(pair) * MINUTE_MS)
        for pair in [*itertools.pairwise(cuts), *twice]
        if pair[0] != pair[1]
    ]
    once, by_parts = next(some_series), next(some_series)

    # when one series is written at once, and the other as the pieces come
    whole = Span(day(0), day(0) + minutes * MINUTE_MS)
    for series, spans in ((once, [whole]), (by_parts, in_any_order(data, pieces))):
        for span in spans:
            write_history(
                shared_store,
                series,
                span,
                minute_bars(span, without=holes),
                source=f"{span}",
                updated_ms=span.start_ms,
            )

    # then nothing of it can be seen
    found, expected = (
        [
            (d.day_ms, d.start_ms, d.end_ms, d.bars, d.missing, d.digest, d.built_from)
            for d in read_days(shared_store.query, series, "ohlcv_1m")
        ]
        for series in (by_parts, once)
    )
    assert found == expected
    one, other = (
        fingerprint(
            shared_store.query,
            series,
            read_stored_days(shared_store.query, series, ONE_MINUTE),
            Span(day(0) + 77 * MINUTE_MS, day(2)),
        )
        for series in (by_parts, once)
    )
    assert one == other is not None


# Reading what is held.


def test_stored_bars_of_a_span_are_those_that_open_in_it(db_path: Path) -> None:
    hole = Span(day(1) + HOUR, day(1) + 2 * HOUR)
    hold(db_path, BTC, days(0, 3), minute_bars(days(0, 3), without=[hole]))
    wanted = Span(day(0) + 5 * HOUR, day(1) + 3 * HOUR)

    with open_bars(db_path) as store:
        found = read_stored_bars(store, BTC, ONE_MINUTE, wanted)

    assert found == minute_bars(wanted, without=[hole])


def test_stored_bars_of_a_longer_span_are_all_stored_bars(db_path: Path) -> None:
    hold(db_path, BTC, days(1, 2))

    with open_bars(db_path) as store:
        assert read_stored_bars(store, BTC, ONE_MINUTE, days(0, 9)) == minute_bars(days(1, 2))
        nothing = read_stored_bars(store, BTC, ONE_MINUTE, days(5, 9))

    assert nothing == MINUTE_BARS.empty_table()


@pytest.mark.parametrize("text", ["5m", "1M"])
def test_an_empty_table_of_a_built_timeframe_has_the_column_minutes(
    db_path: Path, text: str
) -> None:
    with open_bars(db_path) as store:
        assert read_stored_bars(store, BTC, parse_timeframe(text), days(0, 1)).schema == BUILT_BARS


def test_history_is_read_where_it_is_stored_and_recorded_bars_elsewhere(db_path: Path) -> None:
    recorded = minute_bars(days(0, 5), shift=1)
    hold(db_path, BTC, days(0, 5), recorded, dataset="bars_1m")
    hold(db_path, BTC, days(1, 2))
    hold(db_path, BTC, Span(day(3), day(3) + HOUR))

    with open_bars(db_path) as store:
        found = read_stored_bars(store, BTC, ONE_MINUTE, days(0, 9))

    history, expected = minute_bars(days(0, 5)), []
    for source, start, end in (
        (recorded, 0, 1440),
        (history, 1440, 2880),
        (recorded, 2880, 7200),  # of day 3 the recorder knows more than the history's one hour
    ):
        expected += rows_of(source[start:end])
    assert rows_of(found) == expected


@pytest.mark.parametrize(
    ("sql", "moment", "named"),
    [
        pytest.param(
            "INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ?, 1, 1, 1, 1, 1)",
            day(1) + 1,
            "2024-01-02",
            id="a bar added within a day",
        ),
        pytest.param(
            "INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ?, 1, 1, 1, 1, 1)",
            day(2),
            "2024-01-03",
            id="a bar added on a day between, of which nothing is held",
        ),
        pytest.param(
            "REPLACE INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ?, 1, 1, 1, 1, 1)",
            day(3),
            "2024-01-04",
            id="a bar put in the place of another",
        ),
        pytest.param(
            "UPDATE ohlcv_1m SET high = high + 1 WHERE ts_ms = ?",
            day(0),
            "2024-01-01",
            id="a bar changed",
        ),
        pytest.param("DELETE FROM ohlcv_1m WHERE ts_ms = ?", day(0), "2024-01-01", id="a bar gone"),
        pytest.param(
            "UPDATE ohlcv_1m SET close = 'much' WHERE ts_ms = ?",
            day(0),
            "2024-01-01",
            id="text where a number was",
        ),
        pytest.param(
            "INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ?, '1,5', 1, 1, 1, 1)",
            day(3) + 1,
            "2024-01-04",
            id="text in a bar added",
        ),
        pytest.param(
            "UPDATE ohlcv_1m SET close = 9e999 WHERE ts_ms = ?",
            day(0),
            "2024-01-01",
            id="infinity where a number was",
        ),
        pytest.param(
            "UPDATE history_coverage SET digest = 'x' WHERE day_ms = ?",
            day(1),
            "2024-01-02",
            id="another digest in the ledger",
        ),
        pytest.param(
            "UPDATE history_coverage SET bars = 7 WHERE day_ms = ?",
            day(1),
            "2024-01-02",
            id="another count in the ledger",
        ),
    ],
)
def test_reading_days_finds_edits_by_hand(db_path: Path, sql: str, moment: int, named: str) -> None:
    hold(db_path, BTC, days(0, 2))
    hold(db_path, BTC, days(3, 4))
    shell(db_path, sql, (moment,))

    with pytest.raises(DataError) as refused, open_bars(db_path) as store:
        read_checked(store, BTC, "ohlcv_1m", read_days(store.query, BTC, "ohlcv_1m"))

    output = str(refused.value)
    assert output.startswith(f"ohlcv_1m sample:BTC/USDT {named}: its rows do not match its ledger")
    assert "doit verify" in output
    assert "\n" not in output


def test_reading_no_days_gives_no_bars(db_path: Path) -> None:
    with open_bars(db_path) as store:
        assert read_checked(store, BTC, "ohlcv_1m", []) == MINUTE_BARS.empty_table()
        assert read_checked(store, BTC, "bars_5m", []) == BUILT_BARS.empty_table()


def test_removing_a_day_removes_its_rows_and_its_ledger_row_only(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 3))
    hold(db_path, ETH, days(0, 3))
    hold(db_path, BTC, days(0, 3), dataset="bars_1m")

    with open_bars(db_path) as store, store.transaction():
        store.remove_day(BTC, "ohlcv_1m", day(1))

    left = [row[0] for row in bars_in(db_path, BTC)]
    assert left == [*range(day(0), day(1), MINUTE_MS), *range(day(2), day(3), MINUTE_MS)]
    found = ledger_in(db_path, BTC, columns="day_ms, digest IS NULL")
    assert found == [(day(0), 0), (day(2), 0)]
    for series, dataset in ((ETH, "ohlcv_1m"), (BTC, "bars_1m")):
        assert len(bars_in(db_path, series, dataset)) == 3 * 1440
        assert len(ledger_in(db_path, series, dataset)) == 3
