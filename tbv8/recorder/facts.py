"""The clock and the listed symbols of a venue, by REST."""

from __future__ import annotations

import asyncio

from tbv8.errors import VenueError
from tbv8.market import iso
from tbv8.recorder.link import Clock
from tbv8.recorder.pace import Pace
from tbv8.recorder.rest import RestClient
from tbv8.venues.base import Listing, Live, Log

_CLOCK_RETRY_S = 5.0


class VenueFacts:
    """Fetches one venue's clock and listings.

    Args:
        live: The venue's wire protocol.
        rest: The client of the venue's REST API.
        clock: The venue's clock, which it sets.
        pace: The pauses after failures, and intervals.
        log: Prints a line for the user.

    Attributes:
        failed: The number of failed requests.
    """

    def __init__(self, live: Live, rest: RestClient, *, clock: Clock, pace: Pace, log: Log) -> None:
        self.failed = 0
        self._live, self._rest = live, rest
        self._clock, self._pace, self._log = clock, pace, log

    async def set_clock(self) -> None:
        """Set the venue's clock by the fastest of three measurements."""
        measurements = []
        for _ in range(3):
            try:
                await self._rest.await_turn(self._live.clock_request().weight)
                sent_ms = self._clock.steady_ms()
                venue_ms = await self._rest.fetch(self._live.clock_request())
            except VenueError:
                self.failed += 1
                continue
            measurements.append((self._clock.steady_ms() - sent_ms, sent_ms, venue_ms))
        if measurements:
            took_ms, sent_ms, venue_ms = min(measurements)
            if not self._clock.set(venue_ms, sent_ms=sent_ms, received_ms=sent_ms + took_ms):
                self._log(
                    f"WARNING: the venue's clock shows {iso(venue_ms)}, this computer's "
                    f"{iso(self._clock.local_ms())}, continuing with {iso(self._clock.now_ms())}: "
                    "correct the computer's clock if it is wrong"
                )

    async def reset_clock(self) -> None:
        """Set the venue's clock at intervals until cancelled."""
        while True:
            pause_s = self._pace.clock_s
            await asyncio.sleep(pause_s if self._clock.is_set else min(pause_s, _CLOCK_RETRY_S))
            await self.set_clock()

    async def fetch_listings(self) -> dict[str, Listing]:
        """Return the venue's listings by native symbol.

        Raises:
            VenueError: The venue refuses, or cannot be reached.
        """
        request = self._live.listings_request()
        await self._rest.await_turn(request.weight)
        return await self._rest.fetch(request)

    async def await_listings(self) -> dict[str, Listing]:
        """Return the venue's listings by native symbol; retry until it succeeds."""
        failures = 0
        while True:
            try:
                return await self.fetch_listings()
            except VenueError as e:
                self.failed += 1
                failures += 1
                self._log(f"cannot fetch the venue's list of symbols, trying again: {e}")
                await asyncio.sleep(self._pace.retry_s(failures))
