"""A second implementation of docs/orders.md in plain Python, written from that page alone.

It imports neither tbv8 nor NautilusTrader, and is slow on purpose: Decimals, one function for each
rule, nothing optimised. Sizes are Decimal base units, prices Decimal, times int milliseconds UTC.
Where the page leaves a choice, the comment "reading:" names the choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal, getcontext
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Protocol

D = Decimal
ZERO, FORTY, PLENTY = D(0), D(40), D(10**9)
OPEN = ("held", "sent", "working")
HOUR = 3_600_000
DAY = 24 * HOUR
UNIT_MS = {"m": 60_000, "h": HOUR, "d": DAY, "w": 7 * DAY, "M": 31 * DAY}
"""A month counts its most days: only the order of timeframes matters here."""

getcontext().prec = 60


# Records


@dataclass(frozen=True, kw_only=True)
class Order:
    """A request to trade; `linked` are the ids of orders that share its `contingency`."""

    id: str
    symbol: str
    side: str
    kind: str
    quantity: Decimal
    price: Decimal | None = None
    trigger: Decimal | None = None
    reduce_only: bool = False
    post_only: bool = False
    time_in_force: str = "GTC"
    expire_ms: int | None = None
    parent: str | None = None
    linked: tuple[str, ...] = ()
    contingency: str | None = None


@dataclass(frozen=True, kw_only=True)
class Market:
    """The rules of one symbol's instrument; `max_position` is the risk limit in base units."""

    tick: Decimal
    lot: Decimal
    maker_fee: Decimal = ZERO
    taker_fee: Decimal = ZERO
    max_leverage: Decimal = FORTY
    max_position: Decimal = PLENTY
    min_notional: Decimal = ZERO


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The account's rules; the order of `markets` is the order of the strategy's symbols."""

    markets: dict[str, Market]
    balance: Decimal
    max_leverage: Decimal = FORTY
    max_daily_loss: Decimal | None = None
    slippage_ticks: int = 0
    funding_rate_8h: Decimal = ZERO
    funding_hours: int = 8
    start_ms: int | None = None
    """The end of the warm-up; None without one."""


@dataclass(frozen=True)
class Step:
    symbol: str
    close_ms: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal


@dataclass(frozen=True)
class Shown:
    """A bar that the strategy sees at its close."""

    symbol: str
    timeframe: str
    close_ms: int


@dataclass(frozen=True)
class Fill:
    """`position` is the symbol's after the fill; an `id` of None is a close that nobody sent."""

    ts_ms: int
    symbol: str
    id: str | None
    side: str
    kind: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: str
    position: Decimal
    at: str


@dataclass
class Books:
    """The outcome of a run; the amount of a payment is the change of cash."""

    fills: list[Fill] = field(default_factory=list)
    denials: list[tuple[int, str, str]] = field(default_factory=list)
    """Time, rule, order."""
    halts: list[tuple[int, str]] = field(default_factory=list)
    payments: list[tuple[int, str, Decimal]] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    """filled, canceled, expired, rejected, denied, working (a held child too), or waiting."""
    equity: list[tuple[int, Decimal]] = field(default_factory=list)
    """At each close, after the strategy's orders of that close."""
    positions: dict[str, Decimal] = field(default_factory=dict)
    cash: Decimal = ZERO


class World(Protocol):
    """All that a script may know and do."""

    @property
    def time_ms(self) -> int: ...
    def position(self, symbol: str) -> Decimal: ...
    def last(self, symbol: str) -> Decimal | None: ...
    def open_orders(self) -> list[str]: ...
    def send(self, order: Order) -> None: ...
    def send_list(self, orders: Sequence[Order]) -> None: ...
    def cancel(self, id: str) -> None: ...
    def modify(
        self,
        id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        trigger: Decimal | None = None,
    ) -> None: ...
    def set_timer(self, name: str, at_ms: int) -> None: ...


class Script(Protocol):
    """A deterministic strategy."""

    def on_bar(self, world: World, shown: Shown, close: Decimal) -> None: ...
    def on_fill(self, world: World, fill: Fill) -> None: ...
    def on_timer(self, world: World, name: str) -> None: ...


@dataclass
class Live:
    """An order that counts: what of it may still change.

    `state` is held (it waits for its parent), sent (let through, not carried out yet), working, or
    the order's end.
    """

    order: Order
    number: int
    """The place in the order of sending."""
    left: Decimal
    price: Decimal | None
    trigger: Decimal | None
    reduce_only: bool
    expire_ms: int | None
    state: str = "working"
    filled: Decimal = ZERO
    triggered: bool = False
    began_inside: bool = False

    @property
    def is_buy(self) -> bool:
        return self.order.side == "buy"

    @property
    def sign(self) -> int:
        return 1 if self.is_buy else -1

    @property
    def is_stop(self) -> bool:
        """Whether a trigger is still to be reached."""
        return self.order.kind in ("stop_market", "stop_limit") and not self.triggered


@dataclass
class Account:
    """Cash, positions, last prices and orders at one moment."""

    rules: Rules
    cash: Decimal
    positions: dict[str, Decimal]
    last: dict[str, Decimal]
    orders: list[Live]
    denials: list[tuple[int, str, str]]
    """Time, rule, order."""
    now_ms: int = 0

    def copy(self) -> Account:
        """Return a copy to change; it shares the orders that have ended, which never change."""
        return replace(
            self,
            positions=dict(self.positions),
            last=dict(self.last),
            orders=[replace(o) if o.state in OPEN else o for o in self.orders],
            denials=list(self.denials),
        )

    def working(self, symbol: str) -> list[Live]:
        return [o for o in self.orders if o.state == "working" and o.order.symbol == symbol]

    def admitted(self, symbol: str) -> list[Live]:
        """Return the orders that work, and those let through that are not carried out yet."""
        states = ("sent", "working")
        return [o for o in self.orders if o.state in states and o.order.symbol == symbol]

    def find(self, id: str) -> Live | None:
        return next((o for o in self.orders if o.order.id == id), None)

    def equity(self) -> Decimal:
        worth = sum((q * self.last[s] for s, q in self.positions.items() if q), ZERO)
        return self.cash + worth


# Section 2: prices


def against(price: Decimal | Fraction, side: str, tick: Decimal) -> Decimal:
    """Round to the next tick against us, never below one tick."""
    ticks = Fraction(price) / Fraction(tick)
    rounded = math.ceil(ticks) if side == "buy" else math.floor(ticks)
    return max(rounded, 1) * tick


def slipped(price: Decimal | Fraction, side: str, tick: Decimal, slippage_ticks: int) -> Decimal:
    slip = slippage_ticks if side == "buy" else -slippage_ticks
    return max(against(price, side, tick) + slip * tick, tick)


def close_takes(live: Live, close: Decimal | Fraction, tick: Decimal) -> bool:
    """Whether the close has reached a limit order that is sent or changed at it."""
    assert live.price is not None
    price = against(close, live.order.side, tick)
    return live.price >= price if live.is_buy else live.price <= price


def reached(live: Live, price: Decimal | Fraction) -> bool:
    """Whether a price is at or beyond a stop's trigger."""
    assert live.trigger is not None
    return price >= live.trigger if live.is_buy else price <= live.trigger


def beyond(live: Live, price: Decimal) -> bool:
    """Whether a price is through a limit: better for us than the limit."""
    assert live.price is not None
    return price < live.price if live.is_buy else price > live.price


def rounded_usd(amount: Decimal) -> Decimal:
    return amount.quantize(D("1e-8"), ROUND_HALF_EVEN)


# Section 5: never larger, and ends


def fill(
    account: Account,
    live: Live,
    price: Decimal,
    liquidity: str,
    *,
    inside: bool = False,
) -> Fill:
    """Fill an order as far as it may, and let its children, its links and the rest follow."""
    symbol = live.order.symbol
    held = max(-account.positions[symbol] * live.sign, ZERO)
    quantity = min(live.left, held) if live.reduce_only else live.left
    live.filled += quantity
    live.left -= quantity
    if live.left == 0:
        live.state = "filled"
    at = "inside" if inside else "close"
    booked = book(account, live, quantity, price, liquidity, at=at)
    for other in account.orders:
        if other.state in OPEN and other.order.id in live.order.linked:
            if live.order.contingency == "OCO":
                end(account, other, "canceled")
            elif live.order.contingency == "OUO":
                other.left = max(other.left - quantity, ZERO)
                if other.left == 0:
                    end(account, other, "canceled")
    begin_children(account, live, inside=inside)
    end_idle_reducers(account, symbol)
    end_excess(account, symbol)
    return booked


def begin_children(account: Account, parent: Live, *, inside: bool) -> None:
    """Let the children of an order begin, one by one in the order of sending."""
    children = [
        o for o in account.orders if o.order.parent == parent.order.id and o.state == "held"
    ]
    for child in children:
        child.state = "working"
        child.began_inside = inside
        # reading: at a close its trigger is reached with the parent's fill, before any request
        if child.order.kind == "stop_limit" and not inside:
            child.triggered = reached(child, account.last[child.order.symbol])
        if opens(account, child) and leverage_broken(account, child):
            end(account, child, "canceled")
            account.denials.append((account.now_ms, "max_leverage", child.order.id))


def would_take(live: Live, price: Decimal | Fraction, rules: Rules) -> bool:
    """Whether it is a post-only limit that the price has reached."""
    tick = rules.markets[live.order.symbol].tick
    return live.order.post_only and close_takes(live, price, tick)


def book(
    account: Account, live: Live, quantity: Decimal, price: Decimal, liquidity: str, *, at: str
) -> Fill:
    order = live.order
    market = account.rules.markets[order.symbol]
    rate = market.maker_fee if liquidity == "maker" else market.taker_fee
    fee = rounded_usd(quantity * price * rate)
    account.cash -= live.sign * quantity * price + fee
    account.positions[order.symbol] += live.sign * quantity
    return Fill(
        account.now_ms,
        order.symbol,
        order.id or None,
        order.side,
        order.kind,
        quantity,
        price,
        fee,
        liquidity,
        account.positions[order.symbol],
        at,
    )


def end(account: Account, live: Live, state: str) -> None:
    """End an order; without a fill its children end too."""
    if live.state not in OPEN:
        return
    live.state = state
    if live.filled == 0:
        for other in account.orders:
            if other.order.parent == live.order.id:
                end(account, other, "canceled")


def end_idle_reducers(account: Account, symbol: str) -> None:
    """End what has nothing left to reduce, also what is let through and not carried out yet.

    A market order is looked at when it is carried out.
    """
    for other in account.orders:
        pending = other.state == "sent" and other.order.kind != "market"
        if other.order.symbol != symbol or not (pending or other.state == "working"):
            continue
        if other.reduce_only and account.positions[symbol] * other.sign >= 0:
            end(account, other, "canceled")


def end_excess(account: Account, symbol: str) -> None:
    """End the orders that could together take the position beyond max_position.

    Orders that are let through and not carried out yet count and end too, but market orders;
    the children of an order that ends end unlisted.
    """
    largest = account.rules.markets[symbol].max_position
    resting = [o for o in account.admitted(symbol) if o.order.kind != "market"]
    for sign in (1, -1):
        orders = [o for o in resting if o.sign == sign and not o.reduce_only]
        orders.sort(key=lambda order: order.number)
        position = account.positions[symbol] * sign
        while orders and position + sum(order.left for order in orders) > largest:
            last = orders.pop()
            end(account, last, "canceled")
            account.denials.append((account.now_ms, "max_position", last.order.id))


# Section 7: the worst position and the leverage


def expected_position(account: Account, live: Live) -> Decimal:
    """Return the position once the market orders that were let through before are filled."""
    position = account.positions[live.order.symbol]
    for other in account.admitted(live.order.symbol):
        if is_market_to_come(other) and other.order.id != live.order.id:
            held = max(-position * other.sign, ZERO)
            filled = min(other.left, held) if other.reduce_only else other.left
            position += other.sign * filled
    return position


def same_side(account: Account, live: Live) -> list[Live]:
    return [
        other
        for other in account.admitted(live.order.symbol)
        if other.sign == live.sign and other.order.id != live.order.id
    ]


def opens(account: Account, live: Live) -> bool:
    """Whether an order could open a position, with all orders of its side.

    reading: it is asked of the position that market orders to come leave, too.
    """
    resting = sum((o.left for o in same_side(account, live) if not is_market_to_come(o)), ZERO)
    everything = expected_position(account, live) * live.sign + live.left + resting
    return not live.reduce_only and everything > 0


def worst_with(account: Account, live: Live) -> Decimal:
    """Return the worst position of an order's symbol, the order included."""
    opening = [o for o in same_side(account, live) if not o.reduce_only]
    every = sum((o.left for o in opening), ZERO)
    still = sum((o.left for o in opening if not is_market_to_come(o)), ZERO)
    now = account.positions[live.order.symbol] + live.sign * (live.left + every)
    later = expected_position(account, live) + live.sign * (live.left + still)
    return max(now, later, key=abs)


def worst_of(account: Account, symbol: str) -> Decimal:
    opening = [o for o in account.admitted(symbol) if not o.reduce_only]
    position = account.positions[symbol]
    return max(
        abs(position + sum((o.left * sign for o in opening if o.sign == sign), ZERO))
        for sign in (1, -1)
    )


def leverage_broken(account: Account, live: Live) -> bool:
    gross = abs(worst_with(account, live)) * account.last[live.order.symbol]
    for other in account.rules.markets:
        if other != live.order.symbol and other in account.last:
            gross += worst_of(account, other) * account.last[other]
    leverage = min(
        account.rules.max_leverage, *(m.max_leverage for m in account.rules.markets.values())
    )
    equity = account.equity()
    return equity <= 0 or gross > leverage * equity


# Section 6: liquidation


def maintenance(account: Account, symbol: str, price: Decimal | Fraction) -> Fraction:
    held = abs(account.positions[symbol])
    return (
        Fraction(held) * Fraction(price) / Fraction(2 * account.rules.markets[symbol].max_leverage)
    )


def liquidation_price(account: Account, symbol: str) -> Fraction | None:
    """Return where the symbol's position is liquidated, the others at their last prices."""
    if not account.positions[symbol]:
        return None
    position = Fraction(account.positions[symbol])
    rest = Fraction(account.cash)
    for other, quantity in account.positions.items():
        if other != symbol and quantity:
            price = account.last[other]
            rest += Fraction(quantity * price) - maintenance(account, other, price)
    margin = 1 / Fraction(2 * account.rules.markets[symbol].max_leverage)
    found = -rest / (position - margin * abs(position))
    if found > 0:
        return found
    return None if position > 0 else Fraction(0)


# Sections 3 and 4: the path inside of a step


@dataclass
class Path:
    """One walk through a step; `lost` is the margin held at the liquidation price."""

    account: Account
    step: Step
    tell: Callable[[Fill], None]
    fills: list[Fill] = field(default_factory=list)
    fills_on_jump: int = 0
    position_at_open: Decimal = ZERO
    lost: Fraction | None = None

    @property
    def tick(self) -> Decimal:
        return self.account.rules.markets[self.step.symbol].tick

    def walk(self, before: Decimal | None, *, low_first: bool) -> Path:
        step = self.step
        if before is not None:
            self.leg(before, step.open, jump=True)
        self.fills_on_jump = len(self.fills)
        self.position_at_open = self.account.positions[step.symbol]
        extremes = (step.low, step.high) if low_first else (step.high, step.low)
        for a, b in pairwise((step.open, *extremes, step.close)):
            self.leg(a, b, jump=False)
        if self.lost is None:
            self.end_of_path()
        self.account.last[step.symbol] = step.close
        return self

    def equity(self) -> Decimal:
        return ZERO if self.lost is not None else self.account.equity()

    def leg(self, a: Decimal, b: Decimal, *, jump: bool) -> None:
        """Fill what the price meets on a straight way, one by one."""
        at: Decimal | Fraction = a
        while self.lost is None:
            met = self.first_met(at, b, rises=b > a, falls=b < a, jump=jump)
            if met is None:
                return
            at, live = met
            price = b if jump else at
            if live is None:
                self.liquidate(price)
            elif live.is_stop:
                self.trigger(live, price)
            else:
                assert live.price is not None
                self.fill(live, live.price, "maker", market_price=price)

    def first_met(
        self, at: Decimal | Fraction, b: Decimal, *, rises: bool, falls: bool, jump: bool
    ) -> tuple[Decimal | Fraction, Live | None] | None:
        """Return the nearest meeting; None in place of an order is the liquidation."""
        meetings: list[tuple[Decimal | Fraction, int, Live | None]] = []
        here = b if jump else at
        held = self.account.positions[self.step.symbol]
        price = liquidation_price(self.account, self.step.symbol)
        if price is not None:
            met = stop_met(
                price, at, b, here, rises=rises, falls=falls, buys=held < 0, at_once=True
            )
            if met is not None:
                meetings.append((met, -1, None))
        for live in self.account.working(self.step.symbol):
            if self.ends_inside(live):
                continue
            if live.is_stop:
                assert live.trigger is not None
                met = stop_met(
                    live.trigger,
                    at,
                    b,
                    here,
                    rises=rises,
                    falls=falls,
                    buys=live.is_buy,
                    at_once=live.began_inside,
                )
            elif live.began_inside:
                continue
            else:
                assert live.price is not None
                met = limit_met(live.price, at, b, buys=live.is_buy)
            if met is not None:
                meetings.append((met, live.number, live))
        if not meetings:
            return None
        nearest = min(
            meetings, key=lambda meeting: (abs(Fraction(meeting[0]) - Fraction(at)), meeting[1])
        )
        return nearest[0], nearest[2]

    def fill(
        self, live: Live, price: Decimal, liquidity: str, *, market_price: Decimal | Fraction
    ) -> None:
        """Fill an order on the path; on the jump the market is at the open."""
        account = self.account
        booked = fill(account, live, price, liquidity, inside=True)
        if live.state == "filled":
            for child in account.orders:
                is_child = child.order.parent == live.order.id and child.state in OPEN
                if is_child and would_take(child, market_price, account.rules):
                    end(account, child, "rejected")
        self.fills.append(booked)
        self.tell(booked)

    def trigger(self, live: Live, price: Decimal | Fraction) -> None:
        """Let a stop go off at a price of the path: where it is met, or the open behind it."""
        if live.order.kind == "stop_market":
            slippage = self.account.rules.slippage_ticks
            paid = slipped(price, live.order.side, self.tick, slippage)
            self.fill(live, paid, "taker", market_price=price)
            return
        assert live.price is not None
        live.triggered = True
        if no_worse_for_the_market(live, price):
            self.fill(live, live.price, "taker", market_price=price)
        else:
            live.began_inside = True

    def liquidate(self, price: Decimal | Fraction) -> None:
        account, symbol = self.account, self.step.symbol
        held_at = liquidation_price(account, symbol) or price
        self.lost = sum(
            (
                maintenance(account, other, held_at if other == symbol else account.last[other])
                for other, quantity in account.positions.items()
                if quantity
            ),
            Fraction(0),
        )
        closing = closing_order(account, symbol, "liquidation")
        at = against(price, closing.order.side, self.tick)
        booked = book(account, closing, closing.left, at, "taker", at="inside")
        self.fills.append(booked)
        self.tell(booked)

    def below_margin(self, price: Decimal) -> bool:
        limit = liquidation_price(self.account, self.step.symbol)
        if limit is None:
            return False
        return price <= limit if self.account.positions[self.step.symbol] > 0 else price >= limit

    def ends_inside(self, live: Live) -> bool:
        return live.expire_ms is not None and live.expire_ms < self.step.close_ms

    def end_of_path(self) -> None:
        """Fill, one by one, what the page leaves to the end.

        reading: an account that a fill here leaves below the margin is liquidated at the close.
        """
        while True:
            waiting = [
                (kind, live.number, live, price)
                for live in self.account.working(self.step.symbol)
                for kind, price in [self.at_the_end(live)]
                if price is not None
            ]
            if not waiting:
                break
            kind, _, live, price = min(waiting, key=lambda turn: turn[:2])
            assert price is not None
            if kind == 0:
                self.trigger(live, price)
            elif kind == 1:
                taker = live.order.kind == "stop_market" or no_worse_for_the_market(
                    live, self.trigger_price(live)
                )
                market_price = self.trigger_price(live) if taker else self.step.close
                liquidity = "taker" if taker else "maker"
                self.fill(live, price, liquidity, market_price=market_price)
            else:
                self.fill(live, price, "maker", market_price=self.step.close)
            if self.below_margin(self.step.close):
                self.liquidate(self.step.close)
                return
        for live in self.account.orders:
            live.began_inside = False

    def at_the_end(self, live: Live) -> tuple[int, Decimal | None]:
        """Return an order's turn at the end of the path and its price, None if it does not fill."""
        if self.ends_inside(live):
            return (1 if live.is_stop else 3), self.price_if_worse(live)
        if not live.began_inside:
            return 4, None
        if live.is_stop:
            if reached(live, self.step.close):
                return 0, self.step.close
            return 0, live.trigger if self.extremes_reached(live) else None
        return 2, live.price if beyond(live, self.step.close) else None

    def extremes_reached(self, live: Live) -> bool:
        return reached(live, self.step.high if live.is_buy else self.step.low)

    def trigger_price(self, live: Live) -> Decimal:
        assert live.trigger is not None
        return self.step.open if reached(live, self.step.open) else live.trigger

    def price_if_worse(self, live: Live) -> Decimal | None:
        """Return what an order that ends inside of the step fills at: if it costs us.

        reading: a stop's price is compared as it would be paid, rounded and slipped.
        """
        side, slippage = live.order.side, self.account.rules.slippage_ticks
        price: Decimal | None
        if live.is_stop:
            if not self.extremes_reached(live):
                return None
            price = live.price
            if live.order.kind == "stop_market":
                price = slipped(self.trigger_price(live), side, self.tick, slippage)
        else:
            if not beyond(live, self.step.low if live.is_buy else self.step.high):
                return None
            price = live.price
        assert price is not None
        worse = price > self.step.close if live.is_buy else price < self.step.close
        return price if worse else None


def stop_met(
    trigger: Decimal | Fraction,
    at: Decimal | Fraction,
    b: Decimal,
    here: Decimal | Fraction,
    *,
    rises: bool,
    falls: bool,
    buys: bool,
    at_once: bool,
) -> Decimal | Fraction | None:
    """Return where a stop is met on the rest of a leg, from `at` to `b`.

    `here` is the price that trades now: on the jump the open. Of stops at the leg's very end
    each is met, though nothing is left of the leg after the first.
    """
    if buys:
        if rises and b >= trigger:
            return max(at, trigger)
        return at if at_once and here >= trigger else None
    if falls and b <= trigger:
        return min(at, trigger)
    return at if at_once and here <= trigger else None


def limit_met(
    limit: Decimal, at: Decimal | Fraction, b: Decimal, *, buys: bool
) -> Decimal | Fraction | None:
    if buys:
        return min(at, limit) if at > b and b < limit else None
    return max(at, limit) if at < b and b > limit else None


def no_worse_for_the_market(live: Live, price: Decimal | Fraction) -> bool:
    assert live.price is not None
    return live.price >= price if live.is_buy else live.price <= price


def has_ended(live: Live, now_ms: int) -> bool:
    return live.expire_ms is not None and live.expire_ms <= now_ms


def closing_order(account: Account, symbol: str, kind: str) -> Live:
    """Return an order of nobody that closes a position."""
    held = account.positions[symbol]
    side = "sell" if held > 0 else "buy"
    order = Order(id="", symbol=symbol, side=side, kind=kind, quantity=abs(held))
    return Live(order, -1, abs(held), None, None, True, None)


def worse_path_is_low_first(low: Path, high: Path, step: Step) -> bool:
    """Choose between the two paths of a step.

    reading: where both leave the same equity, the position and the first fill are those from
    the open on, where the paths part; a fill on the jump is the same in both.
    """
    if low.equity() != high.equity():
        return low.equity() < high.equity()
    if low.position_at_open != 0:
        return low.position_at_open > 0
    to_low, to_high = step.open - step.low, step.high - step.open
    if to_low != to_high:
        return to_low < to_high
    firsts = []
    for path in (low, high):
        fills = path.fills[path.fills_on_jump :]
        live = path.account.find(fills[0].id) if fills and fills[0].id else None
        firsts.append(live.number if live else None)
    if firsts[0] is None or firsts[1] is None:
        return True
    return firsts[0] <= firsts[1]


# The session


@dataclass(frozen=True)
class Request:
    """What a script asked for, about one symbol."""

    symbol: str
    waited: bool
    orders: tuple[Order, ...] = ()
    cancel: str | None = None
    modify: str | None = None
    quantity: Decimal | None = None
    price: Decimal | None = None
    trigger: Decimal | None = None


class Session:
    """The state of one run; it is the script's `World` too."""

    def __init__(self, script: Script, rules: Rules) -> None:
        self.script = script
        self.rules = rules
        self.books = Books()
        self.account = Account(
            rules, rules.balance, dict.fromkeys(rules.markets, ZERO), {}, [], self.books.denials
        )
        self.time_ms = 0
        self.closed: set[str] = set()
        """The symbols with a step that closes now, whose orders count at once."""
        self.deferred: list[Request] = []
        self.admitted: list[Callable[[], None]] = []
        self.draining = False
        """Carries out, one after the other, what was let through at this close."""
        self.timers: list[tuple[int, str]] = []
        self.numbers: dict[str, int] = {}
        self.symbol_of: dict[str, str] = {}
        self.halt: str | None = None
        self.day_start = rules.balance
        self.counted = rules.start_ms is None

    # What a script sees and does

    def position(self, symbol: str) -> Decimal:
        return self.account.positions[symbol]

    def last(self, symbol: str) -> Decimal | None:
        return self.account.last.get(symbol)

    def open_orders(self) -> list[str]:
        """Return the orders that were let through and have not ended, held children included."""
        live = [o for o in self.account.orders if o.state in OPEN]
        return [o.order.id for o in sorted(live, key=lambda o: o.number)]

    def send(self, order: Order) -> None:
        self.send_list([order])

    def send_list(self, orders: Sequence[Order]) -> None:
        for order in orders:
            assert order.id not in self.numbers, f"{order.id!r} was sent before"
            self.numbers[order.id] = len(self.numbers)
            self.symbol_of[order.id] = order.symbol
            self.books.states[order.id] = "waiting"
        self.request(orders[0].symbol, orders=tuple(orders))

    def cancel(self, id: str) -> None:
        self.request(self.symbol_of[id], cancel=id)

    def modify(
        self,
        id: str,
        *,
        quantity: Decimal | None = None,
        price: Decimal | None = None,
        trigger: Decimal | None = None,
    ) -> None:
        self.request(self.symbol_of[id], modify=id, quantity=quantity, price=price, trigger=trigger)

    def set_timer(self, name: str, at_ms: int) -> None:
        self.timers.append((at_ms, name))

    def request(self, symbol: str, **what: object) -> None:
        """Section 1: count a request now, or at the close of its symbol's step."""
        now = symbol in self.closed
        request = Request(symbol, not now, **what)  # type: ignore[arg-type]
        if now:
            if carry_out := self.count(request):
                self.admitted.append(carry_out)
        elif symbol not in self.account.last and request.orders:
            self.deny_without_price(request.orders)
        else:
            self.deferred.append(request)

    # Section 1: one instant after the other

    def run(self, steps: Iterable[Step], shown: Iterable[Shown]) -> Books:
        places = {symbol: place for place, symbol in enumerate(self.rules.markets)}
        by_time: dict[int, tuple[list[Step], list[Shown]]] = {}
        for step in steps:
            by_time.setdefault(step.close_ms, ([], []))[0].append(step)
        for bar in shown:
            by_time.setdefault(bar.close_ms, ([], []))[1].append(bar)
        before_ms = None
        for now_ms in sorted(by_time):
            now_steps, now_shown = by_time[now_ms]
            if before_ms is not None:
                self.pass_time(before_ms, now_ms)
            self.add_closing_steps(now_steps, now_shown)
            before_ms = now_ms
            self.fire_timers(now_ms - 1)
            self.time_ms = self.account.now_ms = now_ms
            now_steps.sort(key=lambda step: places[step.symbol])
            now_shown.sort(key=lambda bar: (-length_ms(bar.timeframe), -places[bar.symbol]))
            self.instant(now_steps, now_shown)
        for live in self.account.orders:
            self.books.states[live.order.id] = "working" if live.state == "held" else live.state
        self.books.positions = dict(self.account.positions)
        self.books.cash = self.account.cash
        return self.books

    def add_closing_steps(self, steps: list[Step], shown: list[Shown]) -> None:
        """Section 1: end a bar whose last minute is missing with a step of the last close."""
        for bar in shown:
            if bar.symbol not in {step.symbol for step in steps}:
                last = self.account.last[bar.symbol]
                steps.append(Step(bar.symbol, bar.close_ms, last, last, last, last))

    def instant(self, steps: list[Step], shown: list[Shown]) -> None:
        self.walk_steps(steps)
        self.pay_funding(self.time_ms)
        self.check_daily_loss()
        self.begin_day(self.time_ms)
        self.closed = set()
        self.count_waiting({step.symbol for step in steps})
        self.end_warm_up(self.time_ms)
        self.closed = {step.symbol for step in steps}
        for bar in shown:
            self.script.on_bar(self, bar, self.account.last[bar.symbol])
            self.draining = True
            while self.admitted:
                self.admitted.pop(0)()
            self.draining = False
        self.closed = set()
        self.books.equity.append((self.time_ms, self.account.equity()))

    def pass_time(self, before_ms: int, now_ms: int) -> None:
        """Pay the funding, begin the days and end the warm-up where no step ends."""
        due = {*range(before_ms // HOUR * HOUR + HOUR, now_ms, HOUR)}
        start_ms = self.rules.start_ms
        if start_ms is not None and before_ms < start_ms < now_ms:
            due.add(start_ms)
        for time_ms in sorted(due):
            self.pay_funding(time_ms)
            self.begin_day(time_ms)
            self.end_warm_up(time_ms)

    def fire_timers(self, now_ms: int) -> None:
        while due := [timer for timer in self.timers if timer[0] <= now_ms]:
            timer = min(due)
            self.timers.remove(timer)
            self.time_ms = self.account.now_ms = timer[0]
            self.script.on_timer(self, timer[1])

    def walk_steps(self, steps: list[Step]) -> None:
        lost = None
        for step in steps:
            if lost is None:
                lost = self.walk(step)
            else:
                self.account.last[step.symbol] = step.close
        for live in self.account.orders:
            if has_ended(live, self.time_ms):
                end(self.account, live, "expired")
        self.fire_timers(self.time_ms)
        if lost is not None:
            self.finish_liquidation(lost)

    def walk(self, step: Step) -> Fraction | None:
        """Walk both paths on copies, then the worse one for real."""
        before = self.account.last.get(step.symbol)
        low, high = (
            Path(self.account.copy(), step, lambda _: None).walk(before, low_first=low_first)
            for low_first in (True, False)
        )
        low_first = worse_path_is_low_first(low, high, step)
        return Path(self.account, step, self.tell).walk(before, low_first=low_first).lost

    def tell(self, booked: Fill) -> None:
        self.books.fills.append(booked)
        self.script.on_fill(self, booked)

    def count_waiting(self, symbols: set[str]) -> None:
        """Count what waited and carry it out; what is asked for meanwhile waits behind it."""
        place = 0
        while place < len(self.deferred):
            if self.deferred[place].symbol in symbols:
                if carry_out := self.count(self.deferred.pop(place)):
                    carry_out()
            else:
                place += 1

    # Section 6: the account

    def finish_liquidation(self, margin: Fraction) -> None:
        for live in self.account.orders:
            end(self.account, live, "canceled")
        self.close_positions()
        cash = self.account.cash
        exact = D(margin.numerator) / D(margin.denominator)
        payment = -min(rounded_usd(exact), cash)
        self.account.cash += payment
        self.books.payments.append((self.time_ms, "liquidation", payment))
        self.halt = "liquidation"
        self.books.halts.append((self.time_ms, self.halt))

    def close_positions(self) -> None:
        """Close every position as market orders at the last closes, in the order of symbols."""
        for symbol, market in self.rules.markets.items():
            if self.account.positions[symbol] != 0:
                closing = closing_order(self.account, symbol, "market")
                price = slipped(
                    self.account.last[symbol],
                    closing.order.side,
                    market.tick,
                    self.rules.slippage_ticks,
                )
                self.tell(book(self.account, closing, closing.left, price, "taker", at="close"))

    def pay_funding(self, now_ms: int) -> None:
        if now_ms % DAY % (self.rules.funding_hours * HOUR) != 0:
            return
        rate = self.rules.funding_rate_8h * self.rules.funding_hours / 8
        for symbol, position in self.account.positions.items():
            if position != 0 and rate != 0:
                paid = rounded_usd(position * self.account.last[symbol] * rate)
                self.account.cash -= paid
                self.books.payments.append((now_ms, "funding", -paid))

    def check_daily_loss(self) -> None:
        """Find the day's loss, once a day.

        reading: a day that is halted already, by a liquidation too, is not halted again.
        """
        limit = self.rules.max_daily_loss
        if limit is None or self.halt or self.account.equity() > self.day_start - limit:
            return
        for live in self.account.orders:
            end(self.account, live, "canceled")
        self.close_positions()
        self.halt = "max_daily_loss_usd"
        self.books.halts.append((self.time_ms, self.halt))

    def begin_day(self, now_ms: int) -> None:
        if now_ms % DAY == 0:
            self.day_start = self.account.equity()
            self.halt = None

    def end_warm_up(self, now_ms: int) -> None:
        """Section 8: set the account to the starting balance."""
        if self.counted or self.rules.start_ms is None or now_ms < self.rules.start_ms:
            return
        self.counted = True
        self.account.cash += self.rules.balance - self.account.equity()
        self.day_start = self.rules.balance
        self.halt = None
        books = self.books
        for counted in (books.fills, books.denials, books.halts, books.payments, books.equity):
            counted.clear()

    # Sections 2, 5 and 7: what is sent, changed or cancelled counts at a close

    def count(self, request: Request) -> Callable[[], None] | None:
        """Check a request; return what carries it out, None if that is nothing."""
        if request.orders:
            return self.count_orders(request)
        if request.cancel is None:
            return self.count_change(request)
        live = self.account.find(request.cancel)
        if live is not None and live.state == "held":
            end(self.account, live, "canceled")
            return None
        return None if live is None else lambda: end(self.account, live, "canceled")

    def count_orders(self, request: Request) -> Callable[[], None] | None:
        """Check orders that are sent together: all of them are let through, or none.

        reading: the first order of a list that breaks a rule names the rule of all.
        """
        ids = {order.id for order in request.orders}
        lives: list[Live] = []
        for order in request.orders:
            live = self.enlive(order)
            live.state = "held" if order.parent in ids else "sent"
            rule = self.form_broken(live) or self.sending_denied(live, waited=request.waited)
            rule_of_risk = None
            if rule is None and live.state != "held":
                rule_of_risk = self.risk_broken(live)
            held = -expected_position(self.account, live) * live.sign
            if rule_of_risk and len(request.orders) == 1 and held > 0:
                if live.left > held:
                    self.deny(live.order.id, rule_of_risk)
                live.left = min(live.left, held)
                live.reduce_only = True
            elif rule or rule_of_risk:
                for let_through in lives:
                    self.account.orders.remove(let_through)
                self.deny(order.id, rule or rule_of_risk or "")
                self.books.states |= {denied.id: "denied" for denied in request.orders}
                return None
            lives.append(live)
            self.account.orders.append(live)
        return lambda: self.place_all(lives)

    def place_all(self, lives: Sequence[Live]) -> None:
        for live in lives:
            if live.state == "sent":  # else it waits for its parent, or a fill of the list ended it
                self.place(live)

    def enlive(self, order: Order) -> Live:
        expire_ms = None
        if order.time_in_force == "GTD":
            expire_ms = order.expire_ms
        elif order.time_in_force == "DAY":
            expire_ms = self.time_ms // DAY * DAY + DAY
        return Live(
            order,
            self.numbers[order.id],
            order.quantity,
            order.price,
            order.trigger,
            order.reduce_only,
            expire_ms,
        )

    def deny(self, id: str, rule: str) -> None:
        """List a denial; one for all orders of a request."""
        self.books.denials.append((self.time_ms, rule, id))

    def deny_without_price(self, orders: Sequence[Order]) -> None:
        """Deny what would open a position before its symbol's first close."""
        first = self.enlive(orders[0])
        rule = self.form_broken(first) or ("reduce_only" if first.reduce_only else "max_leverage")
        self.deny(orders[0].id, rule)
        self.books.states |= {order.id: "denied" for order in orders}

    def form_broken(self, live: Live) -> str | None:
        """What is not simulated, tick_size and lot_size.

        reading: expire_time is asked with what is not simulated.
        """
        order, market = live.order, self.rules.markets[live.order.symbol]
        if order.time_in_force not in ("GTC", "GTD", "DAY", "IOC", "FOK"):
            return "time_in_force"
        must_last = order.trigger is not None or order.parent is not None
        if must_last and order.time_in_force in ("IOC", "FOK"):
            return "time_in_force"
        if order.kind == "stop_limit" and order.post_only:
            return "post_only"
        if order.kind != "market" and has_ended(live, self.time_ms):
            return "expire_time"
        for price in (live.price, live.trigger):
            if price is not None and (price <= 0 or price % market.tick != 0):
                return "tick_size"
        if live.left <= 0 or live.left % market.lot != 0:
            return "lot_size"
        return None

    def sending_denied(self, live: Live, *, waited: bool, changes: bool = False) -> str | None:
        """Section 5's denials; children that wait for a parent are not held against the close."""
        if live.state == "held":
            return None
        held = -expected_position(self.account, live) * live.sign
        if live.reduce_only and held <= 0 and not changes:
            return "reduce_only"
        reduces = held > 0 and (live.reduce_only or live.left <= held)
        at_market = live.is_stop and reached(live, self.account.last[live.order.symbol])
        return "stop_in_market" if at_market and not (waited and reduces) else None

    def risk_broken(self, live: Live) -> str | None:
        """Section 7, from min_notional_usd on."""
        account, symbol = self.account, live.order.symbol
        market = self.rules.markets[symbol]
        if not opens(account, live):
            return None
        price = live.price or live.trigger or account.last[symbol]
        if live.left * price < market.min_notional:
            return "min_notional_usd"
        if self.halt:
            return self.halt
        if abs(worst_with(account, live)) > market.max_position:
            return "max_position"
        return "max_leverage" if leverage_broken(account, live) else None

    def place(self, live: Live) -> None:
        """Let an order that was let through, changed or has begun meet the close, or rest."""
        market, close = self.rules.markets[live.order.symbol], self.account.last[live.order.symbol]
        kind, side = live.order.kind, live.order.side
        at_close = slipped(close, side, market.tick, self.rules.slippage_ticks)
        live.state = "working"
        if kind == "stop_limit" and live.is_stop and reached(live, close):
            live.triggered = True
        if live.reduce_only and self.account.positions[live.order.symbol] * live.sign >= 0:
            end(self.account, live, "canceled")
        elif kind == "market":
            self.fill_at_close(live, at_close)
        elif has_ended(live, self.time_ms):
            end(self.account, live, "expired")
        elif live.is_stop:
            if reached(live, close):
                self.fill_at_close(live, at_close)
        elif close_takes(live, close, market.tick):
            if live.order.post_only:
                end(self.account, live, "rejected")
            else:
                self.fill_at_close(live, against(close, side, market.tick))
        elif live.order.time_in_force in ("IOC", "FOK"):
            end(self.account, live, "canceled")

    def fill_at_close(self, live: Live, price: Decimal) -> None:
        """Fill an order at a close; its children begin there, behind what was asked for before."""
        children = [
            other
            for other in self.account.orders
            if other.order.parent == live.order.id and other.state == "held"
        ]
        booked = fill(self.account, live, price, "taker")
        if live.order.time_in_force in ("IOC", "FOK") or live.order.kind == "market":
            end(self.account, live, "canceled")
        if self.draining:
            self.admitted.extend(partial(self.place_child, child) for child in children)
        self.tell(booked)
        if not self.draining:
            for child in children:
                self.place_child(child)

    def place_child(self, child: Live) -> None:
        if child.state == "working":
            self.place(child)

    def count_change(self, request: Request) -> Callable[[], None] | None:
        """Check a change as an order with the new values that is sent now.

        reading: a change to the values that the order has when the change counts does nothing,
        though another change is still to be carried out.
        """
        assert request.modify is not None
        live = self.account.find(request.modify)
        if live is None or live.state not in OPEN:
            return None
        changed = changed_order(live, request)
        if changed == live:
            return None
        rule = self.form_broken(changed) or self.sending_denied(changed, waited=False, changes=True)
        if rule is None and live.state != "held":
            rule = self.risk_broken(changed)
        if rule:
            self.deny(live.order.id, rule)
            return None
        if live.state == "held":
            self.change(live, request)
            return None
        return lambda: self.change(live, request)

    def change(self, live: Live, request: Request) -> None:
        """Change an order that has not ended.

        reading: the change of a post-only order that would take is refused.
        """
        changed = changed_order(live, request)
        if live.state not in OPEN:
            return
        close = self.account.last[live.order.symbol]
        if live.state == "working" and would_take(changed, close, self.rules):
            return
        live.left, live.price, live.trigger = changed.left, changed.price, changed.trigger
        end_excess(self.account, live.order.symbol)
        if live.state == "working":
            self.place(live)


def is_market_to_come(live: Live) -> bool:
    """Whether it is a market order that was let through and is not filled yet."""
    return live.state == "sent" and live.order.kind == "market"


def changed_order(live: Live, request: Request) -> Live:
    """Return an order with new values.

    reading: the quantity is what is left to fill: no order that works has a part filled.
    """
    changed = replace(live)
    if request.quantity is not None:
        changed.left = request.quantity
    if request.price is not None and live.price is not None:
        changed.price = request.price
    if request.trigger is not None and live.is_stop:
        changed.trigger = request.trigger
    return changed


def length_ms(timeframe: str) -> int:
    return int(timeframe[:-1]) * UNIT_MS[timeframe[-1]]


def simulate(steps: Iterable[Step], shown: Iterable[Shown], script: Script, rules: Rules) -> Books:
    """Run a script over steps of one or several symbols, in any order."""
    return Session(script, rules).run(steps, shown)
