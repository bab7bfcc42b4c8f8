"""The page of `doit report`: what it says against what there is, and as a browser shows it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tbv8.market import Series
from tbv8.report.graph import Node
from tbv8.report.index import RecordingGap, Report, report_page
from tbv8.report.months import Month, SeriesMonths
from tbv8.report.results import read_results
from tbv8.report.status import (
    Database,
    GapStatus,
    LeftOut,
    ProjectStatus,
    StrategyStatus,
    TickStatus,
)
from tbv8.store.database import REVISION
from tests.browser import PHONE, color, opened, overflow
from tests.builders import day, write_manifest
from tests.page.test_charts import as_figure, data_of

BINANCE = Series("binance_spot", "BTC/USDT")


def write_result(results: Path, name: str, *, equity: list[float], **numbers: Any) -> None:
    """Write the files of a result that the page reads."""
    folder = results / name
    folder.mkdir(parents=True)
    primary = {"start_equity": 1000, "buy_and_hold": {"return": 0.5}, **numbers}
    summary = {
        "strategy_id": name,
        "symbol": "BTC/USDT",
        "symbols": ["BTC/USDT", "SOL/USDT"],
        "timeframe": "1h",
        "market_data_venue": "sample",
        "simulated": True,
        "span": {"start": "2024-01-01T00:00:00Z", "end": "2024-01-04T00:00:00Z"},
        "primary": primary,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [f"{day(at)},{value:.8f},0,0,1,1" for at, value in enumerate(equity, 1)]
    head = "ts_ms,equity,cash,position,price,buy_and_hold"
    (folder / "equity.csv").write_text("\n".join([head, *rows]) + "\n")
    (folder / "tearsheet.html").write_text("<p>")
    write_manifest(folder)


def strategy(name: str, *reasons: str) -> StrategyStatus:
    return StrategyStatus(
        strategy_id=name,
        symbol="BTC/USDT",
        symbols=("BTC/USDT", "ETH/USDT"),
        timeframe="1h",
        market_data_venue="sample",
        fresh=not reasons,
        reasons=reasons,
        simulated=True,
        numbers={},
    )


def make_report(results: Path, **changes: Any) -> Report:
    """A report on three results: fresh, stale, of a strategy that is gone; and one never made."""
    status = ProjectStatus(
        database=Database(
            path="data/tbv8.sqlite",
            size=12_300_000,
            wal_size=0,
            revision=REVISION,
            known_revision=REVISION,
            problem=changes.pop("problem", None),
        ),
        series=(),
        ticks=changes.pop("ticks", ()),
        tick_rows={},
        recorder_gaps=changes.pop("recorder_gaps", ()),
        strategies=changes.pop("strategies", ()),
        left_out=changes.pop("left_out", ()),
    )
    values: dict[str, Any] = {
        "status": status,
        "coverage": (),
        "recording_gaps": (),
        "results": read_results(results, max_points=1000),
        "tasks": (),
        "now_ms": day(40),
    }
    return Report(**(values | changes))


def write_results(folder: Path) -> Path:
    write_result(folder, "alpha", equity=[1010, 1200, 900], **{"return": -0.1, "sharpe": -2.5})
    write_result(folder, "beta", equity=[1001, 1002, 1100], **{"return": 0.1, "sharpe": 10.25})
    write_result(folder, "gone", equity=[1000, 1000, 1000], **{"return": 0.0, "sharpe": None})
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page, with everything on it; do not change it."""
    results = write_results(tmp_path_factory.mktemp("report"))
    months = [
        Month(name="2024-01", stored=44_640, outage=0, gap=0),
        Month(name="2024-02", stored=41_000, outage=760, gap=0),
        Month(name="2024-03", stored=22_320, outage=0, gap=22_320),
    ]
    coverage = [
        SeriesMonths(BINANCE, "ohlcv_1m", tuple(months)),
        SeriesMonths(BINANCE, "bars_5m", tuple(months[:1])),
    ]
    gap = GapStatus(
        venue="mexc", symbol="BTC/USDT", channel="trades", gaps=2, healed=1, open=0, lost_s=7200
    )
    missed = [
        RecordingGap(
            venue="mexc",
            symbol="BTC/USDT",
            channel="trades",
            start_ms=day(at),
            end_ms=day(at) + 7_200_000,
            reason="closed <1006>",
            healed=not at,
        )
        for at in (0, 1)
    ]
    tasks = [
        Node(name="migrate"),
        Node(name="backtest:beta", after=("migrate",), reasons=("params.fast: was 5, now 6",)),
    ]
    report = make_report(
        results,
        strategies=(
            strategy("alpha"),
            strategy("beta", "params.fast: was 5, now 6", "migrate must run first"),
            strategy("never", "no result yet"),
        ),
        coverage=coverage,
        recorder_gaps=(gap,),
        recording_gaps=missed,
        tasks=tasks,
    )
    path = results / "index.html"
    path.write_text(report_page(report), encoding="utf-8")
    return path


def row(page: str, name: str) -> list[str]:
    """Return the texts of a strategy's row."""
    body = page[page.index('id="strategies-table"') :]
    rows = re.findall(r"<tr>(.*?)</tr>", body[: body.index("</table>")])
    cells = [re.findall(r"<td>(.*?)</td>", one) for one in rows]
    texts = [[re.sub(r"<[^>]*>", "", cell).strip() for cell in one] for one in cells]
    (found,) = [one for one in texts if one and one[1].startswith(name)]
    return found


def test_each_strategy_has_its_state_and_numbers(written: Path) -> None:
    page = written.read_text(encoding="utf-8")

    assert row(page, "alpha")[2:8] == ["fresh", "not checked", "-10.00%", "-2.50", "–", "+50.00%"]
    assert row(page, "beta")[2:8] == ["stale", "not checked", "+10.00%", "10.25", "–", "+50.00%"]
    assert row(page, "gone")[2:8] == ["not configured", "", "+0.00%", "–", "–", "+50.00%"]
    assert row(page, "never")[2:8] == ["no result", "not checked", "–", "–", "–", "–"]
    assert "<summary>beta: params.fast: was 5, now 6</summary>" in page
    assert "<li>migrate must run first</li>" in page
    assert '<a href="alpha/tearsheet.html">alpha</a>' in page
    assert row(page, "alpha")[-1] == "2024-01-01 to 2024-01-04"
    assert row(page, "alpha")[1] == "alphaBTC/USDT, ETH/USDT 1h of sample (simulated)"
    assert row(page, "gone")[1] == "goneBTC/USDT, SOL/USDT 1h of sample (simulated)"
    assert "gone: its YAML file is gone from config/strategies: delete the folder " in page
    assert "data/results/gone to remove the result" in page


def test_a_strategy_with_an_error_in_config_is_not_called_gone(results: Path) -> None:
    error = "config/strategies/gone.yaml:3: risk: unknown key"
    broken = [
        LeftOut(strategy_id=name, state="error in config", reason=error) for name in ("gone", "new")
    ]

    page = report_page(make_report(results, left_out=tuple(broken)))

    assert row(page, "gone")[2:8] == ["error in config", "", "+0.00%", "–", "–", "+50.00%"]
    assert row(page, "new")[2:8] == ["error in config", "", "–", "–", "–", "–"]
    assert f"gone: {error}" in page
    assert "config/strategies: delete the folder data/results/gone" not in page
    assert "config/strategies: delete the folder data/results/alpha" in page


def test_the_card_of_gaps_tells_whether_data_was_recorded(results: Path) -> None:
    tick = TickStatus(venue="mexc", symbol="BTC/USDT", dataset="trades", first_ms=1, last_ms=2)

    pages = [report_page(make_report(results, ticks=ticks)) for ticks in ((), (tick,))]

    texts = ("nothing was recorded", "the recorder has missed nothing")
    assert [[text in page for text in texts] for page in pages] == [[True, False], [False, True]]


def test_curves_are_returns_since_the_start_of_each_result(written: Path) -> None:
    data = data_of(written.read_text(encoding="utf-8"), "strategies-chart")

    assert [trace["name"] for trace in data["traces"]] == ["alpha", "beta", "gone"]
    assert data["layout"]["showlegend"]
    assert data["columns"]["t0"] == [day(1), day(2), day(3)]
    assert data["columns"]["y0"] == [1, 20, -10]
    assert data["columns"]["y1"] == [0.1, 0.2, 10]
    assert as_figure(data)


def test_a_month_is_coloured_by_its_worst_and_says_its_shares(written: Path) -> None:
    data = data_of(written.read_text(encoding="utf-8"), "coverage-ohlcv_1m-chart")

    assert data["columns"]["months"] == ["2024-01", "2024-02", "2024-03"]
    ((whole, outage, gap),) = data["columns"]["z"]
    assert whole == 0
    assert 1 < outage < 2 < gap < 3
    assert gap == pytest.approx(2.5, abs=0.01)
    # 760 of 41,760 minutes are 1.82 %
    assert data["columns"]["text"] == [["100%", "98.18%, venue outage 1.82%", "50.00%, gap 50.00%"]]
    assert as_figure(data)


def test_a_share_is_100_only_where_nothing_lacks() -> None:
    report = make_report(
        Path("nowhere"),
        coverage=[
            SeriesMonths(
                BINANCE, "ohlcv_1m", (Month(name="2024-01", stored=44_639, outage=0, gap=1),)
            )
        ],
    )

    columns = data_of(report_page(report), "coverage-ohlcv_1m-chart")["columns"]

    assert columns["text"] == [["99.99%, gap 0.01%"]]
    assert columns["z"][0][0] > 2


def test_what_doit_does_not_need_is_counted_apart_and_not_alarming() -> None:
    whole_gap = Month(name="2024-01", stored=0, outage=0, gap=44_640)
    report = make_report(
        Path("nowhere"),
        coverage=[SeriesMonths(BINANCE, "ohlcv_1m", (whole_gap,))],
        tasks=[
            Node(name="migrate"),
            Node(
                name="backfill:binance_spot:BTC/USDT", reasons=("31 days missing",), is_needed=False
            ),
        ],
    )

    page = report_page(report)

    assert '<div class="value">0</div>' in page
    assert (
        "of the 1 that the backtests need; 1 other task is stale, not needed by a backtest" in page
    )
    assert ">stale, not needed by a backtest<" in page
    assert "What doit would run, and why" not in page
    assert 'class="node idle"' in page
    assert data_of(page, "coverage-ohlcv_1m-chart")["columns"]["z"] == [[4]]


def test_gaps_are_listed_escaped(written: Path) -> None:
    page = written.read_text(encoding="utf-8")

    assert "closed &lt;1006&gt;" in page
    assert "<td>2024-01-02 00:00</td><td>2024-01-02 02:00</td>" in page
    assert ">lost</td>" in page
    assert ">filled</td>" in page
    assert "1 filled later, 1 lost, 0 going on" in page


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        pytest.param({"summary.json": "{"}, "summary.json was changed", id="cut off"),
        pytest.param({"equity.csv": "a,b\n1\n"}, "equity.csv was changed", id="other columns"),
        pytest.param({"equity.csv": None}, "equity.csv is gone", id="gone"),
        pytest.param({"manifest.json": "{}"}, "manifest.json is damaged", id="its manifest"),
        pytest.param(
            {"summary.json": "\udcff", "equity.csv": ""},
            "summary.json was changed and equity.csv was changed",
            id="both",
        ),
    ],
)
def test_a_damaged_result_is_said_to_be_so(
    results: Path, files: dict[str, str | None], problem: str
) -> None:
    for name, text in files.items():
        (results / "alpha" / name).unlink()
        if text is not None:
            (results / "alpha" / name).write_bytes(text.encode("utf-8", "surrogateescape"))

    page = report_page(make_report(results, strategies=(strategy("alpha"),)))

    assert f"alpha: {problem}" in page
    assert "alpha" not in [trace["name"] for trace in data_of(page, "strategies-chart")["traces"]]


@pytest.mark.browser
def test_with_nothing_at_all_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    problem = "data/tbv8.sqlite: nobody has looked: do look"
    path.write_text(report_page(make_report(tmp_path / "none", problem=problem)))

    page = path.read_text()
    assert problem in page
    for said in (
        "No strategies and no results.",
        "Stale tasks are unknown until the database can be read.",
        "Nothing is stored yet.",
        "No gaps: the recorder missed nothing, or never ran.",
    ):
        assert said in page
    assert "SIMULATED" not in page
    with opened(path) as browser:
        assert overflow(browser) == 0


def test_the_same_report_is_the_same_bytes(results: Path) -> None:
    assert report_page(make_report(results)) == report_page(make_report(results))


# In a browser.


def shown(page: Any) -> list[str]:
    """Return the names in the table of strategies from top to bottom."""
    rows = "[...document.querySelectorAll('#strategies-table tbody tr')]"
    names: list[str] = page.evaluate(f"{rows}.map(row => row.cells[1].innerText.split('\\n')[0])")
    return names


@pytest.mark.browser
def test_numbers_sort_by_size_and_nothing_comes_last(written: Path) -> None:
    with opened(written) as page:
        head = page.locator("#strategies-table th button", has_text="Sharpe")
        head.click()
        assert shown(page)[:2] == ["alpha", "beta"]
        head.click()
        assert shown(page)[:2] == ["beta", "alpha"]
        assert set(shown(page)[2:]) == {"gone", "never"}
        page.locator("#strategies-table th button", has_text="strategy").click()
        assert shown(page) == ["alpha", "beta", "gone", "never"]


@pytest.mark.browser
def test_a_box_hides_and_shows_a_curve(written: Path) -> None:
    lines = "document.querySelectorAll('#strategies-chart .scatterlayer .trace').length"

    with opened(written) as page:
        assert page.evaluate(lines) == 3
        page.get_by_label("draw beta").uncheck()
        page.wait_for_function(f"{lines} === 2")
        page.get_by_label("draw beta").check()
        page.wait_for_function(f"{lines} === 3")


@pytest.mark.browser
def test_a_dataset_is_chosen(written: Path) -> None:
    with opened(written) as page:
        assert page.locator("#coverage-ohlcv_1m-chart").is_visible()
        assert not page.locator("#coverage-bars_5m-chart").is_visible()
        page.get_by_label("bars_5m").check()
        assert page.locator("#coverage-bars_5m-chart .main-svg").first.is_visible()
        assert not page.locator("#coverage-ohlcv_1m-chart").is_visible()


@pytest.mark.browser
def test_it_fits_a_phone_in_light_and_dark(written: Path) -> None:
    with opened(written, width=PHONE, dark=True) as page:
        assert overflow(page) == 0
        assert color(page, "body", "backgroundColor") == "rgb(16, 18, 20)"
        page.emulate_media(color_scheme="light")
        assert overflow(page) == 0
        assert color(page, "body", "backgroundColor") == "rgb(247, 247, 245)"


@pytest.mark.browser
def test_a_link_leads_to_the_tearsheet(written: Path) -> None:
    with opened(written) as page:
        href = page.locator("#strategies-table a", has_text="alpha").evaluate("link => link.href")
    assert href == (written.parent / "alpha" / "tearsheet.html").as_uri()
