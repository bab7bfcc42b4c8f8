"""What `doit status` reads, and what it shows of it."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.config.records import Problem, Project
from tbv8.errors import ConfigError, OptionsError
from tbv8.market import DAY_MS, MINUTE_MS, Bbo, Series, Span, Trade
from tbv8.report.index import Report, report_page
from tbv8.report.results import read_results
from tbv8.report.status import ProjectStatus, read_status, to_json
from tbv8.report.status_view import print_status
from tbv8.store.database import REVISION
from tbv8.store.ticks import Batch, Gap, bbo_row, open_ticks, trade_row
from tests.builders import BTC, ETH, MONDAY, days, hold, minute_bars, shell, write_manifest
from tests.lines import Line

LIVE = Series("hyperliquid", "BTC/USDT")


def look(
    project: Project, wanted: dict[Series, list[Span]] | None = None, **stale: tuple[str, ...]
) -> ProjectStatus:
    reasons = {f"backtest:{name}": texts for name, texts in stale.items()}
    return read_status(project, wanted or {}, lambda: reasons)


def series_of(status: ProjectStatus) -> list[tuple[Any, ...]]:
    return [
        (one.venue, one.symbol, one.dataset, one.first_ms, one.last_ms, one.bars, one.missing)
        for one in status.series
    ]


def test_series_are_told_by_the_ledger_and_their_first_and_last_bar(project: Project) -> None:
    outage = Span(days(0, 2).start_ms, days(0, 2).start_ms + 10 * MINUTE_MS)
    hold(project.db_path, BTC, days(0, 2), minute_bars(days(0, 2), without=[outage]))
    hold(project.db_path, ETH, days(3, 4))

    status = look(project)

    first, last = days(0, 2).start_ms + 10 * MINUTE_MS, days(0, 2).end_ms - MINUTE_MS
    assert series_of(status) == [
        ("sample", "BTC/USDT", "ohlcv_1m", first, last, 2870, 10),
        (
            "sample",
            "ETH/USDT",
            "ohlcv_1m",
            days(3, 4).start_ms,
            days(3, 4).end_ms - 60_000,
            1440,
            0,
        ),
    ]
    assert [one.simulated for one in status.series] == [True, True]


def test_gaps_are_what_is_still_to_be_fetched_of_wanted_history(project: Project) -> None:
    for span in (days(1, 2), days(3, 4)):
        hold(project.db_path, BTC, span)
    hold(project.db_path, LIVE, days(0, 1), dataset="bars_1m")
    hold(project.db_path, LIVE, days(2, 4), dataset="bars_1m")

    unwanted = look(project)
    wanted = look(project, {BTC: [days(0, 6)], ETH: [days(0, 1)]})

    assert [(one.symbol, one.dataset, one.gaps) for one in unwanted.series] == [
        ("BTC/USDT", "bars_1m", 1),
        ("BTC/USDT", "ohlcv_1m", 1),
    ]
    assert [(one.symbol, one.dataset, one.bars, one.gaps) for one in wanted.series] == [
        ("BTC/USDT", "bars_1m", 3 * 1440, 1),
        ("BTC/USDT", "ohlcv_1m", 2 * 1440, 3),
        ("ETH/USDT", "ohlcv_1m", 0, 1),
    ]


def test_days_edited_by_hand_are_counted(project: Project) -> None:
    hold(project.db_path, BTC, days(0, 3))
    shell(project.db_path, "UPDATE ohlcv_1m SET close = 1 WHERE ts_ms = ?", (MONDAY,))

    assert [one.edited_days for one in look(project).series] == [1]


def test_the_size_is_near_what_sqlite_says(project: Project) -> None:
    hold(project.db_path, BTC, days(0, 60))

    (series,) = look(project).series

    with closing(sqlite3.connect(project.db_path)) as connection:
        ((pages,),) = connection.execute(
            "SELECT sum(pgsize) FROM dbstat WHERE name = 'ohlcv_1m'"
        ).fetchall()
    # the test's bars have quarters and whole numbers, which SQLite keeps in fewer bytes
    assert 0.6 * series.size < pages < 1.15 * series.size


def record(project: Project, **parts: Any) -> None:
    with open_ticks(project.db_path) as store:
        store.commit(Batch(**parts), now_ms=1)


def test_trades_quotes_and_recorder_gaps(project: Project) -> None:
    key = (LIVE.venue, LIVE.symbol)
    gaps = [
        Gap(series=LIVE, channel="trades", start_ms=MONDAY, end_ms=MONDAY + 5000, reason="a"),
        Gap(
            series=LIVE,
            channel="trades",
            start_ms=MONDAY + 10_000,
            end_ms=MONDAY + 20_000,
            reason="b",
            healed=True,
        ),
        Gap(series=LIVE, channel="trades", start_ms=MONDAY + 30_000, end_ms=None, reason="c [x]"),
    ]
    record(
        project,
        trades=[trade_row(Trade(*key, MONDAY + n, str(n), 5.0, 1.0, "buy"), 0) for n in (3, 1, 9)],
        bbo=[bbo_row(Bbo(*key, MONDAY + 4, 1.0, 1.0, None, None), 0)],
        gaps={(LIVE, gap.channel, gap.start_ms): gap for gap in gaps},
    )

    status = look(project)

    assert [(one.dataset, one.first_ms, one.last_ms) for one in status.ticks] == [
        ("trades", MONDAY + 1, MONDAY + 9),
        ("bbo", MONDAY + 4, MONDAY + 4),
    ]
    assert status.tick_rows == {"trades": 3, "bbo": 1}
    (gap,) = status.recorder_gaps
    assert (gap.gaps, gap.healed, gap.open, gap.lost_s) == (3, 1, 1, 5.0)
    assert (gap.newest_ms, gap.newest_end_ms, gap.reason) == (MONDAY + 30_000, None, "c [x]")


def test_rows_are_counted_and_those_of_large_tables_are_bounded(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    key = (LIVE.venue, LIVE.symbol)
    trades = [trade_row(Trade(*key, MONDAY + n, str(n), 5.0, 1.0, "buy"), 0) for n in range(4)]
    record(project, trades=trades)
    shell(project.db_path, "DELETE FROM trades WHERE ts_ms IN (?, ?)", (MONDAY + 1, MONDAY + 2))
    status = look(project)

    print_status(status)
    print_status(replace(status, tick_rows={"trades": 2_000_000}))

    printed = [re.sub(" +", " ", line.strip()) for line in capsys.readouterr().out.splitlines()]
    assert "trades 2 rows in total" in printed
    assert "trades 2,000,000 rows less those pruned in total" in printed


def test_numbers_stand_under_the_market_of_their_own_run(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.results_path / "btc_usdt_perp_v1"
    folder.mkdir(parents=True)
    summary = {
        "symbol": "ETH/USDT",
        "symbols": ["ETH/USDT", "SOL/USDT"],
        "timeframe": "15m",
        "market_data_venue": "bybit",
        "simulated": False,
        "span": {"start": "2026-11-26T00:00:00Z", "end": "2026-11-29T00:00:00Z"},
        "primary": {"return": -0.0009},
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    write_manifest(folder)

    status = look(project, btc_usdt_perp_v1=("market_data_venue: was bybit, now sample",))
    print_status(status)

    line = next(line for line in capsys.readouterr().out.splitlines() if "-0.09%" in line)
    assert "ETH/USDT, SOL/USDT 15m of bybit  2026-11-26 .. 2026-11-29  stale" in line
    results = read_results(project.results_path, max_points=9)
    report = Report(
        status=status, coverage=(), recording_gaps=(), results=results, tasks=(), now_ms=MONDAY
    )
    assert "ETH/USDT, SOL/USDT 15m of bybit<" in report_page(report)


def test_strategies_with_their_numbers_and_reasons(project: Project) -> None:
    folder = project.results_path / "btc_usdt_perp_v1"
    folder.mkdir(parents=True)
    primary = {"return": 0.25, "max_drawdown": 0.1, "sharpe": None, "trades": 12}
    span = {"start": "2024-01-01T00:00:00Z", "end": "2024-01-08T00:00:00Z"}
    summary = {"simulated": True, "primary": primary, "span": span}
    (folder / "summary.json").write_text(json.dumps(summary))
    write_manifest(folder)

    (fresh,) = look(project).strategies
    (stale,) = look(project, btc_usdt_perp_v1=("fast: was 20, now 30", "x")).strategies
    (folder / "summary.json").write_text('{"primary": [')
    (damaged,) = look(project).strategies

    assert (fresh.fresh, fresh.reasons, fresh.simulated) == (True, (), True)
    assert (fresh.start_ms, fresh.end_ms) == (MONDAY, MONDAY + 7 * DAY_MS)
    assert (fresh.lookahead, fresh.lookahead_text) == (None, "not checked")
    assert (damaged.start_ms, damaged.end_ms) == (None, None)
    assert fresh.numbers == {
        "return": 0.25,
        "cagr": None,
        "sharpe": None,
        "max_drawdown": 0.1,
        "trades": 12,
    }
    assert (stale.fresh, stale.reasons) == (False, ("fast: was 20, now 30", "x"))
    assert set(damaged.numbers.values()) == {None}
    (folder / "summary.json").unlink()
    (missing,) = look(project, btc_usdt_perp_v1=("no result yet",)).strategies
    assert missing.simulated  # as its market is
    assert [every_series.state for every_series in (fresh, stale, damaged, missing)] == [
        "fresh",
        "stale",
        "fresh",
        "no result",
    ]


@pytest.mark.parametrize("edit", ["absent", "damaged", "newer", "locked"])
def test_a_database_that_cannot_be_read_is_said_to_be_so(project: Project, edit: str) -> None:
    path = project.db_path
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        if edit == "absent":
            path.unlink()
        elif edit == "damaged":
            path.write_bytes(b"no database" * 1000)
        elif edit == "newer":
            shell(path, "UPDATE alembic_version SET version_num = '9999'")
        else:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")

        status = look(project)

    problem = {
        "absent": "there is no database: ...",
        "damaged": "not a database, or damaged: ...",
        "newer": f"has revision 9999, but this tbv8 needs {REVISION}: ...",
        "locked": "locked by another program: ...",
    }[edit]
    assert status.database.problem == Line(f"{path}: {problem}")
    assert status.database.revision == ("9999" if edit == "newer" else None)
    assert status.series == ()
    assert [one.reasons for one in status.strategies] == [(status.database.problem,)]


def test_a_writer_at_work_does_not_matter(project: Project) -> None:
    hold(project.db_path, BTC, days(0, 1))
    with closing(sqlite3.connect(project.db_path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM history_coverage")

        status = look(project)

        writer.execute("ROLLBACK")
    assert [one.bars for one in status.series] == [1440]
    assert status.database.problem is None


def test_json_has_times_as_text(project: Project) -> None:
    hold(project.db_path, BTC, days(0, 1))

    value = json.loads(json.dumps(to_json(look(project))))

    (series,) = value["series"]
    assert (series["first"], series["last"]) == ("2024-01-01T00:00:00Z", "2024-01-01T23:59:00Z")
    assert value["database"]["known_revision"] == REVISION
    assert not [key for key in series if key.endswith("_ms")]


def status_of(project: Project, symbols: int) -> ProjectStatus:
    """Return a status of many symbols, some of which lack something."""
    names = [f"C{number:03}/USDT" for number in range(symbols)]
    for name in names[:2]:
        hold(project.db_path, Series("binance_spot", name), days(0, 2))
        gap = Gap(
            series=Series("mexc", name), channel="bbo", start_ms=MONDAY, end_ms=None, reason="x"
        )
        record(project, gaps={(gap.series, "bbo", MONDAY): gap})
    found = look(project)
    whole, gap_of_one = found.series[0], found.recorder_gaps[0]
    series = [
        replace(
            whole,
            symbol=name,
            dataset=dataset,
            gaps=2 if name == "C007/USDT" and dataset == "ohlcv_1m" else 0,
            last_ms=MONDAY if name == "C009/USDT" else whole.last_ms,
        )
        for name in names
        for dataset in ("ohlcv_1m", "bars_5m")
    ]
    gaps = tuple(replace(gap_of_one, symbol=name) for name in names)
    return replace(found, series=tuple(series), recorder_gaps=gaps)


def test_two_hundred_series_are_one_row_a_kind_and_those_that_lack_something(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    status = status_of(project, 200)

    print_status(status)
    said = capsys.readouterr().out
    print_status(status, every_series=True)
    every_series = capsys.readouterr().out

    lines = [line.split() for line in said.splitlines()]
    assert len(lines) < 40
    kind = ["200", "2024-01-01", "2024-01-02", "23:59", "1", "576,000", "0", "2"]
    assert ["binance_spot", "ohlcv_1m", *kind] in [line[:10] for line in lines]
    odd = lines.index(["Behind,", "or", "with", "gaps"])
    assert [line for line in lines if "C007/USDT" in line or "C009/USDT" in line] == lines[
        odd + 2 : odd + 4
    ]
    assert ["mexc", "bbo", "200", "200", "0", "200", "0", "s"] in lines
    (newest,) = [line for line in said.splitlines() if line.startswith("newest unfilled gap")]
    assert newest.startswith(
        "newest unfilled gaps: 2024-01-01 00:00 .. now, x: mexc:C000/USDT bbo, "
    )
    assert newest.endswith(", mexc:C009/USDT bbo and 190 more series")
    assert every_series.count("C123/USDT") == 3


def test_nothing_is_cut_without_a_terminal(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    reason = f"{'a' * 100} the end"
    symbols = tuple(f"C{number:03}/USDT" for number in range(200))
    status = look(project, btc_usdt_perp_v1=(reason,))
    strategy = replace(status.strategies[0], symbols=symbols)

    print_status(replace(status, strategies=(strategy,)))

    printed = capsys.readouterr().out
    assert f"btc_usdt_perp_v1: {reason}\n" in printed
    assert ", ".join(symbols) in printed


def test_gaps_of_one_cause_are_one_line(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    restart_ms = MONDAY + 3_600_000
    for venue, channel, after_ms in (
        ("mexc", "trades", 0),
        ("mexc", "bbo", 61_000),
        ("bybit", "bbo", 5_000),
    ):
        series, start_ms = Series(venue, "BTC/USDT"), restart_ms + after_ms
        gap = Gap(
            series=series,
            channel=channel,
            start_ms=start_ms,
            end_ms=start_ms + 120_000,
            reason="not running",
        )
        record(project, gaps={(series, channel, start_ms): gap})
    other = Gap(series=LIVE, channel="bbo", start_ms=restart_ms, end_ms=None, reason="not running")
    record(project, gaps={(LIVE, "bbo", restart_ms): other})

    print_status(look(project))

    assert [line for line in capsys.readouterr().out.splitlines() if "unfilled" in line] == [
        "newest unfilled gaps: 2024-01-01 01:00 .. 2024-01-01 01:03, not running: "
        "bybit:BTC/USDT bbo, mexc:BTC/USDT bbo trades",
        "newest unfilled gap: 2024-01-01 01:00 .. now, not running: hyperliquid:BTC/USDT bbo",
    ]


def test_plain_text_without_a_terminal(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    hold(project.db_path, BTC, days(0, 1))
    gap = Gap(series=LIVE, channel="bbo", start_ms=MONDAY, end_ms=None, reason="[red]bold[/red]")
    record(project, gaps={(LIVE, "bbo", MONDAY): gap})

    print_status(look(project, btc_usdt_perp_v1=("no result yet",)))

    said = capsys.readouterr().out
    assert said.replace(str(project.db_path), "").isascii()
    lines = [line.split() for line in said.splitlines()]
    size = f"{round(1440 * 72 / 0.88) / 1000:.0f}"
    assert (
        f"sample BTC/USDT ohlcv_1m 2024-01-01 2024-01-01 23:59 1,440 0 0 {size} kB".split() in lines
    )
    assert ["hyperliquid", "BTC/USDT", "bbo", "1", "0", "1", "0", "s"] in lines
    assert "2024-01-01 00:00 .. now, [red]bold[/red]" in said
    assert "Bars (sample: simulated)" in said
    assert "btc_usdt_perp_v1: no result yet" in said


def test_experiments_are_shown_with_their_best_trial_and_why_they_would_run(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = project.results_path / "experiments"
    numbers = {"trials": 12, "failed": 1, "tries": 14, "deflated_sharpe": 0.074}
    parts = {
        "chosen": {"stats": {"sharpe": -1.536, "return": -0.0124}},
        "overfitting": {"probability": 0.17},
        "walk_forward": {"return": -0.0121, "efficiency": None},
    }
    for name, summary in (("ema_sweep", numbers | parts), ("gone", {})):
        (folder / name).mkdir(parents=True)
        (folder / name / "summary.json").write_text(json.dumps(summary))
        write_manifest(folder / name)
    reasons = {"experiment:ema_sweep": ("one", "two", "three")}

    configured: dict[str, Any] = {"ema_sweep": None}
    problems = (
        Problem(kind="experiment", name="broken", error=ConfigError("unknown key", path=Path("x"))),
        Problem(kind="strategy", name="later", error=OptionsError("no history", path=Path("y"))),
    )
    changed = replace(project, experiments=configured, problems=problems)
    status = read_status(changed, {}, lambda: reasons)
    print_status(status)

    printed = capsys.readouterr().out
    assert "\nlater not with these options" in re.sub(" +", " ", printed)
    lines = printed.partition("\nExperiments\n")[2].splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["broken", "error", "in", "config", *"--------"],
        ["ema_sweep", "stale", "12", "1", "-1.24%", "-1.54", "7%", "14", "17%", "-1.21%"],
        ["gone", "not", "configured", *"--------"],
    ]
    assert lines[4:] == ["ema_sweep: one; two; 1 more: `doit why experiment:ema_sweep`"]
    experiments = {each["experiment_id"]: each for each in to_json(status)["experiments"]}
    states = [experiment["state"] for experiment in experiments.values()]
    assert states == ["error in config", "stale", "not configured"]
    assert experiments["broken"]["reasons"] == ["x: unknown key"]
