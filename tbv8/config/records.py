"""The configuration as the rest of tbv8 reads it: every default filled in, every name resolved.

Times are milliseconds UTC, quantities base units, fees and rates fractions of the notional.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from tbv8.config.source import module_path
from tbv8.config.space import Search
from tbv8.errors import ConfigError
from tbv8.market import DAY_MS, ONE_MINUTE, Series, Span, Timeframe, parse_timeframe
from tbv8.venues.base import FetchRules, HistorySource
from tbv8.venues.registry import find_funding, find_history, find_rules

Mode = Literal["PRIMARY_ONLY", "PRIMARY_LIVE_SECONDARY_SHADOW"]
Channel = Literal["trades", "bbo", "funding", "mark"]
Detail = Literal["1m", "none"]
Executor = Literal["pool", "ray"]
Funding = Literal["history", "held", "fixed"]
Message = Literal["started", "stopped", "halt", "stale", "differs", "fill"]
Kind = Literal["venue", "instrument", "strategy", "experiment"]


class Instrument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules and costs of orders in one symbol at one venue; fees as fractions of the notional.

    `funding_rate_8h` is what a long position pays for eight hours, and a short one gets; it is
    charged every `funding_hours`, each time its share of the eight. In a file 0 stands for the
    venue's own hours; those of a project are filled in.

    `multiplier` is how many of the symbol's units one unit of the venue holds: where the venue
    trades kPEPE, it is 1000. Prices and sizes of all other fields are those of the symbol's unit.
    """

    tick_size: Decimal
    lot_size: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    max_leverage: Decimal = Decimal(1)
    min_notional_usd: Decimal = Decimal(0)
    multiplier: Decimal = Decimal(1)
    funding_rate_8h: Decimal = Decimal(0)
    funding_hours: int = 0


class Venue(msgspec.Struct, frozen=True, kw_only=True):
    """One venue; a native symbol of None is spelt by the venue's own rule.

    `own_history` is what its file says of a history that tbv8 does not know by the venue's name.
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
    own_history: HistorySource | None = None

    @property
    def history(self) -> HistorySource | None:
        """Where its history of 1m bars comes from; None if it has none to give."""
        return self.own_history or find_history(self.name)

    @property
    def rules(self) -> FetchRules | None:
        """Return what asks the venue for its rules of orders; None if it publishes none."""
        return self.own_history.rules if self.own_history else find_rules(self.name)

    def history_of(self, dataset: str) -> HistorySource | None:
        """Return where a dataset's history comes from: `funding`, else its 1m bars."""
        return find_funding(self.name) if dataset == "funding" else self.history


class Routing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The venue that gets the orders, and one that is only simulated beside it."""

    primary: str
    secondary: str | None = None
    mode: Mode = "PRIMARY_ONLY"


class Risk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits that no order gets past; the largest position of each symbol in its base units."""

    max_positions: dict[str, Decimal]
    max_daily_loss_usd: Decimal
    max_leverage: Decimal


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """One strategy with all that it inherits.

    Attributes:
        symbol: The main one; its bars of `timeframe` are what results are marked by.
        symbols: All, the main one first; of one quote currency.
        bars: Timeframes beside the main one, the longest first.
        module: A module below `tbv8/strategies/`, dotted, or the path of a file below `root`.
        source: The series of the main symbol.
        span: What is counted: the wanted span cut to what that venue has.
        warm_up_ms: How much earlier the run begins.
        instruments: The rules of every symbol at the primary and secondary venue, by venue.
        simulated: The market of `source` is made up.
        funding: What is charged: `history` what venues charged, `held` the same if any of it is
            held, else the `funding_rate_8h` of the instruments, and `fixed` always that.
        detail: `1m` matches orders by minutes inside longer bars; `none` for bars of 1m.
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
        """The series whose bars it reads, in the order of its symbols."""
        return tuple(Series(self.source.venue, symbol) for symbol in self.symbols)

    @property
    def funding_of(self) -> tuple[tuple[str, str], ...]:
        """The venues whose rules hold in a run and the symbols, if not always a fixed rate is."""
        if self.funding == "fixed":
            return ()
        return tuple((venue, symbol) for venue in self.instruments for symbol in self.symbols)

    def funding_venues(self, venue: str) -> tuple[str, ...]:
        """Return whose rates a run by one venue's rules is charged: its own, else its bars'.

        On made-up bars those of the same made-up market alone.
        """
        own = () if self.simulated else (venue,)
        return tuple(dict.fromkeys((*own, self.source.venue)))

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """The timeframes that it is shown, the main one first."""
        return (self.timeframe, *self.bars)

    @property
    def run_span(self) -> Span:
        """The whole time of a run: the warm-up and the span."""
        return Span(self.span.start_ms - self.warm_up_ms, self.span.end_ms)

    @property
    def bars_span(self) -> Span:
        """The part of the run's span that whole bars of the main timeframe fill."""
        return self.timeframe.whole(self.run_span)

    @property
    def step(self) -> Timeframe:
        """The timeframe of the bars by which orders are matched."""
        return ONE_MINUTE if self.detail == "1m" else self.timeframe

    @property
    def reads(self) -> tuple[tuple[Series, Timeframe], ...]:
        """Every series and timeframe that a run reads, the main ones first."""
        timeframes = dict.fromkeys((*self.timeframes, self.step))
        return tuple((series, timeframe) for series in self.sources for timeframe in timeframes)


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """By which number of a trial the best is chosen; trials with fewer round trips are out."""

    metric: str
    maximize: bool
    min_trades: int


class WalkForward(msgspec.Struct, frozen=True, kw_only=True):
    """How a span is cut into windows of training and testing, in whole days.

    `plateau` is how many neighbours in the grid, each way, a choice is averaged over.
    """

    train_ms: int
    test_ms: int
    anchored: bool
    warm_up_ms: int
    purge_ms: int
    plateau: int


class MonteCarlo(msgspec.Struct, frozen=True, kw_only=True):
    """What the chosen trial might have brought.

    Attributes:
        paths: How often its days are drawn, and its round trips.
        block_days: The mean length of the blocks in which days are drawn.
        seed: Of all draws.
        losses: Fractions of the starting balance, rising: how likely is it to lose as much?
        markets: On how many markets, made of blocks of the real days, it is run.
    """

    paths: int
    block_days: int
    seed: int
    losses: tuple[float, ...] = (0.05, 0.1, 0.2)
    markets: int = 0


class Experiment(msgspec.Struct, frozen=True, kw_only=True):
    """Many trials of one strategy.

    `blocks` are those of the cross-validation that estimates overfitting. What runs it changes no
    result: `workers` is 0 for as many as there are cores, `address` that of a Ray cluster, None to
    start one; a trial that takes longer than `trial_limit_ms` is ended.
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

    @property
    def timeframes(self) -> tuple[Timeframe, ...]:
        """Every timeframe that a trial is shown."""
        varied = [axis.values for axis in self.search.axes if axis.place == "strategy"]
        own = [parse_timeframe(text) for values in varied for text in values]
        return (*(own or [self.strategy.timeframe]), *self.strategy.bars)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error of a file of `config/` or an instrument; it stops only the tasks that need it.

    `name` is that of the file.
    """

    kind: Kind
    name: str
    error: ConfigError


class Paper(msgspec.Struct, frozen=True, kw_only=True):
    """How late, and how far from the venue's clock, a paper session may be to open something.

    `stale_after_ms` of None is three bars of the strategy's timeframe.
    """

    stale_after_ms: int | None = None
    clock_limit_ms: int = 2000


class Notify(msgspec.Struct, frozen=True, kw_only=True):
    """Where messages of paper sessions go: `urls_env` names an environment variable with URLs.

    Messages of the kinds `without` are not sent.
    """

    urls_env: str
    without: tuple[Message, ...] = ()


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that `config/` and the command line ask for.

    `wanted` are the spans asked of each series: of the history venue, and of strategies. `now_ms`
    is the clock, read once. Whatever has one of the `problems` is left out of the rest. `warnings`
    are lines about values that are allowed, but probably not what was meant.
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
    paper: Paper = Paper()
    notify: Notify | None = None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    def paper_folder(self, strategy_id: str) -> Path:
        """Return the folder of a paper session's results."""
        return self.db_path.parent / "paper" / strategy_id

    def stop_file(self, strategy_id: str) -> Path:
        """Return the file that stops a paper session while it exists."""
        return self.db_path.parent / "paper" / f"{strategy_id}.stop"

    def differs_file(self, strategy_id: str) -> Path:
        """Return the file that says what a paper session did not give again, if it differs."""
        return self.db_path.parent / "paper" / f"{strategy_id}.differs"

    def stale_after_ms(self, strategy: Strategy) -> int:
        """Return how late a minute may be read so that it may open something."""
        bar_ms = strategy.timeframe.fixed_ms or 31 * DAY_MS
        return self.paper.stale_after_ms or 3 * bar_ms

    def timeframes_of(self, series: Series) -> list[Timeframe]:
        """Return the timeframes to build of a series, short ones first; 1m needs no building."""
        timeframes = set(self.timeframes)
        for strategy in self.strategies.values():
            if series in strategy.sources:
                timeframes.update(strategy.timeframes)
        for experiment in self.experiments.values():
            if series in experiment.strategy.sources:
                timeframes.update(experiment.timeframes)
        return sorted((timeframe for timeframe in timeframes if timeframe.text != "1m"), key=length)


def length(timeframe: Timeframe) -> tuple[int, str]:
    """Return a timeframe's key to sort from short to long."""
    return timeframe.fixed_ms or 31 * DAY_MS, timeframe.text
