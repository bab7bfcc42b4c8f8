"""Does a strategy know more than it could have known? Rerun it on less, and compare.

Run on bars that end at some moment, a strategy must have sent, changed and cancelled the same
orders, at the same prices, and got the same fills up to then as in the whole run. What it reads
beside its bars would not be cut with them, so files and connections that it opens are found too.
Numbers that are written into its code are not cut either: of modules that hold many of them the
verdict says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.backtest.feed import check_held, decimals_of, run_at_once
from tbv8.config import records
from tbv8.config.source import parse_source, strategy_sources
from tbv8.market import DAY_MS, Span, Timeframe, iso, iso_day
from tbv8.page.words import length
from tbv8.progress import progress
from tbv8.results.accounting import to_books
from tbv8.results.marks import to_marks
from tbv8.trading.bars import Bars
from tbv8.trading.loading import StrategyError
from tbv8.trading.nautilus import Floats, Ints, close_times
from tbv8.trading.opened import noting_opened
from tbv8.trading.prints import discarding_prints
from tbv8.trading.records import Fill, Run, SubmittedOrder

DECISIONS = 200
"""At most so many moments at which orders were sent are cut at, spread evenly over all."""
OTHERS = 20
"""So many other bars are cut at too, spread evenly."""
_BARS = 20_000_000  # in all reruns after decisions, about: two minutes
_LATE_STARTS = 5
_PACKAGE = Path(__file__).parents[1]
_HARMLESS = ("strategies", "__init__.py", "market.py", "errors.py")
_MANY_NUMBERS = 200  # in one module of a strategy
_NO_LIMIT = Decimal(10) ** 8
_SEED = (
    "seed its random numbers, as by random.Random(1) or numpy.random.default_rng(1), and keep "
    "nothing from run to run"
)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of a passed check; a difference is raised, not returned.

    `warm_up_bars`, which lasted `warm_up_ms`, are what a run that starts later needs until its
    positions are those of the whole run for good: the most of `late_starts`; None where they never
    are. `unseen` are lines about what this check cannot tell.
    """

    decisions: int
    decisions_cut: int
    others_cut: int
    bars: int
    warm_up_bars: int | None
    warm_up_ms: int
    late_starts: int
    unseen: tuple[str, ...] = ()


def check_lookahead(strategy: records.Strategy, bars: Bars) -> Verdict:
    """Rerun a strategy on its primary venue with all bars cut after many moments.

    The warm-up counts as any other time: its end changes the account, and nothing that a strategy
    knows.

    Raises:
        StrategyError: Something differs, or the strategy opens files or connections.
        DataError: There are no bars.
    """
    check_held(strategy, bars)
    strategy = msgspec.structs.replace(strategy, span=strategy.run_span, warm_up_ms=0)
    venue = strategy.routing.primary
    decimals = decimals_of(strategy, venue, bars)
    with noting_opened(strategy) as opened:
        whole = _run(strategy, venue, bars, decimals)
    code = [name for name in opened.files() if name.endswith(".py")]
    reaching = [f"its module imports {path}" for path in _reaching_out(strategy)]
    for what in (*reaching, *opened.data()):
        raise StrategyError(
            f"{strategy.strategy_id}: {what}: what it reads there is not cut with the bars, so it "
            "may look ahead: let it work from its bars alone"
        )
    closes_ms = close_times(_main(strategy, bars), strategy.timeframe)
    instants_ms = _instants(strategy, bars)
    decided = _decisions(whole, instants_ms)
    most = max(OTHERS, min(DECISIONS, 2 * _BARS // _count(strategy, bars)))
    cuts = _spread(decided, most)
    others = [at for at in _spread(closes_ms.tolist(), OTHERS) if at not in set(decided)]
    ends = [int(instants_ms[-1]), *sorted({*cuts, *others})]
    parts = [_until(strategy, bars, end_ms) for end_ms in ends]
    reruns = sum(_count(strategy, part) for part in parts)
    with progress(f"lookahead {strategy.strategy_id}", reruns, "bars") as advance:
        for end_ms, part in zip(ends, parts, strict=True):
            _compare(strategy, whole, part, end_ms, decimals, is_whole=end_ms == ends[0])
            advance(_count(strategy, part))
    warm_up = _warm_up(strategy, venue, bars, decimals)
    return Verdict(
        unseen=tuple(_unseen(strategy, code)),
        decisions=len(decided),
        decisions_cut=len(cuts),
        others_cut=len(others),
        bars=len(closes_ms),
        warm_up_bars=warm_up and warm_up[0],
        warm_up_ms=warm_up[1] if warm_up else 0,
        late_starts=min(_LATE_STARTS, len(closes_ms) - 1),
    )


def _run(strategy: records.Strategy, venue: str, bars: Bars, decimals: dict[str, int]) -> Run:
    """Run a strategy as if more bars were to come, without what it prints."""
    with discarding_prints():
        return run_at_once(strategy, venue, bars, stop=False, decimals=decimals)


def lines(
    strategy: records.Strategy, verdict: Verdict, *, history: Span | None = None
) -> list[str]:
    """Return the lines to print when nothing differed; `history` is that of its bars, if known."""
    return [
        f"{strategy.strategy_id}: no look-ahead: the same orders and fills on data cut after "
        f"{verdict.decisions_cut:,} of {verdict.decisions:,} decisions and "
        f"{verdict.others_cut:,} other bars of {verdict.bars:,}",
        *_fewer_words(verdict),
        f"  {_warm_up_words(strategy, verdict, history)}",
        *(f"  {line}" for line in verdict.unseen),
    ]


def _fewer_words(verdict: Verdict) -> Iterator[str]:
    """Yield the reason why fewer decisions were cut at than `DECISIONS`, if there were more."""
    if verdict.decisions_cut < min(verdict.decisions, DECISIONS):
        yield (
            f"  cut after {verdict.decisions_cut:,} of the decisions, evenly spread: as many as "
            f"about {_BARS:,} bars allow (at least {OTHERS}), beside the other reruns"
        )


def _warm_up_words(strategy: records.Strategy, verdict: Verdict, history: Span | None) -> str:
    """Compare the warm-up that the signals need with the config's `warm_up`, in one line."""
    tried = f"(the most of {verdict.late_starts} later starts)"
    if verdict.warm_up_bars is None:
        return "positions never became those of the whole run: a start anywhere else gives another"
    needs = f"the signals need {verdict.warm_up_bars:,} bars of warm-up {tried}"
    if not verdict.warm_up_ms:
        return needs
    has = length(strategy.warm_up_ms) if strategy.warm_up_ms else "none"
    text = f"{needs}, {length(verdict.warm_up_ms)}, and have {has}"
    if verdict.warm_up_ms > strategy.warm_up_ms:
        days = -(-verdict.warm_up_ms // DAY_MS)
        earliest_ms = records.earliest_start_ms(history, days * DAY_MS) if history else 0
        if history and earliest_ms >= history.end_ms:
            return (
                f"{text}: the history of {strategy.source.venue}, {history}, is too short for a "
                f"warm-up of {days}d"
            )
        text += f": write `warm_up: {days}d`"
        if history and strategy.span.start_ms < earliest_ms:
            end = " and a later `end_date`" if strategy.span.end_ms <= earliest_ms else ""
            text += (
                f" and `start_date: {iso_day(earliest_ms)}`{end}, since the history of "
                f"{strategy.source.venue} begins at {iso(history.start_ms)}"
            )
        elif strategy.span.start_ms % DAY_MS:
            text += " and a `start_date` without a time"
    return text


def _unseen(strategy: records.Strategy, code: Iterable[str]) -> Iterator[str]:
    """Say of which modules of a strategy nobody can tell whether they hold the future."""
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
                f"not seen: the {numbers:,} numbers written into {shown} are not cut with the "
                "bars: if they are of its span, it looks ahead"
            )


def _reaching_out(strategy: records.Strategy) -> list[Path]:
    """Return the modules of this package, strategies aside, that a strategy imports for reading."""
    if not strategy.module_path.is_file():
        return []
    imported, _ = strategy_sources(strategy.module, root=strategy.root)
    paths = [path.relative_to(_PACKAGE) for path in imported if path.is_relative_to(_PACKAGE)]
    return [path for path in paths if path.parts[0] not in _HARMLESS]


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
    """Return every time at which a bar closes."""
    tables = _tables(strategy, bars)
    return np.unique(np.concatenate([close_times(table, tf) for (_, tf), table in tables.items()]))


def _until(strategy: records.Strategy, bars: Bars, end_ms: int) -> Bars:
    """Return the bars that close until a time."""
    tables = {
        (symbol, timeframe): table.slice(
            0, int(np.searchsorted(close_times(table, timeframe), end_ms, side="right"))
        )
        for (symbol, timeframe), table in _tables(strategy, bars).items()
    }
    return _to_bars(strategy, bars, tables)


def _since(strategy: records.Strategy, bars: Bars, start_ms: int) -> Bars:
    """Return the bars that open from a time on."""
    tables = {
        key: table.slice(int(np.searchsorted(table["ts_ms"].to_numpy(), start_ms)))
        for key, table in _tables(strategy, bars).items()
    }
    return _to_bars(strategy, bars, tables)


# Cuts.


def _decisions(run: Run, instants_ms: Ints) -> list[int]:
    """Return the last closes before or at which orders were sent or changed, each once."""
    orders = (*run.submitted, *run.changed)
    sent_ms = sorted({order.ts_ms for order in orders} | {d.ts_ms for d in run.denials})
    at = np.searchsorted(instants_ms, sent_ms, side="right") - 1
    return sorted({int(instants_ms[max(int(index), 0)]) for index in at})


def _spread[T](values: list[T], most: int) -> list[T]:
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
    """Refuse a run on `bars`, those until `end_ms`, that differs from the whole run."""
    name = strategy.strategy_id
    cut = (
        f"{name}: is not repeatable: in another run on the same bars"
        if is_whole
        else f"{name}: looks ahead: on data cut at {iso(end_ms)}"
    )
    earlier, cure = ("in the first", f": {_SEED}") if is_whole else ("on the whole data", "")
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
            first = _said(known[index]) if index < len(known) else "nothing"
            second = _said(now[index]) if index < len(now) else "nothing"
            if first != second:
                raise StrategyError(
                    f"{cut} the first {kind} that differs is {second}, {earlier} {first}{cure}"
                )


def _said(event: SubmittedOrder | Fill) -> str:
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
    """Return bars and milliseconds until positions are the whole run's; no halt is in the way."""
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
    for start in _spread(list(range(1, main.num_rows)), _LATE_STARTS + 1)[:_LATE_STARTS]:
        late = positions(_since(strategy, bars, int(opens_ms[start])))
        differs = np.flatnonzero((late != whole[:, start:]).any(axis=0))
        if not differs.size:
            continue
        last = start + int(differs[-1])
        if last >= main.num_rows - 1:
            return None
        needed = max(needed, (last + 1 - start, int(closes_ms[last] - opens_ms[start])))
    return needed
