"""A session against the independent simulator: the same scripts, the same books."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tbv8.config import files
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Span, parse_time
from tests.backtest.builders import real_bars
from tests.trading.driven import drive
from tests.trading.scripts import ACTIONS, LOT, START_MS, TICK, RandomScript, random_steps
from tests.trading.simulator import HOUR, Books, Market, Rules, Shown, Step, simulate

D = Decimal
SHARED = Path(__file__).parents[3] / "shared" / "data" / "binance"
ONE, TWO = ("BTC/USD",), ("BTC/USD", "ETH/USD")


@dataclass(frozen=True, kw_only=True)
class World:
    """What differs from 15 hours of one symbol's 5m bars, with fees, money enough and no funding.

    `markets` and `account` are for the simulator's Market and Rules; with `detail` 400 minutes are
    the steps, and the strategy sees 15m bars too. `script` is for RandomScript.
    """

    symbols: tuple[str, ...] = ONE
    detail: files.Detail = "none"
    count: int = 180
    holes_together: bool = False
    market: Mapping[str, Any] = field(default_factory=dict)
    account: Mapping[str, Any] = field(default_factory=dict)
    script: Mapping[str, Any] = field(default_factory=dict)


DETAIL: dict[str, Any] = {"detail": "1m", "count": 400}
POOR: dict[str, Any] = {"balance": D(60), "max_leverage": D(50)}
TIGHT: dict[str, Any] = {"balance": D(5000), "max_leverage": D(1)}
FUNDING: dict[str, Any] = {"funding_rate_8h": D("0.0013"), "funding_hours": 1}
LOSS: dict[str, Any] = {"max_daily_loss": D(150)}
AT_ONCE: dict[str, Any] = {"at_once": 0.5, "widest": 2, "busy": 0.75}
BREAKOUTS: dict[str, Any] = {
    "entries": ("stop_market", "stop_limit", "limit"),
    "maker_exits": 0.7,
    "widest": 4,
    "actions": ACTIONS | {"bracket": 30},
}
RARE: dict[str, Any] = {"rare": 0.5, "actions": ACTIONS | {"bracket": 25, "pair": 15}}
WARM_UP: dict[str, Any] = {"start_ms": START_MS + 2 * HOUR}
WORLDS = {
    "plain": World(account={"slippage_ticks": 0}),
    "slippage": World(account={"slippage_ticks": 2}),
    "no fees": World(market={"maker_fee": D(0), "taker_fee": D(0)}),
    "makers are paid": World(market={"maker_fee": D("-0.0001")}),
    "minutes": World(**DETAIL),
    "two symbols": World(symbols=TWO),
    "two symbols, holes together": World(symbols=TWO, holes_together=True),
    "two symbols, minutes": World(symbols=TWO, **DETAIL),
    "funding": World(account=FUNDING),
    "funding that longs receive": World(
        account={"funding_rate_8h": D("-0.0013"), "funding_hours": 8}
    ),
    "liquidations": World(market={"max_leverage": D(50)}, account=POOR),
    "liquidations of two": World(symbols=TWO, market={"max_leverage": D(50)}, account=POOR),
    "daily loss": World(account=LOSS),
    "daily loss, minutes": World(account=LOSS, **DETAIL),
    "min_notional": World(market={"min_notional": D(600)}),
    "max_position": World(market={"max_position": D(4)}),
    "leverage": World(account=TIGHT),
    "leverage of two, minutes": World(symbols=TWO, **DETAIL, account=TIGHT),
    "fills at the close": World(script=AT_ONCE),
    "fills at the close, a small max_position": World(
        script=AT_ONCE, market={"max_position": D(4)}
    ),
    "fills at the close, two symbols, minutes": World(
        symbols=TWO, **DETAIL, account=TIGHT, script=AT_ONCE
    ),
    "breakouts with post-only exits": World(script=BREAKOUTS),
    "brackets of every kind": World(script=BREAKOUTS | RARE),
    "brackets of every kind, a small max_position": World(
        script=RARE, market={"max_position": D(4)}
    ),
    "brackets of every kind, two symbols, minutes": World(
        symbols=TWO, **DETAIL, market={"max_position": D(8)}, account=TIGHT, script=BREAKOUTS | RARE
    ),
    "warm-up": World(account=WARM_UP),
    "everything": World(
        symbols=TWO,
        **DETAIL,
        market={"min_notional": D(600), "max_position": D(8)},
        account={**POOR, **FUNDING, **LOSS, **WARM_UP, "slippage_ticks": 1},
    ),
}


def rules_of(world: World) -> Rules:
    market: dict[str, Any] = {
        "tick": TICK,
        "lot": LOT,
        "maker_fee": D("0.0002"),
        "taker_fee": D("0.0005"),
        "max_leverage": D(20),
        "max_position": D(40),
    }
    account: dict[str, Any] = {
        "balance": D(100_000),
        "max_leverage": D(20),
        "slippage_ticks": 1,
    }
    return Rules(
        markets={symbol: Market(**market | dict(world.market)) for symbol in world.symbols},
        **account | dict(world.account),
    )


def both(seed: int, world: World, *, part: int = 1) -> tuple[Books, Books]:
    """Return the simulator's books, and the session's; `part` 3 is a third of the steps."""
    minutes = world.detail == "1m"
    steps, shown = random_steps(
        seed,
        symbols=world.symbols,
        count=world.count // part,
        longer=("15m",) if minutes else (),
        detail="1m" if minutes else "5m",
        holes_together=world.holes_together,
    )
    return run_both(seed, steps, shown, rules_of(world), minutes=minutes, **world.script)


def run_both(
    seed: int,
    steps: list[Step],
    shown: list[Shown],
    rules: Rules,
    *,
    minutes: bool,
    **script_options: Any,
) -> tuple[Books, Books]:
    def script() -> RandomScript:
        step_ms = 60_000 if minutes else 300_000
        return RandomScript(seed, symbols=tuple(rules.markets), step_ms=step_ms, **script_options)

    expected = simulate(steps, shown, script(), rules)
    got = drive(
        steps,
        shown,
        script(),
        rules,
        timeframe="5m",
        bars=("15m",) if minutes else (),
        detail="1m" if minutes else "none",
    )
    return expected, got


def denials(books: Books) -> list[tuple[int, str]]:
    return [(ts_ms, rule) for ts_ms, rule, _ in books.denials]


def assert_same(expected: Books, got: Books) -> None:
    assert got.fills == expected.fills
    assert got.halts == expected.halts
    assert got.payments == expected.payments
    assert denials(got) == denials(expected)
    assert got.cash == expected.cash
    assert got.positions == expected.positions


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seed", range(4))
def test_it_does_what_the_simulator_does(seed: int, world: str) -> None:
    assert_same(*both(seed, WORLDS[world], part=2 if len(WORLDS[world].symbols) == 1 else 3))


@pytest.mark.parametrize(
    ("seed", "world"),
    [
        pytest.param(102, "two symbols", id="a timer behind the end of an order in its step"),
        pytest.param(201, "liquidations of two", id="a change while a market order is under way"),
        pytest.param(202, "liquidations of two", id="two timers at once"),
        pytest.param(206, "two symbols, minutes", id="an order that ends before another's fill"),
        pytest.param(
            18, "fills at the close", id="an order that ends, out of reach, between fills"
        ),
        pytest.param(40, "fills at the close", id="a change of a child that begins as a limit"),
        pytest.param(
            129,
            "fills at the close, a small max_position",
            id="a trigger on the jump before a bracket's parent",
        ),
        pytest.param(
            134,
            "fills at the close, two symbols, minutes",
            id="a change of size behind a sibling's fill",
        ),
        pytest.param(57, "brackets of every kind", id="a child of a child that is rejected"),
        pytest.param(
            118,
            "brackets of every kind, a small max_position",
            id="a timer before a child that expires in its step",
        ),
    ],
)
def test_it_does_what_the_simulator_does_where_order_in_an_instant_counts(
    seed: int, world: str
) -> None:
    assert_same(*both(seed, WORLDS[world]))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("world", WORLDS)
def test_it_does_what_the_simulator_does_for_hundreds_of_seeds(world: str) -> None:
    for seed in range(1000, 1300):
        assert_same(*both(seed, WORLDS[world]))


# The real quarter


@pytest.fixture(scope="module")
def minutes() -> pa.Table:
    """BTC/USDT of the first quarter of 2024, by the minute."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not here: the market as it was in 2024Q1")
    return real_bars(SHARED, "1m")


def real_steps(
    minutes: pa.Table, span: Span, symbol: str = "BTC/USD"
) -> tuple[list[Step], list[Shown]]:
    """Return the minutes of a span as steps, and the hours that the strategy sees."""
    rows = minutes.filter(
        pc.and_(
            pc.greater_equal(minutes["ts_ms"], span.start_ms),
            pc.less(minutes["ts_ms"], span.end_ms),
        )
    ).to_pydict()
    columns = [rows[name] for name in ("ts_ms", "open", "high", "low", "close")]
    steps = [
        Step(symbol, ts_ms + MINUTE_MS, *(D(repr(price)) for price in prices))
        for ts_ms, *prices in zip(*columns, strict=True)
    ]
    shown = [Shown(symbol, "1h", step.close_ms) for step in steps if step.close_ms % HOUR_MS == 0]
    return steps, shown


REAL_RULES: dict[str, Any] = {
    "balance": D(20_000),
    "max_leverage": D(20),
    "slippage_ticks": 1,
    "max_daily_loss": D(3_000),
    "funding_rate_8h": D("0.0001"),
    "funding_hours": 8,
}


def assert_same_on_the_real_market(seed: int, minutes: pa.Table, *, days: int) -> None:
    market = Market(
        tick=TICK,
        lot=LOT,
        maker_fee=D("0.0002"),
        taker_fee=D("0.0005"),
        max_leverage=D(20),
        max_position=D(8),
    )
    start_ms = parse_time("2024-01-01") + seed * days * DAY_MS
    steps, shown = real_steps(minutes, Span(start_ms, start_ms + days * DAY_MS))

    def script() -> RandomScript:
        return RandomScript(seed, step_ms=HOUR_MS, widest=1200, busy=0.4)

    rules = Rules(markets={"BTC/USD": market}, **REAL_RULES)
    expected = simulate(steps, shown, script(), rules)
    got = drive(steps, shown, script(), rules, timeframe="1h", detail="1m")

    assert_same(expected, got)
    assert len(expected.fills) > days


@pytest.mark.parametrize("seed", range(2))
def test_the_real_market_by_minutes(seed: int, minutes: pa.Table) -> None:
    assert_same_on_the_real_market(seed, minutes, days=4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_real_quarter_by_minutes(minutes: pa.Table) -> None:
    for seed in range(3):
        assert_same_on_the_real_market(seed, minutes, days=14)
