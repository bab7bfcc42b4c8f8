"""JSON Schemas of the YAML files, for editors.

The records that read the files supply the keys, types and defaults; this module adds descriptions
and the constraints that `tbv8.config.load` checks beyond types. Names of the project's own venues
and strategies are offered, but other names are valid too: a file may be newer than the schema.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tbv8.config import experiments, load
from tbv8.config.source import STRATEGIES, classes, module_path, params, strategy_modules

type Schema = dict[str, Any]

FOLDER = ".schemas"
"""Below `config/`."""

_SYMBOL = "^[^\\s/_-]+/[^\\s/_-]+$"  # nearly: letters and digits of any script
_QUOTED = "^[^\\s/_-]+/(USD|USDT|USDC)$"
_NAME = "^[A-Za-z0-9][A-Za-z0-9_-]*$"
_TIMEFRAME = "^([1-9][0-9]{0,4}[mhd]|1w|1M)$"
_UP_TO_A_DAY = "^(([1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440)m|([1-9]|1[0-9]|2[0-4])h|1d)$"
_DATE = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9](:00(\\.0{1,6})?)?(Z|[+-][0-9]{2}:[0-5][0-9])"
_TIME = f"^{_DATE}([T ]{_CLOCK})?$"
_AMOUNT = "^[+]?(?=[0-9.]*[1-9])([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?$"
_FRACTION = "^[+-]?(0*(\\.0[0-9]*)?|[0-9]*\\.?[0-9]+[eE]-[0-9]+)$"
_DURATION = "^[1-9][0-9]{0,6}[smhd]$"
_PATH = "^(?!.*://).*\\S.*$"
_SHADOW = "PRIMARY_LIVE_SECONDARY_SHADOW"
_CLASS = (
    "^([A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)+"
    "|(?!/)(?!(.*/)?\\.\\./)([^:]*/)?[A-Za-z_][A-Za-z0-9_]*\\.py:[A-Za-z_][A-Za-z0-9_]*)$"
)

_POSITIVE: Schema = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**12},
        {"type": "string", "pattern": _AMOUNT},
    ]
}
_NOT_NEGATIVE: Schema = {
    "anyOf": [
        {"type": "number", "minimum": 0, "exclusiveMaximum": 10**12},
        {"type": "string", "pattern": "^[+]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?$"},
    ]
}
_FEE: Schema = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": -0.1, "exclusiveMaximum": 0.1},
        {"type": "string", "pattern": _FRACTION},
    ]
}

# Each key's description, and its constraints beyond the type: by record and key.
_KEYS: dict[str, dict[str, tuple[str, Schema]]] = {
    "_DataFile": {
        "db_path": ("The SQLite file, relative to the project.", {"pattern": _PATH}),
        "results_path": ("The folder of results.", {"pattern": _PATH}),
        "paper": ("Limits on opening positions in paper sessions.", {}),
        "notify": ("Recipients of paper sessions' messages; null: none.", {}),
        "timeframes": (
            "Bars to build for every series, in addition to those that strategies use.",
            {"items": {"type": "string", "pattern": _TIMEFRAME}},
        ),
    },
    "_Paper": {
        "stale_after": (
            "A bar older than this opens no position; null: three bars of the timeframe.",
            {"type": ["string", "null"], "pattern": _DURATION},
        ),
        "clock_limit": (
            "No position is opened while the clocks here and at the venue differ by more.",
            {"pattern": _DURATION},
        ),
    },
    "_Notify": {
        "urls_env": (
            "The environment variable with apprise URLs, separated by spaces.",
            {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        ),
        "without": ("Kinds of messages not to send.", {"uniqueItems": True}),
    },
    "_HistoryFile": {"history": ("The history to fetch.", {})},
    "_History": {
        "market_data_venue": (
            "The venue of the history: sample, binance_spot, binance_perp ...",
            {},
        ),
        "start_date": (
            "The start, inclusive: a date means midnight UTC, a time needs its zone.",
            {"pattern": _TIME},
        ),
        "end_date": (
            "The end, exclusive; null: the last full `refresh` before now.",
            {"type": ["string", "null"], "pattern": _TIME},
        ),
        "refresh": (
            "With end_date null, how often the end moves forward: 1d, 1h, 1m ..., at most 1d.",
            {"pattern": _UP_TO_A_DAY},
        ),
    },
    "_VenueFile": {
        "venue": ("The file's name without .yaml.", {"pattern": _NAME}),
        "enabled": ("true: `doit record` connects to this venue.", {}),
        "symbols": (
            "BASE/QUOTE: the venue's own name of each; or a list, for the venue's usual names.",
            {
                "anyOf": [
                    {
                        "type": "object",
                        "minProperties": 1,
                        "patternProperties": {_SYMBOL: {"type": "string", "pattern": "\\S"}},
                        "additionalProperties": False,
                    },
                    {
                        "type": "array",
                        "minItems": 1,
                        "uniqueItems": True,
                        "items": {"type": "string", "pattern": _SYMBOL},
                    },
                ]
            },
        ),
        "channels": (
            "Data to record; bars_1m are built from trades. funding and mark come by REST.",
            {"minItems": 1, "uniqueItems": True},
        ),
        "ws_url": (
            "The WebSocket address, in place of the venue's own.",
            {"type": ["string", "null"], "pattern": "^wss?://[^\\s/]+\\S*$"},
        ),
        "rest_url": (
            "The REST address, in place of the venue's own.",
            {"type": ["string", "null"], "pattern": "^https?://[^\\s/]+\\S*$"},
        ),
        "archive_url": (
            "The address of its history files, in place of the venue's own.",
            {"type": ["string", "null"], "pattern": "^https?://[^\\s/]+\\S*$"},
        ),
        "redirect_hosts": (
            "Further hosts that the venue may redirect to; redirects to others are refused.",
            {"items": {"type": "string", "pattern": f"^{load.HOST}$"}},
        ),
        "history": ("The source of its bars, for a venue that tbv8 does not know by name.", {}),
        "exchange": (
            "With `history: ccxt`: ccxt's name of the exchange, such as kraken.",
            {"type": ["string", "null"], "pattern": "^[a-z0-9]+$"},
        ),
        "path": (
            "With `history: files`: the path of the files, such as bars/{symbol}.csv.",
            {"type": ["string", "null"], "pattern": "\\S"},
        ),
        "zone": (
            "With `history: files`: the zone of times without one, UTC or Europe/Berlin.",
            {"type": ["string", "null"], "pattern": "\\S"},
        ),
        "instruments": (
            "The venue's trading rules and fees by symbol, for backtests.",
            {
                "patternProperties": {_SYMBOL: {"$ref": "#/$defs/Instrument"}},
                "additionalProperties": False,
            },
        ),
    },
    "Instrument": {
        "tick_size": ("The smallest price step.", _POSITIVE),
        "lot_size": ("The smallest quantity step, in base units.", _POSITIVE),
        "maker_fee": ("The fee of limit orders, a fraction of the notional: 0.00015.", _FEE),
        "taker_fee": ("The fee of market orders, a fraction of the notional: 0.00045.", _FEE),
        "max_leverage": ("The venue's maximum leverage.", _POSITIVE),
        "min_notional_usd": ("The minimum value of an order, in USD.", _NOT_NEGATIVE),
        "multiplier": (
            "The number of the symbol's units in one unit of the venue: 1000 for kPEPE.",
            _POSITIVE,
        ),
        "funding_rate_8h": (
            "The rate that a long position pays per eight hours, a fraction of the notional.",
            _FEE,
        ),
        "funding_hours": (
            "Hours between funding payments; 0: the venue's own interval.",
            {"enum": [0, 1, 2, 3, 4, 6, 8, 12, 24]},
        ),
    },
    "_StrategyFile": {
        "strategy_id": ("The file's name without .yaml.", {"pattern": _NAME}),
        "symbol": (
            "The market, BASE/QUOTE; the quote is USD, USDT or USDC.",
            {"type": ["string", "null"], "pattern": _QUOTED},
        ),
        "symbols": (
            "All markets, the main one first; they share one quote currency.",
            {"uniqueItems": True, "items": {"type": "string", "pattern": _QUOTED}},
        ),
        "timeframe": (
            "The length of its bars: <n>m, <n>h, <n>d, 1w or 1M.",
            {"pattern": _TIMEFRAME},
        ),
        "bars": (
            "Further timeframes of every symbol that the strategy receives.",
            {"uniqueItems": True, "items": {"type": "string", "pattern": _TIMEFRAME}},
        ),
        "strategy": (
            "The class: module.Class under tbv8/strategies/, or path/to/file.py:Class.",
            {},
        ),
        "params": ("The parameters of the strategy's config class.", {}),
        "routing": ("The venues for orders.", {}),
        "risk": (
            "Limits on every order.",
            {
                "properties": {
                    "max_daily_loss_usd": {
                        "description": "A loss of this much since 00:00 UTC closes all positions "
                        "and halts trading.",
                        **_POSITIVE,
                    },
                    "max_leverage": {"description": "Notional over equity.", **_POSITIVE},
                },
                "patternProperties": {
                    "^max_position_[^A-Z\\s/_-]+$": {
                        "description": "The largest position, in base units.",
                        **_POSITIVE,
                    }
                },
                "required": ["max_daily_loss_usd", "max_leverage"],
                "minProperties": 3,
                "additionalProperties": False,
            },
        ),
        "backtest": ("Options of the backtest; the dates replace those of history.yaml.", {}),
    },
    "Routing": {
        "primary": ("The venue whose rules and fees apply.", {}),
        "secondary": ("A second venue to simulate for comparison.", {}),
        "mode": ("PRIMARY_ONLY, or PRIMARY_LIVE_SECONDARY_SHADOW for both venues.", {}),
    },
    "_Backtest": {
        "market_data_venue": ("The venue of the bars, in place of history.yaml's.", {}),
        "start_date": (
            "The start, in place of history.yaml's.",
            {"type": ["string", "null"], "pattern": _TIME},
        ),
        "end_date": (
            "The end, exclusive, in place of history.yaml's.",
            {"type": ["string", "null"], "pattern": _TIME},
        ),
        "starting_balance_usd": ("The account's balance at the start, in USD.", _POSITIVE),
        "slippage_ticks": (
            "The number of ticks by which market orders fill at a worse price.",
            {"minimum": 0},
        ),
        "detail": ("1m: match orders by the minutes inside longer bars; none: by bars.", {}),
        "warm_up": (
            "The length of the run before its results are counted: 30d, 36h; 0d: none.",
            {"pattern": "^([1-9][0-9]{0,6}[smhd]|0[mhd])$"},
        ),
        "funding": (
            "history: the venue's recorded rates; none; or a rate per 8 h such as 0.0001.",
            {"anyOf": [{"enum": ["history", "none", None]}, *_FEE["anyOf"]]},
        ),
    },
}

_DAYS = "^([1-9][0-9]{0,6}d|[1-9][0-9]{0,6}h|0[mhd])$"
_SEED: Schema = {"minimum": 0, "exclusiveMaximum": 2**63}
_NUMBER: Schema = {"type": ["number", "string"]}

_KEYS |= {
    "_ExperimentFile": {
        "experiment_id": ("The file's name without .yaml.", {"pattern": _NAME}),
        "strategy": ("The id of the strategy to vary.", {"pattern": _NAME}),
        "search": ("The values to try.", {}),
        "objective": ("The metric that chooses the best trial.", {}),
        "walk_forward": (
            "Windows of training and testing.",
            {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/_WalkForward"}]},
        ),
        "monte_carlo": (
            "What the chosen trial might have brought.",
            {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/_MonteCarlo"}]},
        ),
        "overfitting": ("The cross-validation of the search.", {}),
        "run": ("Where and with how many processes it runs; changes no result.", {}),
    },
    "_Search": {
        "method": ("grid: all points; random, halton, tpe: as many as `trials`.", {}),
        "space": (
            "Axes: a param, risk.<key>, slippage_ticks, starting_balance_usd, detail, timeframe.",
            {
                "minProperties": 1,
                "additionalProperties": {
                    "anyOf": [
                        {"type": "array", "minItems": 1, "uniqueItems": True},
                        {
                            "type": "object",
                            "properties": {"from": _NUMBER, "to": _NUMBER, "step": _NUMBER},
                            "required": ["from", "to", "step"],
                            "additionalProperties": False,
                        },
                    ]
                },
            },
        ),
        "where": ("Comparisons that every point must satisfy: fast < slow.", {}),
        "trials": (
            "The number of points to try; ignored by grid, which tries all.",
            {"type": ["integer", "null"], "minimum": 1, "maximum": 100_000},
        ),
        "seed": ("The seed of the random draws; ignored by grid.", _SEED),
        "batch": (
            "For tpe: the number of points to try before the next ones are chosen.",
            {"minimum": 1, "maximum": 1000},
        ),
    },
    "_Objective": {
        "maximize": ("The metric with the highest value in the best trial.", {}),
        "minimize": ("The metric with the lowest value in the best trial.", {}),
        "min_trades": ("Trials with fewer round trips are not chosen.", {"minimum": 0}),
    },
    "_WalkForward": {
        "train": ("The length of each training, in whole days: 60d.", {"pattern": _DAYS}),
        "test": ("The length of the test after each training.", {"pattern": _DAYS}),
        "anchored": ("true: every training begins at the start of the first.", {}),
        "warm_up": (
            "The length of each run before its results are counted.",
            {"pattern": _DAYS},
        ),
        "purge": ("The gap between the end of a training and its test.", {"pattern": _DAYS}),
        "plateau": (
            "The number of neighbours in the grid, in each direction, to average a choice over.",
            {"minimum": 0},
        ),
    },
    "_MonteCarlo": {
        "paths": (
            "The number of bootstrapped paths, of days and of round trips.",
            {"minimum": 1, "maximum": 100_000},
        ),
        "block_days": ("The mean length of a block, in days.", {"minimum": 1, "maximum": 10_000}),
        "seed": ("The seed of the random draws.", _SEED),
        "losses": (
            "Fractions of the starting balance; the probability of losing each is estimated.",
            {"maxItems": 10, "items": {"type": "number", "minimum": 0, "maximum": 1}},
        ),
        "markets": (
            "The number of markets, made of the real one's days, to run it on; each is a trial.",
            {"minimum": 0, "maximum": 100_000},
        ),
    },
    "_Overfitting": {
        "blocks": ("The number of blocks to split the days into; even.", {"multipleOf": 2}),
    },
    "_Run": {
        "workers": ("The number of worker processes; 0: one per core.", {"minimum": 0}),
        "on": ("pool: processes on this machine; ray: a Ray cluster.", {}),
        "trial_limit": (
            "The longest time that a trial may take, such as 10m; null: no limit.",
            {"type": ["string", "null"], "pattern": _DURATION},
        ),
        "address": (
            "The Ray cluster's address; auto: the one on this machine; null: start one.",
            {},
        ),
    },
}

_FILES: dict[str, type] = {
    "data": load._DataFile,
    "history": load._HistoryFile,
    "venue": load._VenueFile,
    "strategy": load._StrategyFile,
    "experiment": experiments._ExperimentFile,
}


def schemas(venues: Iterable[str]) -> dict[str, Schema]:
    """Return the schema of each kind of file: data, history, venue, strategy, experiment.

    Args:
        venues: The names of the configured venues, offered as choices.
    """
    by_kind = {name: _schema(record) for name, record in _FILES.items()}
    named = {"anyOf": [{"enum": sorted(venues)}, {"type": "string", "pattern": _NAME}]}
    optional = {"anyOf": [*named["anyOf"], {"type": "null"}]}
    _properties(by_kind["history"], "_History")["market_data_venue"].update(named)
    strategy = by_kind["strategy"]
    routing = _properties(strategy, "Routing")
    routing["primary"].update(named)
    for properties, key in (
        (routing, "secondary"),
        (_properties(strategy, "_Backtest"), "market_data_venue"),
    ):
        properties[key].update(optional)
    strategy["$defs"]["Routing"] |= {
        "if": {
            "properties": {"mode": {"const": "PRIMARY_LIVE_SECONDARY_SHADOW"}},
            "required": ["mode"],
        },
        "then": {"properties": {"secondary": {"type": "string"}}, "required": ["secondary"]},
    }
    strategy["$defs"]["_StrategyFile"]["anyOf"] = [
        {"required": ["symbol"]},
        {"required": ["symbols"]},
    ]
    _offer_classes(strategy)
    return {name: _at_top(schema, _FILES[name]) for name, schema in by_kind.items()}


def _schema(record: type) -> Schema:
    schema: Schema = msgspec.json.schema(record)
    for kind, definition in schema["$defs"].items():
        definition.pop("title", None)
        keys = _KEYS[kind]
        for key, property_ in definition["properties"].items():
            description, constraints = keys[key]
            if constraints.keys() & {"type", "anyOf", "enum"}:
                for replaced in ("type", "anyOf", "format"):
                    property_.pop(replaced, None)
            property_.update(constraints)
            property_["description"] = description
    return schema


def _at_top(schema: Schema, record: type) -> Schema:
    """Return the schema with the file's own record at the top, in draft 7 for editors."""
    top = schema["$defs"].pop(record.__name__)
    dialect = {"$schema": "http://json-schema.org/draft-07/schema#"}
    return {**dialect, **top, "$defs": schema["$defs"]}


def _properties(schema: Schema, record: str) -> dict[str, Schema]:
    properties: dict[str, Schema] = schema["$defs"][record]["properties"]
    return properties


def _offer_classes(strategy: Schema) -> None:
    """Add the known strategies as choices, and the params of each."""
    file = strategy["$defs"]["_StrategyFile"]
    params_by_class = _strategy_params()
    file["properties"]["strategy"] |= {
        "anyOf": [{"enum": sorted(params_by_class)}, {"type": "string", "pattern": _CLASS}]
    }
    default = file["properties"]["strategy"]["default"]
    file["allOf"] = [
        {
            "if": {
                "properties": {"strategy": {"const": name}},
                **({} if name == default else {"required": ["strategy"]}),
            },
            "then": {
                "properties": {
                    "params": {
                        "properties": {param: {} for param in accepted.required},
                        "required": [
                            param for param, needed in accepted.required.items() if needed
                        ],
                        "additionalProperties": not accepted.closed,
                    }
                },
                **({"required": ["params"]} if any(accepted.required.values()) else {}),
            },
        }
        for name, accepted in sorted(params_by_class.items())
    ]


def _strategy_params() -> Mapping[str, Any]:
    accepted_by_class = {}
    for module in strategy_modules():
        classes_by_name = classes(module_path(module, root=STRATEGIES))
        for name in classes_by_name:
            if f"{name}Config" in classes_by_name:
                accepted_by_class[f"{module}.{name}"] = params(
                    classes_by_name[f"{name}Config"], classes_by_name
                )
    return accepted_by_class
