"""What the ledger tells: coverage, and a fingerprint that the rows alone decide."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbv8.coverage import gaps
from tbv8.market import DAY_MS, MINUTE_MS, ONE_MINUTE, Series, Span, Timeframe, parse_timeframe
from tbv8.store.bars import BarStore, open_bars, write_history
from tbv8.store.database import Query, open_reader
from tbv8.store.ledger import (
    HISTORY,
    RECORDED,
    LedgerDay,
    fingerprint,
    has_days,
    is_covered,
    read_covered_spans,
    read_days,
    read_stored_days,
    read_stored_span,
)
from tests.builders import (
    BTC,
    ETH,
    day,
    days,
    hold,
    minute_bars,
    naive_digest,
    rows_of,
    shell,
    table_of,
)

HOUR = 60 * MINUTE_MS
FIVE_MINUTES = parse_timeframe("5m")

some_series = (Series("sample", f"N{number}/USDT") for number in itertools.count())
"""A series of its own for each example of hypothesis: they share one file."""


@pytest.fixture(scope="module")
def shared_store(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BarStore]:
    path = tmp_path_factory.mktemp("ledger") / "tbv8.sqlite"
    path.write_bytes(migrated_db.read_bytes())
    with open_bars(path) as store:
        yield store


def print_of(
    query: Query, series: Series, span: Span, timeframe: Timeframe = ONE_MINUTE
) -> str | None:
    return fingerprint(query, series, read_stored_days(query, series, timeframe), span)


def print_in(
    db_path: Path, series: Series, span: Span, timeframe: Timeframe = ONE_MINUTE
) -> str | None:
    with open_reader(db_path) as query:
        return print_of(query, series, span, timeframe)


def ledger_day(number: int, start: int, end: int, **other: object) -> LedgerDay:
    """Return the ledger row of a day of which minutes [start, end) are known."""
    fields = {"bars": end - start, "missing": 0, "source": "rest", "digest": "00"}
    return LedgerDay(
        day_ms=day(number),
        start_ms=day(number) + start * MINUTE_MS,
        end_ms=day(number) + end * MINUTE_MS,
        **{**fields, **other},
    )


# Coverage.

parts_of_days = st.dictionaries(
    st.integers(-1, 4),
    st.tuples(st.integers(0, 1440), st.integers(0, 1440))
    .filter(lambda part: part[0] < part[1])
    .flatmap(lambda part: st.sampled_from([part, (0, part[1]), (part[0], 1440), (0, 1440)])),
)


@given(
    parts_of_days,
    st.tuples(st.integers(0, 4 * 1440), st.integers(0, 4 * 1440)).map(sorted),
    st.booleans(),
)
@settings(max_examples=150)
def test_a_span_is_covered_when_it_has_no_gaps(
    shared_store: BarStore, parts: dict[int, tuple[int, int]], wanted: list[int], exact: bool
) -> None:
    # given some parts of days, and a span at random or from edge to edge of what is known
    series = next(some_series)
    ledger = [ledger_day(number, *part) for number, part in sorted(parts.items())]
    shared_store.write_days(series, HISTORY, ledger, updated_ms=1)
    span = Span(*(day(0) + minute * MINUTE_MS for minute in wanted))
    known = read_covered_spans(shared_store.query, series, HISTORY)
    if exact and known:
        span = known[wanted[0] % len(known)]

    found = is_covered(shared_store.query, series, HISTORY, span)

    minutes = {m for d in ledger for m in range(d.start_ms, d.end_ms, MINUTE_MS)}
    assert found == all(m in minutes for m in range(span.start_ms, span.end_ms, MINUTE_MS))
    assert found == (gaps(span, known) == [])
    assert has_days(shared_store.query, series) == bool(ledger)


def test_coverage_is_that_of_the_series_and_dataset_alone(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 2))
    hold(db_path, BTC, days(2, 3), dataset=RECORDED)

    with open_reader(db_path) as query:
        assert is_covered(query, BTC, HISTORY, days(0, 2))
        assert not is_covered(query, BTC, HISTORY, days(0, 3))
        assert not is_covered(query, ETH, HISTORY, days(0, 1))
        assert not is_covered(query, Series("mexc", "BTC/USDT"), HISTORY, days(0, 1))
        assert read_covered_spans(query, BTC, RECORDED) == [days(2, 3)]
        assert has_days(query, BTC)
        assert has_days(query, BTC, (RECORDED,))
        assert not has_days(query, BTC, ("bars_5m",))
        assert not has_days(query, ETH)


def test_the_edges_of_a_span_may_lie_inside_days(db_path: Path) -> None:
    hold(db_path, BTC, Span(day(0) + 7 * HOUR, day(2) + 9 * HOUR))

    with open_reader(db_path) as query:
        assert is_covered(query, BTC, HISTORY, Span(day(0) + 7 * HOUR, day(2) + 9 * HOUR))
        assert is_covered(query, BTC, HISTORY, Span(day(0) + 8 * HOUR, day(0) + 9 * HOUR))
        assert not is_covered(query, BTC, HISTORY, Span(day(0) + 7 * HOUR - 1, day(1)))
        assert not is_covered(query, BTC, HISTORY, Span(day(1), day(2) + 9 * HOUR + 1))
        assert read_covered_spans(query, BTC, HISTORY) == [
            Span(day(0) + 7 * HOUR, day(2) + 9 * HOUR)
        ]


def test_days_are_read_by_day_and_only_those_that_a_span_touches(shared_store: BarStore) -> None:
    series = next(some_series)
    ledger = [
        ledger_day(0, 0, 1440, missing=3, source="a.zip", digest="ab", built_from="x/y"),
        ledger_day(1, 60, 120, digest=None),
        ledger_day(3, 0, 1),
    ]
    shared_store.write_days(series, HISTORY, ledger[::-1], updated_ms=7)

    def read(*span: int) -> list[LedgerDay]:
        return read_days(shared_store.query, series, HISTORY, Span(*span) if span else None)

    assert read() == ledger
    assert read(day(0), day(1)) == ledger[:1]
    assert read(day(1) - 1, day(1) + 1) == ledger[:2]
    assert read(day(1) + HOUR, day(3)) == ledger[1:2]
    assert read(day(1) + HOUR, day(3) + 1) == ledger[1:]
    assert read(day(4), day(5)) == []


# Which days hold the 1m bars of a series.


def test_history_wins_over_recorded_days(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 3), dataset=RECORDED)
    hold(db_path, BTC, days(1, 2))
    hold(db_path, BTC, days(4, 5))
    hold(db_path, ETH, days(0, 1))

    with open_reader(db_path) as query:
        found = read_stored_days(query, BTC, ONE_MINUTE)
        some = read_stored_days(query, BTC, ONE_MINUTE, Span(day(1) + HOUR, day(2) + HOUR))

    assert [(stored.dataset, stored.ledger.day_ms) for stored in found] == [
        ("bars_1m", day(0)),
        ("ohlcv_1m", day(1)),
        ("bars_1m", day(2)),
        ("ohlcv_1m", day(4)),
    ]
    assert some == found[1:3]


@pytest.mark.parametrize(
    ("history", "recorded", "wins"),
    [
        pytest.param((0, 1440), (0, 1440), "ohlcv_1m", id="both know all"),
        pytest.param((0, 1440), (60, 1440), "ohlcv_1m", id="the recorder knows less"),
        pytest.param((0, 60), (0, 61), "bars_1m", id="the recorder knows more"),
        pytest.param((0, 60), (600, 660), "ohlcv_1m", id="both know as much, of other hours"),
    ],
)
def test_history_wins_unless_the_recorder_has_more_of_the_day(
    db_path: Path, history: tuple[int, int], recorded: tuple[int, int], wins: str
) -> None:
    for dataset, (start, end) in ((HISTORY, history), (RECORDED, recorded)):
        part = Span(day(0) + start * MINUTE_MS, day(0) + end * MINUTE_MS)
        hold(db_path, BTC, part, dataset=dataset)

    with open_reader(db_path) as query:
        (found,) = read_stored_days(query, BTC, ONE_MINUTE)

    assert found.dataset == wins


def test_the_stored_span_of_a_symbol_is_its_own(db_path: Path) -> None:
    hold(db_path, BTC, days(2, 4))
    hold(db_path, ETH, days(0, 1))

    with open_reader(db_path) as query:
        of = partial(read_stored_span, query, BTC.venue)
        found = [of(symbols) for symbols in ((BTC.symbol,), (ETH.symbol,), ("SOL/USDT",))]
        together = [of((BTC.symbol, ETH.symbol)), of()]

    assert found == [days(2, 4), days(0, 1), None]
    assert together == [days(0, 4)] * 2


def test_days_of_a_built_timeframe_are_its_own(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 3))
    with open_bars(db_path) as store:
        store.write_days(BTC, "bars_1mo", [ledger_day(0, 0, 1440)], updated_ms=1)
        found = read_stored_days(store.query, BTC, parse_timeframe("1M"))
        other = read_stored_days(store.query, BTC, FIVE_MINUTES)

    assert [(stored.dataset, stored.ledger.day_ms) for stored in found] == [("bars_1mo", day(0))]
    assert other == []


# Fingerprints.


@given(st.data())
@settings(max_examples=30)
def test_a_fingerprint_depends_on_the_rows_of_its_span_alone(
    shared_store: BarStore, data: st.DataObject
) -> None:
    # given a span, and two machines that hold it: their history begins and ends elsewhere, and
    # the one learnt of each day in other pieces, or from its recorder
    start = data.draw(st.integers(0, 2 * 1440), label="start")
    end = data.draw(st.integers(start, 3 * 1440), label="end")
    hole = Span(day(1) + 100 * MINUTE_MS, day(1) + 200 * MINUTE_MS)
    wanted = Span(day(0) + start * MINUTE_MS, day(0) + end * MINUTE_MS)

    def stored(label: str) -> str | None:
        first = data.draw(st.integers(-1440, start), label=f"{label} from")
        last = data.draw(st.integers(end, 4 * 1440), label=f"{label} to")
        cuts = data.draw(st.lists(st.integers(first, last), max_size=4), label=f"{label} cuts")
        dataset = data.draw(st.sampled_from([HISTORY, RECORDED]), label=f"{label} dataset")
        series = next(some_series)
        for a, b in itertools.pairwise(sorted({first, last, *cuts})):
            span = Span(day(0) + a * MINUTE_MS, day(0) + b * MINUTE_MS)
            write_history(
                shared_store,
                series,
                span,
                minute_bars(span, without=[hole]),
                source=label,
                updated_ms=a + 10_000,
                dataset=dataset,
            )
        return print_of(shared_store.query, series, wanted)

    one, other = stored("one"), stored("other")

    assert one == other
    assert one is not None


@pytest.mark.parametrize(
    "span",
    [
        pytest.param(days(0, 3), id="whole days"),
        pytest.param(Span(day(0) + 5 * HOUR, day(2) + 7 * HOUR), id="edges inside days"),
        pytest.param(Span(day(1) + 5 * HOUR, day(1) + 7 * HOUR), id="inside a day"),
    ],
)
def test_any_other_bit_within_the_span_is_another_fingerprint(db_path: Path, span: Span) -> None:
    hold(db_path, BTC, days(0, 3))
    before = print_in(db_path, BTC, span)
    chance = random.Random(8)
    table = rows_of(minute_bars(days(0, 3)))
    inside = [n for n, row in enumerate(table) if span.start_ms <= row[0] < span.end_ms]
    places = [inside[0], inside[-1], *chance.sample(inside, 3)]

    for column, place in enumerate(places, start=1):
        row = list(table[place])
        row[column] = float.fromhex("0x1.0000000000001p+0") * (row[column] or 1.0)
        changed = [*table[:place], tuple(row), *table[place + 1 :]]
        hold(db_path, BTC, days(0, 3), table_of(changed))
        assert print_in(db_path, BTC, span) != before, (column, place)

    hold(db_path, BTC, days(0, 3), table_of([*table[: inside[0]], *table[inside[0] + 1 :]]))
    assert print_in(db_path, BTC, span) != before

    hold(db_path, BTC, days(0, 3))
    assert print_in(db_path, BTC, span) == before


def test_nothing_outside_of_the_span_is_in_its_fingerprint(db_path: Path) -> None:
    # given a span whose edges lie inside days
    span = Span(day(1) + 5 * HOUR, day(2) + 7 * HOUR)
    hold(db_path, BTC, days(0, 4))
    before = print_in(db_path, BTC, span)

    # when everything around it becomes another market
    hold(db_path, BTC, days(3, 6), minute_bars(days(3, 6), shift=1), updated_ms=9, source="x")
    for part in (Span(day(0), span.start_ms), Span(span.end_ms, day(4))):
        hold(db_path, BTC, part, minute_bars(part, shift=1))
    hold(db_path, ETH, days(0, 4), minute_bars(days(0, 4), shift=2))
    hold(db_path, BTC, days(0, 4), minute_bars(days(0, 4), shift=3), dataset=RECORDED)

    assert print_in(db_path, BTC, span) == before
    assert print_in(db_path, BTC, Span(span.start_ms - MINUTE_MS, span.end_ms)) != before
    assert print_in(db_path, BTC, Span(span.start_ms, span.end_ms + MINUTE_MS)) != before


def test_the_same_bars_at_another_time_are_another_fingerprint(db_path: Path) -> None:
    flat = [(day(0) + n * MINUTE_MS, 1.0, 1.0, 1.0, 1.0, 1.0) for n in range(1440)]
    hold(db_path, BTC, days(0, 1), table_of(flat))
    hold(db_path, ETH, days(0, 1), table_of([(ts + 1, *values) for ts, *values in flat]))

    assert print_in(db_path, BTC, days(0, 1)) != print_in(db_path, ETH, days(0, 1))


def test_a_missing_day_and_an_empty_day_have_the_same_fingerprint(db_path: Path) -> None:
    nothing = table_of([])
    hold(db_path, BTC, days(0, 3), minute_bars(days(1, 2)))
    hold(db_path, ETH, days(1, 2))
    assert print_in(db_path, BTC, days(0, 3)) == print_in(db_path, ETH, days(0, 3))

    hold(db_path, ETH, days(1, 2), nothing)
    assert print_in(db_path, ETH, days(0, 3)) == print_in(db_path, ETH, days(5, 8))
    assert print_in(db_path, ETH, days(0, 3)) != print_in(db_path, ETH, days(0, 2))


@pytest.mark.parametrize(
    ("span", "known"),
    [
        pytest.param(days(0, 2), False, id="the day is within"),
        pytest.param(Span(day(0), day(1) + HOUR), False, id="the span ends inside the day"),
        pytest.param(days(0, 1), True, id="the day is outside"),
        pytest.param(days(2, 3), True, id="another day"),
    ],
)
def test_a_day_changed_by_hand_has_no_fingerprint(db_path: Path, span: Span, known: bool) -> None:
    hold(db_path, BTC, days(0, 3))
    shell(db_path, "UPDATE ohlcv_1m SET close = 1 WHERE ts_ms = ?", (day(2) - MINUTE_MS,))

    assert (print_in(db_path, BTC, span) is not None) == known


def test_text_typed_into_a_row_is_no_crash(db_path: Path) -> None:
    # given text in a row, and a digest that a hand has put back
    hold(db_path, BTC, days(0, 1))
    half = Span(day(0), day(0) + 12 * HOUR)
    before = print_in(db_path, BTC, half)
    shell(
        db_path,
        "INSERT INTO ohlcv_1m VALUES ('sample', 'BTC/USDT', ?, 'dear', 1, 1, 1, x'00')",
        (day(0) + 1,),
    )
    assert print_in(db_path, BTC, half) is None
    shell(db_path, "UPDATE history_coverage SET digest = 'x'")

    assert print_in(db_path, BTC, half) not in (None, before)
    assert print_in(db_path, BTC, days(0, 1)) is None


def test_bars_of_a_timeframe_are_hashed_with_their_minutes(db_path: Path) -> None:
    """A week opens on Monday and is known to the next: the span is cut to the day it opens on."""
    week = parse_timeframe("1w")
    span = Span(day(0), day(14))
    bars = [(day(0), 1.0, 2.0, 0.5, 1.5, 9.0, 10_080), (day(7), 1.5, 1.5, 1.5, 1.5, 0.0, 10_080)]
    with open_bars(db_path) as store:
        for series, minutes in ((BTC, 10_080), (ETH, 10_079)):
            table = table_of([(*bars[0][:6], minutes), bars[1]])
            with store.transaction():
                store.replace_rows(series, "bars_1w", span, table)
            store.write_days(
                series,
                "bars_1w",
                [
                    LedgerDay(
                        day_ms=row[0],
                        start_ms=row[0],
                        end_ms=row[0] + 7 * DAY_MS,
                        bars=1,
                        missing=0,
                        source="built",
                        digest=naive_digest([row]),
                    )
                    for row in rows_of(table)
                ],
                updated_ms=1,
            )
        one, other = (print_of(store.query, series, span, week) for series in (BTC, ETH))
        second = [print_of(store.query, s, Span(day(7), day(14)), week) for s in (BTC, ETH)]

    assert None not in (one, other)
    assert one != other
    assert second[0] == second[1]
