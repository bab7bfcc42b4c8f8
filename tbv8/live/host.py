"""The process of one session: it writes each closed minute to the journal before it uses it.

`python -m tbv8.live.host` is started by `tbv8.live.watch`: its config comes through stdin, which
stays open as long as the watching process lives; its reports go to stdout as lines of JSON.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.errors import DiffersError, Tbv8Error
from tbv8.live.driver import (
    Driver,
    FundingRate,
    JournaledSession,
    read_journaled,
)
from tbv8.live.environment import BUSY_S, HostEnvironment, our_clock
from tbv8.live.inputs import check_inputs
from tbv8.live.new_session import began_text, begin_session, continued_text, set_results_aside
from tbv8.live.observations import correction_events, rate_events
from tbv8.live.output import ProcessReport, claim_stdout
from tbv8.live.secondary import SecondaryPricer
from tbv8.live.session_config import SessionConfig
from tbv8.live.stop_file import Request, StopFile
from tbv8.live.stored_minutes import read_symbols, to_minutes
from tbv8.manifest import FILES_PART, make_input
from tbv8.market import DAY_MS, MINUTE_MS, Span, iso
from tbv8.risk.events import Breach
from tbv8.risk.rules.blocked import age_breach, clock_breach, to_text
from tbv8.store.database import BusyError, Query
from tbv8.store.locks import session_lock
from tbv8.store.sessions import (
    COMMAND,
    Event,
    Journal,
    SessionMinute,
    StoredSession,
    iter_minutes,
    open_journal,
    read_session,
    shortest_delay_ms,
)
from tbv8.text import counted
from tbv8.trading.coarse_ticks import tick_warnings
from tbv8.trading.loading import check_params
from tbv8.trading.opened_files import OpenedFiles, track_files
from tbv8.trading.prints import Prints

_POLL_S = 0.1
_ALIVE_S = 1.0
_HANDOVER_S = 10.0  # a host needs some time to notice that its watching process was killed


def run_host(config: SessionConfig, environment: HostEnvironment) -> None:
    """Run a session until the process is asked to end; begin it, or continue from its journal.

    Raises:
        DataError: It cannot begin, its replay differs from its journal, or the database cannot be
            used.
        StrategyError: The strategy raised, or ended the run.
    """
    name = f"{config.strategy.strategy_id}.{config.role}"
    with (
        session_lock(config.db_path, name, wait_s=_HANDOVER_S),
        open_journal(config.db_path) as journal,
        track_files(config.strategy) as opened,
        ExitStack() as stack,
    ):
        host = _SessionHost(config, environment, journal, opened)
        if host.begin(stack):
            host.run()


class _SessionHost:
    """A session and its journal."""

    def __init__(
        self,
        config: SessionConfig,
        environment: HostEnvironment,
        journal: Journal,
        opened: OpenedFiles,
    ) -> None:
        self._config, self._environment = config, environment
        self._journal, self._opened = journal, opened
        self._session: StoredSession
        self._driver: Driver
        self._event_counts: dict[str, int] = {}
        self._rates: dict[tuple[str, int], float] = {}
        self._stop_file = StopFile(config.stop_path, config.strategy.step)
        self._without_price: set[str] = set()  # the symbols without a price since a gap
        self._seen_ms = 0
        self._is_in_gap = False
        self._took_ms = 0.0
        self._is_stale = self._is_continued = self._has_checked_ticks = False
        self._secondary: SecondaryPricer | None = None
        self._alive_s = 0.0

    # The beginning.

    def begin(self, stack: ExitStack) -> bool:
        """Begin or restore the session; return False if the process is asked to end first."""
        config = self._config
        check_params(config.strategy)
        query, name = self._journal.query, config.strategy.strategy_id
        stored = self._environment.persist(lambda: read_session(query, name, config.role))
        if stored is None or config.is_new:
            session = begin_session(config, self._environment, self._journal, stored)
            if session is None:
                return False
            self._session = session
            self._environment.send("began", text=began_text(session))
        else:
            check_inputs(stored, config)
            self._session, self._is_continued = stored, True
        if config.role == "primary" and (kept := set_results_aside(config, self._session)):
            self._environment.send("kept", text=f"results of the previous session are in {kept}")
        self._driver = stack.enter_context(Driver(config.strategy, self._session))
        self._restore()
        self._warn_of_ticks()
        return True

    def _restore(self) -> None:
        """Replay the journal, compare the events with it, and finish the last minute.

        Raises:
            DiffersError: An event differs.
        """
        began_s, self._seen_ms = time.monotonic(), self._environment.now_ms()
        journaled = self._environment.persist(self._read_journaled)
        minutes = iter_minutes(self._journal.query, self._session)
        for _ in self._driver.replay(minutes, journaled.commands, journaled.rates):
            if self._environment.is_over():
                return
        outputs = self._driver.outputs({}, at_ms=self._environment.now_ms())
        difference = journaled.first_difference(outputs)
        state, stored = self._driver.state(), self._session
        if difference is None and self._driver.done_ms == stored.done_ms and stored.state:
            is_pending = any(command.ts_ms == stored.done_ms for command in journaled.commands)
            if not is_pending and state != stored.state:
                difference = f"the account at {iso(stored.done_ms)}: {stored.state} became {state}"
        name = self._config.strategy.strategy_id
        if difference is not None:
            raise DiffersError(
                f"{name}: its replay differs from its journal: {difference}: the session does not "
                f"continue; `doit paper:{name} --new` begins another session"
            )
        self._event_counts = {kind: len(events) for kind, events in journaled.outputs.items()}
        self._note_rates(journaled.rates)
        if self._config.priced_at is not None:
            self._secondary = SecondaryPricer(self._config, self._journal, self._session)
            self._secondary.watch(self._driver.resting_limits(), self._driver.done_ms)
        unwritten = [e for e in outputs if e.number >= self._event_counts.get(e.kind, 0)]
        self._environment.persist(lambda: self._finish(unwritten))
        took_s, count = time.monotonic() - began_s, self._driver.count
        if self._is_continued:
            text = continued_text(self._session, count=count, took_s=took_s)
        else:
            text = f"{counted(count, 'minute')} of the warm-up in {took_s:.1f} s" if count else ""
        self._environment.send(
            "replayed",
            text=text,
            done_ms=self._driver.done_ms if count else None,
            state=state,
        )

    def _read_journaled(self) -> JournaledSession:
        """Return the session of the journal.

        If it is stopped, the minute whose events are not written yet opens nothing either: it may
        be the one in which the strategy hung.
        """
        session = self._session
        journaled = read_journaled(self._journal.query, session)
        self._stop_file.last = Request(*journaled.last_command)
        request = self._stop_file.read(self._environment.now_ms())
        if block := self._stop_file.block:
            text = to_text(block)
            self._journal.block_minutes(session.session_id, text, from_ms=session.done_ms)
        is_withdrawn = request is not None and request.command.do == "start"
        self._report_request(request, was_stopped=is_withdrawn)
        return journaled

    # Running.

    def run(self) -> None:
        """Use minutes as they close, until the process is asked to end."""
        while not self._environment.is_over():
            try:
                is_idle = not self._step()
            except BusyError as e:
                self._environment.send("waiting", text=str(e))
                self._environment.sleep(BUSY_S)
                continue
            if is_idle:
                self._watch_time()
                self._write_prices()
                self._environment.sleep(_POLL_S)

    def _step(self) -> bool:
        """Do the next piece of work; return False if there is none."""
        if self._driver.done_ms > self._session.done_ms:
            self._finish()
            return True
        return self._apply_stop_file() or self._use_minute()

    def _apply_stop_file(self) -> bool:
        """Execute the request of the stop file once it is due, after writing it to the journal."""
        driver, stop_file, was_stopped = self._driver, self._stop_file, self._stop_file.is_stopped
        self._report_request(stop_file.read(self._environment.now_ms()), was_stopped=was_stopped)
        request = stop_file.due(
            driver.done_ms, open_symbols=driver.open_symbols(), without_price=self._without_price
        )
        if request is None:
            return False
        self._journal.write_minutes(
            self._session.session_id,
            [],
            [self._event(COMMAND, request.command, driver.done_ms, at_ms=request.seen_ms)],
        )
        stop_file.last = request
        driver.execute(request.command, at_ms=request.seen_ms)
        if request.command.do == "start":
            self._environment.send("started")
        self._environment.persist(self._finish)
        return True

    def _report_request(self, request: Request | None, *, was_stopped: bool) -> None:
        """Report a new or a withdrawn request, before it is executed."""
        is_stopped = self._stop_file.is_stopped
        if is_stopped and (not was_stopped or (request and request.command.do == "stop")):
            text = request.text(self._config.strategy.strategy_id) if request else ""
            self._environment.send("stopped", text=text)
        elif was_stopped and not is_stopped:
            self._environment.send("started")

    def _event(self, kind: str, value: Any, ts_ms: int, *, at_ms: int) -> Event:
        """Return the next event of its kind; `at_ms` is its time by our clock."""
        number = self._journal.count_events(self._session.session_id).get(kind, 0)
        return Event(kind, number, ts_ms, at_ms, msgspec.json.encode(value).decode())

    def _use_minute(self) -> bool:
        """Write the next closed minute to the journal and feed it; return False without one."""
        config, cursor = self._config, self._driver.done_ms
        now_ms = self._environment.now_ms()
        closed_minutes = read_symbols(self._journal.query, config, cursor, now_ms)
        skipped = {
            s: c.next_ms for s, c in closed_minutes.items() if c.until_ms <= cursor and c.next_ms
        }
        until_ms = min(skipped.get(s, c.until_ms) for s, c in closed_minutes.items())
        if until_ms <= cursor:
            return False
        gaps: list[Event] = []
        if skipped:  # they stay unknown: the recorder never goes back
            gap = {"from_ms": cursor, "to_ms": until_ms}
            gaps.append(self._event("gap", gap, cursor, at_ms=now_ms))
        else:
            until_ms = cursor + MINUTE_MS
        minutes = to_minutes(closed_minutes, cursor, until_ms, seen_ms=now_ms)
        minutes = [replace(minute, barred=self._block_text(minute, now_ms)) for minute in minutes]
        rates = self._new_rates(Span(cursor, until_ms), now_ms)
        self._journal.write_minutes(self._session.session_id, minutes, [*gaps, *rates])
        if skipped:
            self._environment.send("gap", text=_gap_text(skipped, Span(cursor, until_ms)))
        self._without_price -= {s for minute in minutes for s, bar in minute.bars.items() if bar}
        self._without_price |= skipped.keys()
        began_s = time.perf_counter()
        self._note_rates(rates)
        for _ in self._driver.feed(minutes, rates):
            pass
        self._took_ms = (time.perf_counter() - began_s) * 1000
        self._seen_ms, self._is_in_gap = now_ms, bool(skipped)
        self._finish()
        self._warn_of_ticks()
        return True

    def _new_rates(self, minutes: Span, now_ms: int) -> list[Event]:
        """Return the known payments of funding that were not used yet."""
        query, first_ms = self._journal.query, self._session.first_ms
        return rate_events(query, self._config, first_ms, self._rates, minutes, at_ms=now_ms)

    def _note_rates(self, events: Sequence[Event]) -> None:
        rates = [msgspec.json.decode(event.body, type=FundingRate) for event in events]
        self._rates |= {(rate.symbol, rate.ts_ms): rate.rate for rate in rates}

    def _block_text(self, minute: SessionMinute, now_ms: int) -> str | None:
        """Return the rule and numbers by which a minute may open no position; None if it may."""
        block = self._stop_file.block
        block = block or _time_block(self._journal.query, self._config, minute, now_ms)
        return to_text(block) if block else None

    def _finish(self, outputs: Sequence[Event] | None = None) -> None:
        """Write the events of the fed minutes to the journal."""
        driver, session = self._driver, self._session
        if outputs is None:
            outputs = driver.outputs(self._event_counts, at_ms=self._environment.now_ms())
        query, at_ms = self._journal.query, self._environment.now_ms()
        corrections = correction_events(
            query, session, self._config, self._rates, driver.done_ms, at_ms=at_ms
        )
        state, shown = driver.state(), driver.warm_up_end(session.state)
        self._journal.write_events(
            session.session_id, [*outputs, *corrections], done_ms=driver.done_ms, state=state
        )
        is_new = driver.done_ms > session.done_ms
        self._session = replace(session, done_ms=driver.done_ms, state=state)
        for event in outputs:
            self._event_counts[event.kind] = event.number + 1
        if self._secondary is not None:
            self._secondary.watch(driver.resting_limits(), self._seen_ms)
        self._write_files()
        for event in corrections:
            self._environment.send("corrected", text=event.body, events=[(event.kind, event.body)])
        if is_new or outputs:
            self._environment.send(
                "minute",
                done_ms=driver.done_ms,
                lag_ms=self._seen_ms - driver.done_ms if is_new and not self._is_in_gap else None,
                took_ms=round(self._took_ms, 2) if is_new else None,
                state=state,
                events=[*shown, *((event.kind, event.body) for event in outputs)],
            )

    def _write_files(self) -> None:
        """Update the key's part of the files that the strategy opened."""
        files = self._opened.files()
        part = msgspec.to_builtins(make_input(files))
        if self._session.inputs.get(FILES_PART) != part:
            inputs = self._session.inputs | {FILES_PART: part}
            self._journal.write_inputs(self._session.session_id, inputs)
            self._session = replace(self._session, inputs=inputs)

    # Time and prices.

    def _watch_time(self) -> None:
        """Report that the process runs, and if minutes stop or resume."""
        lag_ms = self._environment.now_ms() - self._driver.done_ms
        is_stale = lag_ms > self._config.stale_ms + MINUTE_MS
        if is_stale != self._is_stale:
            self._is_stale = is_stale
            since = iso(self._driver.done_ms)
            text = "closed minutes arrive again"
            if is_stale:
                text = f"no closed minute since {since}: `doit status` shows the recorder's gaps"
            self._environment.send("stale" if is_stale else "fresh", text=text)
        if time.monotonic() - self._alive_s > _ALIVE_S:
            self._alive_s = time.monotonic()
            self._environment.send("alive", done_ms=self._driver.done_ms)

    def _write_prices(self) -> None:
        """Write the prices of orders at the secondary's quotes."""
        if self._secondary is not None:
            at_ms = self._environment.now_ms()
            self._secondary.write(
                self._event_counts.get("fill", 0), self._driver.done_ms, at_ms=at_ms
            )

    def _warn_of_ticks(self) -> None:
        """Report coarse ticks once, as soon as every symbol has a price.

        Raises:
            ConfigError: A tick is larger than the price.
        """
        strategy, venue, prices = self._config.strategy, self._config.venue, self._driver.prices()
        if not self._has_checked_ticks and prices.keys() == set(strategy.symbols):
            self._has_checked_ticks = True
            strategy = replace(strategy, instruments={venue: strategy.instruments[venue]})
            for text in tick_warnings(strategy, prices):
                self._environment.send("warning", text=text)


def _time_block(
    query: Query, config: SessionConfig, minute: SessionMinute, now_ms: int
) -> Breach | None:
    """Return the block of entries by a minute's age, or by a wrong clock; None for none."""
    lag_ms = now_ms - minute.close_ms
    span = Span(minute.ts_ms, now_ms + DAY_MS)  # for a late minute, with the trades since
    found = [shortest_delay_ms(query, series, span) for series in config.series.values()]
    delays = [delay for delay in found if delay is not None]
    if (behind_ms := min([lag_ms, *delays])) < -config.clock_ms:
        return clock_breach(behind_ms, config.clock_ms)
    if lag_ms > config.stale_ms:
        return age_breach(lag_ms, config.stale_ms)
    if (ahead_ms := max(delays, default=0)) > config.clock_ms:
        return clock_breach(ahead_ms, config.clock_ms)
    return None


def _gap_text(symbols: Iterable[str], gap: Span) -> str:
    """Return the line about minutes that the recorder does not have, named by their closes."""
    names, first, last = ", ".join(symbols), iso(gap.start_ms + MINUTE_MS), iso(gap.end_ms)
    if first == last:
        return f"{names}: the minute that closed at {last} was not recorded: it is skipped"
    return (
        f"{names}: the minutes that closed at {first} to {last} were not recorded: they are skipped"
    )


def main(now_ms: Callable[[], int] = our_clock) -> None:
    """Run the session whose config comes through stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the watching process ends this one
    over = threading.Event()
    config: SessionConfig = pickle.load(sys.stdin.buffer)
    reports = claim_stdout()

    def report(item: ProcessReport) -> None:
        reports.write(msgspec.json.encode(item) + b"\n")
        reports.flush()

    def await_end() -> None:
        """End after stdin has closed: in order, or after two seconds if the strategy hangs."""
        sys.stdin.buffer.read()
        over.set()
        time.sleep(2)
        os._exit(0)

    sys.stdout = Prints(lambda line: report(ProcessReport(kind="printed", text=line)))
    threading.Thread(target=await_end, daemon=True).start()
    code = 0
    try:
        run_host(config, HostEnvironment(now_ms=now_ms, report=report, is_over=over.is_set))
    except Tbv8Error as e:
        kind = "differs" if isinstance(e, DiffersError) else "failed"
        report(ProcessReport(kind=kind, text=str(e)))
        code = 3
    except BrokenPipeError:
        code = 1
    os._exit(code)  # without waiting for threads of libraries


if __name__ == "__main__":
    main()
