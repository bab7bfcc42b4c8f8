"""Sessions and recorders as processes on a clock that runs fast: what a test makes quick is time.

`python -m tests.live.fast host` and `... recorder` take the clock from the environment.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tbv8.config.files import Routing
from tbv8.config.records import Strategy, Venue
from tbv8.live import host
from tbv8.live.session_config import SessionConfig
from tbv8.live.watch import WatchOptions, watch
from tbv8.market import parse_timeframe
from tbv8.recorder.run import RecorderOptions, record
from tests.backtest.builders import limits, rules
from tests.live.rig import World, ema, make_session_config
from tests.recorder.rig import QUICK, venue
from tests.servers.live_server import LiveServer

CLOCK = "TBV8_TEST_CLOCK"


def set_clock(start_ms: int, speed: float) -> None:
    """Let this process and those that it starts have a clock that runs `speed` times as fast."""
    os.environ[CLOCK] = json.dumps([start_ms, time.monotonic(), speed])


def now_ms() -> int:
    """Return the time on that clock."""
    start_ms, since_s, speed = json.loads(os.environ[CLOCK])
    return int(start_ms + (time.monotonic() - since_s) * 1000 * speed)


def shadowed() -> Strategy:
    """Return a 1m EMA cross with a shadow at mexc."""
    instruments = {
        name: {"BTC/USDT": rules(tick_size="1", lot_size="0.001", taker_fee="0.0005")}
        for name in ("hyperliquid", "mexc")
    }
    return ema(
        timeframe=parse_timeframe("1m"),
        params={"fast": 1, "slow": 2},
        detail="none",
        funding="history",
        bars=(parse_timeframe("5m"),),
        routing=Routing(
            primary="hyperliquid", secondary="mexc", mode="PRIMARY_LIVE_SECONDARY_SHADOW"
        ),
        instruments=instruments,
        risk=limits(max_position="0.02"),
    )


def make_plans(db_path: Path, **changes: Any) -> dict[str, SessionConfig]:
    """Return the configs of a session and its shadow."""
    world, strategy = World(db_path), shadowed()
    return {
        "primary": make_session_config(world, strategy, priced_at="mexc", **changes),
        "shadow": make_session_config(world, strategy, role="shadow", venue="mexc", **changes),
    }


def fast_venues(servers: Mapping[str, LiveServer]) -> list[Venue]:
    """Return the venues of a session and its shadow, by the native names of their servers."""
    names = {"BTC": "hyperliquid", "BTC_USDT": "mexc"}
    channels = ("trades", "bbo", "funding")
    return [
        venue(names[native], server, {"BTC/USDT": native}, channels=channels)
        for native, server in servers.items()
    ]


class Recorder:
    """A recorder's process; `kill` and `start` as often as a test likes."""

    def __init__(self, db_path: Path, venues: list[Venue]) -> None:
        self._given = pickle.dumps((db_path, venues))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.live.fast", "recorder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._given)
        self._process.stdin.close()

    def kill(self) -> None:
        """Kill it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


def hosts() -> list[int]:
    """Return the process ids of the hosts that this process watches."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid() and b"tests.live.fast_host" in words:
            found.append(int(path.name))
    return found


def kill_a_host(chance: random.Random) -> bool:
    """Kill one of the hosts, if there is any."""
    alive = hosts()
    if alive:
        os.kill(chance.choice(alive), signal.SIGKILL)
    return bool(alive)


@contextmanager
def beside(act: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run something in a thread while the block lasts."""
    over = threading.Event()
    thread = threading.Thread(target=act, args=(over,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def watch_fast(configs: Mapping[str, SessionConfig], for_s: float, **options: Any) -> None:
    """Watch a session whose hosts have the fast clock."""
    watch(
        configs,
        WatchOptions(
            root=Path.cwd(),
            for_s=for_s,
            host_module="tests.live.fast_host",
            keeps_recorder=False,
            **options,
        ),
    )


def main() -> None:
    """Be a host or a recorder."""
    if sys.argv[1] == "host":
        host.main(now_ms)
        return
    db_path, venues = pickle.load(sys.stdin.buffer)
    record(db_path, venues, RecorderOptions(local_ms=now_ms, steady_ms=now_ms, pace=QUICK))


if __name__ == "__main__":
    main()
