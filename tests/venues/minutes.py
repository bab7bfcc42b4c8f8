"""Replies of live venues that hold 1m bars, with one bar changed or some left out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tbv8.market import Span
from tbv8.venues.base import Listing
from tbv8.venues.registry import VENUES
from tests.servers.live_faults import Fault
from tests.servers.live_server import LiveServer
from tests.servers.live_venues import LIVE_VENUES

COLUMNS = {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5}


def fetch_minutes(server: LiveServer, name: str, part: Span) -> Any:
    """Return the venue's reply to the request of a backfill for `part`."""
    live = VENUES[name].live
    assert live is not None
    requested = live().minutes_request(Listing(native=LIVE_VENUES[name].native), part)
    request = Request(
        f"{server.rest_url}{requested.path}?{urlencode(requested.params)}",
        requested.body,
        headers={"Content-Type": "application/json"},
    )
    with urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


def answer_minutes(server: LiveServer, part: Span, reply: Any, *, times: int) -> None:
    """Let the venue give this reply to the next requests for `part`."""
    match = f"{part.start_ms // 1000}"  # seconds, or the first digits of milliseconds
    body = json.dumps(reply)
    server.fault(Fault(kind="rest", match=match, status=200, body=body, times=times))


def with_cell(reply: Any, name: str, place: int, column: str, text: str) -> Any:
    """Return a reply with another value in one bar, counted from the oldest."""
    match name:
        case "bybit":  # the newest come first
            reply["result"]["list"][-1 - place][COLUMNS[column]] = text
        case "hyperliquid":
            key = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "v"}[column]
            reply[place][key] = text
        case "mexc":
            for key in ("vol" if column == "volume" else column, f"real{column.title()}"):
                if key in reply["data"]:
                    reply["data"][key][place] = float(text)
    return reply


def with_only(reply: Any, name: str, places: Sequence[int]) -> Any:
    """Return a reply with some of its bars, counted from the oldest."""
    match name:
        case "bybit":
            rows = reply["result"]["list"][::-1]
            some = [rows[at] for at in places][::-1]
            return reply | {"result": reply["result"] | {"list": some}}
        case "hyperliquid":
            return [reply[at] for at in places]
    columns = {key: [column[at] for at in places] for key, column in reply["data"].items()}
    return reply | {"data": columns}
