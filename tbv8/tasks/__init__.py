"""The graph of tasks for pydoit; `dodo.py` names each group of them.

    loading     the project of the folder that pydoit runs in
    options     options on the command line
    graph       config in, task dicts out
    wanted      which series, timeframes and funding the configuration wants
    states      questions: is it stale, and why
    actions     what the tasks do
    task        how a task is made, and what is printed of one that fails

Every task carries its question in `meta["state"]`: `uptodate`, `doit plan` and `doit why` ask the
same one. Whatever is heavy is imported inside of the actions.
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
