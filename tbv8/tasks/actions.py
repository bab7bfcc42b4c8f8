"""The actions of tasks; heavy modules are imported inside them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec.structs import replace

from tbv8.config.document import line_of
from tbv8.config.records import Experiment, Project, Strategy
from tbv8.ending import end_with_parent
from tbv8.errors import ConfigError, DataError
from tbv8.freshness.reasons import changed_parts
from tbv8.freshness.result import backtest_inputs, needs_only_drawing, opened_files
from tbv8.manifest import FILES_PART, PAGE, Input, Manifest, read_manifest
from tbv8.market import Series, Span, Timeframe, parse_time
from tbv8.page.plotly import has_plotly, write_plotly
from tbv8.store.ledger import FUNDING
from tbv8.tasks.states import without_history
from tbv8.text import counted
from tbv8.venues.registry import find_venue

if TYPE_CHECKING:
    from tbv8.live.session_config import SessionConfig
    from tbv8.store.sessions import Role
    from tbv8.trading.bars import Bars


REPRODUCED_TRIALS = 20
"""The number of trials that `doit reproduce` runs again without --all."""

_ADDRESS_SPACE, _ADDRESS_SPACE_PER_CORE = 2400 * 2**20, 160 * 2**20  # bytes


def has_shadow(strategy: Strategy) -> bool:
    """Return True if a strategy's secondary venue runs beside it."""
    routing = strategy.routing
    return routing.mode == "PRIMARY_LIVE_SECONDARY_SHADOW" and routing.secondary is not None


def check_new_symbols(project: Project, venue_series: Sequence[Series]) -> None:
    """Check that a venue knows the symbols that have no history yet."""
    from tbv8.backfill.sessions import check_symbols

    venue = project.venues[venue_series[0].venue]
    check_symbols(without_history(project, venue_series), venue=venue)


def fill_series(project: Project, series: Series, spans: Sequence[Span], recheck: bool) -> None:
    """Fetch the missing 1m bars of a series; with `recheck`, also those missing at the venue."""
    from tbv8.backfill.fill import backfill, recheck_missing

    venue = project.venues[series.venue]
    backfill(project.db_path, series, spans, venue=venue, now_ms=project.now_ms)
    if recheck:
        recheck_missing(project.db_path, series, spans, venue=venue, now_ms=project.now_ms)


def check_stored_market(project: Project, series: Series) -> None:
    """Refuse stored bars of another market or unit than the venue's file configures."""
    from tbv8.backfill.fill import check_market

    check_market(project.db_path, series, venue=project.venues[series.venue])


def fill_funding(project: Project, series: Series, spans: Sequence[Span]) -> None:
    """Fetch the missing funding of a series."""
    from tbv8.backfill.fill import backfill

    venue = project.venues[series.venue]
    backfill(project.db_path, series, spans, venue=venue, now_ms=project.now_ms, dataset=FUNDING)


def _check_address_space() -> None:
    """Refuse a limit of `ulimit -v` that is too low for the threads of polars and pyarrow.

    With a lower limit they abort, or wait for ever for a thread that did not start (both observed).
    With two cores they reserve 2.5 GB, for any number of chunk days.

    Raises:
        DataError: The limit is too low.
    """
    import resource

    needed = _ADDRESS_SPACE + _ADDRESS_SPACE_PER_CORE * (os.cpu_count() or 1)
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise DataError(
            f"the limit of address space is {limit / 1e9:.1f} GB, but an aggregation reserves up "
            f"to {needed / 1e9:.1f} GB here, of which it uses little: set "
            f"`ulimit -v {needed // 1024}`, or limit the memory in use by a cgroup instead"
        )


def build_timeframe(
    project: Project, series: Series, timeframe: Timeframe, chunk_days: int
) -> None:
    """Build the bars of a timeframe from 1m bars."""
    _check_address_space()
    from tbv8.build import build_bars

    build_bars(project.db_path, series, timeframe, chunk_days=chunk_days, now_ms=project.now_ms)


def check_strategy(strategy: Strategy) -> None:
    """Create a strategy with its params, so that errors of its class are raised."""
    from tbv8.trading.loading import check_params
    from tbv8.trading.opened_files import track_files

    with track_files(strategy):  # the run imports these modules anew
        check_params(strategy)


def run_strategy(project: Project, strategy: Strategy) -> None:
    """Run a strategy's backtest, or draw its page again if nothing else is stale."""
    from tbv8.backtest.run import draw_again, run_backtest

    inputs, bars = read_inputs(project, strategy)
    folder = project.results_path / strategy.strategy_id
    if has_plotly(project.results_path):
        write_plotly(project.results_path)
    if manifest := needs_only_drawing(folder, inputs, strategy=strategy):
        draw_again(folder, manifest, strategy, bars, inputs=inputs)
        print(f"   {strategy.strategy_id}: its page was drawn again, nothing else has changed")
        print(f"   {folder / PAGE}")
        return
    summary = run_backtest(strategy, bars, inputs=inputs, results_path=project.results_path)
    for line in str(summary).splitlines():
        print(f"   {line}")
    print(f"   {folder / PAGE}")


def read_inputs(project: Project, strategy: Strategy) -> tuple[dict[str, Input], Bars]:
    """Return every part of a result's key and the bars, from one snapshot; print coarse ticks.

    Raises:
        ConfigError: A tick is larger than the price.
        DataError: A day's rows differ from its ledger.
    """
    from tbv8.backtest.bars import read_bars
    from tbv8.store.bars import open_bars
    from tbv8.trading.coarse_ticks import median_closes, tick_warnings

    with open_bars(project.db_path) as store, store.transaction("DEFERRED"):
        inputs = backtest_inputs(store.query, strategy, results_path=project.results_path)
        bars = read_bars(store, strategy)
    for line in tick_warnings(strategy, median_closes(strategy, bars)):
        print(f"   WARNING: {line}")
    return inputs, bars


def run_lookahead(project: Project, strategy: Strategy) -> None:
    """Check a strategy for look-ahead, and store the verdict in the results folder."""
    from tbv8.backtest.lookahead import check_lookahead
    from tbv8.backtest.verdict import verdict_lines
    from tbv8.freshness.verdict import write_verdict
    from tbv8.tasks.loading import available_span
    from tbv8.trading.loading import StrategyError

    inputs, bars = read_inputs(project, strategy)
    write = partial(write_verdict, project.results_path, strategy.strategy_id, inputs)
    try:
        verdict = check_lookahead(strategy, bars)
    except StrategyError as e:
        write(passed=False, line=str(e))
        raise
    history = available_span(
        project.venues[strategy.source.venue],
        project.db_path,
        strategy.symbols,
        now_ms=project.now_ms,
    )
    lines = verdict_lines(strategy, verdict, history=history)
    warm_up_ms = None if verdict.warm_up_bars is None else verdict.warm_up_ms
    write(passed=True, line=lines[0], warm_up_ms=warm_up_ms)
    for line in lines:
        print(f"   {line}")


def read_result(folder: Path, task: str) -> Manifest:
    """Return the manifest of a result to reproduce.

    Args:
        folder: The result's folder.
        task: The task that writes it, for the error.

    Raises:
        DataError: There is no result.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise DataError(f"{folder}: there is no result to reproduce: run `doit {task}`")
    return manifest


def check_result(folder: Path, task: str) -> None:
    """Refuse to reproduce a missing result; see `read_result`."""
    read_result(folder, task)


def rerun_result(project: Project, strategy: Strategy) -> None:
    """Run a result again, and compare every byte of its files."""
    from tbv8.backtest.run import run_backtest
    from tbv8.results.folder import first_difference

    name = strategy.strategy_id
    folder = project.results_path / name
    manifest = read_result(folder, f"backtest:{name}")
    start_ms, end_ms = (
        parse_time(manifest.inputs["span"].value[edge]) for edge in ("start", "end")
    )
    strategy = replace(strategy, span=Span(start_ms, end_ms))
    inputs, bars = read_inputs(project, strategy)
    with TemporaryDirectory(prefix="tbv8-") as temporary:
        run_backtest(strategy, bars, inputs=inputs, results_path=Path(temporary))
        difference = first_difference(folder, Path(temporary) / name)
    if difference:
        now = {**inputs, FILES_PART: opened_files(strategy, manifest)}
        changed = changed_parts(manifest.inputs, now)
        note = f"; its {' and '.join(changed)} changed since" if changed else ""
        raise DataError(f"not reproduced: {difference}{note}")
    print(f"   {name}: reproduced, {counted(len(manifest.outputs), 'file')} with the same bytes")


def run_trials(project: Project, experiment: Experiment) -> None:
    """Run the trials of an experiment that are missing, and write its result."""
    from tbv8.config.experiments import results_folder
    from tbv8.experiments.run import run_experiment

    for line in run_experiment(
        experiment, db_path=project.db_path, results_path=project.results_path
    ):
        print(f"   {line}")
    print(f"   {results_folder(project.results_path, experiment.experiment_id) / 'index.html'}")


def rerun_trials(project: Project, experiment: Experiment, all_: bool) -> None:
    """Run trials of an experiment again, and compare their digests and the bytes of its folder."""
    from tbv8.experiments.run import reproduce_folder, reproduce_trials

    name, max_trials = experiment.experiment_id, None if all_ else REPRODUCED_TRIALS
    count = reproduce_trials(experiment, db_path=project.db_path, max_trials=max_trials)
    print(f"   {name}: reproduced, {counted(count, 'trial')} with the same digests")
    line = reproduce_folder(experiment, db_path=project.db_path, results_path=project.results_path)
    print(f"   {name}: {line}")


def run_paper(
    project: Project, strategy: Strategy, for_: float | None, new: bool, metrics_port: int | None
) -> None:
    """Run a strategy's paper session until it is stopped."""
    from tbv8.live.notify import Notifier
    from tbv8.live.watch import WatchOptions, watch
    from tbv8.recorder.enabled import enabled_venues

    configs, notify = session_configs(project, strategy, is_new=new), project.notify
    recorded = enabled_venues(project.venues.values())  # refuses what no recorder can record
    if strategy.funding != "fixed":
        for config in configs.values():
            if config.strategy.funding == "fixed":
                print(
                    f"   {strategy.strategy_id}: the session at {config.venue} is charged its "
                    "funding_rate_8h: to charge what the venue charges, write `funding` among the "
                    f"channels of config/venues/{config.venue}.yaml"
                )
    if notify is not None and not os.environ.get(notify.urls_env):
        raise ConfigError(
            f"the environment variable {notify.urls_env} is not set: put the URLs of apprise into "
            "it, or leave `notify` out",
            path=Path("config/data.yaml"),
            key="notify.urls_env",
        )
    notifier = None
    if notify is not None:
        title = f"tbv8 {strategy.strategy_id}"
        notifier = Notifier(title, notify.urls_env, frozenset(notify.without))
    options = WatchOptions(
        root=project.root,
        for_s=for_,
        recorded=tuple(venue.name for venue in recorded),
        metrics_port=metrics_port,
        notifier=notifier,
    )
    watch(configs, options)


def replay_session(project: Project, strategy: Strategy) -> None:
    """Run a paper session again from its journal, and compare every byte."""
    from tbv8.live.check import check_replay

    print(f"   {check_replay(session_configs(project, strategy, is_new=False))}")


def session_configs(
    project: Project, strategy: Strategy, *, is_new: bool
) -> dict[str, SessionConfig]:
    """Return the configs of a strategy's paper session and of its shadow, by role.

    Raises:
        ConfigError: A venue of the session is not recorded.
    """
    from tbv8.freshness.result import session_inputs
    from tbv8.live.session_config import SessionConfig, on_venue
    from tbv8.recorder.enabled import recordable

    roles: dict[Role, str | None] = {"primary": strategy.routing.primary}
    if has_shadow(strategy):
        roles["shadow"] = strategy.routing.secondary
    venues = {role: project.venues[str(name)] for role, name in roles.items()}
    addresses = {v.name: v.other_addresses for v in venues.values() if v.other_addresses}
    configs: dict[str, SessionConfig] = {}
    for role, venue in venues.items():
        if find_venue(venue.name).live is None:
            key = ("routing", "primary" if role == "primary" else "secondary")
            raise ConfigError(
                f"tbv8 cannot record {venue.name}, so no paper session can run there: write one "
                f"of {recordable()}",
                path=strategy.path,
                line=line_of(strategy.path, key, root=project.root),
                key=".".join(key),
            )
        if not venue.enabled or "trades" not in venue.channels:
            raise ConfigError(
                f"a paper session of {strategy.strategy_id} needs its trades recorded: write "
                "`enabled: true`, and `trades` among its channels",
                path=(path := Path(f"config/venues/{venue.name}.yaml")),
                line=line_of(
                    path, ("channels" if venue.enabled else "enabled",), root=project.root
                ),
            )
        has_funding = "funding" in venue.channels
        venue_strategy = on_venue(strategy, venue.name, is_funding_recorded=has_funding)
        configs[role] = SessionConfig(
            strategy=venue_strategy,
            role=role,
            venue=venue.name,
            db_path=project.db_path,
            folder=project.paper_folder(strategy.strategy_id),
            stop_path=project.stop_file(strategy.strategy_id),
            differs_path=project.differs_file(strategy.strategy_id),
            inputs=session_inputs(venue_strategy, addresses),
            stale_ms=project.stale_after_ms(strategy),
            clock_ms=project.paper.clock_limit_ms,
            is_new=is_new,
            priced_at=roles.get("shadow") if role == "primary" else None,
            history_ms=venue.history.span(project.now_ms).start_ms if venue.history else None,
        )
    return configs


def run_recorder(
    project: Project, for_s: float | None, metrics_port: int | None, parent: int | None
) -> None:
    """Record live data of every enabled venue."""
    from tbv8.recorder.run import RecorderOptions, record

    if parent is not None:
        end_with_parent(parent)

    def make_database() -> None:
        from tbv8.store.schema import migrate

        migrate(project.db_path, root=project.root)

    options = RecorderOptions(for_s=for_s, metrics_port=metrics_port, make_database=make_database)
    record(project.db_path, list(project.venues.values()), options)
