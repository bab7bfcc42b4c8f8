"""Rows of trials: written one by one, read by key, listed by experiment, dropped when orphaned."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tbv8.errors import DataError, MovedError
from tbv8.store.database import open_reader
from tbv8.store.schema import migrate
from tbv8.store.trials import (
    Details,
    ListedTrial,
    Trial,
    count_listed,
    open_trials,
    read_best,
    read_details,
    read_died,
    read_digests,
    read_experiment_ids,
    read_listed,
    read_orphans,
    read_trials,
    read_variants,
)
from tests.builders import BTC, ROOT, days, hold, ledger_in, rows, shell

SUBJECT = "ema_cross.EmaCross on sample:BTC/USDT"
DETAILS = Details(stats=b'{"sharpe":1.5}', equity=b"\x01" * 16)


def key(number: int) -> bytes:
    return sha256(str(number).encode()).digest()


def trial(number: int, **changes: Any) -> Trial:
    values: dict[str, Any] = {
        "key": key(number),
        "subject": SUBJECT,
        "variant": key(1000 + number),
        "start_ms": 0,
        "end_ms": 86_400_000,
        "status": "ok",
        "sharpe": 1.5,
        "trades": 3,
        "digest": b"d" * 32,
    }
    return Trial(**values | changes)


def listed(number: int, part: str = "") -> ListedTrial:
    return ListedTrial(part=part, number=number, key=key(number), params={"fast": number})


def test_a_trial_comes_back_as_it_was_written_and_is_replaced_under_its_key(db_path: Path) -> None:
    other = trial(2, status="failed", sharpe=None, files='{"a.csv": "x"}')
    with open_trials(db_path) as store:
        store.write(trial(1, sharpe=9.0), DETAILS)
        store.write(trial(1), DETAILS)
        store.write(other, Details(stats=b"{}", equity=b""))

    with open_reader(db_path) as query:
        found = read_trials(query, [key(1), key(2), key(3)])
        details = dict(read_details(query, [key(1)]))
        stored = read_digests(query, [key(n) for n in range(2000)])

    assert found == {key(1): trial(1), key(2): other}
    assert details == {key(1): DETAILS}
    assert stored == {key(1): (b"d" * 32, ""), key(2): (b"d" * 32, '{"a.csv": "x"}')}


def test_an_experiment_is_what_was_listed_last(db_path: Path) -> None:
    with open_trials(db_path) as store:
        store.write_listed("one", [listed(n) for n in range(5)])
        store.write_listed("two", [listed(9)])
        store.write_listed("one", [listed(2), listed(1), listed(7, "is:0")])

    with open_reader(db_path) as query:
        assert read_listed(query, "one") == [listed(1), listed(2), listed(7, "is:0")]
        assert read_listed(query, "one", "") == [listed(1), listed(2)]
        assert read_experiment_ids(query) == ["one", "two"]


def test_the_best_come_first_and_those_without_a_value_last(db_path: Path) -> None:
    rows_of = [(0, 1.0, "ok"), (1, None, "ok"), (2, 3.0, "ok"), (3, 9.0, "failed"), (4, 3.0, "ok")]
    with open_trials(db_path) as store:
        for number, sharpe, status in rows_of:
            trades = 5 if number == 2 else 6
            store.write(trial(number, sharpe=sharpe, status=status, trades=trades), DETAILS)
        store.write_listed("one", [*(listed(n) for n in range(6)), listed(0, "is:0")])

    def best(sort: str, *, ascending: bool = False, most: int = 9, **more: int) -> list[int]:
        found = read_best(query, "one", sort=sort, ascending=ascending, most=most, **more)
        return [one.number for one in found]

    with open_reader(db_path) as query:
        assert best("sharpe") == [2, 4, 0, 1, 3]
        assert best("sharpe", ascending=True, most=2) == [0, 2]
        assert best("sharpe", min_trades=6) == [4, 0, 2, 1, 3]
        assert best("number") == [0, 1, 2, 3, 4]
        assert count_listed(query, "one") == (6, 5, 1)
        assert count_listed(query, "none") == (0, 0, 0)


def test_orphans_are_the_trials_in_no_list_of_an_experiment(db_path: Path) -> None:
    with open_trials(db_path) as store:
        for number in range(4):
            store.write(trial(number, status="died" if number == 3 else "ok"), DETAILS)
        store.write_listed("one", [listed(0), listed(1)])
        store.drop_lists(["gone"])

    with open_reader(db_path) as query:
        orphans = read_orphans(query)
        assert read_died(query) == [key(3)]
    assert sorted(orphans) == sorted([key(2), key(3)])

    with open_trials(db_path) as store:
        store.drop(orphans)
    with open_reader(db_path) as query:
        assert read_trials(query, [key(n) for n in range(4)]).keys() == {key(0), key(1)}
        assert [k for k, _ in read_details(query, [key(n) for n in range(4)])] == [key(0), key(1)]


def test_variants_of_a_subject_count_if_they_have_a_result(db_path: Path) -> None:
    with open_trials(db_path) as store:
        store.write(trial(1), DETAILS)
        store.write(trial(2, variant=key(1001), end_ms=1), DETAILS)  # the same on another span
        store.write(trial(3, sharpe=-2.0), DETAILS)
        store.write(trial(4, status="failed", sharpe=None), DETAILS)
        store.write(trial(5, subject="other"), DETAILS)

    with open_reader(db_path) as query:
        count, ratios = read_variants(query, SUBJECT, start_ms=0, end_ms=86_400_000)

    assert count == 2
    assert ratios == {key(1001): 1.5, key(1003): -2.0}


def test_trials_are_refused_where_there_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no database"), open_trials(tmp_path / "no"):
        pass


def test_a_moved_database_is_noticed_before_the_next_trial(db_path: Path) -> None:
    with open_trials(db_path) as store:
        store.write(trial(1), DETAILS)
        db_path.rename(db_path.with_name("moved"))
        with pytest.raises(MovedError):
            store.write(trial(2), DETAILS)


def test_a_database_of_an_earlier_revision_gets_the_tables_and_keeps_its_rows(
    db_path: Path,
) -> None:
    hold(db_path, BTC, days(0, 1))
    before = ledger_in(db_path, BTC)
    made = "SELECT name, sql FROM sqlite_master WHERE name LIKE '%trial%' ORDER BY name"
    new = rows(db_path, made)
    later = ("sessions", "session_bars", "session_events")
    for table in ("trials", "trial_details", "experiment_trials", *later):
        shell(db_path, f"DROP TABLE {table}")
    shell(db_path, "UPDATE alembic_version SET version_num = '0002'")

    migrate(db_path, root=ROOT)

    assert rows(db_path, made) == new
    assert ledger_in(db_path, BTC) == before


def test_lists_of_ten_thousand_trials_are_read_quickly(db_path: Path) -> None:
    """The file stays under 30 MB; time is measured by `doit bench experiment`."""
    with closing(sqlite3.connect(db_path)) as connection, connection:
        marks = ", ".join("?" * 16)
        connection.executemany(
            f"INSERT INTO trials VALUES ({marks})",
            (
                (key(n), SUBJECT, key(n), 0, 1, "ok", *[n / 7] * 6, 9, 18, "", key(-n))
                for n in range(10_000)
            ),
        )

    with open_reader(db_path) as query:
        stored = read_digests(query, [key(n) for n in range(5_000, 15_000)])

    assert len(stored) == 5_000
