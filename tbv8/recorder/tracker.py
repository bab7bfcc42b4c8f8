"""One series: every trade once, complete minutes only, every gap listed. Pure, no I/O, no clock.

A *stream* is a series' trades or quotes. It is up from the venue's confirmation on. Its *watermark*
is the time up to which all events have arrived; an event of the stream moves it, or a REST reply
without news. A minute is built from trades only if their stream was up throughout and the watermark
is after its end. So a stream that stalls silently, or that we read too slowly, never produces flat
minutes. See `tbv8.recorder.minutes`.

All times are on the venue's clock. MARGIN_MS allows for the error of our estimate of it, and for
the delay of events on the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from tbv8.errors import VenueError
from tbv8.market import MINUTE_MS, Bbo, Series, Span, Trade, iso
from tbv8.recorder.dedupe import TradeKeys
from tbv8.recorder.gaps import Gaps
from tbv8.recorder.minutes import Minutes
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.quotes import QuoteChanges
from tbv8.recorder.stream import GRACE_MS, MARGIN_MS, SETTLE_MS, Stream
from tbv8.store.ticks import NOT_RUNNING, RecordedState, trade_row
from tbv8.venues.base import Channel

AHEAD_MS = 5 * MINUTE_MS
"""An event dated further ahead of the venue's clock than this is rejected."""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A REST request that a tracker needs: recent trades, the best quote, or the bars of `span`."""

    kind: Literal["recent", "bbo", "minutes"]
    span: Span | None = None


class SeriesTracker:
    """Turns the events of one series into rows in the outbox.

    Args:
        series: The series.
        channels: The recorded channels; without trades there are no minutes.
        outbox: The destination of the rows.
        before: The state of the series in the database at the recorder's start.
        kept_minutes: The number of newest 1m bars that the venue keeps; None for all.

    Attributes:
        price: The last price; None before the first.
        streams: The state of each channel.
        minutes: The builder of 1m bars.
    """

    def __init__(
        self,
        series: Series,
        channels: Iterable[Channel],
        outbox: Outbox,
        before: RecordedState,
        *,
        kept_minutes: int | None = None,
    ) -> None:
        self.series = series
        self.price: float | None = None
        self._outbox = outbox
        self.streams: dict[Channel, Stream] = {
            channel: Stream(Gaps(series, channel, outbox)) for channel in channels
        }
        self.minutes = Minutes(series, outbox, before, kept_minutes=kept_minutes)
        self._trades = self.streams.get("trades")
        self._quotes = self.streams.get("bbo")
        self._changes = QuoteChanges(before.bbo, outbox)
        self._keys = TradeKeys()
        self._resume(before)

    def _resume(self, before: RecordedState) -> None:
        """Begin the gap since the last run, at its recorded start or after the last row."""
        bbo_ms = before.bbo.ts_ms if before.bbo else None
        last: dict[Channel, int | None] = {"trades": before.trade_ms, "bbo": bbo_ms}
        for stray in before.strays:
            self.minutes.gaps.add(replace(stray, end_ms=stray.start_ms))
        for channel, stream in self.streams.items():
            open_gaps = [gap for gap in before.open_gaps if gap.channel == channel]
            data_ms = [ms for ms in (last[channel],) if ms is not None]
            if stream is self._trades and before.minute_ms is not None and before.close is not None:
                data_ms.append(before.minute_ms)  # written minutes have all of their trades
            stream.newest_ms = last[channel] or 0
            if open_gaps:
                stream.gaps.adopt(open_gaps[-1])
            elif data_ms:
                stream.gaps.open(max(data_ms) - MARGIN_MS, before.ended)
        if self._trades is not None:
            self.minutes.resume(before.ended)

    def record_trade(self, trade: Trade, *, received_ms: int, now_ms: int) -> None:
        """Record a trade from the socket.

        Args:
            trade: The trade.
            received_ms: The time of its arrival, by our clock.
            now_ms: The same time, on the venue's clock.

        Raises:
            VenueError: It is dated implausibly far ahead.
        """
        stream = self._trades
        if stream is None:
            return
        _check_time(self.series, "trade", trade.ts_ms, now_ms)
        if self._outbox.full:
            self._drop(stream, min(trade.ts_ms, now_ms))
            return
        if not stream.up:
            self._bring_up("trades", stream, trade.ts_ms, now_ms)
        if stream.up:
            stream.note_event(now_ms, trade.ts_ms)
        if trade.ts_ms > stream.up_ms:  # the lag of a replayed trade means nothing
            stream.lag_ms = now_ms - trade.ts_ms
        self._add_trade(stream, trade, received_ms, now_ms)

    def _add_trade(self, stream: Stream, trade: Trade, received_ms: int, now_ms: int) -> None:
        ts_ms = trade.ts_ms
        if ts_ms >= stream.newest_ms:
            stream.newest_ms = min(ts_ms, now_ms)
            self.price = trade.price
        row = trade_row(trade, received_ms)
        open_ms = ts_ms - ts_ms % MINUTE_MS
        frontier = self.minutes.frontier_ms
        if frontier is None or open_ms < frontier or open_ms < self._keys.from_ms:
            self._outbox.batch.late.append(row)
            return
        if not self._keys.add(trade, open_ms):
            stream.duplicates += 1
            return
        self._outbox.batch.trades.append(row)
        self.minutes.add(open_ms, row)

    def record_bbo(self, bbo: Bbo, *, received_ms: int, now_ms: int) -> None:
        """Record a quote from the socket, if its prices or sizes changed; see `record_trade`.

        Raises:
            VenueError: It is dated implausibly far ahead.
        """
        stream = self._quotes
        if stream is None:
            return
        _check_time(self.series, "quote", bbo.ts_ms, now_ms)
        if self._outbox.full:
            self._drop(stream, min(bbo.ts_ms, now_ms))
            return
        if not stream.up:
            self._bring_up("bbo", stream, bbo.ts_ms, now_ms)
        if stream.up:
            stream.note_event(now_ms, bbo.ts_ms)
        stream.lag_ms = now_ms - bbo.ts_ms
        if not self._changes.add(bbo, received_ms):
            stream.duplicates += 1
            return
        if self._trades is None and bbo.bid_price is not None:
            self.price = bbo.bid_price

    def _drop(self, stream: Stream, ts_ms: int) -> None:
        self._outbox.dropped += 1
        if stream.up:
            start_ms = min(ts_ms, stream.watermark_ms) - MARGIN_MS
            self._interrupt(stream, start_ms, "buffer full: the database could not be written")

    def mark_up(self, channel: Channel, at_ms: int) -> None:
        """Note the venue's confirmation of a stream. Repeatable."""
        stream = self.streams.get(channel)
        if stream is not None and stream.confirm(at_ms) and stream is self._trades:
            stream.needs_check = True
            self.minutes.restore(at_ms + MARGIN_MS)

    def _bring_up(self, channel: Channel, stream: Stream, ts_ms: int, now_ms: int) -> None:
        """Bring a stream up by an event; after a stall, only by an event that is no replay."""
        if stream.stalled and (stream.acked_ms is None or ts_ms <= stream.acked_ms):
            return
        stream.stalled, stream.acked_ms = False, None
        self.mark_up(channel, now_ms)

    def disconnect(self, reason: str, last_ms: int) -> None:
        """Note the end of the connection; `last_ms` is the time of its last frame."""
        self._end_streams(self.streams, reason, last_ms)

    def _end_streams(self, channels: Iterable[Channel], reason: str, last_ms: int) -> None:
        for channel in channels:
            stream = self.streams[channel]
            if stream.up:
                self._interrupt(stream, stream.complete_until_ms(last_ms) - MARGIN_MS, reason)

    def mark_stalled(self, channel: Channel) -> None:
        """Note that a stream stopped silently: the venue has events that did not arrive."""
        stream = self.streams[channel]
        if stream.up:
            self._interrupt(stream, stream.watermark_ms - MARGIN_MS, "stream stalled")
            stream.stalled, stream.acked_ms = True, None

    def mark_unreadable(self, now_ms: int, last_ms: int, *, only: Channel | None = None) -> None:
        """Note an unreadable frame, or an unreadable event of the channel `only`.

        An unreadable frame may have had events of any channel. `last_ms` is the time of the last
        readable frame. The streams stay up after the gap.
        """
        live = [name for name, stream in self.streams.items() if stream.up and only in (None, name)]
        self._end_streams(live, "unreadable event" if only else "unreadable frame", last_ms)
        for channel in live:
            self.mark_up(channel, now_ms)

    def stop(self, now_ms: int) -> None:
        """Emit complete minutes and begin the gaps of the recorder's absence."""
        self.tick(now_ms)
        self.disconnect(NOT_RUNNING, now_ms)

    def _interrupt(self, stream: Stream, start_ms: int, reason: str) -> None:
        stream.up = False
        stream.gaps.open(start_ms, reason)
        if stream is self._trades:
            self.minutes.interrupt(start_ms, reason)

    def tick(self, now_ms: int) -> None:
        """Emit every complete minute, and drop the keys of old trades."""
        stream = self._trades
        if stream is None or self.minutes.frontier_ms is None:
            return
        self.minutes.tick(now_ms, watermark_ms=stream.watermark_ms if stream.up else None)
        self._keys.drop_old(now_ms, self.minutes.frontier_ms)

    def needs(self, now_ms: int) -> list[Need]:
        """Return the REST requests that are due now."""
        needs = []
        if (span := self.minutes.span_to_refill(now_ms)) is not None:
            needs.append(Need(kind="minutes", span=span))
        trades, quotes = self._trades, self._quotes
        if (
            trades is not None
            and trades.may_be_checked(now_ms)
            and (
                trades.should_be_checked(now_ms)
                or self.minutes.needs_watermark(now_ms, trades.watermark_ms)
            )
        ):
            needs.append(Need(kind="recent"))
        if (
            quotes is not None
            and quotes.may_be_checked(now_ms)
            and quotes.should_be_checked(now_ms)
        ):
            needs.append(Need(kind="bbo"))
        return needs

    def record_recent_trades(
        self, trades: Sequence[Trade], *, sent_ms: int, received_ms: int, now_ms: int
    ) -> bool:
        """Record the newest trades by REST; return True if they show that the stream has stalled.

        They heal a gap if they reach back to before it.

        Args:
            trades: The trades, by time and without a hole.
            sent_ms: The time of the request, on the venue's clock.
            received_ms: The time of the reply, by our clock.
            now_ms: The time of the reply, on the venue's clock.

        Raises:
            VenueError: The newest is dated implausibly far ahead.
        """
        stream = self._trades
        if stream is None:
            return False
        if trades:
            _check_time(self.series, "trade", trades[-1].ts_ms, now_ms)
        stream.next_check_ms = now_ms + GRACE_MS
        sure_ms = sent_ms - SETTLE_MS
        known_ms = max(stream.newest_ms, stream.up_ms + MARGIN_MS)
        # If even the oldest of them is new, earlier trades may be missing.
        reaches_back = not trades or trades[0].ts_ms <= known_ms
        is_missed = any(known_ms < trade.ts_ms <= sure_ms for trade in trades)
        has_news = is_missed or not reaches_back
        is_stalled = (
            stream.up and max(stream.last_event_ms, stream.watermark_ms) < sure_ms and has_news
        )
        if is_stalled:
            self.mark_stalled("trades")
        elif stream.stalled and stream.acked_ms is not None and sure_ms > stream.acked_ms:
            is_stalled = has_news
            stream.acked_ms = None
            if not is_stalled:
                stream.stalled = False
                self.mark_up("trades", now_ms)
        for trade in trades:
            if not self._outbox.full:
                self._add_trade(stream, trade, received_ms, now_ms)
        if trades and not self._outbox.full:
            stream.heal(Span(trades[0].ts_ms, sent_ms - GRACE_MS))
        if stream.up:
            if sent_ms - GRACE_MS >= stream.up_ms:
                stream.needs_check = False
            if reaches_back:
                stream.watermark_ms = max(stream.watermark_ms, sure_ms)
        return is_stalled

    def compare_book(self, bbo: Bbo, *, sent_ms: int, now_ms: int) -> bool:
        """Compare the newest quote with one by REST; return True if the stream has stalled.

        At a first difference, the socket may just be late. The stream has stalled if a second quote
        by REST, some seconds later and without an event in between, differs too.

        Raises:
            VenueError: It is dated implausibly far ahead.
        """
        stream = self._quotes
        if stream is None:
            return False
        _check_time(self.series, "quote", bbo.ts_ms, now_ms)
        stream.next_check_ms = now_ms + SETTLE_MS
        is_unchanged = self._changes.is_newest(bbo)
        if not stream.up:
            if not stream.stalled or stream.acked_ms is None:
                return False
            stream.acked_ms = None
            if is_unchanged:
                stream.stalled = False
                self.mark_up("bbo", now_ms)
            return not is_unchanged
        if is_unchanged:
            # It may have changed twice, so the watermark stays; but the next check can wait.
            stream.unchanged_ms, stream.mismatch_ms = sent_ms, None
            return False
        if stream.mismatch_ms is None:
            stream.mismatch_ms = now_ms
            return False
        if now_ms - stream.mismatch_ms < SETTLE_MS:
            return False
        self.mark_stalled("bbo")
        return True


def _check_time(series: Series, noun: str, ts_ms: int, now_ms: int) -> None:
    if ts_ms > now_ms + AHEAD_MS:
        raise VenueError(
            f"{series.symbol}: a {noun} is dated {iso(ts_ms)}, but the venue's clock shows "
            f"{iso(now_ms)}"
        )
