"""A session with one of Binance's histories: pieces are filled side by side, yielded by time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from http import HTTPStatus
from multiprocessing.pool import AsyncResult, ThreadPool
from types import TracebackType
from typing import TYPE_CHECKING, Self

import requests

from tbv8.market import DAY_MS, ONE_MINUTE, Span
from tbv8.venues.base import Endpoints, Fetched, unusable_note, with_unusable
from tbv8.venues.binance.archive import (
    MOST_BYTES,
    UnusableError,
    digest,
    parse_checksum,
    parse_file,
)
from tbv8.venues.binance.host import (
    Host,
    Lent,
    Patience,
    failure_in,
    failure_of,
    get,
)
from tbv8.venues.binance.minutes import Minutes, absent, cut, join, to_table
from tbv8.venues.binance.plan import Piece, Source, pieces
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.rest import AT_ONCE, Rest
from tbv8.venues.http import OutOfBoundsError, Session

if TYPE_CHECKING:
    import pyarrow as pa

ARCHIVE_URL = "https://data.binance.vision"

_THREADS = 4
_AHEAD = 8  # pieces that are asked for before the consumer wants them; a month is 2 MB of bars

type _Outcome = Fetched | list[AsyncResult[_Outcome]]


class BinanceHistory:
    """A session; `fetch` runs its own threads, the other methods the caller's."""

    def __init__(
        self, product: Product, endpoints: Endpoints, patience: Patience | None = None
    ) -> None:
        patience = patience or Patience()
        self._product = product
        self._rest = Rest(
            product,
            Host(
                product,
                endpoints.rest_url or product.rest_url,
                option="rest_url",
                cure=product.rest_cure,
                at_once=AT_ONCE,
                patience=patience,
            ),
            endpoints.redirect_hosts,
        )
        self._archive = Host(
            product,
            endpoints.archive_url or ARCHIVE_URL,
            option="archive_url",
            cure=f"a mirror of {ARCHIVE_URL} that answers here",
            at_once=_THREADS,
            patience=patience,
        )
        self._redirect_hosts = endpoints.redirect_hosts
        self._listed_ms: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._rest.close()

    def native_symbol(self, symbol: str) -> str:
        """Return `BTCUSDT` for `BTC/USDT`."""
        return symbol.replace("/", "")

    def clock_ms(self) -> int:
        """Return the venue's clock: a minute that it has not passed is not history."""
        return self._rest.fetch_clock_ms()

    def listed_ms(self, native: str) -> int:
        """Return the open of the symbol's first bar; the venue is asked once.

        Raises:
            VenueError: The venue does not know the symbol.
        """
        if native not in self._listed_ms:
            self._listed_ms[native] = self._rest.fetch_listed_ms(native)
        return self._listed_ms[native]

    def fetch(self, native: str, gaps: Sequence[Span]) -> Generator[Fetched]:
        """Yield all that fills `gaps`, by time; closing it early ends its downloads.

        Four threads work ahead of the consumer, who holds at most some months of bars. Minutes of
        the last day that the venue does not have, and behind which it has none, may come yet (it
        halted, or its answer lags a little behind its clock): nothing is yielded of them.

        Raises:
            VenueError: The venue refuses, or is out of reach after all tries.
        """
        if not gaps:
            return
        past = Span(0, ONE_MINUTE.floor(self.clock_ms()))
        gaps = [part for gap in gaps if (part := gap.intersection(past))]
        waiting = deque(pieces(gaps, now_ms=past.end_ms, listed_ms=self.listed_ms(native)))
        ahead: deque[AsyncResult[_Outcome]] = deque()
        closing = threading.Event()
        sessions = Lent(
            lambda: Session(
                most_bytes=MOST_BYTES, hosts=self._redirect_hosts, is_closing=closing.is_set
            )
        )
        # Its threads are daemons: one that hangs in a socket does not keep the process alive.
        with ThreadPool(min(_THREADS, len(waiting) or 1)) as threads:
            filler = _Filler(
                self._product,
                native,
                self._rest,
                self._archive,
                sessions,
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
                for session in sessions.made:
                    session.close()

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
        archive: Host,
        sessions: Lent[Session],
        threads: ThreadPool,
        closing: threading.Event,
        *,
        settled_ms: int,
    ) -> None:
        self._product, self._native = product, native
        self._rest, self._archive = rest, archive
        self._sessions, self._threads, self._closing = sessions, threads, closing
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
            found = self._read_file(piece, name)
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

    def _fill_by_day(self, piece: Piece, source: Source, notes: tuple[str, ...]) -> _Outcome:
        if piece.source == "daily":
            return self._fill(Piece(piece.span, "rest"), notes)
        first, *others = piece.by_day(source)
        return [self.start(first, notes), *map(self.start, others)]

    def _read_file(self, piece: Piece, name: str) -> tuple[Minutes, str] | None:
        """Return the bars of a piece's archive file and its sha256; None where there is no file.

        Raises:
            UnusableError: It is not what it should be, fetched twice if the checksum says so.
        """
        path = piece.file_path(self._product, self._native)
        for _ in range(2):
            zipped = self._download(path)
            if zipped is None:
                return None
            line = self._download(f"{path}.CHECKSUM")
            sha256 = digest(zipped)
            if line is not None and parse_checksum(line, name) == sha256:
                stem = name.removesuffix(".zip")
                return parse_file(zipped, stem, piece.file_span), sha256
        problem = "is not there" if line is None else "has another sha256, twice"
        raise UnusableError(f"its CHECKSUM {problem}")

    def _download(self, path: str) -> bytes | None:
        """Return an archive file; None where there is none."""

        def call() -> tuple[bytes | None, Mapping[str, str]]:
            with self._sessions.one() as session:
                try:
                    reply = get(session, self._archive, path)
                except OutOfBoundsError as e:
                    raise UnusableError(str(e)) from e
                except requests.RequestException as e:
                    raise failure_of(e) from e
            if reply.status_code == HTTPStatus.OK:
                return reply.content, reply.headers
            if reply.status_code == HTTPStatus.NOT_FOUND:
                return None, reply.headers
            raise failure_in(reply)

        return self._archive.ask(path, call, self._closing)


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
