"""The simulator's own invariants, under random scripts on random bars."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.trading.scripts import LOT, TICK, RandomScript, random_steps, turn
from tests.trading.simulator import Books, Fill, Market, Rules, simulate

D = Decimal
LARGEST = D(8)
ONE, TWO = ("BTC/USD",), ("BTC/USD", "ETH/USD")
WORLDS: dict[str, dict[str, Any]] = {
    "one symbol, minutes": {"symbols": ONE, "count": 150},
    "two symbols, minutes": {"symbols": TWO, "longer": ("15m",), "count": 150},
    "one symbol, bar by bar": {"symbols": ONE, "detail": "5m", "count": 120},
    "two symbols, bar by bar": {"symbols": TWO, "detail": "5m", "count": 80},
}


def rules_of(symbols: tuple[str, ...]) -> Rules:
    market = Market(tick=TICK, lot=LOT, max_position=LARGEST, max_leverage=D(100))
    return Rules(
        markets=dict.fromkeys(symbols, market),
        balance=D(10_000_000),
        max_leverage=D(100),
        max_daily_loss=D(150),
        slippage_ticks=1,
    )


def run(seed: int, world: str, *, turned: bool) -> Books:
    given = WORLDS[world]
    symbols: tuple[str, ...] = given["symbols"]
    steps, shown = random_steps(seed, turned=turned, **given)
    step_ms = 300_000 if given.get("detail") else 60_000
    script = RandomScript(seed, symbols, turned=turned, step_ms=step_ms)
    return simulate(steps, shown, script, rules_of(symbols))


def small_run(seed: int, world: str) -> tuple[Books, RandomScript, Rules]:
    """Run with fees, funding and so little money that some accounts are liquidated."""
    given = WORLDS[world]
    symbols: tuple[str, ...] = given["symbols"]
    steps, shown = random_steps(seed, **given)
    market = Market(
        tick=TICK, lot=LOT, maker_fee=D("0.0002"), taker_fee=D("0.0005"), max_leverage=D(50)
    )
    rules = Rules(
        markets=dict.fromkeys(symbols, market),
        balance=D(300),
        max_leverage=D(50),
        funding_rate_8h=D("0.0003"),
        funding_hours=1,
    )
    script = RandomScript(seed, symbols, step_ms=300_000 if given.get("detail") else 60_000)
    return simulate(steps, shown, script, rules), script, rules


def turned_fill(fill: Fill) -> Fill:
    return replace(
        fill,
        side="sell" if fill.side == "buy" else "buy",
        price=turn(fill.price),
        position=-fill.position,
    )


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_mirrored_run_is_the_run_turned_round(seed: int, world: str) -> None:
    books = run(seed, world, turned=False)
    mirror = run(seed, world, turned=True)

    assert [turned_fill(fill) for fill in mirror.fills] == books.fills
    assert mirror.denials == books.denials
    assert mirror.halts == books.halts
    assert mirror.states == books.states
    assert mirror.equity == books.equity
    assert books.fills
    assert all(abs(fill.position) <= LARGEST for fill in books.fills)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seed", range(3))
def test_books_balance_and_no_order_is_enlarged(seed: int, world: str) -> None:
    books, script, rules = small_run(seed, world)

    cash, held = rules.balance, dict.fromkeys(rules.markets, D(0))
    filled: dict[str, Decimal] = {}
    for fill in books.fills:
        signed = fill.quantity if fill.side == "buy" else -fill.quantity
        before, after = held[fill.symbol], held[fill.symbol] + signed
        held[fill.symbol] = after
        cash -= signed * fill.price + fill.fee
        assert fill.position == after
        assert fill.price % TICK == 0
        if fill.id is None:
            assert after == 0
            continue
        order = script.sent[fill.id]
        filled[fill.id] = filled.get(fill.id, D(0)) + fill.quantity
        assert filled[fill.id] <= order.quantity or fill.id in script.resized
        if order.reduce_only:
            assert abs(after) < abs(before)
            assert before * after >= 0
    assert books.cash == cash + sum(amount for _, _, amount in books.payments)
    assert books.positions == held
    assert all(equity >= 0 for _, equity in books.equity)
