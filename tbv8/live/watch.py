"""What runs beside a session: it starts and ends the processes, shows and tells what they report.

No engine runs here, so nothing that a strategy does keeps it from obeying the stop file.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tbv8.errors import DataError
from tbv8.live.children import Host, Recorder, Writer
from tbv8.live.plan import Plan, Report
from tbv8.market import iso
from tbv8.store.sessions import session_lock

_POLL_S = 0.1
_HUNG_S = 0.6  # after the stop file has appeared, of the second in which it is obeyed
_RESULTS_S = 3600.0
_AGAIN_S = 1.0, 60.0  # before a killed process is started again: the first time, and at most
_CALM_S = 600.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How to run.

    Attributes:
        root: The project's folder.
        for_s: End by itself after so many seconds; None for never.
        results_s: How often results are written.
        host_module: What runs a session; tests have their own.
        keeps_recorder: Starts a recorder where none runs.
        on_report: Takes every report, with the role that it is about.
    """

    root: Path
    for_s: float | None = None
    results_s: float = _RESULTS_S
    host_module: str = "tbv8.live.host"
    keeps_recorder: bool = True
    on_report: Callable[[str, Report], None] | None = None


def watch(plans: Mapping[str, Plan], options: Options) -> None:
    """Run a session and its shadow until SIGINT, SIGTERM, or the end of `for_s`.

    Args:
        plans: The plan of the primary, and of the shadow where there is one, by role.
        options: How.

    Raises:
        DataError: A session of the strategy runs already, or the primary's ended with an error.
    """
    primary = plans["primary"]
    name = primary.strategy.strategy_id
    with session_lock(primary.db_path, name), _stop_on_signals() as stop:
        primary.folder.parent.mkdir(parents=True, exist_ok=True)
        watcher = _Watcher(plans, options, stop)
        try:
            watcher.run()
        finally:
            watcher.end()
        watcher.write_last()


class _Seat:
    """One session: its process, and what is known of it."""

    def __init__(self, plan: Plan, module: str) -> None:
        self.plan, self._module = plan, module
        self.host: Host | None = None
        self.failed = ""
        self.is_running = False  # minutes are used, nothing is replayed any more
        self.is_stopped = False
        self.asked_s: float | None = None  # since when the stop file waits to be obeyed
        self._start_s, self._wait_s, self._started_s = 0.0, _AGAIN_S[0], 0.0

    def keep(self) -> None:
        """Start the process if it does not run and may be started."""
        if self.host is None and not self.failed and time.monotonic() >= self._start_s:
            self.is_running = False
            self._started_s = time.monotonic()
            self.host = Host(self.plan, self._module)

    def end_hung(self) -> None:
        """Kill a process that does not obey; the next one stops before it goes on."""
        if self.host is not None:
            self.host.kill()
        self.host, self.is_running, self.asked_s = None, False, None
        self._start_s = 0.0

    def settle(self) -> str | None:
        """Notice that the process has ended; return what to say of it."""
        if self.host is None or (code := self.host.poll()) is None:
            return None
        self.host, self.is_running = None, False
        # what is new was begun once: a second start goes on with it
        self.plan = msgspec.structs.replace(self.plan, is_new=False)
        if self.failed:
            return None
        if code > 0:
            self.failed = f"its process ended with exit code {code}: what it printed says why"
            return None
        if time.monotonic() - self._started_s > _CALM_S:
            self._wait_s = _AGAIN_S[0]
        self._start_s = time.monotonic() + self._wait_s
        self._wait_s = min(4 * self._wait_s, _AGAIN_S[1])
        return f"its process was killed (signal {-code}): it is started again from its journal"


class _Watcher:
    """The loop."""

    def __init__(self, plans: Mapping[str, Plan], options: Options, stop: _Stop) -> None:
        self._plans, self._options, self._stop = plans, options, stop
        self._seats = {role: _Seat(plan, options.host_module) for role, plan in plans.items()}
        self._name = plans["primary"].strategy.strategy_id
        primary = plans["primary"]
        self._recorder = Recorder(primary.db_path, options.root, self._say)
        self._writer: Writer | None = None
        self._waiting = ""

    def run(self) -> None:
        """Go on until it is to end.

        Raises:
            DataError: The primary's session ended with an error.
        """
        began_s = time.monotonic()
        write_s = began_s + self._options.results_s
        for_s = self._options.for_s
        while not self._stop.requested:
            if for_s is not None and time.monotonic() - began_s >= for_s:
                return
            if self._options.keeps_recorder:
                self._recorder.keep()
            for role, seat in self._seats.items():
                seat.keep()
                self._take_reports(role, seat)
                self._enforce_stop(role, seat)
                if (said := seat.settle()) is not None:
                    self._say(f"{role}: {said}")
                    self._notice(role, Report(kind="killed", text=said))
            failed = self._seats["primary"].failed
            if failed:
                raise DataError(failed)
            if time.monotonic() >= write_s and self._writer is None:
                write_s = time.monotonic() + self._options.results_s
                self._writer = Writer(self._current())
            self._take_results()
            time.sleep(_POLL_S)

    def end(self) -> None:
        """End every process that was started here, the recorder last."""
        for role, seat in self._seats.items():
            if seat.host is not None:
                seat.host.end()
                self._take_reports(role, seat)
        if self._writer is not None:
            self._writer.kill()
        self._recorder.end()

    def write_last(self) -> None:
        """Write the results as of the end."""
        report = Writer(self._current()).wait()
        self._report_results(report)

    def _current(self) -> dict[str, Plan]:
        return {role: seat.plan for role, seat in self._seats.items()}

    def _take_results(self) -> None:
        if self._writer is not None and (report := self._writer.poll()) is not None:
            self._writer = None
            self._report_results(report)

    def _report_results(self, report: Report) -> None:
        self._notice("primary", report)
        if report.kind in ("differs", "failed"):
            self._say(f"RESULTS: {report.text}")
        elif report.kind == "written":
            self._say(f"results as of now: {self._plans['primary'].folder}")

    def _take_reports(self, role: str, seat: _Seat) -> None:
        host = seat.host
        while host is not None and not host.reports.empty():
            report = host.reports.get()
            if report.kind == "replayed":
                seat.is_running = True
                if role == "primary":
                    seat.plan.differs_path.unlink(missing_ok=True)
            elif report.kind in ("stopped", "started"):
                seat.is_stopped = report.kind == "stopped"
                if report.kind == "stopped":
                    seat.asked_s = None
            elif report.kind in ("failed", "differs"):
                seat.failed = report.text
                if role != "primary":
                    self._say(f"{role}: {report.text}")
            self._show(role, report)
            self._notice(role, report)

    def _enforce_stop(self, role: str, seat: _Seat) -> None:
        """Kill a session that does not obey the stop file within a second: it hangs."""
        if seat.host is None or not seat.is_running or seat.is_stopped:
            seat.asked_s = None
            return
        if not seat.plan.stop_path.exists():
            seat.asked_s = None
            return
        if seat.asked_s is None:
            seat.asked_s = time.monotonic()
        elif time.monotonic() - seat.asked_s > _HUNG_S:
            seat.end_hung()
            self._say(f"{role}: it hangs in the strategy, and was killed to stop it")

    def _show(self, role: str, report: Report) -> None:
        who = "" if role == "primary" else f"{role}: "
        if report.kind == "minute":
            self._waiting = ""
            for line in minute_lines(report):
                self._say(f"{who}{line}")
        elif report.kind == "waiting":
            if report.text != self._waiting:
                self._waiting = report.text
                self._say(f"{who}waiting: {report.text}")
        elif report.kind not in ("alive", "failed", "differs"):
            text = f": {report.text}" if report.text else ""
            self._say(f"{who}{report.kind}{text}")

    def _notice(self, role: str, report: Report) -> None:
        if report.kind == "differs":
            self._plans["primary"].differs_path.write_text(f"{report.text}\n", encoding="utf-8")
        if self._options.on_report is not None:
            self._options.on_report(role, report)

    def _say(self, line: str) -> None:
        print(f"   {self._name}: {line}", flush=True)


def minute_lines(report: Report) -> Iterator[str]:
    """Yield a line about a minute, and one for each order, fill, denial and halt in it."""
    state = report.state
    done_ms = report.done_ms or 0
    held = ", ".join(f"{size} {symbol}" for symbol, size in state["positions"].items())
    barred = f", opens nothing: {state['barred']}" if state["barred"] else ""
    lag_s = (report.lag_ms or 0) / 1000
    yield (
        f"{iso(done_ms)} position {held}, equity {float(state['equity']):,.2f}, "
        f"day's loss {float(state['day_loss']):,.2f}, {lag_s:.1f} s late{barred}"
    )
    for kind, body in report.events:
        values: dict[str, Any] = msgspec.json.decode(body)
        if kind == "fill":
            yield (
                f"  {values['side']} {values['quantity']} {values['symbol']} at {values['price']}, "
                f"fee {values['fee']}"
            )
        elif kind == "denial":
            yield f"  denied by {values['rule']}: {values['order']} {values['symbol']}"
        elif kind == "halt":
            yield f"  HALT by {values['rule']} until {iso(values['until_ms'])}"


class _Stop:
    """A request to end; an Event would deadlock with a signal that comes while it is waited for."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, *_signal: object) -> None:
        """Let the watcher end."""
        self.requested = True


@contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """Make SIGINT and SIGTERM a request to end; the watchdog of native code has nothing to watch.

    Results are written after the signal, which takes longer than the watchdog would wait.
    """
    stop = _Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    with ExitStack() as stack:
        pipe = signal.set_wakeup_fd(-1)
        stack.callback(signal.set_wakeup_fd, pipe, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, stop.request))
        yield stop
