"""What is true of a market that the local Binance serves: its minutes, as they stand on the wire.

A minute is one line of Binance's CSV without its newline, times in MILLISECONDS (also from 2025 on,
where the archive has microseconds: the server turns them). Lines are made one UTC day at a time
when they are asked for, so that eight years never stand in memory. Rows are what REST sends.
"""

from __future__ import annotations

import math
import re
import zipfile
import zlib
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

MINUTE_MS = 60_000
DAY_MS = 1_440 * MINUTE_MS
MICROSECONDS_FROM = 10**14  # an archive time of this size or more is in microseconds

type Row = tuple[int, str, str, str, str, str, int, str, int, str, str, str]
type RateRow = tuple[int, int, str]
type Ints = npt.NDArray[np.int64]

_QUOTES = ("USDT", "USDC", "FDUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "TRY")
_DAYS = 100  # that a market keeps in memory: more than a test goes through again and again
_DAILY_NAME = re.compile(r"([A-Z0-9]+)-1m-(\d{4}-\d\d-\d\d)\.zip")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Market:
    """One native symbol and all its minutes; a minute without a line does not exist.

    Args:
        listed_ms: No minute opens before it, and the venue does not know the symbol until then.
        end_ms: No minute opens at or after it.
        lines_of_day: From a UTC midnight to that day's lines, in time order.
        rates: The funding that was paid, by time: when it was worked out (some ms behind the
            hour), its interval in hours, and the rate.
    """

    symbol: str
    base: str
    quote: str
    tick_size: str
    lot_size: str
    listed_ms: int
    end_ms: int
    lines_of_day: Callable[[int], Sequence[str]]
    status: str = "TRADING"
    rates: tuple[RateRow, ...] = ()

    def rates_in(self, start_ms: int, end_ms: int) -> list[RateRow]:
        """Return the rates that were worked out in `[start_ms, end_ms)`, by time."""
        return [row for row in self.rates if start_ms <= row[0] < end_ms]

    def lines(self, start_ms: int, end_ms: int) -> Iterator[str]:
        """Yield the lines that open in `[start_ms, end_ms)`, in time order."""
        for day_ms, first_ms, last_ms in self._days(start_ms, end_ms):
            day = self.lines_of_day(day_ms)
            low = 0 if first_ms <= day_ms else bisect_left(day, first_ms, key=open_ms_of)
            high = bisect_left(day, last_ms, key=open_ms_of) if day else 0
            yield from day[low:high]

    def newest_lines(self, start_ms: int, end_ms: int) -> Iterator[str]:
        """Yield the lines that open in `[start_ms, end_ms)`, the newest first."""
        for day_ms, first_ms, last_ms in reversed(self._days(start_ms, end_ms)):
            for line in reversed(self.lines_of_day(day_ms)):
                if first_ms <= open_ms_of(line) < last_ms:
                    yield line

    def rows(self, start_ms: int, end_ms: int) -> Iterator[Row]:
        """Yield the rows that open in `[start_ms, end_ms)`, in time order."""
        return map(parse_row, self.lines(start_ms, end_ms))

    def minute(self, open_ms: int) -> Row | None:
        """Return the row of one minute; None when it is absent."""
        return next(self.rows(open_ms, open_ms + 1), None)

    def _days(self, start_ms: int, end_ms: int) -> list[tuple[int, int, int]]:
        start_ms, end_ms = max(start_ms, self.listed_ms), min(end_ms, self.end_ms)
        if start_ms >= end_ms:
            return []
        days = range(start_ms // DAY_MS * DAY_MS, end_ms, DAY_MS)
        return [(day, max(day, start_ms), min(day + DAY_MS, end_ms)) for day in days]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coin:
    """How a synthetic market trades.

    Args:
        price: About where it starts.
        volume: Base units in a usual minute.
        volume_decimals: Of base volumes on the wire; the last of them is random too.
        flat_share: Which part of the minutes has no trade.
    """

    price: float = 40_000.0
    volume: float = 20.0
    tick_size: str = "0.01000000"
    lot_size: str = "0.00001000"
    volume_decimals: int = 8
    flat_share: float = 0.02


TINY_COIN = Coin(
    price=0.000008,
    volume=400e9,
    tick_size="0.00000001",
    lot_size="1.00000000",
    volume_decimals=2,
)


def open_ms_of(line: str) -> int:
    """Return when a line opens."""
    return int(line[: line.index(",")])


def parse_row(line: str) -> Row:
    """Parse a line to the array that REST sends: ints for times and count, strings else."""
    f = line.split(",")
    return (int(f[0]), f[1], f[2], f[3], f[4], f[5], int(f[6]), f[7], int(f[8]), f[9], f[10], f[11])


def market_from_rows(
    symbol: str,
    rows: Iterable[Row],
    *,
    tick_size: str = "0.01000000",
    lot_size: str = "0.00001000",
    status: str = "TRADING",
) -> Market:
    """Make a market of rows written by hand, in any order; off-minute opens are kept.

    Raises:
        ValueError: There are none.
    """
    days: dict[int, list[str]] = defaultdict(list)
    for row in sorted(rows):
        days[row[0] // DAY_MS * DAY_MS].append(",".join(map(str, row)))
    if not days:
        raise ValueError(f"{symbol}: a market needs a row")
    base, quote = _assets(symbol)
    return Market(
        symbol=symbol,
        base=base,
        quote=quote,
        tick_size=tick_size,
        lot_size=lot_size,
        listed_ms=open_ms_of(days[min(days)][0]),
        end_ms=max(days) + DAY_MS,
        lines_of_day=lambda day_ms: days.get(day_ms, []),
        status=status,
    )


def synthetic_rates(
    start_ms: int, end_ms: int, seed: int, *, hours: Sequence[tuple[int, int]] = ((0, 8),)
) -> tuple[RateRow, ...]:
    """Make up the funding that is paid in `[start_ms, end_ms)`.

    Args:
        start_ms: Nothing is paid before it.
        end_ms: Nor from it on.
        seed: Any whole number from 0.
        hours: From when on an interval holds, by time; the first must hold at the start.
    """
    hour_ms, rows = 60 * MINUTE_MS, []
    for at_ms in range(-(-start_ms // hour_ms) * hour_ms, end_ms, hour_ms):
        interval = next(each for since_ms, each in reversed(hours) if since_ms < at_ms)
        if at_ms % (interval * hour_ms) == 0:
            number = zlib.crc32(f"{seed} {at_ms}".encode())
            rate = f"{(number % 60_001 - 20_000) / 10**8:.8f}"
            rows.append((at_ms + number % 17, interval, rate))
    return tuple(rows)


def market_from_archive(
    paths: Iterable[Path], *, tick_size: str = "0.01000000", lot_size: str = "0.00001000"
) -> Market:
    """Make a market of Binance's own daily files, `<SYMBOL>-1m-YYYY-MM-DD.zip`; read when asked.

    Raises:
        ValueError: None was given, or one has another name, or another symbol than the first.
    """
    symbols, days = set(), {}
    for path in paths:
        if not (name := _DAILY_NAME.fullmatch(path.name)):
            raise ValueError(f"{path}: expected <SYMBOL>-1m-YYYY-MM-DD.zip")
        symbols.add(name[1])
        days[_midnight_ms(name[2])] = path
    if len(symbols) != 1:
        raise ValueError(f"expected files of one symbol, got {sorted(symbols)}")
    [symbol] = symbols
    base, quote = _assets(symbol)

    @lru_cache(maxsize=_DAYS)
    def lines_of_day(day_ms: int) -> Sequence[str]:
        return _lines_of_zip(days[day_ms]) if day_ms in days else []

    return Market(
        symbol=symbol,
        base=base,
        quote=quote,
        tick_size=tick_size,
        lot_size=lot_size,
        listed_ms=open_ms_of(lines_of_day(min(days))[0]),
        end_ms=max(days) + DAY_MS,
        lines_of_day=lines_of_day,
    )


def synthetic_market(
    symbol: str,
    start_ms: int,
    end_ms: int,
    seed: int,
    *,
    outages: Iterable[tuple[int, int]] = (),
    coin: Coin | None = None,
) -> Market:
    """Make up a market: the same arguments give the same lines, whichever day is asked first.

    Prices lie on the tick and go on from day to day. A minute without trades is flat, with volume
    0, at the price before it.

    Args:
        symbol: The native symbol; two symbols differ under one seed.
        start_ms: The listing, on a minute.
        end_ms: The first minute that does not exist.
        seed: Any whole number from 0.
        outages: `[start_ms, end_ms)` each: minutes that do not exist.
        coin: How it trades; `Coin()` when absent.
    """
    coin, absent = coin or Coin(), tuple(outages)
    base, quote = _assets(symbol)
    key = seed << 32 | zlib.crc32(symbol.encode())

    @lru_cache(maxsize=_DAYS)
    def lines_of_day(day_ms: int) -> Sequence[str]:
        opens = np.arange(day_ms, day_ms + DAY_MS, MINUTE_MS, dtype=np.int64)
        exists = (opens >= start_ms) & (opens < end_ms)
        for outage_start_ms, outage_end_ms in absent:
            exists &= (opens < outage_start_ms) | (opens >= outage_end_ms)
        return _made_up_day(opens, exists, key, coin) if exists.any() else []

    return Market(
        symbol=symbol,
        base=base,
        quote=quote,
        tick_size=coin.tick_size,
        lot_size=coin.lot_size,
        listed_ms=start_ms,
        end_ms=end_ms,
        lines_of_day=lines_of_day,
    )


def _made_up_day(opens: Ints, exists: npt.NDArray[np.bool_], key: int, coin: Coin) -> list[str]:
    day, size = int(opens[0]) // DAY_MS, len(opens)
    # Philox takes its key as it is: no state runs from one day to the next.
    draw = np.random.Generator(np.random.Philox(key=[key, day]))
    tick_e8 = round(float(coin.tick_size) * 1e8)

    at = np.arange(1, size + 1) / size
    wander = np.cumsum(draw.normal(0.0, 0.0007, size))
    start, end = _anchor(day, key, coin), _anchor(day + 1, key, coin)
    path = np.exp(start + (end - start) * at + wander - wander[-1] * at)
    traded = draw.random(size) >= coin.flat_share
    first = _ticks(np.exp([start]), tick_e8)
    prices = np.concatenate([first, _ticks(path, tick_e8)])
    last_traded = np.maximum.accumulate(np.where(traded, np.arange(1, size + 1), 0))
    closes = prices[last_traded]
    before = np.concatenate([first, closes[:-1]])
    firsts = np.where(traded, np.maximum(before + draw.integers(-1, 2, size), 1), before)
    reach = np.where(traded, closes, 0) * 0.0003
    highs = np.maximum(firsts, closes) + np.rint(draw.exponential(reach)).astype(np.int64)
    lows = np.minimum(firsts, closes) - np.rint(draw.exponential(reach)).astype(np.int64)
    lows = np.maximum(lows, 1)

    unit = 10**coin.volume_decimals
    volumes = np.rint(draw.lognormal(math.log(coin.volume), 0.8, size) * unit).astype(np.int64)
    mean = (firsts + highs + lows + closes) // 4
    volumes = np.clip(volumes, 1, 4 * 10**18 // mean) * traded  # their product fits into 64 bits
    takers = (volumes * draw.random(size)).astype(np.int64)
    counts = np.minimum(volumes, draw.integers(1, 3_000, size)) * traded
    prices_e8 = [(ticks * tick_e8)[exists] for ticks in (firsts, highs, lows, closes)]
    quotes_e8 = [
        _money_e8(amounts * mean, tick_e8, coin.volume_decimals)[exists]
        for amounts in (volumes, takers)
    ]
    base_volumes = [volumes[exists], takers[exists]]

    shown_opens = opens[exists]
    price, base_volume = "%d.%08d", f"%d.%0{coin.volume_decimals}d"
    template = ",".join(
        ["%d", price, price, price, price, base_volume, "%d", price, "%d", base_volume, price, "0"]
    )
    columns = [shown_opens]
    for column in prices_e8:
        columns += np.divmod(column, 10**8)
    columns += np.divmod(base_volumes[0], unit)
    columns.append(shown_opens + MINUTE_MS - 1)
    columns += np.divmod(quotes_e8[0], 10**8)
    columns.append(counts[exists])
    columns += np.divmod(base_volumes[1], unit)
    columns += np.divmod(quotes_e8[1], 10**8)
    return [template % values for values in zip(*(c.tolist() for c in columns), strict=True)]


def _anchor(day: int, key: int, coin: Coin) -> float:
    """Return the logarithm of the price at a day's midnight."""
    noise = np.random.Generator(np.random.Philox(key=[key ^ 0xA0C0, day])).normal(0.0, 0.02)
    phase = key % 997
    slow, fast = math.sin(day / 140 + phase), math.sin(day / 11 + 2 * phase)
    return math.log(coin.price) + 0.6 * slow + 0.1 * fast + float(noise)


def _ticks(prices: npt.NDArray[np.float64], tick_e8: int) -> Ints:
    ticks: Ints = np.maximum(np.rint(prices * (1e8 / tick_e8)), 1).astype(np.int64)
    return ticks


def _money_e8(ticks_by_units: Ints, tick_e8: int, volume_decimals: int) -> Ints:
    """Turn ticks times volume units into quote units of 1e-8, cut off."""
    up, down = tick_e8, 10**volume_decimals
    shared = math.gcd(up, down)
    money: Ints = ticks_by_units // (down // shared) * (up // shared)
    return money


def _lines_of_zip(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0]).decode()
    return [_in_ms(line) for line in text.splitlines()]


def _in_ms(line: str) -> str:
    fields = line.split(",")
    if int(fields[0]) < MICROSECONDS_FROM:
        return line
    fields[0], fields[6] = str(int(fields[0]) // 1000), str(int(fields[6]) // 1000)
    return ",".join(fields)


def _assets(symbol: str) -> tuple[str, str]:
    for quote in _QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    raise ValueError(f"{symbol!r} ends with none of {', '.join(_QUOTES)}")


def _midnight_ms(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
