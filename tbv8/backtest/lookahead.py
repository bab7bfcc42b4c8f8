"""Find look-ahead: run a strategy again on bars cut at many times, and compare.

Up to the cut, it must send, change and cancel the same orders at the same prices, and get the same
fills, as in the run on all bars. Data other than the bars are not cut, so a strategy that opens
files or connections is refused, and the verdict names modules that contain many numbers.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.backtest.feed import find_decimals, require_bars, run_session
from tbv8.backtest.verdict import MAX_BARS_CUT, MAX_DECISIONS, MAX_RERUN, Verdict
from tbv8.config import records
from tbv8.config.source import parse_source, strategy_sources
from tbv8.market import Timeframe, iso
from tbv8.progress import progress
from tbv8.results.accounting import to_books
from tbv8.results.marks import to_marks
from tbv8.trading.bars import Bars
from tbv8.trading.loading import StrategyError
from tbv8.trading.nautilus import Floats, Ints, close_times
from tbv8.trading.opened_files import track_files
from tbv8.trading.prints import discard_prints
from tbv8.trading.records import Fill, Run, SubmittedOrder

_LATE_STARTS = 5  # the runs that start later, to measure the warm-up
_PACKAGE = Path(__file__).parents[1]
_READING_NOTHING = ("strategies", "__init__.py", "market.py", "errors.py")  # of this package
_MANY_NUMBERS = 200  # in one module of a strategy
_NO_LIMIT = Decimal(10) ** 8
_SEED_CURE = (
    "seed its random numbers, as by random.Random(1) or numpy.random.default_rng(1), and keep "
    "nothing from run to run"
)


def check_lookahead(strategy: records.Strategy, bars: Bars) -> Verdict:
    """Run a strategy on its primary venue again and again, with its bars cut at many times.

    The warm-up is a part of the run like any other: its end changes only the account.

    Raises:
        StrategyError: A run differs, or the strategy opens files or connections.
        DataError: There are no bars.
    """
    require_bars(strategy, bars)
    strategy = msgspec.structs.replace(strategy, span=strategy.run_span, warm_up_ms=0)
    venue = strategy.routing.primary
    decimals = find_decimals(strategy, venue, bars)
    with track_files(strategy) as opened:
        whole = _run(strategy, venue, bars, decimals)
    code = [name for name in opened.files() if name.endswith(".py")]
    imports = [f"its module imports {path}" for path in _reading_modules(strategy)]
    for source in (*imports, *opened.data()):
        raise StrategyError(
            f"{strategy.strategy_id}: {source}: data from there are not cut with the bars, so it "
            "may look ahead: use only bars"
        )
    closes_ms = close_times(_main(strategy, bars), strategy.timeframe)
    instants_ms = _instants(strategy, bars)
    decided = _decisions(whole, instants_ms)
    most = max(MAX_BARS_CUT, min(MAX_DECISIONS, 2 * MAX_RERUN // _count(strategy, bars)))
    cuts = _evenly_spaced(decided, most)
    closes = _evenly_spaced(closes_ms.tolist(), MAX_BARS_CUT)
    bars_cut = [at for at in closes if at not in set(decided)]
    ends = [int(instants_ms[-1]), *sorted({*cuts, *bars_cut})]
    parts = [_until(strategy, bars, end_ms) for end_ms in ends]
    reruns = sum(_count(strategy, part) for part in parts)
    with progress(f"lookahead {strategy.strategy_id}", reruns, "bar") as advance:
        for end_ms, part in zip(ends, parts, strict=True):
            _compare(strategy, whole, part, end_ms, decimals, is_whole=end_ms == ends[0])
            advance(_count(strategy, part))
    warm_up = _warm_up(strategy, venue, bars, decimals)
    return Verdict(
        caveats=tuple(_caveats(strategy, code)),
        decisions=len(decided),
        decisions_cut=len(cuts),
        bars_cut=len(bars_cut),
        bars=len(closes_ms),
        warm_up_bars=warm_up and warm_up[0],
        warm_up_ms=warm_up[1] if warm_up else 0,
        late_starts=min(_LATE_STARTS, len(closes_ms) - 1),
    )


def _run(strategy: records.Strategy, venue: str, bars: Bars, decimals: dict[str, int]) -> Run:
    """Run a strategy as if more bars were to come; discard its prints."""
    with discard_prints():
        return run_session(strategy, venue, bars, stop=False, decimals=decimals)


def _caveats(strategy: records.Strategy, code: Iterable[str]) -> Iterator[str]:
    """Yield a line for each module with so many numbers that they may be future prices.

    Args:
        strategy: The strategy.
        code: Modules that it imported during the run, relative to the project's folder.
    """
    sources: list[Path] = []
    if strategy.module_path.is_file():
        sources, _ = strategy_sources(strategy.module, root=strategy.root)
    for path in dict.fromkeys((*sources, *(strategy.root / name for name in code))):
        numbers = sum(
            isinstance(node, ast.Constant) and isinstance(node.value, int | float)
            for node in ast.walk(parse_source(path))
        )
        if numbers >= _MANY_NUMBERS:
            root = strategy.root.absolute()
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            yield (
                f"not checked: {shown} contains {numbers:,} numbers, which are not cut with the "
                "bars: if they come from the tested time, the strategy looks ahead"
            )


def _reading_modules(strategy: records.Strategy) -> list[Path]:
    """Return the imported modules of this package that may read data, by their relative paths."""
    if not strategy.module_path.is_file():
        return []
    imported, _ = strategy_sources(strategy.module, root=strategy.root)
    paths = [path.relative_to(_PACKAGE) for path in imported if path.is_relative_to(_PACKAGE)]
    return [path for path in paths if path.parts[0] not in _READING_NOTHING]


# Parts of bars.


def _tables(strategy: records.Strategy, bars: Bars) -> dict[tuple[str, Timeframe], pa.Table]:
    return bars.shown | {(symbol, strategy.step): table for symbol, table in bars.steps.items()}


def _to_bars(
    strategy: records.Strategy, bars: Bars, tables: dict[tuple[str, Timeframe], pa.Table]
) -> Bars:
    return Bars(
        shown={key: tables[key] for key in bars.shown},
        steps={symbol: tables[symbol, strategy.step] for symbol in bars.steps},
        funding=bars.funding,
    )


def _main(strategy: records.Strategy, bars: Bars) -> pa.Table:
    return bars.shown[strategy.symbol, strategy.timeframe]


def _count(strategy: records.Strategy, bars: Bars) -> int:
    return sum(table.num_rows for table in _tables(strategy, bars).values())


def _instants(strategy: records.Strategy, bars: Bars) -> Ints:
    """Return every time at which a bar closes, ascending."""
    tables = _tables(strategy, bars)
    return np.unique(np.concatenate([close_times(table, tf) for (_, tf), table in tables.items()]))


def _until(strategy: records.Strategy, bars: Bars, end_ms: int) -> Bars:
    """Return the bars that close at or before a time."""
    tables = {
        (symbol, timeframe): table.slice(
            0, int(np.searchsorted(close_times(table, timeframe), end_ms, side="right"))
        )
        for (symbol, timeframe), table in _tables(strategy, bars).items()
    }
    return _to_bars(strategy, bars, tables)


def _since(strategy: records.Strategy, bars: Bars, start_ms: int) -> Bars:
    """Return the bars that open at or after a time."""
    tables = {
        key: table.slice(int(np.searchsorted(table["ts_ms"].to_numpy(), start_ms)))
        for key, table in _tables(strategy, bars).items()
    }
    return _to_bars(strategy, bars, tables)


# Cuts.


def _decisions(run: Run, instants_ms: Ints) -> list[int]:
    """Return the last close at or before each order, change or denial, ascending and unique."""
    orders = (*run.submitted, *run.changed)
    sent_ms = sorted({order.ts_ms for order in orders} | {d.ts_ms for d in run.denials})
    at = np.searchsorted(instants_ms, sent_ms, side="right") - 1
    return sorted({int(instants_ms[max(int(index), 0)]) for index in at})


def _evenly_spaced[T](values: list[T], most: int) -> list[T]:
    """Return at most `most` of the values, evenly spaced, with the first and the last."""
    if len(values) <= most:
        return values
    return [values[int(at)] for at in np.linspace(0, len(values) - 1, most)]


def _compare(
    strategy: records.Strategy,
    whole: Run,
    bars: Bars,
    end_ms: int,
    decimals: dict[str, int],
    *,
    is_whole: bool,
) -> None:
    """Compare a run on the bars until `end_ms` with the whole run.

    Raises:
        StrategyError: They differ.
    """
    name = strategy.strategy_id
    cut = (
        f"{name}: is not repeatable: in another run on the same bars"
        if is_whole
        else f"{name}: looks ahead: on data cut at {iso(end_ms)}"
    )
    earlier, cure = ("in the first", f": {_SEED_CURE}") if is_whole else ("on the whole data", "")
    try:
        run = _run(strategy, whole.venue, bars, decimals)
    except StrategyError as e:
        raise StrategyError(f"{cut} it fails: {e}") from e
    for kind, before, now in (
        ("order", whole.submitted, run.submitted),
        ("change of an order", whole.changed, run.changed),
        ("fill", whole.fills, run.fills),
    ):
        known = [event for event in before if event.ts_ms <= end_ms]
        for index in range(max(len(known), len(now))):
            first = _event_text(known[index]) if index < len(known) else "nothing"
            second = _event_text(now[index]) if index < len(now) else "nothing"
            if first != second:
                raise StrategyError(
                    f"{cut} the first {kind} that differs is {second}, {earlier} {first}{cure}"
                )


def _event_text(event: SubmittedOrder | Fill) -> str:
    """Return `buy 0.1 BTC/USDT limit at 100 of 2024-01-01T00:05:00Z`."""
    prices = (event.price,) if isinstance(event, Fill) else event.prices
    price = f" at {' and '.join(map(str, prices))}" if prices else ""
    if not event.quantity:
        return f"a cancelled {event.symbol} {event.type} of {iso(event.ts_ms)}"
    quantity = f"{event.quantity.normalize():f} {event.symbol}"
    return f"{event.side} {quantity} {event.type}{price} of {iso(event.ts_ms)}"


# The warm-up.


def _warm_up(
    strategy: records.Strategy, venue: str, bars: Bars, decimals: dict[str, int]
) -> tuple[int, int] | None:
    """Measure how long the positions of later starts differ from those of the whole run.

    The runs have no limit of the day's loss, since a halt would change positions.

    Returns:
        The largest number of bars and its milliseconds; None if a start differs until the end.
    """
    loose = msgspec.structs.replace(
        strategy,
        starting_balance_usd=_NO_LIMIT,
        risk=msgspec.structs.replace(strategy.risk, max_daily_loss_usd=_NO_LIMIT),
    )

    def positions(part: Bars) -> Floats:
        run = _run(loose, venue, part, decimals)
        return np.array(list(to_books(run, to_marks(loose, part)).curve.positions.values()))

    main = _main(strategy, bars)
    opens_ms, closes_ms = main["ts_ms"].to_numpy(), close_times(main, strategy.timeframe)
    whole, needed = positions(bars), (0, 0)
    for start in _evenly_spaced(list(range(1, main.num_rows)), _LATE_STARTS + 1)[:_LATE_STARTS]:
        late = positions(_since(strategy, bars, int(opens_ms[start])))
        differs = np.flatnonzero((late != whole[:, start:]).any(axis=0))
        if not differs.size:
            continue
        last = start + int(differs[-1])
        if last >= main.num_rows - 1:
            return None
        needed = max(needed, (last + 1 - start, int(closes_ms[last] - opens_ms[start])))
    return needed
