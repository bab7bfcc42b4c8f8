"""Each rule with its numbers, and the order in which they are asked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tbv8.risk.book import Book
from tbv8.risk.checks import RULES
from tbv8.risk.events import Breach, Order, plain
from tbv8.risk.limits import Limits, MarketLimits

D = Decimal
BTC, ETH = "BTC/USDT", "ETH/USDT"
MARKET = MarketLimits(
    tick_size=D("0.5"),
    lot_size=D("0.001"),
    min_notional_usd=D(10),
    max_position=D(2),
    max_leverage=D(40),
)


def check(
    change: str, *prices: str, symbol: str = BTC, units: bool = False, **changes: Any
) -> Breach | None:
    """Return the breach of an order by an account of 1000 USD without positions."""
    values: dict[str, Any] = {
        "limits": Limits(max_daily_loss_usd=D(50), max_leverage=D(2), markets={BTC: MARKET}),
        "cash": D(1000),
        "day_start": D(1000),
        "midnight_ms": 0,
        "positions": {BTC: D(0)},
        "prices": {BTC: D(100)},
    }
    book = Book(**(values | changes))
    order = Order(symbol=symbol, change=D(change), prices=tuple(map(D, prices)))
    return book.check_units(order) if units else book.check(order)


def test_the_rules_and_their_order() -> None:
    assert [(rule.name, rule.key, rule.of_all) for rule in RULES] == [
        ("tick_size", "instruments.<symbol>.tick_size", True),
        ("lot_size", "instruments.<symbol>.lot_size", True),
        ("min_notional_usd", "instruments.<symbol>.min_notional_usd", False),
        ("max_daily_loss_usd", "risk.max_daily_loss_usd", False),
        ("liquidation", None, False),
        ("stopped", None, False),
        ("clock", "paper.clock_limit", False),
        ("stale_bar", "paper.stale_after", False),
        ("max_position", "risk.max_position_<base>", False),
        ("max_leverage", "risk.max_leverage", False),
    ]
    assert all(rule.words for rule in RULES)


@pytest.mark.parametrize(
    ("price", "is_off"),
    [("99.5", False), ("99.3", True), ("0", True), ("-0.5", True), ("0.5", False)],
)
def test_tick_size(price: str, is_off: bool) -> None:
    expected = Breach("tick_size", {"price": D(price), "limit": D("0.5")}) if is_off else None

    assert check("1", price, units=True) == expected
    assert check("-1", "100", price, units=True) == expected  # a trigger, too


@pytest.mark.parametrize(
    ("change", "is_part"), [("0.001", False), ("-2", False), ("0.0005", True), ("-1.0005", True)]
)
def test_lot_size(change: str, is_part: bool) -> None:
    expected = Breach("lot_size", {"order": D(change), "limit": D("0.001")}) if is_part else None

    assert check(change, units=True) == expected
    assert check("0", units=True) == Breach("lot_size", {"order": D(0), "limit": D("0.001")})


@pytest.mark.parametrize(
    ("change", "prices", "value"),
    [
        pytest.param("0.1", [], None, id="by the last price"),
        pytest.param("-0.099", [], "9.900", id="below by it"),
        pytest.param("0.1", ["99.5"], "9.95", id="by the limit"),
        pytest.param("0.1", ["100", "90"], None, id="by the limit, not the trigger"),
    ],
)
def test_min_notional(change: str, prices: list[str], value: str | None) -> None:
    expected = value and Breach("min_notional_usd", {"value_usd": D(value), "limit_usd": D(10)})

    assert check(change, *prices) == expected


def test_min_notional_is_not_asked_of_what_only_reduces() -> None:
    assert check("-0.001", positions={BTC: D(1)}) is None


def test_max_position() -> None:
    breach = check("1.5", positions={BTC: D(1)})

    assert breach == Breach(
        "max_position",
        {
            "position": D(1),
            "open_orders": D(0),
            "order": D("1.5"),
            "worst": D("2.5"),
            "limit": D(2),
        },
    )
    assert str(breach) == "max_position: position 1, open_orders 0, order 1.5, worst 2.5, limit 2"


@pytest.mark.parametrize(
    ("change", "changes", "is_too_much"),
    [
        pytest.param("1", {"cash": D(50)}, False, id="twice"),
        pytest.param("1.001", {"cash": D(50)}, True, id="more than twice"),
        pytest.param("0.1", {"cash": D(-50), "positions": {BTC: D(1)}}, True, id="what is held"),
        pytest.param("0.1", {"cash": D(0)}, True, id="no equity"),
        pytest.param("-1", {"cash": D(-500), "positions": {BTC: D(1)}}, False, id="closing"),
        pytest.param("1", {"prices": {}}, True, id="no price yet"),
        pytest.param("-1", {"prices": {}, "positions": {BTC: D(0)}}, True, id="nor for a short"),
    ],
)
def test_max_leverage(change: str, changes: dict[str, Any], is_too_much: bool) -> None:
    breach = check(change, **changes)

    assert (breach and breach.rule) == ("max_leverage" if is_too_much else None)


def test_the_instruments_leverage_holds_where_it_is_lower_also_that_of_another_symbol() -> None:
    def limits(other: str) -> Limits:
        low = MarketLimits(
            tick_size=D("0.5"),
            lot_size=D("0.001"),
            min_notional_usd=D(0),
            max_position=D(2),
            max_leverage=D(other),
        )
        return Limits(max_daily_loss_usd=D(50), max_leverage=D(2), markets={BTC: MARKET, ETH: low})

    held = {"positions": {BTC: D(0), ETH: D(0)}, "cash": D(100)}

    assert check("2", limits=limits("40"), **held) is None
    breach = check("2", limits=limits("1.5"), **held)
    assert breach is not None
    assert breach.numbers["limit"] == D("1.5")


def test_numbers_are_written_plainly() -> None:
    assert [plain(D(text)) for text in ("1E+3", "2.500", "0E-8", "1E-8")] == [
        "1000",
        "2.5",
        "0",
        "0.00000001",
    ]
