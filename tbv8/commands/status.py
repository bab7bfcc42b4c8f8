"""`doit status`: what is held, what the recorder missed, which results are fresh."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from doit.exceptions import InvalidCommand

from tbv8.commands.looking import JSON, Looking, print_json
from tbv8.commands.plan import Planned, plan
from tbv8.config.records import Project
from tbv8.report.status import read_status, to_json
from tbv8.tasks import wanted_funding, wanted_history

_RESULT = "backtest:"


class Status(Looking):
    """Print the state of the database, the recorder and the results."""

    doc_purpose = "show series, recorder gaps, results fresh or stale, and the database"
    doc_usage = ""
    doc_description = (
        "Nothing runs, nothing is written. Bars: first and last bar held, how many; missing are "
        "minutes that the venue itself does not have; gaps are stretches that are not known, of "
        "wanted history all that is still to be fetched; size is estimated from the number of bars "
        "(82 bytes each, about). Recorder gaps: per channel how many, how many of them were filled "
        "afterwards, how many last, and how long the others were together. A strategy is stale "
        "when `doit backtest:<strategy_id>` would run; `doit plan` and `doit why` tell more. "
        "A database that is absent, damaged, locked or of another revision is said to be so."
    )
    cmd_options = (JSON,)

    def _execute(self, as_json: bool, pos_args: Sequence[str]) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: `doit status` shows all there is")
        project: Project = self.loader.namespace["PROJECT"]
        self.sel_tasks = ["backtest"]
        wanted = {
            series: spans for series in project.wanted if (spans := wanted_history(project, series))
        }
        status = read_status(
            project,
            wanted,
            lambda: stale_results(plan(self.selected())),
            funding=wanted_funding(project),
        )
        if as_json:
            print_json(to_json(status))
        else:
            from tbv8.report.status_view import print_status

            print_status(status)
        return 0


def stale_results(planned: Iterable[Planned]) -> dict[str, tuple[str, ...]]:
    """Return why each stale result would be made again, by strategy."""
    return {
        run.task.removeprefix(_RESULT): run.why for run in planned if run.task.startswith(_RESULT)
    }
