"""The process of one session: it reads closed minutes, writes them down, and only then uses them.

`python -m tbv8.live.host` is started by `tbv8.live.watch`: its plan comes through stdin, which
stays open as long as the watching process lives; its reports go to stdout as lines of JSON.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.config.source import digest_file
from tbv8.errors import DataError, DiffersError, Tbv8Error
from tbv8.live.driver import (
    CLOCK,
    STALE_BAR,
    STOPPED,
    Command,
    Driver,
    Journaled,
    read_journaled,
)
from tbv8.live.plan import Plan, Report
from tbv8.live.pricing import price_fill
from tbv8.manifest import FILES_PART, make_input
from tbv8.market import DAY_MS, MINUTE_MS, ONE_MINUTE, Bar, Series, Span, iso
from tbv8.store.sessions import (
    COMMAND,
    PRICED,
    Closed,
    Event,
    Journal,
    Minute,
    StoredSession,
    is_quote_gap,
    least_delay_ms,
    open_journal,
    read_closed,
    read_events,
    read_quotes,
    read_session,
    session_lock,
)
from tbv8.store.ticks import BusyError
from tbv8.trading.opened import Opened, noting_opened
from tbv8.trading.records import Fill

_POLL_S = 0.1
_BUSY_S = 0.5
_ALIVE_S = 1.0
_HANDOVER_S = 10.0  # a killed watcher's host needs a moment to notice
_TAIL_MS = 3 * MINUTE_MS  # the recorder is never nearer to now
_TAIL_PATIENCE_S = 180.0
_QUOTES_MS = 5000  # after which the recorder has written what it had received
_CORRECTED_MS = DAY_MS  # how long ago a minute may be that the recorder still corrects


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds a host, for tests too.

    Attributes:
        now_ms: Our clock.
        report: Takes each report.
        is_over: Tells whether to end.
        sleep: Waits so many seconds.
    """

    now_ms: Callable[[], int]
    report: Callable[[Report], None]
    is_over: Callable[[], bool]
    sleep: Callable[[float], None] = time.sleep


def run_host(plan: Plan, setting: Setting) -> None:
    """Run a session until it is over; begin it, or go on from its journal.

    Raises:
        DataError: It cannot begin, its journal does not give what it gave, or the database cannot
            be used.
        StrategyError: The strategy raised, or ended the run.
    """
    name = f"{plan.strategy.strategy_id}.{plan.role}"
    with (
        session_lock(plan.db_path, name, wait_s=_HANDOVER_S),
        open_journal(plan.db_path) as journal,
        noting_opened(plan.strategy) as opened,
        ExitStack() as stack,
    ):
        host = _Host(plan, setting, journal, opened)
        if host.begin(stack):
            host.run()


class _Host:
    """A session and its journal."""

    def __init__(self, plan: Plan, setting: Setting, journal: Journal, opened: Opened) -> None:
        self._plan, self._setting, self._journal, self._opened = plan, setting, journal, opened
        self._session: StoredSession
        self._driver: Driver
        self._known: dict[str, int] = {}
        self._last = Command(do="start")
        self._seen_ms = 0
        self._took_ms = 0.0
        self._stale = False
        self._priced = 0
        self._alive_s = 0.0

    # The beginning.

    def begin(self, stack: ExitStack) -> bool:
        """Make or restore the session; False if it was over before that."""
        plan = self._plan
        query, name = self._journal.query, plan.strategy.strategy_id
        before = self._persist(lambda: read_session(query, name, plan.role))
        if before is None or plan.is_new:
            made = self._make(before)
            if made is None:
                return False
            self._session = made
            self._report("began", text=f"session {made.session_id} counts from {_at(made)}")
        else:
            check_inputs(before, plan)
            self._session = before
        self._driver = stack.enter_context(Driver(plan.strategy, self._session))
        self._restore()
        return True

    def _make(self, before: StoredSession | None) -> StoredSession | None:
        """Write a new session with its warm-up; None if it was over before that."""
        plan, now_ms = self._plan, self._setting.now_ms()
        counted_ms = plan.strategy.timeframe.ceil(now_ms)
        first_ms = plan.strategy.timeframe.ceil(counted_ms - plan.strategy.warm_up_ms)
        history = self._await_history(first_ms, min(counted_ms, now_ms))
        if history is None:
            return None
        session = StoredSession(
            session_id=0,
            strategy_id=plan.strategy.strategy_id,
            role=plan.role,
            venue=plan.venue,
            inputs=msgspec.to_builtins(plan.inputs),
            decimals=self._decimals(first_ms, now_ms),
            first_ms=first_ms,
            counted_ms=counted_ms,
            done_ms=first_ms,
            state={},
            began_ms=now_ms,
        )
        return self._persist(lambda: self._journal.begin(session, history, ends=before))

    def _await_history(self, first_ms: int, now_ms: int) -> list[Minute] | None:
        """Return the minutes of the warm-up that have closed; wait for those of just now.

        Raises:
            DataError: They are not all held.
        """
        if first_ms >= now_ms:
            return []
        until_s = time.monotonic() + _TAIL_PATIENCE_S
        while True:
            known = {s: self._read(s, first_ms, now_ms) for s in self._plan.strategy.symbols}
            short = {s: c for s, c in known.items() if c.until_ms < now_ms - _TAIL_MS}
            if not short:
                return self._minutes(known, first_ms, min(c.until_ms for c in known.values()))
            for symbol, closed in short.items():
                if closed.next_ms is not None or not self._is_recorded(symbol, first_ms):
                    raise self._too_short(symbol, first_ms, closed)
            if time.monotonic() > until_s:
                raise self._too_short(*min((s, first_ms, c) for s, c in short.items()))
            self._report("waiting", text="for the recorder to fetch the last minutes")
            if self._setting.is_over():
                return None
            self._setting.sleep(_BUSY_S)

    def _is_recorded(self, symbol: str, first_ms: int) -> bool:
        return self._read(symbol, first_ms, first_ms + MINUTE_MS).until_ms > first_ms

    def _too_short(self, symbol: str, first_ms: int, closed: Closed) -> DataError:
        plan = self._plan
        end_ms = closed.next_ms or plan.strategy.timeframe.ceil(self._setting.now_ms())
        missing = Span(closed.until_ms, end_ms)
        return DataError(
            f"{plan.series[symbol]}: the warm-up needs 1m bars from {iso(first_ms)} on, and those "
            f"of {missing} are missing: record that long, fetch them with market_data_venue: "
            f"{plan.venue} and `doit backfill`, or shorten backtest.warm_up"
        )

    def _decimals(self, first_ms: int, now_ms: int) -> dict[str, int]:
        """Return the decimals of each symbol's prices, by its tick and what is held of it."""
        from tbv8.live.minutes import Builder
        from tbv8.trading.nautilus import price_decimals

        strategy = self._plan.strategy
        since_ms = ONE_MINUTE.floor(min(first_ms, now_ms - DAY_MS))
        found = {}
        for symbol in strategy.symbols:
            bars = self._read_all(symbol, since_ms, now_ms)
            minutes = [
                Minute(ts_ms=bar.ts_ms, bars=dict.fromkeys(strategy.symbols, bar), seen_ms=now_ms)
                for bar in bars
            ] or [Minute(ts_ms=now_ms, bars=dict.fromkeys(strategy.symbols), seen_ms=now_ms)]
            minute_strategy = replace(strategy, timeframe=ONE_MINUTE, bars=(), detail="none")
            table = Builder(minute_strategy, since_ms).build(minutes).steps[symbol]
            tick = strategy.instruments[self._plan.venue][symbol].tick_size
            found[symbol] = price_decimals(table, tick)
        return found

    def _read_all(self, symbol: str, since_ms: int, until_ms: int) -> list[Bar]:
        bars: dict[int, Bar] = {}
        cursor: int | None = since_ms
        while cursor is not None and cursor < until_ms:
            closed = self._read(symbol, cursor, until_ms)
            bars |= closed.bars
            cursor = closed.next_ms
        return [bars[ts_ms] for ts_ms in sorted(bars)]

    def _restore(self) -> None:
        """Feed what the journal has, compare what comes of it, and finish the last minute.

        Raises:
            DiffersError: It is something else.
        """
        began_s = time.monotonic()
        journaled = self._persist(self._read_journaled)
        for _ in self._driver.replay(journaled.minutes, journaled.commands):
            if self._setting.is_over():
                return
        outputs = self._driver.outputs({}, at_ms=self._setting.now_ms())
        difference = journaled.first_difference(outputs)
        state, stored = self._driver.state(), self._session
        if difference is None and self._driver.done_ms == stored.done_ms and stored.state:
            is_pending = any(command.ts_ms == stored.done_ms for command in journaled.commands)
            if not is_pending and state != stored.state:
                difference = f"the account at {iso(stored.done_ms)}: {stored.state} became {state}"
        name = self._plan.strategy.strategy_id
        if difference is not None:
            raise DiffersError(
                f"{name}: its session does not give again what it gave: {difference}: nothing was "
                f"done; `doit paper:{name} --new` begins another session"
            )
        self._known = {kind: len(events) for kind, events in journaled.outputs.items()}
        self._last = journaled.last_command
        self._priced = self._journal.count_events(self._session.session_id).get(PRICED, 0)
        unwritten = [e for e in outputs if e.number >= self._known.get(e.kind, 0)]
        self._persist(lambda: self._finish(unwritten))
        took_s = time.monotonic() - began_s
        self._report(
            "replayed",
            text=f"{len(journaled.minutes):,} minutes replayed in {took_s:.1f} s, as they were",
            done_ms=self._driver.done_ms,
            state=state,
        )
        if self._last.do == "stop":
            self._report("stopped")

    def _read_journaled(self) -> Journaled:
        """Return what the journal has, once a stop is in it that came in the middle of a minute.

        Nothing of that minute has been written, so the stop counts before it.
        """
        journaled = read_journaled(self._journal.query, self._session)
        asked = self._asked(journaled.last_command)
        minutes, done_ms = journaled.minutes, self._session.done_ms
        if asked is None or asked.do != "stop" or not minutes or minutes[-1].close_ms <= done_ms:
            return journaled
        event = self._command(asked, done_ms)
        self._journal.bar_minute(self._session.session_id, minutes[-1].ts_ms, STOPPED, event)
        self._report("stopped")
        return read_journaled(self._journal.query, self._session)

    # Going on.

    def run(self) -> None:
        """Use minutes as they close, until it is over."""
        while not self._setting.is_over():
            try:
                is_idle = not self._step()
            except BusyError as e:
                self._report("waiting", text=str(e))
                self._setting.sleep(_BUSY_S)
                continue
            if is_idle:
                self._watch_time()
                self._price_fills()
                self._setting.sleep(_POLL_S)

    def _step(self) -> bool:
        """Do the next thing that is to be done; False when there is nothing."""
        if self._driver.done_ms > self._session.done_ms:
            self._finish()
            return True
        return self._obey() or self._use_minute()

    def _obey(self) -> bool:
        """Carry out what the stop file asks for, once it is written down."""
        command = self._asked(self._last)
        if command is None:
            return False
        event = self._command(command, self._driver.done_ms)
        self._journal.write_minutes(self._session.session_id, [], [event])
        self._last = command
        self._driver.obey(command)
        self._report("stopped" if command.do == "stop" else "started")
        self._persist(self._finish)
        return True

    def _asked(self, last: Command) -> Command | None:
        """Return the command that the stop file asks for beyond the last one; None for none."""
        asked = _read_stop(self._plan)
        if asked is None:
            return Command(do="start") if last.do == "stop" else None
        is_done = last.do == "stop" and (last.close or not asked.close)
        return None if is_done else asked

    def _command(self, command: Command, ts_ms: int) -> Event:
        number = self._journal.count_events(self._session.session_id).get(COMMAND, 0)
        body = msgspec.json.encode(command).decode()
        return Event(COMMAND, number, ts_ms, self._setting.now_ms(), body)

    def _use_minute(self) -> bool:
        """Write down the next minute, if it has closed, and feed it."""
        plan, cursor = self._plan, self._driver.done_ms
        now_ms = self._setting.now_ms()
        known = {s: self._read(s, cursor, now_ms) for s in plan.strategy.symbols}
        lost = {s: c.next_ms for s, c in known.items() if c.until_ms <= cursor and c.next_ms}
        until_ms = min(lost.get(s, c.until_ms) for s, c in known.items())
        if until_ms <= cursor:
            return False
        notes: list[Event] = []
        if lost:  # nobody will ever know them: the recorder never goes back
            notes.append(self._note("gap", {"from_ms": cursor, "to_ms": until_ms}, cursor))
        else:
            until_ms = cursor + MINUTE_MS
        minutes = self._minutes(known, cursor, until_ms, seen_ms=now_ms)
        minutes = [replace(one, barred=self._rule_against(one, now_ms)) for one in minutes]
        self._journal.write_minutes(self._session.session_id, minutes, notes)
        if lost:
            names = ", ".join(lost)
            span = Span(cursor, until_ms)
            self._report("gap", text=f"{names}: nobody has the minutes {span}, they are left out")
        began_s = time.perf_counter()
        for _ in self._driver.feed(minutes):
            pass
        self._took_ms = (time.perf_counter() - began_s) * 1000
        self._seen_ms = now_ms
        self._finish()
        return True

    def _rule_against(self, minute: Minute, now_ms: int) -> str | None:
        """Return the rule by which a minute opens nothing."""
        plan, lag_ms = self._plan, now_ms - minute.close_ms
        if self._last.do == "stop":
            return STOPPED
        span = Span(minute.ts_ms, now_ms + DAY_MS)  # of a minute that came late, others since
        delays = [
            least_delay_ms(self._journal.query, series, span) for series in plan.series.values()
        ]
        if lag_ms < -plan.clock_ms or any(d is not None and d < -plan.clock_ms for d in delays):
            return CLOCK
        if lag_ms > plan.stale_ms:
            return STALE_BAR
        if any(delay is not None and delay > plan.clock_ms for delay in delays):
            return CLOCK
        return None

    def _finish(self, outputs: Sequence[Event] | None = None) -> None:
        """Write down what came of the minutes that were fed."""
        driver, session = self._driver, self._session
        if outputs is None:
            outputs = driver.outputs(self._known, at_ms=self._setting.now_ms())
        notes = self._corrected()
        state = driver.state()
        self._journal.write_events(
            session.session_id, [*outputs, *notes], done_ms=driver.done_ms, state=state
        )
        is_new = driver.done_ms > session.done_ms
        self._session = replace(session, done_ms=driver.done_ms, state=state)
        for event in outputs:
            self._known[event.kind] = event.number + 1
        self._write_files()
        for note in notes:
            self._report("corrected", text=note.body, events=[(note.kind, note.body)])
        if is_new or outputs:
            self._report(
                "minute",
                done_ms=driver.done_ms,
                lag_ms=self._seen_ms - driver.done_ms,
                took_ms=round(self._took_ms, 2),
                state=state,
                events=[(event.kind, event.body) for event in outputs],
            )

    def _corrected(self) -> list[Event]:
        """Return notes of minutes that the recorder has changed since they were used."""
        session = self._session
        since_ms = max(session.first_ms, self._driver.done_ms - _CORRECTED_MS)
        changed = self._journal.corrected(session, self._plan.strategy.symbols, since_ms=since_ms)
        if not changed:
            return []
        known = self._journal.query(
            "SELECT body FROM session_events WHERE session_id = ? AND kind = 'corrected'",
            (session.session_id,),
        )
        bodies = {body for (body,) in known}
        number = len(bodies)
        notes = []
        for symbol, used, now in changed:
            value = {"symbol": symbol, "used": used, "now": now}
            body = msgspec.json.encode(value).decode()
            if body not in bodies:
                at_ms = self._setting.now_ms()
                notes.append(Event("corrected", number, used.ts_ms + MINUTE_MS, at_ms, body))
                number += 1
        return notes

    def _write_files(self) -> None:
        """Keep the key's part of what the strategy opened up to date."""
        files = self._opened.files()
        part = msgspec.to_builtins(make_input(files))
        if self._session.inputs.get(FILES_PART) != part:
            inputs = self._session.inputs | {FILES_PART: part}
            self._journal.write_inputs(self._session.session_id, inputs)
            self._session = replace(self._session, inputs=inputs)

    # Small things.

    def _watch_time(self) -> None:
        """Report that it lives, and whether minutes stay away."""
        lag_ms = self._setting.now_ms() - self._driver.done_ms
        is_stale = lag_ms > self._plan.stale_ms + MINUTE_MS
        if is_stale != self._stale:
            self._stale = is_stale
            since = iso(self._driver.done_ms)
            text = f"no closed minute since {since}" if is_stale else "closed minutes come again"
            self._report("stale" if is_stale else "fresh", text=text)
        if time.monotonic() - self._alive_s > _ALIVE_S:
            self._alive_s = time.monotonic()
            self._report("alive", done_ms=self._driver.done_ms)

    def _price_fills(self) -> None:
        """Price the fills whose quotes the recorder has had the time to write; once each."""
        plan, session = self._plan, self._session
        if plan.priced_at is None or self._priced >= self._known.get("fill", 0):
            return
        query, notes = self._journal.query, []
        for event in read_events(query, session.session_id, ("fill",), first=self._priced):
            if event.at_ms + _QUOTES_MS > self._setting.now_ms():
                break
            fill = msgspec.json.decode(event.body, type=Fill)
            series = Series(plan.priced_at, fill.symbol)
            step_ms = plan.strategy.step.fixed_ms or DAY_MS
            quotes = read_quotes(query, series, Span(event.ts_ms - step_ms, event.at_ms + 1))
            tick = plan.strategy.instruments[plan.priced_at][fill.symbol].tick_size
            is_gap = is_quote_gap(query, series, event.at_ms)
            body = msgspec.json.encode(price_fill(fill, quotes, tick, is_gap=is_gap)).decode()
            at_ms = self._setting.now_ms()
            notes.append(Event(PRICED, event.number, event.ts_ms, at_ms, body))
        if notes:
            with suppress(BusyError):  # the next time
                self._journal.write_minutes(session.session_id, [], notes)
                self._priced = notes[-1].number + 1

    def _read(self, symbol: str, from_ms: int, until_ms: int) -> Closed:
        series = self._plan.series[symbol]
        return read_closed(self._journal.query, series, from_ms=from_ms, until_ms=until_ms)

    def _minutes(
        self, known: dict[str, Closed], from_ms: int, until_ms: int, *, seen_ms: int | None = None
    ) -> list[Minute]:
        seen_ms = self._setting.now_ms() if seen_ms is None else seen_ms
        return [
            Minute(
                ts_ms=ts_ms,
                bars={symbol: closed.bars.get(ts_ms) for symbol, closed in known.items()},
                seen_ms=seen_ms,
            )
            for ts_ms in range(from_ms, until_ms, MINUTE_MS)
        ]

    def _note(self, kind: str, value: Any, ts_ms: int) -> Event:
        number = self._journal.count_events(self._session.session_id).get(kind, 0)
        body = msgspec.json.encode(value).decode()
        return Event(kind, number, ts_ms, self._setting.now_ms(), body)

    def _persist[R](self, write: Callable[[], R]) -> R:
        """Write, again and again while the database is locked or its disk is full."""
        while True:
            try:
                return write()
            except BusyError as e:
                self._report("waiting", text=str(e))
                if self._setting.is_over():
                    raise
                self._setting.sleep(_BUSY_S)

    def _report(self, kind: str, **parts: Any) -> None:
        self._setting.report(Report(kind=kind, **parts))


def check_inputs(session: StoredSession, plan: Plan) -> None:
    """Refuse to go on with a session that was begun with something else.

    Raises:
        DataError: A part of its key has changed.
    """
    now = msgspec.to_builtins(plan.inputs)
    changed = [name for name in now if session.inputs.get(name) != now[name]]
    files = session.inputs.get(FILES_PART, {}).get("value", {})
    root = plan.strategy.root
    changed += [path for path, digest in files.items() if digest_file(root / path) != digest]
    if changed:
        name = plan.strategy.strategy_id
        raise DataError(
            f"{name}: its session began at {iso(session.began_ms)} with another "
            f"{' and '.join(changed)}: bring that back, or begin another session with "
            f"`doit paper:{name} --new`; the old one stays readable"
        )


def _read_stop(plan: Plan) -> Command | None:
    """Return what the stop file asks for; an unreadable one stops."""
    try:
        words = plan.stop_path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError:
        words = ""
    return Command(do="stop", close="close" in words)


def _at(session: StoredSession) -> str:
    return iso(session.counted_ms)


def our_clock() -> int:
    """Return the time, milliseconds UTC."""
    return time.time_ns() // 1_000_000


def main(now_ms: Callable[[], int] = our_clock) -> None:
    """Run the session whose plan comes through stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the watching process ends this one
    over = threading.Event()
    plan: Plan = pickle.load(sys.stdin.buffer)

    def report(one: Report) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(one) + b"\n")
        sys.stdout.buffer.flush()

    def await_end() -> None:
        """End soon after stdin: in order, or at once where the strategy hangs."""
        sys.stdin.buffer.read()
        over.set()
        time.sleep(2)
        os._exit(0)

    threading.Thread(target=await_end, daemon=True).start()
    code = 0
    try:
        run_host(plan, Setting(now_ms=now_ms, report=report, is_over=over.is_set))
    except Tbv8Error as e:
        kind = "differs" if isinstance(e, DiffersError) else "failed"
        report(Report(kind=kind, text=str(e)))
        code = 3
    except BrokenPipeError:
        code = 1
    sys.stdout.flush()
    os._exit(code)  # no thread of a library is waited for


if __name__ == "__main__":
    main()
