"""Messages a second from a loopback venue to committed rows, against receive, decode, insert alone.

The venue is a process of its own that sends what was encoded before as fast as the socket takes it;
a second run at a fixed rate tells how long a message waits until it is committed.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.measure import ROOT

SYMBOLS = ("BTC", "ETH", "SOL", "HYPE")
MESSAGES = 400_000
AIM_RATE = 20_000
_COMMIT_S = 0.25
_IDLE_S = 3.0


def bench_record(folder: Path) -> dict[str, float]:
    """Measure the recorder and its floor as fast as they go, and its delay at 20,000 a second."""
    from tbv8.store.schema import migrate
    from tests.servers.live_process import running_process

    found: dict[str, dict[str, float]] = {}
    options = ("--symbols", ",".join(SYMBOLS), "--rate", "0", "--quote-rate", "0")
    for what, rate in (("floor", None), ("record", None), ("steady", AIM_RATE)):
        db_path = folder / f"{what}.sqlite"
        migrate(db_path, root=ROOT)
        total = MESSAGES if rate is None else rate * 10
        with running_process("tests.servers.hyperliquid", *options) as server:
            server.flood(SYMBOLS, total, rate=rate, bbo_every=2, start=False)
            role = "floor" if what == "floor" else "record"
            command = [sys.executable, "-m", "tests.benchmarks.recording", role, str(db_path)]
            command += [server.ws_url, server.rest_url, str(total)]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
                while server.status()["flood"]["stage"] != "ready":
                    time.sleep(0.1)
                time.sleep(1.0)
                server.start_flood()
                said, _ = child.communicate(timeout=300)
        found[what] = json.loads(said.splitlines()[-1])
    floor, record, steady = found["floor"], found["record"], found["steady"]
    return {
        "messages": MESSAGES,
        "record_per_s": round(MESSAGES / record["seconds"]),
        "aim_per_s": AIM_RATE,
        "floor_per_s": round(MESSAGES / floor["seconds"]),
        "ratio": round(record["seconds"] / floor["seconds"], 2),
        "cpu_ratio": round(record["cpu_s"] / floor["cpu_s"], 2),
        "cpu_us_per_message": round(record["cpu_s"] / MESSAGES * 1e6, 1),
        "aim": 1.5,
        "lost": _lost(record, MESSAGES) + _lost(steady, 10 * AIM_RATE),
        "p99_s": round(steady["p99_s"], 3),
        "aim_p99_s": 1.2,
        "peak_mb": round(max(record["peak_mb"], steady["peak_mb"])),
        "aim_mb": 300,
        "floor_peak_mb": round(floor["peak_mb"]),
    }


def _lost(run: dict[str, float], sent: int) -> int:
    return sent + len(SYMBOLS) - round(run["rows"])  # a subscription is greeted with a quote


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _rows(db_path: Path) -> int:
    with sqlite3.connect(db_path) as connection:
        ((rows,),) = connection.execute(
            "SELECT (SELECT count(*) FROM trades) + (SELECT count(*) FROM bbo)"
        ).fetchall()
    return int(rows)


def record(db_path: Path, ws_url: str, rest_url: str, total: int) -> dict[str, float]:
    """Record until all messages are committed, or none came for a while."""
    from tbv8.config.records import Venue
    from tbv8.recorder.run import RecorderOptions, RunningRecorder
    from tbv8.recorder.run import record as run
    from tbv8.store.ticks import Batch

    waits: list[int] = []
    seen = {"first_ms": 0, "last_ms": 0, "rows": 0}
    running: list[RunningRecorder] = []

    def on_commit(batch: Batch, at_ms: int) -> None:
        ticks = [*batch.trades, *batch.late, *batch.bbo]
        if len(ticks) <= len(SYMBOLS):  # the quotes that greet a subscription
            return
        waits.extend(at_ms - row[7] for row in ticks[:: max(1, len(ticks) // 200)])
        seen["first_ms"] = seen["first_ms"] or min(row[7] for row in ticks)
        seen["last_ms"], seen["rows"] = at_ms, seen["rows"] + len(ticks)

    def watch() -> None:
        while seen["rows"] < total:
            time.sleep(0.1)
            if seen["last_ms"] and time.time() * 1000 - seen["last_ms"] > _IDLE_S * 1000:
                break
        running[0].stop()

    def begin(handle: RunningRecorder) -> None:
        running.append(handle)
        threading.Thread(target=watch, daemon=True).start()

    venue = Venue(
        name="hyperliquid",
        enabled=True,
        symbols={f"{coin}/USDT": coin for coin in SYMBOLS},
        channels=("trades", "bbo"),
        ws_url=ws_url,
        rest_url=rest_url,
        archive_url=None,
        instruments={},
    )
    began_s = time.process_time()
    run(db_path, [venue], RecorderOptions(on_commit=on_commit, on_start=begin))
    waits.sort()
    return {
        "seconds": (seen["last_ms"] - seen["first_ms"]) / 1000,
        "cpu_s": time.process_time() - began_s,
        "rows": _rows(db_path),
        "p99_s": waits[len(waits) * 99 // 100] / 1000,
        "peak_mb": _peak_mb(),
    }


def floor(db_path: Path, ws_url: str, total: int) -> dict[str, float]:
    """Receive, decode and insert the same rows, and nothing else."""
    began_s = time.process_time()
    found = asyncio.run(_floor(db_path, ws_url, total))
    return found | {"cpu_s": time.process_time() - began_s}


async def _floor(db_path: Path, ws_url: str, total: int) -> dict[str, float]:
    import msgspec
    from websockets.asyncio.client import connect

    decode = msgspec.json.Decoder().decode
    connection = sqlite3.connect(db_path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA synchronous = NORMAL")
    trades: list[Any] = []
    bbo: list[Any] = []
    seen = {"first_s": 0.0, "rows": 0}
    done = asyncio.Event()

    def write(some: list[Any], others: list[Any]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO trades VALUES (?, ?, ?, ?, ?, ?, ?, ?)", some)
        connection.executemany("INSERT INTO bbo VALUES (?, ?, ?, ?, ?, ?, ?, ?)", others)
        connection.execute("COMMIT")

    async def writer() -> None:
        nonlocal trades, bbo
        while seen["rows"] < total:
            await asyncio.sleep(_COMMIT_S)
            some, others, trades, bbo = trades, bbo, [], []
            await asyncio.to_thread(write, some, others)
            seen["rows"] += len(some) + len(others)
        done.set()

    async with connect(ws_url, compression=None, ping_interval=None, max_queue=512) as socket:
        for coin in SYMBOLS:
            for channel in ("trades", "bbo"):
                wanted = {"type": channel, "coin": coin}
                await socket.send(json.dumps({"method": "subscribe", "subscription": wanted}))

        async def receive() -> None:
            while True:
                message = decode(await socket.recv(decode=False))
                now_ms = time.time_ns() // 1_000_000
                data = message["data"]
                if message["channel"] == "trades":
                    seen["first_s"] = seen["first_s"] or time.time()
                    for t in data:
                        price, size = float(t["px"]), float(t["sz"])
                        side = "buy" if t["side"] == "B" else "sell"
                        row = ("hyperliquid", t["coin"], t["time"], str(t["tid"]), price, size)
                        trades.append((*row, side, now_ms))
                elif message["channel"] == "bbo":
                    sides = [(s and float(s["px"]), s and float(s["sz"])) for s in data["bbo"]]
                    row = ("hyperliquid", data["coin"], data["time"], *sides[0], *sides[1])
                    bbo.append((*row, now_ms))

        tasks = [asyncio.create_task(receive()), asyncio.create_task(writer())]
        await asyncio.wait(
            [asyncio.create_task(done.wait()), tasks[0]], return_when="FIRST_COMPLETED"
        )
        ended_s = time.time()
        for task in tasks:
            task.cancel()
    connection.close()
    return {"seconds": ended_s - seen["first_s"], "rows": _rows(db_path), "peak_mb": _peak_mb()}


if __name__ == "__main__":
    _role, _db, _ws, _rest, _total = sys.argv[1:]
    _found = (
        floor(Path(_db), _ws, int(_total))
        if _role == "floor"
        else record(Path(_db), _ws, _rest, int(_total))
    )
    print(json.dumps(_found))
