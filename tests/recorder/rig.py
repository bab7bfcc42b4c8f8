"""A recorder in a thread beside local venues, on a clock that may run faster than ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbv8.config.records import Venue
from tbv8.market import MINUTE_MS, Span
from tbv8.recorder.pace import Pace
from tbv8.recorder.run import RecorderOptions, RunningRecorder, record
from tests.builders import naive_digest, rows
from tests.servers.live_market import Truth
from tests.servers.live_server import LiveServer

QUICK = Pace(
    open_s=2.0,
    ping_s=0.3,
    answer_s=0.7,
    dial_base_s=0.05,
    dial_cap_s=0.3,
    stable_s=5.0,
    rest_s=2.0,
    retry_base_s=0.05,
    retry_cap_s=0.5,
    tick_s=0.02,
    commit_s=0.05,
    busy_s=0.1,
    give_up_s=5.0,
    line_s=1.0,
    listings_s=1.0,
)


def venue(name: str, server: LiveServer | None, symbols: dict[str, str], **changes: Any) -> Venue:
    """Return a venue's config that points to a local server."""
    parts: dict[str, Any] = {
        "name": name,
        "enabled": True,
        "symbols": symbols,
        "channels": ("trades", "bbo"),
        "ws_url": server and server.ws_url,
        "rest_url": server and server.rest_url,
        "archive_url": None,
        "instruments": {},
    }
    return Venue(**(parts | changes))


class Running:
    """A recorder that runs in a thread."""

    def __init__(self, db_path: Path, venues: Sequence[Venue], **options: Any) -> None:
        self._started = threading.Event()
        self._handle: RunningRecorder | None = None
        self.error: BaseException | None = None
        if "local_ms" in options:  # a venue's clock that runs faster than ours
            options.setdefault("steady_ms", options["local_ms"])
        self._options = RecorderOptions(**({"pace": QUICK} | options), on_start=self._start)
        self._thread = threading.Thread(target=self._run, args=(db_path, venues), daemon=True)
        self._thread.start()
        self._started.wait(60)

    def _start(self, handle: RunningRecorder) -> None:
        self._handle = handle
        self._started.set()

    def _run(self, db_path: Path, venues: Sequence[Venue]) -> None:
        try:
            record(db_path, venues, self._options)
        except BaseException as e:  # noqa: BLE001  raised again in the test's thread
            self.error = e
        finally:
            self._started.set()

    @property
    def handle(self) -> RunningRecorder:
        """What it said when it began; its error instead, if it has one."""
        if self._handle is None:
            raise self.error or AssertionError("it did not start")
        return self._handle

    def stop(self) -> None:
        """Stop it, and raise what it raised."""
        if self._handle is not None and self._thread.is_alive():
            self._handle.stop()
        self._thread.join(60)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error


@contextmanager
def recording(db_path: Path, venues: Sequence[Venue], **options: Any) -> Iterator[Running]:
    """Run a recorder while the block lasts."""
    running = Running(db_path, venues, **options)
    try:
        yield running
    finally:
        running.stop()


def wait_until(condition: Callable[[], object], *, seconds: float = 60.0) -> None:
    """Return as soon as the condition holds; the patience is a busy machine's."""
    until_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until_s, "it did not come about"
        time.sleep(0.01)


def gaps_in(
    db_path: Path, venue: str, channel: str, *, symbol: str = "BTC/USDT", healed: int | None = None
) -> list[Span]:
    """Return the gaps of a stream that are written down; one that lasts ends never."""
    found = rows(
        db_path,
        "SELECT start_ms, end_ms, healed FROM recording_gaps"
        " WHERE venue = ? AND symbol = ? AND channel = ? ORDER BY start_ms",
        (venue, symbol, channel),
    )
    return [
        Span(start_ms, 2**62 if end_ms is None else end_ms)
        for start_ms, end_ms, done in found
        if healed in (None, done)
    ]


def check(db_path: Path, venue: str, truth: Truth, *, symbol: str = "BTC/USDT") -> None:
    """Compare all that was recorded of a symbol with the truth, row by row."""
    _check_trades(db_path, venue, truth, symbol)
    _check_quotes(db_path, venue, truth, symbol)
    _check_bars(db_path, venue, truth, symbol)


def _within(gaps: Sequence[Span], ts_ms: int) -> bool:
    return any(gap.start_ms <= ts_ms < gap.end_ms for gap in gaps)


def _check_trades(db_path: Path, venue: str, truth: Truth, symbol: str) -> None:
    found = rows(
        db_path,
        "SELECT ts_ms, trade_id, price, size, side FROM trades WHERE venue = ? AND symbol = ?",
        (venue, symbol),
    )
    true = {tuple(row[:5]) for row in truth.trades}
    assert found
    assert set(found) <= true
    # The first connection is known by the first trade that came live.
    began_ms = rows(
        db_path,
        "SELECT min(received_ms) FROM trades WHERE venue = ? AND symbol = ?",
        (venue, symbol),
    )[0][0]
    gaps = gaps_in(db_path, venue, "trades", symbol=symbol, healed=0)
    lost = sorted(t for t in true - set(found) if t[0] > began_ms and not _within(gaps, t[0]))
    assert not lost, (lost[:3], len(lost), gaps)


def _check_quotes(db_path: Path, venue: str, truth: Truth, symbol: str) -> None:
    columns = "ts_ms, bid_price, bid_size, ask_price, ask_size"
    found = rows(
        db_path,
        f"SELECT {columns}, received_ms FROM bbo WHERE venue = ? AND symbol = ?"
        " ORDER BY ts_ms, rowid",
        (venue, symbol),
    )
    stored = {row[:5] for row in found}
    assert found
    assert len(stored) == len(found)
    assert stored <= {tuple(quote[:5]) for quote in truth.quotes}
    began_ms = min(row[5] for row in found)
    gaps = gaps_in(db_path, venue, "bbo", symbol=symbol)
    before: tuple[float | None, ...] | None = None
    lost = []
    for ts_ms, *values in (quote[:5] for quote in truth.quotes):
        if (ts_ms, *values) in stored:
            before = tuple(values)
        elif ts_ms > began_ms and tuple(values) != before and not _within(gaps, ts_ms):
            lost.append(ts_ms)
    assert not lost, (lost[:3], len(lost), gaps)


def _check_bars(db_path: Path, venue: str, truth: Truth, symbol: str) -> None:
    key = (venue, symbol)
    found = rows(
        db_path,
        "SELECT ts_ms, open, high, low, close, volume FROM bars_1m"
        " WHERE venue = ? AND symbol = ? ORDER BY ts_ms",
        key,
    )
    ledger = rows(
        db_path,
        "SELECT start_ms, end_ms, bars, missing, digest FROM history_coverage"
        " WHERE venue = ? AND symbol = ? AND dataset = 'bars_1m' ORDER BY day_ms",
        key,
    )
    true = {bar.ts_ms: bar for bar in truth.bars}
    assert [row[0] for row in found] == [
        open_ms for start_ms, end_ms, *_ in ledger for open_ms in range(start_ms, end_ms, MINUTE_MS)
    ]
    for row in found:
        bar = true[row[0]]
        assert row[:5] == bar[:5], (row, bar)
        assert abs(row[5] - bar.volume) < 1e-9, (row, bar)
    for start_ms, end_ms, count, missing, digest in ledger:
        of_day = [row for row in found if start_ms <= row[0] < end_ms]
        assert (count, missing, digest) == (len(of_day), 0, naive_digest(of_day))
