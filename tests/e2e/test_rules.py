"""`doit rules` against local venues: what differs, what is written, what cannot be asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

import pytest

from tbv8.errors import VenueError
from tbv8.venues.base import Endpoints
from tbv8.venues.registry import find_venue
from tests.e2e.conftest import Project
from tests.servers.binance import BinanceServer
from tests.servers.binance_market import synthetic_market
from tests.servers.bybit import bybit_market, bybit_server
from tests.servers.exchanges import ExchangeMarket, ExchangeServer
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_venues import LIVE_VENUES
from tests.servers.mexc import mexc_market, mexc_server

LEFT_OUT = ", max_leverage: 40}   # no least order?\n  ETH"
BYBIT, HYPERLIQUID, MEXC = (f"config/venues/{name}.yaml" for name in LIVE_VENUES)


@dataclass(frozen=True)
class Served:
    """A project whose enabled venues are local ones."""

    project: Project
    hyperliquid: str
    mexc: str

    def text(self, name: str) -> str:
        return (self.project.root / name).read_text(encoding="utf-8")


@pytest.fixture
def served(project: Project) -> Iterator[Served]:
    with (
        hyperliquid_server([hyperliquid_market("BTC"), hyperliquid_market("ETH")]) as coins,
        mexc_server([mexc_market("BTC_USDT"), mexc_market("ETH_USDT")]) as contracts,
    ):
        project.edit(HYPERLIQUID, "https://api.hyperliquid.xyz", coins.rest_url)
        project.edit(MEXC, "https://api.mexc.com", contracts.rest_url)
        yield Served(project, coins.rest_url, contracts.rest_url)


def test_the_shipped_files_are_what_the_wire_facts_say(served: Served) -> None:
    with bybit_server([bybit_market("BTCUSDT"), bybit_market("ETHUSDT")]) as contracts:
        served.project.edit(BYBIT, "https://api.bybit.com", contracts.rest_url)
        enabled = served.project.doit("rules").stdout
        named = served.project.doit("rules", "--venue", "bybit").stdout

    assert enabled == "4 instruments agree with the published rules\n"
    assert named == "2 instruments agree with the published rules\n"


def test_what_differs_is_shown_and_written_and_all_else_stays(served: Served) -> None:
    project = served.project
    project.edit(MEXC, 'lot_size: "0.01", maker_fee: "0"', "lot_size: 0.02,   maker_fee: 0.0001")
    project.edit(HYPERLIQUID, ", min_notional_usd: 10, max_leverage: 40}\n  ETH", LEFT_OUT)
    before = {name: served.text(name) for name in (MEXC, HYPERLIQUID)}

    shown = project.doit("rules", code=1).stdout
    told = json.loads(project.doit("rules", "--json", "--venue", "mexc", code=1).stdout)
    written = project.doit("rules", "--write").stdout

    assert shown.splitlines() == [
        "venue        symbol    rule              configured  published",
        "hyperliquid  BTC/USDT  min_notional_usd  0           10",
        "mexc         ETH/USDT  lot_size          0.02        0.01",
        "mexc         ETH/USDT  maker_fee         0.0001      0",
        "`doit rules --write` writes the published values into config/venues",
    ]
    assert told["differences"] == [
        {
            "venue": "mexc",
            "symbol": "ETH/USDT",
            "key": key,
            "configured": was,
            "published": now,
        }
        for key, was, now in (("lot_size", "0.02", "0.01"), ("maker_fee", "0.0001", "0"))
    ]
    assert told["rules"][0]["min_notional_usd"] is None
    assert f"{MEXC}: written" in written
    assert project.doit("rules").stdout == "4 instruments agree with the published rules\n"
    changed = {
        name: [
            (was, now)
            for was, now in zip(text.splitlines(), served.text(name).splitlines(), strict=True)
            if was != now
        ]
        for name, text in before.items()
    }
    ((_, mexc),), ((was, now),) = changed[MEXC], changed[HYPERLIQUID]
    assert 'lot_size: "0.01"' in mexc
    assert "maker_fee: 0," in mexc
    assert now.split() == was.replace("}", ", min_notional_usd: 10}").split()


def test_a_venue_that_cannot_be_asked_is_no_difference(served: Served) -> None:
    served.project.edit(MEXC, served.mexc, f"{served.mexc}/nothing")

    done = served.project.doit("rules", code=3)

    assert done.stdout == "2 instruments agree with the published rules\n"
    assert done.stderr.startswith(f"ERROR: {served.mexc}/nothing/api/v1/contract/detail: HTTP 404")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--venue", "mex"), "--venue: unknown venue 'mex', did you mean 'mexc'?"),
        (("--venue", "sample"), "--venue: sample publishes no rules that tbv8 can read"),
        (("--venue", "binance_perp"), "--venue: binance_perp has no `instruments` to compare"),
        (("mexc",), "'mexc': choose with --venue"),
    ],
)
def test_what_is_asked_wrongly_is_refused(
    project: Project, words: tuple[str, ...], problem: str
) -> None:
    assert problem in project.doit("rules", *words, code=3).stderr


HISTORY_VENUES = {
    "binance_spot": 'tick_size: "0.01", lot_size: "0.00001", min_notional_usd: 5',
    "binance_perp": 'tick_size: "0.01", lot_size: "0.00001", min_notional_usd: 100',
    "kraken": (
        'tick_size: "0.1", lot_size: "0.00000001", min_notional_usd: "0.5", maker_fee: "0.0025", '
        'taker_fee: "0.004"'
    ),
    "bitstamp": (
        'tick_size: 1, lot_size: "0.00000001", min_notional_usd: 10, maker_fee: "0.004", '
        'taker_fee: "0.004"'
    ),
}


@pytest.mark.parametrize("name", HISTORY_VENUES)
def test_a_venue_of_history_alone_publishes_its_rules_too(project: Project, name: str) -> None:
    """`taker_fee` and `max_leverage` of Binance are no public ones: they stay as they are."""
    is_binance = name.startswith("binance")
    market = synthetic_market("BTCUSDT", "2024-01-01", "2024-01-02", seed=1)
    with (
        BinanceServer({"BTCUSDT": market}, now_ms=market.end_ms) as binance,
        ExchangeServer(ExchangeMarket([], now_ms=market.end_ms)) as exchange,
    ):
        path = project.root / f"config/venues/{name}.yaml"
        wrong = '{tick_size: 7, lot_size: 7, maker_fee: "0.02", taker_fee: "0.02", max_leverage: 3}'
        path.write_text(
            f"venue: {name}\n"
            + ("" if is_binance else f"history: ccxt\nexchange: {name}\n")
            + f"rest_url: {binance.url if is_binance else exchange.url}\n"
            + f"symbols: {{BTC/USD: {'BTCUSDT' if is_binance else 'BTC/USD'}}}\n"
            + f"instruments:\n  BTC/USD: {wrong}\n"
        )

        project.doit("rules", "--venue", name, code=1)
        project.doit("rules", "--venue", name, "--write")
        done = project.doit("rules", "--venue", name)

    assert done.stdout == "1 instrument agrees with the published rules\n"
    written = path.read_text().splitlines()[-1]
    for rule in HISTORY_VENUES[name].split(", "):
        assert rule in written
    assert ('taker_fee: "0.02"' in written) == is_binance
    assert "max_leverage: 3" in written


@pytest.mark.parametrize("name", ["binance_spot", "binance_perp"])
def test_a_symbol_that_binance_does_not_list_is_named(name: str) -> None:
    market = synthetic_market("BTCUSDT", 0, 86_400_000, seed=1)
    fetch = find_venue(name).rules
    assert fetch is not None
    with (
        BinanceServer({"BTCUSDT": market}, now_ms=market.end_ms) as binance,
        pytest.raises(VenueError, match=f"{name} does not know ETHUSDT: its symbols look like"),
    ):
        fetch(Endpoints(rest_url=binance.url), print, {"BTC/USDT": None, "ETH/USDT": None})


def test_a_rule_of_zero_is_none_and_units_of_a_thousand_are_ones() -> None:
    market = synthetic_market("BTCUSDT", 0, 86_400_000, seed=1)
    market = replace(market, symbol="1000PEPEUSDT", base="1000PEPE", tick_size="0.00000000")
    fetch = find_venue("binance_perp").rules
    assert fetch is not None
    with BinanceServer({market.symbol: market}, now_ms=market.end_ms) as binance:
        endpoints = Endpoints(rest_url=binance.url)
        found = fetch(endpoints, print, {"PEPE/USDT": market.symbol})["PEPE/USDT"]

    assert (found.tick_size, found.multiplier, found.lot_size) == (None, 1000, Decimal("0.01"))


def test_rules_are_those_of_the_symbols_own_unit(tmp_path: Path) -> None:
    with (
        hyperliquid_server([hyperliquid_market("kPEPE"), hyperliquid_market("DOGE")]) as coins,
        mexc_server([mexc_market("DOGE_USDT")]) as contracts,
    ):
        natives = {"PEPE/USDT": "kPEPE", "kPEPE/USDT": "kPEPE", "DOGE/USDT": None}
        fetch, ask = find_venue("hyperliquid").rules, find_venue("mexc").rules
        assert fetch is not None
        assert ask is not None
        found = fetch(Endpoints(rest_url=coins.rest_url), print, natives)
        doge = ask(Endpoints(rest_url=contracts.rest_url), print, {"DOGE/USDT": None})

    pepe, thousand = found["PEPE/USDT"], found["kPEPE/USDT"]
    assert (pepe.multiplier, thousand.multiplier) == (1000, 1)
    assert pepe.tick_size == thousand.tick_size / 1000  # type: ignore[operator]
    assert pepe.lot_size == thousand.lot_size * 1000  # type: ignore[operator]
    assert str(found["DOGE/USDT"].tick_size) == "0.000001"  # of 0.08: five significant digits
    assert doge["DOGE/USDT"].lot_size == 100
