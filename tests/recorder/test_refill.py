"""Questions by REST against a local venue: in turn, within its limits, and who gets the answers."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pytest

from tbv8.errors import VenueError
from tbv8.market import MINUTE_MS
from tbv8.recorder.facts import VenueFacts
from tbv8.recorder.link import Clock
from tbv8.recorder.pace import Pace
from tbv8.recorder.refill import Refill
from tbv8.recorder.rest import RestClient, open_session
from tbv8.recorder.tracker import Need
from tbv8.store.ticks import RecordedState
from tbv8.venues.base import Listing, RefusedError
from tbv8.venues.mexc.live import MexcLive
from tests.recorder.by_hand import NOON, ByHand, minutes, ms
from tests.servers.live_faults import Fault
from tests.servers.live_market import VenueClock
from tests.servers.live_server import LiveServer
from tests.servers.mexc import mexc_market, mexc_server

QUICK = Pace(rest_s=5.0, retry_base_s=1.0, retry_cap_s=8.0, tick_s=0.005)
CONTRACT = Listing(native="BTC_USDT", contract_size=Decimal("0.0001"))
NOW_S = 605.0
"""What the venue's clock shows: ten minutes and five seconds past noon."""


@pytest.fixture
def server() -> Iterator[LiveServer]:
    market = mexc_market("BTC_USDT", rate=0, quote_rate=0, history_minutes=60, warm_minutes=0)
    with mexc_server([market], clock=VenueClock(start_ms=ms(NOW_S), speed=0)) as server:
        yield server


class Scene:
    """A tracker, the venue, and what was said; `tracker` waits for the minutes from noon on."""

    def __init__(self, server: LiveServer, *, kept_minutes: int | None = None) -> None:
        self.hand = ByHand(stored=RecordedState(minute_ms=NOON, close=5.0))
        self.live = MexcLive()
        self.live.kept_minutes = kept_minutes
        self.output: list[str] = []
        self.dead: list[tuple[str, str]] = []
        self.now_ms = ms(NOW_S)
        self.clock = Clock(local_ms=self._now_ms, steady_ms=self._now_ms)
        self.server = server

    def _now_ms(self) -> int:
        return self.now_ms

    async def _note_dead(self, symbol: str, channel: str) -> None:
        self.dead.append((symbol, channel))

    def play_facts[T](self, scene: Callable[[VenueFacts], Awaitable[T]]) -> T:
        async def main() -> T:
            async with open_session() as session:
                rest = RestClient(self.live, self.server.rest_url, session, QUICK)
                facts = VenueFacts(
                    self.live, rest, clock=self.clock, pace=QUICK, log=self.output.append
                )
                return await asyncio.wait_for(scene(facts), 20)

        return asyncio.run(main())

    def play[T](self, scene: Callable[[Refill], Awaitable[T]]) -> T:
        async def main() -> T:
            async with open_session() as session:
                rest = RestClient(self.live, self.server.rest_url, session, QUICK)
                refill = Refill(
                    self.live,
                    rest,
                    {"BTC/USDT": self.hand.tracker},
                    clock=self.clock,
                    pace=QUICK,
                    log=self.output.append,
                    on_stall=self._note_dead,
                )
                refill.listings = {"BTC/USDT": CONTRACT}
                return await asyncio.wait_for(scene(refill), 20)

        return asyncio.run(main())

    def ask(self, need: Need) -> None:
        """Ask the venue once."""
        self.play(lambda refill: refill._fetch_for("BTC/USDT", CONTRACT, need))

    def run(self, until: Callable[[], object]) -> None:
        """Ask all that is needed until a condition holds; time goes on meanwhile."""

        async def scene(refill: Refill) -> None:
            running = asyncio.create_task(refill.run())
            while not until():
                await asyncio.sleep(0.005)
                self.now_ms += 100
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

        self.play(scene)


def requested(server: LiveServer, part: str) -> list[str]:
    return [
        event.detail for event in server.log() if event.event == "rest" and part in event.detail
    ]


def test_minutes_are_requested_page_by_page_until_none_is_missing(server: LiveServer) -> None:
    scene = Scene(server)
    scene.live.page_minutes = 4
    scene.run(lambda: len(scene.hand.written) >= 10)

    pages = [
        tuple(int(number) - NOON // 1000 for number in re.findall(r"(?:start|end)=(\d+)", detail))
        for detail in requested(server, "kline")
    ]
    assert pages[:2] == [(0, 239), (240, 479)]
    bars = {bar.ts_ms: bar.close for bar in server.truth("BTC_USDT").bars}
    assert scene.hand.written == [(n, bars[NOON + n * MINUTE_MS]) for n in range(10)]


def test_a_minute_after_the_requested_page_does_not_count_as_empty(
    server: LiveServer,
) -> None:
    scene = Scene(server)
    scene.live.page_minutes = 4
    for _ in range(2):
        scene.ask(Need(kind="minutes", span=minutes(0, 10)))
        scene.now_ms += 25_000

    assert [number for number, _close in scene.hand.written] == [0, 1, 2, 3]


def test_a_reply_is_as_old_as_its_request(server: LiveServer) -> None:
    # given a clock that goes on by a minute while the venue answers
    scene = Scene(server)

    async def ask(refill: Refill) -> None:
        fetch = refill._rest.fetch

        async def fetch_slowly(ask: Any) -> Any:
            found = await fetch(ask)
            scene.now_ms += MINUTE_MS
            return found

        refill._rest.fetch = fetch_slowly  # type: ignore[method-assign]
        need = Need(kind="minutes", span=minutes(0, 11))
        await refill._fetch_for("BTC/USDT", CONTRACT, need)

    scene.play(ask)

    # then the eleventh minute, which was not over when it was asked for, is not taken
    assert [number for number, _close in scene.hand.written] == list(range(10))


def test_a_stream_that_rest_finds_stalled_is_reported_to_the_link(server: LiveServer) -> None:
    scene = Scene(server)
    scene.hand.up("trades", -10)
    scene.hand.up("bbo", -10)
    server.trade("BTC_USDT", "84000", "1", ts_ms=ms(500))
    server.quote("BTC_USDT", ("1", "1"), ("2", "1"), ts_ms=ms(500))

    scene.ask(Need(kind="recent"))
    assert scene.dead == [("BTC/USDT", "trades")]
    assert scene.hand.trades == [500.0] or scene.hand.late == [500.0]

    scene.ask(Need(kind="bbo"))
    scene.now_ms += 3000
    scene.ask(Need(kind="bbo"))
    assert scene.dead == [("BTC/USDT", "trades"), ("BTC/USDT", "bbo")]


def test_a_pending_request_is_not_sent_twice(server: LiveServer) -> None:
    server.fault(Fault(kind="rest", how="slow", seconds=0.2, match="kline", times=1))
    scene = Scene(server)
    scene.run(lambda: len(scene.hand.written) >= 10)

    assert len(requested(server, "kline")) == 1


def test_a_failed_request_is_repeated_after_a_pause_and_logged_at_times(server: LiveServer) -> None:
    server.fault(Fault(kind="rest", match="kline", status=500, times=3))
    scene, need = Scene(server), Need(kind="minutes", span=minutes(0, 10))

    async def ask(refill: Refill) -> None:
        for failures in (1, 2, 3):
            assert refill._may_send("BTC/USDT", need)
            await refill._fulfil("BTC/USDT", CONTRACT, need)
            assert refill.failed == failures
            assert not refill._may_send("BTC/USDT", need)
            assert refill._may_send("BTC/USDT", Need(kind="recent"))
            refill._not_before_s.clear()
        assert scene.output == [scene.output[0]]
        assert "cannot fetch minutes (3 failures in a row)" in scene.output[0]

        await refill._fulfil("BTC/USDT", CONTRACT, need)
        assert refill._may_send("BTC/USDT", need)
        assert refill._failures == {}

    scene.play(ask)


def test_pauses_double_up_to_the_cap_less_some_jitter() -> None:
    for failures, most_s in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 8.0), (10_000, 8.0)):
        pauses = [QUICK.retry_s(failures) for _ in range(200)]
        assert most_s / 2 <= min(pauses) < 0.6 * most_s
        assert 0.9 * most_s < max(pauses) <= most_s


def test_the_clock_is_set_by_the_fastest_measurement(server: LiveServer) -> None:
    scene = Scene(server)
    times = iter([0, 0, 1000, 1000, 1010, 2000, 2500])
    scene.clock = Clock(local_ms=lambda: ms(NOW_S), steady_ms=lambda: next(times, 2500))

    scene.play_facts(lambda facts: facts.set_clock())

    assert scene.clock.is_set
    assert scene.clock.behind_ms == 1005 - ms(NOW_S)


def test_a_clock_without_a_measurement_stays_unchanged(server: LiveServer) -> None:
    server.fault(Fault(kind="rest", status=500, times=3))
    scene = Scene(server)

    scene.play_facts(lambda facts: facts.set_clock())

    assert not scene.clock.is_set


def test_a_long_outage_is_warned_of_from_half_of_the_kept_minutes_on(
    server: LiveServer,
) -> None:
    scene = Scene(server, kept_minutes=20)

    async def warn(refill: Refill) -> None:
        tracker = scene.hand.tracker
        refill._warn_before_loss("BTC/USDT", tracker, ms(599))
        assert scene.output == []
        refill._warn_before_loss("BTC/USDT", tracker, ms(600))
        assert len(scene.output) == 1
        refill._warn_before_loss("BTC/USDT", tracker, ms(610))
        assert len(scene.output) == 1
        assert "lacks minutes since" in scene.output[0]

    scene.play(warn)


# The limits.


def timed(
    rest: Callable[[RestClient], Awaitable[None]], server: LiveServer, *, burst: float = 10.0
) -> float:
    """Return how many seconds it takes within 100 a second and `burst` at once."""
    live = MexcLive()
    live.weight_per_s, live.weight_burst = 100.0, burst

    async def main() -> float:
        async with open_session() as session:
            began_s = time.monotonic()
            await asyncio.wait_for(rest(RestClient(live, server.rest_url, session, QUICK)), 20)
            return time.monotonic() - began_s

    return asyncio.run(main())


def test_a_burst_is_free_and_later_requests_wait_for_their_weight(server: LiveServer) -> None:
    async def burst(rest: RestClient) -> None:
        began_s = time.monotonic()
        for _ in range(100):
            await rest.await_turn(5)
        assert time.monotonic() - began_s < 4  # five seconds if it were not free
        await rest.await_turn(10)
        await rest.await_turn(5)

    assert timed(burst, server, burst=500.0) >= 0.14


def test_a_request_heavier_than_a_burst_is_sent_too(server: LiveServer) -> None:
    assert timed(lambda rest: rest.await_turn(25), server) < 5


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 200, "code": 510}])
def test_after_a_429_requests_pause_for_a_while(server: LiveServer, fault: dict[str, Any]) -> None:
    server.fault(Fault(kind="rest", times=1, **fault))

    async def ask(rest: RestClient) -> None:
        with pytest.raises(RefusedError) as refused:
            await rest.fetch(MexcLive().clock_request())
        assert refused.value.too_often
        await rest.await_turn(1)

    assert timed(ask, server) >= 0.1


@pytest.mark.parametrize(("status", "refused"), [(404, True), (500, False), (503, False)])
def test_a_server_error_is_temporary_and_a_client_error_is_a_refusal(
    server: LiveServer, status: int, refused: bool
) -> None:
    server.fault(Fault(kind="rest", times=1, status=status))

    async def ask(rest: RestClient) -> None:
        with pytest.raises(VenueError, match=f"HTTP {status}") as raised:
            await rest.fetch(MexcLive().clock_request())
        assert isinstance(raised.value, RefusedError) == refused

    timed(ask, server)
