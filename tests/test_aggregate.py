"""Bars of a timeframe: against a naive count with Decimal, and against an exchange's own bars."""

from __future__ import annotations

import csv
import io
import random
import zipfile
from collections.abc import Iterable
from decimal import Decimal, localcontext
from itertools import groupby
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tbv8.aggregate import aggregate
from tbv8.market import MINUTE_MS, Timeframe, parse_time, parse_timeframe

type Row = tuple[int, float, float, float, float, float]
type Built = tuple[int, float, float, float, float, float, int]

COLUMNS = ("ts_ms", "open", "high", "low", "close", "volume")
MINUTES = pa.schema([("ts_ms", pa.int64()), *((name, pa.float64()) for name in COLUMNS[1:])])
BINANCE = Path(__file__).parents[2] / "shared" / "data" / "binance"
TIMEFRAMES = [
    parse_timeframe(text)
    for text in (
        *("1m", "2m", "5m", "7m", "15m", "90m", "1h", "4h", "7h", "24h", "36h"),
        *("1d", "2d", "3d", "7d", "1w", "1M"),
    )
]


def table(rows: Iterable[Row]) -> pa.Table:
    return pa.Table.from_pylist(
        [dict(zip(COLUMNS, row, strict=True)) for row in rows], schema=MINUTES
    )


def rows(bars: pa.Table) -> list[Built]:
    return [tuple(row.values()) for row in bars.to_pylist()]


def flat(ts_ms: int, volume: float = 1.0, price: float = 10.0) -> Row:
    return (ts_ms, price, price, price, price, volume)


def naive(minutes: list[Row], timeframe: Timeframe) -> list[Built]:
    """Count by hand: prices of minutes that traded, and volumes summed and rounded once."""
    built = []
    for open_ms, group in groupby(minutes, key=lambda row: timeframe.floor(row[0])):
        held = list(group)
        with localcontext(prec=400):
            volume = sum((round(Decimal(repr(row[5])), 8) for row in held), Decimal(0))
        priced = [row for row in held if row[5] > 0] or held
        high, low = max(row[2] for row in priced), min(row[3] for row in priced)
        built.append(
            (open_ms, priced[0][1], high, low, priced[-1][4], float(volume), len(held)),
        )
    return built


def decimals(most: int, places: int) -> st.SearchStrategy[float]:
    return st.integers(0, most).map(lambda units: float(Decimal(units).scaleb(-places)))


VOLUMES = st.one_of(
    st.just(0.0),
    decimals(10**9, 8),
    decimals(2**51, 8),  # the largest that 8 decimals survive in
    decimals(10**17, 8),  # as 1e-8 a minute still fits int64, their sum does not
    decimals(10**15, 2),  # 1e13 units of a tiny-priced coin
    decimals(10**17, 0),
    st.floats(2.0**24, 1e17),  # any digits that a float64 can carry at that size
    st.floats(1e-12, 1e5).map(lambda value: round(value, 12)),  # noise below the eighth decimal
)
PRICES = st.integers(1, 10**6).map(lambda ticks: ticks / 100)


@st.composite
def minute_rows(draw: st.DrawFn, start: str = "1960-01-01", end: str = "2100-01-01") -> list[Row]:
    """Draw at least one minute, of one to three stretches with holes, in time order."""
    starts = st.integers(parse_time(start) // MINUTE_MS, parse_time(end) // MINUTE_MS)
    opens: set[int] = set()
    for _ in range(draw(st.integers(1, 3))):
        first, step = draw(starts), draw(st.sampled_from((1, 1, 3, 61, 1441)))
        holes = draw(st.sets(st.integers(0, 39)))
        count = draw(st.integers(1, 40))
        opens |= {(first + i * step) * MINUTE_MS for i in range(count) if i not in holes}
    assume(opens)
    random_row = st.tuples(PRICES, PRICES, PRICES, PRICES, VOLUMES)
    drawn = []
    for ts_ms in sorted(opens):
        a, b, c, d, volume = draw(random_row)
        drawn.append((ts_ms, a, max(a, b, c, d), min(a, b, c, d), b, volume))
    return drawn


def test_a_bar_has_the_first_open_the_extremes_the_last_close_and_the_sum() -> None:
    minutes = table(
        [
            (parse_time("2024-01-01T00:00Z"), 10.0, 12.0, 9.5, 11.0, 0.1),
            (parse_time("2024-01-01T00:01Z"), 11.0, 15.0, 11.0, 14.0, 0.2),
            (parse_time("2024-01-01T00:04Z"), 14.0, 14.0, 8.0, 8.5, 0.3),
            (parse_time("2024-01-01T00:10Z"), 8.0, 9.0, 7.0, 7.5, 0.4),
        ]
    )

    bars = aggregate(minutes, parse_timeframe("5m"))

    assert rows(bars) == [
        (parse_time("2024-01-01T00:00Z"), 10.0, 15.0, 8.0, 8.5, 0.6, 3),
        (parse_time("2024-01-01T00:10Z"), 8.0, 9.0, 7.0, 7.5, 0.4, 1),
    ]


@pytest.mark.parametrize(
    ("prices", "bar"),
    [
        pytest.param(
            # ARB/USDT of 2023-10-12T20:30, where Binance's own 15m bar has this low.
            [(0.7986, 0.0), (0.7988, 5.0), (0.7991, 7.0)],
            (0.7988, 0.7991, 0.7988, 0.7991),
            id="before the first trade it carries the close before the bar",
        ),
        pytest.param(
            [(2.0, 1.0), (3.0, 1.0), (3.0, 0.0)],
            (2.0, 3.0, 2.0, 3.0),
            id="behind the last trade it carries the bar's own close",
        ),
        pytest.param(
            [(2.0, 1.0), (9.0, 0.0)],
            (2.0, 2.0, 2.0, 2.0),
            id="behind a minute that is missing it may carry a close that no minute here saw",
        ),
        pytest.param([(5.0, 0.0), (5.0, 0.0)], (5.0, 5.0, 5.0, 5.0), id="without any trade"),
    ],
)
def test_a_minute_without_a_trade_gives_no_price_to_a_bar_that_has_one(
    prices: list[tuple[float, float]], bar: tuple[float, ...]
) -> None:
    minutes = [flat(i * MINUTE_MS, volume, price) for i, (price, volume) in enumerate(prices)]

    ((_open_ms, *built, _volume, count),) = rows(aggregate(table(minutes), parse_timeframe("15m")))

    assert tuple(built) == bar
    assert count == len(prices)


def test_bars_built_of_bars_take_no_price_from_those_without_a_trade() -> None:
    minutes = table(
        [flat(i * MINUTE_MS, 0.0, 9.0) for i in range(5)]
        + [flat(i * MINUTE_MS, 1.0, 10.0) for i in range(5, 15)]
    )

    bars = aggregate(aggregate(minutes, parse_timeframe("5m")), parse_timeframe("15m"))

    assert rows(bars) == [(0, 10.0, 10.0, 10.0, 10.0, 10.0, 15)]


@pytest.mark.parametrize("minutes", [[], [flat(0)]], ids=["without a minute", "with one minute"])
def test_a_table_of_bars_has_the_columns_of_the_contract(minutes: list[Row]) -> None:
    bars = aggregate(table(minutes), parse_timeframe("1h"))

    assert bars.num_rows == len(minutes)
    assert bars.schema == MINUTES.append(pa.field("minutes", pa.int64()))


@pytest.mark.parametrize(
    ("timeframe", "minute", "opens"),
    [
        pytest.param("7h", "2024-01-01T00:30Z", "2023-12-31T19:00Z", id="7h across midnight"),
        pytest.param("1w", "2024-01-07T23:59Z", "2024-01-01T00:00Z", id="a Sunday's last minute"),
        pytest.param("1w", "2024-01-08T00:00Z", "2024-01-08T00:00Z", id="a Monday's first"),
        pytest.param("1w", "2025-01-02T12:00Z", "2024-12-30T00:00Z", id="a week across the year"),
        pytest.param("7d", "2024-01-07T00:00Z", "2024-01-04T00:00Z", id="7d starts on Thursday"),
        pytest.param("1M", "2024-02-29T23:59Z", "2024-02-01T00:00Z", id="a leap day"),
        pytest.param("1M", "2023-12-31T23:59Z", "2023-12-01T00:00Z", id="a year's last minute"),
        pytest.param("1M", "2024-01-01T00:00Z", "2024-01-01T00:00Z", id="a year's first minute"),
        pytest.param("1d", "1969-12-31T23:59Z", "1969-12-31T00:00Z", id="before the epoch"),
    ],
)
def test_a_minute_belongs_to_the_bar_that_is_open_then(
    timeframe: str, minute: str, opens: str
) -> None:
    bars = aggregate(table([flat(parse_time(minute))]), parse_timeframe(timeframe))

    assert bars["ts_ms"].to_pylist() == [parse_time(opens)]


@pytest.mark.parametrize(
    ("volumes", "total"),
    [
        pytest.param([0.1] * 10, 1.0, id="tenths"),
        pytest.param([1e8, 1e-8, 1e-8, -0.0], 100000000.00000002, id="large beside small"),
        pytest.param([0.1, 0.2], 0.3, id="0.1 and 0.2"),
        pytest.param([22517998.13685248] * 3, 67553994.41055744, id="8 decimals above 2^51"),
        pytest.param([100000000000.1] * 5, 500000000000.5, id="1e11 with a decimal"),
        pytest.param([9007199254740991.0, 1.0, 1.0], 9007199254740993.0, id="a tie, to even"),
        pytest.param([9007199254740991.0, 1.0, 1.0, 1e-8], 9007199254740994.0, id="past a tie"),
        pytest.param([5e15] * 44640, 2.232e20, id="a month that overflows int64"),
        pytest.param([1e25], 1e25, id="more than any market"),
    ],
)
def test_volumes_are_added_as_decimals_and_rounded_once(volumes: list[float], total: float) -> None:
    minutes = table(flat(i * MINUTE_MS, volume) for i, volume in enumerate(volumes))

    bars = aggregate(minutes, parse_timeframe("1M"))

    assert [repr(volume) for volume in bars["volume"].to_pylist()] == [repr(total)]


@given(minutes=minute_rows(), timeframe=st.sampled_from(TIMEFRAMES))
@settings(max_examples=100, deadline=None)
def test_bars_are_what_a_naive_count_gives(minutes: list[Row], timeframe: Timeframe) -> None:
    assert rows(aggregate(table(minutes), timeframe)) == naive(minutes, timeframe)


@given(
    opens=st.sets(st.integers(-(10**7), 10**8), min_size=1),
    unit=st.sampled_from("mhd"),
    count=st.integers(1, 99_999),
)
@settings(deadline=None)
def test_slots_of_any_length_are_those_of_the_timeframe(
    opens: set[int], unit: str, count: int
) -> None:
    timeframe = parse_timeframe(f"{count}{unit}")
    minutes = table(flat(minute * MINUTE_MS) for minute in sorted(opens))

    bars = aggregate(minutes, timeframe)

    expected = sorted({timeframe.floor(minute * MINUTE_MS) for minute in opens})
    assert bars["ts_ms"].to_pylist() == expected


@pytest.mark.parametrize("timeframe", TIMEFRAMES, ids=str)
def test_slots_over_years_are_those_of_the_timeframe(timeframe: Timeframe) -> None:
    # Every 61st minute of 1969 to 1972, 1999 to 2001, 2023 to 2026.
    years = [("1969", "1972"), ("1999", "2001"), ("2023", "2026")]
    opens = [
        ts_ms
        for first, last in years
        for ts_ms in range(parse_time(f"{first}-01-01"), parse_time(f"{last}-01-01"), 61 * 60_000)
    ]
    ones = [1.0] * len(opens)
    minutes = pa.table([opens, *([ones] * 5)], schema=MINUTES)

    bars = aggregate(minutes, timeframe)

    assert bars["ts_ms"].to_pylist() == sorted({timeframe.floor(ts_ms) for ts_ms in opens})


@given(
    minutes=minute_rows(start="2024-01-01", end="2024-03-01").filter(bool),
    timeframe=st.sampled_from(TIMEFRAMES),
    cut=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_cutting_the_minutes_between_bars_changes_nothing(
    minutes: list[Row], timeframe: Timeframe, cut: st.DataObject
) -> None:
    opens = sorted({timeframe.floor(row[0]) for row in minutes})
    cuts = {0, *cut.draw(st.sets(st.sampled_from(opens)))}
    chunks: dict[int, list[Row]] = {}
    for row in minutes:
        start_ms = max(at_ms for at_ms in cuts if at_ms <= timeframe.floor(row[0]))
        chunks.setdefault(start_ms, []).append(row)

    built = [aggregate(table(chunk), timeframe) for chunk in chunks.values()]

    assert pa.concat_tables(built).equals(aggregate(table(minutes), timeframe))


@given(minutes=minute_rows(), size=st.integers(1, 7), timeframe=st.sampled_from(TIMEFRAMES))
@settings(max_examples=50, deadline=None)
def test_how_arrow_lays_the_minutes_out_changes_nothing(
    minutes: list[Row], size: int, timeframe: Timeframe
) -> None:
    pieces = [minutes[i : i + size] for i in range(0, len(minutes), size)]
    laid_out = pa.concat_tables([table(piece) for piece in pieces])

    assert aggregate(laid_out, timeframe).equals(aggregate(table(minutes), timeframe))


@given(volumes=st.lists(VOLUMES, min_size=1, max_size=60), seed=st.integers())
@settings(max_examples=150, deadline=None)
def test_the_order_of_volumes_does_not_matter(volumes: list[float], seed: int) -> None:
    shuffled = random.Random(seed).sample(volumes, len(volumes))

    totals = [
        aggregate(table(flat(i * MINUTE_MS, v) for i, v in enumerate(order)), parse_timeframe("1h"))
        for order in (volumes, shuffled)
    ]

    assert totals[0]["volume"].equals(totals[1]["volume"])
    assert totals[0]["volume"].to_pylist() == [
        row[5]
        for row in naive(
            [flat(i * MINUTE_MS, v) for i, v in enumerate(volumes)], parse_timeframe("1h")
        )
    ]


def test_a_hundred_thousand_sums_of_every_size_are_rounded_right() -> None:
    # given: per bar two volumes of random size and number of decimals
    rng = random.Random(8)
    drawn = [
        float(Decimal(rng.randrange(10 ** rng.randint(1, 17))).scaleb(-rng.randint(0, 8)))
        for _ in range(200_000)
    ]
    opens = range(0, len(drawn) * MINUTE_MS, MINUTE_MS)
    ones = [1.0] * len(drawn)

    # when
    bars = aggregate(
        pa.table([list(opens), ones, ones, ones, ones, drawn], schema=MINUTES),
        parse_timeframe("2m"),
    )

    # then
    exact = [Decimal(repr(volume)) for volume in drawn]
    pairs = zip(exact[::2], exact[1::2], strict=True)
    assert bars["volume"].to_pylist() == [float(a + b) for a, b in pairs]


needs_binance = pytest.mark.skipif(
    not BINANCE.is_dir(), reason="needs the real data of ../shared/data, which is not here"
)


def read_archive(pattern: str) -> pa.Table:
    """Return the minutes of Binance's own daily files."""
    read = []
    for path in sorted((BINANCE / "1m").glob(pattern)):
        with zipfile.ZipFile(path) as archive:
            text = archive.read(archive.namelist()[0])
        read.append(pl.read_csv(io.BytesIO(text), has_header=False).select(pl.nth(range(6))))
    frame = pl.concat(read)
    return frame.rename(dict(zip(frame.columns, COLUMNS, strict=True))).to_arrow()


def read_truth(name: str) -> dict[int, tuple[float, ...]]:
    """Return Binance's own bars by their open: open, high, low, close, volume."""
    with (BINANCE / "truth" / name).open() as file:
        return {int(row[0]): tuple(map(float, row[1:6])) for row in csv.reader(file)}


def by_open(bars: pa.Table) -> dict[int, tuple[float, ...]]:
    return {row[0]: row[1:6] for row in rows(bars)}


@needs_binance
@pytest.mark.parametrize("timeframe", ["15m", "1h", "1d"])
def test_a_quarter_of_bitcoin_gives_the_bars_of_the_exchange(timeframe: str) -> None:
    truth = read_truth(f"BTCUSDT-{timeframe}-2024Q1.csv")

    bars = aggregate(read_archive("BTCUSDT-1m-2024-*.zip"), parse_timeframe(timeframe))

    assert len(truth) == {"15m": 91 * 96, "1h": 91 * 24, "1d": 91}[timeframe]
    assert by_open(bars) == truth
    assert set(bars["minutes"].to_pylist()) == {{"15m": 15, "1h": 60, "1d": 1440}[timeframe]}


@needs_binance
@pytest.mark.parametrize(
    ("timeframe", "absent"),
    [("15m", ["12:45", "13:00", "13:15", "13:30", "13:45"]), ("1h", ["13:00"])],
)
def test_an_outage_leaves_out_the_bars_that_the_exchange_leaves_out(
    timeframe: str, absent: list[str]
) -> None:
    truth = read_truth(f"BTCUSDT-{timeframe}-2023-03-23_25.csv")

    bars = aggregate(read_archive("BTCUSDT-1m-2023-03-*.zip"), parse_timeframe(timeframe))

    assert by_open(bars) == truth
    length = parse_timeframe(timeframe).fixed_ms or 0
    every = set(range(parse_time("2023-03-23"), parse_time("2023-03-26"), length))
    assert every - set(truth) == {parse_time(f"2023-03-24T{time}Z") for time in absent}


@needs_binance
@pytest.mark.parametrize(
    ("timeframe", "opens"), [("15m", "2023-02-14T16:30Z"), ("1h", "2023-02-14T16:00Z")]
)
def test_only_the_bar_of_the_minute_that_the_archive_lacks_differs(
    timeframe: str, opens: str
) -> None:
    truth = read_truth(f"SOLUSDT-{timeframe}-2023-02-13_15.csv")
    minutes = read_archive("SOLUSDT-1m-2023-02-*.zip")
    assert parse_time("2023-02-14T16:39Z") not in minutes["ts_ms"].to_pylist()

    built = by_open(aggregate(minutes, parse_timeframe(timeframe)))

    assert built.keys() == truth.keys()
    assert [ts_ms for ts_ms in truth if built[ts_ms] != truth[ts_ms]] == [parse_time(opens)]
    ours, theirs = built[parse_time(opens)], truth[parse_time(opens)]
    assert ours[:4] == theirs[:4]
    assert Decimal(repr(theirs[4])) - Decimal(repr(ours[4])) == Decimal("4767.5")


@needs_binance
def test_real_days_one_at_a_time_give_the_same_bars() -> None:
    minutes, timeframe = read_archive("BTCUSDT-1m-2024-02-0*.zip"), parse_timeframe("5m")

    built = [
        aggregate(minutes.slice(start, 1440), timeframe)
        for start in range(0, minutes.num_rows, 1440)
    ]

    assert len(built) == 9
    assert pa.concat_tables(built).equals(aggregate(minutes, timeframe))
