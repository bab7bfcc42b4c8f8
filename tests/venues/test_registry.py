"""Every venue is one record, and what the record has works alike."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tbv8.backfill.compare import compare, draw_hours
from tbv8.backfill.fill import backfill
from tbv8.config.records import Venue as VenueConfig
from tbv8.market import MINUTE_MS, Series, Span, parse_time
from tbv8.store.bars import open_bars
from tbv8.venues.base import ExchangeOrigin, FilesOrigin, Venue
from tbv8.venues.registry import VENUES, find_history, find_venue, make_history
from tests.builders import ROOT, bars_in, shell
from tests.servers.binance import BinanceServer, WeightMeter
from tests.servers.binance_market import synthetic_market
from tests.servers.live_market import VenueClock
from tests.servers.live_venues import LIVE_VENUES, serve
from tests.test_ladder import SHARED_BY_VENUES

NOON = 1_790_164_800_000
NOT_VENUES = {"__init__", "registry", "ccxt", "files", *SHARED_BY_VENUES}


@contextmanager
def spoken_to(name: str) -> Iterator[tuple[str | None, int]]:
    """Yield the address of a local server of a venue, and what its clock shows."""
    if name in LIVE_VENUES:
        clock = VenueClock(start_ms=NOON, speed=0)
        with serve(name, clock=clock, rate=2, history_minutes=300) as server:
            yield server.rest_url, NOON
    elif name in ("binance_perp", "binance_spot"):
        start, now = parse_time("2024-03-09"), parse_time("2024-03-10T12:00:00Z")
        market_there = synthetic_market("BTCUSDT", start, parse_time("2024-03-12"), 5)
        meter = WeightMeter(10**9)
        with BinanceServer({"BTCUSDT": market_there}, now_ms=now, weight=meter) as binance:
            yield binance.url, now
    else:
        assert name == "sample", f"{name}: a new venue needs a local server here"
        yield None, parse_time("2024-02-01T12:00:00Z")


def test_the_registry_has_every_venue_under_its_name() -> None:
    there = {path.stem for path in (ROOT / "tbv8" / "venues").iterdir() if path.stem[0] != "_"}

    assert set(VENUES) == there - NOT_VENUES
    assert all(name == venue.name for name, venue in VENUES.items())


def test_an_unknown_venue_has_no_source() -> None:
    assert find_venue("elsewhere") == Venue(name="elsewhere")
    assert find_history("elsewhere") is None


def test_the_records_have_the_facts_that_other_packages_use() -> None:
    facts = {name: (one.simulated, one.funding_hours) for name, one in VENUES.items()}

    assert facts == {
        "binance_perp": (False, 8),
        "binance_spot": (False, 8),
        "bybit": (False, 8),
        "hyperliquid": (False, 1),
        "mexc": (False, 8),
        "sample": (True, 8),
    }
    live = {name: one.funding_hours for name, one in VENUES.items() if one.live}
    assert live == {name: one.funding_hours for name, one in LIVE_VENUES.items()}
    assert {name for name, one in VENUES.items() if one.history} == set(VENUES)
    rolling = {name for name, one in VENUES.items() if one.history and one.history.rolls}
    assert rolling == {"hyperliquid"}


@pytest.mark.parametrize("name", sorted(VENUES))
def test_fetched_bars_equal_the_direct_request(db_path: Path, name: str) -> None:
    """So `doit verify --against rest` works for every venue that has history."""
    series = Series(name, "BTC/USDT")
    with spoken_to(name) as (url, now_ms):
        venue = VenueConfig(
            name=name,
            enabled=False,
            symbols={"BTC/USDT": None},
            channels=("trades",),
            ws_url=None,
            rest_url=url,
            archive_url=url,
            instruments={},
        )
        span = Span(now_ms - 130 * MINUTE_MS, now_ms)
        source = find_history(name)
        assert source is not None
        assert source.span(now_ms).contains(span)
        assert str(source.cost([span], now_ms))
        backfill(db_path, series, [span], venue=venue, now_ms=now_ms)

        with open_bars(db_path) as store:
            hours = draw_hours(store, {series: source.span(now_ms)}, count=9, seed=1)[series]
            same = list(compare(store, series, hours, venue=venue))
        shell(db_path, f"UPDATE ohlcv_1m SET volume = 7 WHERE ts_ms = {span.start_ms}")
        with open_bars(db_path) as store:
            others = list(compare(store, series, hours, venue=venue))

    assert len(bars_in(db_path, series)) == 130
    assert sum(hour.minutes for hour in hours) == 130
    assert same == []
    assert len(others) == 1


@pytest.mark.parametrize(
    "origin",
    [
        FilesOrigin(path="bars/{symbol}.csv", root=ROOT, symbols={}, zone=""),
        ExchangeOrigin(exchange="kraken"),
    ],
    ids=["files", "ccxt"],
)
def test_a_history_reaches_the_processes_of_parallel_tasks(
    origin: FilesOrigin | ExchangeOrigin,
) -> None:
    history = pickle.loads(pickle.dumps(make_history(origin)))  # by `doit -n 2`

    assert history.span(NOON) == make_history(origin).span(NOON)
