"""What a user sees of a running recorder: the table at any size, and the line elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from tbv8.market import Series
from tbv8.recorder.pace import STANDARD
from tbv8.recorder.status import RecorderStatus, StreamStatus, VenueStatus
from tbv8.recorder.view import EventRates, RecorderView, line, summary, table


def stream(symbol: str, channel: str, **changes: Any) -> StreamStatus:
    parts: dict[str, Any] = {
        "series": Series("mexc", symbol),
        "channel": channel,
        "state": "up",
        "silent_s": 1.6,
        "lag_ms": 45,
        "price": 84143.5,
        "events": 1200,
        "duplicates": 3,
        "gaps": 1,
        "minutes": 12,
        "minutes_waiting": 0,
    }
    return StreamStatus(**(parts | changes))


def status(*streams: StreamStatus, events: int = 0, **changes: Any) -> RecorderStatus:
    venue = VenueStatus(
        venue="mexc",
        state="up",
        frames=events,
        reconnects=2,
        unreadable=0,
        failed=0,
        offset_ms=0,
        streams=streams,
    )
    parts: dict[str, Any] = {
        "venues": (venue,),
        "trades": 2400,
        "bbo": 1100,
        "minutes": 12,
        "waiting": 17,
        "dropped": 0,
        "commits": 9,
        "stuck_s": 0.0,
        "running_s": 3725.0,
    }
    return RecorderStatus(**(parts | changes))


def shown(now: RecorderStatus, *, width: int = 200, height: int = 50) -> list[str]:
    return [text.plain for text in table(now, EventRates(), width=width, height=height)]


BTC = (stream("BTC/USDT", "trades"), stream("BTC/USDT", "bbo", events=900, lag_ms=80))


def test_a_symbol_has_one_line_with_its_state_price_rate_lag_counts_and_gaps() -> None:
    rates = EventRates()
    table(status(*BTC, running_s=3723.0), rates, width=80, height=50)
    later = (stream("BTC/USDT", "trades", events=1210), BTC[1])

    lines = [text.plain for text in table(status(*later), rates, width=80, height=50)]

    assert lines[0].startswith("tbv8 record 1:02:05   queue 17   written: 2,400 trades, 1,100 bbo")
    assert lines[1].split() == [
        "symbol", "state", "price", "msg/s", "lag", "ms", "trades", "bbo", "bars", "gaps",
    ]  # fmt: skip
    assert lines[2] == "mexc up   0 msg/s, 2 reconnects"
    assert lines[3].split() == [
        "BTC/USDT",
        "up",
        "84,143.5",
        "5.0",
        "80",
        "1,210",
        "900",
        "12",
        "2",
    ]


def test_a_wide_terminal_shows_duplicates_and_silence() -> None:
    heads, _venue, row = shown(status(*BTC))[1:4]

    assert heads.endswith("again  silent s")
    assert row.split()[-2:] == ["6", "2"]


def test_different_states_are_both_shown_with_the_waiting_minutes() -> None:
    trades = stream("BTC/USDT", "trades", state="stale", minutes_waiting=4)

    row = table(status(trades, BTC[1]), EventRates(), width=80, height=50)[3]

    assert row.plain.split()[1] == "stale/up"
    assert "12+4" in row.plain
    assert "red" in str(row.spans)


@pytest.mark.parametrize("width", [40, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    now = status(
        stream("1000000MOG/USDT", "trades", price=0.00000150361234, events=10**9, minutes=10**5),
        stream("1000000MOG/USDT", "bbo", events=123_456_789, gaps=123),
    )

    assert max(map(len, shown(now, width=width))) <= width


def test_without_room_for_all_symbols_with_problems_come_first() -> None:
    streams = [stream(f"C{number:02}/USDT", "trades") for number in range(40)]
    streams[33] = stream("C33/USDT", "trades", state="down")

    lines = shown(status(*streams), height=12)

    assert len(lines) <= 12
    assert lines[3].split()[:2] == ["C33/USDT", "down"]
    assert lines[-2] == "  ... and 33 more, all well"


def test_a_stuck_database_and_dropped_events_are_shown_in_red() -> None:
    last = table(status(*BTC, stuck_s=12.0, dropped=1500), EventRates(), width=80, height=50)[-1]

    assert last.plain.startswith("the database could not be written for 12 s; 1,500 events DROPPED")
    assert "red" in str(last.style)


def test_without_a_terminal_a_line_shows_the_status() -> None:
    bad = stream("BTC/USDT", "bbo", state="down")

    text = line(status(BTC[0], bad, events=50, running_s=10.0), EventRates())

    assert text == (
        "   record: mexc up, 1/2 streams, 5/s; 2,400 trades, 1,100 bbo, 12 minutes, 17 waiting"
    )


def test_similar_log_lines_are_printed_once_in_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    view = RecorderView(STANDARD)

    for port in (1, 2, 3):
        view.log(f"mexc: cannot connect (port {port})")
    view.log("hyperliquid: another matter")

    output = capsys.readouterr().out.splitlines()
    assert [text.split("Z ")[1] for text in output] == [
        "mexc: cannot connect (port 1)",
        "hyperliquid: another matter",
    ]


def test_the_last_line_counts_what_was_recorded() -> None:
    one = status(BTC[0], trades=1, minutes=1, bbo=2000, dropped=1, running_s=61.0)
    assert summary(one) == (
        "recorded 1 trade, 2,000 quotes and 1 minute in 61 s; 2 reconnects, 1 gap; DROPPED 1 "
        "event; mexc SENT NO DATA"
    )
