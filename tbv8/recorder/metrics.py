"""The recorder's status as metrics for Prometheus and as a health check."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tbv8.recorder.status import RecorderStatus
from tbv8.serving import CONNECTION_S, serve_pages


def serve_metrics(
    port: int, read_status: Callable[[], RecorderStatus], *, connection_s: float = CONNECTION_S
) -> AbstractAsyncContextManager[int]:
    """Serve the recorder's `/metrics` and `/healthz`; see `tbv8.serving.serve_pages`.

    Raises:
        ConfigError: The port is taken.
    """
    collector = _RecorderCollector(read_status)
    return serve_pages(port, collector, lambda: read_status().problems, connection_s=connection_s)


class _RecorderCollector(Collector):
    """Builds all metrics from the recorder's status at each scrape."""

    def __init__(self, read_status: Callable[[], RecorderStatus]) -> None:
        self._read_status = read_status

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family."""
        status = self._read_status()
        yield from self._of_streams(status)
        yield from self._of_venues(status)
        yield _counter("trades_written", "Trades written to the database", status.trades)
        yield _counter("bbo_written", "Quotes written to the database", status.bbo)
        yield _counter("minutes_written", "1m bars written to the database", status.minutes)
        yield _counter("commits", "Committed transactions", status.commits)
        yield _counter("dropped", "Events dropped because the buffer was full", status.dropped)
        yield _gauge("waiting_rows", "Rows waiting to be written", status.waiting)
        yield _gauge("stuck_seconds", "Time since the database could be written", status.stuck_s)

    def _of_streams(self, status: RecorderStatus) -> Iterator[Metric]:
        labels = ["venue", "symbol", "channel"]
        up = GaugeMetricFamily("tbv8_stream_up", "1 if no data is being missed", labels=labels)
        silent = GaugeMetricFamily(
            "tbv8_stream_silent_seconds", "Time since its watermark", labels=labels
        )
        lag = GaugeMetricFamily("tbv8_stream_lag_seconds", "Delay on arrival", labels=labels)
        events = CounterMetricFamily("tbv8_stream_events", "Events received", labels=labels)
        twice = CounterMetricFamily("tbv8_stream_duplicates", "Duplicate events", labels=labels)
        gaps = CounterMetricFamily("tbv8_stream_gaps", "Gaps since the start", labels=labels)
        waiting = GaugeMetricFamily("tbv8_minutes_waiting", "Minutes to refill", labels=labels)
        for stream in status.streams:
            names = [stream.series.venue, stream.series.symbol, stream.channel]
            up.add_metric(names, 0 if stream.is_stale else 1)
            silent.add_metric(names, stream.silent_s)
            if stream.lag_ms is not None:
                lag.add_metric(names, stream.lag_ms / 1000)
            events.add_metric(names, stream.events)
            twice.add_metric(names, stream.duplicates)
            gaps.add_metric(names, stream.gaps)
            if stream.channel == "trades":
                waiting.add_metric(names, stream.minutes_waiting)
        yield from (up, silent, lag, events, twice, gaps, waiting)

    def _of_venues(self, status: RecorderStatus) -> Iterator[Metric]:
        frames = CounterMetricFamily("tbv8_frames", "Frames received", labels=["venue"])
        redials = CounterMetricFamily("tbv8_reconnects", "Reconnects", labels=["venue"])
        unreadable = CounterMetricFamily("tbv8_unreadable", "Unreadable frames", labels=["venue"])
        failed = CounterMetricFamily("tbv8_rest_failed", "REST calls that failed", labels=["venue"])
        offset = GaugeMetricFamily(
            "tbv8_clock_offset_seconds", "Our clock minus the venue's", labels=["venue"]
        )
        for venue in status.venues:
            frames.add_metric([venue.venue], venue.frames)
            redials.add_metric([venue.venue], venue.reconnects)
            unreadable.add_metric([venue.venue], venue.unreadable)
            failed.add_metric([venue.venue], venue.failed)
            offset.add_metric([venue.venue], venue.offset_ms / 1000)
        yield from (frames, redials, unreadable, failed, offset)


def _counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(f"tbv8_{name}", description, value=value)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"tbv8_{name}", description, value=value)
