"""The jobs of an executor: a trial, a trial on a re-chained market, a trial by round trip.

All three return an Outcome, so that pool, cluster and database treat them alike.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from tbv8.config.records import Strategy
from tbv8.experiments.blocks import RechainedMarket
from tbv8.experiments.markets import Funding, draw_market, rechain
from tbv8.experiments.trial import Outcome, Tables, run_trial
from tbv8.results.accounting import Books, to_money
from tbv8.trading.nautilus import Ints


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        strategy: The strategy with the values of the trial.
        market: The market that replaces the real one; None for the real one.
        by_trade: If true, the outcome's equity is the balance at the start and after each round
            trip.
    """

    strategy: Strategy
    market: RechainedMarket | None = None
    by_trade: bool = False


def run_job(job: Job, tables: Tables, funding: Funding | None = None) -> Outcome:
    """Run a job; `tables` and `funding` are the real ones, as in `run_trial`."""
    funding = funding or {}
    if job.market is not None:
        days = draw_market(job.strategy.bars_span, job.market)
        tables, funding = rechain(job.strategy, tables, funding, days)
    if job.by_trade:
        return run_trial(job.strategy, tables, funding, points=balances)
    return run_trial(job.strategy, tables, funding)


def balances(books: Books) -> Ints:
    """Return the balance at the start and after each round trip, in the order of closing."""
    gains = [to_money(books.run.start_equity), *(to_money(trip.pnl) for trip in books.positions)]
    return np.cumsum(np.array(gains, dtype=np.int64)).astype("<i8")


@contextmanager
def time_limit(limit_ms: int | None) -> Iterator[None]:
    """Have the kernel end this process by SIGALRM if the block takes longer.

    Nothing less ends a strategy that loops for ever in compiled code.
    """
    if limit_ms is None:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, limit_ms / 1000)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
