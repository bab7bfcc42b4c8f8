"""How a replay is held against the journal."""

from __future__ import annotations

import pytest

from tbv8.live.driver import JournaledSession
from tbv8.store.sessions import COMMAND, OUTPUTS, Event, StoredSession

DONE_MS = 600_000


def event(kind: str, number: int, ts_ms: int, body: str = "as it was") -> Event:
    return Event(kind, number, ts_ms, 0, body)


def journaled(*written: Event, stopped_at_ms: int | None = None) -> JournaledSession:
    """Return a journal that was done until `DONE_MS`."""
    session = StoredSession(
        session_id=1,
        strategy_id="a",
        role="primary",
        venue="hyperliquid",
        inputs={},
        decimals={},
        first_ms=0,
        counted_ms=0,
        done_ms=DONE_MS,
        state={},
        began_ms=0,
    )
    commands = [] if stopped_at_ms is None else [event(COMMAND, 0, stopped_at_ms)]
    outputs = {kind: [one for one in written if one.kind == kind] for kind in OUTPUTS}
    return JournaledSession(session=session, commands=commands, outputs=outputs)


FILLS = [event("fill", 0, 60_000), event("fill", 1, DONE_MS)]


@pytest.mark.parametrize(
    ("journal", "replayed", "said"),
    [
        pytest.param(journaled(*FILLS), FILLS, None, id="the same"),
        pytest.param(
            journaled(*FILLS),
            [event("fill", 0, 60_001), FILLS[1]],
            "fill 1 at 1970-01-01T00:01:00",
            id="at another time",
        ),
        pytest.param(
            journaled(*FILLS),
            [event("fill", 0, 60_000, "other"), FILLS[1]],
            "as it was became other",
            id="of another kind",
        ),
        pytest.param(
            journaled(*FILLS), FILLS[:1], "fill 2 at 1970-01-01T00:10:00Z: as it was", id="one less"
        ),
        pytest.param(
            journaled(FILLS[0]), FILLS, "nothing became as it was", id="one more, of a minute done"
        ),
        pytest.param(
            journaled(FILLS[0]),
            [FILLS[0], event("fill", 1, DONE_MS + 60_000)],
            None,
            id="one more, of the minute that was not done",
        ),
        pytest.param(
            journaled(FILLS[0], stopped_at_ms=DONE_MS), FILLS, None, id="one more, of a command"
        ),
        pytest.param(
            journaled(FILLS[0], stopped_at_ms=DONE_MS - 60_000),
            FILLS,
            "nothing became as it was",
            id="one more, of no command of that time",
        ),
        pytest.param(
            journaled(event("order", 0, 120_000), FILLS[0]),
            [event("order", 0, 120_000, "o"), event("fill", 0, 60_000, "f")],
            "fill 1",
            id="the first of two",
        ),
    ],
)
def test_the_first_difference_is_named(
    journal: JournaledSession, replayed: list[Event], said: str | None
) -> None:
    found = journal.first_difference(replayed)

    assert (found is None) if said is None else (said in str(found))
