"""May this order go, must we halt, what does holding cost: pure, for backtests and live alike.

Quantities are in base units, below 0 when short; money is in USD, and USDT and USDC count as USD.
Sums are exact: 60 digits, whatever the caller's own decimal context is.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

import msgspec

from tbv8.market import DAY_MS, HOUR_MS

_EXACT = Context(prec=60)
_ZERO = Decimal(0)
_SMALLEST = Decimal("1e-8")
_RATE_HOURS = 8

MAX_POSITION = "max_position"
MAX_LEVERAGE = "max_leverage"
MAX_DAILY_LOSS = "max_daily_loss_usd"
TICK_SIZE = "tick_size"
LOT_SIZE = "lot_size"


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one strategy at one venue; both leverages, of which the lower holds."""

    max_position: Decimal
    max_daily_loss_usd: Decimal
    max_leverage: Decimal
    venue_leverage: Decimal
    tick_size: Decimal
    lot_size: Decimal

    @property
    def leverage(self) -> Decimal:
        """How many times the equity may be held."""
        return min(self.max_leverage, self.venue_leverage)

    @property
    def maintenance(self) -> Decimal:
        """The fraction of the notional that equity must not fall below.

        Half of the initial margin at the venue's highest leverage, as Hyperliquid has it:
        https://hyperliquid.gitbook.io/hyperliquid-docs/trading/margining
        """
        return _EXACT.divide(Decimal(1), 2 * max(self.venue_leverage, Decimal(1)))


class Account(msgspec.Struct, frozen=True):
    """What we hold: `cash` is what equity would be if the position were worth nothing."""

    cash: Decimal
    position: Decimal

    def equity(self, price: Decimal) -> Decimal:
        """Return cash and position, marked at `price`."""
        return _EXACT.add(self.cash, _EXACT.multiply(self.position, price))


class Order(msgspec.Struct, frozen=True):
    """An order as risk sees it: what it may still add, signed; reducing ones never open.

    `prices` are those that must lie on the tick.
    """

    change: Decimal
    reduce_only: bool = False
    prices: tuple[Decimal, ...] = ()


class Breach(msgspec.Struct, frozen=True):
    """The limit that an order would break, and the numbers that say so.

    Money is `..._usd`, a price USD per unit, leverage times the equity, the rest base units.
    """

    rule: str
    numbers: dict[str, Decimal]

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {plain(value)}" for name, value in self.numbers.items())
        return f"{self.rule}: {numbers}"


def check_order(
    order: Order,
    account: Account,
    working: Iterable[Order],
    limits: Limits,
    *,
    price: Decimal | None,
    halted: str | None,
) -> Breach | None:
    """Return the first limit that an order could break; None when it may go.

    The order and all that work on its side are taken to be filled before any on the other side. An
    order that can only bring the position nearer to zero may always go.

    Args:
        order: What is asked.
        account: What is held now.
        working: Every other order that may still be filled.
        limits: What holds.
        price: The last price, for the notional; while there is none, nothing may be opened.
        halted: The rule that has stopped new entries until the next 00:00 UTC, if one has.
    """
    with localcontext(_EXACT):
        rules = _check_units(order, limits)
        if rules is not None or order.reduce_only:
            return rules
        sign = 1 if order.change > 0 else -1
        open_orders = _ZERO
        for other in working:
            if not other.reduce_only and other.change * sign > 0:
                open_orders += other.change
        worst = account.position + open_orders + order.change
        if worst * sign <= 0:
            return None
        if halted is not None:
            rule = halted
            numbers = {"limit_usd": limits.max_daily_loss_usd} if rule == MAX_DAILY_LOSS else {}
        elif abs(worst) > limits.max_position:
            rule, numbers = MAX_POSITION, {"limit": limits.max_position}
        elif price is None:
            rule, numbers = MAX_LEVERAGE, {"limit": limits.leverage}
        else:
            equity = account.cash + account.position * price
            if equity > 0 and abs(worst) * price <= limits.leverage * equity:
                return None
            rule = MAX_LEVERAGE
            numbers = {"price": price, "equity_usd": equity, "limit": limits.leverage}
        held = {"position": account.position, "open_orders": open_orders}
        return Breach(rule, {**held, "order": order.change, "worst": worst, **numbers})


def _check_units(order: Order, limits: Limits) -> Breach | None:
    if order.change % limits.lot_size or not order.change:
        return Breach(LOT_SIZE, {"order": order.change, "limit": limits.lot_size})
    for price in order.prices:
        if price % limits.tick_size or price <= 0:
            return Breach(TICK_SIZE, {"price": price, "limit": limits.tick_size})
    return None


def must_halt(equity: Decimal, day_start: Decimal, limits: Limits) -> bool:
    """Tell whether equity has fallen by the daily loss since 00:00 UTC."""
    return _EXACT.subtract(day_start, equity) >= limits.max_daily_loss_usd


def halt_price(account: Account, day_start: Decimal, limits: Limits) -> Decimal | None:
    """Return the price at which the daily loss is reached: at or below it for a long position.

    None where no price does: the position is flat.
    """
    if not account.position:
        return None
    least = _EXACT.subtract(day_start, limits.max_daily_loss_usd)
    return _EXACT.divide(_EXACT.subtract(least, account.cash), account.position)


def liquidation_price(account: Account, maintenance: Decimal) -> Decimal | None:
    """Return the price at which equity is the maintenance margin; None when flat.

    From `cash + position * price = maintenance * |position| * price`.
    """
    if not account.position:
        return None
    margin = _EXACT.multiply(maintenance, account.position.copy_abs())
    kept = _EXACT.subtract(account.position, margin)
    return _EXACT.divide(account.cash.copy_negate(), kept)


def funding(position: Decimal, price: Decimal, *, rate_8h: Decimal, hours: int) -> Decimal:
    """Return what holding costs at one funding time, to 10^-8 USD: longs pay a positive rate.

    Args:
        position: What is held at that time.
        price: The mark price then.
        rate_8h: The rate of eight hours, as a fraction of the notional.
        hours: How often the venue charges; each time its share of the eight hours.
    """
    with localcontext(_EXACT):
        paid = position * price * rate_8h * hours / _RATE_HOURS
        return paid.quantize(_SMALLEST, rounding=ROUND_HALF_EVEN)


def next_funding(ts_ms: int, hours: int) -> int:
    """Return the first funding time after `ts_ms`, counted from 00:00 UTC."""
    step = hours * HOUR_MS
    return (ts_ms // step + 1) * step


def next_midnight(ts_ms: int) -> int:
    """Return the first 00:00 UTC after `ts_ms`."""
    return (ts_ms // DAY_MS + 1) * DAY_MS


def plain(value: Decimal) -> str:
    """Return a number without exponent or trailing zeros."""
    return f"{value.normalize(_EXACT):f}"
