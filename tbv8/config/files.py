"""The YAML files of `config/` as written: each key with its type, default and description.

msgspec checks the types. The constraints beside a description are for `doit schema` alone;
the other modules of `tbv8.config` check them with messages of their own. This module has no
`from __future__ import annotations`, since msgspec would compile the text of each annotation at
every start.
"""

from decimal import Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

type JsonSchema = dict[str, Any]

Mode = Literal["PRIMARY_ONLY", "PRIMARY_LIVE_SECONDARY_SHADOW"]
Channel = Literal["trades", "bbo", "funding", "mark"]
Detail = Literal["1m", "none"]
Message = Literal["started", "stopped", "halt", "stale", "differs", "fill"]

NAME = "^[A-Za-z0-9][A-Za-z0-9_-]*$"
"""A file's name without .yaml."""
VARIABLE = "^[A-Za-z_][A-Za-z0-9_]*$"
"""An environment variable."""
HOST = "^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
"""A host as urllib reads it: without a port, in lower case."""
CLASS = (
    "^([A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)+"
    "|(?!/)(?!(.*/)?\\.\\./)([^:]*/)?[A-Za-z_][A-Za-z0-9_]*\\.py:[A-Za-z_][A-Za-z0-9_]*)$"
)
"""A strategy's class: `module.Class` or `path/to/file.py:Class`."""

_SYMBOL = "^[^\\s/_-]+/[^\\s/_-]+$"  # about: letters and digits of any script
_QUOTED = "^[^\\s/_-]+/(USD|USDT|USDC)$"
_TIMEFRAME = "^([1-9][0-9]{0,4}[mhd]|1w|1M)$"
_UP_TO_A_DAY = "^(([1-9][0-9]{0,2}|1[0-3][0-9]{2}|14[0-3][0-9]|1440)m|([1-9]|1[0-9]|2[0-4])h|1d)$"
_DATE = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9](:00(\\.0{1,6})?)?(Z|[+-][0-9]{2}:[0-5][0-9])"
_TIME = f"^{_DATE}([T ]{_CLOCK})?$"
_AMOUNT = "^[+]?(?=[0-9.]*[1-9])([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?$"
_FRACTION = "^[+-]?(0*(\\.0[0-9]*)?|[0-9]*\\.?[0-9]+[eE]-[0-9]+)$"
_DURATION = "^[1-9][0-9]{0,6}[smhd]$"
_WARM_UP = "^([1-9][0-9]{0,6}[smhd]|0[mhd])$"
_DAYS = "^([1-9][0-9]{0,6}d|[1-9][0-9]{0,6}h|0[mhd])$"
_PATH = "^(?!.*://).*\\S.*$"
_TEXT = "\\S"
_HTTP = "^https?://[^\\s/]+\\S*$"
_WS = "^wss?://[^\\s/]+\\S*$"

_EXAMPLES = {
    _TIMEFRAME: "5m",
    _UP_TO_A_DAY: "1d",
    _TIME: "2024-01-01",
    _DURATION: "90s",
    _DAYS: "30d",
    _WARM_UP: "30d",
    _QUOTED: "BTC/USDT",
    CLASS: "ema_cross.EmaCross",
    _HTTP: "https://api.example.com",
    _WS: "wss://ws.example.com",
}
"""An example of each pattern that no number fits: errors and editors show it."""

_OPTIONAL: JsonSchema = {"type": ["string", "null"]}
_POSITIVE: JsonSchema = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 10**12},
        {"type": "string", "pattern": _AMOUNT},
    ]
}
_NOT_NEGATIVE: JsonSchema = {
    "anyOf": [
        {"type": "number", "minimum": 0, "exclusiveMaximum": 10**12},
        {"type": "string", "pattern": "^[+]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([eE][+-]?[0-9]+)?$"},
    ]
}
_FEE: JsonSchema = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": -0.1, "exclusiveMaximum": 0.1},
        {"type": "string", "pattern": _FRACTION},
    ]
}
_NUMBER: JsonSchema = {"type": ["number", "string"]}
_SEED: JsonSchema = {"minimum": 0, "exclusiveMaximum": 2**63}


def key(description: str, **constraints: Any) -> Meta:
    """Return a key's description for editors, and its constraints as JSON Schema beyond the type.

    `type`, `anyOf` and `enum` replace the schema of the field's type.
    """
    for part in (constraints, constraints.get("items", {})):
        if example := _EXAMPLES.get(part.get("pattern", "")):
            part["examples"] = [example]
    return Meta(description=description, extra_json_schema=constraints or None)


# data.yaml


class PaperSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits on opening positions in paper sessions."""

    stale_after: Annotated[
        str | None,
        key(
            "A bar older than this opens no position; null: three bars of the timeframe.",
            **_OPTIONAL,
            pattern=_DURATION,
        ),
    ] = None
    clock_limit: Annotated[
        str,
        key(
            "No position is opened while the clocks here and at the venue differ by more.",
            pattern=_DURATION,
        ),
    ] = "2s"


class NotifySection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The recipients of paper sessions' messages, and the kinds of messages that they get."""

    urls_env: Annotated[
        str,
        key("The environment variable with apprise URLs, separated by spaces.", pattern=VARIABLE),
    ]
    without: Annotated[
        tuple[Message, ...], key("The kinds of messages not to send.", uniqueItems=True)
    ] = ()


class DataFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The project's data: its paths, the bars to build, options of paper sessions."""

    db_path: Annotated[str, key("The SQLite file, relative to the project.", pattern=_PATH)]
    results_path: Annotated[str, key("The folder of results.", pattern=_PATH)] = "data/results"
    timeframes: Annotated[
        list[str],
        key(
            "Bars to build for every series, in addition to those that strategies use.",
            items={"type": "string", "pattern": _TIMEFRAME},
        ),
    ] = []
    paper: Annotated[PaperSection, key("Limits on opening positions in paper sessions.")] = (
        PaperSection()
    )
    notify: Annotated[
        NotifySection | None, key("Recipients of paper sessions' messages; null: none.")
    ] = None


# history.yaml


class HistorySection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The history to fetch: its venue and its span."""

    market_data_venue: Annotated[
        str, key("The venue of the history: sample, binance_spot, binance_perp ...")
    ]
    start_date: Annotated[
        str,
        key(
            "The start, inclusive: a date means midnight UTC, a time needs its zone.", pattern=_TIME
        ),
    ]
    end_date: Annotated[
        str | None,
        key(
            "The end, exclusive; null: now, rounded down to `refresh` (1d: the last 00:00).",
            **_OPTIONAL,
            pattern=_TIME,
        ),
    ] = None
    refresh: Annotated[
        str,
        key(
            "With end_date null, how often the end moves forward: 1d, 1h, 1m ..., at most 1d.",
            pattern=_UP_TO_A_DAY,
        ),
    ] = "1d"


class HistoryFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The history that strategies read unless their own files name another."""

    history: Annotated[HistorySection, key("The history to fetch.")]


# venues/<venue>.yaml


class Instrument(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rules and costs of orders in one symbol at one venue; fees as fractions of the notional.

    A long position pays `funding_rate_8h` per eight hours and a short one receives it. It is
    charged every `funding_hours`, in proportion. In a file 0 means the venue's own interval; a
    loaded project has the interval itself.

    `multiplier` is how many of the symbol's units the venue trades as one: 1000 for PEPE where it
    trades kPEPE. All other fields, and all stored data, are in the symbol's unit.
    """

    tick_size: Annotated[Decimal, key("The smallest price step.", **_POSITIVE)]
    lot_size: Annotated[Decimal, key("The smallest quantity step, in base units.", **_POSITIVE)]
    maker_fee: Annotated[
        Decimal,
        key("The fee of resting limit orders, a fraction of the notional: 0.00015.", **_FEE),
    ]
    taker_fee: Annotated[
        Decimal, key("The fee of all other fills, a fraction of the notional: 0.00045.", **_FEE)
    ]
    max_leverage: Annotated[Decimal, key("The venue's maximum leverage.", **_POSITIVE)] = Decimal(1)
    min_notional_usd: Annotated[
        Decimal,
        key("The minimum value of an order that can open a position, USD.", **_NOT_NEGATIVE),
    ] = Decimal(0)
    multiplier: Annotated[
        Decimal,
        key(
            "How many of the symbol's units the venue trades as one: 1000 for kPEPE. Stored "
            "prices and amounts are of one unit.",
            **_POSITIVE,
        ),
    ] = Decimal(1)
    funding_rate_8h: Annotated[
        Decimal,
        key(
            "The rate that a long position pays per eight hours, a fraction of the notional.",
            **_FEE,
        ),
    ] = Decimal(0)
    funding_hours: Annotated[
        int,
        key(
            "Hours between funding payments; 0: the venue's own interval.",
            enum=[0, 1, 2, 3, 4, 6, 8, 12, 24],
        ),
    ] = 0


class VenueFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One venue: its symbols, its addresses, what to record, its trading rules."""

    venue: Annotated[str, key("The file's name without .yaml.", pattern=NAME)]
    symbols: Annotated[
        dict[str, str] | list[str],
        key(
            "BASE/QUOTE: the venue's own name of each; or a list, for the venue's usual names.",
            anyOf=[
                {
                    "type": "object",
                    "minProperties": 1,
                    "patternProperties": {_SYMBOL: {"type": "string", "pattern": _TEXT}},
                    "additionalProperties": False,
                },
                {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"type": "string", "pattern": _SYMBOL},
                },
            ],
        ),
    ]
    enabled: Annotated[bool, key("true: `doit record` connects to this venue.")] = False
    channels: Annotated[
        tuple[Channel, ...],
        key(
            "Data to record; bars_1m are built from trades. funding and mark come by REST.",
            minItems=1,
            uniqueItems=True,
        ),
    ] = ("trades", "bbo")
    ws_url: Annotated[
        str | None,
        key("The WebSocket address, in place of the venue's own.", **_OPTIONAL, pattern=_WS),
    ] = None
    rest_url: Annotated[
        str | None,
        key("The REST address, in place of the venue's own.", **_OPTIONAL, pattern=_HTTP),
    ] = None
    archive_url: Annotated[
        str | None,
        key(
            "The address of its history files, in place of the venue's own.",
            **_OPTIONAL,
            pattern=_HTTP,
        ),
    ] = None
    redirect_hosts: Annotated[
        tuple[str, ...],
        key(
            "Further hosts that the venue may redirect to; redirects to others are refused.",
            items={"type": "string", "pattern": HOST},
        ),
    ] = ()
    history: Annotated[
        Literal["ccxt", "files"] | None,
        key("The source of its bars, for a venue that tbv8 does not know by name."),
    ] = None
    exchange: Annotated[
        str | None,
        key(
            "With `history: ccxt`: ccxt's name of the exchange, such as kraken.",
            **_OPTIONAL,
            pattern="^[a-z0-9]+$",
        ),
    ] = None
    path: Annotated[
        str | None,
        key(
            "With `history: files`: the path of the files, relative to the project: "
            "bars/{symbol}.csv.",
            **_OPTIONAL,
            pattern=_TEXT,
        ),
    ] = None
    zone: Annotated[
        str | None,
        key(
            "With `history: files`: the zone of times without one: UTC, Europe/Berlin; null: such "
            "times are refused.",
            **_OPTIONAL,
            pattern=_TEXT,
        ),
    ] = None
    instruments: Annotated[
        dict[str, Instrument],
        key(
            "The venue's trading rules and fees by symbol, for backtests.",
            patternProperties={_SYMBOL: {"$ref": "#/$defs/Instrument"}},
            additionalProperties=False,
        ),
    ] = {}


# strategies/<strategy_id>.yaml


class Routing(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The venue that receives the orders, and a second venue for simulation alone."""

    primary: Annotated[str, key("The venue whose rules and fees apply.")]
    secondary: Annotated[
        str | None, key("The venue of the shadow, with mode PRIMARY_LIVE_SECONDARY_SHADOW.")
    ] = None
    mode: Annotated[
        Mode,
        key(
            "PRIMARY_ONLY, or PRIMARY_LIVE_SECONDARY_SHADOW: the strategy also runs under the "
            "secondary's rules, as the shadow. No order is sent to a venue in either mode."
        ),
    ] = "PRIMARY_ONLY"


class BacktestSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Options of one strategy's backtest."""

    market_data_venue: Annotated[
        str | None, key("The venue of the bars, in place of history.yaml's.")
    ] = None
    start_date: Annotated[
        str | None, key("The start, in place of history.yaml's.", **_OPTIONAL, pattern=_TIME)
    ] = None
    end_date: Annotated[
        str | None,
        key("The end, exclusive, in place of history.yaml's.", **_OPTIONAL, pattern=_TIME),
    ] = None
    starting_balance_usd: Annotated[
        Decimal, key("The account's balance at the start, in USD.", **_POSITIVE)
    ] = Decimal(10_000)
    slippage_ticks: Annotated[
        int,
        key(
            "The number of ticks by which market orders and stops fill at a worse price.", minimum=0
        ),
    ] = 0
    detail: Annotated[
        Detail,
        key("1m: match orders by the minutes inside longer bars; none: by the strategy's bars."),
    ] = "1m"
    warm_up: Annotated[
        str,
        key(
            "The length of the run before its results are counted: 30d, 36h; 0d: none.",
            pattern=_WARM_UP,
        ),
    ] = "0d"
    funding: Annotated[
        str | int | float | None,
        key(
            "history: the rates that venues charged; none; or a rate per 8 h such as 0.0001. null: "
            "the `funding_rate_8h` of the primary's instruments if one is written, else history if "
            "the bars are a perpetual's or rates of the span are stored, else none.",
            anyOf=[{"enum": ["history", "none", None]}, *_FEE["anyOf"]],
            examples=["history", "none", 0.0001],
        ),
    ] = None


class StrategyFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One strategy: its class, its market, its venues for orders, its limits."""

    strategy_id: Annotated[str, key("The file's name without .yaml.", pattern=NAME)]
    symbol: Annotated[
        str | None,
        key(
            "The market, BASE/QUOTE; the quote is USD, USDT or USDC.", **_OPTIONAL, pattern=_QUOTED
        ),
    ] = None
    symbols: Annotated[
        list[str],
        key(
            "All markets, the main one first; they share one quote currency.",
            uniqueItems=True,
            items={"type": "string", "pattern": _QUOTED},
        ),
    ] = []
    timeframe: Annotated[
        str, key("The length of its bars: <n>m, <n>h, <n>d, 1w or 1M.", pattern=_TIMEFRAME)
    ]
    bars: Annotated[
        list[str],
        key(
            "Further timeframes of every symbol that the strategy receives.",
            uniqueItems=True,
            items={"type": "string", "pattern": _TIMEFRAME},
        ),
    ] = []
    strategy: Annotated[
        str, key("The class: module.Class under tbv8/strategies/, or path/to/file.py:Class.")
    ] = "ema_cross.EmaCross"
    params: Annotated[dict[str, Any], key("The parameters of the strategy's config class.")] = {}
    routing: Annotated[Routing, key("The venues for orders.")]
    risk: Annotated[
        dict[str, Decimal],
        key(
            "Limits on every order.",
            properties={
                "max_daily_loss_usd": {
                    "description": "A loss of this much since 00:00 UTC closes all positions; no "
                    "entries until the next 00:00.",
                    **_POSITIVE,
                },
                "max_leverage": {
                    "description": "The largest value of all positions, as a multiple of equity. "
                    "The venue's own maximum applies if it is lower.",
                    **_POSITIVE,
                },
            },
            patternProperties={
                "^max_position_[^A-Z\\s/_-]+$": {
                    "description": "The largest position of a symbol, in base units.",
                    **_POSITIVE,
                }
            },
            required=["max_daily_loss_usd", "max_leverage"],
            minProperties=3,
            additionalProperties=False,
        ),
    ]
    backtest: Annotated[
        BacktestSection, key("Options of the backtest; the dates replace those of history.yaml.")
    ] = BacktestSection()


# experiments/<experiment_id>.yaml


class SearchSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The points to try: a method, and a space of values."""

    method: Annotated[
        Literal["grid", "random", "halton", "tpe"],
        key("grid: all points; random, halton, tpe: as many as `trials`."),
    ] = "grid"
    space: Annotated[
        dict[str, Any],
        key(
            "Axes: a param, risk.<key>, slippage_ticks, starting_balance_usd, detail, timeframe.",
            minProperties=1,
            additionalProperties={
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
        ),
    ]
    where: Annotated[list[str], key("Comparisons that every point must satisfy: fast < slow.")] = []
    trials: Annotated[
        int | None,
        key(
            "The number of points to try; ignored by grid, which tries all.",
            type=["integer", "null"],
            minimum=1,
            maximum=100_000,
        ),
    ] = None
    seed: Annotated[int, key("The seed of the random draws; ignored by grid.", **_SEED)] = 0
    batch: Annotated[
        int,
        key(
            "For tpe: the number of points to try before the next ones are chosen.",
            minimum=1,
            maximum=1000,
        ),
    ] = 16


class ObjectiveSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The metric that chooses the best trial: one to maximize or one to minimize."""

    maximize: Annotated[
        Literal["sharpe", "sortino", "calmar", "return", "profit_factor"] | None,
        key("The metric with the highest value in the best trial; without `objective`, sharpe."),
    ] = None
    minimize: Annotated[
        Literal["max_drawdown"] | None, key("The metric with the lowest value in the best trial.")
    ] = None
    min_trades: Annotated[int, key("Trials with fewer round trips are not chosen.", minimum=0)] = 1


class WalkForwardSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Windows of training and testing, one after another."""

    train: Annotated[str, key("The length of each training, in whole days: 60d.", pattern=_DAYS)]
    test: Annotated[str, key("The length of the test after each training.", pattern=_DAYS)]
    anchored: Annotated[bool, key("true: every training begins at the start of the first.")] = False
    warm_up: Annotated[
        str, key("The length of each run before its results are counted.", pattern=_DAYS)
    ] = "30d"
    purge: Annotated[
        str, key("The gap between the end of a training and its test.", pattern=_DAYS)
    ] = "0d"
    plateau: Annotated[
        int,
        key(
            "The number of neighbours in the grid, in each direction, to average a choice over.",
            minimum=0,
        ),
    ] = 0


class MonteCarloSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Alternatives of the best trial, drawn at random."""

    paths: Annotated[
        int,
        key(
            "The number of paths: its days resampled, its round trips resampled and shuffled.",
            minimum=100,
            maximum=100_000,
        ),
    ] = 1000
    block_days: Annotated[
        int,
        key(
            "The mean length of a block, in days; at most a fifth of the span.",
            minimum=1,
            maximum=10_000,
        ),
    ] = 10
    seed: Annotated[int, key("The seed of the random draws.", **_SEED)] = 0
    losses: Annotated[
        tuple[float, ...],
        key(
            "Fractions of the starting balance; the probability of losing each is estimated.",
            maxItems=10,
            items={"type": "number", "minimum": 0, "maximum": 1},
        ),
    ] = (0.05, 0.1, 0.2)
    markets: Annotated[
        int,
        key(
            "The number of markets, made of the real one's days, to run the best trial on. Each "
            "takes as long as a trial; the other keys here cost almost nothing.",
            minimum=0,
            maximum=100_000,
        ),
    ] = 0


class OverfittingSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cross-validation that estimates overfitting."""

    blocks: Annotated[
        int, key("The number of blocks to split the days into; even.", multipleOf=2)
    ] = 16


class RunSection(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the trials run; none of it changes a result."""

    workers: Annotated[int, key("The number of worker processes; 0: one per core.", minimum=0)] = 0
    on: Annotated[
        Literal["pool", "ray"], key("pool: processes on this machine; ray: a Ray cluster.")
    ] = "pool"
    address: Annotated[
        str | None,
        key("The Ray cluster's address; auto: the one on this machine; null: start one."),
    ] = None
    trial_limit: Annotated[
        str | None,
        key(
            "The longest time that a trial may take, such as 10m; null: no limit.",
            **_OPTIONAL,
            pattern=_DURATION,
        ),
    ] = "1h"


class ExperimentFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One experiment: a strategy, the values to try, and how to judge them."""

    experiment_id: Annotated[str, key("The file's name without .yaml.", pattern=NAME)]
    strategy: Annotated[str, key("The id of the strategy to vary.", pattern=NAME)]
    search: Annotated[SearchSection, key("The values to try.")]
    objective: Annotated[ObjectiveSection, key("The metric that chooses the best trial.")] = (
        ObjectiveSection(maximize="sharpe")
    )
    walk_forward: Annotated[WalkForwardSection | None, key("Windows of training and testing.")] = (
        None
    )
    monte_carlo: Annotated[
        MonteCarloSection | None, key("Alternatives of the best trial, drawn at random.")
    ] = None
    overfitting: Annotated[OverfittingSection, key("The cross-validation of the search.")] = (
        OverfittingSection()
    )
    run: Annotated[
        RunSection, key("Where and with how many processes it runs; changes no result.")
    ] = RunSection()
