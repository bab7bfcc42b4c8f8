"""The channels `funding` and `mark` of one venue, polled by REST, which has more than the sockets.

A mark price is taken once a minute. Funding is taken as it is paid: each full hour it is asked what
was paid since the last that is known, so that an outage leaves no hole in it.
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
from tbv8.recorder.refill import Rest
from tbv8.store.ticks import NOT_RUNNING, Gap, Paid, read_polled
from tbv8.venues.backoff import backoff_s
from tbv8.venues.base import Live, Log, Market
from tbv8.venues.rates import LATEST_MS, known_until, settle_rates
from tbv8.venues.units import unit_amount, unit_price

_BEHIND_MS = 20_000  # a payment is published some seconds after its hour
_LONGEST_MS = 31 * DAY_MS  # the most funding to catch up with; `doit funding` fetches more
_SOON_S = 0.2


class Polls:
    """The REST polls of one venue, once a minute or once an hour.

    Attributes:
        marks: How many mark prices were taken.
        payments: How many payments of funding were.

    Args:
        venue: Its name.
        channels: Those of its config.
        live: How to ask.
        rest: Where.
        outbox: Where rows go.
        clock: The venue's.
        pace: How often to try again.
        log: Prints a line for the user.
        usual_hours: Between two payments.
    """

    def __init__(
        self,
        venue: str,
        channels: Collection[str],
        *,
        live: Live,
        rest: Rest,
        outbox: Outbox,
        clock: Clock,
        pace: Pace,
        log: Log,
        usual_hours: int,
    ) -> None:
        self.marks = self.payments = self.failed = 0
        self.markets: Callable[[], Mapping[str, Market]] = dict
        self._venue, self._channels, self._live, self._rest = venue, channels, live, rest
        self._outbox, self._clock, self._pace, self._log = outbox, clock, pace, log
        self._usual_hours = usual_hours
        self._known_ms: dict[str, int] = {}
        self._mark_ms: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._reason = NOT_RUNNING

    def read_held(self, db_path: Path, symbols: Collection[str]) -> None:
        """Read from the database where each symbol continues."""
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
                group.create_task(self._keep_marks())
            if "funding" in self._channels:
                group.create_task(self._keep_funding())

    # Marks

    async def _keep_marks(self) -> None:
        done_ms = 0
        while True:
            minute_ms = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
            if minute_ms > done_ms:
                try:
                    await self._take_marks(minute_ms)
                    done_ms = minute_ms
                    self._failures.pop("mark", None)
                except VenueError as e:
                    self._reason = str(e)[:200]
                    await self._pause("mark", e)
            await asyncio.sleep(_SOON_S)

    async def _take_marks(self, minute_ms: int) -> None:
        ask = self._live.ask_marks()
        await self._rest.await_turn(ask.weight)
        found = await self._rest.fetch(ask)
        if self._clock.now_ms() >= minute_ms + MINUTE_MS:
            raise VenueError("the mark prices came a minute late")
        received_ms = self._clock.local_ms()
        for symbol, market in self.markets().items():
            if (mark := found.get(market.native)) is None:
                continue
            price, contracts = mark
            interest = contracts
            if contracts is not None and market.contract_size is not None:
                interest = contracts * float(market.contract_size)
            price = unit_price(price, market.multiplier)
            if interest is not None:
                interest = unit_amount(interest, market.multiplier)
            self._note_gap(symbol, minute_ms)
            row = (self._venue, symbol, minute_ms, price, interest, received_ms)
            self._outbox.batch.marks.append(row)
            self.marks += 1

    def _note_gap(self, symbol: str, minute_ms: int) -> None:
        """Record the minutes without a mark price since the last one as a gap."""
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

    # Funding

    async def _keep_funding(self) -> None:
        next_ms: dict[str, int] = {}
        while True:
            for symbol, market in self.markets().items():
                now_ms = self._clock.now_ms()
                if now_ms < next_ms.get(symbol, 0):
                    continue
                try:
                    overdue = await self._take_funding(symbol, market)
                    hour_ms = (now_ms // HOUR_MS + 1) * HOUR_MS + _BEHIND_MS
                    next_ms[symbol] = now_ms + _BEHIND_MS if overdue else hour_ms
                    self._failures.pop(symbol, None)
                except (VenueError, ValueError) as e:
                    await self._pause(symbol, e)
            await asyncio.sleep(_SOON_S)

    async def _take_funding(self, symbol: str, market: Market) -> bool:
        """Fetch the payments since the last known one; return True if a payment is overdue."""
        now_ms = self._clock.now_ms() // MINUTE_MS * MINUTE_MS
        start_ms = self._known_ms.get(symbol, 0)
        if start_ms < now_ms - _LONGEST_MS:
            start_ms = now_ms // DAY_MS * DAY_MS
        wanted = Span(start_ms, now_ms + MINUTE_MS)
        ask = self._live.ask_payments(market, Span(start_ms - DAY_MS, wanted.end_ms + LATEST_MS))
        await self._rest.await_turn(ask.weight)
        rates = settle_rates(await self._rest.fetch(ask), usual_hours=self._usual_hours)
        known = wanted.intersection(Span(0, known_until(rates, clock_ms=self._clock.now_ms())))
        if not known:
            return False
        rows = tuple(
            (rate.ts_ms, rate.rate, rate.interval_hours)
            for rate in rates
            if known.start_ms <= rate.ts_ms < known.end_ms
        )
        self._outbox.batch.paid.append(Paid(Series(self._venue, symbol), known, rows))
        self._known_ms[symbol] = known.end_ms
        self.payments += len(rows)
        return bool(rates) and rates[-1].ts_ms + rates[-1].interval_hours * HOUR_MS <= now_ms

    async def _pause(self, what: str, e: Exception) -> None:
        self.failed += 1
        failures = self._failures[what] = self._failures.get(what, 0) + 1
        if failures in (3, 10) or failures % 100 == 0:
            name = "mark prices" if what == "mark" else f"{what}: funding"
            self._log(f"{name}: cannot fetch ({failures} failures in a row): {e}")
        pace = self._pace
        pause_s = backoff_s(failures, base_s=pace.retry_base_s, cap_s=pace.retry_cap_s)
        await asyncio.sleep(pause_s)
