"""A strategy that knows more than it could is caught; one that does not is told its warm-up."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tbv8.backtest.verdict import verdict_lines
from tbv8.market import DAY_MS, Span, iso_day, parse_timeframe
from tbv8.trading.loading import StrategyError
from tests.backtest.builders import (
    PAIR,
    START_MS,
    bars_of,
    install,
    limits,
    look_ahead,
    make_pair,
    make_strategy,
    rules,
    wave,
)

EMA = {"module": "ema_cross", "class_name": "EmaCross", "timeframe": parse_timeframe("5m")}
ONE = {"risk": limits(max_position="0.1", max_daily_loss_usd="100")}

HEAD = '''
import sqlite3
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class PeekConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    source: str = ""


def bars_of_the_run():
    """Find the table of bars in the frames of whoever runs this: the future, if it is there."""
    frame = sys._getframe()
    while frame is not None:
        tables = getattr(frame.f_locals.get("bars"), "shown", None)
        if tables:
            return [*tables.values()][0]["close"].to_pylist()
        frame = frame.f_back


class Peek(Strategy):
    def __init__(self, config):
        super().__init__(config)
        self.closes = []
        self.side = None

    def on_start(self):
        self.subscribe_bars(self.config.bar_type)
        self.future = self.load()

    def load(self):
        return bars_of_the_run()

    def on_bar(self, bar):
        self.closes.append(bar.close.as_double())
        long = self.is_long()
        if long is not None and long != self.side:
            self.side = long
            now = self.portfolio.net_position(self.config.instrument_id)
            change = (Decimal("0.1") if long else Decimal("-0.1")) - now
            self.submit_order(self.order_factory.market(
                self.config.instrument_id, OrderSide.BUY if change > 0 else OrderSide.SELL,
                Quantity.from_decimal_dp(abs(change), 3)))
'''

PEEKS = {
    "the next bar": """
    def is_long(self):
        at = len(self.closes)
        return self.future[at] > self.closes[-1] if at < len(self.future) else None
""",
    "an indicator over the whole series": """
    def is_long(self):
        return self.closes[-1] < sum(self.future) / len(self.future)
""",
    "the next bar, and falls over at the end": """
    def is_long(self):
        if len(self.closes) == len(self.future) and len(self.closes) < 400:
            raise IndexError
        return self.future[min(len(self.closes), 399)] > self.closes[-1]
""",
    "how long the data are": """
    def is_long(self):
        return len(self.closes) > len(self.future) / 2
""",
    "what an earlier run left": """
    def load(self):
        sys.peeked = getattr(sys, "peeked", None) or bars_of_the_run()
        return [*sys.peeked, len(sys._current_frames())]

    def is_long(self):
        sys.count = getattr(sys, "count", 0) + 1
        return sys.count % 7 < 3
""",
}


@pytest.fixture
def peek(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a strategy out of the methods that it is given."""

    def make(methods: str, **changes: Any) -> Any:
        install(monkeypatch, tmp_path / "peeks", "peek", HEAD + methods)
        values = {"module": "peek", "class_name": "Peek", **ONE}
        return make_strategy(timeframe=parse_timeframe("5m"), **(values | changes))

    return make


def test_what_a_strategy_prints_is_not_repeated_by_its_reruns(
    peek: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    methods = """
    def is_long(self):
        print("a bar", len(self.closes))
        return len(self.closes) % 9 < 4
"""

    verdict = look_ahead(peek(methods), wave(60))

    assert verdict.decisions_cut > 5
    assert "a bar" not in capsys.readouterr().out


def test_the_shipped_strategy_does_not_look_ahead_and_its_warm_up_is_measured() -> None:
    strategy = make_strategy(**EMA, **ONE, params={"fast": 3, "slow": 8})

    verdict = look_ahead(strategy, wave(400))

    assert verdict.decisions == verdict.decisions_cut
    assert verdict.decisions > 20
    assert verdict.bars_cut > 10
    assert verdict.warm_up_bars is not None
    assert 8 <= verdict.warm_up_bars <= 40
    assert f" after at most {verdict.warm_up_bars} bars (" in verdict_lines(strategy, verdict)[1]
    fewer = verdict_lines(
        strategy, msgspec.structs.replace(verdict, decisions=199, decisions_cut=143)
    )
    assert "only 143 decisions" in fewer[1]
    most = verdict_lines(
        strategy, msgspec.structs.replace(verdict, decisions=999, decisions_cut=200)
    )
    assert len(most) == len(fewer) - 1


@pytest.mark.parametrize(
    ("days", "said"),
    [
        pytest.param(
            0,
            "; the backtest has no warm-up: write `warm_up: 1h`",
            id="none",
        ),
        pytest.param(1, "; the backtest has a warm-up of 1 d", id="enough"),
    ],
)
def test_the_measured_warm_up_is_compared_with_the_configs(days: int, said: str) -> None:
    start_ms = START_MS + days * DAY_MS
    strategy = make_strategy(
        **EMA,
        **ONE,
        params={"fast": 3, "slow": 8},
        span=Span(start_ms, START_MS + 2 * DAY_MS),
        warm_up_ms=days * DAY_MS,
    )

    verdict = look_ahead(strategy, wave(500))

    (_, warm_up) = verdict_lines(strategy, verdict)
    (_, early) = verdict_lines(strategy, verdict, history=Span(start_ms, strategy.span.end_ms))
    assert warm_up.endswith(said)
    # a warm-up before the first bar of the venue would be refused at the next start
    begins = f"{said} and `start_date: {iso_day(start_ms + DAY_MS)}`, since the history of sample "
    assert early.endswith(said) if days else begins in early
    # no start can follow a warm-up that is as long as the history
    (_, none) = verdict_lines(strategy, verdict, history=Span(start_ms, start_ms + DAY_MS))
    assert none.endswith(said) if days else "is too short for a warm-up of 1h" in none


def test_unseeded_random_numbers_are_an_error_with_a_cure(peek: Callable[..., Any]) -> None:
    methods = """
    def is_long(self):
        import random
        return random.random() < 0.5
"""

    with pytest.raises(StrategyError) as caught:
        look_ahead(peek(methods), wave(60))

    message = str(caught.value)
    assert ": is not repeatable: in another run on the same bars the first " in message
    assert message.endswith(
        ": seed its random numbers, as by random.Random(1) or numpy.random.default_rng(1), and "
        "keep nothing from run to run"
    )


PEEK_AT_THE_OTHER = """        self.count += 1
        import sys
        frame = sys._getframe()
        while not hasattr(frame.f_locals.get("bars"), "shown"):
            frame = frame.f_back
        _, other = frame.f_locals["bars"].shown.values()
        closes, at = other["close"].to_pylist(), self.count
        if at % 9 == 0 and at < len(closes) and closes[at] > closes[at - 1]:
            self.config.orders[at] = "0 1"
"""


def test_a_look_at_another_symbols_next_bar_is_caught(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    peeking = PAIR.replace("        self.count += 1\n", PEEK_AT_THE_OTHER)
    install(monkeypatch, tmp_path, "pair", peeking)
    strategy = make_pair({}, timeframe=parse_timeframe("5m"))
    bars = bars_of(strategy, wave(60), wave(60))

    with pytest.raises(StrategyError, match="looks ahead: on data cut at 2024-01-01T0"):
        look_ahead(strategy, bars)


@pytest.mark.parametrize("name", PEEKS)
def test_a_peek_is_caught_and_the_first_difference_shown(
    peek: Callable[..., Any], name: str
) -> None:
    is_kept = name == "what an earlier run left"
    rule = "is not repeatable: in another run" if is_kept else "looks ahead: on data cut at 2024-"
    with pytest.raises(StrategyError, match=f"^test_v1: {rule}") as e:
        look_ahead(peek(PEEKS[name]), wave(400))

    assert "the first order that differs is" in str(e.value) or "it fails: " in str(e.value)


def test_a_strategy_that_only_looks_back_passes(peek: Callable[..., Any]) -> None:
    looking_back = """
    def load(self):
        return None

    def is_long(self):
        return self.closes[-1] > self.closes[-6] if len(self.closes) > 5 else None

    def on_stop(self):
        self.close_all_positions(self.config.instrument_id)
"""
    verdict = look_ahead(peek(looking_back), wave(200))

    assert verdict.warm_up_bars is not None
    assert verdict.warm_up_bars <= 12


FILES = {
    "sqlite3": "sqlite3.connect(self.config.source).execute('SELECT close FROM bars').fetchall()",
    "open": "open(self.config.source, 'rb').read()",
    "pathlib": "Path(self.config.source).read_bytes()",
}


@pytest.mark.parametrize("read", FILES.values(), ids=FILES.keys())
def test_a_file_with_the_future_in_it_is_caught(
    peek: Callable[..., Any], tmp_path: Path, read: str
) -> None:
    path = tmp_path / "future.sqlite"
    closes = wave(400)["close"].to_pylist()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE bars (close REAL)")
        connection.executemany("INSERT INTO bars VALUES (?)", [(close,) for close in closes])
    methods = f"""
    def load(self):
        return {read}

    def is_long(self):
        return len(self.closes) % 7 < 3
"""
    strategy = peek(methods, params={"source": str(path)}, root=tmp_path)

    said = r"peek.py:\d+ opens (future.sqlite: .* not cut|the database .*future.sqlite, but all)"
    with pytest.raises(StrategyError, match=said):
        look_ahead(strategy, wave(400))


def test_modules_with_many_numbers_are_named_as_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, peek: Callable[..., Any]
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code/prices.py").write_text(f"PRICES = {list(range(300))}\n")
    monkeypatch.syspath_prepend(tmp_path / "code")
    methods = """
    def load(self):
        import prices
        return prices.PRICES

    def is_long(self):
        return len(self.closes) % 7 < 3
"""
    strategy = peek(methods, root=tmp_path)

    verdict = look_ahead(strategy, wave(60))

    assert verdict_lines(strategy, verdict)[2:] == [
        "  not checked: code/prices.py contains 300 numbers, which are not cut with the bars: if "
        "they come from the tested time, the strategy looks ahead"
    ]


def test_a_file_that_is_read_while_the_module_is_imported_is_caught(
    peek: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "signals.csv").write_text("1\n2\n")
    methods = f"""
    def is_long(self):
        return SIGNALS[len(self.closes) % 2] == "1"

SIGNALS = Path({str(tmp_path / "signals.csv")!r}).read_text().split()
"""
    with pytest.raises(StrategyError, match=r"peek.py:\d+ opens signals.csv: .* not cut"):
        look_ahead(peek(methods, root=tmp_path), wave(400))


PRICES = {
    "a limit": "self.submit_order(self.limit(self.near()))",
    "a limit that is moved": """
        if not self.orders:
            self.orders.append(self.limit(Price.from_str("100.00")))
            self.submit_order(self.orders[0])
        elif self.cache.order(self.orders[0].client_order_id).is_open:
            self.modify_order(self.orders[0].client_order_id, price=self.near())""",
    "a limit that is cancelled": """
        if len(self.closes) % 5 == 1:
            self.orders.append(self.limit(Price.from_str("100.00")))
            self.submit_order(self.orders[-1])
        elif self.next_close() > self.closes[-1]:
            self.cancel_order(self.orders[-1].client_order_id)""",
}


@pytest.mark.parametrize("lines", PRICES.values(), ids=PRICES.keys())
def test_a_price_that_knows_the_next_bar_is_caught_before_it_is_filled(
    peek: Callable[..., Any], lines: str
) -> None:
    methods = f"""
    orders = []

    def limit(self, price):
        return self.order_factory.limit(
            self.config.instrument_id, OrderSide.BUY, Quantity.from_str("0.001"), price)

    def next_close(self):
        return self.future[min(len(self.closes), len(self.future) - 1)]

    def near(self):
        return Price.from_str(f"{{self.next_close() // 2 + len(self.closes):.2f}}")

    def is_long(self):
        {lines}


from nautilus_trader.model import Price
"""
    strategy = peek(methods, instrument=rules(tick_size="0.01"))

    with pytest.raises(StrategyError, match=r"the first (change of an )?order that differs is"):
        look_ahead(strategy, wave(60))


def test_limit_orders_that_never_fill_are_compared_too(peek: Callable[..., Any]) -> None:
    methods = """
    def is_long(self):
        if self.future[min(len(self.closes), len(self.future) - 1)] > self.closes[-1]:
            from nautilus_trader.model import Price
            self.submit_order(self.order_factory.limit(self.config.instrument_id, OrderSide.BUY,
                Quantity.from_str("0.001"), Price.from_str("100.00")))
"""
    strategy = peek(methods, instrument=rules(tick_size="0.01"))

    with pytest.raises(StrategyError, match="first order that differs"):
        look_ahead(strategy, wave(60))
