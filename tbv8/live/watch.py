"""The watching process: it starts and ends the session's processes and shows their reports.

No engine runs here, so nothing that a strategy does keeps it from obeying the stop file.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
from msgspec.structs import replace

from tbv8.errors import DataError
from tbv8.live.children import Host, Recorder, Writer
from tbv8.live.notify import STOPPED, Notifier
from tbv8.live.plan import Plan, Report
from tbv8.live.view import Shown, View
from tbv8.manifest import PAGE
from tbv8.store.sessions import session_lock

_POLL_S = 0.1
_LOCK_S = 0.3  # `doit status` holds the lock for a moment to see whether it is held
_HUNG_S = 0.6  # after the stop file has appeared, of the second in which it is obeyed
_RESULTS_S = 3600.0
_AGAIN_S = 0.5, 60.0  # before a killed process is started again: the first time, and at most


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a run.

    Attributes:
        root: The project's folder.
        for_s: End by itself after so many seconds; None for never.
        results_s: How often results are written.
        host_module: What runs a session; tests have their own.
        keeps_recorder: Starts a recorder where none runs.
        on_report: Takes every report, with the role that it is about.
        notifier: Sends messages; None for none.
        metrics_port: Serves metrics there; None for not at all, 0 for any.
    """

    root: Path
    for_s: float | None = None
    results_s: float = _RESULTS_S
    host_module: str = "tbv8.live.host"
    keeps_recorder: bool = True
    on_report: Callable[[str, Report], None] | None = None
    notifier: Notifier | None = None
    metrics_port: int | None = None


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
    with session_lock(primary.db_path, name, wait_s=_LOCK_S), _stop_on_signals() as stop:
        primary.folder.parent.mkdir(parents=True, exist_ok=True)
        watcher = _Watcher(plans, options, stop)
        try:
            with watcher.shown():
                try:
                    watcher.run()
                finally:
                    watcher.end()
            watcher.write_last()
        finally:
            if options.notifier is not None:
                options.notifier.send(STOPPED, "the process has ended")
                options.notifier.end()


class _Seat:
    """One session: its process, and what is known of it."""

    def __init__(self, plan: Plan, module: str) -> None:
        self.plan, self._module = plan, module
        self.host: Host | None = None
        self.failed = ""
        self.is_running = False  # minutes are used, nothing is replayed any more
        self.is_stopped = False
        self.asked_s: float | None = None  # since when the stop file waits to be obeyed
        self._start_s, self._wait_s = 0.0, _AGAIN_S[0]

    def keep(self) -> None:
        """Start the process if it does not run and may be started."""
        if self.host is None and not self.failed and time.monotonic() >= self._start_s:
            self.is_running = False
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
        if self.is_running:
            self._wait_s = _AGAIN_S[0]
        self.host, self.is_running = None, False
        # what is new was begun once: a second start goes on with it
        self.plan = replace(self.plan, is_new=False)
        if self.failed:
            return None
        if code > 0:
            self.failed = f"its process ended with exit code {code}: what it printed says why"
            return None
        self._start_s = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _AGAIN_S[1])
        return f"by signal {-code}: it is started again from its journal"


class _Watcher:
    """The loop."""

    def __init__(self, plans: Mapping[str, Plan], options: Options, stop: _Stop) -> None:
        self._plans, self._options, self._stop = plans, options, stop
        self._seats = {role: _Seat(plan, options.host_module) for role, plan in plans.items()}
        primary = plans["primary"]
        self.sessions = {role: Shown() for role in plans}
        self._view = View(primary.strategy.strategy_id, self.sessions)
        self._recorder = Recorder(primary.db_path, options.root, self._view.log)
        self._writer: Writer | None = None
        self._waiting = ("", "")

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
                    self._notice(role, Report(kind="killed", text=said))
            failed = self._seats["primary"].failed
            if failed:
                raise DataError(failed)
            if time.monotonic() >= write_s and self._writer is None:
                write_s = time.monotonic() + self._options.results_s
                self._writer = Writer(self._current())
            self._take_results()
            self._view.draw()
            time.sleep(_POLL_S)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show events while the block lasts: on the terminal, and for Prometheus."""
        name = self._plans["primary"].strategy.strategy_id
        with ExitStack() as stack:
            if (port := self._options.metrics_port) is not None:
                from tbv8.live.metrics import serving

                port = stack.enter_context(serving(port, name, self.sessions))
                self._view.log(f"metrics: http://127.0.0.1:{port}/metrics and /healthz")
            stack.enter_context(self._view.shown())
            yield

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
        """Write the results as of the end, and print their lines."""
        report = Writer(self._current()).wait()
        self._report_results(report)
        if report.kind == "written":
            for line in report.lines:
                print(f"   {line}")
            print(f"   {self._plans['primary'].folder / PAGE}")

    def _current(self) -> dict[str, Plan]:
        return {role: seat.plan for role, seat in self._seats.items()}

    def _take_results(self) -> None:
        if self._writer is not None and (report := self._writer.poll()) is not None:
            self._writer = None
            self._report_results(report)

    def _report_results(self, report: Report) -> None:
        if report.kind == "written":
            folder = self._plans["primary"].folder
            report = replace(report, text=f"results as of now in {folder}")
        self._notice("primary", report)
        if report.kind in ("differs", "failed"):
            self._view.log(f"RESULTS: {report.text}")

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
                    self._view.log(f"{role}: {report.text}")
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
            self._view.log(f"{role}: it hangs in the strategy, and was killed to stop it")

    def _notice(self, role: str, report: Report) -> None:
        """Show a report, and tell whoever wants to know."""
        if report.kind == "differs":
            self._plans["primary"].differs_path.write_text(f"{report.text}\n", encoding="utf-8")
        said = (report.kind, report.text)
        if report.kind != "waiting" or said != self._waiting:
            self._view.show(role, report)
        self._waiting = said if report.kind in ("waiting", "alive") else ("", "")
        self.sessions[role].take(report)
        if self._options.notifier is not None:
            self._options.notifier.tell(role, report)
        if self._options.on_report is not None:
            self._options.on_report(role, report)


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
