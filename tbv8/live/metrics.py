"""Prometheus metrics of a paper session, served from a thread of the watching process."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tbv8.errors import Tbv8Error
from tbv8.live.view import SessionView
from tbv8.serving import serve_pages


@contextmanager
def serve_metrics(
    port: int, strategy_id: str, sessions: Mapping[str, SessionView]
) -> Iterator[int]:
    """Serve the pages of a session during the block; yield the port.

    Raises:
        ConfigError: The port is taken.
    """
    ready, error, ports = threading.Event(), list[Tbv8Error](), list[int]()
    stop: list[Callable[[], object]] = []

    async def serve() -> None:
        over, loop = asyncio.Event(), asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(over.set))
        collector = _SessionCollector(strategy_id, sessions)
        async with serve_pages(port, collector, lambda: _problems(sessions)) as bound_port:
            ports.append(bound_port)
            ready.set()
            await over.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except Tbv8Error as e:
            error.append(e)
        finally:
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    if error:
        raise error[0]
    try:
        yield ports[0]
    finally:
        stop[0]()
        thread.join()


def _problems(sessions: Mapping[str, SessionView]) -> Sequence[str]:
    return [f"{role}: {shown.problem}" for role, shown in sessions.items() if shown.problem]


class _SessionCollector(Collector):
    """A collector that reads the session's view when it is scraped."""

    def __init__(self, strategy_id: str, sessions: Mapping[str, SessionView]) -> None:
        self._strategy_id, self._sessions = strategy_id, sessions

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        labels = ["strategy", "role"]

        def gauge(name: str, description: str, more: Sequence[str] = ()) -> GaugeMetricFamily:
            return GaugeMetricFamily(f"tbv8_paper_{name}", description, labels=[*labels, *more])

        healthy = gauge("up", "1 unless it is stale, stopped or failed")
        age = gauge("last_minute_seconds", "Since the close of the last minute used")
        lag = gauge("lag_seconds", "From the close of the last minute to its use")
        took = gauge("use_seconds", "How long the last minute took")
        equity = gauge("equity_usd", "Of the account")
        loss = gauge("day_loss_usd", "Since 00:00 UTC")
        barred = gauge("barred", "1 while nothing may be opened")
        position = gauge("position", "In base units", ["symbol"])
        counters = {
            name: CounterMetricFamily(f"tbv8_paper_{name}", name.capitalize(), labels=labels)
            for name in ("orders", "fills", "denials", "halts")
        }
        minutes = CounterMetricFamily("tbv8_paper_minutes", "Minutes used", labels=labels)
        for role, shown in self._sessions.items():
            names, report = [self._strategy_id, role], shown.minute
            healthy.add_metric(names, 0 if shown.problem else 1)
            minutes.add_metric(names, shown.minutes)
            if report is None or report.done_ms is None:
                continue
            state = report.state
            age.add_metric(names, time.time() - report.done_ms / 1000)
            if report.lag_ms is not None and report.took_ms is not None:
                lag.add_metric(names, report.lag_ms / 1000)
                took.add_metric(names, report.took_ms / 1000)
            equity.add_metric(names, float(state["equity"]))
            loss.add_metric(names, float(state["day_loss"]))
            barred.add_metric(names, 1 if state["barred"] else 0)
            for symbol, size in state["positions"].items():
                position.add_metric([*names, symbol], float(size))
            for name, counter in counters.items():
                counter.add_metric(names, state[name])
        yield from (healthy, age, lag, took, equity, loss, barred, position, minutes)
        yield from counters.values()
