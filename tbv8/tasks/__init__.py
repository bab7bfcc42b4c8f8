"""The graph of tasks for pydoit; `dodo.py` names each group of them.

    loading     the project of the folder that pydoit runs in
    options     command-line options of tasks
    graph       the graph: config in, task dicts out
    wanted      the series, timeframes and funding that the configuration needs
    states      the states of tasks, with reasons if stale
    actions     the actions of tasks
    task        the dict of a task, and the output of failed ones

The function that reads a task's state is in its `meta["state"]`; `uptodate`, `doit plan` and
`doit why` all call it. Heavy modules are imported inside the actions.
"""

from tbv8.tasks.graph import (
    aggregates,
    backfills,
    backtests,
    experiments,
    fundings,
    lookaheads,
    migrate,
    papers,
    record,
    replays,
    reproduces,
)
from tbv8.tasks.loading import doit_config, project
from tbv8.tasks.options import (
    AGGREGATE_OPTIONS,
    BACKFILL_OPTIONS,
    PAPER_OPTIONS,
    RECORD_OPTIONS,
    REPRODUCE_OPTIONS,
)

__all__ = [
    "AGGREGATE_OPTIONS",
    "BACKFILL_OPTIONS",
    "PAPER_OPTIONS",
    "RECORD_OPTIONS",
    "REPRODUCE_OPTIONS",
    "aggregates",
    "backfills",
    "backtests",
    "doit_config",
    "experiments",
    "fundings",
    "lookaheads",
    "migrate",
    "papers",
    "project",
    "record",
    "replays",
    "reproduces",
]
