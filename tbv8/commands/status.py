"""`doit status`: the stored data, the recorder's gaps, and the freshness of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from doit.exceptions import InvalidCommand
from msgspec.structs import replace

from tbv8.commands.base import JSON, SERIES, ProjectCommand, choose_series, print_json
from tbv8.commands.plan import PlannedTask, plan
from tbv8.config.records import Project
from tbv8.market import Series
from tbv8.report.status import (
    GapStatus,
    ProjectStatus,
    SeriesStatus,
    TickStatus,
    read_status,
    to_json,
)
from tbv8.tasks.wanted import wanted_funding, wanted_history


class Status(ProjectCommand):
    """Print the state of the database, the recorder and the results."""

    doc_purpose = "show series, recorder gaps, results, paper sessions, experiments, the database"
    doc_usage = ""
    doc_description = (
        'Runs nothing and writes nothing. "bars" is the number of stored bars, "missing minutes" '
        'those that the venue itself does not have. "gaps" are spans that are not stored yet, also '
        'of configured history that was never fetched. "size" is an estimate, of about 82 bytes '
        "for each bar. Recorder gaps show for each channel their number, those filled afterwards, "
        "those still open, and the total length of the rest. A strategy or an experiment is stale "
        "if its task would run; `doit plan` and `doit why` show the reasons. If there are many "
        "series, those of a venue and a dataset share a row, with the number of series that end "
        'before the newest ("behind"). --venue and --symbol show each. A missing, damaged or '
        "locked database is reported, and one of another revision too."
    )
    cmd_options = (JSON, *SERIES)

    def _execute(self, as_json: bool, venue: str, symbol: str, pos_args: Sequence[str]) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: choose with --venue and --symbol")
        project: Project = self.loader.namespace["PROJECT"]
        self.sel_tasks = ["backtest", "experiment"]
        wanted = {
            series: spans for series in project.wanted if (spans := wanted_history(project, series))
        }
        status = read_status(
            project,
            wanted,
            lambda: stale_results(plan(self.selected())),
            funding=wanted_funding(project),
        )
        if venue or symbol:
            status = _restrict(status, project, venue=venue, symbol=symbol)
        if as_json:
            print_json(to_json(status))
        else:
            from tbv8.report.status_view import print_status

            print_status(status, every_series=bool(venue or symbol))
        return 0


def _restrict(status: ProjectStatus, project: Project, *, venue: str, symbol: str) -> ProjectStatus:
    """Return the status of the chosen series alone."""
    stored = [Series(row.venue, row.symbol) for row in status.series]
    stored += [Series(row.venue, row.symbol) for row in status.ticks]
    chosen = choose_series(project, stored, venue=venue, symbol=symbol)

    def is_chosen(row: SeriesStatus | TickStatus | GapStatus) -> bool:
        return Series(row.venue, row.symbol) in chosen

    return replace(
        status,
        series=tuple(filter(is_chosen, status.series)),
        ticks=tuple(filter(is_chosen, status.ticks)),
        tick_rows={},  # of all series
        recorder_gaps=tuple(filter(is_chosen, status.recorder_gaps)),
    )


def stale_results(planned: Iterable[PlannedTask]) -> dict[str, tuple[str, ...]]:
    """Return the reasons of each task that would run."""
    return {run.task: run.all_reasons for run in planned}
