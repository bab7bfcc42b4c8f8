"""What can go wrong with a live venue on request: sockets, streams and REST."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass
from typing import Literal, get_args

from tests.servers.raw import Raw

type FaultKind = Literal[
    "drop",
    "half_open",
    "refuse",
    "replay",
    "malformed",
    "unknown",
    "text",
    "binary",
    "wire",
    "unread",
    "error",
    "no_pong",
    "no_ack",
    "stall",
    "duplicate",
    "reorder",
    "late",
    "corrupt",
    "gzip",
    "rest",
]
type How = Literal[
    "rst",
    "fin",
    "close",
    "refused",
    "reset",
    "status",
    "hang",
    "lost",
    "held",
    "slow",
    "malformed",
    "raw",
]

AT_ONCE = {
    "drop",
    "half_open",
    "replay",
    "malformed",
    "unknown",
    "text",
    "binary",
    "wire",
    "unread",
    "error",
}
_HOWS: dict[str, tuple[How, ...]] = {
    "drop": ("rst", "fin", "close"),
    "refuse": ("refused", "reset", "status", "hang"),
    "stall": ("lost", "held"),
    "rest": ("status", "reset", "hang", "slow", "malformed", "raw"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong; `symbol` (native) and `channel` None are all of them.

    At once, `times` times, to every socket (replay: to those that take the symbol's trades):

    drop        `how` rst, fin (no close frame: 1006) or close (a close frame of `code`)
    half_open   the sockets of now go deaf and dumb for ever: nothing read, written, ponged, closed
    replay      the last `count` trades once more, in one frame
    malformed   a frame cut in its middle, or `body`: one too many, nothing is lost by it
    unknown     a frame of a channel that nobody knows, or `body`
    text        `body` as it stands
    binary      bytes that are no gzip, or `body`
    wire        the bytes of `body` as they stand, frames or not
    unread      nothing that the sockets of now send is read any more
    error       the venue's error frame, saying `body`

    For `seconds`, or `times` times, or until `behave`:

    refuse      new connections: `how` refused (no one listens; `seconds` needed; REST too), reset
                (RST on accept; REST too), status (the handshake gets `status`), hang (it gets none)
    no_pong     the client's JSON pings get no answer
    no_ack      subscriptions work, but without a word
    stall       a stream sends nothing; `how` lost, or held (all at once when it ends)

    To the next `times` frames of a stream (late: trades; reorder: windows):

    duplicate   sent twice
    reorder     `count` trades or quotes are held, at most a second, then sent shuffled, one a frame
    late        a trade is sent `seconds` after its time, which it keeps; REST has it at once
    corrupt     cut in its middle: what was in it reached nobody
    gzip        sent as a binary frame

    To the next `times` REST requests whose path, query or body hold `match` (text or regex):

    rest        `how` status (`status`, with the venue's body for it, or `body`; at MEXC and Bybit
                also HTTP 200 with `code`), reset (RST), hang (nothing for `seconds`, then close),
                slow (the true reply after `seconds`), malformed (cut in its middle, or `body`),
                raw (the bytes of `raw` in place of all of it, then close)

    Args:
        times: How often it strikes; by default once, or without end when `seconds` say how long.
        after: How many it lets pass first.
    """

    kind: FaultKind
    symbol: str | None = None
    channel: str | None = None
    times: int | None = None
    after: int = 0
    seconds: float | None = None
    count: int = 5
    how: How | None = None
    status: int = 500
    code: int | None = None
    match: str = ""
    body: str | None = None
    raw: Raw | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind.__value__):
            raise ValueError(f"{self.kind!r} is no kind of fault")
        hows = _HOWS.get(self.kind, ())
        if self.how is not None and self.how not in hows:
            raise ValueError(f"{self.kind} has no how {self.how!r}, only {hows}")
        if self.kind == "refuse" and self.manner == "refused" and self.seconds is None:
            raise ValueError("refuse needs its seconds, unless its how is another than 'refused'")
        if self.kind == "late" and self.seconds is None:
            raise ValueError("late needs its seconds")
        re.compile(self.match)

    @property
    def manner(self) -> How | None:
        """`how`, or the first that its kind has."""
        return self.how or _HOWS.get(self.kind, (None,))[0]

    @property
    def lasts_s(self) -> float | None:
        """How long it is in force; None for until its times are used up."""
        return self.seconds if self.kind in ("refuse", "no_pong", "no_ack", "stall") else None

    @property
    def strikes(self) -> int | None:
        """How often it strikes; None for without end."""
        if self.times is not None or self.kind in AT_ONCE:
            return self.times
        return None if self.kind in ("refuse", "no_pong", "no_ack", "stall") else 1


class Faults:
    """The script of faults that are not at once, and how far it has been played."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._script: list[tuple[Fault, list[int], float]] = []

    def add(self, fault: Fault) -> None:
        """Append it; its seconds count from now."""
        with self._lock:
            until_s = time.monotonic() + fault.lasts_s if fault.lasts_s else float("inf")
            self._script.append((fault, [0], until_s))

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._script.clear()

    def take(
        self,
        *kinds: FaultKind,
        symbol: str | None = None,
        channel: str | None = None,
        target: str = "",
        manners: tuple[How, ...] = (),
    ) -> Fault | None:
        """Return the first fault of these kinds (and manners, if given), and count it."""
        if not self._script:  # thousands of times a second, and mostly so
            return None
        with self._lock:
            now_s = time.monotonic()
            self._script = [entry for entry in self._script if not _is_spent(entry, now_s)]
            for fault, seen, _ in self._script:
                if fault.kind not in kinds or not _concerns(fault, symbol, channel, target):
                    continue
                if manners and fault.manner not in manners:
                    continue
                seen[0] += 1
                if seen[0] > fault.after:
                    return fault
        return None

    def is_in_force(self, kind: FaultKind, *, symbol: str, channel: str) -> bool:
        """Tell whether such a fault would strike a stream, without counting it."""
        with self._lock:
            now_s = time.monotonic()
            return any(
                entry[0].kind == kind
                and not _is_spent(entry, now_s)
                and _concerns(entry[0], symbol, channel, "")
                for entry in self._script
            )


def _is_spent(entry: tuple[Fault, list[int], float], now_s: float) -> bool:
    fault, seen, until_s = entry
    strikes = fault.strikes
    return now_s >= until_s or (strikes is not None and seen[0] >= fault.after + strikes)


def _concerns(fault: Fault, symbol: str | None, channel: str | None, target: str) -> bool:
    if fault.symbol not in (None, symbol) or fault.channel not in (None, channel):
        return False
    return fault.match in target or re.search(fault.match, target) is not None
