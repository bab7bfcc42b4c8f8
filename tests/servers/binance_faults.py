"""What can go wrong with a request to the local Binance, and the bodies that Binance then sends."""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from http import HTTPStatus
from typing import Literal, get_args

from tests.servers.raw import Raw

type FaultKind = Literal[
    "status",
    "reset",
    "truncate",
    "stall",
    "drip",
    "slow",
    "corrupt",
    "bad_checksum",
    "malformed_json",
    "empty_json",
    "raw",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong with requests whose path and query hold `match`, as text or as a regex.

    status          `status`, with the body that Binance documents for it, or `body`
    reset           RST; before anything, or after `fraction` of the reply
    truncate        the whole Content-Length, `fraction` of the body (a half), close
    stall           nothing for `seconds`, then close
    drip            the reply in `pieces` over `seconds`: no single read takes long
    slow            nothing for `seconds`, then the reply
    corrupt         a zip with bytes flipped in its middle; its CHECKSUM stays true
    bad_checksum    a CHECKSUM with another hash, or `body`
    malformed_json  a REST body cut in its middle, or `body`
    empty_json      `[]` for klines, `{}` else
    raw             the bytes of `raw` in place of all of the reply, then close

    The four before that one, and truncate, wait for a reply of their sort with status 200.

    Args:
        times: How often it strikes; None is for ever.
        after: How many requests it lets pass first. One request meets one fault, in the order of
            adding, and counts for a fault only when none before that one struck.
        retry_after: The header of a 429, 418 or 503; by default 1, the ban's end, none.
        until_ms: When a 418 ends; by default two minutes from now (wall clock).
    """

    match: str
    kind: FaultKind
    times: int | None = 1
    after: int = 0
    status: int = 500
    retry_after: int | str | None = None
    until_ms: int | None = None
    body: str | None = None
    seconds: float = 0.1
    fraction: float | None = None
    pieces: int = 10
    raw: Raw | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind.__value__):
            raise ValueError(f"{self.kind!r} is no kind of fault")
        if (self.kind == "raw") != (self.raw is not None):
            raise ValueError("raw needs its bytes, and nothing else does")
        re.compile(self.match)  # refused here rather than when a request comes

    @property
    def part(self) -> float:
        """How much of the body a cut leaves."""
        return 0.5 if self.fraction is None else self.fraction

    def concerns(self, target: str, path: str, status: int) -> bool:
        """Tell whether it may strike this request, that has this `status` without it."""
        if self.match not in target and not re.search(self.match, target):
            return False
        whole = status == HTTPStatus.OK
        return {
            "corrupt": whole and path.endswith(".zip"),
            "bad_checksum": whole and path.endswith(".CHECKSUM"),
            "malformed_json": whole and path.startswith("/api/"),
            "empty_json": whole and path.startswith("/api/"),
            "truncate": whole,
        }.get(self.kind, True)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a request gets when no fault strikes."""

    status: int
    body: bytes
    content_type: str = "application/json;charset=UTF-8"
    headers: tuple[tuple[str, str], ...] = ()


class Faults:
    """The script of faults, and how far it has been played."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._script: list[tuple[Fault, list[int]]] = []

    def add(self, *faults: Fault) -> None:
        """Append them to the script."""
        with self._lock:
            self._script += [(fault, [0]) for fault in faults]

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._script.clear()

    def take(self, target: str, path: str, status: int) -> Fault | None:
        """Return the fault that strikes this request, and count it."""
        with self._lock:
            for fault, seen in self._script:
                spent = fault.times is not None and seen[0] >= fault.after + fault.times
                if spent or not fault.concerns(target, path, status):
                    continue
                seen[0] += 1
                if seen[0] > fault.after:
                    return fault
        return None


def json_reply(value: object, status: int = 200) -> Reply:
    """Return a REST reply."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode())


def too_many(limit: int, retry_after: int | str) -> Reply:
    """Return the 429 of a minute whose weight is used up."""
    msg = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. "
        "Please use WebSocket Streams for live updates to avoid polling the API."
    )
    reply = json_reply({"code": -1003, "msg": msg}, 429)
    return replace(reply, headers=(("Retry-After", f"{retry_after}"),))


def banned(until_ms: int, retry_after: int | str) -> Reply:
    """Return the 418 of a ban."""
    msg = (
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans."
    )
    reply = json_reply({"code": -1003, "msg": msg}, 418)
    return replace(reply, headers=(("Retry-After", f"{retry_after}"),))


def no_such_key(path: str) -> Reply:
    """Return the archive's 404."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code>'
        f"<Message>The specified key does not exist.</Message><Key>{path[1:]}</Key></Error>"
    )
    return Reply(404, body.encode(), "application/xml")


def struck(reply: Reply, fault: Fault, path: str) -> Reply:
    """Return the reply with the fault's status or body; how it is sent is not decided here."""
    text = None if fault.body is None else fault.body.encode()
    match fault.kind:
        case "status":
            refusal = _refusal(fault, path)
            refusal = refusal if text is None else replace(refusal, body=text)
            weight = (header for header in reply.headers if header[0] != "Retry-After")
            return replace(refusal, headers=(*refusal.headers, *weight))
        case "corrupt":
            middle = len(reply.body) // 2
            part = bytes(byte ^ 0xFF for byte in reply.body[middle : middle + 16])
            return replace(reply, body=reply.body[:middle] + part + reply.body[middle + 16 :])
        case "bad_checksum":
            other = hashlib.sha256(reply.body).hexdigest().encode() + reply.body[64:]
            return replace(reply, body=other if text is None else text)
        case "malformed_json":
            half = reply.body[: len(reply.body) // 2 or 1]
            return replace(reply, body=half if text is None else text)
        case "empty_json":
            return replace(reply, body=b"[]" if path.endswith("/klines") else b"{}")
    return reply


def _refusal(fault: Fault, path: str) -> Reply:
    retry_after = fault.retry_after
    match fault.status:
        case 404 if path.startswith("/data/"):
            return no_such_key(path)
        case 418:
            now_s = time.time()
            until_ms = fault.until_ms or int((now_s + 120) * 1000)
            left_s = max(math.ceil(until_ms / 1000 - now_s), 0)
            return banned(until_ms, left_s if retry_after is None else retry_after)
        case 429:
            return too_many(6_000, 1 if retry_after is None else retry_after)
        case 451:
            msg = (
                "Service unavailable from a restricted location according to 'b. Eligibility' in "
                "https://www.binance.com/en/terms. Please contact customer service if you believe "
                "you received this message in error."
            )
            return json_reply({"code": 0, "msg": msg}, 451)
    page = f"<html><head><title>{fault.status} {reason(fault.status)}</title></head></html>"
    headers = () if retry_after is None else (("Retry-After", f"{retry_after}"),)
    return Reply(fault.status, page.encode(), "text/html", headers)


@lru_cache
def reason(status: int) -> str:
    """Return the words after a status, `Not Found`."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def meant_to_be_sent(reply: Reply, fault: Fault | None) -> tuple[int, int]:
    """Return status and bytes of the body that the wire will see; status 0 for none."""
    size = len(reply.body)
    if fault is None:
        return reply.status, size
    match fault.kind:
        case "stall" | "raw":
            return 0, 0
        case "reset" if fault.fraction is None:
            return 0, 0
        case "reset" | "truncate":
            return reply.status, int(size * fault.part)
    return reply.status, size
