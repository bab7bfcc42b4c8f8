"""A mistake in a strategy's class gives one line, with the file and the line to mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.config import records
from tbv8.trading.loading import StrategyError
from tests.backtest.builders import install, make_bars, make_strategy, run_strategy

RIGHT = '''\
"""Buys at every bar."""
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class MineConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal


class Mine(Strategy):
    def __init__(self, config):
        super().__init__(config)

    def on_start(self):
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        size = Quantity.from_str("0.001")
        market = self.order_factory.market
        self.submit_order(market(self.config.instrument_id, OrderSide.BUY, size))
'''
CLASS, BAR = 16, 23  # the lines of `class Mine` and `def on_bar`


def run_it(monkeypatch: pytest.MonkeyPatch, folder: Path, source: str) -> int:
    path = install(monkeypatch, folder, "mine", source)
    monkeypatch.setattr(records.Strategy, "module_path", path)
    strategy = make_strategy(module="mine", class_name="Mine")
    return len(run_strategy(strategy, "hyperliquid", make_bars([100, 101, 102])).fills)


def test_the_right_one_trades(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run_it(monkeypatch, tmp_path, RIGHT) == 3


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param(
            "self.subscribe_bars(self.config.bar_type)",
            "pass",
            f"mine.py:{CLASS}: Mine sent no order and subscribed to no bars: write "
            "self.subscribe_bars(self.config.bar_type) in on_start",
            id="no bars asked for",
        ),
        pytest.param(
            "self.config.bar_type)\n",
            'BarType.from_str("ETH/USDT.hyperliquid-1-HOUR-LAST-EXTERNAL"))\n',
            "mine.py:21: ValueError: no bars ETH/USDT.hyperliquid-1-HOUR-LAST-EXTERNAL in this run",
            id="bars that there are not",
        ),
        pytest.param(
            "on_bar",
            "on_bars",
            f"mine.py:{CLASS}: Mine sent no order and has no on_bar: rename on_bars",
            id="a callback misspelt",
        ),
        pytest.param(
            "on_bar(self, bar)",
            "on_bar(self)",
            f"mine.py:{BAR}: write def on_bar(self, bar): too many positional arguments",
            id="a callback without its argument",
        ),
        pytest.param(
            "def on_bar",
            "async def on_bar",
            f"mine.py:{BAR}: on_bar is async, but nothing awaits it: write def",
            id="a callback that is async",
        ),
        pytest.param(
            "Mine(Strategy)",
            "Mine",
            f"mine.py:{CLASS}: Mine is not a nautilus_trader.trading.Strategy: derive it from that",
            id="no strategy",
        ),
        pytest.param(
            "__init__(self, config):\n        super().__init__(config)",
            "__init__(self):\n        super().__init__()",
            f"mine.py:{CLASS}: TypeError: Mine.__init__() takes 1 positional argument but 2 were "
            "given (strategy test_v1, in Mine())",
            id="a constructor without its argument",
        ),
        pytest.param(
            "    max_position: Decimal\n",
            "",
            "mine.py:10: MineConfig must be a dataclass with the fields bar_type, instrument_id, "
            "max_position: MineConfig.__init__() got an unexpected keyword argument 'max_position'",
            id="a config without what is given",
        ),
        pytest.param(
            "@dataclass(frozen=True, kw_only=True)\n",
            "",
            "mine.py:9: MineConfig must be a dataclass with the fields ",
            id="a config that is no dataclass",
        ),
        pytest.param(
            'size = Quantity.from_str("0.001")',
            'size = Quantity(float("nan"), 3)',
            f"mine.py:{BAR + 1}: ValueError: invalid f64 for 'value', was NaN (strategy "
            "test_v1, in on_bar at the close of ",
            id="a size that is not a number",
        ),
        pytest.param(
            'size = Quantity.from_str("0.001")',
            "raise SystemExit(3)",
            f"mine.py:{BAR + 1}: SystemExit: 3 (strategy test_v1, in on_bar at the close of ",
            id="an exit",
        ),
        pytest.param(
            'size = Quantity.from_str("0.001")',
            "size = 0.001",
            f"mine.py:{BAR + 3}: TypeError: 'float' object is not an instance "
            "of 'Quantity': write *sided(change, instrument) of tbv8.strategies.base for an "
            "order's first three arguments, or use its order helpers, which take numbers (",
            id="a float for a quantity",
        ),
        pytest.param(
            "market(self.config.instrument_id, OrderSide.BUY, size))",
            "self.order_factory.limit(self.config.instrument_id, OrderSide.BUY, size, 90.5))",
            f"mine.py:{BAR + 3}: TypeError: 'float' object is not an instance of "
            "'Price': write instrument.next_bid_price(x) or next_ask_price(x), or use the order "
            "helpers of tbv8.strategies.base, which take numbers (",
            id="a float for a price",
        ),
        pytest.param(
            "from decimal import Decimal\n",
            "from decimal import Decimal\nimport no_such_package\n",
            "mine.py:4: ModuleNotFoundError: No module named 'no_such_package': `uv add "
            "no_such_package` installs it if it is a package (strategy test_v1, in import)",
            id="a package that is not installed",
        ),
    ],
)
def test_a_mistake_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, old: str, new: str, said: str
) -> None:
    assert old in RIGHT

    with pytest.raises(StrategyError) as raised:
        run_it(monkeypatch, tmp_path, RIGHT.replace(old, new))

    assert str(raised.value).startswith(f"tbv8/strategies/{said}")
    assert "\n" not in str(raised.value)
