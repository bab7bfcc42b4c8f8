"""What watches a session: the stop file, its end, a full disk, a secondary that is down."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from tbv8.errors import DataError
from tbv8.live.check import check_replay
from tbv8.live.output import ProcessReport
from tbv8.live.stopping import left_line
from tbv8.live.watch import results_pause_s
from tbv8.manifest import Input
from tbv8.market import HOUR_MS, MINUTE_MS
from tbv8.store.locks import session_lock
from tests.backtest.builders import SCRIPTED, make_strategy
from tests.builders import ROOT, is_alive, rows
from tests.live.fast import hosts, make_plans, set_clock, watch_fast
from tests.live.rig import START_MS, World, ema, make_session_config, scripted
from tests.recorder.rig import wait_until

HANG = """
import time
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class HangConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal


class Hang(Strategy):
    def on_start(self):
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        while True:
            try:
                while True:
                    time.sleep(9)  # a busy loop hangs no better
            except BaseException:
                pass
"""


def record_all(world: World, minutes: int = 60) -> None:
    """Record minutes that become known as the clock passes them."""
    world.pass_time(minutes * 60)
    world.now_ms = START_MS


def test_a_strategy_that_hangs_is_stopped(world: World, tmp_path: Path) -> None:
    (tmp_path / "hang.py").write_text(HANG)
    strategy = make_strategy(
        timeframe=scripted({}).timeframe, module="hang.py", class_name="Hang", root=tmp_path
    )
    config = make_session_config(world, strategy)
    record_all(world)
    set_clock(START_MS - 20_000, 20)
    config.stop_path.parent.mkdir(parents=True)
    took: list[float] = []
    reports: list[str] = []

    def used() -> list[tuple[int, str | None]]:
        found = rows(world.db_path, "SELECT ts_ms, barred FROM session_bars ORDER BY ts_ms")
        return [(ts_ms, barred) for ts_ms, barred in found]

    def stop() -> None:
        wait_until(used)
        (before,) = hosts()
        time.sleep(0.3)
        began_s = time.monotonic()
        config.stop_path.write_text("close")
        wait_until(lambda: before not in hosts())
        took.append(time.monotonic() - began_s)
        wait_until(lambda: "stopped" in reports)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=stop)
    thread.start()
    watch_fast({"primary": config}, 60, on_report=lambda _role, report: reports.append(report.kind))
    thread.join()

    assert took[0] < 15  # and not for ever; of a machine with other work to do
    assert [(barred or "").split("=")[0] for _, barred in used()] == ["stopped since_ms"]
    kinds = rows(world.db_path, "SELECT kind FROM session_events")
    assert kinds == []  # the stop counts after the minute in which the strategy hangs


def test_a_strategy_prints_and_raises_in_its_own_words(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raises.py").write_text(
        "import os\n\nos.write(1, b'a library')\n\n"
        + SCRIPTED.replace(
            "self.seen.append(bar)",
            "self.seen.append(bar); print('bar', len(self.seen), end='!\\n')",
        )
    )
    own = {"module": "raises.py", "class_name": "Scripted", "root": tmp_path}
    config = make_session_config(world, scripted({3: "no number"}, **own))
    record_all(world)
    set_clock(START_MS - 20_000, 60)
    reports: list[ProcessReport] = []

    with pytest.raises(DataError, match=r"raises\.py:\d+.*on_bar"):
        watch_fast({"primary": config}, 60, on_report=lambda _role, one: reports.append(one))

    kinds = [report.kind for report in reports]
    assert kinds.count("replayed") == kinds.count("failed") == 1
    printed = [report.text for report in reports if report.kind == "printed"]
    assert printed == ["bar 1!", "bar 2!", "bar 3!"]
    assert "\n   test_v1: printed: bar 1!\n" in capsys.readouterr().out
    assert hosts() == []


def test_an_end_before_the_session_is_ready_names_the_command_that_starts_it(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a new session whose warm-up waits for the recorder
    config = make_session_config(world, ema(warm_up_ms=HOUR_MS), is_new=True)
    world.pass_time(3600)
    set_clock(START_MS + 70 * MINUTE_MS, 1)

    # when
    watch_fast(
        {"primary": config},
        60,
        on_report=lambda _role, one: one.kind == "waiting" and signal.raise_signal(signal.SIGINT),
    )

    # then
    assert capsys.readouterr().out.splitlines()[-1] == (
        "   test_v1: ended before its session was ready, nothing was traded: `doit paper:test_v1 "
        "--new` starts it again"
    )
    assert rows(world.db_path, "SELECT count(*) FROM sessions") == [(0,)]


def test_a_session_that_cannot_continue_is_refused_before_any_process(world: World) -> None:
    config = make_session_config(world)
    world.run(config, minutes=2)
    changed = replace(config, inputs={"strategy": Input("2", {})})
    reports: list[str] = []

    refusal = "cannot continue: the strategy's code changed since it began at"
    with pytest.raises(DataError, match=refusal):
        watch_fast({"primary": changed}, 5, on_report=lambda _role, one: reports.append(one.kind))

    assert reports == []


@pytest.mark.parametrize(
    ("took_s", "pause_s"),
    [
        pytest.param(1.5, 300, id="a short session, each five minutes"),
        pytest.param(12, 1200, id="a longer one, a hundredth of the time"),
        pytest.param(90, 3600, id="a long one, at least each hour"),
    ],
)
def test_results_are_written_as_often_as_is_cheap(took_s: float, pause_s: float) -> None:
    assert results_pause_s(300, took_s=took_s) == pause_s


def test_a_second_session_of_a_strategy_is_refused(world: World) -> None:
    config = make_session_config(world)

    with (
        session_lock(world.db_path, "test_v1"),
        pytest.raises(
            DataError,
            match=rf"its session is already running .*`kill {os.getpid()}` \(`doit stop` ends its",
        ),
    ):
        watch_fast({"primary": config}, 5)

    assert rows(world.db_path, "SELECT count(*) FROM sessions") == [(0,)]


def test_a_secondary_without_data_leaves_the_primary_alone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = make_plans(world.db_path)
    record_all(world)
    set_clock(START_MS - 20_000, 60)
    minutes: list[ProcessReport] = []

    def count(role: str, report: ProcessReport) -> None:
        if report.kind == "minute":
            assert role == "primary"
            minutes.append(report)
            if len(minutes) == 4:
                signal.raise_signal(signal.SIGTERM)

    watch_fast(configs, 60, on_report=count)

    assert len(minutes) >= 4
    assert (configs["primary"].folder / "summary.json").is_file()
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"   {left_line('test_v1', minutes[-1].state)}"
    assert "test_v1: still holds 0.0" in last
    check_replay(configs)


def test_a_shadow_that_cannot_continue_is_named_and_the_primary_goes_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = make_plans(world.db_path)
    record_all(world)
    world.run(configs["shadow"], minutes=1)
    configs["shadow"] = replace(configs["shadow"], inputs={"config": Input("2", {})})
    set_clock(START_MS - 20_000, 1)
    failed: list[str] = []

    def end_later(role: str, report: ProcessReport) -> None:
        if report.kind == "failed" or (failed and report.kind == "alive"):
            failed.append(f"{role} {report.kind}")
        if failed.count("primary alive") == 3:
            signal.raise_signal(signal.SIGTERM)

    watch_fast(configs, 60, on_report=end_later)

    (line,) = (line for line in capsys.readouterr().out.splitlines() if "cannot continue" in line)
    assert line.startswith("   test_v1: shadow: its session cannot continue: its config ")
    assert line.endswith(": the primary goes on without it")
    assert failed[0] == "shadow failed"


def test_a_host_ends_with_the_process_that_watches_it(world: World) -> None:
    record_all(world)
    set_clock(START_MS, 10)
    code = f"""
from pathlib import Path
from tests.live.fast import watch_fast
from tests.live.rig import World, make_session_config
world = World(Path({str(world.db_path)!r}))
watch_fast({{"primary": make_session_config(world)}}, 60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL)
    lock = world.db_path.with_name(f"{world.db_path.name}.paper.test_v1.primary.lock")
    wait_until(lambda: lock.exists() and lock.read_text())
    host = int(lock.read_text())

    child.kill()
    child.wait()

    wait_until(lambda: not is_alive(host))


def test_a_full_disk_is_waited_for(world: World) -> None:
    config = make_session_config(world, scripted({3: "1", 6: "-1", 12: "1"}))
    record_all(world)
    wal = world.db_path.with_name(f"{world.db_path.name}-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (max(4096, wal.stat().st_size), hard))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    world.events = [
        (START_MS + 5 * MINUTE_MS, fill),
        (START_MS + 10 * MINUTE_MS, free),
    ]
    try:
        world.run(config, minutes=20)
    finally:
        free()

    journaled = world.journaled(config)
    assert any("disk" in text for text in world.texts("waiting"))
    assert [m.ts_ms for m in journaled.minutes] == [
        START_MS + n * MINUTE_MS for n in range(len(journaled.minutes))
    ]
    assert journaled.session.done_ms >= START_MS + 19 * MINUTE_MS
    assert len(journaled.outputs["fill"]) == 3
    world.run(config, minutes=1)
