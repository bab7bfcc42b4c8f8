"""The orders of a primary at the recorded quotes of the secondary: fills, and limits that rest."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import pytest

from tbv8.live.check import check_replay
from tbv8.live.results import write_results
from tbv8.live.session_config import SessionConfig
from tbv8.market import MINUTE_MS, Bbo
from tbv8.store.ticks import Batch, bbo_row, open_ticks
from tests.backtest.builders import read_rows
from tests.builders import rows
from tests.live.rig import START_MS, World, make_session_config, scripted


@pytest.fixture
def config(world: World) -> SessionConfig:
    """Return a session with a limit far below the market, from its second minute on."""
    limits = {"limits": {2: "1@1500"}, "orders": {4: "1"}}
    return make_session_config(world, scripted({}, params=limits), priced_at="mexc")


def quote_at(world: World, *quotes: tuple[float, float, float]) -> None:
    """Let quotes come: a minute, bid and ask."""
    for minute, bid, ask in quotes:
        at_ms = START_MS + int(minute * MINUTE_MS)
        world.events.append((at_ms, partial(world.quote, bid, ask)))


def reached(world: World) -> list[dict[str, Any]]:
    found = rows(world.db_path, "SELECT body FROM session_events WHERE kind = 'reached'")
    return [json.loads(body) for (body,) in found]


def test_a_resting_limit_is_compared_with_every_quote_of_the_secondary(
    world: World, config: SessionConfig
) -> None:
    quote_at(world, (1, 1400, 1401), (5, 1990, 1991), (7.5, 1498, 1499.5), (9, 1400, 1401))

    world.run(config, minutes=12)

    (note,) = reached(world)
    assert abs(note["quoted_ms"] - START_MS - 7.5 * MINUTE_MS) < 11_000  # as the world's time steps
    assert (note["side"], note["price"], note["quoted"]) == ("buy", "1500.0", "1500.0")
    assert (note["order_id"], note["cost_usd"]) == ("O-1", None)
    (priced,) = rows(world.db_path, "SELECT body FROM session_events WHERE kind = 'priced'")
    assert json.loads(priced[0])["order_id"] == "O-2"


def test_quotes_beside_the_limit_do_not_reach_it(world: World, config: SessionConfig) -> None:
    quote_at(world, (1, 1400, 1401), (5, 1499, 1500.1), (9, 1990, 1991))

    world.run(config, minutes=12)

    assert reached(world) == []


def test_a_restart_goes_on_where_the_quotes_were_read_and_writes_none_twice(
    world: World, config: SessionConfig
) -> None:
    quote_at(world, (5, 1990, 1991))
    world.run(config, minutes=6)
    world.quote(1498, 1499)  # while no session runs
    world.now_ms += 30_000

    world.run(config, minutes=3)
    world.run(config, minutes=3)

    assert len(reached(world)) == 1


def test_an_ended_order_is_not_compared_with_quotes(world: World, config: SessionConfig) -> None:
    config.stop_path.parent.mkdir(parents=True)
    quote_at(world, (5, 1990, 1991))
    world.events.append((START_MS + 6 * MINUTE_MS, lambda: config.stop_path.write_text("")))
    quote_at(world, (9, 1400, 1401))

    world.run(config, minutes=12)

    assert reached(world) == []


def test_a_fill_waits_for_the_quotes_that_the_recorder_still_writes(
    world: World, config: SessionConfig
) -> None:
    def late() -> None:  # of the moment of the fill, committed some seconds later
        quote = Bbo("mexc", "BTC/USDT", done[0] - 500, 1999.0, 5.0, 2007.0, 5.0)
        with open_ticks(world.db_path) as store:
            store.commit(Batch(bbo=[bbo_row(quote, world.now_ms)]), now_ms=world.now_ms)

    def on_call() -> None:
        if not done and any(kind == "fill" for one in world.reports for kind, _ in one.events):
            done.append(world.now_ms)
            world.events.insert(0, (world.now_ms + 1000, late))

    done: list[int] = []
    quote_at(world, (3, 1990, 1991))

    world.run(config, minutes=8, on_call=on_call)

    (priced,) = rows(world.db_path, "SELECT body FROM session_events WHERE kind = 'priced'")
    assert json.loads(priced[0])["quoted"] == "2007.00000000"


def test_results_list_and_count_what_was_reached(world: World, config: SessionConfig) -> None:
    quote_at(world, (3, 1990, 1991), (7, 1498, 1499))
    world.run(config, minutes=12)

    write_results({"primary": config})

    listed = read_rows(config.folder / "shadow" / "orders.csv")
    assert [row["order_id"] for row in listed] == ["O-2", "O-1"]
    assert listed[1]["why"] == "its limit was reached while it rested at hyperliquid"
    summary = json.loads((config.folder / "summary.json").read_text("utf-8"))
    assert (summary["priced"]["fills"], summary["priced"]["reached"]) == (1, 1)
    assert summary["priced"]["cost_usd"] == float(listed[0]["cost_usd"])
    world.run(config, minutes=5)
    assert "the same bytes in" in check_replay({"primary": config})
