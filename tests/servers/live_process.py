"""Live servers as processes: how one is started, and steered through its control port.

with running_process("tests.servers.mexc", "--symbols", "BTC,ETH", "--rate", "50") as server:
server.fault(Fault(kind="drop"))
server.truth("BTC_USDT")
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from tests.servers.live_faults import Fault
from tests.servers.live_market import Side, Truth, parse_truth
from tests.servers.live_server import LiveServer, Logged, count

_REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Remote:
    """A server in another process, with the verbs of `LiveServer`."""

    ws_url: str
    rest_url: str
    control_url: str

    def control(self, **message: Any) -> None:
        """Steer it; the keys are those of `LiveServer.control`.

        Raises:
            HTTPError: It did not understand; the body says what.
        """
        body = json.dumps(message).encode()
        with urlopen(Request(f"{self.control_url}/_control", data=body), timeout=30):
            pass

    def fault(self, *faults: Fault) -> None:
        """Let things go wrong."""
        self.control(faults=[asdict(fault) for fault in faults])

    def behave(self) -> None:
        """Forget all faults."""
        self.control(behave=True)

    def trade(self, symbol: str, price: str, size: str, side: Side = "buy", **more: int) -> None:
        """Let a trade happen."""
        self.control(
            trades=[{"symbol": symbol, "price": price, "size": size, "side": side, **more}]
        )

    def quote(
        self, symbol: str, bid: tuple[str, str] | None, ask: tuple[str, str] | None, **more: int
    ) -> None:
        """Let the top of the book change."""
        self.control(quotes=[{"symbol": symbol, "bid": bid, "ask": ask, **more}])

    def flood(self, symbols: Sequence[str], total: int, **how: Any) -> None:
        """Flood; returns at once."""
        self.control(flood={"symbols": list(symbols), "total": total, **how})

    def start_flood(self) -> None:
        """Start the flood that waits for it."""
        self.control(start_flood=True)

    def log(self) -> list[Logged]:
        """Return all that happened, in order."""
        return [Logged(**parts) for parts in self._read("log")]

    def count(self, event: str, part: str = "") -> int:
        """Return how many events there were whose detail holds `part`."""
        return count(self.log(), event, part)

    def status(self) -> dict[str, Any]:
        """Return what `LiveServer.status` does."""
        status: dict[str, Any] = self._read("status")
        return status

    def truth(self, symbol: str, start_ms: int = 0, end_ms: int = 2**62) -> Truth:
        """Return what `LiveServer.truth` does."""
        query = urlencode({"symbol": symbol, "start_ms": start_ms, "end_ms": end_ms})
        return parse_truth(self._read(f"truth?{query}"))

    def _read(self, what: str) -> Any:
        with urlopen(f"{self.control_url}/_control/{what}", timeout=60) as reply:
            return json.load(reply)


@contextmanager
def running_process(module: str, *options: str) -> Iterator[Remote]:
    """Run `python -m <module>` with these options until the `with`, or this process, ends."""
    command = [sys.executable, "-m", module, "--until-stdin-closes", *options]
    with subprocess.Popen(
        command, cwd=_REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, f"{command} ended without its URLs"
            yield Remote(**json.loads(line))
        finally:
            process.terminate()


def serve_until_told(
    program: str, build: Callable[[argparse.Namespace, dict[str, Any]], LiveServer]
) -> None:
    """Read the command line, serve, print the URLs as one line of JSON, end on a signal."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    add = parser.add_argument
    add("--port", type=int, default=0)
    add("--control-port", type=int, default=0)
    add("--symbols", default="BTC", help="coins, comma separated: BTC,ETH")
    add("--rate", type=float, default=5.0, help="trade events a second of the venue's clock")
    add("--quote-rate", type=float, default=5.0)
    add("--history-minutes", type=int, default=0)
    add("--seed", type=int, default=1)
    add("--start-ms", type=int, help="by default now")
    add("--speed", type=float, default=1.0, help="of the venue's clock")
    add("--skew-ms", type=int, default=0)
    add("--option", action="append", default=[], metavar="NAME=JSON", help="of the wire")
    add("--until-stdin-closes", action="store_true", help="so as not to outlive the parent")
    asked = parser.parse_args()
    options = {
        name: json.loads(value) for name, _, value in (o.partition("=") for o in asked.option)
    }
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with build(asked, options) as server:
        urls = {name: getattr(server, name) for name in ("ws_url", "rest_url", "control_url")}
        print(json.dumps(urls), flush=True)
        with suppress(KeyboardInterrupt):
            if asked.until_stdin_closes:
                sys.stdin.read()
            else:
                server.wait()
