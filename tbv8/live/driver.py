"""A session driven by its journal: the same minutes and commands give the same events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from decimal import Decimal
from itertools import groupby
from types import TracebackType
from typing import Any, Self

import msgspec
from msgspec.structs import replace

from tbv8.config.records import Strategy
from tbv8.live.minutes import Builder
from tbv8.live.session_config import with_session_span
from tbv8.market import MAX_MS, iso
from tbv8.risk.events import EXACT, Payment, plain
from tbv8.risk.rules.blocked import parse_block, stop_breach
from tbv8.store.database import Query
from tbv8.store.sessions import (
    COMMAND,
    OUTPUTS,
    PRICED,
    RATE,
    REACHED,
    Event,
    SessionMinute,
    StoredSession,
    iter_minutes,
    read_events,
)
from tbv8.trading.bars import Bars
from tbv8.trading.funding import FundingPayments
from tbv8.trading.records import RestingLimit, Run
from tbv8.trading.session import Session

_PIECE = 20_000  # minutes at once


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a command: `stop` (`close`: also close all positions) or `start`."""

    do: str
    close: bool = False


class FundingRate(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a rate: a long position paid it at the full hour `ts_ms` for the last `hours`."""

    symbol: str
    ts_ms: int
    rate: float
    hours: int


class Driver:
    """A session, run by minutes and commands.

    Use it as a context manager. A process can have one at a time.

    Args:
        strategy: The strategy, with all inherited settings.
        session: The stored session.
        with_chart_lines: True to collect the values of the strategy's `chart_lines`, for a result.

    Attributes:
        done_ms: The close of the last minute that was fed.
        count: The number of minutes that were fed.
    """

    def __init__(
        self, strategy: Strategy, session: StoredSession, *, with_chart_lines: bool = False
    ) -> None:
        strategy = with_session_span(strategy, session, MAX_MS)
        self.done_ms = session.first_ms
        self.count = 0
        self._commands = self._cancelled = self._cancelled_stops = 0
        self._strategy = strategy
        self._venue = session.venue
        self._builder = Builder(strategy, session.first_ms)
        self._stack = ExitStack()
        self._session = self._stack.enter_context(
            Session(
                strategy,
                session.venue,
                price_decimals=session.decimals,
                with_chart_lines=with_chart_lines,
                awaits_funding=strategy.funding != "fixed",
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, e, tb)

    def feed(self, minutes: Sequence[SessionMinute], rates: Sequence[Event] = ()) -> Iterator[Bars]:
        """Feed minutes piece by piece, and yield the bars of each piece.

        Args:
            minutes: The minutes that follow those of the last call.
            rates: The new rates of funding, by the times at which they are booked.

        Raises:
            StrategyError: The strategy raised, or ended the run.
        """
        for text, group in groupby(minutes, key=lambda minute: minute.barred):
            run = list(group)
            self._session.block_entries(parse_block(text) if text else None)
            for first in range(0, len(run), _PIECE):
                piece = run[first : first + _PIECE]
                bars = replace(self._builder.build(piece), funding=self._payments(rates))
                rates = ()
                self._session.feed(bars)
                self.done_ms = piece[-1].close_ms
                self.count += len(piece)
                yield bars

    def _payments(self, rates: Sequence[Event]) -> dict[str, dict[str, FundingPayments]]:
        """Return the payments of each symbol, by venue; none with a fixed rate."""
        if self._strategy.funding == "fixed":
            return {}
        rows: dict[str, list[tuple[int, Decimal, int, str, int]]]
        rows = {symbol: [] for symbol in self._strategy.symbols}
        for event in rates:
            rate = msgspec.json.decode(event.body, type=FundingRate)
            paid = Decimal(repr(rate.rate))
            rows[rate.symbol].append((rate.ts_ms, paid, rate.hours, self._venue, event.ts_ms))
        return {
            self._venue: {symbol: FundingPayments.of(payments) for symbol, payments in rows.items()}
        }

    def execute(self, command: Command, *, at_ms: int) -> None:
        """Execute a command of `at_ms`; a stop blocks entries until a minute allows them again."""
        self._commands += 1
        if command.do == "stop":
            working = len(self._session.book.working)
            ended = len(self._session.events().ended)
            self._session.block_entries(stop_breach(at_ms))
            self._session.cancel_orders(close=command.close)
            self._cancelled = working - len(self._session.book.working)
            cancelled = self._session.events().ended[ended:]
            self._cancelled_stops = sum("stop" in order.type for order in cancelled)

    def replay(
        self, minutes: Iterable[SessionMinute], commands: Sequence[Event], rates: Sequence[Event]
    ) -> Iterator[Bars]:
        """Feed minutes, with the commands between them; yield the bars of each piece."""
        waiting, piece = deque(commands), list[SessionMinute]()
        for minute in minutes:
            if len(piece) == _PIECE or (waiting and waiting[0].ts_ms < minute.close_ms):
                yield from self.feed(piece, rates)
                rates, piece = () if piece else rates, []
            while waiting and waiting[0].ts_ms < minute.close_ms:
                event = waiting.popleft()
                self.execute(_command(event), at_ms=event.at_ms)
            piece.append(minute)
        yield from self.feed(piece, rates)
        for event in waiting:
            self.execute(_command(event), at_ms=event.at_ms)

    def outputs(self, counts: Mapping[str, int], *, at_ms: int) -> list[Event]:
        """Return the events after the first `counts` of each kind; none during the warm-up."""
        if not self._session.is_counting:
            return []
        events = self._session.events()
        lists: dict[str, Sequence[Any]] = {
            "order": events.submitted,
            "change": events.changed,
            "fill": events.fills,
            "payment": events.payments,
            "denial": events.denials,
            "halt": events.halts,
            "end": events.ended,
        }
        return [
            Event(kind, number, _event_ms(record), at_ms, msgspec.json.encode(record).decode())
            for kind in OUTPUTS
            for number, record in enumerate(lists[kind][counts.get(kind, 0) :], counts.get(kind, 0))
        ]

    def warm_up_end(self, state: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Return the event `counting` if the warm-up has ended since a state; it is not stored.

        The state of a session that has begun is empty.
        """
        carried = self._session.carried
        if carried is None or state.get("is_counting", False):
            return []
        positions = {symbol: plain(size) for symbol, size in carried.positions.items()}
        body = {"ts_ms": carried.ts_ms, "positions": positions}
        return [("counting", msgspec.json.encode(body).decode())]

    def open_symbols(self) -> set[str]:
        """Return the symbols with a position."""
        return {symbol for symbol, size in self._session.book.positions.items() if size}

    def prices(self) -> dict[str, float]:
        """Return the last price of each symbol that has one."""
        return {symbol: float(price) for symbol, price in self._session.book.prices.items()}

    def resting_limits(self) -> list[RestingLimit]:
        """Return the working limit orders."""
        return self._session.resting_limits()

    def state(self) -> dict[str, Any]:
        """Return the account after the last minute, with numbers as text.

        `working` is the number of orders that are not filled yet, `commands` that of executed
        commands, `cancelled` that of orders at the last stop, `cancelled_stops` that of stops
        among them. During a warm-up the account has the starting balance, and no event counts.
        """
        book, is_counting = self._session.book, self._session.is_counting
        events = self._session.events()
        lists: dict[str, Sequence[Any]] = {
            "orders": events.submitted,
            "fills": events.fills,
            "denials": events.denials,
            "halts": events.halts,
        }
        equity = book.equity if is_counting else self._strategy.starting_balance_usd
        day_start = book.day_start if is_counting else equity
        return {
            "is_counting": is_counting,
            "positions": {symbol: plain(size) for symbol, size in book.positions.items()},
            "equity": plain(equity),
            "day_loss": plain(EXACT.subtract(day_start, equity)),
            "halted_until_ms": book.halted.until_ms if book.halted else None,
            "barred": book.blocked_by.rule if book.blocked_by else None,
            "working": len(book.working),
            **{name: len(listed) if is_counting else 0 for name, listed in lists.items()},
            "commands": self._commands,
            "cancelled": self._cancelled,
            "cancelled_stops": self._cancelled_stops,
        }

    def run(self) -> Run:
        """Return the run so far, as if more were to come."""
        return self._session.end(stop=False)


class JournaledSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session in the journal: its bars if requested, and its events."""

    session: StoredSession
    minutes: list[SessionMinute] = []
    commands: list[Event]
    rates: list[Event] = []
    outputs: dict[str, list[Event]]
    priced: list[Event] = []
    reached: list[Event] = []

    @property
    def last_command(self) -> tuple[Command, int]:
        """The last command and its time by our clock; `start` before any."""
        if not self.commands:
            return Command(do="start"), 0
        return _command(self.commands[-1]), self.commands[-1].at_ms

    def first_difference(self, replayed: Sequence[Event]) -> str | None:
        """Return the first event in which a replay differs from the journal; None for none.

        Events of the last minute, or of a command after it, may not have been written yet.
        """
        done_ms = self.session.done_ms
        by_kind: dict[str, list[Event]] = {kind: [] for kind in OUTPUTS}
        for event in replayed:
            by_kind[event.kind].append(event)
        differences: list[tuple[int, str]] = []
        has_command = any(command.ts_ms == done_ms for command in self.commands)
        for kind in OUTPUTS:
            before, now = self.outputs[kind], by_kind[kind]
            for old, new in zip(before, now, strict=False):
                if (old.ts_ms, old.body) != (new.ts_ms, new.body):
                    differences.append((min(old.ts_ms, new.ts_ms), _change_text(old, new)))
                    break
            else:
                if len(before) > len(now):
                    differences.append(
                        (before[len(now)].ts_ms, _change_text(before[len(now)], None))
                    )
                for new in now[len(before) :]:
                    if new.ts_ms < done_ms or (new.ts_ms == done_ms and not has_command):
                        differences.append((new.ts_ms, _change_text(None, new)))
                        break
        return min(differences)[1] if differences else None


def read_journaled(
    query: Query, session: StoredSession, *, with_minutes: bool = False
) -> JournaledSession:
    """Return a session from the journal; its minutes may be many."""
    outputs: dict[str, list[Event]] = {kind: [] for kind in OUTPUTS}
    for event in read_events(query, session.session_id, OUTPUTS):
        outputs[event.kind].append(event)
    return JournaledSession(
        session=session,
        minutes=list(iter_minutes(query, session)) if with_minutes else [],
        commands=read_events(query, session.session_id, (COMMAND,)),
        rates=read_events(query, session.session_id, (RATE,)),
        outputs=outputs,
        priced=read_events(query, session.session_id, (PRICED,)),
        reached=read_events(query, session.session_id, (REACHED,)),
    )


def _event_ms(record: Any) -> int:
    """Return the session's time of an event; for a late payment, the time of its booking."""
    if isinstance(record, Payment) and record.booked_ms is not None:
        return record.booked_ms
    return int(record.ts_ms)


def _command(event: Event) -> Command:
    return msgspec.json.decode(event.body, type=Command)


def _change_text(old: Event | None, new: Event | None) -> str:
    event = old or new
    assert event is not None
    before, now = (side.body if side else "nothing" for side in (old, new))
    return f"{event.kind} {event.number + 1} at {iso(event.ts_ms)}: {before} became {now}"
