"""The results of a session as of now, by a replay of its journal: the same files as a backtest's.

`python -m tbv8.live.results` is started by `tbv8.live.watch` each hour and at the end, so that the
session's own process stays small; and each time the replay is held against the journal.
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
import numpy as np
from msgspec.structs import replace

from tbv8.config.records import Strategy
from tbv8.errors import DataError, DiffersError, Tbv8Error
from tbv8.live.beginning import changed_inputs
from tbv8.live.driver import Driver, Journaled, read_journaled
from tbv8.live.minutes import join
from tbv8.live.plan import Plan, Report, within
from tbv8.live.pricing import Priced
from tbv8.manifest import PAGE, Input, make_input, read_manifest
from tbv8.market import iso, iso_day
from tbv8.results.accounting import to_books
from tbv8.results.files import write_market, write_run
from tbv8.results.folder import first_difference, write_json, write_result
from tbv8.results.marks import Marks, counted, to_marks
from tbv8.results.read import read_result
from tbv8.results.summary import PricedDay, PricedFills, Summary, summarise, to_json
from tbv8.results.tearsheet.page import tearsheet
from tbv8.store.database import open_reader
from tbv8.store.sessions import Event, read_session
from tbv8.trading.bars import Bars
from tbv8.trading.loading import StrategyError
from tbv8.trading.nautilus import close_times, column
from tbv8.trading.opened import noting_opened
from tbv8.trading.records import Run

_SESSION_PART = "session"

type Plans = Mapping[str, Plan]
"""The plan of the primary, and of the shadow where there is one, by role."""


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was run again from its journal."""

    strategy: Strategy
    journaled: Journaled
    run: Run
    bars: Bars


def write_results(plans: Plans) -> Summary | str:
    """Write the results of a session as of now; return their summary, or why there are none yet.

    Raises:
        DataError: The replay differs from the journal, or the folder is somebody else's.
        StrategyError: The strategy raised.
    """
    journaled = _read(plans)
    if "primary" not in journaled:
        return "no minute has closed yet"
    replayed = {role: replay(plans[role], one) for role, one in journaled.items()}
    folder = plans["primary"].folder
    return _write(folder, plans, replayed)


def check_replay(plans: Plans) -> str:
    """Run the bars of a session again, and compare every event and every byte of its results.

    Returns:
        What was compared.

    Raises:
        DataError: There is no session, or something differs.
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
            f"{plans['primary'].strategy.strategy_id}: its session began at "
            f"{iso(sessions['primary'].began_ms)} with another {' and '.join(changed)}: bring that "
            f"back to replay it; now {e}"
        ) from e


def _check(plans: Plans, journaled: Mapping[str, Journaled]) -> str:
    name, folder = plans["primary"].strategy.strategy_id, plans["primary"].folder
    if "primary" not in journaled:
        return f"{name}: no minute has closed yet"
    replayed = {role: replay(plans[role], one) for role, one in journaled.items()}
    events = sum(len(few) for one in journaled.values() for few in one.outputs.values())
    minutes = sum(len(one.minutes) for one in journaled.values())
    said = f"{name}: {minutes:,} minutes replayed, {events:,} events with the same bytes"
    manifest = read_manifest(folder)
    part = manifest.inputs.get(_SESSION_PART) if manifest else None
    if part is None or part.value["primary"]["id"] != journaled["primary"].session.session_id:
        return said
    before = {
        role: cut(
            one, *(part.value[role][key] for key in ("done_ms", "commands", "priced", "reached"))
        )
        for role, one in journaled.items()
        if role in part.value
    }
    if before != journaled:
        replayed = {role: replay(plans[role], one) for role, one in before.items()}
    with TemporaryDirectory(prefix="tbv8-") as temporary:
        again = Path(temporary) / name
        _write(again, plans, replayed)
        difference = first_difference(folder, again)
    if difference is not None:
        raise DataError(f"{folder}: not given again: {difference}")
    assert manifest is not None
    return f"{said}, {len(manifest.outputs)} files too"


def replay(plan: Plan, journaled: Journaled) -> Replayed:
    """Run a session again from its journal.

    Raises:
        DiffersError: Something else came of it.
        StrategyError: The strategy raised.
    """
    session = journaled.session
    driving = Driver(plan.strategy, session, with_lines=plan.role == "primary")
    with noting_opened(plan.strategy), driving as driver:
        pieces = list(driver.replay(journaled.minutes, journaled.commands, journaled.rates))
        difference = journaled.first_difference(driver.outputs({}, at_ms=0))
        if difference is not None:
            raise DiffersError(
                f"{plan.strategy.strategy_id}: the session at {session.venue} does not give again "
                f"what it gave: {difference}"
            )
        return Replayed(
            strategy=within(plan.strategy, session, session.done_ms),
            journaled=journaled,
            run=driver.run(),
            bars=join(plan.strategy, pieces),
        )


def cut(journaled: Journaled, done_ms: int, commands: int, priced: int, reached: int) -> Journaled:
    """Return the journal's state when the minutes until a time were done.

    Args:
        journaled: What it has now.
        done_ms: The time.
        commands: How many commands there were.
        priced: How many fills were priced.
        reached: How many limits were reached at the secondary.
    """
    return Journaled(
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


def _read(plans: Plans) -> dict[str, Journaled]:
    """Return the journal's sessions with bars, the shadow no further than the primary."""
    primary = plans["primary"]
    found = {}
    with open_reader(primary.db_path) as query:
        for role, plan in plans.items():
            session = read_session(query, plan.strategy.strategy_id, plan.role)
            if session is not None:
                found[role] = read_journaled(query, session, with_minutes=True)
    if "primary" not in found:
        name = primary.strategy.strategy_id
        raise DataError(f"{name}: there is no session: run `doit paper:{name}`")
    end_ms = found["primary"].session.done_ms
    for role, one in list(found.items()):
        done_ms = min(one.session.done_ms, end_ms)
        commands = sum(1 for command in one.commands if command.ts_ms <= done_ms)
        found[role] = cut(one, done_ms, commands, len(one.priced), len(one.reached))
        if not any(bar for minute in found[role].minutes for bar in minute.bars.values()):
            del found[role]
    return found


def _write(folder: Path, plans: Plans, replayed: Mapping[str, Replayed]) -> Summary | str:
    primary, shadow = replayed["primary"], replayed.get("shadow")
    strategy = primary.strategy
    main = counted(strategy, primary.bars.shown[strategy.symbol, strategy.timeframe])
    if not main.num_rows:
        return f"no {strategy.timeframe} bar has closed yet"
    marks = to_marks(strategy, primary.bars)
    books = to_books(primary.run, marks)
    beside = None
    if shadow is not None:
        beside = to_books(shadow.run, _marked_at(marks, shadow))
    shadow_bars = shadow.bars if shadow else None
    at, fills = plans["primary"].priced_at, _priced(primary.journaled.priced)
    reached = _priced(primary.journaled.reached)
    priced = _sum(at, fills, len(reached)) if at else None
    summary = summarise(
        strategy, primary.bars, books, beside, shadow_bars=shadow_bars, priced=priced
    )
    key = {**_inputs(plans["primary"], primary), _SESSION_PART: _session_part(replayed)}

    def write(new: Path) -> None:
        write_run(new, books)
        if beside is not None:
            write_run(new / "shadow", beside)
        if priced is not None:
            _write_priced(new / "shadow" / "orders.csv", [*fills, *reached])
        write_market(new / "market.csv", strategy, primary.bars)
        write_json(new / "summary.json", to_json(summary))
        result = read_result(new, strategy=strategy, bars=primary.bars, inputs=key)
        (new / PAGE).write_text(tearsheet(result), encoding="utf-8")

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
    strategy = shadow.strategy
    prices = {}
    for symbol in strategy.symbols:
        table = shadow.bars.shown[symbol, strategy.timeframe]
        at = np.searchsorted(close_times(table, strategy.timeframe), marks.closes_ms, side="right")
        prices[symbol] = np.concatenate([[np.nan], column(table, "close")])[at]
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
                "id": one.journaled.session.session_id,
                "venue": one.journaled.session.venue,
                "done_ms": one.journaled.session.done_ms,
                "commands": len(one.journaled.commands),
                "priced": len(one.journaled.priced),
                "reached": len(one.journaled.reached),
                "minutes": _digest(one.journaled),
            }
            for role, one in replayed.items()
        }
    )


def _digest(journaled: Journaled) -> str:
    total = hashlib.sha256()
    for minute in journaled.minutes:
        total.update(msgspec.json.encode((minute.ts_ms, minute.bars, minute.barred)))
    for event in journaled.rates:
        total.update(msgspec.json.encode((event.ts_ms, event.body)))
    return total.hexdigest()


def main() -> None:
    """Write the results of the plans that come through stdin, and report how it went."""
    plans: Plans = pickle.load(sys.stdin.buffer)
    try:
        written = write_results(plans)
        if isinstance(written, str):
            report = Report(kind="no results", text=written)
        else:
            report = Report(kind="written", lines=str(written).splitlines())
    except DiffersError as e:
        report = Report(kind="differs", text=str(e))
    except Tbv8Error as e:
        report = Report(kind="failed", text=str(e))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main()
