"""`doit report` as a user meets it: whatever there is, one page and one line."""

from __future__ import annotations

import re
import shutil

from tests.e2e.conftest import ONE_WEEK, Project

INDEX = "data/results/index.html"


def page_of(project: Project) -> str:
    said = project.doit(*ONE_WEEK, "report")
    assert said.stdout == f"{INDEX}\n"
    assert said.stderr == ""
    assert [path.name for path in project.results.glob(".*")] == []
    return (project.root / INDEX).read_text(encoding="utf-8")


def test_before_anything_ran(bare: Project) -> None:
    page = page_of(bare)

    assert "data/tbv8.sqlite: there is no database" in page
    assert not bare.db_path.exists()


def test_with_an_empty_database(project: Project) -> None:
    project.doit("migrate")

    page = page_of(project)

    assert "backfill:sample:BTC/USDT: 7 days of sample:BTC/USDT not stored yet" in page
    assert "gap 100%" in page
    assert ">no result</span>" in page


def test_fresh_stale_and_forgotten_results(done: Project) -> None:
    before = done.state()["ledger"]
    page = page_of(done)
    assert '<a href="btc_usdt_perp_v1/tearsheet.html">' in page
    assert '<span class="pill">fresh</span>' in page
    assert done.state()["ledger"] == before

    done.edit("config/strategies/btc_usdt_perp_v1.yaml", "fast: 20", "fast: 19")
    page = page_of(done)
    assert '<span class="pill stale">stale</span>' in page
    assert "params.fast: was 20, now 19" in page

    shutil.move(done.results / "btc_usdt_perp_v1", done.results / "of_last_year")
    page = page_of(done)
    assert '<span class="pill gone">not configured</span>' in page
    assert '<a href="of_last_year/tearsheet.html">' in page
    assert re.search(r"btc_usdt_perp_v1: no result yet", page)


def test_words_after_it_are_refused(finished: Project) -> None:
    said = finished.doit("report", "nonsense", code=3)

    assert "'nonsense'" in said.stderr
