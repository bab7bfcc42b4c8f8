"""Every client of a venue's HTTP as one question each, for replies that no honest server gives.

`python -m tests.venues.clients URLS` asks the questions whose names come on stdin, and prints by
how many MB each took the process higher than it was.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from tbv8.errors import VenueError
from tbv8.market import MINUTE_MS, Span, parse_time
from tbv8.recorder.pace import Pace
from tbv8.recorder.rest import RestClient, open_session
from tbv8.venues.base import Endpoints, History, Live
from tbv8.venues.binance.history import open_history
from tbv8.venues.binance.host import HostOptions
from tbv8.venues.binance.rules import fetch_rules
from tbv8.venues.binance_perp import PRODUCT as PERP
from tbv8.venues.binance_spot import PRODUCT as SPOT
from tbv8.venues.live_calls import RetryPolicy
from tbv8.venues.live_history import open_history as open_live_history
from tbv8.venues.registry import VENUES
from tests.servers import binance_faults, live_faults
from tests.servers.binance import BinanceServer, WeightMeter
from tests.servers.binance_market import synthetic_market
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.live_venues import LIVE_VENUES, serve
from tests.servers.raw import Raw
from tests.venues.binance_spot import BTC, VirtualTime

DAY = Span(parse_time("2024-03-08"), parse_time("2024-03-09"))
HOUR = Span(DAY.start_ms, DAY.start_ms + 60 * MINUTE_MS)
NOW_MS = parse_time("2024-03-10T00:00:30Z")
TRIES = 2

type Hosts = tuple[str, ...]


class Question(Protocol):
    """Asks a server, and allows so many seconds for a reply."""

    def __call__(self, url: str, reply_s: float, redirect_hosts: Hosts = ()) -> object: ...


def _binance(ask: Callable[[Endpoints, HostOptions], object]) -> Question:
    def question(url: str, reply_s: float, redirect_hosts: Hosts = ()) -> object:
        time = VirtualTime()
        options = HostOptions(
            tries=TRIES, read_s=reply_s, ccxt_s=reply_s, clock=time.now_s, wait=time.wait
        )
        endpoints = Endpoints(rest_url=url, archive_url=url, redirect_hosts=redirect_hosts)
        return ask(endpoints, options)

    return question


def _bars(ask: Callable[[History], object]) -> Question:
    def of_session(endpoints: Endpoints, options: HostOptions) -> object:
        with open_history(SPOT, endpoints, options) as history:
            return ask(history)

    return _binance(of_session)


def _rules(endpoints: Endpoints, options: HostOptions) -> object:
    return fetch_rules(PERP, endpoints, {"BTC/USDT": BTC}, options=options)


def _live(name: str) -> Live:
    open_live = VENUES[name].live
    assert open_live is not None
    return open_live()


def _history(name: str) -> Question:
    live = _live(name)

    def question(url: str, reply_s: float, redirect_hosts: Hosts = ()) -> object:
        retries = RetryPolicy(tries=TRIES, reply_s=reply_s, sleep=lambda _seconds: None)
        endpoints = Endpoints(rest_url=url, redirect_hosts=redirect_hosts)
        with open_live_history(name, live, endpoints, retries=retries) as history:
            return history.clock_ms()

    return question


def _refill(name: str) -> Question:
    live = _live(name)

    def question(url: str, reply_s: float, redirect_hosts: Hosts = ()) -> object:
        async def ask() -> object:
            async with open_session() as session:
                pace = Pace(rest_s=reply_s)
                rest = RestClient(live, url, session, pace, redirect_hosts)
                return await rest.fetch(live.clock_request())

        return asyncio.run(ask())

    return question


# By name: whose server, what a fault must match, and the question.
QUESTIONS: dict[str, tuple[str, str, Question]] = {
    "binance's clock, by requests": ("binance", "/time", _bars(lambda h: h.clock_ms())),
    "binance's bars, by ccxt": (
        "binance",
        "endTime=",
        _bars(lambda h: h.fetch_direct(BTC, HOUR)),
    ),
    "binance's rules": ("binance", "exchangeInfo$", _binance(_rules)),
    "binance's archive": ("binance", ".zip$", _bars(lambda h: list(h.fetch(BTC, [DAY])))),
    "binance's CHECKSUM": ("binance", ".CHECKSUM$", _bars(lambda h: list(h.fetch(BTC, [DAY])))),
    **{f"{name}'s history": (name, "", _history(name)) for name in LIVE_VENUES},
    **{f"{name}'s refill": (name, "", _refill(name)) for name in LIVE_VENUES},
}


class Servers:
    """The venues, that answer as one is told."""

    def __init__(self, binance: BinanceServer, live: Mapping[str, LiveServer]) -> None:
        self.binance, self.live = binance, live
        self.urls = {"binance": binance.url} | {name: s.rest_url for name, s in live.items()}

    def behave(self) -> None:
        """Answer as an honest venue from now on."""
        for server in (self.binance, *self.live.values()):
            server.behave()

    def strike(self, raw: Raw) -> None:
        """Answer what each question is about with these bytes from now on."""
        self.behave()
        self.binance.reset_log()
        for venue, match, _ in QUESTIONS.values():
            if venue == "binance":
                fault = binance_faults.Fault(match=match, kind="raw", raw=raw, times=None)
                self.binance.faults.add(fault)
        for server in self.live.values():
            server.fault(live_faults.Fault(kind="rest", how="raw", raw=raw, times=10**9))

    def requested(self) -> int:
        """Return how many requests were answered so since `strike`, and before at live venues."""
        live = (server.count("rest") for server in self.live.values())
        return sum(logged.fault == "raw" for logged in self.binance.log) + sum(live)

    def ask(self, name: str, reply_s: float) -> object:
        """Ask a question."""
        venue, _, question = QUESTIONS[name]
        return question(self.urls[venue], reply_s)


@contextmanager
def serving() -> Iterator[Servers]:
    """Serve the venues."""
    market = synthetic_market(BTC, parse_time("2024-03-08"), parse_time("2024-03-10"), 9)
    clock = VenueClock(start_ms=NOW_MS, speed=0.0)
    with ExitStack() as stack:
        served = BinanceServer({BTC: market}, now_ms=NOW_MS, weight=WeightMeter(10**9))
        binance = stack.enter_context(served)
        live = {
            name: stack.enter_context(serve(name, clock=clock, limits=False))
            for name in LIVE_VENUES
        }
        yield Servers(binance, live)


def _memory_kb(name: str) -> int:
    """Return a line of /proc/self/status, VmRSS or its peak VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Ask what stdin names, and tell what it took."""
    urls: dict[str, str] = json.loads(sys.argv[1])
    for line in sys.stdin:
        venue, _, question = QUESTIONS[line.strip()]
        gc.collect()
        gc.freeze()  # the next one goes through what the question left
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before_kb = _memory_kb("VmRSS")
        with suppress(VenueError):
            question(urls[venue], 60.0)
        print((_memory_kb("VmHWM") - before_kb) / 1024, flush=True)


if __name__ == "__main__":
    main()
