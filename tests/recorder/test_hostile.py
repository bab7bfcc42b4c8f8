"""What hostile venues do to a running recorder, and hostile neighbours to its metrics."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace
from websockets.frames import Frame, Opcode

from tbv8.recorder.metrics import serve_metrics
from tbv8.recorder.status import RecorderStatus
from tests.builders import rows
from tests.recorder.rig import QUICK, check, recording, venue, wait_until
from tests.servers.forwarding import forwarding
from tests.servers.hostile import bomb
from tests.servers.live_faults import Fault
from tests.servers.live_server import LiveServer

PATIENT = replace(QUICK, ping_s=20.0, answer_s=30.0)
BTC = {"BTC/USDT": "BTC_USDT"}


def frames(*parts: tuple[Opcode, bytes, bool]) -> str:
    """Return frames as they go on the wire: opcode, data, whether it is a message's last."""
    made = [Frame(opcode, data, fin).serialize(mask=False) for opcode, data, fin in parts]
    return b"".join(made).decode("latin-1")


FRAGMENTS = [(Opcode.TEXT, b" " * 2**16, False), *[(Opcode.CONT, b" " * 2**16, False)] * 31]
UNREADABLE = {
    "a gzip bomb": Fault(kind="binary", body=bomb(2**26).decode("latin-1")),
    "no gzip": Fault(kind="binary"),
    "half a gzip": Fault(kind="binary", body=bomb(2**20)[:99].decode("latin-1")),
    "deep JSON": Fault(kind="text", body="[" * 10**5),
    "deep objects": Fault(kind="text", body='{"a":' * 10**4),
    "thousands of digits": Fault(kind="text", body='{"channel":"push.deal","ts":' + "9" * 5000),
    "controls": Fault(kind="text", body="\x1b[2J\u202e\n{"),
}
UNBEARABLE = {
    "a close of words": Fault(
        kind="wire", body=frames((Opcode.CLOSE, b"\x03\xe9\x1b[2J\xc2\x9b bye\n", True))
    ),
    "a frame of 2 MB": Fault(kind="text", body=" " * 2**21),
    "fragments of 2 MB": Fault(kind="wire", body=frames(*FRAGMENTS)),
    "no frame": Fault(kind="wire", body="\xff" * 100),
    "no text": Fault(kind="wire", body=frames((Opcode.CLOSE, b"\x03\xe9\xff", True))),
}


def test_hostile_frames_are_logged_and_recording_continues(
    db_path: Path, mexc: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with recording(db_path, [venue("mexc", mexc, BTC)]) as running:
        status = running.handle.status
        # before a connection's first rows nothing is known to be missing, and no gap has a reason
        wait_until(lambda: status().trades > 0 and status().bbo > 0)
        mexc.fault(Fault(kind="error", body="\x1b[2J\u202e\nERROR"))
        for fault in (*UNBEARABLE.values(), *UNREADABLE.values()):  # the first is in the gap
            wait_until(lambda: status().venues[0].state == "up")
            before = counts(status())
            mexc.fault(fault)
            wait_until(lambda before=before: counts(status()) != before)
        written = status().trades
        wait_until(lambda: status().trades > written + 20 and status().bbo > 20)
        counted = counts(status())
    output = capsys.readouterr().out

    check(db_path, "mexc", mexc.truth("BTC_USDT"))
    assert counted == (len(UNREADABLE), len(UNBEARABLE))
    assert output.replace("\n", "").isprintable()
    reasons = {reason for (reason,) in rows(db_path, "SELECT reason FROM recording_gaps")}
    assert "unreadable frame, recorded as a gap" in output
    assert any(r"\x1b[2J\x9b bye" in reason for reason in reasons)
    assert [reason for reason in reasons if not reason.isprintable() or len(reason) > 300] == []


def counts(status: RecorderStatus) -> tuple[int, int]:
    return status.venues[0].unreadable, status.venues[0].reconnects


def test_a_socket_follows_no_redirect(
    db_path: Path, mexc: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with forwarding(mexc.rest_url) as url:
        led = venue("mexc", mexc, BTC, ws_url=f"{url.replace('http', 'ws')}/edge")
        with recording(db_path, [led]) as running:
            wait_until(lambda: "down" in running.handle.status().venues[0].state)

    assert "HTTP 308" in capsys.readouterr().out
    assert mexc.count("open") == 0


def test_a_venue_that_pings_but_reads_nothing_is_disconnected(
    db_path: Path, mexc: LiveServer, capsys: pytest.CaptureFixture[str]
) -> None:
    pings = frames((Opcode.PING, bytes(125), True)) * 100_000
    with recording(db_path, [venue("mexc", mexc, BTC)], pace=PATIENT) as running:
        wait_until(lambda: running.handle.status().venues[0].state == "up")
        mexc.fault(Fault(kind="unread"), Fault(kind="wire", body=pings))
        wait_until(lambda: running.handle.status().venues[0].reconnects)

    assert "reads none of our frames" in capsys.readouterr().out


def answer(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


NOTHING = RecorderStatus(
    venues=(), trades=0, bbo=0, minutes=0, waiting=0, dropped=0, commits=0, stuck_s=0, running_s=0
)


def served[T](ask: Callable[[int], T], *, connection_s: float = 5.0) -> T:
    """Return what a client in a thread gets from the metrics' port."""

    async def serve() -> T:
        async with serve_metrics(0, lambda: NOTHING, connection_s=connection_s) as port:
            return await asyncio.to_thread(ask, port)

    return asyncio.run(serve())


@pytest.mark.parametrize(
    ("requested", "begins"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 404 Not Found\r\n"),
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed\r\n"),
        (b"\x00\xff\x16\x03\r\n\r\n", b"HTTP/1.1 405 Method Not Allowed\r\n"),
        (b"GET /" + b"x" * 10_000 + b"\r\n\r\n", b""),
        (b"GET /metrics", b""),
        (b"", b""),
    ],
)
def test_metrics_answer_one_request_and_close(
    requested: bytes, begins: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    def ask(port: int) -> bytes:
        try:
            return answer(port, requested)
        except ConnectionResetError:
            return b""

    got = served(ask, connection_s=0.3)

    assert got[: max(len(begins), 1)] == begins
    assert capfd.readouterr() == ("", "")


def test_metrics_limit_the_number_and_duration_of_connections(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def ask(port: int) -> bytes:
        with ExitStack() as stack:
            stored = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
                for _ in range(200)
            ]
            assert {end_of(connection) for connection in stored} == {b""}  # or TimeoutError
        return answer(port, b"GET /healthz HTTP/1.1\r\n\r\n")

    got = served(ask, connection_s=0.5)

    assert got.endswith(b"ok\n")
    assert capfd.readouterr() == ("", "")


def end_of(connection: socket.socket) -> bytes:
    try:
        connection.sendall(b"G")
        return connection.recv(100)
    except ConnectionError:
        return b""
