"""The verdict of a passed look-ahead check, and its lines for the user."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tbv8.config import records
from tbv8.market import DAY_MS, HOUR_MS, Span, duration_text, iso, iso_day
from tbv8.page.words import length
from tbv8.text import counted

MAX_DECISIONS = 200
"""The largest number of decisions at which bars are cut, evenly spread over all."""

MAX_BARS_CUT = 20
"""The largest number of other bars at whose close bars are cut, evenly spread."""

MAX_RERUN = 20_000_000
"""The largest number of bars of the runs cut at decisions, about: they take two minutes."""


def round_up_warm_up(needed_ms: int) -> int:
    """Return the next whole hours, or days from two days on, for `warm_up` in a config."""
    unit_ms = HOUR_MS if needed_ms <= 2 * DAY_MS else DAY_MS
    return -(-needed_ms // unit_ms) * unit_ms


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The counts of a passed check; a difference is raised, not returned.

    Attributes:
        decisions: The number of times at which orders were sent or changed.
        decisions_cut: The number of those at which the bars were cut.
        bars_cut: The number of closes of other bars at which they were cut.
        bars: The number of bars of the main timeframe.
        warm_up_bars: The largest number of bars after which a run that starts later has the
            positions of the whole run; None if one never has.
        warm_up_ms: The duration of these bars.
        late_starts: The number of runs that started later.
        caveats: Lines about data that the check cannot see.
    """

    decisions: int
    decisions_cut: int
    bars_cut: int
    bars: int
    warm_up_bars: int | None
    warm_up_ms: int
    late_starts: int
    caveats: tuple[str, ...] = ()


def verdict_lines(
    strategy: records.Strategy, verdict: Verdict, *, history: Span | None = None
) -> list[str]:
    """Return the lines to print about a passed check; `history` is that of the bars, if known."""
    return [
        f"{strategy.strategy_id}: no look-ahead: the same orders and fills on data cut after "
        f"{verdict.decisions_cut:,} of {verdict.decisions:,} decisions and "
        f"{verdict.bars_cut:,} other bars of {verdict.bars:,}",
        *_fewer_cuts(verdict),
        f"  {_warm_up_text(strategy, verdict, history)}",
        *(f"  {line}" for line in verdict.caveats),
    ]


def _fewer_cuts(verdict: Verdict) -> Iterator[str]:
    """Yield the reason if the bars were cut at fewer decisions than MAX_DECISIONS allows."""
    if verdict.decisions_cut < min(verdict.decisions, MAX_DECISIONS):
        yield (
            f"  only {verdict.decisions_cut:,} decisions were checked, evenly spread: each takes "
            f"a rerun, and these reruns read about {MAX_RERUN:,} bars at most (but "
            f"{MAX_BARS_CUT} decisions are always checked)"
        )


def _warm_up_text(strategy: records.Strategy, verdict: Verdict, history: Span | None) -> str:
    """Compare the measured warm-up with the config's `warm_up`, in one line."""
    if verdict.warm_up_bars is None:
        return (
            "a run that started later never had the same positions: the result depends on its "
            "start_date"
        )
    late = f"{verdict.late_starts} runs that started later had the same positions as the whole run"
    if not verdict.warm_up_ms:
        return f"{late} from their start on: no warm-up is needed"
    bars = f"{counted(verdict.warm_up_bars, 'bar')} ({length(verdict.warm_up_ms)})"
    has = f"a warm-up of {length(strategy.warm_up_ms)}" if strategy.warm_up_ms else "no warm-up"
    text = f"{late} after at most {bars}; the backtest has {has}"
    if verdict.warm_up_ms > strategy.warm_up_ms:
        enough_ms = round_up_warm_up(verdict.warm_up_ms)
        earliest_ms = records.earliest_start_ms(history, enough_ms) if history else 0
        if history and earliest_ms >= history.end_ms:
            return (
                f"{text}: the history of {strategy.source.venue}, {history}, is too short for a "
                f"warm-up of {duration_text(enough_ms)}"
            )
        text += f": write `warm_up: {duration_text(enough_ms)}`"
        if history and strategy.span.start_ms < earliest_ms:
            end = " and a later `end_date`" if strategy.span.end_ms <= earliest_ms else ""
            text += (
                f" and `start_date: {iso_day(earliest_ms)}`{end}, since the history of "
                f"{strategy.source.venue} begins at {iso(history.start_ms)}"
            )
        elif strategy.span.start_ms % DAY_MS:
            text += " and a `start_date` without a time"
    return text
