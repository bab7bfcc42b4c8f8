"""Seeded random strategies and bars, for the simulator here and for the engine behind an adapter.

Prices move around 1000 on a tick of 0.5, opens and closes often off it. With `turned` everything
is mirrored: a price p is 2000 - p and a buy a sell, so that the same seed must give the same run
turned round. What a script decides at a moment depends on the seed, that moment and the `World`
only: a difference between two engines stays where it began as long as their positions and orders
are the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random

from tests.trading.simulator import DAY, Fill, Order, Shown, Step, World, length_ms

D = Decimal
TICK, LOT = D("0.5"), D("0.1")
AROUND = D(1000)
START_MS = 20_000 * DAY + 22 * 3_600_000
"""Two hours before a 00:00 UTC, so that short runs meet the end of a day."""
MINUTE = 60_000

MARKET, LIMIT, STOP, STOP_LIMIT = "market", "limit", "stop_market", "stop_limit"
ACTIONS = {
    "market": 3,
    "limit": 6,
    "stop": 5,
    "stop_limit": 4,
    "reduce_market": 2,
    "reduce_limit": 4,
    "reduce_stop": 4,
    "reduce_stop_limit": 2,
    "post_only": 2,
    "bracket": 5,
    "pair": 2,
    "cancel": 3,
    "modify_price": 3,
    "modify_trigger": 3,
    "modify_quantity": 2,
    "timer": 3,
}
"""What a script does, and how often of all."""


def turn(price: Decimal) -> Decimal:
    return 2 * AROUND - price


# Bars


def random_steps(
    seed: int,
    *,
    symbols: Sequence[str] = ("BTC/USD",),
    count: int = 180,
    timeframe: str = "5m",
    longer: Sequence[str] = (),
    detail: str = "1m",
    holes: float = 0.03,
    holes_together: bool = False,
    turned: bool = False,
) -> tuple[list[Step], list[Shown]]:
    """Return `count` steps of `detail` for each symbol, and the bars that the strategy sees.

    A bar is seen where a step of its symbol closes with it. Symbols move on their own, and have
    holes of their own unless `holes_together`; a hole is one to seven steps long.
    """
    length = length_ms(detail)
    steps: list[Step] = []
    shown: list[Shown] = []
    for symbol in symbols:
        rng = Random(f"{seed}/{symbol}/bars")
        hole_rng = Random(f"{seed}/holes" if holes_together else f"{seed}/{symbol}/holes")
        close, missing = AROUND, 0
        for place in range(1, count + 1):
            close_ms = START_MS + place * length
            if place > 1 and hole_rng.random() < holes:
                missing = hole_rng.randint(1, 7)
            if missing:
                missing -= 1
                continue
            prices = random_bar(rng, close)
            close = prices[3]
            if turned:
                prices = turned_prices(prices)
            steps.append(Step(symbol, close_ms, *prices))
            shown.extend(
                Shown(symbol, label, close_ms)
                for label in (timeframe, *longer)
                if close_ms % length_ms(label) == 0
            )
    return steps, shown


def random_bar(rng: Random, before: Decimal) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Return open, high, low, close; drawn back to 1000, with touches and equal extremes often."""
    unit = D("0.1") if rng.random() < 0.4 else TICK
    width = rng.choice((2, 4, 8, 16)) * int(TICK / unit)
    gap = rng.randint(-width, width) if rng.random() < 0.3 else 0
    open_ = before + gap * unit
    pull = int((AROUND - open_) / 20 / unit)
    close = open_ + (rng.randint(-width, width) + pull) * unit
    if rng.random() < 0.3:
        wick = rng.randint(0, width) * unit
        ends = (wick, wick)
    else:
        ends = (rng.randint(0, width) * unit, rng.randint(0, width) * unit)
    if rng.random() < 0.2:  # the extremes equally far from the open
        reach = max(abs(close - open_), ends[0])
        return open_, open_ + reach, open_ - reach, close
    return open_, max(open_, close) + ends[0], min(open_, close) - ends[1], close


def turned_prices(
    prices: tuple[Decimal, Decimal, Decimal, Decimal],
) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    open_, high, low, close = map(turn, prices)
    return open_, low, high, close


# Scripts


@dataclass
class RandomScript:
    """Sends what a seed says; `busy` is the chance of acting at a bar, `step_ms` a step's length.

    Cancels and changes name orders of `World.open_orders`; they and the position are all that it
    reads besides the time and last prices.
    """

    seed: int
    symbols: Sequence[str] = ("BTC/USD",)
    turned: bool = False
    busy: float = 0.5
    busy_on_fill: float = 0.25
    step_ms: int = MINUTE
    actions: dict[str, int] = field(default_factory=lambda: dict(ACTIONS))
    widest: int = 16
    """Ticks between the last price and a limit or trigger."""
    at_once: float = 0.0
    """The share of market and limit orders that are IOC or FOK, beside that of `timed`."""
    entries: Sequence[str] = (MARKET, LIMIT)
    """The kinds of orders that open a bracket."""
    maker_exits: float = 0.0
    """The share of take-profits that are post-only."""
    rare: float = 0.0
    """The share of brackets and pairs with other links, ends or children."""
    sent: dict[str, Order] = field(default_factory=dict)
    fills: dict[str, int] = field(default_factory=dict)
    resized: set[str] = field(default_factory=set)
    """Orders whose quantity the script changed."""
    timers: int = 0
    named: int = 0

    def on_bar(self, world: World, shown: Shown, close: Decimal) -> None:
        rng = Random(f"{self.seed}/{shown.symbol}/{shown.timeframe}/{shown.close_ms}")
        while rng.random() < self.busy:
            self.act(world, rng)

    def on_fill(self, world: World, fill: Fill) -> None:
        if fill.id is None:
            return
        self.fills[fill.id] = self.fills.get(fill.id, 0) + 1
        rng = Random(f"{self.seed}/{fill.id}/{self.fills[fill.id]}")
        if rng.random() < self.busy_on_fill:
            self.act(world, rng)

    def on_timer(self, world: World, name: str) -> None:
        self.act(world, Random(f"{self.seed}/{name}"))

    def act(self, world: World, rng: Random) -> None:
        symbol = rng.choice(list(self.symbols))
        action = rng.choices(list(self.actions), list(self.actions.values()))[0]
        if world.last(symbol) is None:
            return
        if action == "timer":
            self.timers += 1
            wait = rng.randint(1, 8) * self.step_ms // 2
            world.set_timer(f"timer {self.timers}", world.time_ms + wait)
        elif action == "cancel" or action.startswith("modify"):
            self.change(world, rng, action)
        elif action == "bracket":
            world.send_list(self.changed_bracket(self.bracket(world, rng, symbol), world, rng))
        elif action == "pair":
            world.send_list(self.linked_pair(self.pair(world, rng, symbol), rng))
        else:
            world.send(self.order(world, rng, symbol, action))

    # Orders; as if not turned, until `given`

    def order(self, world: World, rng: Random, symbol: str, action: str) -> Order:
        side = rng.choice(("buy", "sell"))
        held = self.position(world, symbol)
        if held == 0 and rng.random() < 0.8:
            action = action.removeprefix("reduce_")
        if action.startswith("reduce"):
            side = "sell" if held > 0 else "buy" if held < 0 else side
        kind = {"stop": STOP, "reduce_stop": STOP, "post_only": LIMIT}.get(
            action, action.removeprefix("reduce_")
        )
        order = Order(
            id=self.name(),
            symbol=symbol,
            side=side,
            kind=kind,
            quantity=rng.randint(1, 30) * LOT,
            reduce_only=action.startswith("reduce"),
            post_only=action == "post_only",
        )
        return self.given(self.timed(self.priced(order, world, rng), world, rng))

    def bracket(self, world: World, rng: Random, symbol: str) -> list[Order]:
        """Return an entry with a stop and a take-profit, now and then of the wrong side.

        Now and then its exits may also open a position, beyond the entry's size.
        """
        side = rng.choice(("buy", "sell"))
        quantity = rng.randint(1, 30) * LOT
        entry = Order(
            id=self.name(),
            symbol=symbol,
            side=side,
            kind=rng.choice(self.entries),
            quantity=quantity,
        )
        entry = self.timed(self.priced(entry, world, rng), world, rng)
        at = entry.price or entry.trigger or self.base(world, symbol)
        away = 1 if side == "buy" else -1
        out = "sell" if side == "buy" else "buy"
        only = rng.random() < 0.8
        links = {"symbol": symbol, "side": out, "reduce_only": only, "parent": entry.id}
        stop_id, target_id = self.name(), self.name()
        contingency = "OUO" if rng.random() < 0.8 else "OCO"
        near = -4 if rng.random() < 0.1 else 1
        trigger = at - away * rng.randint(near, self.widest) * TICK
        stop = Order(
            id=stop_id,
            kind=STOP if rng.random() < 0.8 else STOP_LIMIT,
            quantity=quantity if only else 2 * quantity,
            trigger=trigger,
            linked=(target_id,),
            contingency=contingency,
            **links,  # type: ignore[arg-type]
        )
        if stop.kind == STOP_LIMIT:
            stop = replace(stop, price=trigger - away * rng.randint(-3, 3) * TICK)
        smaller = rng.random() < 0.3
        target = Order(
            id=target_id,
            kind=LIMIT,
            quantity=max(quantity // (2 * LOT) * LOT, LOT) if smaller else quantity,
            price=at + away * rng.randint(near, self.widest) * TICK,
            post_only=self.maker_exits > 0 and rng.random() < self.maker_exits,
            linked=(stop_id,),
            contingency=contingency,
            **links,  # type: ignore[arg-type]
        )
        return [self.given(order) for order in (entry, stop, target)]

    def pair(self, world: World, rng: Random, symbol: str) -> list[Order]:
        """Return a straddle: two stops or two limits, one on each side, of a list."""
        base, kind = self.base(world, symbol), rng.choice((STOP, LIMIT))
        orders = []
        for side, away in (("buy", 1), ("sell", -1)):
            price = base + away * rng.randint(2, self.widest) * TICK * (1 if kind == STOP else -1)
            order = Order(
                id=self.name(),
                symbol=symbol,
                side=side,
                kind=kind,
                quantity=rng.randint(1, 30) * LOT,
                price=price if kind == LIMIT else None,
                trigger=price if kind == STOP else None,
            )
            orders.append(self.given(order))
        return orders

    def linked_pair(self, pair: list[Order], rng: Random) -> list[Order]:
        """Link some pairs: one order cancels the other, or reduces it."""
        if self.rare == 0 or rng.random() >= self.rare:
            return pair
        first, second = pair
        links = {"contingency": rng.choice(("OCO", "OUO")), "reduce_only": rng.random() < 0.3}
        return [
            replace(first, linked=(second.id,), **links),
            replace(second, linked=(first.id,), **links),
        ]

    def changed_bracket(self, bracket: list[Order], world: World, rng: Random) -> list[Order]:
        """Let some exits expire, unlink some, and give some a child of their own."""
        if self.rare == 0:
            return bracket
        entry, *exits = bracket
        if rng.random() < self.rare / 2:
            exits = [replace(order, linked=(), contingency=None) for order in exits]
        for at, order in enumerate(exits):
            if rng.random() < self.rare:
                exits[at] = replace(order, time_in_force="GTD", expire_ms=self.end_ms(world, rng))
        if rng.random() < self.rare:
            child = Order(
                id=self.name(),
                symbol=entry.symbol,
                side=rng.choice(("buy", "sell")),
                kind=rng.choice((LIMIT, STOP, STOP_LIMIT)),
                quantity=rng.randint(1, 20) * LOT,
                parent=rng.choice(exits).id,
                reduce_only=rng.random() < 0.5,
            )
            exits.append(self.given(self.priced(child, world, rng)))
        return [entry, *exits]

    def end_ms(self, world: World, rng: Random) -> int:
        """Return a time at a close, or inside of a step; it may be over."""
        close_ms = world.time_ms // self.step_ms * self.step_ms
        inside_ms = rng.choice((0, 0, self.step_ms // 3))
        return close_ms + rng.randint(0, 12) * self.step_ms - inside_ms

    def priced(self, order: Order, world: World, rng: Random) -> Order:
        """Give an order its limit and trigger, mostly on the side where they rest."""
        away = 1 if order.side == "buy" else -1
        base = self.base(world, order.symbol)
        if order.kind == LIMIT:
            return replace(order, price=base - away * rng.randint(-2, self.widest) * TICK)
        if order.kind in (STOP, STOP_LIMIT):
            trigger = base + away * rng.randint(-1, self.widest) * TICK
            order = replace(order, trigger=trigger)
            if order.kind == STOP_LIMIT:
                order = replace(order, price=trigger + away * rng.randint(-6, 6) * TICK)
        return order

    def timed(self, order: Order, world: World, rng: Random) -> Order:
        """Let some orders end: at a close, inside of a step, at 00:00, at once."""
        draw = rng.random()
        if draw < self.at_once and order.kind in (MARKET, LIMIT) and not order.post_only:
            return replace(order, time_in_force=rng.choice(("IOC", "FOK")))
        if order.kind == MARKET or draw < 0.55:
            return order
        if draw < 0.65:
            return replace(order, time_in_force="DAY")
        if draw < 0.72 and order.kind == LIMIT and not order.post_only:
            return replace(order, time_in_force=rng.choice(("IOC", "FOK")))
        closes = world.time_ms // self.step_ms * self.step_ms + rng.randint(1, 12) * self.step_ms
        inside = self.step_ms // 3 if draw < 0.85 else 0
        return replace(order, time_in_force="GTD", expire_ms=closes + inside)

    def change(self, world: World, rng: Random, action: str) -> None:
        ids = world.open_orders()
        draws = rng.random(), rng.randint(-2, self.widest), rng.randint(1, 30)
        if action == "modify_price":
            ids = [id for id in ids if self.sent[id].price is not None]
        elif action == "modify_trigger":
            ids = [id for id in ids if self.sent[id].trigger is not None]
        if not ids:
            return
        order = self.sent[ids[int(draws[0] * len(ids))]]
        buys = (order.side == "buy") != self.turned
        away = (1 if buys else -1) * draws[1] * TICK
        base = self.base(world, order.symbol)
        if action == "cancel":
            world.cancel(order.id)
        elif action == "modify_price":
            world.modify(order.id, price=self.seen(base - away))
        elif action == "modify_trigger":
            world.modify(order.id, trigger=self.seen(base + away))
        else:
            self.resized.add(order.id)
            world.modify(order.id, quantity=draws[2] * LOT)

    # The mirror: a script works as if it were not turned

    def seen(self, price: Decimal) -> Decimal:
        return turn(price) if self.turned else price

    def base(self, world: World, symbol: str) -> Decimal:
        """Return the last price, rounded down to the tick."""
        last = world.last(symbol)
        assert last is not None
        return self.seen(last) // TICK * TICK

    def position(self, world: World, symbol: str) -> Decimal:
        return -world.position(symbol) if self.turned else world.position(symbol)

    def name(self) -> str:
        self.named += 1
        return f"o{self.named}"

    def given(self, order: Order) -> Order:
        """Return an order as it is sent."""
        if self.turned:
            order = replace(
                order,
                side="sell" if order.side == "buy" else "buy",
                price=None if order.price is None else turn(order.price),
                trigger=None if order.trigger is None else turn(order.trigger),
            )
        self.sent[order.id] = order
        return order
