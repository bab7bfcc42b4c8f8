"""The 1m bars of one series: complete minutes only, every gap listed. Pure, no I/O, no clock.

Minutes are emitted in order; the *frontier* is the open of the next one. A minute whose trades may
be incomplete waits there for the venue's own bar. All later minutes wait too, since the ledger has
one span per day. If the venue no longer keeps the bar, the rest of that UTC day is skipped and
listed as a gap.
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
from tbv8.store.ticks import NOT_RUNNING, Gap, RecordedMinute, RecordedState, TradeRow

_SECOND_REQUEST_MS = 20_000


class _FormingBar:
    """A minute's bar in progress; trades of equal times count in the order of arrival."""

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
        volume = round(self.volume, 10)  # independent of the order of the additions
        return Bar(open_ms, self.open, self.high, self.low, self.close, volume)


class Minutes:
    """Builds the 1m bars of a series from its trades, and emits them in order to the outbox.

    Args:
        series: The series.
        outbox: The destination of the bars and gaps.
        before: The state of the series in the database at the recorder's start.
        kept_minutes: The number of newest 1m bars that the venue keeps; None for all.

    Attributes:
        gaps: The spans of minutes that need the venue's own bars.
        frontier_ms: The open of the next minute to emit; None before the first is known.
        count: The number of emitted bars.
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
        # A little less: the venue's oldest minutes drop out during a request.
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

    def resume(self, reason: str) -> None:
        """Begin the gap since the last run, by its row in the database or at the frontier."""
        if self.frontier_ms is None:
            return
        adopted = [gap for gap in self._earlier_gaps if gap.start_ms == self.frontier_ms]
        if adopted:
            self.gaps.adopt(replace(adopted[0], end_ms=None))
        else:
            self.gaps.open(self.frontier_ms, reason)

    def restore(self, end_ms: int) -> None:
        """End the gap: minutes from the first full one after `end_ms` are built from trades.

        At the first call ever, the gap begins with the minute under way at `end_ms`, whose first
        trades are not known.
        """
        whole_ms = -(-end_ms // MINUTE_MS) * MINUTE_MS
        if self.frontier_ms is None:
            self.frontier_ms = end_ms // MINUTE_MS * MINUTE_MS
            self.gaps.open(self.frontier_ms, NOT_RUNNING)
        self.gaps.close(whole_ms)

    def interrupt(self, start_ms: int, reason: str) -> None:
        """Begin a gap at the minute of `start_ms`, or at the frontier if that is later."""
        if self.frontier_ms is not None:
            minute_ms = start_ms // MINUTE_MS * MINUTE_MS
            self.gaps.open(max(minute_ms, self.frontier_ms), reason)

    def add(self, open_ms: int, trade: TradeRow) -> None:
        """Add a new trade to the bar of the minute `open_ms`, which must not be emitted yet."""
        forming = self._forming.get(open_ms)
        if forming is None:
            self._forming[open_ms] = _FormingBar(trade.ts_ms, trade.price, trade.size)
        else:
            forming.add(trade.ts_ms, trade.price, trade.size)

    def add_trade_without_bar(self, trade: TradeRow) -> None:
        """Add a new late trade whose minute had no bar in the database at its commit."""
        open_ms = trade.ts_ms // MINUTE_MS * MINUTE_MS
        if self.frontier_ms is None or trade.ts_ms > self.frontier_ms + DAY_MS:
            return
        if open_ms >= self.frontier_ms:
            self.add(open_ms, trade)
        else:
            self._outbox.batch.folds.append(trade)

    def tick(self, now_ms: int, *, watermark_ms: int | None) -> None:
        """Emit every complete minute.

        Args:
            now_ms: The venue's clock.
            watermark_ms: The watermark of the trades; None while their stream is down.
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
        """Emit a minute; without a trade its bar is flat at the last close, if there is one.

        An impossible bar is emitted too: the store counts its minute as missing.
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
        """End and heal the rows of earlier runs within a gap that is now healed."""
        for row in self._earlier_gaps:
            if row.start_ms != gap.start_ms:
                end_ms = max(gap.end_ms or 0, row.start_ms) if row.end_ms is None else row.end_ms
                self.gaps.add(replace(row, end_ms=end_ms, healed=True))
        self._earlier_gaps = []

    def _skip(self, gap: Gap, open_ms: int) -> None:
        """Skip lost minutes, and later ones of a day whose ledger span they would split."""
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
        for row in self._earlier_gaps:  # lost minutes stay listed, even if later ones are healed
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

    def needs_watermark(self, now_ms: int, watermark_ms: int) -> bool:
        """Return True if the next minute is in no gap and waits only for the trades' watermark."""
        if self.frontier_ms is None:
            return False
        end_ms = self.frontier_ms + MINUTE_MS
        return (
            end_ms + MARGIN_MS + SETTLE_MS <= now_ms
            and watermark_ms < end_ms + MARGIN_MS
            and self._gap_at(self.frontier_ms) is None
        )

    def span_to_refill(self, now_ms: int) -> Span | None:
        """Return the span of bars to request: from the first missing minute to now; None if none.

        A minute that is over for less than `SETTLE_MS` does not count as missing.
        """
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
        """Return the age of the oldest minute that waits for the venue's own bar; 0 for none."""
        if not self.gaps.items or self.frontier_ms is None:
            return 0
        return max(0, now_ms - max(self.frontier_ms, self.gaps.items[0].start_ms))

    def refill(self, span: Span, bars: Iterable[Bar], *, sent_ms: int) -> None:
        """Use the venue's own bars of `span` for the minutes in gaps.

        A minute without a bar is empty if the reply has a later bar, or if a second reply lacks it
        too. A minute older than the venue's history is lost. An impossible bar is used if a second
        reply has no better one.

        Args:
            span: The requested span.
            bars: The bars of the reply.
            sent_ms: The time of the request, on the venue's clock.
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
