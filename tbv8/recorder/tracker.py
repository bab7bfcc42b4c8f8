"""One series: every trade once, whole minutes only, every gap recorded. Pure, no I/O, no clock.

A *stream* is a series' trades or quotes. It is up from the venue's confirmation on. Its *proof* is
the time up to which all events are known to have arrived, by a frame of the stream itself or by a
REST reply without news. A minute counts as watched only if the stream was up all the time and the
proof is after its end. So a stream that stalls silently, or that we read too slowly, never produces
flat minutes. See `tbv8.recorder.minutes`.

All times are the venue's clock. MARGIN_MS allows for its errors: the offset of our clock, and the
delay of events on the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from tbv8.errors import VenueError
from tbv8.market import MINUTE_MS, Bbo, Series, Span, Trade, iso
from tbv8.recorder.gaps import Gaps
from tbv8.recorder.minutes import Minutes
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.quotes import QuoteChanges
from tbv8.recorder.watch import GRACE_MS, MARGIN_MS, SETTLE_MS, Watch
from tbv8.store.ticks import NOT_RUNNING, RecordedState, trade_row
from tbv8.venues.base import Channel

AHEAD_MS = 5 * MINUTE_MS
"""An event dated further ahead of the venue's clock than this is refused."""

_KEY_MINUTES = 3  # time in memory of trades' keys against duplicates; then the database decides


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A request by REST that a tracker needs; `span` for minutes."""

    kind: Literal["recent", "bbo", "minutes"]
    span: Span | None = None


class SeriesTracker:
    """One series of a venue, from its events to the outbox.

    Args:
        series: The series.
        channels: The recorded channels; without trades there are no minutes.
        outbox: The rows' destination.
        before: The database's state of the series when the recorder started.
        kept_minutes: The number of the newest 1m bars that the venue keeps; None for all.
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
        self.watches: dict[Channel, Watch] = {
            channel: Watch(Gaps(series, channel, outbox)) for channel in channels
        }
        self.minutes = Minutes(series, outbox, before, kept_minutes=kept_minutes)
        self._trades = self.watches.get("trades")
        self._quotes = self.watches.get("bbo")
        self._changes = QuoteChanges(before.bbo, outbox)
        self._keys: dict[int, set[object]] = {}
        self._forgotten_ms = 0  # duplicates of earlier trades are found by the database alone
        self._resume(before)

    def _resume(self, before: RecordedState) -> None:
        """Open the gap since the last run, from its recorded start or from the last data."""
        last: dict[Channel, int | None] = {
            "trades": before.trade_ms,
            "bbo": before.bbo.ts_ms if before.bbo else None,
        }
        for stray in before.strays:
            self.minutes.gaps.add(replace(stray, end_ms=stray.start_ms))
        for channel, watch in self.watches.items():
            open_gaps = [gap for gap in before.open_gaps if gap.channel == channel]
            data_ms = [ms for ms in (last[channel],) if ms is not None]
            if watch is self._trades and before.minute_ms is not None and before.close is not None:
                data_ms.append(before.minute_ms)  # all trades of written minutes had arrived
            watch.newest_ms = last[channel] or 0
            if open_gaps:
                watch.gaps.adopt(open_gaps[-1])
            elif data_ms:
                watch.gaps.open(max(data_ms) - MARGIN_MS, before.ended)
        if self._trades is not None:
            self.minutes.resume(before.ended)

    # From the socket.

    def take_trade(self, trade: Trade, *, received_ms: int, now_ms: int) -> None:
        """Record a trade that came over the socket.

        Raises:
            VenueError: It is dated implausibly far ahead.
        """
        watch = self._trades
        if watch is None:
            return
        if trade.ts_ms > now_ms + AHEAD_MS:
            raise _ahead(self.series, "trade", trade.ts_ms, now_ms)
        if self._outbox.full:
            self._drop(watch, min(trade.ts_ms, now_ms))
            return
        if not watch.up:
            self._bring_up("trades", watch, trade.ts_ms, now_ms)
        if watch.up:
            watch.note_event(now_ms, trade.ts_ms)
        if trade.ts_ms > watch.up_ms:  # an older trade is a replay and has no meaningful lag
            watch.lag_ms = now_ms - trade.ts_ms
        self._add_trade(watch, trade, received_ms, now_ms)

    def _add_trade(self, watch: Watch, trade: Trade, received_ms: int, now_ms: int) -> None:
        ts_ms = trade.ts_ms
        if ts_ms >= watch.newest_ms:
            watch.newest_ms = min(ts_ms, now_ms)
            self.price = trade.price
        row = trade_row(trade, received_ms)
        open_ms = ts_ms - ts_ms % MINUTE_MS
        frontier = self.minutes.frontier_ms
        if frontier is None or open_ms < frontier or open_ms < self._forgotten_ms:
            self._outbox.batch.late.append(row)
            return
        keys = self._keys.get(open_ms)
        if keys is None:
            keys = self._keys[open_ms] = set()
        trade_id = trade.trade_id
        # One int if ids are numbers: 36 bytes each, for millions per minute.
        key = (
            int(trade_id) * MINUTE_MS + ts_ms - open_ms
            if trade_id.isdecimal()
            else (ts_ms, trade_id)
        )
        if key in keys:
            watch.duplicates += 1
            return
        keys.add(key)
        self._outbox.batch.trades.append(row)
        self.minutes.add(open_ms, row)

    def take_bbo(self, bbo: Bbo, *, received_ms: int, now_ms: int) -> None:
        """Record a quote that came over the socket, if one of its four values changed.

        Raises:
            VenueError: It is dated implausibly far ahead.
        """
        watch = self._quotes
        if watch is None:
            return
        if bbo.ts_ms > now_ms + AHEAD_MS:
            raise _ahead(self.series, "quote", bbo.ts_ms, now_ms)
        if self._outbox.full:
            self._drop(watch, min(bbo.ts_ms, now_ms))
            return
        if not watch.up:
            self._bring_up("bbo", watch, bbo.ts_ms, now_ms)
        if watch.up:
            watch.note_event(now_ms, bbo.ts_ms)
        watch.lag_ms = now_ms - bbo.ts_ms
        if not self._changes.add(bbo, received_ms):
            watch.duplicates += 1
            return
        if self._trades is None and bbo.bid_price is not None:
            self.price = bbo.bid_price

    def _drop(self, watch: Watch, ts_ms: int) -> None:
        self._outbox.dropped += 1
        if watch.up:
            start_ms = min(ts_ms, watch.proof_ms) - MARGIN_MS
            self._interrupt(watch, start_ms, "buffer full: the database could not be written")

    # The streams.

    def mark_up(self, channel: Channel, at_ms: int) -> None:
        """Note that a stream is confirmed; repeatable."""
        watch = self.watches.get(channel)
        if watch is not None and watch.confirm(at_ms) and watch is self._trades:
            watch.needs_check = True
            self.minutes.restore(at_ms + MARGIN_MS)

    def _bring_up(self, channel: Channel, watch: Watch, ts_ms: int, now_ms: int) -> None:
        """Take an event as proof that the stream is up; after a stall, only if it is no replay."""
        if watch.distrusted and (watch.acked_ms is None or ts_ms <= watch.acked_ms):
            return
        watch.distrusted, watch.acked_ms = False, None
        self.mark_up(channel, now_ms)

    def disconnect(self, reason: str, last_ms: int) -> None:
        """Note that the connection is gone; `last_ms` is the time of its last frame."""
        self._end_streams(self.watches, reason, last_ms)

    def _end_streams(self, channels: Iterable[Channel], reason: str, last_ms: int) -> None:
        for channel in channels:
            watch = self.watches[channel]
            if watch.up:
                self._interrupt(watch, watch.watched_until_ms(last_ms) - MARGIN_MS, reason)

    def mark_stalled(self, channel: Channel) -> None:
        """Note that a stream stopped silently while the venue had news."""
        watch = self.watches[channel]
        if watch.up:
            self._interrupt(watch, watch.proof_ms - MARGIN_MS, "stream stalled")
            watch.distrusted, watch.acked_ms = True, None

    def mark_unreadable(self, now_ms: int, last_ms: int, *, only: Channel | None = None) -> None:
        """Note a frame, or an event of one channel, that could not be read.

        An unreadable frame may have had events of any channel.
        """
        live = [name for name, watch in self.watches.items() if watch.up and only in (None, name)]
        self._end_streams(live, "unreadable event" if only else "unreadable frame", last_ms)
        for channel in live:
            self.mark_up(channel, now_ms)

    def stop(self, now_ms: int) -> None:
        """Record that the recorder stops now."""
        self.tick(now_ms)
        self.disconnect(NOT_RUNNING, now_ms)

    def _interrupt(self, watch: Watch, start_ms: int, reason: str) -> None:
        watch.up = False
        watch.gaps.open(start_ms, reason)
        if watch is self._trades:
            self.minutes.interrupt(start_ms, reason)

    def tick(self, now_ms: int) -> None:
        """Emit every complete minute, and forget the trades of old ones."""
        watch = self._trades
        if watch is None or self.minutes.frontier_ms is None:
            return
        self.minutes.tick(now_ms, proven_ms=watch.proof_ms if watch.up else None)
        oldest_ms = now_ms // MINUTE_MS * MINUTE_MS - _KEY_MINUTES * MINUTE_MS
        self._forgotten_ms = max(self._forgotten_ms, oldest_ms)
        first_ms = max(self._forgotten_ms, self.minutes.frontier_ms)
        for open_ms in [ms for ms in self._keys if ms < first_ms]:
            del self._keys[open_ms]

    # By REST.

    def needs(self, now_ms: int) -> list[Need]:
        """Return the requests to send by REST now, the most urgent first."""
        needs = []
        if (span := self.minutes.unknown(now_ms)) is not None:
            needs.append(Need(kind="minutes", span=span))
        trades, quotes = self._trades, self._quotes
        if (
            trades is not None
            and trades.may_be_checked(now_ms)
            and (trades.is_unsure(now_ms) or self.minutes.needs_proof(now_ms, trades.proof_ms))
        ):
            needs.append(Need(kind="recent"))
        if quotes is not None and quotes.may_be_checked(now_ms) and quotes.is_unsure(now_ms):
            needs.append(Need(kind="bbo"))
        return needs

    def take_recent(
        self, trades: Sequence[Trade], *, sent_ms: int, received_ms: int, now_ms: int
    ) -> bool:
        """Take the venue's newest trades, by time; return True if they prove the stream dead.

        They heal a gap if they reach back to before it.

        Raises:
            VenueError: The newest is dated implausibly far ahead.
        """
        watch = self._trades
        if watch is None:
            return False
        if trades and trades[-1].ts_ms > now_ms + AHEAD_MS:
            raise _ahead(self.series, "trade", trades[-1].ts_ms, now_ms)
        watch.next_check_ms = now_ms + GRACE_MS
        sure_ms = sent_ms - SETTLE_MS
        known_ms = max(watch.newest_ms, watch.up_ms + MARGIN_MS)
        # If even the oldest of them is new, trades before it are missing.
        reaches_back = not trades or trades[0].ts_ms <= known_ms
        is_missed = any(known_ms < trade.ts_ms <= sure_ms for trade in trades)
        has_news = is_missed or not reaches_back
        is_dead = watch.up and max(watch.last_event_ms, watch.proof_ms) < sure_ms and has_news
        if is_dead:
            self.mark_stalled("trades")
        elif watch.distrusted and watch.acked_ms is not None and sure_ms > watch.acked_ms:
            is_dead = has_news
            watch.acked_ms = None
            if not is_dead:
                watch.distrusted = False
                self.mark_up("trades", now_ms)
        for trade in trades:
            if not self._outbox.full:
                self._add_trade(watch, trade, received_ms, now_ms)
        if trades and not self._outbox.full:
            watch.heal(Span(trades[0].ts_ms, sent_ms - GRACE_MS))
        if watch.up:
            if sent_ms - GRACE_MS >= watch.up_ms:
                watch.needs_check = False
            if reaches_back:
                watch.proof_ms = max(watch.proof_ms, sure_ms)
        return is_dead

    def take_book(self, bbo: Bbo, *, sent_ms: int, now_ms: int) -> bool:
        """Compare the newest quote with the venue's book; return True if the stream is dead.

        The socket may just be late at the first difference. The stream is dead if a second book,
        some seconds later and with no event in between, differs too.

        Raises:
            VenueError: It is dated implausibly far ahead.
        """
        watch = self._quotes
        if watch is None:
            return False
        if bbo.ts_ms > now_ms + AHEAD_MS:
            raise _ahead(self.series, "quote", bbo.ts_ms, now_ms)
        watch.next_check_ms = now_ms + SETTLE_MS
        is_unchanged = self._changes.is_newest(bbo)
        if not watch.up:
            if not watch.distrusted or watch.acked_ms is None:
                return False
            watch.acked_ms = None
            if is_unchanged:
                watch.distrusted = False
                self.mark_up("bbo", now_ms)
            return not is_unchanged
        if is_unchanged:
            # No proof, since the quote may have changed twice, but no reason to ask again soon.
            watch.calm_ms, watch.doubt_ms = sent_ms, None
            return False
        if watch.doubt_ms is None:
            watch.doubt_ms = now_ms
            return False
        if now_ms - watch.doubt_ms < SETTLE_MS:
            return False
        self.mark_stalled("bbo")
        return True


def _ahead(series: Series, noun: str, ts_ms: int, now_ms: int) -> VenueError:
    return VenueError(
        f"{series.symbol}: a {noun} is dated {iso(ts_ms)}, but the venue's clock shows "
        f"{iso(now_ms)}"
    )
