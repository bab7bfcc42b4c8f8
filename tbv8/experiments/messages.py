"""Messages between a pool and its workers: pickles, with their length before them.

Only a process and the children that it starts have the two ends.
"""

from __future__ import annotations

import pickle
import struct
from io import BufferedIOBase
from typing import Any

import msgspec

from tbv8.config.records import Strategy
from tbv8.market import Timeframe
from tbv8.trading.funding import Charged

_HEAD = struct.Struct("<I")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs that all trials of a run share.

    `tables` are open Arrow files of bars, by symbol and timeframe; `funding` is what is charged, by
    venue and symbol; `cores` is how many trials may run on this machine at once, `limit_ms` how
    long one may take.
    """

    strategy: Strategy
    tables: dict[tuple[str, Timeframe], int]
    cores: int
    funding: dict[str, dict[str, Charged]] = {}
    limit_ms: int | None = None


class Ready(msgspec.Struct, frozen=True):
    """The first word of a worker: the digest of its own code."""

    made_by: str


class Done(msgspec.Struct, frozen=True):
    """A trial's answer and the most memory that the worker has used, in bytes.

    Without an outcome the strategy's sources were changed since the worker started.
    """

    outcome: Any
    peak: int


def send(file: BufferedIOBase, value: Any) -> None:
    """Write one message."""
    body = pickle.dumps(value)
    file.write(_HEAD.pack(len(body)) + body)
    file.flush()


def receive(file: BufferedIOBase) -> Any:
    """Read one message.

    Raises:
        EOFError: The other end is gone.
    """
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        raise EOFError
    (length,) = _HEAD.unpack(head)
    body = file.read(length)
    if len(body) < length:
        raise EOFError
    return pickle.loads(body)
