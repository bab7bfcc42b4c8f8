"""Runs the recorder: all venues, the writer and the view, until a request to stop."""

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
from tbv8.recorder.enabled import enabled_venues
from tbv8.recorder.facts import VenueFacts
from tbv8.recorder.link import Clock, Link
from tbv8.recorder.metrics import serve_metrics
from tbv8.recorder.outbox import LIMIT, Outbox
from tbv8.recorder.pace import STANDARD, Pace
from tbv8.recorder.polls import Polls
from tbv8.recorder.refill import Refill
from tbv8.recorder.rest import RestClient, open_session
from tbv8.recorder.status import RecorderStatus, StreamStatus, VenueStatus
from tbv8.recorder.stream import Stream
from tbv8.recorder.tracker import SeriesTracker
from tbv8.recorder.view import RecorderView, summary
from tbv8.recorder.writer import BatchWriter, OnCommit
from tbv8.store.locks import recorder_lock
from tbv8.store.natives import NativeMarket, claim_native
from tbv8.store.ticks import (
    NOT_RUNNING,
    Batch,
    RecordedState,
    TickStore,
    open_ticks,
    query_recorded_state,
    read_recorded_state,
)
from tbv8.text import counted
from tbv8.venues.base import Channel, Listing, Live, Log
from tbv8.venues.registry import find_venue

_UPDATE_FLAGS_S = 0.05
_MOVED = "the database was removed, moved or replaced while the recorder ran"
_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class RunningRecorder(msgspec.Struct, frozen=True, kw_only=True):
    """The handle of a running recorder, for callers that run it in a thread.

    Args:
        stop: Requests the recorder to stop; callable from any thread.
        status: Returns the present status.
        metrics_port: The port of the metrics; None without metrics.
    """

    stop: Callable[[], None]
    status: Callable[[], RecorderStatus]
    metrics_port: int | None


class RecorderOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of `record`.

    Args:
        for_s: The duration in seconds; None for no limit.
        metrics_port: The port of the metrics; None for no metrics, 0 for any free port.
        pace: Timeouts and intervals.
        buffer_rows: The largest number of rows that wait for the database.
        local_ms: Our clock, in milliseconds UTC.
        steady_ms: A monotonic clock in milliseconds that also runs while the machine sleeps.
        on_commit: Called after each transaction.
        on_start: Called once the recorder runs, and again if it continues in another database.
        make_database: Creates the database after it was removed; None to end with an error instead.
    """

    for_s: float | None = None
    metrics_port: int | None = None
    pace: Pace = STANDARD
    buffer_rows: int = LIMIT
    local_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    steady_ms: Callable[[], int] = lambda: time.clock_gettime_ns(_STEADY_CLOCK) // 1_000_000
    on_commit: OnCommit | None = None
    on_start: Callable[[RunningRecorder], None] | None = None
    make_database: Callable[[], None] | None = None


class _Handover(msgspec.Struct, frozen=True, kw_only=True):
    """The state for the next run, after the database was removed, moved or replaced.

    Args:
        batch: The rows that are not in the file at the database's path.
        states: The state of each series at the end of the last run.
    """

    batch: Batch
    states: dict[Series, RecordedState]


def record(db_path: Path, venues: Sequence[Venue], options: RecorderOptions) -> None:
    """Record every enabled venue until SIGINT, SIGTERM (in the main thread) or the end of `for_s`.

    If the database is removed, moved or replaced, recording continues in the file that is then at
    its path. Waiting rows are written there, and the time in between is listed as a gap.

    Raises:
        ConfigError: No venue is enabled, or one cannot be recorded.
        DataError: Another recorder runs, or the database cannot be used.
        VenueError: `for_s` is over, and no venue sent any data.
    """
    protocols = _protocols(venues)
    end_s = None if options.for_s is None else time.monotonic() + options.for_s
    stop = _StopRequest()
    with stop.on_signals():
        handover = _record(db_path, protocols, options, stop, None)
        while handover is not None:
            if options.make_database is None:
                lost = counted(len(handover.batch), "row")
                raise DataError(f"{db_path}: {_MOVED}: {lost} could not be written")
            options.make_database()
            print(
                f"   {db_path}: {_MOVED}: recording continues in the present file, with "
                f"{len(handover.batch):,} waiting rows; recording_gaps lists the time in between",
                flush=True,
            )
            if end_s is not None:
                options = replace(options, for_s=max(0.0, end_s - time.monotonic()))
            handover = _record(db_path, protocols, options, stop, handover)


def _record(
    db_path: Path,
    protocols: Sequence[tuple[Venue, Live]],
    options: RecorderOptions,
    stop: _StopRequest,
    before: _Handover | None,
) -> _Handover | None:
    """Record until a stop; return the handover if the database was moved or replaced."""
    with recorder_lock(db_path), open_ticks(db_path) as store:
        for venue, live in protocols:
            _write_natives(store, venue, live)
        recorder = _Recorder(db_path, store, protocols, options, stop, before)
        try:
            asyncio.run(recorder.run())
        except MovedError:
            return recorder.hand_over()
    return None


def _protocols(venues: Sequence[Venue]) -> list[tuple[Venue, Live]]:
    """Return the enabled venues, each with its wire protocol."""
    protocols = []
    for venue in enabled_venues(venues):
        open_live = find_venue(venue.name).live
        assert open_live is not None
        protocols.append((venue, open_live()))
    return protocols


def _write_natives(store: TickStore, venue: Venue, live: Live) -> None:
    """Store the market of each symbol; refuse a market other than that of the stored rows."""
    for symbol, setting in venue.symbols.items():
        series = Series(venue.name, symbol)
        market = NativeMarket(
            native=setting or live.native_symbol(symbol),
            setting=setting or "",
            multiplier=venue.multiplier(symbol),
        )
        claim_native(store, series, market)


def streams_of(venue: Venue) -> tuple[Channel, ...]:
    """Return the configured channels of a venue that come by its socket."""
    return tuple(channel for channel in venue.channels if channel in ("trades", "bbo"))


class _StopRequest:
    """The request to stop: by SIGINT, SIGTERM or any thread, and for good."""

    def __init__(self) -> None:
        self.requested = False
        self._wake: Callable[[], object] = lambda: None

    def request(self, *_signal: object) -> None:
        """Stop the present run, and start no other."""
        self.requested = True
        with suppress(RuntimeError):  # the loop is closed: it has stopped already
            self._wake()

    def event(self) -> asyncio.Event:
        """Return an event for the running loop; the request sets it."""
        event, loop = asyncio.Event(), asyncio.get_running_loop()
        self._wake = partial(loop.call_soon_threadsafe, event.set)
        if self.requested:
            event.set()
        return event

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Treat signals as the request during the block; only in the main thread."""
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        before = {number: signal.signal(number, self.request) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _VenueRecorder:
    """The recording of one venue: its trackers, its socket and its REST requests."""

    def __init__(
        self,
        venue: Venue,
        live: Live,
        trackers: Mapping[str, SeriesTracker],
        *,
        db_path: Path,
        outbox: Outbox,
        session: aiohttp.ClientSession,
        options: RecorderOptions,
        log: Log,
    ) -> None:
        self.name = venue.name
        self._venue, self._live = venue, live
        self._streams = streams_of(venue)
        self._log: Log = lambda text: log(f"{venue.name}: {text}")
        self.trackers = trackers
        self.clock = Clock(options.local_ms, options.steady_ms)
        self._pace = options.pace
        self._problems: dict[str, str] = {}
        self._refreshed_s = float("-inf")
        self.link = Link(
            live,
            venue.ws_url or live.ws_url,
            trackers,
            outbox=outbox,
            clock=self.clock,
            pace=options.pace,
            log=self._log,
            refresh_listings=self._refresh_listings,
        )
        rest = RestClient(
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
        self.polls.resume(db_path, venue.symbols)
        self.facts = VenueFacts(live, rest, clock=self.clock, pace=options.pace, log=self._log)
        self.refill = Refill(
            live,
            rest,
            trackers,
            clock=self.clock,
            pace=options.pace,
            log=self._log,
            on_stall=self.link.resubscribe,
        )
        self.polls.listings = lambda: self.refill.listings

    async def run(self) -> None:
        """Record until cancelled."""
        await self.facts.set_clock()
        self._set_listings(await self.facts.await_listings())
        async with asyncio.TaskGroup() as group:
            if self._streams:
                group.create_task(self.link.run())
                group.create_task(self.refill.run())
            group.create_task(self.polls.run())
            group.create_task(self.facts.reset_clock())
            group.create_task(self._recheck_listings())

    async def _refresh_listings(self, afresh: bool) -> Mapping[str, Listing]:
        """Return the recorded listings, fetched again if `afresh` or old; keep them on failure."""
        if afresh or time.monotonic() - self._refreshed_s > self._pace.listings_s:
            try:
                self._set_listings(await self.facts.fetch_listings())
            except VenueError as e:
                self._log(f"cannot refresh the venue's list of symbols: {e}")
        return self.refill.listings

    async def _recheck_listings(self) -> None:
        """While a configured symbol cannot be recorded, check the listings at intervals."""
        while True:
            await asyncio.sleep(self._pace.listings_s)
            if self._problems:
                listings = await self._refresh_listings(True)
                if listings.keys() != self.link.listings.keys():
                    self.link.redial("the venue lists other symbols now")

    def _set_listings(self, listed: Mapping[str, Listing]) -> None:
        self.refill.listings, self._refreshed_s = self._configured(listed), time.monotonic()

    def _configured(self, listed: Mapping[str, Listing]) -> dict[str, Listing]:
        """Return the recordable listings of the configured symbols; log each new problem."""
        before, listings = self.refill.listings, {}
        problems = {}
        for symbol, native in self._venue.symbols.items():
            spelling = native or self._live.native_symbol(symbol)
            listing = listed.get(spelling)
            problem = f"the venue does not list {spelling}" if listing is None else listing.problem
            if listing is None or problem:
                problems[symbol] = str(problem)
                if self._problems.get(symbol) != problem:
                    path = f"config/venues/{self.name}.yaml"
                    self._log(f"WARNING: {symbol} is not recorded: {problem}: see {path}")
            else:
                listing = replace(listing, multiplier=self._venue.multiplier(symbol))
                listings[symbol] = listing
                if symbol in before and before[symbol] != listing:
                    self._log(f"WARNING: {symbol} has changed: it is now {listing}")
        if not listings and problems != self._problems:
            self._log("WARNING: none of its symbols can be recorded")
        self._problems = problems
        return listings

    def status(self) -> VenueStatus:
        """Return the venue's part of the status."""
        now_ms = self.clock.now_ms()
        return VenueStatus(
            venue=self.name,
            state=self.link.state,
            frames=self.link.frames,
            reconnects=max(0, self.link.dials - 1),
            unreadable=self.link.unreadable,
            failed=self.facts.failed + self.refill.failed + self.polls.failed,
            marks=self.polls.marks,
            payments=self.polls.payments,
            offset_ms=self.clock.offset_ms,
            streams=tuple(
                _stream_status(tracker, channel, stream, now_ms, problem=self._problems.get(symbol))
                for symbol, tracker in self.trackers.items()
                for channel, stream in tracker.streams.items()
            ),
        )


def _stream_status(
    tracker: SeriesTracker, channel: str, stream: Stream, now_ms: int, *, problem: str | None
) -> StreamStatus:
    silent_ms = now_ms - max(stream.watermark_ms, stream.unchanged_ms)
    state = "up"
    if problem is not None:
        state = "unlisted"
    elif not stream.up:
        state = "down"
    elif silent_ms > 3 * stream.silence_limit_ms:
        state = "stale"
    elif now_ms - stream.last_event_ms > stream.silence_limit_ms:
        state = "quiet"
    return StreamStatus(
        series=tracker.series,
        channel=channel,
        state=state,
        silent_s=silent_ms / 1000 if stream.watermark_ms else 0.0,
        lag_ms=stream.lag_ms,
        price=tracker.price,
        events=stream.events,
        duplicates=stream.duplicates,
        gaps=stream.gaps.count,
        minutes=tracker.minutes.count,
        minutes_waiting=tracker.minutes.pending_ms(now_ms) // MINUTE_MS,
    )


class _Recorder:
    """One run of all venues, the writer and the view, with one database file."""

    def __init__(
        self,
        db_path: Path,
        store: TickStore,
        protocols: Sequence[tuple[Venue, Live]],
        options: RecorderOptions,
        stop: _StopRequest,
        before: _Handover | None,
    ) -> None:
        self._db_path = db_path
        self._protocols, self._options, self._is_first = protocols, options, before is None
        self._outbox = Outbox(options.buffer_rows)
        self._stop = stop
        self._view = RecorderView(options.pace)
        self._trackers: dict[Series, SeriesTracker] = {}
        for venue, live in protocols:
            for symbol in venue.symbols:
                series = Series(venue.name, symbol)
                self._trackers[series] = SeriesTracker(
                    series,
                    streams_of(venue),
                    self._outbox,
                    self._read_state(db_path, series, before),
                    kept_minutes=live.kept_minutes,
                )
        if before is not None:
            ended = {key: gap for key, gap in before.batch.gaps.items() if gap.end_ms is not None}
            batch = self._outbox.batch
            batch.trades, batch.bbo = before.batch.trades, before.batch.bbo
            batch.gaps = ended | batch.gaps
        self._store = store
        self._venue_recorders: list[_VenueRecorder] = []
        self._began_s = time.monotonic()

    def _read_state(self, db_path: Path, series: Series, before: _Handover | None) -> RecordedState:
        """Return the state of a series in the database, completed by the handover."""
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
            DataError: The database cannot be used, or the remaining rows could not be written.
            VenueError: The time is up, and no venue sent any data.
        """
        options, log = self._options, self._view.log
        writer = self._writer = BatchWriter(
            self._store,
            self._outbox,
            self._trackers,
            local_ms=options.local_ms,
            pace=options.pace,
            log=log,
            on_commit=options.on_commit,
        )
        stop = self._stop.event()
        async with AsyncExitStack() as stack:
            session = await stack.enter_async_context(open_session())
            for venue, live in self._protocols:
                trackers = {s: self._trackers[Series(venue.name, s)] for s in venue.symbols}
                venue_recorder = _VenueRecorder(
                    venue,
                    live,
                    trackers,
                    db_path=self._db_path,
                    outbox=self._outbox,
                    session=session,
                    options=options,
                    log=log,
                )
                self._venue_recorders.append(venue_recorder)
            port = None
            if options.metrics_port is not None:
                served = serve_metrics(options.metrics_port, self.status)
                port = await stack.enter_async_context(served)
                log(f"metrics: http://127.0.0.1:{port}/metrics and /healthz")
            if options.on_start is not None:
                options.on_start(
                    RunningRecorder(
                        stop=self._stop.request,
                        status=self.status,
                        metrics_port=port,
                    )
                )
            await self._run_until(stop, writer)

    async def _run_until(self, stop: asyncio.Event, writer: BatchWriter) -> None:
        writing = asyncio.create_task(writer.run())
        tasks = [
            asyncio.create_task(venue_recorder.run()) for venue_recorder in self._venue_recorders
        ]
        tasks.append(asyncio.create_task(self._update_flags()))
        tasks.append(asyncio.create_task(self._view.run(self.status)))
        stopping = asyncio.create_task(self._await_stop(stop))
        watched = {writing, stopping, *tasks}
        try:
            # A venue without channels returns early; any exception ends all tasks.
            while stopping in watched:
                finished, watched = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for task in finished:
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
        """Raise an error if no venue sent any data."""
        status = self.status()
        if status.trades or status.bbo or status.minutes or any(v.has_sent for v in status.venues):
            return
        names = " and ".join(venue.venue for venue in status.venues)
        files = " and ".join(f"config/venues/{venue.venue}.yaml" for venue in status.venues)
        raise VenueError(
            f"{names} sent no data in {status.running_s:.0f} s, nothing was recorded: see the "
            f"lines above; check the network, and the symbols and URLs in {files}"
        )

    def hand_over(self) -> _Handover:
        """Return the state for the next run, after the database was removed, moved or replaced.

        The waiting rows are written into the open file too: the user may have moved it elsewhere.
        """
        self._writer.close()
        store, writer = self._store, self._writer
        for key, gap in self._outbox.batch.gaps.items():
            if gap.end_ms is None and gap.reason == NOT_RUNNING:  # from the end of the connections
                self._outbox.batch.gaps[key] = replace(gap, reason=_MOVED)
        with suppress(DataError):
            store.commit(writer.unwritten(except_moved=True), now_ms=self._options.local_ms())
        store.shrink_wal()
        return _Handover(
            batch=Batch() if store.has_its_database() else writer.unwritten(),
            states={
                series: query_recorded_state(store.query, series, now_ms=self._options.local_ms())
                for series in self._trackers
            },
        )

    async def _update_flags(self) -> None:
        while True:
            self._outbox.update_flags()
            await asyncio.sleep(_UPDATE_FLAGS_S)

    async def _finish(self, writer: BatchWriter) -> None:
        for venue_recorder in self._venue_recorders:
            for tracker in venue_recorder.trackers.values():
                tracker.stop(venue_recorder.clock.now_ms())
        unwritten = await writer.finish()
        print(f"   {summary(self.status())}", flush=True)
        if unwritten:
            raise DataError(
                f"{counted(unwritten, 'row')} could not be written: the database is locked or its "
                "disk is full; the next run lists them as a gap and refills what the venues keep"
            )

    def status(self) -> RecorderStatus:
        """Return the status of the whole run."""
        writer, since_s = self._writer, self._writer.waiting_since_s
        return RecorderStatus(
            venues=tuple(venue_recorder.status() for venue_recorder in self._venue_recorders),
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
