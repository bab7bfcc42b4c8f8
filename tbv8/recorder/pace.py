"""The recorder's timeouts and intervals. Tests make them shorter."""

from __future__ import annotations

import msgspec


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, all of them.

    Args:
        open_s: For a connection to come about.
        ping_s: Between two pings; None for what the venue wants.
        answer_s: For anything to come after a ping, and for subscriptions to be confirmed.
        dial_base_s: The first pause between two dials; each next is twice as long, less some
            jitter, up to `dial_cap_s`; a connection that lasted `calm_s` begins anew.
        rest_s: For a REST reply; `retry_base_s` and `retry_cap_s`: between tries.
        clock_s: Between two looks at the venue's clock.
        markets_s: How old the list of the venue's symbols may be when it is dialled again.
        tick_s: Between two looks at which minutes are over and what should be asked.
        commit_s: Between two transactions; `busy_s` when the database could not be written.
        give_up_s: For the last transaction at the end; SIGTERM ends all within six seconds.
        line_s: Between two lines where there is no terminal; `frame_s`: two tables where there is.
    """

    open_s: float = 10.0
    ping_s: float | None = None
    answer_s: float = 10.0
    dial_base_s: float = 1.0
    dial_cap_s: float = 30.0
    calm_s: float = 60.0
    rest_s: float = 10.0
    retry_base_s: float = 1.0
    retry_cap_s: float = 60.0
    clock_s: float = 600.0
    markets_s: float = 600.0
    tick_s: float = 0.2
    commit_s: float = 0.25
    busy_s: float = 1.0
    give_up_s: float = 2.0
    line_s: float = 10.0
    frame_s: float = 0.5


STANDARD = Pace()
