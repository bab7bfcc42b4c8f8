"""Any exchange of ccxt as a history venue: its own client against local servers that misbehave."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import structs

from tbv8.backfill.compare import compare
from tbv8.backfill.fill import backfill
from tbv8.backfill.sessions import reach
from tbv8.config.records import Venue
from tbv8.coverage import missing_spans
from tbv8.errors import VenueError
from tbv8.market import MINUTE_MS, Series, Span
from tbv8.store.bars import open_bars
from tbv8.store.ledger import HISTORY, read_covered_spans
from tbv8.store.verify import verify
from tbv8.venues.base import Endpoints, ExchangeOrigin, History, Log
from tbv8.venues.ccxt import exchanges
from tbv8.venues.live_history import RetryPolicy
from tbv8.venues.registry import make_history
from tests.builders import (
    MONDAY,
    KilledError,
    bars_in,
    day,
    days,
    killed_after,
    ledger_in,
    minute_bars,
    rows_of,
)
from tests.servers.exchanges import ExchangeMarket, ExchangeServer, Fault, rows_at

HOLE = Span(day(1) + 30 * MINUTE_MS, day(1) + 40 * MINUTE_MS)
TRUTH = rows_of(minute_bars(days(0, 3), without=[HOLE]))
SERIES = Series("any", "BTC/USD")
EVENING = Span(day(2) + 13 * 3_600_000, day(3))


@pytest.fixture
def server() -> Iterator[ExchangeServer]:
    with ExchangeServer(ExchangeMarket(TRUTH, now_ms=day(3))) as made:
        yield made


@pytest.fixture
def waits() -> list[float]:
    """Return the pauses that a session made, on a clock that stands."""
    return []


def venue_of(
    server: ExchangeServer, exchange: str, waits: list[float], symbol: str = "BTC/USD"
) -> Venue:
    """Return what a venue's YAML gives, but for the pauses."""
    origin = ExchangeOrigin(exchange=exchange)

    def opened(endpoints: Endpoints, log: Log) -> History:
        from tbv8.venues.ccxt.history import open_history  # imports ccxt

        return open_history(origin, endpoints, log=log, retries=RetryPolicy(sleep=waits.append))

    return Venue(
        name=SERIES.venue,
        enabled=False,
        symbols={symbol: None},
        channels=(),
        ws_url=None,
        rest_url=server.url,
        archive_url=None,
        instruments={},
        own_history=structs.replace(make_history(origin), open=opened),
    )


def fill(db_path: Path, venue: Venue, *spans: Span, symbol: str = "BTC/USD") -> None:
    backfill(db_path, Series(SERIES.venue, symbol), spans, venue=venue, now_ms=day(9))


@pytest.mark.parametrize("exchange", ["bitstamp", "coinbaseexchange", "kraken"])
def test_an_exchange_by_name_alone_gives_its_bars(
    server: ExchangeServer, db_path: Path, exchange: str, waits: list[float]
) -> None:
    venue = venue_of(server, exchange, waits)
    traded = [row for row in TRUTH if row[5] or exchange != "coinbaseexchange"]

    fill(db_path, venue, EVENING)
    with open_bars(db_path) as store:
        differences = list(compare(store, SERIES, [EVENING], venue=venue))
        problems = list(verify(store, HISTORY, SERIES))

    assert bars_in(db_path, SERIES) == rows_at(traded, EVENING.start_ms, EVENING.end_ms)
    assert differences == problems == []
    assert ledger_in(db_path, SERIES, columns="source") == [("rest",)]


def test_stored_bars_are_not_requested_and_holes_are_requested_twice(
    server: ExchangeServer, db_path: Path, waits: list[float]
) -> None:
    venue = venue_of(server, "bitstamp", waits)
    fill(db_path, venue, days(1, 2))
    first = server.asked()
    server.log.clear()

    fill(db_path, venue, days(-2, 3))

    ledger = ledger_in(db_path, SERIES, columns="bars, missing, source")
    assert bars_in(db_path, SERIES) == TRUTH
    assert ledger == [
        (0, 1440, "not listed"),
        (0, 1440, "not listed"),
        (1440, 0, "rest"),
        (1430, 10, "rest"),
        (1440, 0, "rest"),
    ]
    # of 1000 and 440 minutes, the first page twice, and the search for the first bar
    assert [int(query["start"]) * 1000 for query in first] == [
        day(0),
        day(1),
        day(1),
        day(1) + 1000 * MINUTE_MS,
    ]
    requested = [int(query["start"]) * 1000 for query in server.asked()]
    assert sorted(requested) == sorted(
        [day(0), day(0), day(0) + 1000 * MINUTE_MS, day(2), day(2) + 1000 * MINUTE_MS]
    )


def test_a_morning_of_several_pages_joins_the_stored_evening(
    server: ExchangeServer, db_path: Path, waits: list[float]
) -> None:
    venue = venue_of(server, "coinbaseexchange", waits)
    fill(db_path, venue, EVENING)

    fill(db_path, venue, days(2, 3))

    assert ledger_in(db_path, SERIES, columns="start_ms, end_ms") == [(day(2), day(3))]


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param([Fault("status", 500)] * 3, id="errors of the server"),
        pytest.param([Fault("status", 429, retry_after=7)], id="too many requests"),
        pytest.param([Fault("garbage")] * 2, id="another shape"),
        pytest.param([Fault("drop")] * 2, id="connections that drop"),
        pytest.param([Fault("short")] * 4, id="pages cut short"),
    ],
)
def test_temporary_faults_are_retried(
    server: ExchangeServer, db_path: Path, faults: list[Fault], waits: list[float]
) -> None:
    venue = venue_of(server, "bitstamp", waits)
    fill(db_path, venue, days(0, 1))
    server.faults += faults

    fill(db_path, venue, days(0, 2))

    assert server.faults == []
    assert bars_in(db_path, SERIES) == rows_at(TRUTH, day(0), day(2))
    if faults[0].retry_after:
        assert 7.0 in waits


def test_requests_keep_to_the_rate_limit_of_ccxt(
    server: ExchangeServer, db_path: Path, waits: list[float]
) -> None:
    fill(db_path, venue_of(server, "kraken", waits), EVENING)

    # Kraken's is a second times its own cost, on a clock that stands: each waits for all before it
    assert len(waits) >= len(server.log) - 3
    assert max(waits) >= len(server.log) - 2


def test_an_exchange_that_keeps_only_new_bars_is_refused_before_any_write(
    server: ExchangeServer, db_path: Path, waits: list[float]
) -> None:
    server.market.older_days = 400
    venue = venue_of(server, "kraken", waits)
    words = "keeps only the newest 1m bars of BTC/USD, from 2024-01-03T12:00:00Z on"

    with pytest.raises(VenueError) as refused:
        fill(db_path, venue, days(-900, 3))

    assert str(refused.value) == (
        f"kraken {words}, not from 2021-07-15T00:00:00Z: write a later start_date, or choose "
        "an exchange that keeps all bars"
    )
    assert ledger_in(db_path, SERIES) == []
    assert reach(SERIES, venue=venue) == f"kraken {words}"


def test_the_reach_of_an_exchange_is_described(server: ExchangeServer, waits: list[float]) -> None:
    venue = venue_of(server, "bitstamp", waits)

    assert reach(SERIES, venue=venue) == (
        "bitstamp has 1m bars of BTC/USD, from 2024-01-01T00:00:00Z on"
    )


@pytest.mark.parametrize(
    ("exchange", "symbol", "fault", "problem"),
    [
        pytest.param(
            "bitstamp",
            "BTC/USDT",
            None,
            "bitstamp does not know BTC/USDT: it has BTC/USD: correct `symbols` of the venue's "
            "file, such as {BTC/USDT: BTC/USD}",
            id="an unknown symbol",
        ),
        pytest.param(
            "mtgox",
            "BTC/USD",
            None,
            "ccxt has no exchange 'mtgox': correct `exchange`",
            id="an exchange that is not there",
        ),
        pytest.param(
            "blockchaincom",
            "BTC/USD",
            None,
            "blockchaincom has no 1m bars: choose another exchange",
            id="no bars",
        ),
        pytest.param(
            "bitstamp",
            "BTC/USD",
            Fault("status", 451),
            'bitstamp refuses this place or network (HTTP 451 {"error": "no"}): run tbv8 '
            "elsewhere, or set `rest_url` to a host that answers here",
            id="a place that is refused",
        ),
        pytest.param(
            "bitstamp",
            "BTC/USD",
            Fault("status", 500),
            "bitstamp: 1m bars of BTC/USD: HTTP 500",
            id="an exchange that is down",
        ),
    ],
)
def test_a_market_that_cannot_be_fetched_is_a_one_line_error(
    server: ExchangeServer,
    db_path: Path,
    exchange: str,
    symbol: str,
    fault: Fault | None,
    problem: str,
    waits: list[float],
) -> None:
    server.faults += [fault] * 20 if fault else []

    with pytest.raises(VenueError) as refused:
        fill(
            db_path,
            venue_of(server, exchange, waits, symbol),
            days(0, 1),
            symbol=symbol,
        )

    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(problem)
    if fault and fault.status == 451:
        assert len(server.faults) == 19  # it was not asked again


def test_the_names_of_exchanges_are_those_of_ccxt() -> None:
    import ccxt  # half a second that the collection of tests does not need

    assert set(ccxt.exchanges) <= set(exchanges())


@given(
    steps=st.lists(
        st.tuples(
            st.integers(0, 700),
            st.integers(1, 700),
            st.lists(st.sampled_from(["status", "drop", "short", "garbage"]), max_size=3),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=4,
    ),
    holes=st.lists(st.tuples(st.integers(0, 1300), st.integers(1, 400)), max_size=3),
    exchange=st.sampled_from(["bitstamp", "coinbaseexchange"]),
)
@settings(max_examples=4, phases=[Phase.generate])
def test_tables_equal_the_truth_after_any_spans_faults_and_kills(
    migrated_db: Path,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, int, list[str], int]],
    holes: list[tuple[int, int]],
    exchange: str,
) -> None:
    without = [
        Span(MONDAY + a * MINUTE_MS, MONDAY + (a + n) * MINUTE_MS) for a, n in holes if a > 5
    ]
    truth = [row for row in rows_of(minute_bars(days(0, 1), without=without)) if row[5]]
    db_path = Path(shutil.copy(migrated_db, tmp_path_factory.mktemp("any") / "tbv8.sqlite"))
    with ExchangeServer(ExchangeMarket(truth, now_ms=day(3))) as server:
        venue = venue_of(server, exchange, [])
        wanted: list[Span] = []
        for start, length, faults, pieces in steps:
            begin_ms = MONDAY + start * MINUTE_MS
            wanted.append(Span(begin_ms, begin_ms + length * MINUTE_MS))
            server.faults[:] = [Fault(kind) for kind in faults]  # type: ignore[arg-type]
            with suppress(KilledError), killed_after(pieces):
                fill(db_path, venue, *wanted)
            server.faults.clear()
        fill(db_path, venue, *wanted)

        with open_bars(db_path) as store:
            stored = read_covered_spans(store.query, SERIES, HISTORY)
            assert list(verify(store, HISTORY, SERIES)) == []
    assert missing_spans(wanted, stored) == []
    assert bars_in(db_path, SERIES) == [
        row for row in truth if any(span.start_ms <= row[0] < span.end_ms for span in stored)
    ]


def _market(**changes: object) -> dict[str, Any]:
    limits = {"cost": {"min": 5.0}, "leverage": {"max": 50.0}}
    return {
        "quote": "USDT",
        "contract": False,
        "contractSize": None,
        "precision": {"price": 0.1, "amount": 1e-08},
        "limits": limits,
        "maker": -0.0001,
        "taker": 0.0005,
    } | changes


@pytest.mark.parametrize(
    ("market", "mode", "expected"),
    [
        pytest.param(_market(), "TICK_SIZE", "0.1 1E-8 5.0 None", id="steps"),
        pytest.param(
            _market(precision={"price": 2, "amount": -1}),
            "DECIMAL_PLACES",
            "0.01 1E+1 5.0 None",
            id="counts of digits",
        ),
        pytest.param(
            _market(precision={"price": 5, "amount": None}),
            "SIGNIFICANT_DIGITS",
            "None None 5.0 None",
            id="what is no step",
        ),
        pytest.param(
            _market(contract=True, contractSize=0.01, precision={"price": 0.1, "amount": 1.0}),
            "TICK_SIZE",
            "0.1 0.010 5.0 50.0",
            id="contracts of coins, with leverage",
        ),
        pytest.param(
            _market(quote="EUR"), "TICK_SIZE", "0.1 1E-8 None None", id="a least order in euros"
        ),
    ],
)
def test_rules_are_read_of_each_kind_of_market(
    market: dict[str, Any], mode: str, expected: str
) -> None:
    import ccxt

    from tbv8.venues.ccxt.rules import parse_rules

    rules = parse_rules(market, getattr(ccxt, mode))

    amounts = (rules.tick_size, rules.lot_size, rules.min_notional_usd, rules.max_leverage)
    assert " ".join(map(str, amounts)) == expected
    assert (str(rules.maker_fee), str(rules.taker_fee)) == ("-0.0001", "0.0005")
