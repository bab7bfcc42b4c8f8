"""Funding through real `doit` processes: a backtest on a perpetual's history in one command."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tbv8.market import HOUR_MS, parse_time
from tests.e2e.conftest import Project
from tests.servers.binance import read_log, running_process, send_control

START, END, NOW = "2024-01-20", "2024-02-20", "2024-02-20T12:00:30Z"
CALL = ("venue=binance_perp", f"start={START}", f"end={END}")
RUN = "backtest:btc_usdt_perp_v1"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    market = ("--synthetic", "BTCUSDT", "2024-01-10T04:00:00Z", "2024-04-01", "1")
    with running_process(*market, "--now", NOW) as url:
        yield url


def test_a_backtest_on_a_perpetual_is_charged_what_it_charged(url: str, project: Project) -> None:
    project.write(
        "config/venues/binance_perp.yaml",
        "venue: binance_perp\nsymbols: {BTC/USDT: BTCUSDT}\n"
        f"rest_url: {url}\narchive_url: {url}\n",
    )

    ran = project.doit(*CALL, RUN)

    assert re.search(r"   funding of \S+: \d+ hours in ", ran.stdout)
    for venue in ("hyperliquid", "mexc"):
        assert f"     {venue}: funding at binance_perp's rates\n" in ran.stdout
        assert re.search(rf"     {venue}: 10,000.* funding (paid|received) \d", ran.stdout)
    summary = json.loads((project.results / "btc_usdt_perp_v1/summary.json").read_text())
    assert summary["primary"]["funding"] != 0
    [(paid, first, last)] = project.sql("SELECT count(*), min(ts_ms), max(ts_ms) FROM funding")
    assert (first, last) == (parse_time(START), parse_time(END))
    assert paid == (parse_time(END) - parse_time(START)) // (8 * HOUR_MS) + 1

    # nothing is asked again, and a rate that changes makes the result stale
    send_control(url, reset_log=True)
    project.doit(*CALL, RUN)
    assert read_log(url) == []
    assert json.loads(project.doit(*CALL, "plan", "--json", RUN).stdout) == {"tasks": []}
    project.sql(f"UPDATE funding SET rate = 0.002 WHERE ts_ms = {first}")
    assert "verify" in project.doit(*CALL, RUN, code=1).stderr
    project.doit("verify", "--repair", "--dataset", "funding")
    again = project.doit(*CALL, RUN).stdout
    assert ".  funding:binance_perp:BTC/USDT" in again
    assert json.loads((project.results / "btc_usdt_perp_v1/summary.json").read_text()) == summary

    # it is exported, and status knows it
    project.doit("export", "--dataset", "funding")
    assert len(list((project.root / "data/export").rglob("funding/*.parquet"))) == 32
    status = json.loads(project.doit(*CALL, "status", "--json").stdout)
    [funding] = [one for one in status["series"] if one["dataset"] == "funding"]
    assert (funding["bars"], funding["missing"], funding["gaps"]) == (paid, 0, 0)
