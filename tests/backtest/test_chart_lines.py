"""What a strategy adds for the eye: lines of the price chart, and tags of its orders."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.market import HOUR_MS, Span
from tbv8.trading.loading import StrategyError
from tests.backtest.builders import START_MS, backtest, install, make_bars, make_strategy, read_rows
from tests.browser import opened
from tests.page.test_charts import data_of
from tests.page.test_packed import unpacked

LINED = '''
"""Follows an average, tags its orders, and names three lines."""
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.indicators import SimpleMovingAverage
from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class LinedConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    lines: str = "good"


class Lined(Strategy):
    def __init__(self, config):
        super().__init__(config)
        self.mean, self.count = SimpleMovingAverage(3), 0
        self.chart_lines = {
            "mean": self.mean,
            "panel/bars, so far": lambda: self.count if self.count > 1 else None,
            "panel/opened_ms": lambda: None,
            "<i>%{x}": lambda: 100.5,
        }
        wrong = {"list": [self.mean], "number": {"mean": 3}, "name": {"ts_ms": self.mean}}
        self.chart_lines = wrong.get(config.lines, self.chart_lines)
        if config.lines == "raises":
            self.chart_lines = {"mean": lambda: 1 / 0}

    def on_start(self):
        self.register_indicator_for_bars(self.config.bar_type, self.mean)
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        self.count += 1
        if self.count in (2, 4):
            side = OrderSide.BUY if self.count == 2 else OrderSide.SELL
            tags = ["enter"] if self.count == 2 else ["leave", "late"]
            self.submit_order(self.order_factory.market(
                self.config.instrument_id, side, Quantity.from_str("1.000"), tags=tags))
'''


@pytest.fixture(autouse=True)
def _lined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, tmp_path / "user", "lined", LINED)


def test_lines_stand_in_their_file_at_each_close_and_tags_beside_their_orders(
    tmp_path: Path,
) -> None:
    strategy = make_strategy(module="lined", class_name="Lined", params={})

    backtest(strategy, make_bars([100, 101, 102, 104, 103]), tmp_path)

    path = tmp_path / "test_v1" / "chart_lines.csv"
    assert path.read_text().startswith('ts_ms,mean,"panel/bars, so far",panel/opened_ms,')
    rows = read_rows(path)
    equity = read_rows(tmp_path / "test_v1" / "equity.csv")
    assert [row["ts_ms"] for row in rows] == [row["ts_ms"] for row in equity][:-1]  # and the end
    means = [row["mean"] for row in rows]
    assert means[:2] == ["", ""]
    assert [float(mean) for mean in means[2:]] == pytest.approx([101, 102 + 1 / 3, 103])
    assert [row["panel/bars, so far"] for row in rows] == ["", "2", "3", "4", "5"]
    fills = read_rows(tmp_path / "test_v1" / "fills.csv")
    tags = {row["order_id"]: row["tags"] for row in read_rows(tmp_path / "test_v1" / "tags.csv")}
    assert [tags[fill["order_id"]] for fill in fills] == ["enter", "leave, late"]


@pytest.mark.browser
def test_the_page_draws_lines_on_the_price_and_in_panels(tmp_path: Path) -> None:
    strategy = make_strategy(module="lined", class_name="Lined")
    backtest(strategy, make_bars([100, 101, 102, 104, 103]), tmp_path)
    path = tmp_path / "test_v1" / "tearsheet.html"

    packed = data_of(path.read_text(encoding="utf-8"), "price-chart")["prices"]["lines"]

    lines = {(line["panel"], line["name"]): unpacked(line["values"]) for line in packed}
    assert lines == {
        (None, "mean"): [None, None, 101, pytest.approx(102 + 1 / 3, abs=1e-4), 103],
        ("panel", "bars, so far"): [None, 2, 3, 4, 5],
        ("panel", "opened_ms"): [None] * 5,
        (None, "<i>%{x}"): [100.5] * 5,
    }
    with opened(path) as page:
        drawn = page.evaluate(
            "document.getElementById('price-chart').data.filter(trace => trace.meta === 'line')"
            ".map(trace => [trace.name, trace.yaxis, trace.y[4]])"
        )
        assert drawn[:2] == [["mean", "y", 103], ["bars, so far", "y2", 5]]
        assert page.locator("#price-chart .legendtext", has_text="<i>%{x}").count() == 1


def test_the_warm_up_has_no_lines(tmp_path: Path) -> None:
    start_ms = START_MS + 3 * HOUR_MS
    strategy = make_strategy(
        module="lined",
        class_name="Lined",
        span=Span(start_ms, start_ms + 2 * HOUR_MS),
        warm_up_ms=3 * HOUR_MS,
    )

    backtest(strategy, make_bars([100, 101, 102, 104, 103]), tmp_path)

    rows = read_rows(tmp_path / "test_v1" / "chart_lines.csv")
    assert [row["ts_ms"] for row in rows] == [
        row["ts_ms"] for row in read_rows(tmp_path / "test_v1" / "equity.csv")
    ]
    assert rows[0]["panel/bars, so far"] == "4"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("list", "self.chart_lines is ["),
        ("number", "self.chart_lines has 3 as 'mean'"),
        ("name", "self.chart_lines has the key 'ts_ms'"),
        ("raises", "division by zero"),
    ],
)
def test_lines_that_cannot_be_drawn_end_the_run(lines: str, words: str, tmp_path: Path) -> None:
    strategy = make_strategy(module="lined", class_name="Lined", params={"lines": lines})

    with pytest.raises(StrategyError) as caught:
        backtest(strategy, make_bars([100, 101, 102, 104]), tmp_path)

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
