"""A second opinion: market orders bar by bar in plain Python, without tbv8 and NautilusTrader.

It follows the README's words, not tbv8's code: one loop, Decimals, nothing vectorised. Slow and
plain on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, getcontext

HOUR = 3_600_000
DAY = 24 * HOUR
D = Decimal
ZERO = D(0)


@dataclass(frozen=True)
class Rules:
    tick: Decimal
    lot: Decimal
    taker_fee: Decimal
    venue_leverage: Decimal
    max_position: Decimal
    max_leverage: Decimal
    max_daily_loss: Decimal
    slippage_ticks: int
    funding_rate_8h: Decimal
    funding_hours: int
    balance: Decimal


@dataclass
class Books:
    """What came of it; `fills` are (ts_ms, side, type, quantity, price, fee, position)."""

    cash: Decimal
    position: Decimal = ZERO
    fills: list[tuple[int, str, str, Decimal, Decimal, Decimal, Decimal]] = field(
        default_factory=list
    )
    denied: list[tuple[int, str]] = field(default_factory=list)
    halts: list[tuple[int, str]] = field(default_factory=list)
    funding: Decimal = ZERO
    equity: list[Decimal] = field(default_factory=list)


Bar = tuple[int, Decimal, Decimal, Decimal, Decimal]
"""Close time, open, high, low, close."""

Decide = Callable[[int, Bar, Decimal], Iterable[Decimal]]
"""Number of the bar from 1, the bar, the position -> signed quantities to send at the market."""


def simulate(bars: list[Bar], decide: Decide, rules: Rules) -> Books:
    """Walk through the bars once."""
    getcontext().prec = 60
    books = Books(rules.balance)
    day_start = rules.balance
    halted_until = 0
    previous_close_time, last_price = bars[0][0] - 1, D(0)

    def fill(when: int, quantity: Decimal, price: Decimal, kind: str) -> None:
        fee = (abs(quantity) * price * rules.taker_fee).quantize(D("1e-8"), ROUND_HALF_EVEN)
        books.cash -= quantity * price + fee
        books.position += quantity
        side = "buy" if quantity > 0 else "sell"
        books.fills.append((when, side, kind, abs(quantity), price, fee, books.position))

    def worse(price: Decimal, quantity: Decimal) -> Decimal:
        """Round to the tick against us, then slip."""
        rounding = ROUND_CEILING if quantity > 0 else ROUND_FLOOR
        ticks = (price / rules.tick).to_integral_value(rounding)
        ticks += rules.slippage_ticks if quantity > 0 else -rules.slippage_ticks
        return max(ticks, D(1)) * rules.tick

    def pay_funding(price: Decimal) -> None:
        rate = rules.funding_rate_8h * rules.funding_hours / 8
        paid = (books.position * price * rate).quantize(D("1e-8"), ROUND_HALF_EVEN)
        books.cash -= paid
        books.funding += paid

    for number, bar in enumerate(bars, start=1):
        time, opened, high, low, close = bar
        # What fell due inside of the bar, at the price before it.
        due = range(previous_close_time // HOUR * HOUR + HOUR, time, HOUR)
        for hour in due:
            if hour % (rules.funding_hours * HOUR) == 0:
                pay_funding(last_price)
            if hour % DAY == 0:
                day_start = books.cash + books.position * last_price
                if hour >= halted_until:
                    halted_until = 0

        forced = None  # (quantity, price, kind)
        if books.position:
            maintenance = 1 / (2 * max(rules.venue_leverage, D(1))) * abs(books.position)
            at = -books.cash / (books.position - maintenance)
            if at > 0 and (low <= at if books.position > 0 else high >= at):
                price = min(at, opened) if books.position > 0 else max(at, opened)
                forced = (-books.position, worse(price, -books.position), "liquidation")
                halted_until = (time // DAY + 1) * DAY
                books.halts.append((time, "liquidation"))
        if forced is None and time % (rules.funding_hours * HOUR) == 0:
            pay_funding(close)
        equity = books.cash + books.position * close
        if forced is None and not halted_until and day_start - equity >= rules.max_daily_loss:
            if books.position:
                forced = (-books.position, worse(close, -books.position), "market")
            halted_until = (time // DAY + 1) * DAY
            books.halts.append((time, "max_daily_loss_usd"))
        if time % DAY == 0:
            day_start = equity
            if time >= halted_until:
                halted_until = 0

        if forced:
            fill(time, *forced)
            equity = books.cash + books.position * close
        held = books.position
        sent: list[Decimal] = []
        for quantity in decide(number, bar, books.position):
            same_side = [other for other in sent if other * quantity > 0]
            worst = held + sum(same_side) + quantity
            opens = worst * quantity > 0
            too_much = rules.max_leverage * equity < abs(worst) * close or equity <= 0
            if quantity % rules.lot:
                books.denied.append((time, "lot_size"))
            elif opens and halted_until:
                books.denied.append((time, books.halts[-1][1]))
            elif opens and abs(worst) > rules.max_position:
                books.denied.append((time, "max_position"))
            elif opens and too_much:
                books.denied.append((time, "max_leverage"))
            else:
                sent.append(quantity)
        for quantity in sent:
            fill(time, quantity, worse(close, quantity), "market")
        books.equity.append(books.cash + books.position * close)
        previous_close_time, last_price = time, close
    return books


def ema_cross(fast: int, slow: int, size: Decimal) -> Decide:
    """Return the decisions of an EMA cross that is long above and short below.

    An average begins as the plain mean of its first closes.
    """
    averages = {"fast": 0.0, "slow": 0.0}
    lengths = {"fast": fast, "slow": slow}
    side = [0]

    def decide(number: int, bar: Bar, position: Decimal) -> Iterable[Decimal]:
        close = float(bar[4])
        for name, length in lengths.items():
            alpha = 2 / (length + 1)
            if number <= length:
                averages[name] += close / length
            else:
                averages[name] += alpha * (close - averages[name])
        if number < slow or averages["fast"] == averages["slow"]:
            return
        now = 1 if averages["fast"] > averages["slow"] else -1
        if now != side[0]:
            side[0] = now
            if now * size != position:
                yield now * size - position

    return decide
