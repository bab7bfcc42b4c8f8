"""What a session rests on in NautilusTrader: each behaviour by its name, on a bare engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pytest
from nautilus_trader.backtest import BacktestEngine
from nautilus_trader.model import (
    Bar,
    OrderSide,
    Price,
    Quantity,
    QuoteTick,
)
from nautilus_trader.trading import Strategy

from tbv8.market import Series, parse_timeframe
from tbv8.trading.nautilus import VOLUME_DECIMALS, to_bar_type, to_instrument
from tbv8.trading.units import Units
from tbv8.trading.venue import Payments, make_engine
from tests.backtest.builders import rules
from tests.trading.builders import UNITS

SERIES = Series("hyperliquid", "BTC/USDT")
INSTRUMENT = to_instrument(SERIES, rules(), price_decimals=1)
BAR_TYPE = to_bar_type(SERIES, parse_timeframe("1m"))
SECOND = 10**9
ONE = Quantity.from_str("1.000")


@dataclass
class Market:
    units: Units = UNITS


@dataclass
class FillSource:
    """FillSource what the engine asks, as written down before; None is "not now"."""

    given: list[tuple[int, int] | None] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    always: tuple[int, int] | None = None
    markets: dict[Any, Market] = field(default_factory=lambda: {INSTRUMENT.id: Market()})

    def fill(self, order: Any) -> tuple[int, int] | None:
        self.asked.append((order.order_type.name, order.status.name))
        return self.given.pop(0) if self.given else self.always

    def fee(self, _order: Any, _quantity: Any, _price: Any) -> Decimal:
        return Decimal("0.01")


class Bare(Strategy):
    """Does nothing by itself; notes what it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: list[Bar] = []
        self.fills: list[tuple[str, str]] = []

    def on_start(self) -> None:
        self.subscribe_bars(BAR_TYPE)

    def on_bar(self, bar: Bar) -> None:
        self.bars.append(bar)

    def on_order_filled(self, event: Any) -> None:
        self.fills.append((str(event.last_px), str(event.last_qty)))


class Rig:
    """An engine, its strategy, and the source; `run` gives it quotes, or bars."""

    def __init__(self) -> None:
        self.source, self.due = FillSource(), []
        self.payments = Payments(self.due, INSTRUMENT.quote_currency)
        self.engine: BacktestEngine = make_engine(
            [INSTRUMENT],
            self.source,  # type: ignore[arg-type]
            self.payments,
            balance=Decimal(1000),
        )
        self.strategy = Bare()
        self.engine.add_strategy(self.strategy)
        self.second = 0

    def run(self, *data: Any) -> None:
        """Let the engine go through one second: prices are quotes."""
        self.second += 1
        ns = self.second * SECOND
        made = [quote(each, ns) if isinstance(each, str) else each(ns) for each in data]
        self.engine.add_data(made, None, False, False)
        self.engine.sort_data()
        self.engine.run(start=ns - 1, streaming=True)
        self.engine.clear_data()

    def send(self, make: Callable[..., Any], *args: Any, **options: Any) -> Any:
        order = make(INSTRUMENT.id, *args, **options)
        self.strategy.submit_order(order)
        return order

    def status(self, order: Any) -> str:
        found: Any = self.engine.cache.order(order.client_order_id)
        return str(found.status.name)

    @property
    def balance(self) -> Decimal:
        account: Any = self.engine.cache.account_for_venue(INSTRUMENT.id.venue)
        total: Decimal = account.balance_total(INSTRUMENT.quote_currency).as_decimal()
        return total


def quote(price: str, ns: int) -> QuoteTick:
    at = Price.from_str(price)
    return QuoteTick(INSTRUMENT.id, at, at, ONE, ONE, ns, ns)


def bar(*prices: str, volume: str) -> Callable[[int], Bar]:
    def made(ns: int) -> Bar:
        values = [Price.from_str(price) for price in prices]
        return Bar(BAR_TYPE, *values, Quantity.from_str(volume), ns, ns)

    return made


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.engine.dispose()


def factory(rig: Rig) -> Any:
    return rig.strategy.order_factory


def test_orders_may_be_sent_between_runs(rig: Rig) -> None:
    rig.run("100.0")
    rig.source.given = [(1015, 1000)]

    order = rig.send(factory(rig).market, OrderSide.BUY, ONE)
    rig.run("100.0")

    assert rig.status(order) == "FILLED"
    assert rig.strategy.fills == [("101.5", "1.000")]


def test_a_fill_shown_a_price_on_no_tick_is_skipped_and_the_order_stays(rig: Rig) -> None:
    rig.run("100.0")
    order = rig.send(factory(rig).limit, OrderSide.BUY, ONE, Price.from_str("98.0"))
    rig.run("100.0")

    rig.run("97.0")  # reached, and answered by "not now"
    asked = len(rig.source.asked)
    skipped = rig.status(order)
    rig.source.given = [(980, 1000)]
    rig.run("97.0")

    assert asked == 1
    assert skipped == "ACCEPTED"
    assert rig.status(order) == "FILLED"
    assert rig.strategy.fills == [("98.0", "1.000")]


def test_an_order_may_be_filled_in_part_and_again(rig: Rig) -> None:
    rig.run("100.0")
    order = rig.send(factory(rig).limit, OrderSide.BUY, ONE, Price.from_str("98.0"))
    rig.run("100.0")

    rig.source.given = [(980, 400)]
    rig.run("97.0")
    part = rig.status(order)
    rig.source.given = [(980, 600)]
    rig.run("96.5")

    assert part == "PARTIALLY_FILLED"
    assert rig.status(order) == "FILLED"
    assert rig.strategy.fills == [("98.0", "0.400"), ("98.0", "0.600")]


def test_the_fill_of_a_new_stop_is_requested_once(rig: Rig) -> None:
    rig.run("100.0")
    order = rig.send(factory(rig).stop_market, OrderSide.SELL, ONE, Price.from_str("101.0"))

    rig.source.given = [(1000, 1000)]
    rig.run("100.0")

    assert rig.source.asked == [("STOP_MARKET", "SUBMITTED")]
    assert rig.status(order) == "FILLED"


def test_the_fill_of_a_resting_stop_is_requested_at_its_trigger(rig: Rig) -> None:
    rig.run("100.0")
    order = rig.send(factory(rig).stop_market, OrderSide.SELL, ONE, Price.from_str("98.0"))
    rig.run("100.0")
    assert rig.source.asked == []

    rig.source.given = [(975, 1000)]
    rig.run("98.0")

    assert rig.status(order) == "FILLED"
    assert rig.strategy.fills == [("97.5", "1.000")]


def test_a_module_books_its_money_at_the_end_of_the_instant(rig: Rig) -> None:
    rig.run("100.0")
    rig.due.append(Decimal("-2.5"))
    before = rig.balance

    rig.run("100.0")

    assert (before, rig.balance) == (1000, Decimal("997.5"))
    assert rig.due == []


def test_the_fee_is_that_of_the_fee_model(rig: Rig) -> None:
    rig.run("100.0")
    rig.source.given = [(1000, 1000)]

    rig.send(factory(rig).market, OrderSide.BUY, ONE)
    rig.run("100.0")

    assert rig.balance == Decimal("999.99")


@pytest.mark.parametrize("volume", ["0.00000000", "0.00000001", "123.45678901"])
def test_a_bar_is_seen_and_not_executed_whatever_its_volume(rig: Rig, volume: str) -> None:
    rig.run("100.0")
    order = rig.send(factory(rig).limit, OrderSide.BUY, ONE, Price.from_str("98.0"))
    rig.run("100.0")

    rig.run(bar("97.0", "99.0", "90.0", "91.0", volume=volume))

    assert rig.source.asked == []
    assert rig.status(order) == "ACCEPTED"
    assert [str(each.volume) for each in rig.strategy.bars] == [volume]
    assert VOLUME_DECIMALS == 8


def test_an_account_below_zero_may_still_close_its_position(rig: Rig) -> None:
    rig.run("100.0")
    rig.source.given = [(1000, 1000), (900, 1000)]
    rig.send(factory(rig).market, OrderSide.BUY, ONE)
    rig.run("100.0")
    rig.due.append(Decimal(-1500))
    rig.run("100.0")

    order = rig.send(factory(rig).market, OrderSide.SELL, ONE)
    rig.run("90.0")

    assert rig.status(order) == "FILLED"
