"""Messages between a pool and its workers: pickles, each with its length before it.

The two ends of the socket belong to a process and a child that it started: nobody else can send.
"""

from __future__ import annotations

import pickle
import struct
from io import BufferedIOBase
from typing import Any

import msgspec

from tbv8.config.records import Strategy
from tbv8.market import Timeframe
from tbv8.trading.funding import FundingPayments

_HEAD = struct.Struct("<I")


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs that all trials of a run share.

    Attributes:
        strategy: The strategy that is varied.
        tables: Descriptors of open Arrow files of bars, by symbol and timeframe.
        cores: The largest number of trials that run on this machine at once.
        funding: The charged funding, by venue and symbol.
        limit_ms: The longest time that a trial may take; None for no limit.
    """

    strategy: Strategy
    tables: dict[tuple[str, Timeframe], int]
    cores: int
    funding: dict[str, dict[str, FundingPayments]] = {}
    limit_ms: int | None = None


class Ready(msgspec.Struct, frozen=True):
    """The first message of a worker: the digest of its own code."""

    code_digest: str


class Finished(msgspec.Struct, frozen=True):
    """A trial's outcome, and the most memory that the worker has used, in bytes.

    The outcome is None if the strategy's sources were changed since the worker started.
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
