"""The span of a strategy: its dates by precedence, limited to the history after a warm-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec.structs import replace

from tbv8.config.document import Document, unknown
from tbv8.config.files import BacktestSection, HistorySection
from tbv8.config.records import Venue, earliest_start_ms
from tbv8.config.values import to_timeframe
from tbv8.config.venues import BrokenVenues
from tbv8.coverage import gaps
from tbv8.errors import ConfigError, DataError, OptionsError
from tbv8.market import (
    DAY_MS,
    MINUTE_MS,
    ONE_MINUTE,
    Span,
    Timeframe,
    iso,
    iso_day,
    parse_duration_ms,
    parse_time,
)

HistorySpan = Callable[[Venue, Path, Sequence[str]], Span | None]
"""A function of a venue, the database's path and symbols (() for all): the span of their history.

None if the span is unknown.
"""
_TIMES_MS = range(parse_time("9999-01-01"))
_OPTIONS = ("venue", "start", "end")


class LoadInputs(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs for loading a strategy, apart from its own file.

    `history` and `document` are history.yaml. Loading adds to `warnings` and to `without_history`:
    the errors about the history of strategies that are otherwise valid, by strategy.
    """

    root: Path
    history: HistorySection
    refresh: Timeframe
    document: Document
    overrides: Mapping[str, str]
    now_ms: int
    history_span: Callable[[Venue, Sequence[str]], Span | None]
    venues: Mapping[str, Venue]
    broken: BrokenVenues
    warnings: list[str]
    without_history: dict[str, ConfigError]


class _Setting(msgspec.Struct, frozen=True):
    """A configured text, its key, and its rank: 0 history.yaml, 1 strategy, 2 command line.

    `document` is None for the command line.
    """

    text: str | None
    key: tuple[str, ...]
    rank: int
    document: Document | None = None

    def refuse(self, problem: str) -> NoReturn:
        if self.document is None:
            raise ConfigError(problem, key=self.key[-1])
        self.document.refuse(self.key, problem)

    def describe(self, time_ms: int) -> str:
        """Return a time together with its place in a file."""
        place = f" in {self.document.place(self.key)}" if self.document else ""
        return f"{iso(time_ms)}{place}"

    def time_ms(self) -> int:
        try:
            ts_ms = parse_time(self.text or "")
        except ValueError as e:
            self.refuse(str(e))
        if ts_ms % MINUTE_MS:
            self.refuse(f"{self.text!r} is not a whole minute: leave the seconds out")
        if ts_ms not in _TIMES_MS:
            self.refuse(f"{self.text!r} is out of range: write a year from 1970 to 9998")
        return ts_ms


def _settings(
    inputs: LoadInputs,
    backtest: BacktestSection | None,
    document: Document | None,
    option: str,
    key: str,
) -> list[_Setting]:
    """Return every setting of `key`, by rank; the last one takes effect."""
    settings = [_Setting(getattr(inputs.history, key), ("history", key), 0, inputs.document)]
    if backtest is not None and getattr(backtest, key) is not None:
        settings.append(_Setting(getattr(backtest, key), ("backtest", key), 1, document))
    if option in inputs.overrides:
        settings.append(_Setting(inputs.overrides[option], (option,), 2))
    return settings


class ResolvedSpan(msgspec.Struct, frozen=True):
    """A data venue and a configured span, limited to the venue's history.

    `not_in_history` are the configured parts before and after the history; dates of history.yaml
    do not count as configured there.
    """

    venue: str
    span: Span
    not_in_history: tuple[Span, ...] = ()


class _WarmUpRoom(msgspec.Struct, frozen=True):
    """The history of a venue and a warm-up that must fit into it."""

    venue: Venue
    history: Span
    warm_up_ms: int

    @property
    def earliest_ms(self) -> int:
        return earliest_start_ms(self.history, self.warm_up_ms)

    def start_cure(self, start: _Setting) -> str:
        """Return the cure for a start that leaves no room: the earliest possible one."""
        key = "start_date: " if start.document else "start="
        return f"{key}{iso_day(self.earliest_ms)} or later"


def _room(
    document: Document, backtest: BacktestSection, venue: Venue, history: Span
) -> _WarmUpRoom | None:
    """Return the room for a warm-up; None without one.

    Raises:
        ConfigError: The warm-up is as long as the history.
    """
    if not (warm_up_ms := to_warm_up_ms(document, backtest.warm_up)):
        return None
    room = _WarmUpRoom(venue, history, warm_up_ms)
    if room.earliest_ms >= history.end_ms:
        bars = "" if venue.history else ", or add bars"
        document.refuse(
            ("backtest", "warm_up"),
            f"the history of {venue.name}, {history}, is too short for a warm-up of "
            f"{backtest.warm_up}: write a shorter one{bars}",
        )
    return room


def check_options(inputs: LoadInputs) -> None:
    """Refuse options that fit no strategy: unknown venues, wrong times, a start after the end."""
    venue, start, end = (_Setting(inputs.overrides.get(name), (name,), 2) for name in _OPTIONS)
    if venue.text is not None:
        _venue_name(inputs, venue)
    end_ms = _TIMES_MS.stop if end.text is None else end.time_ms()
    if start.text is not None:
        _limit_to_now(inputs, start, start.time_ms(), end, end_ms)


def with_options[T](inputs: LoadInputs, resolve: Callable[[LoadInputs], T]) -> T:
    """Return the result of `resolve` under the command line's options.

    Raises:
        OptionsError: It fails under the options, but not without them.
        ConfigError: It fails without them too; the error has a place in a file if either has.
    """
    try:
        return resolve(inputs)
    except ConfigError as e:
        if inputs.overrides.keys().isdisjoint(_OPTIONS):
            raise
        try:
            resolve(replace(inputs, overrides={}))
        except ConfigError as own:
            raise (own if e.path is None else e) from None
        raise OptionsError.of(e) from e


def _venue_name(inputs: LoadInputs, setting: _Setting) -> str:
    name = str(setting.text)
    if name not in inputs.venues and name not in inputs.broken.venues:
        setting.refuse(unknown("venue", name, inputs.venues))
    return name


def resolve_span(
    inputs: LoadInputs,
    backtest: BacktestSection | None,
    document: Document | None,
    symbols: Sequence[str] = (),
) -> ResolvedSpan:
    """Return the data venue, and the configured span limited to the venue's history.

    Overridden settings are checked too, so that each file is correct by itself.

    Args:
        inputs: The inputs for loading.
        backtest: The strategy's section; None for the history of the project.
        document: The strategy's file.
        symbols: The symbols whose history counts; () for all.

    Raises:
        ConfigError: A setting is wrong, or none of the span is in the history.
    """
    for setting in _settings(inputs, backtest, document, "venue", "market_data_venue"):
        name = _venue_name(inputs, setting)
    for start in _settings(inputs, backtest, document, "start", "start_date"):
        start_ms = start.time_ms()
    for end in _settings(inputs, backtest, document, "end", "end_date"):
        end_ms = inputs.refresh.floor(inputs.now_ms) if end.text is None else end.time_ms()
    span = Span(start_ms, _limit_to_now(inputs, start, start_ms, end, end_ms))
    venue = inputs.venues.get(name)
    venue_span = inputs.history_span(venue, symbols) if venue else None
    available, room = venue_span or span, None
    if venue and venue_span and backtest is not None and document is not None:
        room = _room(document, backtest, venue, venue_span)
    if not span.intersection(available):
        if venue and (problem := _file_problem(venue, symbols)):
            start.refuse(f"{name} has no history of {span}: {problem}")
        starts_late = start_ms >= available.end_ms
        first = f", {room.start_cure(start)}" if room else ""
        (start if starts_late else end).refuse(
            f"{name} has no history of {span}, only of {available}: write dates within it{first}"
        )
    in_history = span.intersection(available)
    configured = Span(
        start_ms if start.rank else in_history.start_ms, end_ms if end.rank else in_history.end_ms
    )
    not_in_history = tuple(gaps(configured, [available])) if venue_span else ()
    span = in_history
    if backtest is not None and document is not None:
        _check_warm_up(document, backtest, span, start, room)
    return ResolvedSpan(name, span, not_in_history)


def _file_problem(venue: Venue, symbols: Sequence[str]) -> str | None:
    """Return the first problem of a venue's files of symbols (() for all); None without."""
    source = venue.history
    if source is None or source.files is None:
        return None
    for symbol in symbols or venue.symbols:
        try:
            source.files(venue.symbols.get(symbol) or symbol)
        except DataError as e:
            return str(e)
    return None


def _check_warm_up(
    document: Document,
    backtest: BacktestSection,
    span: Span,
    start: _Setting,
    room: _WarmUpRoom | None,
) -> None:
    """Refuse a warm-up that begins before the venue's history, or a start that is not 00:00 UTC."""
    key, begins = ("backtest", "warm_up"), span.start_ms
    if room and begins < room.earliest_ms:
        problem = f"a span after a warm-up must start at 00:00 UTC, not at {iso(begins)}"
        if begins - room.warm_up_ms < room.history.start_ms:
            problem = (
                f"{room.venue.name} has no history {backtest.warm_up} before {iso(begins)}, it "
                f"begins at {iso(room.history.start_ms)}"
            )
        later_end = ", and a later end_date" if room.earliest_ms >= span.end_ms else ""
        document.refuse(key, f"{problem}: write {room.start_cure(start)}{later_end}")
    if begins % DAY_MS and to_warm_up_ms(document, backtest.warm_up):
        document.refuse(
            key,
            f"a span after a warm-up must start at 00:00 UTC, not at {iso(begins)}: write a "
            "start_date without a time",
        )


def to_warm_up_ms(document: Document, text: str) -> int:
    """Return the milliseconds of `backtest.warm_up`; refuse anything but whole minutes."""
    key = ("backtest", "warm_up")
    if text in ("0m", "0h", "0d"):
        return 0
    try:
        warm_up_ms = parse_duration_ms(text)
    except ValueError:
        document.refuse(key, f"{text!r} is not a duration: write 30d, 36h or 0d")
    if warm_up_ms % MINUTE_MS:
        document.refuse(key, f"{text!r} is not whole minutes: write 30d, 36h or 0d")
    return warm_up_ms


def _limit_to_now(
    inputs: LoadInputs, start: _Setting, start_ms: int, end: _Setting, end_ms: int
) -> int:
    """Return the end, no later than now; an error is about the setting of the higher rank."""
    if end.text is not None and end_ms <= start_ms:
        if start.rank > end.rank:
            start.refuse(f"{start.text!r} is not before the end, {end.describe(end_ms)}")
        end.refuse(f"{end.text!r} is not after the start, {start.describe(start_ms)}")
    now_ms = ONE_MINUTE.floor(inputs.now_ms)
    if start_ms >= now_ms:
        start.refuse(f"{start.text!r} is not before now, {iso(now_ms)}: write an earlier time")
    if start_ms >= end_ms:
        start.refuse(
            f"{start.text!r} is not before the end, {iso(end_ms)}, the last full "
            f"{inputs.refresh} before now: write an earlier time"
        )
    return min(end_ms, now_ms)


def to_refresh(document: Document, text: str) -> Timeframe:
    """Return the timeframe of `history.refresh`; refuse one longer than a day."""
    key = ("history", "refresh")
    refresh = to_timeframe(document, key, text)
    if refresh.fixed_ms is None or refresh.fixed_ms > DAY_MS:
        document.refuse(key, f"{text!r} is longer than 1d: write 1d")
    return refresh
