"""`doit export`: bars, funding or ticks as Parquet, or a copy of the whole database."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from doit.exceptions import InvalidCommand

from tbv8.commands.base import SERIES, ProjectCommand, choose_series
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.errors import DataError
from tbv8.market import DAY_MS, Series, Span, parse_time
from tbv8.progress import progress
from tbv8.store.database import Query, open_reader
from tbv8.store.prune import RECORDED_TABLES, stored_ticks
from tbv8.store.trials import read_experiment_ids
from tbv8.text import counted

if TYPE_CHECKING:
    from tbv8.store.export import Partition

_FOLDER = "data/export"
_TRIALS = "trials"
_YEAR_10000_MS = 253_402_300_800_000


class Export(ProjectCommand):
    """Write files for other tools."""

    doc_purpose = "write bars, trades, quotes or trials to Parquet, or copy the whole database"
    doc_usage = (
        "--dataset ohlcv_1m [--venue V] [--symbol S] [--start DAY] [--end DAY]"
        " [--partition month | --into FILE] | --dataset trials --experiment ID | --database FILE"
    )
    doc_description = (
        "Writes a Parquet file for each UTC day: "
        "<folder>/<venue>/BTC-USDT/<dataset>/2024-01-31.parquet. It has the columns of the table, "
        "and the day's digest and source in its metadata. Files are written atomically, and the "
        "same rows give the same bytes. Without --venue and --symbol all series are written, "
        "without --start and --end all stored days. Days without rows have no file. A day that was "
        "changed by hand is refused. --partition month writes a file for each month, --into FILE "
        "all rows into one file. --database FILE writes a consistent copy of the database, also "
        "while a recorder writes to it."
    )
    cmd_options = (
        {
            "name": "dataset",
            "long": "dataset",
            "type": str,
            "default": "",
            "help": "the table: ohlcv_1m, bars_1m, bars_5m, ... funding, trades, bbo or mark",
        },
        {
            "name": "experiment",
            "long": "experiment",
            "type": str,
            "default": "",
            "help": "with --dataset trials: the experiment's id; writes one file of its trials",
        },
        *SERIES,
        {
            "name": "start",
            "long": "start",
            "type": str,
            "default": "",
            "help": "the first UTC day, 2024-01-31",
        },
        {
            "name": "end",
            "long": "end",
            "type": str,
            "default": "",
            "help": "the UTC day after the last one",
        },
        {
            "name": "to",
            "long": "to",
            "type": str,
            "default": _FOLDER,
            "help": "the folder to write to [default: %(default)s]",
        },
        {
            "name": "partition",
            "long": "partition",
            "type": str,
            "default": "day",
            "choices": (("day", ""), ("month", "")),
            "help": "one file per `day` or `month` [default: %(default)s]",
        },
        {
            "name": "into",
            "long": "into",
            "type": str,
            "default": "",
            "help": "write all rows to this one file",
        },
        {
            "name": "database",
            "long": "database",
            "type": str,
            "default": "",
            "help": "copy the database to this file",
        },
        {
            "name": "yes",
            "long": "yes",
            "short": "y",
            "type": bool,
            "default": False,
            "help": "replace the file of --into or --database if it exists",
        },
    )

    def _execute(
        self,
        dataset: str,
        experiment: str,
        venue: str,
        symbol: str,
        start: str,
        end: str,
        to: str,
        partition: Partition,
        into: str,
        database: str,
        yes: bool,
        pos_args: Sequence[str],
    ) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: choose with --dataset, --venue and --symbol")
        project: Project = self.loader.namespace["PROJECT"]
        if database:
            selection = dataset or experiment or venue or symbol or start or end or into
            if selection or to != _FOLDER or partition != "day":
                raise InvalidCommand(
                    "--database copies the whole database: leave the other options out"
                )
            _copy(project, Path(database), yes=yes)
            return 0
        if not dataset:
            raise InvalidCommand(
                "--dataset: missing: write a table, such as --dataset ohlcv_1m, or "
                "--database FILE for a copy of the whole database"
            )
        if experiment or dataset == _TRIALS:
            if dataset != _TRIALS or venue or symbol or start or end or into or partition != "day":
                raise InvalidCommand(
                    "--experiment: combines only with --dataset trials and --to: leave the other "
                    "options out"
                )
            _export_trials(project, experiment, Path(to))
            return 0
        options = _Options(dataset, venue, symbol, _span(start, end))
        if not into:
            _export(project, options, Path(to), by=partition)
            return 0
        if to != _FOLDER or partition != "day":
            raise InvalidCommand("--into writes a single file: leave --to and --partition out")
        _check_target("--into", Path(into), project.db_path, yes=yes)
        _export_file(project, options, Path(into))
        return 0


def _export_trials(project: Project, experiment: str, folder: Path) -> None:
    from tbv8.experiments.listing import export_trials

    with open_reader(project.db_path) as query:
        experiments = read_experiment_ids(query)
        if experiment not in experiments:
            raise InvalidCommand(f"--experiment: {unknown('experiment', experiment, experiments)}")
        path, rows = export_trials(query, experiment, folder)
    print(f"   {path}: {counted(rows, 'trial')}")


class _Options(msgspec.Struct, frozen=True):
    """The options of `export`: "" for all venues and symbols, an empty span for all days."""

    dataset: str
    venue: str
    symbol: str
    span: Span


def _export(project: Project, options: _Options, folder: Path, *, by: Partition) -> None:
    from tbv8.store.export import export_bars, export_ticks, series_folder

    dataset = options.dataset
    export = export_ticks if dataset in RECORDED_TABLES else export_bars
    for series, days in _days(project, options).items():
        with progress(f"export {dataset} of {series}", len(days), "day") as advance:
            written, unchanged = export(
                project.db_path, folder, series, dataset, days, by=by, advance=advance
            )
        print(
            f"   {series_folder(folder, series, dataset)}/: {written:,} files written"
            + (f", {unchanged:,} up to date" if unchanged else "")
        )


def _export_file(project: Project, options: _Options, path: Path) -> None:
    from tbv8.store.export import export_file

    days = _days(project, options)
    with progress(f"export {options.dataset}", sum(map(len, days.values())), "day") as advance:
        export_file(project.db_path, path, options.dataset, days, advance=advance)
    columns = ", distinguished by the columns venue and symbol" if len(days) > 1 else ""
    print(f"   {path}: {options.dataset} of {', '.join(map(str, days))}{columns}")


def _days(project: Project, options: _Options) -> dict[Series, list[Any]]:
    """Return the days to write, by series.

    Raises:
        InvalidCommand: No day is stored.
    """
    from tbv8.store.export import exportable
    from tbv8.store.tick_tables import tick_days

    find = tick_days if options.dataset in RECORDED_TABLES else exportable
    with open_reader(project.db_path) as query:
        days: dict[Series, list[Any]] = {
            series: series_days
            for series in _select_series(project, query, options)
            if (series_days := list(find(query, series, options.dataset, options.span)))
        }
    if not days:
        raise InvalidCommand(
            f"no rows of {options.dataset} are stored for this selection: `doit status` shows the "
            "stored ones"
        )
    return days


def _select_series(project: Project, query: Query, options: _Options) -> list[Series]:
    """Return the stored series of a dataset that match the options.

    Raises:
        InvalidCommand: A name is neither stored nor configured.
    """
    ledger = query(
        "SELECT DISTINCT dataset, venue, symbol FROM history_coverage"
        " WHERE dataset IN (SELECT name FROM sqlite_master WHERE type = 'table')",
        (),
    )
    stored = {(str(name), Series(str(venue), str(symbol))) for name, venue, symbol in ledger}
    stored |= set(stored_ticks(query, RECORDED_TABLES))
    datasets = {*RECORDED_TABLES, *(name for name, _ in stored)}
    if options.dataset not in datasets:
        raise InvalidCommand(f"--dataset: {unknown('dataset', options.dataset, datasets)}")
    chosen = choose_series(
        project, (series for _, series in stored), venue=options.venue, symbol=options.symbol
    )
    return sorted(series for series in chosen if (options.dataset, series) in stored)


def _span(start: str, end: str) -> Span:
    span = Span(_day_ms("--start", start, 0), _day_ms("--end", end, _YEAR_10000_MS))
    if not span:
        raise InvalidCommand(
            f"--end: {end!r} is not after the start: write the day after the last one"
        )
    return span


def _day_ms(option: str, text: str, default: int) -> int:
    if not text:
        return default
    try:
        ts_ms = parse_time(text)
    except ValueError as e:
        raise InvalidCommand(f"{option}: {e}") from e
    if ts_ms % DAY_MS:
        raise InvalidCommand(f"{option}: {text!r} is not midnight UTC: write a date alone")
    return ts_ms


def _check_target(option: str, target: Path, db_path: Path, *, yes: bool) -> None:
    if target.is_dir():
        raise InvalidCommand(f"{option}: {target} is a folder: write the path of a file")
    if target.exists() and db_path.exists() and target.samefile(db_path):
        raise InvalidCommand(f"{option}: {target} is the database itself: write another name")
    if target.exists() and not yes:
        raise InvalidCommand(f"{option}: {target} exists already: add --yes to replace it")


def _copy(project: Project, target: Path, *, yes: bool) -> None:
    from tbv8.store.export import copy_database, copy_size

    source = project.db_path
    _check_target("--database", target, source, yes=yes)
    with open_reader(source) as query:
        size = copy_size(query)
    parent = next(folder for folder in target.absolute().parents if folder.is_dir())
    free = shutil.disk_usage(parent).free
    if free < size:
        raise DataError(
            f"{target}: needs {size / 1e6:,.0f} MB, but the disk has {free / 1e6:,.0f} MB free: "
            "free some space, or write it to another disk"
        )
    with progress(f"copy {source}", round(size / 1e6), "MB") as advance:
        copy_database(source, target, advance=advance)
    print(f"   {target}: {target.stat().st_size / 1e6:,.0f} MB, as of the start of the copy")
