"""The 1m bars of one series: whole minutes only, every gap recorded. Pure, no I/O, no clock.

Minutes leave in order, at the *frontier*. A minute that was not watched waits there for the venue's
own bar, and all later minutes wait, too, since the ledger has one span for each day. If the venue
no longer keeps the bar, the rest of that UTC day is skipped and listed as a gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from tbv8.market import DAY_MS, MINUTE_MS, Bar, Series, Span
from tbv8.recorder.gaps import Gaps
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.stream import GRACE_MS, MARGIN_MS, SETTLE_MS
from tbv8.store.ledger import RECORDED
from tbv8.store.ticks import Gap, RecordedMinute, RecordedState, Row

_SECOND_REQUEST_MS = 20_000


class _FormingBar:
    """A minute's bar in progress; trades with equal times count in the order of arrival."""

    __slots__ = ("close", "close_ms", "high", "low", "open", "open_ms", "volume")

    def __init__(self, ts_ms: int, price: float, size: float) -> None:
        self.open = self.high = self.low = self.close = price
        self.open_ms = self.close_ms = ts_ms
        self.volume = size

    def add(self, ts_ms: int, price: float, size: float) -> None:
        if price > self.high:
            self.high = price
        elif price < self.low:
            self.low = price
        if ts_ms >= self.close_ms:
            self.close, self.close_ms = price, ts_ms
        elif ts_ms < self.open_ms:
            self.open, self.open_ms = price, ts_ms
        self.volume += size

    def bar(self, open_ms: int) -> Bar:
        volume = round(self.volume, 10)  # independent of the order in which sizes were added
        return Bar(open_ms, self.open, self.high, self.low, self.close, volume)


class Minutes:
    """The 1m bars of a series, from its trades to the outbox, in order.

    Args:
        series: The series.
        outbox: The rows' destination.
        before: The database's state of the series when the recorder started.
        kept_minutes: The number of the newest 1m bars that the venue keeps; None for all.
    """

    def __init__(
        self,
        series: Series,
        outbox: Outbox,
        before: RecordedState,
        *,
        kept_minutes: int | None = None,
    ) -> None:
        self.gaps = Gaps(series, RECORDED, outbox)
        self.frontier_ms = before.minute_ms
        self.count = 0
        self._series, self._outbox = series, outbox
        # A little less, since the oldest minute at the venue moves on during the request.
        self._kept_ms = None if kept_minutes is None else kept_minutes * MINUTE_MS * 99 // 100
        self._earlier_gaps = [gap for gap in before.open_gaps if gap.channel == RECORDED]
        self._close = before.close
        self._written_day: int | None = None
        if before.minute_ms is not None and before.close is not None:
            self._written_day = _day(before.minute_ms - MINUTE_MS)
        self._forming: dict[int, _FormingBar] = {}
        self._refilled: dict[int, Bar | None] = {}
        self._first_requests_ms: dict[int, int] = {}
        self._lost_before_ms = 0
        self._next_request_ms = 0

    # From the streams.

    def resume(self, reason: str) -> None:
        """Open the gap since the last run, from its row in the database or from the frontier."""
        if self.frontier_ms is None:
            return
        adopted = [gap for gap in self._earlier_gaps if gap.start_ms == self.frontier_ms]
        if adopted:
            self.gaps.adopt(replace(adopted[0], end_ms=None))
        else:
            self.gaps.open(self.frontier_ms, reason)

    def restore(self, end_ms: int) -> None:
        """End the gap with the last minute that begins before `end_ms`; the first time, begin."""
        whole_ms = -(-end_ms // MINUTE_MS) * MINUTE_MS
        if self.frontier_ms is None:
            self.frontier_ms = whole_ms
        self.gaps.close(whole_ms)

    def interrupt(self, start_ms: int, reason: str) -> None:
        """Begin a gap with the minute of `start_ms`, or with the frontier if that is later."""
        if self.frontier_ms is not None:
            minute_ms = start_ms // MINUTE_MS * MINUTE_MS
            self.gaps.open(max(minute_ms, self.frontier_ms), reason)

    def add(self, open_ms: int, row: Row) -> None:
        """Add a new trade to the minute of `open_ms`, which is not emitted yet."""
        forming = self._forming.get(open_ms)
        if forming is None:
            self._forming[open_ms] = _FormingBar(row[2], row[4], row[5])
        else:
            forming.add(row[2], row[4], row[5])

    def add_trade_without_bar(self, row: Row) -> None:
        """Add a new late trade whose minute was not written at the time of its commit."""
        open_ms = row[2] // MINUTE_MS * MINUTE_MS
        if self.frontier_ms is None or row[2] > self.frontier_ms + DAY_MS:
            return
        if open_ms >= self.frontier_ms:
            self.add(open_ms, row)
        else:
            self._outbox.batch.folds.append(row)

    # To the outbox.

    def tick(self, now_ms: int, *, watermark_ms: int | None) -> None:
        """Emit every complete minute.

        Args:
            now_ms: The venue's clock.
            watermark_ms: The proof of the trades; None while they are not up.
        """
        while (
            open_ms := self.frontier_ms
        ) is not None and open_ms + MINUTE_MS + GRACE_MS <= now_ms:
            gap = self._gap_at(open_ms)
            if gap is not None:
                if open_ms in self._refilled:
                    self._emit(open_ms, self._refilled.pop(open_ms), refilled=True)
                elif open_ms < self._lost_before_ms:
                    self._skip(gap, open_ms)
                else:
                    break
            elif watermark_ms is not None and watermark_ms >= open_ms + MINUTE_MS + MARGIN_MS:
                forming = self._forming.get(open_ms)
                bar = forming.bar(open_ms) if forming else None
                self._emit(open_ms, bar, refilled=False)
            else:
                break

    def _emit(self, open_ms: int, bar: Bar | None, *, refilled: bool) -> None:
        """Emit a minute; without a bar it is flat, and skipped if there is no price yet.

        One whose bar is not possible is emitted as it is, for the store to count as missing.
        """
        if self._close is None and bar is not None and not bar.is_possible:
            bar = None
        elif bar is None and self._close is not None:
            bar = Bar(open_ms, self._close, self._close, self._close, self._close, 0.0)
        if bar is not None:
            minute = RecordedMinute(series=self._series, bar=bar, refilled=refilled)
            self._outbox.batch.minutes.append(minute)
            if bar.is_possible:
                self._close = bar.close
            self._written_day = _day(open_ms)
            self.count += 1
        self._advance(open_ms + MINUTE_MS)

    def _advance(self, frontier_ms: int) -> None:
        before_ms, self.frontier_ms = self.frontier_ms or 0, frontier_ms
        for open_ms in range(before_ms, frontier_ms, MINUTE_MS):
            self._forming.pop(open_ms, None)
            self._first_requests_ms.pop(open_ms, None)
        while self.gaps.items:
            gap = self.gaps.items[0]
            if gap.end_ms is None or gap.end_ms > frontier_ms:
                break
            del self.gaps.items[0]
            self.gaps.add(replace(gap, healed=True))
            self._heal_earlier_gaps(gap)

    def _heal_earlier_gaps(self, gap: Gap) -> None:
        """End the rows of earlier runs within a gap that is now healed."""
        for row in self._earlier_gaps:
            if row.start_ms != gap.start_ms:
                end_ms = max(gap.end_ms or 0, row.start_ms) if row.end_ms is None else row.end_ms
                self.gaps.add(replace(row, end_ms=end_ms, healed=True))
        self._earlier_gaps = []

    def _skip(self, gap: Gap, open_ms: int) -> None:
        """Skip minutes that no source has, and minutes that cannot join the day's span."""
        end_ms = min(gap.end_ms or self._lost_before_ms, self._lost_before_ms)
        if self._written_day is not None and end_ms < self._written_day + DAY_MS:
            end_ms = self._written_day + DAY_MS
        index = self.gaps.items.index(gap)
        lost_gap = replace(gap, start_ms=open_ms, end_ms=end_ms)
        if open_ms > gap.start_ms:
            self.gaps.add(replace(gap, end_ms=open_ms, healed=True))
        self.gaps.add(lost_gap)
        if gap.end_ms is None or gap.end_ms > end_ms:
            remainder = replace(gap, start_ms=end_ms)
            self.gaps.items[index] = remainder
            self.gaps.add(remainder)
        else:
            del self.gaps.items[index]
        for row in self._earlier_gaps:  # lost minutes stay lost, even if later ones are healed
            if row.start_ms < end_ms and row.start_ms not in (gap.start_ms, open_ms):
                self.gaps.add(replace(row, end_ms=min(row.end_ms or end_ms, end_ms)))
        self._earlier_gaps = [row for row in self._earlier_gaps if row.start_ms >= end_ms]
        for minute_ms in [m for m in self._refilled if m < end_ms]:
            del self._refilled[minute_ms]
        self._close = None
        self._advance_past(end_ms)

    def _advance_past(self, end_ms: int) -> None:
        """Move the frontier past skipped minutes, without healing a gap."""
        tables: tuple[dict[int, Any], ...] = (self._forming, self._first_requests_ms)
        for table in tables:
            for open_ms in [ms for ms in table if ms < end_ms]:
                del table[open_ms]
        self.frontier_ms = end_ms
        items = self.gaps.items
        while items and items[0].end_ms is not None and items[0].end_ms <= end_ms:
            del items[0]

    def _gap_at(self, open_ms: int) -> Gap | None:
        for gap in self.gaps.items:
            if gap.start_ms < open_ms + MINUTE_MS and (gap.end_ms is None or gap.end_ms > open_ms):
                return gap
        return None

    # By REST.

    def needs_watermark(self, now_ms: int, watermark_ms: int) -> bool:
        """Return True if the next minute was watched and waits only for the trades' proof."""
        if self.frontier_ms is None:
            return False
        end_ms = self.frontier_ms + MINUTE_MS
        return (
            end_ms + MARGIN_MS + SETTLE_MS <= now_ms
            and watermark_ms < end_ms + MARGIN_MS
            and self._gap_at(self.frontier_ms) is None
        )

    def span_to_refill(self, now_ms: int) -> Span | None:
        """Return the span from the first complete but unknown minute to now, for REST."""
        if self.frontier_ms is None or now_ms < self._next_request_ms:
            return None
        for gap in self.gaps.items:
            open_ms = max(gap.start_ms, self.frontier_ms)
            end_ms = now_ms if gap.end_ms is None else gap.end_ms
            while open_ms < end_ms and open_ms in self._refilled:
                open_ms += MINUTE_MS
            if open_ms < end_ms and open_ms + MINUTE_MS + SETTLE_MS <= now_ms:
                return Span(open_ms, now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        return None

    def pending_ms(self, now_ms: int) -> int:
        """Return the age of the oldest minute that waits for the venue's own bar."""
        if not self.gaps.items or self.frontier_ms is None:
            return 0
        return max(0, now_ms - max(self.frontier_ms, self.gaps.items[0].start_ms))

    def refill(self, span: Span, bars: Iterable[Bar], *, sent_ms: int) -> None:
        """Use the venue's own bars of `span` for minutes that were not watched.

        A minute without a bar is empty if the reply has a later bar, or if two replies lack it. A
        minute older than the venue's history is lost. An impossible bar is used as it is if a
        second reply has no better one.
        """
        by_open = {bar.ts_ms: bar for bar in bars}
        newest_ms = max(by_open, default=-1)
        kept_from_ms = 0 if self._kept_ms is None else sent_ms - self._kept_ms
        progress = False
        for open_ms in range(span.start_ms, span.end_ms, MINUTE_MS):
            if open_ms + MINUTE_MS + SETTLE_MS > sent_ms:
                break
            if open_ms in self._refilled or self._gap_at(open_ms) is None:
                continue
            first_request_ms = self._first_requests_ms.setdefault(open_ms, sent_ms)
            bar = by_open.get(open_ms)
            is_second = sent_ms - first_request_ms >= _SECOND_REQUEST_MS
            if bar is not None and (bar.is_possible or is_second):
                self._refilled[open_ms] = bar
            elif bar is None and open_ms < kept_from_ms:
                self._lost_before_ms = max(self._lost_before_ms, open_ms + MINUTE_MS)
            elif bar is None and (open_ms < newest_ms or is_second):
                self._refilled[open_ms] = None
            else:
                continue
            progress = True
        self._next_request_ms = sent_ms + (GRACE_MS if progress else _SECOND_REQUEST_MS)


def _day(ts_ms: int) -> int:
    return ts_ms // DAY_MS * DAY_MS
