"""Windows, choices, and the proof: with one candidate the windows are the plain backtest."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from tbv8.aggregate import aggregate
from tbv8.config.records import Objective, Strategy, WalkForward
from tbv8.config.space import Search, points
from tbv8.experiments.result import to_equity
from tbv8.experiments.stitching import StitchedAccount, WindowRun, stitch, switch_cost_of
from tbv8.experiments.trial import Outcome, run_trial
from tbv8.experiments.walkforward import (
    WindowSpans,
    choose_trial,
    neighbours,
    window_spans,
)
from tbv8.market import DAY_MS, HOUR_MS, ONE_MINUTE, Span, parse_timeframe
from tbv8.store.trials import Trial
from tests.backtest.builders import install, rules
from tests.experiments.builders import axis, days, ema, tables

MIDNIGHT = '''
"""Turns round at 00:00 UTC, so that an order falls on each boundary."""
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class MidnightConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    stops: bool = False


class Midnight(Strategy):
    def on_start(self):
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        if bar.ts_event % 86_400_000_000_000:
            return
        held = self.portfolio.net_position(self.config.instrument_id)
        self.turn(Decimal("-0.01") - held if held > 0 else Decimal("0.01") - held)

    def on_stop(self):
        if self.config.stops:
            self.turn(-self.portfolio.net_position(self.config.instrument_id))

    def turn(self, change):
        if change:
            side = OrderSide.BUY if change > 0 else OrderSide.SELL
            quantity = Quantity.from_decimal_dp(abs(change), 5)
            self.submit_order(self.order_factory.market(self.config.instrument_id, side, quantity))
'''


def walk(train: int, test: int, **changes: Any) -> WalkForward:
    lengths = {"train_ms": train, "test_ms": test, "warm_up_ms": 0, "purge_ms": 0} | changes
    others = {"anchored": False, "plateau": 0}
    values = {
        name: value * DAY_MS if name.endswith("_ms") else value for name, value in lengths.items()
    }
    return WalkForward(**others | values)


def test_windows_follow_each_other_and_the_last_ends_with_the_span() -> None:
    found = window_spans(days(0, 100), walk(60, 15, warm_up_ms=10))

    assert [fold.train for fold in found] == [days(10, 70), days(25, 85)]
    assert [fold.test for fold in found] == [days(70, 85), days(85, 100)]
    assert window_spans(days(0, 92), walk(60, 15, warm_up_ms=10))[-1].test == days(85, 92)
    assert window_spans(days(0, 70), walk(60, 15, warm_up_ms=10)) == []


def test_an_anchored_window_grows_and_a_purge_shortens_the_training() -> None:
    anchored = window_spans(days(0, 100), walk(60, 20, anchored=True, purge_ms=2))

    assert [fold.train for fold in anchored] == [days(0, 58), days(0, 78)]


def test_windows_begin_at_midnight_wherever_the_span_does() -> None:
    span = days(0, 30)
    found = window_spans(Span(span.start_ms + 1, span.end_ms - 1), walk(10, 10))

    assert [fold.test for fold in found] == [days(11, 21), days(21, 29)]


@pytest.mark.parametrize(
    ("timeframes", "bounds"),
    [
        pytest.param(["1h", "1d"], [10, 13, 16, 19, 22, 23], id="bars that end at each midnight"),
        pytest.param(["1w"], [14, 21], id="weeks"),
        pytest.param(["2d", "3d"], [11, 17, 23], id="two and three days"),
        pytest.param(["1w", "7m"], [], id="bars that never end together at midnight"),
    ],
)
def test_no_bar_is_divided_between_windows(timeframes: list[str], bounds: list[int]) -> None:
    # Day 0, 2024-01-01, is a Monday, and the 19,723rd after 1970-01-01, one more than 6 x 3,287.
    found = window_spans(days(5, 23), walk(5, 3), [parse_timeframe(text) for text in timeframes])

    assert [fold.test for fold in found] == [days(*ends) for ends in pairwise(bounds)]


def trial(total_return: float | None, *, trades: int = 9, status: Any = "ok") -> Trial:
    return Trial(
        key=b"",
        subject="",
        variant=b"",
        start_ms=0,
        end_ms=1,
        status=status,
        total_return=total_return,
        max_drawdown=None if total_return is None else abs(total_return),
        trades=trades,
        digest=b"",
    )


def test_the_first_of_the_best_is_chosen_of_those_that_traded_enough() -> None:
    most = Objective(metric="return", maximize=True, min_trades=5)
    least = Objective(metric="max_drawdown", maximize=False, min_trades=5)
    trials = [
        trial(0.1),
        trial(0.3),
        trial(0.3),
        trial(0.9, trades=4),
        trial(None, status="failed"),
        trial(float("nan")),
        None,
    ]

    assert choose_trial(trials, most) == 1
    assert choose_trial(trials, least) == 0
    assert choose_trial(trials[3:], most) is None


def test_a_plateau_is_preferred_to_a_peak() -> None:
    search = Search(method="grid", axes=(axis("a", 1, 2, 3, 4, 5),))
    around = neighbours(search, list(points(search)), 1)
    trials = [trial(value) for value in (0.0, 0.9, 0.0, 0.5, 0.5)]
    objective = Objective(metric="return", maximize=True, min_trades=1)

    assert around == [[1], [0, 2], [1, 3], [2, 4], [3]]
    assert choose_trial(trials, objective) == 1
    assert choose_trial(trials, objective, neighbours=around) == 4


def test_neighbours_in_two_dimensions_leave_out_points_that_are_not_tried() -> None:
    search = Search(method="grid", axes=(axis("a", 1, 2), axis("b", 1, 2)))

    assert neighbours(search, [(1, 1), (1, 2), (2, 2)], 1) == [[1, 2], [0, 2], [0, 1]]
    assert neighbours(search, list(points(search)), 0) == []


# Stitching.


def runs_of(strategy: Strategy, spans: list[Span], *, warm_up: int) -> list[WindowRun]:
    """Return the runs of one candidate over windows."""
    found = []
    for fold in window_spans(
        Span(spans[0].start_ms - warm_up * DAY_MS - 5 * DAY_MS, spans[-1].end_ms),
        walk(5, (spans[0].end_ms - spans[0].start_ms) // DAY_MS, warm_up_ms=warm_up),
    ):
        own = replace(strategy, span=fold.test, warm_up_ms=warm_up * DAY_MS)
        found.append(window(fold, run_trial(own, tables(40))))
    assert [one.spans.test for one in found] == spans
    return found


def window(fold: Any, outcome: Outcome, params: dict[str, Any] | None = None) -> WindowRun:
    assert outcome.status == "ok", outcome.stats
    return WindowRun(
        spans=fold,
        number=0,
        params=params or {},
        trained=trial(0.1),
        tested=replace(trial(0.1), **outcome.numbers),
        stats=json.loads(outcome.stats),
        equity=to_equity(outcome.equity),
    )


def plain(strategy: Strategy, span: Span, *, warm_up: int) -> np.ndarray:
    """Return the daily equity of the plain backtest."""
    outcome = run_trial(replace(strategy, span=span, warm_up_ms=warm_up * DAY_MS), tables(40))
    assert outcome.status == "ok", outcome.stats
    return to_equity(outcome.equity)


@pytest.mark.parametrize("loss", ["1000000", "10"])
def test_one_candidate_is_the_plain_backtest_to_the_last_digit(loss: str) -> None:
    strategy, spans = ema(days(0, 40), loss=loss), [days(15, 25), days(25, 35), days(35, 40)]

    found = stitch(runs_of(strategy, spans, warm_up=10), strategy)

    whole = plain(strategy, days(15, 40), warm_up=10)
    assert found.equity.tolist() == whole.tolist()
    assert len(set(whole.tolist())) > 15
    assert sum(one.switch_cost for one in found.windows) == 0
    assert found.times_ms.tolist() == [days(15, 15).start_ms + at * DAY_MS for at in range(26)]
    assert sum((one.gain for one in found.windows), Decimal(0)) == (
        Decimal(int(whole[-1] - whole[0])).scaleb(-8)
    )


@pytest.mark.parametrize(
    ("timeframe", "params", "stale"),
    [
        pytest.param("5m", {"fast": 20, "slow": 50}, [9], id="5m"),
        pytest.param("3d", {"fast": 1, "slow": 2}, [9, 10, 11], id="bars longer than a day"),
    ],
)
def test_what_happens_in_an_outage_over_a_boundary_counts_once(
    timeframe: str, params: dict[str, int], stale: list[int]
) -> None:
    # No minute from 20:00 to 03:00 around the boundary, with funding at each hour.
    length = parse_timeframe(timeframe)
    strategy = ema(
        days(0, 40),
        timeframe=length,
        detail="1m",
        params=params,
        instrument=rules(
            tick_size="1", lot_size="0.00001", funding_rate_8h="0.0008", funding_hours=1
        ),
    )
    minutes = tables(40)["BTC/USDT", ONE_MINUTE]
    opens_ms = minutes["ts_ms"].to_numpy()
    at_ms = days(26, 26).start_ms
    minutes = minutes.filter((opens_ms < at_ms - 4 * HOUR_MS) | (opens_ms >= at_ms + 3 * HOUR_MS))
    holed = {("BTC/USDT", ONE_MINUTE): minutes, ("BTC/USDT", length): aggregate(minutes, length)}
    whole_span = replace(strategy, span=days(17, 38), warm_up_ms=15 * DAY_MS)
    spans = [days(17, 26), days(26, 38)]
    outcomes = [run_trial(replace(whole_span, span=span), holed) for span in spans]

    found = stitch(
        [
            window(WindowSpans(span, span), outcome)
            for span, outcome in zip(spans, outcomes, strict=True)
        ],
        strategy,
    )

    whole = run_trial(whole_span, holed)
    assert found.windows[1].carried
    equity = to_equity(whole.equity)
    # Until the next bar's close the plain backtest has the equity of the last one.
    assert np.flatnonzero(found.equity != equity).tolist() == stale
    paid, parts = json.loads(whole.stats), [json.loads(outcome.stats) for outcome in outcomes]
    assert paid["funding"] == pytest.approx(sum(part["funding"] for part in parts), abs=1e-9)


@pytest.mark.parametrize("stops", [False, True])
def test_orders_at_a_boundary_count_once(
    stops: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "user", "midnight", MIDNIGHT)
    strategy = ema(days(0, 40), module="midnight", class_name="Midnight", params={"stops": stops})
    spans = [days(10, 14), days(14, 18), days(18, 20)]

    found = stitch(runs_of(strategy, spans, warm_up=4), strategy)

    whole = plain(strategy, days(10, 20), warm_up=4)
    inside = [at for at in range(11) if at not in (4, 8)]  # at a boundary the order comes after
    assert found.equity[inside].tolist() == whole[inside].tolist()
    assert len(set(whole.tolist())) == 11
    assert found.equity[4] > whole[4]  # by its costs


def test_a_change_of_position_is_never_paid_below_one_tick() -> None:
    # given a price of three ticks of 1 USD, and five ticks of slippage
    strategy = ema(days(0, 40), slippage_ticks=5)

    # when 0.01 is sold, at the lowest price that there is
    cost = switch_cost_of({"BTC/USDT": Decimal("0.01")}, {}, {"BTC/USDT": Decimal(3)}, strategy)

    # then it loses 2 USD per unit, and pays the fee of a sale at 1
    assert cost == Decimal("0.01") * 2 + round(Decimal("0.01") * Decimal("0.00045"), 8)


def test_another_position_in_the_next_window_is_paid_for() -> None:
    strategy = ema(days(0, 40), slippage_ticks=2)
    spans = [days(15, 20), days(20, 25), days(25, 30)]
    runs = runs_of(strategy, spans, warm_up=5)
    found = stitch(runs, strategy)
    position = found.windows[1].carried["BTC/USDT"]
    price = Decimal(runs[1].stats["carried"]["BTC/USDT"]["price"])
    flat = replace(runs[1], number=None, tested=None, trained=None, stats={}, equity=np.empty(0))

    without: StitchedAccount = stitch([runs[0], flat, runs[2]], strategy)

    # To leave `position` at the close, one crosses to the tick and two ticks further, and pays the
    # taker's fee there.
    assert abs(position) == Decimal("0.01")
    paid = price.to_integral_value("ROUND_FLOOR" if position > 0 else "ROUND_CEILING")
    paid += -2 if position > 0 else 2
    cost = (abs(price - paid) + paid * Decimal("0.00045")) * Decimal("0.01")
    assert without.windows[1].switch_cost == round(cost, 8)
    assert without.windows[1].gain == -without.windows[1].switch_cost
    assert without.windows[2].switch_cost > 0
    assert [one.gain + one.switch_cost for one in without.windows][::2] == [
        one.gain for one in found.windows
    ][::2]
    assert without.equity[10] == without.equity[6]
