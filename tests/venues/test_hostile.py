"""Replies of hostile servers, at every client of every venue: one line each, and soon.

A venue's word is believed as far as it is documented, and printed as far as it is printable.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tbv8.errors import VenueError
from tests.servers.hostile import BODIES, HEADS, REDIRECTS, REFUSALS, SLOW, Raw
from tests.venues.clients import QUESTIONS, TRIES, Servers, serving

REPLY_S = 0.4
EVERY = {**HEADS, **BODIES, **REFUSALS, **REDIRECTS, **SLOW}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with serving() as servers:
        yield servers


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_honest_server_is_understood(servers: Servers, name: str) -> None:
    assert servers.ask(name, 5.0)


@pytest.mark.parametrize("raw", EVERY.values(), ids=EVERY)
def test_a_hostile_reply_is_one_line_at_each_client(servers: Servers, raw: Raw) -> None:
    servers.strike(raw)
    before, began_s = servers.asked(), time.monotonic()

    def ask(name: str) -> str:
        try:
            servers.ask(name, REPLY_S)
        except VenueError as e:
            return str(e)
        return "no word"

    with ThreadPoolExecutor(len(QUESTIONS)) as threads:
        said = dict(zip(QUESTIONS, threads.map(ask, QUESTIONS), strict=True))

    assert time.monotonic() - began_s < TRIES * REPLY_S + 5
    assert [line for line in said.values() if not line.isprintable() or len(line) > 1000] == []
    silent = {name for name, line in said.items() if line == "no word"}
    assert silent <= {"binance's archive", "binance's CHECKSUM"}  # REST has the bars as well
    assert len(QUESTIONS) <= servers.asked() - before <= 2 * TRIES * len(QUESTIONS)
