"""Options of tasks on the command line, and the parsers of their values.

A `type` raises a ValueError for a wrong value, and `tbv8.commands.errors` makes a line of it.
"""

from __future__ import annotations

from typing import Any

from tbv8.market import Timeframe, parse_duration_ms, parse_timeframe

CHUNK_DAYS = 150  # as 5m bars, about as many rows as a month of 1m bars

_LAST_PORT = 65_535


# pydoit calls these as it parses the command line, before any task runs.


def _seconds(text: str) -> float:
    """Return a duration in seconds."""
    return parse_duration_ms(text) / 1000


def _whole_number(text: str) -> int:
    """Return a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    """Return a TCP port."""
    if (port := _whole_number(text)) > _LAST_PORT:
        raise ValueError(f"expected a port up to {_LAST_PORT}, got {text!r}")
    return port


def _timeframes(text: str) -> tuple[Timeframe, ...]:
    """Return timeframes to build, which 1m is not."""
    timeframes = tuple(parse_timeframe(name) for name in text.split(",") if name)
    if any(timeframe.text == "1m" for timeframe in timeframes):
        raise ValueError("1m bars are not built: name longer timeframes")
    return timeframes


BACKFILL_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "recheck",
        "long": "recheck",
        "type": bool,
        "default": False,
        "help": "fetch again the minutes that were missing at the venue",
    },
]


AGGREGATE_OPTIONS: list[dict[str, Any]] = [
    {"name": "venue", "long": "venue", "default": "", "help": "only series of this venue"},
    {"name": "symbol", "long": "symbol", "default": "", "help": "only this symbol, BTC/USDT"},
    {
        "name": "timeframes",
        "long": "timeframes",
        "type": _timeframes,
        "default": (),
        "help": "only these, separated by commas: 5m,15m",
    },
    {
        "name": "chunk_days",
        "long": "chunk-days",
        "type": _whole_number,
        "default": CHUNK_DAYS,
        "help": "days of 1m bars in memory at once; the result is the same",
    },
]


RECORD_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "for_",
        "long": "for",
        "type": _seconds,
        "default": None,
        "help": "stop by itself after 90s, 10m, 8h or 2d",
    },
    {
        "name": "metrics_port",
        "long": "metrics-port",
        "type": _port,
        "default": None,
        "help": "serve Prometheus metrics and /healthz there",
    },
    {
        "name": "with_parent",
        "long": "with-parent",
        "type": _whole_number,
        "default": None,
        "help": "stop when the parent, the process with this id, has ended",
    },
]


REPRODUCE_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "all_",
        "long": "all",
        "type": bool,
        "default": False,
        "help": "run every trial again, not a sample of them",
    },
]


PAPER_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "for_",
        "long": "for",
        "type": _seconds,
        "default": None,
        "help": "stop by itself after 90s, 10m, 8h or 2d",
    },
    {
        "name": "new",
        "long": "new",
        "type": bool,
        "default": False,
        "help": "end the session before, which stays readable, and begin another one",
    },
    {
        "name": "metrics_port",
        "long": "metrics-port",
        "type": _port,
        "default": None,
        "help": "serve Prometheus metrics and /healthz there",
    },
]


OPTIONS = {
    "backfill": BACKFILL_OPTIONS,
    "aggregate": AGGREGATE_OPTIONS,
    "record": RECORD_OPTIONS,
    "reproduce": REPRODUCE_OPTIONS,
    "paper": PAPER_OPTIONS,
}
"""The options of each group of tasks that has some."""
