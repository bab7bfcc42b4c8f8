"""Replies of hostile servers, at every client of every venue: one line each, and soon.

A venue's word is believed as far as it is documented, and printed as far as it is printable.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tbv8.errors import VenueError
from tests.builders import ROOT
from tests.servers.forwarding import forwarding
from tests.servers.hostile import BODIES, HEADS, REDIRECTS, REFUSALS, SLOW
from tests.servers.live_venues import LIVE_VENUES
from tests.venues.clients import QUESTIONS, TRIES, Servers, serving

REPLY_S, SOON_S = 5.0, 0.4
LARGE = (
    "many lists",  # before those that leave their memory to the next
    "many objects",
    "endless headers",
    "a gzip bomb",
    "a chunk of -1",
    "an endless body",
    "deep JSON",
)
EVERY = {**HEADS, **BODIES, **REFUSALS, **REDIRECTS, **SLOW}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with serving() as servers:
        yield servers


@pytest.mark.parametrize("name", QUESTIONS)
def test_an_honest_server_is_served(servers: Servers, name: str) -> None:
    assert servers.ask(name, 5.0)


@pytest.mark.parametrize("what", EVERY)
def test_a_hostile_reply_is_one_line_at_each_client(servers: Servers, what: str) -> None:
    servers.strike(EVERY[what])
    reply_s = SOON_S if what in SLOW else REPLY_S
    before, began_s = servers.requested(), time.monotonic()

    def ask(name: str) -> str:
        try:
            servers.ask(name, reply_s)
        except VenueError as e:
            return str(e)
        return "no word"

    with ThreadPoolExecutor(len(QUESTIONS)) as threads:
        output = dict(zip(QUESTIONS, threads.map(ask, QUESTIONS), strict=True))

    assert time.monotonic() - began_s < TRIES * reply_s + 60  # of a busy machine
    assert [line for line in output.values() if not line.isprintable() or len(line) > 1000] == []
    silent = {name for name, line in output.items() if line == "no word"}
    if "a clock of" in what:
        silent -= {f"{name}'s refill" for name in LIVE_VENUES}  # the recorder judges a clock
    assert silent <= {"binance's archive", "binance's CHECKSUM"}  # REST has the bars as well
    assert servers.requested() - before in range(
        1 if what in SLOW else len(QUESTIONS), 4 * len(QUESTIONS) + 1
    )


def test_no_reply_takes_more_than_100_mb_or_60_s(servers: Servers) -> None:
    command = [sys.executable, "-m", "tests.venues.clients", json.dumps(servers.urls)]
    cost_mb, took_s = {}, {}
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None

        def ask(name: str) -> float:
            print(name, file=client.stdin, flush=True)
            return float(client.stdout.readline())

        servers.behave()
        requested = [
            name for name in QUESTIONS if name.startswith(("binance", "mexc"))
        ]  # all clients
        for name in requested:
            ask(name)  # libraries are imported, and caches are warm
        for what in LARGE:
            servers.strike(EVERY[what])
            for name in requested:
                began_s = time.monotonic()
                cost_mb[what, name] = ask(name)
                took_s[what, name] = time.monotonic() - began_s
        client.stdin.close()

    assert {key: mb for key, mb in cost_mb.items() if mb > 100} == {}
    assert {key: s for key, s in took_s.items() if s > 60} == {}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_redirect_to_another_host_is_followed_where_the_config_names_it(
    servers: Servers, name: str
) -> None:
    venue, _, question = QUESTIONS[name]
    servers.behave()
    with forwarding(servers.urls[venue].replace("127.0.0.1", "localhost")) as url:
        with pytest.raises(VenueError, match=r"30. leads to another host, 'localhost:\d+'"):
            question(url, 5.0)
        assert question(url, 5.0, redirect_hosts=("localhost",))
