"""Does a strategy know more than it could have known? Rerun it on less, and compare.

Run on bars that end at some moment, a strategy must have sent the same orders and got the same
fills up to then as in the whole run. What it reads beside its bars would not be cut with them, so
files and connections that it opens are found too, by Python's audit events. Where a program's own
library opens them (Arrow, Polars) there are none: that is not seen.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.config import records
from tbv8.config.source import project_imports
from tbv8.market import iso
from tbv8.progress import progress
from tbv8.results.accounting import Fill
from tbv8.trading.engine import Asked, Run, run_strategy
from tbv8.trading.loading import StrategyError, shown_path

DECISIONS = 200
"""At most so many moments at which orders were sent are cut at, spread evenly over all."""
OTHERS = 20
"""So many other bars are cut at too, spread evenly."""
_BARS = 20_000_000  # in all reruns together: about two minutes
_LATE_STARTS = 5
_ROOT = Path(__file__).parents[2]
_HARMLESS = ("strategies", "__init__.py", "market.py", "errors.py")
_OPENING = ("open", "sqlite3.connect", "socket.connect", "subprocess.Popen")
_NO_DATA = (".py", ".pyc", ".so")
_NO_LIMIT = Decimal(10) ** 8


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried; a difference is raised, not returned.

    `warm_up` is how many bars a run that starts later needs until its position is that of the whole
    run for good: the most of `late_starts`; None where it never is.
    """

    decisions: int
    decisions_cut: int
    others_cut: int
    bars: int
    warm_up: int | None
    late_starts: int


def check_lookahead(strategy: records.Strategy, bars: pa.Table) -> Verdict:
    """Rerun a strategy on its primary venue with bars cut after many moments.

    Raises:
        StrategyError: Something differs, or the strategy opens files or connections.
        DataError: There are no bars.
    """
    venue = strategy.routing.primary
    opened = [f"its module imports {path}" for path in _reaching_out(strategy)]
    with _noting_what_is_opened(opened):
        whole = run_strategy(strategy, venue, bars, stop=False)
        if opened:
            raise StrategyError(
                f"{strategy.strategy_id}: {opened[0]}: what it reads there is not cut with the "
                "bars, so it may look ahead: let it work from its bars alone"
            )
        decided = _decisions(whole)
        cuts, others = _choose_cuts(decided, bars.num_rows)
        lasts = [bars.num_rows - 1, *sorted({*cuts, *others})]
        reruns = sum(lasts) + len(lasts)
        with progress(f"lookahead {strategy.strategy_id}", reruns, "bars") as advance:
            for last in lasts:
                _compare(strategy, whole, bars.slice(0, last + 1))
                advance(last + 1)
        warm_up = _warm_up(strategy, venue, bars)
    return Verdict(
        decisions=len(decided),
        decisions_cut=len(cuts),
        others_cut=len(others),
        bars=bars.num_rows,
        warm_up=warm_up,
        late_starts=min(_LATE_STARTS, bars.num_rows - 1),
    )


def lines(strategy: records.Strategy, verdict: Verdict) -> list[str]:
    """Return what to print when nothing differed."""
    warm_up = "positions never became those of the whole run: a start anywhere else gives another"
    if verdict.warm_up is not None:
        warm_up = f"the signals need {verdict.warm_up:,} bars of warm-up"
    return [
        f"{strategy.strategy_id}: no look-ahead: the same orders and fills on data cut after "
        f"{verdict.decisions_cut:,} of {verdict.decisions:,} decisions and "
        f"{verdict.others_cut:,} other bars of {verdict.bars:,}",
        f"  {warm_up} (the most of {verdict.late_starts} later starts)",
    ]


def _reaching_out(strategy: records.Strategy) -> list[Path]:
    """Return what a strategy imports of this project beside strategies: it reads with that."""
    if not strategy.module_path.is_file():
        return []
    imported = project_imports([strategy.module_path], root=_ROOT)
    paths = [path.relative_to(_ROOT) for path in imported]
    return [path for path in paths if path.parts[1] not in _HARMLESS]


def _decisions(run: Run) -> list[int]:
    """Return the bars after which orders were sent, each once."""
    sent_ms = sorted({asked.ts_ms for asked in run.asked} | {d.ts_ms for d in run.denials})
    at = np.searchsorted(run.curve.closes_ms, sent_ms, side="right") - 1
    return sorted({max(int(index), 0) for index in at})


def _choose_cuts(decided: list[int], bars: int) -> tuple[list[int], list[int]]:
    """Return the bars after which to cut: decisions, and others."""
    most = max(OTHERS, min(DECISIONS, 2 * _BARS // bars))
    cuts = _spread(decided, most)
    others = [at for at in _spread(list(range(bars)), OTHERS) if at not in set(decided)]
    return cuts, others


def _spread(values: list[int], most: int) -> list[int]:
    if len(values) <= most:
        return values
    return [values[int(at)] for at in np.linspace(0, len(values) - 1, most)]


def _compare(strategy: records.Strategy, whole: Run, bars: pa.Table) -> None:
    end_ms = int(whole.curve.closes_ms[bars.num_rows - 1])
    cut = f"{strategy.strategy_id}: looks ahead: on data cut at {iso(end_ms)}"
    try:
        run = run_strategy(strategy, whole.venue, bars, stop=False, places=whole.price_decimals)
    except StrategyError as e:
        raise StrategyError(f"{cut} it fails: {e}") from e
    for kind, before, now in (
        ("order", whole.asked, run.asked),
        ("fill", whole.fills, run.fills),
    ):
        known = [event for event in before if event.ts_ms <= end_ms]
        for index in range(max(len(known), len(now))):
            first = _said(known[index]) if index < len(known) else "nothing"
            second = _said(now[index]) if index < len(now) else "nothing"
            if first != second:
                raise StrategyError(
                    f"{cut} the first {kind} that differs is {second}, on the whole data {first}"
                )


def _said(event: Asked | Fill) -> str:
    price = f" at {event.price}" if isinstance(event, Fill) else ""
    quantity = f"{event.quantity.normalize():f}"
    return f"{event.side} {quantity} {event.type}{price} of {iso(event.ts_ms)}"


def _warm_up(strategy: records.Strategy, venue: str, bars: pa.Table) -> int | None:
    """Return the bars until the position is that of the whole run; without halts in the way."""
    loose = msgspec.structs.replace(
        strategy,
        starting_balance_usd=_NO_LIMIT,
        risk=msgspec.structs.replace(strategy.risk, max_daily_loss_usd=_NO_LIMIT),
    )
    whole = run_strategy(loose, venue, bars, stop=False)
    needed = 0
    for start in _spread(list(range(1, bars.num_rows)), _LATE_STARTS + 1)[:_LATE_STARTS]:
        late = run_strategy(
            loose, venue, bars.slice(start), stop=False, places=whole.price_decimals
        )
        differs = np.flatnonzero(late.curve.position != whole.curve.position[start:])
        if differs.size and differs[-1] == bars.num_rows - start - 1:
            return None
        needed = max(needed, int(differs[-1]) + 1 if differs.size else 0)
    return needed


@contextmanager
def _noting_what_is_opened(opened: list[str]) -> Iterator[None]:
    """Note what the strategies' own code opens, wherever the call is made."""
    active = [True]

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if active and event in _OPENING:
            place = _strategy_line(sys._getframe(1))
            what = str(args[0])
            if place and not what.endswith(_NO_DATA) and "zoneinfo" not in what:
                opened.append(f"{place} opens {what}")

    sys.addaudithook(hook)  # there is no removing one
    try:
        yield
    finally:
        active.clear()


def _strategy_line(frame: FrameType | None) -> str | None:
    """Return the nearest line of a strategy; None where only an import is under way."""
    while frame is not None:
        filename = frame.f_code.co_filename
        if filename.startswith("<frozen importlib"):
            return None
        if "/strategies/" in Path(filename).as_posix():
            return f"{shown_path(filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return None
