"""Is a result what its config, bars, code and versions would give now?

The questions are pointed at a small package of tbv8, whose sources can be changed, and at a project
of its own, read from its YAML files as `doit` reads them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tbv8.build import build_bars
from tbv8.config import source as source_module
from tbv8.config.load import load_project
from tbv8.config.records import Strategy
from tbv8.config.source import digest_file, digest_source, parse_source
from tbv8.errors import DataError
from tbv8.freshness import result as result_module
from tbv8.freshness.result import (
    backtest_inputs,
    backtest_state,
    needs_only_drawing,
    source_digests,
    static_inputs,
    static_state,
)
from tbv8.freshness.state import State
from tbv8.manifest import FILES_PART, make_input, read_manifest
from tbv8.market import MINUTE_MS, Series, Span, parse_timeframe
from tbv8.store.database import open_reader
from tests.builders import BTC, ETH, ROOT, at, copy_config, day, days, hold, minute_bars, shell

HOUR = 60 * MINUTE_MS
OTHER = Series("other", "BTC/USDT")
NOW = at("2024-06-01T10:20:30")

FILES = {
    "data.yaml": """
db_path: tbv8.sqlite
timeframes: [5m]
""",
    "history.yaml": """
history:
  market_data_venue: sample
  start_date: "2024-01-01"   # a Monday
  end_date: "2024-01-04"
""",
    "venues/sample.yaml": """
venue: sample
symbols: [BTC/USDT, ETH/USDT]
""",
    "venues/other.yaml": """
venue: other
symbols: [BTC/USDT]
instruments:
  BTC/USDT: {tick_size: "1", lot_size: "1", maker_fee: "0", taker_fee: "0"}
""",
    "venues/hyperliquid.yaml": """
venue: hyperliquid
enabled: true
symbols: {BTC/USDT: BTC}
ws_url: wss://api.hyperliquid.xyz/ws
instruments:
  BTC/USDT:
    {tick_size: "1", lot_size: "0.00001", maker_fee: "0.00015", taker_fee: "0.00045",
     max_leverage: 40}
""",
    "venues/mexc.yaml": """
venue: mexc
symbols: {BTC/USDT: BTC_USDT}
instruments:
  BTC/USDT:
    {tick_size: "0.1", lot_size: "0.0001", maker_fee: "0", taker_fee: "0.0002", max_leverage: 200}
""",
    "strategies/mine.yaml": """
strategy_id: mine
symbol: BTC/USDT
timeframe: 5m
strategy: follow.Follow
params: {fast: 20, slow: 50}
routing: {primary: hyperliquid, secondary: mexc, mode: PRIMARY_LIVE_SECONDARY_SHADOW}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10.0, max_leverage: 2.0}
backtest: {starting_balance_usd: 10000, slippage_ticks: 1}
""",
}

FOLLOW = '''"""A strategy that follows."""
import math

import tbv8.strategies.tools.lines as lines
from tbv8.market import iso
from tbv8.strategies import averages


class FollowConfig:
    instrument_ids: tuple
    bar_types: tuple
    fast: int = 20
    slow: int = 50
    size: float | None = None


class Follow:
    warm = 3  # bars

    def on_bar(self, bar):
        return averages.mean([math.pi, lines.SLOPE]), iso(0)
'''
STRATEGIES = {
    "__init__.py": "",
    "follow.py": FOLLOW,
    "averages.py": "from .deeper import add\n\n\ndef mean(xs):\n    return add(xs) / len(xs)\n",
    "deeper.py": "add = sum\n",
    "tools/__init__.py": "",
    "tools/lines.py": "from .. import levels\n\nSLOPE = levels.ONE\n",
    "levels.py": "ONE = 1\n",
    "nobody.py": "TWO = 2\n",
}
ENGINE = (
    "risk/book.py",
    "backtest/__init__.py",
    "backtest/run.py",
    "backtest/fills/taker.py",
)
DRAWS = ("page/style.py", "results/tearsheet/page.py")
REST = (
    "tasks.py",
    "aggregate.py",
    "build.py",
    "store/bars.py",
    "commands/plan.py",
    "report/page.py",
)


class Bench:
    """A project with a database, a package of tbv8, and a result of the strategy `mine`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.db_path = root / "tbv8.sqlite"
        self.results_path = root / "results"
        self.package = root / "tbv8"

    @property
    def folder(self) -> Path:
        return self.results_path / "mine"

    def strategy(self, *, now_ms: int = NOW, **overrides: str) -> Strategy:
        project = load_project(
            self.root, overrides=overrides, now_ms=now_ms, history_span=lambda *_: None
        )
        return project.strategies["mine"]

    def state(self, **how: str) -> State:
        # a process reads a source once; each question here stands for a process of its own
        parse_source.cache_clear()
        digest_source.cache_clear()
        return backtest_state(self.db_path, self.strategy(**how), results_path=self.results_path)

    def reasons(self, **how: str) -> tuple[str, ...]:
        return self.state(**how).reasons

    def write_result(self, *, read: tuple[str, ...] = (), **how: str) -> None:
        """Write a result as `tbv8.backtest` does, as far as freshness looks.

        `read` are the files that the strategy opened.
        """
        parse_source.cache_clear()
        digest_source.cache_clear()
        strategy = self.strategy(**how)
        with open_reader(self.db_path) as query:
            inputs = backtest_inputs(query, strategy, results_path=self.results_path)
        opened = {name: digest_file(self.root / name) for name in read}
        inputs[FILES_PART] = make_input(opened)
        files = {
            "tearsheet.html": b"<html>\n",
            "summary.json": b"{}\n",
            "fills.csv": b"ts_ms\n",
            "shadow/fills.csv": b"ts_ms\n",
        }
        (self.folder / "shadow").mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        outputs = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        manifest = {"inputs": msgspec.to_builtins(inputs), "outputs": outputs}
        (self.folder / "manifest.json").write_text(json.dumps(manifest, indent=2, sort_keys=True))

    def edit(self, name: str, before: str, after: str) -> None:
        """Change a file of config/."""
        edit(self.root / "config" / name, before, after)


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(before) == 1, (path, before)
    path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(scope="module")
def bench_once(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a project with six days of 5m bars of three series, and a small package of tbv8."""
    root = tmp_path_factory.mktemp("bench")
    for name, text in FILES.items():
        (root / "config" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "config" / name).write_text(text.lstrip(), encoding="utf-8")
    sources = {name: (ROOT / "tbv8" / name).read_text() for name in ("market.py", "errors.py")}
    sources |= {f"strategies/{name}": text for name, text in STRATEGIES.items()}
    sources |= dict.fromkeys((*ENGINE, *DRAWS, *REST), '"""Some code of tbv8."""\n')
    for name, text in sources.items():
        (root / "tbv8" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "tbv8" / name).write_text(text, encoding="utf-8")
    db_path = Path(shutil.copy(migrated_db, root / "tbv8.sqlite"))
    for shift, series in enumerate((BTC, ETH, OTHER)):
        hold(db_path, series, days(-1, 5), minute_bars(days(-1, 5), shift=shift))
        for timeframe in ("5m", "15m"):
            build_bars(db_path, series, parse_timeframe(timeframe), chunk_days=9, now_ms=1)
    return root


@pytest.fixture
def bench(bench_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    root = tmp_path / "project"
    shutil.copytree(bench_once, root)
    monkeypatch.setattr(result_module, "PACKAGE", root / "tbv8")
    monkeypatch.setattr(source_module, "STRATEGIES", root / "tbv8" / "strategies")
    bench = Bench(root)
    bench.write_result()
    return bench


def test_a_result_is_absent_at_first_and_fresh_when_it_is_there(bench: Bench) -> None:
    assert bench.reasons() == ()
    state = bench.state()
    assert [part.name for part in state.parts] == [
        "config",
        "strategy",
        "engine",
        "versions",
        "span",
        "bars:BTC/USDT:5m",
        "bars:BTC/USDT:1m",
        "funding:hyperliquid:BTC/USDT",
        "funding:mexc:BTC/USDT",
        "page",
        "files",
    ]
    assert all(part.current == part.recorded for part in state.parts)

    shutil.rmtree(bench.folder)

    state = bench.state()
    assert state.reasons == ("no result yet",)
    assert all(part.recorded is None for part in state.parts)


def test_a_result_cannot_be_asked_for_without_a_database(bench: Bench) -> None:
    bench.db_path.unlink()

    with pytest.raises(DataError, match=r"tbv8.sqlite: there is no database"):
        bench.state()


# Config.


@pytest.mark.parametrize(
    ("name", "before", "after", "reason"),
    [
        pytest.param(
            "strategies/mine.yaml",
            "fast: 20",
            "fast: 21",
            "params.fast: was 20, now 21",
            id="param",
        ),
        pytest.param(
            "strategies/mine.yaml",
            ", slow: 50",
            "",
            "params.slow: 50 was removed",
            id="a param less",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "slow: 50",
            "slow: 50, size: 0.5",
            "params.size: 0.5 was added",
            id="a param more",
        ),
        pytest.param(
            "strategies/mine.yaml", "slow: 50", "slow: 50, size: null", "config changed", id="null"
        ),
        pytest.param(
            "strategies/mine.yaml",
            "max_position_btc: 0.01",
            "max_position_btc: 0.02",
            "risk.max_position_btc: was 0.01, now 0.02",
            id="position limit",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "max_daily_loss_usd: 10.0",
            "max_daily_loss_usd: 11",
            "risk.max_daily_loss_usd: was 10, now 11",
            id="loss limit",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "max_leverage: 2.0",
            "max_leverage: 2.5",
            "risk.max_leverage: was 2, now 2.5",
            id="leverage",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "starting_balance_usd: 10000",
            "starting_balance_usd: 10001",
            "starting_balance_usd: was 10000, now 10001",
            id="balance",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "slippage_ticks: 1",
            "slippage_ticks: 2",
            "slippage_ticks: was 1, now 2",
            id="slippage",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "PRIMARY_LIVE_SECONDARY_SHADOW",
            "PRIMARY_ONLY",
            "routing.mode: was PRIMARY_LIVE_SECONDARY_SHADOW, now PRIMARY_ONLY",
            id="mode",
        ),
        pytest.param(
            "venues/hyperliquid.yaml",
            'taker_fee: "0.00045"',
            'taker_fee: "0.0005"',
            "instruments.hyperliquid.BTC/USDT.taker_fee: was 0.00045, now 0.0005",
            id="a fee at the primary",
        ),
        pytest.param(
            "venues/mexc.yaml",
            'maker_fee: "0"',
            'maker_fee: "-0.0001"',
            "instruments.mexc.BTC/USDT.maker_fee: was 0, now -0.0001",
            id="a fee at the secondary",
        ),
        pytest.param(
            "venues/hyperliquid.yaml",
            'tick_size: "1"',
            'tick_size: "0.5"',
            "instruments.hyperliquid.BTC/USDT.tick_size: was 1, now 0.5",
            id="a tick",
        ),
        pytest.param(
            "venues/mexc.yaml",
            "max_leverage: 200",
            "max_leverage: 100",
            "instruments.mexc.BTC/USDT.max_leverage: was 200, now 100",
            id="a venue's leverage",
        ),
        pytest.param(
            "history.yaml",
            '"2024-01-01"   # a Monday',
            '"2024-01-02"',
            "start: was 2024-01-01, now 2024-01-02",
            id="start",
        ),
        pytest.param(
            "history.yaml",
            '"2024-01-04"',
            '"2024-01-03T12:00Z"',
            "end: was 2024-01-04, now 2024-01-03T12:00:00Z",
            id="end",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "backtest: {",
            'backtest: {end_date: "2024-01-03", ',
            "end: was 2024-01-04, now 2024-01-03",
            id="an end of its own",
        ),
        pytest.param(
            "history.yaml",
            "market_data_venue: sample",
            "market_data_venue: other",
            "market_data_venue: was sample, now other",
            id="source",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "timeframe: 5m",
            "timeframe: 15m",
            "timeframe: was 5m, now 15m",
            id="timeframe",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "primary: hyperliquid",
            "primary: other",
            "routing.primary: was hyperliquid, now other",
            id="another primary",
        ),
        pytest.param(
            "venues/hyperliquid.yaml",
            "max_leverage: 40}",
            'max_leverage: 40, funding_rate_8h: "0.0001"}',
            "instruments.hyperliquid.BTC/USDT.funding_rate_8h: was 0, now 0.0001",
            id="funding",
        ),
        pytest.param(
            "venues/mexc.yaml",
            "max_leverage: 200}",
            "max_leverage: 200, funding_hours: 4}",
            "instruments.mexc.BTC/USDT.funding_hours: was 8, now 4",
            id="when funding is due",
        ),
        pytest.param(
            "venues/hyperliquid.yaml",
            'lot_size: "0.00001"',
            'lot_size: "0.0001"',
            "instruments.hyperliquid.BTC/USDT.lot_size: was 0.00001, now 0.0001",
            id="a lot",
        ),
        pytest.param(
            "strategies/mine.yaml",
            "secondary: mexc",
            "secondary: other",
            "routing.secondary: was mexc, now other",
            id="another secondary",
        ),
    ],
)
def test_a_value_that_the_result_depends_on_makes_it_stale(
    bench: Bench, name: str, before: str, after: str, reason: str
) -> None:
    path = bench.root / "config" / name
    text = path.read_text()
    bench.edit(name, before, after)

    assert reason in bench.reasons()
    path.write_text(text)
    assert bench.reasons() == ()


def test_the_command_line_is_in_the_key_too(bench: Bench) -> None:
    assert bench.reasons(end="2024-01-03") == ("end: was 2024-01-04, now 2024-01-03",)
    assert bench.reasons(end="2024-01-04T00:00Z") == ()
    assert "market_data_venue: was sample, now other" in bench.reasons(venue="other")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("fast: 20", "fast: true", id="true for a number"),
        pytest.param("slow: 50", "slow: {}", id="an empty mapping"),
    ],
)
def test_a_value_that_only_looks_the_same_makes_it_stale(
    bench: Bench, before: str, after: str
) -> None:
    bench.edit("strategies/mine.yaml", "fast: 20", "fast: 1")
    bench.edit("strategies/mine.yaml", "slow: 50", "slow: 1")
    bench.write_result()
    before = before.replace("20", "1").replace("50", "1")

    bench.edit("strategies/mine.yaml", before, after)

    assert len(bench.reasons()) == 1


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param("strategies/mine.yaml", "symbol:", "# a comment\nsymbol:", id="a comment"),
        pytest.param("strategies/mine.yaml", "20, slow: 50", "20,\n  slow: 50", id="layout"),
        pytest.param(
            "strategies/mine.yaml", "fast: 20, slow: 50", "slow: 50, fast: 20", id="order of keys"
        ),
        pytest.param("strategies/mine.yaml", "2.0}", "2}", id="2.0 and 2"),
        pytest.param("strategies/mine.yaml", "0.01,", '"0.010",', id="text for a number"),
        pytest.param("history.yaml", '"2024-01-04"', '"2024-01-04T01:00+01:00"', id="the same end"),
        pytest.param("data.yaml", "[5m]", "[5m, 15m, 1d]", id="other timeframes"),
        pytest.param("venues/hyperliquid.yaml", "xyz/ws", "xyz/live", id="an address"),
        pytest.param("venues/hyperliquid.yaml", "enabled: true", "enabled: false", id="recorder"),
        pytest.param("venues/mexc.yaml", "BTC_USDT", "BTC_USDC", id="a native symbol"),
        pytest.param("venues/other.yaml", 'maker_fee: "0"', 'maker_fee: "0.01"', id="other venue"),
        pytest.param("venues/sample.yaml", ", ETH/USDT", "", id="another symbol"),
    ],
)
def test_what_the_result_does_not_depend_on_leaves_it_fresh(
    bench: Bench, name: str, before: str, after: str
) -> None:
    bench.edit(name, before, after)

    assert bench.reasons() == ()


def test_another_strategy_leaves_it_fresh(bench: Bench) -> None:
    text = FILES["strategies/mine.yaml"].replace("mine", "yours").replace("5m", "15m")
    (bench.root / "config" / "strategies" / "yours.yaml").write_text(text)

    assert bench.reasons() == ()


# Bars.


def rebuild(bench: Bench, series: Series = BTC) -> None:
    build_bars(bench.db_path, series, parse_timeframe("5m"), chunk_days=9, now_ms=2)


def write_other(bench: Bench, span: Span, series: Series = BTC) -> None:
    hold(bench.db_path, series, span, minute_bars(span, shift=77))
    rebuild(bench, series)


def change_a_volume(bench: Bench, text: str) -> None:
    """Change one bar of a day by the least that a venue counts."""
    start_ms = at(text[:10])
    span = Span(start_ms, start_ms + 24 * HOUR)
    table = minute_bars(span)
    volumes = table["volume"].to_pylist()
    place = table["ts_ms"].to_pylist().index(at(text))
    volumes[place] += 1e-8
    hold(bench.db_path, BTC, span, table.set_column(5, "volume", [volumes]))
    rebuild(bench)


MINUTES = "the 1m bars of BTC/USDT in its span changed"
BUILT = "the 5m bars of BTC/USDT in its span changed"
CHANGED = (BUILT, MINUTES)


@pytest.mark.parametrize("text", ["2024-01-01T00:00", "2024-01-02T13:13", "2024-01-03T23:59"])
def test_one_other_bar_in_its_span_makes_it_stale(bench: Bench, text: str) -> None:
    change_a_volume(bench, text)

    assert bench.reasons() == CHANGED
    bench.write_result()
    assert bench.reasons() == ()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE bars_5m SET close = 1 WHERE symbol = 'BTC/USDT' AND ts_ms = {1}",
        "DELETE FROM bars_5m WHERE symbol = 'BTC/USDT' AND ts_ms = {2}",
    ],
)
def test_a_bar_edited_by_hand_makes_it_stale_until_it_is_built_again(
    bench: Bench, sql: str
) -> None:
    shell(bench.db_path, sql.format(*map(day, range(3))))
    assert bench.reasons() == (BUILT,)

    rebuild(bench)
    assert bench.reasons() == ()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda b: write_other(b, days(0, 3), ETH), id="another symbol"),
        pytest.param(lambda b: write_other(b, days(0, 3), OTHER), id="another venue"),
        pytest.param(lambda b: write_other(b, days(3, 9)), id="from the day after its fixed end"),
        pytest.param(lambda b: write_other(b, days(-1, 0)), id="the day before its start"),
        pytest.param(
            lambda b: shell(b.db_path, "UPDATE bars_15m SET close = 1"), id="another timeframe"
        ),
        pytest.param(
            lambda b: hold(b.db_path, BTC, days(0, 3), source="x", updated_ms=9),
            id="the same fetched again",
        ),
    ],
)
def test_other_bars_leave_it_fresh(bench: Bench, change: Callable[[Bench], object]) -> None:
    change(bench)

    assert bench.reasons() == ()


def test_an_open_end_moves_on_with_the_day_and_not_within_it(bench: Bench) -> None:
    bench.edit("history.yaml", '"2024-01-04"', "null")
    at_two = at("2024-01-04T02:00")
    bench.write_result(now_ms=at_two)

    def reasons(text: str) -> tuple[str, ...]:
        strategy = bench.strategy(now_ms=at(text))
        return backtest_state(bench.db_path, strategy, results_path=bench.results_path).reasons

    assert reasons("2024-01-04T00:00") == reasons("2024-01-04T23:59") == ()
    assert reasons("2024-01-05T00:00") == ("end: was 2024-01-04, now 2024-01-05",)


def test_an_edge_inside_a_bar_is_cut_to_whole_bars(bench: Bench) -> None:
    """The run covers the bars whose whole time lies in the span, so no other part is in the key."""
    bench.edit("history.yaml", '"2024-01-04"', '"2024-01-03T12:02Z"')
    bench.write_result()

    bench.edit("history.yaml", "12:02Z", "12:04Z")
    assert bench.reasons() == ()

    bench.edit("history.yaml", "12:04Z", "12:05Z")
    assert bench.reasons() == ("end: was 2024-01-03T12:00:00Z, now 2024-01-03T12:05:00Z",)


def test_without_detail_minutes_are_not_in_the_key(bench: Bench) -> None:
    bench.edit("strategies/mine.yaml", "slippage_ticks: 1", "detail: none")
    bench.write_result()

    shell(bench.db_path, "UPDATE ohlcv_1m SET close = 1")

    assert bench.reasons() == ()


def test_with_detail_edited_minutes_are_refused_though_their_bars_are_whole(bench: Bench) -> None:
    shell(bench.db_path, f"UPDATE ohlcv_1m SET close = 1 WHERE ts_ms = {day(1)}")

    assert bench.reasons() == (
        "1 day of ohlcv_1m of sample:BTC/USDT was changed outside of tbv8: 2024-01-02: "
        "refused until `doit verify --repair`",
    )


def test_every_symbol_and_timeframe_that_it_reads_is_in_the_key(bench: Bench) -> None:
    rules = '{tick_size: "1", lot_size: "1", maker_fee: "0", taker_fee: "0"}'
    for venue in ("hyperliquid", "mexc"):
        name = f"venues/{venue}.yaml"
        bench.edit(name, "symbols: {BTC/USDT: ", "symbols: {ETH/USDT: ETH, BTC/USDT: ")
        bench.edit(name, "instruments:", f"instruments:\n  ETH/USDT: {rules}")
    bench.edit("strategies/mine.yaml", "symbol: BTC/USDT", "symbols: [BTC/USDT, ETH/USDT]")
    bench.edit("strategies/mine.yaml", "max_position_btc", "max_position_eth: 1, max_position_btc")
    bench.edit("strategies/mine.yaml", "timeframe: 5m", "timeframe: 5m\nbars: [15m]")
    bench.write_result()
    names = [part.name for part in bench.state().parts if part.name.startswith("bars:")]
    assert names == [
        f"bars:{symbol}:{timeframe}"
        for symbol in ("BTC/USDT", "ETH/USDT")
        for timeframe in ("5m", "15m", "1m")
    ]

    shell(bench.db_path, "UPDATE bars_15m SET close = 1 WHERE symbol = 'ETH/USDT'")
    assert bench.reasons() == ("the 15m bars of ETH/USDT in its span changed",)

    write_other(bench, days(1, 2), ETH)
    build_bars(bench.db_path, ETH, parse_timeframe("15m"), chunk_days=9, now_ms=2)
    assert bench.reasons() == tuple(
        f"the {timeframe} bars of ETH/USDT in its span changed" for timeframe in ("5m", "15m", "1m")
    )


def test_a_changed_length_is_shown_as_a_file_has_it(bench: Bench) -> None:
    bench.edit("history.yaml", '"2024-01-01"', '"2024-01-02"')
    bench.write_result()

    bench.edit("strategies/mine.yaml", "slippage_ticks: 1", "slippage_ticks: 1, warm_up: 36h")

    assert "warm_up: was 0d, now 36h" in bench.reasons()


def test_a_warm_up_is_in_the_key_with_its_bars(bench: Bench) -> None:
    bench.edit("strategies/mine.yaml", "slippage_ticks: 1", "warm_up: 1d, start_date: 2024-01-02")
    bench.write_result()
    assert bench.reasons() == ()

    change_a_volume(bench, "2024-01-01T07:00")  # before the span that is counted
    assert bench.reasons() == CHANGED

    rest = Span(at("2024-01-02"), at("2024-01-04"))
    strategy = bench.strategy()
    assert strategy.span == rest
    manifest = read_manifest(bench.folder)
    assert manifest is not None
    assert manifest.inputs["span"].value["start"] == "2024-01-02T00:00:00Z"


def test_a_1m_strategy_reads_its_source(bench: Bench) -> None:
    bench.edit("strategies/mine.yaml", "timeframe: 5m", "timeframe: 1m")
    assert "timeframe: was 5m, now 1m" in bench.reasons()
    bench.write_result()
    shell(bench.db_path, "DELETE FROM bars_5m")
    assert bench.reasons() == ()

    hold(bench.db_path, BTC, days(1, 2), minute_bars(days(1, 2), shift=5))
    assert bench.reasons() == (MINUTES,)


def test_a_1m_strategy_says_which_days_of_its_source_are_refused(bench: Bench) -> None:
    bench.edit("strategies/mine.yaml", "timeframe: 5m", "timeframe: 1m")
    bench.write_result()
    hold(bench.db_path, BTC, days(3, 4))
    shell(bench.db_path, f"UPDATE ohlcv_1m SET close = 1 WHERE ts_ms IN ({day(0)}, {day(3)})")
    refused = (
        "1 day of ohlcv_1m of sample:BTC/USDT was changed outside of tbv8: 2024-01-01: "
        "refused until `doit verify --repair`"
    )

    assert bench.reasons() == (refused,)
    (bars,) = [part for part in bench.state().parts if part.name.startswith("bars:")]
    assert bars.current == "edited by hand"

    shutil.rmtree(bench.folder)
    assert bench.reasons() == ("no result yet", refused)


# Code.


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param("strategies/follow.py", "warm = 3", "warm = 4", id="the strategy"),
        pytest.param("strategies/averages.py", "/ len", "// len", id="what it imports"),
        pytest.param("strategies/deeper.py", "sum", "max", id="what that imports, relatively"),
        pytest.param("strategies/tools/lines.py", "levels.ONE", "2", id="by a dotted name"),
        pytest.param("strategies/levels.py", "1", "2", id="from two levels up"),
        pytest.param("market.py", "HOUR_MS = 60", "HOUR_MS = 61", id="of tbv8 itself"),
    ],
)
def test_a_line_of_the_strategy_or_of_what_it_imports_makes_it_stale(
    bench: Bench, name: str, before: str, after: str
) -> None:
    edit(bench.package / name, before, after)

    assert f"tbv8/{name} changed" in bench.reasons()
    edit(bench.package / name, after, before)
    assert bench.reasons() == ()


def test_a_project_module_that_is_imported_from_now_on_makes_it_stale(bench: Bench) -> None:
    edit(bench.package / "strategies" / "deeper.py", "add = sum", "from . import nobody\nadd = sum")

    assert set(bench.reasons()) == {
        "tbv8/strategies/deeper.py changed",
        "tbv8/strategies/nobody.py changed",
    }


@pytest.mark.parametrize("name", [*ENGINE, "market.py"])
def test_code_that_runs_the_result_makes_it_stale(bench: Bench, name: str) -> None:
    path = bench.package / name
    path.write_text(f"{path.read_text()}\nSOMETHING_ELSE = 1\n")

    assert f"tbv8/{name} changed" in bench.reasons()


def test_the_package_has_the_code_that_is_looked_for(tmp_path: Path) -> None:
    """The other tests change a small package: the real one must have the same places."""
    copy_config(tmp_path)
    project = load_project(tmp_path, overrides={}, now_ms=NOW, history_span=lambda *_: None)

    inputs = static_inputs(project.strategies["btc_usdt_perp_v1"])

    engine = set(inputs["engine"].value)
    places = ("backtest/run.py", "market.py", "results/summary.py", "risk/book.py")
    assert {f"tbv8/{name}" for name in (*places, "trading/session.py")} <= engine
    assert "tbv8/page/style.py" not in engine
    assert "tbv8/results/tearsheet/page.py" not in engine
    assert "tbv8/strategies/ema_cross.py" in inputs["strategy"].value
    assert set(inputs["versions"].value) == {"python", "nautilus_trader", "numpy"}
    assert {"path", "root"}.isdisjoint(inputs["config"].value)  # the same on any machine


# What only draws.


def only_draws(bench: Bench) -> bool:
    parse_source.cache_clear()
    digest_source.cache_clear()
    strategy = bench.strategy()
    with open_reader(bench.db_path) as query:
        inputs = backtest_inputs(query, strategy)
    return needs_only_drawing(bench.folder, inputs, strategy=strategy) is not None


@pytest.mark.parametrize("name", DRAWS)
def test_code_that_only_draws_makes_the_page_stale_and_nothing_else(
    bench: Bench, name: str
) -> None:
    assert not only_draws(bench)
    path = bench.package / name
    path.write_text(f"{path.read_text()}\nSOMETHING_ELSE = 1\n")

    assert bench.reasons() == (f"tbv8/{name} changed: the page is drawn again",)
    assert only_draws(bench)


def test_a_page_is_drawn_again_once_plotly_lies_beside_it_or_no_more(bench: Bench) -> None:
    beside = bench.results_path / "plotly.min.js"
    beside.touch()

    assert bench.reasons() == ("plotly.min.js changed: the page is drawn again",)
    bench.write_result()
    assert bench.reasons() == ()

    beside.unlink()
    assert bench.reasons() == ("plotly.min.js changed: the page is drawn again",)


def test_a_page_that_is_gone_is_drawn_again(bench: Bench) -> None:
    (bench.folder / "tearsheet.html").unlink()

    assert bench.reasons() == ("tearsheet.html is gone",)
    assert only_draws(bench)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda b: b.edit("strategies/mine.yaml", "fast: 20", "fast: 21"), id="the config"
        ),
        pytest.param(
            lambda b: edit(b.package / "strategies/follow.py", "warm = 3", "warm = 4"),
            id="the strategy",
        ),
        pytest.param(
            lambda b: (b.package / "backtest/run.py").write_text("ONE = 1\n"), id="the engine"
        ),
        pytest.param(lambda b: change_a_volume(b, "2024-01-02T13:13"), id="a bar"),
        pytest.param(lambda b: (b.folder / "fills.csv").unlink(), id="a file of the result"),
        pytest.param(lambda b: (b.folder / "manifest.json").unlink(), id="the manifest"),
        pytest.param(lambda b: (b.root / "prices.csv").write_text("3"), id="what it reads"),
    ],
)
def test_with_anything_else_it_is_run(bench: Bench, change: Callable[[Bench], object]) -> None:
    (bench.root / "prices.csv").write_text("1,2")
    bench.write_result(read=("prices.csv",))
    (bench.package / "page/style.py").write_text("COLOR = 1\n")
    assert only_draws(bench)

    change(bench)

    assert not only_draws(bench)


# Files that a strategy opened.


def test_a_file_that_the_strategy_opened_is_in_the_key(bench: Bench) -> None:
    (bench.root / "prices.csv").write_text("1,2")
    (bench.root / "helper.py").write_text("ONE = 1")
    bench.write_result(read=("prices.csv", "helper.py", "override.csv"))
    (bench.root / "helper.py").write_text("ONE = 1  # a comment")
    assert bench.reasons() == ()

    (bench.root / "prices.csv").write_text("1,3")
    (bench.root / "helper.py").write_text("ONE = 2")
    (bench.root / "override.csv").write_text("")  # it looked for one, and there was none
    assert bench.reasons() == (
        "helper.py, which the strategy reads, changed",
        "override.csv, which the strategy reads, changed",
        "prices.csv, which the strategy reads, changed",
    )

    (bench.root / "prices.csv").unlink()
    assert "prices.csv, which the strategy reads, is gone" in bench.reasons()


def test_sources_are_in_the_order_of_their_names_wherever_their_folders_are(
    tmp_path: Path,
) -> None:
    sources = [tmp_path / "zigzag.py", ROOT / "tbv8" / "text.py", tmp_path / "alpha.py"]
    for path in (sources[0], sources[2]):
        path.write_text("")

    digests = source_digests(sources, tmp_path)

    assert list(digests) == ["alpha.py", "tbv8/text.py", "zigzag.py"]


def test_a_module_more_or_less_in_the_engine_makes_it_stale(bench: Bench) -> None:
    (bench.package / "backtest" / "new.py").write_text("NEW = 1\n")
    assert bench.reasons() == ("tbv8/backtest/new.py changed",)

    bench.write_result()
    (bench.package / "backtest" / "new.py").unlink()
    assert bench.reasons() == ("tbv8/backtest/new.py changed",)


@pytest.mark.parametrize(
    "name",
    ["strategies/follow.py", "strategies/averages.py", "market.py", "backtest/run.py"],
)
def test_comments_and_blank_lines_in_code_leave_it_fresh(bench: Bench, name: str) -> None:
    path = bench.package / name
    path.write_text(f"# a comment\n\n\n{path.read_text(encoding='utf-8')}\n# another\n")

    assert bench.reasons() == ()


@pytest.mark.parametrize("name", ["strategies/nobody.py", *REST])
def test_code_that_does_not_run_it_leaves_it_fresh(bench: Bench, name: str) -> None:
    path = bench.package / name
    path.write_text(f"{path.read_text(encoding='utf-8')}\nSOMETHING_ELSE = 1\n")

    assert bench.reasons() == ()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("python", "python: was 3.12.1, now 3.12.99"),
        ("nautilus_trader", "nautilus_trader: was 2.0.0, now 2.0.1"),
        ("numpy", "numpy: was 2.5, now 2.6"),
        ("plotly", "plotly changed: the page is drawn again"),
    ],
)
def test_another_version_makes_it_stale(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    then = {"python": "3.12.1", "nautilus_trader": "2.0.0", "numpy": "2.5", "plotly": "7.1"}
    now = {"python": "3.12.99", "nautilus_trader": "2.0.1", "numpy": "2.6", "plotly": "7.2"}
    now = {**then, name: now[name]}

    true = result_module.version

    def install(versions: dict[str, str]) -> None:
        result_module.package_versions.cache_clear()
        monkeypatch.setattr(result_module.sys, "version", f"{versions['python']} (main)")
        monkeypatch.setattr(result_module, "version", lambda name: versions.get(name) or true(name))

    try:
        install(then)
        bench.write_result()
        assert bench.reasons() == ()
        install(now)
        assert bench.reasons() == (reason,)
    finally:
        result_module.package_versions.cache_clear()


def test_another_version_of_what_a_strategy_imports_makes_it_stale(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = bench.package / "strategies" / "follow.py"
    follow.write_text(
        f"import jsonschema.validators as v\nimport yaml, nowhere\n{follow.read_text('utf-8')}"
    )
    parse_source.cache_clear()
    digest_source.cache_clear()
    bench.write_result()
    assert bench.reasons() == ()

    true = result_module.version
    newer = {"jsonschema": "99.0"}
    monkeypatch.setattr(result_module, "version", lambda name: newer.get(name) or true(name))
    assert bench.reasons() == (f"jsonschema: was {true('jsonschema')}, now 99.0",)

    newer = {"PyYAML": "99.0", "pyyaml": "99.0"}
    (reason,) = bench.reasons()
    assert reason.lower() == f"pyyaml: was {true('PyYAML')}, now 99.0"


# The files of the result.


def test_a_missing_or_edited_file_makes_it_stale(bench: Bench) -> None:
    (bench.folder / "shadow" / "fills.csv").unlink()
    (bench.folder / "summary.json").write_text("{ }\n")

    assert set(bench.reasons()) == {"shadow/fills.csv is gone", "summary.json was changed"}

    shutil.rmtree(bench.folder / "shadow")
    (bench.folder / "summary.json").unlink()
    (bench.folder / "summary.json").mkdir()
    assert set(bench.reasons()) == {"shadow/fills.csv is gone", "summary.json is gone"}


def test_a_file_that_the_manifest_does_not_list_leaves_it_fresh(bench: Bench) -> None:
    (bench.folder / "notes.txt").write_text("mine\n")

    assert bench.reasons() == ()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"inputs": {"config": {"dig', id="cut off"),
        pytest.param(b"{}", id="without parts"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"inputs": [], "outputs": []}', id="lists in it"),
        pytest.param(b'{"inputs": {"config": 3}, "outputs": {}}', id="a number for a part"),
        pytest.param(b'{"inputs": {"config": {}}, "outputs": {}}', id="a part without digest"),
        pytest.param(b'{"inputs": {}, "outputs": {"a": null}}', id="a file without digest"),
        pytest.param(b'{"inputs": {}, "outputs": {"\xff": ""}}', id="no UTF-8"),
    ],
)
def test_a_broken_manifest_makes_it_stale_and_is_named(bench: Bench, content: bytes) -> None:
    (bench.folder / "manifest.json").write_bytes(content)

    assert bench.reasons() == ("manifest.json is damaged",)
    assert static_state(bench.strategy(), results_path=bench.results_path).reasons


def test_a_manifest_that_lacks_a_part_or_has_another_digest_is_stale(bench: Bench) -> None:
    path = bench.folder / "manifest.json"
    whole = json.loads(path.read_text())

    for name in whole["inputs"]:
        inputs = dict(whole["inputs"])
        del inputs[name]
        path.write_text(json.dumps({**whole, "inputs": inputs}))
        assert bench.reasons(), name

        inputs[name] = {**whole["inputs"][name], "digest": "0" * 64}
        path.write_text(json.dumps({**whole, "inputs": inputs}))
        expected = {"bars:BTC/USDT:5m": BUILT, "bars:BTC/USDT:1m": MINUTES}
        for venue in ("hyperliquid", "mexc"):
            words = f"the funding of BTC/USDT at {venue} in its span changed"
            expected[f"funding:{venue}:BTC/USDT"] = words
        assert bench.reasons() == (expected.get(name, f"{name} changed"),)

    path.write_text(json.dumps(whole))
    assert bench.reasons() == ()


def test_a_manifest_is_read_as_it_was_written(bench: Bench) -> None:
    manifest = read_manifest(bench.folder)

    assert manifest is not None
    with open_reader(bench.db_path) as query:
        assert manifest.inputs == {
            **backtest_inputs(query, bench.strategy()),
            FILES_PART: make_input({}),
        }
    assert sorted(manifest.outputs) == [
        "fills.csv",
        "shadow/fills.csv",
        "summary.json",
        "tearsheet.html",
    ]
    assert read_manifest(bench.root / "nowhere") is None


def test_every_reason_is_told(bench: Bench) -> None:
    bench.edit("strategies/mine.yaml", "fast: 20", "fast: 10")
    edit(bench.package / "strategies" / "follow.py", "warm = 3", "warm = 4")
    write_other(bench, days(1, 2))
    (bench.folder / "fills.csv").unlink()

    assert bench.reasons() == (
        "params.fast: was 20, now 10",
        "tbv8/strategies/follow.py changed",
        *CHANGED,
        "fills.csv is gone",
    )


# What no data decides.


def test_the_params_are_checked_again_when_config_code_or_versions_changed(bench: Bench) -> None:
    def static() -> tuple[str, ...]:
        parse_source.cache_clear()
        digest_source.cache_clear()
        return static_state(bench.strategy(), results_path=bench.results_path).reasons

    assert static() == ()
    bench.db_path.unlink()
    (bench.folder / "fills.csv").unlink()
    assert static() == ()

    bench.edit("strategies/mine.yaml", "fast: 20", "fast: 10")
    assert static() == ("config changed",)
    edit(bench.package / "strategies" / "follow.py", "warm = 3", "warm = 4")
    assert static() == ("config changed", "strategy changed")

    shutil.rmtree(bench.folder)
    assert static() == ("config changed", "strategy changed", "engine changed", "versions changed")
