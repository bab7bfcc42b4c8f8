"""`doit trades`: the round trips of a result, one a line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec
from doit.exceptions import InvalidCommand

from tbv8.commands.base import JSON, ProjectCommand, print_json, whole_number
from tbv8.commands.errors import refuse_options
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.errors import DataError
from tbv8.manifest import Manifest, read_intact
from tbv8.market import ONE_MINUTE, iso
from tbv8.page.words import minute, number, part_of
from tbv8.store.database import open_reader
from tbv8.store.sessions import Role, StoredSession, read_minutes, read_session
from tbv8.text import counted

if TYPE_CHECKING:
    from tbv8.backtest.round_trips import Steps

_OPTIONAL = ("entry by", "% of entry", "quantity", "MFE", "MAE", "closed")
"""Columns that a narrow terminal leaves out, in this order."""

_USUAL = {"symbol": None, "entry by": "market"}
"""Columns that are left out if all rows have this value, or, for None, the same one."""

_WRITTEN = "written about every five minutes while `doit paper` runs, and at its end"
_NUMBERS = ("quantity", "entry_price", "exit_price", "pnl", "fees", "funding")


class Trades(ProjectCommand):
    """List the round trips of a result."""

    doc_purpose = "list the round trips of a result: times, prices, PnL, exit reason, MAE, MFE"
    doc_usage = "STRATEGY_ID"
    doc_description = (
        "A round trip is from the fill that opens a position to the fill that closes it, or turns "
        'it into the opposite one. PnL is in USD, after fees and funding. "% of entry" is the PnL '
        "as a share of the entry's value. MAE and MFE are how far the price went against the "
        "position and for it, in percent of the entry price. They are missing if the database no "
        'longer has the bars of the run. "by" has the tags or the type of the order that closed '
        'the position, "entry by" those of the order that opened it. "entry by" is left out if all '
        "entries are market orders without tags. A narrow terminal shows fewer columns."
    )
    cmd_options = (
        JSON,
        {
            "name": "last",
            "long": "last",
            "type": str,
            "default": "20",
            "help": "the number of round trips to list, the newest [default: %(default)s]",
        },
        {
            "name": "shadow",
            "long": "shadow",
            "type": bool,
            "default": False,
            "help": "list the round trips of the shadow run at the secondary venue",
        },
        {
            "name": "paper",
            "long": "paper",
            "type": bool,
            "default": False,
            "help": "list the round trips of the paper session, as of its last results",
        },
    )

    def _execute(
        self, as_json: bool, last: str, shadow: bool, paper: bool, pos_args: Sequence[str]
    ) -> int:
        project: Project = self.loader.namespace["PROJECT"]
        refuse_options(pos_args)
        if len(pos_args) != 1:
            raise InvalidCommand("name one strategy: `doit trades STRATEGY_ID`")
        name = pos_args[0].removeprefix("backtest:")
        count = whole_number("--last", last, minimum=1)
        listing = _read(project, name, shadow=shadow, paper=paper)
        venue, trips, newer = listing.venue, listing.trips, listing.newer_fills
        shown = trips[-count:]
        if as_json:
            rows = [{**trip, **{key: float(trip[key]) for key in _NUMBERS}} for trip in shown]
            found = {"strategy_id": name, "venue": venue, "count": len(trips), "trades": rows}
            print_json({**found, "as_of": listing.as_of, "newer_fills": newer} if paper else found)
            return 0
        part = part_of(len(shown), len(trips), "last")
        noun = "round trip" if len(trips) == 1 else "round trips"
        source = f" in the paper session, as of {listing.as_of}" if paper else ""
        print(
            f"{name} at {venue}: {part} {noun}{source}; times are UTC, PnL is USD after all costs"
        )
        if newer:
            print(f"{counted(newer, 'fill')} since then: in the next result, {_WRITTEN}")
        if shown:
            is_terminal = sys.stdout.isatty()
            width = shutil.get_terminal_size().columns if is_terminal else sys.maxsize
            print("\n".join(_lines(shown, width)))
        return 0


class _Listing(msgspec.Struct, frozen=True):
    """The round trips of a result; `as_of` is its end, `newer_fills` the session's fills since."""

    venue: str
    trips: list[dict[str, Any]]
    as_of: str
    newer_fills: int


def _read(project: Project, name: str, *, shadow: bool, paper: bool) -> _Listing:
    """Return the round trips of a result."""
    from tbv8.backtest.round_trips import read_round_trips, read_steps
    from tbv8.results.summary import read_summary

    folder = project.paper_folder(name) if paper else project.results_path / name
    cure = f"`doit paper:{name}` writes it again" if paper else f"run `doit backtest:{name}`"
    manifest = read_intact(folder, cure=cure)
    if manifest is None:
        strategies = project.paper_strategies if paper else project.strategies
        if name not in strategies:
            project.check_file("strategy", name)
            raise InvalidCommand(unknown("strategy", name, strategies))
        cure = _session_cure(project, name) if paper else f"run `doit backtest:{name}`"
        raise InvalidCommand(f"{folder}: there is no result yet: {cure}")
    summary = read_summary(folder)
    stats = summary.shadow if shadow else summary.primary
    if stats is None:
        raise InvalidCommand(f"--shadow: {name} has no shadow run: leave it out")
    role: Role = "shadow" if shadow else "primary"
    newer = 0
    if paper:
        steps = _session_steps(project, manifest, role)
        session = _read_session(project, name, role)
        if session is not None and iso(session.counted_ms) == summary.span["start"]:
            newer = session.state.get("fills", 0) - stats.fills
    else:
        steps = read_steps(project.db_path, manifest)
    trips = read_round_trips(folder / "shadow" if shadow else folder, steps)
    return _Listing(stats.venue, trips.to_pylist(), summary.span["end"], newer)


def _session_cure(project: Project, name: str) -> str:
    """Return the cure for a paper session without a result: start it, or wait."""
    session = _read_session(project, name, "primary")
    if session is None:
        return f"run `doit paper:{name}`"
    began, fills = iso(session.began_ms // 1000 * 1000), session.state.get("fills", 0)
    return f"the session of {began} has {counted(fills, 'fill')} so far; results are {_WRITTEN}"


def _read_session(project: Project, name: str, role: Role) -> StoredSession | None:
    with suppress(DataError), open_reader(project.db_path) as query:
        return read_session(query, name, role)
    return None


def _session_steps(project: Project, manifest: Manifest, role: Role) -> Steps | None:
    """Return the minutes that matched a session's orders; None if longer bars did."""
    from tbv8.backtest.round_trips import Steps
    from tbv8.live.minutes import to_table

    config = manifest.inputs["config"].value
    if config["detail"] != "1m" and config["timeframe"]["text"] != ONE_MINUTE.text:
        return None
    with open_reader(project.db_path) as query:
        minutes = read_minutes(query, manifest.inputs["session"].value[role]["id"])
    symbols = {symbol for minute in minutes for symbol in minute.bars}
    bars = {
        symbol: to_table([bar for minute in minutes if (bar := minute.bars.get(symbol))])
        for symbol in symbols
    }
    return Steps(bars, ONE_MINUTE)


def _lines(trips: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Return a table of round trips, without optional columns that exceed `width` letters."""
    from tbv8.experiments.listing import in_columns

    rows = [_row(trip) for trip in trips]
    heads = [head for head in rows[0] if not _is_usual(head, {row[head] for row in rows})]
    dropped: list[str] = []
    while True:
        lines = in_columns(heads, [[row[head] for head in heads] for row in rows])
        optional = [head for head in _OPTIONAL if head in heads]
        if not optional or max(map(len, lines)) <= width:
            break
        heads.remove(optional[0])
        dropped.append(optional[0])
    if dropped:
        lines.append(f"left out at {width} columns: {', '.join(dropped)}")
    return lines


def _is_usual(head: str, values: Set[str]) -> bool:
    """Return True if a column tells nothing: all of its values are the usual one."""
    return head in _USUAL and len(values) == 1 and _USUAL[head] in (None, *values)


def _row(trip: Mapping[str, Any]) -> dict[str, str]:
    entered = float(trip["entry_price"]) * float(trip["quantity"])
    gain = float(trip["pnl"])
    return {
        "symbol": trip["symbol"],
        "opened": minute(trip["opened_ms"]),
        "closed": minute(trip["closed_ms"]),
        "side": trip["side"],
        "quantity": trip["quantity"],
        "entry": trip["entry_price"],
        "exit": trip["exit_price"],
        "PnL": f"{gain:+,.2f}",
        "% of entry": number(gain / entered if entered else None, "+.2%"),
        "MAE": number(trip["mae"], ".2%"),
        "MFE": number(trip["mfe"], ".2%"),
        "entry by": trip["entry_by"],
        "by": trip["by"],
    }
