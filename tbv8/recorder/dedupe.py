"""Finds duplicates among the newest trades of one series, without the database."""

from __future__ import annotations

from tbv8.market import MINUTE_MS, Trade

_KEPT_MINUTES = 3


class TradeKeys:
    """The keys of the newest trades, by minute; a key is the id and the time of a trade.

    Attributes:
        from_ms: The open of the first minute with keys; the database finds earlier duplicates.
    """

    def __init__(self) -> None:
        self.from_ms = 0
        self._keys: dict[int, set[object]] = {}

    def add(self, trade: Trade, open_ms: int) -> bool:
        """Add the key of a trade of the minute `open_ms`; return False if it is a duplicate."""
        keys = self._keys.get(open_ms)
        if keys is None:
            keys = self._keys[open_ms] = set()
        ts_ms, trade_id = trade.ts_ms, trade.trade_id
        # Numeric ids give one int of 36 bytes: a busy minute may have millions.
        key = (
            int(trade_id) * MINUTE_MS + ts_ms - open_ms
            if trade_id.isdecimal()
            else (ts_ms, trade_id)
        )
        if key in keys:
            return False
        keys.add(key)
        return True

    def drop_old(self, now_ms: int, frontier_ms: int) -> None:
        """Drop the keys of emitted minutes, and of minutes that are over for some minutes."""
        oldest_ms = now_ms // MINUTE_MS * MINUTE_MS - _KEPT_MINUTES * MINUTE_MS
        self.from_ms = max(self.from_ms, oldest_ms)
        first_ms = max(self.from_ms, frontier_ms)
        for open_ms in [ms for ms in self._keys if ms < first_ms]:
            del self._keys[open_ms]
