"""What a session shows: lines, what is known of it, pages for Prometheus."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from tbv8.errors import ConfigError
from tbv8.live.metrics import serve_metrics
from tbv8.live.output import ProcessReport
from tbv8.live.view import SessionDisplay, SessionView, session_table
from tests.builders import MONDAY

STATE: dict[str, Any] = {
    "is_counting": True,
    "positions": {"BTC/USDT": "0.5"},
    "equity": "1234.5",
    "day_loss": "-2",
    "halted_until_ms": None,
    "barred": None,
    "working": 2,
    "orders": 3,
    "fills": 2,
    "denials": 1,
    "halts": 0,
}
EVENTS = [
    (
        "fill",
        '{"ts_ms":1704067200000,"order_id":"O-7","side":"buy","type":"market","quantity":"1.00",'
        '"symbol":"BTC/USDT","price":"100","fee":"0.1","tags":"in"}',
    ),
    (
        "payment",
        '{"ts_ms":1704067200000,"symbol":"BTC/USDT","kind":"funding","amount":"-0.126",'
        '"booked_ms":1704067260000}',
    ),
    (
        "denial",
        '{"ts_ms":1704067200000,"rule":"stale_bar","order":"buy market 2","symbol":"BTC/USDT",'
        '"until_ms":null,"numbers":{"worst":"7.0","age_s":"412","limit_s":"180"},"tags":"late"}',
    ),
    ("halt", '{"ts_ms":1704067200000,"rule":"max_daily_loss_usd","until_ms":1704153600000}'),
]


def minute(**changes: Any) -> ProcessReport:
    state = STATE | changes.pop("state", {})
    values: dict[str, Any] = {
        "kind": "minute",
        "done_ms": MONDAY,
        "lag_ms": 2300,
        "took_ms": 1.5,
        "state": state,
    }
    return ProcessReport(**(values | changes))


def test_a_line_a_minute_and_one_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    view = SessionDisplay("a", {"primary": SessionView()})

    view.show("primary", minute(events=EVENTS))
    view.show("shadow", minute(state={"barred": "stopped", "working": 0, "is_counting": False}))
    view.show("primary", ProcessReport(kind="replayed"))
    view.show("primary", ProcessReport(kind="alive"))
    view.show("primary", ProcessReport(kind="stale", text="no closed minute since noon"))
    view.show("primary", ProcessReport(kind="stopped"))

    assert capsys.readouterr().out.splitlines() == [
        "   a: 2024-01-01T00:00:00Z O-7 filled: buy market 1 BTC/USDT at 100, fee 0.10 USD (in)",
        "   a: 2024-01-01T00:00:00Z got 0.13 USD, funding of BTC/USDT",
        "   a: 2024-01-01T00:00:00Z HALT by max_daily_loss_usd: every order cancelled, every "
        "position closed, opens nothing until 2024-01-02T00:00:00Z",
        "   a: 2024-01-01T00:00:00Z denied by stale_bar (the minute was read 412 s after its "
        "close, the limit is 180 s): buy market 2 BTC/USDT (late)",
        "   a: 2024-01-01T00:00:00Z position 0.5 BTC/USDT, 2 working orders, equity 1,234.50, "
        "day's loss -2.00, read 2.3 s after its close",
        "   a: shadow: 2024-01-01T00:00:00Z position 0.5 BTC/USDT, warm-up, not counted, read "
        "2.3 s after its close, opens nothing: stopped",
        "   a: stale: no closed minute since noon",
        "   a: stopped: opens nothing until `doit start a`",
    ]


def test_the_table_of_a_session_and_its_shadow_fits_a_terminal_of_80_columns() -> None:
    sessions = {"primary": SessionView(), "shadow": SessionView()}
    sessions["primary"].update(minute(done_ms=MONDAY))
    sessions["shadow"].update(minute(kind="replayed", done_ms=None, lag_ms=None))
    console = Console(width=80, file=(file := StringIO()))

    console.print(session_table("btc_usdt_perp_v1", sessions))

    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert [line.split()[0] for line in lines] == [
        *("btc_usdt_perp_v1", "state", "last", "position", "working", "equity", "day's", "fills"),
        "denied",
    ]
    assert lines[1].split()[1:] == ["running", "running"]
    assert re.fullmatch(r"   last minute +00:00 UTC, [\d,]+ d \d+ h ago +none yet", lines[2])
    assert lines[4].split()[2:] == ["2", "2"]
    assert lines[5].split()[1:] == ["1,234.50", "1,234.50"]


@pytest.mark.parametrize(
    ("reports", "problem"),
    [
        ([], "starting"),
        ([minute()], ""),
        ([ProcessReport(kind="waiting")], "waiting"),
        ([minute(), ProcessReport(kind="stale")], "stale"),
        ([minute(), ProcessReport(kind="stale"), ProcessReport(kind="fresh")], ""),
        ([minute(), ProcessReport(kind="stopped"), minute(state={"barred": "stopped"})], "stopped"),
        ([ProcessReport(kind="stopped"), ProcessReport(kind="started")], ""),
        ([minute(), ProcessReport(kind="killed")], "killed"),
        ([minute(), ProcessReport(kind="alive"), ProcessReport(kind="written")], ""),
    ],
)
def test_the_view_of_a_session_follows_its_reports(
    reports: list[ProcessReport], problem: str
) -> None:
    shown = SessionView()

    for report in reports:
        shown.update(report)

    assert shown.problem == problem


def read(port: int, page: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/{page}", timeout=10) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as e:
        return e.code, e.read().decode()


def test_prometheus_reads_numbers_and_health() -> None:
    sessions = {"primary": SessionView(), "shadow": SessionView()}
    with serve_metrics(0, "a", sessions) as port:
        assert read(port, "healthz") == (503, "stale: primary: starting, shadow: starting\n")

        for shown in sessions.values():
            shown.update(minute())
        sessions["shadow"].update(ProcessReport(kind="stale"))
        code, text = read(port, "metrics")

        assert code == 200
        for line in (
            'tbv8_paper_equity_usd{role="primary",strategy="a"} 1234.5',
            'tbv8_paper_position{role="primary",strategy="a",symbol="BTC/USDT"} 0.5',
            'tbv8_paper_up{role="shadow",strategy="a"} 0.0',
            'tbv8_paper_denials_total{role="primary",strategy="a"} 1.0',
            'tbv8_paper_lag_seconds{role="primary",strategy="a"} 2.3',
            'tbv8_paper_minutes_total{role="shadow",strategy="a"} 1.0',
        ):
            assert line in text.splitlines()
        assert read(port, "healthz") == (503, "stale: shadow: stale\n")

        with (
            pytest.raises(ConfigError, match="cannot be opened"),
            serve_metrics(port, "a", sessions),
        ):
            pass
