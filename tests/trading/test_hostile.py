"""Strategies that try to get past the gate: denied, or no result; never a limit broken."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from nautilus_trader.common import Clock

from tbv8.trading.loading import StrategyError
from tbv8.trading.records import Run
from tests.backtest.builders import (
    SCRIPTED,
    install,
    limits,
    make_bars,
    make_strategy,
    run_strategy,
)

D = Decimal
HEAD = """
from nautilus_trader.model import ExecAlgorithmId, PositionId, TimeInForce, TriggerType
from nautilus_trader.model import TrailingOffsetType
"""
BUY = "OrderSide.BUY, Quantity.from_str"
SELL = "OrderSide.SELL, Quantity.from_str"
ONE = f"factory.market(self.instrument.id, {BUY}('1.000'))"
TEN = f"factory.market(self.instrument.id, {BUY}('10.000'))"
RESTS = f"factory.limit(self.instrument.id, {BUY}('1.000'), Price.from_str('95.0'))"

FLAT = (100.0, 101.0, 99.0, 100.0)
DIP = (100.0, 101.0, 94.0, 100.0)

# 100 USD and a leverage of 1: one may be held at 100, although the position limit is 10.
ONCE: dict[str, Any] = {
    "starting_balance_usd": D("100.1"),
    "risk": limits(max_position="10", max_leverage="1", max_daily_loss_usd="50"),
}
RunLines = Callable[..., Run]


def _bars(*rows: tuple[float, float, float, float]) -> pa.Table:
    columns = make_bars([row[3] for row in rows]).to_pydict()
    for at, name in enumerate(("open", "high", "low", "close")):
        columns[name] = [row[at] for row in rows]
    return pa.table(columns)


@pytest.fixture
def run_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunLines:
    """Return a function that runs lines at the close of numbered bars: {number: lines}."""

    def run(lines: dict[int, str], more: str = "", bars: pa.Table | None = None) -> Run:
        body = "".join(
            f"        if number == {number}:\n"
            + "".join(f"            {line}\n" for line in text.strip().splitlines())
            for number, text in lines.items()
        )
        install(monkeypatch, tmp_path / "more", "other", HEAD + SCRIPTED + body + more)
        strategy = make_strategy(module="other", **ONCE)
        bars = _bars(*[FLAT] * 4, DIP, FLAT) if bars is None else bars
        return run_strategy(strategy, "hyperliquid", bars)

    return run


def _assert_no_limit_broken(run: Run) -> None:
    assert max((abs(fill.position) for fill in run.fills), default=D(0)) <= 1


LIST = (
    f"entry, child = {RESTS}, factory.{{child}}\n"
    "child = type(child).from_dict(child.to_dict() | {{'parent_order_id': {parent}}})\n"
    "self.submit_order_list([{orders}])"
)
TEN_RESTS = f"limit(self.instrument.id, {BUY}('10.000'), Price.from_str('99.5'))"
ENTRY_ID = "entry.client_order_id.value"

DENIED = {
    "a child without its parent": (
        LIST.format(child=TEN[8:], parent="'E-1'", orders="child"),
        "parent_order",
    ),
    "a child that is its own parent": (
        LIST.format(child=TEN_RESTS, parent="child.client_order_id.value", orders="entry, child"),
        "parent_order",
    ),
    "two that are each other's parents": (
        f"entry, child = {RESTS}, factory.{TEN_RESTS}\n"
        "entry, child = (\n"
        "    type(one).from_dict(\n"
        "        one.to_dict() | {'parent_order_id': other.client_order_id.value}\n"
        "    )\n"
        "    for one, other in ((entry, child), (child, entry))\n"
        ")\n"
        "self.submit_order_list([entry, child])",
        "parent_order",
    ),
    "a child at market": (
        LIST.format(child=TEN[8:], parent=ENTRY_ID, orders="entry, child"),
        "order_type",
    ),
    "an order twice in one list": (
        f"order = factory.limit(self.instrument.id, {BUY}('0.500'), Price.from_str('95.0'))\n"
        "self.submit_order_list([order, order])",
        "duplicate_order",
    ),
    "a quantity in money": (
        f"self.submit_order(factory.market(self.instrument.id, {BUY}('90.000'),"
        " quote_quantity=True))",
        "quote_quantity",
    ),
    "an execution algorithm": (
        f"self.submit_order(factory.market(self.instrument.id, {BUY}('1.000'),"
        " exec_algorithm_id=ExecAlgorithmId('TWAP')))",
        "exec_algorithm",
    ),
    "an order that the engine would hold back": (
        f"self.submit_order(factory.limit(self.instrument.id, {BUY}('1.000'),"
        " Price.from_str('95.0'), emulation_trigger=TriggerType.LAST_PRICE))",
        "emulation_trigger",
    ),
    "a trailing stop": (
        f"self.submit_order(factory.trailing_stop_market(self.instrument.id, {SELL}('1.000'),"
        " Decimal('5'), trailing_offset_type=TrailingOffsetType.PRICE))",
        "order_type",
    ),
    "a limit if touched": (
        f"self.submit_order(factory.limit_if_touched(self.instrument.id, {BUY}('1.000'),"
        " Price.from_str('96.0'), Price.from_str('95.0')))",
        "order_type",
    ),
    "a market order if touched": (
        f"self.submit_order(factory.market_if_touched(self.instrument.id, {BUY}('1.000'),"
        " Price.from_str('95.0')))",
        "order_type",
    ),
    "its own config changed": (
        f"object.__setattr__(self.config, 'max_position', Decimal(99))\nself.submit_order({TEN})",
        "max_leverage",
    ),
    "an attribute with the guard's old name": (
        f"self._guard = None\nself.submit_order({TEN})",
        "max_leverage",
    ),
    "an order that its own hand calls filled": (
        f"order = {TEN}\norder.apply(OrderSubmitted(order.trader_id, order.strategy_id,"
        " order.instrument_id, order.client_order_id, AccountId('hyperliquid-001'), UUID4(), 0,"
        " 0))\nself.submit_order(order)",
        "duplicate_order",
    ),
}


@pytest.mark.parametrize(("lines", "rule"), DENIED.values(), ids=DENIED.keys())
def test_what_is_not_simulated_in_full_is_denied(
    run_lines: RunLines, lines: str, rule: str
) -> None:
    more = (
        "\nfrom nautilus_trader.core import UUID4\n"
        "from nautilus_trader.model import AccountId, OrderSubmitted\n"
    )
    run = run_lines({2: lines}, more)

    assert run.fills == ()
    assert {denial.rule for denial in run.denials} == {rule}
    assert run.orders == {"denied": len(run.denials)}


def test_an_order_sent_twice_is_denied_and_goes_on_to_count(run_lines: RunLines) -> None:
    run = run_lines(
        {
            2: f"self.order = {RESTS}\n" + 2 * "self.submit_order(self.order)\n",
            3: f"self.submit_order({RESTS})",
            4: "assert self.order.client_order_id in self.cache.client_order_ids_open()",
        }
    )

    assert [denial.rule for denial in run.denials] == ["duplicate_order", "max_leverage"]
    assert [fill.quantity for fill in run.fills] == [1]


def test_a_position_of_its_own_naming_is_not_opened(run_lines: RunLines) -> None:
    run = run_lines({2: f"self.submit_order({ONE}, PositionId('A'))"})

    assert run.fills == ()


REFUSED = {
    "the callback that hears of fills assigned": (
        "self.on_order_filled = lambda event: None",
        "self.on_order_filled cannot be assigned in a run",
    ),
    "the callback that hears of bars assigned": (
        "self.on_bar = lambda bar: None",
        "self.on_bar cannot be assigned in a run",
    ),
    "the callback that hears of fills put on the class": (
        f"type(self).on_order_filled = lambda self, event: None\nself.submit_order({ONE})",
        "its fills are not those that the venue made",
    ),
    "the guard's old attribute": (
        "self._guard.limits = None",
        "has no attribute '_guard'",
    ),
    "a filled order purged": (
        f"self.order = {ONE}\nself.submit_order(self.order)\n"
        "self.clock.set_time_alert_ns('later', self.clock.timestamp_ns() + 10**9, lambda event:"
        " self.cache.purge_order(self.order.client_order_id))",
        "the cache was emptied in the run",
    ),
    "the cache emptied": (
        f"self.submit_order({ONE})\n"
        "self.clock.set_time_alert_ns('later', self.clock.timestamp_ns() + 10**9, lambda event:"
        " self.cache.reset())",
        "the cache was emptied in the run",
    ),
    "a resting order enlarged by the base class": (
        f"self.order = {RESTS}\nself.submit_order(self.order)\n"
        "self.clock.set_time_alert_ns('later', self.clock.timestamp_ns() + 10**9, lambda event:"
        " Strategy.modify_order(self, self.order.client_order_id,"
        " quantity=Quantity.from_str('9.000')))",
        "went past the risk limits",
    ),
    "a list by the base class": (
        f"Strategy.submit_order_list(self, [{TEN}])",
        "went past the risk limits",
    ),
    "a timer that calls the base class": (
        "self.clock.set_time_alert_ns('later', self.clock.timestamp_ns() + 10**9, lambda event:"
        f" Strategy.submit_order(self, {ONE}))",
        "went past the risk limits",
    ),
    "degraded": ("self.degrade()", "the run ended at 2024-01-01T02:00:00Z"),
    "faulted": ("self.fault()", "the run ended at 2024-01-01T02:00:00Z"),
    "disposed": ("self.dispose()", "Invalid state trigger"),
    "the clock set forward": (  # the engine's next step would abort the process
        "self.clock.set_time(self.clock.timestamp_ns() + 1)",
        ": RuntimeError: clock.set_time() in a run: the bars move the "
        "clock; for a call at a later time, use set_time_alert_ns() or set_timer_ns() ("
        "strategy test_v1, in on_bar",
    ),
    "the clock set back": ("self.clock.set_time(0)", "clock.set_time() in a run"),
    "the clock set by its class": (
        "type(self.clock).set_time(Strategy.clock.__get__(self), 2**62)",
        "clock.set_time() in a run",
    ),
    "the clock set by a timer": (
        "self.clock.set_time_alert_ns('later', self.clock.timestamp_ns() + 10**9, lambda event:"
        " self.clock.set_time(2**62))",
        "clock.set_time() in a run",
    ),
    "the cache emptied without an order": ("self.cache.dispose()", "the cache was emptied"),
    "shut down": ("self.shutdown_system('enough')", "the run ended at 2024-01-01T02:00:00Z"),
}


@pytest.mark.parametrize(("lines", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_a_run_that_went_past_the_gate_gives_no_result(
    run_lines: RunLines, lines: str, said: str
) -> None:
    with pytest.raises(StrategyError) as e:
        run_lines({2: lines})

    assert said in str(e.value)
    assert "\n" not in str(e.value)


TIMERS = {
    "an alert": "self.clock.set_time_alert_ns('a', self.clock.timestamp_ns() + 1, broken)",
    "a date": "self.clock.set_time_alert('a', self.clock.utc_now() + timedelta(1e-4), broken)",
    "a timer": "self.clock.set_timer_ns('a', 10**9, None, None, broken)",
    "a step": "self.clock.set_timer('a', timedelta(seconds=1), callback=broken)",
    "a default": "self.clock.register_default_handler(broken)\n"
    "self.clock.set_time_alert_ns('a', self.clock.timestamp_ns() + 1)",
}


@pytest.mark.parametrize("lines", TIMERS.values(), ids=TIMERS.keys())
def test_an_error_in_a_timers_callback_is_one_line_with_its_place(
    run_lines: RunLines, lines: str, capfd: pytest.CaptureFixture[str]
) -> None:
    more = "\nfrom datetime import timedelta\n\ndef broken(event):\n    {}['what']\n"

    with pytest.raises(StrategyError) as e:
        run_lines({2: lines}, more)

    place, _, what = str(e.value).partition(": ")
    assert place.startswith("tbv8/strategies/other.py:")
    assert what == (
        "KeyError: 'what' (strategy test_v1, in a timer's callback at the close of "
        "2024-01-01T03:00:00Z)"
    )
    assert capfd.readouterr() == ("", "")


def test_after_a_run_clocks_are_as_before(run_lines: RunLines) -> None:
    run_lines({})
    clock = Clock.new_test()

    clock.set_time(5)

    assert clock.timestamp_ns() == 5


BIG = f"self.order_factory.market(self.instrument.id, {BUY}('10.000'))"
SENDERS = {
    **{
        name: f"    def {name}(self, event):\n        self.submit_order({BIG})\n"
        for name in (
            "on_order_filled",
            "on_order_accepted",
            "on_position_opened",
            "on_position_event",
        )
    },
    "on_stop": f"    def on_stop(self):\n        self.submit_order({BIG})\n",
    "on_order_denied": (
        "    def on_order_denied(self, event):\n"
        "        if not hasattr(self, 'again'):\n"
        "            self.again = True\n"
        f"            self.submit_order({BIG})\n"
        f"    def on_position_opened(self, event):\n        self.submit_order({BIG})\n"
    ),
    "a method kept from before": (
        "    def on_order_filled(self, event):\n"
        f"        super(type(self), self).submit_order({BIG})\n"
    ),
}


@pytest.mark.parametrize("sender", SENDERS.values(), ids=SENDERS.keys())
def test_orders_from_every_callback_pass_the_gate(run_lines: RunLines, sender: str) -> None:
    run = run_lines(
        {2: f"self.submit_order({ONE})", 3: f"self.submit_order({RESTS})"}, "\n" + sender
    )

    assert "max_leverage" in {denial.rule for denial in run.denials}
    _assert_no_limit_broken(run)


def test_a_reducing_order_never_opens(run_lines: RunLines) -> None:
    sell = f"self.instrument.id, {SELL}('3.000')"
    at_market = f"self.submit_order(factory.market({sell}, reduce_only=True))"
    rests = f"self.submit_order(factory.limit({sell}, Price.from_str('105.0'), reduce_only=True))"
    run = run_lines(
        {
            1: at_market,
            2: f"self.submit_order({ONE})\n{rests}",
            3: f"{at_market}\n{at_market}\nself.close_all_positions(self.instrument.id)",
        },
        bars=_bars(*[FLAT] * 4, (100, 110, 94, 100), FLAT),
    )

    assert [fill.position for fill in run.fills] == [1, 0]


def test_a_halt_holds_whatever_is_called(run_lines: RunLines) -> None:
    everything = (
        "self.cancel_all_orders(self.instrument.id)\n"
        "self.close_all_positions(self.instrument.id)\n"
        "self.market_exit()\n"
        f"self.submit_order({ONE})\n"
        f"self.submit_order({RESTS})\n"
        f"self.submit_order_list([{ONE}])\n"
        "self.clock.set_time_alert_ns(f'a{number}', self.clock.timestamp_ns() + 10**9,"
        f" lambda event: self.submit_order({ONE}))"
    )
    bars = _bars(*[FLAT] * 3, (100, 101, 40, 40), *[(40.0, 101.0, 39.0, 100.0)] * 4)

    run = run_lines({2: f"self.submit_order({ONE})", 4: everything, 6: everything}, bars=bars)

    assert [
        (halt.rule, fill.price) for halt, fill in zip(run.halts, run.fills[1:], strict=True)
    ] == [("max_daily_loss_usd", 40)]
    assert run.fills[-1].position == 0
    assert {denial.rule for denial in run.denials} == {"max_daily_loss_usd"}
    assert len(run.denials) == 8


def test_a_halt_takes_a_resting_bracket_with_it(run_lines: RunLines) -> None:
    lines = (
        f"self.submit_order(factory.market(self.instrument.id, {BUY}('0.900')))\n"
        f"self.submit_order_list(factory.bracket(self.instrument.id, {BUY}('0.100'),"
        " entry_order_type=OrderType.LIMIT, entry_price=Price.from_str('20.0'),"
        " tp_price=Price.from_str('90.0'), sl_trigger_price=Price.from_str('10.0')))"
    )
    more = "\nfrom nautilus_trader.model import OrderType\n"
    bars = _bars(*[FLAT] * 3, (100, 101, 40, 40), (40, 101, 5, 40), FLAT)

    run = run_lines({2: lines}, more, bars)

    assert [fill.position for fill in run.fills] == [D("0.9"), 0]
    assert run.orders == {"canceled": 3, "filled": 2}
