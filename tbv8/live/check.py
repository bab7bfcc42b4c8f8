"""`doit replay`: every event and every byte of a session's results, compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tbv8.errors import DataError
from tbv8.live.driver import JournaledSession
from tbv8.live.inputs import changed_inputs, is_result_of
from tbv8.live.replay import SessionConfigs, journal_at, no_bars_text, read_sessions, replay
from tbv8.live.results import write_replayed
from tbv8.manifest import SESSION_PART, read_manifest
from tbv8.market import iso
from tbv8.results.folder import first_difference
from tbv8.text import counted
from tbv8.trading.loading import StrategyError


def check_replay(configs: SessionConfigs) -> str:
    """Run the bars of a session again, and compare every event and every byte of its results.

    Returns:
        A line about the compared minutes, events and files.

    Raises:
        DataError: There is no session, or an event or a file differs.
        StrategyError: The strategy raised.
    """
    journaled = read_sessions(configs)
    try:
        return _check(configs, journaled)
    except (DataError, StrategyError) as e:
        sessions = {role: journal.session for role, journal in journaled.items()}
        changed = dict.fromkeys(
            part
            for role, session in sessions.items()
            for part in changed_inputs(session, configs[role])
        )
        if not changed:
            raise
        raise DataError(
            f"{configs['primary'].strategy.strategy_id}: {' and '.join(changed)} changed since its "
            f"session began at {iso(sessions['primary'].began_ms)}: restore that to replay it; now "
            f"{e}"
        ) from e


def _check(configs: SessionConfigs, journaled: Mapping[str, JournaledSession]) -> str:
    name, folder = configs["primary"].strategy.strategy_id, configs["primary"].folder
    if missing := no_bars_text(configs, journaled["primary"]):
        return f"{name}: nothing to replay: {missing}"
    replayed = {
        role: replay(configs[role], session_journal) for role, session_journal in journaled.items()
    }
    events = sum(
        len(events_of_kind)
        for session_journal in journaled.values()
        for events_of_kind in session_journal.outputs.values()
    )
    spans = " and ".join(map(_minutes_text, journaled.values()))
    text = f"{name}: replayed {spans}: the same {counted(events, 'event')}"
    manifest = read_manifest(folder)
    if manifest is None or not is_result_of(manifest, journaled["primary"].session):
        return text
    part = manifest.inputs[SESSION_PART]
    before = {
        role: journal_at(
            session_journal,
            *(part.value[role][key] for key in ("done_ms", "commands", "priced", "reached")),
        )
        for role, session_journal in journaled.items()
        if role in part.value
    }
    written = counted(len(manifest.outputs), "result file")
    if before != journaled:
        written += f", as of {iso(part.value['primary']['done_ms'])}"
        # a command after the last of these minutes has events at the same time
        replayed = {
            role: replay(configs[role], session_journal, must_agree=False)
            for role, session_journal in before.items()
        }
    with TemporaryDirectory(prefix="tbv8-") as temporary:
        rewritten = Path(temporary) / name
        write_replayed(rewritten, configs, replayed)
        difference = first_difference(folder, rewritten)
    if difference is not None:
        raise DataError(f"{folder}: not reproduced: {difference}")
    return f"{text}, and the same bytes in {written}"


def _minutes_text(journaled: JournaledSession) -> str:
    return f"{counted(len(journaled.minutes), 'minute')} at {journaled.session.venue}"
