"""The task that an unknown word most likely means."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.tasks.graph import aggregates, backfills, fundings
from tbv8.tasks.loading import load_folder
from tbv8.tasks.meant import meant_command, meant_option, meant_task, unwanted_venue

TASKS = (
    "migrate",
    "backfill",
    "backfill:mine:BTC/USDT",
    "aggregate:mine:BTC/USDT:5m",
    "aggregate:mine:BTC/USDT:1h",
    "backtest",
    "backtest:fade",
    "paper",
    "paper:fade",
    "reproduce:fade",
    "reproduce:sweep",
    "experiment",
    "experiment:sweep",
)


@pytest.mark.parametrize(
    ("words", "name", "task"),
    [
        ("backtest fade", "fade", "backtest:fade"),
        ("paper fade --for 1s", "fade", "paper:fade"),
        ("migrate backtest fade", "fade", "backtest:fade"),
        ("backtest: fade", "backtest:", "backtest:fade"),
        ("fade", "fade", "backtest:fade"),
        ("sweep", "sweep", "experiment:sweep"),
        ("reproduce sweep --all", "reproduce", "reproduce:sweep"),
        ("backtest fad", "fad", "backtest:fade"),
        ("backfill mine BTC/USDT", "mine", "backfill:mine:BTC/USDT"),
        ("backfill mine", "mine", "backfill:mine:*"),
        ("backfill:mine", "backfill:mine", "backfill:mine:*"),
        ("aggregate mine BTC/USDT", "aggregate", "aggregate:mine:BTC/USDT:*"),
        ("backtest migrat", "migrat", None),
        ("backtest:nope", "backtest:nope", None),
        ("nope", "nope", None),
    ],
)
def test_a_space_in_place_of_a_colon_is_understood(words: str, name: str, task: str | None) -> None:
    assert meant_task(name, words.split(), TASKS) == task


def test_the_words_of_other_programs_have_a_cure() -> None:
    assert meant_command("hyperopt") == "write `doit experiment:ID`"
    assert meant_command("trade") == "write `doit paper:STRATEGY`"
    assert meant_command("2024-01-01") == "write dates as `start=2024-01-01 end=2024-02-01`"
    assert meant_command("backtst") is None
    assert meant_option("--start", "run") == "write `start=...` without dashes"
    assert meant_option("--timerange=2024", "paper") == ("write `start=2024-01-01 end=2024-02-01`")
    assert meant_option("--venue", "verify") is None


@pytest.mark.parametrize("venue", ["binance_spot", "binance_perp", "hyperliquid"])
def test_a_task_of_another_venue_exists_with_that_venue(venue: str) -> None:
    root = Path(__file__).parents[2]
    project = load_folder(root, overrides={})
    other = load_folder(root, overrides={"venue": venue})
    existing = [f"backfill:{task.get('name')}" for task in backfills(other, recheck=False)]
    existing += [f"funding:{task.get('name')}" for task in fundings(other)]
    builds = aggregates(other, venue="", symbol="", timeframes=(), chunk_days=1)
    existing += [str(task.get("basename")) for task in builds]
    names = [
        f"{group}:{venue}:{symbol}{timeframe}"
        for group, timeframe in (("backfill", ""), ("funding", ""), ("aggregate", ":5m"))
        for symbol in ("BTC/USDT", "XRP/USDT")
    ]
    names += [f"aggregate:{venue}:BTC/USDT:7m", f"aggregate:{venue}:BTC/USDT", f"paper:{venue}"]

    cures = {name: unwanted_venue(name, project) for name in names}

    assert cures == {name: venue if name in existing else None for name in names}
    assert f"backfill:{venue}:BTC/USDT" in existing
    assert unwanted_venue("backfill:sample:BTC/USDT", project) is None
