"""Where high and low of one bar decide, the worse order of the two is taken."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tbv8.backtest.engine import Run, run_strategy
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
