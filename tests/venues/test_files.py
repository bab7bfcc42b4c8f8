"""A user's own files: formats, columns, units of time, and every row that must be refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tbv8.backfill.fill import backfill
from tbv8.backfill.importing import import_file
from tbv8.config.records import Venue
from tbv8.errors import ConfigError, DataError
from tbv8.freshness.data import backfill_state
from tbv8.market import DAY_MS, MINUTE_MS, Series, Span, parse_time
from tbv8.store.bars import open_bars
from tbv8.store.ledger import HISTORY, read_covered_spans
from tbv8.store.verify import verify
from tbv8.venues.base import Endpoints, FilesOrigin
from tbv8.venues.files.columns import PRICES
from tbv8.venues.files.index import FileIndex
from tbv8.venues.files.read import read_file
from tbv8.venues.registry import make_history
from tests.builders import (
    MONDAY,
    KilledError,
    bars_in,
    day,
    days,
    history_venue,
    killed_after,
    ledger_in,
    minute_bars,
    rows_of,
)
from tests.lines import Line

HEAD = "ts,open,high,low,close,volume"
MINE = Series("mine", "BTC/USDT")
HOUR = Span(MONDAY, MONDAY + 60 * MINUTE_MS)


def csv_of(bars: pa.Table, names: dict[str, str] | None = None, **columns: Any) -> bytes:
    """Return bars as CSV, with other names, and other columns in place of some."""
    for name, column in columns.items():
        bars = bars.set_column(bars.column_names.index(name), name, pa.array(column))
    bars = bars.rename_columns([(names or {}).get(name, name) for name in bars.column_names])
    out = io.BytesIO()
    pa.csv.write_csv(bars, out, pa.csv.WriteOptions(quoting_style="none"))
    return out.getvalue()


@pytest.fixture
def put(tmp_path: Path) -> Callable[..., Path]:
    """Return what writes a file into `bars/` of a project's folder."""
    (tmp_path / "bars").mkdir()
    (tmp_path / "data").mkdir()

    def write(content: bytes | str, name: str = "BTCUSDT.csv") -> Path:
        path = tmp_path / "bars" / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_file(path, name=path.name)
    return str(caught.value)


def rows_read(path: Path) -> list[tuple[Any, ...]]:
    return rows_of(read_file(path, name="x").table)


# Formats, columns and times


def in_parquet(bars: pa.Table) -> bytes:
    out = io.BytesIO()
    pa.parquet.write_table(bars, out)
    return out.getvalue()


def as_freqtrade(bars: pa.Table) -> bytes:
    """Return what freqtrade keeps: Feather with lz4, `date` in milliseconds of UTC."""
    date = bars["ts_ms"].cast(pa.timestamp("ms", "UTC"))
    out = io.BytesIO()
    pa.feather.write_feather(bars.set_column(0, "date", date), out, compression="lz4")
    return out.getvalue()


def as_jesse(bars: pa.Table, *, header: bool) -> bytes:
    order = ["ts_ms", "open", "close", "high", "low", "volume"]
    text = csv_of(bars.select(order), {"ts_ms": "timestamp"})
    return text if header else text.partition(b"\n")[2]


ISO = "%Y-%m-%dT%H:%M:%S+00:00"
FORMATS: list[Any] = [
    pytest.param(csv_of, id="CSV"),
    pytest.param(lambda bars: gzip.compress(csv_of(bars)), id="CSV in gzip"),
    pytest.param(in_parquet, id="Parquet"),
    pytest.param(as_freqtrade, id="Feather of freqtrade"),
    pytest.param(lambda bars: as_jesse(bars, header=True), id="CSV of jesse"),
    pytest.param(lambda bars: as_jesse(bars, header=False), id="CSV of jesse without a header"),
    pytest.param(lambda bars: csv_of(bars).partition(b"\n")[2], id="CSV without a header"),
    pytest.param(lambda bars: b"\xef\xbb\xbf" + csv_of(bars), id="CSV with a mark of UTF-8"),
    pytest.param(lambda bars: csv_of(bars).replace(b"\n", b"\r\n"), id="CSV of Windows"),
    pytest.param(lambda bars: csv_of(bars).replace(b",", b";"), id="CSV of semicolons"),
    pytest.param(lambda bars: csv_of(bars).replace(b"\n", b"\n\n"), id="CSV with empty lines"),
    pytest.param(
        lambda bars: csv_of(bars.select([5, 4, 3, 2, 1, 0]), {"ts_ms": "TIME", "low": " Low "}),
        id="columns in another order and case",
    ),
    pytest.param(
        lambda bars: csv_of(bars.append_column("trades", [["?"] * len(bars)])),
        id="a column more",
    ),
]


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_bars(
    put: Callable[..., Path], form: Callable[[pa.Table], bytes]
) -> None:
    bars = minute_bars(HOUR, without=[Span(MONDAY + 7 * MINUTE_MS, MONDAY + 9 * MINUTE_MS)])

    path = put(form(bars))

    assert rows_read(path) == rows_of(bars)
    assert read_file(path, name="").sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


# jesse has no export of its own. Its arrays are `timestamp, open, close, high, low, volume`
# (https://docs.jesse.trade/docs/research/candles), which users save by numpy, or dump its table.
JESSE_ARRAY = """\
1.564272000000000000e+12,2.073000000000000114e+02,2.077500000000000000e+02,2.079000000000000057e+02,2.072999999999999829e+02,4.250000000000000000e+01
1.564272060000000000e+12,2.077500000000000000e+02,2.070000000000000000e+02,2.077500000000000000e+02,2.068499999999999943e+02,0.000000000000000000e+00
"""
JESSE_TABLE = """\
id,timestamp,open,close,high,low,volume,exchange,symbol,timeframe
7d4f64a2-0c0d-4c4e-9b61-8e4f6a0f3c11,1564272000000,207.3,207.75,207.9,207.29999999999998,42.5,Binance,ETH-USDT,1m
0b1c2a55-9a7f-4d5e-8f43-5a1f0c9d7e22,1564272060000,207.75,207,207.75,206.85,0,Binance,ETH-USDT,1m
"""
JESSE_BARS = [
    (1564272000000, 207.3, 207.9, 207.29999999999998, 207.75, 42.5),
    (1564272060000, 207.75, 207.75, 206.85, 207.0, 0.0),
]


@pytest.mark.parametrize(
    ("text", "layout"),
    [
        (
            JESSE_ARRAY,
            "no header, columns by the prices: time, open, close, high, low (as jesse has",
        ),
        (JESSE_TABLE, "`timestamp` in ms"),
    ],
    ids=["an array saved by numpy", "its table"],
)
def test_files_saved_from_jesse_are_read(put: Callable[..., Path], text: str, layout: str) -> None:
    path = put(text.encode())

    assert rows_read(path) == JESSE_BARS
    assert layout in read_file(path, name="").layout


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        pytest.param(lambda ms: ms // 1000, "in s", id="seconds"),
        pytest.param(lambda ms: ms, "in ms", id="milliseconds"),
        pytest.param(lambda ms: ms * 1000, "in us", id="microseconds"),
        pytest.param(lambda ms: ms * 10**6, "in ns", id="nanoseconds"),
        pytest.param(lambda ms: (ms // 1000).astype(float), "in s", id="seconds as floats"),
        pytest.param(
            lambda ms: [f"{text}Z" for text in ms.astype("datetime64[ms]").astype(str)],
            "in ISO",
            id="ISO with Z",
        ),
        pytest.param(
            lambda ms: [
                f"{text}+05:30"
                for text in np.datetime_as_string(
                    (ms + 330 * MINUTE_MS).astype("datetime64[ms]"), unit="m"
                )
            ],
            "in ISO",
            id="ISO of another zone, to the minute",
        ),
    ],
)
def test_the_unit_of_time_is_detected_and_shown(
    put: Callable[..., Path], times: Callable[[Any], Any], unit: str
) -> None:
    bars = minute_bars(HOUR)
    column = times(bars["ts_ms"].to_numpy())

    text = put(csv_of(bars, {"ts_ms": "date"}, ts_ms=column))
    table = put(in_parquet(bars.set_column(0, "date", pa.array(column))), "table")

    assert rows_read(text) == rows_read(table) == rows_of(bars)
    assert read_file(text, name="").note("x") == f"x: 60 bars, `date` {unit}"


@given(
    opens=st.lists(st.integers(0, 5000), min_size=1, max_size=40, unique=True),
    order=st.permutations(range(6)),
    unit=st.sampled_from([1, 1000, 10**6]),
    newest_first=st.booleans(),
)
@settings(max_examples=40)
def test_any_bars_come_back_from_any_layout(
    tmp_path_factory: pytest.TempPathFactory,
    opens: list[int],
    order: list[int],
    unit: int,
    newest_first: bool,
) -> None:
    ms = np.array(sorted(opens), dtype=np.int64) * MINUTE_MS + MONDAY
    if len(ms) > 5:
        ms[1] = ms[0] + MINUTE_MS  # so that no other timeframe is seen
        ms = np.unique(ms)
    bars = minute_bars(Span(MONDAY, MONDAY + 5001 * MINUTE_MS))
    bars = bars.take(pa.array((ms - MONDAY) // MINUTE_MS))
    written = bars.set_column(0, "ts_ms", pa.array(ms * unit))
    if newest_first:
        written = written.take(pa.array(range(len(ms))[::-1]))
    path = tmp_path_factory.mktemp("any") / "x"

    for content in (csv_of(written.select(order)), in_parquet(written.select(order))):
        path.write_bytes(content)
        assert rows_read(path) == rows_of(bars)


# Refusals


GOOD = f"{MONDAY},2,4,1,3,5"
NEXT = f"{MONDAY + MINUTE_MS},2,4,1,3,5"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            f"{HEAD}\n{GOOD}\n{MONDAY + 90_000},2,4,1,3,5\n",
            "BTCUSDT.csv:3: ts 1704067290000 (2024-01-01T00:01:30Z) is not on a full minute: "
            "write 1m bars",
            id="off the grid",
        ),
        pytest.param(
            f"{HEAD}\n{NEXT}\n{GOOD}\n{MONDAY + 120_000},2,4,1,3,5\n",
            "BTCUSDT.csv:3: 2024-01-01T00:00:00Z comes after 2024-01-01T00:01:00Z of line 2: sort "
            "the rows by time",
            id="out of order",
        ),
        pytest.param(
            f"{HEAD}\n{GOOD}\n\n{GOOD}\n",
            "BTCUSDT.csv:4: repeats the minute 2024-01-01T00:00:00Z of line 2: remove one of the "
            "two",
            id="a minute twice",
        ),
        pytest.param(
            f"{HEAD}\n{GOOD}\n{MONDAY + 60_000},2,1.5,1,3,5\n{MONDAY + 120_000},2,0,1,3,5\n",
            "BTCUSDT.csv:3: a bar of open 2.0, high 1.5, low 1.0, close 3.0, volume 5.0 is "
            "impossible: correct it, or remove the row (and 1 more such rows)",
            id="a high below the close",
        ),
        pytest.param(
            f"{HEAD}\n{GOOD}\n{MONDAY + 60_000},2,4,1,,5\n",
            "BTCUSDT.csv:3: close is not a number: correct it, or remove the row",
            id="no close",
        ),
        pytest.param(
            f"{HEAD}\n{GOOD}\n{MONDAY + 60_000},2,4,1,abc,5\n",
            "BTCUSDT.csv:3: close is 'abc': expected a number",
            id="text for a number",
        ),
        pytest.param(
            f"{HEAD}\n{GOOD}\n{MONDAY + 60_000},2,4,1,3\n",
            "BTCUSDT.csv:3: it has 5 fields, where the first line has 6",
            id="a field too few",
        ),
        pytest.param(
            f"{HEAD}\n{GOOD}\n{MONDAY // 1000 + 60},2,4,1,3,5\n",
            "BTCUSDT.csv:3: ts 1704067260 is not in ms like the first time: use one unit",
            id="two units",
        ),
        pytest.param(
            f"{HEAD}\n{GOOD}\n2024-01-01T00:01Z,2,4,1,3,5\n",
            "BTCUSDT.csv:3: ts is '2024-01-01T00:01Z': expected a whole number",
            id="ISO below numbers",
        ),
        pytest.param(
            f"{HEAD}\n17,2,4,1,3,5\n",
            "BTCUSDT.csv:2: ts 17 is not a time: write seconds, ms, us or ns since 1970",
            id="no time",
        ),
        pytest.param(
            f"{HEAD}\n2024-01-01T00:00Z,2,4,1,3,5\n2024-01-01 00:01:00,2,4,1,3,5\n",
            "BTCUSDT.csv:3: ts: '2024-01-01 00:01:00' has no time zone: ..., or write the "
            "zone of its times, such as `zone: UTC` or `zone: Europe/Berlin`, ...",
            id="a time without a zone",
        ),
        pytest.param(
            "ts,open,high,low,close\n",
            "BTCUSDT.csv: it has no column volume, only ts, open, high, low, close: name its "
            "columns ts, open, high, low, close, volume",
            id="no volume",
        ),
        pytest.param(
            f"{HEAD},Close\n",
            "BTCUSDT.csv: it has two columns 'close': remove one",
            id="a name twice",
        ),
        pytest.param(
            "1,2,3\n",
            "BTCUSDT.csv: its first line names no columns: write ts, open, high, low, close, "
            "volume above",
            id="no names",
        ),
        pytest.param(
            f"{HEAD}\n",
            "BTCUSDT.csv: it has no bars: write some below the first line",
            id="no bar",
        ),
        pytest.param(
            "\n".join([HEAD, *(f"{MONDAY + n * 300_000},2,4,1,3,5" for n in range(9))]),
            "BTCUSDT.csv: its bars are 5 minutes apart: write 1m bars, tbv8 builds longer ones "
            "itself",
            id="bars of 5m",
        ),
        pytest.param(
            "", "BTCUSDT.csv: its first line is empty: it must name the columns", id="nothing"
        ),
        pytest.param(b"PK\x03\x04...", "BTCUSDT.csv: it is a zip: unpack it", id="a zip"),
        pytest.param(
            gzip.compress(HEAD.encode())[:-9],
            "BTCUSDT.csv: it is not a complete gzip file (Compressed file ended before the "
            "end-of-stream marker was reached): compress the file again",
            id="half a gzip",
        ),
        pytest.param(
            b"\xff\xfet\x00s\x00",
            "BTCUSDT.csv: it is neither UTF-8 text nor gzip, Parquet or Feather: save it as one "
            "of them",
            id="UTF-16",
        ),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(
    put: Callable[..., Path], text: str | bytes, problem: str
) -> None:
    assert refusal(put(text)) == Line(problem)


def test_a_row_of_a_table_is_refused_by_its_number(put: Callable[..., Path]) -> None:
    bars = minute_bars(HOUR)
    broken = bars.set_column(
        3, "low", pa.array([*bars["low"].to_pylist()[:-1], 10**9], pa.float64())
    )
    naive = bars.set_column(0, "date", bars["ts_ms"].cast(pa.timestamp("ms")))

    assert refusal(put(in_parquet(broken))).startswith("BTCUSDT.csv: row 60: a bar of open 225.25,")
    assert "have no zone" in refusal(put(in_parquet(naive)))
    assert "cannot be read as bars" in refusal(put(in_parquet(bars)[:500]))


# Which files


@pytest.mark.parametrize(
    ("zone", "wall", "utc"),
    [
        ("UTC", "2024-01-01 00:00", "2024-01-01T00:00:00Z"),
        ("Europe/Berlin", "2024-07-01 00:00:00", "2024-06-30T22:00:00Z"),
        ("Europe/Berlin", "2024-01-01T00:00:00", "2023-12-31T23:00:00Z"),
        ("Asia/Kolkata", "2024-01-01T05:30", "2024-01-01T00:00:00Z"),
        ("Europe/Berlin", "2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z"),
    ],
)
def test_times_without_a_zone_are_in_the_configured_zone(
    put: Callable[..., Path], zone: str, wall: str, utc: str
) -> None:
    path = put(f"{HEAD}\n{wall},2,4,1,3,5\n")

    assert read_file(path, name="", zone=zone).ts_ms.tolist() == [parse_time(utc)]


@pytest.mark.parametrize(
    ("wall", "output"),
    [
        ("2024-03-31 02:30:00", "ts 2024-03-31T02:30:00 does not exist in Europe/Berlin"),
        ("2024-10-27 02:30:00", "ts 2024-10-27T02:30:00 exists twice in Europe/Berlin"),
        ("2024-10-27 03:00:00Z", "ts: '2024-10-27 03:00:00Z' is no time without a zone"),
    ],
)
def test_an_ambiguous_or_nonexistent_local_time_is_refused_with_its_line(
    put: Callable[..., Path], wall: str, output: str
) -> None:
    path = put(f"{HEAD}\n2024-03-01 00:00,2,4,1,3,5\n{wall},2,4,1,3,5\n")

    with pytest.raises(DataError, match=f"^x:3: {output}"):
        read_file(path, name="x", zone="Europe/Berlin")


def test_a_table_without_a_zone_is_read_in_the_configured_one(put: Callable[..., Path]) -> None:
    bars = minute_bars(HOUR)
    naive = bars.set_column(0, "ts", bars["ts_ms"].cast(pa.timestamp("ms")))

    read = read_file(put(in_parquet(naive)), name="", zone="America/New_York")

    assert read.ts_ms[0] == MONDAY + 5 * 60 * MINUTE_MS


def test_a_changed_zone_counts_as_a_changed_file(put: Callable[..., Path], tmp_path: Path) -> None:
    put(f"{HEAD}\n2024-01-01 00:00:00,2,4,1,3,5\n")
    symbols: dict[str, str | None] = {"BTC/USDT": None}
    origin = FilesOrigin(path="bars/{symbol}.csv", root=tmp_path, symbols=symbols, zone="UTC")
    os.utime(tmp_path / "bars/BTCUSDT.csv", (1, 1))  # old enough to be remembered
    berlin = replace(origin, zone="Europe/Berlin")

    (name, span), (other, later) = (
        next(iter(FileIndex(one).by_source("BTC/USDT").items())) for one in (origin, berlin)
    )

    assert name != other
    assert span.start_ms - later.start_ms == 60 * MINUTE_MS


def test_a_broken_file_keeps_its_span(put: Callable[..., Path], tmp_path: Path) -> None:
    path = put(csv_of(minute_bars(days(0, 2))))
    os.utime(path, (1, 1))  # old enough to be remembered
    before = index_of(tmp_path, "bars/{symbol}.csv", BTC_USDT=None).span(day(9))
    path.write_text("ts,open\n1,2\n")

    broken = index_of(tmp_path, "bars/{symbol}.csv", BTC_USDT=None)

    assert before == broken.span(day(9)) == days(0, 2)
    with pytest.raises(DataError):
        broken.by_source("BTC/USDT")


def index_of(root: Path, path: str, **symbols: str | None) -> FileIndex:
    named = {name.replace("_", "/"): native for name, native in symbols.items()}
    return FileIndex(FilesOrigin(path=path, root=root, symbols=named))


@pytest.mark.parametrize(
    ("path", "native", "file"),
    [
        pytest.param("bars/{symbol}.csv", None, "BTCUSDT.csv", id="together"),
        pytest.param("bars/{symbol}.csv", None, "BTC_USDT.csv", id="with a line"),
        pytest.param("bars/{symbol}.csv", None, "BTC-USDT.csv", id="with a dash"),
        pytest.param("bars/{symbol}.csv", "xbt", "xbt.csv", id="its own name"),
        pytest.param("bars/{base}_{quote}-1m.feather", None, "BTC_USDT-1m.feather", id="freqtrade"),
        pytest.param("bars/{symbol}-*.csv", None, "BTCUSDT-2024.csv", id="a pattern"),
        pytest.param("bars/*.csv", None, "any.csv", id="without the symbol"),
    ],
)
def test_a_file_is_found_by_the_usual_spellings(
    put: Callable[..., Path], tmp_path: Path, path: str, native: str | None, file: str
) -> None:
    there = put(HEAD, file)

    found = index_of(tmp_path, path, BTC_USDT=native).paths(native or "BTC/USDT")

    assert found == [there]


def test_no_file_and_files_of_two_spellings_are_refused(
    put: Callable[..., Path], tmp_path: Path
) -> None:
    index = index_of(tmp_path, "bars/{symbol}.csv", BTC_USDT=None)
    with pytest.raises(DataError, match=r"there is no file 'bars/BTCUSDT.csv' or 'bars/BTC_USDT"):
        index.paths("BTC/USDT")

    put(HEAD, "BTCUSDT.csv")
    put(HEAD, "BTC-USDT.csv")

    with pytest.raises(DataError, match="files of two spellings"):
        index.paths("BTC/USDT")


# Through the ledger


def mine(root: Path, path: str = "bars/{symbol}*") -> Venue:
    symbols: dict[str, str | None] = {"BTC/USDT": None}
    return Venue(
        name="mine",
        enabled=False,
        symbols=symbols,
        channels=(),
        ws_url=None,
        rest_url=None,
        archive_url=None,
        instruments={},
        own_history=make_history(FilesOrigin(path=path, root=root, symbols=symbols)),
    )


def is_fresh(db_path: Path, root: Path, span: Span) -> bool:
    source = mine(root).history
    assert source is not None
    assert source.files is not None
    return not backfill_state(db_path, MINE, [span], files=source.files("BTC/USDT")).reasons


def test_files_fill_the_ledger_and_a_changed_file_is_filled_again(
    put: Callable[..., Path], tmp_path: Path, db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = minute_bars(Span(day(0) + 4 * 3_600_000, day(2)))
    second = minute_bars(days(2, 4), without=[Span(day(3), day(3) + 60 * MINUTE_MS)])
    paths = [put(csv_of(first), "BTCUSDT-1.csv"), put(in_parquet(second), "BTCUSDT-2.parquet")]
    shas = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    wanted = days(-1, 5)

    backfill(db_path, MINE, [wanted], venue=mine(tmp_path), now_ms=day(9))

    assert bars_in(db_path, MINE) == rows_of(first) + rows_of(second)
    names = [f"bars/{path.name} sha256:{sha}" for path, sha in zip(paths, shas, strict=True)]
    assert ledger_in(db_path, MINE, columns="bars, missing, source") == [
        (0, 1440, "not listed"),
        (1200, 240, names[0]),
        (1440, 0, names[0]),
        (1440, 0, names[1]),
        (1380, 60, names[1]),
        (0, 1440, "no file has it"),
    ]
    assert "`ts_ms` in ms" in capsys.readouterr().out
    assert is_fresh(db_path, tmp_path, wanted)

    # when one is replaced by a shorter one of older bars, which begins earlier
    older = minute_bars(Span(day(-1), day(1)), shift=1)
    put(csv_of(older), "BTCUSDT-1.csv")
    assert not is_fresh(db_path, tmp_path, wanted)
    backfill(db_path, MINE, [wanted], venue=mine(tmp_path), now_ms=day(9))

    assert bars_in(db_path, MINE) == rows_of(older) + rows_of(second)
    assert is_fresh(db_path, tmp_path, wanted)

    # and when a file goes
    paths[1].unlink()
    assert not is_fresh(db_path, tmp_path, wanted)
    backfill(db_path, MINE, [wanted], venue=mine(tmp_path), now_ms=day(9))

    assert bars_in(db_path, MINE) == rows_of(older)
    assert is_fresh(db_path, tmp_path, wanted)
    with open_bars(db_path) as store:
        assert list(verify(store, "ohlcv_1m", MINE)) == []


@given(
    steps=st.lists(
        st.tuples(
            st.dictionaries(
                st.sampled_from(["1", "2"]),
                st.none() | st.tuples(st.integers(0, 4000), st.integers(1, 3000)),
                min_size=1,
            ),
            st.integers(0, 4),
            st.integers(0, 5),
            st.integers(0, 3),
        ),
        min_size=2,
        max_size=4,
    )
)
@settings(max_examples=4, phases=[Phase.generate])
def test_tables_equal_the_files_after_any_changes_spans_and_kills(
    migrated_db: Path,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[dict[str, tuple[int, int] | None], int, int, int]],
) -> None:
    root = tmp_path_factory.mktemp("any")
    db_path = Path(shutil.copy(migrated_db, root / "tbv8.sqlite"))
    for folder in ("bars", "data"):
        (root / folder).mkdir()
    wanted, truth = Span(0, 0), dict[str, list[Any]]()
    for changes, start, length, pieces in steps:
        for name, minutes in changes.items():
            path = root / f"bars/BTCUSDT-{name}"
            path.unlink(missing_ok=True)
            truth.pop(name, None)
            if minutes is not None:
                begin_ms = MONDAY + minutes[0] * MINUTE_MS
                bars = minute_bars(Span(begin_ms, begin_ms + minutes[1] * MINUTE_MS))
                path.write_bytes(csv_of(bars))
                truth[name] = rows_of(bars)
        if not truth:
            continue
        wanted = Span(day(start) - 7 * MINUTE_MS, day(start + length) + 7 * MINUTE_MS)
        with suppress(KilledError), killed_after(pieces):
            backfill(db_path, MINE, [wanted], venue=mine(root), now_ms=day(99))
    if not truth:
        return
    backfill(db_path, MINE, [wanted], venue=mine(root), now_ms=day(99))

    rows = {row[0]: row for bars in truth.values() for row in bars}
    with open_bars(db_path) as store:
        spans = read_covered_spans(store.query, MINE, HISTORY)
        assert list(verify(store, HISTORY, MINE)) == []
    assert is_fresh(db_path, root, wanted)
    assert bars_in(db_path, MINE) == [
        rows[ts_ms]
        for ts_ms in sorted(rows)
        if any(span.start_ms <= ts_ms < span.end_ms for span in spans)
    ]


def test_a_file_that_became_wrong_leaves_the_stored_bars(
    put: Callable[..., Path], tmp_path: Path, db_path: Path
) -> None:
    bars = minute_bars(days(0, 1))
    path = put(csv_of(bars))
    backfill(db_path, MINE, [days(0, 1)], venue=mine(tmp_path), now_ms=day(9))

    os.truncate(path, 1000)
    with pytest.raises(DataError, match=r"^bars/BTCUSDT.csv:\d+: "):
        backfill(db_path, MINE, [days(0, 1)], venue=mine(tmp_path), now_ms=day(9))

    assert bars_in(db_path, MINE) == rows_of(bars)


def test_files_of_one_layout_share_a_line(
    put: Callable[..., Path],
    tmp_path: Path,
    db_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(3):
        put(csv_of(minute_bars(days(number, number + 1))), f"BTCUSDT-{number}")
    put(in_parquet(minute_bars(days(3, 4)).rename_columns(["ts", *PRICES])), "BTCUSDT-3")

    backfill(db_path, MINE, [days(0, 4)], venue=mine(tmp_path), now_ms=day(9))

    assert [line.strip() for line in capsys.readouterr().out.splitlines()][1:3] == [
        "mine:BTC/USDT: bars/BTCUSDT-0 and 2 more: 4,320 bars, `ts_ms` in ms",
        "mine:BTC/USDT: bars/BTCUSDT-3: 1,440 bars, `ts` in ms",
    ]


def test_files_may_overlap_with_equal_bars(put: Callable[..., Path], tmp_path: Path) -> None:
    source = mine(tmp_path).history
    assert source is not None
    put(csv_of(minute_bars(days(0, 2))), "BTCUSDT-1")
    put(csv_of(minute_bars(days(1, 3))), "BTCUSDT-2")
    with source.open(Endpoints(), print) as history:
        joined = history.fetch_direct("BTC/USDT", days(0, 3))
    put(csv_of(minute_bars(days(1, 3), shift=1)), "BTCUSDT-2")

    assert rows_of(joined) == rows_of(minute_bars(days(0, 3)))
    with (
        source.open(Endpoints(), print) as history,
        pytest.raises(DataError, match=r"^bars/BTCUSDT-1:1442 and bars/BTCUSDT-2:2 have different"),
    ):
        history.fetch_direct("BTC/USDT", days(0, 3))


def test_an_import_is_written_once_and_may_be_repeated(
    put: Callable[..., Path], db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    morning = Span(day(0), day(0) + 9 * 3_600_000)
    evening = Span(day(0) + 18 * 3_600_000, day(1))
    paths = [put(csv_of(minute_bars(span)), str(span.start_ms)) for span in (morning, evening)]

    for path in (*paths, paths[0]):
        store(db_path, path, may_replace=refuse)

    assert bars_in(db_path, MINE) == rows_of(minute_bars(morning)) + rows_of(minute_bars(evening))
    ((start, end, bars, missing, source),) = ledger_in(
        db_path, MINE, columns="start_ms, end_ms, bars, missing, source"
    )
    assert (start, end, bars, missing) == (day(0), day(0) + DAY_MS, 900, 540)
    assert source.count("sha256:") == 2
    assert "replaced" not in capsys.readouterr().out


def store(db_path: Path, path: Path, **options: Any) -> Span | None:
    return import_file(
        db_path, MINE, path, venue=history_venue("mine", ""), now_ms=day(9), **options
    )


def refuse(_problem: str) -> bool:
    pytest.fail("nothing of another file is replaced")


def test_an_import_replaces_other_bars_only_if_told_to(
    put: Callable[..., Path], db_path: Path
) -> None:
    stored, longer = (put(csv_of(minute_bars(days(0, end))), f"until-{end}") for end in (2, 3))
    other = put(csv_of(minute_bars(days(1, 3), shift=1)), "other")
    short = put(csv_of(minute_bars(days(1, 2)).slice(0, 100)), "short")
    store(db_path, stored, may_replace=refuse)
    store(db_path, longer, may_replace=refuse)  # the same bars, and more
    before = bars_in(db_path, MINE)
    requested: list[str] = []

    assert (
        store(db_path, other, may_replace=lambda problem: bool(requested.append(problem))) is None
    )
    assert bars_in(db_path, MINE) == before
    assert requested == [f"2,880 of the stored minutes of mine:BTC/USDT differ from {other}"]
    assert store(db_path, short, may_replace=refuse) == Span(day(1), day(1) + 100 * 60_000)

    assert store(db_path, other, may_replace=lambda _: True) == days(1, 3)
    assert bars_in(db_path, MINE)[1440:] == rows_of(minute_bars(days(1, 3), shift=1))


def test_an_import_shows_earlier_minutes_outside_of_its_file(
    put: Callable[..., Path], db_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a day that was imported
    store(db_path, put(csv_of(minute_bars(days(1, 2))), "wrong"), may_replace=refuse)
    assert "earlier imports" not in capsys.readouterr().out

    # when another file replaces most of its minutes, and begins two hours later
    later = Span(day(1) + 2 * 3_600_000, day(2) + 2 * 3_600_000)
    store(db_path, put(csv_of(minute_bars(later, shift=1)), "right"), may_replace=lambda _: True)

    # then the rest is shown, with what drops it
    assert (
        "120 minutes of earlier imports stay, between 2024-01-02T00:00:00Z and "
        "2024-01-02T02:00:00Z: `doit prune --everything --venue mine --symbol BTC/USDT` drops the "
        "whole series" in capsys.readouterr().out
    )


def test_an_import_is_stored_in_units_of_the_symbol(
    put: Callable[..., Path], db_path: Path
) -> None:
    path = put(csv_of(minute_bars(days(0, 1))), "thousand")
    single = history_venue("mine", "")
    thousand = replace(single, multipliers={"BTC/USDT": Decimal(1000)})

    import_file(db_path, MINE, path, venue=thousand, now_ms=day(9), may_replace=refuse)

    ts_ms, opened, *_, volume = rows_of(minute_bars(days(0, 1)))[0]
    assert bars_in(db_path, MINE)[0][:2] == (ts_ms, float(Decimal(str(opened)) / 1000))
    assert bars_in(db_path, MINE)[0][5] == float(Decimal(str(volume)) * 1000)
    with pytest.raises(ConfigError, match="in units of 1000, but the file has 'BTC/USDT' now"):
        import_file(db_path, MINE, path, venue=single, now_ms=day(9), may_replace=refuse)
