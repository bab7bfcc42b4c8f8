"""The watching process: it starts and ends the session's processes and shows their reports.

No engine runs here, so a strategy cannot keep this process from enforcing the stop file.
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
from tbv8.live.inputs import check_inputs
from tbv8.live.notify import STOPPED, Notifier
from tbv8.live.output import ProcessReport
from tbv8.live.processes import HostProcess, RecorderProcess, ResultsProcess
from tbv8.live.session_config import SessionConfig
from tbv8.live.stopping import left_line
from tbv8.live.view import SessionDisplay, SessionView
from tbv8.manifest import PAGE
from tbv8.market import iso
from tbv8.page.words import length
from tbv8.store.database import open_reader
from tbv8.store.locks import session_lock
from tbv8.store.sessions import read_session

_POLL_S = 0.1
_LOCK_S = 0.3  # `doit status` takes the lock for a moment to test it
_HUNG_S = 0.6  # after the stop file appeared; it must take effect within a second
_RESULTS_S = 300.0, 3600.0  # the shortest and the longest interval of writing results
_RESULTS_SHARE = 0.01  # of the time that may go into writing them
_SHADOW_S = 1.0  # an error of the primary within this time has the same cause
_RESTART_S = 0.5, 60.0  # the first and the longest pause before a killed process is started again


class WatchOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of a run.

    Attributes:
        root: The project's folder.
        for_s: The number of seconds after which it ends by itself; None for no limit.
        results_s: The shortest interval of writing results, in seconds.
        host_module: The module that runs a session; tests have their own.
        keeps_recorder: True to start a recorder if none runs.
        recorded: The venues that such a recorder records.
        on_report: Called with each report and its role.
        notifier: Sends messages; None for none.
        metrics_port: The port of the metrics; None for no metrics, 0 for any free port.
    """

    root: Path
    for_s: float | None = None
    results_s: float = _RESULTS_S[0]
    host_module: str = "tbv8.live.host"
    keeps_recorder: bool = True
    recorded: tuple[str, ...] = ()
    on_report: Callable[[str, ProcessReport], None] | None = None
    notifier: Notifier | None = None
    metrics_port: int | None = None


def watch(configs: Mapping[str, SessionConfig], options: WatchOptions) -> None:
    """Run a session and its shadow until SIGINT, SIGTERM, or the end of `for_s`.

    Args:
        configs: The config of the primary, and of the shadow if there is one, by role.
        options: The options.

    Raises:
        DataError: A session of the strategy runs already, it cannot continue, or the primary's
            ended with an error.
    """
    primary = configs["primary"]
    name = primary.strategy.strategy_id
    with session_lock(primary.db_path, name, wait_s=_LOCK_S), _end_on_signals() as stop:
        _check_session(primary)
        primary.folder.parent.mkdir(parents=True, exist_ok=True)
        watcher = _Watcher(configs, options, stop)
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


def results_pause_s(shortest_s: float, *, took_s: float) -> float:
    """Return the time from one start of writing results to the next.

    A session of a year takes half a minute to replay, so its results are written each hour.
    """
    return max(shortest_s, min(took_s / _RESULTS_SHARE, _RESULTS_S[1]))


def _check_session(config: SessionConfig) -> None:
    """Refuse to start processes for a session that cannot continue."""
    if config.is_new:
        return
    with open_reader(config.db_path) as query:
        session = read_session(query, config.strategy.strategy_id, config.role)
    if session is not None:
        check_inputs(session, config)


class _SessionProcess:
    """One session: its process and the state of it."""

    def __init__(self, config: SessionConfig, module: str) -> None:
        self.config, self._module = config, module
        self.host: HostProcess | None = None
        self.failed = ""
        self.failed_s: float | None = None  # since when, until the error is printed
        self.is_running = False  # the replay is finished
        self.was_running = False
        self.is_stopped = False
        self.stop_seen_s: float | None = None  # since when the stop file has had no effect
        self._start_s, self._wait_s = 0.0, _RESTART_S[0]

    def ensure_running(self) -> None:
        """Start the process if it does not run and may be started."""
        if self.host is None and not self.failed and time.monotonic() >= self._start_s:
            self.is_running = self.is_stopped = False
            self.host = HostProcess(self.config, self._module)

    def end_hung(self) -> None:
        """Kill a process that hangs; the minute in which it hung opens nothing in the next one."""
        if self.host is not None:
            self.host.kill()
        self.host, self.is_running, self.stop_seen_s = None, False, None
        self._start_s = 0.0

    def poll(self) -> int | None:
        """Return the exit code of the process, once its last reports can be read."""
        return None if self.host is None else self.host.poll()

    def record_exit(self, code: int) -> str | None:
        """Note that the process has ended; return a text if it is started again."""
        if self.is_running:
            self._wait_s = _RESTART_S[0]
        self.host, self.is_running = None, False
        if self.failed:
            return None
        if code > 0:
            self.failed = f"its process ended with exit code {code}: see its output above"
            return None
        self._start_s = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _RESTART_S[1])
        return f"by signal {-code}: it is started again from its journal"


class _Watcher:
    """The loop of the watching process."""

    def __init__(
        self, configs: Mapping[str, SessionConfig], options: WatchOptions, stop: _EndRequest
    ) -> None:
        self._configs, self._options, self._stop = configs, options, stop
        self._processes = {
            role: _SessionProcess(config, options.host_module) for role, config in configs.items()
        }
        primary = configs["primary"]
        self.sessions = {role: SessionView() for role in configs}
        self._display = SessionDisplay(primary.strategy.strategy_id, self.sessions)
        self._recorder = RecorderProcess(
            primary.db_path, options.root, options.recorded, self._display.log
        )
        self._writer: ResultsProcess | None = None
        self._write_s = self._writer_s = 0.0  # when the results are written, or were last
        self._waiting = self._results = ("", "")

    def run(self) -> None:
        """Run until a request to end, or the end of `for_s`.

        Raises:
            DataError: The primary's session ended with an error.
        """
        began_s = time.monotonic()
        self._write_s = began_s + self._options.results_s
        self._show_start()
        for_s = self._options.for_s
        while not self._stop.requested:
            if for_s is not None and time.monotonic() - began_s >= for_s:
                return
            if self._options.keeps_recorder:
                self._recorder.ensure_running()
            for role, process in self._processes.items():
                process.ensure_running()
                code = process.poll()
                self._read_reports(role, process)
                self._enforce_stop(role, process)
                if code is not None and (text := process.record_exit(code)) is not None:
                    self._publish(role, ProcessReport(kind="killed", text=text))
            failed = self._processes["primary"].failed
            if failed:
                raise DataError(failed)
            self._show_failed_shadow()
            if time.monotonic() >= self._write_s and self._writer is None:
                self._writer_s = time.monotonic()
                self._writer = ResultsProcess(self._current())
            self._poll_writer()
            self._display.draw()
            time.sleep(_POLL_S)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the session during the block: on the terminal, and for Prometheus."""
        name = self._configs["primary"].strategy.strategy_id
        with ExitStack() as stack:
            if (port := self._options.metrics_port) is not None:
                from tbv8.live.metrics import serve_metrics

                port = stack.enter_context(serve_metrics(port, name, self.sessions))
                self._display.log(f"metrics: http://127.0.0.1:{port}/metrics and /healthz")
            stack.enter_context(self._display.shown())
            yield

    def end(self) -> None:
        """End every process that was started here, the recorder last."""
        for role, process in self._processes.items():
            if process.host is not None:
                process.host.end()
                self._read_reports(role, process)
        if self._writer is not None:
            self._writer.kill()
        self._recorder.end()

    def write_last(self) -> None:
        """Write the results as of the end, and print their lines."""
        primary = self._processes["primary"]
        name = primary.config.strategy.strategy_id
        if not primary.was_running:
            option = " --new" if primary.config.is_new else ""
            self._display.log(
                f"ended before its session was ready, nothing was traded: `doit paper:{name}"
                f"{option}` starts it again"
            )
            return
        report = ResultsProcess(self._current()).wait()
        if report.kind == "no results":
            text = f"{report.text}; `doit paper:{name}` continues the session"
            report = replace(report, text=text)
        self._report_results(report)
        if report.kind == "written":
            for line in report.summary_lines:
                print(f"   {line}")
            print(f"   {self._configs['primary'].folder / PAGE}")
        last = self.sessions["primary"].minute
        if last is not None and (line := left_line(name, last.state)):
            print(f"   {line}")

    def _current(self) -> dict[str, SessionConfig]:
        return {role: process.config for role, process in self._processes.items()}

    def _poll_writer(self) -> None:
        if self._writer is not None and (report := self._writer.poll()) is not None:
            self._writer = None
            took_s = time.monotonic() - self._writer_s
            self._write_s = self._writer_s + results_pause_s(self._options.results_s, took_s=took_s)
            self._report_results(report)

    def _report_results(self, report: ProcessReport) -> None:
        """Publish what became of the results; the same twice is printed once."""
        if report.kind == "written":
            folder = self._configs["primary"].folder
            report = replace(report, text=f"the results so far are in {folder}")
        result = (report.kind, report.text)
        self._publish("primary", report, is_shown=result != self._results)
        self._results = result
        if report.kind in ("differs", "failed"):
            self._display.log(f"RESULTS: {report.text}")

    def _show_start(self) -> None:
        """Print when the results are written, and where."""
        pause_ms = round(self._options.results_s * 1000)
        first = iso(time.time_ns() // 1_000_000_000 * 1000 + pause_ms)
        self._display.log(
            f"results are written to {self._configs['primary'].folder}: first at {first}, then "
            f"about every {length(pause_ms)}, and at the end (Ctrl-C)"
        )

    def _show_failed_shadow(self) -> None:
        """Print the error of a shadow, unless the primary has ended by the same."""
        for role, process in self._processes.items():
            if process.failed_s is not None and time.monotonic() > process.failed_s + _SHADOW_S:
                process.failed_s = None
                problem = process.failed.removeprefix(f"{process.config.strategy.strategy_id}: ")
                self._display.log(f"{role}: {problem}: the primary goes on without it")

    def _read_reports(self, role: str, process: _SessionProcess) -> None:
        host = process.host
        while host is not None and not host.reports.empty():
            report = host.reports.get()
            if report.kind == "began":  # the next start continues it
                process.config = replace(process.config, is_new=False)
            elif report.kind == "replayed":
                process.is_running = process.was_running = True
                if role == "primary":
                    process.config.differs_path.unlink(missing_ok=True)
            elif report.kind in ("stopped", "started"):
                process.is_stopped = report.kind == "stopped"
                if report.kind == "stopped":
                    process.stop_seen_s = None
            elif report.kind in ("failed", "differs"):
                process.failed = report.text
                process.failed_s = time.monotonic() if role != "primary" else None
            is_repeated = report.kind == "printed" and not process.is_running
            if not is_repeated:
                self._publish(role, report)

    def _enforce_stop(self, role: str, process: _SessionProcess) -> None:
        """Kill a session in which the stop file has no effect within a second: it hangs."""
        if process.host is None or not process.is_running or process.is_stopped:
            process.stop_seen_s = None
            return
        if not process.config.stop_path.exists():
            process.stop_seen_s = None
            return
        if process.stop_seen_s is None:
            process.stop_seen_s = time.monotonic()
        elif time.monotonic() - process.stop_seen_s > _HUNG_S:
            process.end_hung()
            self._display.log(f"{role}: the strategy hangs: its process was killed to stop it")

    def _publish(self, role: str, report: ProcessReport, *, is_shown: bool = True) -> None:
        """Show a report, and pass it on to the notifier and to `on_report`."""
        if report.kind == "differs":
            self._configs["primary"].differs_path.write_text(f"{report.text}\n", encoding="utf-8")
        text = (report.kind, report.text)
        if is_shown and (report.kind != "waiting" or text != self._waiting):
            self._display.show(role, report)
        self._waiting = text if report.kind in ("waiting", "alive") else ("", "")
        self.sessions[role].update(report)
        if self._options.notifier is not None:
            self._options.notifier.send_report(role, report)
        if self._options.on_report is not None:
            self._options.on_report(role, report)


class _EndRequest:
    """A request to end; an Event would deadlock with a signal that comes while it is waited for."""

    def __init__(self) -> None:
        self.requested = False

    def request(self, *_signal: object) -> None:
        """Request the end of the watching process."""
        self.requested = True


@contextmanager
def _end_on_signals() -> Iterator[_EndRequest]:
    """Turn SIGINT and SIGTERM into a request to end, without the watchdog of native code.

    Results are written after the signal, which takes longer than the watchdog would allow.
    """
    stop = _EndRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    with ExitStack() as stack:
        pipe = signal.set_wakeup_fd(-1)
        stack.callback(signal.set_wakeup_fd, pipe, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.signal(number, stop.request))
        yield stop
