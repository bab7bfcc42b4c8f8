"""The recorder's timeouts and intervals; tests use shorter ones."""

from __future__ import annotations

import msgspec

from tbv8.venues.backoff import backoff_s


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """Timeouts and intervals, in seconds.

    Args:
        open_s: The time limit for connecting.
        ping_s: The interval of pings; None for the venue's own.
        answer_s: The time limit for a frame after a ping, and for the ack of a subscription.
        dial_base_s: The first pause between two connections (see `tbv8.venues.backoff`).
        dial_cap_s: The longest pause between two connections.
        stable_s: A connection that lasted this long resets the pause.
        rest_s: The time limit for a REST reply.
        retry_base_s: The first pause after a failed REST request.
        retry_cap_s: The longest pause after a failed REST request.
        clock_s: The interval of measurements of the venue's clock.
        listings_s: The age at which the venue's list of symbols is fetched again.
        tick_s: The interval of checks for complete minutes and for needed requests.
        commit_s: The interval of transactions.
        busy_s: The interval of attempts while the database cannot be written.
        give_up_s: The time limit for the last transactions, so that SIGTERM takes six seconds at
            most.
        line_s: The interval of status lines without a terminal.
        frame_s: The interval of updates of the table on a terminal.
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

    def retry_s(self, failures: int) -> float:
        """Return the pause after so many failures of a REST request in a row."""
        return backoff_s(failures, base_s=self.retry_base_s, cap_s=self.retry_cap_s)


STANDARD = Pace()
