"""Where high and low of one bar decide, the worse order of the two is taken."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tbv8.trading.engine import Run, run_strategy

from tests.backtest.builders import SCRIPTED, install, make_bars, make_strategy

FLAT = (100.0, 101.0, 99.0, 100.0)
Fills = list[tuple[int, str, Decimal, Decimal]]

BRACKET = """
        if number == 2:
            from nautilus_trader.model import OrderType
            self.submit_order_list(factory.bracket(
                self.config.instrument_id, OrderSide.{side}, Quantity.from_str("1.000"),
                entry_order_type=OrderType.{entry}, {price}
                tp_price=Price.from_str("{profit}"), sl_trigger_price=Price.from_str("{loss}")))

    def on_order_updated(self, event):
        raise AssertionError("told of a change that is not its own")
"""
BY_HAND = """
    def on_order_filled(self, event):
        long = self.portfolio.net_position(self.config.instrument_id) > 0
        if event.client_order_id == self.entry:
            side = OrderSide.SELL if long else OrderSide.BUY
            quantity = Quantity.from_str("1.000")
            for make, price in ((self.order_factory.limit, "{profit}"),
                                (self.order_factory.stop_market, "{loss}")):
                self.submit_order(make(self.config.instrument_id, side, quantity,
                                       Price.from_str(price), reduce_only=True))

    def submit_order(self, order):
        if not hasattr(self, "entry"):
            self.entry = order.client_order_id
        super().submit_order(order)
"""


@pytest.fixture
def fills_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Fills]:
    """Return a function that runs Scripted with more lines: bar, type, price, position after."""

    def run(more: str, *rows: tuple[float, float, float, float], **changes: Any) -> Fills:
        install(monkeypatch, tmp_path / "more", "other", SCRIPTED + more)
        columns = make_bars([row[3] for row in rows]).to_pydict()
        for at, name in enumerate(("open", "high", "low", "close")):
            columns[name] = [row[at] for row in rows]
        done: Run = run_strategy(
            make_strategy(module="other", **changes), "hyperliquid", pa.table(columns)
        )
        bars = done.curve.closes_ms.tolist()
        return [(bars.index(f.ts_ms) + 1, f.type, f.price, f.position) for f in done.fills]

    return run


@pytest.mark.parametrize(
    ("side", "profit", "loss", "position"),
    [
        pytest.param("BUY", "105.0", "95.0", 1, id="long"),
        pytest.param("SELL", "95.0", "105.0", -1, id="short"),
    ],
)
def test_of_profit_and_loss_in_one_bar_the_loss_is_taken(
    fills_of: Callable[..., Fills], side: str, profit: str, loss: str, position: int
) -> None:
    more = BRACKET.format(side=side, entry="MARKET", price="", profit=profit, loss=loss)

    fills = fills_of(more, FLAT, FLAT, FLAT, (100, 110, 90, 100), FLAT)

    assert fills == [(2, "market", 100, position), (4, "stop_market", Decimal(loss), 0)]


@pytest.mark.parametrize(
    ("side", "profit", "loss", "bar", "exit_bar"),
    [
        pytest.param(
            "BUY", "105.0", "95.0", (100, 106, 99, 100), (4, "limit", 105), id="long profit"
        ),
        pytest.param(
            "BUY", "105.0", "95.0", (100, 101, 94, 100), (4, "stop_market", 95), id="long loss"
        ),
        pytest.param(
            "SELL", "95.0", "105.0", (100, 101, 94, 100), (4, "limit", 95), id="short profit"
        ),
        pytest.param(
            "SELL", "95.0", "105.0", (100, 106, 99, 100), (4, "stop_market", 105), id="short loss"
        ),
        pytest.param(
            "BUY", "105.0", "95.0", (107, 110, 90, 100), (4, "limit", 105), id="opened beyond it"
        ),
    ],
)
def test_where_only_one_is_reached_or_one_is_first_that_one_is_taken(
    fills_of: Callable[..., Fills],
    side: str,
    profit: str,
    loss: str,
    bar: tuple[float, float, float, float],
    exit_bar: tuple[int, str, int],
) -> None:
    more = BRACKET.format(side=side, entry="MARKET", price="", profit=profit, loss=loss)

    fills = fills_of(more, FLAT, FLAT, FLAT, bar, FLAT)

    assert fills[1:] == [(*exit_bar, 0)]


@pytest.mark.parametrize(
    ("side", "entry", "profit", "loss", "bar"),
    [
        pytest.param("BUY", "98.0", "105.0", "90.0", (100, 110, 97, 100), id="long"),
        pytest.param("SELL", "102.0", "95.0", "110.0", (100, 103, 90, 100), id="short"),
    ],
)
def test_no_profit_is_taken_in_the_bar_of_the_entry(
    fills_of: Callable[..., Fills],
    side: str,
    entry: str,
    profit: str,
    loss: str,
    bar: tuple[float, float, float, float],
) -> None:
    price = f'entry_price=Price.from_str("{entry}"),'
    more = BRACKET.format(side=side, entry="LIMIT", price=price, profit=profit, loss=loss)

    fills = fills_of(more, FLAT, FLAT, FLAT, bar, FLAT, (100, 111, 89.5, 100))

    # In the sixth bar both are reached: the loss.
    assert [fill[:3] for fill in fills] == [
        (4, "limit", Decimal(entry)),
        (6, "stop_market", Decimal(loss)),
    ]


def test_a_profit_that_the_close_is_beyond_is_taken_at_its_price(
    fills_of: Callable[..., Fills],
) -> None:
    price = 'entry_price=Price.from_str("98.0"),'
    more = BRACKET.format(side="BUY", entry="LIMIT", price=price, profit="105.0", loss="90.0")

    fills = fills_of(more, FLAT, FLAT, FLAT, (100, 110, 97, 108), FLAT)

    assert [fill[:3] for fill in fills] == [(4, "limit", 98), (4, "limit", 105)]


@pytest.mark.parametrize(
    ("side", "entry", "profit", "loss", "bar"),
    [
        pytest.param("BUY", "98.0", "105.0", "95.0", (100, 101, 94, 100), id="long"),
        pytest.param("SELL", "102.0", "95.0", "105.0", (100, 106, 99, 100), id="short"),
    ],
)
def test_a_loss_is_taken_in_the_bar_of_the_entry(
    fills_of: Callable[..., Fills],
    side: str,
    entry: str,
    profit: str,
    loss: str,
    bar: tuple[float, float, float, float],
) -> None:
    price = f'entry_price=Price.from_str("{entry}"),'
    more = BRACKET.format(side=side, entry="LIMIT", price=price, profit=profit, loss=loss)

    fills = fills_of(more, FLAT, FLAT, FLAT, bar, FLAT)

    assert [fill[:3] for fill in fills] == [
        (4, "limit", Decimal(entry)),
        (4, "stop_market", Decimal(loss)),
    ]


@pytest.mark.parametrize(
    ("entry", "profit", "loss", "bar"),
    [
        pytest.param({"limits": {2: "1@98.0"}}, "105.0", "95.0", (100, 110, 94, 100), id="limit"),
        pytest.param({"stops": {2: "1@102.0"}}, "105.0", "95.0", (100, 106, 94, 100), id="stop"),
        # The engine walks from high to low: the high came before the entry, but who knows.
        pytest.param(
            {"stops": {2: "-1@98.0"}}, "95.0", "105.0", (100, 106, 94, 100), id="short stop"
        ),
        pytest.param(
            {"limits": {2: "-1@102.0"}}, "95.0", "105.0", (100, 106, 94, 100), id="short limit"
        ),
    ],
)
def test_exits_that_are_sent_on_the_fill_of_the_entry_begin_with_the_loss(
    fills_of: Callable[..., Fills],
    entry: dict[str, dict[int, str]],
    profit: str,
    loss: str,
    bar: tuple[float, float, float, float],
) -> None:
    more = BY_HAND.format(profit=profit, loss=loss)

    fills = fills_of(more, FLAT, FLAT, FLAT, bar, FLAT, params=entry)

    assert [(number, kind) for number, kind, _, _ in fills] == [
        (4, next(iter(entry)).removesuffix("s").replace("stop", "stop_market")),
        (4, "stop_market"),
    ]
    assert fills[1][2:] == (Decimal(loss), 0)


def test_a_loss_in_the_very_last_bar_is_taken(fills_of: Callable[..., Fills]) -> None:
    more = BY_HAND.format(profit="95.0", loss="105.0")

    fills = fills_of(more, FLAT, FLAT, FLAT, (100, 106, 94, 100), params={"stops": {2: "-1@98.0"}})

    assert [(number, kind, price) for number, kind, price, _ in fills] == [
        (4, "stop_market", 98),
        (4, "stop_market", 105),
    ]


def test_an_entry_by_stop_from_inside_of_a_bar_is_not_taken_as_reached(
    fills_of: Callable[..., Fills],
) -> None:
    # Sent when the first was filled at 102: 103 was reached, but nobody knows when; it rests.
    more = (
        "\n    def on_order_filled(self, event):\n"
        "        if event.last_px == Price.from_str('102.0'):\n"
        "            self.submit_order(self.order_factory.stop_market(self.config.instrument_id,"
        " OrderSide.BUY, Quantity.from_str('1.000'), Price.from_str('103.0')))\n"
    )

    bars = [FLAT, FLAT, FLAT, (100, 104, 99, 100), FLAT, (100, 110, 99, 100)]
    fills = fills_of(more, *bars, params={"stops": {2: "1@102.0"}})

    assert fills == [(4, "stop_market", 102, 1), (6, "stop_market", 103, 2)]


def test_a_grid_has_both_of_its_orders_filled(fills_of: Callable[..., Fills]) -> None:
    # Both rest before the bar, which reaches both: whichever comes first, both are filled.
    more = (
        "        if number == 2:\n"
        "            for side, price in ((OrderSide.BUY, '95.0'), (OrderSide.SELL, '105.0')):\n"
        "                self.submit_order(factory.limit(self.config.instrument_id, side,"
        " Quantity.from_str('1.000'), Price.from_str(price)))\n"
    )

    fills = fills_of(more, FLAT, FLAT, FLAT, (100, 110, 90, 100), FLAT)

    assert sorted(price for _, _, price, _ in fills) == [95, 105]


def test_of_profit_and_loss_in_the_bar_after_the_entry_the_loss_is_taken(
    fills_of: Callable[..., Fills],
) -> None:
    more = BRACKET.format(side="BUY", entry="MARKET", price="", profit="105.0", loss="95.0")

    fills = fills_of(more, FLAT, FLAT, (100, 110, 90, 100), FLAT)

    assert fills == [(2, "market", 100, 1), (3, "stop_market", 95, 0)]


EXITS = """
        if number == 3:
            {sender}

    def send(self, event=None):
        self.rest = self.order_factory.limit(self.config.instrument_id, OrderSide.SELL,
            Quantity.from_str("1.000"), Price.from_str("{profit}"), reduce_only=True)
        self.submit_order(self.rest)
        self.submit_order(self.order_factory.stop_market(self.config.instrument_id, OrderSide.SELL,
            Quantity.from_str("1.000"), Price.from_str("95.0"), reduce_only=True))
"""
TIMER = "self.clock.set_time_alert_ns('later', self.clock.timestamp_ns() + {ns}, self.send)"
CANCELS = "\n    def on_order_accepted(self, event):\n        self.clock.cancel_timers()\n"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param(EXITS.format(sender="self.send()", profit="105.0"), id="at the close"),
        pytest.param(
            EXITS.format(sender=TIMER.format(ns=1), profit="105.0"), id="by a timer at once"
        ),
        pytest.param(
            EXITS.format(sender=TIMER.format(ns=1800 * 10**9), profit="105.0"),
            id="by a timer in the middle of the bar",
        ),
        pytest.param(
            EXITS.format(sender="self.send()", profit="105.0") + CANCELS,
            id="timers are cancelled",
        ),
    ],
)
def test_however_exits_were_sent_the_loss_is_taken(
    fills_of: Callable[..., Fills], more: str
) -> None:
    fills = fills_of(more, FLAT, FLAT, FLAT, (100, 110, 90, 100), FLAT, params={"orders": {2: "1"}})

    assert fills == [(2, "market", 100, 1), (4, "stop_market", 95, 0)]


@pytest.mark.parametrize(
    ("bar", "exit_bar"),
    [
        pytest.param((100, 110, 90, 100), (5, "stop_market", 95, 0), id="both reached"),
        pytest.param((100, 104, 99, 100), (5, "limit", 103, 0), id="the new price reached"),
    ],
)
def test_a_limit_that_was_changed_counts_at_its_new_price(
    fills_of: Callable[..., Fills],
    bar: tuple[float, float, float, float],
    exit_bar: tuple[int, str, int, int],
) -> None:
    changes = (
        "        if number == 4:\n"
        "            self.modify_order(self.rest.client_order_id, price=Price.from_str('103.0'))\n"
    )
    more = changes + EXITS.format(sender="self.send()", profit="120.0")

    fills = fills_of(more, FLAT, FLAT, FLAT, FLAT, bar, FLAT, params={"orders": {2: "1"}})

    assert fills[1:] == [exit_bar]


def test_a_limit_that_waited_for_a_stop_keeps_a_price_that_is_changed_at_the_close(
    fills_of: Callable[..., Fills],
) -> None:
    # In bar 4 the stop takes half of the position before the limit; at its close the limit is
    # moved to 103, where bar 5 fills it.
    more = (
        "        if number == 4:\n"
        "            self.modify_order(self.rest.client_order_id, price=Price.from_str('103.0'))\n"
    ) + EXITS.format(sender="self.send()", profit="105.0").replace(
        'Quantity.from_str("1.000"), Price.from_str("95.0")',
        'Quantity.from_str("0.500"), Price.from_str("95.0")',
    )

    bars = [FLAT, FLAT, FLAT, (100, 110, 90, 100), (100, 104, 99, 100), FLAT]
    fills = fills_of(more, *bars, params={"orders": {2: "1"}})

    assert fills[1:] == [(4, "stop_market", 95, Decimal("0.5")), (5, "limit", 103, 0)]


@pytest.mark.parametrize(
    ("prices", "bar", "expected"),
    [
        # Bought when 105 was reached, at most at 106; the bar falls to 90 afterwards.
        pytest.param(("106.0", "105.0"), (100, 110, 90, 100), [(4, 106)], id="its limit"),
        pytest.param(("106.0", "105.0"), (100, 104.5, 90, 100), [], id="not triggered"),
        pytest.param(("106.0", "105.0"), (105.5, 110, 99, 100), [(4, 106)], id="opened beyond"),
        # Opened at 107, beyond the limit; bar 5 opens below it.
        pytest.param(("106.0", "105.0"), (107, 110, 106.5, 108), [(5, 106)], id="comes back"),
        # The limit is below the trigger: was the low before or after the high? Filled in bar 5.
        pytest.param(("95.0", "105.0"), (100, 110, 90, 100), [(5, 95)], id="waits for a dip"),
    ],
)
def test_a_stop_limit_is_filled_at_its_limit(
    fills_of: Callable[..., Fills],
    prices: tuple[str, str],
    bar: tuple[float, float, float, float],
    expected: list[tuple[int, int]],
) -> None:
    limit, trigger = prices
    more = (
        "        if number == 2:\n"
        "            self.submit_order(factory.stop_limit(self.config.instrument_id, OrderSide.BUY,"
        f" Quantity.from_str('1.000'), Price.from_str('{limit}'), Price.from_str('{trigger}')))\n"
    )

    fills = fills_of(more, FLAT, FLAT, FLAT, bar, (100, 101, 94, 100), FLAT)

    assert [(fill[0], fill[2]) for fill in fills if fill[0] < 6] == expected


def test_a_profit_that_is_sent_in_the_bar_of_the_entry_gets_its_own_price(
    fills_of: Callable[..., Fills],
) -> None:
    # Bought at 102 on the way up; the limit at 105 goes out at the close of 108, but would have
    # been filled on the way.
    more = BY_HAND.format(profit="105.0", loss="95.0")

    fills = fills_of(
        more, FLAT, FLAT, FLAT, (100, 110, 99, 108), FLAT, params={"stops": {2: "1@102.0"}}
    )

    assert fills == [(4, "stop_market", 102, 1), (4, "limit", 105, 0)]


def test_a_stop_that_is_moved_inside_of_a_bar_is_taken_as_reached(
    fills_of: Callable[..., Fills],
) -> None:
    # Half is sold at 105, then the stop of the rest is moved from 95 to 98: the low was 96.
    more = """
        if number == 2:
            self.submit_order(factory.limit(self.config.instrument_id, OrderSide.SELL,
                Quantity.from_str("0.500"), Price.from_str("105.0")))
            self.rest = factory.stop_market(self.config.instrument_id, OrderSide.SELL,
                Quantity.from_str("1.000"), Price.from_str("95.0"), reduce_only=True)
            self.submit_order(self.rest)

    def on_order_filled(self, event):
        if event.last_px == Price.from_str("105.0"):
            self.modify_order(self.rest.client_order_id, Quantity.from_str("0.500"),
                              trigger_price=Price.from_str("98.0"))
"""
    fills = fills_of(more, FLAT, FLAT, FLAT, (100, 110, 96, 100), FLAT, params={"orders": {2: "1"}})

    assert fills[1:] == [(4, "limit", 105, Decimal("0.5")), (4, "stop_market", 98, 0)]


def test_the_strategy_sees_the_bar_after_the_loss_that_was_taken_in_it(
    fills_of: Callable[..., Fills],
) -> None:
    more = (
        BY_HAND.format(profit="105.0", loss="95.0")
        + """

class Scripted(Scripted):
    def on_bar(self, bar):
        super().on_bar(bar)
        assert self.portfolio.net_position(self.config.instrument_id) == 0, len(self.seen)
"""
    )
    fills = fills_of(
        more, FLAT, FLAT, FLAT, (100, 106, 94, 100), FLAT, params={"limits": {2: "1@98.0"}}
    )

    assert [fill[:3] for fill in fills] == [(4, "limit", 98), (4, "stop_market", 95)]
