"""What a notebook or a script reaches: bars, results and runs of a project, from any folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tbv8 import api
from tbv8.errors import ConfigError, Tbv8Error
from tbv8.market import DAY_MS, Bbo, Series, Trade
from tbv8.store.ticks import Batch, bbo_row, open_ticks, trade_row
from tests.backtest.builders import read_rows
from tests.builders import MONDAY
from tests.e2e.conftest import ROOT, Project

STRATEGY = "btc_usdt_perp_v1"
LIVE = Series("hyperliquid", "BTC/USDT")


def test_bars_are_those_of_the_database_by_time(finished: Project) -> None:
    bars = api.load_bars("sample", "BTC/USDT", "5m", project=finished.root)

    stored = finished.sql(
        "SELECT ts_ms, open, high, low, close, volume, minutes FROM bars_5m"
        " WHERE symbol = 'BTC/USDT' ORDER BY ts_ms"
    )
    assert bars.drop("time").rows() == stored
    assert bars["time"][0] == datetime(2024, 1, 1, tzinfo=UTC)
    assert bars.schema["time"] == pl.Datetime("ms", "UTC")


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param("2024-01-02", "2024-01-03", id="text"),
        pytest.param(date(2024, 1, 2), date(2024, 1, 3), id="dates"),
        pytest.param(
            datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC), id="datetimes"
        ),
    ],
)
def test_a_start_counts_and_an_end_does_not(
    finished: Project, start: api.Time, end: api.Time
) -> None:
    minutes = api.load_bars("sample", "BTC/USDT", "1m", start, end, project=finished.root)

    assert minutes["ts_ms"].min() == MONDAY + DAY_MS
    assert minutes["ts_ms"].max() == MONDAY + 2 * DAY_MS - 60_000
    assert "minutes" not in minutes.columns


def test_a_folder_below_the_project_is_the_project(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished.root / "config" / "venues")

    assert len(api.load_bars("sample", "BTC/USDT", "4h")) == 7 * 6


def test_trades_and_quotes_are_as_they_were_recorded(done: Project) -> None:
    ts_ms = [MONDAY + 1, MONDAY + 1, MONDAY + DAY_MS]
    trades = [
        Trade("hyperliquid", "BTC/USDT", at_ms, str(n), 100.0 + n, 0.5, "buy")
        for n, at_ms in enumerate(ts_ms)
    ]
    quotes = [Bbo("hyperliquid", "BTC/USDT", at_ms, 99.5, 1.0, None, None) for at_ms in ts_ms[1:]]
    with open_ticks(done.db_path) as ticks:
        ticks.commit(
            Batch(
                trades=[trade_row(trade, 7) for trade in trades],
                bbo=[bbo_row(quote, 7) for quote in quotes],
            ),
            now_ms=MONDAY + 2 * DAY_MS,
        )
    where: Any = {"project": done.root}

    read = api.load_trades("hyperliquid", "BTC/USDT", **where)
    first = api.load_trades("hyperliquid", "BTC/USDT", end="2024-01-02", **where)
    bbo = api.load_quotes("hyperliquid", "BTC/USDT", start="2024-01-02", **where)

    assert read["price"].to_list() == [100.0, 101.0, 102.0]
    assert read.columns == [
        *("time", "ts_ms", "trade_id", "price", "size", "side", "received_ms"),
    ]
    assert first["trade_id"].to_list() == ["0", "1"]
    assert bbo.drop("time").rows() == [(MONDAY + DAY_MS, 99.5, 1.0, None, None, 7)]


def test_a_result_is_its_files_as_frames(finished: Project) -> None:
    result = api.load_result(STRATEGY, project=finished.root)

    folder = finished.results / STRATEGY
    summary = json.loads((folder / "summary.json").read_text())
    assert result.statistics == {k: v for k, v in summary["primary"].items() if k != "venue"}
    assert (result.primary.venue, result.shadow and result.shadow.venue) == ("hyperliquid", "mexc")
    assert len(result.fills) == summary["primary"]["fills"]
    assert len(result.positions) == summary["primary"]["trades"]
    rows = read_rows(folder / "positions.csv")
    assert result.positions["pnl"].to_list() == [float(row["pnl"]) for row in rows]
    assert result.equity["equity"][-1] == summary["primary"]["end_equity"]
    page = (folder / "tearsheet.html").read_text(encoding="utf-8")
    assert set(result.positions["by"]) == {"market", "halt"}
    listed = page[page.index('id="trades-table"') :]
    listed = listed[: listed.index("</table>")]
    shown = re.findall(r"<td>(market|halt)</td></tr>", listed)
    assert shown == result.positions["by"].to_list()
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row)[9:11] for row in listed.split("<tr>")[2:]]
    reach = result.positions.select("mae", "mfe").rows()
    assert cells == [[f"{mae:,.2%}", f"{mfe:,.2%}"] for mae, mfe in reach]
    assert result.positions.schema["opened"] == pl.Datetime("ms", "UTC")
    assert result.fills.schema["order_id"] == pl.String
    assert str(result).startswith(f"{STRATEGY}: BTC/USDT 5m, ")
    assert repr(result) == str(result)


def test_a_result_without_fills_has_the_same_columns(finished: Project) -> None:
    """Averages longer than the run never trade."""
    never = api.run(STRATEGY, params={"slow": 5000}, project=finished.root, **WEEK)

    assert never.fills.schema == api.load_result(STRATEGY, project=finished.root).fills.schema
    assert len(never.fills) == len(never.positions) == 0


WEEK: Any = {"start": "2024-01-01", "end": "2024-01-08"}


def test_a_run_is_what_doit_would_write_and_leaves_the_project_alone(done: Project) -> None:
    before = done.state()

    same = api.run(STRATEGY, project=done.root, **WEEK)
    other = api.run(STRATEGY, params={"fast": 5, "slow": 12}, project=done.root, **WEEK)

    for name in ("fills.csv", "equity.csv", "summary.json", "manifest.json", "tearsheet.html"):
        assert (same.folder / name).read_bytes() == (done.results / STRATEGY / name).read_bytes()
    assert len(other.fills) > len(same.fills)
    assert done.state() == before
    temporary = same.folder
    del same
    assert not temporary.exists()


def test_a_run_builds_what_is_not_held(project: Project) -> None:
    result = api.run(STRATEGY, start="2024-02-01", end="2024-02-02", project=project.root)

    held = project.sql("SELECT DISTINCT symbol, dataset FROM history_coverage ORDER BY 1, 2")
    assert held == [(("BTC/USDT"), name) for name in ("bars_5m", "funding", "ohlcv_1m")]
    assert result.equity["time"][-1] == datetime(2024, 2, 2, tzinfo=UTC)


def test_the_page_is_shown_in_the_browser_and_in_a_notebook(
    finished: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    result = api.load_result(STRATEGY, project=finished.root)

    page = result.show()
    monkeypatch.setitem(__import__("sys").modules, "ipykernel", pytest)
    result.show()

    assert opened == [(finished.results / STRATEGY / "tearsheet.html").as_uri()]
    shown = page._repr_html_()
    assert shown.startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert shown.count('"') == 8  # nothing of the page ends the attribute


def test_a_script_may_end_before_the_browser_has_read_the_page(
    finished: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    result = api.run(STRATEGY, project=finished.root, **WEEK)
    page = (result.folder / "tearsheet.html").read_text(encoding="utf-8")

    result.show()
    del result

    (copy,) = tmp_path.glob("tbv8-*.html")
    assert opened == [copy.as_uri()]
    assert copy.read_text(encoding="utf-8") == page
    assert list(tmp_path.iterdir()) == [copy]


def bars(**changes: Any) -> Callable[[Path], object]:
    asked = {"venue": "sample", "symbol": "BTC/USDT", "timeframe": "5m"} | changes
    return lambda root: api.load_bars(project=root, **asked)


def running(strategy: str = STRATEGY, **options: Any) -> Callable[[Path], object]:
    return lambda root: api.run(strategy, project=root, **options)


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        pytest.param(
            bars(timeframe="2h"),
            "sample:BTC/USDT: no 2h bars are stored: run `doit aggregate --venue sample --symbol "
            "BTC/USDT --timeframes 2h`",
        ),
        pytest.param(
            bars(timeframe="1m", start="2024-03-01"),
            "sample:BTC/USDT: no 1m bars of that time are stored: run `doit "
            "backfill:sample:BTC/USDT`; `doit status` lists the stored data",
        ),
        pytest.param(
            lambda root: api.load_trades("hyperliquid", "BTC/USDT", project=root),
            "hyperliquid:BTC/USDT: no trades are stored: `doit record` records them",
        ),
        pytest.param(
            lambda root: api.load_result("btc_usdt_perp", project=root),
            "argument: strategy_id: unknown strategy 'btc_usdt_perp', did you mean 'btc_usdt_perp_",
        ),
        pytest.param(
            running(params={"fats": 3}),
            "argument: params.fats: unknown param of EmaCross 'fats', did you mean 'fast'?",
        ),
        pytest.param(
            running(params={"fast": 60}),
            "argument: params: fast must be above 0 and below slow, got fast=60 and slow=50",
        ),
        pytest.param(
            running(params={"fast": "x"}),
            "argument: params.fast: expected a whole number, got 'x'",
        ),
        pytest.param(
            running(params=["fast"]),
            "argument: params: expected a dict such as {\"fast\": 10}, got ['fast']",
        ),
        pytest.param(running(venue="binance"), "argument: venue: unknown venue 'binance'"),
        pytest.param(
            lambda root: api.load_result("x", project=root.parent),
            "{root}: neither this folder nor a parent is a tbv8 project: write "
            'project="path/to/project"',
        ),
        pytest.param(
            bars(start="2025-03-01"),
            "sample:BTC/USDT: sample has history of 2024-01-01T00:00:00Z .. 2024-07-01T00:00:00Z "
            "only: ",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    finished: Project, call: Callable[[Path], object], problem: str
) -> None:
    with pytest.raises(Tbv8Error) as raised:
        call(finished.root)

    text = str(raised.value)
    assert text.startswith(problem.replace("{root}", str(finished.root.parent)))
    assert "\n" not in text
    assert not isinstance(raised.value.__cause__, ConfigError)  # it has another cure


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"start": "yesterday"}, "start: 'yesterday' is not a time"),
        ({"end": datetime(2024, 1, 1)}, "end: 2024-01-01 00:00:00 has no time zone"),  # noqa: DTZ001
        ({"start": "2024-01-02", "end": "2024-01-02"}, "end: '2024-01-02' is not after the start"),
        ({"timeframe": "5x"}, "timeframe: '5x' is not a timeframe"),
        ({"venue": "sampel"}, "venue: unknown venue 'sampel', did you mean 'sample'?"),
        ({"symbol": "BTC/USD"}, "symbol: unknown symbol of sample 'BTC/USD', did you mean 'BTC/U"),
    ],
)
def test_a_wrong_argument_is_a_config_error(
    finished: Project, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigError, match=f"^argument: {problem}"):
        bars(**options)(finished.root)


def test_a_run_refuses_the_same_arguments_in_the_same_way(finished: Project) -> None:
    with pytest.raises(ConfigError, match=r"^argument: end: '2024-01-02' is not after the start"):
        api.run(STRATEGY, start="2024-01-02", end="2024-01-02", project=finished.root)


def test_completion_shows_the_names_for_users_alone() -> None:
    functions = {"run", *(name for name in vars(api) if name.startswith("load_"))}

    assert set(dir(api)) == functions - {"load_folder"} | {"Account", "Page", "Result", "Time"}


def test_a_stale_result_is_read_as_it_lies_there(done: Project) -> None:
    done.edit(f"config/strategies/{STRATEGY}.yaml", "fast: 20", "fast: 19")

    assert len(api.load_result(STRATEGY, project=done.root).fills) > 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("UPDATE ohlcv_1m SET close = close + 1 WHERE ts_ms = 1704153600000", id="row"),
        pytest.param("UPDATE alembic_version SET version_num = 'other'", id="another revision"),
    ],
)
def test_excursions_are_null_where_the_bars_of_the_run_are_not_held(
    done: Project, change: str
) -> None:
    done.sql(change)

    positions = api.load_result(STRATEGY, project=done.root).positions

    assert positions["mae"].null_count() == positions["mfe"].null_count() == len(positions) > 0
    assert positions["pnl"].null_count() == 0


def test_each_cell_of_the_notebook_runs(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (done.root / "docs").mkdir()
    monkeypatch.chdir(done.root / "docs")  # where a notebook's kernel starts
    notebook = json.loads((ROOT / "docs" / "research.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    names: dict[str, Any] = {}

    for number, cell in enumerate(cells):
        exec(compile(cell, f"<cell {number}>", "exec"), names)

    assert len(cells) > 5
    assert str(names["result"]).startswith("btc_usdt_perp_v1: BTC/USDT 5m")
    assert len(names["faster"].fills) > len(names["result"].fills)
