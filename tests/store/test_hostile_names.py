"""Names that a database may hold and nobody would write: they lead nowhere, and colour nothing."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tbv8.market import DAY_MS, Bbo, Series, Span
from tbv8.page.html import element
from tbv8.store.bars import open_bars
from tbv8.store.database import open_reader
from tbv8.store.export import export_bars, export_ticks, exportable
from tbv8.store.tick_tables import tick_days
from tbv8.store.ticks import Batch, bbo_row, open_ticks
from tbv8.store.verify import verify
from tests.builders import MONDAY, days, hold, minute_bars, shell

NAMES = [
    pytest.param("..", "../../gone", id="dots"),
    pytest.param("/", "/tmp/gone", id="absolute"),
    pytest.param("", "", id="none"),
    pytest.param("a/../../b", "~/x", id="dots within"),
    pytest.param("\x1b[2J", "A\n\u202e\x9b2J/B", id="controls"),
    pytest.param("CON", "..\\..\\gone", id="another system's"),
]


@pytest.mark.parametrize(("venue", "symbol"), NAMES)
def test_export_stays_below_its_folder(
    db_path: Path, tmp_path: Path, venue: str, symbol: str
) -> None:
    series, folder = Series(venue, symbol), tmp_path / "here" / "out"
    hold(db_path, series, days(0, 1), minute_bars(days(0, 1)))
    with open_ticks(db_path) as store:
        quote = Bbo(venue, symbol, MONDAY + 5, 1.0, 1.0, 2.0, 1.0)
        store.commit(Batch(bbo=[bbo_row(quote, MONDAY + 6)]), now_ms=MONDAY + 7)

    with open_reader(db_path) as query:
        stored = exportable(query, series, "ohlcv_1m", Span(0, 2**50))
        quotes = tick_days(query, series, "bbo", Span(0, 2**50))
    export_bars(db_path, folder, series, "ohlcv_1m", stored, advance=lambda _: None)
    export_ticks(db_path, folder, series, "bbo", quotes, advance=lambda _: None)

    written = sorted(folder.rglob("*.parquet"))
    assert sorted(tmp_path.rglob("*.parquet")) == written
    assert not Path("/tmp/gone").exists()
    assert [len(path.relative_to(folder).parts) for path in written] == [4, 4]
    assert {pq.read_table(path)["symbol"][0].as_py() for path in written} == {symbol}
    assert all(str(path.relative_to(folder)).isprintable() for path in written)


def test_names_and_reasons_are_printed_escaped(db_path: Path) -> None:
    series = Series("\x1b[2J", "A\n/\u202e")
    hold(db_path, series, days(0, 1), minute_bars(days(0, 1)))
    shell(db_path, f"DELETE FROM ohlcv_1m WHERE ts_ms = {MONDAY + DAY_MS // 2}")

    with open_bars(db_path) as store:
        output = [str(problem) for problem in verify(store, "ohlcv_1m", series)]

    assert output
    assert all(line.isprintable() for line in output)
    assert str(series) == r"\x1b[2J:A\n/\u202e"
    assert element("td", "\x1b[2J\u202e<b>\n") == "<td>\\x1b[2J\\u202e&lt;b&gt;\n</td>"
    assert element("td", title="\x07\x9b") == '<td title="\\x07\\x9b"></td>'
