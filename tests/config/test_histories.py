"""Histories that a venue's YAML brings along: what is read, and each refusal with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tbv8.config.load import load_project
from tbv8.config.records import Project
from tbv8.errors import ConfigError
from tbv8.market import Span, parse_time

SPAN = Span(parse_time("2024-01-01"), parse_time("2024-07-01"))
FILES = "venue: mine\nhistory: files\npath: bars/{symbol}.csv\nsymbols: [BTC/USDT, ETH/USDT]\n"
CCXT = "venue: mine\nhistory: ccxt\nexchange: kraken\nsymbols: {BTC/USDT: BTC/USD}\n"


def load(root: Path, venue: str, name: str = "mine") -> Project:
    """Load a project with a venue beside the sample, and the example strategy."""
    texts = {
        "data.yaml": "db_path: data/tbv8.sqlite",
        "history.yaml": "history: {market_data_venue: sample, start_date: '2024-01-01'}",
        "venues/sample.yaml": "{venue: sample, symbols: [BTC/USDT]}",
        f"venues/{name}.yaml": venue,
        "strategies/x.yaml": "{}",
    }
    for path, text in texts.items():
        (root / "config" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "config" / path).write_text(text)
    return load_project(
        root, overrides={}, now_ms=parse_time("2025-01-01"), history_span=lambda *_: SPAN
    )


@pytest.mark.parametrize("text", [FILES, CCXT])
def test_a_venue_of_any_name_has_the_history_that_its_file_names(tmp_path: Path, text: str) -> None:
    venue = load(tmp_path, text).venues["mine"]

    assert venue.history is not None
    assert venue.history is venue.own_history


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            FILES.replace("files", "file"),
            "2: history: unknown value 'file', did you mean 'files'? Known: ccxt, files",
            id="a kind that is none",
        ),
        pytest.param(
            FILES.replace("path: bars/{symbol}.csv\n", ""),
            "1: path: missing: write the path of the files, such as bars/{symbol}.csv",
            id="files without a path",
        ),
        pytest.param(
            FILES.replace("{symbol}", "{sybmol}"),
            "3: path: unknown placeholder '{sybmol}', did you mean '{symbol}'? Known: {base}, "
            "{quote}, {symbol}",
            id="a placeholder misspelt",
        ),
        pytest.param(
            FILES.replace("{symbol}", "all"),
            "3: path: 'bars/all.csv' is the same for every symbol: write {symbol} in place "
            "of its name",
            id="one file for two symbols",
        ),
        pytest.param(
            FILES.replace("history: files\n", ""),
            "2: path: needs `history: files`: write both, or neither",
            id="a path alone",
        ),
        pytest.param(
            f"{FILES}zone: Europe/Berln\n",
            "5: zone: unknown time zone 'Europe/Berln', did you mean 'Europe/Berlin'?\n",
            id="a zone misspelt",
        ),
        pytest.param(
            f"{CCXT}zone: UTC\n",
            "5: zone: needs `history: files` and `path`: ",
            id="a zone alone",
        ),
        pytest.param(
            CCXT.replace("exchange: kraken\n", ""),
            "1: exchange: missing: write ccxt's name of the exchange, such as kraken",
            id="ccxt without an exchange",
        ),
        pytest.param(
            CCXT.replace("kraken", "kracken"),
            "3: exchange: unknown exchange 'kracken', did you mean 'kraken'?",
            id="an exchange misspelt",
        ),
        pytest.param(
            CCXT.replace("ccxt", "files"),
            "3: exchange: needs `history: ccxt`: ",
            id="an exchange of files",
        ),
    ],
)
def test_what_is_wrong_with_a_history_is_refused_where_it_stands(
    tmp_path: Path, text: str, problem: str
) -> None:
    problems = load(tmp_path, text).problems

    found = next(str(one.error) for one in problems if one.name == "mine")
    assert f"{found}\n".startswith(f"config/venues/mine.yaml:{problem}")


def test_a_name_that_tbv8_knows_keeps_its_history(tmp_path: Path) -> None:
    text = FILES.replace("venue: mine", "venue: mexc")

    problems = load(tmp_path, text, "mexc").problems

    assert (
        "config/venues/mexc.yaml:2: history: tbv8 has a history source for mexc: choose another "
        "name for this venue"
    ) in [str(one.error) for one in problems]


def test_dates_outside_of_the_history_of_a_broken_file_name_its_problem(tmp_path: Path) -> None:
    (tmp_path / "bars").mkdir()
    (tmp_path / "bars/BTCUSDT.csv").write_text("time,open\n1,2\n")
    (tmp_path / "bars/ETHUSDT.csv").write_text("time,open\n1,2\n")
    load(tmp_path, FILES)
    (tmp_path / "config/history.yaml").write_text(
        "history: {market_data_venue: mine, start_date: '2024-08-01'}"
    )

    with pytest.raises(ConfigError) as e:
        load_project(
            tmp_path, overrides={}, now_ms=parse_time("2025-01-01"), history_span=lambda *_: SPAN
        )

    assert str(e.value).startswith(
        "config/history.yaml:1: history.start_date: mine has no history of 2024-08-01T00:00:00Z .. "
        "2025-01-01T00:00:00Z: bars/BTCUSDT.csv: "
    )
