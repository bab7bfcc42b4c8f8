"""Each cost on ten bars and two orders, every cent worked out by hand."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from tbv8.results.accounting import Books, from_money
from tests.backtest.builders import (
    bar_number,
    books_of,
    limits,
    make_bars,
    make_strategy,
    rules,
    run_strategy,
)

D = Decimal
CLOSES = [100.0, 102.0, 104.0, 103.0, 105.0, 107.0, 106.0, 104.0, 105.0, 106.0]
"""Ten hours; each bar reaches 1 beyond its open, which is the close before, and its close."""


def _run(params: dict[str, dict[int, str]], **changes: Any) -> Books:
    return _run_on(make_bars(CLOSES, reach=1.0), params=params, **changes)


def _run_on(bars: pa.Table, **changes: Any) -> Books:
    strategy = make_strategy(**changes)
    return books_of(run_strategy(strategy, "hyperliquid", bars), strategy, bars)


def _fills(books: Books) -> list[tuple[int, Decimal, Decimal, str]]:
    """Return bar, price, fee and liquidity of each fill."""
    return [(bar_number(f.ts_ms), f.price, f.fee, f.liquidity) for f in books.run.fills]


def test_the_fee_of_a_maker() -> None:
    # Bids 1.5 at 102.5 after bar 3; bar 4 falls from 104 to 103, its low is 102: filled at 102.5.
    #   1.5 x 102.5 = 153.75, fee 0.02 %: 0.03075. Cash 10000 - 153.75 - 0.03075 = 9846.21925.
    # Asks 106.5 after bar 5; bar 6 rises from 105 to 107: filled at 106.5.
    #   1.5 x 106.5 = 159.75, fee 0.03195. Cash 9846.21925 + 159.75 - 0.03195 = 10005.9373.
    run = _run(
        {"limits": {3: "1.5@102.5", 5: "-1.5@106.5"}},
        instrument=rules(maker_fee="0.0002", taker_fee="0.0005"),
    )

    assert _fills(run) == [
        (4, D("102.5"), D("0.03075"), "maker"),
        (6, D("106.5"), D("0.03195"), "maker"),
    ]
    # At the close of bar 4: 9846.21925 + 1.5 x 103 = 10000.71925.
    assert from_money(run.curve.equity[3]) == D("10000.71925")
    assert from_money(run.curve.equity[-1]) == D("10005.9373")


def test_what_a_maker_is_paid() -> None:
    # The same with -0.01 %: 153.75 x -0.0001 = -0.015375, 159.75 x -0.0001 = -0.015975.
    # 159.75 - 153.75 + 0.03135 = 6.03135.
    run = _run({"limits": {3: "1.5@102.5", 5: "-1.5@106.5"}}, instrument=rules(maker_fee="-0.0001"))

    assert [fill[2] for fill in _fills(run)] == [D("-0.015375"), D("-0.015975")]
    assert from_money(run.curve.equity[-1]) == D("10006.03135")


def test_the_fee_of_a_taker() -> None:
    # Buys 1.5 at the close of bar 2: 1.5 x 102 = 153, fee 0.05 %: 0.0765.
    # Sells it at the close of bar 6: 1.5 x 107 = 160.5, fee 0.08025.
    # 10000 + 160.5 - 153 - 0.0765 - 0.08025 = 10007.34325.
    run = _run({"orders": {2: "1.5", 6: "-1.5"}})

    assert _fills(run) == [
        (2, D(102), D("0.0765"), "taker"),
        (6, D(107), D("0.08025"), "taker"),
    ]
    assert from_money(run.curve.equity[-1]) == D("10007.34325")


def test_slippage_of_three_ticks_on_a_market_order_and_on_a_stop_but_not_on_a_limit() -> None:
    # Sells 2 at the close of bar 1: 100 less three ticks of 0.5: 98.5. Proceeds 197, fee 0.0985.
    # A stop buys 1 at 103.5: bar 3 runs from 102 to 104 and up to 105: 103.5 + 1.5 = 105.0.
    #   fee 105 x 0.0005 = 0.0525. A limit buys 1 at 103.5 in bar 8 (106 to 104, low 103): 103.5,
    #   no fee for makers. 10000 + 197 - 0.0985 - 105 - 0.0525 - 103.5 = 9988.349.
    run = _run(
        {"orders": {1: "-2"}, "stops": {2: "1@103.5"}, "limits": {7: "1@103.5"}}, slippage_ticks=3
    )

    assert _fills(run) == [
        (1, D("98.5"), D("0.0985"), "taker"),
        (3, D(105), D("0.0525"), "taker"),
        (8, D("103.5"), D(0), "maker"),
    ]
    assert from_money(run.curve.equity[-1]) == D("9988.349")


def test_the_tick_is_rounded_to_against_us() -> None:
    # A tick of 3: 102 is on it (34 x 3), 107 is not: sold at 105 (35 x 3), 2 worse.
    # 1 x 102 + 0.051, then 105 - 0.0525: 10000 - 102.051 + 104.9475 = 10002.8965.
    run = _run({"orders": {2: "1", 6: "-1"}}, instrument=rules(tick_size="3"))

    assert [fill[1] for fill in _fills(run)] == [102, 105]
    assert from_money(run.curve.equity[-1]) == D("10002.8965")


@pytest.mark.parametrize("size", ["0.04", "0.1", "1.02", "-0.04"])
def test_less_than_a_lot_or_no_whole_number_of_them_is_refused(size: str) -> None:
    # Lots of 0.05: 0.04 is less than one, 1.02 are 20.4; 0.1 are two.
    run = _run({"orders": {2: size, 6: "-1"}}, instrument=rules(lot_size="0.05"))

    denied = [(denial.rule, denial.numbers["limit"]) for denial in run.run.denials]
    assert denied == ([] if size == "0.1" else [("lot_size", D("0.05"))])
    assert len(run.run.fills) == 2 - len(denied)


def test_leverage_at_the_cent() -> None:
    # 100 USD at a leverage of 2, one held at 100: cash -0.05, since the fee is 0.05. At 102 the
    # equity is 101.95, twice that is 203.9: 1.999 x 102 = 203.898 may be held, 2 x 102 = 204 not.
    money = {"starting_balance_usd": D(100), "risk": limits(max_leverage="2")}

    too_much = _run({"orders": {1: "1", 2: "1"}}, **money)
    enough = _run({"orders": {1: "1", 2: "0.999"}}, **money)

    assert [denial.numbers["equity_usd"] for denial in too_much.run.denials] == [D("101.95")]
    assert enough.run.denials == ()
    assert len(enough.run.fills) == 2


def test_fees_and_funding_count_in_the_days_loss() -> None:
    # Ten bars at 100: bought 10 at 01:00, fee 1000 x 0.0005 = 0.5; funding of 0.8 % in eight hours
    # is 0.1 % an hour: 1.00 from 02:00 on. After 04:00 the loss is 0.5 + 3.0 = 3.5: halted, sold
    # for a fee of 0.5. Without either the price alone loses nothing.
    def run(**costs: str) -> Books:
        return _run_on(
            make_bars([100.0] * 10),
            params={"orders": {1: "10"}},
            risk=limits(max_position="10", max_daily_loss_usd="3.5"),
            instrument=rules(**({"taker_fee": "0"} | costs), funding_hours=1),
        )

    both = run(funding_rate_8h="0.008", taker_fee="0.0005")

    assert [halt.numbers["equity_usd"] for halt in both.run.halts] == [D("9996.5")]
    assert [fill[0] for fill in _fills(both)] == [1, 4]
    assert from_money(both.curve.equity[-1]) == 9996
    assert run(taker_fee="0.0005").run.halts == ()
    assert [fill[0] for fill in _fills(run(funding_rate_8h="0.008"))] == [1, 5]  # 4 x 1.00


def test_a_flat_account_that_has_lost_the_days_loss_is_halted_too() -> None:
    # Sold 1 at 100, a stop buys it back at 104 in bar 3: 4.00 and fees of 0.05 + 0.052 are lost,
    # at the close of that bar. What is asked for in bar 5 is denied.
    run = _run(
        {"orders": {1: "-1", 5: "1"}, "stops": {1: "1@104.0"}},
        risk=limits(max_daily_loss_usd="4.1"),
    )

    assert [fill[:2] for fill in _fills(run)] == [(1, 100), (3, 104)]
    assert [halt.numbers["equity_usd"] for halt in run.run.halts] == [D("9995.898")]
    assert [denial.rule for denial in run.run.denials] == ["max_daily_loss_usd"]
