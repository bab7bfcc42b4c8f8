"""The closed positions of a stored result, with reasons of entry and exit, and excursions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pyarrow as pa

from tbv8.errors import DataError
from tbv8.manifest import Manifest
from tbv8.market import ONE_MINUTE, Series, Span, Timeframe, parse_time, parse_timeframe
from tbv8.results.read import read_trades
from tbv8.results.tearsheet.round_trips import excursions, read_ends
from tbv8.store.bars import open_bars, read_checked_days, rows_within
from tbv8.store.database import check_revision
from tbv8.store.ledger import fingerprint, read_stored_days
from tbv8.trading.nautilus import Floats


class Steps(msgspec.Struct, frozen=True):
    """The bars that matched a run's orders, by symbol, and their timeframe `step`."""

    bars: Mapping[str, pa.Table]
    step: Timeframe


def read_round_trips(folder: Path, steps: Steps | None) -> pa.Table:
    """Return positions.csv of a run with four more columns.

    `entry_by` and `by` are the reasons of entry and exit: the tags of the opening and of the
    closing order, or its type if it has none. `mae` and `mfe` are the maximum adverse and favorable
    excursion of the price, as in the tearsheet: fractions of the entry price, at least 0; null
    without `steps`.
    """
    trades = read_trades(folder)
    positions = trades["positions"]
    ends = read_ends(**trades)
    reach: tuple[Floats | None, Floats | None] = (None, None)
    if steps is not None:
        reach = excursions(positions, ends, steps.bars, steps.step)
    columns = {
        "entry_by": pa.array(ends.entry_by, pa.string()),
        "by": pa.array(ends.exit_by, pa.string()),
    }
    for name, values in zip(("mae", "mfe"), reach, strict=True):
        nulls = pa.nulls(positions.num_rows, pa.float64())
        columns[name] = nulls if values is None else pa.array(values, pa.float64())
    for name, values in columns.items():
        positions = positions.append_column(name, values)
    return positions


def read_steps(db_path: Path, manifest: Manifest) -> Steps | None:
    """Return the bars that matched a result's orders; None if any is missing or has changed."""
    config, times = manifest.inputs["config"].value, manifest.inputs["span"].value
    timeframe = parse_timeframe(config["timeframe"]["text"])
    step = ONE_MINUTE if config["detail"] == "1m" else timeframe
    run = Span(parse_time(times["start"]) - config["warm_up_ms"], parse_time(times["end"]))
    span = step.whole(timeframe.whole(run))
    bars = {}
    try:
        check_revision(db_path)
        with open_bars(db_path) as store, store.transaction("DEFERRED"):
            for name, part in manifest.inputs.items():
                if not name.startswith("bars:") or part.value["timeframe"] != step.text:
                    continue
                series = Series(part.value["venue"], part.value["symbol"])
                days = read_stored_days(store.query, series, step, span)
                if fingerprint(store.query, series, days, span) != part.digest:
                    return None
                bars[series.symbol] = rows_within(read_checked_days(store, series, days), span)
    except DataError:
        return None
    return Steps(bars, step)
