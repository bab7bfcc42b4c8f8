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
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.errors import DiffersError, Tbv8Error
from tbv8.live.driver import JournaledSession
from tbv8.live.output import ProcessReport, claim_stdout
from tbv8.live.pricing import PricedOrder
from tbv8.live.replay import ReplayedSession, SessionConfigs, no_bars_text, read_sessions, replay
from tbv8.live.session_config import SessionConfig
from tbv8.manifest import SESSION_PART, Input, make_input
from tbv8.market import iso, iso_day
from tbv8.results.accounting import to_books
from tbv8.results.folder import write_result
from tbv8.results.marks import Marks, last_closes, to_marks, without_warm_up
from tbv8.results.summary import PricedDay, PricedFills, Summary, summarise
from tbv8.results.write import write_files
from tbv8.store.sessions import Event


def write_results(configs: SessionConfigs) -> Summary | str:
    """Write the results of a session as of now; return their summary, or why there are none yet.

    Raises:
        DataError: The replay differs from the journal, or the folder is not tbv8's.
        StrategyError: The strategy raised.
    """
    journaled = read_sessions(configs)
    if missing := no_bars_text(configs, journaled["primary"]):
        return missing
    replayed = {
        role: replay(configs[role], session_journal) for role, session_journal in journaled.items()
    }
    folder = configs["primary"].folder
    return write_replayed(folder, configs, replayed)


def write_replayed(
    folder: Path, configs: SessionConfigs, replayed: Mapping[str, ReplayedSession]
) -> Summary | str:
    """Write the results of replayed sessions; return their summary, or why there are none yet."""
    primary, shadow = replayed["primary"], replayed.get("shadow")
    strategy = primary.strategy
    main = without_warm_up(strategy, primary.bars.shown[strategy.symbol, strategy.timeframe])
    if not main.num_rows:
        closes = iso(strategy.timeframe.ceil(strategy.span.start_ms + 1))
        return f"no {strategy.timeframe} bar has closed yet, the first one closes at {closes}"
    marks = to_marks(strategy, primary.bars)
    accounts = {"primary": to_books(primary.run, marks)}
    if shadow is not None:
        accounts["shadow"] = to_books(shadow.run, _shadow_marks(marks, shadow))
    priced_at, fills = configs["primary"].priced_at, _decode_priced(primary.journaled.priced)
    reached = _decode_priced(primary.journaled.reached)
    priced = _sum_by_day(priced_at, fills, len(reached)) if priced_at else None
    summary = summarise(
        strategy,
        primary.bars,
        accounts["primary"],
        accounts.get("shadow"),
        shadow_bars=shadow.bars if shadow else None,
        priced=priced,
    )
    key = {**_inputs(configs["primary"], primary), SESSION_PART: _session_part(replayed)}

    def write(new: Path) -> None:
        if priced is not None:
            _write_priced(new / "shadow" / "orders.csv", [*fills, *reached])
        write_files(new, strategy, primary.bars, summary, accounts, inputs=key)

    write_result(folder, write, inputs=key)
    return summary


def _decode_priced(events: Iterable[Event]) -> list[PricedOrder]:
    return [msgspec.json.decode(event.body, type=PricedOrder) for event in events]


def _sum_by_day(venue: str, fills: Sequence[PricedOrder], reached: int) -> PricedFills:
    days = [
        PricedDay(day=day, **_total(list(of_day)))
        for day, of_day in groupby(fills, key=lambda fill: iso_day(fill.ts_ms))
    ]
    return PricedFills(venue=venue, days=tuple(days), reached=reached, **_total(fills))


def _total(fills: Sequence[PricedOrder]) -> dict[str, Any]:
    costs = [fill.cost_usd for fill in fills if fill.cost_usd is not None]
    return {"fills": len(fills), "priced": len(costs), "cost_usd": sum(costs, Decimal(0))}


def _write_priced(path: Path, fills: Sequence[PricedOrder]) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PricedOrder.__struct_fields__)
        for fill in fills:
            values = msgspec.structs.astuple(fill)
            writer.writerow(f"{v:f}" if isinstance(v, Decimal) else v for v in values)


def _shadow_marks(marks: Marks, shadow: ReplayedSession) -> Marks:
    """Return the primary's marks with the prices of the shadow's bars."""
    prices = last_closes(shadow.strategy, shadow.bars, marks.prices, marks.closes_ms)
    return replace(marks, prices=prices)


def _inputs(config: SessionConfig, replayed: ReplayedSession) -> dict[str, Input]:
    session = replayed.journaled.session
    span = {"start": iso(session.counted_ms), "end": iso(session.done_ms)}
    parts = {name: Input(**part) for name, part in session.inputs.items()}
    return {**parts, "span": make_input(span)}


def _session_part(replayed: Mapping[str, ReplayedSession]) -> Input:
    return make_input(
        {
            role: {
                "id": session_journal.journaled.session.session_id,
                "began_ms": session_journal.journaled.session.began_ms,
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
    """Write the results of the configs from stdin, and report the outcome."""
    configs: SessionConfigs = pickle.load(sys.stdin.buffer)
    stdout = claim_stdout()
    try:
        written = write_results(configs)
        if isinstance(written, str):
            report = ProcessReport(kind="no results", text=written)
        else:
            report = ProcessReport(kind="written", summary_lines=str(written).splitlines())
    except DiffersError as e:
        report = ProcessReport(kind="differs", text=str(e))
    except Tbv8Error as e:
        report = ProcessReport(kind="failed", text=str(e))
    stdout.write(msgspec.json.encode(report))
    stdout.flush()


if __name__ == "__main__":
    main()
