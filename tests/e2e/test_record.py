"""The recorder as users run it: `doit record`, then bars and a backtest from what it wrote."""

from __future__ import annotations

import json

import pytest

from tests.e2e.conftest import Project
from tests.servers.live_process import running_process

STRATEGY = """\
strategy_id: live
symbol: BTC/USDT
timeframe: 1m
params: {fast: 2, slow: 3}
routing: {primary: hyperliquid}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10, max_leverage: 2}
backtest: {market_data_venue: hyperliquid}
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_was_recorded_is_aggregated_and_backtested(project: Project) -> None:
    # given
    with running_process("tests.servers.hyperliquid", "--symbols", "BTC", "--rate", "20") as venue:
        project.edit("config/venues/hyperliquid.yaml", "wss://api.hyperliquid.xyz/ws", venue.ws_url)
        project.edit(
            "config/venues/hyperliquid.yaml", "https://api.hyperliquid.xyz", venue.rest_url
        )
        project.edit("config/venues/mexc.yaml", "enabled: true", "enabled: false")

        # when
        said = project.doit("record", "--for", "5m").stdout

        # then
        recorded = project.sql("SELECT count(*), count(DISTINCT trade_id) FROM trades")
        ((trades, ids),) = recorded
        ((minutes,),) = project.sql("SELECT count(*) FROM bars_1m")
        assert trades == ids
        assert isinstance(trades, int)
        assert trades > 100
        assert isinstance(minutes, int)
        assert minutes >= 3
        assert "hyperliquid" in said
        assert json.loads(project.doit("verify", "--json").stdout)["problems"] == []

        # and when
        options = ("--venue", "hyperliquid", "--symbol", "BTC/USDT", "--timeframes", "2m")
        project.doit("aggregate", *options)

        # then
        ((built,),) = project.sql("SELECT count(*) FROM bars_2m WHERE minutes = 2")
        assert isinstance(built, int)
        assert built >= 1

        # and when
        project.write("config/strategies/live.yaml", STRATEGY)
        project.doit("backtest:live")

        # then
        summary = json.loads(
            (project.results / "live" / "summary.json").read_text(encoding="utf-8")
        )
        assert summary["bars"] >= minutes
