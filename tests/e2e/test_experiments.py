"""Experiments by real doit processes: only what is missing runs, whatever ended the last run."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet
import pytest

from tbv8.api import load_trials
from tbv8.errors import ConfigError
from tests.browser import DESKTOP, PHONE, opened
from tests.builders import Shared
from tests.e2e.conftest import ONE_WEEK, Project
from tests.e2e.test_interrupted import INTERRUPTED, wait_for_line
from tests.lines import Line

Keep = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]

SWEEP = """\
experiment_id: sweep
strategy: btc_usdt_perp_v1
search:
  space:
    fast: [5, 10, 60]
    slow: [20, 50]
    slippage_ticks: [0, 2]
objective: {maximize: return}
walk_forward: {train: 3d, test: 2d, warm_up: 1d}
monte_carlo: {paths: 100, block_days: 1, markets: 3}
overfitting: {blocks: 4}
"""
TASK = "experiment:sweep"
TRIALS, WINDOWS, DRAWN = 12, 2, 4  # drawn: on three markets, and by round trips
ALL = TRIALS * (1 + WINDOWS) + WINDOWS + DRAWN


def sweep(project: Project, text: str = SWEEP) -> Project:
    folder = project.root / "config" / "experiments"
    folder.mkdir(exist_ok=True)
    (folder / "sweep.yaml").write_text(text, encoding="utf-8")
    return project


def outputs(project: Project) -> dict[str, bytes]:
    folder = project.results / "experiments" / "sweep"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    return {name: (folder / name).read_bytes() for name in manifest["outputs"]}


def ran(project: Project, *, workers: int = 1) -> int:
    """Return how many trials a run of the experiment ran."""
    said = project.doit(*ONE_WEEK, f"workers={workers}", TASK).stdout
    kinds = r": (\d+) (?:search and in-sample |out-of-sample |Monte Carlo )?trials? in "
    return sum(int(count) for count in re.findall(kinds, said))


@pytest.fixture(scope="session")
def swept(looked_ahead: Project, shared: Shared) -> Project:
    """Return a project whose experiment ran to the end with one worker; do not change it."""

    def make(folder: Path) -> None:
        shutil.copytree(looked_ahead.root, folder / "clone")
        assert ran(sweep(Project(folder / "clone"))) == ALL

    return Project(shared("swept", make) / "clone")


@pytest.fixture
def again(swept: Project, tmp_path: Path) -> Project:
    shutil.copytree(swept.root, tmp_path / "again")
    return Project(tmp_path / "again")


def test_a_plan_without_a_database_has_the_number_of_trials(bare: Project) -> None:
    plan = sweep(bare).doit(*ONE_WEEK, "plan", TASK).stdout

    assert (
        f"to run: {TRIALS * (1 + WINDOWS)} trials (12 in the search, 24 in sample: 12 for each of "
        f"2 windows), then {WINDOWS} out of sample and {DRAWN} for the Monte Carlo (3 markets, "
        "each a whole trial, and 1 to list the best trial's round trips)\n"
    ) in plan


def test_the_files_of_a_result(swept: Project) -> None:
    files = outputs(swept)

    assert sorted(files) == [
        "index.html",
        "montecarlo.csv",
        "oos_equity.csv",
        "summary.json",
        "trials.csv",
        "walkforward.csv",
    ]
    summary = json.loads(files["summary.json"])
    assert (summary["trials"], summary["failed"]) == (TRIALS, 4)  # 60 is not below 20 and 50
    assert summary["walk_forward"]["windows"] == WINDOWS
    assert len(files["trials.csv"].splitlines()) == 1 + TRIALS
    assert len(files["oos_equity.csv"].splitlines()) == 1 + 1 + 3
    assert b"fast must be above 0 and below slow, got fast=60 and slow=20" in files["trials.csv"]
    assert b"--number" in files["index.html"]
    assert swept.sql("SELECT status, count(*) FROM trials GROUP BY 1") == [
        ("failed", 12),
        ("ok", 26 + DRAWN),
    ]
    drawn = summary["monte_carlo"]
    paths = {name: part["paths"] for name, part in drawn.items() if name != "losses"}
    assert paths == {"days": 100, "trades": 100, "order": 100, "markets": 3}
    assert len(files["montecarlo.csv"].splitlines()) == 1 + 3 * 100 + 3
    assert (drawn["losses"], drawn["markets"]["failed"]) == ([0.05, 0.1, 0.2], 0)
    assert summary["tries"] == 8  # markets are none


def check_page(page: Any, *, width: int) -> None:
    """Look at an opened page of the experiment, choose a chart and sort a table."""
    drawn = page.locator(".chart .main-svg").evaluate_all(
        "marks => new Set(marks.map(mark => mark.closest('.chart').id)).size"
    )
    page.get_by_label("fast × slippage_ticks, worst of others").check()
    shown = page.locator("#space-1-worst-chart .main-svg").count()
    page.locator("#best-table th button", has_text="return").click()
    first = page.locator("#best-table tbody tr").first.inner_text()

    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert drawn >= 6
    assert shown > 0
    assert "doit promote sweep --number" in first
    assert "SIMULATED" in page.locator(".banner").inner_text()
    rows = page.locator("#drawn-table tbody tr").all_inner_texts()
    assert [row.split("\t")[1] for row in rows] == ["100", "100", "100", "3"]


@pytest.mark.browser
def test_the_page_in_a_browser(swept: Project) -> None:
    with opened(swept.results / "experiments/sweep/index.html", width=DESKTOP) as page:
        check_page(page, width=DESKTOP)


def test_a_finished_experiment_is_fresh_and_no_part_of_doit_alone(swept: Project) -> None:
    assert swept.doit(*ONE_WEEK, "plan", TASK).stdout.startswith("nothing to do")
    why = swept.doit(*ONE_WEEK, "why", TASK).stdout
    assert why.startswith(f"{TASK}: fresh\n")
    listed = swept.doit(*ONE_WEEK, "list").stdout
    assert "walkforward:sweep" in listed
    assert "montecarlo:sweep" in listed
    assert TASK not in swept.doit(*ONE_WEEK, "plan").stdout


def test_only_what_changed_runs_again(again: Project) -> None:
    before = outputs(again)
    again.edit("tbv8/page/style.py", "--c9: #6b7280;", "--c9: #6b7281;")
    plan = again.doit(*ONE_WEEK, "plan", TASK).stdout
    assert "tbv8/page/style.py changed" in plan

    assert ran(again) == 0  # the page alone is drawn again

    changed = {name for name, content in outputs(again).items() if before[name] != content}
    assert changed == {"index.html"}
    again.edit("config/experiments/sweep.yaml", "slow: [20, 50]", "slow: [20, 50, 70]")
    plan = again.doit(*ONE_WEEK, "plan", TASK).stdout
    assert (
        f"to run: 18 of {TRIALS * 9 // 2} trials (6 in the search, 12 in sample: 6 for each of 2 "
        "windows), then 2 out of sample and 4 for the"
    ) in plan
    assert "search.space.slow: was [20, 50], now [20, 50, 70]" in plan

    # six new points over three spans, new choices
    assert 18 <= ran(again) <= 18 + WINDOWS + DRAWN

    (again.root / "config/experiments/sweep.yaml").rename(
        again.root / "config/experiments/other.yaml"
    )
    again.edit("config/experiments/other.yaml", "experiment_id: sweep", "experiment_id: other")
    said = again.doit(*ONE_WEEK, "workers=1", "experiment:other").stdout
    assert " trials in " not in said  # a name is no part of a trial
    assert "best of trials 0 to 17: " in said
    again.edit("config/experiments/other.yaml", "markets: 3", "markets: 5")
    plan = again.doit(*ONE_WEEK, "plan", "experiment:other").stdout
    assert "to run: 2 for the Monte Carlo (5 markets, each a whole trial" in plan


@pytest.mark.parametrize(
    ("number", "workers"), [(signal.SIGKILL, 3), (signal.SIGINT, 1)], ids=["killed", "Ctrl-C"]
)
def test_a_run_that_ends_early_is_finished_by_the_next_with_the_same_bytes(
    done: Project, swept: Project, children: Keep, number: int, workers: int
) -> None:
    sweep(done)
    child = children(done.start(*ONE_WEEK, "workers=2", TASK, PYTHONHASHSEED="3"))
    wait_for_line(child, f".  {TASK}")
    give_up_s = time.monotonic() + 60
    while done.sql("SELECT count(*) FROM trials")[0][0] < 5 and time.monotonic() < give_up_s:
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(child.pid, number)
        _, err = child.communicate(timeout=30)
        assert (child.returncode in (130, -signal.SIGINT), err) == (True, INTERRUPTED)
    else:
        os.kill(child.pid, number)
        child.wait(30)
    ((kept,),) = done.sql("SELECT count(*) FROM trials")

    left = ran(done, workers=workers)

    assert isinstance(kept, int)
    assert kept >= 5
    assert left == ALL - kept
    assert outputs(done) == outputs(swept)


def test_a_promoted_trial_is_a_strategy_with_the_numbers_of_the_trial(again: Project) -> None:
    listed = json.loads(again.doit(*ONE_WEEK, "trials", "sweep", "--json", "--top", "3").stdout)
    best = listed["shown"][0]
    said = again.doit(*ONE_WEEK, "promote", "sweep", "--as", "best_v1").stdout
    other = listed["shown"][1]["number"]
    again.doit(*ONE_WEEK, "promote", "sweep", "--as", "other_v1", "--number", str(other))
    origins = {
        name: (again.root / f"config/strategies/{name}.yaml").read_text("utf-8")
        for name in ("best_v1", "other_v1")
    }

    again.doit(*ONE_WEEK, "backtest:best_v1")

    # the search and the walk-forward are of the chosen trial, no other one's
    assert ["(PBO) of the search" in text for text in origins.values()] == [True, False]
    assert f"# Caution: trial {other} loses " in origins["other_v1"]
    assert "walk-forward of the experiment" not in origins["other_v1"]
    assert said.startswith(
        f"config/strategies/best_v1.yaml: from experiment sweep, trial {best['number']}"
    )
    summary = json.loads((again.results / "best_v1" / "summary.json").read_bytes())
    trial = json.loads(outputs(again)["summary.json"])["chosen"]
    assert trial["number"] == best["number"]
    numbers = {name: trial["stats"][name] for name in summary["primary"] if name in trial["stats"]}
    ours = {name: summary["primary"][name] for name in numbers}
    assert ours == numbers
    assert trial["stats"].keys() - summary["primary"] == {"at_end", "carried", "end_prices"}
    assert summary["primary"].keys() - trial["stats"] == {
        *("buy_and_hold", "venue"),
        *("denials", "halts"),  # lists; trials have the numbers by rule, `denied` and `halted`
    }
    assert len(numbers) > 30
    compared = again.doit(*ONE_WEEK, "compare", "sweep", "best_v1").stdout.splitlines()
    assert all(name in compared[0] for name in ("Sharpe", "DSR", "PBO", "tries"))
    assert [line.split()[0] for line in compared[1:3]] == ["sweep", "best_v1"]
    span = f"{summary['span']['start'][:10]} .. {summary['span']['end'][:10]}"
    assert compared[3:] == [f"ema_cross.EmaCross on sample:BTC/USDT (simulated), {span}"]
    again.edit(
        "config/strategies/best_v1.yaml", "max_daily_loss_usd: 10.0", "max_daily_loss_usd: 9"
    )
    elsewhere = again.doit("compare", "sweep", "best_v1").stdout.splitlines()
    assert elsewhere[:4] == compared  # the results' own span and market, not the config's
    stale = again.doit(*ONE_WEEK, "compare", "sweep", "best_v1").stdout.splitlines()
    assert stale[:4] == compared
    reason = "risk.max_daily_loss_usd: was 10, now 9"
    assert stale[4:] == [f"! best_v1 is stale: {reason}: run `doit backtest:best_v1`"]
    taken = again.doit(*ONE_WEEK, "promote", "sweep", "--as", "best_v1", code=3).stderr
    assert taken == "ERROR: --as: 'best_v1' exists already: write another id\n"
    unfit = again.doit(*ONE_WEEK, "promote", "sweep", "--as", "bad name", code=3).stderr
    assert unfit == Line("ERROR: --as: 'bad name' must consist of letters, digits, _ and -, ...\n")


def test_trials_are_reproduced_exported_and_pruned(again: Project) -> None:
    again.doit(*ONE_WEEK, "export", "--dataset", "trials", "--experiment", "sweep")
    said = again.doit(*ONE_WEEK, "workers=1", "reproduce:sweep").stdout
    folder = again.results / "experiments/sweep"
    csv = (folder / "montecarlo.csv").read_bytes()
    (folder / "montecarlo.csv").write_bytes(csv.replace(b"markets,2,", b"markets,2,1"))
    other = again.doit(*ONE_WEEK, "workers=1", "reproduce:sweep", "--all", code=1)
    again.sql("UPDATE trials SET digest = zeroblob(32)")
    failed = again.doit(*ONE_WEEK, "workers=1", "reproduce:sweep", code=1).stderr
    (again.root / "config/experiments/sweep.yaml").unlink()
    dropped = again.doit(*ONE_WEEK, "prune", "--trials", "--yes").stdout

    table = pyarrow.parquet.read_table(again.root / "data/export/trials/sweep.parquet")
    assert table.num_rows == ALL
    assert table["params.fast"].to_pylist()[:3] == [5, 5, 5]
    assert "sweep: reproduced, 20 trials with the same digests" in said
    assert "sweep: 6 files with the same bytes" in said
    assert f"sweep: reproduced, {ALL} trials with the same digests" in other.stdout
    line = "ERROR: reproduce:sweep: not reproduced: montecarlo.csv:304: 'markets,2,"
    assert other.stderr.startswith(line)
    assert failed.startswith("ERROR: reproduce:sweep: not reproduced: trial ")
    assert f"dropped {ALL} trials" in dropped
    assert again.sql("SELECT count(*) FROM trials")[0] == (0,)


@pytest.mark.browser
def test_a_page_shares_the_plotly_of_the_results_and_fits_a_phone(again: Project) -> None:
    (again.results / "plotly.min.js").touch()
    plan = again.doit(*ONE_WEEK, "plan", TASK).stdout

    assert "plotly.min.js changed: the page is drawn again" in plan
    assert ran(again) == 0

    folder = again.results / "experiments/sweep"
    assert (folder / "index.html").stat().st_size < 300_000
    plotly = again.results / "plotly.min.js"
    with opened(folder / "index.html", width=PHONE, files=[plotly]) as page:
        assert page.locator("#markets-fan-chart .main-svg").count() > 0
        check_page(page, width=PHONE)


def test_windows_that_do_not_fit_are_refused_with_their_line_before_any_task(
    done: Project,
) -> None:
    sweep(done)
    done.edit("config/experiments/sweep.yaml", "train: 3d", "train: 60d")
    text = (done.root / "config/experiments/sweep.yaml").read_text()
    line = text[: text.index("walk_forward:")].count("\n") + 1

    end = done.doit(*ONE_WEEK, TASK, code=3)

    assert end.stdout == ""
    assert end.stderr.startswith(
        f"ERROR: config/experiments/sweep.yaml:{line}: walk_forward: warm_up and train leave "
    )


def test_a_warm_up_below_what_lookahead_found_is_refused(again: Project) -> None:
    verdict = again.results / ".lookahead" / "btc_usdt_perp_v1.json"
    checked = verdict.read_bytes()
    verdict.unlink()
    assert again.doit(*ONE_WEEK, "plan", TASK).stdout.startswith("nothing to do")
    verdict.write_bytes(checked)
    again.edit("config/experiments/sweep.yaml", "warm_up: 1d", "warm_up: 0d")

    refused = again.doit(*ONE_WEEK, TASK, code=1).stderr

    assert re.fullmatch(
        r"ERROR: experiment:sweep: config/experiments/sweep.yaml:\d+: walk_forward.warm_up: "
        r"no warm-up \(0d\), but .* need \d+ h(?: \d+ min)?: write \d+h\n",
        refused,
    )
    problem = refused.removeprefix("ERROR: experiment:sweep: ").strip()
    assert f"{TASK}\n    {problem}" in again.doit(*ONE_WEEK, "plan", TASK).stdout
    assert f"{TASK}: stale\n    {problem}" in again.doit(*ONE_WEEK, "why", TASK).stdout
    assert f"\nsweep: {problem}\n" in again.doit(*ONE_WEEK, "status").stdout
    stale = f"! sweep is stale: {problem}: run `doit {TASK}`"
    assert stale in again.doit(*ONE_WEEK, "trials", "sweep").stdout
    assert stale in again.doit(*ONE_WEEK, "compare", "sweep").stdout
    again.doit(*ONE_WEEK, "report")
    assert problem in html.unescape((again.results / "index.html").read_text(encoding="utf-8"))


def test_an_experiment_that_is_wrong_stops_nothing_else(done: Project) -> None:
    sweep(done, SWEEP.replace("fast:", "fsat:"))

    wrong = done.doit(*ONE_WEEK, TASK, code=3)
    other = done.doit(*ONE_WEEK, "backtest")
    missing = done.doit(*ONE_WEEK, "trials", "sweep", code=3)

    line = "config/experiments/sweep.yaml:5: search.space.fsat: unknown param of EmaCross 'fsat'"
    assert wrong.stderr.startswith(f"ERROR: {line}")
    assert other.stderr.startswith(f"WARNING: {line}")
    assert missing.stderr.splitlines()[-1].startswith(f"ERROR: {line}")


def test_the_trials_are_a_frame_for_a_notebook(swept: Project) -> None:
    trials = load_trials("sweep", project=swept.root)

    search = trials.filter(pl.col("part") == "")
    assert len(trials) == ALL
    assert search["number"].to_list() == list(range(TRIALS))
    assert search["start"][0] == datetime(2024, 1, 1, tzinfo=UTC)
    assert search["status"].to_list().count("ok") == 8  # of 12: fast=60 is above each slow
    best = search.sort("return", descending=True, nulls_last=True).row(0, named=True)
    assert best["equity"][-1] == pytest.approx(10_000 * (1 + best["return"]), abs=0.01)
    with pytest.raises(
        ConfigError, match=r"argument: experiment_id: unknown experiment 'sweeps', did "
    ):
        load_trials("sweeps", project=swept.root)
