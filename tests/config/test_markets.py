"""What a strategy may ask beyond one symbol and one timeframe, and how each is refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tbv8.config.load import load_project
from tbv8.config.records import Project, Strategy
from tbv8.market import Series, Span, parse_time
from tests.lines import Line

HALF_YEAR = Span(parse_time("2024-01-01"), parse_time("2024-07-01"))
RULES = '{tick_size: "0.1", lot_size: "0.001", maker_fee: "0", taker_fee: "0.0005"}'
FILES = {
    "data.yaml": "db_path: bars.sqlite\n",
    "history.yaml": "history: {market_data_venue: sample, start_date: 2017-08-17}\n",
    "venues/sample.yaml": "{venue: sample, symbols: [BTC/USDT, ETH/USDT]}\n",
    "venues/mexc.yaml": f"""\
venue: mexc
symbols: [BTC/USDT, ETH/USDT]
instruments:
  BTC/USDT: {RULES}
  ETH/USDT: {RULES}
""",
    "strategies/pair.yaml": """\
strategy_id: pair
symbols: [BTC/USDT, ETH/USDT]
timeframe: 5m
bars: [1h, 1d]
routing: {primary: mexc}
risk: {max_position_btc: 0.1, max_position_eth: 2, max_daily_loss_usd: 100, max_leverage: 2}
backtest: {start_date: 2024-02-01}
strategy: pairs.Pairs
""",
}
PAIR = "strategies/pair.yaml"
SHADOW = "PRIMARY_LIVE_SECONDARY_SHADOW"


class Files:
    def __init__(self, root: Path) -> None:
        self.root, self.history = root, HALF_YEAR
        for name, text in FILES.items():
            path = root / "config" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        (self.root / "config" / name).write_text(text, encoding="utf-8")

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / "config" / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def load(self) -> Project:
        return load_project(
            self.root,
            overrides={},
            now_ms=parse_time("2026-01-15"),
            history_span=lambda venue, *_: {"sample": self.history}.get(venue.name),
        )

    def strategy(self) -> Strategy:
        return self.load().strategies["pair"]

    def refusal(self) -> str:
        return str(self.load().problems[0].error)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_several_symbols_and_timeframes_have_a_series_limit_and_rules_each(files: Files) -> None:
    pair = files.strategy()

    assert (pair.symbol, pair.symbols) == ("BTC/USDT", ("BTC/USDT", "ETH/USDT"))
    assert pair.source == Series("sample", "BTC/USDT")
    assert pair.sources == (Series("sample", "BTC/USDT"), Series("sample", "ETH/USDT"))
    assert [timeframe.text for timeframe in pair.timeframes] == ["5m", "1d", "1h"]
    assert pair.risk.max_positions == {"BTC/USDT": Decimal("0.1"), "ETH/USDT": Decimal(2)}
    assert list(pair.instruments["mexc"]) == ["BTC/USDT", "ETH/USDT"]


def test_one_symbol_is_a_tuple_of_one_and_gets_every_default(files: Files) -> None:
    files.edit(PAIR, "symbols: [BTC/USDT, ETH/USDT]", "symbol: BTC/USDT")
    files.edit(PAIR, "max_position_eth: 2, ", "")
    files.edit(PAIR, "bars: [1h, 1d]\n", "")

    strategy = files.strategy()

    assert (strategy.symbol, strategy.symbols, strategy.bars) == ("BTC/USDT", ("BTC/USDT",), ())
    assert (strategy.detail, strategy.warm_up_ms) == ("1m", 0)
    assert strategy.run_span == strategy.span


def test_the_main_symbol_may_be_written_beside_all(files: Files) -> None:
    expected = files.strategy()

    files.edit(PAIR, "symbols:", "symbol: BTC/USDT\nsymbols:")

    assert files.strategy() == expected


def test_every_series_and_timeframe_of_a_strategy_is_wanted(files: Files) -> None:
    loaded = files.load()

    built = {series: loaded.timeframes_of(series) for series in loaded.wanted}
    names = {str(series): [timeframe.text for timeframe in of] for series, of in built.items()}
    assert names == {
        "sample:BTC/USDT": ["5m", "1h", "1d"],
        "sample:ETH/USDT": ["5m", "1h", "1d"],
    }


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        pytest.param(
            PAIR,
            "symbols:",
            "symbol: ETH/USDT\nsymbols:",
            "pair.yaml:2: symbol: 'ETH/USDT' is not the first of symbols: remove this key",
            id="another main symbol",
        ),
        pytest.param(
            PAIR,
            "[BTC/USDT, ETH/USDT]",
            "[BTC/USDT, ETH/USDT, BTC/USDT]",
            "pair.yaml:2: symbols[2]: 'BTC/USDT' is given twice: ...",
            id="a symbol twice",
        ),
        pytest.param(
            PAIR,
            "symbols: [BTC/USDT, ETH/USDT]\n",
            "",
            "pair.yaml:1: symbol: missing: write this key",
            id="no symbol",
        ),
        pytest.param(
            PAIR,
            "[BTC/USDT, ETH/USDT]",
            "[ETH/BTC]",
            "pair.yaml:2: symbols[0]: 'ETH/BTC' is quoted in BTC, but risk limits are in dollars: "
            "choose a symbol quoted in USD, USDT or USDC",
            id="a quote that is no dollar",
        ),
        pytest.param(
            PAIR,
            "[BTC/USDT, ETH/USDT]",
            "[ETH/USDT, BTC/USDC]",
            "pair.yaml:2: symbols[1]: 'BTC/USDC' is not quoted in USDT as ETH/USDT is",
            id="two quotes",
        ),
        pytest.param(
            PAIR,
            "max_position_eth: 2, ",
            "",
            "pair.yaml:6: risk.max_position_eth: missing: write this key, in ETH",
            id="a limit for one of two",
        ),
        pytest.param(
            PAIR,
            "[1h, 1d]",
            "[1h, 5m]",
            "pair.yaml:4: bars[1]: '5m' is the main timeframe: remove it",
            id="the main timeframe",
        ),
        pytest.param(
            PAIR,
            "[1h, 1d]",
            "[1h, 1h]",
            "pair.yaml:4: bars[1]: '1h' is given twice: ...",
            id="a timeframe twice",
        ),
        pytest.param(
            PAIR,
            "symbols: [BTC/USDT, ETH/USDT]",
            "symbols: []",
            "pair.yaml:2: symbols: expected at least one symbol, such as BTC/USDT",
            id="an empty list of symbols",
        ),
        *(
            pytest.param(
                PAIR,
                "timeframe: 5m\nbars: [1h, 1d]",
                f"timeframe: {main}\nbars: {further}",
                f"pair.yaml:4: bars[{at}]: NautilusTrader gives bars of {one} and {other} the "
                f"same name, {label}, so a strategy could not tell them apart: remove one",
                id=f"{one} and {other}",
            )
            for main, further, at, one, other, label in (
                ("1m", "[1h, 7m]", 1, "7m", "1m", "1-MINUTE"),
                ("7m", "[1m]", 0, "1m", "7m", "1-MINUTE"),
                ("5m", "[60m, 1h]", 1, "1h", "60m", "1-HOUR"),
                ("30m", "[90m]", 0, "90m", "30m", "30-MINUTE"),
            )
        ),
        pytest.param(
            "venues/mexc.yaml",
            f"  ETH/USDT: {RULES}\n",
            "",
            "pair.yaml:5: routing.primary: mexc has no instrument rules for ETH/USDT: ...",
            id="rules of one of two",
        ),
        pytest.param(
            PAIR,
            "2024-02-01}",
            "2024-02-01, warm_up: soon}",
            "pair.yaml:7: backtest.warm_up: 'soon' is not a duration: ...",
            id="a warm-up in words",
        ),
        pytest.param(
            PAIR,
            "2024-02-01}",
            "2024-02-01, warm_up: 90s}",
            "pair.yaml:7: backtest.warm_up: '90s' is not whole minutes: write 30d, 36h or 0d",
            id="a warm-up of a minute and a half",
        ),
        pytest.param(
            PAIR,
            "2024-02-01}",
            "2024-02-01, warm_up: 32d}",
            "pair.yaml:7: backtest.warm_up: sample has no history 32d before 2024-02-01T00:00:00Z, "
            "it begins at 2024-01-01T00:00:00Z: write start_date: 2024-02-02 or later",
            id="a warm-up before the venue's first",
        ),
        pytest.param(
            PAIR,
            "2024-02-01}",
            "2024-02-01T12:00Z, warm_up: 1d}",
            "pair.yaml:7: backtest.warm_up: a span after a warm-up must start at 00:00 UTC, not "
            "at 2024-02-01T12:00:00Z: write a start_date without a time",
            id="a warm-up and a start at noon",
        ),
        pytest.param(
            PAIR,
            "2024-02-01}",
            "2024-02-01, funding: some}",
            "pair.yaml:7: backtest.funding: expected history, none or a rate per 8 h such "
            "as 0.0001, got 'some'",
            id="funding in words",
        ),
        pytest.param(
            PAIR,
            "2024-02-01}",
            "2024-02-01, detail: 5m}",
            "pair.yaml:7: backtest.detail: unknown value '5m'; known: 1m, none",
            id="another detail",
        ),
        pytest.param(
            "venues/mexc.yaml",
            f"  BTC/USDT: {RULES}",
            f"  BTC/USDT: {RULES[:-1]}, multiplier: 0}}",
            "mexc.yaml:4: instruments.BTC/USDT.multiplier: expected a number above 0, got 0",
            id="a multiplier of 0",
        ),
        pytest.param(
            "venues/mexc.yaml",
            f"  BTC/USDT: {RULES}",
            f"  BTC/USDT: {RULES[:-1]}, min_notional_usd: -1}}",
            "mexc.yaml:4: instruments.BTC/USDT.min_notional_usd: expected a number above 0, got -1",
            id="a least order below 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    files: Files, name: str, old: str, new: str, said: str
) -> None:
    files.edit(name, old, new)

    assert files.refusal().removeprefix("config/").partition("/")[2] == Line(said)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param(
            "", "symbols.PEPE/USDT: '1000PEPEUSDT' trades 1000 PEPE as one", id="no multiplier"
        ),
        pytest.param(
            ", multiplier: 100",
            "instruments.PEPE/USDT.multiplier: '1000PEPEUSDT' trades 1000 PEPE as one",
            id="another multiplier",
        ),
    ],
)
def test_a_name_of_many_units_needs_its_multiplier(files: Files, more: str, said: str) -> None:
    rules = f"instruments:\n  PEPE/USDT: {RULES[:-1]}{more}}}\n" if more else ""
    files.write(
        "venues/binance_perp.yaml",
        f"venue: binance_perp\nsymbols: {{PEPE/USDT: 1000PEPEUSDT}}\n{rules}",
    )

    assert said in files.refusal()
    assert (
        "write `multiplier: 1000` into instruments.PEPE/USDT, or name the symbol 1000PEPE/USDT"
        in (files.refusal())
    )
    files.write(
        "venues/binance_perp.yaml",
        "venue: binance_perp\nsymbols: {PEPE/USDT: 1000PEPEUSDT}\n"
        f"instruments:\n  PEPE/USDT: {RULES[:-1]}, multiplier: 1000}}\n",
    )
    assert files.load().venues["binance_perp"].multiplier("PEPE/USDT") == 1000


BEGIN, END = "2024-04-30T22:00:00Z", "2024-05-03T22:00:00Z"
TOO_SHORT = (
    f"config/strategies/pair.yaml:7: backtest.warm_up: the history of sample, {BEGIN} .. {END}, is "
    "too short for a warm-up of 3d: write a shorter one"
)


@pytest.mark.parametrize("dates", ["2024-06-01", "2024-05-02", ""])
def test_no_start_date_is_named_where_none_would_do(files: Files, dates: str) -> None:
    files.history = Span(parse_time(BEGIN), parse_time(END))
    files.edit(PAIR, "start_date: 2024-02-01", "warm_up: 3d")
    if dates:
        files.edit(PAIR, "warm_up: 3d", f"warm_up: 3d, start_date: {dates}")

    assert files.refusal() == TOO_SHORT


@pytest.mark.parametrize(
    ("dates", "problem"),
    [
        ("start_date: 2024-06-01", "within it, start_date: 2024-05-03 or later"),
        ("start_date: 2024-05-02", f"it begins at {BEGIN}: write start_date: 2024-05-03 or later"),
        ("", f"before {BEGIN}, it begins at {BEGIN}: write start_date: 2024-05-03 or later"),
        ("start_date: 2024-05-02T23:00Z", "not at 2024-05-02T23:00:00Z: write start_date: 2024-05"),
        ("end_date: 2024-05-02", "write start_date: 2024-05-03 or later, and a later end_date"),
    ],
)
def test_the_start_date_that_an_error_names_is_accepted(
    files: Files, dates: str, problem: str
) -> None:
    files.history = Span(parse_time(BEGIN), parse_time(END))
    files.edit(PAIR, "start_date: 2024-02-01", f"warm_up: 2d, {dates}".strip(", "))

    assert problem in files.refusal()

    files.edit(
        PAIR, dates or "2d", "start_date: 2024-05-03" if dates else "2d, start_date: 2024-05-03"
    )
    assert files.strategy().span == Span(parse_time("2024-05-03"), parse_time(END))


def test_the_span_of_a_strategy_is_that_of_its_own_symbols(files: Files) -> None:
    files.edit(PAIR, "{start_date: 2024-02-01}", "{}")
    spans = {("BTC/USDT", "ETH/USDT"): Span(parse_time(BEGIN), parse_time(END)), (): HALF_YEAR}

    loaded = load_project(
        files.root,
        overrides={},
        now_ms=parse_time("2026-01-15"),
        history_span=lambda _, __, symbols: spans[tuple(symbols)],
    )

    assert loaded.strategies["pair"].span == spans["BTC/USDT", "ETH/USDT"]


def test_a_warm_up_is_run_and_wanted_and_not_counted(files: Files) -> None:
    files.edit(PAIR, "2024-02-01}", "2024-02-01, warm_up: 31d}")

    loaded = files.load()

    pair = loaded.strategies["pair"]
    assert pair.warm_up_ms == 31 * 86_400_000
    assert pair.span == Span(parse_time("2024-02-01"), parse_time("2024-07-01"))
    assert pair.run_span == HALF_YEAR
    assert loaded.wanted[Series("sample", "ETH/USDT")] == [HALF_YEAR]


def test_bars_of_a_minute_have_no_detail(files: Files) -> None:
    files.edit(PAIR, "timeframe: 5m", "timeframe: 1m")

    assert files.strategy().detail == "none"


@pytest.mark.parametrize(
    ("venue", "more", "funding"),
    [
        pytest.param("sample", "", "history", id="a perpetual's bars"),
        pytest.param("mexc", "", "history", id="a recorded venue's bars"),
        pytest.param("sample", ", funding: none", "fixed", id="none"),
        pytest.param("sample", ", funding: 0.0001", "fixed", id="a rate"),
        pytest.param("sample", ", funding: history", "history", id="history"),
    ],
)
def test_what_a_backtest_is_charged(files: Files, venue: str, more: str, funding: str) -> None:
    files.edit(PAIR, "2024-02-01}", f"2024-02-01, market_data_venue: {venue}{more}}}")

    assert files.strategy().funding == funding


def test_a_rate_that_is_written_for_an_instrument_holds_if_nothing_else_is_written(
    files: Files,
) -> None:
    files.edit("venues/mexc.yaml", '"0.0005"', '"0.0005", funding_rate_8h: 0.0003')

    assert files.strategy().funding == "fixed"


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        pytest.param("none", "0", id="none"),
        pytest.param("0.0001", "0.0001", id="a rate"),
        pytest.param('"-1e-5"', "-0.00001", id="what longs get, as text"),
    ],
)
def test_the_funding_of_a_backtest_goes_before_the_instruments(
    files: Files, written: str, rate: str
) -> None:
    files.edit("venues/mexc.yaml", '"0.0005"', '"0.0005", funding_rate_8h: 0.0003')
    files.edit(PAIR, "2024-02-01}", f"2024-02-01, funding: {written}}}")

    rules = files.strategy().instruments["mexc"]

    assert {symbol: own.funding_rate_8h for symbol, own in rules.items()} == {
        "BTC/USDT": Decimal(rate),
        "ETH/USDT": Decimal(rate),
    }


def test_symbols_of_any_script_are_taken(files: Files) -> None:
    files.edit(PAIR, "{start_date", "{market_data_venue: mexc, start_date")
    files.edit("venues/mexc.yaml", "ETH/USDT", "币安人生/USDT")
    files.edit(PAIR, "ETH/USDT", "币安人生/USDT")
    files.edit(PAIR, "max_position_eth", "max_position_币安人生")

    assert files.strategy().symbols == ("BTC/USDT", "币安人生/USDT")


@pytest.mark.parametrize(
    ("name", "old", "new", "warning"),
    [
        pytest.param(
            "venues/mexc.yaml",
            '  ETH/USDT: {tick_size: "0.1", lot_size: "0.001", maker_fee: "0", taker_fee: "0.0005"',
            '  ETH/USDT: {tick_size: "0.1", lot_size: "0.001", maker_fee: "0", taker_fee: 0.045',
            "config/venues/mexc.yaml:5: instruments.ETH/USDT.taker_fee: 0.045 is 4.5 % of the "
            "notional: if you meant 0.045 %, write 0.00045",
            id="a fee",
        ),
        pytest.param(
            "venues/mexc.yaml",
            f"  BTC/USDT: {RULES[:-1]}",
            f"  BTC/USDT: {RULES[:-1]}, funding_rate_8h: 0.01",
            "config/venues/mexc.yaml:4: instruments.BTC/USDT.funding_rate_8h: 0.01 is 1 % of the "
            "notional: if you meant 0.01 %, write 0.0001",
            id="funding",
        ),
        pytest.param(
            PAIR,
            "2024-02-01}",
            "2024-02-01, funding: 0.01}",
            "config/strategies/pair.yaml:7: backtest.funding: 0.01 is 1 % of the notional: if you "
            "meant 0.01 %, write 0.0001",
            id="the funding of a backtest",
        ),
    ],
)
def test_a_rate_that_looks_like_percent_is_taken_with_a_warning(
    files: Files, name: str, old: str, new: str, warning: str
) -> None:
    quiet = files.load().warnings

    files.edit(name, old, new)

    assert quiet == ()
    assert files.load().warnings == (warning,)


OWN = """\
class OwnConfig:
    instrument_ids: tuple
    bar_types: tuple
    max_positions: tuple
    lookback: int


class Own:
    pass
"""


@pytest.mark.parametrize(
    ("line", "module"),
    [
        pytest.param("import polars as pl", "polars", id="a library"),
        pytest.param("import pyarrow.parquet", "pyarrow.parquet", id="a module of one"),
        pytest.param("from ctypes import CDLL", "ctypes", id="of Python's own"),
        pytest.param(
            "from nautilus_trader import persistence",
            "nautilus_trader.persistence",
            id="a part of a library",
        ),
        pytest.param("def f():\n    import duckdb", "duckdb", id="inside of a function"),
        pytest.param("from tbv8.store.bars import open_bars", "tbv8.store.bars", id="our store"),
    ],
)
def test_an_import_of_what_opens_files_unseen_is_refused(
    files: Files, line: str, module: str
) -> None:
    (files.root / "own.py").write_text("import helper\n" + OWN)
    (files.root / "helper.py").write_text(f"import numpy, json\n{line}\n")
    files.edit(PAIR, "pairs.Pairs", "own.py:Own\nparams: {lookback: 3}")

    number = 2 + line.count("\n")
    assert files.refusal().startswith(
        f"config/strategies/pair.yaml:8: strategy: helper.py:{number} imports {module}, and tbv8 "
        "cannot see which files it opens, so a stale result would go unnoticed: read data"
    )


def test_a_class_of_a_file_in_the_project_is_taken_and_what_tbv8_gives_is_no_param(
    files: Files,
) -> None:
    (files.root / "research").mkdir()
    (files.root / "research/own.py").write_text(OWN)
    files.edit(PAIR, "pairs.Pairs", "research/own.py:Own\nparams: {lookback: 3}")

    pair = files.strategy()

    assert (pair.module, pair.class_name) == ("research/own.py", "Own")
    assert pair.module_path == files.root / "research/own.py"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        pytest.param(
            "research/other.py:Own",
            "no file 'research/other.py' (looked for {root}/research/other.py): write its path "
            "relative to the project's folder",
            id="no file",
        ),
        pytest.param("own.py", "'own.py' is not path/to/file.py:Class", id="no class"),
        pytest.param("own.txt:Own", "'own.txt:Own' is not path/to/file.py:Class", id="no Python"),
        pytest.param(
            "../own.py:Own",
            "no file '../own.py' (looked for {parent}/own.py): write its path relative to the "
            "project's folder",
            id="no file beside the project",
        ),
        pytest.param(
            "/own.py:Own",
            "'/own.py' is not relative to the project's folder: write a relative path, such as "
            "../research/own.py",
            id="absolute",
        ),
        pytest.param(
            "own.py:Owl",
            "unknown class 'Owl', did you mean 'Own'? Known: Own in own.py",
            id="a misspelt class",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(files: Files, written: str, problem: str) -> None:
    (files.root / "own.py").write_text(OWN)
    files.edit(PAIR, "pairs.Pairs", written)

    problem = problem.format(root=files.root, parent=files.root.parent)
    assert files.refusal().startswith(f"config/strategies/pair.yaml:8: strategy: {problem}")


SOLO = """\
class SoloConfig:
    instrument_id: object
    bar_type: object
    max_position: object


class Solo:
    pass
"""


@pytest.mark.parametrize(
    ("symbols", "bars", "fields", "refusal"),
    [
        pytest.param(
            "[BTC/USDT, ETH/USDT]", "[]", "", "2: symbols: SoloConfig takes", id="symbols"
        ),
        pytest.param(
            "[BTC/USDT]", "[30m]", "", "4: bars: SoloConfig takes one bar_type", id="bars"
        ),
        pytest.param(
            "[BTC/USDT, ETH/USDT]",
            "[1h]",
            "    instrument_ids: tuple\n",
            "4: bars: SoloConfig takes one bar_type",
            id="bars of several symbols",
        ),
        pytest.param("[BTC/USDT]", "[]", "", None, id="one of each"),
        pytest.param("[BTC/USDT]", "[1h, 1d]", "    bar_types: tuple\n", None, id="bar_types"),
        pytest.param(
            "[BTC/USDT, ETH/USDT]", "[]", "    instrument_ids: tuple\n", None, id="instrument_ids"
        ),
    ],
)
def test_markets_that_a_class_could_not_use_are_refused(
    files: Files, symbols: str, bars: str, fields: str, refusal: str | None
) -> None:
    (files.root / "solo.py").write_text(
        SOLO.replace("    max_position: object\n", fields or "    x: int = 1\n")
    )
    files.edit(PAIR, "pairs.Pairs", "solo.py:Solo")
    files.edit(PAIR, "[BTC/USDT, ETH/USDT]", symbols)
    files.edit(PAIR, "bars: [1h, 1d]", f"bars: {bars}")
    if "ETH" not in symbols:
        files.edit(PAIR, "max_position_eth: 2, ", "")

    problems = [str(problem.error) for problem in files.load().problems]

    if refusal is None:
        assert problems == []
    else:
        assert problems[0].startswith(f"config/strategies/pair.yaml:{refusal}")
        assert "or give SoloConfig the field " in problems[0]


def test_the_config_class_in_place_of_the_strategy_is_named(files: Files) -> None:
    (files.root / "own.py").write_text(OWN)
    files.edit(PAIR, "pairs.Pairs", "own.py:OwnConfig")

    assert files.refusal() == (
        "config/strategies/pair.yaml:8: strategy: is the config class of Own: write own.py:Own"
    )


@pytest.mark.parametrize(
    ("mode", "warned"),
    [("", True), (", mode: PRIMARY_ONLY", False), (f", mode: {SHADOW}", False)],
)
def test_a_secondary_venue_without_a_mode_is_warned_of(
    files: Files, mode: str, warned: bool
) -> None:
    files.write(
        "venues/other.yaml", FILES["venues/mexc.yaml"].replace("venue: mexc", "venue: other")
    )
    files.edit(PAIR, "{primary: mexc}", f"{{primary: mexc, secondary: other{mode}}}")

    warnings = files.load().warnings

    if warned:
        (line,) = warnings
        assert line.startswith("config/strategies/pair.yaml:5: routing.secondary: other is not ")
        assert f"`mode: {SHADOW}`" in line
    else:
        assert warnings == ()
