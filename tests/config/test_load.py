"""The files of config/ as a Project, and every way of getting them wrong, with its whole message.

The files are those of design.md section 4 as they stand there; its example of `backtest:` without
the line of three dots. Messages are written out, so that wording and line are pinned.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from _pytest.mark import ParameterSet
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tbv8.config.document import plain
from tbv8.config.files import Instrument, Routing
from tbv8.config.load import load_project
from tbv8.config.records import (
    Notify,
    PaperLimits,
    Project,
    Risk,
    Strategy,
    Venue,
)
from tbv8.errors import ConfigError
from tbv8.market import MINUTE_MS, Series, Span, parse_time, parse_timeframe
from tests.builders import ROOT, copy_config
from tests.lines import Line

NOW = "2026-01-15T12:34:56Z"
HALF_YEAR = Span(parse_time("2024-01-01"), parse_time("2024-07-01"))

DATA = "data.yaml"
HISTORY = "history.yaml"
HYPERLIQUID = "venues/hyperliquid.yaml"
MEXC = "venues/mexc.yaml"
BINANCE = "venues/binance_spot.yaml"
SAMPLE = "venues/sample.yaml"
STRATEGY = "strategies/btc_usdt_perp_v1.yaml"
MODULES = ", ".join(sorted(p.stem for p in (ROOT / "tbv8/strategies").glob("[!_]*.py")))

# ruff: noqa: E501  # as they stand in design.md
SECTION_4 = {
    DATA: """\
# config/data.yaml
db_path: data/tbv8.sqlite
results_path: data/results              # optional
timeframes: [5m, 15m, 1h, 4h]           # optional: built for every series, beside what strategies ask for
""",
    HISTORY: """\
# config/history.yaml
history:
  market_data_venue: sample             # ships with tbv8 and needs no network; the real market: binance_spot
  start_date: "2017-08-17T00:00:00Z"
  end_date: null                        # null = NOW
  refresh: 1d                           # optional: with end_date null, the history ends at the last full 1d (UTC), so that a second
                                        # run within that day is a no-op; 1m follows the market to the minute
""",
    HYPERLIQUID: """\
# config/venues/hyperliquid.yaml
venue: hyperliquid                      # must be the file's name
enabled: true                           # the recorder connects to it
symbols: {BTC/USDT: BTC}                # symbol -> native symbol; a plain list uses the venue's own rule
channels: [trades, bbo]                 # optional; bars_1m are always built from trades
ws_url: wss://api.hyperliquid.xyz/ws    # optional, as every URL: for a testnet, a proxy, a local server
rest_url: https://api.hyperliquid.xyz
instruments:                            # what an order there is worth: used by backtests
  BTC/USDT: {tick_size: "1", lot_size: "0.00001", maker_fee: "0.00015", taker_fee: "0.00045", max_leverage: 40}
""",
    BINANCE: """\
# config/venues/binance_spot.yaml
venue: binance_spot
enabled: false                          # history only: nothing to record
symbols: {BTC/USDT: BTCUSDT}
rest_url: https://api.binance.com       # the calls are <rest_url>/api/v3/klines, ...
archive_url: https://data.binance.vision  # the files are <archive_url>/data/spot/monthly/klines/...
""",
    SAMPLE: """\
# config/venues/sample.yaml
venue: sample
enabled: false
symbols: [BTC/USDT, ETH/USDT]
""",
    MEXC: """\
# config/venues/mexc.yaml
venue: mexc
enabled: true
symbols: {BTC/USDT: BTC_USDT}
channels: [trades, bbo]
ws_url: wss://contract.mexc.com/edge
rest_url: https://api.mexc.com
instruments:
  BTC/USDT: {tick_size: "0.1", lot_size: "0.0001", maker_fee: "0", taker_fee: "0.0002", max_leverage: 200}
""",
    STRATEGY: """\
# config/strategies/btc_usdt_perp_v1.yaml
strategy_id: btc_usdt_perp_v1           # must be the file's name
symbol: BTC/USDT
timeframe: 5m
strategy: ema_cross.EmaCross            # optional: module.Class under tbv8/strategies/; this is the default
params: {fast: 20, slow: 50}            # optional; checked against the strategy's own config class before any data is read
routing: {primary: hyperliquid, secondary: mexc, mode: PRIMARY_LIVE_SECONDARY_SHADOW}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10.0, max_leverage: 2.0}   # max_position_<base> in base units
backtest:                               # optional
  starting_balance_usd: 10000
  slippage_ticks: 0
""",
}

LEAST = """\
strategy_id: least
symbol: BTC/USDT
timeframe: 1h
routing: {primary: mexc}
risk: {max_position_btc: 1, max_daily_loss_usd: 100, max_leverage: 1}
"""


@dataclass(frozen=True)
class Files:
    """A project's `config/`, to be changed and loaded; names are relative to it."""

    root: Path
    available: dict[str, Span | None] = field(default_factory=lambda: {"sample": HALF_YEAR})

    def write(self, name: str, content: str | bytes) -> None:
        path = self.root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / "config" / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def remove(self, name: str) -> None:
        (self.root / "config" / name).unlink()

    def load(self, *, now: str = NOW, **overrides: str) -> Project:
        return load_project(
            self.root,
            overrides=overrides,
            now_ms=parse_time(now),
            history_span=lambda venue, *_: self.available.get(venue.name),
        )

    def strategy(self, *, now: str = NOW, **overrides: str) -> Strategy:
        (strategy,) = self.load(now=now, **overrides).strategies.values()
        return strategy

    def refusal(self, *, now: str = NOW, **overrides: str) -> str:
        """Return what is wrong, be it with all or with one strategy, venue or instrument."""
        try:
            loaded = self.load(now=now, **overrides)
        except ConfigError as e:
            return str(e)
        return str(loaded.problems[0].error)


@pytest.fixture
def project(tmp_path: Path) -> Files:
    """Return the files of design.md section 4."""
    files = Files(tmp_path / "project")
    for name, text in SECTION_4.items():
        files.write(name, text)
    return files


@pytest.fixture
def real_market(project: Files) -> Files:
    """Return the same with the history of binance_spot."""
    project.available["binance_spot"] = Span(
        parse_time("2017-08-17"), parse_time("2026-01-15T12:33Z")
    )
    project.edit(HISTORY, "sample  ", "binance_spot")
    return project


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return what writes a module of a user into a `tbv8/strategies/` of its own."""
    package = tmp_path / "code" / "tbv8"
    shutil.copytree(ROOT / "tbv8" / "strategies", package / "strategies")
    monkeypatch.setattr("tbv8.config.source.STRATEGIES", package / "strategies")
    monkeypatch.chdir(tmp_path / "code")

    def write(name: str, text: str) -> None:
        path = package / "strategies" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")

    return write


# What is read.


def test_the_files_of_the_design_load_as_they_stand(project: Files) -> None:
    loaded = project.load()

    hyperliquid = Instrument(
        tick_size=Decimal(1),
        lot_size=Decimal("0.00001"),
        maker_fee=Decimal("0.00015"),
        taker_fee=Decimal("0.00045"),
        max_leverage=Decimal(40),
        funding_hours=1,  # Hyperliquid's own
    )
    mexc = Instrument(
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.0001"),
        maker_fee=Decimal(0),
        taker_fee=Decimal("0.0002"),
        max_leverage=Decimal(200),
        funding_hours=8,  # MEXC's own
    )
    assert loaded == Project(
        root=project.root,
        db_path=project.root / "data/tbv8.sqlite",
        results_path=project.root / "data/results",
        timeframes=tuple(parse_timeframe(text) for text in ("5m", "15m", "1h", "4h")),
        venues={
            "binance_spot": Venue(
                name="binance_spot",
                enabled=False,
                symbols={"BTC/USDT": "BTCUSDT"},
                channels=("trades", "bbo"),
                ws_url=None,
                rest_url="https://api.binance.com",
                archive_url="https://data.binance.vision",
                instruments={},
            ),
            "hyperliquid": Venue(
                name="hyperliquid",
                enabled=True,
                symbols={"BTC/USDT": "BTC"},
                channels=("trades", "bbo"),
                ws_url="wss://api.hyperliquid.xyz/ws",
                rest_url="https://api.hyperliquid.xyz",
                archive_url=None,
                instruments={"BTC/USDT": hyperliquid},
            ),
            "mexc": Venue(
                name="mexc",
                enabled=True,
                symbols={"BTC/USDT": "BTC_USDT"},
                channels=("trades", "bbo"),
                ws_url="wss://contract.mexc.com/edge",
                rest_url="https://api.mexc.com",
                archive_url=None,
                instruments={"BTC/USDT": mexc},
            ),
            "sample": Venue(
                name="sample",
                enabled=False,
                symbols={"BTC/USDT": None, "ETH/USDT": None},
                channels=("trades", "bbo"),
                ws_url=None,
                rest_url=None,
                archive_url=None,
                instruments={},
            ),
        },
        strategies={
            "btc_usdt_perp_v1": Strategy(
                strategy_id="btc_usdt_perp_v1",
                path=Path("config/strategies/btc_usdt_perp_v1.yaml"),
                symbol="BTC/USDT",
                symbols=("BTC/USDT",),
                timeframe=parse_timeframe("5m"),
                module="ema_cross",
                class_name="EmaCross",
                params={"fast": 20, "slow": 50},
                routing=Routing(
                    primary="hyperliquid", secondary="mexc", mode="PRIMARY_LIVE_SECONDARY_SHADOW"
                ),
                risk=Risk(
                    max_positions={"BTC/USDT": Decimal("0.01")},
                    max_daily_loss_usd=Decimal(10),
                    max_leverage=Decimal(2),
                ),
                source=Series("sample", "BTC/USDT"),
                span=HALF_YEAR,
                instruments={
                    "hyperliquid": {"BTC/USDT": hyperliquid},
                    "mexc": {"BTC/USDT": mexc},
                },
                starting_balance_usd=Decimal(10_000),
                funding="history",
                slippage_ticks=0,
                simulated=True,
                root=project.root,
            )
        },
        wanted={
            Series("sample", "BTC/USDT"): [HALF_YEAR],
            Series("sample", "ETH/USDT"): [HALF_YEAR],
        },
        history_venue="sample",
        now_ms=parse_time(NOW),
    )
    assert (
        loaded.strategies["btc_usdt_perp_v1"].module_path == ROOT / "tbv8/strategies/ema_cross.py"
    )


def test_the_shipped_files_are_those_of_the_design_and_eth(project: Files) -> None:
    least_order = "min_notional_usd: 10, max_leverage: 40"  # as issue 12 has it
    project.edit(HYPERLIQUID, "max_leverage: 40", least_order)
    for path in (HYPERLIQUID, MEXC):  # a paper session is charged the funding that is recorded
        text = (project.root / "config" / path).read_text()
        channels = next(line for line in text.splitlines() if line.startswith("channels"))
        project.edit(path, channels, "channels: [trades, bbo, funding]")
    designed = project.load()
    shutil.rmtree(project.root / "config")
    copy_config(project.root)

    shipped = project.load()
    example = {"btc_usdt_perp_v1": shipped.strategies["btc_usdt_perp_v1"]}
    for name in ("binance_perp", "bybit"):  # later than the design
        del shipped.venues[name]
    for name in ("binance_spot", "hyperliquid", "mexc"):  # for the pairs trade
        del shipped.venues[name].symbols["ETH/USDT"]
        shipped.venues[name].instruments.pop("ETH/USDT", None)
    assert replace(shipped, strategies=example) == designed


def test_each_strategy_is_judged_by_its_own_venue_under_the_options(project: Files) -> None:
    own = "backtest: {market_data_venue: binance_spot, start_date: '2023-01-01'}\n"
    project.write("strategies/least.yaml", LEAST + own)
    project.available["binance_spot"] = Span(parse_time("2023-01-01"), parse_time("2023-04-01"))

    early = project.load(start="2023-02-01", end="2023-03-01")
    late = project.load(start="2024-02-01", end="2024-03-01")
    backwards = project.refusal(start="2024-03-01", end="2024-02-01")

    assert list(early.strategies) == ["least"]
    assert {series.venue for series in early.wanted} == {"binance_spot"}
    assert list(early.paper_only) == ["btc_usdt_perp_v1"]
    assert [(p.kind, p.name, p.by_options) for p in early.problems] == [
        ("history", "sample", True),
        ("strategy", "btc_usdt_perp_v1", True),
    ]
    (line,) = {str(problem.error) for problem in early.problems}
    assert line.startswith("command line: end: sample has no history of 2023-02-01")
    assert list(late.strategies) == ["btc_usdt_perp_v1"]
    (problem,) = late.problems
    assert str(problem.error).startswith("command line: start: binance_spot has no history of 2024")
    assert backwards.startswith("command line: ")


def test_an_error_of_a_file_itself_is_not_one_of_the_options(project: Files) -> None:
    project.edit(STRATEGY, "timeframe: 5m", "timeframe: 5n")

    _, problem = project.load(start="2023-02-01", end="2023-03-01").problems

    assert "5n" in str(problem.error)
    assert not problem.by_options


def test_the_least_strategy_gets_every_default(project: Files) -> None:
    project.remove(STRATEGY)
    project.write("strategies/least.yaml", LEAST)

    strategy = project.strategy()

    assert (strategy.module, strategy.class_name, strategy.params) == ("ema_cross", "EmaCross", {})
    assert strategy.routing == Routing(primary="mexc", secondary=None, mode="PRIMARY_ONLY")
    assert list(strategy.instruments) == ["mexc"]
    assert strategy.span == HALF_YEAR
    assert strategy.starting_balance_usd == 10_000
    assert strategy.slippage_ticks == 0


def test_the_least_data_and_venue_files_get_every_default(project: Files) -> None:
    project.write(DATA, "db_path: elsewhere/bars.sqlite")
    project.write(SAMPLE, "{venue: sample, symbols: [BTC/USDT]}")
    project.edit(MEXC, ", max_leverage: 200", "")

    loaded = project.load()

    assert loaded.db_path == project.root / "elsewhere/bars.sqlite"
    assert loaded.results_path == project.root / "data/results"
    assert loaded.timeframes == ()
    assert not loaded.venues["sample"].enabled
    rules = loaded.venues["mexc"].instruments["BTC/USDT"]
    assert (rules.max_leverage, rules.funding_rate_8h) == (Decimal(1), Decimal(0))
    assert rules.funding_hours == 8


def test_paths_are_relative_to_where_one_is(
    project: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.edit(DATA, "data/results  ", "/srv/results")
    monkeypatch.chdir(project.root)

    loaded = project.load()

    assert loaded.db_path == Path("data/tbv8.sqlite")
    assert loaded.results_path == Path("/srv/results")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('tick_size: "1"', "tick_size: 1", id="a whole number"),
        pytest.param('tick_size: "1"', "tick_size: 1.0", id="a number with a point"),
        pytest.param('"0.00001"', "0.00001", id="a small number"),
        pytest.param('"0.00001"', "1e-5", id="a power of ten"),
        pytest.param('"0.00001"', '"1E-5"', id="a power of ten as text"),
        pytest.param("max_leverage: 40", 'max_leverage: "40"', id="a number as text"),
    ],
)
def test_a_number_is_what_it_says_however_it_is_written(project: Files, old: str, new: str) -> None:
    expected = project.load()

    project.edit(HYPERLIQUID, old, new)

    assert project.load() == expected


def test_a_fee_can_be_a_rebate(project: Files) -> None:
    project.edit(HYPERLIQUID, '"0.00015"', '"-0.00002"')

    rules = project.load().venues["hyperliquid"].instruments["BTC/USDT"]

    assert rules.maker_fee == Decimal("-0.00002")


def test_one_instrument_can_be_written_for_two_symbols_by_an_anchor(project: Files) -> None:
    project.edit(HYPERLIQUID, "{BTC/USDT: BTC}", "{BTC/USDT: BTC, ETH/USDT: ETH}")
    project.edit(HYPERLIQUID, "BTC/USDT: {tick", "BTC/USDT: &usual {tick")
    project.edit(HYPERLIQUID, "40}\n", "40}\n  ETH/USDT: {<<: *usual, max_leverage: 25}\n")

    rules = project.load().venues["hyperliquid"].instruments

    assert rules["ETH/USDT"] == msgspec.structs.replace(rules["BTC/USDT"], max_leverage=Decimal(25))


def test_a_slash_at_the_end_of_a_url_is_dropped(project: Files) -> None:
    project.edit(BINANCE, "https://api.binance.com ", "http://127.0.0.1:8080/ ")

    assert project.load().venues["binance_spot"].rest_url == "http://127.0.0.1:8080"


def test_files_that_an_editor_leaves_are_no_config(project: Files) -> None:
    project.write("strategies/.#btc_usdt_perp_v1.yaml", "neither YAML nor: a: strategy")
    project.write("strategies/btc_usdt_perp_v1.yaml~", "an older one")

    assert list(project.load().strategies) == ["btc_usdt_perp_v1"]


def test_both_endings_of_yaml_are_read(project: Files) -> None:
    project.write("strategies/least.yml", LEAST)

    assert list(project.load().strategies) == ["btc_usdt_perp_v1", "least"]


# What is wanted.


def test_a_series_has_the_span_of_the_history_and_those_of_its_strategies(
    real_market: Files,
) -> None:
    own = "backtest: {start_date: 2024-03-01, end_date: 2024-04-01}\n"
    simulated = "backtest: {market_data_venue: sample, end_date: 2024-02-01}\n"
    real_market.write("strategies/least.yaml", LEAST + own)
    real_market.write("strategies/again.yaml", LEAST.replace("least", "again") + own)
    real_market.write("strategies/other.yaml", LEAST.replace("least", "other") + simulated)

    wanted = real_market.load().wanted

    assert wanted == {
        Series("binance_spot", "BTC/USDT"): [
            Span(parse_time("2017-08-17"), parse_time("2026-01-15")),
            Span(parse_time("2024-03-01"), parse_time("2024-04-01")),
        ],
        Series("sample", "BTC/USDT"): [Span(parse_time("2024-01-01"), parse_time("2024-02-01"))],
    }


@pytest.mark.parametrize(
    ("backtest", "outside"),
    [
        ('{start_date: "2024-03-01", end_date: "2025-03-10"}', [("2024-07-01", "2025-03-10")]),
        ('{start_date: "2023-12-01", end_date: "2024-03-01"}', [("2023-12-01", "2024-01-01")]),
        ('{start_date: "2024-03-01", end_date: "2024-07-01"}', []),
        ("{}", []),  # of history.yaml, which is for all venues
    ],
)
def test_dates_outside_of_the_history_are_kept(
    project: Files, backtest: str, outside: list[tuple[str, str]]
) -> None:
    project.write("strategies/least.yaml", f"{LEAST}backtest: {backtest}\n")

    strategy = project.load().strategies["least"]

    assert strategy.not_in_history == tuple(
        Span(parse_time(start), parse_time(end)) for start, end in outside
    )


def test_how_late_a_paper_session_may_be(project: Files) -> None:
    assert project.load().paper == PaperLimits(stale_after_ms=None, clock_limit_ms=2000)
    assert project.load().notify is None
    strategy = project.strategy()
    assert project.load().stale_after_ms(strategy) == 3 * 300_000

    project.edit(DATA, "results_path: data/results", "paper: {stale_after: 90s, clock_limit: 1s}")
    loaded = project.load()

    assert loaded.paper == PaperLimits(stale_after_ms=90_000, clock_limit_ms=1000)
    assert loaded.stale_after_ms(strategy) == 90_000


def test_where_messages_go(project: Files) -> None:
    project.edit(DATA, "results_path: data/results", "notify: {urls_env: URLS, without: [halt]}")

    assert project.load().notify == Notify(urls_env="URLS", without=("halt",))


def test_the_timeframes_of_a_series_are_those_of_data_and_of_its_strategies(project: Files) -> None:
    project.edit(DATA, "[5m, 15m, 1h, 4h]", "[1M, 1m, 4h, 5m, 1w, 60m, 1h]")
    project.edit(STRATEGY, "timeframe: 5m", "timeframe: 7h")
    project.write("strategies/least.yaml", LEAST)

    loaded = project.load()

    btc = loaded.timeframes_of(Series("sample", "BTC/USDT"))
    eth = loaded.timeframes_of(Series("sample", "ETH/USDT"))
    assert [timeframe.text for timeframe in btc] == ["5m", "1h", "60m", "4h", "7h", "1w", "1M"]
    assert [timeframe.text for timeframe in eth] == ["5m", "1h", "60m", "4h", "1w", "1M"]


# When: NOW, refresh, and who has the last word.


@pytest.mark.parametrize(
    ("refresh", "end"),
    [
        pytest.param("1d", "2026-01-15T00:00Z", id="the day"),
        pytest.param("12h", "2026-01-15T12:00Z", id="half a day"),
        pytest.param("1h", "2026-01-15T12:00Z", id="the hour"),
        pytest.param("7m", "2026-01-15T12:29Z", id="seven minutes from the epoch on"),
        pytest.param("1m", "2026-01-15T12:33Z", id="the minute, as far as the venue goes"),
        pytest.param("24h", "2026-01-15T00:00Z", id="a day in hours"),
    ],
)
def test_an_open_history_ends_at_the_last_full_refresh(
    real_market: Files, refresh: str, end: str
) -> None:
    real_market.edit(HISTORY, "refresh: 1d", f"refresh: {refresh}")

    assert real_market.strategy().span == Span(parse_time("2017-08-17"), parse_time(end))


@pytest.mark.parametrize(
    ("now", "end"),
    [
        pytest.param("2026-01-15T00:00:00Z", "2026-01-15", id="at midnight"),
        pytest.param("2026-01-14T23:59:59.999Z", "2026-01-14", id="a millisecond before"),
    ],
)
def test_the_day_turns_at_midnight(real_market: Files, now: str, end: str) -> None:
    assert real_market.strategy(now=now).span.end_ms == parse_time(end)


def test_the_history_of_a_venue_that_has_none_to_give_is_what_was_recorded(project: Files) -> None:
    strategy = project.strategy(venue="hyperliquid", start="2026-01-01")

    assert strategy.source == Series("hyperliquid", "BTC/USDT")
    assert strategy.span == Span(parse_time("2026-01-01"), parse_time("2026-01-15"))


@pytest.mark.parametrize(
    ("own", "overrides", "start", "end"),
    [
        pytest.param("", {}, "2024-01-01", "2024-07-01", id="history.yaml, cut to the venue's"),
        pytest.param("start_date: 2024-02-01", {}, "2024-02-01", "2024-07-01", id="strategy"),
        pytest.param(
            "end_date: '2024-02-01T01:00:00+01:00'", {}, "2024-01-01", "2024-02-01", id="zone"
        ),
        pytest.param(
            "start_date: 2024-02-01",
            {"start": "2024-03-01"},
            "2024-03-01",
            "2024-07-01",
            id="command line before strategy",
        ),
        pytest.param(
            "start_date: 2024-02-01",
            {"end": "2024-03-01"},
            "2024-02-01",
            "2024-03-01",
            id="each word by itself",
        ),
        pytest.param("", {"end": "2030-01-01"}, "2024-01-01", "2024-07-01", id="a future end"),
        pytest.param(
            "", {"start": "1970-01-01"}, "2024-01-01", "2024-07-01", id="before the venue's first"
        ),
    ],
)
def test_the_command_line_goes_before_the_strategy_before_the_history(
    project: Files, own: str, overrides: dict[str, str], start: str, end: str
) -> None:
    project.edit(STRATEGY, "  slippage_ticks: 0", f"  {own}")

    assert project.strategy(**overrides).span == Span(parse_time(start), parse_time(end))


def test_a_venue_of_the_command_line_is_that_of_all(real_market: Files) -> None:
    real_market.edit(STRATEGY, "slippage_ticks: 0", "market_data_venue: binance_spot")

    loaded = real_market.load(venue="sample")

    assert loaded.strategies["btc_usdt_perp_v1"].source == Series("sample", "BTC/USDT")
    assert {series.venue for series in loaded.wanted} == {"sample"}


def test_an_end_in_the_future_is_the_last_full_minute(real_market: Files) -> None:
    real_market.available["binance_spot"] = None

    span = real_market.strategy(end="2030-01-01").span

    assert span == Span(parse_time("2017-08-17"), parse_time("2026-01-15T12:34Z"))


@pytest.mark.parametrize("text", ["2024-02-01", '"2024-02-01"', "2024-02-01T00:00:00Z"])
def test_a_date_means_the_same_with_and_without_quotes(project: Files, text: str) -> None:
    project.edit(HISTORY, '"2017-08-17T00:00:00Z"', text)

    assert project.strategy().span.start_ms == parse_time("2024-02-01")


# What is refused. The first part of each message is where.


def case(name: str, file: str, old: str, new: str, line: str) -> ParameterSet:
    """Return the case of one edit of one file, with the message after the file's path."""
    return pytest.param(file, old, new, line, id=name)


def test_a_project_without_files_is_refused_one_by_one(tmp_path: Path) -> None:
    files = Files(tmp_path)
    said = []

    for name in (DATA, HISTORY, SAMPLE, STRATEGY):
        said.append(files.refusal())
        files.write(name, SECTION_4[name])

    assert said == [
        "config/data.yaml: file not found: write `db_path: data/tbv8.sqlite` into it",
        "config/history.yaml: file not found: write "
        '`history: {market_data_venue: sample, start_date: "2017-08-17"}` into it',
        "config/venues: no venue found: write `{venue: sample, symbols: [BTC/USDT]}` into "
        "config/venues/sample.yaml",
        "config/strategies: no strategy found: write config/strategies/btc_usdt_perp_v1.yaml, "
        "the README shows one",
    ]


def test_what_the_messages_tell_to_write_is_enough(project: Files) -> None:
    project.write(DATA, "db_path: data/tbv8.sqlite")
    project.write(HISTORY, 'history: {market_data_venue: sample, start_date: "2017-08-17"}')
    project.write(SAMPLE, "{venue: sample, symbols: [BTC/USDT]}")

    assert project.strategy().span == HALF_YEAR


def test_a_file_with_another_ending_is_named(project: Files) -> None:
    project.remove(DATA)
    project.write("data.yml", SECTION_4[DATA])

    assert project.refusal() == "config/data.yaml: file not found: rename data.yml"


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        pytest.param(
            STRATEGY,
            "strategies/btc_usdt_perp_v1.yml",
            "config/strategies/btc_usdt_perp_v1.yml: same id as btc_usdt_perp_v1.yaml: "
            "remove one of the two files",
            id="strategies",
        ),
        pytest.param(
            SAMPLE,
            "venues/sample.yml",
            "config/venues/sample.yml: same id as sample.yaml: ...",
            id="venues",
        ),
    ],
)
def test_two_files_with_one_id_are_refused(
    project: Files, first: str, second: str, line: str
) -> None:
    project.write(second, SECTION_4[first])

    assert project.refusal() == Line(line)


# fmt: off
TYPES = [
    case("a missing key", DATA, "db_path: data/tbv8.sqlite\n", "",
         "1: db_path: missing: write this key"),
    case("a misspelt key", DATA, "db_path", "db_pth",
         "2: db_pth: unknown key ... 'db_path'?"),
    case("a key in capitals", DATA, "db_path: data/tbv8.sqlite", "DB_PATH: data/tbv8.sqlite",
         "2: DB_PATH: unknown key ... 'db_path'?"),
    case("a key of something else", DATA, "results_path: data/results", "verbose: true",
         "3: verbose: unknown key; known: db_path, results_path, timeframes, paper, notify"),
    case("a number for text", DATA, "data/tbv8.sqlite", "3",
         "2: db_path: expected text, got 3: ..."),
    case("a truth for text", DATA, "data/tbv8.sqlite", "no",
         "2: db_path: expected text, got false: write it in quotes"),
    case("nothing for text", DATA, "data/tbv8.sqlite", "",
         "2: db_path: expected text, got nothing"),
    case("a list for text", DATA, "data/tbv8.sqlite", "[a.db]",
         "2: db_path: expected text, got a list"),
    case("a mapping for text", DATA, "data/tbv8.sqlite", "{a: b}",
         "2: db_path: expected text, got a mapping"),
    case("text for a list", DATA, "[5m, 15m, 1h, 4h]", "5m",
         "4: timeframes: expected a list, got '5m'"),
    case("a number in a list, on its own line", DATA, "[5m, 15m, 1h, 4h]", "[5m,\n  15]",
         "5: timeframes[1]: expected text, such as 5m, got 15"),
    case("a misspelt key below", HISTORY, "end_date: null", "ende_date: null",
         "5: history.ende_date: unknown key ... 'end_date'?"),
    case("a missing key below", HISTORY, "  market_data_venue: sample ", "  # ",
         "2: history.market_data_venue: missing: ..."),
    case("a number for a date", HISTORY, "end_date: null", "end_date: 20240101",
         "5: history.end_date: expected text or null, such as 2024-01-01, got 20240101"),
    case("a number for a duration", STRATEGY, "backtest:", "backtest:\n  warm_up: 30",
         "10: backtest.warm_up: expected text, such as 30d, got 30"),
    case("a truth for a rate", STRATEGY, "backtest:", "backtest:\n  funding: yes",
         "10: backtest.funding: expected a number or text or null, such as history, none or 0.0001, got true"),
    case("text for a truth", HYPERLIQUID, "enabled: true", 'enabled: "true"',
         "3: enabled: expected true or false, got 'true'"),
    case("a number for a truth", HYPERLIQUID, "enabled: true", "enabled: 1",
         "3: enabled: expected true or false, got 1"),
    case("text for a mapping or a list", HYPERLIQUID, "{BTC/USDT: BTC}", "BTC/USDT",
         "4: symbols: expected a mapping or a list, got 'BTC/USDT'"),
    case("a number in a mapping", HYPERLIQUID, "{BTC/USDT: BTC}", "{BTC/USDT: 5}",
         "4: symbols.BTC/USDT: expected text, got 5: ..."),
    case("a mapping in a list", HYPERLIQUID, "{BTC/USDT: BTC}", "[BTC/USDT: BTC]",
         "4: symbols[0]: expected text, got a mapping"),
    case("one of a few, misspelt", HYPERLIQUID, "[trades, bbo]", "[trades, bbos]",
         "5: channels[1]: unknown value 'bbos', did you mean 'bbo'? Known: bbo, funding, mark, trades"),
    case("one of a few, a number", HYPERLIQUID, "[trades, bbo]", "[3]",
         "5: channels[0]: expected trades or bbo or funding or mark, got 3"),
    case("text for a number", HYPERLIQUID, 'tick_size: "1"', "tick_size: one",
         "9: instruments.BTC/USDT.tick_size: expected a number, got 'one'"),
    case("a truth for a number", HYPERLIQUID, 'tick_size: "1"', "tick_size: true",
         "9: instruments.BTC/USDT.tick_size: expected a number, got true"),
    case("nothing for a number", HYPERLIQUID, 'tick_size: "1"', "tick_size: ",
         "9: instruments.BTC/USDT.tick_size: expected a number, got nothing"),
    case("a missing key of an instrument", HYPERLIQUID, 'tick_size: "1", ', "",
         "9: instruments.BTC/USDT.tick_size: missing: ..."),
    case("a misspelt key of an instrument", HYPERLIQUID, "tick_size", "ticksize",
         "9: instruments.BTC/USDT.ticksize: unknown key ... 'tick_size'?"),
    case("a missing symbol, on which other keys depend", STRATEGY, "symbol: BTC/USDT\n", "",
         "1: symbol: missing: ..."),
    case("a misspelt symbol, on which other keys depend", STRATEGY,
         "symbol: BTC/USDT", "symbl: BTC/USDT",
         "3: symbl: unknown key, did you mean 'symbol'?"),
    case("nothing for a mapping", STRATEGY, "{fast: 20, slow: 50}", "",
         "6: params: expected a mapping, got nothing"),
    case("text for a mapping", STRATEGY,
         "routing: {primary: hyperliquid, secondary: mexc, mode: PRIMARY_LIVE_SECONDARY_SHADOW}", "routing: hyperliquid",
         "7: routing: expected a mapping, got 'hyperliquid'"),
    case("a mode in small letters", STRATEGY, "PRIMARY_LIVE_SECONDARY_SHADOW", "primary_only",
         "7: routing.mode: unknown value 'primary_only', did you mean 'PRIMARY_ONLY'? Known: PRIMARY_LIVE_SECONDARY_SHADOW, PRIMARY_ONLY"),
    case("no mode", STRATEGY, "mode: PRIMARY_LIVE_SECONDARY_SHADOW", "mode: ",
         "7: routing.mode: expected PRIMARY_ONLY or PRIMARY_LIVE_SECONDARY_SHADOW, got nothing"),
    case("text for a limit", STRATEGY, "max_leverage: 2.0", "max_leverage: two",
         "8: risk.max_leverage: expected a number, got 'two'"),
    case("text for the position, under its own name", STRATEGY,
         "max_position_btc: 0.01", "max_position_btc: two",
         "8: risk.max_position_btc: expected a number, got 'two'"),
    case("text for a whole number", STRATEGY, "slippage_ticks: 0", 'slippage_ticks: "1"',
         "11: backtest.slippage_ticks: expected a whole number, got '1'"),
    case("a broken number", STRATEGY, "slippage_ticks: 0", "slippage_ticks: 1.5",
         "11: backtest.slippage_ticks: expected a whole number, got 1.5"),
]

FILES = [
    case("a key given twice", DATA, "results_path: data/results", "db_path: b",
         "3: db_path: given twice, first on line 2: remove one"),
    case("a key given twice below", HYPERLIQUID, "max_leverage: 40", "tick_size: 1",
         "9: instruments.BTC/USDT.tick_size: given twice, first on line 9: remove one"),
    case("a number as a key", DATA, "results_path: data/results", "3: data/results",
         "3: expected text as a key, got '3' without quotes"),
    case("a list as a key", STRATEGY, "{fast: 20", "{[fast]: 20",
         "6: params: expected text as a key, got a collection"),
    case("an open bracket", DATA, "[5m, 15m, 1h, 4h]", "[5m, 15m, 1h, 4h",
         "5: not YAML: while parsing a flow sequence from line 4: did not find expected ',' or ']'"),
    case("a tab", HISTORY, "  market_data_venue", "	market_data_venue",
         "3: not YAML: a tab, indent with spaces"),
    case("two colons", DATA, "db_path: ", "db_path: it: ",
         "2: not YAML: mapping values are not allowed in this context"),
    case("a tag", STRATEGY, "{fast: 20, slow: 50}", "!!set {fast}",
         "6: params: expected a plain value, got one tagged !!set: remove the tag"),
    case("a mapping in itself", STRATEGY, "{fast: 20, slow: 50}", "&params {fast: *params}",
         "6: params: nested deeper than 20 levels, or endlessly through an anchor: ..."),
]

VALUES = [
    case("no path", DATA, "data/tbv8.sqlite", '" "',
         "2: db_path: expected a path such as data/tbv8.sqlite, got ' '"),
    case("a URL for a path", DATA, "data/tbv8.sqlite", "sqlite:///data/tbv8.sqlite",
         "2: db_path: expected a path such as data/tbv8.sqlite, got 'sqlite:///data/tbv8.sqlite'"),
    case("a path with a character that no file has", DATA, "data/tbv8.sqlite", r'"data/\0"',
         r"2: db_path: expected a path such as data/tbv8.sqlite, got 'data/\x00'"),
    case("seconds", DATA, "5m, 15m", "5m, 15s",
         "4: timeframes[1]: '15s' is not a timeframe: write <n>m, <n>h, <n>d, 1w or 1M"),
    case("minutes without a unit", DATA, "results_path: data/results",
         "paper: {stale_after: '15'}",
         "3: paper.stale_after: '15' is not a duration: write 90s, 10m, 8h or 2d"),
    case("no clock limit", DATA, "results_path: data/results", "paper: {clock_limit: 0s}",
         "3: paper.clock_limit: '0s' is not a duration: ..."),
    case("a secret in a file", DATA, "results_path: data/results",
         'notify: {urls_env: "tgram://token/chat"}',
         "3: notify.urls_env: write the name of an environment variable, such as "
         "TBV8_NOTIFY_URLS; the URLs themselves are secrets"),
    case("two weeks", STRATEGY, "timeframe: 5m", "timeframe: 2w",
         "4: timeframe: '2w' is not a timeframe: ..."),
    case("no minutes", STRATEGY, "timeframe: 5m", "timeframe: 0m",
         "4: timeframe: '0m' is not a timeframe: ..."),
    case("a refresh of two days", HISTORY, "refresh: 1d", "refresh: 2d",
         "6: history.refresh: '2d' is longer than 1d: write 1d"),
    case("a refresh of a month", HISTORY, "refresh: 1d", "refresh: 1M",
         "6: history.refresh: '1M' is longer than 1d: write 1d"),
    case("a refresh that does not matter", HISTORY,
         "end_date: null                        # null = NOW\n  refresh: 1d", "end_date: 2024-02-01\n  refresh: daily",
         "6: history.refresh: 'daily' is not a timeframe: ..."),
    case("no symbol", HYPERLIQUID, "{BTC/USDT: BTC}", "{}",
         "4: symbols: expected at least one symbol, such as BTC/USDT"),
    case("a native symbol for a symbol", HYPERLIQUID, "{BTC/USDT: BTC}", "{BTCUSDT: BTC}",
         "4: symbols.BTCUSDT: 'BTCUSDT' is not a symbol: write BASE/QUOTE, such as BTC/USDT"),
    case("a native symbol for a symbol in a list", SAMPLE,
         "[BTC/USDT, ETH/USDT]", "\n  - BTC/USDT\n  - ETH-USDT",
         "6: symbols[1]: 'ETH-USDT' is not a symbol: ..."),
    case("a symbol twice", SAMPLE, "[BTC/USDT, ETH/USDT]", "[BTC/USDT, BTC/USDT]",
         "4: symbols[1]: 'BTC/USDT' is given twice: remove one"),
    case("a native symbol twice", HYPERLIQUID, "{BTC/USDT: BTC}", "{BTC/USDT: BTC, BTC/USDC: BTC}",
         "4: symbols.BTC/USDC: 'BTC' is the native symbol of BTC/USDT too"),
    case("an empty native symbol", HYPERLIQUID, "{BTC/USDT: BTC}", '{BTC/USDT: ""}',
         "4: symbols.BTC/USDT: expected the venue's own name, got ''"),
    case("no channel", HYPERLIQUID, "[trades, bbo]", "[]",
         "5: channels: expected one or more of trades, bbo, funding and mark, each once"),
    case("a channel twice", HYPERLIQUID, "[trades, bbo]", "[bbo, bbo]",
         "5: channels: expected one or more of trades, bbo, funding and mark, each once"),
    case("funding every five hours", HYPERLIQUID, "40}", "40, funding_hours: 5}",
         "9: instruments.BTC/USDT.funding_hours: expected a divisor of 24, got 5"),
    case("funding every two days", HYPERLIQUID, "40}", "40, funding_hours: 48}",
         "9: instruments.BTC/USDT.funding_hours: expected a divisor of 24, got 48"),
    case("funding back in time", HYPERLIQUID, "40}", "40, funding_hours: -8}",
         "9: instruments.BTC/USDT.funding_hours: expected a divisor of 24, got -8"),
    case("an instrument of another symbol", HYPERLIQUID, "  BTC/USDT: {", "  BTC/USD: {",
         "9: instruments.BTC/USD: unknown symbol 'BTC/USD', did you mean 'BTC/USDT'? Known: BTC/USDT"),
    case("a strategy's native symbol, on which other keys depend", STRATEGY,
         "symbol: BTC/USDT", "symbol: BTCUSDT",
         "3: symbol: 'BTCUSDT' is not a symbol: ..."),
    case("a symbol in small letters", STRATEGY, "symbol: BTC/USDT", "symbol: btc/usdt",
         "3: symbol: 'btc/usdt' is in small letters: write BTC/USDT"),
    case("no balance", STRATEGY, "starting_balance_usd: 10000", "starting_balance_usd: 0",
         "10: backtest.starting_balance_usd: expected a number above 0, got 0"),
    case("slippage below 0", STRATEGY, "slippage_ticks: 0", "slippage_ticks: -1",
         "11: backtest.slippage_ticks: expected 0 or more, got -1"),
]

NAMES = [
    case("a strategy", STRATEGY, "strategy_id: btc_usdt_perp_v1", "strategy_id: other",
         "2: strategy_id: 'other' must be the file's name, 'btc_usdt_perp_v1'"),
    case("a venue", SAMPLE, "venue: sample", "venue: Sample",
         "2: venue: 'Sample' must be the file's name, 'sample'"),
    case("the venue of the history", HISTORY, "sample  ", "samples",
         "3: history.market_data_venue: unknown venue 'samples', did you mean 'sample'? Known: binance_spot, hyperliquid, mexc, sample"),
    case("the data venue of a strategy", STRATEGY, "slippage_ticks: 0", "market_data_venue: kraken",
         "11: backtest.market_data_venue: unknown venue 'kraken'; known: binance_spot, hyperliquid, mexc, sample"),
    case("the primary", STRATEGY, "primary: hyperliquid", "primary: hyperlquid",
         "7: routing.primary: unknown venue 'hyperlquid', did you mean 'hyperliquid'? Known: binance_spot, hyperliquid, mexc, sample"),
    case("the secondary", STRATEGY, "secondary: mexc", "secondary: MEXC2",
         "7: routing.secondary: unknown venue 'MEXC2', did you mean 'mexc'? Known: binance_spot, hyperliquid, mexc, sample"),
    case("the module", STRATEGY, "ema_cross.EmaCross", "ema_cros.EmaCross",
         f"5: strategy: unknown module 'ema_cros', did you mean 'ema_cross'? Known: {MODULES} in tbv8/strategies/"),
    case("a module that no file can be named after", STRATEGY,
         "ema_cross.EmaCross", f"{'long' * 100}.EmaCross",
         f"5: strategy: unknown module '{'long' * 100}'; known: {MODULES} in tbv8/strategies/"),
    case("the class", STRATEGY, "ema_cross.EmaCross", "ema_cross.EmaCros",
         "5: strategy: unknown class 'EmaCros', did you mean 'EmaCross'? Known: EmaCross in tbv8/strategies/ema_cross.py"),
    case("no module", STRATEGY, "ema_cross.EmaCross", "EmaCross",
         "5: strategy: 'EmaCross' is neither module.Class, such as ema_cross.EmaCross, nor path/to/file.py:Class"),
    case("a path for a module", STRATEGY, "ema_cross.EmaCross", "../ema_cross.EmaCross",
         "5: strategy: '../ema_cross.EmaCross' is not path/to/file.py:Class"),
    case("a param", STRATEGY, "{fast: 20", "{fats: 20",
         "6: params.fats: unknown param of EmaCross 'fats', did you mean 'fast'? Known: fast, slow, trade_size"),
    case("a param that tbv8 gives", STRATEGY, "{fast: 20", "{max_position: 20",
         "6: params.max_position: set by tbv8 itself: remove it"),
]

LIMITS = [
    case("of another base", STRATEGY, "max_position_btc", "max_position_eth",
         "8: risk.max_position_eth: unknown key ... 'max_position_btc'?"),
    case("of two bases", STRATEGY,
         "max_position_btc: 0.01", "max_position_btc: 0.01, max_position_eth: 1",
         "8: risk.max_position_eth: unknown key ... 'max_position_btc'?"),
    case("of no base", STRATEGY, "max_position_btc", "max_position",
         "8: risk.max_position: unknown key ... 'max_position_btc'?"),
    case("no position", STRATEGY, "max_position_btc: 0.01, ", "",
         "8: risk.max_position_btc: missing: write this key, in BTC"),
    case("no leverage", STRATEGY, ", max_leverage: 2.0", "",
         "8: risk.max_leverage: missing: ..."),
    case("misspelt", STRATEGY, "max_daily_loss_usd", "daily_loss",
         "8: risk.daily_loss: unknown key ... 'max_daily_loss_usd'?"),
    case("of something else", STRATEGY, "max_daily_loss_usd", "vega",
         "8: risk.vega: unknown key; known: max_position_btc, max_daily_loss_usd, max_leverage"),
]

ROUTES = [
    case("a mode that needs a secondary", STRATEGY, "secondary: mexc, ", "",
         "7: routing.secondary: missing: PRIMARY_LIVE_SECONDARY_SHADOW needs a second venue"),
    case("a secondary that is the primary", STRATEGY, "secondary: mexc", "secondary: hyperliquid",
         "7: routing.secondary: is the primary: name another venue"),
    case("a primary without instruments", STRATEGY, "primary: hyperliquid", "primary: binance_spot",
         "7: routing.primary: binance_spot has no instrument rules for BTC/USDT: write one of hyperliquid, mexc, or `instruments: {BTC/USDT: {tick_size: \"0.1\", lot_size: \"0.001\", maker_fee: \"0.0002\", taker_fee: \"0.0005\", max_leverage: 20}}` "
         "into config/venues/binance_spot.yaml, with the venue's own numbers"),
    case("a secondary without instruments, needed or not", STRATEGY,
         "secondary: mexc, mode: PRIMARY_LIVE_SECONDARY_SHADOW", "secondary: sample, mode: PRIMARY_ONLY",
         "7: routing.secondary: sample has no instrument rules for BTC/USDT: ..."),
    case("instruments of another symbol", MEXC, "  BTC/USDT: {", "  ETH/USDT: {",
         "9: instruments.ETH/USDT: unknown symbol 'ETH/USDT'; known: BTC/USDT: add it to `symbols` too"),
]

TIMES = [
    case("without a zone", HISTORY, '"2017-08-17T00:00:00Z"', '"2017-08-17T00:00:00"',
         "4: history.start_date: '2017-08-17T00:00:00' has no time zone: write 2017-08-17T00:00:00Z for UTC"),
    case("off the minute", HISTORY, '"2017-08-17T00:00:00Z"', '"2017-08-17T00:00:30Z"',
         "4: history.start_date: '2017-08-17T00:00:30Z' is not a whole minute: leave the seconds out"),
    case("off the second", HISTORY, '"2017-08-17T00:00:00Z"', "2017-08-17T00:00:00.5Z",
         "4: history.start_date: '2017-08-17T00:00:00.5Z' is not a whole minute: ..."),
    case("another notation", HISTORY, '"2017-08-17T00:00:00Z"', "17.08.2017",
         "4: history.start_date: '17.08.2017' is not a time: write 2024-01-31 or 2024-01-31T12:00:00Z"),
    case("a day that never was", HISTORY, '"2017-08-17T00:00:00Z"', "2017-02-29",
         "4: history.start_date: '2017-02-29' is not a time: ..."),
    case("before the epoch", HISTORY, '"2017-08-17T00:00:00Z"', "1969-12-31",
         "4: history.start_date: '1969-12-31' is out of range: write a year from 1970 to 9998"),
    case("after the last year", HISTORY, "end_date: null", "end_date: 9999-12-31T23:59:00-12:00",
         "5: history.end_date: '9999-12-31T23:59:00-12:00' is out of range: ..."),
    case("an end at the start", HISTORY, "end_date: null", "end_date: 2017-08-17",
         "5: history.end_date: '2017-08-17' is not after the start, 2017-08-17T00:00:00Z in config/history.yaml:4"),
    case("an end before the start", HISTORY, "end_date: null", "end_date: 2016-08-17",
         "5: history.end_date: '2016-08-17' is not after the start, 2017-08-17T00:00:00Z in config/history.yaml:4"),
    case("a start today", HISTORY, '"2017-08-17T00:00:00Z"', "2026-01-15",
         "4: history.start_date: '2026-01-15' is not before the end, 2026-01-15T00:00:00Z, the last full 1d before now: write an earlier time"),
    case("a start in the future", HISTORY, '"2017-08-17T00:00:00Z"', "2027-01-01",
         "4: history.start_date: '2027-01-01' is not before now, 2026-01-15T12:34:00Z: write an earlier time"),
    case("a start after the venue's last", HISTORY, '"2017-08-17T00:00:00Z"', "2024-07-01",
         "4: history.start_date: sample has no history of 2024-07-01T00:00:00Z .. 2026-01-15T00:00:00Z, only of 2024-01-01T00:00:00Z .. 2024-07-01T00:00:00Z: write dates within it"),
    case("an end before the venue's first", HISTORY, "end_date: null", "end_date: 2024-01-01",
         "5: history.end_date: sample has no history of 2017-08-17T00:00:00Z .. "
         "2024-01-01T00:00:00Z, only of 2024-01-01T00:00:00Z .. 2024-07-01T00:00:00Z: ..."),
    case("a strategy's end before the start of the history", STRATEGY,
         "slippage_ticks: 0", "end_date: 2016-01-01",
         "11: backtest.end_date: '2016-01-01' is not after the start, 2017-08-17T00:00:00Z in config/history.yaml:4"),
    case("a strategy's start", STRATEGY, "slippage_ticks: 0", "start_date: soon",
         "11: backtest.start_date: 'soon' is not a time: ..."),
]
# fmt: on


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [*FILES, *TYPES, *VALUES, *NAMES, *LIMITS, *ROUTES, *TIMES],
)
def test_what_is_wrong_is_refused_where_it_stands(
    project: Files, name: str, old: str, new: str, line: str
) -> None:
    project.edit(name, old, new)

    assert project.refusal() == Line(f"config/{name}:{line}")


@pytest.mark.parametrize(
    ("new", "problem"),
    [
        pytest.param("warm_up: 10m", "warm_up: sample has no history 10m before", id="warm-up"),
        pytest.param('start_date: "2025-01-01"', "start_date: sample has no history", id="span"),
        pytest.param("market_data_venue: x", "market_data_venue: unknown venue", id="venue"),
    ],
)
def test_a_strategy_with_a_wrong_history_can_still_be_paper_traded(
    project: Files, new: str, problem: str
) -> None:
    project.edit(STRATEGY, "slippage_ticks: 0", new)

    loaded = project.load()

    assert loaded.strategies == {}
    assert list(loaded.paper_strategies) == ["btc_usdt_perp_v1"]
    (found,) = loaded.problems
    assert str(found.error).startswith(f"config/{STRATEGY}:11: backtest.{problem}")
    assert {span for spans in loaded.wanted.values() for span in spans} == {
        project.available["sample"]
    }


def test_of_a_symbol_unknown_everywhere_the_nearest_is_named(project: Files) -> None:
    project.edit(STRATEGY, "symbol: BTC/USDT", "symbol: BTX/USDT")

    assert project.refusal() == Line(
        f"config/{STRATEGY}:3: symbol: unknown symbol of sample 'BTX/USDT' ... 'BTC/USDT'? ..."
    )
    assert project.load().paper_strategies == {}


def test_a_symbol_that_the_history_lacks_can_still_be_paper_traded(project: Files) -> None:
    project.edit(SAMPLE, "[BTC/USDT, ETH/USDT]", "[ETH/USDT]")

    loaded = project.load()

    assert list(loaded.paper_strategies) == ["btc_usdt_perp_v1"]
    assert project.refusal() == (
        f"config/{STRATEGY}:3: symbol: unknown symbol of sample 'BTC/USDT'; known: ETH/USDT: add "
        "it to `symbols` of config/venues/sample.yaml, or write another backtest.market_data_venue"
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("0", "expected a number above 0, got 0", id="zero"),
        pytest.param('"-0.1"', "expected a number above 0, got -0.1", id="less than zero"),
        pytest.param(".nan", "expected a number above 0, got NaN", id="not a number"),
        pytest.param("sNaN", "expected a number above 0, got sNaN", id="a signalling one"),
        pytest.param(".inf", "expected a number above 0, got Infinity", id="infinite"),
        pytest.param(
            "1e12", "expected a number below 1000000000000, got 1000000000000.0", id="vast"
        ),
        pytest.param(
            '"1e99999999"',
            "expected a number below 1000000000000, got 1E+99999999",
            id="too long to be written out",
        ),
        pytest.param("1e-17", "expected at most 16 decimals, got 1E-17", id="tiny"),
        pytest.param(
            '"1e-99999999"', "expected at most 16 decimals, got 1E-99999999", id="as good as zero"
        ),
    ],
)
@pytest.mark.parametrize(
    ("name", "old", "place"),
    [
        pytest.param(HYPERLIQUID, '"1"', "9: instruments.BTC/USDT.tick_size", id="tick"),
        pytest.param(HYPERLIQUID, '"0.00001"', "9: instruments.BTC/USDT.lot_size", id="lot"),
        pytest.param(HYPERLIQUID, "40", "9: instruments.BTC/USDT.max_leverage", id="venue"),
        pytest.param(STRATEGY, "0.01", "8: risk.max_position_btc", id="position"),
        pytest.param(STRATEGY, "10.0", "8: risk.max_daily_loss_usd", id="loss"),
        pytest.param(STRATEGY, "2.0", "8: risk.max_leverage", id="leverage"),
        pytest.param(STRATEGY, "10000", "10: backtest.starting_balance_usd", id="balance"),
    ],
)
def test_an_amount_is_a_number_above_0_that_can_be_traded(
    project: Files, name: str, old: str, place: str, text: str, problem: str
) -> None:
    project.edit(name, old, text)

    assert project.refusal() == f"config/{name}:{place}: {problem}"


@pytest.mark.parametrize(
    ("text", "got"),
    [
        pytest.param("0.1", "0.1", id="ten percent"),
        pytest.param("-0.1", "-0.1", id="a rebate of ten percent"),
        pytest.param("4.5", "4.5", id="basis points"),
        pytest.param(".nan", "NaN", id="not a number"),
        pytest.param("-.inf", "-Infinity", id="infinite"),
        pytest.param('"1e99999999"', "1E+99999999", id="too long to be written out"),
    ],
)
@pytest.mark.parametrize("key", ["maker_fee", "taker_fee", "funding_rate_8h"])
def test_a_fee_is_a_fraction(project: Files, key: str, text: str, got: str) -> None:
    rules = {"tick_size": 1, "lot_size": 1, "maker_fee": 0, "taker_fee": 0} | {key: 0}
    flow = ", ".join(f"{name}: {text if name == key else value}" for name, value in rules.items())
    project.write(
        HYPERLIQUID,
        "venue: hyperliquid\nsymbols: [BTC/USDT]\ninstruments:\n  BTC/USDT: {" + flow + "}\n",
    )

    assert project.refusal() == (
        f"config/venues/hyperliquid.yaml:4: instruments.BTC/USDT.{key}: "
        f"expected a fraction of the notional such as 0.00045, got {got}"
    )


def test_a_fee_has_no_more_decimals_than_the_engine_keeps(project: Files) -> None:
    project.edit(HYPERLIQUID, '"0.00045"', '"1e-99999999"')

    assert project.refusal() == (
        "config/venues/hyperliquid.yaml:9: instruments.BTC/USDT.taker_fee: "
        "expected at most 16 decimals, got 1E-99999999"
    )


@pytest.mark.parametrize(
    ("name", "key", "line", "old", "schemes", "others"),
    [
        pytest.param(
            HYPERLIQUID,
            "ws_url",
            6,
            "wss://api.hyperliquid.xyz/ws",
            "ws:// or wss://",
            "https://x.y",
            id="socket",
        ),
        pytest.param(
            HYPERLIQUID,
            "rest_url",
            7,
            "https://api.hyperliquid.xyz",
            "http:// or https://",
            "wss://x.y",
            id="REST",
        ),
        pytest.param(
            BINANCE,
            "archive_url",
            6,
            "https://data.binance.vision",
            "http:// or https://",
            "ftp://x.y",
            id="archive",
        ),
    ],
)
def test_a_url_has_one_of_two_schemes_and_a_host(
    project: Files, name: str, key: str, line: int, old: str, schemes: str, others: str
) -> None:
    right = schemes.partition(" ")[0]
    bad = [
        others,
        "api.x.y",
        right,
        f"{right}a b",
        f"{right}a:port",
        f"{right}a:0",
        f"{right}a:70000",
        f"{right}[::",
    ]
    before = old
    for url in bad:
        project.edit(name, f"{before}", f'"{url}"')
        before = f'"{url}"'

        assert project.refusal() == (
            f"config/{name}:{line}: {key}: expected {schemes}..., got {url!r}"
        )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(b"", ":1: db_path: missing: ...", id="empty"),
        pytest.param(b"# nothing yet\n", ":1: db_path: missing: ...", id="a comment"),
        pytest.param(b"- db_path\n", ":1: expected `key: value` lines", id="a list"),
        pytest.param(b"data/tbv8.sqlite", ":1: expected `key: value` lines", id="text"),
        pytest.param(b"db_path: a\nname: \xe9", ":2: not UTF-8: save it as UTF-8", id="Latin-1"),
        pytest.param("db_path: a".encode("utf-16"), ":1: not UTF-8: save it as UTF-8", id="UTF-16"),
        pytest.param(
            b"# a\ndb_path: \x00",
            ":2: not YAML: the character U+0000 is not allowed, ...",
            id="binary",
        ),
        pytest.param(
            b"db_path: a\n---\ndb_path: b\n",
            ":2: not YAML: expected a single document in the stream: but found another document",
            id="two documents",
        ),
        pytest.param(
            b"db_path: " + b"[" * 30 + b"]" * 30,
            ":1: db_path: nested deeper than 20 levels, or endlessly through an anchor: ...",
            id="nested",
        ),
        pytest.param(
            b"db_path:\n " + b"[" * 100_000,
            ":2: nested deeper than 20 levels, or endlessly through an anchor: ...",
            id="nested deeper than a stack goes",
        ),
    ],
)
def test_a_file_that_is_not_a_mapping_in_yaml_is_refused(
    project: Files, content: bytes, line: str
) -> None:
    project.write(DATA, content)

    assert project.refusal() == Line(f"config/data.yaml{line}")


def test_a_file_that_cannot_be_read_is_refused(project: Files) -> None:
    (project.root / "config/strategies/folder.yaml").mkdir()

    assert project.refusal() == "config/strategies/folder.yaml: cannot be read: Is a directory"


def test_an_id_is_a_name_that_any_folder_and_task_can_have(project: Files) -> None:
    text = SECTION_4[STRATEGY].replace("strategy_id: btc_usdt_perp_v1", "strategy_id: my btc:1")
    project.write("strategies/my btc:1.yaml", text)

    assert project.refusal() == (
        "config/strategies/my btc:1.yaml:2: strategy_id: 'my btc:1' must consist of letters, digits, _ "
        "and -, and begin with a letter or digit"
    )


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        pytest.param(
            {"venue": "binance_spt"},
            "venue: unknown venue 'binance_spt', did you mean 'binance_spot'? "
            "Known: binance_spot, hyperliquid, mexc, sample",
            id="an unknown venue",
        ),
        pytest.param(
            {"venue": ""},
            "venue: unknown venue ''; known: binance_spot, hyperliquid, mexc, sample",
            id="no venue",
        ),
        pytest.param(
            {"strat": "2024-01-01"},
            "strat: unknown variable 'strat', did you mean 'start'? Known: address, end, on, start, venue, workers",
            id="a misspelt variable",
        ),
        pytest.param(
            {"symbol": "BTC/USDT"},
            "symbol: unknown variable 'symbol'; known: address, end, on, start, venue, workers",
            id="an unknown variable",
        ),
        pytest.param(
            {"start": ""},
            "start: '' is not a time: ...",
            id="no start",
        ),
        pytest.param(
            {"end": "now"},
            "end: 'now' is not a time: ...",
            id="now",
        ),
        pytest.param(
            {"start": "2024-01-01T00:00"},
            "start: '2024-01-01T00:00' has no time zone: ...",
            id="without a zone",
        ),
        pytest.param(
            {"end": "2024-01-01T00:00:01Z"},
            "end: '2024-01-01T00:00:01Z' is not a whole minute: ...",
            id="off the minute",
        ),
        pytest.param(
            {"start": "2024-02-01", "end": "2024-01-01"},
            "end: '2024-01-01' is not after the start, 2024-02-01T00:00:00Z",
            id="an end before the start",
        ),
        pytest.param(
            {"start": "2030-01-01", "end": "2031-01-01"},
            "start: '2030-01-01' is not before now, 2026-01-15T12:34:00Z: ...",
            id="both in the future",
        ),
        pytest.param(
            {"start": "2026-01-15T12:34Z", "end": "2031-01-01"},
            "start: '2026-01-15T12:34Z' is not before now, 2026-01-15T12:34:00Z: ...",
            id="from this minute on",
        ),
        pytest.param(
            {"end": "2020-01-01"},
            "end: sample has no history of 2017-08-17T00:00:00Z .. 2020-01-01T00:00:00Z, only of "
            "2024-01-01T00:00:00Z .. 2024-07-01T00:00:00Z: ...",
            id="before the venue's first",
        ),
    ],
)
def test_a_wrong_word_of_the_command_line_is_refused(
    project: Files, overrides: dict[str, str], line: str
) -> None:
    assert project.refusal(**overrides) == Line(f"command line: {line}")


def test_of_two_times_that_cross_the_more_special_is_refused(project: Files) -> None:
    project.edit(HISTORY, "end_date: null", "end_date: 2024-02-01")

    by_command_line = project.refusal(start="2024-03-01")
    project.edit(STRATEGY, "slippage_ticks: 0", "start_date: 2024-03-01")
    by_strategy = project.refusal()

    assert by_command_line == (
        "command line: start: '2024-03-01' is not before the end, 2024-02-01T00:00:00Z "
        "in config/history.yaml:5"
    )
    assert by_strategy == (
        "config/strategies/btc_usdt_perp_v1.yaml:11: backtest.start_date: "
        "'2024-03-01' is not before the end, 2024-02-01T00:00:00Z in config/history.yaml:5"
    )


@pytest.mark.parametrize(
    ("name", "old", "new", "line"),
    [
        pytest.param(
            HISTORY,
            '"2017-08-17T00:00:00Z"',
            "soon",
            "4: history.start_date: 'soon' is not a time: ...",
            id="start",
        ),
        pytest.param(
            STRATEGY,
            "slippage_ticks: 0",
            "end_date: late",
            "11: backtest.end_date: 'late' is not a time: ...",
            id="end",
        ),
        pytest.param(
            HISTORY,
            "sample  ",
            "nowhere",
            "3: history.market_data_venue: unknown venue 'nowhere'; "
            "known: binance_spot, hyperliquid, mexc, sample",
            id="venue",
        ),
    ],
)
def test_the_command_line_does_not_hide_what_is_wrong_in_a_file(
    project: Files, name: str, old: str, new: str, line: str
) -> None:
    project.edit(name, old, new)

    said = project.refusal(venue="sample", start="2024-01-01", end="2024-02-01")

    assert said == Line(f"config/{name}:{line}")


def test_an_error_keeps_its_facts(project: Files) -> None:
    project.edit(STRATEGY, "max_leverage: 2.0", "max_leverage: 0")

    (problem,) = project.load().problems

    error = problem.error
    assert (error.path, error.line) == (Path("config/strategies/btc_usdt_perp_v1.yaml"), 8)
    assert (error.key, error.problem) == ("risk.max_leverage", "expected a number above 0, got 0")


# A user's strategy.

OWN = """\
@dataclass(frozen=True, kw_only=True)
class OwnConfig:
    instrument_id: object
    bar_type: object
    max_position: object
    lookback: int
    threshold: float = 0.5


class Own(Strategy):
    pass
"""


@pytest.mark.parametrize("module", ["own", "mine.own"])
def test_a_users_strategy_is_read_but_not_imported(
    project: Files, user_code: Callable[[str, str], None], module: str
) -> None:
    user_code(f"{module.replace('.', '/')}.py", "raise RuntimeError\n" + OWN)
    project.edit(STRATEGY, "ema_cross.EmaCross", f"{module}.Own")
    project.edit(STRATEGY, "{fast: 20, slow: 50}", "{lookback: 7, threshold: 1e-3}")

    strategy = project.strategy()

    assert (strategy.module, strategy.class_name) == (module, "Own")
    assert strategy.params == {"lookback": 7, "threshold": 0.001}
    assert strategy.module_path.read_text(encoding="utf-8").startswith("raise RuntimeError")


@pytest.mark.parametrize(
    ("code", "params", "line"),
    [
        pytest.param(
            OWN,
            "{threshold: 1}",
            "config/strategies/btc_usdt_perp_v1.yaml:6: params.lookback: missing: Own needs it",
            id="a missing param",
        ),
        pytest.param(
            OWN,
            "{lookback: 1, treshold: 1}",
            "config/strategies/btc_usdt_perp_v1.yaml:6: params.treshold: unknown param of Own "
            "'treshold', did you mean 'threshold'? Known: lookback, threshold",
            id="a misspelt param",
        ),
        pytest.param(
            OWN,
            "{lookback: 1.5}",
            "config/strategies/btc_usdt_perp_v1.yaml:6: params.lookback: expected a whole number, "
            "got 1.5",
            id="a param of another type",
        ),
        pytest.param(
            OWN.replace("    threshold: float = 0.5", "    threshold: float | None = None"),
            "{lookback: 1, threshold: two}",
            "config/strategies/btc_usdt_perp_v1.yaml:6: params.threshold: expected a number or "
            "null, got 'two'",
            id="a param of neither of two types",
        ),
        pytest.param(
            "class Own: pass\n",
            "{}",
            "config/strategies/btc_usdt_perp_v1.yaml:5: strategy: tbv8/strategies/own.py has no "
            "class OwnConfig: write one for its params",
            id="no config class",
        ),
        pytest.param(
            "Own = OwnConfig = None\n",
            "{}",
            "config/strategies/btc_usdt_perp_v1.yaml:5: strategy: unknown class 'Own'; "
            "known: none in tbv8/strategies/own.py",
            id="no class",
        ),
        pytest.param(
            "class Own:\n    pass\n\nclass OwnConfig\n",
            "{}",
            "tbv8/strategies/own.py:4: not Python: expected ':'",
            id="not Python",
        ),
    ],
)
def test_a_users_strategy_that_does_not_fit_is_refused(
    project: Files, user_code: Callable[[str, str], None], code: str, params: str, line: str
) -> None:
    user_code("own.py", code)
    project.edit(STRATEGY, "ema_cross.EmaCross", "own.Own")
    project.edit(STRATEGY, "{fast: 20, slow: 50}", params)

    assert project.refusal() == Line(line)


def test_a_missing_param_of_a_strategy_without_params_is_refused(
    project: Files, user_code: Callable[[str, str], None]
) -> None:
    user_code("own.py", OWN)
    project.write("strategies/least.yaml", f"{LEAST}strategy: own.Own\n")

    assert project.refusal() == (
        "config/strategies/least.yaml:1: params.lookback: missing: Own needs it"
    )


def test_params_that_only_running_can_tell_are_left_to_it(
    project: Files, user_code: Callable[[str, str], None]
) -> None:
    user_code("own.py", "class Own: pass\nclass OwnConfig:\n    def __init__(self, **rest): pass\n")
    project.edit(STRATEGY, "ema_cross.EmaCross", "own.Own")

    assert project.strategy().params == {"fast": 20, "slow": 50}


# Whatever is written: a Project, or one line that says where.

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.dates().map(str),
    st.text(max_size=8),
    st.sampled_from(["", "0", "-1", "1e999", "NaN", "5m", "1M", "BTC/USDT", "sample", "mexc"]),
    st.sampled_from(
        ["ema_cross.EmaCross", "2024-02-01", "2024-02-01T00:00Z", "null", "a.b", "$.a"]
    ),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Return one project for all examples: each puts its file back."""
    files = Files(tmp_path_factory.mktemp("fuzzed"))
    copy_config(files.root)
    return files


def load_or_refuse(files: Files, name: str, content: str | bytes, **overrides: str) -> None:
    """Load with another content of one file; see that a refusal is one line about a real place."""
    path = files.root / "config" / name
    whole = path.read_bytes()
    files.write(name, content)
    refusal = None
    try:
        loaded = files.load(**overrides)
    except ConfigError as e:
        refusal = e
    finally:
        written = path.read_bytes()
        path.write_bytes(whole)
    if refusal is None:
        for strategy in loaded.strategies.values():
            as_json(strategy)
        return
    assert str(refusal).isprintable(), str(refusal)
    assert str(refusal) != refusal.problem != ""
    if refusal.path is not None:
        assert (files.root / refusal.path).exists()
    if refusal.line is not None and refusal.path == Path("config") / name:
        lines = written.decode(errors="replace").splitlines()  # U+0085 ends one in YAML
        assert 1 <= refusal.line <= len(lines) + 1


def as_json(strategy: Strategy) -> bytes:
    """Write a strategy as the key of its result is written."""
    fields = msgspec.to_builtins(strategy, builtin_types=(Decimal,), enc_hook=str)
    text = json.dumps(plain(fields), sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text.encode()


def places(tree: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a tree."""
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, below in items:
        yield (*above, key)
        yield from places(below, (*above, key))


@given(data=st.data(), name=st.sampled_from(sorted(SECTION_4)))
@settings(max_examples=120)
def test_a_shipped_file_with_any_other_value_loads_or_is_refused(
    fuzzed: Files, data: st.DataObject, name: str
) -> None:
    tree = yaml.safe_load((fuzzed.root / "config" / name).read_text(encoding="utf-8"))
    changed = deepcopy(tree)
    *above, last = data.draw(st.sampled_from(sorted(places(tree), key=repr)))
    parent = changed
    for key in above:
        parent = parent[key]
    value = parent.pop(last)
    if not data.draw(st.booleans(), label="deleted"):
        other = data.draw(st.one_of(st.just(value), TREES, st.sampled_from(list(tree.values()))))
        if isinstance(parent, list):
            parent.insert(last, other)
        else:
            parent[data.draw(st.text(max_size=8) | st.just(last))] = other

    load_or_refuse(fuzzed, name, yaml.safe_dump(changed, allow_unicode=True))


@given(data=st.data(), name=st.sampled_from(sorted(SECTION_4)))
@settings(max_examples=100)
def test_a_shipped_file_with_any_text_in_it_loads_or_is_refused(
    fuzzed: Files, data: st.DataObject, name: str
) -> None:
    content = (fuzzed.root / "config" / name).read_bytes()
    at = data.draw(st.integers(0, len(content)))
    cut = data.draw(st.integers(0, 12))
    put = data.draw(
        st.one_of(
            st.binary(max_size=6),
            st.text(max_size=6).map(str.encode),
            st.text("{}[]:,&*!|>'\"%@#-?~ \n\t<=.0e_", max_size=6).map(str.encode),
        )
    )

    load_or_refuse(fuzzed, name, content[:at] + put + content[at + cut :])


@given(name=st.sampled_from(sorted(SECTION_4)), tree=TREES)
@settings(max_examples=50)
def test_a_file_of_anything_loads_or_is_refused(fuzzed: Files, name: str, tree: Any) -> None:
    load_or_refuse(fuzzed, name, yaml.safe_dump(tree, allow_unicode=True))


@given(
    overrides=st.dictionaries(
        st.sampled_from(["venue", "start", "end", "other"]),
        st.one_of(
            st.text(max_size=12),
            st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
            st.dates().map(str),
            st.sampled_from(["sample", "mexc", "9999-12-31T23:59-23:59", "0001-01-01T00:00+14:00"]),
        ),
    )
)
@settings(max_examples=80)
def test_a_command_line_of_anything_loads_or_is_refused(
    fuzzed: Files, overrides: dict[str, str]
) -> None:
    content = (fuzzed.root / "config" / DATA).read_bytes()

    load_or_refuse(fuzzed, DATA, content, **overrides)


# Places that tbv8 writes to.


@pytest.mark.parametrize(
    ("key", "place", "over"),
    [
        ("results_path", "config", "config"),
        ("results_path", "config/results", "config"),
        ("results_path", ".", "config"),
        ("results_path", "..", "config"),
        ("results_path", "data", "data/export"),
        ("results_path", "data/results/..", "data/export"),
        ("results_path", "data/export/results", "data/export"),
        ("results_path", "/", "config"),
        ("results_path", "a_link/results", "config"),
        ("db_path", "tbv8/tbv8.sqlite", "tbv8"),
        ("db_path", "migrations/versions", "migrations"),
        ("db_path", "data/.doit.db", "data/.doit.db"),
    ],
)
def test_a_place_over_the_project_is_refused(
    project: Files, key: str, place: str, over: str
) -> None:
    (project.root / "a_link").symlink_to("config")
    default = {"db_path": "data/tbv8.sqlite", "results_path": "data/results"}[key]
    project.edit(DATA, f"{key}: {default}", f"{key}: {place}")

    said = project.refusal()

    line = 2 if key == "db_path" else 3
    assert said.startswith(f"config/data.yaml:{line}: {key}: ")
    assert f"would overlap {over}: choose a separate path, such as data/results" in said


@pytest.mark.parametrize(
    ("db_path", "results_path"),
    [
        ("data/results/tbv8.sqlite", "data/results"),
        ("research", "research"),
        ("tbv8.sqlite", "tbv8.sqlite/results"),
    ],
)
def test_database_and_results_keep_apart(project: Files, db_path: str, results_path: str) -> None:
    project.edit(DATA, "db_path: data/tbv8.sqlite", f"db_path: {db_path}")
    project.edit(DATA, "results_path: data/results", f"results_path: {results_path}")

    said = project.refusal()

    assert said.startswith("config/data.yaml:3: results_path: database ")
    assert "would overlap: choose a separate path" in said


def test_a_database_that_is_a_folder_is_refused(project: Files) -> None:
    (project.root / "mine").mkdir()
    project.edit(DATA, "db_path: data/tbv8.sqlite", "db_path: mine")

    assert "mine' is a folder: write the path of a file" in project.refusal()


# Cures, followed as they are written.


DOGE = """\
strategy_id: doge
symbol: DOGE/USDT
timeframe: 1h
routing: {primary: hyperliquid}
risk: {max_position_doge: 1, max_daily_loss_usd: 100, max_leverage: 1}
backtest: {market_data_venue: binance_spot}
"""


@pytest.mark.parametrize("kind", ["a block", "braces", "empty braces", "nothing"])
def test_the_rules_of_a_symbol_are_written_where_the_error_says(project: Files, kind: str) -> None:
    # given a venue without rules for the strategy's symbol
    path = project.root / "config" / HYPERLIQUID
    head, tail = path.read_text(encoding="utf-8").split("instruments:")
    rules = tail.splitlines()[1].strip()
    written = {"braces": f"instruments: {{{rules}}}\n", "empty braces": "instruments: {}\n"}
    if kind != "a block":
        path.write_text(head + written.get(kind, ""), encoding="utf-8")
    project.edit(BINANCE, "{BTC/USDT: BTCUSDT}", "{DOGE/USDT: DOGEUSDT}")
    project.write("strategies/doge.yaml", DOGE)

    # when one writes what the error says, with a name of the venue
    cure = str(errors(project)["doge"])
    lines = path.read_text(encoding="utf-8").splitlines()
    (symbols,) = re.findall(r"`(DOGE/USDT: )its name at .*` into \S+:(\d+), `symbols:`", cure)
    line = int(symbols[1]) - 1
    lines[line] = lines[line].replace("{", f"{{{symbols[0]}DOGE, ", 1)
    ((rule, place),) = re.findall(r"write (?:one of mexc, or )?`(.*?\}+)` (.*?), with", cure)
    number = int(place.partition(":")[2].partition(",")[0] or len(lines))
    if place.startswith("into the braces"):
        lines[number - 1] = lines[number - 1].replace("{", f"{{{rule}, ", 1)
    elif place.startswith("in place of"):
        lines[number - 1] = rule
    else:
        lines.insert(number, rule)
    path.write_text("\n".join(lines), encoding="utf-8")

    # then it is loaded
    assert project.load().strategies["doge"].instruments["hyperliquid"]["DOGE/USDT"].max_leverage


def errors(project: Files) -> dict[str, ConfigError]:
    problems = project.load().problems
    return {problem.name: problem.error for problem in problems if problem.kind == "strategy"}


def test_a_misspelt_symbol_of_instruments_is_the_error_of_the_strategies(project: Files) -> None:
    project.edit(HYPERLIQUID, "  BTC/USDT: {", "  BTC-USDT: {")

    assert str(errors(project)["btc_usdt_perp_v1"]) == (
        f"config/{HYPERLIQUID}:9: instruments.BTC-USDT: unknown symbol 'BTC-USDT', did you mean "
        "'BTC/USDT'? Known: BTC/USDT"
    )


def test_a_venue_that_knows_its_symbols_gets_no_others(project: Files) -> None:
    project.write("strategies/doge.yaml", DOGE.replace("binance_spot", "sample"))

    assert str(errors(project)["doge"]).endswith(
        "symbol: unknown symbol of sample 'DOGE/USDT'; known: BTC/USDT, ETH/USDT: write another "
        "backtest.market_data_venue"
    )
    project.edit(SAMPLE, "[BTC/USDT, ETH/USDT]", "[BTC/USDT, DOGE/USDT]")
    assert project.refusal() == (
        f"config/{SAMPLE}:4: symbols[1]: sample has only BTC/USDT and ETH/USDT: remove 'DOGE/USDT'"
    )


def test_a_history_shorter_than_a_bar_is_refused_and_a_shorter_bar_is_not(project: Files) -> None:
    start_ms = HALF_YEAR.start_ms
    project.available["sample"] = Span(start_ms, start_ms + 4 * MINUTE_MS)

    assert project.refusal() == (
        f"config/{STRATEGY}:4: timeframe: sample has only 4 minutes of history, "
        "2024-01-01T00:00:00Z .. 2024-01-01T00:04:00Z, without one whole 5m bar: add bars to it, "
        "or write a shorter timeframe"
    )
    assert "further apart" in project.refusal(end="2024-01-01T00:03Z")
    project.edit(STRATEGY, "timeframe: 5m", "timeframe: 1m")
    assert project.strategy().span == project.available["sample"]


@pytest.mark.parametrize("key", ["db_path", "results_path"])
def test_a_folder_outside_of_the_project_must_exist(project: Files, key: str) -> None:
    place = project.root.parent / "elsewhere" / "more"
    text = f"db_path: data/tbv8.sqlite\nresults_path: data/results\n{key}: {place}/x\n"
    former = {"db_path": "data/tbv8.sqlite", "results_path": "data/results"}[key]
    project.write(DATA, text.replace(f"{key}: {former}\n", ""))

    assert project.refusal() == (
        f"config/data.yaml:2: {key}: there is no folder '{place}', and tbv8 creates none outside "
        f"of the project: run `mkdir -p {place}`, or write another path"
    )
    place.mkdir(parents=True)
    assert getattr(project.load(), key) == place / "x"
