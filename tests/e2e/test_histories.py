"""Histories that a venue's YAML brings along: the user's files, and exchanges of ccxt."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from tbv8.market import DAY_MS
from tests.builders import MONDAY, day, days, minute_bars, rows_of
from tests.e2e.conftest import Project
from tests.lines import Line
from tests.servers.exchanges import ExchangeMarket, ExchangeServer


def test_a_csv_becomes_a_result_in_two_edits(project: Project) -> None:
    (project.root / "bars").mkdir()
    bars = minute_bars(days(0, 3))
    pa.csv.write_csv(bars, project.root / "bars/BTCUSDT.csv")
    venue = "venue: mine\nhistory: files\npath: bars/{symbol}.csv\nsymbols: [BTC/USDT]\n"
    project.write("config/venues/mine.yaml", venue)
    project.edit("config/history.yaml", "market_data_venue: sample", "market_data_venue: mine")

    project.doit()

    summary = json.loads((project.results / "btc_usdt_perp_v1/summary.json").read_text())
    assert (summary["market_data_venue"], summary["bars"]) == ("mine", 3 * 288)
    assert project.doit("plan").stdout.startswith("nothing to do")

    # a file that changed is stale, and all that was made of it
    first = (project.root / "bars/BTCUSDT.csv").read_bytes()
    pa.csv.write_csv(minute_bars(days(0, 4)), project.root / "bars/BTCUSDT.csv")
    planned = project.doit("plan", "--json").stdout
    assert [task["task"] for task in json.loads(planned)["tasks"]] == [
        "backfill:mine:BTC/USDT",
        "aggregate:mine:BTC/USDT:5m",
        "backtest:btc_usdt_perp_v1",
    ]

    # bars in another unit are refused until the file is as it was
    thousand = "instruments:\n  BTC/USDT: {tick_size: 1, lot_size: 1, multiplier: 1000, "
    project.write(
        "config/venues/mine.yaml",
        f"{venue}{thousand}maker_fee: 0, taker_fee: 0, max_leverage: 1}}\n",
    )
    (project.root / "bars/BTCUSDT.csv").write_bytes(first)
    refused = project.doit(code=1).stderr
    assert "are of 'BTC/USDT', but the file has 'BTC/USDT' in units of 1000 now" in refused
    project.write("config/venues/mine.yaml", venue)
    assert project.doit("plan").stdout.startswith("nothing to do")

    # one that is wrong is refused, and nothing that is held is lost
    pa.csv.write_csv(minute_bars(days(0, 4)), project.root / "bars/BTCUSDT.csv")
    with (project.root / "bars/BTCUSDT.csv").open("a") as file:
        file.write(f"{MONDAY + 4 * DAY_MS},2,1,2,2,0\n")
    refused = project.doit(code=1).stderr
    assert refused.startswith("ERROR: backfill:mine:BTC/USDT: bars/BTCUSDT.csv:5762: a bar of")
    assert project.sql("SELECT count(*) FROM ohlcv_1m") == [(3 * 1440,)]


def test_an_import_needs_a_venue_without_a_history(project: Project) -> None:
    pa.parquet.write_table(minute_bars(days(0, 2)), project.root / "any.parquet")
    words = ("import", "any.parquet", "--venue", "mine", "--symbol", "BTC/USDT")
    assert "write `{venue: mine, symbols: [BTC/USDT]}`" in project.doit(*words, code=3).stderr
    assert (
        "sample has a history source"
        in project.doit(
            "import", "--venue", "sample", "--symbol", "BTC/USDT", "any.parquet", code=3
        ).stderr
    )
    project.write("config/venues/mine.yaml", "{venue: mine, symbols: [BTC/USDT]}\n")

    project.doit(*words)
    project.doit("venue=mine", "aggregate:mine:BTC/USDT:1h")

    assert project.sql("SELECT count(*), sum(minutes) FROM bars_1h") == [(48, 2880)]
    project.doit(*words)  # the same bars
    pa.parquet.write_table(minute_bars(days(0, 2), shift=1), project.root / "any.parquet")
    refused = project.doit(*words, code=3).stderr
    assert refused.startswith("ERROR: 2,880 of the stored minutes of mine:BTC/USDT differ from ")
    assert refused.endswith(": add --replace to replace them\n")
    assert "2,880 stored minutes are replaced" in project.doit(*words, "--replace").stdout


def test_times_without_a_zone_are_imported_by_following_the_errors(project: Project) -> None:
    # given a table with local times, and the venue of the README, for files
    words = ("import", "any.csv", "--venue", "mine", "--symbol", "BTC/USDT")
    bars = minute_bars(days(0, 2))
    texts = pc.strftime(bars["ts_ms"].cast(pa.timestamp("ms")), format="%Y-%m-%d %H:%M:%S")
    local = bars.set_column(0, "date", pc.utf8_slice_codeunits(texts, 0, 19))
    pa.csv.write_csv(local, project.root / "any.csv")
    project.write("config/venues/mine.yaml", "venue: mine\nsymbols: [BTC/USDT]\nzone: UTC\n")

    # when one does what each error says
    broken = project.doit(*words, code=3).stderr.splitlines()[-1]
    project.write("config/venues/mine.yaml", "venue: mine\nsymbols: [BTC/USDT]\n")
    refused = project.doit(*words, code=3).stderr
    imported = project.doit(*words, "--zone", "UTC").stdout

    # then it is imported
    assert broken == Line(
        "ERROR: config/venues/mine.yaml:3: zone: needs `history: files` and `path`: ... --zone"
    )
    assert (
        "write 2024-01-01 00:00:00Z for UTC, or add --zone with the zone of its times, such as UTC"
        in refused
    )
    assert "`date` in ISO in UTC" in imported
    assert project.sql("SELECT min(ts_ms), count(*) FROM ohlcv_1m") == [(MONDAY, 2 * 1440)]
    assert "unknown time zone 'Utc'" in project.doit(*words, "--zone", "Utc", code=3).stderr

    # and a day that was edited is restored by another import, as `verify --repair` says
    project.sql(f"UPDATE ohlcv_1m SET close = close + 1 WHERE ts_ms = {MONDAY}")
    assert "import their files again" in project.doit("verify", "--repair", code=1).stdout
    project.doit(*words, "--zone", "UTC", "--replace")
    lines = project.doit("verify").stdout.splitlines()
    assert all(line.endswith(": no problems") for line in lines)


MINE = """\
venue: mine
symbols: {BTC/USDT: XBT}
instruments:
  BTC/USDT: {tick_size: 1, lot_size: 1, maker_fee: 0, taker_fee: 0,
    max_leverage: 1, multiplier: 1000}
"""


def test_imported_bars_of_another_unit_or_market_are_refused_until_imported_again(
    project: Project,
) -> None:
    pa.parquet.write_table(minute_bars(days(0, 2)), project.root / "any.parquet")
    close = rows_of(minute_bars(days(0, 2)))[-2][4]  # of the last minute with trades
    words = ("import", "any.parquet", "--venue", "mine", "--symbol", "BTC/USDT")
    build, hours = ("venue=mine", "aggregate:mine:BTC/USDT:1h"), "SELECT close FROM bars_1h"
    latest = f"{hours} ORDER BY ts_ms DESC LIMIT 1"
    project.write("config/venues/mine.yaml", MINE)
    project.doit(*words)
    project.doit(*build)
    assert project.sql(latest) == [(close / 1000,)]

    for old, new, present in (
        ("multiplier: 1000", "multiplier: 100", "'XBT' in units of 100"),
        (": XBT", ": ETH", "'ETH' in units of 1000"),
    ):
        project.write("config/venues/mine.yaml", MINE.replace(old, new))
        planned = json.loads(project.doit("venue=mine", "plan", "--json", build[1]).stdout)
        assert planned["tasks"][0]["task"] == "backfill:mine:BTC/USDT"
        for command in (words, build, ("venue=mine", "backtest:btc_usdt_perp_v1")):
            refused = project.doit(*command, code=3 if command is words else 1).stderr
            assert f"are of 'XBT' in units of 1000, but the file has {present} now" in refused
            assert refused.count("ERROR") == refused.count("\n") == 1
        project.write("config/venues/mine.yaml", MINE)
        assert project.doit("venue=mine", "plan", build[1]).stdout.startswith("nothing to do")

    project.edit("config/venues/mine.yaml", "multiplier: 1000", "multiplier: 100")
    dropped = project.doit(
        "prune", "--everything", "--venue", "mine", "--symbol", "BTC/USDT", "-y"
    ).stdout
    project.doit(*words)
    project.doit(*build)

    assert dropped.endswith("of mine:BTC/USDT: `doit import` its file again\n")
    assert project.sql(latest) == [(close / 100,)]


def test_an_exchange_of_ccxt_is_a_venue_by_config_alone(project: Project) -> None:
    market = ExchangeMarket(rows_of(minute_bars(days(0, 2))), now_ms=day(9))
    with ExchangeServer(market) as server:
        venue = f"""\
venue: stamp
history: ccxt
exchange: bitstamp
rest_url: {server.url}
symbols: {{BTC/USDT: BTC/USD}}
"""
        project.write("config/venues/stamp.yaml", venue)
        words = ("venue=stamp", "start=2023-12-31", "end=2024-01-03")
        planned = project.doit(*words, "plan", "backfill:stamp:BTC/USDT").stdout
        project.doit(*words, "backfill:stamp:BTC/USDT")
        again = project.doit(*words, "plan", "backfill:stamp:BTC/USDT").stdout
        project.edit("config/venues/stamp.yaml", "bitstamp", "kraken")
        refused = project.doit(*words, "backfill:stamp:BTC/USDT", code=1).stderr

    assert "    bitstamp has 1m bars of BTC/USD, from 2024-01-01T00:00:00Z on\n" in planned
    assert project.sql("SELECT count(*) FROM ohlcv_1m WHERE venue = 'stamp'") == [(2880,)]
    assert again.startswith("nothing to do")
    assert "are of 'bitstamp BTC/USD', but the file has 'kraken BTC/USD' now" in refused
