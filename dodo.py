"""The graph of tasks: migrate -> backfill -> aggregate per timeframe -> backtest per strategy."""

from doit import task_params

from tbv8 import tasks

DOIT_CONFIG = tasks.doit_config()
PROJECT = tasks.project()


def task_migrate():
    return tasks.migrate(PROJECT)


@task_params(tasks.BACKFILL_OPTIONS)
def task_backfill(recheck):
    yield from tasks.backfills(PROJECT, recheck=recheck)


def task_funding():
    yield from tasks.fundings(PROJECT)


@task_params(tasks.AGGREGATE_OPTIONS)
def task_aggregate(venue, symbol, timeframes, chunk_days):
    yield from tasks.aggregates(
        PROJECT, venue=venue, symbol=symbol, timeframes=timeframes, chunk_days=chunk_days
    )


def task_backtest():
    yield from tasks.backtests(PROJECT)


def task_experiment():
    yield from tasks.experiments(PROJECT)


def task_lookahead():
    yield from tasks.lookaheads(PROJECT)


def task_reproduce():
    yield from tasks.reproduces(PROJECT)


def task_paper():
    yield from tasks.papers(PROJECT)


def task_replay():
    yield from tasks.replays(PROJECT)


@task_params(tasks.RECORD_OPTIONS)
def task_record(for_, metrics_port, with_parent):
    return tasks.record(PROJECT, for_=for_, metrics_port=metrics_port, with_parent=with_parent)
