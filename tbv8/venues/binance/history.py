"""A session with one of Binance's histories: pieces are filled side by side, yielded by time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TYPE_CHECKING

from tbv8.market import DAY_MS, ONE_MINUTE, Span
from tbv8.venues.base import Endpoints, Fetched, History, unusable_note, with_unusable
from tbv8.venues.binance.archive import UnusableError, parse_file
from tbv8.venues.binance.files import THREADS, Files, OpenFiles, archive_of
from tbv8.venues.binance.host import HostOptions
from tbv8.venues.binance.minutes import Minutes, absent, cut, join, to_table
from tbv8.venues.binance.plan import Piece, Source, pieces
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.rest import Rest, open_rest

if TYPE_CHECKING:
    import pyarrow as pa

_AHEAD = 8  # pieces that are asked for before the consumer wants them; a month is 2 MB of bars

type _Outcome = Fetched | list[AsyncResult[_Outcome]]


def open_history(
    product: Product, endpoints: Endpoints, options: HostOptions | None = None
) -> History:
    """Open a session with the 1m bars of a product."""
    options = options or HostOptions()
    rest = open_rest(product, endpoints, options)
    return History(rest, BinanceBars(product, rest, archive_of(product, endpoints, options)))


class BinanceBars:
    """The 1m bars of a product; `fetch` runs its own threads, the other methods the caller's.

    Args:
        product: Which.
        rest: Its REST API.
        open_files: Opens its archive, until an event is set.
    """

    def __init__(self, product: Product, rest: Rest, open_files: OpenFiles) -> None:
        self._product, self._rest, self._open_files = product, rest, open_files
        self._listed_ms: dict[str, int] = {}

    def first_ms(self, native: str) -> int:
        """Return the open of the symbol's first bar; the venue is asked once.

        Raises:
            VenueError: The venue does not know the symbol.
        """
        if native not in self._listed_ms:
            self._listed_ms[native] = self._rest.fetch_listed_ms(native)
        return self._listed_ms[native]

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """Yield pieces that fill `gaps`, by time; closing it early ends its downloads.

        Four threads work ahead of the consumer, who holds at most some months of bars. Minutes of
        the last day that the venue does not have, and behind which it has none, may come yet (it
        halted, or its answer lags a little behind its clock): nothing is yielded of them.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        if not gaps:
            return
        past = Span(0, ONE_MINUTE.floor(self._rest.clock_ms()))
        gaps = [part for gap in gaps if (part := gap.intersection(past))]
        waiting = deque(pieces(gaps, now_ms=past.end_ms, listed_ms=self.first_ms(native)))
        ahead: deque[AsyncResult[_Outcome]] = deque()
        closing = threading.Event()
        files = self._open_files(closing)
        # Its threads are daemons: one that hangs in a socket does not keep the process alive.
        with ThreadPool(min(THREADS, len(waiting) or 1)) as threads:
            filler = _Filler(
                self._product,
                native,
                self._rest,
                files,
                threads,
                closing,
                settled_ms=past.end_ms - DAY_MS,
            )
            try:
                while waiting or ahead:
                    while waiting and len(ahead) < _AHEAD:
                        ahead.append(filler.start(waiting.popleft()))
                    outcome = _result(ahead.popleft())
                    if isinstance(outcome, Fetched):
                        if outcome.span:
                            yield outcome
                    else:
                        ahead.extendleft(reversed(outcome))
            finally:
                closing.set()
                files.close()

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the bars that REST has in `span`; what is absent was asked for twice.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        minutes, _ = self._rest.fetch(native, span, threading.Event(), settled_ms=0)
        return to_table(minutes)


class _Filler:
    """Fills pieces of one symbol; its methods run in the threads of one `fetch`."""

    def __init__(
        self,
        product: Product,
        native: str,
        rest: Rest,
        files: Files,
        threads: ThreadPool,
        closing: threading.Event,
        *,
        settled_ms: int,
    ) -> None:
        self._product, self._native = product, native
        self._rest, self._files = rest, files
        self._threads, self._closing = threads, closing
        self._settled_ms = settled_ms

    def start(self, piece: Piece, notes: tuple[str, ...] = ()) -> AsyncResult[_Outcome]:
        """Have a thread fill a piece."""
        return self._threads.apply_async(self._fill, (piece, notes))

    def _fill(self, piece: Piece, notes: tuple[str, ...]) -> _Outcome:
        """Return the piece filled, or its days in work where its own file is not to be had."""
        if piece.source == "rest":
            minutes, known_ms = self._rest.fetch(
                self._native, piece.span, self._closing, settled_ms=self._settled_ms
            )
            known = Span(piece.span.start_ms, known_ms)
            notes = (*notes, *_mended("REST", minutes), *unusable_note(minutes.unusable))
            return _fetched(known, minutes, "rest", notes)
        name = f"{piece.file_stem(self._native)}.zip"
        try:
            found = self._read_file(piece)
        except UnusableError as e:
            return self._fill_by_day(piece, "rest", (*notes, f"{name}: {e}; taken from REST"))
        if found is None:
            return self._fill_by_day(piece, "daily", notes)
        whole, sha256 = found
        minutes, source = cut(whole, piece.span), f"{name} sha256:{sha256}"
        notes, known = (*notes, *_mended(name, whole)), piece.span
        if runs := absent(minutes, piece.span):
            healed, known_ms = self._rest.fetch_absent(
                self._native, runs, self._closing, settled_ms=self._settled_ms
            )
            minutes = join([minutes, healed])
            notes = (*notes, *unusable_note(minutes.unusable))
            if len(healed):
                source = f"{source}; rest"
                notes = (*notes, f"{name}: {len(healed)} minutes that it lacks came from REST")
            if known_ms < runs[-1].end_ms:
                known = Span(piece.span.start_ms, known_ms)
        return _fetched(known, cut(minutes, known), source, notes)

    def _read_file(self, piece: Piece) -> tuple[Minutes, str] | None:
        """Return the bars of a piece's archive file and its sha256; None where there is no file.

        Raises:
            UnusableError: It is not what it should be.
        """
        if (found := self._files.read(piece.file_path(self._product, self._native))) is None:
            return None
        zipped, sha256 = found
        return parse_file(zipped, piece.file_stem(self._native), piece.file_span), sha256

    def _fill_by_day(self, piece: Piece, source: Source, notes: tuple[str, ...]) -> _Outcome:
        if piece.source == "daily":
            return self._fill(Piece(piece.span, "rest"), notes)
        first, *others = piece.by_day(source)
        return [self.start(first, notes), *map(self.start, others)]


def _result(pending: AsyncResult[_Outcome]) -> _Outcome:
    """Wait so that Ctrl-C is heard: once polars is imported, SIGINT ends only a wait with an end.

    Its handler has SA_RESTART, and an aggregate that ran before in this process imported it.
    """
    while not pending.ready():
        pending.wait(1.0)
    return pending.get()


def _fetched(span: Span, minutes: Minutes, source: str, notes: tuple[str, ...]) -> Fetched:
    source = with_unusable(source, minutes.unusable)
    return Fetched(span=span, bars=to_table(minutes), source=source, notes=notes)


def _mended(name: str, minutes: Minutes) -> list[str]:
    done = []
    if minutes.off_minute:
        done.append(f"{minutes.off_minute} bars off the minute were floored to it")
    if minutes.duplicates:
        done.append(f"{minutes.duplicates} bars of minutes that it has twice were dropped")
    if minutes.unsorted:
        done.append("its bars were put in order")
    return [f"{name}: {', '.join(done)}"] if done else []
