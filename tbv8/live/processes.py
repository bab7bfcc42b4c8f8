"""The child processes of the watching process: hosts, the recorder, writers of results.

Each is in a process session of its own, so that Ctrl-C reaches only the watching process. Each ends
by itself when that one has died: a host when its stdin closes, the recorder by its parent's id.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from tbv8.live.output import ProcessReport
from tbv8.live.session_config import SessionConfig
from tbv8.store.locks import recorder_owner, recorder_runs

_END_S = 5.0
_RECORDER_END_S = 15.0
_RETRY_S, _RETRY_CAP_S = 2.0, 60.0
_LOOK_S = 1.0  # between two checks for a recorder that another process has started
_LOG_BYTES = 5 * 2**20

_MEMORY_SETTINGS = {"MIMALLOC_ARENA_EAGER_COMMIT": "0", "MALLOC_ARENA_MAX": "1"}
"""Allocator settings that save memory at no cost in time (both measured): no eager commit saves 24
MB (Arrow's and NautilusTrader's allocator), one heap for all threads saves 7 MB."""


class HostProcess:
    """A session's process.

    Attributes:
        reports: The reports that were not read yet.
    """

    def __init__(self, config: SessionConfig, module: str = "tbv8.live.host") -> None:
        self.reports: queue.SimpleQueue[ProcessReport] = queue.SimpleQueue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=_MEMORY_SETTINGS | os.environ,
        )
        self._thread = threading.Thread(
            target=self._read, args=(pickle.dumps(config),), daemon=True
        )
        self._thread.start()

    def _read(self, config: bytes) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(config)
            stdin.flush()
        except OSError:
            return
        for line in stdout:
            self.reports.put(msgspec.json.decode(line, type=ProcessReport))

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit code, once all its reports are read; None while it runs."""
        code = self._process.poll()
        if code is not None:
            self._thread.join(_END_S)
        return code

    def kill(self) -> None:
        """Kill it: its journal is complete at any moment."""
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """End it between two minutes; kill it if it hangs."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.kill()


class RecorderProcess:
    """The recorder of a database, started here if no other one runs.

    Args:
        db_path: The database.
        root: The project's folder, from which it is started.
        venues: The venues that it records: one recorder serves all sessions of a database.
        log: Prints a line for the user.
    """

    def __init__(
        self, db_path: Path, root: Path, venues: Sequence[str], log: Callable[[str], None]
    ) -> None:
        self._db_path, self._root, self._venues, self._log = db_path, root, venues, log
        self._log_path = db_path.with_name(f"{db_path.name}.recorder.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._is_announced = False
        self._next_s = 0.0
        self._wait_s = _RETRY_S

    def ensure_running(self) -> None:
        """Start a recorder if none runs; call it at intervals."""
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                self._shorten_log()
                if not self._is_announced and recorder_owner(self._db_path) == str(
                    self._process.pid
                ):
                    self._is_announced = (
                        True  # of sessions that start at once, one has the recorder
                    )
                    self._log(
                        "a recorder was started, for every enabled venue "
                        f"({', '.join(self._venues)}); its log is {self._log_path}"
                    )
                return
            self._process = None
            if not recorder_runs(self._db_path):
                last = self._log_path.read_text("utf-8", errors="replace").strip().splitlines()[-1:]
                reason = f": {last[0]}" if last else ""
                self._log(f"the recorder ended (exit code {code}){reason}; it is started again")
        if time.monotonic() < self._next_s:
            return
        if recorder_runs(self._db_path):
            self._next_s = time.monotonic() + _LOOK_S
            return
        self._next_s = time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _RETRY_CAP_S)
        with self._log_path.open("ab") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "doit", "record", "--with-parent", str(os.getpid())],
                cwd=self._root,
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._is_announced = False

    def _shorten_log(self) -> None:
        """Empty the log once it is long; the recorder appends to it."""
        if self._log_path.stat().st_size > _LOG_BYTES:
            os.truncate(self._log_path, 0)

    def end(self) -> None:
        """End the recorder if it was started here."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_RECORDER_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ResultsProcess:
    """The process that writes the present results of a session, by a replay of its journal."""

    def __init__(self, configs: Mapping[str, SessionConfig]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tbv8.live.results"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(pickle.dumps(dict(configs)))
        self._process.stdin.close()

    def poll(self) -> ProcessReport | None:
        """Return its report, once it has ended."""
        if self._process.poll() is None:
            return None
        return self.wait()

    def wait(self) -> ProcessReport:
        """Wait for its end, and return its report."""
        assert self._process.stdout is not None
        reply = self._process.stdout.read()
        code = self._process.wait()
        if code or not reply:
            return ProcessReport(
                kind="failed", text=f"the results were not written (exit code {code})"
            )
        return msgspec.json.decode(reply, type=ProcessReport)

    def kill(self) -> None:
        """End it at once; the results stay as they were."""
        self._process.kill()
        self._process.wait()
