"""What a strategy may not do, what holding costs, and when it is closed out: to the cent."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tbv8.trading.engine import Run, run_strategy

from tbv8.backtest.run import run_backtest
from tbv8.market import DAY_MS, HOUR_MS, parse_timeframe
from tbv8.results.accounting import from_money
from tbv8.results.summary import lines
from tbv8.trading.loading import StrategyError
from tests.backtest.builders import (
    SCRIPTED,
    START_MS,
    install,
    limits,
    make_bars,
    make_strategy,
    rules,
)

D = Decimal
TEN = [100.0] * 10
RunMore = Callable[..., Run]


@pytest.fixture
def run_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunMore:
    """Return a function that runs Scripted with more lines, on ten flat bars if on no others."""

    def run(more: str, bars: pa.Table | None = None, **changes: Any) -> Run:
        install(monkeypatch, tmp_path / "more", "other", SCRIPTED + more)
        strategy = make_strategy(module="other", **changes)
        return run_strategy(strategy, "hyperliquid", make_bars(TEN) if bars is None else bars)

    return run


def _run(bars: pa.Table, orders: dict[int, str], **changes: Any) -> Run:
    strategy = make_strategy(params={"orders": orders}, **changes)
    return run_strategy(strategy, "hyperliquid", bars)


def _changes(run: Run) -> list[tuple[int, str, Decimal]]:
    """Return hour, type and signed quantity of each fill."""
    return [((f.ts_ms - START_MS) // HOUR_MS, f.type, f.change) for f in run.fills]


def _denied(run: Run) -> list[tuple[int, str]]:
    return [((d.ts_ms - START_MS) // HOUR_MS, d.rule) for d in run.denials]


def _bars(*rows: tuple[float, float, float, float]) -> pa.Table:
    """Hourly bars from open, high, low, close."""
    columns = make_bars([row[3] for row in rows]).to_pydict()
    for at, name in enumerate(("open", "high", "low", "close")):
        columns[name] = [float(row[at]) for row in rows]
    return pa.table(columns)


# Limits.


def test_an_order_beyond_the_position_limit_is_denied_not_trimmed() -> None:
    run = _run(make_bars(TEN), {1: "1.5", 2: "0.6", 3: "0.5", 4: "-4.1", 5: "-4"})

    assert _changes(run) == [
        (1, "market", D("1.5")),
        (3, "market", D("0.5")),
        (5, "market", D(-4)),
    ]
    assert _denied(run) == [(2, "max_position"), (4, "max_position")]
    assert run.orders == {"denied": 2, "filled": 3}


def test_open_orders_count_at_their_worst(run_more: RunMore) -> None:
    # A resting buy of 1.5 and one of 0.6 in the same instant make 2.1; the sell is the other side.
    run = run_more(
        "        if number == 2:\n"
        "            for side, size in ((OrderSide.BUY, '1.500'), (OrderSide.BUY, '0.600'),"
        " (OrderSide.SELL, '2.000')):\n"
        "                self.submit_order(factory.limit(self.config.instrument_id, side,"
        " Quantity.from_str(size), Price.from_str('90.0' if side == OrderSide.BUY else '110.0')))\n"
    )

    assert _denied(run) == [(2, "max_position")]
    assert run.orders == {"accepted": 2, "denied": 1}


def test_a_canceled_order_counts_no_more(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 2:\n"
        "            self.rest = factory.limit(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('2.000'), Price.from_str('90.0'))\n"
        "            self.submit_order(self.rest)\n"
        "        if number == 3:\n"
        "            self.cancel_order(self.rest.client_order_id)\n",
        params={"orders": {3: "2", 4: "2"}},
    )

    # On bar 3 the order is sent before the cancel is heard of, on bar 4 it goes through.
    assert _denied(run) == [(3, "max_position")]
    assert _changes(run) == [(4, "market", D(2))]


def test_leverage_counts_what_the_equity_has_become() -> None:
    # 1 bought at 100 with 1000 USD and a limit of 0.2: 100 of 200. At 50 the equity is 949.95,
    # so 189.99 may be held: 3.7 x 50 = 185 may, 3.8 x 50 = 190 may not.
    bars = make_bars([100, 100, 50, 50, 50])
    run = _run(
        bars,
        {2: "1", 3: "2.8", 4: "2.7"},
        starting_balance_usd=D(1000),
        risk=limits(max_position="10", max_leverage="0.2"),
    )

    assert _denied(run) == [(3, "max_leverage")]
    assert _changes(run) == [(2, "market", D(1)), (4, "market", D("2.7"))]
    assert run.denials[0].numbers["equity_usd"] == D("949.95")
    assert run.denials[0].numbers["limit"] == D("0.2")


def test_the_instruments_leverage_holds_where_it_is_lower() -> None:
    run = _run(
        make_bars(TEN),
        {1: "1.001", 2: "0.999"},
        starting_balance_usd=D(100),
        instrument=rules(max_leverage="1"),
    )

    assert _denied(run) == [(1, "max_leverage")]


def test_a_denied_order_is_told_like_any_other(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 3:\n"
        "            assert self.told == ['max_position: position 0, open_orders 0, order 3, "
        "worst 3, limit 2'], self.told\n"
        "            assert self.order.status.name == 'DENIED'\n"
        "        if number == 2:\n"
        "            self.order = factory.market(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('3.000'))\n"
        "            self.submit_order(self.order)\n"
        "            self.told = []\n"
        "\n    def on_order_denied(self, event):\n"
        "        self.told.append(event.reason)\n"
    )

    assert _denied(run) == [(2, "max_position")]


def test_a_list_of_orders_goes_whole_or_not_at_all(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 2:\n"
        "            self.submit_order_list([factory.market(self.config.instrument_id,"
        " OrderSide.BUY, Quantity.from_str(size)) for size in ('1.500', '1.000')])\n"
    )

    assert run.fills == ()
    assert run.orders == {"denied": 2}


MODIFIED = (
    "        if number == 2:\n"
    "            self.rest = factory.limit(self.config.instrument_id, OrderSide.BUY,"
    " Quantity.from_str('1.000'), Price.from_str('90.0'))\n"
    "            self.submit_order(self.rest)\n"
    "        if number == 4:\n"
    "            {call}\n"
)


@pytest.mark.parametrize(
    ("call", "denied"),
    [
        pytest.param("{modify}('2.000'))", [], id="up to the limit"),
        pytest.param("{modify}('2.001'))", [(4, "max_position")], id="beyond it"),
        pytest.param("{several}('2.001'), None, None)])", [(4, "max_position")], id="several"),
        pytest.param(
            "{modify}('1.000'), price=Price.from_str('90.2'))",
            [(4, "tick_size")],
            id="off the tick",
        ),
    ],
)
def test_changing_an_order_is_asked_for_too(
    run_more: RunMore, call: str, denied: list[tuple[int, str]]
) -> None:
    call = call.format(
        modify="self.modify_order(self.rest.client_order_id, quantity=Quantity.from_str",
        several="self.modify_orders([(self.rest.client_order_id, Quantity.from_str",
    )
    bars = _bars(*[(100, 100, 100, 100)] * 5, (100, 100, 80, 80))

    run = run_more(MODIFIED.format(call=call), bars)

    assert _denied(run) == denied
    assert [fill.quantity for fill in run.fills] == [D(1) if denied else D(2)]


# Past the guard.

PAST = {
    "base class by name": (
        "        if number == 2:\n"
        "            Strategy.submit_order(self, factory.market(self.config.instrument_id,"
        " OrderSide.BUY, Quantity.from_str('3.000')))\n"
    ),
    "within the limits too": (
        "        if number == 2:\n"
        "            Strategy.submit_order(self, factory.market(self.config.instrument_id,"
        " OrderSide.BUY, Quantity.from_str('1.000')))\n"
    ),
    "a list by the base class": (
        "        if number == 2:\n"
        "            Strategy.submit_order_list(self, [factory.market(self.config.instrument_id,"
        " OrderSide.BUY, Quantity.from_str('3.000'))])\n"
    ),
    "changed by the base class": (
        "        if number == 2:\n"
        "            self.rest = factory.limit(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('1.000'), Price.from_str('99.0'))\n"
        "            self.submit_order(self.rest)\n"
        "        if number == 3:\n"
        "            Strategy.modify_order(self, self.rest.client_order_id,"
        " quantity=Quantity.from_str('3.000'))\n"
    ),
    "closing that opens": (
        "        if number == 2:\n"
        "            self.submit_order(factory.market(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('1.000')))\n"
        "        if number == 3:\n"
        "            for _ in range(4):\n"
        "                self.close_all_positions(self.config.instrument_id, reduce_only=False)\n"
    ),
}


@pytest.mark.parametrize("more", PAST.values(), ids=PAST.keys())
def test_an_order_past_the_guard_gives_no_result(run_more: RunMore, more: str) -> None:
    bars = _bars(*[(100, 100, 100, 100)] * 4, (100, 100, 90, 90))

    with pytest.raises(StrategyError, match=r"past the risk limits|beyond the limit of 2"):
        run_more(more, bars)


INSIDE = {
    "super": "super().submit_order(order)",
    "a second call": "self.submit_order(order, None, None, None)",
    "own submit_order": "self.send(order)",
    "timer": (
        "self.clock.set_time_alert_ns('later', self.clock.timestamp_ns() + 10**9,"
        " lambda event: self.submit_order(order))"
    ),
}


@pytest.mark.parametrize("call", INSIDE.values(), ids=INSIDE.keys())
def test_however_an_order_is_sent_it_is_asked_for(run_more: RunMore, call: str) -> None:
    run = run_more(
        "        if number == 2:\n"
        "            order = factory.market(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('3.000'))\n"
        f"            {call}\n"
        "\n    def send(self, order):\n"
        "        Scripted.submit_order(self, order)\n"
        "\n    def submit_order(self, order, *more):\n"
        "        super().submit_order(order, *more)\n"
    )

    assert run.fills == ()
    assert run.orders == {"denied": 1}


def test_an_order_from_inside_of_a_bar_goes_out_at_its_close(run_more: RunMore) -> None:
    # The stop is filled at 105 on the way to 110; what it makes the strategy send fills at 108.
    bars = _bars(*[(100, 100, 100, 100)] * 3, (100, 110, 99, 108), (108, 108, 108, 108))
    run = run_more(
        "\n    def on_order_filled(self, event):\n"
        "        if event.last_px == Price.from_str('105.0'):\n"
        "            self.submit_order(self.order_factory.market(self.config.instrument_id,"
        " OrderSide.SELL, Quantity.from_str('1.000')))\n",
        bars,
        params={"stops": {2: "1@105.0"}},
    )

    assert [(f.type, f.price) for f in run.fills] == [("stop_market", 105), ("market", 108)]


def test_all_positions_may_be_closed_and_everything_left(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 3:\n"
        "            self.close_all_positions(self.config.instrument_id)\n"
        "        if number == 6:\n"
        "            self.market_exit()\n",
        params={"orders": {1: "2", 5: "-2"}},
    )

    assert [change for _, _, change in _changes(run)] == [2, -2, -2, 2]


def test_bars_are_looked_at_though_the_strategy_does_not(run_more: RunMore) -> None:
    bars = make_bars([100, 100, 100, 40, 100])
    run = run_more(
        "        if number == 2:\n            self.unsubscribe_bars(self.config.bar_type)\n",
        bars,
        params={"orders": {2: "2"}},
        risk=limits(max_daily_loss_usd="100"),
    )

    assert _changes(run) == [(2, "market", D(2)), (4, "market", D(-2))]
    assert len(run.halts) == 1


# Daily loss.

# 23 bars to 23:00 of the first day, then the second day.
DAY = [100.0] * 24


def test_the_daily_loss_closes_everything_until_midnight(tmp_path: Path) -> None:
    # Two bought at 100 at 02:00, fee 2 x 100 x 0.0005 = 0.10. A limit of 20 USD a day:
    # 05:00 at 90.5: 9799.90 + 181.00 = 9980.90, 19.10 below 10000: nothing.
    # 06:00 at 90.05: 9799.90 + 180.10 = 9980.00, 20.00 below: halt. Sold down to the tick at 90.0:
    # + 180.00, fee 0.09: 9979.81. The buy at 07:00 is denied; that at 24:00 goes through again,
    # since a new day has begun.
    closes = [*DAY, 100.0]
    closes[4], closes[5:23] = 90.5, [90.05] * 18
    orders = {2: "2", 7: "1", 24: "1"}
    strategy = make_strategy(params={"orders": orders}, risk=limits(max_daily_loss_usd="20"))

    made = run_backtest(strategy, make_bars(closes), inputs={}, results_path=tmp_path)

    assert lines(made)[-2:] == [
        "  hyperliquid: 1 order denied by max_daily_loss_usd",
        "  hyperliquid: closed and halted until 00:00 UTC once by max_daily_loss_usd",
    ]
    summary = json.loads((tmp_path / "test_v1" / "summary.json").read_text())["primary"]
    assert summary["halts"] == [
        {
            "time": "2024-01-01T06:00:00Z",
            "rule": "max_daily_loss_usd",
            "until": "2024-01-02T00:00:00Z",
            "numbers": {
                "equity_usd": 9980.0,
                "day_start_usd": 10000.0,
                "loss_usd": 20.0,
                "limit_usd": 20.0,
            },
        }
    ]
    assert summary["denied"] == {"max_daily_loss_usd": 1}
    assert summary["denials"] == [
        {
            "time": "2024-01-01T07:00:00Z",
            "rule": "max_daily_loss_usd",
            "order": "buy market 1.000",
            "until": "2024-01-02T00:00:00Z",
            "numbers": {
                "position": 0.0,
                "open_orders": 0.0,
                "order": 1.0,
                "worst": 1.0,
                "limit_usd": 20.0,
            },
        }
    ]
    run = run_strategy(strategy, "hyperliquid", make_bars(closes))
    assert _changes(run) == [
        (2, "market", D(2)),
        (6, "market", D(-2)),
        (24, "market", D(1)),
    ]
    assert run.fills[1].price == 90
    assert from_money(run.curve.equity[5]) == D("9979.81")


def test_the_day_begins_at_what_equity_is_at_midnight() -> None:
    # Bought 2 at 100; 24:00 at 140 is 80 more. The next day falls to 125: 30 below its start.
    closes = [*DAY[:23], 140.0, 140.0, 125.0, 125.0]
    run = _run(make_bars(closes), {2: "2"}, risk=limits(max_daily_loss_usd="30"))

    assert [((h.ts_ms - START_MS) // HOUR_MS, h.numbers["day_start_usd"]) for h in run.halts] == [
        (26, D("10079.9"))
    ]


def test_the_look_at_midnight_belongs_to_the_day_that_ends() -> None:
    # At 24:00 the loss is there: closed, and halted for the day that begins.
    closes = [*DAY[:23], 80.0, 80.0]
    run = _run(make_bars(closes), {2: "2", 25: "1"}, risk=limits(max_daily_loss_usd="30"))

    assert _changes(run) == [(2, "market", D(2)), (24, "market", D(-2))]
    assert _denied(run) == [(25, "max_daily_loss_usd")]


def test_a_halt_cancels_open_orders() -> None:
    bars = _bars(*[(100, 100, 100, 100)] * 3, (100, 100, 80, 80), (80, 130, 80, 90))
    strategy = make_strategy(
        params={"orders": {2: "1"}, "limits": {3: "-1@120.0"}},
        risk=limits(max_daily_loss_usd="10"),
    )

    run = run_strategy(strategy, "hyperliquid", bars)

    assert _changes(run) == [(2, "market", D(1)), (4, "market", D(-1))]
    assert run.orders == {"canceled": 1, "filled": 2}


def test_what_is_sent_at_the_halt_itself_cannot_turn_the_position() -> None:
    # At 04:00 the guard sells 1; the strategy had planned to sell it too.
    run = _run(
        make_bars([100, 100, 100, 80, 80]), {2: "1", 4: "-1"}, risk=limits(max_daily_loss_usd="10")
    )

    assert _changes(run) == [(2, "market", D(1)), (4, "market", D(-1))]
    assert _denied(run) == [(4, "max_daily_loss_usd")]


def test_the_strategy_sees_the_bar_of_a_halt_after_the_close_of_its_position(
    run_more: RunMore,
) -> None:
    run = run_more(
        "        held = self.portfolio.net_position(self.config.instrument_id)\n"
        "        assert held == (2 if number in (3, 4) else 0), (number, held)\n"
        "        if number == 5:\n"
        "            self.clock.set_time_alert_ns('still', self.clock.timestamp_ns() + 1, print)\n"
        "            self.clock.cancel_timers()\n"
        "            self.submit_order(factory.market(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('1.000')))\n",
        make_bars([100, 100, 100, 100, 80, 80, 80]),
        params={"orders": {2: "2"}},
        risk=limits(max_daily_loss_usd="10"),
    )

    assert _changes(run) == [(2, "market", D(2)), (5, "market", D(-2))]
    assert _denied(run) == [(5, "max_daily_loss_usd")]


# Funding.


def test_funding_on_ten_bars_to_the_cent() -> None:
    # 1 bought at 100 at the close of the first bar, turned to -1 at that of the ninth. 0.08 % for
    # eight hours, charged each hour (hyperliquid): 0.0001 of the notional, at 02:00 .. 09:00 long,
    # since what is sold at 09:00 is held until then, and at 10:00 short.
    closes = [100, 102, 104, 103, 105, 107, 106, 104, 105, 106]
    run = _run(
        make_bars([float(close) for close in closes]),
        {1: "1", 9: "-2"},
        instrument=rules(funding_rate_8h="0.0008", taker_fee="0"),
    )

    # 102 + 104 + 103 + 105 + 107 + 106 + 104 + 105 = 836, x 0.0001 = 0.0836; then -0.0106.
    assert [p.amount for p in run.payments] == [
        D("0.0102"),
        D("0.0104"),
        D("0.0103"),
        D("0.0105"),
        D("0.0107"),
        D("0.0106"),
        D("0.0104"),
        D("0.0105"),
        D("-0.0106"),
    ]
    # Bought at 100, two sold at 105, -1 at 106: 5 - 1 = 4, less 0.0730.
    assert from_money(run.curve.equity[-1]) == D("10003.927")
    assert from_money(run.curve.cash[1]) == D("9899.9898")


def test_a_venue_that_charges_every_eight_hours() -> None:
    run = _run(
        make_bars([100.0] * 17),
        {1: "1"},
        instrument=rules(funding_rate_8h="0.0008", taker_fee="0", funding_hours=8),
    )

    assert [((p.ts_ms - START_MS) // HOUR_MS, p.amount) for p in run.payments] == [
        (8, D("0.08")),
        (16, D("0.08")),
    ]


@pytest.mark.parametrize(("venue", "hours"), [("hyperliquid", 1), ("mexc", 8)])
def test_the_hours_are_the_venues_own(venue: str, hours: int) -> None:
    strategy = make_strategy(
        params={"orders": {1: "1"}},
        instruments={venue: {"BTC/USDT": rules(funding_rate_8h="0.0008")}},
    )

    run = run_strategy(strategy, venue, make_bars([100.0] * 17))

    assert len(run.payments) == 16 // hours


def test_funding_inside_of_a_bar_is_at_the_price_before_it() -> None:
    # Four-hour bars: at 05:00, 06:00 and 07:00 the last price is that of 04:00, 100; at 08:00, 110.
    run = run_strategy(
        make_strategy(
            params={"orders": {1: "1"}},
            timeframe=parse_timeframe("4h"),
            instrument=rules(funding_rate_8h="0.0008", taker_fee="0"),
        ),
        "hyperliquid",
        make_bars([100, 110], timeframe="4h"),
    )

    assert [p.amount for p in run.payments] == [D("0.01")] * 3 + [D("0.011")]


# Liquidation.

LEVERED: dict[str, Any] = {
    "starting_balance_usd": D(100),
    "risk": limits(max_position="10", max_leverage="40", max_daily_loss_usd="1000000"),
    "instrument": rules(taker_fee="0", max_leverage="40"),
}


def test_a_liquidation_on_ten_bars_to_the_cent() -> None:
    # 10 bought at 100 with 100 USD: cash -900. Maintenance is half of 1/40: liquidated where
    # -900 + 10 p = 10 p / 80, p = 91.139..., down to the tick: 91.0. Left: 910 - 900 = 10 USD.
    # The order of the sixth bar comes after it on that day: denied; so is all until midnight.
    bars = _bars(
        *[(100, 100, 100, 100)] * 3,
        (100, 100, 91.5, 95),
        (95, 96, 91, 96),
        *[(96, 96, 96, 96)] * 5,
    )

    run = _run(bars, {2: "10", 6: "0.1"}, **LEVERED)

    assert _changes(run) == [(2, "market", D(10)), (5, "liquidation", D(-10))]
    assert run.fills[1].price == 91
    assert from_money(run.curve.equity[-1]) == 10
    assert [halt.rule for halt in run.halts] == ["liquidation"]
    assert round(run.halts[0].numbers["liquidation_price"], 6) == D("91.139241")
    assert _denied(run) == [(6, "liquidation")]
    assert run.denials[0].until_ms == run.halts[0].until_ms == START_MS + DAY_MS
    assert set(run.denials[0].numbers) == {"position", "open_orders", "order", "worst"}


def test_a_short_is_liquidated_at_the_high() -> None:
    # 10 sold at 100 with 100 USD: 1100 - 10 p = 10 p / 80 at p = 108.641..., up to 109.0.
    bars = _bars(*[(100, 100, 100, 100)] * 3, (100, 109, 100, 101), (101, 101, 101, 101))

    run = _run(bars, {2: "-10"}, **LEVERED)

    assert _changes(run) == [(2, "market", D(-10)), (4, "liquidation", D(10))]
    assert run.fills[1].price == 109
    assert from_money(run.curve.equity[-1]) == 10


def test_a_gap_is_liquidated_at_the_open_and_nothing_trades_below_zero() -> None:
    # Opens at 85: 850 - 900 = -50 USD. On the next day nothing may be bought with that.
    closes = [(100.0,) * 4] * 3 + [(85.0, 86.0, 85.0, 86.0)] + [(86.0,) * 4] * 25
    run = _run(_bars(*closes), {2: "10", 27: "0.001"}, **LEVERED)

    assert run.fills[1].price == 85
    assert from_money(run.curve.equity[-1]) == -50
    assert _denied(run) == [(27, "max_leverage")]
    assert len(run.fills) == 2


def test_a_stop_before_the_liquidation_saves_the_rest() -> None:
    bars = _bars(*[(100, 100, 100, 100)] * 3, (100, 100, 90, 95), (95, 95, 95, 95))
    strategy = make_strategy(params={"orders": {2: "10"}, "stops": {3: "-10@95.0"}}, **LEVERED)

    run = run_strategy(strategy, "hyperliquid", bars)

    assert _changes(run) == [(2, "market", D(10)), (4, "stop_market", D(-10))]
    assert run.halts == ()


# Runs that are none.


def test_an_error_of_a_timer_at_the_very_end_is_an_error(run_more: RunMore) -> None:
    with pytest.raises(StrategyError, match="division by zero"):
        run_more(
            "        if number == 9:\n"
            "            self.clock.set_time_alert_ns('last', self.clock.timestamp_ns()"
            " + 3600 * 10**9, lambda event: 1 / 0)\n"
        )


def test_a_strategy_that_stops_itself_gives_no_result(run_more: RunMore) -> None:
    with pytest.raises(StrategyError, match="the run ended after 4 of 10 bars"):
        run_more("        if number == 4:\n            self.stop()\n")


def test_a_decimal_context_of_the_strategys_own_changes_nothing(run_more: RunMore) -> None:
    def run(more: str) -> Run:
        return run_more(
            more,
            make_bars([100, 101.3, 99.7, 102.9, 101.1]),
            params={"orders": {2: "1.2", 4: "-1.2"}},
            instrument=rules(funding_rate_8h="0.0001"),
        )

    rough = run("        import decimal\n        decimal.getcontext().prec = 3\n")

    assert rough.fills == run("").fills
    assert rough.payments == run("").payments


def test_what_a_strategy_leaves_in_its_module_ends_with_the_run(run_more: RunMore) -> None:
    more = (
        "        if SEEN:\n            raise ValueError('seen before')\n"
        "        if number == 10:\n            SEEN.append(1)\n"
        "\nSEEN = []\n"
    )
    assert run_more(more).fills == ()
    assert run_more(more).fills == ()
