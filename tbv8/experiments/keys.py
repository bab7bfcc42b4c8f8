"""The keys of trials: digests of the parts of a backtest that determine its numbers.

Pages, the strategy's id, its file and its shadow venue are not among them. The parts that the
points of a search share are hashed once for each timeframe and span, so that a key takes
microseconds: each start computes thousands.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from tbv8.config.document import plain
from tbv8.config.experiments import risk_keys, vary
from tbv8.config.files import Routing
from tbv8.config.records import Strategy
from tbv8.config.source import class_text
from tbv8.config.space import Axis, Point
from tbv8.experiments.blocks import RechainedMarket
from tbv8.freshness.result import (
    PACKAGE,
    backtest_inputs,
    code_files,
    package_versions,
    source_digests,
    static_inputs,
)
from tbv8.manifest import PAGE_PART, Input, make_input
from tbv8.market import Span
from tbv8.store.database import Query

_VALUE_KEYS = ("params", "risk", "slippage_ticks", "starting_balance_usd")  # hashed per point
_NO_FILE = Path("trial")
_JOBS = ("jobs.py", "markets.py", "blocks.py", "draws.py")


class TrialSpan(msgspec.Struct, frozen=True, order=True):
    """The span whose results a trial counts, and the warm-up before it."""

    counted: Span
    warm_up_ms: int = 0


class SharedPart(msgspec.Struct, frozen=True):
    """The part of a key that all points of one timeframe, detail and span share.

    `code` is the digest of the strategy and of the settings that no axis changes: with a point's
    values it identifies a variant, whatever the engine and the span.
    """

    inputs: dict[str, Input]
    prefix: bytes
    code: bytes


class Keys:
    """The keys of an experiment's trials.

    Args:
        query: The database with the fingerprints of bars.
        strategy: The strategy that is varied.
        axes: The axes along which it is varied.
    """

    def __init__(self, query: Query, strategy: Strategy, axes: tuple[Axis, ...]) -> None:
        self._query, self._strategy, self._axes = query, to_trial(strategy), axes
        self._shared: dict[tuple[Any, ...], SharedPart] = {}
        self._lines = _value_lines(self._strategy)
        # by axis: the line of each value; None if the value is in the shared part
        self._slots: list[dict[Any, tuple[str, bytes]] | None] = [
            None
            if axis.key in ("timeframe", "detail") and axis.place != "params"
            else {_with_type(value): _axis_line(axis, value) for value in axis.values}
            for axis in axes
        ]

    @property
    def fixed_values(self) -> dict[str, str]:
        """The values that no axis changes, as text, by name."""
        varied = {f"{axis.place}.{axis.key}" for axis in self._axes}
        lines = {name: line.decode() for name, line in self._lines.items() if name not in varied}
        return {name: line.partition("=")[2] for name, line in lines.items()}

    @property
    def span(self) -> TrialSpan:
        """The span of the strategy's own file."""
        return TrialSpan(self._strategy.span, self._strategy.warm_up_ms)

    def strategy(self, point: Point, span: TrialSpan) -> Strategy:
        """Return the strategy of a trial."""
        varied = vary(self._strategy, self._axes, point)
        return replace(varied, span=span.counted, warm_up_ms=span.warm_up_ms)

    def shapes(self) -> list[Point]:
        """Return one point for each combination of timeframe and detail, other values fixed."""
        pairs = zip(self._axes, self._slots, strict=True)
        values = (axis.values if slot is None else axis.values[:1] for axis, slot in pairs)
        return list(itertools.product(*values))

    def _shape(self, point: Point) -> Point:
        return tuple(v for v, slot in zip(point, self._slots, strict=True) if slot is None)

    def shared_part(self, point: Point, span: TrialSpan) -> SharedPart:
        """Return the part of a point's key that other points share."""
        shape = self._shape(point)
        if (shape, span) not in self._shared:
            self._shared[shape, span] = _shared_part(self._query, self.strategy(point, span))
        return self._shared[shape, span]

    def key(self, point: Point, span: TrialSpan) -> bytes:
        """Return the key of a trial."""
        return hashlib.sha256(self.shared_part(point, span).prefix + self._values(point)).digest()

    def market_key(self, point: Point, market: RechainedMarket) -> bytes:
        """Return the key of a trial on a re-chained market."""
        return self._job_key(point, {"market": msgspec.to_builtins(market)})

    def trades_key(self, point: Point) -> bytes:
        """Return the key of a trial with one equity value per round trip."""
        return self._job_key(point, {"by": "trade"})

    def _job_key(self, point: Point, difference: dict[str, Any]) -> bytes:
        text = json.dumps([difference, _job_code().digest], sort_keys=True)
        return hashlib.sha256(self.key(point, self.span) + text.encode()).digest()

    def variant(self, point: Point, span: TrialSpan) -> bytes:
        """Return the identity of a trial's variant, whatever the span and the engine."""
        return hashlib.sha256(self.shared_part(point, span).code + self._values(point)).digest()

    def _values(self, point: Point) -> bytes:
        lines = dict(self._lines)
        for value, slot in zip(point, self._slots, strict=True):
            if slot is not None:
                name, line = slot[_with_type(value)]
                lines[name] = line
        return b"\n".join(lines[name] for name in sorted(lines))


def to_trial(strategy: Strategy) -> Strategy:
    """Return a strategy as trials run it: without names and paths, which change no number."""
    primary = strategy.routing.primary
    return replace(
        strategy,
        strategy_id=strategy.class_name,
        path=_NO_FILE,
        routing=Routing(primary=primary),
        instruments={primary: strategy.instruments[primary]},
    )


def subject_of(strategy: Strategy) -> str:
    """Return the subject of an experiment's trials: its strategy's class and its series."""
    return subject_text(
        strategy.module, strategy.class_name, strategy.source.venue, strategy.symbols
    )


def subject_text(module: str, class_name: str, venue: str, symbols: Sequence[str]) -> str:
    """Return `ema_cross.EmaCross on sample:BTC/USDT`."""
    return f"{class_text(module, class_name)} on {venue}:{','.join(symbols)}"


def monte_carlo_subject(strategy: Strategy) -> str:
    """Return the subject of Monte Carlo trials, which do not count as tries on the real series."""
    return f"Monte Carlo of {subject_of(strategy)}"


def code_digest(strategy: Strategy) -> str:
    """Return the digest of all code and versions that affect a trial."""
    static = static_inputs(strategy)
    parts = [static[name].digest for name in ("strategy", "engine", "versions")]
    code = [_trial_code().digest, _job_code().digest]
    return hashlib.sha256("\n".join([*parts, *code]).encode()).hexdigest()


def _trial_code() -> Input:
    return make_input(source_digests(code_files("experiments/trial.py"), PACKAGE.parent))


def _job_code() -> Input:
    """Return the code of Monte Carlo jobs beyond that of trials, as a part of their keys."""
    files = code_files("aggregate.py", *(f"experiments/{name}" for name in _JOBS))
    return make_input(source_digests(files, PACKAGE.parent) | package_versions("polars"))


def _shared_part(query: Query, strategy: Strategy) -> SharedPart:
    inputs = backtest_inputs(query, strategy)
    del inputs[PAGE_PART]
    engine = inputs["engine"].value | _trial_code().value
    config = inputs["config"].value
    shared = {key: config[key] for key in sorted(config.keys() - {*_VALUE_KEYS, "strategy_id"})}
    inputs |= {"config": make_input(shared), "engine": make_input(engine)}
    digests = {name: part.digest for name, part in inputs.items()}
    frame = make_input({key: shared[key] for key in shared if key != "warm_up_ms"})
    code = f"{inputs['strategy'].digest}\n{frame.digest}\n"
    return SharedPart(inputs, f"{json.dumps(digests, sort_keys=True)}\n".encode(), code.encode())


def _value_lines(strategy: Strategy) -> dict[str, bytes]:
    """Return the lines of a strategy's values, by name."""
    values: dict[str, Any] = {f"params.{name}": value for name, value in strategy.params.items()}
    for name, symbol in risk_keys(strategy).items():
        risk = strategy.risk
        values[f"risk.{name}"] = (
            getattr(risk, name) if symbol is None else risk.max_positions[symbol]
        )
    for name in ("slippage_ticks", "starting_balance_usd"):
        values[f"backtest.{name}"] = getattr(strategy, name)
    return {name: _line(name, value) for name, value in values.items()}


def _axis_line(axis: Axis, value: Any) -> tuple[str, bytes]:
    is_amount = axis.place == "risk" or axis.key == "starting_balance_usd"
    name = f"{axis.place}.{axis.key}"
    is_param = axis.place == "params"
    return name, _line(name, value if is_param or not is_amount else Decimal(str(value)))


def _line(name: str, value: Any) -> bytes:
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"{name}={text}".encode()


def _with_type(value: Any) -> tuple[str, Any]:
    """Return a value with its type, so that 1, 1.0 and true differ."""
    return type(value).__name__, value
