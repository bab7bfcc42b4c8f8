"""A session with the 1m bars of one of Binance's markets; threads work ahead of the consumer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import TYPE_CHECKING

from tbv8.market import DAY_MS, ONE_MINUTE, Span
from tbv8.text import counted
from tbv8.venues.base import Endpoints, FetchedSpan, History, unusable_note, with_unusable
from tbv8.venues.binance.archive import UnusableError, parse_file
from tbv8.venues.binance.files import THREADS, Files, OpenFiles, archive_opener
from tbv8.venues.binance.host import HostOptions
from tbv8.venues.binance.minutes import MinuteBars, join, missing_runs, to_table, within_span
from tbv8.venues.binance.plan import Piece, Source, pieces
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.rest import Rest, open_rest

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_PIECES_AHEAD = 8  # a month has 2 MB

type _Outcome = FetchedSpan | list[AsyncResult[_Outcome]]
"""A filled piece, or the pending outcomes of its days."""


def open_history(
    product: Product, endpoints: Endpoints, options: HostOptions | None = None
) -> History:
    """Open a session with the 1m bars of a product."""
    options = options or HostOptions()
    rest = open_rest(product, endpoints, options)
    return History(rest, BinanceBars(product, rest, archive_opener(product, endpoints, options)))


class BinanceBars:
    """The 1m bars of a product; see `tbv8.venues.base.Rows`. Only `fetch` starts threads.

    Args:
        product: The product.
        rest: Its REST API.
        open_files: Opens its archive.
    """

    def __init__(self, product: Product, rest: Rest, open_files: OpenFiles) -> None:
        self._product, self._rest, self._open_files = product, rest, open_files
        self._listed_ms: dict[str, int] = {}

    def first_ms(self, native: str) -> int:
        """Return the open of the symbol's first bar; it is requested once per symbol.

        Raises:
            VenueError: The venue does not know the symbol.
        """
        if native not in self._listed_ms:
            self._listed_ms[native] = self._rest.fetch_listed_ms(native)
        return self._listed_ms[native]

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[FetchedSpan]:
        """Yield complete spans that fill `gaps`, in time order; closing it ends its downloads.

        Four threads work ahead of the consumer, by some months of bars at most. Minutes of the last
        day with no later bar are left out: the venue may still publish them, after a halt, or
        because a reply lags a little behind the venue's clock.

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
        # The pool's threads are daemons: a hanging socket does not keep the process alive.
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
                    while waiting and len(ahead) < _MAX_PIECES_AHEAD:
                        ahead.append(filler.start(waiting.popleft()))
                    outcome = _result(ahead.popleft())
                    if isinstance(outcome, FetchedSpan):
                        if outcome.span:
                            yield outcome
                    else:
                        ahead.extendleft(reversed(outcome))
            finally:
                closing.set()
                files.close()

    def fetch_direct(self, native: str, span: Span) -> pa.Table:
        """Return the bars of `span` by REST, by time; missing ones are requested twice.

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
        """Fill a piece in a thread of the pool; return its pending outcome."""
        return self._threads.apply_async(self._fill, (piece, notes))

    def _fill(self, piece: Piece, notes: tuple[str, ...]) -> _Outcome:
        """Return the filled piece; if its file is unusable or absent, the outcomes of its days."""
        if piece.source == "rest":
            minutes, known_ms = self._rest.fetch(
                self._native, piece.span, self._closing, settled_ms=self._settled_ms
            )
            known_span = Span(piece.span.start_ms, known_ms)
            notes = (*notes, *_mending_notes("REST", minutes), *unusable_note(minutes.unusable))
            return _fetched(known_span, minutes, "rest", notes)
        name = f"{piece.file_stem(self._native)}.zip"
        try:
            file = self._read_file(piece)
        except UnusableError as e:
            return self._fill_by_day(piece, "rest", (*notes, f"{name}: {e}; taken from REST"))
        if file is None:
            return self._fill_by_day(piece, "daily", notes)
        whole_file, sha256 = file
        minutes, source = within_span(whole_file, piece.span), f"{name} sha256:{sha256}"
        notes, known_span = (*notes, *_mending_notes(name, whole_file)), piece.span
        if runs := missing_runs(minutes, piece.span):
            healed, known_ms = self._rest.fetch_missing(
                self._native, runs, self._closing, settled_ms=self._settled_ms
            )
            minutes = join([minutes, healed])
            notes = (*notes, *unusable_note(minutes.unusable))
            if len(healed):
                source = f"{source}; rest"
                notes = (
                    *notes,
                    f"{name}: {counted(len(healed), 'missing minute')} came from REST",
                )
            if known_ms < runs[-1].end_ms:
                known_span = Span(piece.span.start_ms, known_ms)
        return _fetched(known_span, within_span(minutes, known_span), source, notes)

    def _read_file(self, piece: Piece) -> tuple[MinuteBars, str] | None:
        """Return the bars of a piece's file and the file's sha256; None if there is no file.

        Raises:
            UnusableError: The file cannot be used.
        """
        if (file := self._files.read(piece.file_path(self._product, self._native))) is None:
            return None
        zipped, sha256 = file
        return parse_file(zipped, piece.file_stem(self._native), piece.file_span), sha256

    def _fill_by_day(self, piece: Piece, source: Source, notes: tuple[str, ...]) -> _Outcome:
        if piece.source == "daily":
            return self._fill(Piece(piece.span, "rest"), notes)
        first, *later = piece.by_day(source)
        return [self.start(first, notes), *map(self.start, later)]


def _result(pending: AsyncResult[_Outcome]) -> _Outcome:
    """Wait for an outcome in short steps, so that Ctrl-C works.

    If this process has imported polars, whose signal handler has SA_RESTART, SIGINT does not end a
    wait without a timeout.
    """
    while not pending.ready():
        pending.wait(1.0)
    return pending.get()


def _fetched(span: Span, minutes: MinuteBars, source: str, notes: tuple[str, ...]) -> FetchedSpan:
    source = with_unusable(source, minutes.unusable)
    return FetchedSpan(span=span, bars=to_table(minutes), source=source, notes=notes)


def _mending_notes(name: str, minutes: MinuteBars) -> list[str]:
    changes = []
    if minutes.off_minute:
        changes.append(f"floored {counted(minutes.off_minute, 'bar')} to the minute")
    if minutes.duplicates:
        changes.append(f"dropped {counted(minutes.duplicates, 'bar')} of repeated minutes")
    if minutes.unsorted:
        changes.append("sorted its bars by time")
    return [f"{name}: {', '.join(changes)}"] if changes else []
