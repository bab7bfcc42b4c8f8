"""The helpers of strategies, by numbers worked out by hand: lot 0.001, tick 0.5, fee 0.05 %."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nautilus_trader.model import Bar, Quantity

from tbv8.results.statistics import stops_reached
from tbv8.strategies.base import LastCloses, LastValues, Number, sided, whole_lots
from tbv8.trading.loading import StrategyError
from tbv8.trading.records import Run
from tests.backtest.builders import install, limits, make_bars, make_strategy, run_strategy
from tests.strategies.runs import fills_of

PLANNED = """
from dataclasses import dataclass, field
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId
from tbv8.strategies.base import LastCloses, OneMarket, sided

NOTED = {NOTED}


@dataclass(frozen=True, kw_only=True)
class PlannedConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    plan: dict[int, str] = field(default_factory=dict)
    always: str = ""
    opened: str = ""


class Planned(OneMarket):
    \"\"\"Runs a line of Python at the close of some bars.\"\"\"

    def on_start(self):
        self.closes, self.count = LastCloses(3), 0
        self.register_indicator_for_bars(self.config.bar_type, self.closes)
        super().on_start()

    def on_bar(self, bar):
        self.count += 1
        exec(self.config.plan.get(self.count, self.config.always))

    def on_position_opened(self, event):
        exec(self.config.opened)
"""


def planned(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    plan: dict[int, str],
    closes: Sequence[float],
    *,
    max_position: str = "1000",
    **lines: str,
) -> tuple[Run, list[Any]]:
    """Run lines of Python at bars, from 1; return the run and what they put into `noted`."""
    noted: list[Any] = []
    monkeypatch.setattr("builtins.noted", noted, raising=False)
    install(monkeypatch, folder, "planned", PLANNED.replace("{NOTED}", "noted"))
    strategy = make_strategy(
        module="planned",
        class_name="Planned",
        params={"plan": plan, **lines},
        risk=limits(max_position=max_position, max_leverage="9", max_daily_loss_usd="9000"),
    )
    return run_strategy(strategy, "hyperliquid", make_bars(closes)), noted


@pytest.fixture
def instrument(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    _, (found,) = planned(monkeypatch, tmp_path, {1: "NOTED.append(self.instrument)"}, [100])
    return found


@pytest.mark.parametrize(
    ("size", "lots"),
    [
        (Decimal("0.0129"), "0.012"),
        (Decimal("-0.0129"), "-0.012"),
        (0.0009, "0"),
        (-0.0009, "0"),
        (3, "3"),
        pytest.param(0.0126, "0.012", id="never more than asked for"),
        pytest.param(0.3 - 0.1, "0.2", id="a float of 0.19999999999999998"),
        pytest.param(0.1 - 0.3, "-0.2", id="a float of -0.19999999999999998"),
        pytest.param(0.1 + 0.2, "0.3", id="a float of 0.30000000000000004"),
        pytest.param(Decimal("0.19999"), "0.199", id="a hundredth of a lot is missing"),
        pytest.param(Quantity.from_str("0.0155"), "0.015", id="a quantity"),
        pytest.param(np.float64(7.0009), "7", id="numpy's float"),
    ],
)
def test_a_size_is_cut_to_lots_towards_nothing(instrument: Any, size: Number, lots: str) -> None:
    assert whole_lots(size, instrument) == Decimal(lots)
    assert whole_lots(Decimal(lots), instrument) == Decimal(lots)  # of a whole position, all


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Decimal("0.5"), ["BTC/USDT.hyperliquid", "BUY", "0.500"]),
        (Decimal("-0.25"), ["BTC/USDT.hyperliquid", "SELL", "0.250"]),
        (0.0128, ["BTC/USDT.hyperliquid", "BUY", "0.012"]),
        (0.1 - 0.3, ["BTC/USDT.hyperliquid", "SELL", "0.200"]),
    ],
)
def test_a_change_has_a_side_and_a_quantity(
    instrument: Any, change: Number, words: list[str]
) -> None:
    assert [str(word) for word in sided(change, instrument)] == words


@pytest.mark.parametrize("kind", ["", "Decimal", "self.instrument.make_price"])
@pytest.mark.parametrize(
    ("line", "prices"),
    [
        pytest.param("self.limit(0.5, {kind}(90.3))", ["BUY 90.0"], id="a buy's limit, down"),
        pytest.param("self.limit(-0.5, {kind}(110.2))", ["SELL 110.5"], id="a sale's limit, up"),
        pytest.param(
            "self.market(0.5); self.stop_loss(-0.5, {kind}(90.3))",
            ["SELL 90.0"],
            id="a sale's stop, down",
        ),
        pytest.param(
            "self.market(-0.5); self.stop_loss(0.5, {kind}(110.2))",
            ["BUY 110.5"],
            id="a buy's stop, up",
        ),
        pytest.param(
            "self.bracket(0.5, stop={kind}(90.3), target={kind}(110.2))",
            ["SELL 110.5", "SELL 90.0"],
            id="a long bracket, outwards",
        ),
        pytest.param(
            "self.bracket(-0.5, stop={kind}(110.2), target={kind}(90.3))",
            ["BUY 110.5", "BUY 90.0"],
            id="a short bracket, outwards",
        ),
    ],
)
def test_helpers_round_a_price_to_the_tick_on_the_safe_side(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str, line: str, prices: list[str]
) -> None:
    price = "o.price if o.has_price else o.trigger_price"
    plan = {
        1: line.replace("{kind}", kind),
        2: f"NOTED.append(sorted(f'{{o.side}} {{{price}}}' for o in self.open_orders))",
    }

    run, noted = planned(monkeypatch, tmp_path, plan, [100, 100])

    assert noted == [prices]
    assert not run.denials


def test_the_equity_is_the_balance_and_the_positions_at_their_last_price(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = "NOTED.append(self.equity)"
    plan = {1: f"{note}; self.market(Decimal(10))", 2: note, 3: "self.market(-self.position)"}
    plan[4] = note

    _, noted = planned(monkeypatch, tmp_path, plan, [100, 104, 103, 90])

    # Bought 10 at 100 for a fee of 0.5; at 104 they gain 40. Sold at 103 for 0.515: 30 gained.
    assert noted == [Decimal(10_000), Decimal("10039.5"), Decimal("10028.985")]


@pytest.mark.parametrize(
    ("line", "size"),
    [
        pytest.param("self.size_by_equity(50, bar.close)", "16.666", id="5,000 USD at 300"),
        pytest.param("self.size_by_equity(Decimal('0.5'), 7.0)", "7.142", id="50 USD at 7"),
        pytest.param("self.size_by_equity(2000, bar.close)", "100", id="at most max_position"),
        pytest.param("self.size_by_equity(0.001, bar.close)", "0", id="less than a lot"),
        pytest.param(
            "self.size_by_risk(1, entry=bar.close, stop=self.price(292.9, up=False))",
            "13.333",
            id="100 USD over 7.5, long",
        ),
        pytest.param("self.size_by_risk(1, entry=300, stop=303.0)", "33.333", id="short"),
        pytest.param("self.size_by_risk(1, entry=300, stop=299.9)", "100", id="a close stop"),
        pytest.param("self.size_by_risk(1, entry=300, stop=300)", "0", id="a stop at the entry"),
    ],
)
def test_a_size_follows_from_the_equity(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, size: str
) -> None:
    plan = {1: f"NOTED.append({line})"}

    _, noted = planned(monkeypatch, tmp_path, plan, [300], max_position="100.0009")

    assert noted == [Decimal(size)]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param(
            "self.market(self.size_by_equity(0.0005, bar.close))",
            "an order for 0 BTC, less than a lot of 0.001: test the size first, `if size:` (",
            id="no size",
        ),
        pytest.param(
            "self.limit(Decimal('-0.0004'), self.price(90.0, up=True))",
            "an order for -0.0004 BTC, less than a lot of 0.001: test the size first, "
            "`if abs(size) >= 0.001:` (",
            id="less than a lot",
        ),
        pytest.param(
            "self.stop_loss(-1, None)", "expected a number, got None (", id="a price that is none"
        ),
        pytest.param(
            "self.market(float('nan'))", "expected a number, got nan: test that", id="nan of base"
        ),
        pytest.param(
            "self.price(self.closes.values[0], up=True)",
            "expected a number, got nan: test that its indicator is initialized",
            id="a price of an indicator that is not warm",
        ),
        pytest.param(
            "self.size_by_risk(1, entry=bar.close, stop=self.closes.values[0])",
            "expected a number, got nan",
            id="a stop of one",
        ),
        pytest.param(
            "LastCloses(0)", "the number of values must be 1 or more, got 0", id="no values"
        ),
    ],
)
def test_values_without_a_meaning_are_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, problem: str
) -> None:
    with pytest.raises(StrategyError) as caught:
        planned(monkeypatch, tmp_path, {1: line}, [100])

    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_price_may_be_one_of_the_engine_or_a_decimal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    values = ("bar.close", "Decimal('99.6')", "99.6", "100.0")
    plan = {1: "; ".join(f"NOTED.append(str(self.price({value}, up=True)))" for value in values)}

    _, noted = planned(monkeypatch, tmp_path, plan, [100])

    assert noted == ["100.0", "100.0", "100.0", "100.0"]


def test_a_size_by_risk_loses_that_much_at_its_stop(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = {
        1: "stop = self.price(95.0, up=False);"
        "self.market(self.size_by_risk(1, entry=bar.close, stop=stop));"
        "self.stop_loss(-self.size_by_risk(1, entry=bar.close, stop=stop), stop)"
    }

    run, _ = planned(monkeypatch, tmp_path, plan, [100, 94])

    assert fills_of(run) == [(1, "market", 20, 100), (2, "stop_market", -20, 95)]


@pytest.mark.parametrize(
    ("closes", "out"),
    [
        pytest.param([100, 111], (2, "limit", -3, Decimal("110.5")), id="the target"),
        pytest.param([100, 94], (2, "stop_market", -3, Decimal("94.5")), id="the stop"),
    ],
)
def test_a_bracket_closes_by_one_of_its_orders_and_the_other_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closes: list[float], out: tuple[Any, ...]
) -> None:
    plan = {
        1: "self.bracket(Decimal(3), stop=self.price(94.9, up=False),"
        " target=self.price(110.1, up=True), tag='dip'); NOTED.append(len(self.open_orders))",
        2: "NOTED.append((self.position, len(self.open_orders)))",
        3: "NOTED.append((self.position, len(self.open_orders)))",
    }

    run, noted = planned(monkeypatch, tmp_path, plan, [*closes, 100])

    assert fills_of(run) == [(1, "market", 3, 100), out]
    assert noted[1:] == [(0, 0), (0, 0)]
    assert run.tags["O-1"] == "dip"


@pytest.mark.parametrize(
    ("size", "stop", "target", "said"),
    [
        (3, "100.5", "110.5", "a long bracket needs stop < entry < target, got entry 100"),
        (3, "94.5", "99.5", "a long bracket needs stop < entry < target, got entry 100"),
        (-3, "94.5", "110.5", "a short bracket needs target < entry < stop, got entry 100"),
    ],
)
def test_a_bracket_that_would_end_at_once_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    size: int,
    stop: str,
    target: str,
    said: str,
) -> None:
    plan = {
        1: f"self.bracket(Decimal({size}), stop=self.price({stop}, up=False),"
        f" target=self.price({target}, up=True))"
    }

    with pytest.raises(StrategyError, match=said) as caught:
        planned(monkeypatch, tmp_path, plan, [100, 100, 100])

    assert f"stop {stop}, target {target} (strategy test_v1, in on_bar" in str(caught.value)
    assert "\n" not in str(caught.value)


TRAIL = "c = self.cache.bar(self.config.bar_type).close.as_double(); self.trail_stop(c, distance="


@pytest.mark.parametrize(
    ("closes", "change", "distance", "out"),
    [
        pytest.param([100, 99, 98], 3, "0.02 * c", (3, -3, 98), id="two percent below the entry"),
        pytest.param(
            # the trigger is 98, 107.8 (107.5 on the tick), and stays there at 109
            [100, 110, 109, 107.5, 104],
            3,
            "0.02 * c",
            (4, -3, Decimal("107.5")),
            id="it follows",
        ),
        pytest.param([100, 90, 91, 95, 99], -3, "4", (4, 3, 94), id="ticks above a short"),
    ],
)
def test_a_stop_trails_the_close_and_never_moves_back(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    closes: list[float],
    change: int,
    distance: str,
    out: tuple[int, int, Any],
) -> None:
    trail = f"{TRAIL}{distance}, tag='trail')"
    plan = {1: f"{trail}; self.market(Decimal({change}))"}  # nothing while flat

    run, _ = planned(monkeypatch, tmp_path, plan, closes, always=trail, opened=trail)

    number, quantity, price = out
    assert fills_of(run) == [
        (1, "market", change, 100),
        (number, "stop_market", quantity, price),
    ]
    assert not run.denials


def test_a_trailing_stop_covers_what_is_added(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trail = f"{TRAIL}5)"
    plan = {
        1: "self.market(Decimal(3))",
        2: f"{trail}; self.market(Decimal(2))",
        4: "NOTED.append([(float(str(o.trigger_price)), float(str(o.quantity)))"
        " for o in self.open_orders])",
    }

    run, noted = planned(
        monkeypatch, tmp_path, plan, [100, 104, 106, 105], always=trail, opened=trail
    )

    assert sorted(noted[0]) == [(101.0, 2.0), (101.0, 3.0)]
    assert not run.denials


def test_a_position_is_whole_lots_after_many_fills(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = {
        n: f"self.market(Decimal('{size}'))" for n, size in enumerate(("0.1", "0.2", "-0.3"), 1)
    }
    plan[2] += "; NOTED.append(self.position)"
    plan[3] = f"NOTED.append(self.position); {plan[3]}"
    plan[4] = "NOTED.append(self.position)"

    _, noted = planned(monkeypatch, tmp_path, plan, [100, 100, 100, 100])

    # NautilusTrader's own sum is 0.30000000000000004
    assert [str(position) for position in noted] == ["0.100", "0.300", "0.000"]


def test_the_stop_of_a_bracket_trails_by_its_tag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trail = f"{TRAIL}5, tag='STOP_LOSS')"
    out = "stop=self.price(90.0, up=False), target=self.price(200.0, up=True)"
    plan = {1: f"self.bracket(Decimal(3), {out})"}

    run, _ = planned(monkeypatch, tmp_path, plan, [100, 110, 104], always=trail)

    assert fills_of(run) == [(1, "market", 3, 100), (3, "stop_market", -3, 105)]


@pytest.mark.parametrize(
    ("closes", "change", "table", "out"),
    [
        pytest.param([100, 105], 3, {0: 0.04}, (2, -3, 104), id="at once"),
        pytest.param(
            [100, 101, 101.5, 101.5, 103], 3, {0: 0.04, 120: 0.02}, (5, -3, 102), id="from 120 min."
        ),
        pytest.param(
            # after an hour the close is beyond the target of 99: it fills there
            [100, 98.5, 95],
            -3,
            {0: 0.04, 60: 0.01},
            (2, 3, Decimal("98.5")),
            id="short, reached",
        ),
        pytest.param([100, 101.25, 102], 3, {60: 0.012}, (3, -3, Decimal("101.5")), id="not yet"),
        pytest.param(
            [100, 99, 98], 3, {0: 0.04, 60: -0.5}, (2, -3, 99), id="at the close, at a loss"
        ),
    ],
)
def test_profit_is_taken_by_the_age_of_the_position(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    closes: list[float],
    change: int,
    table: dict[int, float],
    out: tuple[int, int, Any],
) -> None:
    take = f"self.take_profit({table})"
    plan = {1: f"{take}; self.market(Decimal({change}))"}  # nothing while flat

    run, _ = planned(monkeypatch, tmp_path, plan, closes, always=take, opened=take)

    number, quantity, price = out
    assert fills_of(run) == [(1, "market", change, 100), (number, "limit", quantity, price)]
    assert run.tags["O-2"] == "take profit"
    assert not run.denials


@pytest.mark.parametrize(
    ("size", "entry", "stop", "count"),
    [
        pytest.param(3, "market", "100.5", 1, id="long, the stop above"),
        pytest.param(-3, "market", "99.5", 1, id="short, the stop below"),
        pytest.param(3, "limit", "98", 1, id="above a limit that fills at 97"),
        pytest.param(3, "limit", "96", 0, id="below it, reached in the same bar"),
        pytest.param(3, "market", "99.5", 0, id="below, reached in the next bar"),
    ],
)
def test_stops_on_the_wrong_side_of_their_entry_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int, entry: str, stop: str, count: int
) -> None:
    target = 50 if size < 0 else 150
    plan = {
        1: "from nautilus_trader.model import OrderType; self.submit_order_list("
        f"self.order_factory.bracket(*sided(Decimal({size}), self.instrument),"
        f" entry_order_type=OrderType.{entry.upper()},"
        f" entry_price=self.price(97.0, up=True) if {entry == 'limit'} else None,"
        f" sl_trigger_price=self.price({stop}, up=True), tp_price=self.price({target}, up=True)))"
    }

    run, _ = planned(monkeypatch, tmp_path, plan, [100, 95, 95])

    assert stops_reached(run.fills) == count
    assert [fill.type for fill in run.fills] == [entry, "stop_market"]
    assert not run.denials


def test_what_is_open_is_what_rests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = {
        1: "self.limit(Decimal(1), self.price(90.0, up=False))",
        2: "NOTED.append([str(order.price) for order in self.open_orders])",
        3: "NOTED.append((self.open_orders, self.position))",
    }

    _, noted = planned(monkeypatch, tmp_path, plan, [100, 99, 89])

    assert noted == [["90.0"], ([], 1)]


def test_the_last_closes_are_there_at_their_bar(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = "NOTED.append((self.closes.initialized, self.closes.values.tolist()))"

    _, noted = planned(monkeypatch, tmp_path, dict.fromkeys(range(2, 6), note), [1, 2, 3, 4, 5])

    assert noted[0][0] is False
    assert noted[0][1][1:] == [1, 2]
    assert noted[1:] == [(True, [1, 2, 3]), (True, [2, 3, 4]), (True, [3, 4, 5])]


class Closed:
    """A bar of one price as far as last values look at it; its high is 1 above."""

    def __init__(self, close: float) -> None:
        self.close = self
        self.value = close

    @property
    def high(self) -> Closed:
        return Closed(self.value + 1)

    def as_double(self) -> float:
        return self.value


@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_last_closes_are_one_piece_of_memory_in_their_order(count: int) -> None:
    closes = LastCloses(count)
    prices = np.arange(30.0)

    for seen, price in enumerate(prices, start=1):
        bar: Bar = Closed(price)  # type: ignore[assignment]
        closes.handle_bar(bar)
        held = min(seen, count)
        assert closes.values[count - held :].tolist() == prices[seen - held : seen].tolist()
        assert closes.values.flags["C_CONTIGUOUS"]
        assert closes.values.base is not None  # a view: nothing is copied


def test_the_last_highs_are_those_of_the_bars() -> None:
    highs = LastValues(2, of="high")

    for price in (3.0, 7.0, 5.0):
        bar: Bar = Closed(price)  # type: ignore[assignment]
        highs.handle_bar(bar)

    assert highs.initialized
    assert highs.values.tolist() == [8.0, 6.0]
