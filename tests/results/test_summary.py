"""One record from the run to the page: what is said first, and what of it a file brings back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.market import DAY_MS, HOUR_MS, Span
from tbv8.results.summary import Summary, cautions, read_summary, summarise, to_json
from tests.backtest.builders import (
    PAIR,
    SCRIPTED,
    START_MS,
    STEPS,
    backtest,
    bars_of,
    books_of,
    install,
    limits,
    make_bars,
    make_pair,
    make_strategy,
    read_rows,
    rules,
    run_strategy,
)

MONTH = 31 * 24
MONTH_END_MS = START_MS + MONTH * HOUR_MS


def summarised(
    closes: list[float], *, volume: float = 100.0, hours: int = 0, **changes: Any
) -> Summary:
    """Run a script on hourly bars; the span is as long as they are, or so many hours."""
    span = Span(START_MS, START_MS + (hours or len(closes)) * HOUR_MS)
    strategy = make_strategy(**({"span": span, "instrument": rules(tick_size="0.05")} | changes))
    bars = bars_of(strategy, make_bars(closes, volume=volume))
    books = books_of(run_strategy(strategy, "hyperliquid", bars), strategy, bars)
    return summarise(strategy, bars, books, None)


def test_a_result_without_a_caution_has_none() -> None:
    found = summarised([100.0] * MONTH, params={"orders": {3: "1"}})

    assert cautions(found) == []
    first, second, funding, third = str(found).splitlines()
    assert funding == "  hyperliquid: funding: not charged"
    assert first.startswith("test_v1: BTC/USDT 1h, 744 bars of sample, simulated, 2024-01-01T00")
    assert second == (
        "  hyperliquid: 10,000.00 -> 9,999.95 USD (-0.00%, Sharpe -3.43), 1 fill, 1 entry, 0 round "
        "trips, +0.00 USD before costs, fees 0.05, max drawdown 0.00%; buy and hold +0.00%"
    )
    assert third.startswith("  hyperliquid: still long 1 BTC at the end, entered at 100: +0.00 USD")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        pytest.param({}, "no order was sent", id="nothing sent"),
        pytest.param(
            {"params": {"orders": {2: "5", 3: "6"}}},
            "nothing was traded, 2 orders denied by max_position (the largest of 6 at a position "
            "of 0, the limit is 2: send smaller orders, or raise the limit)",
            id="denied orders only",
        ),
        pytest.param(
            {"params": {"orders": {2: "1", 3: "6"}, "limits": {4: "1@99.33"}}},
            "2 orders denied, 1 by max_position (the largest of 6 at a position of 1, the limit is "
            "2: send smaller orders, or raise the limit), 1 by tick_size "
            "(instrument.next_bid_price(x) rounds down to the tick, next_ask_price(x) up)",
            id="denied orders among others",
        ),
        pytest.param(
            {"params": {"limits": {2: "1.7@50", 3: "0.5@50"}}},
            "nothing was traded, 1 order denied by max_position (the largest of 0.5 at a position "
            "of 0, the limit is 2: open orders count, also one that the same callback cancels: "
            "move it with modify_order, or send the new one at the next bar)",
            id="denied for an open order",
        ),
        pytest.param(
            {
                "params": {"orders": {2: "5", 3: "40"}},
                "risk": limits(max_position="1000", max_leverage="0.01"),
            },
            "nothing was traded, 2 orders denied by max_leverage (up to 0.4 times the equity, the "
            "limit is 0.01)",
            id="denied for leverage",
        ),
        pytest.param(
            {"params": {"limits": {2: "1@50"}}}, "no order was filled", id="nothing filled"
        ),
        pytest.param(
            {"params": {"orders": {2: "1", 5: "-0.5"}}, "volume": 0.25},
            "2 fills larger than the volume of the bar that filled them, up to 4 times it: no "
            "market would fill that at these prices",
            id="beyond the volume",
        ),
        pytest.param(
            {"params": {"orders": {2: "1"}}, "risk": limits(max_daily_loss_usd="0.01")},
            "halted once by max_daily_loss_usd: all positions closed, no entries until 00:00 UTC",
            id="a halt",
        ),
    ],
)
def test_what_a_reader_must_know_first_stands_in_the_first_lines(
    changes: dict[str, Any], said: str
) -> None:
    found = summarised([100.0] * MONTH, **changes)

    assert cautions(found) == [f"hyperliquid: {said}"]
    assert str(found).splitlines()[1] == f"  ! hyperliquid: {said}"


def test_stops_that_had_been_reached_are_a_caution() -> None:
    found = summarised([100.0] * MONTH, params={"orders": {3: "1"}})
    stats = replace(found.primary, stops_reached=2)

    assert cautions(replace(found, primary=stats)) == [
        "hyperliquid: 2 positions closed at once: the stop was on the wrong side of the entry"
    ]


def test_warnings_of_rules_and_result_come_first_on_terminal_and_page(tmp_path: Path) -> None:
    strategy = make_strategy(
        params={"orders": {2: "5"}}, instrument=rules(taker_fee="0.05", funding_rate_8h="-0.01")
    )

    found = backtest(strategy, make_bars([100.0] * 8), tmp_path)

    page = (tmp_path / "test_v1" / "tearsheet.html").read_text()
    head = page[page.index("<header>") : page.index("</header>")]
    assert re.findall(r'<p class="caution">(.*?)</p>', head) == [*cautions(found)]
    lines = [line[4:] for line in str(found).splitlines() if line.startswith("  ! ")]
    assert lines == cautions(found)
    assert lines[:3] == [
        "hyperliquid: the BTC/USDT taker_fee of 0.05 is 5 % of the notional: if you meant 0.05 %, "
        "write 0.0005",
        "hyperliquid: the BTC/USDT funding_rate_8h of -0.01 is -1 % of the notional: if you meant "
        "-0.01 %, write -0.0001",
        "hyperliquid: the BTC/USDT tick of 0.5 is 0.50% of the price of 100: rounding to it "
        "decides the result",
    ]
    assert [said.partition(":")[0] for said in lines[3:]] == [
        "a span of 0.4 days is too short for annualised numbers such as the Sharpe ratio, which "
        "need 30 days",
        "BTC/USDT",
        "hyperliquid",
    ]


def test_orders_that_the_gate_denies_are_explained_in_terminal_and_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    more = (
        "        if number == 2:\n"
        "            size = Quantity.from_str('1.000')\n"
        "            one = (self.config.instrument_id, OrderSide.SELL, size)\n"
        "            self.submit_order(factory.market(*one, reduce_only=True))\n"
        "            self.submit_order(factory.stop_market(*one, Price.from_str('100.0')))\n"
    )
    install(monkeypatch, tmp_path / "more", "other", SCRIPTED + more)

    found = backtest(make_strategy(module="other"), make_bars([100.0] * 8), tmp_path)

    assert found.primary.denied == {"reduce_only": 1, "stop_in_market": 1}
    assert cautions(found)[-1] == (
        "hyperliquid: nothing was traded, 2 orders denied, 1 by reduce_only (send it only while "
        "there is a position that it reduces), 1 by stop_in_market (place triggers above the "
        "close to buy, below it to sell)"
    )
    page = (tmp_path / "test_v1" / "tearsheet.html").read_text()
    assert "there is no position to reduce (send it only while there is a position" in page
    assert "the last close 100 has reached the trigger 100 (place triggers above" in page


def test_missing_minutes_are_said_first() -> None:
    found = summarised([100.0] * MONTH, hours=MONTH + 6, params={"orders": {2: "1"}})

    assert cautions(found) == [
        "BTC/USDT: 360 of 45,000 minutes are missing (0.80%), and with them 6 of 750 1h bars"
    ]


def test_missing_minutes_of_the_warm_up_are_said_apart() -> None:
    strategy = make_strategy(
        params={"orders": {2: "1"}},
        span=Span(START_MS + DAY_MS, START_MS + DAY_MS + MONTH * HOUR_MS),
        warm_up_ms=DAY_MS,
        instrument=rules(tick_size="0.1"),
    )
    bars = bars_of(strategy, make_bars([100.0] * (MONTH + 24)).slice(24))
    books = books_of(run_strategy(strategy, "hyperliquid", bars), strategy, bars)

    found = summarise(strategy, bars, books, None)

    assert (found.missing_minutes, found.missing_warm_up_minutes) == (
        {"BTC/USDT": 0},
        {"BTC/USDT": 1440},
    )
    assert cautions(found) == [
        "BTC/USDT: 1,440 of 1,440 minutes of the warm-up are missing: indicators are not those of "
        "a longer run"
    ]


def test_a_long_span_with_few_bars_has_no_figures_a_year_and_says_so() -> None:
    strategy = make_strategy(
        params={"orders": {3: "1", 30: "-1"}},
        span=Span(START_MS, START_MS + 35 * DAY_MS),
        instrument=rules(tick_size="0.1"),
    )
    month = make_bars([100.0 + hour % 7 for hour in range(35 * 24)])
    bars = bars_of(strategy, month.take([*range(72), *range(768, 840)]))
    books = books_of(run_strategy(strategy, "hyperliquid", bars), strategy, bars)
    found = summarise(strategy, bars, books, None)

    assert (found.days, found.days_with_bars) == (35, 6)
    assert cautions(found)[0] == (
        "bars on 6 days are too few for annualised numbers such as the Sharpe ratio, which need 30 "
        "days"
    )
    assert found.primary.performance.sharpe is found.primary.trading.turnover is None


def test_missing_bars_are_named_for_every_symbol() -> None:
    found = replace(
        summarised([100.0] * MONTH, params={"orders": {2: "1"}}),
        missing_minutes={"BTC/USDT": 0, "ETH/USDT": 365},
        missing_bars={"ETH/USDT": 5},
    )

    assert cautions(found) == [
        "ETH/USDT: 365 of 44,640 minutes are missing (0.82%), and with them 5 of 744 1h bars"
    ]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (Span(MONTH_END_MS, MONTH_END_MS + 252 * DAY_MS), "252 days requested, to 2024-10-10, are"),
        (Span(START_MS - DAY_MS, START_MS), "1 day requested, from 2023-12-31, is"),
    ],
)
def test_requested_days_that_the_history_lacks_are_said(part: Span, said: str) -> None:
    found = summarised([100.0] * MONTH, params={"orders": {3: "1"}}, not_in_history=(part,))

    assert cautions(found) == [f"{said} not in sample's history"]


def test_a_short_span_has_no_figures_a_year_and_says_so() -> None:
    closes = [100.0 + hour % 7 for hour in range(48)]

    short = summarised(closes, params={"orders": {3: "1", 30: "-1"}})
    long = summarised(closes * 15, params={"orders": {3: "1", 30: "-1"}})

    assert cautions(short) == [
        "a span of 2.0 days is too short for annualised numbers such as the Sharpe ratio, which "
        "need 30 days"
    ]
    assert cautions(long) == []
    for stats, is_shown in ((short.primary, False), (long.primary, True)):
        yearly = [
            value
            for performance in (stats.performance, stats.buy_and_hold)
            for value in (performance.cagr, performance.volatility, performance.sharpe)
        ]
        assert [value is not None for value in (*yearly, stats.trading.turnover)] == [is_shown] * 7
    assert "Sharpe" not in str(short).splitlines()[2]
    assert short.primary.performance.best_day is not None


def test_a_file_brings_back_the_same_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "more", "pair", PAIR)
    days = Span(START_MS, START_MS + 2 * DAY_MS)
    strategy = make_pair({2: "0 1,1 -2.5", 9: "0 -1", 12: "0 1000"}, span=days)
    bars = bars_of(strategy, make_bars([100.0 + n % 5 for n in range(48)]), make_bars([7.0] * 48))

    found = backtest(strategy, bars, tmp_path)

    again = read_summary(tmp_path / "test_v1")
    assert again == found
    assert str(again) == str(found)


def test_several_symbols_keep_their_own_open_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "more", "pair", PAIR)
    strategy = make_pair(
        {2: "0 1,1 -2", 3: "0 1", 4: "1 2"},
        instruments={"hyperliquid": dict.fromkeys(("BTC/USDT", "ETH/USDT"), rules(taker_fee="0"))},
    )
    bars = bars_of(strategy, make_bars([100, 102, 104, 106, 110]), make_bars([7, 8, 8, 7, 6]))

    found = backtest(strategy, bars, tmp_path)

    # BTC: 1 at 102 and 1 at 104, held at 110; ETH: sold 2 at 8, bought at 7
    (still,) = found.primary.open_positions
    assert (still.symbol, still.quantity, still.entry_price) == ("BTC/USDT", 2, 103)
    assert still.unrealized_pnl == found.primary.unrealized_pnl == 14
    assert found.primary.pnl == 16
    assert found.symbols == ("BTC/USDT", "ETH/USDT")
    assert str(found).startswith("test_v1: BTC/USDT, ETH/USDT 1h, 5 bars of sample")


def test_the_end_counts_if_the_main_symbol_has_no_bar_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two ETH are sold at 8, at the last close of BTC, and are worth 6 two hours later.
    install(monkeypatch, tmp_path / "more", "pair", PAIR)
    strategy = make_pair(
        {3: "1 -2"},
        span=Span(START_MS, START_MS + 5 * HOUR_MS),
        instruments={"hyperliquid": dict.fromkeys(("BTC/USDT", "ETH/USDT"), rules(taker_fee="0"))},
    )
    bars = bars_of(strategy, make_bars([100, 102, 104]), make_bars([7, 8, 8, 7, 6]))

    found = backtest(strategy, bars, tmp_path)

    assert (found.bars, found.days) == (3, round(5 / 24, 8))
    assert found.primary.pnl == found.primary.unrealized_pnl == 4
    last = read_rows(tmp_path / "test_v1" / "equity.csv")[-1]
    assert (last["ts_ms"], last["price_BTC/USDT"]) == (str(START_MS + 5 * HOUR_MS), "104.0")


def test_orders_cancelled_by_a_fill_are_explained_as_denied_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Short 1, and bids of 1.5 and 1.5: 2 at most. A stop buys the 1 back: the bids could make 3.
    methods = """
    def at_close(self, number):
        if number == 1:
            self.market(Decimal(-1))
        if number == 2:
            self.bid("1.5", 90)
            self.bid("1.5", 89)
            self.stop(1, 102)
"""
    install(monkeypatch, tmp_path / "user", "steps", STEPS + methods)
    strategy = make_strategy(module="steps", class_name="Steps")

    found = backtest(strategy, make_bars([100.0, 100.0, 103.0]), tmp_path)

    (denial,) = found.primary.denials
    sizes = {"position": 0, "open_orders": 1.5, "order": 1.5, "worst": 3, "limit": 2}
    assert (denial.order, denial.numbers) == ("buy limit 1.500", sizes)
    assert "1 order denied by max_position (the largest of 1.5 at a position of 0," in str(found)


def test_a_position_without_a_gain_has_none(tmp_path: Path) -> None:
    found = backtest(make_strategy(params={"orders": {1: "-1"}}), make_bars([100.0] * 2), tmp_path)

    (still,) = to_json(found)["primary"]["open_positions"]
    assert str(still["unrealized_pnl"]) == "0.0"  # not -0.0


def test_a_position_that_only_the_warm_up_made_is_not_said_to_come_from_nowhere() -> None:
    found = summarised(
        [100.0] * (MONTH + 24),
        params={"orders": {3: "1"}},
        span=Span(START_MS + DAY_MS, START_MS + (MONTH + 24) * HOUR_MS),
        warm_up_ms=DAY_MS,
    )

    assert cautions(found) == ["hyperliquid: no order was sent after the warm-up"]
    lines = str(found).splitlines()
    assert lines[0].endswith(", after a warm-up of 1d")
    assert (
        "  hyperliquid: long 1 BTC at the start, carried over from the warm-up: its entry is not "
        "counted, its exit is"
    ) in lines
    assert found.primary.open_positions[0].quantity == 1
