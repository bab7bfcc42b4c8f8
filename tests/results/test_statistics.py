"""The statistics: worked by hand, and held against empyrical, pandas and scipy.

What those say is recorded: see second_opinion.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tbv8.market import DAY_MS, HOUR_MS, Span, parse_time
from tbv8.results.accounting import Books, to_books
from tbv8.results.statistics import (
    Performance,
    Trading,
    days_with_bars,
    exact_sum,
    measure_curve,
    measure_trading,
    probabilistic_sharpe,
    rolling_sharpe,
    slippage,
)
from tests.backtest.builders import (
    START_MS,
    books_of,
    limits,
    make_bars,
    make_strategy,
    rules,
    run_strategy,
)
from tests.results.builders import BTC, ETH, make_fills, make_marks, make_payment, make_run

HALF_DAY_MS = 12 * HOUR_MS


def measure(
    equity: Sequence[float], *, step_ms: int = DAY_MS, start: int = 100, start_ms: int = START_MS
) -> Performance:
    """Measure a curve in USD, one bar after the other from START_MS."""
    times_ms = start_ms + step_ms * np.arange(len(equity) + 1)
    units = np.rint(np.array([start, *equity]) * 1e8).astype(np.int64)
    return measure_curve(times_ms, units, days=0, min_days=0)


def test_three_days_of_two_bars_by_hand() -> None:
    # Days end at 101, 99.99, 101.9898: they return 1 %, -1 %, 2 %. Their mean is 0.02 / 3.
    # Deviations from it: 1/300, -5/300, 4/300; squares 1, 25, 16 over 90,000; their sum over 2 is
    # 42 / 180,000, the root 0.0152752523; times root 365 (19.1049731745): 0.2918332847.
    # Sharpe: 0.0066666667 / 0.0152752523 = 0.4364357805, times root 365: 8.3380938830.
    # Sortino: one loss, 0.01^2 / 3, the root 0.0057735027; 1.1547005384 times root 365.
    # CAGR: 1.019898^(365 / 3) - 1; ln 1.019898 = 0.0197026224, times 121.6666667 = 2.3971524,
    # e to the power of which is 10.9918.
    # Drawdown: from 103 at the first close to 98 at the third, 5 / 103, up again at the fifth.
    found = measure([103, 101, 98, 99.99, 103, 101.9898], step_ms=HALF_DAY_MS)

    assert found.total_return == 0.019898
    assert found.cagr == pytest.approx(9.9918, abs=1e-3)
    assert found.volatility == pytest.approx(0.2918332847, abs=1e-8)
    assert found.sharpe == pytest.approx(8.3380938830, abs=1e-7)
    assert found.sortino == pytest.approx(1.1547005384 * 19.1049731745, abs=1e-7)
    assert found.max_drawdown == 0.04854369
    assert found.calmar == pytest.approx(found.cagr / (5 / 103), rel=1e-9)
    assert found.max_drawdown_start == "2024-01-01T12:00:00Z"
    assert found.max_drawdown_bottom == "2024-01-02T12:00:00Z"
    assert found.max_drawdown_end == "2024-01-03T12:00:00Z"
    assert found.max_drawdown_days == 2
    assert found.best_day is not None
    assert (found.best_day.date, found.best_day.gained) == ("2024-01-03", 0.02)
    assert found.worst_day is not None
    assert (found.worst_day.date, found.worst_day.gained) == ("2024-01-02", -0.01)


SECOND_OPINION = Path(__file__).with_name("second_opinion.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize(
    "opinion",
    [pytest.param(each, id=each["name"]) for each in map(msgspec.json.decode, SECOND_OPINION)],
)
def test_a_curve_is_measured_as_by_empyrical_pandas_and_scipy(opinion: dict[str, Any]) -> None:
    times_ms = opinion["start_ms"] + opinion["step_ms"] * np.array([0, *opinion["steps"]])
    units = np.rint(np.array([10_000, *opinion["equity"]]) * 1e8).astype(np.int64)

    found = measure_curve(times_ms, units, days=0, min_days=0)

    measured = {name: getattr(found, name) for name in opinion["measured"]}
    assert measured == pytest.approx(opinion["measured"], abs=2e-8)
    for name in {"best_day", "worst_day"} & set(opinion):
        day, (date, gained) = getattr(found, name), opinion[name]
        assert (day.date, day.gained) == (date, pytest.approx(gained, abs=2e-8))


def test_the_probabilistic_sharpe_ratio_of_the_paper() -> None:
    # Bailey and Lopez de Prado: two years of months with a Sharpe ratio of 0.458 a month are above
    # 0 with 98.2 % if returns were normal, with the skewness and kurtosis that they had 91.3 %.
    normal = probabilistic_sharpe(0.458, count=24, skewness=0, kurtosis=3)
    observed = probabilistic_sharpe(0.458, count=24, skewness=-2.448, kurtosis=10.164)

    assert normal == pytest.approx(0.982, abs=5e-4)
    assert observed == pytest.approx(0.913, abs=5e-4)


def test_a_week_is_six_days_of_nothing_and_one_of_all() -> None:
    weekly = measure([110, 99], step_ms=7 * DAY_MS)
    daily = measure([100] * 6 + [110] * 7 + [99])

    assert weekly.best_day == daily.best_day
    assert weekly.worst_day == daily.worst_day
    assert (weekly.volatility, weekly.sharpe, weekly.sortino, weekly.probabilistic_sharpe) == (
        (daily.volatility, daily.sharpe, daily.sortino, daily.probabilistic_sharpe)
    )
    assert weekly.volatility == pytest.approx(np.sqrt(365 / 14 * 0.02 * 14 / 13), abs=1e-8)


def test_the_largest_fall_looks_at_every_bar_and_at_the_start() -> None:
    by_hour = measure([90, 80, 110, 120], step_ms=HOUR_MS)

    assert by_hour.max_drawdown == 0.2
    assert by_hour.max_drawdown_start == "2024-01-01T00:00:00Z"
    assert by_hour.max_drawdown_bottom == "2024-01-01T02:00:00Z"
    assert by_hour.max_drawdown_end == "2024-01-01T03:00:00Z"
    assert by_hour.max_drawdown_days == 0.125


def test_a_fall_begins_when_the_peak_was_last_held_and_may_not_end() -> None:
    fallen = measure([120, 110, 120, 90, 90, 100])

    assert fallen.max_drawdown == 0.25
    assert fallen.max_drawdown_start == "2024-01-04T00:00:00Z"
    assert fallen.max_drawdown_bottom == "2024-01-05T00:00:00Z"  # the first time
    assert fallen.max_drawdown_end is None
    assert fallen.max_drawdown_days == 3  # so far


def test_without_a_single_trade_nothing_is_made_up() -> None:
    flat = measure([100] * 5)

    assert flat.total_return == flat.cagr == flat.volatility == flat.max_drawdown == 0
    assert flat.sharpe is flat.sortino is flat.calmar is flat.probabilistic_sharpe is None
    assert flat.max_drawdown_start is flat.max_drawdown_bottom is flat.max_drawdown_end is None
    assert flat.max_drawdown_days == 0


def test_without_a_loss_there_is_no_sortino_and_no_calmar() -> None:
    risen = measure([101, 102, 104])

    assert risen.sharpe is not None
    assert risen.sortino is risen.calmar is None


def test_one_day_has_no_spread_and_less_than_one_no_yearly_growth() -> None:
    day, hour = measure([101]), measure([99], step_ms=HOUR_MS)

    assert day.cagr is not None
    assert hour.cagr is hour.calmar is None
    for found in (day, hour):
        assert found.volatility is found.sharpe is found.probabilistic_sharpe is None
    assert day.best_day == day.worst_day


def test_a_curve_of_too_few_days_has_no_yearly_figures_and_all_others() -> None:
    times_ms = START_MS + HALF_DAY_MS * np.arange(7)
    units = np.array([100, 103, 101, 98, 99.99, 103, 101.9898]) * 1e8

    three, four = (
        measure_curve(times_ms, np.rint(units).astype(np.int64), days=9, min_days=days)
        for days in (3, 4)
    )

    yearly = {"cagr", "volatility", "sharpe", "sortino", "calmar", "probabilistic_sharpe"}
    kept = set(Performance.__struct_fields__) - yearly
    assert {name for name in yearly if getattr(three, name) is None} == set()
    assert {getattr(four, name) for name in yearly} == {None}
    assert all(getattr(four, name) == getattr(three, name) for name in kept)


def test_an_account_below_zero_has_a_drawdown_and_no_returns_on_nothing() -> None:
    ruined = measure([50, -20, -10])

    assert ruined.total_return == -1.1
    assert ruined.max_drawdown == 1.2
    assert ruined.cagr is ruined.calmar is ruined.volatility is ruined.sharpe is None
    assert ruined.best_day is ruined.worst_day is None


def test_a_gain_beyond_what_a_float_holds_a_year_is_none() -> None:
    assert measure([1000]).cagr is None  # tenfold in a day: 10^365


def test_sums_are_exact_beyond_64_bits() -> None:
    values = np.array([2**62, 2**62 - 1, -7, 2**62 + 5], dtype=np.int64)

    assert exact_sum(values) == 3 * 2**62 - 3


def test_a_window_takes_the_days_that_end_with_each() -> None:
    # Daily returns +10 %, -10 %, +10 %; windows of two days: mean 0 and its sample deviation.
    points = np.array([1000, 1100, 990, 1089])

    days_ms, ratios = rolling_sharpe(START_MS + np.arange(4) * DAY_MS, points, days=2)

    assert days_ms.tolist() == [START_MS + DAY_MS, START_MS + 2 * DAY_MS]
    assert ratios == pytest.approx([0.0, 0.0], abs=1e-9)

    # All three: mean 1/30, deviation sqrt((2 (1/15)^2 + (2/15)^2) / 2) = 0.11547, times sqrt(365).
    _, (ratio,) = rolling_sharpe(START_MS + np.arange(4) * DAY_MS, points, days=3)
    assert ratio == pytest.approx(0.0333333333 / 0.1154700538 * 19.1049731745)


def test_a_window_longer_than_the_run_is_none() -> None:
    days_ms, ratios = rolling_sharpe(START_MS + np.arange(3) * DAY_MS, np.array([1, 2, 3]), days=30)

    assert (len(days_ms), ratios) == (0, [])


def trade(
    closes: Sequence[float], *, slippage_ticks: int = 0, instrument: Any = None, **params: Any
) -> tuple[Books, Trading]:
    """Run a script on hourly bars, and measure what it traded."""
    strategy = make_strategy(
        params=params,
        slippage_ticks=slippage_ticks,
        instrument=instrument or rules(),
        span=Span(START_MS, START_MS + len(closes) * HOUR_MS),
    )
    bars = make_bars(closes)
    books = books_of(run_strategy(strategy, "hyperliquid", bars), strategy, bars)
    return books, measure_trading(books, days=0, min_days=0)


def test_three_trades_by_hand() -> None:
    # Long 1 from 100 to 110, short 2 from 110 to 120, long 1 from 120 to 121, 0.05 % a fill:
    #    10 - 0.05 - 0.055 = 9.895;  -20 - 0.11 - 0.12 = -20.23;  1 - 0.06 - 0.0605 = 0.8795
    # Gained 10.7745, lost 20.23. Fees 0.4555. Held for 1, 2 and 1 of eight hours.
    # Notional: 100 + 110 + 220 + 240 + 120 + 121 = 911.
    closes = [100, 110, 110, 115, 120, 120, 121, 121]
    orders = {1: "1", 2: "-1", 3: "-2", 5: "2", 6: "1", 7: "-1"}

    books, found = trade(closes, orders=orders)

    assert (found.entries, found.exits, found.trades) == (3, 3, 3)
    assert found.win_rate == 0.66666667
    assert found.profit_factor == round(10.7745 / 20.23, 8)
    assert found.expectancy == round(Decimal("-9.4555") / 3, 8)
    assert found.fees == Decimal("0.4555")
    assert found.average_holding_hours == 1.33333333
    assert found.exposure == 0.5
    mean = sum(books.curve.equity.tolist()) / 8 / 1e8
    assert found.turnover == pytest.approx(911 / mean * 365 * 3, abs=1e-6)
    assert found.slippage == 0


def test_days_without_a_bar_count_for_no_figure_a_year() -> None:
    day = HOUR_MS * np.arange(1, 25)
    times_ms = START_MS + np.concatenate([[0], day, 40 * DAY_MS + day, 41 * DAY_MS + day])
    units = np.rint(np.linspace(100, 103, times_ms.size) * 1e8).astype(np.int64)

    days = days_with_bars(times_ms[1:] - HOUR_MS, times_ms[1:])
    three, four = (measure_curve(times_ms, units, days=days, min_days=n) for n in (3, 4))

    assert days == 3
    assert (three.sharpe is None, four.sharpe, four.cagr) == (False, None, None)


@pytest.mark.parametrize(
    ("opens", "length", "days"), [([0, 7, 14], 7, 21), ([0, 7, 35], 7, 21), ([0, 1, 3], 1, 3)]
)
def test_every_day_of_a_long_bar_has_a_bar(opens: list[int], length: int, days: int) -> None:
    opens_ms = START_MS + DAY_MS * np.array(opens)

    assert days_with_bars(opens_ms, opens_ms + length * DAY_MS) == days


def test_every_day_of_a_month_has_a_bar() -> None:
    # February, March, and after two months without a bar June: 29 + 31 + 30 days.
    opens_ms, closes_ms = (
        np.array([parse_time(f"2024-{month:02}-01") for month in months])
        for months in ((2, 3, 6), (3, 4, 7))
    )

    assert days_with_bars(opens_ms, closes_ms) == 90


def test_an_outage_in_a_position_is_time_in_it() -> None:
    fills = make_fills(("1", "101", "0"), ("-1", "102", "0"), step_ms=7 * HOUR_MS)
    closes_ms = [-HOUR_MS, 0, 7 * HOUR_MS, 8 * HOUR_MS]
    marks = msgspec.structs.replace(
        make_marks(closes_ms, [100, 101, 102, 103]), start_ms=-2 * HOUR_MS
    )

    found = measure_trading(to_books(make_run(fills), marks), days=0)

    assert found.exposure == 0.7  # seven of ten hours
    assert found.average_holding_hours == 7


def test_a_fill_through_zero_is_an_exit_and_an_entry() -> None:
    fills = make_fills(
        ("1", "100", "0"),  # an entry
        ("1", "100", "0"),  # another
        ("-1", "100", "0"),  # an exit
        ("2", "100", "0"),  # an entry
        ("-4", "100", "0"),  # an exit and an entry, of less than was held before
        ("1", "100", "0"),  # an exit
    )

    found = measure_trading(to_books(make_run(fills), make_marks([5000], [100])), days=0)

    assert (found.entries, found.exits, found.trades) == (4, 3, 2)


def test_time_in_any_of_several_symbols_is_time_in_the_market() -> None:
    # BTC from 0 to 4000 ms, ETH from 2000 to 6000; of 10,000 ms from -1000 on
    fills = [
        *make_fills(("1", "100", "0"), ("-1", "100", "0"), step_ms=4000),
        *(
            msgspec.structs.replace(fill, ts_ms=fill.ts_ms + 2000)
            for fill in make_fills(("1", "7", "0"), ("-1", "7", "0"), symbol=ETH, step_ms=4000)
        ),
    ]
    marks = make_marks([0, 9000], {BTC: [100, 100], ETH: [7, 7]})

    found = measure_trading(to_books(make_run(fills, symbols=(BTC, ETH)), marks), days=0)

    assert found.exposure == 0.6


def test_funding_is_in_what_a_trade_gained() -> None:
    fills = make_fills(("1", "100", "0"), ("-1", "101", "0"))

    found = measure_trading(
        to_books(make_run(fills, payments=[make_payment(500, "3")]), make_marks([5000], [100])),
        days=0,
    )

    assert found.win_rate == 0
    assert found.expectancy == -2


def test_an_open_position_counts_as_exposure_and_not_as_a_trade() -> None:
    _, found = trade([100, 101, 102, 103], orders={1: "1"})

    assert found.exposure == 0.75
    assert found.trades == 0
    assert found.win_rate is found.profit_factor is found.expectancy is None
    assert found.average_holding_hours is None


@pytest.mark.parametrize(
    ("closes", "params", "lost"),
    [
        # 100.3 up to 100.5, two ticks of 0.5 worse: 1.2 a unit
        pytest.param([100.3, 100.3], {"orders": {1: "2"}}, "2.4", id="market"),
        # a stop at 105 inside of a bar: two ticks of 0.5
        pytest.param([100, 108, 108], {"stops": {1: "2@105"}}, "2", id="stop"),
        # and one to sell at 95
        pytest.param([100, 92, 92], {"stops": {1: "-2@95"}}, "2", id="stop to sell"),
        # a limit order gets its price
        pytest.param([100, 92, 92], {"limits": {1: "2@95"}}, "0", id="limit"),
    ],
)
def test_slippage_is_what_was_lost_against_close_or_trigger(
    closes: list[float], params: dict[str, Any], lost: str
) -> None:
    books, found = trade(closes, slippage_ticks=2, **params)

    assert len(books.run.fills) == 1
    assert found.slippage == Decimal(lost)


def test_a_gap_beyond_a_stop_is_slippage() -> None:
    strategy = make_strategy(params={"stops": {1: "-2@95"}})
    bars = make_bars([100, 90, 90])
    gapped = bars.set_column(1, "open", [[100.0, 91.0, 90.0]]).set_column(
        2, "high", [[100.0, 91.0, 90.0]]
    )

    run = run_strategy(strategy, "hyperliquid", gapped)

    (fill,) = run.fills
    assert (fill.price, fill.trigger) == (Decimal(91), Decimal(95))
    assert slippage(run.fills) == 8


def test_the_slippage_of_a_liquidation_is_against_its_price() -> None:
    # 50 USD, tenfold leverage: bought 2 at 100.5, a tick worse; cash 50 - 201 - 0.1005 = -151.1005.
    # Maintenance is 1 / 20 of the notional: 2 p - 151.1005 = p / 10 where p = 151.1005 / 1.9 =
    # 79.5265789: of prices with one decimal the first at or below it is 79.5, which is on the tick.
    # It is not slipped.
    strategy = make_strategy(
        params={"orders": {1: "2"}},
        starting_balance_usd=Decimal(50),
        slippage_ticks=1,
        instrument=rules(max_leverage="10"),
        risk=limits(max_leverage="10"),
    )

    run = run_strategy(strategy, "hyperliquid", make_bars([100, 70, 70]))

    bought, sold = run.fills
    assert (sold.type, sold.price) == ("liquidation", Decimal("79.5"))
    assert slippage([sold]) == 0
    assert slippage([bought]) == 1
