"""Messages about a session, sent by apprise in a separate process.

A slow service delays only that process: the watching process puts each message into a queue. The
services' URLs contain secrets, so they are only in an environment variable.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import suppress

import msgspec

from tbv8.live.event_lines import fill_text
from tbv8.live.output import ProcessReport
from tbv8.market import iso

STARTED, STOPPED, HALT, STALE, DIFFERS, FILL = (
    "started",
    "stopped",
    "halt",
    "stale",
    "differs",
    "fill",
)

_WAITING = 200  # messages; older ones are dropped
_END_S = 5.0


class Notifier:
    """Sends messages about a session.

    Args:
        title: The title of each message.
        urls_env: The environment variable with the services' URLs.
        without: The kinds of messages that are not sent.
    """

    def __init__(self, title: str, urls_env: str, without: frozenset[str]) -> None:
        self._title, self._without = title, without
        self._waiting: queue.Queue[str | None] = queue.Queue(_WAITING)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tbv8.live.notify", urls_env],
            stdin=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def send_report(self, role: str, report: ProcessReport) -> None:
        """Send the messages of a report, if it has any; never waits."""
        for kind, text in messages(report):
            self.send(kind, text if role == "primary" else f"{role}: {text}")

    def send(self, kind: str, text: str) -> None:
        """Send a message, unless its kind is left out; never waits."""
        if kind in self._without:
            return
        line = json.dumps([self._title, f"{kind}: {text}" if text else kind])
        while True:
            try:
                self._waiting.put_nowait(line)
            except queue.Full:
                with suppress(queue.Empty):
                    self._waiting.get_nowait()
            else:
                return

    def end(self) -> None:
        """Send the waiting messages and end, within seconds even if a service hangs."""
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        with suppress(OSError, ValueError):
            while (line := self._waiting.get()) is not None:
                stdin.write(f"{line}\n")
                stdin.flush()
            stdin.close()


def messages(report: ProcessReport) -> list[tuple[str, str]]:
    """Return the messages of a report, each with its kind."""
    kinds = {
        "replayed": STARTED,
        "started": STARTED,
        "stopped": STOPPED,
        "failed": STOPPED,
        "killed": STOPPED,
        "stale": STALE,
        "fresh": STALE,
        "differs": DIFFERS,
    }
    texts = [(kinds[report.kind], report.text)] if report.kind in kinds else []
    for kind, body in report.events:
        values = msgspec.json.decode(body)
        if kind == "fill":
            texts.append((FILL, fill_text(values)))
        elif kind == "halt":
            texts.append((HALT, f"by {values['rule']} until {iso(values['until_ms'])}"))
    return texts


def main() -> None:
    """Send each line of stdin, a title and a text in JSON, to the services of a variable."""
    from apprise import Apprise

    services = Apprise()
    for url in os.environ.get(sys.argv[1], "").split():
        if not services.add(url):
            scheme = url.partition(":")[0]
            print(f"   notify: apprise knows no service {scheme!r}", file=sys.stderr)
    for line in sys.stdin:
        title, text = json.loads(line)
        if not services.notify(title=title, body=text):
            print("   notify: a message could not be sent", file=sys.stderr)


if __name__ == "__main__":
    main()
