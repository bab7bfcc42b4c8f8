"""How much a venue may send, and where it may send us."""

from __future__ import annotations

import gzip
import tracemalloc

import pytest

from tbv8.venues.bounds import BoundsError, decode_body, inflate, redirect_target
from tests.servers.hostile import bomb

HERE = "https://api.example.com/v1/time?a=1"


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_a_gzip_up_to_the_limit_is_read(size: int) -> None:
    assert inflate(gzip.compress(b"x" * size, mtime=0), 1000) == b"x" * size


@pytest.mark.parametrize(
    ("zipped", "why"),
    [
        (gzip.compress(b"x" * 1001, mtime=0), "it has more than 1,000 bytes"),
        (gzip.compress(b"x", mtime=0)[:-1], "it is no complete gzip"),
        (b"", "it is no complete gzip"),
        (b"\x1f\x8b no gzip", "it is no gzip"),
        (gzip.compress(b"x", mtime=0)[:-8] + bytes(8), "it is no gzip"),
    ],
)
def test_any_other_gzip_is_refused(zipped: bytes, why: str) -> None:
    with pytest.raises(BoundsError, match=why):
        inflate(zipped, 1000)


def test_a_gzip_bomb_uses_no_more_memory_than_its_limit() -> None:
    zipped = bomb()
    tracemalloc.start()

    with pytest.raises(BoundsError):
        inflate(zipped, 2**20)

    assert tracemalloc.get_traced_memory()[1] < 4 * 2**20
    tracemalloc.stop()


def test_a_body_is_decoded_by_its_content_encoding() -> None:
    zipped = gzip.compress(b"[]", mtime=0)

    assert decode_body(b"[]", "", 9) == decode_body(b"[]", "identity", 9) == b"[]"
    assert decode_body(zipped, " GZip ", 9) == b"[]"
    assert decode_body(b"", "gzip", 9) == b""
    with pytest.raises(BoundsError, match="an encoding that was not requested, 'gzip, gzip'"):
        decode_body(zipped, "gzip, gzip", 9)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2/time", "https://api.example.com/v2/time"),
        ("time2", "https://api.example.com/v1/time2"),
        ("//api.example.com/x", "https://api.example.com/x"),
        ("https://API.example.com:443/x", "https://API.example.com:443/x"),
        ("https://other.example.com/x", "https://other.example.com/x"),
        ("https://other.example.com:8443/x", "https://other.example.com:8443/x"),
    ],
)
def test_a_redirect_to_the_same_host_or_a_configured_one_is_allowed(
    location: str, target: str
) -> None:
    assert redirect_target(HERE, location, ("other.example.com",)) == target


def test_a_redirect_from_http_to_https_is_allowed() -> None:
    assert redirect_target("http://a.example/x", "https://a.example/x", ()) == "https://a.example/x"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("https://evil.example/", "leads to another host, 'evil.example', that `redirect_hosts`"),
        ("//evil.example", "leads to another host"),
        ("https://api.example.com.evil.example/", "leads to another host"),
        ("https://evil.example\\@api.example.com/", "leads to .*, which is no address"),
        ("https://api.example.com@evil.example/", "which is no address"),
        ("https://api.example.com:444/", "leads to another host, 'api.example.com:444'"),
        ("http://api.example.com/", "leads away from https"),
        ("http://other.example.com/", "leads away from https"),
        ("ftp://api.example.com/", "which is no address"),
        ("file:///etc/passwd", "which is no address"),
        ("https://[", "which is no address"),
        ("https://api.example.com:99999999/", "which is no address"),
        ("mailto:\x1b[2J", r"leads to 'mailto:\\x1b\[2J', which is no address"),
    ],
)
def test_any_other_redirect_is_refused(location: str, why: str) -> None:
    with pytest.raises(BoundsError, match=why):
        redirect_target(HERE, location, ("other.example.com",))
