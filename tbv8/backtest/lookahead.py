"""Does a strategy know more than it could have known? Rerun it on less, and compare.

Run on bars that end at some moment, a strategy must have sent the same orders and got the same
fills up to then as in the whole run. What it reads beside its bars would not be cut with them, so
files and connections that it opens are found too. Numbers that are written into its code are not
cut either: of modules that hold many of them the verdict says so.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from tbv8.config import records
from tbv8.config.source import parse_source, strategy_sources
from tbv8.market import iso
from tbv8.progress import progress
from tbv8.results.accounting import Fill
from tbv8.trading.engine import Asked, Run, run_strategy
from tbv8.trading.loading import StrategyError
from tbv8.trading.opened import noting_opened

DECISIONS = 200
"""At most so many moments at which orders were sent are cut at, spread evenly over all."""
OTHERS = 20
"""So many other bars are cut at too, spread evenly."""
_BARS = 20_000_000  # in all reruns together: about two minutes
_LATE_STARTS = 5
_PACKAGE = Path(__file__).parents[1]
_HARMLESS = ("strategies", "__init__.py", "market.py", "errors.py")
_MANY_NUMBERS = 200  # in one module of a strategy
_NO_LIMIT = Decimal(10) ** 8


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried; a difference is raised, not returned.

    `warm_up` is how many bars a run that starts later needs until its position is that of the whole
    run for good: the most of `late_starts`; None where it never is. `unseen` are lines about
    what this check cannot tell.
    """

    decisions: int
    decisions_cut: int
    others_cut: int
    bars: int
    warm_up: int | None
    late_starts: int
    unseen: tuple[str, ...] = ()


def check_lookahead(strategy: records.Strategy, bars: pa.Table) -> Verdict:
    """Rerun a strategy on its primary venue with bars cut after many moments.

    Raises:
        StrategyError: Something differs, or the strategy opens files or connections.
        DataError: There are no bars.
    """
    venue = strategy.routing.primary
    with noting_opened(strategy) as opened:
        whole = run_strategy(strategy, venue, bars, stop=False)
    code = [name for name in opened.files() if name.endswith(".py")]
    reaching = [f"its module imports {path}" for path in _reaching_out(strategy)]
    for what in (*reaching, *opened.data()):
        raise StrategyError(
            f"{strategy.strategy_id}: {what}: what it reads there is not cut with the bars, so it "
            "may look ahead: let it work from its bars alone"
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
        unseen=tuple(_unseen(strategy, code)),
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
        *(f"  {line}" for line in verdict.unseen),
    ]


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
    """Return what a strategy imports of this project beside strategies: it reads with that."""
    if not strategy.module_path.is_file():
        return []
    imported, _ = strategy_sources(strategy.module, root=strategy.root)
    paths = [path.relative_to(_PACKAGE) for path in imported if path.is_relative_to(_PACKAGE)]
    return [path for path in paths if path.parts[0] not in _HARMLESS]


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
