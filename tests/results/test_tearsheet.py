"""The page of a result: its numbers against the files, and as a browser shows it."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tbv8.config import records
from tbv8.market import DAY_MS, HOUR_MS, Span, parse_timeframe
from tests.backtest.builders import (
    PAIR,
    SCRIPTED,
    START_MS,
    backtest,
    bars_of,
    install,
    limits,
    make_bars,
    make_pair,
    make_strategy,
    read_rows,
    rules,
    wave,
)
from tests.browser import PHONE, color, opened, overflow
from tests.page.test_charts import as_figure, data_of

SHADOW = "PRIMARY_LIVE_SECONDARY_SHADOW"
MOST_BYTES = 6_000_000
CHARTS = ("equity-chart", "drawdown-chart", "exposure-chart", "price-chart")
INPUTS = {
    "config": {"digest": "ab" * 32, "value": {"params": {"</script><b>": "<i>"}}},
    "bars": {"digest": "cd" * 32, "value": {"venue": "sample"}},
}


def walk(count: int, *, seed: int = 7) -> list[float]:
    """Return closes that wander, on the tick of 0.5."""
    steps = np.random.default_rng(seed).normal(0, 0.004, count)
    closes: list[float] = (np.round(200 * np.exp(np.cumsum(steps))) / 2).tolist()
    return closes


def trading(count: int, *, every: int = 5, **changes: Any) -> records.Strategy:
    """A strategy that buys and sells in turn."""
    orders = {n: ("1" if n // every % 2 else "-1") for n in range(every, count - 1, every)}
    return make_strategy(params={"orders": orders}, **changes)


def shadowed(strategy: records.Strategy) -> records.Strategy:
    """The same, with a dearer shadow."""
    import msgspec

    return msgspec.structs.replace(
        strategy,
        routing=records.Routing(primary="hyperliquid", secondary="mexc", mode=SHADOW),
        instruments={
            "hyperliquid": {"BTC/USDT": rules()},
            "mexc": {"BTC/USDT": rules(taker_fee="0.002")},
        },
    )


def run(strategy: records.Strategy, bars: Any, results: Path) -> tuple[Path, str]:
    """Return the result's folder and its page."""
    backtest(strategy, bars, results, inputs=INPUTS)
    folder = results / strategy.strategy_id
    text = (folder / "tearsheet.html").read_text(encoding="utf-8")
    assert len(text.encode()) < MOST_BYTES
    return folder, text


def cells(page: str, name: str) -> list[str]:
    """Return the cells of the row that begins with a name."""
    found = re.search(rf"<tr><td>{re.escape(html.escape(name))}</td>(.*?)</tr>", page)
    assert found, name
    return re.findall(r"<td[^>]*>(.*?)</td>", found[1])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a result with trades, halts and a shadow."""
    folder = tmp_path_factory.mktemp("tearsheet")
    with pytest.MonkeyPatch.context() as patch:
        install(patch, folder / "user", "scripted", SCRIPTED)
        closes = walk(2400)
        strategy = trading(2400, risk=limits(max_daily_loss_usd="1"))
        return run(shadowed(strategy), make_bars(closes, reach=0.5), folder)


def test_its_numbers_are_those_of_the_summary(made: tuple[Path, str]) -> None:
    folder, page = made
    summary = json.loads((folder / "summary.json").read_text())
    primary, shadow = summary["primary"], summary["shadow"]
    held = primary["buy_and_hold"]

    assert cells(page, "Return") == [
        f"{value['return']:+,.2%}" for value in (primary, held, shadow)
    ]
    assert cells(page, "Sharpe ratio") == [
        f"{value['sharpe']:,.2f}" for value in (primary, held, shadow)
    ]
    assert cells(page, "Fees") == [f"{value['fees']:,.2f}" for value in (primary, shadow)]
    assert cells(page, "Round trips, from flat to flat")[0] == f"{primary['trades']:,}"
    assert cells(page, "Fills")[0] == f"{primary['fills']:,}"
    denied, halts = primary["denied"]["max_daily_loss_usd"], len(primary["halts"])
    assert (
        f"hyperliquid: {denied:,} orders denied by max_daily_loss_usd; closed and halted until "
        f"00:00 UTC {halts} times by max_daily_loss_usd"
    ) in page
    assert f"<summary>hyperliquid (primary): halts: {halts}</summary>" in page
    assert halts


def test_its_curves_are_points_of_equity_csv(made: tuple[Path, str]) -> None:
    folder, page = made
    rows = {int(row["ts_ms"]): row for row in read_rows(folder / "equity.csv")}

    columns = data_of(page, "equity-chart")["columns"]

    assert columns["t"][0] == START_MS
    assert columns["equity"][0] == columns["hold"][0] == 10_000
    drawn = zip(columns["t"], columns["equity"], columns["hold"], strict=True)
    for at, equity, hold in list(drawn)[1:]:
        assert equity == pytest.approx(float(rows[at]["equity"]), abs=0.01)
        assert hold == pytest.approx(float(rows[at]["buy_and_hold"]), abs=0.01)
    values = [float(row["equity"]) for row in rows.values()]
    assert min(columns["equity"]) == pytest.approx(min(values), abs=0.01)
    assert max(columns["equity"]) == pytest.approx(max(10_000, *values), abs=0.01)
    assert columns["equity"][-1] == pytest.approx(values[-1], abs=0.01)


def test_the_average_position_is_that_of_equity_csv(made: tuple[Path, str]) -> None:
    folder, page = made
    rows = read_rows(folder / "equity.csv")

    shares = [
        abs(float(row["position"])) * float(row["price"]) / float(row["equity"]) for row in rows
    ]

    said = cells(page, "Average position, share of equity")[0]
    assert float(said.rstrip("%")) == pytest.approx(100 * sum(shares) / len(rows), abs=0.006)


def test_the_deepest_point_of_the_drawdown_is_the_summary_s(made: tuple[Path, str]) -> None:
    folder, page = made
    primary = json.loads((folder / "summary.json").read_text())["primary"]

    data = data_of(page, "drawdown-chart")

    deepest = min(data["columns"]["drawdown"])
    assert deepest == pytest.approx(-100 * primary["max_drawdown"], rel=1e-4)
    mark = data["layout"]["annotations"][-1]
    assert mark["x"] == primary["max_drawdown_bottom"]
    assert data["layout"]["shapes"][0]["x0"] == primary["max_drawdown_start"]


def test_every_fill_is_marked_at_its_time_and_price(made: tuple[Path, str]) -> None:
    folder, page = made
    columns = data_of(page, "price-chart")["columns"]

    for side in ("buy", "sell"):
        fills = [row for row in read_rows(folder / "fills.csv") if row["side"] == side]
        assert columns[f"{side}_t"] == [int(row["ts_ms"]) for row in fills]
        assert columns[f"{side}_price"] == [float(row["price"]) for row in fills]


def test_every_chart_is_one_that_plotly_accepts(made: tuple[Path, str]) -> None:
    _, page = made

    for id_ in (*CHARTS, "rolling-chart", "shadow-chart", "difference-chart"):
        figure = as_figure(data_of(page, id_))
        assert figure.layout.annotations[0].text == "simulated"


def test_the_whole_key_stands_in_it_escaped(made: tuple[Path, str]) -> None:
    _, page = made

    assert "ab" * 32 in page
    assert "cd" * 32 in page
    assert "&lt;/script&gt;&lt;b&gt;" in page
    assert "</script><b>" not in page


def test_a_made_up_market_cannot_be_overlooked(made: tuple[Path, str], tmp_path: Path) -> None:
    _, page = made
    assert "SIMULATED: the venue sample is made up by tbv8." in page
    assert "<title>test_v1 (simulated) · tbv8</title>" in page

    from tbv8.market import Series

    real = make_strategy(strategy_id="real", source=Series("binance_spot", "BTC/USDT"))
    _, page = run(real, make_bars([100, 101]), tmp_path)
    assert "simulated" not in page.split("<script>")[0].lower().replace("--watermark", "")
    assert data_of(page, "equity-chart")["layout"]["annotations"] == []


def test_it_is_listed_and_the_same_bytes_again_in_another_process(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
import pytest
from tests.backtest.builders import SCRIPTED, install, make_bars
from tests.results.test_tearsheet import run, shadowed, trading, walk
install(pytest.MonkeyPatch(), Path(sys.argv[1]) / "user", "scripted", SCRIPTED)
run(shadowed(trading(900)), make_bars(walk(900)), Path(sys.argv[1]))
"""
    pages = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        environment = {"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))}
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, env=environment)
        pages.append((folder / "test_v1" / "tearsheet.html").read_bytes())
        manifest = json.loads((folder / "test_v1" / "manifest.json").read_text())
        assert "tearsheet.html" in manifest["outputs"]

    assert pages[0] == pages[1]


def test_fills_of_many_are_drawn_together_at_their_average_price(tmp_path: Path) -> None:
    count = 8000
    strategy = trading(
        count, every=2, timeframe=parse_timeframe("1m"), risk=limits(max_daily_loss_usd="100000")
    )
    folder, page = run(strategy, make_bars(walk(count), timeframe="1m"), tmp_path)
    fills = read_rows(folder / "fills.csv")
    assert len(fills) > 3900

    columns = data_of(page, "price-chart")["columns"]

    marks = len(columns["buy_t"]) + len(columns["sell_t"])
    assert marks <= 1500
    assert f"The {len(fills):,} fills are drawn as {marks:,} marks" in page
    # the first mark is all buys up to its time
    for side in ("buy", "sell"):
        first = [
            f for f in fills if f["side"] == side and int(f["ts_ms"]) <= columns[f"{side}_t"][0]
        ]
        paid = sum(Decimal(f["price"]) * Decimal(f["quantity"]) for f in first)
        held = sum(Decimal(f["quantity"]) for f in first)
        assert columns[f"{side}_price"][0] == pytest.approx(float(paid / held), abs=0.06)
        assert columns[f"{side}_text"][0].startswith(f"{len(first):,} fills, {held:,.3f} at ")
    counted = sum(int(text.split()[0].replace(",", "")) for text in columns["buy_text"])
    assert counted == sum(f["side"] == "buy" for f in fills)
    assert (
        f"the last 1,000 of {len(read_rows(folder / 'positions.csv')):,} closed positions" in page
    )


@pytest.mark.parametrize(
    ("strategy", "closes", "said"),
    [
        pytest.param({}, [100.0], "The run is shorter than 30 days.", id="one bar"),
        pytest.param({}, [100.0, 101.0] * 20, "No position was closed.", id="no trades"),
        pytest.param({}, [100.0] * 40, "The equity never fell below an earlier value.", id="flat"),
        pytest.param(
            {
                "params": {"orders": {2: "2"}},
                "starting_balance_usd": Decimal(150),
                "risk": limits(max_daily_loss_usd="100000", max_leverage="40"),
            },
            [100.0] * 4 + [10.0, 12.0, 15.0, 9.0] * 10,
            "hyperliquid: the account was liquidated once, at 2024-01-01T05:00:00Z",
            id="less than nothing left",
        ),
    ],
)
def test_results_with_little_in_them_have_a_page(
    strategy: dict[str, Any], closes: list[float], said: str, tmp_path: Path
) -> None:
    folder, page = run(make_strategy(**strategy), make_bars(closes), tmp_path)

    assert said in page
    for id_ in CHARTS:
        assert as_figure(data_of(page, id_))
    if len(closes) != 40:
        with opened(folder / "tearsheet.html") as browser:
            assert browser.locator(".chart .main-svg").count() > 0


def test_two_hundred_thousand_bars_stay_under_six_megabytes(tmp_path: Path) -> None:
    count = 200_000
    bars = make_bars(walk(count), timeframe="1m", reach=0.5)
    span = Span(START_MS, START_MS + count * 60_000)
    strategy = make_strategy(timeframe=parse_timeframe("1m"), span=span)
    _, page = run(strategy, bars, tmp_path)

    data = data_of(page, "price-chart")["columns"]
    assert len(data["t"]) <= 1501
    assert min(data["low"]) == pytest.approx(min(bars["low"].to_pylist()), rel=1e-6)
    assert max(data["high"]) == pytest.approx(max(bars["high"].to_pylist()), rel=1e-6)


# Several symbols.


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a result of two symbols; the second is missing for the first fifty hours."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        install(patch, folder / "user", "pair", PAIR)
        orders = {n: f"0 {-1 if n % 60 else 1},1 {4 if n % 60 else -4}" for n in range(60, 880, 30)}
        strategy = make_pair(orders, span=Span(START_MS, START_MS + 900 * HOUR_MS))
        other = make_bars(walk(900, seed=3), reach=0.5).slice(50)
        return run(strategy, bars_of(strategy, make_bars(walk(900)), other), folder)


def test_each_symbol_has_a_chart_of_its_price_with_its_own_fills(paired: tuple[Path, str]) -> None:
    folder, page = paired
    fills = read_rows(folder / "fills.csv")

    for id_, symbol in (("price-chart", "BTC/USDT"), ("price-chart-2", "ETH/USDT")):
        data = data_of(page, id_)
        columns = data["columns"]
        own = [fill for fill in fills if fill["symbol"] == symbol]
        assert len(columns["buy_t"]) + len(columns["sell_t"]) == len(own) > 20
        assert set(columns["buy_price"]) <= {float(fill["price"]) for fill in own}
        assert as_figure(data)
        rows = [row for row in read_rows(folder / "market.csv") if row["symbol"] == symbol]
        assert columns["low"][1:] == [float(row["low"]) for row in rows]


def test_exposure_is_drawn_for_each_symbol_and_for_all(paired: tuple[Path, str]) -> None:
    folder, page = paired
    data = data_of(page, "exposure-chart")
    rows = {int(row["ts_ms"]): row for row in read_rows(folder / "equity.csv")}

    names = [trace["name"] for trace in data["traces"]]
    columns = data["columns"]
    at = next(n for n, share in enumerate(columns["exposure_1"]) if share > 0)
    row = rows[columns["t"][at]]

    assert names == ["all, long and short added", "BTC/USDT", "ETH/USDT"]
    each = [
        float(row[f"position_{symbol}"]) * float(row[f"price_{symbol}"]) / float(row["equity"])
        for symbol in names[1:]
    ]
    drawn = [columns[f"exposure_{number}"][at] for number in range(3)]
    assert drawn == pytest.approx([abs(each[0]) + abs(each[1]), *each], abs=1e-4)
    assert all(each)


def test_the_trades_of_several_symbols_are_named(paired: tuple[Path, str]) -> None:
    folder, page = paired
    trades = page[page.index('id="trades-table"') :]
    trades = trades[: trades.index("</table>")]

    symbols = re.findall(r"<tr><td>(\w+/\w+)</td>", trades)

    assert symbols == [row["symbol"] for row in read_rows(folder / "positions.csv")]
    assert set(symbols) == {"BTC/USDT", "ETH/USDT"}
    assert "BTC/USDT, ETH/USDT, 900 1h bars of sample (simulated)" in page


# In a browser.


def test_it_opens_offline_without_an_error(made: tuple[Path, str]) -> None:
    folder, _ = made

    with opened(folder / "tearsheet.html") as page:
        assert page.title() == "test_v1 (simulated) · tbv8"
        for id_ in CHARTS:
            assert page.locator(f"#{id_} .main-svg").count() > 0
        assert overflow(page) == 0
        buttons = "[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
        assert set(page.evaluate(buttons)) == {
            "Download plot as a PNG",
            "Zoom",
            "Pan",
            "Reset axes",
        }


@pytest.mark.parametrize(("name", "dark"), [("made", False), ("paired", True)])
def test_it_fits_a_phone(request: pytest.FixtureRequest, name: str, dark: bool) -> None:
    folder, _ = request.getfixturevalue(name)

    with opened(folder / "tearsheet.html", width=PHONE, dark=dark) as page:
        assert overflow(page) == 0
        for id_ in CHARTS:
            box = page.locator(f"#{id_}").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE


def test_charts_follow_light_and_dark_and_keep_their_zoom(made: tuple[Path, str]) -> None:
    folder, _ = made

    with opened(folder / "tearsheet.html") as page:
        light = color(page, "#equity-chart .xtick text", "fill")
        page.click("button[data-zoom$=':7']")
        page.wait_for_function("document.getElementById('equity-chart').layout.yaxis.range[0] > 0")
        zoomed = page.evaluate("document.getElementById('equity-chart').layout.xaxis.range")
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(
            "before => getComputedStyle(document.querySelector('#equity-chart .xtick text')).fill"
            " !== before",
            arg=light,
        )
        assert page.evaluate("document.getElementById('equity-chart').layout.xaxis.range") == zoomed
        assert color(page, "body", "backgroundColor") == "rgb(16, 18, 20)"


def test_zooming_one_chart_zooms_all_and_fits_their_values(made: tuple[Path, str]) -> None:
    folder, text = made
    columns = data_of(text, "price-chart")["columns"]

    with opened(folder / "tearsheet.html") as page:
        page.click("button[data-zoom='price-chart:7']")
        page.wait_for_timeout(300)
        ranges = page.evaluate(
            "['equity-chart', 'price-chart', 'shadow-chart'].map("
            "id => document.getElementById(id).layout.xaxis.range)"
        )
        end = START_MS + 2400 * HOUR_MS
        assert ranges == [[end - 7 * DAY_MS, end]] * 3
        seen = [
            at for at in range(len(columns["t"])) if end - 7 * DAY_MS <= columns["t"][at] <= end
        ]
        low, high = page.evaluate("document.getElementById('price-chart').layout.yaxis.range")
        lowest = min(columns["low"][at] for at in seen)
        highest = max(columns["high"][at] for at in seen)
        assert low <= lowest
        assert high >= highest
        assert high - low < 1.5 * (highest - lowest) + 2

        page.click("button[data-zoom='price-chart:0']")
        page.wait_for_timeout(300)
        assert page.evaluate("document.getElementById('shadow-chart').layout.xaxis.range") == [
            START_MS,
            end,
        ]


def test_a_click_on_a_head_sorts_the_trades(made: tuple[Path, str]) -> None:
    folder, _ = made
    gains = [Decimal(row["pnl"]) for row in read_rows(folder / "positions.csv")][-1000:]

    with opened(folder / "tearsheet.html") as page:
        head = page.locator("#trades-table th button", has_text="PnL")
        head.click()
        rows = "[...document.querySelectorAll('#trades-table tbody tr')]"
        column = f"{rows}.map(row => row.cells[7].innerText)"
        up = [float(text.replace(",", "")) for text in page.evaluate(column)]
        assert up == sorted(float(f"{gain:.2f}") for gain in gains)
        head.click()
        down = [float(text.replace(",", "")) for text in page.evaluate(column)]
        assert down == up[::-1]
        assert head.locator("xpath=..").get_attribute("aria-sort") == "descending"


def test_a_wave_with_hundreds_of_fills_has_its_monthly_returns(tmp_path: Path) -> None:
    _, page = run(make_strategy(timeframe=parse_timeframe("5m")), wave(400), tmp_path)

    assert re.search(r"<tr><td>2024</td><td>\+0\.0</td>", page)
