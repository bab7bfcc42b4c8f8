"""`doit prune`: drop old trades and quotes, unused trials, or a series or paper session."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from doit.exceptions import InvalidCommand

from tbv8.commands.base import SERIES, ProjectCommand, choose_series
from tbv8.config.document import unknown
from tbv8.config.records import Project
from tbv8.market import Series, Span, iso, parse_duration_ms
from tbv8.progress import progress
from tbv8.store.database import open_reader
from tbv8.store.locks import recorder_lock, session_lock
from tbv8.store.prune import (
    OldRows,
    count_rows,
    count_session_rows,
    drop_series,
    drop_session,
    find_old,
    free_bytes,
    prune,
    stored_ticks,
)
from tbv8.store.sessions import read_sessions
from tbv8.store.trials import open_trials, read_died, read_experiment_ids, read_orphans
from tbv8.text import counted


class Prune(ProjectCommand):
    """Drop rows of the database."""

    doc_purpose = "drop old trades and quotes, unused trials, paper sessions, or one series"
    doc_usage = (
        "--older-than 90d | --trials [--died] | --session ID | --everything --venue V --symbol S"
    )
    doc_description = (
        "Lists the rows to drop of each series, with their span, and asks for confirmation. "
        "Without a terminal it needs --yes. It works in small transactions, also beside a running "
        "recorder. After an interruption, run the same command to continue. The newest trade and "
        "quote of each series always stay: the recorder needs them to find what it missed. Bars, "
        "the ledger and the list of recorder gaps stay. The file does not shrink, but uses its "
        "free pages again before it grows. --trials drops the trials that no file of "
        "config/experiments uses any more, --died also those whose process died, so that they are "
        "tried again. --session drops one paper session, by its number, or all of a strategy, by "
        "its id. No process may run them, and their result files stay. --everything drops all rows "
        "of one series, its bars and ledger too. It is needed if the symbol's native name or "
        "multiplier has changed. The recorder must not run meanwhile."
    )
    cmd_options = (
        {
            "name": "older_than",
            "long": "older-than",
            "type": str,
            "default": "",
            "help": "drop trades and quotes older than this: 90d, 12h, 30m",
        },
        {
            "name": "trials",
            "long": "trials",
            "type": bool,
            "default": False,
            "help": "drop trials that no experiment uses",
        },
        {
            "name": "died",
            "long": "died",
            "type": bool,
            "default": False,
            "help": "with --trials: also drop those whose process died",
        },
        {
            "name": "session",
            "long": "session",
            "type": str,
            "default": "",
            "help": "drop a paper session by its number, or all sessions of a strategy by its id",
        },
        {
            "name": "everything",
            "long": "everything",
            "type": bool,
            "default": False,
            "help": "drop all rows of one series, with --venue and --symbol",
        },
        *SERIES,
        {
            "name": "yes",
            "long": "yes",
            "short": "y",
            "type": bool,
            "default": False,
            "help": "do not ask for confirmation",
        },
    )

    def _execute(
        self,
        older_than: str,
        trials: bool,
        died: bool,
        session: str,
        everything: bool,
        venue: str,
        symbol: str,
        yes: bool,
        pos_args: Sequence[str],
    ) -> int:
        if pos_args:
            raise InvalidCommand(f"{pos_args[0]!r}: choose with --venue and --symbol")
        project: Project = self.loader.namespace["PROJECT"]
        if trials:
            if older_than or session or everything or venue or symbol:
                raise InvalidCommand("--trials drops only trials: leave the other options out")
            return _prune_trials(project, died=died, yes=yes)
        if died:
            raise InvalidCommand("--died: needs --trials: add it")
        if session:
            if older_than or everything or venue or symbol:
                raise InvalidCommand("--session drops only sessions: leave the other options out")
            return _prune_sessions(project, session, yes=yes)
        if everything:
            if older_than or not (venue and symbol):
                raise InvalidCommand(
                    "--everything drops all of one series: name it by --venue and --symbol, and "
                    "leave the other options out"
                )
            return _drop_series(project, Series(venue, symbol), yes=yes)
        return _prune_old(project, older_than, venue=venue, symbol=symbol, yes=yes)


def _prune_old(project: Project, older_than: str, *, venue: str, symbol: str, yes: bool) -> int:
    """Drop old trades and quotes of the chosen series."""
    before_ms = project.now_ms - _age_ms(older_than)
    with open_reader(project.db_path) as query:
        stored = list(stored_ticks(query))
        chosen = choose_series(
            project, (series for _, series in stored), venue=venue, symbol=symbol
        )
        candidates = [
            find_old(query, table, series, before_ms=before_ms)
            for table, series in stored
            if series in chosen
        ]
    old = [part for part in candidates if part]
    if not old:
        print(f"nothing is older than {iso(before_ms)}: nothing to drop")
        return 0
    _check_terminal(yes)
    for part in old:
        print(f"   {part.table} of {part.series}: {part.rows:,} rows, {part.span}")
    if not _is_confirmed(sum(part.rows for part in old), yes=yes):
        return 1
    for part in old:
        _drop_old(project, part)
    with open_reader(project.db_path) as query:
        free = free_bytes(query)
    print(
        f"{project.db_path} keeps its size: {free / 1e6:,.0f} MB in it are free now and are "
        "used again before it grows. To shrink it, stop the recorder and run "
        f"`sqlite3 {project.db_path} VACUUM`"
    )
    return 0


def _check_terminal(yes: bool) -> None:
    if not yes and not sys.stdin.isatty():
        raise InvalidCommand("prune asks for confirmation, but there is no terminal: add --yes")


def _prune_trials(project: Project, *, died: bool, yes: bool) -> int:
    """Drop trials that no experiment uses; an experiment with an error in its file keeps them."""
    used = {*project.experiments, *(p.name for p in project.problems if p.kind == "experiment")}
    with open_reader(project.db_path) as query:
        removed = [name for name in read_experiment_ids(query) if name not in used]
        keys = read_orphans(query, removed)
        if died:
            keys = list(dict.fromkeys([*keys, *read_died(query)]))
    if not keys and not removed:
        print("every trial belongs to an experiment in config/experiments: nothing to drop")
        return 0
    _check_terminal(yes)
    for name in removed:
        print(f"   {name}: no longer in config/experiments")
    if not _is_confirmed(len(keys), yes=yes):
        return 1
    with open_trials(project.db_path) as store:
        store.drop_lists(removed)
        store.drop(keys)
    print(f"dropped {counted(len(keys), 'trial')}")
    return 0


def _prune_sessions(project: Project, name: str, *, yes: bool) -> int:
    """Drop the paper session of a number, or all sessions of a strategy."""
    with open_reader(project.db_path) as query:
        stored = read_sessions(query)
        chosen = [s for s in stored if name in (str(s.session_id), s.strategy_id)]
        if not chosen:
            raise InvalidCommand(
                f"--session: {unknown('session', name, {s.strategy_id for s in stored})}"
            )
        rows = {s.session_id: count_session_rows(query, s.session_id) for s in chosen}
    _check_terminal(yes)
    for s in chosen:
        span = Span(s.counted_ms, max(s.done_ms, s.counted_ms))
        print(
            f"   session {s.session_id} of {s.strategy_id} at {s.venue} ({s.role}): "
            f"{rows[s.session_id]:,} rows, {span}"
        )
    total = sum(rows.values())
    if not _is_confirmed(total, yes=yes):
        return 1
    with ExitStack() as stack:
        for lock in sorted(
            {n for s in chosen for n in (s.strategy_id, f"{s.strategy_id}.{s.role}")}
        ):
            stack.enter_context(session_lock(project.db_path, lock))
        advance = stack.enter_context(progress(f"drop session {name}", total, "row"))
        for s in chosen:
            drop_session(project.db_path, s.session_id, now_ms=project.now_ms, advance=advance)
    print(f"dropped {counted(len(chosen), 'session')}")
    for folder in sorted({project.paper_folder(s.strategy_id) for s in chosen}):
        if folder.exists():
            print(f"   {folder}: its result files stay; delete the folder if nobody needs them")
    return 0


def _drop_old(project: Project, old: OldRows) -> None:
    label = f"prune {old.table} of {old.series}"
    with progress(label, old.rows, "row") as advance:
        prune(project.db_path, old, advance=advance)


def _drop_series(project: Project, series: Series, *, yes: bool) -> int:
    with open_reader(project.db_path) as query:
        counts = count_rows(query, series)
    if not counts:
        print(f"no rows of {series} are stored: nothing to drop")
        return 0
    _check_terminal(yes)
    for table, rows in counts.items():
        print(f"   {table} of {series}: {rows:,} rows")
    rows = sum(counts.values())
    if not _is_confirmed(rows, yes=yes):
        return 1
    with recorder_lock(project.db_path), progress(f"drop {series}", rows, "row") as advance:
        drop_series(project.db_path, series, advance=advance)
    venue = project.venues.get(series.venue)
    is_imported = venue is not None and venue.history is None
    cure = "`doit import` its file again" if is_imported else "`doit backfill` fetches its history"
    print(f"dropped {rows:,} rows of {series}: {cure}")
    return 0


def _age_ms(older_than: str) -> int:
    if not older_than:
        raise InvalidCommand("--older-than: missing: write an age, such as --older-than 90d")
    try:
        return parse_duration_ms(older_than)
    except ValueError as e:
        raise InvalidCommand(f"--older-than: {e}") from e


def _is_confirmed(rows: int, *, yes: bool) -> bool:
    """Ask whether rows may be dropped, unless `yes`; if not, print that nothing was."""
    answer = "y" if yes else ""
    with suppress(EOFError):
        answer = answer or input(f"Drop these {rows:,} rows for good? [y/N] ").strip().lower()
    if answer in ("y", "yes"):
        return True
    print("nothing was dropped")
    return False
