"""Paper sessions: from a minute's end at the venue to the order in the journal; a bar's cost.

The delay is measured on real minutes of a loopback venue with a recorder, beside the delay at which
the session could read each minute, and the memory of its two processes: `session_mb` is the peak of
what runs the strategy, `watcher_mb` of `doit paper` beside it; `..._own_mb` is what a process does
not share with others. The rest is measured on minutes that are all there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.benchmarks.measure import ROOT, doit, run_reporting

MINUTES = 5  # of real time
BARS = 2000
REPLAYED = 100_000

STRATEGY = """\
strategy_id: bench
symbol: BTC/USDT
timeframe: 1m
bars: [5m]
strategy: eager.py:Eager
routing: {primary: hyperliquid}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10000, max_leverage: 2}
"""

EAGER = '''
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class EagerConfig:
    instrument_id: InstrumentId
    bar_types: tuple[BarType, ...]
    max_position: Decimal


class Eager(Strategy):
    """Turns its position round at each bar."""

    def on_start(self):
        self.subscribe_bars(self.config.bar_types[0])
        self.count = 0

    def on_bar(self, bar):
        self.count += 1
        side = OrderSide.BUY if self.count % 2 else OrderSide.SELL
        size = Quantity.from_decimal_dp(Decimal("0.001"), 5)
        self.submit_order(self.order_factory.market(self.config.instrument_id, side, size))
'''


def bench_paper(folder: Path) -> dict[str, float]:
    """Measure the delay of an order, milliseconds and CPU a bar, memory, and a long replay."""
    delays = _measure_delay(folder)
    fed, _ = run_reporting(_child("feed", folder / "feed.sqlite"), ROOT)
    replayed, replay_mb = run_reporting(_child("replay", folder / "replay.sqlite"), ROOT)
    return {
        **delays,
        "aim_order_s_p99": 3.0,
        **fed,
        "aim_bar_ms": 5.0,
        "aim_session_mb": 150,
        **replayed,
        "aim_replay_s": 5.0,
        "replay_mb": round(replay_mb),
    }


def _child(role: str, db_path: Path) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.papering", role, str(db_path)]


def _measure_delay(folder: Path) -> dict[str, float]:
    from tests.benchmarks.measure import copy_project
    from tests.builders import rows
    from tests.servers.live_process import running_process

    project = copy_project(folder)
    (project / "eager.py").write_text(EAGER, encoding="utf-8")
    (project / "config/strategies/bench.yaml").write_text(STRATEGY, encoding="utf-8")
    with running_process("tests.servers.hyperliquid", "--symbols", "BTC", "--rate", "10") as server:
        for name, old, new in (
            ("hyperliquid", "wss://api.hyperliquid.xyz/ws", server.ws_url),
            ("hyperliquid", "https://api.hyperliquid.xyz", server.rest_url),
            ("mexc", "enabled: true", "enabled: false"),
        ):
            path = project / f"config/venues/{name}.yaml"
            path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")
        watcher = subprocess.Popen(
            doit("paper:bench", "--for", f"{60 * (MINUTES + 1)}s"),
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(project), "NO_PROXY": "127.0.0.1"},
            stdout=subprocess.DEVNULL,
        )
        time.sleep(60 * MINUTES + 30)
        memory = _measure_memory(watcher.pid)
        assert watcher.wait() == 0
    found = rows(
        project / "data" / "tbv8.sqlite",
        "SELECT e.at_ms - e.ts_ms, b.seen_ms - e.ts_ms FROM session_events e JOIN session_bars b"
        " ON b.session_id = e.session_id AND b.ts_ms = e.ts_ms - 60000 WHERE e.kind = 'order'",
    )
    orders, seen = np.array(found, dtype=np.float64).T / 1000
    return {
        **memory,
        "orders": len(found),
        "order_s_p99": round(float(np.percentile(orders, 99)), 3),
        "readable_s_p99": round(float(np.percentile(seen, 99)), 3),
        "own_ms_p99": round(float(np.percentile(orders - seen, 99)) * 1000, 1),
    }


def _measure_memory(watcher: int) -> dict[str, float]:
    """Return the memory of a running session's processes in MB."""
    (host,) = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"tbv8.live.host" in path.read_bytes().split(b"\0")
        and f"PPid:\t{watcher}\n" in (path.parent / "status").read_text()
    ]
    return {
        f"{name}{kind}_mb": round(value / 1024)
        for name, pid in (("session", host), ("watcher", watcher))
        for kind, value in _memory_kb(pid).items()
    }


def _memory_kb(pid: int) -> dict[str, int]:
    """Return the peak of what a process has in memory, and what it has for itself now."""
    lines = [
        line.split()
        for name in ("status", "smaps_rollup")
        for line in Path(f"/proc/{pid}/{name}").read_text().splitlines()
    ]
    found = {words[0]: int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
    return {"": found["VmHWM:"], "_own": found["Private_Clean:"] + found["Private_Dirty:"]}


def _feed(db_path: Path) -> dict[str, float]:
    """Run a host over minutes that are there already, one by one."""
    from tests.live.rig import START_MS, World, make_session_config

    world = World(db_path)
    world.pass_time(60.0 * BARS)
    world.now_ms = START_MS
    config = make_session_config(world)
    world.run(config, minutes=2)
    world.now_ms = START_MS + 60_000 * BARS  # all at once
    began_s, cpu_s = time.perf_counter(), time.process_time()
    world.run(config, minutes=0)
    world.run(config, minutes=1)
    seconds, cpu = time.perf_counter() - began_s, time.process_time() - cpu_s
    took = [report.took_ms or 0.0 for report in world.reports if report.kind == "minute"]
    return {
        "bar_ms": round(float(np.mean(took)), 2),
        "bar_ms_p99": round(float(np.percentile(took, 99)), 2),
        "bar_with_journal_ms": round(seconds / len(took) * 1000, 2),
        "bar_cpu_ms": round(cpu / len(took) * 1000, 2),
    }


def _replay(db_path: Path) -> dict[str, float]:
    """Replay a long journal, as a session does at its start."""
    from tbv8.live.driver import Driver
    from tbv8.market import MINUTE_MS, Bar
    from tbv8.store.sessions import SessionMinute
    from tests.live.rig import START_MS, World, make_session_config

    world = World(db_path)
    config = make_session_config(world)
    world.run(config, minutes=2)
    session = world.journaled(config).session
    few = world.bars()
    minutes = []
    for number in range(REPLAYED):
        bar = few[number % len(few)]
        ts_ms = START_MS + number * MINUTE_MS
        moved = Bar(ts_ms, bar.open, bar.high, bar.low, bar.close, bar.volume)
        minutes.append(SessionMinute(ts_ms=ts_ms, bars={"BTC/USDT": moved}, seen_ms=ts_ms))
    began_s = time.perf_counter()
    with Driver(config.strategy, session) as driver:
        for _ in driver.replay(minutes, [], []):
            pass
        outputs = driver.outputs({}, at_ms=0)
    return {
        "replayed": REPLAYED,
        "replay_s": round(time.perf_counter() - began_s, 2),
        "replay_events": len(outputs),
    }


def main() -> None:
    """Be one of the children."""
    from tbv8.store.schema import migrate

    role, db_path = sys.argv[1], Path(sys.argv[2])
    migrate(db_path, root=ROOT)
    found = {"feed": _feed, "replay": _replay}[role](db_path)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
