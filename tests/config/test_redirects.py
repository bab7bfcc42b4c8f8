"""`redirect_hosts` of a venue's file: read, checked, and told to editors."""

from __future__ import annotations

from pathlib import Path

import jsonschema
import pytest

from tbv8.config.load import load_project
from tbv8.config.records import Project
from tbv8.config.schema import schemas
from tbv8.market import Span

FILES = {
    "data.yaml": "db_path: data/tbv8.sqlite\n",
    "history.yaml": 'history: {market_data_venue: sample, start_date: "2024-01-01"}\n',
    "strategies/x.yaml": (
        "strategy_id: x\nsymbol: BTC/USDT\ntimeframe: 5m\nrouting: {primary: sample}\n"
        "risk: {max_position_btc: 1, max_daily_loss_usd: 1, max_leverage: 1}\n"
    ),
}
VENUE = (
    "venue: sample\nsymbols: [BTC/USDT]\ninstruments:\n"
    "  BTC/USDT: {tick_size: 1, lot_size: 1, maker_fee: 0, taker_fee: 0}\n"
)


def load(root: Path, line: str) -> Project:
    for name, text in {**FILES, "venues/sample.yaml": f"{VENUE}{line}\n"}.items():
        path = root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return load_project(
        root, overrides={}, now_ms=1_706_000_000_000, history_span=lambda *_: Span(0, 2**42)
    )


def hosts(root: Path, line: str) -> tuple[str, ...]:
    return load(root, line).venues["sample"].redirect_hosts


def test_none_are_named_by_default(tmp_path: Path) -> None:
    assert hosts(tmp_path, "") == ()


def test_they_are_read(tmp_path: Path) -> None:
    written = "redirect_hosts: [data.example.com, 10.0.0.1]"

    assert hosts(tmp_path, written) == ("data.example.com", "10.0.0.1")


@pytest.mark.parametrize(
    "host", ["https://data.example.com", "data.example.com:443", "Data.example.com", "*", "a/b", ""]
)
def test_what_is_no_host_is_refused_here_and_by_editors(tmp_path: Path, host: str) -> None:
    error = load(tmp_path, f"redirect_hosts: [{host!r}]").problems[0].error

    assert (error.line, error.key) == (5, "redirect_hosts[0]")
    assert repr(host) in error.problem
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([host], schemas([])["venue"]["properties"]["redirect_hosts"])
