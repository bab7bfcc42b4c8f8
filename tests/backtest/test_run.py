"""From bars to files, with every cent worked out by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from tbv8.config import files
from tbv8.errors import DataError
from tbv8.market import HOUR_MS, Series, Span, parse_timeframe
from tests.backtest.builders import (
    PAIR,
    SCRIPTED,
    START_MS,
    backtest,
    bars_of,
    install,
    make_bars,
    make_pair,
    make_strategy,
    read_rows,
    rules,
    wave,
)

CLOSES = [100, 102, 104.3, 103, 105, 107.2, 106, 104, 105, 106]
SHADOW = "PRIMARY_LIVE_SECONDARY_SHADOW"


def test_two_orders_on_ten_bars_to_the_cent(tmp_path: Path) -> None:
    # Buy 2 at the close of the third bar, sell them at the close of the sixth; tick 0.5, one tick
    # of slippage, 0.05 % a fill.
    strategy = make_strategy(params={"orders": {3: "2", 6: "-2"}}, slippage_ticks=1)

    backtest(strategy, make_bars(CLOSES), tmp_path)

    result = tmp_path / "test_v1"
    # Bought: 104.3 is up to the tick 104.5, one tick worse 105.0. 2 x 105.0 = 210.00 and a fee of
    # 210.00 x 0.0005 = 0.105.
    # Sold: 107.2 is down to the tick 107.0, one tick worse 106.5. 2 x 106.5 = 213.00, fee 0.1065.
    assert (result / "fills.csv").read_text() == (
        "ts_ms,symbol,order_id,side,type,quantity,price,fee,liquidity,position,at\n"
        f"{START_MS + 3 * HOUR_MS},BTC/USDT,O-1,buy,market,2.000,105.0,0.10500000,taker,2.000,"
        "close\n"
        f"{START_MS + 6 * HOUR_MS},BTC/USDT,O-2,sell,market,2.000,106.5,0.10650000,taker,0.000,"
        "close\n"
    )
    # 213.00 - 210.00 - 0.2115 = 2.7885
    assert (result / "positions.csv").read_text() == (
        "symbol,opened_ms,closed_ms,side,quantity,entry_price,exit_price,pnl,fees,funding\n"
        f"BTC/USDT,{START_MS + 3 * HOUR_MS},{START_MS + 6 * HOUR_MS},"
        "long,2.000,105.0,106.5,2.78850000,0.21150000,0.00000000\n"
    )
    # Cash after buying: 10000 - 210 - 0.105 = 9789.895; after selling: + 213 - 0.1065 = 10002.7885.
    expected = [
        "1,10000.00000000,10000.00000000,0.000,100.0,10000.00000000",
        "2,10000.00000000,10000.00000000,0.000,102.0,10200.00000000",
        "3,9998.49500000,9789.89500000,2.000,104.3,10430.00000000",  # 9789.895 + 2 x 104.3
        "4,9995.89500000,9789.89500000,2.000,103.0,10300.00000000",  # + 2 x 103
        "5,9999.89500000,9789.89500000,2.000,105.0,10500.00000000",  # + 2 x 105
        "6,10002.78850000,10002.78850000,0.000,107.2,10720.00000000",
        "7,10002.78850000,10002.78850000,0.000,106.0,10600.00000000",
        "8,10002.78850000,10002.78850000,0.000,104.0,10400.00000000",
        "9,10002.78850000,10002.78850000,0.000,105.0,10500.00000000",
        "10,10002.78850000,10002.78850000,0.000,106.0,10600.00000000",
    ]
    rows = (result / "equity.csv").read_text().splitlines()
    assert rows[0] == "ts_ms,equity,cash,position,price,buy_and_hold"
    for row, line in zip(rows[1:], expected, strict=True):
        hour, _, values = line.partition(",")
        assert row == f"{START_MS + int(hour) * HOUR_MS},{values}"
    summary = json.loads((result / "summary.json").read_text())
    assert summary["bars"] == 10
    assert summary["simulated"] is True
    assert summary["days"] == 0.41666667
    assert summary["missing_minutes"] == {"BTC/USDT": 0}
    # Less than thirty days: nothing is made up to a year.
    undefined = dict.fromkeys(("cagr", "volatility", "sharpe", "sortino", "calmar"))
    undefined |= {"probabilistic_sharpe": None}
    assert summary["primary"] == {
        **undefined,
        "venue": "hyperliquid",
        "orders": {"filled": 2},
        "refused": {},
        "fills": 2,
        "open_positions": [],
        "unrealized_pnl": 0.0,
        "start_equity": 10000.0,
        "end_equity": 10002.7885,
        "pnl": 2.7885,
        "return": 0.00027885,
        "max_drawdown": 0.0004105,  # from 10000 at the second close to 9995.895 at the fourth
        "max_drawdown_start": "2024-01-01T02:00:00Z",
        "max_drawdown_bottom": "2024-01-01T04:00:00Z",
        "max_drawdown_end": "2024-01-01T06:00:00Z",
        "max_drawdown_days": 0.16666667,  # four hours
        "best_day": {"date": "2024-01-01", "return": 0.00027885},
        "worst_day": {"date": "2024-01-01", "return": 0.00027885},
        "exposure": 0.3,  # from the third close to the sixth, of ten hours
        "turnover": None,
        "entries": 1,
        "exits": 1,
        "trades": 1,
        "win_rate": 1.0,
        "profit_factor": None,
        "expectancy": 2.7885,
        "average_holding_hours": 3.0,
        "fees": 0.2115,
        "slippage": 2.8,  # 2 x (105.0 - 104.3) and 2 x (107.2 - 106.5)
        "funding": 0.0,
        "funding_sources": {
            "BTC/USDT": {
                "rate_8h": 0.0,
                "shares": {},
                "hours_without_rate": 0,
                "first_without_rate": None,
                "paid": 0.0,
            }
        },
        "lost_margin": 0.0,
        "beyond_volume": {"fills": 0, "largest_multiple": None},
        "start_positions": {},
        "stops_reached": 0,
        "buy_and_hold": {
            **undefined,
            "return": 0.06,
            "max_drawdown": 0.02985075,  # from 10720 to 10400
            "max_drawdown_start": "2024-01-01T06:00:00Z",
            "max_drawdown_bottom": "2024-01-01T08:00:00Z",
            "max_drawdown_end": None,
            "max_drawdown_days": 0.16666667,
            "best_day": {"date": "2024-01-01", "return": 0.06},
            "worst_day": {"date": "2024-01-01", "return": 0.06},
        },
        "denied": {},
        "halted": {},
        "denials": [],
        "halts": [],
    }


def test_an_open_position_is_marked_and_has_no_row(tmp_path: Path) -> None:
    strategy = make_strategy(params={"orders": {1: "-1"}})

    summary = backtest(strategy, make_bars([100, 90]), tmp_path)

    # Sold 1 at 100, fee 0.05: cash 10099.95, less 1 x 90.
    assert read_rows(tmp_path / "test_v1" / "positions.csv") == []
    assert summary.primary.end_equity == Decimal("10009.95")
    (still,) = summary.primary.open_positions
    assert (still.symbol, still.quantity, still.entry_price) == ("BTC/USDT", -1, 100)
    assert still.unrealized_pnl == summary.primary.unrealized_pnl == 10


def test_the_terminal_shows_the_open_position_of_each_venue(tmp_path: Path) -> None:
    # Bought 1 at 100 and 1 at 104.3, up to the tick 104.5: 102.25 each, and the last close is 103.
    # The shadow's tick is 0.1: 102.15 each.
    strategy = make_strategy(
        params={"orders": {1: "1", 3: "1"}},
        routing=files.Routing(primary="hyperliquid", secondary="mexc", mode=SHADOW),
        instruments={
            "hyperliquid": {"BTC/USDT": rules()},
            "mexc": {"BTC/USDT": rules(tick_size="0.1")},
        },
    )

    summary = backtest(strategy, make_bars(CLOSES[:4]), tmp_path)

    assert [line for line in str(summary).splitlines() if "still" in line] == [
        "  hyperliquid: still long 2 BTC at the end, entered at 102.25: +1.50 USD unrealized, "
        "which the equity includes",
        "  mexc: still long 2 BTC at the end, entered at 102.15: +1.70 USD unrealized, which "
        "the equity includes",
    ]


def test_the_secondary_venue_is_simulated_beside_it(tmp_path: Path) -> None:
    strategy = make_strategy(
        params={"orders": {3: "2", 6: "-2"}},
        routing=files.Routing(primary="hyperliquid", secondary="mexc", mode=SHADOW),
        instruments={
            "hyperliquid": {"BTC/USDT": rules()},
            "mexc": {"BTC/USDT": rules(tick_size="0.1", taker_fee="0")},
        },
    )

    summary = backtest(strategy, make_bars(CLOSES), tmp_path)

    shadow = tmp_path / "test_v1" / "shadow"
    assert {path.name for path in shadow.iterdir()} == {"fills.csv", "positions.csv", "equity.csv"}
    assert [row["price"] for row in read_rows(shadow / "fills.csv")] == ["104.3", "107.2"]
    # The primary: bought at 104.5, sold at 107.0: 5.00 less 0.1045 + 0.107; the shadow: 5.80.
    assert summary.primary.pnl == Decimal("4.7885")
    assert summary.shadow is not None
    assert summary.shadow.pnl == Decimal("5.8")
    assert summary.divergence is not None
    assert summary.divergence.pnl == Decimal("1.0115")
    assert summary.divergence.fees == Decimal("-0.2115")
    assert summary.divergence.only_primary == summary.divergence.only_shadow == 0


def test_fills_that_only_one_venue_has_are_counted_and_listed(tmp_path: Path) -> None:
    # Lots of 0.4 make no 1.5 at the secondary. It charges funding once, at 08:00: 0.08 % of
    # 2 x 104 is 0.1664.
    strategy = make_strategy(
        params={"orders": {2: "-1.5", 3: "1.5", 5: "2"}},
        routing=files.Routing(primary="hyperliquid", secondary="mexc", mode=SHADOW),
        instruments={
            "hyperliquid": {"BTC/USDT": rules(taker_fee="0")},
            "mexc": {
                "BTC/USDT": rules(
                    lot_size="0.4", taker_fee="0", funding_rate_8h="0.0008", funding_hours=8
                )
            },
        },
    )

    backtest(strategy, make_bars(CLOSES), tmp_path)

    summary = json.loads((tmp_path / "test_v1" / "summary.json").read_text())
    assert summary["shadow"]["denied"] == {"lot_size": 2}
    assert summary["divergence"] == {
        "fills": -2,
        "pnl": 3.5836,  # the primary lost 1.5 x (104.5 - 102), less the funding of the shadow
        "fees": 0.0,
        "funding": 0.1664,
        "max_equity_difference": 3.75,
        "only_primary": 2,
        "only_shadow": 0,
        "only_primary_fills": [
            {
                "time": "2024-01-01T02:00:00Z",
                "symbol": "BTC/USDT",
                "side": "sell",
                "type": "market",
                "quantity": 1.5,
                "price": 102.0,
            },
            {
                "time": "2024-01-01T03:00:00Z",
                "symbol": "BTC/USDT",
                "side": "buy",
                "type": "market",
                "quantity": 1.5,
                "price": 104.5,
            },
        ],
        "only_shadow_fills": [],
    }


def test_the_manifest_names_inputs_and_every_file(tmp_path: Path) -> None:
    inputs = {"config": {"digest": "ab", "value": {"x": 1}}}

    backtest(make_strategy(), make_bars(CLOSES), tmp_path, inputs=inputs)

    manifest = json.loads((tmp_path / "test_v1" / "manifest.json").read_text())
    assert manifest["inputs"].pop("files")["value"] == {}
    assert manifest["inputs"] == inputs
    assert set(manifest["outputs"]) == {
        "equity.csv",
        "fills.csv",
        "market.csv",
        "positions.csv",
        "summary.json",
        "tearsheet.html",
    }


def test_no_bars_are_an_error_and_leave_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sample:BTC/USDT has no 1h bars"):
        backtest(make_strategy(), make_bars([]), tmp_path)

    assert list(tmp_path.glob("test_v1")) == []


@pytest.mark.parametrize(
    ("eth", "detail", "said"),
    [
        pytest.param([], "none", "sample:ETH/USDT has no 1h bars in ", id="a further symbol"),
        pytest.param([7, 8], "1m", "sample:BTC/USDT has no 1m bars in ", id="the minutes"),
    ],
)
def test_a_run_without_some_of_its_bars_is_refused(
    tmp_path: Path, eth: list[float], detail: str, said: str
) -> None:
    strategy = make_pair({}, detail=detail)
    minutes = [make_bars([])] * 2 if detail == "1m" else []
    bars = bars_of(strategy, make_bars([1, 2]), make_bars(eth), minutes=minutes)

    with pytest.raises(DataError, match=rf"^{said}.*: widen start_date and end_date$"):
        backtest(strategy, bars, tmp_path)


def test_a_warm_up_without_bars_behind_it_is_refused(tmp_path: Path) -> None:
    span = Span(START_MS + 10 * HOUR_MS, START_MS + 20 * HOUR_MS)
    strategy = make_strategy(span=span, warm_up_ms=10 * HOUR_MS)

    with pytest.raises(DataError, match="has no 1h bars in 2024-01-01T10:00:00Z"):
        backtest(strategy, make_bars(CLOSES), tmp_path)


def test_a_position_from_the_warm_up_is_entered_at_the_price_of_the_start(tmp_path: Path) -> None:
    # Bought 2 at 100 in the first hour, one lot of ten hours later sold; the span begins at 03:00,
    # where the price is 104.3: from there 2 x (107 - 104.3), less a fee of 214 x 0.0005.
    strategy = make_strategy(
        params={"orders": {1: "2", 6: "-2"}},
        span=Span(START_MS + 3 * HOUR_MS, START_MS + 10 * HOUR_MS),
        warm_up_ms=3 * HOUR_MS,
    )

    summary = backtest(strategy, make_bars(CLOSES), tmp_path)

    assert summary.bars == 7
    assert summary.primary.start_equity == 10_000
    assert summary.primary.pnl == Decimal("5.293")
    assert summary.missing_minutes == {"BTC/USDT": 0}
    (row,) = read_rows(tmp_path / "test_v1" / "positions.csv")
    assert row == {
        "symbol": "BTC/USDT",
        "opened_ms": str(START_MS + 3 * HOUR_MS),
        "closed_ms": str(START_MS + 6 * HOUR_MS),
        "side": "long",
        "quantity": "2.000",
        "entry_price": "104.3",
        "exit_price": "107.0",
        "pnl": "5.29300000",
        "fees": "0.10700000",
        "funding": "0.00000000",
    }
    first = read_rows(tmp_path / "test_v1" / "equity.csv")[0]
    assert first["ts_ms"] == str(START_MS + 4 * HOUR_MS)
    assert first["equity"] == "9997.40000000"  # 2 x (103 - 104.3)
    assert first["buy_and_hold"] == "10000.00000000"


def test_two_symbols_have_columns_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path / "more", "pair", PAIR)
    strategy = make_pair({2: "0 1,1 -2", 4: "0 -1"})
    bars = bars_of(strategy, make_bars([100, 102, 104, 106]), make_bars([7, 8.25, 8, 6]))

    backtest(strategy, bars, tmp_path)

    folder = tmp_path / "test_v1"
    lines = (folder / "equity.csv").read_text().splitlines()
    assert lines[0] == (
        "ts_ms,equity,cash,position_BTC/USDT,position_ETH/USDT,price_BTC/USDT,price_ETH/USDT,"
        "buy_and_hold"
    )
    # Fees of 0.05 %: 0.051 for 102, 0.00825 for 16.5, 0.053 for 106.
    assert lines[3].partition(",")[2] == (
        "10002.44075000,9914.44075000,1.000,-2.000,104.0,8.00,10914.28571429"
    )
    assert [
        (row["symbol"], row["side"], row["price"]) for row in read_rows(folder / "fills.csv")
    ] == [
        ("BTC/USDT", "buy", "102.0"),
        ("ETH/USDT", "sell", "8.25"),
        ("BTC/USDT", "sell", "106.0"),
    ]
    assert {row["symbol"] for row in read_rows(folder / "market.csv")} == {"BTC/USDT", "ETH/USDT"}


def test_the_lines_to_print_say_that_a_market_is_made_up(tmp_path: Path) -> None:
    made_up = backtest(make_strategy(), make_bars(CLOSES), tmp_path)
    real = backtest(
        make_strategy(source=Series("binance_spot", "BTC/USDT")), make_bars(CLOSES), tmp_path
    )

    assert "simulated" in str(made_up).splitlines()[0]
    assert "simulated" not in str(real)


_SAME_BYTES = """
import sys
from decimal import Decimal
from pathlib import Path
from tbv8.config import files
from tests.backtest.builders import backtest, make_strategy, rules, wave
from tbv8.market import parse_timeframe
strategy = make_strategy(
    module="ema_cross", class_name="EmaCross", params={"fast": 3, "slow": 8},
    timeframe=parse_timeframe("5m"), starting_balance_usd=Decimal(100_000),
    routing=files.Routing(primary="hyperliquid", secondary="mexc",
                          mode="PRIMARY_LIVE_SECONDARY_SHADOW"),
    instruments={
            "hyperliquid": {"BTC/USDT": rules()},
            "mexc": {"BTC/USDT": rules(tick_size="0.1")},
        },
)
inputs = {name: {"digest": name, "value": name} for name in ("b", "a")}
backtest(strategy, wave(1500), Path(sys.argv[1]), inputs=inputs)
"""


def test_the_same_inputs_give_the_same_bytes_anywhere(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two" / "deeper"]

    for seed, folder in enumerate(folders):
        folder.mkdir(parents=True)
        subprocess.run(
            [sys.executable, "-c", _SAME_BYTES, str(folder)],
            env=os.environ | {"PYTHONHASHSEED": str(seed), "TZ": ["UTC", "Asia/Tokyo"][seed]},
            check=True,
            cwd=Path(__file__).parents[2],
        )

    first, second = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in folders
    )
    assert len(first) == 11
    assert len(read_rows(folders[0] / "test_v1" / "fills.csv")) > 50
    assert first == second


def test_a_second_run_in_one_process_is_the_same_and_silent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    strategy = make_strategy(params={"orders": {3: "2", 6: "-2"}})

    for name in ("one", "two"):
        backtest(strategy, make_bars(CLOSES), tmp_path / name)

    for path in (tmp_path / "one" / "test_v1").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "test_v1" / path.name).read_bytes()
    assert capfd.readouterr() == ("", "")


def test_orders_sent_while_stopping_are_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat_at_the_end = (
        "\n    def on_stop(self):\n        self.close_all_positions(self.config.instrument_id)\n"
    )
    install(monkeypatch, tmp_path, "other", SCRIPTED + flat_at_the_end)
    strategy = make_strategy(module="other", params={"orders": {1: "1"}})

    summary = backtest(strategy, make_bars([100, 110]), tmp_path)

    # 110 - 100 less 0.05 + 0.055
    assert summary.primary.pnl == Decimal("9.895")
    assert summary.primary.trading.trades == 1


@pytest.mark.parametrize("chunk", [7, 8, 400], ids=["odd", "even", "all"])
def test_the_chunks_in_which_bars_are_fed_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    strategy = make_strategy(
        module="ema_cross",
        class_name="EmaCross",
        params={"fast": 3, "slow": 8},
        timeframe=parse_timeframe("5m"),
        starting_balance_usd=Decimal(100_000),
    )
    bars = wave(400)

    whole = backtest(strategy, bars, tmp_path / "whole")
    monkeypatch.setattr("tbv8.trading.schedule._CHUNK", chunk)
    chunks = backtest(strategy, bars, tmp_path / "chunks")

    assert whole == chunks
    assert whole.primary.fills > 20
