"""Options of tasks on the command line, and their values."""

from __future__ import annotations

from typing import Any

from doit.exceptions import InvalidDodoFile

from tbv8.market import Timeframe, parse_timeframe

CHUNK_DAYS = "150"  # as 5m bars, about as many rows as a month of 1m bars


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
        "default": "",
        "help": "only these, separated by commas: 5m,15m",
    },
    {
        "name": "chunk_days",
        "long": "chunk-days",
        "default": CHUNK_DAYS,
        "help": "days of 1m bars in memory at once; the result is the same",
    },
]


RECORD_OPTIONS: list[dict[str, Any]] = [
    {
        "name": "for_",
        "long": "for",
        "default": "",
        "help": "stop by itself after 90s, 10m, 8h or 2d",
    },
    {
        "name": "metrics_port",
        "long": "metrics-port",
        "default": "",
        "help": "serve Prometheus metrics and /healthz there",
    },
    {
        "name": "with_parent",
        "long": "with-parent",
        "default": "",
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
        "default": "",
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
        "default": "",
        "help": "serve Prometheus metrics and /healthz there",
    },
]


def parse_timeframe_option(text: str) -> Timeframe:
    """Return a timeframe of `--timeframes`; refuse 1m, which is not built."""
    try:
        timeframe = parse_timeframe(text)
    except ValueError as e:
        raise InvalidDodoFile(f"--timeframes: {e}") from e
    if timeframe.text == "1m":
        raise InvalidDodoFile("--timeframes: 1m bars are not built: name longer timeframes")
    return timeframe


def whole_number(option: str, text: str) -> int:
    """Return an option's number from 1, or refuse it."""
    if not text.isdecimal() or int(text) < 1:
        raise InvalidDodoFile(f"{option}: expected a whole number from 1, got {text!r}")
    return int(text)
