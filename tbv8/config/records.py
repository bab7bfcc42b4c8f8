"""The configuration for the rest of tbv8: every default filled in, every name resolved.

Times are milliseconds UTC, quantities base units, fees and rates fractions of the notional.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from tbv8.config.files import Channel, Detail, Instrument, Message, Routing
from tbv8.config.source import module_path
from tbv8.errors import ConfigError, OptionsError
from tbv8.market import (
    DAY_MS,
    ONE_DAY,
    ONE_MINUTE,
    Series,
    Span,
    Timeframe,
    parse_timeframe,
    whole_bars,
)
from tbv8.venues.base import FetchRules, HistorySource
from tbv8.venues.registry import find_funding, find_history, find_rules, find_venue

if TYPE_CHECKING:
    from tbv8.config.space import Search  # of experiments: `doit list` without any needs none

Executor = Literal["pool", "ray"]
Funding = Literal["history", "held", "fixed"]
Kind = Literal["history", "venue", "instrument", "strategy", "experiment"]

_MIN_BLOCKS = 5


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue; a native symbol of None follows the venue's own rule.

    `multipliers` has the symbols of which the venue trades many units as one (see `Instrument`).
    `exchange` is the venue's name in ccxt, if its history comes from ccxt. `own_history` is the
    history source from the venue's file, for a venue unknown to tbv8.
    """

    name: str
    enabled: bool
    symbols: dict[str, str | None]
    channels: tuple[Channel, ...]
    ws_url: str | None
    rest_url: str | None
    archive_url: str | None
    instruments: dict[str, Instrument]
    redirect_hosts: tuple[str, ...] = ()
    multipliers: dict[str, Decimal] = {}
    exchange: str | None = None
    own_history: HistorySource | None = None

    @property
    def other_addresses(self) -> tuple[str, ...]:
        """The addresses of its live data that replace the venue's own, without path and user."""
        live = find_venue(self.name).live
        own = (live().ws_url, live().rest_url) if live else ()
        parts = (urlsplit(url) for url in (self.ws_url, self.rest_url) if url and url not in own)
        return tuple(f"{part.scheme}://{part.netloc.rpartition('@')[2]}" for part in parts)

    def multiplier(self, symbol: str) -> Decimal:
        """Return the number of a symbol's units that the venue trades as one."""
        return self.multipliers.get(symbol, Decimal(1))

    def market_name(self, native: str | None) -> str:
        """Return a native symbol, after its exchange's name if the file configures an exchange."""
        return " ".join(name for name in (self.exchange, native) if name)

    @property
    def history(self) -> HistorySource | None:
        """The source of its 1m bars; None if it has no history."""
        return self.own_history or find_history(self.name)

    @property
    def has_files(self) -> bool:
        """True if its 1m bars come from the user's files."""
        return self.history is not None and self.history.files is not None

    @property
    def rules(self) -> FetchRules | None:
        """The function that fetches the venue's trading rules; None if it publishes none."""
        return self.own_history.rules if self.own_history else find_rules(self.name)

    def history_of(self, dataset: str) -> HistorySource | None:
        """Return the source of a dataset's history: of `funding`, else of 1m bars."""
        return find_funding(self.name) if dataset == "funding" else self.history


class Risk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits on every order; the largest position of each symbol is in its base units."""

    max_positions: dict[str, Decimal]
    max_daily_loss_usd: Decimal
    max_leverage: Decimal


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy with all inherited settings.

    Attributes:
        symbol: The main symbol; results are marked to the closes of its `timeframe`.
        symbols: All symbols, the main one first; they share one quote currency.
        bars: Further timeframes, the longest first.
        module: A dotted module below `tbv8/strategies/`, or the path of a file from `root`.
        source: The series of the main symbol.
        span: The counted span: the configured one, limited to the venue's history.
        not_in_history: The parts of the configured span before and after the venue's history.
        warm_up_ms: The length of the run before `span`.
        instruments: The rules of every symbol at the primary and secondary venue, by venue.
        simulated: True if the market of `source` is synthetic.
        funding: `history`: the rates that venues charged. `fixed`: the `funding_rate_8h` of the
            instruments. `held`: `history` if the database has rates of the span, else `fixed`.
        detail: `1m` matches orders by minutes inside longer bars; `none` if `timeframe` is 1m.
        root: The project's folder.
    """

    strategy_id: str
    path: Path
    symbol: str
    symbols: tuple[str, ...]
    timeframe: Timeframe
    bars: tuple[Timeframe, ...] = ()
    module: str
    class_name: str
    params: dict[str, Any]
    routing: Routing
    risk: Risk
    source: Series
    span: Span
    not_in_history: tuple[Span, ...] = ()
    warm_up_ms: int = 0
    detail: Detail = "1m"
    funding: Funding = "fixed"
    instruments: dict[str, dict[str, Instrument]]
    starting_balance_usd: Decimal
    slippage_ticks: int
    simulated: bool = False
    root: Path = Path()

    @property
    def module_path(self) -> Path:
        """The file of the strategy's class."""
        return module_path(self.module, root=self.root)

    @property
    def sources(self) -> tuple[Series, ...]:
        """The series of its bars, in the order of its symbols."""
        return tuple(Series(self.source.venue, symbol) for symbol in self.symbols)

    @property
    def funding_of(self) -> tuple[tuple[str, str], ...]:
        """The venues and symbols with funding history in a run; none if the rate is fixed."""
        if self.funding == "fixed":
            return ()
        return tuple((venue, symbol) for venue in self.instruments for symbol in self.symbols)

    def funding_venues(self, venue: str) -> tuple[str, ...]:
        """Return the venues that supply the rates of a run at `venue`, the preferred one first.

        A run on synthetic bars uses the rates of the same synthetic market alone.
        """
        preferred = () if self.simulated else (venue,)
        return tuple(dict.fromkeys((*preferred, self.source.venue)))

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """The timeframes of its bars, the main one first."""
        return (self.timeframe, *self.bars)

    @property
    def run_span(self) -> Span:
        """The span of the whole run: the warm-up and the counted span."""
        return Span(self.span.start_ms - self.warm_up_ms, self.span.end_ms)

    @property
    def bars_span(self) -> Span:
        """The part of the run's span with whole bars of the main timeframe."""
        return self.timeframe.whole(self.run_span)

    @property
    def counted_span(self) -> Span:
        """The part of its span with whole bars of the main timeframe."""
        return self.timeframe.whole(self.span)

    @property
    def warm_up_span(self) -> Span:
        """The part of `bars_span` before the counted bars."""
        return Span(self.bars_span.start_ms, self.counted_span.start_ms)

    @property
    def step(self) -> Timeframe:
        """The timeframe of the bars that match orders: without detail, the strategy's shortest.

        A longer one would match orders with prices from before they were sent.
        """
        if self.detail == "1m":
            return ONE_MINUTE
        return min(self.timeframes, key=lambda timeframe: timeframe.close(0))

    @property
    def reads(self) -> tuple[tuple[Series, Timeframe], ...]:
        """Every series and timeframe read by a run, the main ones first."""
        timeframes = dict.fromkeys((*self.timeframes, self.step))
        return tuple((series, timeframe) for series in self.sources for timeframe in timeframes)


def earliest_start_ms(history: Span, warm_up_ms: int) -> int:
    """Return the first 00:00 UTC that a whole warm-up of history precedes."""
    return -(-(history.start_ms + warm_up_ms) // DAY_MS) * DAY_MS


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """The metric that chooses the best trial; trials with fewer than `min_trades` are excluded."""

    metric: str
    maximize: bool
    min_trades: int


class WalkForward(msgspec.Struct, frozen=True, kw_only=True):
    """Lengths of the windows of training and testing, in whole days.

    `plateau` is the number of neighbours in the grid, in each direction, to average a choice over.
    """

    train_ms: int
    test_ms: int
    anchored: bool
    warm_up_ms: int
    purge_ms: int
    plateau: int

    def test_spans(self, run_span: Span, timeframes: Sequence[Timeframe]) -> list[Span]:
        """Return the spans of testing in a span, its warm-up included; each begins at 00:00 UTC.

        Bars of each timeframe fill them: where one does not end at every 00:00 UTC, a window begins
        later, so that no bar is divided.
        """
        timeframes = (ONE_DAY, *timeframes)
        first_ms = earliest_start_ms(run_span, self.warm_up_ms) + self.train_ms
        whole = whole_bars(Span(first_ms, run_span.end_ms), timeframes)
        starts = range(whole.start_ms, whole.end_ms, self.test_ms)
        parts = [whole_bars(Span(start_ms, whole.end_ms), timeframes) for start_ms in starts]
        opens = sorted({part.start_ms for part in parts if part})
        return [Span(*ends) for ends in pairwise([*opens, whole.end_ms])]


class MonteCarlo(msgspec.Struct, frozen=True, kw_only=True):
    """Simulated alternatives of the chosen trial.

    Attributes:
        paths: The number of draws of its days, and of its round trips.
        block_days: The mean length of the blocks in which days are drawn.
        seed: The seed of all draws.
        losses: Fractions of the starting balance, ascending, whose probabilities are estimated.
        markets: The number of markets, made of blocks of the real days, that it is run on.
    """

    paths: int
    block_days: int
    seed: int
    losses: tuple[float, ...] = (0.05, 0.1, 0.2)
    markets: int = 0


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """Many trials of one strategy.

    `blocks` is the number of blocks in the cross-validation that estimates overfitting. `workers`,
    `on`, `address` and `trial_limit_ms` change no result: 0 workers means one per core, an
    `address` of None starts a Ray cluster, and a trial that takes longer than its limit is ended.
    `line_numbers` has the line number of each dotted key of its file.
    """

    experiment_id: str
    path: Path
    strategy: Strategy
    search: Search
    objective: Objective
    walk_forward: WalkForward | None
    monte_carlo: MonteCarlo | None
    blocks: int
    workers: int = 0
    on: Executor = "pool"
    address: str | None = None
    trial_limit_ms: int | None = None
    line_numbers: Mapping[str, int] = {}

    def error(self, key: str, problem: str) -> ConfigError:
        """Return an error at a key of its file, with the line of the key or of its parent."""
        parts = key.split(".")
        above = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        lines = self.line_numbers
        line = next((lines[name] for name in above if name in lines), None)
        return ConfigError(problem, path=self.path, line=line, key=key)

    def span_error(self) -> ConfigError | None:
        """Return the error of a span too short for a window, a market or blocks; None without."""
        walk, span = self.walk_forward, self.strategy.run_span
        if walk and not walk.test_spans(span, self.timeframes):
            return self.error(
                "walk_forward",
                f"warm_up and train leave nothing of {span} to test: write shorter ones, or widen "
                "its start_date and end_date",
            )
        if self.monte_carlo and self.monte_carlo.markets and not span.whole_days():
            return self.error(
                "monte_carlo.markets",
                f"{span} has no whole UTC day to make a market of: widen its start_date and "
                "end_date, or write 0 here",
            )
        return self._block_error() if self.monte_carlo else None

    def _block_error(self) -> ConfigError | None:
        """Return the error about blocks that are too long for the counted days; None without.

        A block about as long as the span gives every path the same days, so that all paths end
        alike. Libraries (R's np, after Patton, Politis and White, 2009) allow at most a third of
        the days; a fifth gives every path five blocks on average.
        """
        assert self.monte_carlo
        span, blocks = self.strategy.span, self.monte_carlo.block_days
        days = (span.end_ms - span.start_ms) // DAY_MS
        limit = max(1, days // _MIN_BLOCKS)
        if blocks <= limit:
            return None
        return self.error(
            "monte_carlo.block_days",
            f"blocks of {blocks:,} days are too long for a span of {days:,}: every path would have "
            f"nearly the same days; write at most a fifth of the span, {limit:,}",
        )

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Every timeframe of the trials' bars."""
        axes = [axis.values for axis in self.search.axes if axis.place == "strategy"]
        varied = [parse_timeframe(text) for values in axes for text in values]
        return (*(varied or [self.strategy.timeframe]), *self.strategy.bars)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error in a file of `config/` or in an instrument; only the tasks that need it fail.

    `name` is the file's name without suffix. The kind `history` is about the history venue, which
    has no history under the command line's options.
    """

    kind: Kind
    name: str
    error: ConfigError

    @property
    def by_options(self) -> bool:
        """True if only the command line's options cause it, so that groups leave its task out."""
        return isinstance(self.error, OptionsError)

    @property
    def state(self) -> str:
        """The state of a strategy or an experiment with it."""
        return "not with these options" if self.by_options else "error in config"


class PaperLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits for opening positions in a paper session: a bar's age, a difference of clocks.

    A `stale_after_ms` of None means three bars of the strategy's timeframe.
    """

    stale_after_ms: int | None = None
    clock_limit_ms: int = 2000


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """The recipients of paper sessions' messages: `urls_env` is an environment variable with URLs.

    Messages of the kinds in `without` are not sent.
    """

    urls_env: str
    without: tuple[Message, ...] = ()


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration: the files of `config/`, and overrides by the command line.

    `wanted` are the spans of each series to fetch: for the history venue and for strategies.
    `paper_only` are strategies whose history has a problem; paper sessions do not read it.
    `now_ms` is the clock, read once. Venues, instruments, strategies and experiments with
    `problems` are left out. `warnings` are lines about allowed but suspicious values.
    """

    root: Path
    db_path: Path
    results_path: Path
    timeframes: tuple[Timeframe, ...]
    venues: dict[str, Venue]
    strategies: dict[str, Strategy]
    wanted: dict[Series, list[Span]]
    history_venue: str
    now_ms: int
    experiments: dict[str, Experiment] = {}
    paper_only: dict[str, Strategy] = {}
    paper: PaperLimits = PaperLimits()
    notify: Notify | None = None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    def check_file(self, kind: Kind, name: str) -> None:
        """Raise the error of a file of config/, if it has one; call it for an unknown name.

        Raises:
            ConfigError: The name is unknown since its file has an error.
        """
        for problem in self.problems:
            if (problem.kind, problem.name) == (kind, name):
                raise problem.error

    @property
    def paper_strategies(self) -> dict[str, Strategy]:
        """The strategies that a paper session can run."""
        return {**self.strategies, **self.paper_only}

    def paper_folder(self, strategy_id: str) -> Path:
        """Return the folder of a paper session's results."""
        return self.db_path.parent / "paper" / strategy_id

    def stop_file(self, strategy_id: str) -> Path:
        """Return the file that stops a paper session while it exists."""
        return self.db_path.parent / "paper" / f"{strategy_id}.stop"

    def differs_file(self, strategy_id: str) -> Path:
        """Return the file that describes how a paper session differs from its replay."""
        return self.db_path.parent / "paper" / f"{strategy_id}.differs"

    def stale_after_ms(self, strategy: Strategy) -> int:
        """Return the age in milliseconds above which a minute opens no position."""
        bar_ms = strategy.timeframe.fixed_ms or 31 * DAY_MS
        return self.paper.stale_after_ms or 3 * bar_ms

    def timeframes_of(self, series: Series) -> list[Timeframe]:
        """Return the timeframes to build for a series, the shortest first; never 1m."""
        timeframes = set(self.timeframes)
        for strategy in self.strategies.values():
            if series in strategy.sources:
                timeframes.update(strategy.timeframes)
        for experiment in self.experiments.values():
            if series in experiment.strategy.sources:
                timeframes.update(experiment.timeframes)
        return sorted(
            (timeframe for timeframe in timeframes if timeframe.text != "1m"), key=length_key
        )


def length_key(timeframe: Timeframe) -> tuple[int, str]:
    """Return a sort key that puts short timeframes first."""
    return timeframe.fixed_ms or 31 * DAY_MS, timeframe.text
