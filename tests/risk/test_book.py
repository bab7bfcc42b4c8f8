"""The book of an account: fills, payments, days, halts, and what it may do."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tbv8.market import DAY_MS
from tbv8.risk.book import Book
from tbv8.risk.events import Breach, Denial, Halt, Order, Payment
from tbv8.risk.limits import Limits, MarketLimits

D = Decimal
BTC, ETH = "BTC/USDT", "ETH/USDT"


def make_book(*, symbols: tuple[str, ...] = (BTC,), **changes: Any) -> Book:
    market = MarketLimits(
        tick_size=D("0.5"),
        lot_size=D("0.001"),
        min_notional_usd=D(0),
        max_position=D(2),
        max_leverage=D(40),
    )
    values: dict[str, Any] = {
        "limits": Limits(
            max_daily_loss_usd=D(100), max_leverage=D(10), markets=dict.fromkeys(symbols, market)
        ),
        "cash": D(10_000),
        "day_start": D(10_000),
        "midnight_ms": DAY_MS,
        "positions": dict.fromkeys(symbols, D(0)),
        "prices": dict.fromkeys(symbols, D(100)),
    }
    return Book(**(values | changes))


def buy(size: str, **more: Any) -> Order:
    return Order(**({"symbol": BTC, "change": D(size)} | more))


def test_equity_is_cash_and_positions_at_the_last_prices() -> None:
    book = make_book(
        symbols=(BTC, ETH),
        cash=D(50),
        positions={BTC: D(2), ETH: D(-3)},
        prices={BTC: D(100), ETH: D("10.5")},
    )

    assert book.equity == D("218.5")  # 50 + 200 - 31.5


def test_a_symbol_without_price_and_position_adds_nothing_to_equity() -> None:
    book = make_book(symbols=(BTC, ETH), prices={BTC: D(100)})

    assert book.equity == 10_000


def test_a_fill_moves_cash_position_and_the_order_that_worked() -> None:
    book = make_book(working={"a": buy("2"), "b": buy("-1")})

    book.fill("a", BTC, D("0.5"), D(100), D("0.05"))

    assert book.cash == D("9949.95")
    assert book.positions == {BTC: D("0.5")}
    assert book.working == {"a": buy("1.5"), "b": buy("-1")}
    book.fill("a", BTC, D("1.5"), D(100), D(0))
    book.fill("b", BTC, D(-1), D(110), D("-0.01"))  # a maker that is paid
    assert book.working == {}
    assert book.cash == D("9909.96")
    assert book.positions == {BTC: D(1)}


def test_a_payment_is_booked_and_listed() -> None:
    book = make_book()
    payment = Payment(ts_ms=5, symbol=BTC, kind="funding", amount=D("-0.25"))

    book.pay(payment)

    assert book.cash == D("10000.25")
    assert book.payments == [payment]


def test_a_day_begins_with_the_equity_and_ends_the_halt_of_the_day_before() -> None:
    book = make_book(positions={BTC: D(1)})
    book.halt(1000, "max_daily_loss_usd", {"limit_usd": D(100)})
    book.cash = D(9_000)

    book.start_day(DAY_MS)

    assert book.day_start == 9_100
    assert book.lowest_equity == 9_000
    assert book.midnight_ms == 2 * DAY_MS
    assert book.halted is None
    assert len(book.halts) == 1


def test_a_halt_holds_until_the_midnight_that_ends_its_day() -> None:
    book = make_book(cash=D(9_890), midnight_ms=2 * DAY_MS)

    book.halt(DAY_MS + 5, "max_daily_loss_usd", {"limit_usd": D(100)})
    book.start_day(DAY_MS)

    assert book.halted == Halt(
        ts_ms=DAY_MS + 5,
        until_ms=2 * DAY_MS,
        rule="max_daily_loss_usd",
        numbers={
            "equity_usd": D(9_890),
            "day_start_usd": D(10_000),
            "loss_usd": D(110),
            "limit_usd": D(100),
        },
    )


def test_a_book_can_be_encoded_and_decoded() -> None:
    book = make_book(
        symbols=(BTC, ETH),
        working={"a": buy("1.250", prices=(D("99.5"), D("101")), parent="b")},
        denials=[
            Denial(
                ts_ms=1,
                symbol=BTC,
                rule="max_position",
                order="buy market 3",
                until_ms=None,
                numbers={"limit": D("2.000")},
            )
        ],
        payments=[Payment(ts_ms=5, symbol=BTC, kind="liquidation", amount=D("1E-8"))],
    )
    book.halt(7, "liquidation", {"position": D(1)})

    read = msgspec.json.decode(msgspec.json.encode(book), type=Book)

    assert read == book
    assert read.check(buy("1")) == book.check(buy("1"))
    read.fill("a", BTC, D("1.25"), D(100), D(0))
    assert "a" in book.working


# What an order could do


@pytest.mark.parametrize(
    ("order", "state", "rule"),
    [
        pytest.param(buy("2"), {}, None, id="up to the limit"),
        pytest.param(buy("2.001"), {}, "max_position", id="beyond it"),
        pytest.param(buy("-2.001"), {}, "max_position", id="short beyond it"),
        pytest.param(buy("-4"), {"held": "2"}, None, id="turning round"),
        pytest.param(buy("-4.001"), {"held": "2"}, "max_position", id="turning too far"),
        pytest.param(buy("1"), {"working": ["1.001"]}, "max_position", id="with open buys"),
        pytest.param(buy("1"), {"working": ["-5"]}, None, id="open sells neither help nor harm"),
        pytest.param(
            buy("1.5"), {"held": "1", "working": ["-1"]}, "max_position", id="may never be filled"
        ),
        pytest.param(buy("-1"), {"held": "5"}, None, id="less of what is too much"),
        pytest.param(buy("-9", reduce_only=True), {}, None, id="reducing only"),
        pytest.param(
            buy("-1"), {"held": "3", "working": ["-2.5"]}, None, id="turns together with others"
        ),
        pytest.param(
            buy("-3"), {"held": "3", "working": ["-2.5"]}, "max_position", id="beyond with others"
        ),
    ],
)
def test_an_order_is_checked_with_its_worst_position(
    order: Order, state: dict[str, Any], rule: str | None
) -> None:
    working = {str(at): buy(size) for at, size in enumerate(state.get("working", []))}
    book = make_book(positions={BTC: D(state.get("held", "0"))}, working=working)

    breach = book.check(order)

    assert (breach and breach.rule) == rule


def test_reducers_and_children_that_wait_do_not_count_in_the_worst_position() -> None:
    working = {
        "r": buy("9", reduce_only=True, prices=(D(99),)),
        "c": buy("9", parent="e", prices=(D(99),)),
    }

    assert make_book(working=working).check(buy("2")) is None


def test_reducers_count_for_whether_an_order_can_only_reduce() -> None:
    held = {"positions": {BTC: D(3)}}
    reducer = {"r": buy("-2", reduce_only=True, prices=(D(110),))}

    assert make_book(**held, cash=D(-1_000)).check(buy("-3")) is None
    breach = make_book(**held, cash=D(-1_000), working=reducer).check(buy("-3"))
    assert breach is not None
    assert breach.rule == "max_leverage"


def test_a_change_takes_the_place_of_its_order_and_a_list_counts_together() -> None:
    book = make_book(working={"a": buy("1.5", prices=(D(90),))})

    assert book.check(buy("2", prices=(D(90),)), replacing=["a"]) is None
    assert book.check(buy("2", prices=(D(90),))) is not None
    others = [buy("0.4", prices=(D(90),))]
    assert book.check(buy("0.1", prices=(D(90),)), together_with=others) is None
    assert book.check(buy("0.2", prices=(D(90),)), together_with=others) is not None


def test_leverage_counts_the_worst_of_every_symbol() -> None:
    # 2 BTC at 100 and ETH short 1 with a sell of 1: 2 x 50; 300 in all
    def book(equity: str) -> Book:
        return make_book(
            symbols=(BTC, ETH),
            cash=D(equity) + 50,
            positions={BTC: D(0), ETH: D(-1)},
            prices={BTC: D(100), ETH: D(50)},
            working={
                "s": buy("-1", symbol=ETH, prices=(D(51),)),
                "b": buy("1.5", symbol=ETH, prices=(D(49),)),
            },
        )

    assert book("30").check(buy("2")) is None
    breach = book("29.99").check(buy("2"))
    assert breach == Breach(
        "max_leverage",
        {
            "position": D(0),
            "open_orders": D(0),
            "order": D(2),
            "worst": D(2),
            "price": D(100),
            "equity_usd": D("29.99"),
            "limit": D(10),
            "gross_usd": D(300),
        },
    )


@pytest.mark.parametrize("halt", ["max_daily_loss_usd", "liquidation"])
def test_after_a_halt_orders_may_only_reduce(halt: str) -> None:
    book = make_book(positions={BTC: D(1)})
    book.halt(5, halt, {})

    def rule(order: Order) -> str | None:
        breach = book.check(order)
        return breach and breach.rule

    assert rule(buy("0.001")) == halt
    assert rule(buy("-1")) is None
    assert rule(buy("-1.001")) == halt
    assert rule(buy("-5", reduce_only=True)) is None
    book.working["s"] = buy("-1", prices=(D(110),))
    assert rule(buy("-1")) == halt


LOTS = st.integers(-4000, 4000).map(lambda lots: D(lots) / 1000)


@given(
    LOTS.filter(lambda lots: abs(lots) <= 2),
    st.lists(LOTS.filter(bool), min_size=1, max_size=6),
    st.randoms(),
)
def test_no_fills_in_any_order_go_beyond_the_limit(
    position: Decimal, changes: list[Decimal], draw: Any
) -> None:
    book = make_book(cash=D(10**6), positions={BTC: position})
    for number, change in enumerate(changes):
        order = buy(str(change), prices=(D(100),))
        if book.check(order) is None:
            book.working[str(number)] = order

    names = list(book.working)
    draw.shuffle(names)
    for name in names[: draw.randint(0, len(names))]:
        book.fill(name, BTC, book.working[name].change, D(100), D(0))
        assert abs(book.positions[BTC]) <= 2


def test_the_callers_decimal_context_changes_nothing() -> None:
    book = make_book(positions={BTC: D("1.234")}, cash=D("123456.789"), prices={BTC: D("98765.43")})

    with localcontext() as context:
        context.prec = 2
        equity = book.equity
        book.fill("a", BTC, D("0.001"), D("98765.43"), D("0.00000001"))

    assert equity == D("123456.789") + D("1.234") * D("98765.43")
    assert book.cash == D("123456.789") - D("98.76543") - D("0.00000001")


@pytest.mark.parametrize(
    ("change", "rule", "part"),
    [
        pytest.param("-3", "max_position", "1.5", id="turning"),
        pytest.param("-1", "max_leverage", "1", id="closing a part"),
        pytest.param("3", "max_position", "0", id="adding"),
        pytest.param("-3", "tick_size", "0", id="a rule of every order"),
        pytest.param("-3", "stop_in_market", "0", id="a rule of beginning"),
    ],
)
def test_the_closing_part_of_a_denied_order_may_be_sent(change: str, rule: str, part: str) -> None:
    book = make_book(positions={BTC: D(2)}, working={"a": buy("-0.5")})  # a is at market

    assert book.closing_part(buy(change), Breach(rule, {})) == D(part)
