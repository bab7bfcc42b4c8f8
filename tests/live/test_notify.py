"""Messages: what is sent, and that no service can hold a session up."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tbv8.live.notify import Notifier, messages
from tbv8.live.output import ProcessReport

FILL = '{"side":"buy","quantity":"1","symbol":"BTC/USDT","price":"100"}'
HALT = '{"rule":"max_daily_loss_usd","until_ms":86400000}'


@contextmanager
def service(*, delay_s: float = 0.0) -> Iterator[tuple[str, list[str]]]:
    """Run a local service of apprise's `json://`; yields its URL and what it received."""
    received: list[str] = []
    over = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            over.wait(delay_s)
            received.append(json.loads(body)["message"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"json://127.0.0.1:{server.server_port}/", received
    finally:
        over.set()
        server.shutdown()


def test_reports_become_messages_and_some_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with service() as (url, received):
        monkeypatch.setenv("URLS", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        notifier = Notifier("tbv8 a", "URLS", frozenset({"stale"}))
        notifier.send_report("primary", ProcessReport(kind="replayed", text="10 minutes"))
        notifier.send_report("primary", ProcessReport(kind="stale", text="no minute"))
        notifier.send_report(
            "shadow", ProcessReport(kind="minute", events=[("fill", FILL), ("halt", HALT)])
        )
        notifier.send_report("primary", ProcessReport(kind="alive"))
        over_s = time.monotonic() + 30  # on a busy machine the notifier's imports take longer than
        while len(received) < 3 and time.monotonic() < over_s:  # the time that `end` gives it
            time.sleep(0.05)
        notifier.end()

    assert received == [
        "started: 10 minutes",
        "fill: shadow: buy 1 BTC/USDT at 100",
        "halt: shadow: by max_daily_loss_usd until 1970-01-02T00:00:00Z",
    ]


def test_a_service_that_hangs_delays_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    with service(delay_s=60) as (url, received):
        monkeypatch.setenv("URLS", url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        notifier = Notifier("tbv8 a", "URLS", frozenset())
        began_s = time.monotonic()
        for number in range(1000):
            notifier.send("fill", f"{number} {'x' * 1000}")
        took_s = time.monotonic() - began_s
        notifier.end()
        ended_s = time.monotonic() - began_s

    assert took_s < ended_s < 30  # not the 60 s of the service
    assert len(received) < 5


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("replayed", "started"),
        ("stopped", "stopped"),
        ("failed", "stopped"),
        ("stale", "stale"),
        ("differs", "differs"),
    ],
)
def test_the_kind_of_a_message(kind: str, message: str) -> None:
    assert messages(ProcessReport(kind=kind, text="why")) == [(message, "why")]


def test_what_happens_each_minute_is_no_message() -> None:
    for kind in ("minute", "alive", "waiting", "written"):
        assert messages(ProcessReport(kind=kind)) == []
