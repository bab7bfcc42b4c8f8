"""Archive files of a hostile server, whose CHECKSUMs are true: unusable, in a line, and small."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib

import pytest

from tbv8.market import MINUTE_MS, Span, parse_time
from tbv8.venues.binance.archive import MAX_BYTES, UnusableError, parse_file

DAY = Span(parse_time("2024-03-08"), parse_time("2024-03-09"))
STEM = "BTCUSDT-1m-2024-03-08"
NAME = f"{STEM}.csv"
ROWS = [f"{DAY.start_ms + n * MINUTE_MS},2,3,1,2,5,0,0,0,0,0,0\n" for n in range(20)]
TEXT = "".join(ROWS).encode()


def packed(text: bytes = TEXT, *, method: int = zipfile.ZIP_DEFLATED, name: str = NAME) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), text, method)
    return made.getvalue()


def streamed() -> bytes:
    """Return a zip whose head has neither CRC nor sizes: they stand behind the file."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    made = Pipe()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo(NAME), TEXT, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def patched(zipped: bytes, at: int, form: str, *values: int | bytes) -> bytes:
    made = bytearray(zipped)
    struct.pack_into(form, made, at, *values)
    return bytes(made)


def two_files() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name in (NAME, "other.csv"):
            archive.writestr(name, TEXT, zipfile.ZIP_DEFLATED)
    return made.getvalue()


def rows_of(zipped: bytes) -> int:
    return len(parse_file(zipped, STEM, DAY))


GOOD = packed()
DATA_AT = 30 + len(NAME)
DIRECTORY_AT = GOOD.rindex(b"PK\x01\x02")


@pytest.mark.parametrize(
    "zipped",
    [
        pytest.param(GOOD, id="deflated"),
        pytest.param(packed(method=zipfile.ZIP_STORED), id="stored"),
        pytest.param(streamed(), id="with its CRC behind it"),
        pytest.param(streamed().replace(b"PK\x07\x08", b""), id="and that without a sign"),
        pytest.param(packed(b"\xef\xbb\xbf" + TEXT), id="with a byte order mark"),
        pytest.param(
            patched(GOOD, DIRECTORY_AT + 20, "<LL", 2**32 - 1, 2**32 - 1), id="false sizes"
        ),
        pytest.param(patched(GOOD, DIRECTORY_AT + 42, "<L", 2**31), id="a false offset"),
    ],
)
def test_a_zip_is_read_whatever_its_directory_has(zipped: bytes) -> None:
    assert rows_of(zipped) == len(ROWS)


@pytest.mark.parametrize(
    ("zipped", "why"),
    [
        (b"", "it is no zip"),
        (b"PK", "it is no zip"),
        (b"PK\x05\x06" + bytes(18), "it is no zip"),
        (b"junk" + GOOD, "it is no zip"),
        (packed(method=zipfile.ZIP_LZMA), "compressed by an unknown method (14)"),
        (packed(method=zipfile.ZIP_BZIP2), "compressed by an unknown method (12)"),
        (patched(GOOD, 6, "<H", 1), "it is encrypted"),
        (patched(GOOD, 26, "<H", 65535), "it contains"),
        (patched(GOOD, 28, "<H", 65535), "it is cut off"),
        (patched(GOOD, 14, "<L", 1), "its CRC differs"),
        (packed(name="../../x.csv"), "it contains '../../x.csv', not"),
        (packed(name="\x1b[2J\u202e.csv"), r"it contains '\x1b[2J\u202e.csv', not"),
        (patched(GOOD, 30, "<4s", b"\xff\xfe\x00\n"), "it contains"),
        (two_files(), f"it contains more than {NAME!r}"),
        (GOOD[:DIRECTORY_AT], "or is cut off"),
        (packed(b" " * (MAX_BYTES + 1)), "it unzips to more than 16,777,216 bytes"),
        (packed(b"\n" * MAX_BYTES), "it has more than 2,880 rows"),
        (packed(b"1" * 5000 + b",1,1,1,1,1,,,,,,"), "conversion error to int64"),
        (packed(b"\x1b[2J\n" * 3), r"\x1b[2J"),
        (packed(b"\x00" * 1000), "Could not skip initial 1 rows"),
    ],
)
def test_a_hostile_file_is_unusable_in_one_printable_line(zipped: bytes, why: str) -> None:
    with pytest.raises(UnusableError) as refused:
        rows_of(zipped)

    assert why in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("zipped", [GOOD, streamed()], ids=["plain", "streamed"])
def test_a_file_cut_off_or_changed_anywhere_is_unusable_or_right(zipped: bytes) -> None:
    damaged = [zipped[:length] for length in range(len(zipped))]
    damaged += [
        zipped[:at] + bytes([zipped[at] ^ bit]) + zipped[at + 1 :]
        for at in range(len(zipped))
        for bit in (1, 0x80, 0xFF)
    ]

    output = set()
    for one in damaged:
        try:
            output.add(str(rows_of(one)))
        except UnusableError as e:
            output.add(str(e))

    assert str(len(ROWS)) in output
    assert [line for line in output if not line.isprintable()] == []
    assert {line for line in output if line.isdecimal()} == {str(len(ROWS))}


def test_a_directory_of_a_million_files_is_not_read() -> None:
    entry = GOOD[DIRECTORY_AT : DIRECTORY_AT + 46 + len(NAME)]
    zipped = GOOD[:DIRECTORY_AT] + entry * (MAX_BYTES // len(entry) - 10)

    assert cost_mb(zipped) < 50


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join(bomb.compress(bytes(2**20)) for _ in range(1024)) + bomb.flush()
    zipped = GOOD[:DATA_AT] + data

    assert cost_mb(zipped) < 50


def cost_mb(zipped: bytes) -> float:
    tracemalloc.start()
    try:
        rows_of(zipped)
    except UnusableError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak / 2**20
