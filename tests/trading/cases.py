"""Hand-worked cases for docs/orders.md: what is sent, the bars, and the fills by the page's words.

Bars are (open, high, low, close) of one hour, None is a hole. Bar 0 is always a flat one, (100,
101, 99, 100), and closes at `first_hour`. A request belongs to a moment: the number of a bar (at
its close), "timer 2" (inside of bar 2) or "fill x" (right after the first fill of order x). The
tick is 0.5, the lot 0.1; without `rules` there are no fees and the balance is out of the way.
`mirrored` turns a case round: prices p -> 200 - p, buys into sells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from tests.trading.simulator import (
    DAY,
    HOUR,
    Books,
    Fill,
    Market,
    Order,
    Rules,
    Shown,
    Step,
    World,
    simulate,
)

D = Decimal
A, B = "A/USD", "B/USD"
EPOCH = 20_000 * DAY

Number = int | float | str
Bar = tuple[Number, Number, Number, Number]
Filled = tuple[int, str | None, str, Number, Number]
"""Bar, id (None: nobody sent it), side, quantity, price."""

FLAT: Bar = (100, 101, 99, 100)


@dataclass(frozen=True)
class Cancel:
    id: str


@dataclass(frozen=True)
class Modify:
    id: str
    quantity: Decimal | None = None
    price: Decimal | None = None
    trigger: Decimal | None = None


Request = Order | list[Order] | Cancel | Modify
Moment = int | str


@dataclass(frozen=True)
class Case:
    """`until` holds the end of an order in bars: 1 is the close of bar 1, 0.5 is inside of it."""

    name: str
    do: Sequence[tuple[Moment, Request]]
    bars: Sequence[Bar | None]
    fills: Sequence[Filled] = ()
    position: Number = 0
    denied: Sequence[tuple[int, str, str]] = ()
    states: dict[str, str] = field(default_factory=dict)
    payments: Sequence[tuple[int, str, Number]] | None = None
    halts: Sequence[tuple[int, str]] | None = None
    fees: Sequence[Number] | None = None
    liquidity: Sequence[str] | None = None
    cash: Number | None = None
    rules: dict[str, Number] = field(default_factory=dict)
    market: dict[str, Number] = field(default_factory=dict)
    other: Sequence[Bar | None] | None = None
    """Bars of the second symbol from bar 1 on; its bar 0 is flat."""
    other_market: dict[str, Number] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)
    first_hour: int = 5
    mirrors: bool = True


# Orders in one line


def number(value: Number) -> Decimal:
    return D(str(value))


def market(id: str, side: str, quantity: Number, **more: object) -> Order:
    return made(id, side, "market", quantity, more)


def limit(id: str, side: str, quantity: Number, price: Number, **more: object) -> Order:
    return made(id, side, "limit", quantity, {"price": number(price), **more})


def stop(id: str, side: str, quantity: Number, trigger: Number, **more: object) -> Order:
    return made(id, side, "stop_market", quantity, {"trigger": number(trigger), **more})


def stop_limit(
    id: str, side: str, quantity: Number, trigger: Number, price: Number, **more: object
) -> Order:
    prices = {"trigger": number(trigger), "price": number(price)}
    return made(id, side, "stop_limit", quantity, {**prices, **more})


def made(id: str, side: str, kind: str, quantity: Number, more: dict[str, object]) -> Order:
    every: dict[str, object] = {"symbol": A, **more}
    return Order(id=id, side=side, kind=kind, quantity=number(quantity), **every)  # type: ignore[arg-type]


def bracket(entry: Order, *, sl: Number, tp: Number, contingency: str = "OUO") -> list[Order]:
    """Return an entry, its stop `sl` and its take-profit `tp`, both reduce-only."""
    side = turned_side(entry.side)
    links = {"reduce_only": True, "parent": entry.id, "contingency": contingency}
    return [
        entry,
        stop("sl", side, str(entry.quantity), sl, linked=("tp",), **links),
        limit("tp", side, str(entry.quantity), tp, linked=("sl",), **links),
    ]


RO = {"reduce_only": True}
GTD = {"time_in_force": "GTD"}
FEES: dict[str, Number] = {"maker_fee": "0.001", "taker_fee": "0.002"}
SMALL: dict[str, Number] = {"balance": 100}
TENFOLD: dict[str, Number] = {"max_leverage": 10}


# A case turned round


def turned(price: Number) -> str:
    return str(200 - number(price))


def turned_side(side: str) -> str:
    return "sell" if side == "buy" else "buy"


def turned_bar(bar: Bar | None) -> Bar | None:
    if bar is None:
        return None
    o, h, low, c = map(turned, bar)
    return o, low, h, c


def turned_request(request: Request) -> Request:
    if isinstance(request, list):
        return [turned_order(order) for order in request]
    if isinstance(request, Order):
        return turned_order(request)
    if isinstance(request, Modify):
        return replace(
            request,
            price=None if request.price is None else 200 - request.price,
            trigger=None if request.trigger is None else 200 - request.trigger,
        )
    return request


def turned_order(order: Order) -> Order:
    return replace(
        order,
        side=turned_side(order.side),
        price=None if order.price is None else 200 - order.price,
        trigger=None if order.trigger is None else 200 - order.trigger,
    )


def mirrored(case: Case) -> Case:
    """Turn prices and sides round; cases with `mirrors` keep every other number."""
    assert case.mirrors
    return replace(
        case,
        name=f"{case.name} (mirrored)",
        do=[(when, turned_request(request)) for when, request in case.do],
        bars=[turned_bar(bar) for bar in case.bars],
        other=None if case.other is None else [turned_bar(bar) for bar in case.other],
        fills=[(n, id, turned_side(side), q, turned(p)) for n, id, side, q, p in case.fills],
        position=str(-number(case.position)),
    )


# Running a case


@dataclass
class CaseScript:
    """Sends what a case says when it says so."""

    case: Case
    sent: set[int] = field(default_factory=set)

    def on_bar(self, world: World, shown: Shown, close: Decimal) -> None:
        if shown.symbol != A and self.bar_of_a(world.time_ms):
            return
        bar = bar_number(self.case, world.time_ms)
        if bar == 0:
            for when, _ in self.case.do:
                if isinstance(when, str) and when.startswith("timer"):
                    inside = int(when.split()[1])
                    world.set_timer(when, close_ms(self.case, inside) - HOUR // 2)
        self.act(world, bar)

    def bar_of_a(self, now_ms: int) -> bool:
        bar = bar_number(self.case, now_ms)
        return bar == 0 or self.case.bars[bar - 1] is not None

    def on_fill(self, world: World, fill: Fill) -> None:
        self.act(world, f"fill {fill.id}")

    def on_timer(self, world: World, name: str) -> None:
        self.act(world, name)

    def act(self, world: World, moment: Moment) -> None:
        for place, (when, request) in enumerate(self.case.do):
            if when != moment or place in self.sent:
                continue
            self.sent.add(place)
            if isinstance(request, list):
                world.send_list([self.timed(order) for order in request])
            elif isinstance(request, Order):
                world.send(self.timed(request))
            elif isinstance(request, Cancel):
                world.cancel(request.id)
            else:
                world.modify(
                    request.id,
                    quantity=request.quantity,
                    price=request.price,
                    trigger=request.trigger,
                )

    def timed(self, order: Order) -> Order:
        until = self.case.until.get(order.id)
        if until is None:
            return order
        return replace(order, expire_ms=close_ms(self.case, 0) + int(until * HOUR))


def close_ms(case: Case, bar: int) -> int:
    return EPOCH + (case.first_hour + bar) * HOUR


def bar_number(case: Case, at_ms: int) -> int:
    return (at_ms - EPOCH) // HOUR - case.first_hour


def steps_of(case: Case) -> list[Step]:
    steps = []
    for symbol, bars in ((A, case.bars), (B, case.other)):
        if bars is not None:
            for bar, prices in enumerate([FLAT, *bars]):
                if prices is not None:
                    steps.append(Step(symbol, close_ms(case, bar), *map(number, prices)))
    return steps


def rules_of(case: Case) -> Rules:
    plain: dict[str, Number] = {"tick": "0.5", "lot": "0.1", "max_leverage": 100}
    given = [(A, case.market)] + ([(B, case.other_market)] if case.other is not None else [])
    markets = {
        symbol: Market(**{key: number(value) for key, value in {**plain, **own}.items()})
        for symbol, own in given
    }
    rules: dict[str, object] = {"balance": D(1_000_000), "max_leverage": D(100)}
    for key, value in case.rules.items():
        whole = key in ("slippage_ticks", "funding_hours")
        rules[key] = int(value) if whole else number(value)
    return Rules(markets=markets, **rules)  # type: ignore[arg-type]


def check(case: Case, books: Books) -> None:
    """Compare all but the denials, of which a session tells no ids."""
    fills = [
        (bar_number(case, fill.ts_ms), fill.id, fill.side, fill.quantity, fill.price)
        for fill in books.fills
    ]
    assert fills == [(n, id, side, number(q), number(p)) for n, id, side, q, p in case.fills]
    assert books.positions[A] == number(case.position)
    assert {id: books.states[id] for id in case.states} == case.states
    if case.payments is not None:
        paid = [(bar_number(case, ts_ms), kind, amount) for ts_ms, kind, amount in books.payments]
        assert paid == [(bar, kind, number(amount)) for bar, kind, amount in case.payments]
    if case.halts is not None:
        halts = [(bar_number(case, ts_ms), rule) for ts_ms, rule in books.halts]
        assert halts == list(case.halts)
    if case.fees is not None:
        assert [fill.fee for fill in books.fills] == [number(fee) for fee in case.fees]
    if case.liquidity is not None:
        assert [fill.liquidity for fill in books.fills] == list(case.liquidity)
    if case.cash is not None:
        assert books.cash == number(case.cash)


def run(case: Case) -> Books:
    steps = steps_of(case)
    shown = [Shown(step.symbol, "1h", step.close_ms) for step in steps]
    return simulate(steps, shown, CaseScript(case), rules_of(case))


# The cases

FROM_CASES_MD = [
    Case(
        "1 reduce-only limits sell no more than they were sent for",
        [
            (0, market("b", "buy", 3)),
            (0, limit("t1", "sell", 1, 105, **RO)),
            (0, limit("t2", "sell", 1, 110, **RO)),
        ],
        [(100, 106, 100, 105.5), (105.5, 112, 105, 111)],
        [(0, "b", "buy", 3, 100), (1, "t1", "sell", 1, 105), (2, "t2", "sell", 1, 110)],
        1,
    ),
    Case(
        "2 a reduce-only limit is not enlarged by a later buy",
        [
            (0, market("b", "buy", 1)),
            (0, limit("t", "sell", 1, 105, **RO)),
            (0, limit("more", "buy", 5, 98)),
        ],
        [(100, 101, 97, 98), (98, 106, 97.5, 105.5)],
        [(0, "b", "buy", 1, 100), (1, "more", "buy", 5, 98), (2, "t", "sell", 1, 105)],
        5,
    ),
    Case(
        "3 a reduce-only stop is not enlarged by a later buy",
        [
            (0, market("b", "buy", 1)),
            (0, stop("s", "sell", 1, 95, **RO)),
            (2, market("more", "buy", 2)),
        ],
        [FLAT, FLAT, (100, 100, 94, 96)],
        [(0, "b", "buy", 1, 100), (2, "more", "buy", 2, 100), (3, "s", "sell", 1, 95)],
        2,
    ),
    Case(
        "4 an unlinked stop sells what it was sent for",
        [
            (0, market("b", "buy", 3)),
            (0, stop("s", "sell", 3, 95, **RO)),
            (0, limit("t", "sell", 2, 105, **RO)),
            (1, market("more", "buy", 5)),
        ],
        [(100, 106, 99, 105), (105, 105, 94, 95)],
        [
            (0, "b", "buy", 3, 100),
            (1, "t", "sell", 2, 105),
            (1, "more", "buy", 5, 105),
            (2, "s", "sell", 3, 95),
        ],
        3,
    ),
    *[
        Case(
            f"5 {name} that ends at the close works through the whole step",
            [(0, order)],
            [(100, 103, 97, 100)],
            [(1, "g", order.side, 1, price)],
            position,
            until={"g": 1},
        )
        for name, order, price, position in [
            ("a buy limit", limit("g", "buy", 1, 98, **GTD), 98, 1),
            ("a sell stop", stop("g", "sell", 1, 98, **GTD), 98, -1),
        ]
    ],
    *[
        Case(
            f"5 {name} that ends at the close works in a step that opens at 100.5",
            [(0, order)],
            [(100.5, 103, 97, 100)],
            [(1, "g", order.side, 1, price)],
            position,
            until={"g": 1},
        )
        for name, order, price, position in [
            ("a buy limit", limit("g", "buy", 1, 98, **GTD), 98, 1),
            ("a sell stop", stop("g", "sell", 1, 98, **GTD), 98, -1),
        ]
    ],
    Case(
        "6 a DAY order is gone at 00:00",
        [(0, limit("d", "buy", 1, 95, time_in_force="DAY"))],
        [FLAT, (100, 100, 90, 95)],
        states={"d": "expired"},
        first_hour=23,
    ),
    Case(
        "7 a stop-limit that is no worse for the market fills at its limit",
        [(0, stop_limit("s", "sell", 1, 95, 94))],
        [(100, 101, 90, 91)],
        [(1, "s", "sell", 1, 94)],
        -1,
        liquidity=["taker"],
    ),
    Case(
        # cash -800; p = 800 / (9 x 0.95) = 93.57; 9 x 93.5 = 841.5; 9 x 93.57 / 20 = 42.1 > 41.5
        "8 a long position is liquidated though its take-profit is in reach",
        [(0, market("b", "buy", 9)), (0, limit("t", "sell", 9, 105, **RO))],
        [(100, 106, 80, 99)],
        [(0, "b", "buy", 9, 100), (1, None, "sell", 9, 93.5)],
        payments=[(1, "liquidation", -41.5)],
        halts=[(1, "liquidation")],
        states={"t": "canceled"},
        cash=0,
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        # cash 1000; p = 1000 / (9 x 1.05) = 105.82; 9 x 106 = 954; 9 x 105.82 / 20 = 47.6 > 46
        "8 a short position is liquidated though its take-profit is in reach",
        [(0, market("b", "sell", 9)), (0, limit("t", "buy", 9, 95, **RO))],
        [(100, 120, 94, 101)],
        [(0, "b", "sell", 9, 100), (1, None, "buy", 9, 106)],
        payments=[(1, "liquidation", -46)],
        cash=0,
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "9 a stop below the liquidation price comes too late",
        [(0, market("b", "buy", 9)), (0, stop("s", "sell", 9, 90, **RO))],
        [(100, 100, 80, 85)],
        [(0, "b", "buy", 9, 100), (1, None, "sell", 9, 93.5)],
        states={"s": "canceled"},
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "10 a stop before a limit that is further away",
        [
            (0, market("b", "buy", 1)),
            (0, limit("l", "buy", 5, 95)),
            (0, stop("s", "sell", 1, 97)),
        ],
        [(100, 100, 94, 94.5)],
        [(0, "b", "buy", 1, 100), (1, "s", "sell", 1, 97), (1, "l", "buy", 5, 95)],
        5,
    ),
    Case(
        "11 after a stop the limit of the other leg fills as far as it may",
        [
            (0, market("b", "buy", 1)),
            (0, stop("s", "sell", 0.5, 95, **RO)),
            (0, limit("t", "sell", 1, 105, **RO)),
        ],
        [(100, 106, 94, 100)],
        [(0, "b", "buy", 1, 100), (1, "s", "sell", 0.5, 95), (1, "t", "sell", 0.5, 105)],
        0,
        states={"s": "filled", "t": "canceled"},
    ),
    Case(
        "12 a limit from a timer meets nothing that traded before",
        [("timer 1", limit("l", "buy", 1, 96))],
        [(100, 103, 95, 100), FLAT],
        states={"l": "working"},
    ),
    Case(
        "12 a cancel from a timer comes after the stop of that step",
        [(0, stop("s", "sell", 1, 98)), ("timer 1", Cancel("s"))],
        [(100, 101, 97, 100)],
        [(1, "s", "sell", 1, 98)],
        -1,
    ),
    Case(
        "12 a market order from a timer gets the close of its step",
        [("timer 1", market("m", "buy", 1))],
        [(100, 103, 95, 102)],
        [(1, "m", "buy", 1, 102)],
        1,
    ),
    Case(
        "13 a hole belongs to the step behind it",
        [(0, market("b", "buy", 1)), ("timer 2", market("m", "sell", 1))],
        [None, None, (70, 71, 69, 69.3)],
        [(0, "b", "buy", 1, 100), (3, "m", "sell", 1, 69)],
        0,
    ),
    Case(
        # worst -15 x 100 = 1500 > 1000
        "14 an order that turns round goes through for the part that closes",
        [(0, market("b", "buy", 5)), (0, market("turn", "sell", 20))],
        [FLAT],
        [(0, "b", "buy", 5, 100), (0, "turn", "sell", 5, 100)],
        0,
        [(0, "max_leverage", "turn")],
        states={"turn": "filled"},
        rules={"balance": 1000, "max_leverage": 1},
    ),
    Case(
        "15 an order below the venue's minimum",
        [(0, market("m", "buy", 0.1))],
        [FLAT],
        denied=[(0, "min_notional_usd", "m")],
        market={"min_notional": 10.5},
    ),
    Case(
        "15 an order of the venue's minimum",
        [(0, market("m", "buy", 0.1))],
        [FLAT],
        [(0, "m", "buy", 0.1, 100)],
        0.1,
        market={"min_notional": 10},
    ),
    Case(
        "17 a loss that is found at 00:00 closes everything, and the new day is not halted",
        [
            (0, market("b", "buy", 5)),
            (0, limit("l", "buy", 1, 90)),
            (1, market("again", "buy", 1)),
        ],
        [(100, 100, 97, 97), (97, 97, 97, 97)],
        [(0, "b", "buy", 5, 100), (1, None, "sell", 5, 97), (1, "again", "buy", 1, 97)],
        1,
        halts=[(1, "max_daily_loss_usd")],
        states={"l": "canceled"},
        rules={"max_daily_loss": 10},
        first_hour=23,
    ),
    Case(
        # at 102: cash -818, p = 818 / 8.55 = 95.67
        "18 a position that a stop opened is liquidated in the same step, at its price",
        [(0, stop("s", "buy", 9, 102))],
        [(100, 102, 90, 91)],
        [(1, "s", "buy", 9, 102), (1, None, "sell", 9, 95.5)],
        payments=[(1, "liquidation", -41.5)],
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
]

STEPS = [
    Case(
        "a change at a close counts from that close",
        [(0, limit("l", "buy", 1, 95)), (1, Modify("l", price=D(97)))],
        [(100, 101, 96, 100), (100, 100, 96.5, 99)],
        [(2, "l", "buy", 1, 97)],
        1,
    ),
    Case(
        "a cancel at a close counts from that close",
        [(0, limit("l", "buy", 1, 97)), (1, Cancel("l"))],
        [FLAT, (100, 100, 96, 99)],
        states={"l": "canceled"},
    ),
    Case(
        "a market order on a fill inside of a step waits for the close",
        [(0, stop("s", "buy", 1, 102)), ("fill s", market("m", "sell", 1))],
        [(100, 104, 100, 103)],
        [(1, "s", "buy", 1, 102), (1, "m", "sell", 1, 103)],
        0,
    ),
    Case(
        "a limit on a fill inside of a step meets nothing of that step",
        [(0, stop("s", "buy", 1, 102)), ("fill s", limit("t", "sell", 1, 105))],
        [(100, 106, 100, 103), (103, 105.5, 103, 104)],
        [(1, "s", "buy", 1, 102), (2, "t", "sell", 1, 105)],
        0,
    ),
    Case(
        "a change on a fill waits for the close",
        [
            (0, stop("s", "buy", 1, 102)),
            (0, limit("t", "sell", 1, 105)),
            ("fill s", Modify("t", price=D(110))),
        ],
        [(100, 106, 100, 103), (103, 108, 103, 104)],
        [(1, "s", "buy", 1, 102), (1, "t", "sell", 1, 105)],
        0,
    ),
    Case(
        "a limit from a timer that its close has reached is a taker there",
        [("timer 1", limit("l", "buy", 1, 104))],
        [(100, 103, 95, 102)],
        [(1, "l", "buy", 1, 102)],
        1,
        liquidity=["taker"],
    ),
    Case(
        "what waited counts before the strategy sees the close",
        [("timer 1", market("m", "buy", 1)), (1, market("out", "sell", 1, **RO))],
        [FLAT],
        [(1, "m", "buy", 1, 100), (1, "out", "sell", 1, 100)],
        0,
    ),
    Case(
        "what waited counts in the order in which it was made",
        [
            (0, limit("l", "buy", 1, 90)),
            ("timer 1", Modify("l", price=D(97))),
            ("timer 1", Cancel("l")),
            ("timer 1", limit("l2", "buy", 1, 96)),
        ],
        [FLAT, (100, 100, 95, 99)],
        [(2, "l2", "buy", 1, 96)],
        1,
        states={"l": "canceled"},
    ),
    Case(
        "of one instant the steps follow the order of the symbols",
        [(0, stop("b", "sell", 1, 98, symbol=B)), (0, stop("a", "sell", 1, 98))],
        [(100, 100, 97, 97)],
        [(1, "a", "sell", 1, 98), (1, "b", "sell", 1, 98)],
        -1,
        other=[(100, 100, 97, 97)],
    ),
    Case(
        "an order of a symbol in a hole waits for the step behind the hole",
        [(1, market("b", "buy", 1, symbol=B))],
        [FLAT, FLAT],
        [(2, "b", "buy", 1, 105)],
        0,
        other=[None, (104, 106, 104, 105)],
    ),
]

PRICES = [
    Case(
        "a market order is rounded against us and slipped",
        [(1, market("m", "buy", 1)), (1, market("n", "sell", 1))],
        [(100, 101, 99, 100.3)],
        [(1, "m", "buy", 1, 101.5), (1, "n", "sell", 1, 99)],
        0,
        rules={"slippage_ticks": 2},
        liquidity=["taker", "taker"],
    ),
    Case(
        "no price is below one tick",
        [(1, market("m", "sell", 1))],
        [(1, 1, 0.3, 0.3)],
        [(1, "m", "sell", 1, 0.5)],
        -1,
        rules={"slippage_ticks": 3},
        mirrors=False,
    ),
    Case(
        "a limit that the close has reached gets the close, not slipped",
        [(1, limit("l", "buy", 1, 102))],
        [(100, 101, 99, 100.3)],
        [(1, "l", "buy", 1, 100.5)],
        1,
        rules={"slippage_ticks": 2},
        liquidity=["taker"],
    ),
    Case(
        "a limit at the rounded close is reached",
        [(1, limit("l", "buy", 1, 100.5))],
        [(100, 101, 99, 100.3)],
        [(1, "l", "buy", 1, 100.5)],
        1,
        liquidity=["taker"],
    ),
    Case(
        "a limit below the rounded close rests, and a touch is not enough",
        [(1, limit("l", "buy", 1, 100))],
        [(100, 101, 99, 100.3), (100.3, 100.4, 100, 100.2), (100.2, 100.3, 99.9, 100)],
        [(3, "l", "buy", 1, 100)],
        1,
        liquidity=["maker"],
    ),
    Case(
        "a limit that is changed to where the close has reached it takes",
        [(0, limit("l", "buy", 1, 95)), (1, Modify("l", price=D(101)))],
        [FLAT],
        [(1, "l", "buy", 1, 100)],
        1,
        liquidity=["taker"],
    ),
    Case(
        "a limit that the close touches takes there for the quantity to which it is changed",
        [(0, limit("l", "buy", 2, 98)), (1, Modify("l", quantity=D(1)))],
        [(100, 101, 98, 98)],
        [(1, "l", "buy", 1, 98)],
        1,
        liquidity=["taker"],
    ),
    Case(
        "a limit that the close touches takes there for the quantity that waited for it",
        [(0, limit("l", "buy", 2, 98)), ("timer 1", Modify("l", quantity=D(1)))],
        [(100, 101, 98, 98)],
        [(1, "l", "buy", 1, 98)],
        1,
        liquidity=["taker"],
    ),
    Case(
        "a step that opens beyond a limit fills it at the limit",
        [(0, limit("l", "buy", 1, 98))],
        [(95, 96, 94, 95)],
        [(1, "l", "buy", 1, 98)],
        1,
        liquidity=["maker"],
    ),
    Case(
        "a touch is enough for a stop; it is slipped",
        [(0, stop("s", "sell", 1, 97))],
        [(100, 100, 97, 99)],
        [(1, "s", "sell", 1, 96.5)],
        -1,
        rules={"slippage_ticks": 1},
        liquidity=["taker"],
    ),
    Case(
        "a stop that a step opens beyond fills at the open, rounded and slipped",
        [(0, stop("s", "sell", 1, 97))],
        [(95.3, 96, 95, 96)],
        [(1, "s", "sell", 1, 94.5)],
        -1,
        rules={"slippage_ticks": 1},
    ),
    Case(
        "a stop-limit that is worse for the market rests from its trigger",
        [(0, stop_limit("s", "sell", 1, 97, 98))],
        [(100, 100, 96, 97), (97, 98.5, 97, 98)],
        [(2, "s", "sell", 1, 98)],
        -1,
        liquidity=["maker"],
    ),
    Case(
        "a stop-limit at its trigger fills there, at its limit",
        [(0, stop_limit("s", "sell", 1, 97, 97))],
        [(100, 100, 96, 96.5)],
        [(1, "s", "sell", 1, 97)],
        -1,
        rules={"slippage_ticks": 2},
        liquidity=["taker"],
    ),
    Case(
        "a stop-limit whose limit the open has passed rests",
        [(0, stop_limit("s", "sell", 1, 97, 96))],
        [(95, 96, 94, 95.5), (95.5, 96.5, 95, 96)],
        [(2, "s", "sell", 1, 96)],
        -1,
        liquidity=["maker"],
    ),
    Case(
        "a stop-limit at an open beyond its trigger fills at its limit",
        [(0, stop_limit("s", "sell", 1, 97, 94))],
        [(95, 96, 94.5, 95.5)],
        [(1, "s", "sell", 1, 94)],
        -1,
        liquidity=["taker"],
    ),
    Case(
        "fees are the maker's or the taker's",
        [(0, market("m", "buy", 1)), (0, limit("t", "sell", 1, 105))],
        [(100, 106, 100, 105)],
        [(0, "m", "buy", 1, 100), (1, "t", "sell", 1, 105)],
        0,
        fees=["0.2", "0.105"],
        cash="1000004.695",
        market=FEES,
        mirrors=False,
    ),
    Case(
        "fees are rounded half to even: down",
        [(0, market("m", "buy", 1))],
        [FLAT],
        [(0, "m", "buy", 1, 100)],
        1,
        fees=["0.00000002"],
        market={"taker_fee": "0.00000000025"},
        mirrors=False,
    ),
    Case(
        "fees are rounded half to even: up",
        [(0, market("m", "buy", 1))],
        [FLAT],
        [(0, "m", "buy", 1, 100)],
        1,
        fees=["0.00000002"],
        market={"taker_fee": "0.00000000015"},
        mirrors=False,
    ),
]

PATH = [
    Case(
        "without a position and nearer extreme the path begins with the order sent first",
        [(0, stop("b", "buy", 1, 102)), (0, stop("s", "sell", 1, 98))],
        [(100, 103, 97, 100)],
        [(1, "b", "buy", 1, 102), (1, "s", "sell", 1, 98)],
        0,
    ),
    Case(
        "without a position the nearer extreme comes first",
        [(0, stop("s", "sell", 1, 98)), (0, stop("b", "buy", 1, 102))],
        [(100, 103, 96, 100)],
        [(1, "b", "buy", 1, 102), (1, "s", "sell", 1, 98)],
        0,
    ),
    Case(
        "with a long position the low comes first where both paths leave the same",
        [
            (0, market("m", "buy", 1)),
            (0, stop("b", "buy", 1, 102)),
            (0, stop("s", "sell", 1, 98)),
        ],
        [(100, 103, 96, 100)],
        [(0, "m", "buy", 1, 100), (1, "s", "sell", 1, 98), (1, "b", "buy", 1, 102)],
        1,
    ),
    Case(
        "of a stop and a limit in reach the stop fills",
        [
            (0, market("m", "buy", 1)),
            (0, limit("t", "sell", 1, 105, **RO)),
            (0, stop("s", "sell", 1, 95, **RO)),
        ],
        [(100, 106, 94, 100)],
        [(0, "m", "buy", 1, 100), (1, "s", "sell", 1, 95)],
        0,
        states={"t": "canceled"},
    ),
    Case(
        "a limit and a stop on one leg fill in the order of their prices",
        [
            (0, market("m", "sell", 1)),
            (0, limit("l", "sell", 2, 105)),
            (0, stop("s", "buy", 1, 104.5)),
        ],
        [(100, 106, 100, 106)],
        [(0, "m", "sell", 1, 100), (1, "s", "buy", 1, 104.5), (1, "l", "sell", 2, 105)],
        -2,
    ),
    Case(
        "of equal prices the one sent first",
        [(0, stop("s1", "buy", 1, 102)), (0, stop("s2", "buy", 2, 102))],
        [(100, 103, 100, 103)],
        [(1, "s1", "buy", 1, 102), (1, "s2", "buy", 2, 102)],
        3,
    ),
    Case(
        "a change keeps an order's place",
        [
            (0, stop("s1", "buy", 1, 103)),
            (0, stop("s2", "buy", 2, 102)),
            (1, Modify("s1", trigger=D(102))),
        ],
        [FLAT, (100, 103, 100, 103)],
        [(2, "s1", "buy", 1, 102), (2, "s2", "buy", 2, 102)],
        3,
    ),
    Case(
        "on the jump to the open orders are met in the order of their prices",
        [
            (0, stop("s1", "sell", 1, 97)),
            (0, limit("l", "buy", 2, 97.5)),
            (0, stop("s2", "sell", 1, 98)),
        ],
        [(95, 95, 95, 95)],
        [(1, "s2", "sell", 1, 95), (1, "l", "buy", 2, 97.5), (1, "s1", "sell", 1, 95)],
        0,
    ),
    Case(
        "a reduce-only order ends in the middle of a path when nothing is left",
        [
            (0, market("m", "buy", 1)),
            (0, stop("s1", "sell", 1, 98, **RO)),
            (0, stop("s2", "sell", 1, 97, **RO)),
            (0, limit("more", "buy", 1, 96)),
        ],
        [(100, 100, 95, 95)],
        [(0, "m", "buy", 1, 100), (1, "s1", "sell", 1, 98), (1, "more", "buy", 1, 96)],
        1,
        states={"s2": "canceled"},
    ),
    Case(
        # cash 107 - 1000 = -893; p = 893 / 9.5 = 94; sold for 940: 47 left, 940 / 20 = 47 held
        "the liquidation comes before an order at the same price",
        [(0, market("m", "buy", 10)), (0, stop("s", "sell", 10, 94, **RO))],
        [(100, 100, 94, 96)],
        [(0, "m", "buy", 10, 100), (1, None, "sell", 10, 94)],
        payments=[(1, "liquidation", -47)],
        rules={"balance": 107},
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        # long 5: p = 393 / 4.75 = 82.7; after the limit: p = 873 / 9.5 = 91.9
        "after each fill the liquidation price is what it is then",
        [(0, market("m", "buy", 5)), (0, limit("l", "buy", 5, 96))],
        [(100, 100, 91.5, 95)],
        [(0, "m", "buy", 5, 100), (1, "l", "buy", 5, 96), (1, None, "sell", 10, 91.5)],
        payments=[(1, "liquidation", -42)],
        rules={"balance": 107},
        market=TENFOLD,
        mirrors=False,
    ),
]

INSIDE = [
    Case(
        # low first: 102 on the way to 106, then 104: 99 traded before, at 98
        "a stop whose trigger was reached before it began fills at the end, at its trigger",
        [(0, bracket(stop("e", "buy", 1, 102), sl=99, tp=110))],
        [(100, 106, 98, 104)],
        [(1, "e", "buy", 1, 102), (1, "sl", "sell", 1, 99)],
        0,
        states={"tp": "canceled"},
    ),
    Case(
        "a stop whose trigger is the low itself fills too",
        [(0, bracket(stop("e", "buy", 1, 102), sl=99, tp=110))],
        [(100, 106, 99, 104)],
        [(1, "e", "buy", 1, 102), (1, "sl", "sell", 1, 99)],
        0,
    ),
    Case(
        "a take-profit does not fill in the step of its entry",
        [(0, bracket(stop("e", "buy", 1, 102), sl=99, tp=105))],
        [(100, 106, 100, 104), (104, 105.5, 104, 105)],
        [(1, "e", "buy", 1, 102), (2, "tp", "sell", 1, 105)],
        0,
        liquidity=["taker", "maker"],
    ),
    Case(
        "a take-profit fills in the step of its entry if the step closes beyond it",
        [(0, bracket(stop("e", "buy", 1, 102), sl=99, tp=105))],
        [(100, 107, 100, 106)],
        [(1, "e", "buy", 1, 102), (1, "tp", "sell", 1, 105)],
        0,
        liquidity=["taker", "maker"],
        states={"sl": "canceled"},
    ),
    Case(
        "a close at the take-profit is a touch",
        [(0, bracket(stop("e", "buy", 1, 102), sl=99, tp=105))],
        [(100, 107, 100, 105)],
        [(1, "e", "buy", 1, 102)],
        1,
    ),
    Case(
        "a stop that begins beyond its trigger is met at once",
        [(0, bracket(limit("e", "buy", 1, 98), sl=96, tp=110))],
        [(95, 96, 94.5, 95.5)],
        [(1, "e", "buy", 1, 98), (1, "sl", "sell", 1, 95)],
        0,
    ),
    Case(
        "a stop that begins inside is met on the rest of the path",
        [(0, bracket(limit("e", "buy", 1, 98), sl=96, tp=110))],
        [(100, 101, 95, 100)],
        [(1, "e", "buy", 1, 98), (1, "sl", "sell", 1, 96)],
        0,
    ),
    Case(
        "a stop before a take-profit that the close is beyond",
        [(0, bracket(stop("e", "buy", 1, 102), sl=99, tp=105))],
        [(100, 107, 98, 106)],
        [(1, "e", "buy", 1, 102), (1, "sl", "sell", 1, 99)],
        0,
    ),
    Case(
        "a stop-limit that rests fills in its step if the step closes beyond its limit",
        [(0, stop_limit("s", "sell", 1, 97, 98))],
        [(100, 101, 96, 99)],
        [(1, "s", "sell", 1, 98)],
        -1,
        liquidity=["maker"],
    ),
    Case(
        "a stop-limit that rests is not filled by a touch of the close",
        [(0, stop_limit("s", "sell", 1, 97, 98))],
        [(100, 101, 96, 98)],
    ),
    Case(
        "a limit that ends inside of a step fills if it costs us",
        [(0, limit("g", "buy", 1, 98, **GTD))],
        [(100, 101, 97, 97.5)],
        [(1, "g", "buy", 1, 98)],
        1,
        until={"g": 0.5},
        liquidity=["maker"],
    ),
    Case(
        "a limit that ends inside of a step does not fill if it helps us",
        [(0, limit("g", "buy", 1, 98, **GTD))],
        [(100, 101, 97, 99)],
        until={"g": 0.5},
        states={"g": "expired"},
    ),
    Case(
        "a limit that ends inside of a step at the price of the close does not fill",
        [(0, limit("g", "buy", 1, 98, **GTD))],
        [(100, 101, 97, 98)],
        until={"g": 0.5},
        states={"g": "expired"},
    ),
    Case(
        "a stop that ends inside of a step fills if it costs us",
        [(0, stop("g", "sell", 1, 98, **GTD))],
        [(100, 101, 97, 99)],
        [(1, "g", "sell", 1, 98)],
        -1,
        until={"g": 0.5},
    ),
    Case(
        "a stop that ends inside of a step does not fill if it helps us",
        [(0, stop("g", "sell", 1, 98, **GTD))],
        [(100, 101, 97, 97.5)],
        until={"g": 0.5},
        states={"g": "expired"},
    ),
    Case(
        "a stop that ends inside of a step fills at an open beyond it",
        [(0, stop("g", "sell", 1, 98, **GTD))],
        [(96, 97.5, 95, 97)],
        [(1, "g", "sell", 1, 96)],
        -1,
        until={"g": 0.5},
    ),
    Case(
        "a stop-limit that ends inside of a step fills at its limit if it costs us",
        [(0, stop_limit("g", "sell", 1, 98, 97.5, **GTD))],
        [(100, 101, 97, 98.5)],
        [(1, "g", "sell", 1, 97.5)],
        -1,
        until={"g": 0.5},
    ),
    Case(
        "an order that ends inside of a step is not on the path",
        [
            (0, market("m", "buy", 1)),
            (0, stop("g", "sell", 1, 98, **GTD, **RO)),
            (0, stop("s", "sell", 1, 97, **RO)),
        ],
        [(100, 101, 96, 99)],
        [(0, "m", "buy", 1, 100), (1, "s", "sell", 1, 97)],
        0,
        until={"g": 0.5},
    ),
    Case(
        "at the end stops that began inside come before stops that end inside",
        [
            (0, stop("g", "sell", 1, 99.5, **GTD)),
            (0, bracket(stop("e", "buy", 1, 102), sl=99, tp=110)),
        ],
        [(100, 103, 98, 101)],
        [(1, "e", "buy", 1, 102), (1, "sl", "sell", 1, 99), (1, "g", "sell", 1, 99.5)],
        -1,
        until={"g": 0.5},
    ),
    Case(
        # the close of 105 is beyond both limits; the one that ends inside costs us 1.5
        "at the end limits that began inside come before limits that end inside",
        [
            (0, limit("g", "sell", 1, 103.5, **GTD)),
            (0, bracket(stop("e", "buy", 1, 102), sl=90, tp=103)),
        ],
        [(100, 106, 99, 105)],
        [(1, "e", "buy", 1, 102), (1, "tp", "sell", 1, 103), (1, "g", "sell", 1, 103.5)],
        -1,
        until={"g": 0.5},
    ),
    Case(
        "a DAY order ends inside of the step behind a hole over 00:00",
        [(0, limit("d", "buy", 1, 95, time_in_force="DAY"))],
        [None, (100, 100, 90, 96)],
        states={"d": "expired"},
        first_hour=23,
    ),
    Case(
        "a DAY order sent at 00:00 works until the next 00:00, the close itself included",
        [(0, limit("d", "buy", 1, 95, time_in_force="DAY"))],
        [*[FLAT] * 23, (100, 100, 90, 96)],
        [(24, "d", "buy", 1, 95)],
        1,
        first_hour=24,
    ),
]

ENDS = [
    Case(
        "a reduce-only order with nothing to reduce is denied",
        [(0, limit("r", "sell", 1, 105, **RO))],
        [FLAT],
        denied=[(0, "reduce_only", "r")],
        states={"r": "denied"},
    ),
    Case(
        "a reduce-only order in the direction of the position is denied",
        [(0, market("m", "buy", 1)), (0, market("r", "buy", 1, **RO))],
        [FLAT],
        [(0, "m", "buy", 1, 100)],
        1,
        [(0, "reduce_only", "r")],
    ),
    Case(
        "a reduce-only order fills up to what is held",
        [(0, market("m", "buy", 1)), (0, market("r", "sell", 3, **RO))],
        [FLAT],
        [(0, "m", "buy", 1, 100), (0, "r", "sell", 1, 100)],
        0,
    ),
    Case(
        "a reduce-only order ends when the position is closed at a close",
        [
            (0, market("m", "buy", 1)),
            (0, limit("r", "sell", 1, 105, **RO)),
            (1, market("out", "sell", 1)),
            (1, market("again", "buy", 1)),
        ],
        [FLAT, (100, 106, 100, 106)],
        [(0, "m", "buy", 1, 100), (1, "out", "sell", 1, 100), (1, "again", "buy", 1, 100)],
        1,
        states={"r": "canceled"},
    ),
    Case(
        "a child of OUO shrinks by what the other filled",
        [
            (
                0,
                [
                    market("e", "buy", 3),
                    stop("sl", "sell", 3, 95, parent="e", linked=("tp",), contingency="OUO", **RO),
                    limit(
                        "tp", "sell", 2, 105, parent="e", linked=("sl",), contingency="OUO", **RO
                    ),
                ],
            ),
            (1, market("more", "buy", 5)),
        ],
        [(100, 106, 99, 105), (105, 105, 94, 95)],
        [
            (0, "e", "buy", 3, 100),
            (1, "tp", "sell", 2, 105),
            (1, "more", "buy", 5, 105),
            (2, "sl", "sell", 1, 95),
        ],
        5,
    ),
    Case(
        "a child of OCO ends when the other fills anything",
        [
            (
                0,
                [
                    market("e", "buy", 3),
                    stop("sl", "sell", 3, 95, parent="e", linked=("tp",), contingency="OCO", **RO),
                    limit(
                        "tp", "sell", 1, 105, parent="e", linked=("sl",), contingency="OCO", **RO
                    ),
                ],
            ),
        ],
        [(100, 106, 99, 105), (105, 105, 94, 95)],
        [(0, "e", "buy", 3, 100), (1, "tp", "sell", 1, 105)],
        2,
        states={"sl": "canceled"},
    ),
    Case(
        "a parent that is cancelled ends its children",
        [(0, bracket(limit("e", "buy", 1, 98), sl=96, tp=110)), (0, Cancel("e"))],
        [(100, 101, 95, 100)],
        states={"e": "canceled", "sl": "canceled", "tp": "canceled"},
    ),
    Case(
        "a parent that expires ends its children",
        [(0, bracket(limit("e", "buy", 1, 98, **GTD), sl=96, tp=110))],
        [FLAT, (100, 101, 95, 100)],
        until={"e": 1},
        states={"e": "expired", "sl": "canceled", "tp": "canceled"},
    ),
    Case(
        "an IOC limit that the close has not reached ends",
        [(0, limit("i", "buy", 1, 99, time_in_force="IOC"))],
        [(100, 100, 98, 99)],
        states={"i": "canceled"},
    ),
    Case(
        "an IOC limit that the close has reached fills",
        [(0, limit("i", "buy", 1, 100, time_in_force="IOC"))],
        [FLAT],
        [(0, "i", "buy", 1, 100)],
        1,
    ),
    Case(
        "a FOK limit that the close has not reached ends",
        [(0, limit("i", "buy", 1, 99, time_in_force="FOK"))],
        [(100, 100, 98, 99)],
        states={"i": "canceled"},
    ),
    Case(
        "other times in force are denied",
        [(0, limit("i", "buy", 1, 99, time_in_force="AT_THE_OPEN"))],
        [FLAT],
        denied=[(0, "time_in_force", "i")],
    ),
    Case(
        "a stop is GTC, GTD or DAY",
        [(0, stop("i", "buy", 1, 105, time_in_force="IOC"))],
        [FLAT],
        denied=[(0, "time_in_force", "i")],
    ),
    Case(
        "a post-only limit that would take is rejected",
        [(0, limit("p", "buy", 1, 100, post_only=True))],
        [(100, 100, 98, 99)],
        states={"p": "rejected"},
    ),
    Case(
        "a post-only limit that rests fills as any other",
        [(0, limit("p", "buy", 1, 99.5, post_only=True))],
        [(100, 100, 98, 99)],
        [(1, "p", "buy", 1, 99.5)],
        1,
        liquidity=["maker"],
    ),
    Case(
        "a stop whose trigger the close has reached is denied",
        [(0, stop("s", "sell", 1, 100))],
        [FLAT],
        denied=[(0, "stop_in_market", "s")],
    ),
    Case(
        "a stop that is changed to where the close has reached it is denied the change",
        [(0, stop("s", "sell", 1, 95)), (1, Modify("s", trigger=D(101)))],
        [FLAT, (100, 100, 94, 96)],
        [(2, "s", "sell", 1, 95)],
        -1,
        [(1, "stop_in_market", "s")],
    ),
    Case(
        "a stop that waited and reduces goes off at the close that has reached it",
        [(0, market("m", "buy", 1)), ("timer 1", stop("s", "sell", 1, 99, **RO))],
        [(100, 100, 97, 98)],
        [(0, "m", "buy", 1, 100.5), (1, "s", "sell", 1, 97.5)],
        0,
        rules={"slippage_ticks": 1},
    ),
    Case(
        "a stop that waited and opens is denied if the close has reached it",
        [("timer 1", stop("s", "sell", 1, 99))],
        [(100, 100, 97, 98)],
        denied=[(1, "stop_in_market", "s")],
    ),
    Case(
        "a bracket's children are not held against the close when they are sent",
        [(0, bracket(limit("e", "buy", 1, 98), sl=101, tp=110))],
        [FLAT, (100, 100, 97, 99)],
        [(2, "e", "buy", 1, 98), (2, "sl", "sell", 1, 98)],
        0,
    ),
]

ACCOUNT = [
    Case(
        "funding is paid on the position before what is sent at that time",
        [(0, market("m", "buy", 1)), (1, market("more", "buy", 5))],
        [FLAT],
        [(0, "m", "buy", 1, 100), (1, "more", "buy", 5, 100)],
        6,
        payments=[(1, "funding", "-0.1")],
        rules={"funding_rate_8h": "0.001"},
        first_hour=7,
        mirrors=False,
    ),
    Case(
        "a short position receives funding",
        [(0, market("m", "sell", 1))],
        [FLAT],
        [(0, "m", "sell", 1, 100)],
        -1,
        payments=[(1, "funding", "0.1")],
        rules={"funding_rate_8h": "0.001"},
        first_hour=7,
        mirrors=False,
    ),
    Case(
        "funding in a hole is paid at the last close before it",
        [(0, market("m", "buy", 1))],
        [None, (110, 110, 110, 110)],
        [(0, "m", "buy", 1, 100)],
        1,
        payments=[(1, "funding", "-0.1")],
        rules={"funding_rate_8h": "0.001"},
        first_hour=7,
        mirrors=False,
    ),
    Case(
        "funding of four hours is half of that of eight",
        [(0, market("m", "buy", 1))],
        [FLAT],
        [(0, "m", "buy", 1, 100)],
        1,
        payments=[(1, "funding", "-0.05")],
        rules={"funding_rate_8h": "0.001", "funding_hours": 4},
        first_hour=3,
        mirrors=False,
    ),
    Case(
        # 9 x 92 = 828: 28 left, and the margin held was more
        "a step that opens beyond the liquidation price closes at the open",
        [(0, market("b", "buy", 9))],
        [(92.3, 100, 92, 99)],
        [(0, "b", "buy", 9, 100), (1, None, "sell", 9, 92)],
        payments=[(1, "liquidation", -28)],
        cash=0,
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        # 9 x 80 = 720: the cash is -80
        "a loss beyond the account is brought to 0",
        [(0, market("b", "buy", 9))],
        [(80, 100, 80, 99)],
        [(0, "b", "buy", 9, 100), (1, None, "sell", 9, 80)],
        payments=[(1, "liquidation", 80)],
        cash=0,
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        # cash -800; C = -800 + 400 - 20 = -420; p = 420 / 4.75 = 88.42105; sold at 88: 440; B at
        # its close: 420; 60 left; margin held: 5 x 88.42105 / 20 + 20 = 42.10526316
        "a liquidation closes the other positions at the closes of its instant",
        [
            (0, market("a", "buy", 5)),
            (0, market("b", "buy", 4, symbol=B)),
            (0, limit("l", "buy", 0.1, 90, symbol=B)),
            (1, market("again", "buy", 0.1)),
        ],
        [(100, 100, 85, 90), FLAT],
        [
            (0, "a", "buy", 5, 100),
            (0, "b", "buy", 4, 100),
            (1, None, "sell", 5, 88),
            (1, None, "sell", 4, 105),
        ],
        0,
        [(1, "liquidation", "again")],
        payments=[(1, "liquidation", "-42.10526316")],
        states={"l": "canceled"},
        cash="17.89473684",
        rules=SMALL,
        market=TENFOLD,
        other=[(100, 110, 85, 105), FLAT],
        other_market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "a liquidation at 00:00 halts nothing of the new day",
        [
            (0, market("a", "buy", 5)),
            (0, market("b", "buy", 4, symbol=B)),
            (1, market("again", "buy", 0.1)),
        ],
        [(100, 100, 85, 90), FLAT],
        [
            (0, "a", "buy", 5, 100),
            (0, "b", "buy", 4, 100),
            (1, None, "sell", 5, 88),
            (1, None, "sell", 4, 105),
            (1, "again", "buy", 0.1, 90),
        ],
        0.1,
        rules=SMALL,
        market=TENFOLD,
        other=[(100, 110, 85, 105), FLAT],
        other_market=TENFOLD,
        first_hour=23,
        mirrors=False,
    ),
    Case(
        "a day's loss closes everything, slipped, and halts the day",
        [
            (0, market("b", "buy", 5)),
            (0, limit("l", "buy", 1, 90)),
            (1, market("again", "buy", 1)),
            (2, market("more", "buy", 1)),
        ],
        [(100, 100, 97, 97), FLAT],
        [(0, "b", "buy", 5, 100.5), (1, None, "sell", 5, 96.5)],
        0,
        [(1, "max_daily_loss_usd", "again"), (2, "max_daily_loss_usd", "more")],
        halts=[(1, "max_daily_loss_usd")],
        states={"l": "canceled"},
        rules={"max_daily_loss": 10, "slippage_ticks": 1},
    ),
    Case(
        "a loss of exactly the limit halts",
        [(0, market("b", "buy", 5))],
        [(100, 100, 98, 98)],
        [(0, "b", "buy", 5, 100), (1, None, "sell", 5, 98)],
        0,
        halts=[(1, "max_daily_loss_usd")],
        rules={"max_daily_loss": 10},
    ),
    Case(
        "a loss just below the limit does not halt",
        [(0, market("b", "buy", 5))],
        [(100, 100, 98, 98.1)],
        [(0, "b", "buy", 5, 100)],
        5,
        halts=[],
        rules={"max_daily_loss": 10},
    ),
    Case(
        "the loss of a day counts from the equity at its 00:00",
        [(0, market("b", "buy", 1))],
        [(100, 110, 100, 110), (110, 110, 110, 110), (110, 110, 101, 101)],
        [(0, "b", "buy", 1, 100), (3, None, "sell", 1, 101)],
        0,
        halts=[(3, "max_daily_loss_usd")],
        rules={"max_daily_loss": 8},
        first_hour=22,
    ),
    Case(
        "a day that begins in a hole begins with the equity at the close before it",
        [(0, market("b", "buy", 1))],
        [(100, 110, 100, 110), None, (110, 110, 101, 101)],
        [(0, "b", "buy", 1, 100), (3, None, "sell", 1, 101)],
        0,
        halts=[(3, "max_daily_loss_usd")],
        rules={"max_daily_loss": 8},
        first_hour=22,
    ),
]

LIMITS = [
    Case(
        "prices lie on the tick",
        [(0, limit("l", "buy", 1, 98.3)), (0, stop("s", "buy", 1, 102.3))],
        [(100, 103, 97, 98)],
        denied=[(0, "tick_size", "l"), (0, "tick_size", "s")],
    ),
    Case(
        "quantities are whole lots, of reducing orders too",
        [
            (0, market("m", "buy", 1)),
            (0, market("n", "buy", 0.15)),
            (0, market("r", "sell", 0.15, **RO)),
        ],
        [FLAT],
        [(0, "m", "buy", 1, 100)],
        1,
        [(0, "lot_size", "n"), (0, "lot_size", "r")],
    ),
    Case(
        "the notional is that at the limit, else at the trigger",
        [
            (0, limit("l1", "buy", 1, 98)),
            (0, limit("l2", "buy", 1, 98.5)),
            (0, stop("s1", "sell", 1, 98)),
            (0, stop("s2", "sell", 1, 98.5)),
        ],
        [(100, 100, 100, 100)],
        denied=[(0, "min_notional_usd", "l1"), (0, "min_notional_usd", "s1")],
        market={"min_notional": 98.5},
        mirrors=False,
    ),
    Case(
        "an order that can only reduce needs no minimum",
        [(0, market("m", "buy", 1)), (0, market("r", "sell", 0.1))],
        [FLAT],
        [(0, "m", "buy", 1, 100), (0, "r", "sell", 0.1, 100)],
        0.9,
        market={"min_notional": 50},
    ),
    Case(
        "the worst position counts the working orders of its side",
        [
            (0, limit("l1", "buy", 2, 95)),
            (0, limit("l2", "buy", 2, 94)),
            (0, limit("l3", "buy", 1, 94)),
            (0, limit("o", "sell", 3, 105)),
        ],
        [FLAT],
        denied=[(0, "max_position", "l2")],
        states={"l1": "working", "l2": "denied"},
        market={"max_position": 3},
    ),
    Case(
        "reduce-only orders do not count in the worst position",
        [
            (0, market("m", "buy", 2)),
            (0, limit("t", "sell", 2, 105, **RO)),
            (1, stop("s", "sell", 5, 95)),
        ],
        [FLAT],
        [(0, "m", "buy", 2, 100)],
        2,
        states={"s": "working"},
        market={"max_position": 3},
    ),
    Case(
        "leverage is that of the worst position at the last price",
        [(0, market("n", "buy", 10.1)), (0, market("m", "buy", 10))],
        [FLAT],
        [(0, "m", "buy", 10, 100)],
        10,
        [(0, "max_leverage", "n")],
        rules={"balance": 1000, "max_leverage": 1},
    ),
    Case(
        "leverage is that of all symbols",
        [(0, limit("a", "buy", 6, 95)), (0, market("b", "sell", 5, symbol=B))],
        [FLAT],
        denied=[(0, "max_leverage", "b")],
        rules={"balance": 1000, "max_leverage": 1},
        other=[FLAT],
    ),
    Case(
        "the worst of another symbol is the larger of its two sides",
        [
            (0, limit("a1", "buy", 6, 95)),
            (0, limit("a2", "sell", 3, 105)),
            (0, market("b", "buy", 4, symbol=B)),
        ],
        [FLAT],
        [(0, "b", "buy", 4, 100)],
        0,
        rules={"balance": 1000, "max_leverage": 1},
        other=[FLAT],
    ),
    Case(
        "leverage is the lowest of all instruments",
        [(0, market("a", "buy", 21)), (0, market("a2", "buy", 20))],
        [FLAT],
        [(0, "a2", "buy", 20, 100)],
        20,
        [(0, "max_leverage", "a")],
        rules={"balance": 1000},
        other=[FLAT],
        other_market={"max_leverage": 2},
    ),
    Case(
        "the first limit that an order breaks denies it",
        [(0, limit("l", "buy", 9, 10))],
        [FLAT],
        denied=[(0, "min_notional_usd", "l")],
        rules={"balance": 1},
        market={"min_notional": 100, "max_position": 3},
        mirrors=False,
    ),
    Case(
        "an order that turns round is cut by the largest position too",
        [(0, market("m", "buy", 2)), (0, limit("t", "sell", 6, 105))],
        [(100, 106, 100, 106)],
        [(0, "m", "buy", 2, 100), (1, "t", "sell", 2, 105)],
        0,
        [(0, "max_position", "t")],
        market={"max_position": 3},
    ),
    Case(
        "an order that turns round within the limits goes whole",
        [(0, market("m", "buy", 2)), (1, market("t", "sell", 5))],
        [FLAT],
        [(0, "m", "buy", 2, 100), (1, "t", "sell", 5, 100)],
        -3,
        market={"max_position": 3},
    ),
    Case(
        "a bracket goes whole or not at all",
        [(0, market("m", "buy", 1)), (0, bracket(market("e", "sell", 6), sl=105, tp=95))],
        [FLAT],
        [(0, "m", "buy", 1, 100)],
        1,
        [(0, "max_position", "e")],
        states={"e": "denied", "sl": "denied", "tp": "denied"},
        market={"max_position": 3},
    ),
]

MORE = [
    Case(
        "a stop that begins at the end of the path is met at once by the close",
        [(0, bracket(limit("e", "buy", 1, 98, **GTD), sl=97.5, tp=110))],
        [(100, 101, 97, 97.5)],
        [(1, "e", "buy", 1, 98), (1, "sl", "sell", 1, 97.5)],
        0,
        until={"e": 0.5},
    ),
    Case(
        "a stop that begins at the end of the path fills at its trigger if that was reached",
        [(0, bracket(limit("e", "buy", 1, 98, **GTD), sl=97, tp=110))],
        [(100, 101, 97, 97.5)],
        [(1, "e", "buy", 1, 98), (1, "sl", "sell", 1, 97)],
        0,
        until={"e": 0.5},
    ),
    Case(
        "an order that ends inside of a step that does not reach it only ends",
        [(0, limit("l", "buy", 1, 98, **GTD)), (0, stop("s", "buy", 1, 102, **GTD))],
        [(100, 101, 98, 99)],
        until={"l": 0.5, "s": 0.5},
        states={"l": "expired", "s": "expired"},
    ),
    Case(
        "a reduce-only child that waits for its parent does not end with the position",
        [
            (0, market("m", "buy", 1)),
            (0, bracket(limit("e", "buy", 1, 98), sl=96, tp=110)),
            (0, market("out", "sell", 1)),
        ],
        [(100, 101, 95, 100)],
        [
            (0, "m", "buy", 1, 100),
            (0, "out", "sell", 1, 100),
            (1, "e", "buy", 1, 98),
            (1, "sl", "sell", 1, 96),
        ],
        0,
    ),
    Case(
        "a reduce-only child whose parent only closed a position ends at once",
        [
            (0, market("m", "sell", 1)),
            (0, bracket(limit("e", "buy", 1, 98), sl=96, tp=110)),
        ],
        [(100, 101, 95, 100)],
        [(0, "m", "sell", 1, 100), (1, "e", "buy", 1, 98)],
        0,
        states={"sl": "canceled", "tp": "canceled"},
    ),
    Case(
        "a parent that is rejected ends its children",
        [(0, bracket(limit("e", "buy", 1, 101, post_only=True), sl=96, tp=110))],
        [FLAT],
        states={"e": "rejected", "sl": "canceled", "tp": "canceled"},
    ),
    Case(
        "FOK that the close has reached and IOC at the market fill",
        [
            (0, limit("f", "buy", 1, 100, time_in_force="FOK")),
            (0, market("i", "buy", 1, time_in_force="IOC")),
        ],
        [FLAT],
        [(0, "f", "buy", 1, 100), (0, "i", "buy", 1, 100)],
        2,
    ),
    Case(
        "a price is above 0",
        [(0, limit("l", "buy", 1, 0))],
        [FLAT],
        denied=[(0, "tick_size", "l")],
        mirrors=False,
    ),
    Case(
        # A is at 90 already: C = -800 + 450 - 22.5 = -372.5; p = 372.5 / 3.8 = 98.03; with A at
        # 100 it would be 85.5. Sold at 98: 392, A at 90: 450; 42 left, 42.1 held
        "a liquidation sees the closes of the symbols before it at this instant",
        [(0, market("a", "buy", 5)), (0, market("b", "buy", 4, symbol=B))],
        [(100, 100, 90, 90)],
        [
            (0, "a", "buy", 5, 100),
            (0, "b", "buy", 4, 100),
            (1, None, "sell", 4, 98),
            (1, None, "sell", 5, 90),
        ],
        0,
        payments=[(1, "liquidation", -42)],
        rules=SMALL,
        market=TENFOLD,
        other=[(100, 100, 97, 99)],
        other_market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "nothing fills in the later steps of the instant of a liquidation",
        [
            (0, market("a", "buy", 9)),
            (0, limit("l", "buy", 0.1, 98, symbol=B)),
            (0, stop("s", "sell", 0.1, 98, symbol=B)),
        ],
        [(100, 100, 80, 90)],
        [(0, "a", "buy", 9, 100), (1, None, "sell", 9, 93.5)],
        states={"l": "canceled", "s": "canceled"},
        rules=SMALL,
        market=TENFOLD,
        other=[(100, 100, 97, 99)],
        other_market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "a halt ends at 00:00",
        [
            (0, market("b", "buy", 5)),
            (2, market("denied", "buy", 1)),
            (3, market("again", "buy", 1)),
        ],
        [(100, 100, 97, 97), FLAT, FLAT],
        [(0, "b", "buy", 5, 100), (1, None, "sell", 5, 97), (3, "again", "buy", 1, 100)],
        1,
        [(2, "max_daily_loss_usd", "denied")],
        rules={"max_daily_loss": 10},
        first_hour=21,
    ),
    Case(
        # -9.5 at the close and 5 x 98.1 x 0.002 = 0.981 of funding
        "a day's loss is found after funding",
        [(0, market("b", "buy", 5))],
        [(100, 100, 98.1, 98.1)],
        [(0, "b", "buy", 5, 100), (1, None, "sell", 5, 98)],
        0,
        payments=[(1, "funding", "-0.981")],
        halts=[(1, "max_daily_loss_usd")],
        rules={"max_daily_loss": 10, "funding_rate_8h": "0.002"},
        first_hour=7,
        mirrors=False,
    ),
    Case(
        # -7.5 since 00:00, -12.5 with the funding of that time
        "a day begins with the equity after the funding of its 00:00",
        [(0, market("b", "buy", 5))],
        [(100, 100, 100, 100), (100, 100, 98.5, 98.5)],
        [(0, "b", "buy", 5, 100)],
        5,
        payments=[(1, "funding", -5)],
        halts=[],
        rules={"max_daily_loss": 10, "funding_rate_8h": "0.01"},
        first_hour=23,
        mirrors=False,
    ),
    Case(
        "funding at an instant with a step is paid on what the step left",
        [(0, stop("s", "buy", 1, 102))],
        [(100, 104, 100, 103)],
        [(1, "s", "buy", 1, 102)],
        1,
        payments=[(1, "funding", "-0.103")],
        rules={"funding_rate_8h": "0.001"},
        first_hour=7,
        mirrors=False,
    ),
    Case(
        "an order that reduces together with those that work needs no minimum",
        [
            (0, market("m", "buy", 10)),
            (0, limit("t1", "sell", 6, 102)),
            (0, limit("t2", "sell", 4, 103)),
        ],
        [FLAT],
        [(0, "m", "buy", 10, 100)],
        10,
        states={"t1": "working", "t2": "working"},
        market={"min_notional": 1000},
        mirrors=False,
    ),
    Case(
        # high first: the stop buys at 104; low first: the limit buys at 97, and nothing is left
        "the two paths are walked from the same orders",
        [
            (0, market("m", "sell", 2)),
            (0, stop("s", "buy", 2, 104, **RO)),
            (0, limit("t", "buy", 2, 97, **RO)),
        ],
        [(100, 105, 96, 97)],
        [(0, "m", "sell", 2, 100), (1, "s", "buy", 2, 104)],
        0,
        states={"t": "canceled"},
    ),
    Case(
        "a limit of the other leg fills though the nearer extreme is on the stop's side",
        [
            (0, market("m", "buy", 2)),
            (0, stop("s", "sell", 1, 99, **RO)),
            (0, limit("t", "sell", 2, 108, **RO)),
        ],
        [(100, 110, 98.5, 100)],
        [(0, "m", "buy", 2, 100), (1, "s", "sell", 1, 99), (1, "t", "sell", 1, 108)],
        0,
    ),
    Case(
        "a stop-limit counts as a stop of its trigger when it is sent",
        [(0, stop_limit("s", "sell", 1, 100, 99))],
        [FLAT],
        denied=[(0, "stop_in_market", "s")],
    ),
    Case(
        "a change to a price off the tick is denied, and the order stays",
        [(0, limit("l", "buy", 1, 98)), (0, Modify("l", price=D("97.3")))],
        [(100, 100, 97, 99)],
        [(1, "l", "buy", 1, 98)],
        1,
        [(0, "tick_size", "l")],
    ),
    Case(
        "an order whose time is the close of a step is gone in the next",
        [(0, limit("l", "buy", 1, 98, **GTD)), (0, stop("s", "buy", 1, 102, **GTD))],
        [FLAT, (100, 103, 96, 97)],
        until={"l": 1, "s": 1},
        states={"l": "expired", "s": "expired"},
    ),
    Case(
        "a stop-limit that rests since the open does not fill on the path",
        [(0, stop_limit("s", "sell", 1, 97, 98))],
        [(96, 99, 95, 97)],
        states={"s": "working"},
    ),
    Case(
        "a plain stop that waited and reduces goes off at the close that has reached it",
        [(0, market("m", "buy", 2)), ("timer 1", stop("s", "sell", 2, 99))],
        [(100, 100, 97, 98)],
        [(0, "m", "buy", 2, 100), (1, "s", "sell", 2, 98)],
        0,
    ),
    Case(
        "a stop that waited to be changed is not if the close has reached it",
        [
            (0, market("m", "buy", 2)),
            (0, stop("s", "sell", 2, 95, **RO)),
            ("timer 1", Modify("s", trigger=D(99))),
        ],
        [(100, 100, 97, 98)],
        [(0, "m", "buy", 2, 100)],
        2,
        [(1, "stop_in_market", "s")],
        states={"s": "working"},
    ),
    Case(
        "what goes through of an order that turns round is reduce-only",
        [
            (0, market("m", "buy", 2)),
            (0, limit("t", "sell", 6, 105)),
            (0, market("out", "sell", 1)),
        ],
        [(100, 106, 100, 106)],
        [(0, "m", "buy", 2, 100), (0, "out", "sell", 1, 100), (1, "t", "sell", 1, 105)],
        0,
        [(0, "max_position", "t")],
        market={"max_position": 3},
    ),
    Case(
        "a list that breaks a limit together does not go",
        [(0, [limit("l1", "buy", 2, 98), limit("l2", "buy", 2, 97)])],
        [(100, 100, 96, 99)],
        denied=[(0, "max_position", "l2")],
        states={"l1": "denied", "l2": "denied"},
        market={"max_position": 3},
    ),
    Case(
        "the worst of another symbol begins with its position",
        [
            (0, market("a", "buy", 3)),
            (0, limit("a1", "buy", 2, 95)),
            (0, limit("a2", "sell", 2, 105)),
            (0, market("b", "buy", 5.1, symbol=B)),
            (0, market("b2", "buy", 5, symbol=B)),
        ],
        [FLAT],
        [(0, "a", "buy", 3, 100), (0, "b2", "buy", 5, 100)],
        3,
        [(0, "max_leverage", "b")],
        rules={"balance": 1000, "max_leverage": 1},
        other=[FLAT],
    ),
    Case(
        "a quantity of 0 is no lot",
        [(0, market("m", "buy", 0))],
        [FLAT],
        denied=[(0, "lot_size", "m")],
    ),
]

ADOPTED = [
    Case(
        # flat before the step; the jump makes it long, so the low comes first, and turned round
        # it is short and the high comes first
        "after a jump that opens, its position decides between equal paths",
        [
            (0, stop("e", "buy", 1, 102)),
            (0, stop("s", "sell", 0.5, 95)),
            (0, limit("t", "sell", 1, 111)),
        ],
        [(103, 112, 94, 103)],
        [(1, "e", "buy", 1, 103), (1, "s", "sell", 0.5, 95), (1, "t", "sell", 1, 111)],
        -0.5,
    ),
    Case(
        "a cancel for a symbol in a hole comes after its step behind the hole",
        [(0, limit("l", "buy", 1, 98, symbol=B)), (1, Cancel("l"))],
        [FLAT, FLAT],
        [(2, "l", "buy", 1, 98)],
        0,
        other=[None, (100, 100, 97, 99)],
    ),
    Case(
        "a resting order whose time is over when it counts is denied",
        [
            ("timer 1", limit("g", "buy", 1, 101, **GTD)),
            ("timer 1", stop("h", "buy", 1, 105, **GTD)),
        ],
        [FLAT],
        until={"g": 0.75, "h": 1},
        denied=[(1, "expire_time", "g"), (1, "expire_time", "h")],
        states={"g": "denied", "h": "denied"},
    ),
    Case(
        "a reduce-only order counts the market orders of its list",
        [(0, [market("m", "buy", 1), stop("s", "sell", 1, 98, **RO)])],
        [(100, 100, 97, 99)],
        [(0, "m", "buy", 1, 100), (1, "s", "sell", 1, 98)],
        0,
    ),
    Case(
        # with t1 it would reach -3: it closes what is held and opens nothing
        "an order that turns round together with others closes as reduce-only",
        [
            (0, market("m", "buy", 3)),
            (0, limit("t1", "sell", 6, 105)),
            (0, stop("s", "sell", 3, 95)),
        ],
        [(100, 100, 94, 96), (96, 106, 96, 100)],
        [(0, "m", "buy", 3, 100), (1, "s", "sell", 3, 95), (2, "t1", "sell", 6, 105)],
        -6,
        [],
        market={"max_position": 6},
    ),
    Case(
        "a plain stop that waited and would turn the position is denied",
        [(0, market("m", "buy", 1)), ("timer 1", stop("s", "sell", 2, 99))],
        [(100, 100, 97, 98)],
        [(0, "m", "buy", 1, 100)],
        1,
        [(1, "stop_in_market", "s")],
    ),
    Case(
        # bought at 108.5: 100 - 9 x 6.5 = 41.5 at 102, where 45.9 are needed
        "below the margin already, a position is liquidated on a way up too",
        [(0, stop("s", "buy", 9, 102))],
        [(100, 110, 100, 110)],
        [(1, "s", "buy", 9, 108.5), (1, None, "sell", 9, 102)],
        payments=[(1, "liquidation", -41.5)],
        rules={**SMALL, "slippage_ticks": 13},
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        # as the case with 88.42105, but sold at the open of 80: 400; B at 130: 520; 120 are left
        "the margin lost is that of the liquidation price, not of the open beyond it",
        [(0, market("a", "buy", 5)), (0, market("b", "buy", 4, symbol=B))],
        [(80, 100, 80, 90)],
        [
            (0, "a", "buy", 5, 100),
            (0, "b", "buy", 4, 100),
            (1, None, "sell", 5, 80),
            (1, None, "sell", 4, 130),
        ],
        payments=[(1, "liquidation", "-42.10526316")],
        rules=SMALL,
        market=TENFOLD,
        other=[(100, 130, 85, 130)],
        other_market=TENFOLD,
        mirrors=False,
    ),
    Case(
        # 5 x 95 is below the minimum, and 6 and 5 reach beyond the 10 that are held
        "an order that would turn round with others and is too small reduces only",
        [
            (0, market("m", "buy", 10)),
            (0, limit("t", "sell", 6, 105)),
            (0, stop("s", "sell", 5, 95)),
        ],
        [(100, 106, 100, 104), (104, 104, 94, 96)],
        [(0, "m", "buy", 10, 100), (1, "t", "sell", 6, 105), (2, "s", "sell", 4, 95)],
        0,
        market={"min_notional": 1000},
        mirrors=False,
    ),
]
"""Readings of the page as it was before, which the page now says."""

QUEUE = [
    Case(
        "what is asked for on a fill at a close comes behind what was asked for before",
        [
            (0, market("m", "buy", 1)),
            (0, market("n", "buy", 2)),
            ("fill m", market("out", "sell", 1, **RO)),
            ("fill n", market("more", "buy", 1)),
        ],
        [FLAT],
        [
            (0, "m", "buy", 1, 100),
            (0, "n", "buy", 2, 100),
            (0, "out", "sell", 1, 100),
            (0, "more", "buy", 1, 100),
        ],
        3,
    ),
    Case(
        "a cancel on a fill at a close comes behind an order that takes",
        [
            (0, market("m", "buy", 1)),
            (0, limit("l", "buy", 1, 100)),
            ("fill m", Cancel("l")),
        ],
        [FLAT],
        [(0, "m", "buy", 1, 100), (0, "l", "buy", 1, 100)],
        2,
    ),
    Case(
        "a cancel comes behind the order that it cancels",
        [(0, limit("l", "buy", 1, 98)), (0, Cancel("l")), (0, limit("t", "buy", 1, 97))],
        [(100, 100, 96, 99)],
        [(1, "t", "buy", 1, 97)],
        1,
        states={"l": "canceled"},
    ),
    Case(
        "a market order to come counts as filled for reduce_only",
        [
            (0, market("m", "buy", 1)),
            (1, market("out", "sell", 1)),
            (1, limit("r", "sell", 1, 105, **RO)),
        ],
        [FLAT],
        [(0, "m", "buy", 1, 100), (1, "out", "sell", 1, 100)],
        0,
        [(1, "reduce_only", "r")],
    ),
    Case(
        "a reduce-only market order to come counts for what it can fill",
        [
            (0, market("m", "buy", 1)),
            (1, market("out", "sell", 3, **RO)),
            (1, limit("r", "buy", 1, 95, **RO)),
        ],
        [FLAT],
        [(0, "m", "buy", 1, 100), (1, "out", "sell", 1, 100)],
        0,
        [(1, "reduce_only", "r")],
    ),
    Case(
        # -4 is beyond 3, though the fill of m will leave room; 2 close what m buys
        "a market order to come is a working order of its side, and filled for the turning part",
        [(0, market("m", "buy", 2)), (0, limit("t", "sell", 4, 105))],
        [(100, 106, 100, 106)],
        [(0, "m", "buy", 2, 100), (1, "t", "sell", 2, 105)],
        0,
        [(0, "max_position", "t")],
        states={"t": "filled"},
        market={"max_position": 3},
    ),
    Case(
        "market orders to come of one side are counted together",
        [(0, market("m", "buy", 2)), (0, market("n", "buy", 2)), (0, market("o", "buy", 1))],
        [FLAT],
        [(0, "m", "buy", 2, 100), (0, "o", "buy", 1, 100)],
        3,
        [(0, "max_position", "n")],
        market={"max_position": 3},
    ),
    Case(
        # out leaves 5: t1 and t2 close them, and need no minimum
        "a market order to come counts once for whether others can only reduce",
        [
            (0, market("m", "buy", 10)),
            (1, market("out", "sell", 5)),
            (1, [limit("t1", "sell", 3, 105), limit("t2", "sell", 2, 106)]),
        ],
        [FLAT, (100, 107, 100, 107)],
        [
            (0, "m", "buy", 10, 100),
            (1, "out", "sell", 5, 100),
            (2, "t1", "sell", 3, 105),
            (2, "t2", "sell", 2, 106),
        ],
        0,
        market={"min_notional": 1000},
        mirrors=False,
    ),
    Case(
        # 6 x 100 of A are to come: 5 x 100 of B are more than 1000
        "a market order to come counts in the worst position of another symbol",
        [
            (0, market("a", "buy", 6)),
            (0, market("b", "sell", 5, symbol=B)),
            (0, market("b2", "sell", 4, symbol=B)),
        ],
        [FLAT],
        [(0, "a", "buy", 6, 100), (0, "b2", "sell", 4, 100)],
        6,
        [(0, "max_leverage", "b")],
        rules={"balance": 1000, "max_leverage": 1},
        other=[FLAT],
    ),
    Case(
        "a reduce-only order ends with a fill before it that leaves nothing to reduce",
        [
            (0, limit("l", "sell", 1, 100)),
            (0, market("m", "buy", 2)),
            (0, limit("r", "sell", 1, 105, **RO)),
        ],
        [(100, 106, 100, 106)],
        [(0, "l", "sell", 1, 100), (0, "m", "buy", 2, 100)],
        1,
        states={"r": "canceled"},
    ),
    Case(
        "a reduce-only order does not end with what is accepted before it",
        [
            (0, market("m", "buy", 1)),
            (1, limit("l", "buy", 1, 90)),
            (1, market("out", "sell", 2)),
            (1, limit("r", "buy", 1, 101, **RO)),
        ],
        [FLAT, FLAT],
        [(0, "m", "buy", 1, 100), (1, "out", "sell", 2, 100), (1, "r", "buy", 1, 100)],
        0,
        states={"l": "working"},
    ),
]

WAITED = [
    Case(
        "of what waited each is carried out before the next is checked",
        [
            ("timer 1", limit("l", "buy", 2, 98)),
            ("timer 1", Cancel("l")),
            ("timer 1", limit("n", "buy", 2, 97)),
        ],
        [FLAT, (100, 100, 96, 99)],
        [(2, "n", "buy", 2, 97)],
        2,
        states={"l": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        # after m the position is 2: t reaches -2
        "a market order that waited is filled for the worst position of the next",
        [("timer 1", market("m", "buy", 2)), ("timer 1", market("t", "sell", 4))],
        [FLAT],
        [(1, "m", "buy", 2, 100), (1, "t", "sell", 4, 100)],
        -2,
        market={"max_position": 3},
    ),
    Case(
        "what is asked for on the fill of what waited waits behind all of it",
        [
            ("timer 1", market("m", "buy", 1)),
            ("timer 1", market("n", "buy", 1)),
            ("fill m", market("out", "sell", 3, **RO)),
        ],
        [FLAT],
        [(1, "m", "buy", 1, 100), (1, "n", "buy", 1, 100), (1, "out", "sell", 2, 100)],
        0,
    ),
    Case(
        "what is asked for on the fill of a halt waits behind what waited",
        [
            (0, market("b", "buy", 5)),
            ("timer 1", market("t", "buy", 1)),
            ("fill None", market("u", "buy", 1)),
        ],
        [(100, 100, 97, 97)],
        [
            (0, "b", "buy", 5, 100),
            (1, None, "sell", 5, 97),
            (1, "t", "buy", 1, 97),
            (1, "u", "buy", 1, 97),
        ],
        2,
        halts=[(1, "max_daily_loss_usd")],
        rules={"max_daily_loss": 10},
        first_hour=23,
    ),
    Case(
        "what is asked for on the fill of a liquidation waits behind what waited",
        [
            (0, market("b", "buy", 9)),
            ("timer 1", market("t", "buy", 0.1)),
            ("fill None", market("u", "buy", 0.1)),
        ],
        [(100, 106, 80, 99)],
        [(0, "b", "buy", 9, 100), (1, None, "sell", 9, 93.5)],
        0,
        [(1, "liquidation", "t"), (1, "liquidation", "u")],
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "a stop of a list that waited reduces what the list's market order buys",
        [("timer 1", [market("m", "buy", 1), stop("s", "sell", 1, 99)])],
        [(100, 100, 97, 98)],
        [(1, "m", "buy", 1, 98), (1, "s", "sell", 1, 98)],
        0,
    ),
    Case(
        "a stop of a list that waited and would turn what the list buys is denied",
        [("timer 1", [market("m", "buy", 1), stop("s", "sell", 2, 99)])],
        [(100, 100, 97, 98)],
        denied=[(1, "stop_in_market", "s")],
        states={"m": "denied", "s": "denied"},
    ),
    Case(
        "a stop-limit that waited takes at a close that has reached its trigger, not slipped",
        [(0, market("m", "buy", 1)), ("timer 1", stop_limit("s", "sell", 1, 99, 97, **RO))],
        [(100, 100, 97, 98.3)],
        [(0, "m", "buy", 1, 100.5), (1, "s", "sell", 1, 98)],
        0,
        rules={"slippage_ticks": 1},
        liquidity=["taker", "taker"],
    ),
    Case(
        "a stop-limit that waited rests at its limit if the close has passed that",
        [(0, market("m", "buy", 1)), ("timer 1", stop_limit("s", "sell", 1, 99, 98.5, **RO))],
        [(100, 100, 97, 98), (98, 99, 97, 97)],
        [(0, "m", "buy", 1, 100), (2, "s", "sell", 1, 98.5)],
        0,
        liquidity=["taker", "maker"],
    ),
    Case(
        "a stop-limit that waited to be changed is not if the close has reached it",
        [
            (0, market("m", "buy", 2)),
            (0, stop_limit("s", "sell", 2, 95, 94, **RO)),
            ("timer 1", Modify("s", trigger=D(99))),
        ],
        [(100, 100, 97, 98)],
        [(0, "m", "buy", 2, 100)],
        2,
        [(1, "stop_in_market", "s")],
    ),
    Case(
        "a stop-limit that waited and opens is denied if the close has reached it",
        [("timer 1", stop_limit("s", "sell", 1, 99, 97))],
        [(100, 100, 97, 98)],
        denied=[(1, "stop_in_market", "s")],
    ),
]

CHILDREN = [
    Case(
        "a stop that begins at a close beyond its trigger goes off there, slipped",
        [(0, bracket(market("e", "buy", 1), sl=101, tp=110))],
        [FLAT],
        [(0, "e", "buy", 1, 100.5), (0, "sl", "sell", 1, 99.5)],
        0,
        states={"tp": "canceled"},
        rules={"slippage_ticks": 1},
    ),
    Case(
        "a stop that begins at a close at its trigger goes off there",
        [(0, bracket(market("e", "buy", 1), sl=100, tp=110))],
        [FLAT],
        [(0, "e", "buy", 1, 100), (0, "sl", "sell", 1, 100)],
        0,
    ),
    Case(
        "a take-profit that begins at a close beyond it takes there, not slipped",
        [(0, bracket(market("e", "buy", 1), sl=95, tp=99))],
        [FLAT],
        [(0, "e", "buy", 1, 100.5), (0, "tp", "sell", 1, 100)],
        0,
        states={"sl": "canceled"},
        rules={"slippage_ticks": 1},
        liquidity=["taker", "taker"],
    ),
    Case(
        "a stop-limit that begins at a close beyond its trigger takes up to its limit",
        [(0, [market("e", "buy", 1), stop_limit("s", "sell", 1, 101, 99.5, parent="e", **RO)])],
        [FLAT],
        [(0, "e", "buy", 1, 100), (0, "s", "sell", 1, 100)],
        0,
        liquidity=["taker", "taker"],
    ),
    Case(
        "a stop-limit that begins at a close beyond its limit rests",
        [(0, [market("e", "buy", 1), stop_limit("s", "sell", 1, 101, 100.5, parent="e", **RO)])],
        [FLAT],
        [(0, "e", "buy", 1, 100), (1, "s", "sell", 1, 100.5)],
        0,
        liquidity=["taker", "maker"],
    ),
    Case(
        "a post-only child that begins at a close that has reached it is rejected",
        [(0, [market("e", "buy", 1), limit("t", "sell", 1, 100, parent="e", post_only=True)])],
        [FLAT],
        [(0, "e", "buy", 1, 100)],
        1,
        states={"t": "rejected"},
    ),
    Case(
        "children begin where a change lets their parent take",
        [
            (0, bracket(limit("e", "buy", 1, 98), sl=100.5, tp=110)),
            (1, Modify("e", price=D(101))),
        ],
        [FLAT],
        [(1, "e", "buy", 1, 100), (1, "sl", "sell", 1, 100)],
        0,
    ),
    Case(
        # 6 are more than max_position, and the notional of x is below the minimum
        "a child is checked by its prices and lots alone",
        [(0, [market("e", "buy", 2), limit("x", "sell", 6, 110, parent="e", **RO)])],
        [(100, 111, 100, 111)],
        [(0, "e", "buy", 2, 100), (1, "x", "sell", 2, 110)],
        0,
        market={"max_position": 3, "min_notional": 200},
        mirrors=False,
    ),
    Case(
        "a child's price lies on the tick",
        [(0, bracket(market("e", "buy", 1), sl=95, tp=110.3))],
        [FLAT],
        denied=[(0, "tick_size", "tp")],
        states={"e": "denied", "sl": "denied", "tp": "denied"},
    ),
]

TIMES = [
    Case(
        "a child whose time is over when its list counts is denied, with the whole list",
        [
            (
                "timer 1",
                [limit("e", "buy", 1, 98), limit("t", "sell", 1, 110, parent="e", **RO, **GTD)],
            )
        ],
        [FLAT],
        denied=[(1, "expire_time", "t")],
        until={"t": 0.75},
        states={"e": "denied", "t": "denied"},
    ),
    Case(
        "a DAY order that waited for the close at 00:00 works until the next 00:00",
        [("timer 1", limit("d", "buy", 1, 95, time_in_force="DAY"))],
        [FLAT, (100, 100, 90, 96)],
        [(2, "d", "buy", 1, 95)],
        1,
        first_hour=23,
    ),
    Case(
        "a market order has no time that could be over",
        [("timer 1", market("m", "buy", 1, **GTD))],
        [FLAT],
        [(1, "m", "buy", 1, 100)],
        1,
        until={"m": 0.75},
    ),
    Case(
        "a bracket whose entry's time is over when it counts is denied",
        [("timer 1", bracket(limit("e", "buy", 1, 98, **GTD), sl=96, tp=110))],
        [FLAT],
        until={"e": 0.75},
        denied=[(1, "expire_time", "e")],
    ),
]

EXCESS = [
    Case(
        # -3 + 6 is 3; with the position closed it would be 6
        "an order that could reach beyond max_position after a fill at a close ends",
        [
            (0, market("m", "sell", 3)),
            (1, stop("s", "buy", 6, 105)),
            (1, market("out", "buy", 3, **RO)),
        ],
        [FLAT, (100, 106, 100, 106)],
        [(0, "m", "sell", 3, 100), (1, "out", "buy", 3, 100)],
        0,
        [(1, "max_position", "s")],
        states={"s": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        "an order that could reach beyond max_position after a fill inside of a path ends at once",
        [
            (0, market("m", "sell", 3)),
            (1, limit("r", "buy", 3, 97, **RO)),
            (1, limit("l", "buy", 6, 96)),
        ],
        [FLAT, (100, 100, 95, 99)],
        [(0, "m", "sell", 3, 100), (2, "r", "buy", 3, 97)],
        0,
        [(2, "max_position", "l")],
        states={"l": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        # 0 + 6 and 0 + 4 are beyond 3, 0 + 2 is not
        "the last sent ends first, until the rest cannot reach beyond max_position",
        [
            (0, market("m", "sell", 3)),
            (1, stop("s1", "buy", 2, 107)),
            (1, stop("s2", "buy", 2, 106)),
            (1, stop("s3", "buy", 2, 105)),
            (1, limit("r", "buy", 3, 97, **RO)),
        ],
        [FLAT, (100, 100, 96, 99), (99, 108, 99, 108)],
        [(0, "m", "sell", 3, 100), (2, "r", "buy", 3, 97), (3, "s1", "buy", 2, 107)],
        2,
        [(2, "max_position", "s3"), (2, "max_position", "s2")],
        states={"s2": "canceled", "s3": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        "orders that reach max_position exactly go on working",
        [
            (0, market("m", "sell", 2)),
            (1, stop("s", "buy", 3, 105)),
            (1, market("out", "buy", 2, **RO)),
        ],
        [FLAT, (100, 106, 100, 106)],
        [(0, "m", "sell", 2, 100), (1, "out", "buy", 2, 100), (2, "s", "buy", 3, 105)],
        3,
        market={"max_position": 3},
    ),
    Case(
        # 1 - 6 is beyond 3 as long as x waits; when it begins it is 3 - 6
        "children that wait do not count for max_position",
        [
            (0, market("m", "buy", 1)),
            (0, [stop("e", "buy", 2, 102), limit("x", "sell", 6, 110, parent="e")]),
        ],
        [(100, 103, 100, 103), (103, 111, 103, 110)],
        [(0, "m", "buy", 1, 100), (1, "e", "buy", 2, 102), (2, "x", "sell", 6, 110)],
        -3,
        market={"max_position": 3},
    ),
    Case(
        # -1 - 3 is beyond 3, if x counted
        "children that wait do not count against other orders of their side",
        [
            (0, [stop("e", "buy", 2, 102), limit("x", "sell", 3, 110, parent="e")]),
            (0, market("s", "sell", 1)),
        ],
        [FLAT],
        [(0, "s", "sell", 1, 100)],
        -1,
        market={"max_position": 3},
    ),
    Case(
        # |2 - 6| x 100 is within 1 x 500 with x sold at 100 too; |2 - 8| is not
        "a child that begins and could break max_leverage ends, also at a close",
        [
            (0, [market("e", "buy", 2), limit("x", "sell", 8, 110, parent="e")]),
            (1, [market("f", "buy", 1), limit("y", "sell", 8, 110, parent="f")]),
        ],
        [(100, 101, 99, 100), (100, 112, 99, 111)],
        [(0, "e", "buy", 2, 100), (1, "f", "buy", 1, 100), (2, "y", "sell", 8, 110)],
        -5,
        [(0, "max_leverage", "x")],
        states={"x": "canceled"},
        rules={"balance": 500, "max_leverage": 1},
    ),
    Case(
        # inside of bar 1 the last price is the close before, 100
        "a child that begins inside of a step is held against max_leverage at the close before",
        [
            (0, [stop("e", "buy", 2, 104), limit("x", "sell", 7.1, 110, parent="e")]),
            (0, [stop("f", "buy", 2, 104), limit("y", "sell", 4, 110, parent="f")]),
        ],
        [(100, 112, 100, 111)],
        [(1, "e", "buy", 2, 104), (1, "f", "buy", 2, 104), (1, "y", "sell", 4, 110)],
        0,
        [(1, "max_leverage", "x")],
        rules={"balance": 510, "max_leverage": 1},
        mirrors=False,
    ),
    Case(
        # |2 - 5| x 100 and the other symbol's 2 x 100 are not within 1 x 460
        "the leverage of a child that begins counts the other symbols",
        [
            (0, market("b", "buy", 2, symbol=B)),
            (0, [stop("e", "buy", 2, 101), limit("x", "sell", 5, 110, parent="e")]),
        ],
        [(100, 112, 100, 111)],
        [(0, "b", "buy", 2, 100), (1, "e", "buy", 2, 101)],
        2,
        [(1, "max_leverage", "x")],
        rules={"balance": 460, "max_leverage": 1},
        other=[FLAT],
        mirrors=False,
    ),
    Case(
        # 8 x 100 is more than 1 x 500, but it only closes
        "a child that only closes begins whatever the leverage",
        [
            (0, market("m", "buy", 5)),
            (1, [market("e", "sell", 1), limit("x", "sell", 4, 60, parent="e")]),
        ],
        [(100, 101, 10, 20), (20, 61, 20, 61)],
        [(0, "m", "buy", 5, 100), (1, "e", "sell", 1, 20), (2, "x", "sell", 4, 60)],
        0,
        rules={"balance": 500, "max_leverage": 1},
        mirrors=False,
    ),
    Case(
        # 2 - 2 - 4 is beyond 3: the order far away counts, though the step does not reach it
        "a child that begins could reach beyond max_position together with an order far away",
        [
            (0, limit("far", "sell", 2, 190)),
            (0, [stop("e", "buy", 2, 102), limit("x", "sell", 4, 110, parent="e")]),
        ],
        [(100, 112, 100, 111)],
        [(1, "e", "buy", 2, 102)],
        2,
        [(1, "max_position", "x")],
        states={"x": "canceled", "far": "working"},
        market={"max_position": 3},
    ),
    Case(
        "a child that begins and could reach beyond max_position ends",
        [
            (0, market("m", "buy", 1)),
            (0, [stop("e", "buy", 2, 102), limit("x", "sell", 6.1, 110, parent="e")]),
        ],
        [(100, 103, 100, 103), (103, 111, 103, 110)],
        [(0, "m", "buy", 1, 100), (1, "e", "buy", 2, 102)],
        3,
        [(1, "max_position", "x")],
        states={"x": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        # 1 - 1 - 5 reduce-only: only t counts
        "reduce-only orders do not count for max_position after a fill",
        [
            (0, market("m", "buy", 2)),
            (1, limit("t", "sell", 1, 106)),
            (1, limit("r", "sell", 5, 105, **RO)),
            (1, market("out", "sell", 1)),
        ],
        [FLAT, (100, 105.5, 100, 105)],
        [(0, "m", "buy", 2, 100), (1, "out", "sell", 1, 100), (2, "r", "sell", 1, 105)],
        0,
        states={"t": "working", "r": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        # both changes and orders are checked at once: 0 + 1 + 2; carried out they are 3 and 2
        "an enlarged order and another reach beyond max_position: the last sent ends",
        [
            (0, limit("l", "buy", 1, 98)),
            (1, Modify("l", quantity=D(3))),
            (1, limit("n", "buy", 2, 97)),
        ],
        [FLAT, (100, 100, 96, 99)],
        [(2, "l", "buy", 3, 98)],
        3,
        [(1, "max_position", "n")],
        states={"n": "canceled"},
        market={"max_position": 3},
    ),
]

CHANGES = [
    Case(
        # at 101 a new order of 10 were 1010 of 1000
        "a change to the values that an order has does nothing",
        [
            (0, limit("l", "buy", 10, 95)),
            (1, Modify("l", price=D(95), quantity=D(10))),
            (1, Modify("l", trigger=D("97.3"))),
        ],
        [(100, 101, 100, 101), (101, 101, 94, 96)],
        [(2, "l", "buy", 10, 95)],
        10,
        rules={"balance": 1000, "max_leverage": 1},
    ),
    Case(
        "a change of one of two values is checked",
        [
            (0, limit("l", "buy", 10, 95)),
            (1, Modify("l", price=D("95.5"), quantity=D(10))),
        ],
        [(100, 101, 100, 101), (101, 101, 94, 96)],
        [(2, "l", "buy", 10, 95)],
        10,
        [(1, "max_leverage", "l")],
        rules={"balance": 1000, "max_leverage": 1},
        mirrors=False,
    ),
    Case(
        "a change or a cancel of an order that has ended does nothing",
        [
            (0, limit("l", "buy", 1, 98)),
            (0, limit("d", "buy", 0.15, 98)),
            (1, Modify("l", price=D("97.3"))),
            (1, Cancel("l")),
            (1, Modify("d", price=D("97.3"))),
            (1, Cancel("d")),
        ],
        [(100, 100, 97, 99)],
        [(1, "l", "buy", 1, 98)],
        1,
        [(0, "lot_size", "d")],
        states={"l": "filled", "d": "denied"},
    ),
    Case(
        "a change of an order that takes before the change's turn does nothing",
        [(0, limit("l", "buy", 1, 100)), (0, Modify("l", price=D(98)))],
        [FLAT],
        [(0, "l", "buy", 1, 100)],
        1,
        states={"l": "filled"},
    ),
    Case(
        "a change of another order does not end what reduces a position that is under way",
        [
            (0, limit("l", "buy", 1, 90)),
            (1, Modify("l", price=D(89))),
            (1, market("m", "buy", 1)),
            (1, limit("out", "sell", 1, 105, **RO)),
        ],
        [FLAT, (100, 106, 100, 100)],
        [(1, "m", "buy", 1, 100), (2, "out", "sell", 1, 105)],
        0,
    ),
    Case(
        "a fill at a limit far from the market sets no stop off",
        [
            (0, stop_limit("t", "buy", 1, 105, 108)),
            (0, [limit("e", "sell", 1, 101), limit("tp", "buy", 1, 110, parent="e")]),
            (1, Modify("t", trigger=D(103))),
        ],
        [(100, 102, 99, 100), (100, 104, 100, 104)],
        [(1, "e", "sell", 1, 101), (1, "tp", "buy", 1, 110), (2, "t", "buy", 1, 108)],
        1,
    ),
    Case(
        "a change is checked at once, in the order of asking",
        [(0, limit("l", "buy", 1, 98)), (1, Modify("l", price=D("97.3"))), (1, Cancel("l"))],
        [FLAT],
        denied=[(1, "tick_size", "l")],
        states={"l": "canceled"},
    ),
]

READINGS = [
    Case(
        "reading: a stop-limit that is worth its limit at the end of the path is a taker",
        [
            (
                0,
                [
                    stop("e", "buy", 1, 102),
                    stop_limit("sl", "sell", 1, 99, 98.5, parent="e", **RO),
                ],
            )
        ],
        [(100, 106, 98, 104)],
        [(1, "e", "buy", 1, 102), (1, "sl", "sell", 1, 98.5)],
        0,
        liquidity=["taker", "taker"],
    ),
    Case(
        # slipped 97.5, below the close; the trigger itself is not
        "reading: a stop that ends inside is compared as it would be paid",
        [(0, stop("g", "sell", 1, 98, **GTD))],
        [(100, 101, 97, 98)],
        [(1, "g", "sell", 1, 97.5)],
        -1,
        until={"g": 0.5},
        rules={"slippage_ticks": 1},
    ),
    Case(
        "reading: a change is checked by the limits as a new order",
        [(0, limit("l", "buy", 2, 98)), (0, Modify("l", quantity=D(4)))],
        [(100, 100, 97, 99)],
        [(1, "l", "buy", 2, 98)],
        2,
        [(0, "max_position", "l")],
        market={"max_position": 3},
    ),
    Case(
        "reading: a post-only order that the close touches does not take if its change is refused",
        [(0, limit("l", "buy", 1, 98, post_only=True)), (1, Modify("l", price=D(99)))],
        [(100, 101, 98, 98), (98, 101, 98, 99)],
        [],
        0,
        states={"l": "working"},
    ),
    Case(
        "reading: a change of a post-only order that would take is refused",
        [(0, limit("l", "buy", 2, 98, post_only=True)), (0, Modify("l", price=D(101)))],
        [(100, 100, 97, 99)],
        [(1, "l", "buy", 2, 98)],
        2,
    ),
    Case(
        "reading: the first order of a list that breaks a rule names the rule of all",
        [(0, [limit("l1", "buy", 0.15, 98), limit("l2", "buy", 1, 97.3)])],
        [(100, 100, 96, 99)],
        denied=[(0, "lot_size", "l1")],
        states={"l1": "denied", "l2": "denied"},
    ),
    Case(
        "reading: post-only stop-limits are denied by post_only",
        [(0, stop_limit("s", "buy", 1, 105, 106, post_only=True))],
        [FLAT],
        denied=[(0, "post_only", "s")],
    ),
    Case(
        "reading: a changed order is not counted twice",
        [(0, limit("l", "buy", 2, 98)), (0, Modify("l", quantity=D(3)))],
        [(100, 100, 97, 99)],
        [(1, "l", "buy", 3, 98)],
        3,
        market={"max_position": 3},
    ),
    Case(
        # 9.5 lost since the close of 23:00; 10.5 with the funding of 00:00, which the hole holds
        "reading: the day that begins in a hole begins after the funding of its 00:00",
        [(0, market("b", "buy", 5))],
        [None, (100, 100, 98.1, 98.1)],
        [(0, "b", "buy", 5, 100)],
        5,
        payments=[(1, "funding", -1)],
        halts=[],
        rules={"max_daily_loss": 10, "funding_rate_8h": "0.002"},
        first_hour=23,
        mirrors=False,
    ),
    Case(
        "reading: an order whose cancel is not carried out yet counts in the worst position",
        [
            (0, limit("l", "buy", 2, 98)),
            (1, Cancel("l")),
            (1, limit("n", "buy", 2, 97)),
        ],
        [FLAT, (100, 100, 96, 99)],
        denied=[(1, "max_position", "n")],
        states={"l": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        # -3 + 6 would be 3 still, but out leaves 0 + 6
        "a market order is held against what those under way leave, too",
        [
            (0, market("m", "sell", 3)),
            (1, market("out", "buy", 3, **RO)),
            (1, market("n", "buy", 6)),
        ],
        [FLAT],
        [(0, "m", "sell", 3, 100), (1, "out", "buy", 3, 100)],
        0,
        [(1, "max_position", "n")],
        states={"n": "denied"},
        market={"max_position": 3},
    ),
    Case(
        "reading: children of an order that ends by max_position end unlisted",
        [
            (0, market("m", "sell", 3)),
            (1, bracket(limit("e", "buy", 6, 95), sl=90, tp=110)),
            (1, market("out", "buy", 3, **RO)),
        ],
        [FLAT],
        [(0, "m", "sell", 3, 100), (1, "out", "buy", 3, 100)],
        0,
        [(1, "max_position", "e")],
        states={"e": "canceled", "sl": "canceled", "tp": "canceled"},
        market={"max_position": 3},
    ),
    Case(
        "reading: children that begin at a close come behind the next request",
        [(0, bracket(market("e", "buy", 1), sl=101, tp=110)), (0, market("n", "buy", 2))],
        [FLAT],
        [(0, "e", "buy", 1, 100), (0, "n", "buy", 2, 100), (0, "sl", "sell", 1, 100)],
        2,
    ),
    Case(
        "reading: a post-only child that begins where the path has reached it is rejected",
        [
            (
                0,
                [stop("e", "buy", 1, 102), limit("t", "sell", 1, 102, parent="e", post_only=True)],
            )
        ],
        [(100, 104, 100, 103)],
        [(1, "e", "buy", 1, 102)],
        1,
        states={"t": "rejected"},
    ),
    Case(
        # s is below the minimum, but m leaves 10 that it can only reduce: it goes as a plain
        # order, and outlives the position
        "reading: a market order to come counts as filled for whether an order can only reduce",
        [
            (0, market("m", "buy", 10)),
            (0, stop("s", "sell", 10, 95)),
            (1, market("out", "sell", 10)),
        ],
        [FLAT, (100, 100, 94, 96)],
        [(0, "m", "buy", 10, 100), (1, "out", "sell", 10, 100), (2, "s", "sell", 10, 95)],
        -10,
        market={"min_notional": 1000},
        mirrors=False,
    ),
    Case(
        # 100 - 918 = -818 and p = 95.67; the step closes at 91: 819 leave 1, and 43.05 were held
        "reading: an account that a fill at the end of the path leaves below the margin",
        [(0, stop("g", "buy", 9, 102, **GTD))],
        [(100, 103, 90, 91), (99, 99, 99, 99)],
        [(1, "g", "buy", 9, 102), (1, None, "sell", 9, 91)],
        payments=[(1, "liquidation", -1)],
        until={"g": 0.5},
        cash=0,
        rules=SMALL,
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "reading: expire_time is asked before tick_size",
        [("timer 1", limit("g", "buy", 1, "98.3", **GTD))],
        [FLAT],
        until={"g": 0.75},
        denied=[(1, "expire_time", "g")],
    ),
    Case(
        "reading: a child that is not simulated is denied with its list",
        [
            (
                0,
                [
                    market("e", "buy", 1),
                    limit("t", "sell", 1, 110, parent="e", time_in_force="AT_THE_OPEN"),
                ],
            )
        ],
        [FLAT],
        denied=[(0, "time_in_force", "t")],
    ),
    Case(
        # l has 95 still when the second change counts
        "reading: a change to the values before a change that is not carried out does nothing",
        [
            (0, limit("l", "buy", 1, 95)),
            (1, Modify("l", price=D(97))),
            (1, Modify("l", price=D(95))),
        ],
        [FLAT, (100, 100, 96.5, 99)],
        [(2, "l", "buy", 1, 97)],
        1,
    ),
    Case(
        "reading: a child whose trigger the close has reached is a limit order at its first change",
        [
            (
                0,
                [
                    limit("e", "buy", 1, 100, time_in_force="FOK"),
                    stop_limit("c", "sell", 1, 101, 102, parent="e", reduce_only=True),
                ],
            ),
            ("fill e", Modify("c", price=D(100))),
        ],
        [FLAT],
        [(0, "e", "buy", 1, 100), (0, "c", "sell", 1, 100)],
        0,
    ),
]
"""Where the page leaves a choice: the choice of the simulator, one case each."""

IOC, FOK = {"time_in_force": "IOC"}, {"time_in_force": "FOK"}
LARGER = limit("i", "buy", 2, 100, **IOC)
"""An order that fills at a close at 100, and enlarges a long position by 2."""

CHILD = {"parent": "e", "contingency": "OUO", "reduce_only": True}
SIBLINGS = [
    market("e", "buy", 2),
    stop("sl", "sell", 2, 90, linked=("tp",), **CHILD),
    limit("tp", "sell", 1, 105, linked=("sl",), **CHILD),
]
"""A long position of 2, its stop, and a target of half of it."""

REDUCERS = [
    Case(
        "a refused change of size behind a sibling's fill leaves what the fill left",
        [
            (
                0,
                [
                    market("e", "buy", 3),
                    limit("a", "sell", 1, 105, linked=("b",), **CHILD),
                    limit("b", "sell", 2, 106, linked=("a",), post_only=True, **CHILD),
                ],
            ),
            (1, Modify("a", price=D(100))),
            (1, Modify("b", price=D(99), quantity=D("1.5"))),
        ],
        [FLAT, (100, 107, 100, 105)],
        [(0, "e", "buy", 3, 100), (1, "a", "sell", 1, 100), (2, "b", "sell", 1, 106)],
        1,
    ),
    *(
        Case(
            f"a change of size {name} a sibling's fill in one callback",
            [(0, SIBLINGS), *[(1, request) for request in requests]],
            [FLAT, (100, 100, 89, 95)],
            [(0, "e", "buy", 2, 100), (1, "tp", "sell", 1, 100), (2, "sl", "sell", 0.5, 90)],
            0.5,
        )
        for name, requests in {
            "behind": (Modify("tp", price=D(100)), Modify("sl", quantity=D("0.5"))),
            "before": (Modify("sl", quantity=D("1.5")), Modify("tp", price=D(100))),
        }.items()
    ),
    *(
        Case(
            f"behind an IOC limit in its callback, {name} reduces the position of that moment",
            [(0, market("m", "buy", 1)), (1, LARGER), (1, order)],
            [FLAT, FLAT],
            [(0, "m", "buy", 1, 100), (1, "i", "buy", 2, 100), (1, "r", "sell", 3, 100)],
            0,
        )
        for name, order in {
            "a market order": market("r", "sell", 5, **RO),
            "a market IOC order": market("r", "sell", 5, **RO, **IOC),
            "a market FOK order": market("r", "sell", 5, **RO, **FOK),
            "an IOC limit": limit("r", "sell", 5, 100, **RO, **IOC),
            "a FOK limit": limit("r", "sell", 5, 100, **RO, **FOK),
            "a limit that takes": limit("r", "sell", 5, 100, **RO),
        }.items()
    ),
    *(
        Case(
            f"behind an IOC limit that reduces, {name} reduces what is left of the position",
            [
                (0, market("m", "buy", 3)),
                (1, limit("i", "sell", 2, 100, **IOC)),
                (1, order),
            ],
            [FLAT, FLAT],
            [(0, "m", "buy", 3, 100), (1, "i", "sell", 2, 100), (1, "r", "sell", 1, 100)],
            0,
        )
        for name, order in {
            "a market order": market("r", "sell", 2, **RO),
            "a market FOK order": market("r", "sell", 2, **RO, **FOK),
            "an IOC limit": limit("r", "sell", 2, 100, **RO, **IOC),
            "a FOK limit": limit("r", "sell", 2, 100, **RO, **FOK),
        }.items()
    ),
    *(
        Case(
            f"deferred behind an IOC limit, {name} that the close has reached reduces all of it",
            [(0, market("m", "buy", 1)), ("timer 1", LARGER), ("timer 1", order)],
            [FLAT, FLAT],
            [(0, "m", "buy", 1, 100), (1, "i", "buy", 2, 100), (1, "r", "sell", 3, 100)],
            0,
        )
        for name, order in {
            "a stop": stop("r", "sell", 5, 100.5, **RO),
            "a stop-limit": stop_limit("r", "sell", 5, 100.5, 100, **RO),
            "a FOK limit": limit("r", "sell", 5, 100, **RO, **FOK),
        }.items()
    ),
    Case(
        "a child that begins at a close reduces the position of that moment",
        [
            (0, market("m", "buy", 1)),
            (1, [market("e", "buy", 2), limit("r", "sell", 5, 100, parent="e", **RO)]),
        ],
        [FLAT, FLAT],
        [(0, "m", "buy", 1, 100), (1, "e", "buy", 2, 100), (1, "r", "sell", 3, 100)],
        0,
    ),
    *(
        Case(
            f"a child is not {name}",
            [(0, [limit("e", "buy", 2, 99), limit("r", "sell", 2, 101, parent="e", **RO, **more)])],
            [(100, 103, 98, 102), (102, 104, 100, 103)],
            denied=[(0, "time_in_force", "r")],
        )
        for name, more in {"IOC": IOC, "FOK": FOK}.items()
    ),
]
"""Sizes of orders that fill or change at a close, behind others of the same callback."""


def with_post_only(entry: Order, price: Number, **more: object) -> list[Order]:
    """Return an entry and its post-only take-profit."""
    side, quantity = turned_side(entry.side), str(entry.quantity)
    more |= {"parent": entry.id, "reduce_only": True, "post_only": True}
    return [entry, limit("t", side, quantity, price, **more)]


PAIRED: dict[str, object] = {"parent": "e", "contingency": "OUO"}

POST_ONLY = [
    Case(
        "a post-only child of a stop is rejected by an open past its limit",
        [(0, with_post_only(stop("e", "buy", 2, 103), 105))],
        [(106, 107, 104, 106.5)],
        [(1, "e", "buy", 2, 106)],
        2,
        states={"t": "rejected"},
    ),
    Case(
        "a post-only child of a stop rests if the open is not past its limit",
        [(0, with_post_only(stop("e", "buy", 2, 103), 105))],
        [(104, 107, 104, 106.5)],
        [(1, "e", "buy", 2, 104), (1, "t", "sell", 2, 105)],
        liquidity=["taker", "maker"],
    ),
    Case(
        "a post-only child of a limit is rejected by an open past its limit",
        [
            (
                0,
                [
                    limit("e", "buy", 2, 98),
                    limit("t", "buy", 1, 96, parent="e", post_only=True),
                ],
            )
        ],
        [(95, 98.5, 94, 94.5)],
        [(1, "e", "buy", 2, 98)],
        2,
        states={"t": "rejected"},
    ),
    Case(
        "a post-only child that is rejected does not count at the next fill of the jump",
        [
            (
                0,
                [stop("e", "buy", 10, 103), limit("t", "buy", 25, 108, parent="e", post_only=True)],
            ),
            (0, [stop("f", "buy", 5, 104), stop("c", "buy", 8, 120, parent="f")]),
        ],
        [(106, 107, 104, 106.5)],
        [(1, "e", "buy", 10, 106), (1, "f", "buy", 5, 106)],
        15,
        states={"t": "rejected", "c": "working"},
        rules={"balance": 1000, "max_leverage": 5},
    ),
    Case(
        "a post-only child shrinks by its sibling's fill also while the price is past its limit",
        [
            (
                0,
                [
                    stop("e", "buy", 1, 103),
                    limit("t", "sell", 2.5, 105, post_only=True, **PAIRED, linked=("s",)),
                    stop("s", "buy", 1, 106, **PAIRED, linked=("t",)),
                ],
            )
        ],
        [(100, 108, 100, 107), (107, 110, 104, 109)],
        [(1, "e", "buy", 1, 103), (1, "s", "buy", 1, 106), (1, "t", "sell", "1.5", 105)],
        "0.5",
    ),
    Case(
        "a post-only child that rests is not rejected by the fill of another parent",
        [
            (0, with_post_only(stop("e", "buy", 2, 101), 103)),
            (0, [stop("p", "buy", 1, 104), stop("c", "sell", 1, 90, parent="p")]),
        ],
        [(100, 106, 99.5, 105)],
        [(1, "e", "buy", 2, 101), (1, "p", "buy", 1, 104), (1, "t", "sell", 2, 103)],
        1,
        liquidity=["taker", "taker", "maker"],
        states={"c": "working"},
    ),
    Case(
        "a post-only child of a limit in a gap is checked at the open",
        [(0, with_post_only(limit("e", "buy", 2, 98), 97))],
        [(95, 98.5, 94, 98)],
        [(1, "e", "buy", 2, 98), (1, "t", "sell", 2, 97)],
        liquidity=["maker", "maker"],
    ),
    Case(
        "a post-only child of a stop that expires inside of a step is checked at the trigger",
        [(0, with_post_only(stop("e", "buy", 2, 103, **GTD), 102))],
        [(100, 104, 99, 101)],
        [(1, "e", "buy", 2, 103)],
        2,
        states={"t": "rejected"},
        until={"e": 0.5},
    ),
    Case(
        "a post-only child of a limit that expires inside of a step is checked at the close",
        [(0, with_post_only(limit("e", "buy", 2, 98, **GTD), 98))],
        [(100, 101, 97, 97.5)],
        [(1, "e", "buy", 2, 98)],
        2,
        states={"t": "working"},
        until={"e": 0.5},
    ),
]
"""Post-only children that begin inside of a step: the price where they begin counts."""

ON_THE_JUMP = [
    Case(
        "a stop-limit child that the open has reached fills there",
        [
            (
                0,
                [
                    stop("e", "buy", 1, 103),
                    stop_limit("c", "sell", 1, 107, "105.5", parent="e", reduce_only=True),
                ],
            )
        ],
        [(106, 108, 105, 107)],
        [(1, "e", "buy", 1, 106), (1, "c", "sell", 1, "105.5")],
        liquidity=["taker", "taker"],
    ),
    Case(
        "a stop child that the open has not reached waits, and the jump goes on",
        [
            (0, [stop("e", "sell", 2, 99), stop("c", "buy", 2, 97, parent="e")]),
            (0, stop("o", "sell", 1, 98)),
        ],
        [(96, "97.5", "95.5", "96.5")],
        [(1, "e", "sell", 2, 96), (1, "o", "sell", 1, 96), (1, "c", "buy", 2, 97)],
        -1,
    ),
    Case(
        "of two children that the open has reached the first sent fills first",
        [
            (0, [limit("e", "sell", 1, 102), stop("c", "buy", 1, 103, parent="e")]),
            (0, [limit("f", "sell", 2, 101), stop("d", "buy", 2, 103, parent="f")]),
        ],
        [(104, 104, 103, 104)],
        [
            (1, "f", "sell", 2, 101),
            (1, "e", "sell", 1, 102),
            (1, "c", "buy", 1, 104),
            (1, "d", "buy", 2, 104),
        ],
    ),
]
"""Children that begin on the jump to the open: there the market is at the open."""

WAITING = [
    *(
        Case(
            f"a child that waits expires {when}",
            [(0, [stop("e", "buy", 1, 103), stop("c", "sell", 1, 99, parent="e", **GTD)])],
            [FLAT, (100, 104, 98, 104)],
            [(2, "e", "buy", 1, 103)],
            1,
            states={"c": "expired"},
            until={"c": until},
        )
        for when, until in {
            "at a close": 1,
            "inside of a step": 0.5,
        }.items()
    ),
    Case(
        "a stop child that expires inside of its first step, past its trigger, may not fill",
        [(0, [stop("e", "buy", 1, 103), stop("c", "sell", 1, "103.5", parent="e", **GTD)])],
        [(103, 104, 103, 103), (104, 104, 90, 96)],
        [(1, "e", "buy", 1, 103)],
        1,
        states={"c": "expired"},
        until={"c": 0.5},
    ),
    Case(
        "a child that begins and expires inside of a step fills if that is worse than the close",
        [(0, [stop("e", "buy", 1, 103), stop("c", "sell", 1, 99, parent="e", **GTD)])],
        [(100, 104, 98, 104)],
        [(1, "e", "buy", 1, 103), (1, "c", "sell", 1, 99)],
        until={"c": 0.5},
    ),
    Case(
        "the children of a parent that reduces begin, also if it is filled in part",
        [
            (0, market("m", "buy", 1)),
            (0, [stop("p", "sell", 3, 95, **RO), limit("c", "buy", 1, 90, parent="p")]),
        ],
        [FLAT, (100, 100, 94, 94), (94, 95, 89, 92)],
        [(0, "m", "buy", 1, 100), (2, "p", "sell", 1, 95), (3, "c", "buy", 1, 90)],
        1,
        states={"p": "canceled"},
    ),
    *(
        Case(
            f"the children of a child that {how} end with it",
            [
                (
                    0,
                    [
                        limit("e", "buy", 1, 95, **GTD),
                        stop("c", "sell", 1, 90, parent="e", **GTD),
                        limit("g", "buy", 1, 85, parent="c"),
                    ],
                ),
                *request,
            ],
            [FLAT, FLAT, FLAT],
            states={"c": state, "g": "canceled"},
            until=until,
        )
        for how, request, until, state in (
            ("is cancelled", [(1, Cancel("c"))], {"e": 9, "c": 9}, "canceled"),
            ("expires", [], {"e": 9, "c": 1}, "expired"),
            ("ends with its parent", [], {"e": 1, "c": 9}, "canceled"),
        )
    ),
]
"""Children that wait for their parent, and how they end."""

EXAMPLES = [
    *(
        Case(
            f"the page: a bracket, then {name}",
            [(0, bracket(market("b", "buy", 2), sl=96, tp=110))],
            [(100, 104, 99, 103), last],
            [(0, "b", "buy", 2, "100.5"), (2, exit, "sell", 2, price)],
            rules={"slippage_ticks": 1},
            market=FEES,
            fees=["0.402", fee],
            liquidity=["taker", liquidity],
            cash=cash,
            mirrors=False,
        )
        for name, last, exit, price, liquidity, fee, cash in (
            ("a rise", (103, 111, 102, 110.5), "tp", 110, "maker", "0.22", "1000018.378"),
            ("a fall", (103, 103, 95, 97), "sl", "95.5", "taker", "0.382", "999989.216"),
            ("a gap", (95, 97, 94, 96), "sl", "94.5", "taker", "0.378", "999987.22"),
            ("both", (103, 112, 95, 105), "sl", "95.5", "taker", "0.382", "999989.216"),
        )
    ),
    Case(
        "the page: a close off the tick",
        [
            (1, market("b", "buy", 2)),
            (1, market("s", "sell", 1)),
            (1, limit("l", "sell", 1, "99.5")),
        ],
        [(100, 101, 99, "100.2")],
        [(1, "b", "buy", 2, "101.5"), (1, "s", "sell", 1, 99), (1, "l", "sell", 1, 100)],
        rules={"slippage_ticks": 2},
    ),
    *(
        Case(
            f"the page: a stop-limit, {name}",
            [(0, stop_limit("x", "buy", 1, 103, 104))],
            [bar],
            fills,
            len(fills),
            liquidity=liquidity,
        )
        for name, bar, fills, liquidity in (
            ("reached", (100, 103.5, 99, 102), [(1, "x", "buy", 1, 104)], ["taker"]),
            ("opened beyond", (105, 106, 103.5, 105), [], []),
            ("beyond, and back", (105, 106, 103, 103.5), [(1, "x", "buy", 1, 104)], ["maker"]),
        )
    ),
    Case(
        "the page: both paths leave the same equity",
        [(0, limit("s", "sell", 1, 104)), (0, limit("b", "buy", 1, 98))],
        [(100, 105, 97, 101)],
        [(1, "b", "buy", 1, 98), (1, "s", "sell", 1, 104)],
    ),
    *(
        Case(
            f"the page: an entry inside of a bar, {name}",
            [(0, bracket(stop("e", "buy", 2, 103), sl=99, tp=105))],
            [bar],
            [(1, "e", "buy", 2, 103), *exits],
            0 if exits else 2,
        )
        for name, bar, exits in (
            ("neither", (100, 106, 100, 104), []),
            ("the stop", (100, 106, 98, 104), [(1, "sl", "sell", 2, 99)]),
            ("the profit", (100, 106, 100, 105.5), [(1, "tp", "sell", 2, 105)]),
        )
    ),
    *(
        Case(
            f"the page: a limit that expires inside of a bar, close {bar[3]}",
            [(0, limit("x", "buy", 1, 98, **GTD))],
            [bar],
            fills,
            len(fills),
            until={"x": 0.5},
        )
        for bar, fills in (
            ((100, 101, 97, 97.5), [(1, "x", "buy", 1, 98)]),
            ((100, 101, 97, 99), []),
        )
    ),
    Case(
        "the page: a liquidation",
        [(0, market("b", "buy", 10))],
        [(100, 101, 94, 95)],
        [(0, "b", "buy", 10, 100), (1, None, "sell", 10, 94.5)],
        payments=[(1, "liquidation", -45)],
        cash=0,
        rules={"balance": 100},
        market=TENFOLD,
        mirrors=False,
    ),
    Case(
        "the page: funding at a fixed rate",
        [(0, market("b", "buy", 2))],
        [FLAT],
        [(0, "b", "buy", 2, 100)],
        2,
        payments=[(1, "funding", "-0.02")],
        rules={"funding_rate_8h": "0.0008", "funding_hours": 1},
        mirrors=False,
    ),
    Case(
        "the page: the worst position counts the orders of its side",
        [
            (0, market("p", "buy", 2)),
            (1, limit("b", "buy", 3, 95)),
            (1, limit("s", "sell", 4, 105)),
            (1, limit("r", "sell", 2, 110, **RO)),
            (1, limit("x", "buy", 2, 96)),
            (1, limit("y", "buy", 1, 96)),
        ],
        [FLAT],
        [(0, "p", "buy", 2, 100)],
        2,
        denied=[(1, "max_position", "x")],
        states={"x": "denied", "y": "working", "s": "working", "r": "working"},
        market={"max_position": 6},
    ),
    Case(
        "the page: a market order that sells makes no room for buys",
        [
            (0, market("p", "buy", 5)),
            (1, market("c", "sell", 5)),
            (1, limit("x", "buy", 2, 95)),
        ],
        [FLAT],
        [(0, "p", "buy", 5, 100), (1, "c", "sell", 5, 100)],
        denied=[(1, "max_position", "x")],
        market={"max_position": 6},
    ),
    Case(
        "the page: a reduce-only market order in flight counts as filled",
        [
            (0, market("p", "sell", 3)),
            (1, market("c", "buy", 3, **RO)),
            (1, limit("x", "buy", 7, 95)),
        ],
        [FLAT],
        [(0, "p", "sell", 3, 100), (1, "c", "buy", 3, 100)],
        denied=[(1, "max_position", "x")],
        market={"max_position": 6},
    ),
    Case(
        "the page: a reversal",
        [(0, market("p", "buy", "0.3")), (1, market("x", "sell", 1))],
        [FLAT],
        [(0, "p", "buy", "0.3", 100), (1, "x", "sell", "0.3", 100)],
        denied=[(1, "max_position", "x")],
        market={"max_position": "0.4"},
    ),
]
"""The worked examples of docs/orders.md, with its numbers."""

CASES = [
    *FROM_CASES_MD,
    *STEPS,
    *PRICES,
    *PATH,
    *INSIDE,
    *ENDS,
    *ACCOUNT,
    *LIMITS,
    *MORE,
    *ADOPTED,
    *QUEUE,
    *WAITED,
    *CHILDREN,
    *TIMES,
    *EXCESS,
    *CHANGES,
    *READINGS,
    *REDUCERS,
    *POST_ONLY,
    *ON_THE_JUMP,
    *WAITING,
    *EXAMPLES,
]
