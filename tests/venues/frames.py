"""Frames as a broken network or a changed venue might send them, and what may come of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from tbv8.market import Bbo, Trade, parse_time

_VALUE = re.compile(rb'-?\d[\d.eE+]*|"[^"]*"')
_ODD = (
    b"null", b"[]", b"{}", b"[[]]", b"[[1]]", b'""', b'"x"', b"0", b"-1", b"true", b"1e308",
    b"1e400", b"123456789012345678901234567890", b"9" * 400, b"NaN", b'"nan"', b'"inf"', b'"1e308"',
    b"\xff",
    b"[" * 5000,
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, frames: Sequence[bytes]) -> bytes:
    """Draw one of `frames` with a byte or a value replaced, or its end cut off."""
    frame = draw(st.sampled_from(frames))
    how = draw(st.sampled_from(["byte", "value", "cut"]))
    if how == "cut":
        return frame[: draw(st.integers(0, len(frame)))]
    if how == "byte":
        at = draw(st.integers(0, len(frame) - 1))
        return frame[:at] + bytes([draw(st.integers(0, 255))]) + frame[at + 1 :]
    found = draw(st.sampled_from(list(_VALUE.finditer(frame))))
    return frame[: found.start()] + draw(st.sampled_from(_ODD)) + frame[found.end() :]


def check_event(event: Any) -> None:
    """Assert that a trade or a quote can be written, and could be meant."""
    if isinstance(event, Trade | Bbo):
        assert 0 < event.ts_ms < parse_time("2100-01-01")
    if isinstance(event, Trade):
        assert 0 < event.price <= 1e15
        assert 0 < event.size <= 1e24
        assert re.fullmatch(r"[ -~]{1,100}", event.trade_id)
    if isinstance(event, Bbo):
        for price, size in (
            (event.bid_price, event.bid_size),
            (event.ask_price, event.ask_size),
        ):
            assert (price is None) == (size is None)
            assert price is None or 0 < price <= 1e15
            assert size is None or 0 <= size <= 1e24
