"""The USD-M perpetuals: what their archive and REST have otherwise than Spot's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tbv8.errors import VenueError
from tbv8.market import MINUTE_MS, Span
from tbv8.venues.binance_perp import PRODUCT, VENUE
from tests.servers.binance import BinanceServer, WeightMeter
from tests.servers.binance_archive import Override
from tests.servers.binance_market import Market, synthetic_market
from tests.venues.binance_spot import (
    BTC,
    VirtualTime,
    bars_of,
    notes,
    opened,
    served,
    sources,
    span,
    truth,
)

NOW = "2025-02-04T09:30:20"
WANTED = [span("2021-12-30", "2022-02-03"), span("2025-01-01", "2025-02-04T09:30:00")]


@pytest.fixture(scope="module")
def market() -> Market:
    listed = span("2021-12-30T04:00:00", "2025-02-05")
    return synthetic_market(BTC, listed.start_ms, listed.end_ms, 7)


@pytest.fixture
def server(market: Market) -> Iterator[BinanceServer]:
    with served(market, NOW) as server:
        yield server


def test_files_with_and_without_a_header_and_rest_give_the_bars_of_the_market(
    server: BinanceServer, market: Market
) -> None:
    with opened(server, product=PRODUCT) as history:
        pieces = list(history.fetch(BTC, WANTED))

    assert bars_of(pieces) == truth(market, WANTED)
    assert sources(pieces) == [
        *("2021-12", "2022-01", "2022-02-01", "2022-02-02", "2025-01"),
        *("2025-02-01", "2025-02-02", "2025-02-03", "rest"),
    ]
    assert notes(pieces) == []
    requested = {log.path.split("/klines")[0] for log in server.log if "klines" in log.path}
    assert requested == {f"/data/futures/um/{part}" for part in ("monthly", "daily")} | {"/fapi/v1"}


def test_history_goes_back_to_the_first_day_of_the_venue() -> None:
    assert VENUE.history
    assert VENUE.history.span(span(NOW, NOW).start_ms) == span("2019-09-08", NOW)


def test_a_page_has_1500_bars_and_weighs_as_much_as_they_do(market: Market) -> None:
    time = VirtualTime(f"{NOW}Z")
    meter = WeightMeter(10**9, clock=time.now_s)
    wanted = span("2025-01-31", "2025-02-02T09:00:00")
    with BinanceServer({BTC: market}, now_ms=span(NOW, NOW).start_ms, weight=meter) as server:
        with opened(server, product=PRODUCT, time=time) as history:
            assert history.fetch_direct(BTC, wanted).num_rows == wanted.minutes
        pages = server.requests_of("/fapi/v1/klines")

        assert [page.query["limit"] for page in pages] == ["1500"] * 3
        assert meter.charge(0)[0] == 30


def test_many_pages_stay_below_the_weight_limit_of_a_minute(market: Market) -> None:
    time = VirtualTime(f"{NOW}Z")
    meter = WeightMeter(60, clock=time.now_s)
    end_ms = span(NOW, NOW).start_ms // MINUTE_MS * MINUTE_MS
    wanted = Span(end_ms - 12_000 * MINUTE_MS, end_ms)
    with BinanceServer({BTC: market}, now_ms=end_ms, weight=meter) as server:
        with opened(server, product=PRODUCT, time=time) as history:
            history.clock_ms()
            assert history.fetch_direct(BTC, wanted).num_rows == 12_000

        assert server.count(status=429) == 1  # which tells the limit of this server
        assert server.count(status=418) == 0


def test_a_damaged_file_and_a_missing_minute_come_from_rest(
    server: BinanceServer, market: Market
) -> None:
    outage = span("2025-01-30T05:00:00", "2025-01-30T05:03:00")
    wanted = span("2025-01-29", "2025-01-31")
    server.override(
        Override(file="BTCUSDT-1m-2025-01-29", kind="columns_11"),
        Override(
            file="BTCUSDT-1m-2025-01-30",
            kind="absent",
            start_ms=outage.start_ms,
            end_ms=outage.end_ms,
        ),
    )

    with opened(server, product=PRODUCT) as history:
        pieces = list(history.fetch(BTC, [wanted]))

    assert bars_of(pieces) == truth(market, [wanted])
    assert sources(pieces) == ["rest", "2025-01-30; rest"]


def test_an_unknown_symbol_names_the_file_of_the_venue(server: BinanceServer) -> None:
    with opened(server, product=PRODUCT) as history, pytest.raises(VenueError) as refused:
        history.first_ms("BTCUSDX")

    assert str(refused.value) == (
        "binance_perp does not know BTCUSDX: its symbols look like BTCUSDT, correct `symbols` in "
        "config/venues/binance_perp.yaml"
    )
