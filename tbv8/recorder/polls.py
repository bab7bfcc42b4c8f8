"""The channels `funding` and `mark` of one venue, polled by REST.

Mark prices are recorded once a minute. Funding is fetched after each full hour, from the end of the
known payments on, so an outage leaves no hole.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Series, Span
from tbv8.recorder.link import Clock
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.pace import Pace
from tbv8.recorder.rest import RestClient
from tbv8.store.ticks import NOT_RUNNING, Gap, MarkRow, PaidSpan, read_polled
from tbv8.venues.base import Listing, Live, Log
from tbv8.venues.rates import LATEST_MS, known_until, to_rates
from tbv8.venues.units import unit_amount, unit_price

_PUBLISH_DELAY_MS = 20_000  # payments are published some seconds after their hour
_MAX_CATCH_UP_MS = 31 * DAY_MS  # a longer hole in the funding is left to `doit funding`
_CHECK_S = 0.2


class Polls:
    """The polling of one venue: mark prices each minute, funding each hour.

    Args:
        venue: The venue's name.
        channels: The channels in its settings.
        live: The venue's wire protocol.
        rest: The client of the venue's REST API.
        outbox: The destination of the rows.
        clock: The venue's clock.
        pace: The pauses after failures.
        log: Prints a line for the user.
        usual_hours: The usual hours between two payments.

    Attributes:
        marks: The number of recorded mark prices.
        payments: The number of recorded funding payments.
        failed: The number of failed requests.
        listings: Returns the listings of the recorded symbols; set it before `run`.
    """

    def __init__(
        self,
        venue: str,
        channels: Collection[str],
        *,
        live: Live,
        rest: RestClient,
        outbox: Outbox,
        clock: Clock,
        pace: Pace,
        log: Log,
        usual_hours: int,
    ) -> None:
        self.marks = self.payments = self.failed = 0
        self.listings: Callable[[], Mapping[str, Listing]] = dict
        self._venue, self._channels, self._live, self._rest = venue, channels, live, rest
        self._outbox, self._clock, self._pace, self._log = outbox, clock, pace, log
        self._usual_hours = usual_hours
        self._known_ms: dict[str, int] = {}
        self._mark_ms: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._reason = NOT_RUNNING

    def resume(self, db_path: Path, symbols: Collection[str]) -> None:
        """Continue each symbol at the end of its rows in the database."""
        for symbol in symbols if {"funding", "mark"} & set(self._channels) else ():
            known_ms, mark_ms = read_polled(db_path, Series(self._venue, symbol))
            if known_ms is not None:
                self._known_ms[symbol] = known_ms
            if mark_ms is not None:
                self._mark_ms[symbol] = mark_ms

    async def run(self) -> None:
        """Poll until cancelled; return at once if neither channel is configured."""
        async with asyncio.TaskGroup() as group:
            if "mark" in self._channels:
                group.create_task(self._poll_marks())
            if "funding" in self._channels:
                group.create_task(self._poll_funding())

    async def _poll_marks(self) -> None:
        done_ms = 0
        while True:
            minute_ms = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
            if minute_ms > done_ms:
                try:
                    await self._record_marks(minute_ms)
                    done_ms = minute_ms
                    self._failures.pop("mark", None)
                except VenueError as e:
                    self._reason = str(e)[:200]
                    await self._pause("mark", e)
            await asyncio.sleep(_CHECK_S)

    async def _record_marks(self, minute_ms: int) -> None:
        request = self._live.marks_request()
        await self._rest.await_turn(request.weight)
        prices = await self._rest.fetch(request)
        if self._clock.now_ms() >= minute_ms + MINUTE_MS:
            raise VenueError("the mark prices came a minute late")
        received_ms = self._clock.local_ms()
        for symbol, listing in self.listings().items():
            if (mark := prices.get(listing.native)) is None:
                continue
            price, contracts = mark
            interest = contracts
            if contracts is not None and listing.contract_size is not None:
                interest = contracts * float(listing.contract_size)
            price = unit_price(price, listing.multiplier)
            if interest is not None:
                interest = unit_amount(interest, listing.multiplier)
            self._note_gap(symbol, minute_ms)
            row = MarkRow(self._venue, symbol, minute_ms, price, interest, received_ms)
            self._outbox.batch.marks.append(row)
            self.marks += 1

    def _note_gap(self, symbol: str, minute_ms: int) -> None:
        """List the minutes since the last mark price as a gap, if there are any."""
        due_ms = self._mark_ms.get(symbol, minute_ms) + MINUTE_MS
        if due_ms < minute_ms:
            series = Series(self._venue, symbol)
            self._outbox.batch.gaps[series, "mark", due_ms] = Gap(
                series=series,
                channel="mark",
                start_ms=due_ms,
                end_ms=minute_ms,
                reason=self._reason,
            )
        self._mark_ms[symbol] = minute_ms

    async def _poll_funding(self) -> None:
        next_ms: dict[str, int] = {}
        while True:
            for symbol, listing in self.listings().items():
                now_ms = self._clock.now_ms()
                if now_ms < next_ms.get(symbol, 0):
                    continue
                try:
                    overdue = await self._record_funding(symbol, listing)
                    hour_ms = (now_ms // HOUR_MS + 1) * HOUR_MS + _PUBLISH_DELAY_MS
                    next_ms[symbol] = now_ms + _PUBLISH_DELAY_MS if overdue else hour_ms
                    self._failures.pop(symbol, None)
                except (VenueError, ValueError) as e:
                    await self._pause(symbol, e)
            await asyncio.sleep(_CHECK_S)

    async def _record_funding(self, symbol: str, listing: Listing) -> bool:
        """Record the payments since the last known one; return True if a payment is overdue."""
        now_ms = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
        start_ms = self._known_ms.get(symbol, 0)
        if start_ms < now_ms - _MAX_CATCH_UP_MS:
            start_ms = now_ms // DAY_MS * DAY_MS
        span = Span(start_ms, now_ms + MINUTE_MS)
        request = self._live.payments_request(
            listing, Span(start_ms - DAY_MS, span.end_ms + LATEST_MS)
        )
        await self._rest.await_turn(request.weight)
        rates = to_rates(await self._rest.fetch(request), usual_hours=self._usual_hours)
        known_span = span.intersection(Span(0, known_until(rates, clock_ms=self._clock.now_ms())))
        if not known_span:
            return False
        rows = tuple(
            (rate.ts_ms, rate.rate, rate.interval_hours)
            for rate in rates
            if known_span.start_ms <= rate.ts_ms < known_span.end_ms
        )
        self._outbox.batch.paid.append(PaidSpan(Series(self._venue, symbol), known_span, rows))
        self._known_ms[symbol] = known_span.end_ms
        self.payments += len(rows)
        return bool(rates) and rates[-1].ts_ms + rates[-1].interval_hours * HOUR_MS <= now_ms

    async def _pause(self, subject: str, e: Exception) -> None:
        self.failed += 1
        failures = self._failures[subject] = self._failures.get(subject, 0) + 1
        if failures in (3, 10) or failures % 100 == 0:
            name = "mark prices" if subject == "mark" else f"{subject}: funding"
            self._log(f"{name}: cannot fetch ({failures} failures in a row): {e}")
        await asyncio.sleep(self._pace.retry_s(failures))
