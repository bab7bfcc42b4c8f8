"""Replies that no honest server gives: bytes as they go on the wire, in place of a true reply.

    server.faults.add(Fault(match="klines", kind="raw", raw=BODIES["deep JSON"]))    Binance
    server.fault(Fault(kind="rest", how="raw", raw=BODIES["deep JSON"]))    live venues

What is endless here ends when the client hangs up, or at `LONG` bytes.
"""

from __future__ import annotations

import gzip
import struct
import zlib

from tests.servers.raw import Raw

LONG = 2**28
_PART = 2**16


def whole(body: bytes, *headers: str, status: str = "200 OK") -> Raw:
    """Return a reply of the right length."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return Raw(head="\r\n".join(lines).encode("latin-1") + body)


def endless(head: str, part: bytes, *, least: int = _PART) -> Raw:
    """Return a head, given line by line, and a part that comes again and again."""
    part *= -(-least // len(part))
    return Raw(head=head.encode("latin-1"), part=part, times=LONG // len(part))


def dripping(raw: Raw, pause_s: float = 0.02, pieces: int = 500) -> Raw:
    """Return a reply that begins as `raw` and then goes on in bytes, none of them late."""
    return Raw(head=raw.head, part=raw.part[:1] or b" ", times=pieces, pause_s=pause_s)


def bomb(size: int = LONG) -> bytes:
    """Return a gzip of a thousandth of what is in it: one block again and again."""
    spaces, times, crc = b" " * 2**20, size // 2**20, 0
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(spaces) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(times):
        crc = zlib.crc32(spaces, crc)
    head, last_block = b"\x1f\x8b\x08\0\0\0\0\0\2\xff", b"\3\0"
    return head + block * times + last_block + struct.pack("<II", crc, size)


_NINES = "9" * 5000
_CLOSE = "Connection: close\r\n"
_CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def _json(text: str) -> Raw:
    return whole(text.encode(), "Content-Type: application/json")


def _bare(body: str) -> Raw:
    return Raw(head=f"HTTP/1.1 200 OK\r\n{_CLOSE}\r\n{body}".encode("latin-1"))


HEADS: dict[str, Raw] = {
    "no HTTP": Raw(head=b"\x00\xff" * 50),
    "nothing": Raw(head=b""),
    "half a head": Raw(head=b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a status of letters": Raw(head=b"HTTP/1.1 two OK\r\n\r\n"),
    "a status of thousands of digits": Raw(head=f"HTTP/1.1 {_NINES} OK\r\n\r\n".encode()),
    "a long reason": Raw(head=b"HTTP/1.1 200 " + b"x" * 10**6 + b"\r\n\r\n"),
    "a length of thousands of digits": Raw(
        head=f"HTTP/1.1 200 OK\r\nContent-Length: {_NINES}\r\n\r\n[".encode()
    ),
    "a negative length": Raw(head=b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}"),
    "two lengths": Raw(
        head=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 90000\r\n\r\n[]"
    ),
    "a length that is not kept": Raw(head=b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n["),
    "a long header": whole(b"[]", f"X-Long: {'x' * 10**6}"),
    "endless headers": endless("HTTP/1.1 200 OK\r\n", b"X-Again: and again\r\n"),
    "an endless header": endless("HTTP/1.1 200 OK\r\nX-Long: ", b"x"),
    "an endless first line": endless("HTTP/1.1 200 ", b"x"),
    "an encoding that nobody asked for": whole(b"[]", "Content-Encoding: br"),
    "ten encodings": whole(b"[]", "Content-Encoding: " + ", ".join(["gzip"] * 10)),
    "no gzip": whole(b"[]", "Content-Encoding: gzip"),
    "half a gzip": whole(gzip.compress(b"[]")[:-6], "Content-Encoding: gzip"),
    "a gzip bomb": whole(bomb(), "Content-Encoding: gzip"),
    "a chunk of thousands of digits": Raw(head=f"{_CHUNKED}{_NINES}\r\n[".encode()),
    "a negative chunk": Raw(head=f"{_CHUNKED}-5\r\n[]\r\n0\r\n\r\n".encode()),
    "a chunk of -1": endless(f"{_CHUNKED}-1\r\n", b"["),
    "an endless chunk head": endless(f"{_CHUNKED}2;", b"x"),
    "endless chunks": endless(_CHUNKED, b"100\r\n" + b"[" * 256 + b"\r\n"),
    "endless trailers": endless(f"{_CHUNKED}2\r\n[[\r\n0\r\n", b"X-Again: and again\r\n"),
    "an endless body": endless(f"HTTP/1.1 200 OK\r\n{_CLOSE}\r\n", b"["),
    "an endless error": endless(f"HTTP/1.1 500 Oh\r\n{_CLOSE}\r\n", b"\x1b[2J"),
    "an endless refusal": endless(f"HTTP/1.1 400 No\r\n{_CLOSE}\r\n", b"\x1b[2J"),
    "cookies": whole(b"[", *[f"Set-Cookie: a{n}={'x' * 4000}" for n in range(80)]),
}

BODIES: dict[str, Raw] = {
    "an empty body": _json(""),
    "a bracket": _json("["),
    "null": _json("null"),
    "a text": _json('"serverTime"'),
    "a number": _json("1"),
    "deep JSON": _json("[" * 10**6),
    "deep objects": _json('{"a":' * 10**5),
    "deep and closed": _json("[" * 10**5 + "]" * 10**5),
    "thousands of digits": _json(f'{{"serverTime":{_NINES},"time":{_NINES},"success":{_NINES}}}'),
    "thousands of digits in a list": _json(f"[[{_NINES}]]"),
    "thousands of digits in quotes": _json(f'{{"serverTime":"{_NINES}","time":"{_NINES}"}}'),
    "1e999999": _json('{"serverTime":1e999999,"time":1e999999,"data":[1e999999]}'),
    "NaN": _json('{"serverTime":NaN,"time":NaN}'),
    "true for a time": _json('{"serverTime":true,"time":true,"success":true,"data":true}'),
    "a clock of 10^30": _json(f'{{"serverTime":{10**30},"time":{10**30}}}'),
    "errors in a good status": _json('{"code":{},"msg":[],"success":false,"message":{}}'),
    "an error within an error": _json('{"success":false,"msg":"{\\"code\\":[]}"}'),
    "a code that is no number": _json('{"code":1e999,"msg":"{"}'),
    "a list of null": _json("[null]"),
    "a list of lists": _json("[[]]"),
    "a list of errors": _json('[{"code":-1,"msg":"{"}]'),
    "a clock of the year 9998": _json(
        '{"serverTime":253370764800000,"time":253370764800000,"success":true,"data":253370764800000}'
    ),
    "a clock of tomorrow's tomorrow": _json(
        '{"serverTime":4070908800000,"time":4070908800000,"success":true,"data":4070908800000}'
    ),
    "no text": whole(b"\xff\xfe\x00" * 100),
    "surrogates": _json('{"serverTime":"\\ud800","time":"\\udfff","message":"\\ud800"}'),
    "many lists": _json("[" + "[]," * 349_000 + "[]]"),  # 1 MB
    "many objects": _json("[" + "{}," * 349_000 + "{}]"),
}

_CONTROLS = "\x1b[2J\x1b]0;owned\x07\u202e\u2028ERROR: all is lost\r\n"

REFUSALS: dict[str, Raw] = {
    "controls in the body": whole(_CONTROLS.encode(), status="400 Bad Request"),
    "controls in the reason": whole(b"", status="400 \x1b[2J\x9b2J"),
    "controls in a JSON message": whole(
        b'{"code":-1,"msg":"\\u001b[2J\\u202e\\n","message":"\\u001b[2J\\n"}', status="400 No"
    ),
    "controls in a good status": whole(_CONTROLS.encode()),
    "a code of thousands of digits": whole(f'{{"code":-{_NINES}}}'.encode(), status="400 No"),
    "a deep refusal": whole(b"[" * 10**6, status="400 No"),
    "status 999": whole(b"", status="999 What"),
    **{
        f"{status}, Retry-After {name}": whole(b"", f"Retry-After: {value}", status=status)
        for status in ("418 Teapot", "429 Too Many Requests", "503 Unavailable")
        for name, value in (
            ("of 14 digits", "99999999999999"),
            ("of 400 digits", "9" * 400),
            ("of 5000 digits", _NINES),
            ("below 0", "-1"),
            ("in other digits", "\u00b2"),
            ("of the year 9999", "Fri, 31 Dec 9999 23:59:59 GMT"),
            ("of no year", f"Fri, 31 Dec {_NINES} 23:59:59 GMT"),
            ("of a far zone", "Fri, 31 Dec 2027 23:59:59 +999999"),
            ("of no date", "Fri, 99 Foo 2027 99:99:99"),
        )
    },
    "a ban until far away": whole(b'{"msg":"banned until 99999999999999."}', status="418 Teapot"),
    "a limit of thousands of digits": whole(
        f'{{"msg":"current limit is {_NINES} request weight per 1 MINUTE"}}'.encode(),
        f"X-MBX-USED-WEIGHT-1M: {_NINES}",
        status="429 Too Many Requests",
    ),
    "a limit of nothing": whole(
        b'{"msg":"current limit is 0 request weight per 1 MINUTE"}',
        "X-MBX-USED-WEIGHT-1M: 0",
        "Retry-After: 0",
        status="429 Too Many Requests",
    ),
}

REDIRECTS: dict[str, Raw] = {
    f"to {name}": whole(b"", f"Location: {location}", status=status)
    for status in ("302 Found", "308 Permanent Redirect")
    for name, location in (
        (f"no address, {status}", "http://["),
        (f"another host, {status}", "http://elsewhere.example/x"),
        (f"another host in few words, {status}", "//elsewhere.example/x"),
        (f"another port, {status}", "http://127.0.0.1:1/x"),
        (f"a port that is none, {status}", "http://127.0.0.1:99999999/"),
        (f"a file, {status}", "file:///etc/passwd"),
        (f"another protocol, {status}", "ftp://127.0.0.1/x"),
        (f"a name and a password, {status}", "http://me:secret@127.0.0.1/"),
        (f"no host, {status}", "http:///x"),
        (f"controls, {status}", "http://\x1b[2J/"),
        (f"a long label, {status}", f"http://{'a' * 300}.example/"),
        (f"a long address, {status}", f"http://127.0.0.1:1/{'a' * 60_000}"),
        (f"no letters, {status}", "\xff\xfe://\x80"),
    )
}

SLOW: dict[str, Raw] = {
    "endless 100 Continue": endless("", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a dripping first line": dripping(endless("HTTP/1.1 200 ", b"x")),
    "dripping headers": dripping(endless("HTTP/1.1 200 OK\r\nX-A: ", b"x")),
    "a dripping body": dripping(Raw(head=b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")),
    "a dripping error": dripping(endless(f"HTTP/1.1 500 Oh\r\n{_CLOSE}\r\n", b"x")),
    "a dripping chunk": dripping(endless(f"{_CHUNKED}2;", b"x")),
    "silence": Raw(head=b"HTTP/1.1 200 OK\r\n", part=b"", times=1, pause_s=5.0),
}
