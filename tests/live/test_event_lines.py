"""The lines of a session's events, of a strategy that does everything with orders."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tbv8.live.event_lines import event_lines
from tbv8.live.replay import replay
from tbv8.market import MINUTE_MS, ONE_MINUTE, iso
from tests.backtest.builders import make_strategy, rules
from tests.live.rig import START_MS, World, bodies, make_session_config

ORDERS = """
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Price, Quantity, TimeInForce

from tbv8.strategies.base import OneMarket


@dataclass(frozen=True, kw_only=True)
class OrdersConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal


class Orders(OneMarket):
    def on_start(self):
        super().on_start()
        self.count = 0

    def on_bar(self, bar):
        self.count += 1
        at = lambda text: Price.from_str(text)
        if self.count == 2:
            self.dip = self.limit(Decimal("0.1"), at("1000.0"), tag="dip")
        if self.count == 3:
            self.modify_order(self.dip, price=at("1001.0"))
        if self.count == 4:
            self.cancel_order(self.dip)
        if self.count == 5:
            self.bracket(Decimal("0.2"), stop=at("1000.0"), target=at("5000.0"))
        if self.count == 6:
            self.market(-self.position, tag="out")
        if self.count == 7:
            self.bracket(Decimal("9"), stop=at("1000.0"), target=at("5000.0"))
        if self.count == 8:
            self.order(at("1000.0"), TimeInForce.GTD, expire_time=bar.ts_event + 90 * 10**9)
            self.order(at("5000.0"), TimeInForce.GTC, post_only=True)
            self.order(at("1000.0"), TimeInForce.IOC)
        if self.count == 11:
            self.order(at("1000.0"), TimeInForce.GTC)

    def order(self, price, time_in_force, **more):
        instrument = self.config.instrument_id
        size = Quantity.from_str("0.300")
        self.submit_order(
            self.order_factory.limit(
                instrument, OrderSide.BUY, size, price, time_in_force=time_in_force, **more
            )
        )
"""


def test_each_order_has_lines_from_its_request_to_its_end(world: World, tmp_path: Path) -> None:
    # given
    (tmp_path / "orders.py").write_text(ORDERS)
    strategy = make_strategy(
        timeframe=ONE_MINUTE,
        module="orders.py",
        class_name="Orders",
        root=tmp_path,
        detail="none",
        instruments={"hyperliquid": {"BTC/USDT": rules(tick_size="0.1", taker_fee="0.0005")}},
    )
    config = make_session_config(world, strategy)
    config.stop_path.parent.mkdir(parents=True)
    world.events = [(START_MS + 12 * MINUTE_MS + 30_000, lambda: config.stop_path.write_text(""))]

    # when
    world.run(config, minutes=14)

    # then
    lines = [line for report in world.reports for line in event_lines(report)]
    times = [line.partition(" ")[0] for line in lines]
    assert times == [
        iso(START_MS + number * MINUTE_MS)
        for number in (2, 3, 4, 5, 5, 5, 6, 6, 6, 7, 8, 8, 8, 8, 8, 10, 11, 12)
    ]
    closes = [bar.close for bar in world.bars()]
    fees = [f"{closes[number] * 0.2 * 0.0005:,.2f}" for number in (4, 5)]
    stop = "sell stop market 0.2 BTC/USDT, trigger 1000 (STOP_LOSS)"
    target = "sell limit 0.2 BTC/USDT at 5000 (TAKE_PROFIT)"
    assert [line.partition(" ")[2] for line in lines] == [
        "O-1 accepted: buy limit 0.1 BTC/USDT at 1000 (dip)",
        "O-1 changed to: buy limit 0.1 BTC/USDT at 1001",
        "O-1 cancelled, by the strategy: buy limit 0.1 BTC/USDT at 1001 (dip)",
        f"O-3 accepted, works once its entry is filled: {stop}",
        f"O-4 accepted, works once its entry is filled: {target}",
        f"O-2 filled: buy market 0.2 BTC/USDT at {closes[4]:g}, fee {fees[0]} USD (ENTRY)",
        f"O-5 filled: sell market 0.2 BTC/USDT at {closes[5]:g}, fee {fees[1]} USD (out)",
        f"O-3 cancelled, the position that it would reduce is gone: {stop}",
        f"O-4 cancelled, the position that it would reduce is gone: {target}",
        "denied by max_position (the position could reach 9, the limit is 2; it is 0, open orders "
        "on that side are 0, this order is 9): bracket of 3 orders, buy market 9 BTC/USDT (ENTRY)",
        "O-6 accepted: buy limit 0.3 BTC/USDT at 1000",
        "O-7 accepted: buy limit 0.3 BTC/USDT at 5000",
        "O-8 accepted: buy limit 0.3 BTC/USDT at 1000",
        "O-7 rejected, it is post-only and the price has reached its limit: buy limit 0.3 BTC/USDT "
        "at 5000",
        "O-8 cancelled, it could not fill at once: buy limit 0.3 BTC/USDT at 1000",
        "O-6 expired, its time is over: buy limit 0.3 BTC/USDT at 1000",
        "O-9 accepted: buy limit 0.3 BTC/USDT at 1000",
        "O-9 cancelled, by `doit stop`: buy limit 0.3 BTC/USDT at 1000",
    ]
    (denied,) = bodies(world.journaled(config), "denial")  # a decision, though three orders
    assert msgspec.json.decode(denied)["order"] == "bracket of 3 orders, buy market 9.000"
    replay(config, world.journaled(config))


STOPS = """
class Stops(OneMarket):
    def on_bar(self, bar):
        if not self.position:
            self.market(0.1, tag="in")

    def on_position_opened(self, event):
        self.stop_loss(-self.position, 1000.0, tag="out")
"""


def test_an_order_that_is_sent_on_a_fill_has_its_line_after_the_fill(
    world: World, tmp_path: Path
) -> None:
    text = ORDERS[: ORDERS.index("class Orders(")] + STOPS
    (tmp_path / "stops.py").write_text(text.replace("OrdersConfig", "StopsConfig"))
    strategy = make_strategy(
        timeframe=ONE_MINUTE, module="stops.py", class_name="Stops", root=tmp_path, detail="none"
    )

    world.run(make_session_config(world, strategy), minutes=3)

    lines = [line for report in world.reports for line in event_lines(report)]
    assert [line.split()[1:3] for line in lines] == [["O-1", "filled:"], ["O-2", "accepted:"]]
    assert lines[0].split()[0] == lines[1].split()[0]
