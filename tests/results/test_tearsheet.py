"""The page of a result: its numbers against the files, and as a browser shows it."""

from __future__ import annotations

import html
import itertools
import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tbv8.aggregate import aggregate
from tbv8.backtest.round_trips import read_round_trips
from tbv8.config import files, records
from tbv8.manifest import PAGE_PART, PLOTLY_BESIDE
from tbv8.market import DAY_MS, HOUR_MS, Span, parse_time, parse_timeframe
from tbv8.page.plotly import PLOTLY_FILE, write_plotly
from tbv8.page.words import length, minute
from tbv8.results.tearsheet import prices
from tbv8.results.tearsheet.part import minutes
from tests.backtest.builders import (
    PAIR,
    SCRIPTED,
    START_MS,
    STEPS,
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
from tests.browser import DESKTOP, PHONE, color, opened, overflow
from tests.page.test_charts import as_figure, data_of
from tests.page.test_packed import unpacked

SHADOW = "PRIMARY_LIVE_SECONDARY_SHADOW"
MAX_BYTES = 8_000_000
CHARTS = ("equity-chart", "drawdown-chart", "exposure-chart", "price-strip")
DRAWN = (*CHARTS, "price-chart")
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
        routing=files.Routing(primary="hyperliquid", secondary="mexc", mode=SHADOW),
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
    assert len(text.encode()) < MAX_BYTES
    return folder, text


def candles(prices: dict[str, Any]) -> dict[str, list[Any]]:
    """Return open, high, low and close of a chart's bars from their packed differences."""
    bars = prices["bars"]
    t, close, jump, above, below = (
        unpacked(bars[name]) for name in ("t", "close", "jump", "above", "below")
    )
    places = bars["close"]["places"]
    before = [close[0], *close[:-1]]
    opens = [round(b + j, places) for b, j in zip(before, jump, strict=True)]
    tops = zip(opens, close, above, strict=True)
    bottoms = zip(opens, close, below, strict=True)
    return {
        "t": t,
        "open": opens,
        "high": [round(max(o, c) + a, places) for o, c, a in tops],
        "low": [round(min(o, c) - b, places) for o, c, b in bottoms],
        "close": close,
    }


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

    for row, key, form in (("Return", "return", "+,.2%"), ("Sharpe ratio", "sharpe", ",.2f")):
        ours, hold, _same_exposure, theirs = cells(page, row)
        assert [ours, hold, theirs] == [format(run[key], form) for run in (primary, held, shadow)]
    assert cells(page, "Fees") == [f"{value['fees']:,.2f}" for value in (primary, shadow)]
    costs = ("pnl", "fees", "slippage", "funding")
    before = [sum(run[name] for name in costs) for run in (primary, shadow)]
    assert cells(page, "Profit or loss before costs") == [f"{value:,.2f}" for value in before]
    assert cells(page, "Round trips, closed or turned")[0] == f"{primary['trades']:,}"
    assert cells(page, "Fills")[0] == f"{primary['fills']:,}"
    runs = [run for run in (primary, held, shadow) if run["max_drawdown_start"]]
    ends = [(run["max_drawdown_end"] or "not yet")[:10] for run in runs]
    ours, hold, _same_exposure, theirs = cells(page, "Recovery from the max drawdown")
    assert [ours, hold, theirs] == ends
    below_ms = round(primary["max_drawdown_days"] * DAY_MS)
    assert cells(page, "Time in the max drawdown")[0] == length(below_ms)
    assert primary["halted"] == {"max_daily_loss_usd": len(primary["halts"])}
    denied, halts = primary["denied"]["max_daily_loss_usd"], len(primary["halts"])
    assert (
        f"hyperliquid: {denied:,} orders denied by max_daily_loss_usd; halted {halts} times by "
        "max_daily_loss_usd: all positions closed, no entries until 00:00 UTC"
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


def mean_share(folder: Path, *, is_net: bool) -> float:
    """Return the mean position of one symbol over time, fill by fill, from the result's files."""
    fills = read_rows(folder / "fills.csv")
    total, size, at_ms = 0.0, 0.0, START_MS
    price, equity = 0.0, 10_000.0
    for row in read_rows(folder / "equity.csv"):
        price = price or float(row["price"])
        within = [fill for fill in fills if at_ms <= int(fill["ts_ms"]) < int(row["ts_ms"])]
        for fill in [*within, {**row, "position": "nan"}]:
            held = size if is_net else abs(size)
            total += held * price / equity * (int(fill["ts_ms"]) - at_ms)
            at_ms, size = int(fill["ts_ms"]), float(fill["position"])
        size, price, equity = (float(row[name]) for name in ("position", "price", "equity"))
    return total / (at_ms - START_MS)


def test_the_average_position_is_that_of_the_fills(made: tuple[Path, str]) -> None:
    folder, page = made

    (average, _) = cells(page, "Average position, long plus short, share of equity")[::3]

    assert float(average.rstrip("%")) == pytest.approx(
        100 * mean_share(folder, is_net=False), abs=0.006
    )


@pytest.mark.parametrize(
    ("orders", "exposure", "average", "net"),
    [
        pytest.param({4: "-1"}, "0.00%", "0.00%", "+0.00%", id="at the last close"),
        pytest.param({2: "-1"}, "50.00%", "0.50%", "-0.50%", id="two of four hours"),
        pytest.param({1: "1", 2: "-2"}, "75.00%", "0.75%", "-0.25%", id="long, then short"),
    ],
)
def test_the_average_position_weighs_time_as_the_exposure_does(
    orders: dict[int, str], exposure: str, average: str, net: str, tmp_path: Path
) -> None:
    span = Span(START_MS, START_MS + 4 * HOUR_MS)
    strategy = make_strategy(params={"orders": orders}, instrument=rules(taker_fee="0"), span=span)

    _, page = run(strategy, make_bars([100.0] * 4), tmp_path)

    assert cells(page, "Time with a position")[0] == exposure
    assert cells(page, "Average position, long plus short, share of equity")[0] == average
    assert cells(page, "Average position, long minus short, share of equity")[0] == net
    assert f'<th scope="col">always {net.replace("+", "")}</th>' in page


def test_the_deepest_point_of_the_drawdown_is_the_summary_s(made: tuple[Path, str]) -> None:
    folder, page = made
    primary = json.loads((folder / "summary.json").read_text())["primary"]

    data = data_of(page, "drawdown-chart")

    deepest = min(data["columns"]["drawdown"])
    assert deepest == pytest.approx(-100 * primary["max_drawdown"], rel=1e-4)
    mark = data["layout"]["annotations"][-1]
    assert mark["x"] == parse_time(primary["max_drawdown_bottom"])
    assert data["layout"]["shapes"][0]["x0"] == parse_time(primary["max_drawdown_start"])


def test_the_price_chart_holds_every_bar_and_every_fill(made: tuple[Path, str]) -> None:
    folder, page = made
    chart = data_of(page, "price-chart")["prices"]

    bars, fills = candles(chart), read_rows(folder / "fills.csv")

    closes = [float(row["price"]) for row in read_rows(folder / "equity.csv")]
    assert bars["close"] == closes
    assert bars["t"] == [START_MS + HOUR_MS * number for number in range(2400)]
    assert bars["open"] == [closes[0], *closes[:-1]]
    ends = list(zip(bars["open"], closes, strict=True))
    assert bars["high"] == [max(both) + 0.5 for both in ends]
    assert bars["low"] == [min(both) - 0.5 for both in ends]
    marks = {name: unpacked(chart["fills"][name]) for name in ("t", "price", "quantity", "kind")}
    assert marks["t"] == [int(row["ts_ms"]) for row in fills]
    assert marks["price"] == [float(row["price"]) for row in fills]
    assert marks["quantity"] == [float(row["quantity"]) for row in fills]
    sides = [chart["fills"]["names"][int(kind)] for kind in marks["kind"]]
    assert [side for side, _ in sides] == [row["side"] for row in fills]


def test_the_price_chart_holds_every_trade_and_what_closed_it(made: tuple[Path, str]) -> None:
    folder, page = made
    trades = data_of(page, "price-chart")["prices"]["trades"]

    positions = read_rows(folder / "positions.csv")
    tags = {row["order_id"] for row in read_rows(folder / "tags.csv") if row["tags"] == "halt"}
    halts_ms = {row["ts_ms"] for row in read_rows(folder / "fills.csv") if row["order_id"] in tags}

    assert unpacked(trades["opened"]) == [int(row["opened_ms"]) for row in positions]
    assert unpacked(trades["entry"]) == [float(row["entry_price"]) for row in positions]
    assert unpacked(trades["exit"]) == [float(row["exit_price"]) for row in positions]
    assert unpacked(trades["gain"]) == [float(f"{Decimal(row['pnl']):.2f}") for row in positions]
    kinds = [trades["names"][int(kind)] for kind in unpacked(trades["kind"])]
    assert kinds == [
        [row["side"], "market", "halt" if row["closed_ms"] in halts_ms else "market"]
        for row in positions
    ]
    assert halts_ms


def test_hold_at_the_net_exposure_grows_by_that_share_of_each_bar(
    made: tuple[Path, str],
) -> None:
    folder, page = made
    rows = read_rows(folder / "equity.csv")
    share = mean_share(folder, is_net=True)
    sizes = [float(row["position"]) for row in rows]
    assert min(sizes) < 0 < max(sizes)  # short counts against long

    held, value = [10_000.0, *(float(row["buy_and_hold"]) for row in rows)], 10_000.0
    for before, now in itertools.pairwise(held):
        value *= 1 + share * (now / before - 1)

    data = data_of(page, "equity-chart")
    assert data["columns"]["exposed"][-1] == pytest.approx(value, abs=0.02)
    assert [trace["name"] for trace in data["traces"]][1] == f"always {share:.2%}"
    assert cells(page, "Average position, long minus short, share of equity")[0] == f"{share:+.2%}"
    assert cells(page, "Return")[2] == f"{value / 10_000 - 1:+,.2%}"


def test_the_worst_drawdowns_are_listed_and_marked(made: tuple[Path, str]) -> None:
    folder, page = made
    equity = [10_000.0, *(float(row["equity"]) for row in read_rows(folder / "equity.csv"))]
    peak, depth, deepest = equity[0], 0.0, []
    for value in equity[1:]:  # one after the other, each from a peak to the next
        if value >= peak:
            deepest.append(depth)
            peak, depth = value, 0.0
        depth = max(depth, 1 - value / peak)
    deepest.append(depth)

    table = page[page.index('id="drawdowns-table"') :]
    listed = re.findall(r"<tr><td>-(.*?)%</td>", table[: table.index("</table>")])

    expected = [f"{100 * value:.2f}" for value in sorted(deepest, reverse=True) if value]
    assert listed == expected[:5]
    assert len(data_of(page, "drawdown-chart")["layout"]["shapes"]) == len(listed)


def test_long_and_short_and_reasons_add_up(made: tuple[Path, str]) -> None:
    folder, page = made
    positions = read_rows(folder / "positions.csv")
    gains = {
        side: [Decimal(row["pnl"]) for row in positions if row["side"] == side]
        for side in ("long", "short")
    }
    gains["all"] = gains["long"] + gains["short"]

    groups = page[page.index('<section id="groups">') :]
    groups = groups[: groups.index("</section>")]

    assert cells(groups, "Round trips") == [str(len(values)) for values in gains.values()]
    assert cells(groups, "Profit or loss, USD") == [
        f"{sum(values):+,.2f}" for values in gains.values()
    ]
    won = [sum(value > 0 for value in values) / len(values) for values in gains.values()]
    assert cells(groups, "Win rate") == [f"{share:.2%}" for share in won]
    exits = groups[groups.index('id="exits-table"') :]
    by_reason = [int(cells(exits, reason)[0]) for reason in ("market", "halt")]
    assert sum(by_reason) == len(positions)
    assert by_reason[1] == len(
        json.loads((folder / "summary.json").read_text())["primary"]["halts"]
    )


def test_the_histograms_hold_each_day_and_trade_once(made: tuple[Path, str]) -> None:
    folder, page = made
    positions = read_rows(folder / "positions.csv")

    days, trades = (data_of(page, id_)["columns"] for id_ in ("days-chart", "shares-chart"))

    assert sum(trades["loss"]) == sum(Decimal(row["pnl"]) < 0 for row in positions)
    assert sum(trades["gain"]) == sum(Decimal(row["pnl"]) > 0 for row in positions)
    flat = int(found[1]) if (found := re.search(r"(\d+) days? without any return", page)) else 0
    assert sum(days["loss"]) + sum(days["gain"]) + flat == 100


def test_the_axes_of_trades_are_named_and_buttons_name_no_minutes(made: tuple[Path, str]) -> None:
    axes = {
        id_: [data_of(made[1], id_)["layout"][axis]["title"]["text"] for axis in ("xaxis", "yaxis")]
        for id_ in ("mae-chart", "mfe-chart")
    }

    assert axes == {"mae-chart": ["MAE", "gain"], "mfe-chart": ["MFE", "gain"]}
    assert ">month</button>" in made[1]  # 1m is a minute in tbv8
    assert ">1 m</button>" not in made[1]


def test_every_chart_is_one_that_plotly_accepts(made: tuple[Path, str]) -> None:
    _, page = made

    others = ("rolling", "shadow", "difference", "days", "shares", "mae", "mfe")
    for id_ in (*CHARTS[:3], *(f"{name}-chart" for name in others)):
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
    assert "SIMULATED: the data of sample are synthetic." in page
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


def test_many_times_are_shown_as_single_ones_are() -> None:
    times_ms = [1_706_702_400_000, 1_706_745_607_999, -86_400_000]
    texts = ["2024-01-31 12:00", "2024-02-01 00:00:07", "1969-12-31 00:00"]

    assert minutes(np.array(times_ms, dtype=np.int64)) == texts
    assert [minute(ts_ms) for ts_ms in times_ms] == texts
    assert minutes(np.array([], dtype=np.int64)) == []


def test_fills_of_very_many_stand_together_at_their_average_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "_MAX_FILLS", 300)
    monkeypatch.setattr(prices, "_MAX_TRADES", 200)
    count = 3000
    strategy = trading(
        count, every=2, timeframe=parse_timeframe("1m"), risk=limits(max_daily_loss_usd="100000")
    )
    folder, page = run(strategy, make_bars(walk(count), timeframe="1m"), tmp_path)
    fills, positions = read_rows(folder / "fills.csv"), read_rows(folder / "positions.csv")
    assert len(fills) > 1400

    packed = data_of(page, "price-chart")["prices"]

    marks = {name: unpacked(column) for name, column in packed["fills"].items() if name != "names"}
    assert len(marks["t"]) <= 300
    for kind, side in enumerate(("buy", "sell")):
        own = [at for at, value in enumerate(marks["kind"]) if value == kind]
        of_side = [row for row in fills if row["side"] == side]
        assert sum(marks["count"][at] for at in own) == len(of_side)
        # the first mark is all fills of its side up to its time
        first = [row for row in of_side if int(row["ts_ms"]) <= marks["t"][own[0]]]
        paid = sum(Decimal(row["price"]) * Decimal(row["quantity"]) for row in first)
        total = sum(Decimal(row["quantity"]) for row in first)
        assert marks["count"][own[0]] == len(first)
        assert marks["quantity"][own[0]] == pytest.approx(float(total))
        assert marks["price"][own[0]] == pytest.approx(float(paid / total), rel=1e-6)
    # of very many trades the last are drawn, and only those are links
    assert unpacked(packed["trades"]["opened"]) == [
        int(row["opened_ms"]) for row in positions[-200:]
    ]
    links = re.findall(r'data-trade="price-chart:(\d+)"', page)
    assert [int(number) for number in links] == list(range(200))


@pytest.mark.browser
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


def test_a_year_of_five_minutes_stays_under_eight_megabytes_bar_by_bar(tmp_path: Path) -> None:
    count = 365 * 288
    bars = make_bars(walk(count), timeframe="5m", reach=0.5)
    span = Span(START_MS, START_MS + count * 300_000)
    strategy = make_strategy(timeframe=parse_timeframe("5m"), span=span)

    _, page = run(strategy, bars, tmp_path)

    drawn = data_of(page, "price-chart")["prices"]["bars"]
    assert drawn["t"]["count"] == count
    assert len(page.encode()) < 6_500_000  # which leaves room for fills and lines


def test_more_bars_than_fit_are_longer_candles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "MAX_PACKED", 15_000)
    bars = make_bars(walk(6_000), timeframe="1m", reach=0.5)
    strategy = make_strategy(timeframe=parse_timeframe("1m"))

    _, page = run(strategy, bars, tmp_path)

    assert "combine 3 of the 6,000 bars" in page
    drawn = candles(data_of(page, "price-chart")["prices"])
    for name, start, merged in (("high", 0, max), ("low", 0, min), ("close", 2, max)):
        values = bars[name].to_pylist()
        assert drawn[name] == [merged(values[at + start : at + 3]) for at in range(0, 6_000, 3)]
    assert drawn["open"] == bars["open"].to_pylist()[::3]


def test_excursions_are_those_of_whole_minutes_within_the_trade(tmp_path: Path) -> None:
    # long from the close at 01:00, a limit takes it out within the minute that ends at 01:04
    minutes = make_bars([100.0] * 60 + [103, 96, 101, 110], timeframe="1m", reach=1.0)
    strategy = make_strategy(
        params={"orders": {1: "1"}, "limits": {1: "-1@109"}},
        timeframe=parse_timeframe("1h"),
        detail="1m",
    )
    hours = aggregate(minutes, parse_timeframe("1h"))
    _, page = run(strategy, bars_of(strategy, hours, minutes=[minutes]), tmp_path)

    row = re.findall(r"<td>(.*?)</td>", page[page.index('id="trades-table"') :])

    # down to 95, 5 % below; up to the exit at 109, not to the 111 of that minute
    assert row[9:11] == ["5.00%", "9.00%"]
    assert row[13:15] == ["market", "limit"]


def test_a_stop_that_triggers_at_a_close_belongs_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Bought 1 at the close at 01:00, 100.5 with a tick of slippage. Sent at 01:30, the stop counts
    # at the close at 02:00, which is below it: 95.5. Before it the hour's funding is paid on 96.
    methods = """
    def at_close(self, number):
        if number == 1:
            self.market(Decimal(1))

    def later(self, number):
        if number == 1:
            self.stop(-1, 99)
"""
    install(monkeypatch, tmp_path / "user", "steps", STEPS + methods)
    strategy = make_strategy(
        module="steps",
        class_name="Steps",
        slippage_ticks=1,
        instrument=rules(funding_rate_8h="0.008", funding_hours=1),
    )

    folder, page = run(strategy, make_bars([100.0, 96.0, 97.0], reach=1.0), tmp_path)

    assert [(fill["type"], fill["at"]) for fill in read_rows(folder / "fills.csv")] == [
        ("market", "close"),
        ("stop_market", "close"),
    ]
    (trip,) = read_rows(folder / "positions.csv")
    assert (trip["exit_price"], trip["funding"]) == ("95.5", "0.09600000")
    assert json.loads((folder / "summary.json").read_text("utf-8"))["primary"]["slippage"] == 1
    row = re.findall(r"<td>(.*?)</td>", page[page.index('id="trades-table"') :])
    assert row[9] == "5.47%"  # down to 95, the low of the whole bar


def test_trades_by_the_tags_of_entry_and_exit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From the warm-up long 1 from 90, and without fees: at 100 closed with +10. Long from 100 to
    # 104, +4. Short from 103 to 106, -3, turned there to long, and that to 100, -6. Long from 98
    # to 99, +1.
    orders = {
        1: ("1", "early"),
        3: ("-1", "rest"),
        4: ("1", "dip"),
        5: ("-1", "rest"),
        6: ("-1", "top"),
        7: ("2", "dip"),
        8: ("-1", None),
        9: ("1", None),
        10: ("-1", "rest"),
    }
    methods = f"""
    def at_close(self, number):
        change, tag = {orders}.get(number, (0, None))
        if change:
            self.market(Decimal(change), **({{"tag": tag}} if tag else {{}}))
"""
    install(monkeypatch, tmp_path / "user", "steps", STEPS + methods)
    strategy = make_strategy(
        module="steps",
        class_name="Steps",
        instrument=rules(taker_fee="0"),
        warm_up_ms=2 * HOUR_MS,
        span=Span(START_MS + 2 * HOUR_MS, START_MS + 11 * HOUR_MS),
    )
    closes = [90.0, 90.0, 100.0, 100.0, 104.0, 103.0, 106.0, 100.0, 98.0, 99.0, 99.0]

    folder, page = run(strategy, make_bars(closes), tmp_path)

    trips = read_round_trips(folder, None)
    assert trips["pnl"].to_pylist() == [f"{pnl}.00000000" for pnl in (10, 4, -3, -6, 1)]
    assert "2024-01-01 11:00 UTC, after a warm-up of 2h<" in page
    assert (
        "hyperliquid: long 1 BTC at the start, carried over from the warm-up: its entry is not "
        "counted, its exit is."
    ) in page
    carried = json.loads((folder / "summary.json").read_text())["primary"]["start_positions"]
    assert carried == {"BTC/USDT": 1}
    drawn = data_of(page, "exposure-chart")["columns"]  # worth 100 of 10,000 USD
    assert (drawn["t"][0], drawn["exposure_0"][0]) == (strategy.span.start_ms, 0.01)
    assert trips["entry_by"].to_pylist() == ["warm-up", "dip", "top", "dip", "market"]
    assert trips["by"].to_pylist() == ["rest", "rest", "dip", "market", "rest"]
    entries, exits = (
        [re.findall(r"<td>(.*?)</td>", row)[:4] for row in re.findall(r"<tr>(<td>.*?)</tr>", part)]
        for part in (
            page[page.index(f'id="{name}-table"') :].partition("</table>")[0]
            for name in ("entries", "exits")
        )
    )
    assert entries == [
        ["dip", "2", "50.00%", "-2.00"],
        ["market", "1", "100.00%", "+1.00"],
        ["top", "1", "0.00%", "-3.00"],
        ["warm-up", "1", "100.00%", "+10.00"],
    ]
    assert exits == [
        ["rest", "3", "100.00%", "+15.00"],
        ["dip", "1", "0.00%", "-3.00"],
        ["market", "1", "0.00%", "-6.00"],
    ]


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
        own = [fill for fill in fills if fill["symbol"] == symbol]
        assert len(own) > 20
        marks = data["prices"]["fills"]
        assert unpacked(marks["price"]) == [float(fill["price"]) for fill in own]
        assert as_figure(data)
        rows = [row for row in read_rows(folder / "market.csv") if row["symbol"] == symbol]
        assert candles(data["prices"])["low"] == [float(row["low"]) for row in rows]


def test_exposure_is_drawn_for_each_symbol_and_for_all(paired: tuple[Path, str]) -> None:
    folder, page = paired
    data = data_of(page, "exposure-chart")
    rows = {int(row["ts_ms"]): row for row in read_rows(folder / "equity.csv")}

    names = [trace["name"] for trace in data["traces"]]
    columns = data["columns"]
    at = next(n for n, share in enumerate(columns["exposure_1"]) if share > 0)
    row = rows[columns["t"][at]]

    assert names == ["gross, long and short added", "BTC/USDT", "ETH/USDT"]
    each = [
        float(row[f"position_{symbol}"]) * float(row[f"price_{symbol}"]) / float(row["equity"])
        for symbol in names[1:]
    ]
    drawn = [columns[f"exposure_{number}"][at] for number in range(3)]
    assert drawn == pytest.approx([abs(each[0]) + abs(each[1]), *each], abs=1e-4)
    assert all(each)


def test_exposure_is_drawn_at_every_change_of_the_position(made: tuple[Path, str]) -> None:
    folder, page = made
    columns = data_of(page, "exposure-chart")["columns"]
    sizes = [float(row["position"]) for row in read_rows(folder / "equity.csv")]
    times_ms = [int(row["ts_ms"]) for row in read_rows(folder / "equity.csv")]

    changes = {
        at for at, last, size in zip(times_ms, [0.0, *sizes], sizes, strict=False) if size != last
    }

    start_ms, *drawn_ms = columns["t"]
    assert start_ms == times_ms[0] - HOUR_MS
    assert columns["exposure_0"][0] == 0
    assert changes <= set(drawn_ms) < set(times_ms)
    assert len(changes) > 100


def test_the_trades_of_several_symbols_are_named(paired: tuple[Path, str]) -> None:
    folder, page = paired
    trades = page[page.index('id="trades-table"') :]
    trades = trades[: trades.index("</table>")]

    rows = re.findall(r'<tr><td>(\w+/\w+)</td><td><a href="#price" data-trade="(.*?)">', trades)

    symbols = [symbol for symbol, _ in rows]
    assert symbols == [row["symbol"] for row in read_rows(folder / "positions.csv")]
    for symbol, id_ in (("BTC/USDT", "price-chart"), ("ETH/USDT", "price-chart-2")):
        numbers = [place for name, place in rows if name == symbol]
        assert numbers == [f"{id_}:{number}" for number in range(len(numbers))]
    assert set(symbols) == {"BTC/USDT", "ETH/USDT"}
    assert "BTC/USDT, ETH/USDT, 900 1h bars of sample (simulated)" in page


# In a browser.


@pytest.mark.browser
def test_plotly_lies_once_beside_all_pages_where_a_person_prefers(tmp_path: Path) -> None:
    part = {"digest": "ef" * 32, "value": {PLOTLY_FILE: PLOTLY_BESIDE}}
    (tmp_path / PLOTLY_FILE).touch()
    write_plotly(tmp_path)

    backtest(make_strategy(), make_bars(walk(50)), tmp_path, inputs={**INPUTS, PAGE_PART: part})

    path = tmp_path / "test_v1" / "tearsheet.html"
    assert path.stat().st_size < 200_000
    with opened(path, files=[tmp_path / PLOTLY_FILE]) as page:
        assert page.locator("#equity-chart .main-svg").count() > 0


@pytest.mark.browser
def test_it_fits_a_phone(paired: tuple[Path, str]) -> None:
    folder, _ = paired

    with opened(folder / "tearsheet.html", width=PHONE, dark=True) as page:
        assert overflow(page) == 0
        for id_ in DRAWN:
            box = page.locator(f"#{id_}").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= PHONE


@pytest.mark.browser
def test_zooming_one_chart_zooms_all_and_light_and_dark_keep_zoom_and_scale(
    made: tuple[Path, str],
) -> None:
    folder, text = made
    columns = candles(data_of(text, "price-chart")["prices"])
    layout = "document.getElementById('equity-chart').layout"

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

        light = color(page, "#equity-chart .xtick text", "fill")
        page.click("button[data-log='equity-chart']")
        page.wait_for_function(f"{layout}.yaxis.type === 'log'")
        page.click("button[data-zoom$=':7']")
        page.wait_for_function(f"{layout}.yaxis.autorange !== true")
        zoomed = page.evaluate(f"{layout}.xaxis.range")
        low, high = page.evaluate(f"{layout}.yaxis.range")
        assert 3.8 < low < high < 4.2  # powers of ten
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(
            "before => getComputedStyle(document.querySelector('#equity-chart .xtick text')).fill"
            " !== before",
            arg=light,
        )
        assert page.evaluate(f"{layout}.xaxis.range") == zoomed
        assert page.evaluate(f"{layout}.yaxis.type") == "log"
        assert color(page, "body", "backgroundColor") == "rgb(16, 18, 20)"
        page.click("button[data-log='equity-chart']")
        page.wait_for_function(f"{layout}.yaxis.type === 'linear' && {layout}.yaxis.range[0] > 99")


@pytest.mark.browser
def test_it_opens_offline_and_a_day_has_its_own_bars(made: tuple[Path, str]) -> None:
    folder, text = made
    bars = candles(data_of(text, "price-chart")["prices"])
    trace = "document.getElementById('price-chart').data[0]"

    with opened(folder / "tearsheet.html") as page:
        assert page.title() == "test_v1 (simulated) · tbv8"
        for id_ in DRAWN:
            assert page.locator(f"#{id_} .main-svg").count() > 0
        assert overflow(page) == 0
        buttons = "[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
        assert set(page.evaluate(buttons)) == {
            "Download plot as a PNG",
            "Zoom",
            "Pan",
            "Reset axes",
        }

        # and candles are as long as fits, until a day is in sight
        assert page.inner_text("#price-chart-note").startswith("Shown: candles of 6 h, ")
        high, low, opened_at, close = (
            page.evaluate(f"{trace}.{name}.slice(0, 3)")
            for name in ("high", "low", "open", "close")
        )
        assert high == [max(bars["high"][at : at + 6]) for at in (0, 6, 12)]
        assert low == [min(bars["low"][at : at + 6]) for at in (0, 6, 12)]
        assert opened_at == bars["open"][0:18:6]
        assert close == bars["close"][5:18:6]

        page.click("button[data-zoom='price-chart:1']")
        assert page.inner_text("#price-chart-note").startswith("Shown: candles of 1 h, ")
        assert page.evaluate(f"[...{trace}.close].slice(-24)") == bars["close"][-24:]
        page.click("button[data-move='price-chart:-1']")
        shown = page.evaluate("document.getElementById('drawdown-chart').layout.xaxis.range")
        end = START_MS + 2400 * HOUR_MS
        assert shown == [end - 1.5 * DAY_MS, end - 0.5 * DAY_MS]
        # the part in sight is marked in the strip, and can be moved there
        sight = "document.getElementById('price-strip').layout.shapes[0]"
        assert [page.evaluate(f"{sight}.x0"), page.evaluate(f"{sight}.x1")] == shown
        page.evaluate(
            "([from, to]) => Plotly.relayout('price-strip',"
            " {'shapes[0].x0': from, 'shapes[0].x1': to})",
            [START_MS, START_MS + DAY_MS],
        )
        page.wait_for_function(
            "from => document.getElementById('price-chart').layout.xaxis.range[0] === from",
            arg=START_MS,
        )


@pytest.mark.browser
def test_bars_that_do_not_divide_a_day_become_multiples_of_themselves(tmp_path: Path) -> None:
    strategy = make_strategy(timeframe=parse_timeframe("7m"))
    folder, _ = run(strategy, make_bars(walk(900), timeframe="7m"), tmp_path)

    with opened(folder / "tearsheet.html") as page:
        lengths = page.evaluate(
            "[[7, 4], [7, 30], [1440, 90], [10080, 3650], [5, 365], [null, 3650]].map("
            "([step, days]) => priceCharts.lengthFor(step && step * 6e4, days * 864e5, 1000) / 6e4)"
        )
        assert page.inner_text("#price-chart-note").startswith("Shown: candles of 14 min, ")

    assert lengths == [21, 140, 1440, 20160, 1440, 0]


@pytest.mark.browser
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_click_on_a_head_sorts_the_trades_and_one_on_a_trade_shows_it(
    made: tuple[Path, str], width: int
) -> None:
    folder, _ = made
    position = read_rows(folder / "positions.csv")[3]
    opened_ms, closed_ms = int(position["opened_ms"]), int(position["closed_ms"])
    entry, exit_ = float(position["entry_price"]), float(position["exit_price"])
    chart = "document.getElementById('price-chart')"
    gains = [Decimal(row["pnl"]) for row in read_rows(folder / "positions.csv")][-1000:]

    with opened(folder / "tearsheet.html", width=width) as page:
        assert overflow(page) == 0
        assert page.evaluate(
            "[...document.querySelectorAll('#numbers .scroll')]"
            ".map(box => box.scrollWidth - box.clientWidth)"
        ) == [0, 0, 0, 0]
        head = page.locator("#trades-table th button", has_text="PnL, USD")
        head.click()
        rows = "[...document.querySelectorAll('#trades-table tbody tr')]"
        column = f"{rows}.map(row => row.cells[7].innerText)"
        up = [float(text.replace(",", "")) for text in page.evaluate(column)]
        assert up == sorted(float(f"{gain:.2f}") for gain in gains)
        head.click()
        down = [float(text.replace(",", "")) for text in page.evaluate(column)]
        assert down == up[::-1]
        assert head.locator("xpath=..").get_attribute("aria-sort") == "descending"

        page.locator("a[data-trade='price-chart:3']").click()

        words = page.inner_text("#price-chart-trade")
        assert words.startswith(f"Trade 4 of {len(read_rows(folder / 'positions.csv'))}: ")
        assert position["side"] in words
        assert f"in at {entry:,} (market), out at {exit_:,} (market)" in words
        chosen = page.evaluate(f"{chart}.data.find(trace => trace.name === 'chosen trade')")
        assert chosen["x"] == [opened_ms, closed_ms, None]
        assert chosen["y"] == [entry, exit_, None]
        start, end = page.evaluate(f"{chart}.layout.xaxis.range")
        assert start < opened_ms < closed_ms < end
        low, high = page.evaluate(f"{chart}.layout.yaxis.range")
        assert low < min(entry, exit_) <= max(entry, exit_) < high
        assert page.locator("#price-chart").bounding_box()["y"] < 900
        assert page.locator("tr.chosen td").first.inner_text() in words

        page.click("button[data-trade-step='price-chart:1']")
        assert page.inner_text("#price-chart-trade").startswith("Trade 5 of ")
        # its marks are those of its two fills, and a click on one chooses its trade
        marks = page.evaluate(f"{chart}.data.filter(t => ['buy', 'sell'].includes(t.meta))")
        assert all(trace["x"] for trace in marks)
        page.evaluate(
            f"{chart}.emit('plotly_click', {{points: [{{data: {{meta: 'buy'}}, x: {opened_ms}}}]}})"
        )
        assert page.inner_text("#price-chart-trade") == words


def test_a_wave_with_hundreds_of_fills_has_its_monthly_returns(tmp_path: Path) -> None:
    _, page = run(make_strategy(timeframe=parse_timeframe("5m")), wave(400), tmp_path)

    assert re.search(r"<tr><td>2024</td><td>\+0\.0</td>", page)
