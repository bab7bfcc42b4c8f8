"""The command-line options of tasks, and the parsers of their values.

pydoit calls the parsers as it reads the command line, before any task runs. They raise ValueError,
which `tbv8.commands.errors` turns into a one-line error.
"""

from __future__ import annotations

from typing import Any

from tbv8.market import Timeframe, parse_duration_ms, parse_timeframe

CHUNK_DAYS = 150  # as 5m bars, about as many rows as a month of 1m bars

_LAST_PORT = 65_535


def _seconds(text: str) -> float:
    """Parse a duration such as `10m`; return it in seconds."""
    return parse_duration_ms(text) / 1000


def parse_whole_number(text: str, *, minimum: int = 1) -> int:
    """Parse a whole number.

    Raises:
        ValueError: It is not a whole number, or below the minimum.
    """
    if not text.isdecimal() or int(text) < minimum:
        raise ValueError(f"expected a whole number from {minimum}, got {text!r}")
    return int(text)


def _port(text: str) -> int:
    """Parse a TCP port."""
    if (port := parse_whole_number(text)) > _LAST_PORT:
        raise ValueError(f"expected a port up to {_LAST_PORT}, got {text!r}")
    return port


def _timeframes(text: str) -> tuple[Timeframe, ...]:
    """Parse `5m,15m`; refuse 1m, which is not built."""
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
        "type": parse_whole_number,
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
        "type": parse_whole_number,
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
"""The options by group of tasks, of the groups that have any."""
