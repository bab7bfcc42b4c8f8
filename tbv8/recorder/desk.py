"""One series: every trade once, whole minutes only, every gap written down. Pure, no I/O, no clock.

A *stream* is a series' trades or quotes. It is up from the venue's confirmation on. Its *proof* is
the time up to which everything that the venue sent is known to have arrived: a frame of the stream
itself, or a REST answer that tells nothing new. A minute counts as watched only when the stream was
up all the time and the proof lies behind its end; so a stream that stalls without a word never
makes flat minutes, nor does one that we cannot follow.

Minutes leave in order, at the *frontier*. One that was not watched waits there for the venue's own
bar, and all later ones behind it, since the ledger knows one span a day. When the venue no longer
keeps it, the rest of that UTC day is left out too, and listed.

All times are the venue's clock. MARGIN_MS is for what may be wrong with that: the offset of our
clock, and how long an event was under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from tbv8.errors import VenueError
from tbv8.market import DAY_MS, MINUTE_MS, Bar, Bbo, Series, Span, Trade, iso
from tbv8.recorder.outbox import Outbox
from tbv8.store.ledger import RECORDED
from tbv8.store.ticks import NOT_RUNNING, Batch, Gap, Held, Minute, Row, bbo_row, trade_row
from tbv8.venues.base import Channel

MARGIN_MS = 2000
GRACE_MS = 2000
SETTLE_MS = 3000
"""After a minute's end, the venue's own bar of it is final; a trade this old was sent to all."""

AHEAD_MS = 5 * MINUTE_MS
"""Further ahead of the venue's clock no event can be dated: it is refused."""

_LEAST_PATIENCE_MS, _MOST_PATIENCE_MS = 10_000, 60_000
_SECOND_LOOK_MS = 20_000
_KEY_MINUTES = 3  # for how long trades are told apart in memory; later ones, by the database


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A request by REST that a desk needs; `span` for minutes."""

    what: Literal["recent", "bbo", "minutes"]
    span: Span | None = None


class Gaps:
    """The gaps of one channel of a series, by time; each change goes to the outbox as a row."""

    def __init__(self, series: Series, channel: str, outbox: Outbox) -> None:
        self._series, self._channel, self._outbox = series, channel, outbox
        self.items: list[Gap] = []
        self.count = 0
        self._begun_in: Batch | None = None  # where the last one is news, and can be taken back

    def _put(self, gap: Gap) -> None:
        self._outbox.batch.gaps[gap.series, gap.channel, gap.start_ms] = gap

    @property
    def last(self) -> Gap | None:
        """The newest, if any."""
        return self.items[-1] if self.items else None

    @property
    def is_open(self) -> bool:
        """Tell whether one lasts."""
        return bool(self.items) and self.items[-1].end_ms is None

    def open(self, start_ms: int, reason: str) -> None:
        """Begin one; one that touches the last goes on with it."""
        last = self.last
        if last is not None and (last.end_ms is None or start_ms <= last.end_ms):
            if last.end_ms is not None:
                self.set(last, replace(last, end_ms=None, healed=False))
            return
        self.count += 1
        gap = Gap(
            series=self._series,
            channel=self._channel,
            start_ms=start_ms,
            end_ms=None,
            reason=reason,
        )
        self.items.append(gap)
        self._put(gap)
        self._begun_in = self._outbox.batch
        if self._channel != RECORDED:  # a minute forgotten here would pass as watched
            del self.items[:-1000]

    def adopt(self, gap: Gap) -> None:
        """Go on with one that an earlier run left open."""
        self.items.append(gap)
        self._begun_in = None

    def close(self, end_ms: int) -> None:
        """End the one that lasts; one that was nothing is forgotten, if it is not written yet."""
        if not self.is_open:
            return
        last = self.items[-1]
        if end_ms <= last.start_ms and self._begun_in is self._outbox.batch:
            self.items.pop()
            del self._outbox.batch.gaps[self._series, self._channel, last.start_ms]
            self.count -= 1
        else:
            self.set(last, replace(last, end_ms=max(end_ms, last.start_ms)))

    def set(self, old: Gap, new: Gap) -> None:
        """Change one."""
        self.items[self.items.index(old)] = new
        self._put(new)

    def add(self, gap: Gap) -> None:
        """Write one down that needs no more attention."""
        self._put(gap)


class Watch:
    """What is known of one stream.

    Args:
        proof_ms: Up to when all that was sent has arrived.
        newest_ms: The newest event's own time.
    """

    def __init__(self, gaps: Gaps) -> None:
        self.gaps = gaps
        self.up = False
        self.up_ms = 0
        self.proof_ms = 0
        self.newest_ms = 0
        self.heard_ms = 0
        self.ask_ms = 0  # not to be asked by REST before
        self.check_wanted = False  # by REST, after it came up
        self.told: Span | None = None  # of what REST has told every trade, without a hole
        self.calm_ms = 0  # when REST last had nothing new
        self.distrusted = False  # it stalled: only an event later than its ack says that it is up
        self.acked_ms: int | None = None
        self.doubt_ms: int | None = None
        self.events = 0
        self.rows = 0
        self.duplicates = 0
        self.lag_ms: int | None = None
        self._pace_ms = 1000.0

    @property
    def patience_ms(self) -> float:
        """How long it may be silent before the venue is asked whether it is quiet or dead."""
        return min(max(20 * self._pace_ms, _LEAST_PATIENCE_MS), _MOST_PATIENCE_MS)

    def hear(self, now_ms: int, ts_ms: int) -> None:
        """Note an event of the stream: all until its own time has come, if we lag not all since."""
        self.events += 1
        if self.heard_ms:
            self._pace_ms += 0.05 * (now_ms - self.heard_ms - self._pace_ms)
        self.heard_ms = now_ms
        proof_ms = min(ts_ms, now_ms)
        if proof_ms > self.proof_ms:
            self.proof_ms = proof_ms
        self.doubt_ms = None

    def silent_too_long(self, now_ms: int) -> bool:
        """Tell whether the venue should be asked."""
        return now_ms - max(self.proof_ms, self.calm_ms) > self.patience_ms

    def may_be_asked(self, now_ms: int) -> bool:
        """Tell whether REST can say something of it: it is up, or was subscribed again a while."""
        if now_ms < self.ask_ms:
            return False
        return self.up or (self.acked_ms is not None and now_ms - self.acked_ms >= 2 * SETTLE_MS)

    def is_suspect(self, now_ms: int) -> bool:
        """Tell whether it may have died without a word before its connection did."""
        return self.silent_too_long(now_ms) or self.doubt_ms is not None


class _Forming:
    """A minute's bar as it forms; of trades with equal times, the order of arrival counts."""

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
        volume = round(self.volume, 10)  # the same in whatever order the sizes were added
        return Bar(open_ms, self.open, self.high, self.low, self.close, volume)


class Desk:
    """One series of a venue, from its events to the outbox.

    Args:
        series: Which.
        channels: What is recorded of it; without trades there are no minutes.
        outbox: Where rows go.
        held: What the database had when the recorder started.
        kept_minutes: How many of the newest 1m bars the venue keeps; None for all.
    """

    def __init__(
        self,
        series: Series,
        channels: Iterable[Channel],
        outbox: Outbox,
        held: Held,
        *,
        kept_minutes: int | None = None,
    ) -> None:
        self.series = series
        self.price: float | None = None
        self._outbox = outbox
        # Less a little: the end of what a venue keeps moves on while it is asked.
        self._kept_ms = None if kept_minutes is None else kept_minutes * MINUTE_MS * 99 // 100
        self.watches: dict[Channel, Watch] = {
            channel: Watch(Gaps(series, channel, outbox)) for channel in channels
        }
        self._trades = self.watches.get("trades")
        self._quotes = self.watches.get("bbo")
        self._quote = held.bbo
        self._quote_written = True
        self._late_quotes: deque[object] = deque(maxlen=64)
        self.bars = Gaps(series, RECORDED, outbox)
        self._stale_rows = [gap for gap in held.open_gaps if gap.channel == RECORDED]
        self._frontier = held.minute_ms
        self._close = held.close
        self._written_day: int | None = None
        if held.minute_ms is not None and held.close is not None:
            self._written_day = _day(held.minute_ms - MINUTE_MS)
        self._forming: dict[int, _Forming] = {}
        self._keys: dict[int, set[object]] = {}
        self._forgotten_ms = 0  # trades of minutes before are told apart by the database alone
        self._refilled: dict[int, Bar | None] = {}
        self._absent: dict[int, int] = {}
        self._lost_before_ms = 0
        self._ask_minutes_ms = 0
        self.minutes = 0
        self._resume(held)

    def _resume(self, held: Held) -> None:
        """Open the gap since the last run, exactly where it ended or where data last stood."""
        last: dict[Channel, int | None] = {
            "trades": held.trade_ms,
            "bbo": held.bbo.ts_ms if held.bbo else None,
        }
        for stray in held.strays:
            self.bars.add(replace(stray, end_ms=stray.start_ms))
        for channel, watch in self.watches.items():
            left = [gap for gap in held.open_gaps if gap.channel == channel]
            known = [ms for ms in (last[channel],) if ms is not None]
            if watch is self._trades and held.minute_ms is not None and held.close is not None:
                known.append(held.minute_ms)  # the minutes before are written, so all was heard
            watch.newest_ms = last[channel] or 0
            if left:
                watch.gaps.adopt(left[-1])
            elif known:
                watch.gaps.open(max(known) - MARGIN_MS, held.ended)
        if self._trades is not None and self._frontier is not None:
            left = [gap for gap in self._stale_rows if gap.start_ms == self._frontier]
            if left:
                self.bars.adopt(replace(left[0], end_ms=None))
            else:
                self.bars.open(self._frontier, held.ended)

    # What is heard.

    def take_trade(self, trade: Trade, *, received_ms: int, now_ms: int) -> None:
        """Record a trade that came over the socket.

        Raises:
            VenueError: It is dated further ahead than a clock can be off.
        """
        watch = self._trades
        if watch is None:
            return
        if trade.ts_ms > now_ms + AHEAD_MS:
            raise self._ahead("trade", trade.ts_ms, now_ms)
        if self._outbox.full:
            self._drop(watch, min(trade.ts_ms, now_ms))
            return
        if not watch.up:
            self._bring_up("trades", watch, trade.ts_ms, now_ms)
        if watch.up:
            watch.hear(now_ms, trade.ts_ms)
        if trade.ts_ms > watch.up_ms:  # what is older is a replay, and tells nothing of the lag
            watch.lag_ms = now_ms - trade.ts_ms
        self._add_trade(watch, trade, received_ms, now_ms)

    def _add_trade(self, watch: Watch, trade: Trade, received_ms: int, now_ms: int) -> None:
        ts_ms = trade.ts_ms
        if ts_ms >= watch.newest_ms:
            watch.newest_ms = min(ts_ms, now_ms)
            self.price = trade.price
        row = trade_row(trade, received_ms)
        open_ms = ts_ms - ts_ms % MINUTE_MS
        frontier = self._frontier
        if frontier is None or open_ms < frontier or open_ms < self._forgotten_ms:
            self._outbox.batch.late.append(row)
            return
        keys = self._keys.get(open_ms)
        if keys is None:
            keys = self._keys[open_ms] = set()
        trade_id = trade.trade_id
        # One int where ids are numbers: 36 bytes, for millions of them a minute.
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
        self._form(open_ms, row)

    def _form(self, open_ms: int, row: Row) -> None:
        forming = self._forming.get(open_ms)
        if forming is None:
            self._forming[open_ms] = _Forming(row[2], row[4], row[5])
        else:
            forming.add(row[2], row[4], row[5])

    def take_bbo(self, bbo: Bbo, *, received_ms: int, now_ms: int) -> None:
        """Record a quote that came over the socket, if one of its four values changed.

        Raises:
            VenueError: It is dated further ahead than a clock can be off.
        """
        watch = self._quotes
        if watch is None:
            return
        if bbo.ts_ms > now_ms + AHEAD_MS:
            raise self._ahead("quote", bbo.ts_ms, now_ms)
        if self._outbox.full:
            self._drop(watch, min(bbo.ts_ms, now_ms))
            return
        if not watch.up:
            self._bring_up("bbo", watch, bbo.ts_ms, now_ms)
        if watch.up:
            watch.hear(now_ms, bbo.ts_ms)
        watch.lag_ms = now_ms - bbo.ts_ms
        last = self._quote
        late = last is not None and bbo.ts_ms < last.ts_ms
        if (last is not None and _values(bbo) == _values(last)) or (
            late and (bbo.ts_ms, _values(bbo)) in self._late_quotes
        ):
            watch.duplicates += 1
            if last is not None and bbo.ts_ms > last.ts_ms:
                self._quote, self._quote_written = bbo, False
            return
        if late and last is not None:
            self._late_quotes.append((bbo.ts_ms, _values(bbo)))
            if not self._quote_written:
                # The newest was left out as equal to the one before; now another is between.
                self._quote_written = True
                self._outbox.batch.bbo.append(bbo_row(last, received_ms))
        else:
            self._quote, self._quote_written = bbo, True
        self._outbox.batch.bbo.append(bbo_row(bbo, received_ms))
        if self._trades is None and bbo.bid_price is not None:
            self.price = bbo.bid_price

    def _drop(self, watch: Watch, ts_ms: int) -> None:
        self._outbox.dropped += 1
        if watch.up:
            start_ms = min(ts_ms, watch.proof_ms) - MARGIN_MS
            self._deafen(watch, start_ms, "buffer full: the database could not be written")

    def _ahead(self, what: str, ts_ms: int, now_ms: int) -> VenueError:
        return VenueError(
            f"{self.series.symbol}: a {what} is dated {iso(ts_ms)}, where the venue's clock shows "
            f"{iso(now_ms)}"
        )

    # What becomes of streams.

    def up(self, channel: Channel, at_ms: int) -> None:
        """Note that a stream is confirmed; repeatable."""
        watch = self.watches.get(channel)
        if watch is None or watch.up:
            return
        if watch.distrusted:
            watch.acked_ms = at_ms
            return
        watch.up, watch.up_ms = True, at_ms
        watch.proof_ms = max(watch.proof_ms, at_ms)
        watch.heard_ms, watch.ask_ms, watch.calm_ms, watch.doubt_ms = 0, 0, 0, None
        end_ms = at_ms + MARGIN_MS
        watch.gaps.close(end_ms)
        if watch is self._trades:
            watch.check_wanted = True
            whole_ms = -(-end_ms // MINUTE_MS) * MINUTE_MS
            if self._frontier is None:
                self._frontier = whole_ms
            self.bars.close(whole_ms)

    def _bring_up(self, channel: Channel, watch: Watch, ts_ms: int, now_ms: int) -> None:
        """Take an event as a sign of life; after a stall, not one that may be a replay."""
        if watch.distrusted and (watch.acked_ms is None or ts_ms <= watch.acked_ms):
            return
        watch.distrusted, watch.acked_ms = False, None
        self.up(channel, now_ms)

    def lost(self, reason: str, last_ms: int) -> None:
        """Note that the connection is gone; `last_ms`: when its last frame of any kind came."""
        self._lose(self.watches, reason, last_ms)

    def _lose(self, channels: Iterable[Channel], reason: str, last_ms: int) -> None:
        for channel in channels:
            watch = self.watches[channel]
            if watch.up:
                start_ms = watch.proof_ms
                if not watch.is_suspect(last_ms - SETTLE_MS):
                    start_ms = max(start_ms, last_ms - SETTLE_MS - int(watch.patience_ms))
                self._deafen(watch, start_ms - MARGIN_MS, reason)

    def stalled(self, channel: Channel) -> None:
        """Note that a stream stopped without a word, while the venue had news."""
        watch = self.watches[channel]
        if watch.up:
            self._deafen(watch, watch.proof_ms - MARGIN_MS, "stream stalled")
            watch.distrusted, watch.acked_ms = True, None

    def unreadable(self, now_ms: int, last_ms: int, *, only: Channel | None = None) -> None:
        """Note a frame, or an event of one channel, that could not be read.

        Of a frame nobody knows what was in it, so it may have been anything.
        """
        heard = [name for name, watch in self.watches.items() if watch.up and only in (None, name)]
        self._lose(heard, "unreadable event" if only else "unreadable frame", last_ms)
        for channel in heard:
            self.up(channel, now_ms)

    def stop(self, now_ms: int) -> None:
        """Write down that the recorder stops now."""
        self.tick(now_ms)
        self.lost(NOT_RUNNING, now_ms)

    def _deafen(self, watch: Watch, start_ms: int, reason: str) -> None:
        watch.up = False
        watch.gaps.open(start_ms, reason)
        if watch is self._trades and self._frontier is not None:
            minute_ms = start_ms // MINUTE_MS * MINUTE_MS
            self.bars.open(max(minute_ms, self._frontier), reason)

    # Minutes.

    def tick(self, now_ms: int) -> None:
        """Give away every minute that is over and known."""
        watch = self._trades
        if watch is None or self._frontier is None:
            return
        while (open_ms := self._frontier) + MINUTE_MS + GRACE_MS <= now_ms:
            gap = self._gap_at(open_ms)
            if gap is not None:
                if open_ms in self._refilled:
                    self._emit(open_ms, self._refilled.pop(open_ms), refilled=True)
                elif open_ms < self._lost_before_ms:
                    self._leave_out(gap, open_ms)
                else:
                    break
            elif watch.up and watch.proof_ms >= open_ms + MINUTE_MS + MARGIN_MS:
                forming = self._forming.get(open_ms)
                bar = forming.bar(open_ms) if forming else None
                self._emit(open_ms, bar, refilled=False)
            else:
                break
        self._forget(now_ms)

    def _emit(self, open_ms: int, bar: Bar | None, *, refilled: bool) -> None:
        """Give away a minute; without a bar it is flat, or nothing as long as there is no price.

        One whose bar is not possible is given away as it is, for the store to count as missing.
        """
        if self._close is None and bar is not None and not bar.is_possible:
            bar = None
        elif bar is None and self._close is not None:
            bar = Bar(open_ms, self._close, self._close, self._close, self._close, 0.0)
        if bar is not None:
            minute = Minute(series=self.series, bar=bar, refilled=refilled)
            self._outbox.batch.minutes.append(minute)
            if bar.is_possible:
                self._close = bar.close
            self._written_day = _day(open_ms)
            self.minutes += 1
        self._advance(open_ms + MINUTE_MS)

    def _advance(self, frontier_ms: int) -> None:
        before_ms, self._frontier = self._frontier or 0, frontier_ms
        for open_ms in range(before_ms, frontier_ms, MINUTE_MS):
            self._forming.pop(open_ms, None)
            self._keys.pop(open_ms, None)
            self._absent.pop(open_ms, None)
        while self.bars.items:
            gap = self.bars.items[0]
            if gap.end_ms is None or gap.end_ms > frontier_ms:
                break
            del self.bars.items[0]
            self.bars.add(replace(gap, healed=True))
            self._heal_stale_rows(gap)

    def _heal_stale_rows(self, gap: Gap) -> None:
        """End the rows that earlier runs left within a gap that is healed now."""
        for row in self._stale_rows:
            if row.start_ms != gap.start_ms:
                end_ms = max(gap.end_ms or 0, row.start_ms) if row.end_ms is None else row.end_ms
                self.bars.add(replace(row, end_ms=end_ms, healed=True))
        self._stale_rows = []

    def _leave_out(self, gap: Gap, open_ms: int) -> None:
        """Go past minutes that are nowhere to be had, and past what cannot join the day's span."""
        end_ms = min(gap.end_ms or self._lost_before_ms, self._lost_before_ms)
        if self._written_day is not None and end_ms < self._written_day + DAY_MS:
            end_ms = self._written_day + DAY_MS
        index = self.bars.items.index(gap)
        lost = replace(gap, start_ms=open_ms, end_ms=end_ms)
        if open_ms > gap.start_ms:
            self.bars.add(replace(gap, end_ms=open_ms, healed=True))
        self.bars.add(lost)
        if gap.end_ms is None or gap.end_ms > end_ms:
            rest = replace(gap, start_ms=end_ms)
            self.bars.items[index] = rest
            self.bars.add(rest)
        else:
            del self.bars.items[index]
        for row in self._stale_rows:  # what is lost stays so, whatever is healed later
            if row.start_ms < end_ms and row.start_ms not in (gap.start_ms, open_ms):
                self.bars.add(replace(row, end_ms=min(row.end_ms or end_ms, end_ms)))
        self._stale_rows = [row for row in self._stale_rows if row.start_ms >= end_ms]
        for minute_ms in [m for m in self._refilled if m < end_ms]:
            del self._refilled[minute_ms]
        self._close = None
        self._advance_past(end_ms)

    def _advance_past(self, end_ms: int) -> None:
        """Move the frontier over what is left out, without healing anything."""
        tables: tuple[dict[int, Any], ...] = (self._forming, self._keys, self._absent)
        for table in tables:
            for open_ms in [ms for ms in table if ms < end_ms]:
                del table[open_ms]
        self._frontier = end_ms
        items = self.bars.items
        while items and items[0].end_ms is not None and items[0].end_ms <= end_ms:
            del items[0]

    def _gap_at(self, open_ms: int) -> Gap | None:
        for gap in self.bars.items:
            if gap.start_ms < open_ms + MINUTE_MS and (gap.end_ms is None or gap.end_ms > open_ms):
                return gap
        return None

    def _forget(self, now_ms: int) -> None:
        oldest_ms = now_ms // MINUTE_MS * MINUTE_MS - _KEY_MINUTES * MINUTE_MS
        if oldest_ms > self._forgotten_ms:
            self._forgotten_ms = oldest_ms
            for open_ms in [ms for ms in self._keys if ms < oldest_ms]:
                del self._keys[open_ms]

    # What the venue and the database answer.

    def needs(self, now_ms: int) -> list[Need]:
        """Return what should be asked by REST now, the most urgent first."""
        wanted = []
        if (span := self._unknown_minutes(now_ms)) is not None:
            wanted.append(Need(what="minutes", span=span))
        trades, quotes = self._trades, self._quotes
        if (
            trades is not None
            and trades.may_be_asked(now_ms)
            and (
                not trades.up
                or trades.check_wanted
                or trades.silent_too_long(now_ms)
                or self._proof_wanted(trades, now_ms)
            )
        ):
            wanted.append(Need(what="recent"))
        if (
            quotes is not None
            and quotes.may_be_asked(now_ms)
            and (not quotes.up or quotes.silent_too_long(now_ms) or quotes.doubt_ms is not None)
        ):
            wanted.append(Need(what="bbo"))
        return wanted

    def _proof_wanted(self, watch: Watch, now_ms: int) -> bool:
        if self._frontier is None:
            return False
        end_ms = self._frontier + MINUTE_MS
        return (
            end_ms + MARGIN_MS + SETTLE_MS <= now_ms
            and watch.proof_ms < end_ms + MARGIN_MS
            and self._gap_at(self._frontier) is None
        )

    def _unknown_minutes(self, now_ms: int) -> Span | None:
        """Return from the first minute that is over and unknown to now, for the venue's bars."""
        if self._frontier is None or now_ms < self._ask_minutes_ms:
            return None
        for gap in self.bars.items:
            open_ms = max(gap.start_ms, self._frontier)
            end_ms = now_ms if gap.end_ms is None else gap.end_ms
            while open_ms < end_ms and open_ms in self._refilled:
                open_ms += MINUTE_MS
            if open_ms < end_ms and open_ms + MINUTE_MS + SETTLE_MS <= now_ms:
                return Span(open_ms, now_ms // MINUTE_MS * MINUTE_MS + MINUTE_MS)
        return None

    def pending_ms(self, now_ms: int) -> int:
        """Return how old the oldest minute is that waits for the venue's own bar."""
        if not self.bars.items or self._frontier is None:
            return 0
        return max(0, now_ms - max(self._frontier, self.bars.items[0].start_ms))

    def take_recent(
        self, trades: Sequence[Trade], *, asked_ms: int, received_ms: int, now_ms: int
    ) -> bool:
        """Take the venue's newest trades, by time; return True if the stream turns out dead.

        They heal a gap when they reach back to before it.

        Raises:
            VenueError: The newest is dated further ahead than a clock can be off.
        """
        watch = self._trades
        if watch is None:
            return False
        if trades and trades[-1].ts_ms > now_ms + AHEAD_MS:
            raise self._ahead("trade", trades[-1].ts_ms, now_ms)
        watch.ask_ms = now_ms + GRACE_MS
        sure_ms = asked_ms - SETTLE_MS
        known_ms = max(watch.newest_ms, watch.up_ms + MARGIN_MS)
        # When even the oldest of them is news, trades before it are missing, however new it is.
        reaches_back = not trades or trades[0].ts_ms <= known_ms
        unheard = any(known_ms < trade.ts_ms <= sure_ms for trade in trades)
        news = unheard or not reaches_back
        dead = watch.up and max(watch.heard_ms, watch.proof_ms) < sure_ms and news
        if dead:
            self.stalled("trades")
        elif watch.distrusted and watch.acked_ms is not None and sure_ms > watch.acked_ms:
            dead = news
            watch.acked_ms = None
            if not dead:
                watch.distrusted = False
                self.up("trades", now_ms)
        for trade in trades:
            if not self._outbox.full:
                self._add_trade(watch, trade, received_ms, now_ms)
        if trades and not self._outbox.full:
            self._heal_trades(watch, Span(trades[0].ts_ms, asked_ms - GRACE_MS))
        if watch.up:
            if asked_ms - GRACE_MS >= watch.up_ms:
                watch.check_wanted = False
            if reaches_back:
                watch.proof_ms = max(watch.proof_ms, sure_ms)
        return dead

    def _heal_trades(self, watch: Watch, told: Span) -> None:
        """Heal gaps of which REST has told every trade, from before them until the stream was up.

        Where it tells few, several answers that overlap make one.
        """
        before = watch.told
        if before is not None and told.start_ms <= before.end_ms:
            told = Span(min(told.start_ms, before.start_ms), max(told.end_ms, before.end_ms))
        watch.told = told
        for gap in list(watch.gaps.items):
            if gap.end_ms is not None and not gap.healed:
                heard_ms = max(gap.end_ms - MARGIN_MS, gap.start_ms)
                if told.start_ms < gap.start_ms and told.end_ms >= heard_ms:
                    watch.gaps.set(gap, replace(gap, healed=True))

    def take_book(self, bbo: Bbo, *, asked_ms: int, now_ms: int) -> bool:
        """Compare the newest quote with the venue's book; return True if the stream is dead.

        One look may have been too early for the socket: a stream is dead when a second one, some
        seconds later and with no event between, finds another quote than ours too.

        Raises:
            VenueError: It is dated further ahead than a clock can be off.
        """
        watch = self._quotes
        if watch is None:
            return False
        if bbo.ts_ms > now_ms + AHEAD_MS:
            raise self._ahead("quote", bbo.ts_ms, now_ms)
        watch.ask_ms = now_ms + SETTLE_MS
        same = self._quote is not None and _values(bbo) == _values(self._quote)
        if not watch.up:
            if not watch.distrusted or watch.acked_ms is None:
                return False
            watch.acked_ms = None
            if same:
                watch.distrusted = False
                self.up("bbo", now_ms)
            return not same
        if same:
            # No proof: the quote may have changed twice. But no reason to ask again soon.
            watch.calm_ms, watch.doubt_ms = asked_ms, None
            return False
        if watch.doubt_ms is None:
            watch.doubt_ms = now_ms
            return False
        if now_ms - watch.doubt_ms < SETTLE_MS:
            return False
        self.stalled("bbo")
        return True

    def take_minutes(self, span: Span, bars: Iterable[Bar], *, asked_ms: int) -> None:
        """Take the venue's own bars of `span`, for minutes that were not watched.

        A minute without one is empty when a later one is there, or when two answers lack it; but
        behind what the venue keeps it is lost. A bar that is not possible is taken as it is when a
        second answer has none better.
        """
        by_open = {bar.ts_ms: bar for bar in bars}
        newest_ms = max(by_open, default=-1)
        kept_from_ms = 0 if self._kept_ms is None else asked_ms - self._kept_ms
        progress = False
        for open_ms in range(span.start_ms, span.end_ms, MINUTE_MS):
            if open_ms + MINUTE_MS + SETTLE_MS > asked_ms:
                break
            if open_ms in self._refilled or self._gap_at(open_ms) is None:
                continue
            first_look_ms = self._absent.setdefault(open_ms, asked_ms)
            bar = by_open.get(open_ms)
            is_second = asked_ms - first_look_ms >= _SECOND_LOOK_MS
            if bar is not None and (bar.is_possible or is_second):
                self._refilled[open_ms] = bar
            elif bar is None and open_ms < kept_from_ms:
                self._lost_before_ms = max(self._lost_before_ms, open_ms + MINUTE_MS)
            elif bar is None and (open_ms < newest_ms or is_second):
                self._refilled[open_ms] = None
            else:
                continue
            progress = True
        self._ask_minutes_ms = asked_ms + (GRACE_MS if progress else _SECOND_LOOK_MS)

    def take_trade_without_bar(self, row: Row) -> None:
        """Take back a trade that is new and whose minute was not written when it was."""
        open_ms = row[2] // MINUTE_MS * MINUTE_MS
        if self._frontier is None or row[2] > self._frontier + DAY_MS:
            return
        if open_ms >= self._frontier:
            self._form(open_ms, row)
        else:
            self._outbox.batch.folds.append(row)


def _day(ts_ms: int) -> int:
    return ts_ms // DAY_MS * DAY_MS


def _values(bbo: Bbo) -> tuple[float | None, ...]:
    return bbo.bid_price, bbo.bid_size, bbo.ask_price, bbo.ask_size
