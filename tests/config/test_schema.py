"""The schemas for editors and tbv8 itself agree about files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import jsonschema
import msgspec
import pytest

from tbv8.config import files
from tbv8.config.document import read_document
from tbv8.config.load import load_project
from tbv8.config.schema import schemas
from tbv8.errors import ConfigError
from tests.builders import MONDAY, ROOT, SHIPPED, copy_config

NOW_MS = MONDAY + 366 * 86_400_000
VENUES = ("binance_spot", "hyperliquid", "mexc", "sample")
SCHEMAS = schemas(VENUES)
KINDS = {"venues": "venue", "strategies": "strategy", "experiments": "experiment"}
RECORDS = [
    record
    for record in vars(files).values()
    if isinstance(record, type) and issubclass(record, msgspec.Struct) and record.__struct_fields__
]

# design.md, section 4, as it stands
DESIGN = {
    "data.yaml": """
db_path: data/tbv8.sqlite
results_path: data/results              # optional
timeframes: [5m, 15m, 1h, 4h]           # optional: built for every series
""",
    "history.yaml": """
history:
  market_data_venue: sample
  start_date: "2017-08-17T00:00:00Z"
  end_date: null                        # null = NOW
  refresh: 1d
""",
    "venues/hyperliquid.yaml": """
venue: hyperliquid                      # must be the file's name
enabled: true                           # the recorder connects to it
symbols: {BTC/USDT: BTC, ETH/USDT: ETH}  # symbol -> native symbol
channels: [trades, bbo]                 # optional
ws_url: wss://api.hyperliquid.xyz/ws    # optional, as every URL
rest_url: https://api.hyperliquid.xyz
instruments:                            # what an order there is worth: used by backtests
  BTC/USDT: {tick_size: "1", lot_size: "0.00001", maker_fee: "0.00015", taker_fee: "0.00045",
             max_leverage: 40}
  ETH/USDT: {tick_size: "0.1", lot_size: "0.0001", maker_fee: "0.00015", taker_fee: "0.00045"}
""",
    "venues/binance_spot.yaml": """
venue: binance_spot
enabled: false                          # history only: nothing to record
symbols: {BTC/USDT: BTCUSDT}
rest_url: https://api.binance.com
archive_url: https://data.binance.vision
""",
    "venues/sample.yaml": """
venue: sample
enabled: false
symbols: [BTC/USDT, ETH/USDT]
""",
    "strategies/btc_usdt_perp_v1.yaml": """
strategy_id: btc_usdt_perp_v1           # must be the file's name
symbol: BTC/USDT
timeframe: 5m
strategy: ema_cross.EmaCross
params: {fast: 20, slow: 50}
routing: {primary: hyperliquid, secondary: mexc, mode: PRIMARY_LIVE_SECONDARY_SHADOW}
risk: {max_position_btc: 0.01, max_daily_loss_usd: 10.0, max_leverage: 2.0}
backtest:                               # optional
  market_data_venue: sample
  start_date: "2024-01-01"
  end_date: "2024-07-01T00:00:00+00:00"
  starting_balance_usd: 10000
  slippage_ticks: 0
""",
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    copy_config(tmp_path)
    return tmp_path


def problem_of_schema(root: Path, name: str) -> str | None:
    """Return what an editor would say of a file; None for nothing."""
    folder = name.partition("/")[0]
    schema = SCHEMAS[KINDS.get(folder, folder.removesuffix(".yaml"))]
    value = read_document(root / "config" / name, root=root).value
    error: Any = jsonschema.Draft7Validator(schema).is_valid(value)
    return None if error else "refused"


def problem_of_tbv8(root: Path) -> str | None:
    try:
        loaded = load_project(root, overrides={}, now_ms=NOW_MS, history_span=lambda *_: None)
    except ConfigError as e:
        return str(e)
    return next((str(problem.error) for problem in loaded.problems), None)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_every_field_of_a_files_record_has_its_description_beside_it(record: type) -> None:
    hints = get_type_hints(record, include_extras=True)
    described = {
        name: meta.description
        for name, hint in hints.items()
        for meta in getattr(hint, "__metadata__", ())
    }

    assert tuple(described) == record.__struct_fields__
    assert all(text.endswith((".", "...")) for text in described.values()), described


@pytest.mark.parametrize("kind", SCHEMAS)
def test_each_schema_is_valid_and_has_the_descriptions_of_its_records(kind: str) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMAS[kind])

    for record in (SCHEMAS[kind], *SCHEMAS[kind]["$defs"].values()):
        assert record["additionalProperties"] is False
        assert record["description"]
        assert all(value["description"] for value in record["properties"].values())


@pytest.mark.parametrize("path", SHIPPED, ids=str)
def test_the_shipped_files_are_right_and_name_their_schema(path: Path) -> None:
    (name,) = re.findall(
        r"\A# yaml-language-server: \$schema=(\S+)\.schema\.json\n", (ROOT / path).read_text()
    )

    schema = (path.parent / name).as_posix().replace("config/venues/../", "config/")
    schema = schema.replace("config/strategies/../", "config/")
    schema = schema.replace("config/experiments/../", "config/")
    kind = KINDS.get(path.parent.name, path.stem)
    assert schema == f"config/.schemas/{kind}"
    assert problem_of_schema(ROOT, path.relative_to("config").as_posix()) is None


@pytest.mark.parametrize("name", DESIGN)
def test_the_files_of_the_design_are_right(clone: Path, name: str) -> None:
    (clone / "config" / name).write_text(DESIGN[name])

    assert problem_of_schema(clone, name) is None
    assert problem_of_tbv8(clone) is None


STRATEGY, VENUE = "strategies/btc_usdt_perp_v1.yaml", "venues/hyperliquid.yaml"
SYMBOLS = "{BTC/USDT: BTC, ETH/USDT: ETH}"


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("data.yaml", "db_path: data/tbv8.sqlite", "", id="no db_path"),
        pytest.param("data.yaml", "data/tbv8.sqlite", "sqlite:///x", id="a URL for a path"),
        pytest.param("data.yaml", "15m", "15x", id="no timeframe"),
        pytest.param("data.yaml", "results_path", "result_path", id="a misspelt key"),
        pytest.param("history.yaml", "2017-08-17T00:00:00Z", "yesterday", id="no time"),
        pytest.param("history.yaml", "00:00:00Z", "00:00:00", id="a time without a zone"),
        pytest.param("history.yaml", "00:00:00Z", "00:00:30Z", id="a time off the minute"),
        pytest.param("history.yaml", "2017-08-17T", "2017-13-17T", id="a 13th month"),
        pytest.param("history.yaml", "refresh: 1d", "refresh: 2d", id="too long a refresh"),
        pytest.param("history.yaml", "refresh: 1d", "refresh: 1441m", id="refresh of 1441m"),
        pytest.param("history.yaml", "refresh: 1d", "refresh: null", id="no refresh at all"),
        pytest.param(VENUE, "BTC/USDT: BTC", "BTC-USDT: BTC", id="no symbol"),
        pytest.param(VENUE, SYMBOLS, "[]", id="no symbols"),
        pytest.param(VENUE, SYMBOLS, "[BTC/USDT, BTC/USDT]", id="a symbol twice"),
        pytest.param(VENUE, SYMBOLS, '{BTC/USDT: ""}', id="no native symbol"),
        pytest.param(VENUE, "[trades, bbo, funding]", "[trades, candles]", id="no channel"),
        pytest.param(VENUE, "[trades, bbo, funding]", "[]", id="no channels"),
        pytest.param(VENUE, "[trades, bbo, funding]", "[bbo, bbo]", id="a channel twice"),
        pytest.param(VENUE, "wss://api", "https://api", id="a scheme that is no socket"),
        pytest.param(VENUE, "enabled: true", "enabled: maybe", id="no boolean"),
        pytest.param(VENUE, 'tick_size: "1"', 'tick_size: "0"', id="a tick of 0"),
        pytest.param(VENUE, 'tick_size: "1"', "tick_size: -1", id="a tick below 0"),
        pytest.param(VENUE, 'tick_size: "1"', "tick_size: one", id="a tick in words"),
        pytest.param(VENUE, 'taker_fee: "0.00045"', "taker_fee: 0.45", id="a fee in percent"),
        pytest.param(VENUE, 'taker_fee: "0.00045"', 'taker_fee: "0.45"', id="the same as text"),
        pytest.param(VENUE, ', taker_fee: "0.00045"', "", id="a fee missing"),
        pytest.param(VENUE, "max_leverage: 40", "funding_hours: 5", id="5 hours in a day"),
        pytest.param(STRATEGY, "timeframe: 5m", "timeframe: 5 minutes", id="a strategy's bars"),
        pytest.param(STRATEGY, "symbol: BTC/USDT", "symbol: BTCUSDT", id="its symbol"),
        pytest.param(STRATEGY, "ema_cross.EmaCross", "EmaCross", id="a class without module"),
        pytest.param(STRATEGY, "fast: 20", "fst: 20", id="a misspelt param"),
        pytest.param(STRATEGY, "max_position_btc", "max_positions_btc", id="a misspelt limit"),
        pytest.param(STRATEGY, ", max_leverage: 2.0", "", id="a limit missing"),
        pytest.param(STRATEGY, "max_leverage: 2.0", "max_leverage: 0", id="a limit of 0"),
        pytest.param(STRATEGY, "max_leverage: 2.0", "max_leverage: two", id="one in words"),
        pytest.param(STRATEGY, "mode: PRIMARY", "mode: PRIMA", id="no mode"),
        pytest.param(STRATEGY, "secondary: mexc, ", "", id="a shadow without venue"),
        pytest.param(STRATEGY, "symbol:", "backtest: {slippage_ticks: -1}\nsymbol:", id="-1 tick"),
        pytest.param(STRATEGY, "symbol:", "backtest: {slippage_ticks: x}\nsymbol:", id="x ticks"),
        pytest.param(
            STRATEGY, "symbol:", "backtest: {starting_balance_usd: 0}\nsymbol:", id="no money"
        ),
        pytest.param(STRATEGY, "symbol: BTC/USDT\n", "", id="no symbol at all"),
        pytest.param(STRATEGY, "BTC/USDT", "BTC/EUR", id="a quote that is no dollar"),
        pytest.param(
            STRATEGY, "symbol: BTC/USDT", "symbols: [BTC/USDT, BTC/USDT]", id="the same one twice"
        ),
        pytest.param(STRATEGY, "symbol:", "bars: [1h, 90]\nsymbol:", id="bars of a number"),
        pytest.param(STRATEGY, "symbol:", "backtest: {detail: 5m}\nsymbol:", id="another detail"),
        pytest.param(STRATEGY, "symbol:", "backtest: {warm_up: 3w}\nsymbol:", id="3 weeks before"),
        pytest.param(STRATEGY, "symbol:", "backtest: {funding: all}\nsymbol:", id="all funding"),
        pytest.param(STRATEGY, "symbol:", "backtest: {funding: 0.5}\nsymbol:", id="half of it"),
        pytest.param(STRATEGY, "ema_cross.EmaCross", "../own.py:Own", id="a file elsewhere"),
        pytest.param(STRATEGY, "ema_cross.EmaCross", "own.txt:Own", id="a file of text"),
        pytest.param(VENUE, "max_leverage: 40", "multiplier: 0", id="a multiplier of 0"),
        pytest.param(
            VENUE, "min_notional_usd: 10", "min_notional_usd: -1", id="a least order below 0"
        ),
    ],
)
def test_a_wrong_file_is_refused_by_both(clone: Path, name: str, old: str, new: str) -> None:
    edit(clone, name, old, new)

    assert problem_of_schema(clone, name) is not None
    assert (problem_of_tbv8(clone) or "").startswith(f"config/{name}:")


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        pytest.param("data.yaml", "timeframes: [5m, 15m, 1h, 4h]", "", id="no timeframes"),
        pytest.param("data.yaml", "[5m, 15m, 1h, 4h]", "[1w, 1M, 90m, 3d]", id="all kinds of them"),
        pytest.param("history.yaml", '"2017-08-17T00:00:00Z"', "2024-01-01", id="a bare date"),
        pytest.param(
            "history.yaml", "end_date: null", 'end_date: "2024-03-01T12:30+02:00"', id="a zone"
        ),
        pytest.param("history.yaml", "refresh: 1d", "refresh: 1m", id="to the minute"),
        pytest.param("history.yaml", "refresh: 1d", "refresh: 24h", id="a day in hours"),
        pytest.param(VENUE, SYMBOLS, "[BTC/USDT, ETH/USDT]", id="symbols as a list"),
        pytest.param(VENUE, "channels: [trades, bbo, funding]", "", id="no channels key"),
        pytest.param(VENUE, "wss://api.hyperliquid.xyz/ws", "null", id="the venue's own address"),
        pytest.param(VENUE, "wss://api.hyperliquid.xyz/ws", "ws://127.0.0.1:80", id="a local one"),
        pytest.param(VENUE, 'tick_size: "1"', "tick_size: 0.5", id="a tick as a number"),
        pytest.param(VENUE, 'maker_fee: "0.00015"', 'maker_fee: "-0.0001"', id="a rebate"),
        pytest.param(VENUE, 'maker_fee: "0.00015"', "maker_fee: 1e-4", id="an exponent"),
        pytest.param(VENUE, "max_leverage: 40", "funding_hours: 8", id="funding"),
        pytest.param(STRATEGY, "strategy: ema_cross.EmaCross", "", id="the default class"),
        pytest.param(STRATEGY, "params: {fast: 20, slow: 50}", "", id="no params"),
        pytest.param(STRATEGY, "slow: 50", "slow: 50, trade_size: 0.005", id="one more param"),
        pytest.param(
            STRATEGY, ", secondary: mexc, mode: PRIMARY_LIVE_SECONDARY_SHADOW", "", id="no shadow"
        ),
        pytest.param(STRATEGY, "0.01", '"0.01"', id="a limit as text"),
        pytest.param(STRATEGY, "symbol: BTC/USDT", "symbols: [BTC/USDT]", id="a list of one"),
        pytest.param(
            STRATEGY,
            "ema_cross.EmaCross\nparams: {fast: 20, slow: 50}",
            "pullback.Pullback\nbars: [1h]",
            id="further bars",
        ),
        pytest.param(
            STRATEGY,
            "symbol:",
            "backtest: {detail: none, warm_up: 36h, funding: none}\nsymbol:",
            id="none and none",
        ),
        pytest.param(
            STRATEGY,
            "symbol:",
            "backtest: {detail: 1m, warm_up: 0d, funding: -0.0001}\nsymbol:",
            id="what the shorts pay",
        ),
        pytest.param(
            VENUE, "min_notional_usd: 10", "min_notional_usd: 0, multiplier: 1000", id="thousands"
        ),
    ],
)
def test_a_right_file_is_accepted_by_both(clone: Path, name: str, old: str, new: str) -> None:
    edit(clone, name, old, new)

    assert problem_of_tbv8(clone) is None
    assert problem_of_schema(clone, name) is None


def edit(clone: Path, name: str, old: str, new: str) -> None:
    path = clone / "config" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_names_of_the_project_are_offered_and_new_ones_not_refused(clone: Path) -> None:
    routing = SCHEMAS["strategy"]["$defs"]["Routing"]["properties"]
    offered = routing["primary"]["anyOf"][0]["enum"]
    classes = SCHEMAS["strategy"]["properties"]["strategy"]["anyOf"][0]["enum"]
    edit(clone, STRATEGY, "primary: hyperliquid", "primary: my_new_venue")
    edit(clone, STRATEGY, "ema_cross.EmaCross", "mine.MyOwn")

    assert offered == list(VENUES)
    assert "ema_cross.EmaCross" in classes
    assert problem_of_schema(clone, STRATEGY) is None
