"""Helpers for strategies: sizes in whole lots, prices on the tick, orders, exits, last values.

A change of position is in base units, below 0 to sell, as `position` is below 0 when short.

Lines for the tearsheet's price chart are named in `__init__`: indicators with a `value`, or
functions without arguments that return a number or None; a name with a slash has its own panel.

    self.chart_lines = {"average": self.average, "strength/RSI": lambda: self.strength.value}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from nautilus_trader.model import Bar, OrderSide, Price, Quantity
from nautilus_trader.trading import Strategy

type Number = Decimal | Price | Quantity | float

_FLOAT_ERROR = Decimal("1e-6")  # of a lot: 0.3 - 0.1, a float, is a little less than 0.2


def whole_lots(size: Number, instrument: Any) -> Decimal:
    """Return a size, positive or negative, rounded towards 0 to whole lots.

    whole_lots(-0.0129, instrument)  # with lots of 0.001: -0.012
    whole_lots(0.3 - 0.1, instrument)  # 0.2: a millionth of a lot may be missing

    Raises:
        ValueError: The size is NaN or infinite, or no number.
    """
    lot: Decimal = instrument.size_increment.as_decimal()
    lots = _exact(size) / lot
    nearest = round(lots)
    return (nearest if abs(lots - nearest) <= _FLOAT_ERROR else int(lots)) * lot


def sided(change: Number, instrument: Any) -> tuple[Any, OrderSide, Quantity]:
    """Return a change of position as the first three arguments of every order of a factory.

    self.order_factory.market(*sided(-0.5, instrument))

    The change is rounded towards 0 to whole lots, as by `whole_lots`.

    Raises:
        ValueError: The change is less than a lot, or no number: no order has that size.
    """
    lots = whole_lots(change, instrument)
    if not lots:
        lot = instrument.size_increment.as_decimal()
        test = f"abs(size) >= {lot}" if _exact(change) else "size"
        raise ValueError(
            f"an order for {change} {instrument.base_currency}, less than a lot of {lot}: test the "
            f"size first, `if {test}:`"
        )
    side = OrderSide.BUY if lots > 0 else OrderSide.SELL
    return instrument.id, side, Quantity.from_decimal_dp(abs(lots), instrument.size_precision)


class OneMarket(Strategy):
    """A strategy of one instrument; `size` is all of its `max_position`, in whole lots."""

    config: Any

    def on_start(self) -> None:
        """Round the size down to whole lots, and subscribe to the bars."""
        instrument = self.cache.instrument(self.config.instrument_id)
        assert instrument is not None  # tbv8 adds it before the run
        self.instrument = instrument
        self.size = whole_lots(self.config.max_position, instrument)
        if not self.size:
            lot = instrument.size_increment.as_decimal()
            raise ValueError(f"max_position {self.config.max_position} is less than a lot, {lot}")
        self.subscribe_bars(self.config.bar_type)

    # What is there.

    @property
    def position(self) -> Decimal:
        """The position now: 0.5 when long, -0.5 when short, 0 when flat.

        if self.position > 0: ...
        """
        net: Decimal = self.portfolio.net_position(self.config.instrument_id)
        places: int = self.instrument.size_precision
        return round(net, places)  # NautilusTrader adds floats: 0.30000000000000004

    @property
    def open_orders(self) -> list[Any]:
        """The working orders, including stops.

        if not self.position and not self.open_orders: ...
        """
        return self.cache.orders_open(instrument_id=self.config.instrument_id)

    @property
    def equity(self) -> Decimal:
        """The account's equity in dollars: its balance plus the unrealised PnL of its positions.

        if self.equity < 9_000: ...  # 0 after a liquidation
        """
        equity = self.portfolio.equity(self.config.instrument_id.venue)
        amount: Decimal = equity[self.instrument.quote_currency].as_decimal()
        return amount

    # How much, and at which price.

    def size_by_equity(self, percent: Number, price: Number) -> Decimal:
        """Return the size that `percent` of the equity buys at `price`; at most `self.size`.

        size = self.size_by_equity(50, bar.close)  # 10,000 USD, 40,000 USD a coin: 0.125
        if size:  # 0 if that is less than a lot
            self.market(size)

        The venue's `min_notional_usd` and the YAML's `max_leverage` do not change the size: an
        order that breaks them is denied, and listed in the result.

        Raises:
            ValueError: A value is NaN or infinite, as an indicator's before it is initialized.
        """
        return self._at_most(self.equity * _exact(percent) / 100 / _exact(price))

    def size_by_risk(self, percent: Number, *, entry: Number, stop: Number) -> Decimal:
        """Return the size that loses `percent` of the equity at `stop`; at most `self.size`.

        size = self.size_by_risk(1, entry=bar.close, stop=stop)  # 100 USD, 500 USD away: 0.2
        if size:  # 0 if that is less than a lot, or the stop is at the entry
            self.bracket(size, stop=stop, target=target)

        The loss is before fees and slippage, and larger where the price jumps over the stop. Limits
        and errors are those of `size_by_equity`.
        """
        distance = abs(_exact(entry) - _exact(stop))
        if not distance:
            return Decimal(0)
        return self._at_most(self.equity * _exact(percent) / 100 / distance)

    def _at_most(self, size: Decimal) -> Decimal:
        return max(Decimal(0), min(self.size, whole_lots(size, self.instrument)))

    def price(self, value: Number, *, up: bool) -> Price:
        """Return the next price on the tick, up or down; `make_price` only rounds to decimals.

        stop = self.price(bar.close.as_double() * 0.99, up=False)  # a value on the tick stays

        Raises:
            ValueError: The value is NaN or infinite, as an indicator's before it is initialized.
        """
        instrument, near = self.instrument, float(_exact(value))
        price: Price = instrument.next_ask_price(near) if up else instrument.next_bid_price(near)
        return price

    # Orders.

    def market(self, change: Number, *, tag: str | None = None) -> None:
        """Send a market order; the tearsheet counts trades by the tag of what closed them.

        self.market(-self.position, tag="trend over")  # out

        Every order helper rounds the change towards 0 to whole lots, as `whole_lots` does.

        Raises:
            ValueError: The change is less than a lot.
        """
        tags = [tag] if tag else None
        self.submit_order(self.order_factory.market(*sided(change, self.instrument), tags=tags))

    def limit(
        self, change: Number, price: Number, *, tag: str | None = None, reduce_only: bool = False
    ) -> Any:
        """Send a limit order; return its id. The price of a buy is rounded down, of a sale up.

        order_id = self.limit(size, bar.close.as_double() * 0.99)
        self.modify_order(order_id, price=self.price(x, up=False))  # at a later bar
        """
        tags = [tag] if tag else None
        limit = self._limit_price(change, price)
        order = self.order_factory.limit(
            *sided(change, self.instrument), limit, reduce_only=reduce_only, tags=tags
        )
        self.submit_order(order)
        return order.client_order_id

    def _limit_price(self, change: Number, price: Number) -> Price:
        """Return the price of a limit order on the tick: never worse for the trader."""
        return self.price(price, up=_exact(change) < 0)

    def _stop_price(self, change: Number, trigger: Number) -> Price:
        """Return the trigger of a stop on the tick: never nearer to the market."""
        return self.price(trigger, up=_exact(change) > 0)

    def stop_loss(self, change: Number, trigger: Number, *, tag: str | None = None) -> Any:
        """Send a stop order that can only reduce the position; return its id.

        self.stop_loss(-self.position, bar.close.as_double() * 0.98)

        The trigger of a sale is rounded down to the tick, that of a buy up.
        Send it together with the entry's market order, or later: without a position there is
        nothing to reduce. A trigger that the close has already reached is denied.
        """
        tags = [tag] if tag else None
        order = self.order_factory.stop_market(
            *sided(change, self.instrument),
            self._stop_price(change, trigger),
            reduce_only=True,
            tags=tags,
        )
        self.submit_order(order)
        return order.client_order_id

    def trail_stop(self, price: Number, *, distance: Number, tag: str = "trailing stop") -> None:
        """Keep a stop order for the whole position `distance` behind the price; never move it back.

        close = bar.close.as_double()
        self.trail_stop(close, distance=0.02 * close)  # 2 %; nothing happens while flat

        Call it in `on_position_opened`, which sends the stop, and once in each `on_bar`. With
        `tag="STOP_LOSS"` it moves the stop of a bracket.
        """
        long = self.position > 0
        close, away = _exact(price), _exact(distance)
        trigger = self.price(close - away if long else close + away, up=not long)
        stops = self._tagged(tag)
        for stop in stops:
            if trigger > stop.trigger_price if long else trigger < stop.trigger_price:
                self.modify_order(stop.client_order_id, trigger_price=trigger)
        if change := self._uncovered(stops):
            self.stop_loss(change, trigger, tag=tag)

    def take_profit(self, table: Mapping[int, Number], *, tag: str = "take profit") -> None:
        """Keep a limit order that closes the position at a gain that depends on its age.

        self.take_profit({0: 0.04, 30: 0.02, 120: 0.005})  # 4 %, from 30 minutes on 2 %, ...

        The table is freqtrade's `minimal_roi`: minutes since the entry, and gains as fractions of
        the entry price, here before fees. Call it as `trail_stop`; nothing happens while flat.
        """
        for position in self.cache.positions_open(instrument_id=self.instrument.id):
            age = (self.clock.timestamp_ns() - position.ts_opened) / 60e9
            reached = [minutes for minutes in table if minutes <= age]
            if not reached:
                return
            gain, long = _exact(table[max(reached)]), self.position > 0
            entry = _exact(position.avg_px_open)
            price = self.price(entry * (1 + gain if long else 1 - gain), up=long)
            limits = self._tagged(tag)
            for limit in limits:
                self.modify_order(limit.client_order_id, price=price)
            if change := self._uncovered(limits):
                self.limit(change, price, tag=tag, reduce_only=True)

    def _tagged(self, tag: str) -> list[Any]:
        return [order for order in self.open_orders if tag in (order.tags or ())]

    def _uncovered(self, exits: Iterable[Any]) -> Decimal:
        """Return the change that closes the part of the position beyond these orders."""
        covered = sum((order.quantity.as_decimal() for order in exits), Decimal(0))
        rest = max(Decimal(0), abs(self.position) - covered)
        return -rest if self.position > 0 else rest

    def bracket(self, change: Number, *, stop: Number, target: Number, tag: str = "ENTRY") -> None:
        """Send a market order with the stop and the limit that close it; one cancels the other.

        close = bar.close.as_double()
        self.bracket(size, stop=close - 500, target=close + 900)

        Stop and target are rounded away from the entry to the tick; their tags are `STOP_LOSS` and
        `TAKE_PROFIT`.

        Raises:
            ValueError: A stop or a target lies on the wrong side of the entry, the last close.
        """
        entry = sided(change, self.instrument)
        back = -_exact(change)
        trigger, limit = self._stop_price(back, stop), self._limit_price(back, target)
        self._check_bracket(entry[1], stop=trigger, target=limit)
        orders = self.order_factory.bracket(
            *entry, sl_trigger_price=trigger, tp_price=limit, entry_tags=[tag]
        )
        self.submit_order_list(orders)

    def _check_bracket(self, entry_side: OrderSide, *, stop: Price, target: Price) -> None:
        """Refuse a stop or a target that the last close has reached, or that are swapped."""
        bar = self.cache.bar(self.config.bar_type)
        is_at_close = bar is not None and bar.ts_event == self.clock.timestamp_ns()
        entry = bar.close if bar is not None and is_at_close else None
        side, order = ("long", "stop < entry < target")
        prices: list[Any] = [stop, target] if entry is None else [stop, entry, target]
        if entry_side == OrderSide.SELL:
            side, order = ("short", "target < entry < stop")
            prices.reverse()
        if not all(lower < higher for lower, higher in pairwise(prices)):
            close = "" if entry is None else f"entry {entry}, "
            raise ValueError(
                f"a {side} bracket needs {order}, got {close}stop {stop}, target {target}"
            )


class LastValues:
    """The last `count` values of bars as a numpy array, oldest first, ready at each bar at no cost.

    self.highs = LastValues(20, of="high")
    self.register_indicator_for_bars(self.config.bar_type, self.highs)  # before subscribe_bars
    ...
    if self.highs.initialized and bar.close.as_double() > self.highs.values[:-1].max(): ...

    `values` is a view of memory that the next bar writes to: copy what is to be kept.

    Args:
        count: The number of values, 1 or more.
        of: The value of each bar.
    """

    def __init__(
        self, count: int, of: Literal["open", "high", "low", "close", "volume"] = "close"
    ) -> None:
        if count < 1:
            raise ValueError(f"the number of values must be 1 or more, got {count}")
        self.count, self.of, self.seen = count, of, 0
        self._twice = np.full(2 * count, np.nan)  # each value stands in both halves
        self.values: npt.NDArray[np.float64] = self._twice[:count]

    @property
    def initialized(self) -> bool:
        """True once there are `count` values; before that, the oldest are NaN."""
        return self.seen >= self.count

    def handle_bar(self, bar: Bar) -> None:
        """Add a bar; NautilusTrader calls it before `on_bar`."""
        index = self.seen % self.count
        self._twice[index] = self._twice[index + self.count] = getattr(bar, self.of).as_double()
        self.seen += 1
        self.values = self._twice[index + 1 : index + 1 + self.count]


class LastCloses(LastValues):
    """The last `count` closes as a numpy array: `LastValues(count, of="close")`.

    above = bar.close.as_double() > self.closes.values[:-1].mean()
    """

    def __init__(self, count: int) -> None:
        super().__init__(count, of="close")


def _exact(value: Number) -> Decimal:
    """Return a number as its shortest text is read: 0.1 is a tenth."""
    try:
        exact = Decimal(str(value))
    except InvalidOperation as e:
        raise ValueError(f"expected a number, got {value!r}") from e
    if not exact.is_finite():
        raise ValueError(f"expected a number, got {value}: test that its indicator is initialized")
    return exact
