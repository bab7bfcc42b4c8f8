"""A minute whose bar no market can make costs that minute and no other, at every venue."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tbv8.backfill.fill import backfill
from tbv8.market import DAY_MS, MINUTE_MS, Bar, Series, Span, iso
from tests.builders import bars_in, history_venue, ledger_in
from tests.servers.binance_archive import Override
from tests.servers.binance_market import Market, open_ms_of, synthetic_market
from tests.servers.live_market import VenueClock
from tests.servers.live_venues import LIVE_VENUES, serve
from tests.venues.binance_spot import BTC, bars_of, fetched, notes, served, sources, span, truth
from tests.venues.minutes import COLUMNS, answer_minutes, fetch_minutes, with_cell

DAY = span("2024-12-30", "2024-12-31")
STEM = "BTCUSDT-1m-2024-12-30"
NOON = 1_790_164_800_000
IMPOSSIBLE = [
    pytest.param("high", "0.01", id="a high below the open"),
    pytest.param("low", "1e9", id="a low above the open"),
    pytest.param("low", "0", id="a price of 0"),
    pytest.param("low", "-1", id="a price below 0"),
    pytest.param("high", "1e16", id="a price that no market has"),
    pytest.param("volume", "-1", id="a volume below 0"),
    pytest.param("volume", "1e30", id="a volume that no market has"),
]


@pytest.fixture(scope="module")
def market() -> Market:
    return synthetic_market(BTC, DAY.start_ms, DAY.end_ms + DAY_MS, 5)


def spoilt(market: Market, at_ms: int, column: str, text: str) -> Market:
    """Return the market with another value in one bar, whoever asks for it."""

    def lines_of_day(day_ms: int) -> list[str]:
        lines = [line.split(",") for line in market.lines_of_day(day_ms)]
        for line in lines:
            if open_ms_of(line[0] + ",") == at_ms:
                line[COLUMNS[column]] = text
        return [",".join(line) for line in lines]

    return replace(market, lines_of_day=lines_of_day)


@pytest.mark.parametrize(("column", "text"), [*IMPOSSIBLE, ("close", "nan"), ("open", "1e999")])
@pytest.mark.parametrize("today", [False, True], ids=["archive", "rest"])
def test_an_impossible_bar_of_binance_is_missing_and_the_rest_is_stored(
    market: Market, today: bool, column: str, text: str
) -> None:
    at_ms = DAY.start_ms + 700 * MINUTE_MS
    now = "2024-12-30T18:00:00" if today else "2024-12-31T12:00:00"
    wanted = DAY.intersection(Span(0, at_ms + 100 * MINUTE_MS)) if today else DAY

    with served(spoilt(market, at_ms, column, text), now) as server:
        pieces = fetched(server, [wanted])

    assert bars_of(pieces) == [bar for bar in truth(market, [wanted]) if bar[0] != at_ms]
    assert [piece.span for piece in pieces] == [wanted]
    assert pieces[0].source.endswith(f"unusable {iso(at_ms)}")
    assert [note for note in notes(pieces) if f"the minute {iso(at_ms)} has no usable bar" in note]


@pytest.mark.parametrize("text", ["nan", "inf", "1e999"])
def test_a_bar_that_is_impossible_only_in_the_archive_comes_from_rest(
    market: Market, text: str
) -> None:
    at_ms = DAY.start_ms + 700 * MINUTE_MS
    here = {"start_ms": at_ms, "end_ms": at_ms + MINUTE_MS}

    with served(market, "2024-12-31T12:00:00") as server:
        server.override(Override(file=STEM, kind="non_numeric", text=text, **here))
        pieces = fetched(server, [DAY])

    assert bars_of(pieces) == truth(market, [DAY])
    assert sources(pieces) == ["2024-12-30; rest"]
    assert notes(pieces) == [f"{STEM}.zip: 1 missing minute came from REST"]


def test_the_last_minutes_of_a_history_may_be_unusable(market: Market) -> None:
    end_ms = DAY.start_ms + 60 * MINUTE_MS
    short = replace(market, end_ms=end_ms)
    for at_ms in (end_ms - MINUTE_MS, end_ms - 2 * MINUTE_MS):
        short = spoilt(short, at_ms, "low", "0")

    with served(short, "2024-12-30T01:00:30") as server:
        pieces = fetched(server, [Span(DAY.start_ms, end_ms)])

    assert sum(piece.bars.num_rows for piece in pieces) == 58


def test_a_file_with_many_impossible_bars_is_unusable(market: Market) -> None:
    with served(market, "2024-12-31T12:00:00") as server:
        many = {"start_ms": DAY.start_ms, "end_ms": DAY.start_ms + 61 * MINUTE_MS}
        server.override(Override(file=STEM, kind="high_below_open", **many))
        pieces = fetched(server, [DAY])

    assert bars_of(pieces) == truth(market, [DAY])
    assert sources(pieces) == ["rest"]
    [note] = notes(pieces)
    assert "is impossible" in note


def test_a_csv_that_begins_with_a_byte_order_mark_has_all_its_rows(market: Market) -> None:
    lines = "\n".join(market.lines(DAY.start_ms, DAY.end_ms))
    for head in ("\ufeff", "\ufeffopen_time,open,high,low,close,volume,a,b,c,d,e,f\n"):
        with served(market, "2024-12-31T12:00:00") as server:
            server.override(Override(file=STEM, kind="text", text=head + lines))
            pieces = fetched(server, [DAY])

        assert bars_of(pieces) == truth(market, [DAY])
        assert sources(pieces) == ["2024-12-30"]


# The venues that are recorded too


@pytest.mark.parametrize("name", LIVE_VENUES)
@pytest.mark.parametrize(("column", "text"), IMPOSSIBLE)
def test_an_impossible_bar_is_missing_and_the_series_continues(
    db_path: Path, name: str, column: str, text: str
) -> None:
    series, wanted = Series(name, "BTC/USDT"), Span(NOON - 10 * MINUTE_MS, NOON)
    spoilt_ms = wanted.start_ms + 4 * MINUTE_MS
    clock = VenueClock(start_ms=NOON, speed=0)
    with serve(name, clock=clock, rate=2, history_minutes=300) as server:
        shown = fetch_minutes(server, name, wanted)
        answer_minutes(server, wanted, with_cell(shown, name, 4, column, text), times=2)
        venue = history_venue(name, server.rest_url)
        backfill(db_path, series, [wanted], venue=venue, now_ms=NOON)

    opens = [bar[0] for bar in bars_in(db_path, series)]
    assert opens == [ms for ms in range(wanted.start_ms, NOON, MINUTE_MS) if ms != spoilt_ms]
    assert ledger_in(db_path, series, columns="start_ms, end_ms, bars, missing, source") == [
        (wanted.start_ms, NOON, 9, 1, f"rest; unusable {iso(spoilt_ms)}")
    ]


@pytest.mark.parametrize(
    ("bar", "possible"),
    [
        pytest.param(Bar(0, 2.0, 3.0, 1.0, 2.5, 0.0), True, id="as bars are"),
        pytest.param(Bar(0, 2.0, 2.0, 2.0, 2.0, 0.0), True, id="flat"),
        pytest.param(Bar(0, 2.0, 1.9, 1.0, 1.5, 1.0), False, id="open above the high"),
        pytest.param(Bar(0, 2.0, 3.0, 1.0, 3.1, 1.0), False, id="close above the high"),
        pytest.param(Bar(0, 0.9, 3.0, 1.0, 2.0, 1.0), False, id="open below the low"),
        pytest.param(Bar(0, 2.0, 3.0, 1.0, 0.9, 1.0), False, id="close below the low"),
        pytest.param(Bar(0, 2.0, 3.0, 0.0, 2.0, 1.0), False, id="a price of 0"),
        pytest.param(Bar(0, 2.0, 1.1e15, 1.0, 2.0, 1.0), False, id="an absurd price"),
        pytest.param(Bar(0, 2.0, 3.0, 1.0, 2.0, -1.0), False, id="a negative volume"),
        pytest.param(Bar(0, 2.0, 3.0, 1.0, 2.0, 1.1e24), False, id="an absurd volume"),
        *(
            pytest.param(Bar(0, *(values)), False, id=f"nan in place {place}")
            for place in range(5)
            if (values := [float("nan") if at == place else 2.0 for at in range(5)])
        ),
    ],
)
def test_a_bar_is_possible_if_a_market_can_make_it(bar: Bar, possible: bool) -> None:
    assert bar.is_possible is possible
