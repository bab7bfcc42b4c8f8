"""Begin a session with its warm-up from stored bars, and describe its start to the user."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from tbv8.errors import DataError
from tbv8.live.environment import BUSY_S, HostEnvironment
from tbv8.live.inputs import is_result_of
from tbv8.live.minutes import to_table
from tbv8.live.observations import rate_events
from tbv8.live.session_config import SessionConfig
from tbv8.live.stored_minutes import read_stored_minutes, read_symbols, to_minutes
from tbv8.manifest import ADDRESS_PART, read_manifest
from tbv8.market import DAY_MS, MINUTE_MS, ONE_MINUTE, Span, iso, iso_day
from tbv8.store.sessions import ClosedMinutes, Journal, SessionMinute, StoredSession
from tbv8.text import counted
from tbv8.trading.nautilus import price_decimals

_MAX_AGE_MS = 3 * MINUTE_MS  # the largest age of the recorder's newest bar
_FETCH_TIMEOUT_S = 180.0  # the time limit for fetching the minutes since its last run


def begin_session(
    config: SessionConfig,
    environment: HostEnvironment,
    journal: Journal,
    previous: StoredSession | None,
) -> StoredSession | None:
    """Write a new session with its warm-up; return None if the process is asked to end first.

    Raises:
        DataError: Minutes of the warm-up are missing.
    """
    now_ms, timeframe = environment.now_ms(), config.strategy.timeframe
    counted_ms = timeframe.ceil(now_ms)
    first_ms = timeframe.ceil(counted_ms - config.strategy.warm_up_ms)
    history = _await_history(config, environment, journal, first_ms, min(counted_ms, now_ms))
    if history is None:
        return None
    session = StoredSession(
        session_id=0,
        strategy_id=config.strategy.strategy_id,
        role=config.role,
        venue=config.venue,
        inputs=msgspec.to_builtins(config.inputs),
        decimals=environment.persist(lambda: _decimals(config, journal, first_ms, now_ms)),
        first_ms=first_ms,
        counted_ms=counted_ms,
        done_ms=first_ms,
        state={},
        began_ms=now_ms,
    )
    history_span = Span(first_ms, history[-1].close_ms if history else first_ms)
    return environment.persist(
        lambda: journal.begin(
            session,
            history,
            rate_events(journal.query, config, first_ms, {}, history_span, at_ms=now_ms),
            ends=previous,
        )
    )


def began_text(session: StoredSession) -> str:
    """Return a new session's number, venue and start as text."""
    return f"{_start_text(session)} on"


def continued_text(session: StoredSession, *, count: int, took_s: float) -> str:
    """Return a continued session's venue, its start and the duration of its replay, as text."""
    replayed = f"{counted(count, 'minute')} in {took_s:.1f} s, without a difference"
    return f"{_start_text(session)}: {replayed if count else 'no minute yet'}"


def _start_text(session: StoredSession) -> str:
    addresses = session.inputs.get(ADDRESS_PART, {}).get("value", {}).get(session.venue, ())
    source = f", bars from {' and '.join(addresses)}, not the venue's own" if addresses else ""
    return (
        f"paper session {session.session_id} at {session.venue}{source}, counted from "
        f"{iso(session.counted_ms)}"
    )


def set_results_aside(config: SessionConfig, session: StoredSession) -> Path | None:
    """Rename the folder of results if it belongs to another session.

    Returns:
        Its new place, named by the start of its session; None if nothing was renamed.

    Raises:
        DataError: It cannot be renamed.
    """
    manifest = read_manifest(config.folder)
    if manifest is None or is_result_of(manifest, session):
        return None
    start = manifest.inputs["span"].value["start"]
    place = config.folder.with_name(f"{config.folder.name}.{start[:16].replace(':', '-')}")
    try:
        return config.folder.rename(place)
    except OSError as e:
        raise DataError(
            f"{config.folder}: results of the previous session cannot be renamed to {place.name}: "
            f"{e.strerror}: move that folder elsewhere"
        ) from e


def _await_history(
    config: SessionConfig,
    environment: HostEnvironment,
    journal: Journal,
    first_ms: int,
    now_ms: int,
) -> list[SessionMinute] | None:
    """Return the closed minutes of the warm-up; wait for the most recent ones."""
    if first_ms >= now_ms:
        return []
    until_s = time.monotonic() + _FETCH_TIMEOUT_S
    while True:
        closed_minutes = environment.persist(
            lambda: read_symbols(journal.query, config, first_ms, now_ms)
        )
        incomplete = {s: c for s, c in closed_minutes.items() if c.until_ms < now_ms - _MAX_AGE_MS}
        if not incomplete:
            until_ms = min(closed.until_ms for closed in closed_minutes.values())
            return to_minutes(closed_minutes, first_ms, until_ms, seen_ms=environment.now_ms())
        is_late = time.monotonic() > until_s
        for symbol, closed in incomplete.items():
            if is_late or closed.next_ms is not None or closed.until_ms <= first_ms:
                raise _missing_warm_up(config, symbol, first_ms, closed, now_ms)
        environment.send("waiting", text="for the recorder to fetch the last minutes")
        if environment.is_over():
            return None
        environment.sleep(BUSY_S)


def _missing_warm_up(
    config: SessionConfig, symbol: str, first_ms: int, closed: ClosedMinutes, now_ms: int
) -> DataError:
    missing = Span(closed.until_ms, closed.next_ms or config.strategy.timeframe.ceil(now_ms))
    series = config.series[symbol]
    fetch = (
        f"fetch them by `doit venue={config.venue} start={iso_day(missing.start_ms)} "
        f"end={iso(missing.end_ms)} backfill:{series}`, "
        if config.history_ms is not None and config.history_ms <= first_ms
        else ""
    )
    return DataError(
        f"{series}: the warm-up needs 1m bars from {iso(first_ms)} on, and those of {missing} are "
        f"missing: {fetch}record that long, or shorten backtest.warm_up"
    )


def _decimals(
    config: SessionConfig, journal: Journal, first_ms: int, now_ms: int
) -> dict[str, int]:
    """Return the decimals of each symbol's prices, by its tick and its stored bars."""
    since_ms = ONE_MINUTE.floor(min(first_ms, now_ms - DAY_MS))
    rules = config.strategy.instruments[config.venue]
    return {
        symbol: price_decimals(
            to_table(read_stored_minutes(journal.query, config, symbol, since_ms, now_ms)),
            rules[symbol].tick_size,
        )
        for symbol in config.strategy.symbols
    }
