"""What a strategy meets when it asks for something, in its own callbacks."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from nautilus_trader.model import ClientOrderId

from tbv8.market import MINUTE_MS, Span, parse_timeframe
from tbv8.trading.bars import Bars
from tbv8.trading.loading import StrategyError
from tbv8.trading.records import Run
from tbv8.trading.terms import id_of, lacks_parent
from tests.backtest.builders import (
    SCRIPTED,
    START_MS,
    bar_number,
    bars_of,
    install,
    limits,
    make_bars,
    make_strategy,
    rules,
    run_strategy,
)

D = Decimal
RunMore = Callable[..., Run]


@pytest.fixture
def run_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunMore:
    """Return a function that runs Scripted with more lines, on ten flat bars if on no others."""

    def run(more: str, bars: pa.Table | Bars | None = None, **changes: Any) -> Run:
        install(monkeypatch, tmp_path / "more", "other", SCRIPTED + more)
        strategy = make_strategy(module="other", **changes)
        bars = make_bars([100.0] * 10) if bars is None else bars
        return run_strategy(strategy, "hyperliquid", bars)

    return run


def changes(run: Run) -> list[tuple[int, str, Decimal]]:
    """Return bar, type and signed quantity of each fill."""
    return [(bar_number(fill.ts_ms), fill.type, fill.change) for fill in run.fills]


def test_a_denied_order_is_reported_like_any_other(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 3:\n"
        "            assert self.told == ['max_position: the position could reach 3, the limit is "
        "2; it is 0, open orders on that side are 0, this order is 3'], self.told\n"
        "            assert self.order.status.name == 'DENIED'\n"
        "        if number == 2:\n"
        "            self.told = []\n"
        "            self.order = factory.market(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('3.000'))\n"
        "            self.submit_order(self.order)\n"
        "\n    def on_order_denied(self, event):\n"
        "        self.told.append(event.reason)\n"
    )

    (denial,) = run.denials
    assert (bar_number(denial.ts_ms), denial.symbol, denial.rule, denial.order) == (
        2,
        "BTC/USDT",
        "max_position",
        "buy market 3.000",
    )
    assert denial.until_ms is None
    assert run.orders == {"denied": 1}


def test_all_positions_may_be_closed_and_everything_left(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 3:\n"
        "            self.close_all_positions(self.config.instrument_id)\n"
        "        if number == 6:\n"
        "            self.market_exit()\n",
        params={"orders": {1: "2", 5: "-2"}, "limits": {5: "-0.5@110.0"}},
        risk=limits(max_position="3"),
    )

    assert [change for _, _, change in changes(run)] == [2, -2, -2, 2]
    assert run.orders == {"canceled": 1, "filled": 4}


@pytest.mark.parametrize("wanted", ["False", "True"])
def test_closing_a_position_reduces_whatever_is_asked(run_more: RunMore, wanted: str) -> None:
    run = run_more(
        "        if number == 3:\n"
        "            for _ in range(3):\n"
        f"                self.close_all_positions(self.instrument.id, reduce_only={wanted})\n",
        params={"orders": {1: "2"}},
    )

    assert [fill.position for fill in run.fills] == [2, 0]
    assert [denial.rule for denial in run.denials] == ["reduce_only"] * 2


def test_a_market_order_behind_a_makers_fill_takes(run_more: RunMore) -> None:
    run = run_more(
        "", make_bars([100, 100, 94, 94]), params={"orders": {4: "-1"}, "limits": {2: "1@95.0"}}
    )

    assert [fill.liquidity for fill in run.fills] == ["maker", "taker"]
    assert [fill.fee for fill in run.fills] == [0, D("0.047")]


def test_a_strategy_that_looks_at_no_bars_is_halted_all_the_same(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 2:\n            self.unsubscribe_bars(self.config.bar_type)\n",
        make_bars([100, 100, 100, 40, 100]),
        params={"orders": {2: "2"}},
        risk=limits(max_daily_loss_usd="100"),
    )

    assert changes(run) == [(2, "market", 2), (4, "market", -2)]
    assert len(run.halts) == 1


def test_the_strategy_sees_the_bar_of_a_halt_with_its_position_closed(run_more: RunMore) -> None:
    run = run_more(
        "        held = self.portfolio.net_position(self.config.instrument_id)\n"
        "        assert held == (2 if number in (3, 4) else 0), (number, held)\n"
        "        if number == 5:\n"
        "            self.submit_order(factory.market(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('1.000')))\n",
        make_bars([100, 100, 100, 100, 80, 80, 80]),
        params={"orders": {2: "2"}},
        risk=limits(max_daily_loss_usd="10"),
    )

    assert changes(run) == [(2, "market", 2), (5, "market", -2)]
    assert [(bar_number(d.ts_ms), d.rule) for d in run.denials] == [(5, "max_daily_loss_usd")]
    assert run.denials[0].until_ms == run.halts[0].until_ms


NOT_SERVED = {
    "quotes": "self.subscribe_quotes(self.config.instrument_id)",
    "trades": "self.subscribe_trades(self.config.instrument_id)",
    "order books": "self.subscribe_book_deltas(self.config.instrument_id, None)",
    "bars of the past": "self.request_bars(self.config.bar_type)",
    "another symbol": "self.subscribe_bars(BarType.from_str("
    "'ETH/USDT.hyperliquid-1-HOUR-LAST-EXTERNAL'))",
    "another timeframe": "self.subscribe_bars(BarType.from_str("
    "'BTC/USDT.hyperliquid-1-MINUTE-LAST-EXTERNAL'))",
    "bars built from trades": "self.subscribe_bars(BarType.from_str("
    "'BTC/USDT.hyperliquid-4-HOUR-LAST-INTERNAL'))",
}


UNDECLARED = {
    "an order": "self.submit_order(factory.market(other, OrderSide.BUY, Quantity.from_str('1')))",
    "a list": "self.submit_order_list([factory.market(self.config.instrument_id, OrderSide.BUY,"
    " Quantity.from_str('1.000')), factory.market(other, OrderSide.BUY, Quantity.from_str('1'))])",
    "cancelling": "self.cancel_all_orders(other)",
    "closing": "self.close_all_positions(other)",
}


@pytest.mark.parametrize("line", UNDECLARED.values(), ids=UNDECLARED.keys())
def test_an_instrument_that_is_not_declared_ends_the_run_in_one_line(
    run_more: RunMore, line: str
) -> None:
    with pytest.raises(StrategyError) as e:
        run_more(
            "        if number == 2:\n"
            "            other = self.instrument.id.from_str('ETH/USDT.hyperliquid')\n"
            f"            {line}\n"
        )

    place, said = str(e.value).split(": ", 1)
    assert place.startswith("tbv8/strategies/other.py:")
    assert said == (
        "ValueError: no instrument ETH/USDT.hyperliquid in this run, only "
        "BTC/USDT.hyperliquid; declare more with `symbols` in the strategy's YAML (strategy "
        "test_v1, in on_bar at the close of 2024-01-01T02:00:00Z)"
    )


def test_an_empty_order_list_does_nothing(run_more: RunMore) -> None:
    run = run_more("        self.submit_order_list([])\n", params={"orders": {2: "1"}})

    assert run.orders == {"filled": 1}


@pytest.mark.parametrize("line", NOT_SERVED.values(), ids=NOT_SERVED.keys())
def test_a_request_that_cannot_be_served_ends_the_run_in_one_line(
    run_more: RunMore, line: str
) -> None:
    with pytest.raises(StrategyError) as e:
        run_more(f"\n    def on_start(self):\n        {line}\n\n")

    said = str(e.value)
    assert "\n" not in said
    assert "(strategy test_v1, in on_start)" in said
    if "subscribe_bars" in line:
        assert "no bars " in said
        assert "declare more with `symbols` and `bars` in the strategy's YAML" in said
    else:
        assert "a run has only bars, and none before its first" in said


def test_indicators_are_fed_with_the_bars(run_more: RunMore) -> None:
    run = run_more(
        "        if number == 5 and self.average.initialized and self.average.value == 103.0:\n"
        "            self.submit_order(factory.market(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('1.000')))\n"
        "\n    def on_start(self):\n"
        "        from nautilus_trader.indicators import SimpleMovingAverage\n"
        "        self.instrument = self.cache.instrument(self.config.instrument_id)\n"
        "        self.average = SimpleMovingAverage(3)\n"
        "        self.register_indicator_for_bars(self.config.bar_type, self.average)\n"
        "        self.subscribe_bars(self.config.bar_type)\n",
        make_bars([100, 101, 102, 103, 104, 105]),
    )

    assert changes(run) == [(5, "market", 1)]


def test_what_a_strategy_leaves_in_its_module_ends_with_the_run(run_more: RunMore) -> None:
    more = (
        "        if SEEN:\n            raise ValueError('seen before')\n"
        "        if number == 10:\n            SEEN.append(1)\n"
        "\nSEEN = []\n"
    )

    assert run_more(more) == run_more(more)


def test_a_strategy_that_stops_itself_gives_no_result(run_more: RunMore) -> None:
    with pytest.raises(StrategyError, match="the run ended at 2024-01-01T04:00:00Z"):
        run_more("        if number == 4:\n            self.stop()\n")


def test_nor_does_one_that_stops_itself_before_the_first_bar(run_more: RunMore) -> None:
    with pytest.raises(
        StrategyError, match=r"\(Failed to start trader: .*the strategy stopped itself"
    ):
        run_more("\n    def on_start(self):\n        self.stop()\n")


def test_an_error_in_on_start_is_one_line_and_the_last_callback(
    run_more: RunMore, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StrategyError) as e:
        run_more(
            "\n    def on_start(self):\n"
            "        self.subscribe_bars(self.config.bar_type)\n"
            "        raise ValueError('no')\n"
            "\n    def on_stop(self):\n"
            "        print('on_stop')\n"
        )

    place, said = str(e.value).split(": ", 1)
    assert place.startswith("tbv8/strategies/other.py:")
    assert said == "ValueError: no (strategy test_v1, in on_start)"
    assert capfd.readouterr() == ("", "")


def test_funding_to_the_cent(run_more: RunMore) -> None:
    # 1 bought at 100 at the first close, turned to -1 at that of the ninth; 0.0001 each hour: what
    # is sold at 09:00 is held until then. 102 + ... + 105 = 836, x 0.0001 = 0.0836; then -0.0106.
    run = run_more(
        "",
        make_bars([100, 102, 104, 103, 105, 107, 106, 104, 105, 106]),
        params={"orders": {1: "1", 9: "-2"}},
        instrument=rules(funding_rate_8h="0.0008", taker_fee="0", funding_hours=1),
    )

    assert [bar_number(payment.ts_ms) for payment in run.payments] == list(range(2, 11))
    amounts = [payment.amount for payment in run.payments]
    assert sum(amounts[:-1]) == D("0.0836")
    assert amounts[-1] == D("-0.0106")


def test_funding_inside_of_a_bar_is_at_the_price_before_it() -> None:
    # Four-hour bars: at 05:00, 06:00 and 07:00 the last price is that of 04:00, 100; at 08:00, 110.
    strategy = make_strategy(
        params={"orders": {1: "1"}},
        timeframe=parse_timeframe("4h"),
        instrument=rules(funding_rate_8h="0.0008", taker_fee="0", funding_hours=1),
    )

    run = run_strategy(strategy, "hyperliquid", make_bars([100, 110], timeframe="4h"))

    assert [payment.amount for payment in run.payments] == [D("0.01")] * 3 + [D("0.011")]


def test_a_decimal_context_of_the_strategys_own_changes_nothing(run_more: RunMore) -> None:
    def run(more: str) -> Run:
        return run_more(
            more + "        if number == 4:\n"  # it turns round: a part goes
            "            self.submit_order(factory.market(self.config.instrument_id,"
            " OrderSide.SELL, Quantity.from_str('3.257')))\n",
            make_bars([100, 101.3, 99.7, 102.9, 101.1]),
            params={"orders": {2: "1.2"}},
            instrument=rules(funding_rate_8h="0.0001", funding_hours=1),
        )

    timer = """\
        import decimal
        if number == 1:
            now_ns = self.clock.timestamp_ns()
            rough = lambda _event: setattr(decimal.getcontext(), "prec", 3)
            self.clock.set_time_alert_ns("rough", now_ns + 1, rough)
        assert decimal.getcontext().prec == (3 if number > 1 else 28)
"""
    rough = run("        import decimal\n        decimal.getcontext().prec = 3\n")
    plain = run("        import decimal\n        assert decimal.getcontext().prec == 28\n")

    assert rough == plain == run(timer)
    assert rough.payments
    assert [denial.order for denial in rough.denials] == ["sell market 2.057"]


@pytest.mark.parametrize(
    ("orders", "lacking"),
    [
        pytest.param({"a": None}, "", id="no parent"),
        pytest.param({"a": None, "b": "a", "c": "b"}, "", id="a child of a child"),
        pytest.param({"c": "b", "b": "a", "a": None}, "", id="children first"),
        pytest.param({"a": "x"}, "a", id="a parent that is not sent"),
        pytest.param({"a": "x", "b": "a"}, "ab", id="a child of such a child"),
        pytest.param({"a": "a"}, "a", id="itself"),
        pytest.param({"a": "b", "b": "a"}, "ab", id="each other"),
        pytest.param({"a": "b", "b": "c", "c": "b", "d": None}, "abc", id="behind a ring"),
        pytest.param({"ETH": None, "b": "ETH"}, "b", id="a parent of another symbol"),
    ],
)
def test_the_first_parent_of_an_order_is_of_its_request(
    orders: dict[str, str | None], lacking: str
) -> None:
    made = [
        SimpleNamespace(
            client_order_id=ClientOrderId(name),
            parent_order_id=ClientOrderId(parent) if parent else None,
            instrument_id="ETH" if name == "ETH" else "BTC",
        )
        for name, parent in orders.items()
    ]

    found = [id_of(order) for order in made if lacks_parent(order, made)]

    assert "".join(found) == lacking


BRACKET = (
    "        if number == 2:\n"
    "            made = factory.bracket(self.config.instrument_id, OrderSide.BUY,"
    " Quantity.from_str('1.000'), entry_order_type=OrderType.LIMIT,"
    " entry_price=Price.from_str('95.0'), tp_price=Price.from_str('105.0'),"
    " sl_trigger_price=Price.from_str('80.0'))\n"
    "            self.submit_order_list(made)\n"
    "            orders = getattr(made, 'orders', made)\n"
    "            self.profit = next(o.client_order_id for o in orders[1:]"
    " if o.order_type == OrderType.LIMIT)\n"
    "        if number == 3:\n            LINE\n"
    "\nfrom nautilus_trader.model import OrderType, TimeInForce\n"
)


@pytest.mark.parametrize(
    ("line", "fills"),
    [
        pytest.param("pass", [(4, 95)], id="as sent"),
        pytest.param(
            "self.modify_order(self.profit, price=Price.from_str('104.0'))",
            [(4, 95), (5, 104)],
            id="changed",
        ),
        pytest.param(
            "self.modify_order(self.profit, price=Price.from_str('104.0'));"
            " self.cancel_order(self.profit)",
            [(4, 95)],
            id="cancelled",
        ),
    ],
)
def test_children_are_changed_and_cancelled_while_they_wait(
    run_more: RunMore, line: str, fills: list[tuple[int, int]]
) -> None:
    run = run_more(BRACKET.replace("LINE", line), make_bars([100, 100, 100, 94, 104.5, 104.5]))

    assert [(bar_number(fill.ts_ms), fill.price) for fill in run.fills] == fills
    assert run.orders.get("canceled", 0) == (1 if "cancel" in line or "modify" in line else 0)


def test_a_reduce_only_order_that_fills_at_once_has_the_size_of_the_position(
    run_more: RunMore,
) -> None:
    run = run_more(
        "        if number == 3:\n"
        "            self.submit_order(factory.limit(self.config.instrument_id, OrderSide.SELL,"
        " Quantity.from_str('2.000'), Price.from_str('90.0'), time_in_force=TimeInForce.FOK,"
        " reduce_only=True))\n"
        "\nfrom nautilus_trader.model import TimeInForce\n",
        params={"orders": {2: "1"}},
    )

    assert changes(run) == [(2, "market", 1), (3, "limit", -1)]


def test_an_order_of_on_start_is_denied_since_there_is_no_price_yet(run_more: RunMore) -> None:
    run = run_more(
        "\n    def on_start(self):\n"
        "        super().on_start()\n"
        "        self.submit_order(self.order_factory.market(self.config.instrument_id,\n"
        "            OrderSide.BUY, Quantity.from_str('0.100')))\n"
    )

    assert run.fills == ()
    assert [denial.rule for denial in run.denials] == ["max_leverage"]


def test_a_halt_of_the_warm_up_ends_with_it(run_more: RunMore) -> None:
    hour_ms = 60 * MINUTE_MS
    run = run_more(
        "",
        make_bars([100, 100, 100, 50, 50, 50, 50, 50, 50]),
        params={"orders": {2: "5", 5: "1", 8: "1"}},
        span=Span(START_MS + 6 * hour_ms, START_MS + 9 * hour_ms),
        warm_up_ms=6 * hour_ms,
        risk=limits(max_position="10", max_daily_loss_usd="200"),
    )

    assert changes(run) == [(8, "market", D(1))]
    assert (run.denials, run.halts) == ((), ())


def test_an_order_ends_at_its_own_time_also_between_bars(
    run_more: RunMore, capsys: pytest.CaptureFixture[str]
) -> None:
    ten_minutes_ns = 10 * MINUTE_MS * 1_000_000
    run_more(
        "        if number == 2:\n"
        "            self.ends_ns = bar.ts_event + " + str(ten_minutes_ns) + "\n"
        "            self.submit_order(factory.limit(self.config.instrument_id, OrderSide.BUY,"
        " Quantity.from_str('1.000'), Price.from_str('50.0'), time_in_force=TimeInForce.GTD,"
        " expire_time=self.ends_ns))\n"
        "\n    def on_order_expired(self, event):\n"
        "        print(self.clock.timestamp_ns() - self.ends_ns)\n"
        "\nfrom nautilus_trader.model import TimeInForce\n",
        bars_of(
            make_strategy(detail="1m"),
            make_bars([100] * 4),
            minutes=[make_bars([100] * 240, timeframe="1m")],
        ),
        detail="1m",
    )

    assert capsys.readouterr().out.split() == ["0"]
