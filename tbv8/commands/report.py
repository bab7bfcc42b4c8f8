"""`doit report`: one page with the data, the results and the graph of tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from doit.exceptions import InvalidCommand
from doit.task import Task

from tbv8.commands.base import ProjectCommand
from tbv8.commands.order import with_dependencies
from tbv8.commands.plan import PlannedTask, plan
from tbv8.commands.status import stale_results
from tbv8.config.records import Project
from tbv8.errors import DataError
from tbv8.files import replacing
from tbv8.page.html import is_page
from tbv8.page.plotly import write_plotly
from tbv8.report.graph import Node
from tbv8.tasks.wanted import wanted_funding, wanted_history

_STAGES = ("migrate", "backfill", "aggregate", "funding", "backtest", "experiment")


class Report(ProjectCommand):
    """Write the overview page."""

    doc_purpose = "write data/results/index.html: data, gaps, results and tasks on one page"
    doc_usage = ""
    doc_description = (
        "The page is one file that opens offline: the stored months of each series, the recorder's "
        "gaps, the strategies' curves and numbers side by side, fresh or stale with reasons, the "
        "graph of tasks, links to the tearsheets. Nothing runs, and nothing but the page is "
        "written."
    )
    cmd_options = ()

    def _execute(self, pos_args: Sequence[str]) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: `doit report` takes no names: leave it out")
        from tbv8.report.index import read_report, report_page
        from tbv8.report.status import read_status

        project: Project = self.loader.namespace["PROJECT"]
        self.sel_tasks = list(_STAGES)
        wanted = {
            series: spans for series in project.wanted if (spans := wanted_history(project, series))
        }
        nodes: list[Node] = []

        def read_stale() -> Mapping[str, Sequence[str]]:
            tasks = list(self.selected())
            planned = list(plan(iter(tasks)))
            default_tasks = self.loader.namespace["DOIT_CONFIG"]["default_tasks"]
            nodes.extend(_nodes(tasks, planned, with_dependencies(tasks, default_tasks)))
            return stale_results(planned)

        status = read_status(project, wanted, read_stale, funding=wanted_funding(project))
        report = read_report(
            status,
            nodes,
            wanted,
            db_path=project.db_path,
            results_path=project.results_path,
            now_ms=project.now_ms,
        )
        path = project.results_path / "index.html"
        if report.shares_plotly:
            write_plotly(project.results_path)
        with replacing(path, check=_check_replaceable) as new:
            new.write_text(report_page(report), encoding="utf-8")
        print(path)
        return 0


def _nodes(
    tasks: Iterable[Task], planned: Iterable[PlannedTask], needed: Collection[str]
) -> Iterator[Node]:
    """Yield the nodes of the graph, without internal tasks; `needed` are the names for `doit`."""
    runs = {run.task: run for run in planned}
    for task in tasks:
        if task.meta and not task.name.startswith("_"):
            run = runs.get(task.name)
            yield Node(
                name=task.name,
                after=tuple(name for name in task.task_dep if not name.startswith("_")),
                reasons=run.all_reasons if run else (),
                is_needed=task.name in needed,
            )


def _check_replaceable(path: Path) -> None:
    """Refuse to replace a file that is not a page of tbv8."""
    if path.exists() and not (path.is_file() and is_page(path.read_bytes())):
        raise DataError(
            f"{path}: is not a page of tbv8, so it is not replaced: move it elsewhere, or set "
            "another results_path in config/data.yaml"
        )
