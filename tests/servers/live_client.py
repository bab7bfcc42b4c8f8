"""A client that reads a live server's frames one by one, for the tests of the servers."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

CAPTURED = Path(__file__).resolve().parents[3] / "shared/data/messages"
needs_captured = pytest.mark.skipif(
    not CAPTURED.is_dir(), reason=f"the captured frames are not at {CAPTURED}"
)


class Client:
    """A connected socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    def say(self, message: object) -> None:
        """Send JSON."""
        self.socket.send(json.dumps(message))

    def read(self, timeout_s: float = 30.0) -> Any:
        """Return the next text frame's value."""
        return json.loads(self.socket.recv(timeout_s))

    def find(self, *channels: str, skip: Callable[[Any], bool] = lambda frame: False) -> Any:
        """Return the next frame of one of these channels that is not skipped."""
        deadline_s = time.monotonic() + 30
        while time.monotonic() < deadline_s:
            frame = self.read()
            if frame.get("channel") in channels and not skip(frame):
                return frame
        raise TimeoutError(f"no {channels} in 30 s")

    def is_silent(self, seconds: float = 0.2) -> bool:
        """Tell whether nothing comes."""
        try:
            self.socket.recv(seconds)
        except TimeoutError:
            return True
        return False

    def read_to_end(self) -> tuple[list[str], int | None]:
        """Return what comes until the connection ends, and the code of the close frame, if any.

        1005 is a close frame without a code; None is an end without a close frame (1006).
        """
        frames: list[str] = []
        try:
            while True:
                frames.append(str(self.socket.recv(30)))
        except ConnectionClosed as closed:
            return frames, closed.rcvd.code if closed.rcvd else None


@contextmanager
def connected(url: str) -> Iterator[Client]:
    """Open a socket, and drop it without ceremony at the end."""
    with connect(url, compression=None, close_timeout=0.2, ping_interval=None) as socket:
        yield Client(socket)


def shape(value: Any) -> Any:
    """Return the keys and types of a value; a list's is that of its first element."""
    match value:
        case dict():
            return {key: shape(part) for key, part in value.items()}
        case list():
            return [shape(value[0])] if value else []
        case bool() | None:
            return value
        case int() | float():
            return "number"
    return type(value).__name__


def captured(name: str, since: str) -> list[Any]:
    """Return the frames that were captured since a date, oldest first as in the file."""
    lines = (CAPTURED / name).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    return [json.loads(row["raw"]) for row in rows if row["captured"] >= since]
