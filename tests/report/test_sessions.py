"""Paper sessions in the status, on the terminal and on the page."""

from __future__ import annotations

import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.config.records import Project, Strategy
from tbv8.page.words import minute
from tbv8.report.index import report_page
from tbv8.report.sessions import SessionStatus, read_session_states, session_lines
from tbv8.report.status import to_json
from tbv8.store.database import open_reader
from tbv8.store.locks import session_lock
from tbv8.store.sessions import Event, SessionMinute, StoredSession, open_journal
from tests.builders import MONDAY
from tests.report.test_index import make_report

HOUR_MS = 3_600_000
STATE: dict[str, Any] = {
    "positions": {"BTC/USDT": "-0.01"},
    "equity": "9990.5",
    "day_loss": "9.5",
    "halted_until_ms": None,
    "barred": None,
    "orders": 4,
    "fills": 3,
    "denials": 2,
    "halts": 1,
}


@pytest.fixture
def session(project: Project, db_path: Path) -> Project:
    """Return the project with a session of two minutes, an hour before now."""
    project = replace(project, now_ms=MONDAY + HOUR_MS)
    stored = StoredSession(
        session_id=0,
        strategy_id="btc_usdt_perp_v1",
        role="primary",
        venue="hyperliquid",
        inputs={},
        decimals={"BTC/USDT": 1},
        first_ms=MONDAY,
        counted_ms=MONDAY,
        done_ms=MONDAY,
        state={},
        began_ms=MONDAY,
    )
    with open_journal(db_path) as journal:
        session = journal.begin(stored, [], [], ends=None)
        minutes = [
            SessionMinute(ts_ms=MONDAY, bars={"BTC/USDT": None}, seen_ms=0),
            SessionMinute(
                ts_ms=MONDAY + 60_000, bars={"BTC/USDT": None}, seen_ms=0, barred="stale_bar"
            ),
        ]
        journal.write_minutes(session.session_id, minutes)
        priced = '{"quoted":"100.5","cost_usd":"0.75"}'
        events = [
            Event("priced", 0, MONDAY, 0, priced),
            Event("priced", 1, MONDAY, 0, '{"quoted":null,"cost_usd":null}'),
            Event("corrected", 0, MONDAY, 0, "{}"),
        ]
        done_ms = MONDAY + 120_000
        journal.write_events(session.session_id, events, done_ms=done_ms, state=STATE)
    return project


def look(project: Project) -> SessionStatus:
    with open_reader(project.db_path) as query:
        (found,) = read_session_states(query, project)
    return found


def strategy_of(project: Project) -> Strategy:
    (strategy,) = project.strategies.values()
    return strategy


def test_what_a_session_holds_and_what_it_did(session: Project) -> None:
    found = look(session)

    assert (found.venue, found.role) == ("hyperliquid", "primary")
    assert found.positions == {"BTC/USDT": Decimal("-0.01")}
    assert (found.equity, found.day_loss) == (Decimal("9990.5"), Decimal("9.5"))
    assert found.day_loss_limit == strategy_of(session).risk.max_daily_loss_usd
    assert (found.orders, found.fills, found.denials, found.halts) == (4, 3, 2, 1)
    assert (found.done_ms, found.lag_s) == (MONDAY + 120_000, 3480.0)
    assert (found.barred_minutes, found.missing_minutes) == ({"stale_bar": 1}, 2)
    assert (found.priced, found.priced_cost, found.corrected) == (1, Decimal("0.75"), 1)
    assert not found.has_process
    assert list(session_lines(found)) == [
        "btc_usdt_perp_v1: holds -0.01 BTC/USDT while no session runs: `doit paper:"
        "btc_usdt_perp_v1` continues with it; to close it, run `doit stop btc_usdt_perp_v1 "
        "--close` first",
        "btc_usdt_perp_v1: 1 minute so far in which no position could be opened (stale_bar)",
        "btc_usdt_perp_v1: 2 minutes not recorded",
        "btc_usdt_perp_v1: 1 fill priced by the secondary's quotes: +0.75 USD extra cost there",
        "btc_usdt_perp_v1: the recorder corrected 1 bar after use, without effect on the session",
    ]


def test_a_close_that_waits_for_the_session_is_shown(session: Project) -> None:
    name = strategy_of(session).strategy_id
    session.stop_file(name).parent.mkdir(parents=True, exist_ok=True)
    session.stop_file(name).write_text("close\n")

    waits = f"{name}: holds -0.01 BTC/USDT"
    pending = f"and `doit stop {name} --close` is pending"
    assert next(session_lines(look(session))) == (
        f"{waits} while no session runs, {pending}: the next `doit paper:{name}` closes it"
    )
    with session_lock(session.db_path, name):
        assert next(session_lines(look(session))) == (
            f"{waits}, {pending}: the session closes it at the next close that it reads"
        )


def test_the_state_of_a_session(session: Project) -> None:
    name = strategy_of(session).strategy_id
    soon = replace(session, now_ms=MONDAY + 300_000)
    session.stop_file(name).parent.mkdir(parents=True, exist_ok=True)

    assert look(session).state == "not running"
    with session_lock(session.db_path, name):
        assert (look(soon).state, look(session).state) == ("running", "stale")
        assert not any("holds" in line for line in session_lines(look(soon)))
        session.stop_file(name).touch()
        assert look(soon).state == "stopped"
        session.differs_file(name).write_text("fill 1 became fill 2\n")
        assert look(soon).state == "differs"
    assert next(session_lines(look(soon))) == f"{name}: fill 1 became fill 2"


def test_a_session_that_has_ended_is_not_listed(session: Project) -> None:
    with open_journal(session.db_path) as journal, journal._writing() as connection:
        connection.execute("UPDATE sessions SET ended_ms = 1")

    with open_reader(session.db_path) as query:
        assert list(read_session_states(query, session)) == []


def test_the_page_has_a_part_for_sessions_where_there_are_some(
    session: Project, tmp_path: Path
) -> None:
    report = make_report(tmp_path / "results")
    status = replace(report.status, sessions=(look(session),))

    young = report_page(replace(report, status=status))
    shown = session.paper_folder("btc_usdt_perp_v1") / "tearsheet.html"
    shown.parent.mkdir(parents=True)
    shown.touch()
    status = replace(report.status, sessions=(look(session),))
    page = report_page(replace(report, status=status))

    assert "tearsheet.html" not in young
    assert "Paper sessions" not in report_page(report)
    assert '<a href="../paper/btc_usdt_perp_v1/tearsheet.html">btc_usdt_perp_v1</a>' in page
    assert minute(MONDAY + 120_000) in page
    assert "2 minutes not recorded" in page


def test_json_has_numbers_and_times(session: Project, tmp_path: Path) -> None:
    report = make_report(tmp_path / "results")
    status = replace(report.status, sessions=(look(session),))

    (found,) = to_json(status)["sessions"]

    assert found["done"] == "2024-01-01T00:02:00Z"
    assert (found["equity"], found["positions"]) == (9990.5, {"BTC/USDT": -0.01})


def test_reading_ten_thousand_minutes_is_a_moment(session: Project) -> None:
    with open_journal(session.db_path) as journal:
        minutes = [
            SessionMinute(ts_ms=MONDAY + n * 60_000, bars={"BTC/USDT": None}, seen_ms=0)
            for n in range(2, 10_000)
        ]
        journal.write_minutes(1, minutes)
    began_s = time.process_time()  # other work on the machine is no part of it

    assert look(session).missing_minutes == 10_000
    assert time.process_time() - began_s < 1
