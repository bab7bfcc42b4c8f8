"""The system: migrate -> backfill -> aggregate per timeframe -> backtest per strategy."""

from doit import task_params

from tbv8 import tasks

DOIT_CONFIG = tasks.doit_config()
PROJECT = tasks.project()


def task_migrate():
    return tasks.migrate(PROJECT)


def task_backfill():
    yield from tasks.backfills(PROJECT)


@task_params(tasks.AGGREGATE_OPTIONS)
def task_aggregate(venue, symbol, timeframes, chunk_days):
    yield from tasks.aggregates(
        PROJECT, venue=venue, symbol=symbol, timeframes=timeframes, chunk_days=chunk_days
    )


def task_backtest():
    yield from tasks.backtests(PROJECT)
