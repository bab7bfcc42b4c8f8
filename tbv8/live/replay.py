"""Run a session again from its journal, and compare its events."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from tbv8.config.records import Strategy
from tbv8.errors import DataError, DiffersError
from tbv8.live.driver import Driver, JournaledSession, read_journaled
from tbv8.live.minutes import join_minutes
from tbv8.live.session_config import SessionConfig, with_session_span
from tbv8.market import MINUTE_MS, iso
from tbv8.store.database import open_reader
from tbv8.store.locks import session_runs
from tbv8.store.sessions import read_session
from tbv8.text import counted
from tbv8.trading.bars import Bars
from tbv8.trading.opened_files import track_files
from tbv8.trading.prints import discard_prints
from tbv8.trading.records import Run

type SessionConfigs = Mapping[str, SessionConfig]
"""The config of the primary, and of the shadow if there is one, by role."""


class ReplayedSession(msgspec.Struct, frozen=True, kw_only=True):
    """The replay of a session: its run and its bars."""

    strategy: Strategy
    journaled: JournaledSession
    run: Run
    bars: Bars


def replay(
    config: SessionConfig, journaled: JournaledSession, *, must_agree: bool = True
) -> ReplayedSession:
    """Run a session again from its journal, without what the strategy prints.

    Args:
        config: The session's config.
        journaled: The journal, as a whole or up to a time.
        must_agree: True to compare the events with those of the journal.

    Raises:
        DiffersError: An event differs from the journal.
        StrategyError: The strategy raised.
    """
    session = journaled.session
    driving = Driver(config.strategy, session, with_chart_lines=config.role == "primary")
    with discard_prints(), track_files(config.strategy), driving as driver:
        pieces = list(driver.replay(journaled.minutes, journaled.commands, journaled.rates))
        difference = None
        if must_agree:
            difference = journaled.first_difference(driver.outputs({}, at_ms=0))
        if difference is not None:
            raise DiffersError(
                f"{config.strategy.strategy_id}: the replay of the session at {session.venue} "
                f"differs from its journal: {difference}"
            )
        return ReplayedSession(
            strategy=with_session_span(config.strategy, session, session.done_ms),
            journaled=journaled,
            run=driver.run(),
            bars=join_minutes(config.strategy, pieces),
        )


def journal_at(
    journaled: JournaledSession, done_ms: int, commands: int, priced: int, reached: int
) -> JournaledSession:
    """Return the journal as it was when the minutes up to a time were finished.

    Args:
        journaled: The present journal.
        done_ms: The time.
        commands: The number of commands at that time.
        priced: The number of priced fills.
        reached: The number of limits reached at the secondary.
    """
    return JournaledSession(
        session=replace(journaled.session, done_ms=done_ms),
        minutes=[minute for minute in journaled.minutes if minute.close_ms <= done_ms],
        commands=journaled.commands[:commands],
        rates=[event for event in journaled.rates if event.ts_ms <= done_ms],
        outputs={
            kind: [event for event in events if event.ts_ms <= done_ms]
            for kind, events in journaled.outputs.items()
        },
        priced=journaled.priced[:priced],
        reached=journaled.reached[:reached],
    )


def no_bars_text(configs: SessionConfigs, journaled: JournaledSession) -> str:
    """Return why a session has no bars yet; empty if it has any."""
    if _has_bars(journaled):
        return ""
    config, session = configs["primary"], journaled.session
    if journaled.minutes:
        first, count = iso(session.first_ms), len(journaled.minutes)
        return f"no trade has come yet, in {counted(count, 'minute')} since {first}"
    name, closes = config.strategy.strategy_id, iso(session.first_ms + MINUTE_MS)
    runs = session_runs(config.db_path, name)
    cure = "" if runs else f"; no session runs, `doit paper:{name}` continues it"
    return f"no minute was used yet, the first one closes at {closes}{cure}"


def _has_bars(journaled: JournaledSession) -> bool:
    return any(bar for minute in journaled.minutes for bar in minute.bars.values())


def read_sessions(configs: SessionConfigs) -> dict[str, JournaledSession]:
    """Return the journal's primary, and its shadow if that has bars, up to the primary's end."""
    primary = configs["primary"]
    sessions = {}
    with open_reader(primary.db_path) as query:
        for role, config in configs.items():
            session = read_session(query, config.strategy.strategy_id, config.role)
            if session is not None:
                sessions[role] = read_journaled(query, session, with_minutes=True)
    if "primary" not in sessions:
        name = primary.strategy.strategy_id
        raise DataError(f"{name}: there is no session: run `doit paper:{name}`")
    end_ms = sessions["primary"].session.done_ms
    for role, session_journal in list(sessions.items()):
        done_ms = min(session_journal.session.done_ms, end_ms)
        commands = sum(1 for command in session_journal.commands if command.ts_ms <= done_ms)
        sessions[role] = journal_at(
            session_journal,
            done_ms,
            commands,
            len(session_journal.priced),
            len(session_journal.reached),
        )
        if role != "primary" and not _has_bars(sessions[role]):
            del sessions[role]
    return sessions
