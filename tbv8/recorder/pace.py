"""The recorder's timeouts and intervals. Tests make them shorter."""

from __future__ import annotations

import msgspec


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Timeouts and intervals, in seconds.

    Args:
        open_s: The time limit for connecting.
        ping_s: The interval of pings; None for the venue's own.
        answer_s: The time limit for a frame after a ping, and for the ack of a subscription.
        dial_base_s: The first pause between two connections. Each next one is twice as long, less
            some jitter, up to `dial_cap_s`; a connection that lasted `stable_s` resets the pause.
        rest_s: The time limit for a REST reply.
        retry_base_s: The first pause between two attempts by REST; the longest is `retry_cap_s`.
        clock_s: The interval of measuring the venue's clock.
        listings_s: The age at which the list of the venue's symbols is fetched again.
        tick_s: The interval of checking for complete minutes and for needed requests.
        commit_s: The interval of transactions; `busy_s` while the database cannot be written.
        give_up_s: The time limit for the last transaction; SIGTERM ends all within six seconds.
        line_s: The interval of lines without a terminal; `frame_s` of tables on a terminal.
    """

    open_s: float = 10.0
    ping_s: float | None = None
    answer_s: float = 10.0
    dial_base_s: float = 1.0
    dial_cap_s: float = 30.0
    stable_s: float = 60.0
    rest_s: float = 10.0
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0
    clock_s: float = 600.0
    listings_s: float = 600.0
    tick_s: float = 0.2
    commit_s: float = 0.25
    busy_s: float = 1.0
    give_up_s: float = 2.0
    line_s: float = 10.0
    frame_s: float = 0.5


STANDARD = Pace()
