"""What a digest is made of, and what is known of days that a hand has changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.market import DAY_MS, Span
from tbv8.store.bars import open_bars
from tbv8.store.database import open_reader
from tbv8.store.ledger import (
    EMPTY_DIGEST,
    RECORDED,
    LedgerDay,
    MinuteDay,
    digest_rows,
    read_built_days,
    read_days,
    read_minute_days,
)
from tests.builders import BTC, day, days, hold, ledger_in, minute_bars, naive_digest, shell

ROW = (1_704_067_200_000, 1.0, 3.0, 0.5, 2.0, 7.5)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([], id="no row"),
        pytest.param([ROW], id="a minute"),
        pytest.param([ROW, (ROW[0] + 60_000, 2.0, 2.0, 2.0, 2.0, 0.0)], id="two minutes"),
        pytest.param([(*ROW, 60)], id="a built bar with its minutes"),
        pytest.param([(*ROW[:5], -0.0)], id="minus zero counts as zero"),
        pytest.param([(ROW[0], 1, 3, 1, 2, 7)], id="whole numbers"),
    ],
)
def test_a_digest_is_that_of_the_rows_as_numbers(rows: list[tuple[float, ...]]) -> None:
    assert digest_rows(rows) == naive_digest(rows)


@pytest.mark.parametrize("place", range(7))
def test_every_column_of_a_row_is_in_its_digest(place: int) -> None:
    row = [*ROW, 60]
    row[place] += 1

    assert digest_rows([tuple(row)]) != digest_rows([(*ROW, 60)])


def test_the_digest_of_no_rows_is_the_empty_one() -> None:
    assert digest_rows([]) == EMPTY_DIGEST


def known(db_path: Path) -> list[MinuteDay]:
    with open_reader(db_path) as query:
        return [tuple(row) for row in read_minute_days(query, BTC)]  # type: ignore[misc]


def digests(db_path: Path, dataset: str) -> list[str]:
    return [digest for (digest,) in ledger_in(db_path, BTC, dataset, "digest")]


def test_minute_days_come_from_the_dataset_of_each_day(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 1))
    hold(db_path, BTC, days(0, 2), minute_bars(days(0, 2), shift=1), dataset=RECORDED)
    (history,), recorded = digests(db_path, "ohlcv_1m"), digests(db_path, RECORDED)
    assert history != recorded[0]

    assert known(db_path) == [
        (day(0), day(0), day(1), history),
        (day(1), day(1), day(2), recorded[1]),
    ]


@pytest.mark.parametrize("with_recorder", [False, True])
def test_a_day_changed_by_hand_has_no_digest(db_path: Path, with_recorder: bool) -> None:
    hold(db_path, BTC, days(0, 2))
    if with_recorder:
        hold(db_path, BTC, days(5, 6), dataset=RECORDED)
    shell(db_path, "UPDATE ohlcv_1m SET close = 1 WHERE ts_ms = ?", (day(0),))

    found = known(db_path)

    assert [digest == "" for *_edges, digest in found] == [True, False, False][: len(found)]
    with open_reader(db_path) as query:
        assert [stored.digest is None for stored in read_days(query, BTC, "ohlcv_1m")] == [
            True,
            False,
        ]


def test_a_built_day_changed_by_hand_has_no_inputs(db_path: Path) -> None:
    with open_bars(db_path) as store:
        built = [
            LedgerDay(
                day_ms=day(number),
                start_ms=day(number),
                end_ms=day(number) + DAY_MS,
                bars=1,
                missing=0,
                source="built",
                digest=digest,
                built_from="aa/bb",
            )
            for number, digest in ((0, "00"), (1, None))
        ]
        store.write_days(BTC, "bars_5m", built, updated_ms=1)
        found = [tuple(row) for row in read_built_days(store.query, BTC, "bars_5m")]

    assert found == [(day(0), day(0), day(1), "aa/bb"), (day(1), day(1), day(2), None)]


def test_the_last_day_of_a_span_is_read_and_the_next_is_not(db_path: Path) -> None:
    hold(db_path, BTC, days(0, 3))

    with open_reader(db_path) as query:
        found = read_days(query, BTC, "ohlcv_1m", Span(day(0) + DAY_MS - 1, day(2)))

    assert [stored.day_ms for stored in found] == [day(0), day(1)]
