"""The present results of a session, by a replay of its journal: the same files as a backtest's.

`tbv8.live.watch` starts `python -m tbv8.live.results` every few minutes and at the end, so that
the session's own process stays small. Each replay is compared with the journal.
"""

from __future__ import annotations

import csv
import hashlib
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.config.records import Strategy
from tbv8.errors import DataError, DiffersError, Tbv8Error
from tbv8.live.driver import Driver, JournaledSession, read_journaled
from tbv8.live.inputs import changed_inputs
from tbv8.live.minutes import join_minutes
from tbv8.live.output import Prints, claim_stdout
from tbv8.live.plan import Plan, ProcessReport, within
from tbv8.live.pricing import Priced
from tbv8.manifest import SESSION_PART, Input, make_input, read_manifest
from tbv8.market import MINUTE_MS, iso, iso_day
from tbv8.results.accounting import to_books
from tbv8.results.folder import first_difference, write_result
from tbv8.results.marks import Marks, counted, last_closes, to_marks
from tbv8.results.summary import PricedDay, PricedFills, Summary, summarise
from tbv8.results.write import write_files
from tbv8.store.database import open_reader
from tbv8.store.sessions import Event, read_session, session_runs
from tbv8.text import counted as counted_words
from tbv8.trading.bars import Bars
from tbv8.trading.loading import StrategyError
from tbv8.trading.opened import noting_opened
from tbv8.trading.records import Run

type Plans = Mapping[str, Plan]
"""The plan of the primary, and of the shadow if there is one, by role."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was run again from its journal."""

    strategy: Strategy
    journaled: JournaledSession
    run: Run
    bars: Bars


def write_results(plans: Plans) -> Summary | str:
    """Write the results of a session as of now; return their summary, or why there are none yet.

    Raises:
        DataError: The replay differs from the journal, or the folder is not tbv8's.
        StrategyError: The strategy raised.
    """
    journaled = _read(plans)
    if missing := _missing(plans, journaled["primary"]):
        return missing
    replayed = {
        role: replay(plans[role], session_journal) for role, session_journal in journaled.items()
    }
    folder = plans["primary"].folder
    return _write(folder, plans, replayed)


def check_replay(plans: Plans) -> str:
    """Run the bars of a session again, and compare every event and every byte of its results.

    Returns:
        A line about the compared minutes, events and files.

    Raises:
        DataError: There is no session, or an event or a file differs.
        StrategyError: The strategy raised.
    """
    journaled = _read(plans)
    try:
        return _check(plans, journaled)
    except (DataError, StrategyError) as e:
        sessions = {role: one.session for role, one in journaled.items()}
        changed = {
            part: None
            for role, session in sessions.items()
            for part in changed_inputs(session, plans[role])
        }
        if not changed:
            raise
        raise DataError(
            f"{plans['primary'].strategy.strategy_id}: {' and '.join(changed)} changed since its "
            f"session began at {iso(sessions['primary'].began_ms)}: restore that to replay it; now "
            f"{e}"
        ) from e


def _check(plans: Plans, journaled: Mapping[str, JournaledSession]) -> str:
    name, folder = plans["primary"].strategy.strategy_id, plans["primary"].folder
    if missing := _missing(plans, journaled["primary"]):
        return f"{name}: nothing to replay: {missing}"
    replayed = {
        role: replay(plans[role], session_journal) for role, session_journal in journaled.items()
    }
    events = sum(
        len(events_of_kind)
        for session_journal in journaled.values()
        for events_of_kind in session_journal.outputs.values()
    )
    spans = " and ".join(map(_minutes_text, journaled.values()))
    text = f"{name}: replayed {spans}: the same {counted_words(events, 'event')}"
    manifest = read_manifest(folder)
    part = manifest.inputs.get(SESSION_PART) if manifest else None
    if part is None or part.value["primary"]["id"] != journaled["primary"].session.session_id:
        return text
    before = {
        role: state_at(
            session_journal,
            *(part.value[role][key] for key in ("done_ms", "commands", "priced", "reached")),
        )
        for role, session_journal in journaled.items()
        if role in part.value
    }
    if before != journaled:
        replayed = {
            role: replay(plans[role], session_journal) for role, session_journal in before.items()
        }
    with TemporaryDirectory(prefix="tbv8-") as temporary:
        rewritten = Path(temporary) / name
        _write(rewritten, plans, replayed)
        difference = first_difference(folder, rewritten)
    if difference is not None:
        raise DataError(f"{folder}: not reproduced: {difference}")
    assert manifest is not None
    files = counted_words(len(manifest.outputs), "result file")
    return f"{text}, and the same bytes in {files}"


def _minutes_text(journaled: JournaledSession) -> str:
    return f"{counted_words(len(journaled.minutes), 'minute')} at {journaled.session.venue}"


def replay(plan: Plan, journaled: JournaledSession) -> Replayed:
    """Run a session again from its journal.

    Raises:
        DiffersError: An event differs from the journal.
        StrategyError: The strategy raised.
    """
    session = journaled.session
    driving = Driver(plan.strategy, session, with_lines=plan.role == "primary")
    with noting_opened(plan.strategy), driving as driver:
        pieces = list(driver.replay(journaled.minutes, journaled.commands, journaled.rates))
        difference = journaled.first_difference(driver.outputs({}, at_ms=0))
        if difference is not None:
            raise DiffersError(
                f"{plan.strategy.strategy_id}: the replay of the session at {session.venue} "
                f"differs from its journal: {difference}"
            )
        return Replayed(
            strategy=within(plan.strategy, session, session.done_ms),
            journaled=journaled,
            run=driver.run(),
            bars=join_minutes(plan.strategy, pieces),
        )


def state_at(
    journaled: JournaledSession, done_ms: int, commands: int, priced: int, reached: int
) -> JournaledSession:
    """Return the journal as it was when the minutes up to a time were finished.

    Args:
        journaled: The present journal.
        done_ms: The time.
        commands: The number of commands at that time.
        priced: The number of priced fills.
        reached: The number of limits reached at the secondary.
    """
    return JournaledSession(
        session=replace(journaled.session, done_ms=done_ms),
        minutes=[minute for minute in journaled.minutes if minute.close_ms <= done_ms],
        commands=journaled.commands[:commands],
        rates=[event for event in journaled.rates if event.ts_ms <= done_ms],
        outputs={
            kind: [event for event in events if event.ts_ms <= done_ms]
            for kind, events in journaled.outputs.items()
        },
        priced=journaled.priced[:priced],
        reached=journaled.reached[:reached],
    )


def _missing(plans: Plans, journaled: JournaledSession) -> str:
    """Return why a session has no bars yet; empty if it has any."""
    if _has_bars(journaled):
        return ""
    plan, session = plans["primary"], journaled.session
    if journaled.minutes:
        first, count = iso(session.first_ms), len(journaled.minutes)
        return f"no trade has come yet, in {counted_words(count, 'minute')} since {first}"
    name, closes = plan.strategy.strategy_id, iso(session.first_ms + MINUTE_MS)
    runs = session_runs(plan.db_path, name)
    cure = "" if runs else f"; no session runs, `doit paper:{name}` continues it"
    return f"no minute was used yet, the first one closes at {closes}{cure}"


def _has_bars(journaled: JournaledSession) -> bool:
    return any(bar for minute in journaled.minutes for bar in minute.bars.values())


def _read(plans: Plans) -> dict[str, JournaledSession]:
    """Return the journal's primary, and its shadow if that has bars, up to the primary's end."""
    primary = plans["primary"]
    sessions = {}
    with open_reader(primary.db_path) as query:
        for role, plan in plans.items():
            session = read_session(query, plan.strategy.strategy_id, plan.role)
            if session is not None:
                sessions[role] = read_journaled(query, session, with_minutes=True)
    if "primary" not in sessions:
        name = primary.strategy.strategy_id
        raise DataError(f"{name}: there is no session: run `doit paper:{name}`")
    end_ms = sessions["primary"].session.done_ms
    for role, session_journal in list(sessions.items()):
        done_ms = min(session_journal.session.done_ms, end_ms)
        commands = sum(1 for command in session_journal.commands if command.ts_ms <= done_ms)
        sessions[role] = state_at(
            session_journal,
            done_ms,
            commands,
            len(session_journal.priced),
            len(session_journal.reached),
        )
        if role != "primary" and not _has_bars(sessions[role]):
            del sessions[role]
    return sessions


def _write(folder: Path, plans: Plans, replayed: Mapping[str, Replayed]) -> Summary | str:
    primary, shadow = replayed["primary"], replayed.get("shadow")
    strategy = primary.strategy
    main = counted(strategy, primary.bars.shown[strategy.symbol, strategy.timeframe])
    if not main.num_rows:
        closes = iso(strategy.timeframe.ceil(strategy.span.start_ms + 1))
        return f"no {strategy.timeframe} bar has closed yet, the first one closes at {closes}"
    marks = to_marks(strategy, primary.bars)
    accounts = {"primary": to_books(primary.run, marks)}
    if shadow is not None:
        accounts["shadow"] = to_books(shadow.run, _marked_at(marks, shadow))
    priced_at, fills = plans["primary"].priced_at, _priced(primary.journaled.priced)
    reached = _priced(primary.journaled.reached)
    priced = _sum(priced_at, fills, len(reached)) if priced_at else None
    summary = summarise(
        strategy,
        primary.bars,
        accounts["primary"],
        accounts.get("shadow"),
        shadow_bars=shadow.bars if shadow else None,
        priced=priced,
    )
    key = {**_inputs(plans["primary"], primary), SESSION_PART: _session_part(replayed)}

    def write(new: Path) -> None:
        if priced is not None:
            _write_priced(new / "shadow" / "orders.csv", [*fills, *reached])
        write_files(new, strategy, primary.bars, summary, accounts, inputs=key)

    write_result(folder, write, inputs=key)
    return summary


def _priced(events: Iterable[Event]) -> list[Priced]:
    return [msgspec.json.decode(event.body, type=Priced) for event in events]


def _sum(venue: str, fills: Sequence[Priced], reached: int) -> PricedFills:
    days = [
        PricedDay(day=day, **_total(list(of_day)))
        for day, of_day in groupby(fills, key=lambda fill: iso_day(fill.ts_ms))
    ]
    return PricedFills(venue=venue, days=tuple(days), reached=reached, **_total(fills))


def _total(fills: Sequence[Priced]) -> dict[str, Any]:
    costs = [fill.cost_usd for fill in fills if fill.cost_usd is not None]
    return {"fills": len(fills), "priced": len(costs), "cost_usd": sum(costs, Decimal(0))}


def _write_priced(path: Path, fills: Sequence[Priced]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(Priced.__struct_fields__)
        for fill in fills:
            values = msgspec.structs.astuple(fill)
            writer.writerow(f"{v:f}" if isinstance(v, Decimal) else v for v in values)


def _marked_at(marks: Marks, shadow: Replayed) -> Marks:
    """Return the primary's marks with the prices of the shadow's bars."""
    prices = last_closes(shadow.strategy, shadow.bars, marks.prices, marks.closes_ms)
    return replace(marks, prices=prices)


def _inputs(plan: Plan, replayed: Replayed) -> dict[str, Input]:
    session = replayed.journaled.session
    span = {"start": iso(session.counted_ms), "end": iso(session.done_ms)}
    parts = {name: Input(**part) for name, part in session.inputs.items()}
    return {**parts, "span": make_input(span)}


def _session_part(replayed: Mapping[str, Replayed]) -> Input:
    return make_input(
        {
            role: {
                "id": session_journal.journaled.session.session_id,
                "venue": session_journal.journaled.session.venue,
                "done_ms": session_journal.journaled.session.done_ms,
                "commands": len(session_journal.journaled.commands),
                "priced": len(session_journal.journaled.priced),
                "reached": len(session_journal.journaled.reached),
                "minutes": _digest(session_journal.journaled),
            }
            for role, session_journal in replayed.items()
        }
    )


def _digest(journaled: JournaledSession) -> str:
    total = hashlib.sha256()
    for minute in journaled.minutes:
        total.update(msgspec.json.encode((minute.ts_ms, minute.bars, minute.barred)))
    for event in journaled.rates:
        total.update(msgspec.json.encode((event.ts_ms, event.body)))
    return total.hexdigest()


def main() -> None:
    """Write the results of the plans from stdin, and report the outcome."""
    plans: Plans = pickle.load(sys.stdin.buffer)
    stdout = claim_stdout()
    sys.stdout = Prints(lambda line: None)  # the session's process has printed it
    try:
        written = write_results(plans)
        if isinstance(written, str):
            report = ProcessReport(kind="no results", text=written)
        else:
            report = ProcessReport(kind="written", lines=str(written).splitlines())
    except DiffersError as e:
        report = ProcessReport(kind="differs", text=str(e))
    except Tbv8Error as e:
        report = ProcessReport(kind="failed", text=str(e))
    stdout.write(msgspec.json.encode(report))
    stdout.flush()


if __name__ == "__main__":
    main()
