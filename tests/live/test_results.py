"""The results of a session as of now, and the replay that they are held to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from tbv8.errors import DataError, DiffersError
from tbv8.live.check import check_replay
from tbv8.live.results import write_results
from tbv8.live.session_config import SessionConfig, on_venue
from tbv8.manifest import ADDRESS_PART, Input, make_input, read_manifest
from tbv8.market import HOUR_MS, MINUTE_MS, ONE_MINUTE, Series, iso
from tbv8.results.summary import Summary
from tests.backtest.builders import install, read_rows, rules
from tests.builders import shell
from tests.live.rig import BTC, START_MS, World, ema, make_session_config, scripted

FILES = {
    "chart_lines.csv",
    "equity.csv",
    "fills.csv",
    "market.csv",
    "positions.csv",
    "summary.json",
    "tearsheet.html",
}


@pytest.fixture
def config(world: World) -> SessionConfig:
    """Return the config of a session that ran for an hour."""
    config = make_session_config(world)
    world.run(config, minutes=60)
    return config


def test_the_folder_of_a_session_is_a_result(world: World, config: SessionConfig) -> None:
    assert isinstance(write_results({"primary": config}), Summary)

    manifest = read_manifest(config.folder)
    assert manifest is not None
    assert manifest.outputs.keys() == FILES
    journaled = world.journaled(config)
    fills = read_rows(config.folder / "fills.csv")
    assert [row["order_id"] for row in fills] == [
        json.loads(event.body)["order_id"] for event in journaled.outputs["fill"]
    ]
    summary = json.loads((config.folder / "summary.json").read_text("utf-8"))
    assert summary["market_data_venue"] == "hyperliquid"
    assert summary["bars"] == 19
    assert "priced" not in summary
    assert check_replay({"primary": config}).endswith(", and the same bytes in 7 result files")


def test_earlier_results_are_compared_with_the_minutes_up_to_then(
    world: World, config: SessionConfig
) -> None:
    write_results({"primary": config})

    written = iso(world.journaled(config).session.done_ms)
    world.run(config, minutes=30)

    said = check_replay({"primary": config})
    minutes = len(world.journaled(config).minutes)
    assert said.startswith(f"test_v1: replayed {minutes} minutes at hyperliquid: the same ")
    assert said.endswith(f" result files, as of {written}")


def test_the_prints_of_a_strategy_are_shown_by_its_session_only(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = (
        "from tbv8.strategies.ema_cross import EmaCross, EmaCrossConfig\n"
        "TalkerConfig = EmaCrossConfig\n"
        "class Talker(EmaCross):\n"
        "    def on_bar(self, bar):\n"
        "        print('a bar')\n"
        "        super().on_bar(bar)\n"
    )
    install(monkeypatch, world.db_path.parent / "talking", "talker", source)
    config = make_session_config(world, ema(module="talker", class_name="Talker"))
    world.run(config, minutes=12)
    printed = capsys.readouterr().out.count("a bar")

    write_results({"primary": config})
    world.run(config, minutes=6)
    capsys.readouterr()
    check_replay({"primary": config})

    assert printed >= 3
    assert "a bar" not in capsys.readouterr().out


def test_a_result_that_was_changed_is_named(config: SessionConfig) -> None:
    write_results({"primary": config})
    path = config.folder / "fills.csv"
    path.write_text(path.read_text("utf-8").replace("taker", "maker", 1), encoding="utf-8")

    with pytest.raises(DataError) as e:
        check_replay({"primary": config})

    assert str(e.value).startswith(f"{config.folder}: not reproduced: fills.csv:2: ")


def test_a_replay_with_another_config_names_that_as_the_cause(config: SessionConfig) -> None:
    write_results({"primary": config})
    strategy = replace(config.strategy, params={"fast": 2, "slow": 5})
    changed = replace(config, strategy=strategy, inputs={"config": Input("2", {})})

    with pytest.raises(DataError) as e:
        check_replay({"primary": changed})

    cause, now = str(e.value).split("; now ")
    assert cause.startswith("test_v1: its config changed since its session began at ")
    assert cause.endswith("Z: restore that to replay it")
    assert ": fill 1 at " in now


def test_the_page_names_the_paper_session_its_start_and_its_end(
    world: World, config: SessionConfig
) -> None:
    write_results({"primary": config})

    page = (config.folder / "tearsheet.html").read_text()
    session = world.journaled(config).session
    since, until = (iso(ms)[:16].replace("T", " ") for ms in (session.counted_ms, session.done_ms))
    assert "<title>test_v1 (paper) · tbv8</title>" in page
    assert "<h1>test_v1 · paper</h1>" in page
    assert (
        f"Paper session 1 at hyperliquid since {since} UTC, shown as of {until} UTC. Bars came "
        "from the live market; no order was sent to a venue." in page
    )
    assert "doit replay:test_v1 repeats the session from its journal" in page


def test_the_page_names_addresses_that_are_not_the_venues_own(world: World) -> None:
    address = "ws://127.0.0.1:8765"
    inputs = {ADDRESS_PART: make_input({"hyperliquid": [address]})}
    config = make_session_config(world, inputs=inputs)
    world.run(config, minutes=12)
    write_results({"primary": config})

    page = (config.folder / "tearsheet.html").read_text()
    (began,) = world.texts("began")
    assert f"NOT THE VENUE'S OWN DATA: bars of hyperliquid came from {address}, see " in page
    assert "Bars came not from the venue's own addresses; no order was sent" in page
    assert f"at hyperliquid, bars from {address}, not the venue's own, counted from" in began
    with pytest.raises(DataError, match="ws_url or rest_url of its venue changed since it began"):
        world.run(replace(config, inputs={}), minutes=1)


def test_a_new_session_sets_the_results_of_the_previous_one_aside(
    world: World, config: SessionConfig
) -> None:
    write_results({"primary": config})
    before = world.journaled(config).session

    world.run(config, minutes=2)
    assert (config.folder / "tearsheet.html").is_file()  # the same session has gone on
    world.run(replace(config, is_new=True), minutes=2)

    kept = config.folder.with_name(f"test_v1.{iso(before.counted_ms)[:16].replace(':', '-')}")
    assert world.texts("kept") == [f"results of the previous session are in {kept}"]
    assert not config.folder.exists()
    manifest = read_manifest(kept)
    assert manifest is not None
    assert manifest.inputs["session"].value["primary"]["id"] == before.session_id


def test_results_are_not_those_of_a_later_session_with_the_same_number_and_start(
    world: World, config: SessionConfig
) -> None:
    write_results({"primary": config})
    shell(world.db_path, "UPDATE sessions SET began_ms = began_ms + 1")

    assert not check_replay({"primary": config}).endswith(" result files")
    world.run(config, minutes=1)

    assert world.texts("kept")
    assert not config.folder.exists()


def test_a_journal_that_was_changed_is_named_and_no_result_written(
    world: World, config: SessionConfig
) -> None:
    shell(world.db_path, "UPDATE session_events SET ts_ms = ts_ms + 1 WHERE kind = 'fill'")

    for act in (write_results, check_replay):
        with pytest.raises(DiffersError) as e:
            act({"primary": config})
        assert "differs from its journal: fill 1 at " in str(e.value)
    assert not config.folder.exists()


def test_before_a_bar_has_closed_there_is_no_result(world: World) -> None:
    config = make_session_config(world, ema())
    with pytest.raises(DataError, match="there is no session: run `doit paper:test_v1`"):
        check_replay({"primary": config})

    world.run(config, minutes=1)
    assert write_results({"primary": config}) == (
        f"no minute was used yet, the first one closes at {iso(START_MS + MINUTE_MS)}; no session "
        "runs, `doit paper:test_v1` continues it"
    )
    world.run(config, minutes=1)
    assert write_results({"primary": config}) == (
        f"no 3m bar has closed yet, the first one closes at {iso(START_MS + 3 * MINUTE_MS)}"
    )
    assert not config.folder.exists()


def test_a_warm_up_is_not_counted(world: World) -> None:
    config = make_session_config(world, ema(warm_up_ms=HOUR_MS))
    world.pass_time(2 * 3600)
    world.run(config, minutes=60)

    write_results({"primary": config})

    first = read_rows(config.folder / "equity.csv")[0]
    session = world.journaled(config).session
    assert int(first["ts_ms"]) == session.counted_ms + 3 * 60_000
    assert session.first_ms == session.counted_ms - HOUR_MS


def test_the_closing_orders_of_a_stop_have_its_tag(world: World) -> None:
    config = make_session_config(world, scripted({2: "1"}))
    config.stop_path.parent.mkdir(parents=True)
    world.events = [(START_MS + 5 * MINUTE_MS, lambda: config.stop_path.write_text("close"))]
    world.run(config, minutes=8)

    write_results({"primary": config})

    assert [row["tags"] for row in read_rows(config.folder / "tags.csv")] == ["doit stop"]


def test_a_folder_without_a_manifest_is_left_alone(world: World) -> None:
    config = make_session_config(world, scripted({1: "1"}))
    world.run(config, minutes=5)
    config.folder.mkdir(parents=True)
    mine = Path(config.folder, "thesis.txt")
    mine.write_text("all of it")

    with pytest.raises(DataError, match=r"has 'thesis.txt' but no manifest.json of tbv8"):
        write_results({"primary": config})

    assert mine.read_text() == "all of it"


def test_a_shadow_that_began_later_is_marked_at_the_times_of_the_primary(db_path: Path) -> None:
    mexc = Series("mexc", "BTC/USDT")
    world = World(db_path, series=(BTC, mexc))
    strategy = ema(
        timeframe=ONE_MINUTE,
        detail="none",
        instruments={
            name: {"BTC/USDT": rules(tick_size="0.1", taker_fee=fee)}
            for name, fee in (("hyperliquid", "0.0005"), ("mexc", "0.0002"))
        },
    )
    configs = {
        "primary": make_session_config(world, strategy, priced_at="mexc"),
        "shadow": make_session_config(world, role="shadow", venue="mexc"),
    }
    configs["shadow"] = replace(
        configs["shadow"], strategy=on_venue(strategy, "mexc", is_funding_recorded=True)
    )
    world.run(configs["primary"], minutes=12)
    world.run(configs["shadow"], minutes=15)
    world.run(configs["primary"], minutes=1)

    assert isinstance(write_results(configs), Summary)

    folder = configs["primary"].folder
    both = [read_rows(folder / name) for name in ("equity.csv", "shadow/equity.csv")]
    times = [[row["ts_ms"] for row in rows] for rows in both]
    assert times[0] == times[1]
    assert both[1][0]["price"] == ""
    assert both[1][-1]["price"] != ""
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["shadow"]["fills"] > 1
    priced = read_rows(folder / "shadow" / "orders.csv")
    assert {row["why"] for row in priced} == {"no quotes were recorded"}
    assert summary["priced"]["priced"] == 0
    assert summary["priced"]["fills"] == len(priced) > 1
    assert check_replay(configs).endswith("in 11 result files")
