"""`doit trades`: the closed positions of a result, one a line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from doit.exceptions import InvalidCommand

from tbv8.commands.readonly import JSON, ReadOnlyCommand, print_json, whole_number
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.manifest import read_manifest
from tbv8.page.words import minute, number, part_of

_DROPPED = ("%", "quantity", "MFE", "MAE", "closed")  # in this order, where a terminal is narrow
_NUMBERS = ("quantity", "entry_price", "exit_price", "pnl", "fees", "funding")


class Trades(ReadOnlyCommand):
    """List the closed positions of a result."""

    doc_purpose = "list the round trips of a backtest: times, prices, PnL, exit reason, MAE, MFE"
    doc_usage = "STRATEGY_ID"
    doc_description = (
        "A round trip is a position from flat to flat. PnL is in USD, after fees and funding; % is "
        "its share of what was entered. MAE and MFE are how far the price went against the "
        "position and for it, in percent of the entry price; they are missing if the database no "
        "longer has the bars of the run. By: the tags or the type of the order that closed the "
        "position. A narrow terminal shows fewer columns."
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
            "help": "those of the shadow run at the secondary venue",
        },
    )

    def _execute(self, as_json: bool, last: str, shadow: bool, pos_args: Sequence[str]) -> int:
        project: Project = self.loader.namespace["PROJECT"]
        for word in pos_args:
            if word.startswith("-"):  # with this message `OneLine` moves the option to the front
                raise InvalidCommand(f"{word!r} is not a task.")
        if len(pos_args) != 1:
            raise InvalidCommand("name one strategy: `doit trades STRATEGY_ID`")
        name = pos_args[0].removeprefix("backtest:")
        count = whole_number("--last", last, minimum=1)
        venue, trips = _read(project, name, shadow=shadow)
        shown = trips[-count:]
        if as_json:
            rows = [{**trip, **{key: float(trip[key]) for key in _NUMBERS}} for trip in shown]
            print_json({"strategy_id": name, "venue": venue, "count": len(trips), "trades": rows})
            return 0
        part = part_of(len(shown), len(trips), "last")
        print(f"{name} at {venue}: {part} round trips; times are UTC, PnL is USD after all costs")
        if shown:
            is_terminal = sys.stdout.isatty()
            width = shutil.get_terminal_size().columns if is_terminal else sys.maxsize
            print("\n".join(_lines(shown, width)))
        return 0


def _read(project: Project, name: str, *, shadow: bool) -> tuple[str, list[dict[str, Any]]]:
    """Return the venue and the closed positions of a result."""
    from tbv8.backtest.round_trips import read_round_trips, read_steps
    from tbv8.results.summary import read_summary

    folder = project.results_path / name
    manifest = read_manifest(folder)
    if manifest is None:
        if name not in project.strategies:
            raise InvalidCommand(unknown("strategy", name, project.strategies))
        raise InvalidCommand(f"{folder}: there is no result yet: run `doit backtest:{name}`")
    summary = read_summary(folder)
    stats = summary.shadow if shadow else summary.primary
    if stats is None:
        raise InvalidCommand(f"--shadow: {name} has no shadow run: leave it out")
    steps = read_steps(project.db_path, manifest)
    trips = read_round_trips(folder / "shadow" if shadow else folder, steps)
    return stats.venue, trips.to_pylist()


def _lines(trips: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Return round trips as a table of at most `width` columns, without its least parts."""
    from tbv8.experiments.listing import in_columns

    rows = [_row(trip) for trip in trips]
    heads = [head for head in rows[0] if head != "symbol" or len({t["symbol"] for t in trips}) > 1]
    dropped: list[str] = []
    while True:
        lines = in_columns(heads, [[row[head] for head in heads] for row in rows])
        droppable = [head for head in _DROPPED if head in heads]
        if not droppable or max(map(len, lines)) <= width:
            break
        heads.remove(droppable[0])
        dropped.append(droppable[0])
    if dropped:
        lines.append(f"left out at {width} columns: {', '.join(dropped)}")
    return lines


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
        "%": number(gain / entered if entered else None, "+.2%"),
        "MAE": number(trip["mae"], ".2%"),
        "MFE": number(trip["mfe"], ".2%"),
        "by": trip["by"],
    }
