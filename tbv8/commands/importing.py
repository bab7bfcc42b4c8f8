"""`doit import`: copy the bars of a file into the database once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from doit.exceptions import InvalidCommand

from tbv8.commands.base import ProjectCommand
from tbv8.commands.errors import refuse_options
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.market import Series


class Import(ProjectCommand):
    """Write the 1m bars of a file into the database."""

    doc_purpose = "write the 1m bars of a CSV, gzip, Parquet or Feather file into ohlcv_1m, once"
    doc_usage = "FILE --venue mine --symbol BTC/USDT [--zone UTC]"
    doc_description = (
        "The venue is one of config/venues without a history source: `{venue: mine, symbols: "
        "[BTC/USDT]}`. Columns are found by their names: ts, time, timestamp or date, and open, "
        "high, low, close, volume. A file with errors is refused, with the line of the first. The "
        "command asks before it replaces stored minutes by different ones. The same file may be "
        "imported again. Later changes of the file have no effect: for files that change, write "
        "`history: files` into a venue's YAML."
    )
    cmd_options = (
        {
            "name": "venue",
            "long": "venue",
            "type": str,
            "default": "",
            "help": "the venue of config/venues to store the bars under",
        },
        {
            "name": "symbol",
            "long": "symbol",
            "type": str,
            "default": "",
            "help": "the venue's symbol, such as BTC/USDT",
        },
        {
            "name": "zone",
            "long": "zone",
            "type": str,
            "default": "",
            "help": "the zone of times without one, such as UTC or Europe/Berlin",
        },
        {
            "name": "replace",
            "long": "replace",
            "type": bool,
            "default": False,
            "help": "replace stored minutes of another file without asking",
        },
    )

    def _execute(
        self, venue: str, symbol: str, zone: str, replace: bool, pos_args: Sequence[str]
    ) -> int:
        from tbv8.backfill.importing import import_file
        from tbv8.store.schema import migrate

        project: Project = self.loader.namespace["PROJECT"]
        refuse_options(pos_args)
        if len(pos_args) != 1:
            raise InvalidCommand("name one file: `doit import FILE --venue mine --symbol BTC/USDT`")
        path, series = Path(pos_args[0]), _series(project, venue, symbol)
        _check_zone(zone)
        if not path.is_file():
            raise InvalidCommand(f"no file {pos_args[0]!r}: check its path")
        migrate(project.db_path, root=project.root)
        configured = project.venues[venue]
        span = import_file(
            project.db_path,
            series,
            path,
            venue=configured,
            now_ms=project.now_ms,
            may_replace=lambda problem: replace or _confirm(problem),
            zone=zone,
        )
        if span is None:
            print("nothing was imported")
            return 1
        print(f"{series}: {span} is stored: backtest it with market_data_venue: {series.venue}")
        return 0


def _confirm(problem: str) -> bool:
    """Ask whether stored minutes may be replaced.

    Raises:
        InvalidCommand: There is no terminal.
    """
    if not sys.stdin.isatty():
        raise InvalidCommand(f"{problem}: add --replace to replace them")
    try:
        return input(f"{problem}: replace them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        print()
        return False


def _check_zone(zone: str) -> None:
    """Refuse a value of `--zone` that is no time zone."""
    if zone not in ("", "UTC"):
        from zoneinfo import available_timezones

        if zone not in (zones := available_timezones()):
            raise InvalidCommand(f"--zone: {unknown('time zone', zone, zones)}")


def _series(project: Project, venue: str, symbol: str) -> Series:
    """Return the series that the options name.

    Raises:
        InvalidCommand: It is not configured, or its venue has another history source.
        ConfigError: The file of its venue has an error.
    """
    for option, value in (("--venue", venue), ("--symbol", symbol)):
        if not value:
            raise InvalidCommand(f"{option}: missing: --venue mine --symbol BTC/USDT")
    if venue not in project.venues:
        project.check_file("venue", venue)
        problem = unknown("venue", venue, project.venues)
        cure = f"`{{venue: {venue}, symbols: [{symbol}]}}` into config/venues/{venue}.yaml"
        raise InvalidCommand(f"--venue: {problem}; for a new one, write {cure}")
    if project.venues[venue].history is not None:
        raise InvalidCommand(
            f"--venue: {venue} has a history source, and an import would mix with it: "
            f"`doit backfill:{venue}:{symbol}` fetches its bars, or import under another venue"
        )
    if symbol not in project.venues[venue].symbols:
        names = project.venues[venue].symbols
        raise InvalidCommand(f"--symbol: {unknown('symbol', symbol, names)}")
    return Series(venue, symbol)
