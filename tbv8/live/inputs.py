"""Compare a session's inputs, its key, with the present config and code."""

from __future__ import annotations

from tbv8.config.source import digest_file
from tbv8.errors import DataError
from tbv8.freshness.reasons import changed_parts
from tbv8.live.session_config import SessionConfig
from tbv8.manifest import ADDRESS_PART, FILES_PART, SESSION_PART, Manifest
from tbv8.market import iso
from tbv8.store.sessions import StoredSession

_PARTS = {
    "config": "its config",
    "strategy": "the strategy's code",
    "engine": "the engine (tbv8 or one of its libraries)",
    ADDRESS_PART: "ws_url or rest_url of its venue",
}


def check_inputs(session: StoredSession, config: SessionConfig) -> None:
    """Refuse to continue a session whose inputs have changed.

    Raises:
        DataError: A part of its key has changed.
    """
    if changed := changed_inputs(session, config):
        name = config.strategy.strategy_id
        raise DataError(
            f"{name}: its session cannot continue: {' and '.join(changed)} changed since it began "
            f"at {iso(session.began_ms)}: restore that, or begin another session with `doit "
            f"paper:{name} --new`; the rows of the old one stay"
        )


def changed_inputs(session: StoredSession, config: SessionConfig) -> list[str]:
    """Return the parts of a session's key, and the files that it opened, that have changed.

    Each part is followed by its changes: `its config (params.slow: was 3, now 4)`.
    """
    changed = changed_parts(session.inputs, config.inputs, names=_PARTS, gone=(ADDRESS_PART,))
    files = session.inputs.get(FILES_PART, {}).get("value", {})
    root = config.strategy.root
    return changed + [path for path, digest in files.items() if digest_file(root / path) != digest]


def is_result_of(manifest: Manifest, session: StoredSession) -> bool:
    """Return True if a result is of a session; its number may be used again after `doit prune`."""
    part = manifest.inputs.get(SESSION_PART)
    return part is not None and part.value["primary"].get("began_ms") == session.began_ms
