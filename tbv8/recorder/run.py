"""The recorder as a whole: from config and a database to rows, until a request to stop."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp
import msgspec
from msgspec.structs import replace

from tbv8.config.records import Venue
from tbv8.errors import DataError, MovedError, VenueError
from tbv8.market import MINUTE_MS, Series
from tbv8.recorder.desk import Desk
from tbv8.recorder.enabled import enabled_venues
from tbv8.recorder.link import Clock, Link
from tbv8.recorder.metrics import serve_metrics
from tbv8.recorder.outbox import LIMIT, Outbox
from tbv8.recorder.pace import STANDARD, Pace
from tbv8.recorder.polls import Polls
from tbv8.recorder.refill import Refill, Rest, open_session
from tbv8.recorder.status import Status, StreamStatus, VenueStatus
from tbv8.recorder.view import View, summary
from tbv8.recorder.watch import Watch
from tbv8.recorder.writer import OnCommit, Writer
from tbv8.store.natives import NativeMarket, check_native, read_native
from tbv8.store.ticks import (
    NOT_RUNNING,
    Batch,
    RecordedState,
    TickStore,
    open_ticks,
    query_recorded_state,
    read_recorded_state,
    recorder_lock,
)
from tbv8.venues.base import Channel, Live, Log, Market
from tbv8.venues.registry import find_venue

_WEIGH_S = 0.05
_MOVED = "the database was removed, moved or replaced while the recorder ran"
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """A running recorder, for callers that run it in a thread.

    Args:
        stop: Let it stop; from any thread.
        status: What is to be seen of it.
        metrics_port: Where its metrics are, if they are.
    """

    stop: Callable[[], None]
    status: Callable[[], Status]
    metrics_port: int | None


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a run.

    Args:
        for_s: Stop by itself after so many seconds; None for never.
        metrics_port: Serve metrics there; None for not at all, 0 for any.
        pace: How patient.
        buffer_rows: How many rows may wait for the database.
        local_ms: Our clock.
        steady_ms: Milliseconds that nobody sets, and that count on while the machine sleeps.
        on_commit: Told of each transaction.
        on_start: Told when it runs, again when it has begun again in a new database.
        make_database: Makes a database where there is none; None to end when it is gone.
    """

    for_s: float | None = None
    metrics_port: int | None = None
    pace: Pace = STANDARD
    buffer_rows: int = LIMIT
    local_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    steady_ms: Callable[[], int] = lambda: time.clock_gettime_ns(_STEADY) // 1_000_000
    on_commit: OnCommit | None = None
    on_start: Callable[[Handle], None] | None = None
    make_database: Callable[[], None] | None = None


class _Left(msgspec.Struct, frozen=True, kw_only=True):
    """The state that a run passes to the next one after its database was removed or replaced.

    Args:
        batch: What is not in the database at its path.
        states: The state of each series at its end.
    """

    batch: Batch
    states: dict[Series, RecordedState]


def record(db_path: Path, venues: Sequence[Venue], options: Options) -> None:
    """Record every enabled venue until SIGINT, SIGTERM (in the main thread) or the end of `for_s`.

    When the database is removed, moved or replaced, recording begins again in what is at its path
    then: what was waiting is written there, and the time since is a gap.

    Raises:
        ConfigError: No venue is enabled, or one cannot be recorded.
        DataError: Another recorder runs, or the database cannot be used.
        VenueError: `for_s` is over, and no venue ever sent anything.
    """
    lives = _lives(venues)
    end_s = None if options.for_s is None else time.monotonic() + options.for_s
    stop = _Stop()
    with stop.on_signals():
        left = _record(db_path, lives, options, stop, None)
        while left is not None:
            if options.make_database is None:
                raise DataError(f"{db_path}: {_MOVED}, and {len(left.batch):,} rows are lost")
            options.make_database()
            print(
                f"   {db_path}: {_MOVED}: recording continues in the present file, with "
                f"{len(left.batch):,} waiting rows; recording_gaps lists the time in between",
                flush=True,
            )
            if end_s is not None:
                options = replace(options, for_s=max(0.0, end_s - time.monotonic()))
            left = _record(db_path, lives, options, stop, left)


def _record(
    db_path: Path,
    lives: Sequence[tuple[Venue, Live]],
    options: Options,
    stop: _Stop,
    before: _Left | None,
) -> _Left | None:
    """Record to the end; return the unwritten state if the database was moved or replaced."""
    with recorder_lock(db_path), open_ticks(db_path) as store:
        for venue, live in lives:
            _write_natives(store, venue, live)
        recorder = _Recorder(db_path, store, lives, options, stop, before)
        try:
            asyncio.run(recorder.run())
        except MovedError:
            return recorder.leave()
    return None


def _lives(venues: Sequence[Venue]) -> list[tuple[Venue, Live]]:
    lives = []
    for venue in enabled_venues(venues):
        open_live = find_venue(venue.name).live
        assert open_live is not None
        lives.append((venue, open_live()))
    return lives


def _write_natives(store: TickStore, venue: Venue, live: Live) -> None:
    """Write the market of each symbol; refuse one that differs from that of its stored rows."""
    for symbol, setting in venue.symbols.items():
        series = Series(venue.name, symbol)
        market = NativeMarket(
            native=setting or live.native_symbol(symbol),
            setting=setting or "",
            multiplier=venue.multiplier(symbol),
        )
        stored = read_native(store.query, series)
        check_native(stored, market, series)
        if market != stored:
            store.write_native(series, market)


def streams_of(venue: Venue) -> tuple[Channel, ...]:
    """Return the channels of a venue that use its socket."""
    return tuple(channel for channel in venue.channels if channel in ("trades", "bbo"))


class _Stop:
    """A request to stop, by SIGINT, SIGTERM or any thread; it applies to all runs."""

    def __init__(self) -> None:
        self.requested = False
        self._wake: Callable[[], object] = lambda: None

    def request(self, *_signal: object) -> None:
        """Stop the present run, and start no other."""
        self.requested = True
        with suppress(RuntimeError):  # the loop is closed: it has stopped already
            self._wake()

    def event(self) -> asyncio.Event:
        """Return an event of the running loop that is set by the request."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wake = partial(loop.call_soon_threadsafe, event.set)
        if self.requested:
            event.set()
        return event

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle signals as a request, in the main thread; restore the handlers at the end."""
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        before = {number: signal.signal(number, self.request) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Station:
    """One venue: its desks, its connection and its REST."""

    def __init__(
        self,
        venue: Venue,
        live: Live,
        desks: Mapping[str, Desk],
        *,
        db_path: Path,
        outbox: Outbox,
        session: aiohttp.ClientSession,
        options: Options,
        log: Log,
    ) -> None:
        self.name = venue.name
        self._venue, self._live = venue, live
        self._streams = streams_of(venue)
        self._log: Log = lambda text: log(f"{venue.name}: {text}")
        self.desks = desks
        self.clock = Clock(options.local_ms, options.steady_ms)
        self._pace = options.pace
        self._problems: dict[str, str] = {}
        self._learnt_s = float("-inf")
        self.link = Link(
            live,
            venue.ws_url or live.ws_url,
            desks,
            outbox=outbox,
            clock=self.clock,
            pace=options.pace,
            log=self._log,
            learn_markets=self._learn_markets,
        )
        rest = Rest(
            live,
            venue.rest_url or live.rest_url,
            session,
            options.pace,
            venue.redirect_hosts,
        )
        self.polls = Polls(
            venue.name,
            venue.channels,
            live=live,
            rest=rest,
            outbox=outbox,
            clock=self.clock,
            pace=options.pace,
            log=self._log,
            usual_hours=find_venue(venue.name).funding_hours,
        )
        self.polls.read_held(db_path, venue.symbols)
        self.refill = Refill(
            live,
            rest,
            desks,
            clock=self.clock,
            pace=options.pace,
            log=self._log,
            on_dead=self.link.resubscribe,
        )
        self.polls.markets = lambda: self.refill.markets

    async def run(self) -> None:
        """Record until cancelled."""
        await self.refill.learn_clock()
        self._take_markets(await self.refill.await_markets())
        async with asyncio.TaskGroup() as group:
            if self._streams:
                group.create_task(self.link.run())
                group.create_task(self.refill.run())
            group.create_task(self.polls.run())
            group.create_task(self.refill.keep_clock())
            group.create_task(self._keep_markets())

    async def _learn_markets(self, afresh: bool) -> Mapping[str, Market]:
        """Fetch the markets once; keep the previous ones if that fails."""
        if afresh or time.monotonic() - self._learnt_s > self._pace.markets_s:
            try:
                self._take_markets(await self.refill.fetch_markets())
            except VenueError as e:
                self._log(f"cannot refresh the venue's list of symbols: {e}")
        return self.refill.markets

    async def _keep_markets(self) -> None:
        """Check at intervals for a configured symbol that the venue did not list."""
        while True:
            await asyncio.sleep(self._pace.markets_s)
            if self._problems:
                markets = await self._learn_markets(True)
                if markets.keys() != self.link.markets.keys():
                    self.link.redial("other symbols are listed now")

    def _take_markets(self, listed: Mapping[str, Market]) -> None:
        self.refill.markets, self._learnt_s = self._known(listed), time.monotonic()

    def _known(self, listed: Mapping[str, Market]) -> dict[str, Market]:
        """Return the markets of the configured symbols; print a warning for each problem."""
        before, markets = self.refill.markets, {}
        problems = {}
        for symbol, native in self._venue.symbols.items():
            spelling = native or self._live.native_symbol(symbol)
            market = listed.get(spelling)
            problem = f"the venue does not list {spelling}" if market is None else market.problem
            if market is None or problem:
                problems[symbol] = str(problem)
                if self._problems.get(symbol) != problem:
                    path = f"config/venues/{self.name}.yaml"
                    self._log(f"WARNING: {symbol} is not recorded: {problem}: see {path}")
            else:
                market = replace(market, multiplier=self._venue.multiplier(symbol))
                markets[symbol] = market
                if symbol in before and before[symbol] != market:
                    self._log(f"WARNING: {symbol} has changed: it is now {market}")
        if not markets and problems != self._problems:
            self._log("WARNING: it lists none of its symbols: nothing is recorded")
        self._problems = problems
        return markets

    def status(self) -> VenueStatus:
        """Return the venue's part of the status."""
        now_ms = self.clock.now_ms()
        return VenueStatus(
            venue=self.name,
            state=self.link.state,
            frames=self.link.frames,
            reconnects=max(0, self.link.dials - 1),
            unreadable=self.link.unreadable,
            failed=self.refill.failed + self.polls.failed,
            marks=self.polls.marks,
            payments=self.polls.payments,
            offset_ms=self.clock.offset_ms,
            streams=tuple(
                _stream_status(desk, channel, watch, now_ms, problem=self._problems.get(symbol))
                for symbol, desk in self.desks.items()
                for channel, watch in desk.watches.items()
            ),
        )


def _stream_status(
    desk: Desk, channel: str, watch: Watch, now_ms: int, *, problem: str | None
) -> StreamStatus:
    silent_ms = now_ms - max(watch.proof_ms, watch.calm_ms)
    state = "up"
    if problem is not None:
        state = "unlisted"
    elif not watch.up:
        state = "down"
    elif silent_ms > 3 * watch.patience_ms:
        state = "stale"
    elif now_ms - watch.heard_ms > watch.patience_ms:
        state = "quiet"
    return StreamStatus(
        series=desk.series,
        channel=channel,
        state=state,
        silent_s=silent_ms / 1000 if watch.proof_ms else 0.0,
        lag_ms=watch.lag_ms,
        price=desk.price,
        events=watch.events,
        duplicates=watch.duplicates,
        gaps=watch.gaps.count,
        minutes=desk.minutes.count,
        minutes_waiting=desk.minutes.pending_ms(now_ms) // MINUTE_MS,
    )


class _Recorder:
    """All stations, the writer and the view."""

    def __init__(
        self,
        db_path: Path,
        store: TickStore,
        lives: Sequence[tuple[Venue, Live]],
        options: Options,
        stop: _Stop,
        before: _Left | None,
    ) -> None:
        self._db_path = db_path
        self._lives, self._options, self._is_first = lives, options, before is None
        self._outbox = Outbox(options.buffer_rows)
        self._stop = stop
        self._view = View(options.pace)
        self._desks: dict[Series, Desk] = {}
        for venue, live in lives:
            for symbol in venue.symbols:
                series = Series(venue.name, symbol)
                self._desks[series] = Desk(
                    series,
                    streams_of(venue),
                    self._outbox,
                    self._read_held(db_path, series, before),
                    kept_minutes=live.kept_minutes,
                )
        if before is not None:
            ended = {key: gap for key, gap in before.batch.gaps.items() if gap.end_ms is not None}
            batch = self._outbox.batch
            batch.trades, batch.bbo = before.batch.trades, before.batch.bbo
            batch.gaps = ended | batch.gaps
        self._store = store
        self._stations: list[_Station] = []
        self._began_s = time.monotonic()

    def _read_held(self, db_path: Path, series: Series, before: _Left | None) -> RecordedState:
        """Return a series' state in the database, completed by that of the previous run."""
        state = read_recorded_state(db_path, series, now_ms=self._options.local_ms())
        if before is None:
            return state
        earlier = before.states[series]
        if state.minute_ms is None:
            state = replace(state, minute_ms=earlier.minute_ms, close=earlier.close)
        if state.trade_ms is None and state.bbo is None:
            state = replace(state, open_gaps=earlier.open_gaps)
            for gap in earlier.open_gaps:
                self._outbox.batch.gaps[series, gap.channel, gap.start_ms] = gap
        return replace(
            state,
            trade_ms=earlier.trade_ms if state.trade_ms is None else state.trade_ms,
            bbo=state.bbo or earlier.bbo,
            ended=_MOVED,
        )

    async def run(self) -> None:
        """Record until a request to stop, then write the remaining rows.

        Raises:
            DataError: The database cannot be used, or what was left could not be written.
            VenueError: The time is up, and nothing ever came.
        """
        options, log = self._options, self._view.log
        writer = self._writer = Writer(
            self._store,
            self._outbox,
            self._desks,
            local_ms=options.local_ms,
            pace=options.pace,
            log=log,
            on_commit=options.on_commit,
        )
        stop = self._stop.event()
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(open_session())
            for venue, live in self._lives:
                desks = {s: self._desks[Series(venue.name, s)] for s in venue.symbols}
                station = _Station(
                    venue,
                    live,
                    desks,
                    db_path=self._db_path,
                    outbox=self._outbox,
                    session=session,
                    options=options,
                    log=log,
                )
                self._stations.append(station)
            port = None
            if options.metrics_port is not None:
                served = serve_metrics(options.metrics_port, self.status)
                port = await stack.enter_async_context(served)
                log(f"metrics: http://127.0.0.1:{port}/metrics and /healthz")
            if options.on_start is not None:
                options.on_start(
                    Handle(
                        stop=self._stop.request,
                        status=self.status,
                        metrics_port=port,
                    )
                )
            await self._run_until(stop, writer)

    async def _run_until(self, stop: asyncio.Event, writer: Writer) -> None:
        writing = asyncio.create_task(writer.run())
        tasks = [asyncio.create_task(station.run()) for station in self._stations]
        tasks.append(asyncio.create_task(self._weigh()))
        tasks.append(asyncio.create_task(self._view.run(self.status)))
        stopping = asyncio.create_task(self._await_stop(stop))
        watched = {writing, stopping, *tasks}
        try:
            # A station without symbols returns; any exception ends them all.
            while stopping in watched:
                done, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in (stopping, *tasks):
                task.cancel()
            await asyncio.gather(stopping, *tasks, return_exceptions=True)
            writer.stop()
            await asyncio.wait([writing])
            if not writer.moved:
                await self._finish(writer)
        if stopping.result() and self._is_first:
            self._check_received()

    async def _await_stop(self, stop: asyncio.Event) -> bool:
        """Wait for a request to stop; return True if the time was up first."""
        try:
            async with asyncio.timeout(self._options.for_s):
                await stop.wait()
        except TimeoutError:
            return True
        return False

    def _check_received(self) -> None:
        """Raise an error if no venue sent any event."""
        status = self.status()
        if status.trades or status.bbo or status.minutes or any(v.has_sent for v in status.venues):
            return
        names = " and ".join(venue.venue for venue in status.venues)
        files = " and ".join(f"config/venues/{venue.venue}.yaml" for venue in status.venues)
        raise VenueError(
            f"{names} sent nothing in {status.running_s:.0f} s, nothing was recorded: see the "
            f"lines above; check the network, and the symbols and URLs in {files}"
        )

    def leave(self) -> _Left:
        """Return the state for the next run, after the database was removed, moved or replaced.

        What waits goes into the file that was open, too: it may only have been moved.
        """
        self._writer.close()
        store, writer = self._store, self._writer
        for key, gap in self._outbox.batch.gaps.items():
            if gap.end_ms is None and gap.reason == NOT_RUNNING:  # as the connections ended
                self._outbox.batch.gaps[key] = replace(gap, reason=_MOVED)
        with suppress(DataError):
            store.commit(writer.unwritten(also_elsewhere=True), now_ms=self._options.local_ms())
        store.shrink_wal()
        return _Left(
            batch=Batch() if store.is_in_place() else writer.unwritten(),
            states={
                series: query_recorded_state(store.query, series, now_ms=self._options.local_ms())
                for series in self._desks
            },
        )

    async def _weigh(self) -> None:
        while True:
            self._outbox.weigh()
            await asyncio.sleep(_WEIGH_S)

    async def _finish(self, writer: Writer) -> None:
        for station in self._stations:
            for desk in station.desks.values():
                desk.stop(station.clock.now_ms())
        lost = await writer.finish()
        print(f"   {summary(self.status())}", flush=True)
        if lost:
            raise DataError(
                f"{lost:,} rows could not be written: the database is locked or its disk is full; "
                "the next run lists them as a gap and refills what the venues keep"
            )

    def status(self) -> Status:
        """Return the status of the whole run."""
        writer, since_s = self._writer, self._writer.waiting_since_s
        return Status(
            venues=tuple(station.status() for station in self._stations),
            trades=writer.trades,
            bbo=writer.bbo,
            minutes=writer.minutes,
            waiting=len(self._outbox),
            dropped=self._outbox.dropped,
            dropped_now=self._outbox.full,
            commits=writer.commits,
            stuck_s=0.0 if since_s is None else time.monotonic() - since_s,
            running_s=time.monotonic() - self._began_s,
        )
