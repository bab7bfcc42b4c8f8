"""The files of Binance's archive: which there are, what is in them, and how one can be wrong."""

from __future__ import annotations

import io
import re
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal, get_args

from tests.servers.binance_market import DAY_MS, MICROSECONDS_FROM, MINUTE_MS, open_ms_of

FUTURES_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore"
)

_MICROSECONDS_SINCE_MS = 1_735_689_600_000  # 2025-01-01: rows that open from then on have them
_HEADER_SINCE_MS = 1_640_995_200_000  # 2022-01-01: files of perpetuals from then on have a header
_PATH = re.compile(
    r"/data/(?P<folder>spot|futures/um)/(?P<period>monthly|daily)/"
    r"(klines/(?P<symbol>[^/]+)/1m|fundingRate/(?P<rated>[^/]+))/"
    r"(?P<stem>(?P<name>[^/]+)-(?P<kind>1m|fundingRate)-"
    r"(?P<year>\d{4})-(?P<month>\d\d)(-(?P<day>\d\d))?)\.zip(?P<checksum>\.CHECKSUM)?"
)
RATES_HEADER = "calc_time,funding_interval_hours,last_funding_rate"

type OverrideKind = Literal[
    "off_minute",
    "duplicate",
    "outside",
    "unsorted",
    "absent",
    "columns_11",
    "non_numeric",
    "high_below_open",
    "other_unit",
    "header",
    "text",
    "empty",
    "inner_name",
    "not_zip",
    "not_published",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """Serve one archive file, and its true CHECKSUM, otherwise than the market is.

    off_minute       times moved by `offset_ms`
    duplicate        rows twice, the second with `text` as its volume if given
    outside          rows a minute before the file's span, and at its end
    unsorted         all rows, newest first
    absent           rows left out
    columns_11       the last column left out
    non_numeric      `text` ("n/a") for the close
    high_below_open  a high of half the open
    other_unit       microseconds for milliseconds, and the other way round
    header           `text` (that of futures files) as first line; the last override of its file
    text             `text` in place of the CSV
    empty            no rows
    inner_name       `text` ("other.csv") as the name in the zip
    not_zip          `text` (a page of HTML) in place of the zip
    not_published    404, CHECKSUM too

    Args:
        file: `BTCUSDT-1m-2024-01` or `BTCUSDT-1m-2024-01-31`: no folder, no `.zip`.
        start_ms: The rows it touches open in `[start_ms, end_ms)`; without the two of them that is
            every row for off_minute, absent and other_unit, else the one in the middle.
    """

    file: str
    kind: OverrideKind
    start_ms: int | None = None
    end_ms: int | None = None
    offset_ms: int = 14_789
    text: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(OverrideKind.__value__):
            raise ValueError(f"{self.kind!r} is no kind of override")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveFile:
    """A file that the archive has, or will have, if the symbol has rows in its span.

    Args:
        stem: Its name without `.zip`.
        start_ms: Its day or month is `[start_ms, end_ms)`.
        published_ms: The first moment at which it is there, when nothing delays it.
        header: Its first line, "" for none.
        is_spot: It is Spot's, of which the times from 2025 on are microseconds.
        has_rates: It holds funding rates, not bars.
    """

    symbol: str
    stem: str
    monthly: bool
    start_ms: int
    end_ms: int
    published_ms: int
    is_checksum: bool
    header: str = ""
    is_spot: bool = True
    has_rates: bool = False


def parse_archive_path(path: str) -> ArchiveFile | None:
    """Parse the path of a zip of 1m bars or rates, or of its CHECKSUM; None for any other path."""
    if not (found := _PATH.fullmatch(path)):
        return None
    year, month, day = int(found["year"]), int(found["month"]), int(found["day"] or 1)
    monthly = found["period"] == "monthly"
    try:
        start_ms = _midnight_ms(year, month, day)
    except ValueError:
        return None
    if monthly == bool(found["day"]):
        return None
    is_spot, has_rates = found["folder"] == "spot", found["rated"] is not None
    if found["name"] != (found["rated"] or found["symbol"]):
        return None
    if has_rates != (found["kind"] == "fundingRate") or (has_rates and (is_spot or not monthly)):
        return None
    end_ms = start_ms + DAY_MS
    if monthly:
        end_ms = _midnight_ms(year + month // 12, month % 12 + 1, 1)
    return ArchiveFile(
        symbol=found["name"],
        stem=found["stem"],
        monthly=monthly,
        start_ms=start_ms,
        end_ms=end_ms,
        published_ms=_first_monday_ms(end_ms) if monthly else end_ms,
        is_checksum=bool(found["checksum"]),
        header=RATES_HEADER
        if has_rates
        else ("" if is_spot or start_ms < _HEADER_SINCE_MS else FUTURES_HEADER),
        is_spot=is_spot,
        has_rates=has_rates,
    )


def in_archive_unit(line: str) -> str:
    """Return a line of milliseconds as the archive has it: from 2025 on in microseconds."""
    if open_ms_of(line) < _MICROSECONDS_SINCE_MS:
        return line
    fields = line.split(",")
    fields[0] += "000"
    fields[6] += "999"
    return ",".join(fields)


def _midnight_ms(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1000


def _first_monday_ms(month_ms: int) -> int:
    return month_ms + (4 - month_ms // DAY_MS) % 7 * DAY_MS  # day 4 of the epoch was a Monday


def make_zip(file: ArchiveFile, lines: list[str], overrides: Sequence[Override]) -> bytes:
    """Return the zip of an archive file, as `overrides` have it.

    Args:
        file: Which one.
        lines: Its rows, in the archive's unit of time, without a header.
        overrides: Those of this file, applied in order.
    """
    inner_name, start_ms, end_ms = f"{file.stem}.csv", file.start_ms, file.end_ms
    for override in overrides:
        match override.kind:
            case "inner_name":
                inner_name = override.text or "other.csv"
            case "not_zip":
                return (override.text or "<html><body>Access Denied</body></html>").encode()
            case _:
                lines = _altered(lines, override, start_ms, end_ms)
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        # Its own time, not the clock's: the same file gives the same bytes.
        written = datetime.fromtimestamp(end_ms // 1000, tz=UTC).replace(hour=1, minute=7)
        info = zipfile.ZipInfo(inner_name, written.timetuple()[:6])
        has_own = any(o.kind in ("header", "text") for o in overrides)
        head = [file.header] if file.header and not has_own else []
        text = "".join(f"{line}\n" for line in [*head, *lines])
        archive.writestr(info, text, zipfile.ZIP_DEFLATED, compresslevel=1)
    return made.getvalue()


def _altered(lines: list[str], override: Override, start_ms: int, end_ms: int) -> list[str]:
    match override.kind:
        case "empty":
            return []
        case "header":
            return [override.text or FUTURES_HEADER, *lines]
        case "text":
            return (override.text or "").splitlines()
        case "unsorted":
            return lines[::-1]
    touched = _touched(lines, override)
    altered = []
    for at, line in enumerate(lines):
        altered += _altered_line(line, override, start_ms, end_ms) if at in touched else [line]
    return altered


def _touched(lines: Sequence[str], override: Override) -> set[int]:
    if override.start_ms is None and override.end_ms is None:
        if override.kind in ("off_minute", "absent", "other_unit"):
            return set(range(len(lines)))
        return {len(lines) // 2}
    start_ms, end_ms = override.start_ms or 0, override.end_ms or sys.maxsize
    opens = [open_ms_of(line) for line in lines]
    return {
        at
        for at, opened in enumerate(opens)
        if start_ms <= (opened if opened < MICROSECONDS_FROM else opened // 1000) < end_ms
    }


def _altered_line(line: str, override: Override, start_ms: int, end_ms: int) -> list[str]:
    fields = line.split(",")
    opened, closed = int(fields[0]), int(fields[6])
    scale = 1 if opened < MICROSECONDS_FROM else 1000

    def timed(opened: int, closed: int) -> str:
        return ",".join([f"{opened}", *fields[1:6], f"{closed}", *fields[7:]])

    match override.kind:
        case "off_minute":
            offset = override.offset_ms * scale
            return [timed(opened + offset, closed + offset)]
        case "duplicate":
            again = [*fields[:5], override.text or fields[5], *fields[6:]]
            return [line, ",".join(again)]
        case "outside":
            length = closed - opened
            before, behind = (start_ms - MINUTE_MS) * scale, end_ms * scale
            return [timed(before, before + length), line, timed(behind, behind + length)]
        case "absent":
            return []
        case "columns_11":
            return [",".join(fields[:11])]
        case "non_numeric":
            return [",".join([*fields[:4], override.text or "n/a", *fields[5:]])]
        case "high_below_open":
            return [",".join([*fields[:2], f"{Decimal(fields[1]) / 2:.8f}", *fields[3:]])]
        case "other_unit" if scale == 1:
            return [timed(opened * 1000, closed * 1000 + 999)]
        case "other_unit":
            return [timed(opened // 1000, closed // 1000)]
    raise ValueError(f"unknown kind of override: {override.kind!r}")
