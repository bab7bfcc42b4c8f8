"""A tracker driven by hand: no socket, no clock. Seconds count from NOON, minutes too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tbv8.market import MINUTE_MS, Bar, Bbo, Series, Span, Trade
from tbv8.recorder.outbox import Outbox
from tbv8.recorder.tracker import SeriesTracker
from tbv8.store.ticks import RecordedState
from tbv8.venues.base import Channel

BTC = Series("mexc", "BTC/USDT")
NOON = 1_790_035_200_000 + 12 * 60 * MINUTE_MS
"""12:00 of 2026-09-22."""


def ms(seconds: float) -> int:
    return NOON + round(seconds * 1000)


def trade(
    happened_s: float, *, price: float = 5.0, size: float = 1.0, trade_id: str | None = None
) -> Trade:
    ts_ms = ms(happened_s)
    name = str(ts_ms) if trade_id is None else trade_id
    return Trade(BTC.venue, BTC.symbol, ts_ms, name, price, size, "buy")


def quote(happened_s: float, bid: float) -> Bbo:
    return Bbo(BTC.venue, BTC.symbol, ms(happened_s), bid, 1.0, bid + 1.0, 1.0)


def bar(number: int, price: float = 7.0) -> Bar:
    """Return the venue's own bar of a minute."""
    return Bar(NOON + number * MINUTE_MS, price, price, price, price, 2.0)


def minutes(first: int, end: int) -> Span:
    return Span(NOON + first * MINUTE_MS, NOON + end * MINUTE_MS)


class ByHand:
    """A tracker and the outbox that it fills; streams are not up yet.

    By default all minutes before noon are recorded.
    """

    def __init__(
        self,
        *,
        channels: tuple[Channel, ...] = ("trades", "bbo"),
        stored: RecordedState | None = None,
        kept_minutes: int | None = None,
        limit: int = 1000,
    ) -> None:
        self.outbox = Outbox(limit)
        self.tracker = SeriesTracker(
            BTC,
            channels,
            self.outbox,
            stored or RecordedState(minute_ms=NOON),
            kept_minutes=kept_minutes,
        )

    def up(self, channel: Channel, at_s: float) -> None:
        self.tracker.mark_up(channel, ms(at_s))

    def note_event(self, happened_s: float, *, at_s: float | None = None, **fields: Any) -> None:
        """Take a trade from the socket, by default in the moment when it happened."""
        at_ms = ms(happened_s if at_s is None else at_s)
        self.tracker.record_trade(trade(happened_s, **fields), received_ms=at_ms, now_ms=at_ms)

    def see(self, happened_s: float, bid: float, *, at_s: float | None = None) -> None:
        """Take a quote from the socket."""
        at_ms = ms(happened_s if at_s is None else at_s)
        self.tracker.record_bbo(quote(happened_s, bid), received_ms=at_ms, now_ms=at_ms)

    def tick(self, at_s: float) -> None:
        self.tracker.tick(ms(at_s))

    def lost(self, last_s: float) -> None:
        self.tracker.disconnect("connection closed", ms(last_s))

    def recent(self, trades: Iterable[Trade], *, sent_s: float) -> bool:
        """Take the venue's newest trades by REST; return whether the stream is dead."""
        at_ms = ms(sent_s)
        return self.tracker.record_recent_trades(
            list(trades), sent_ms=at_ms, received_ms=at_ms, now_ms=at_ms
        )

    def book(self, bid: float, *, sent_s: float) -> bool:
        """Take the venue's best quote by REST; return whether the stream is dead."""
        return self.tracker.compare_book(quote(sent_s, bid), sent_ms=ms(sent_s), now_ms=ms(sent_s))

    def refill(self, span: Span, bars: Iterable[Bar], *, sent_s: float) -> None:
        """Take the venue's own bars by REST and let what is over go."""
        self.tracker.minutes.refill(span, bars, sent_ms=ms(sent_s))
        self.tick(sent_s)

    def needed(self, at_s: float) -> list[str]:
        """Return what should be asked by REST."""
        return [need.kind for need in self.tracker.needs(ms(at_s))]

    def needed_span(self, at_s: float) -> Span | None:
        """Return for which time the venue's own bars should be asked for."""
        spans = [need.span for need in self.tracker.needs(ms(at_s)) if need.kind == "minutes"]
        return spans[0] if spans else None

    @property
    def written(self) -> list[tuple[int, float]]:
        """Return number and close of each minute that left."""
        batch = self.outbox.batch
        return [((m.bar.ts_ms - NOON) // MINUTE_MS, m.bar.close) for m in batch.minutes]

    @property
    def trades(self) -> list[float]:
        """Return the seconds of the trades that are known to be new."""
        return [(row[2] - NOON) / 1000 for row in self.outbox.batch.trades]

    @property
    def late(self) -> list[float]:
        """Return the seconds of the trades that the database must tell apart."""
        return [(row[2] - NOON) / 1000 for row in self.outbox.batch.late]

    @property
    def bids(self) -> list[float]:
        return [row[3] for row in self.outbox.batch.bbo]

    def gaps(self, channel: str) -> list[tuple[float, float | None, bool]]:
        """Return start and end in seconds, and whether it is healed, as they will be written."""
        found = [gap for gap in self.outbox.batch.gaps.values() if gap.channel == channel]
        return [
            (
                (gap.start_ms - NOON) / 1000,
                None if gap.end_ms is None else (gap.end_ms - NOON) / 1000,
                gap.healed,
            )
            for gap in sorted(found, key=lambda gap: gap.start_ms)
        ]
