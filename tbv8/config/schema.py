"""JSON Schemas of the YAML files, for editors: from the records that read them, and told in words.

The records say which keys there are, their types and defaults; here is what each key means, and
what `tbv8.config.load` checks beyond types. Names that a project makes up by itself (venues,
strategies) are offered, and others of the right form are not refused: a file may be newer than the
schema.
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

_SYMBOL = "^[^\\s/_-]+/[^\\s/_-]+$"  # letters and digits of any script, as far as one can say here
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

# What each key means, and what it must be beyond its type: by record and key.
_KEYS: dict[str, dict[str, tuple[str, Schema]]] = {
    "_DataFile": {
        "db_path": ("The SQLite file, relative to the project.", {"pattern": _PATH}),
        "results_path": ("The folder of results.", {"pattern": _PATH}),
        "paper": ("When a paper session may open something.", {}),
        "notify": ("Where messages of paper sessions go; null: nowhere.", {}),
        "timeframes": (
            "Bars to build of every series, beside what strategies ask for.",
            {"items": {"type": "string", "pattern": _TIMEFRAME}},
        ),
    },
    "_Paper": {
        "stale_after": (
            "A bar that is read later than this after its close opens nothing; null: 3 timeframes.",
            {"type": ["string", "null"], "pattern": _DURATION},
        ),
        "clock_limit": (
            "While our clock and the venue's are further apart, nothing is opened.",
            {"pattern": _DURATION},
        ),
    },
    "_Notify": {
        "urls_env": (
            "The environment variable with apprise URLs, separated by spaces.",
            {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        ),
        "without": ("Messages that are not sent.", {"uniqueItems": True}),
    },
    "_HistoryFile": {"history": ("Which history is wanted.", {})},
    "_History": {
        "market_data_venue": ("Whose history is fetched: sample, binance_spot, binance_perp.", {}),
        "start_date": (
            "Its first moment: a date is midnight UTC, a time needs its zone.",
            {"pattern": _TIME},
        ),
        "end_date": (
            "Its end, exclusive; null: the last full `refresh` before now.",
            {"type": ["string", "null"], "pattern": _TIME},
        ),
        "refresh": (
            "How often an open end moves on: 1d, 1h, 1m ... at most 1d.",
            {"pattern": _UP_TO_A_DAY},
        ),
    },
    "_VenueFile": {
        "venue": ("The file's name without .yaml.", {"pattern": _NAME}),
        "enabled": ("Whether `doit record` connects to it.", {}),
        "symbols": (
            "BASE/QUOTE, each with the venue's own name; or a list, by the venue's own rule.",
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
            "What is recorded; bars_1m are built from trades. funding and mark come by REST.",
            {"minItems": 1, "uniqueItems": True},
        ),
        "ws_url": (
            "Where to connect, if not at the venue's own address.",
            {"type": ["string", "null"], "pattern": "^wss?://[^\\s/]+\\S*$"},
        ),
        "rest_url": (
            "Where to ask, if not at the venue's own address.",
            {"type": ["string", "null"], "pattern": "^https?://[^\\s/]+\\S*$"},
        ),
        "archive_url": (
            "Where its history files are, if not at the venue's own address.",
            {"type": ["string", "null"], "pattern": "^https?://[^\\s/]+\\S*$"},
        ),
        "redirect_hosts": (
            "Other hosts that its replies may lead to; a redirect to any other is refused.",
            {"items": {"type": "string", "pattern": f"^{load.HOST}$"}},
        ),
        "history": ("Where its bars come from, of a venue that tbv8 does not know by name.", {}),
        "exchange": (
            "Of `history: ccxt`: ccxt's name of the exchange, such as kraken.",
            {"type": ["string", "null"], "pattern": "^[a-z0-9]+$"},
        ),
        "path": (
            "Of `history: files`: where they are, such as bars/{symbol}.csv.",
            {"type": ["string", "null"], "pattern": "\\S"},
        ),
        "instruments": (
            "What an order is worth there, by symbol: used by backtests.",
            {
                "patternProperties": {_SYMBOL: {"$ref": "#/$defs/Instrument"}},
                "additionalProperties": False,
            },
        ),
    },
    "Instrument": {
        "tick_size": ("The step of prices.", _POSITIVE),
        "lot_size": ("The step of quantities, in base units.", _POSITIVE),
        "maker_fee": ("Of limit orders, a fraction of the notional: 0.00015.", _FEE),
        "taker_fee": ("Of market orders, a fraction of the notional: 0.00045.", _FEE),
        "max_leverage": ("The venue's limit.", _POSITIVE),
        "min_notional_usd": ("The least that an order must be worth, in USD.", _NOT_NEGATIVE),
        "multiplier": (
            "How many of the symbol's units one unit of the venue holds: 1000 for kPEPE.",
            _POSITIVE,
        ),
        "funding_rate_8h": ("What a long position pays for eight hours, a fraction.", _FEE),
        "funding_hours": (
            "How often funding is paid; 0: as the venue does.",
            {"enum": [0, 1, 2, 3, 4, 6, 8, 12, 24]},
        ),
    },
    "_StrategyFile": {
        "strategy_id": ("The file's name without .yaml.", {"pattern": _NAME}),
        "symbol": (
            "Which market, BASE/QUOTE; the quote is USD, USDT or USDC.",
            {"type": ["string", "null"], "pattern": _QUOTED},
        ),
        "symbols": (
            "Several markets of one quote currency, the main one first.",
            {"uniqueItems": True, "items": {"type": "string", "pattern": _QUOTED}},
        ),
        "timeframe": ("Of the bars: <n>m, <n>h, <n>d, 1w or 1M.", {"pattern": _TIMEFRAME}),
        "bars": (
            "Further timeframes that it sees of every symbol.",
            {"uniqueItems": True, "items": {"type": "string", "pattern": _TIMEFRAME}},
        ),
        "strategy": (
            "Its class: module.Class under tbv8/strategies/, or path/to/file.py:Class.",
            {},
        ),
        "params": ("What its config class takes.", {}),
        "routing": ("Where orders go.", {}),
        "risk": (
            "Limits that no order gets past.",
            {
                "properties": {
                    "max_daily_loss_usd": {
                        "description": "A loss of this much since 00:00 UTC closes all and halts.",
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
        "backtest": ("What this strategy does otherwise than history.yaml, and how.", {}),
    },
    "Routing": {
        "primary": ("The venue whose rules and fees hold.", {}),
        "secondary": ("The venue that is simulated beside it.", {}),
        "mode": ("PRIMARY_LIVE_SECONDARY_SHADOW runs both, PRIMARY_ONLY one.", {}),
    },
    "_Backtest": {
        "market_data_venue": ("Whose bars; else history.yaml's.", {}),
        "start_date": (
            "Instead of history.yaml's.",
            {"type": ["string", "null"], "pattern": _TIME},
        ),
        "end_date": (
            "Instead of history.yaml's, exclusive.",
            {"type": ["string", "null"], "pattern": _TIME},
        ),
        "starting_balance_usd": ("The money to begin with.", _POSITIVE),
        "slippage_ticks": ("By how many ticks market orders fill worse.", {"minimum": 0}),
        "detail": ("1m: orders are matched by minutes inside longer bars; none: by bars.", {}),
        "warm_up": (
            "How much earlier the run begins than it is counted: 30d, 36h; 0d is not at all.",
            {"pattern": "^([1-9][0-9]{0,6}[smhd]|0[mhd])$"},
        ),
        "funding": (
            "history for what venues charged, none, or a rate per 8 h such as 0.0001.",
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
        "strategy": ("Which strategy is varied, by its id.", {"pattern": _NAME}),
        "search": ("Which values are tried.", {}),
        "objective": ("By what the best trial is chosen.", {}),
        "walk_forward": (
            "Windows of training and testing.",
            {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/_WalkForward"}]},
        ),
        "monte_carlo": (
            "What the chosen trial might have brought.",
            {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/_MonteCarlo"}]},
        ),
        "overfitting": ("How the search is cross-validated.", {}),
        "run": ("How it is run; changes no result.", {}),
    },
    "_Search": {
        "method": ("grid: all points; random, halton, tpe: so many as `trials` says.", {}),
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
        "where": ("Comparisons of axes and numbers that every point keeps: fast < slow.", {}),
        "trials": (
            "How many points; a grid has all, whatever stands here.",
            {"type": ["integer", "null"], "minimum": 1, "maximum": 100_000},
        ),
        "seed": ("Of the draws; a grid has none.", _SEED),
        "batch": (
            "How many points of tpe are tried before the next are chosen; of tpe alone.",
            {"minimum": 1, "maximum": 1000},
        ),
    },
    "_Objective": {
        "maximize": ("The number of a trial of which the most is best.", {}),
        "minimize": ("The number of a trial of which the least is best.", {}),
        "min_trades": ("Trials with fewer round trips are not chosen.", {"minimum": 0}),
    },
    "_WalkForward": {
        "train": ("How long a window is trained, in whole days: 60d.", {"pattern": _DAYS}),
        "test": ("How long it is tested after that.", {"pattern": _DAYS}),
        "anchored": ("Every training begins with the first one.", {}),
        "warm_up": ("How much earlier each run begins than it is counted.", {"pattern": _DAYS}),
        "purge": ("How much earlier a training ends than its test begins.", {"pattern": _DAYS}),
        "plateau": ("Over how many neighbours, each way, a choice is averaged.", {"minimum": 0}),
    },
    "_MonteCarlo": {
        "paths": (
            "How often its days are drawn, and its round trips.",
            {"minimum": 1, "maximum": 100_000},
        ),
        "block_days": ("The mean length of a block of days.", {"minimum": 1, "maximum": 10_000}),
        "seed": ("Of the draws.", _SEED),
        "losses": (
            "Fractions of the starting balance whose loss is given a probability.",
            {"maxItems": 10, "items": {"type": "number", "minimum": 0, "maximum": 1}},
        ),
        "markets": (
            "On how many markets, made of the days of the real one, it is run; each is a trial.",
            {"minimum": 0, "maximum": 100_000},
        ),
    },
    "_Overfitting": {
        "blocks": ("Into how many blocks the days are cut, an even number.", {"multipleOf": 2}),
    },
    "_Run": {
        "workers": ("How many processes at once; 0: as many as there are cores.", {"minimum": 0}),
        "on": ("What runs the trials: processes here, or a Ray cluster.", {}),
        "trial_limit": (
            "How long a trial may take, such as 10m; null has no limit.",
            {"type": ["string", "null"], "pattern": _DURATION},
        ),
        "address": ("Of the Ray cluster; auto is the one of this machine, null starts one.", {}),
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
        venues: The names of the configured venues, to be offered.
    """
    made = {name: _schema(record) for name, record in _FILES.items()}
    named = {"anyOf": [{"enum": sorted(venues)}, {"type": "string", "pattern": _NAME}]}
    optional = {"anyOf": [*named["anyOf"], {"type": "null"}]}
    _properties(made["history"], "_History")["market_data_venue"].update(named)
    strategy = made["strategy"]
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
    return {name: _at_top(schema, _FILES[name]) for name, schema in made.items()}


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
    """Return the schema with the file's own record at its top, as of draft 7: editors know that."""
    top = schema["$defs"].pop(record.__name__)
    dialect = {"$schema": "http://json-schema.org/draft-07/schema#"}
    return {**dialect, **top, "$defs": schema["$defs"]}


def _properties(schema: Schema, record: str) -> dict[str, Schema]:
    found: dict[str, Schema] = schema["$defs"][record]["properties"]
    return found


def _offer_classes(strategy: Schema) -> None:
    """Offer the strategies there are, and the params of each where they are all known."""
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
                        "properties": {param: {} for param in taken.required},
                        "required": [param for param, needed in taken.required.items() if needed],
                        "additionalProperties": not taken.closed,
                    }
                },
                **({"required": ["params"]} if any(taken.required.values()) else {}),
            },
        }
        for name, taken in sorted(params_by_class.items())
    ]


def _strategy_params() -> Mapping[str, Any]:
    found = {}
    for module in strategy_modules():
        classes_by_name = classes(module_path(module, root=STRATEGIES))
        for name in classes_by_name:
            if f"{name}Config" in classes_by_name:
                found[f"{module}.{name}"] = params(
                    classes_by_name[f"{name}Config"], classes_by_name
                )
    return found
