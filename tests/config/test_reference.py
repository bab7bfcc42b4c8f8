"""docs/config.md has every key of the YAML files."""

from __future__ import annotations

from tests.builders import ROOT
from tests.config.reference import reference


def test_the_page_of_all_keys_is_the_one_of_the_records() -> None:
    page = (ROOT / "docs/config.md").read_text(encoding="utf-8")

    assert page == reference(), "run `python -m tests.config.reference > docs/config.md`"
