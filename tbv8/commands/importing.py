"""`doit import`: bars of a file into the database, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from doit.exceptions import InvalidCommand

from tbv8.commands.looking import Looking
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.market import Series


class Import(Looking):
    """Write the 1m bars of a file into the database."""

    doc_purpose = "write the 1m bars of a CSV, gzip, Parquet or Feather file into ohlcv_1m, once"
    doc_usage = "FILE --venue mine --symbol BTC/USDT"
    doc_description = (
        "The venue is one of config/venues without a history of its own: "
        "`{venue: mine, symbols: [BTC/USDT]}`. Columns are found by their names: ts, time, "
        "timestamp or date, and open, high, low, close, volume. A file that is wrong is refused "
        "with the line. Minutes that are held already are replaced. The file is not looked at "
        "again: `history: files` in a venue's YAML follows its files."
    )
    cmd_options = (
        {
            "name": "venue",
            "long": "venue",
            "type": str,
            "default": "",
            "help": "under which venue of config/venues",
        },
        {
            "name": "symbol",
            "long": "symbol",
            "type": str,
            "default": "",
            "help": "which of its symbols, BTC/USDT",
        },
    )

    def _execute(self, venue: str, symbol: str, pos_args: Sequence[str]) -> int:
        from tbv8.backfill import import_file
        from tbv8.store.schema import migrate

        project: Project = self.loader.namespace["PROJECT"]
        for word in pos_args:
            if word.startswith("-"):  # an option behind the file's name, which is put in front
                raise InvalidCommand(f"{word!r} is not a task.")
        if len(pos_args) != 1:
            raise InvalidCommand("name one file: doit import FILE --venue mine --symbol BTC/USDT")
        path, series = Path(pos_args[0]), _series(project, venue, symbol)
        if not path.is_file():
            raise InvalidCommand(f"there is no file {pos_args[0]!r}")
        migrate(project.db_path, root=project.root)
        span = import_file(project.db_path, series, path, now_ms=project.now_ms)
        print(f"{series}: {span} is held: backtest it with market_data_venue: {series.venue}")
        return 0


def _series(project: Project, venue: str, symbol: str) -> Series:
    """Return what the options name.

    Raises:
        InvalidCommand: It is not configured, or its history comes from elsewhere.
    """
    for option, word in (("--venue", venue), ("--symbol", symbol)):
        if not word:
            raise InvalidCommand(f"{option}: missing: --venue mine --symbol BTC/USDT")
    if venue not in project.venues:
        known = unknown("venue", venue, project.venues)
        cure = f"`{{venue: {venue}, symbols: [{symbol}]}}` into config/venues/{venue}.yaml"
        raise InvalidCommand(f"--venue: {known}; for a new one, write {cure}")
    if project.venues[venue].history is not None:
        raise InvalidCommand(
            f"--venue: {venue} has a history of its own, with which a file would be mixed: "
            "import it under another name"
        )
    if symbol not in project.venues[venue].symbols:
        names = project.venues[venue].symbols
        raise InvalidCommand(f"--symbol: {unknown('symbol', symbol, names)}")
    return Series(venue, symbol)
