"""The task or option that a user may have meant by an unknown word.

Users of other programs write a space before an id, dates without `start=`, or the other program's
name for a task.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from tbv8.config.document import nearest
from tbv8.config.load import OVERRIDES
from tbv8.config.records import Project
from tbv8.tasks.options import OPTIONS
from tbv8.venues.registry import find_venue

_GROUPS = ("backtest", "experiment")  # of an id without a group
_DATES = "`start=2024-01-01 end=2024-02-01`"
_COMMANDS = {  # of freqtrade and jesse
    "backtesting": "backtest:STRATEGY",
    "download-data": "backfill",
    "dry-run": "paper:STRATEGY",
    "hyperopt": "experiment:ID",
    "import-candles": "backfill",
    "list-data": "status",
    "list-strategies": "list",
    "live": "paper:STRATEGY",
    "lookahead-analysis": "lookahead:STRATEGY",
    "make-strategy": "new strategy NAME",
    "new-strategy": "new strategy NAME",
    "optimize": "experiment:ID",
    "recursive-analysis": "lookahead:STRATEGY",
    "show-trades": "trades STRATEGY",
    "trade": "paper:STRATEGY",
}
_OPTIONS = {
    "end-date": _DATES,
    "from": _DATES,
    "start-date": _DATES,
    "strategy": "the strategy's id behind a colon, `doit backtest:STRATEGY`",
    "timerange": _DATES,
    "to": _DATES,
}


def meant_task(name: str, arguments: Sequence[str], tasks: Collection[str]) -> str | None:
    """Return the likely task of an unknown name, or a pattern of tasks; None without one.

    Args:
        name: The unknown name.
        arguments: All words after the command, with `name` among them.
        tasks: The names of all tasks.
    """
    groups = {task.partition(":")[0] for task in tasks if ":" in task}
    end = arguments.index(name) + 1 if name in arguments else 0
    at = next((i for i in reversed(range(end)) if arguments[i].removesuffix(":") in groups), None)
    group = None if at is None else arguments[at].removesuffix(":")
    if at is None or group is None:
        starts = [name, *(f"{group}:{name}" for group in _GROUPS)]
    else:
        rest = [word for word in arguments[at + 1 :] if not word.startswith("-")]
        starts = [":".join([group, *rest[:count]]) for count in range(len(rest), 0, -1)]
        starts.append(f"{group}:{name}")
    for start in starts:
        if start in tasks:
            return start
        if any(task.startswith(f"{start}:") for task in tasks) and ":" in start:
            return f"{start}:*"
    if group is None:
        return None
    members = [task.partition(":")[2] for task in tasks if task.startswith(f"{group}:")]
    near = nearest(name, members)
    return f"{group}:{near}" if near else None


def unwanted_venue(name: str, project: Project) -> str | None:
    """Return the venue of an unknown task that exists with this venue as `venue=`; None without.

    The task is about a series that a file of config/venues has and the history venue has not.
    """
    group, _, rest = name.partition(":")
    venue_name, _, rest = rest.partition(":")
    symbol, _, timeframe = rest.partition(":")
    venue = project.venues.get(venue_name)
    if venue is None or symbol not in venue.symbols or venue_name == project.history_venue:
        return None
    timeframes = [str(timeframe) for timeframe in project.timeframes]
    exists = {
        "backfill": not timeframe,
        "funding": not timeframe and find_venue(venue_name).funding is not None,
        "aggregate": timeframe in timeframes,
    }
    return venue_name if exists.get(group) else None


def meant_command(name: str) -> str | None:
    """Return the cure for another program's command; None if the command is not known."""
    if re.match(r"\d{4}-\d\d-\d\d", name):
        return f"write dates as {_DATES}"
    return f"write `doit {_COMMANDS[name]}`" if name in _COMMANDS else None


def meant_option(name: str, subject: str) -> str | None:
    """Return the cure for a wrong option of tasks; None if the option is not known.

    `subject` is the command or the group of tasks.
    """
    if subject not in ("run", "plan", "why", *OPTIONS):
        return None
    word = name.lstrip("-").partition("=")[0]
    if word in OVERRIDES:
        return f"write `{word}=...` without dashes"
    return f"write {_OPTIONS[word]}" if word in _OPTIONS else None
