"""Each rule with its numbers, and the order in which they are asked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tbv8.risk.book import Book
from tbv8.risk.checks import RULES
from tbv8.risk.events import Breach, Order, Terms, plain
from tbv8.risk.limits import Limits, MarketLimits
from tbv8.risk.rules.max_leverage import MAX_LEVERAGE
from tbv8.risk.rules.reduce_only import REDUCE_ONLY
from tbv8.risk.rules.stop_in_market import STOP_IN_MARKET

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
    change: str,
    *prices: str,
    parent: str | None = None,
    reduce_only: bool = False,
    terms: Terms | None = None,
    trigger: str | None = None,
    **changes: Any,
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
    order = Order(
        symbol=BTC,
        change=D(change),
        prices=tuple(map(D, prices)),
        parent=parent,
        reduce_only=reduce_only,
    )
    return book.check(order, terms=terms, trigger=trigger and D(trigger))


def test_the_rules_and_their_order() -> None:
    assert [(name, rule.key, rule.scope) for name, rule in RULES.items()] == [
        ("duplicate_order", None, "sending"),
        ("parent_order", None, "sending"),
        ("order_type", None, "sending"),
        ("quote_quantity", None, "sending"),
        ("exec_algorithm", None, "sending"),
        ("emulation_trigger", None, "sending"),
        ("post_only", None, "sending"),
        ("time_in_force", None, "sending"),
        ("expire_time", None, "sending"),
        ("tick_size", "instruments.<symbol>.tick_size", "every"),
        ("lot_size", "instruments.<symbol>.lot_size", "every"),
        ("reduce_only", None, "sending"),
        ("stop_in_market", None, "beginning"),
        ("min_notional_usd", "instruments.<symbol>.min_notional_usd", "opening"),
        ("max_daily_loss_usd", "risk.max_daily_loss_usd", "opening"),
        ("liquidation", None, "opening"),
        ("stopped", None, "opening"),
        ("clock", "paper.clock_limit", "opening"),
        ("stale_bar", "paper.stale_after", "opening"),
        ("max_position", "risk.max_position_<base>", "opening"),
        ("max_leverage", "risk.max_leverage", "opening"),
    ]
    assert all(rule.name == name and rule.description for name, rule in RULES.items())
    assert all(rule.cure for rule in RULES.values() if rule.scope != "opening")


def stop(**values: Any) -> Terms:
    return Terms(type="stop_market", **values)


@pytest.mark.parametrize(
    ("terms", "rule"),
    [
        pytest.param(Terms(), None, id="market"),
        pytest.param(Terms(is_repeated=True, type="other"), "duplicate_order", id="sent before"),
        pytest.param(Terms(type="limit_if_touched"), "order_type", id="if touched"),
        pytest.param(Terms(lacks_parent=True), "parent_order", id="a parent elsewhere"),
        pytest.param(Terms(is_quote_quantity=True), "quote_quantity", id="money"),
        pytest.param(Terms(has_algorithm=True), "exec_algorithm", id="algorithm"),
        pytest.param(stop(is_emulated=True), "emulation_trigger", id="emulated"),
        pytest.param(Terms(is_emulated=True), None, id="emulated at market: sent at once"),
        pytest.param(Terms(type="stop_limit", is_post_only=True), "post_only", id="post-only stop"),
        pytest.param(Terms(type="limit", is_post_only=True), None, id="post-only limit"),
        pytest.param(Terms(time_in_force="at_the_open"), "time_in_force", id="at the open"),
        pytest.param(Terms(time_in_force="fok"), None, id="at once"),
        pytest.param(stop(time_in_force="ioc"), "time_in_force", id="a stop at once"),
        pytest.param(stop(time_in_force="day"), None, id="day"),
        pytest.param(stop(time_in_force="gtd", ends_ns=5, sent_ns=5), "expire_time", id="over"),
        pytest.param(stop(time_in_force="gtd", ends_ns=6, sent_ns=5), None, id="not over yet"),
        pytest.param(Terms(time_in_force="gtd", sent_ns=5), None, id="market orders have no end"),
    ],
)
def test_how_an_order_is_sent(terms: Terms, rule: str | None) -> None:
    assert check("0.1", terms=terms) == (rule and Breach(rule, {}))


def test_a_child_begins_later_and_not_at_market() -> None:
    lasting = Terms(type="limit", time_in_force="gtd", ends_ns=6, sent_ns=5)
    over = msgspec.structs.replace(lasting, ends_ns=5)

    assert check("9", "100", parent="e", reduce_only=True, terms=lasting) is None
    assert check("9", "100", parent="e", terms=over) == Breach("expire_time", {})
    assert check("9", "100", parent="e", trigger="90") is None
    assert check("9", parent="e", terms=Terms()) == Breach("order_type", {})


@pytest.mark.parametrize(
    ("change", "held", "has_use"),
    [("-1", "2", True), ("-3", "2", True), ("1", "2", False), ("1", "-2", True), ("1", "0", False)],
)
def test_reduce_only(change: str, held: str, has_use: bool) -> None:
    position = {"positions": {BTC: D(held)}}
    breach = Breach("reduce_only", {"position": D(held), "order": D(change)})

    assert check(change, reduce_only=True, terms=Terms(), **position) == (
        None if has_use else breach
    )
    assert check(change, reduce_only=True, **position) is None  # a change


WAITED = {"terms": stop(was_deferred=True)}
REDUCES = {"reduce_only": True}


@pytest.mark.parametrize(
    ("change", "trigger", "held", "more", "is_denied"),
    [
        pytest.param("1", "100.5", "0", {}, False, id="above to buy"),
        pytest.param("1", "100", "0", {}, True, id="a touch to buy"),
        pytest.param("1", "99", "0", {}, True, id="below to buy"),
        pytest.param("-1", "99.5", "0", {}, False, id="below to sell"),
        pytest.param("-1", "101", "0", {}, True, id="above to sell"),
        pytest.param("-1", "100", "0", {}, True, id="a touch to sell"),
        pytest.param("-1", "100", "1", {}, True, id="reducing"),
        pytest.param("-1", "100", "1", WAITED, False, id="reducing, and waited"),
        pytest.param("1", "100", "-1", WAITED, False, id="reducing a short, and waited"),
        pytest.param("-1.5", "100", "1", WAITED, True, id="larger than the position"),
        pytest.param("-1.5", "100", "1", WAITED | REDUCES, False, id="reduce-only, and waited"),
        pytest.param("-1.5", "100", "1", REDUCES, True, id="reduce-only, and did not wait"),
        pytest.param("0.5", "100", "1", WAITED, True, id="adding, and waited"),
    ],
)
def test_stop_in_market(
    change: str, trigger: str, held: str, more: dict[str, Any], is_denied: bool
) -> None:
    breach = check(change, trigger, trigger=trigger, positions={BTC: D(held)}, **more)

    expected = Breach("stop_in_market", {"trigger": D(trigger), "price": D(100)})
    assert breach == (expected if is_denied else None)


def test_before_a_price_no_stop_is_in_the_market() -> None:
    breach = check("1", "100", terms=stop(), trigger="100", prices={})

    assert breach is not None
    assert breach.rule == "max_leverage"


@pytest.mark.parametrize(
    ("price", "is_off"),
    [("99.5", False), ("99.3", True), ("0", True), ("-0.5", True), ("0.5", False)],
)
def test_tick_size(price: str, is_off: bool) -> None:
    expected = Breach("tick_size", {"price": D(price), "limit": D("0.5")}) if is_off else None

    assert check("1", price, parent="e") == expected
    assert check("-1", "100", price, parent="e") == expected  # a trigger, too


@pytest.mark.parametrize(
    ("change", "is_part"), [("0.001", False), ("-2", False), ("0.0005", True), ("-1.0005", True)]
)
def test_lot_size(change: str, is_part: bool) -> None:
    expected = Breach("lot_size", {"order": D(change), "limit": D("0.001")}) if is_part else None

    assert check(change, parent="e") == expected
    assert check("0", parent="e") == Breach("lot_size", {"order": D(0), "limit": D("0.001")})


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


def test_min_notional_does_not_apply_to_orders_that_only_reduce() -> None:
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


@pytest.mark.parametrize(
    ("change", "prices", "changes", "rule", "reason"),
    [
        ("1.5", [], {"positions": {BTC: D(1)}, "cash": D(900)}, "max_position",
         "the position could reach 2.5, the limit is 2; it is 1, open orders on that side are 0, "
         "this order is 1.5"),
        ("1", [], {"prices": {}}, "max_leverage",
         "there is no price before the symbol's first bar"),
        ("1", [], {"cash": D(0)}, "max_leverage", "no equity is left (0.00 USD)"),
        ("1.001", [], {"cash": D(50)}, "max_leverage",
         "2.002 times the equity of 50.00 USD, the limit is 2"),
        ("1.0000001", [], {"cash": D(50)}, "lot_size",
         "the quantity 1.0000001 is not a whole number of lots of 0.001"),
        ("0", [], {}, "lot_size", "the quantity is 0"),
        ("1", ["99.7"], {}, "tick_size", "the price 99.7 is not a multiple of the tick of 0.5"),
        ("1", ["-1"], {}, "tick_size", "the price -1 is not above 0"),
        ("0.001", [], {}, "min_notional_usd",
         "worth 0.10 USD, the venue takes orders from 10 USD on"),
    ],
)  # fmt: skip
def test_a_reason_names_its_cause_and_numbers(
    change: str, prices: list[str], changes: dict[str, Any], rule: str, reason: str
) -> None:
    breach = check(change, *prices, **changes)

    assert breach is not None
    assert (breach.rule, RULES[breach.rule].reason(breach.numbers)) == (rule, reason)


def test_leverage_beyond_the_limit_never_looks_equal_to_it() -> None:
    breach = check("1", cash=D("49.9999999"))

    assert breach is not None
    assert MAX_LEVERAGE.reason(breach.numbers).startswith("2.0001 times the equity of ")


@pytest.mark.parametrize(
    ("position", "reason"),
    [
        ("0", "there is no position to reduce"),
        ("0.3", "a buy order cannot reduce a position of 0.3"),
    ],
)
def test_the_reason_of_a_reduce_only_order(position: str, reason: str) -> None:
    assert REDUCE_ONLY.reason({"position": D(position), "order": D(1)}) == reason


def test_the_reason_of_a_stop_in_the_market() -> None:
    numbers = {"trigger": D("101.5"), "price": D(100)}

    assert STOP_IN_MARKET.reason(numbers) == "the last close 100 has reached the trigger 101.5"


def test_numbers_are_written_plainly() -> None:
    assert [plain(D(text)) for text in ("1E+3", "2.500", "0E-8", "1E-8")] == [
        "1000",
        "2.5",
        "0",
        "0.00000001",
    ]
