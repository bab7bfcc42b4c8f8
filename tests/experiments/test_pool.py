"""Trials in processes: the same answers from any number of them, whatever ends one."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tbv8.config.records import Strategy
from tbv8.errors import DataError
from tbv8.experiments.blocks import RechainedMarket
from tbv8.experiments.jobs import Job, run_job
from tbv8.experiments.keys import code_digest, to_trial
from tbv8.experiments.messages import Context
from tbv8.experiments.pool import Pool, ProcessDeath, shared_tables
from tbv8.experiments.slots import count_cores, take_slot
from tbv8.experiments.trial import Outcome, run_trial
from tests.builders import ROOT
from tests.experiments.builders import days, ema, tables

MISCHIEF = '''
"""Does what its mode says at its third bar."""
import os
import signal
from dataclasses import dataclass
from decimal import Decimal

from nautilus_trader.model import BarType, InstrumentId, OrderSide, Quantity
from nautilus_trader.trading import Strategy


@dataclass(frozen=True, kw_only=True)
class MischiefConfig:
    instrument_id: InstrumentId
    bar_type: BarType
    max_position: Decimal
    mode: str = "trade"

    def __post_init__(self):
        if self.mode == "refused":
            raise ValueError("refused is no mode")


class Mischief(Strategy):
    def on_start(self):
        self.bars = 0
        self.subscribe_bars(self.config.bar_type)

    def on_bar(self, bar):
        self.bars += 1
        if self.bars != 3:
            return
        mode = self.config.mode
        print("a word of", mode, flush=True)
        if mode == "raise":
            raise RuntimeError("on purpose")
        if mode == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if mode == "exit":
            os._exit(5)
        if mode == "hang":
            while True:
                pass
        if mode == "read":
            open("numbers.csv").read()
        size = Quantity.from_decimal_dp(Decimal("0.01"), 5)
        self.submit_order(
            self.order_factory.market(self.config.instrument_id, OrderSide.BUY, size)
        )
'''


@contextmanager
def pool_of(
    strategy: Strategy, *, workers: int, code: str = "", limit_ms: int | None = None
) -> Iterator[Pool]:
    own = to_trial(strategy)
    with shared_tables(tables(2)) as files:
        context = Context(strategy=own, tables=files, cores=count_cores(), limit_ms=limit_ms)
        with Pool(context, workers=workers, code_digest=code or code_digest(own)) as pool:
            yield pool


def run(pool: Pool, strategies: list[Strategy], *, kill_after: int = -1) -> list[Any]:
    """Return the answers in order; kill a worker after so many of them."""
    answers: dict[int, Any] = {}

    def take(number: int, answer: Any) -> None:
        answers[number] = answer
        if len(answers) == kill_after:
            os.kill(children()[-1], signal.SIGKILL)

    pool.run(jobs(strategies), take)
    return [answers[number] for number in range(len(strategies))]


def jobs(strategies: list[Strategy]) -> list[tuple[int, Job]]:
    return [(number, Job(strategy=strategy)) for number, strategy in enumerate(strategies)]


def children() -> list[int]:
    """Return the processes of this one that run trials."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in map(int, found) if b"experiments.worker" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def mischief(root: Path, mode: str) -> Strategy:
    (root / "mischief.py").write_text(MISCHIEF, encoding="utf-8")
    return to_trial(
        ema(
            days(0, 1),
            module="mischief.py",
            class_name="Mischief",
            params={"mode": mode},
            root=root,
        )
    )


def test_any_number_of_workers_gives_the_serial_answers_after_a_kill_too() -> None:
    strategies = [
        to_trial(ema(days(0, 2), params={"fast": fast, "slow": slow}))
        for fast in (5, 10, 20)
        for slow in (15, 30)
    ]
    serial = [run_trial(strategy, tables(2)) for strategy in strategies]

    answers = []
    for workers, kill_after in ((1, 2), (4, -1)):
        with pool_of(strategies[0], workers=workers) as pool:
            answers.append(run(pool, strategies, kill_after=kill_after))
    answers.append(run_again_in_one_pool(strategies))

    assert answers == [serial] * 3
    assert serial[4].status == "failed"  # 20 and 15
    assert len({outcome.digest for outcome in serial}) == 6
    assert children() == []


def run_again_in_one_pool(strategies: list[Strategy]) -> list[Outcome]:
    """Give the jobs in two runs of one pool, as a search and its walk-forward do."""
    with pool_of(strategies[0], workers=2) as pool:
        return [*run(pool, strategies[:2]), *run(pool, strategies[2:])]


def test_a_strategy_that_raises_fails_and_one_that_ends_its_process_dies_after_two_deaths(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    modes = ["die", "trade", "raise", "refused", "exit", "read", "trade"]
    (tmp_path / "numbers.csv").write_text("1\n")
    strategies = [mischief(tmp_path, mode) for mode in modes]

    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        with pool_of(strategies[0], workers=2) as pool:
            died, traded, raised, refused, left, read, again = run(pool, strategies)
    finally:
        os.chdir(here)

    assert died == ProcessDeath("its process ended by SIGKILL: a word of die, twice")
    assert left == ProcessDeath("its process ended with exit code 5: a word of exit, twice")
    assert (traded.status, raised.status, refused.status) == ("ok", "failed", "failed")
    assert traded == again
    assert json.loads(raised.stats) == {
        "error": "mischief.py:36: RuntimeError: on purpose (strategy Mischief, in on_bar "
        "at the close of 2024-01-01T00:15:00Z)"
    }
    assert json.loads(refused.stats) == {"error": "trial: params: refused is no mode"}
    assert list(read.files) == ["numbers.csv"]
    assert capfd.readouterr() == ("", "")


def test_a_trial_that_never_ends_is_ended_once_and_the_others_go_on(tmp_path: Path) -> None:
    strategies = [mischief(tmp_path, mode) for mode in ("hang", "trade", "trade")]

    with pool_of(strategies[0], workers=1, limit_ms=1500) as pool:
        hung, traded, again = run(pool, strategies)

    assert hung == ProcessDeath(
        "it did not end within 1.5 s: raise run.trial_limit and run `doit prune --trials --died`, "
        "so that it is run again"
    )
    assert traded == again == run_trial(strategies[1], tables(2))


def test_jobs_on_markets_and_by_trade_are_the_same_in_a_worker(tmp_path: Path) -> None:
    own = to_trial(ema(days(0, 2), detail="1m"))
    asked = [
        Job(strategy=own, market=RechainedMarket(block_days=1, seed=1, path=2)),
        Job(strategy=own, by_trade=True),
    ]
    answers: dict[int, Any] = {}

    with pool_of(own, workers=2) as pool:
        pool.run(list(enumerate(asked)), answers.__setitem__)

    assert [answers[number] for number in (0, 1)] == [run_job(job, tables(2)) for job in asked]


def test_a_worker_of_other_code_is_refused(tmp_path: Path) -> None:
    strategy = mischief(tmp_path, "trade")
    with (
        pytest.raises(DataError, match="the code was changed while the experiment ran"),
        pool_of(strategy, workers=1, code="another") as pool,
    ):
        run(pool, [strategy])


def test_a_strategy_that_is_edited_while_it_runs_ends_the_run(tmp_path: Path) -> None:
    strategies = [mischief(tmp_path, "trade")] * 3

    def edit(number: int, _answer: Any) -> None:
        assert number == 0, "an answer of the edited code was taken"
        (tmp_path / "mischief.py").write_text(MISCHIEF + "# more\n", encoding="utf-8")

    with (
        pytest.raises(DataError, match="the code was changed while the experiment ran"),
        pool_of(strategies[0], workers=1) as pool,
    ):
        pool.run(jobs(strategies), edit)
    assert children() == []


def test_workers_end_with_a_parent_that_is_killed_in_the_middle_of_a_trial() -> None:
    code = """
import sys, time
from pathlib import Path
from tests.experiments.test_pool import *
strategies = [to_trial(ema(days(0, 2), params={"fast": n, "slow": 50})) for n in range(2, 40)]
with pool_of(strategies[0], workers=2) as pool:
    pool.run(jobs(strategies), lambda n, a: print(*children(), flush=True))
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    workers = [int(pid) for pid in parent.stdout.readline().split()]

    parent.kill()
    parent.communicate()

    assert len(workers) == 2
    give_up_s = time.monotonic() + 30
    while any(_command(pid) for pid in workers) and time.monotonic() < give_up_s:
        time.sleep(0.02)
    assert [pid for pid in workers if _command(pid)] == []


def test_slots_are_held_by_as_many_as_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with take_slot(2) as one:
        code = """
import sys, tempfile
tempfile.tempdir = sys.argv[1]
from tbv8.experiments.slots import take_slot
with take_slot(2) as number:
    print(number, flush=True)
    sys.stdin.read()
"""
        others = [
            subprocess.Popen(
                [sys.executable, "-c", code, str(tmp_path)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        pipes = [other.stdout for other in others if other.stdout]
        ((first, *rest), _, _) = select.select(pipes, [], [], 20)
        number = first.readline().strip()

    outs = [other.communicate()[0] for other in others]
    assert (one, number, rest) == (0, "1", [])
    assert "".join(outs).strip() in ("0", "1")
