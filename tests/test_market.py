"""Timeframes, spans and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tbv8.market import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    Span,
    Timeframe,
    duration_text,
    iso,
    iso_day,
    parse_duration_ms,
    parse_time,
    parse_timeframe,
)

TIMES = st.integers(parse_time("1950-01-01"), parse_time("2150-01-01"))
TIMEFRAMES = st.one_of(
    st.sampled_from(["1m", "5m", "7m", "15m", "1h", "4h", "7h", "36h", "1d", "3d", "1w", "1M"]),
    st.builds("{}{}".format, st.integers(1, 99_999), st.sampled_from("mhd")),
).map(parse_timeframe)
SPANS = st.builds(Span, st.integers(0, 200), st.integers(0, 200))


@pytest.mark.parametrize(
    ("text", "fixed_ms", "dataset"),
    [
        pytest.param("1m", MINUTE_MS, "bars_1m", id="a minute"),
        pytest.param("90m", 90 * MINUTE_MS, "bars_90m", id="an hour and a half"),
        pytest.param("4h", 4 * HOUR_MS, "bars_4h", id="four hours"),
        pytest.param("3d", 3 * DAY_MS, "bars_3d", id="three days"),
        pytest.param("1w", 7 * DAY_MS, "bars_1w", id="a week"),
        pytest.param("1M", None, "bars_1mo", id="a month, in a table of another name than 1m"),
    ],
)
def test_a_timeframe_knows_its_length_and_its_table(
    text: str, fixed_ms: int | None, dataset: str
) -> None:
    timeframe = parse_timeframe(text)

    assert timeframe.fixed_ms == fixed_ms
    assert timeframe.dataset == dataset
    assert str(timeframe) == text
    assert timeframe == Timeframe(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "m", "5", "0m", "05m", "-5m", "1.5h", "5 m", " 5m", "5m\n", "5s", "5M", "2w", "1W"),
        *("5min", "1D", "100000m", "٥m"),
    ],
)
def test_what_is_not_a_timeframe_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a timeframe: write <n>m") as e:
        parse_timeframe(text)

    assert str(e.value).startswith(repr(text))


@pytest.mark.parametrize(
    ("text", "moment", "opens", "closes"),
    [
        pytest.param(
            *("5m", "2024-01-01T00:04:59.999Z", "2024-01-01T00:00Z", "2024-01-01T00:05Z"),
            id="the last millisecond of a bar",
        ),
        pytest.param(
            *("5m", "2024-01-01T00:05Z", "2024-01-01T00:05Z", "2024-01-01T00:10Z"),
            id="the first millisecond of the next",
        ),
        pytest.param(
            *("7h", "2024-01-01T00:30Z", "2023-12-31T19:00Z", "2024-01-01T02:00Z"),
            id="7h across midnight and the year's end",
        ),
        pytest.param(
            *("3d", "1970-01-03T23:59Z", "1970-01-01T00:00Z", "1970-01-04T00:00Z"),
            id="3d from the epoch",
        ),
        pytest.param(
            *("7d", "1970-01-07T00:00Z", "1970-01-01T00:00Z", "1970-01-08T00:00Z"),
            id="7d from the epoch, a Thursday",
        ),
        pytest.param(
            *("1w", "1970-01-01T00:00Z", "1969-12-29T00:00Z", "1970-01-05T00:00Z"),
            id="the week of the epoch",
        ),
        pytest.param(
            *("1w", "2024-12-31T23:59Z", "2024-12-30T00:00Z", "2025-01-06T00:00Z"),
            id="a week across the year's end",
        ),
        pytest.param(
            *("1M", "2023-12-31T23:59Z", "2023-12-01T00:00Z", "2024-01-01T00:00Z"),
            id="December",
        ),
        pytest.param(
            *("1M", "2024-02-29T12:00Z", "2024-02-01T00:00Z", "2024-03-01T00:00Z"),
            id="February of a leap year",
        ),
        pytest.param(
            *("1M", "1969-12-31T23:59:59.999Z", "1969-12-01T00:00Z", "1970-01-01T00:00Z"),
            id="the month before the epoch",
        ),
    ],
)
def test_a_moment_lies_in_one_bar(text: str, moment: str, opens: str, closes: str) -> None:
    timeframe, ts_ms = parse_timeframe(text), parse_time(moment)

    opened = timeframe.floor(ts_ms)

    assert iso(opened) == iso(parse_time(opens))
    assert iso(timeframe.close(opened)) == iso(parse_time(closes))
    assert timeframe.ceil(ts_ms) == (opened if ts_ms == opened else parse_time(closes))


@given(timeframe=TIMEFRAMES, ts_ms=TIMES)
def test_bars_fill_time_without_overlap(timeframe: Timeframe, ts_ms: int) -> None:
    opened = timeframe.floor(ts_ms)
    closed = timeframe.close(opened)

    assert opened <= ts_ms < closed
    assert timeframe.floor(opened) == timeframe.ceil(opened) == opened
    assert timeframe.floor(closed) == timeframe.ceil(closed) == closed
    assert timeframe.floor(closed - 1) == opened
    assert timeframe.ceil(opened + 1) == closed
    assert timeframe.ceil(ts_ms) == (opened if ts_ms == opened else closed)


@given(timeframe=TIMEFRAMES, ts_ms=TIMES)
def test_bars_open_where_the_calendar_says(timeframe: Timeframe, ts_ms: int) -> None:
    opened = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=timeframe.floor(ts_ms))

    if timeframe.text == "1M":
        assert opened == opened.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    elif timeframe.text == "1w":
        assert opened.isoweekday() == 1
        assert opened == opened.replace(hour=0, minute=0, second=0, microsecond=0)
    else:
        unit = {"m": "minutes", "h": "hours", "d": "days"}[timeframe.text[-1]]
        length = timedelta(**{unit: int(timeframe.text[:-1])})
        assert (opened - datetime(1970, 1, 1, tzinfo=UTC)) % length == timedelta(0)


@pytest.mark.parametrize("text", ["7h", "1d", "1w", "1M"])
def test_each_close_is_the_next_open_over_two_years(text: str) -> None:
    timeframe = parse_timeframe(text)
    opens = [timeframe.floor(parse_time("2023-01-01"))]
    while opens[-1] < parse_time("2025-01-01"):
        opens.append(timeframe.close(opens[-1]))

    assert opens == sorted(
        {timeframe.floor(ts_ms) for ts_ms in range(opens[0], opens[-1] + 1, HOUR_MS)}
    )
    assert len(opens) == {"7h": 2508, "1d": 732, "1w": 107, "1M": 25}[text]


@pytest.mark.parametrize(
    ("text", "span", "whole"),
    [
        pytest.param(
            "1h",
            ("2024-01-01T00:30Z", "2024-01-01T03:15Z"),
            ("2024-01-01T01:00Z", "2024-01-01T03:00Z"),
            id="both edges inside a bar",
        ),
        pytest.param(
            "1M",
            ("2024-01-01", "2024-03-31"),
            ("2024-01-01", "2024-03-01"),
            id="a month that is not over",
        ),
        pytest.param(
            "1w",
            ("2023-12-28", "2024-01-08"),
            ("2024-01-01", "2024-01-08"),
            id="a week across the year's end",
        ),
    ],
)
def test_the_whole_bars_of_a_span(text: str, span: tuple[str, str], whole: tuple[str, str]) -> None:
    wanted = Span(*map(parse_time, span))

    assert str(parse_timeframe(text).whole(wanted)) == str(Span(*map(parse_time, whole)))


@given(timeframe=TIMEFRAMES, start_ms=TIMES, length_ms=st.integers(0, 40 * DAY_MS))
def test_the_whole_part_is_the_largest_that_bars_fill(
    timeframe: Timeframe, start_ms: int, length_ms: int
) -> None:
    span = Span(start_ms, start_ms + length_ms)

    whole = timeframe.whole(span)

    assert timeframe.floor(whole.start_ms) == whole.start_ms
    if whole:
        assert span.contains(whole)
        assert timeframe.floor(whole.end_ms) == whole.end_ms
        assert timeframe.floor(whole.start_ms - 1) < span.start_ms
        assert timeframe.close(whole.end_ms) > span.end_ms
    else:
        assert timeframe.close(timeframe.ceil(span.start_ms)) > span.end_ms


@given(a=SPANS, b=SPANS)
def test_an_intersection_holds_what_both_hold(a: Span, b: Span) -> None:
    both = a.intersection(b)

    moments = set(range(both.start_ms, both.end_ms))
    assert moments == set(range(a.start_ms, a.end_ms)) & set(range(b.start_ms, b.end_ms))
    assert bool(both) == bool(moments)


@given(a=SPANS, b=SPANS)
def test_a_span_contains_what_it_shares_all_of(a: Span, b: Span) -> None:
    assume(b)

    assert a.contains(b) == (a.intersection(b) == b)


@pytest.mark.parametrize(
    ("start", "end", "days"),
    [
        pytest.param("2024-02-28", "2024-03-01", ["2024-02-28", "2024-02-29"], id="whole days"),
        pytest.param(
            "2024-01-01T23:59Z", "2024-01-02T00:01Z", ["2024-01-01", "2024-01-02"], id="2m"
        ),
        pytest.param("2024-01-01T12:00Z", "2024-01-02", ["2024-01-01"], id="up to midnight"),
        pytest.param("2024-01-01T12:00Z", "2024-01-01T12:00Z", [], id="nothing, at noon"),
        pytest.param("2024-01-01", "2024-01-01", [], id="nothing, at midnight"),
        pytest.param(
            "1969-12-31T12:00Z", "1970-01-01T12:00Z", ["1969-12-31", "1970-01-01"], id="0"
        ),
    ],
)
def test_a_span_touches_days(start: str, end: str, days: list[str]) -> None:
    span = Span(parse_time(start), parse_time(end))

    assert [iso_day(day_ms) for day_ms in span.days()] == days


def test_a_span_counts_its_minutes_and_prints_itself() -> None:
    span = Span(parse_time("2024-01-01"), parse_time("2024-01-01T01:30Z"))

    assert span.minutes == 90
    assert str(span) == "2024-01-01T00:00:00Z .. 2024-01-01T01:30:00Z"


@pytest.mark.parametrize(
    ("text", "ts_ms"),
    [
        pytest.param("2024-01-31", 1_706_659_200_000, id="a date is midnight UTC"),
        pytest.param("2024-01-31T12:00:00Z", 1_706_702_400_000, id="UTC"),
        pytest.param("2024-01-31T12:00:00+05:30", 1_706_682_600_000, id="another zone"),
        pytest.param("2024-01-31 12:00Z", 1_706_702_400_000, id="a space for the T"),
        pytest.param("2024-01-31T12:00:00.123Z", 1_706_702_400_123, id="milliseconds"),
        pytest.param("1970-01-01", 0, id="the epoch"),
        pytest.param("1969-12-31T23:59:59.500Z", -500, id="half a second before the epoch"),
        pytest.param("1969-12-31T23:59:58.999Z", -1_001, id="milliseconds before the epoch"),
    ],
)
def test_a_time_is_milliseconds_utc(text: str, ts_ms: int) -> None:
    assert parse_time(text) == ts_ms


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("2024-01-31T12:00:00", "has no time zone", id="no zone"),
        pytest.param("20240131", "write 2024-01-31$", id="no dashes"),
        pytest.param("2024-W05-3", "write 2024-01-31$", id="a week's day"),
        pytest.param("2024-01-31T12:00:00.0001Z", "finer than a millisecond", id="too fine"),
        pytest.param("2024-02-30", "is not a time", id="no such day"),
        pytest.param("yesterday", "is not a time", id="a word"),
        pytest.param("", "is not a time", id="nothing"),
        pytest.param("1706659200000", "is not a time", id="a number"),
    ],
)
def test_a_time_that_could_be_misread_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as e:
        parse_time(text)

    assert repr(text) in str(e.value)


@given(ts_ms=TIMES)
def test_a_time_survives_being_written(ts_ms: int) -> None:
    text = iso(ts_ms)

    assert parse_time(text) == ts_ms
    assert text.startswith(iso_day(ts_ms))
    assert ("." in text) == (ts_ms % 1000 != 0)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("8h", 28_800), ("2d", 172_800)]
)
def test_a_duration_has_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert parse_duration_ms(text) == seconds * 1000


@pytest.mark.parametrize("text", ["90s", "10m", "36h", "14d", "1s"])
def test_a_duration_is_written_as_it_is_read(text: str) -> None:
    assert duration_text(parse_duration_ms(text)) == text


def test_no_time_is_0d() -> None:
    assert (duration_text(0), duration_text(1_500)) == ("0d", "1.5s")


@pytest.mark.parametrize("text", ["", "10", "m", "0s", "-1s", "1.5h", "10 m", "1w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration: write 90s"):
        parse_duration_ms(text)


# Any time that a database may hold


@pytest.mark.parametrize(
    ("ts_ms", "text"),  # as JavaScript's Date.toISOString has it
    [
        pytest.param(8_640_000_000_000_000, "+275760-09-13T00:00:00Z", id="its last"),
        pytest.param(-8_640_000_000_000_000, "-271821-04-20T00:00:00Z", id="its first"),
        pytest.param(253_402_300_799_999, "9999-12-31T23:59:59.999Z", id="of four digits"),
        pytest.param(253_402_300_800_000, "+010000-01-01T00:00:00Z", id="of five"),
        pytest.param(-62_167_219_200_000, "0000-01-01T00:00:00Z", id="year 0"),
        pytest.param(-62_167_219_200_001, "-000001-12-31T23:59:59.999Z", id="before it"),
    ],
)
def test_a_time_of_any_year_has_a_text(ts_ms: int, text: str) -> None:
    assert iso(ts_ms) == text
    assert iso_day(ts_ms) == text.partition("T")[0]


@given(timeframe=TIMEFRAMES, ts_ms=st.integers(-(2**63), 2**63 - 1))
def test_a_time_of_any_year_lies_in_one_bar(timeframe: Timeframe, ts_ms: int) -> None:
    opened = timeframe.floor(ts_ms)
    closed = timeframe.close(opened)

    assert opened <= ts_ms < closed
    assert timeframe.floor(closed) == closed
    assert timeframe.floor(closed - 1) == opened
    assert iso(opened) != iso(closed)
