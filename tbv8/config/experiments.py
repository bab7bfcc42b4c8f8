"""The files of `config/experiments/` as frozen records, checked before any bars are read.

An experiment varies one strategy: its params, its risk, its backtest options, its timeframe.
`vary` returns the strategy at a point, equal to the record of a file with these values.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import yaml
from msgspec.structs import replace

from tbv8.config.document import (
    Document,
    Key,
    plain,
    read_document,
    to_record,
    unknown,
    unknown_key,
)
from tbv8.config.extras import missing_library
from tbv8.config.files import (
    ExperimentFile,
    MonteCarloSection,
    ObjectiveSection,
    SearchSection,
    WalkForwardSection,
)
from tbv8.config.folder import check_name, load_files
from tbv8.config.records import (
    Experiment,
    MonteCarlo,
    Objective,
    Problem,
    Project,
    Strategy,
    WalkForward,
)
from tbv8.config.source import INJECTED, classes, config_params, param_types
from tbv8.config.space import (
    MAX_POINTS,
    Axis,
    Comparison,
    Method,
    Point,
    Search,
    count_points,
    parse_condition,
    range_values,
)
from tbv8.config.strategies import param_problem
from tbv8.config.values import check_amount
from tbv8.errors import ConfigError
from tbv8.market import DAY_MS, MIN_DAYS, ONE_MINUTE, parse_duration_ms, parse_timeframe

FOLDER = "experiments"
"""The folder of experiments' results inside that of all results; no strategy has this id."""

ANNUAL_METRICS = ("sharpe", "sortino", "calmar")
"""The metrics that have no value over fewer than `MIN_DAYS` days."""

_SCHEMA_LINE = "# yaml-language-server: $schema=../.schemas/strategy.schema.json"
_BACKTEST_KEYS = ("slippage_ticks", "starting_balance_usd", "detail")
_MAX_BLOCKS, _MAX_WORKERS, _MAX_LOSSES = 20, 1024, 10
_PATHS = (100, 100_000)  # fewer paths cannot show the worst 5 %
_MAX_SEED, _MAX_TPE_SEED = 2**63 - 1, 2**32 - 1


def load_experiments(project: Project, *, overrides: Mapping[str, str]) -> Project:
    """Return the project with its experiments; there may be none.

    Args:
        project: The project, with its strategies.
        overrides: `workers`, `on` and `address` from the command line.

    Raises:
        ConfigError: An override has a wrong value.
    """
    if not (project.root / "config" / "experiments").is_dir():
        return project
    broken = {
        problem.name: problem.error for problem in project.problems if problem.kind == "strategy"
    }
    changes = _overrides(overrides, root=project.root)

    def load_experiment(document: Document) -> Experiment:
        return replace(_load(document, project, broken), **changes)

    loaded, errors = load_files(project.root, "experiments", "experiment", None, load_experiment)
    problems = [Problem(kind="experiment", name=name, error=e) for name, e in errors.items()]
    return replace(project, experiments=loaded, problems=(*project.problems, *problems))


def _overrides(overrides: Mapping[str, str], *, root: Path) -> dict[str, Any]:
    """Return the command line's changes to an experiment's `workers`, `on` and `address`."""
    changes: dict[str, Any] = {}
    if (text := overrides.get("workers")) is not None:
        if not text.isdecimal() or int(text) > _MAX_WORKERS:
            problem = f"expected a whole number up to {_MAX_WORKERS}, got {text!r}"
            raise ConfigError(problem, key="workers")
        changes["workers"] = int(text)
    if (text := overrides.get("on")) is not None:
        if text not in ("pool", "ray"):
            raise ConfigError(unknown("executor", text, ("pool", "ray")), key="on")
        if text == "ray" and (missing := missing_library("ray", root=root)):
            raise ConfigError(missing, key="on")
        changes["on"] = text
    if (text := overrides.get("address")) is not None:
        changes["address"] = text
    return changes


def _load(document: Document, project: Project, broken: Mapping[str, ConfigError]) -> Experiment:
    raw = to_record(document, ExperimentFile)
    name = check_name(document, "experiment_id", raw.experiment_id)
    if name in project.strategies or name in broken:
        document.refuse(("experiment_id",), f"{name!r} is a strategy's id too: rename this file")
    if raw.strategy in broken:
        raise broken[raw.strategy]  # the same error, so that it is printed once
    strategy = document.choose(("strategy",), raw.strategy, project.strategies, "strategy")
    search, objective = _search(document, raw.search, strategy), _objective(document, raw.objective)
    _check_numbers(document, raw, root=project.root)
    monte_carlo = _monte_carlo(document, raw.monte_carlo)
    if monte_carlo and monte_carlo.markets:
        _check_steps(document, strategy, search.axes)
    return Experiment(
        experiment_id=name,
        path=document.path,
        strategy=strategy,
        search=search,
        objective=objective,
        walk_forward=_walk_forward(document, raw.walk_forward, search, objective),
        monte_carlo=monte_carlo,
        blocks=raw.overfitting.blocks,
        workers=raw.run.workers,
        on=raw.run.on,
        address=raw.run.address,
        trial_limit_ms=_trial_limit_ms(document, raw.run.trial_limit),
        line_numbers={".".join(map(str, k)): line for k, line in document.line_numbers.items()},
    )


def _monte_carlo(document: Document, raw: MonteCarloSection | None) -> MonteCarlo | None:
    if raw is None:
        return None
    for index, loss in enumerate(raw.losses):
        if not 0 < loss < 1:
            problem = f"expected a fraction of the balance between 0 and 1, got {loss}"
            document.refuse(("monte_carlo", "losses", index), problem)
        if index and loss <= raw.losses[index - 1]:
            problem = f"{loss} is not above the one before it: write them from small to large"
            document.refuse(("monte_carlo", "losses", index), problem)
    if len(raw.losses) > _MAX_LOSSES:
        problem = f"expected at most {_MAX_LOSSES}, got {len(raw.losses)}"
        document.refuse(("monte_carlo", "losses"), problem)
    return MonteCarlo(
        paths=raw.paths,
        block_days=raw.block_days,
        seed=raw.seed,
        losses=raw.losses,
        markets=raw.markets,
    )


def _check_steps(document: Document, strategy: Strategy, axes: Sequence[Axis]) -> None:
    """Refuse markets if the bars that match orders do not nest in a day, as markets do."""
    lengths = [axis for axis in axes if axis.key in ("timeframe", "detail")]
    for point in itertools.product(*(axis.values for axis in lengths)):
        step = vary(strategy, lengths, point).step
        if not step.nests_in_a_day:
            document.refuse(
                ("monte_carlo", "markets"),
                f"orders are matched by {step} bars, which do not divide a day: write detail: 1m "
                "in the strategy's backtest, or 0 here",
            )


def _trial_limit_ms(document: Document, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_duration_ms(text)
    except ValueError as e:
        document.refuse(("run", "trial_limit"), str(e))


def _check_numbers(document: Document, raw: ExperimentFile, *, root: Path) -> None:
    """Refuse numbers of the file that are out of range."""
    monte_carlo, is_tpe = raw.monte_carlo or MonteCarloSection(), raw.search.method == "tpe"
    ranges: list[tuple[Key, int, int, int]] = [
        (("search", "seed"), raw.search.seed, 0, _MAX_TPE_SEED if is_tpe else _MAX_SEED),
        (("search", "batch"), raw.search.batch, 1, 1000),
        (("objective", "min_trades"), raw.objective.min_trades, 0, 10**9),
        (("overfitting", "blocks"), raw.overfitting.blocks, 2, _MAX_BLOCKS),
        (("run", "workers"), raw.run.workers, 0, _MAX_WORKERS),
        (("monte_carlo", "paths"), monte_carlo.paths, *_PATHS),
        (("monte_carlo", "block_days"), monte_carlo.block_days, 1, 10**4),
        (("monte_carlo", "seed"), monte_carlo.seed, 0, _MAX_SEED),
        (("monte_carlo", "markets"), monte_carlo.markets, 0, MAX_POINTS),
    ]
    for key, value, minimum, maximum in ranges:
        if not minimum <= value <= maximum:
            document.refuse(key, f"expected {minimum} to {maximum:,}, got {value:,}")
    if raw.run.on == "ray" and (problem := missing_library("ray", root=root)):
        document.refuse(("run", "on"), problem)
    if raw.overfitting.blocks % 2:
        document.refuse(
            ("overfitting", "blocks"), f"expected an even number, got {raw.overfitting.blocks}"
        )


def _objective(document: Document, raw: ObjectiveSection) -> Objective:
    if (raw.maximize is None) == (raw.minimize is None):
        document.refuse(("objective",), "write either maximize: or minimize:")
    return Objective(
        metric=raw.maximize or raw.minimize or "",
        maximize=raw.maximize is not None,
        min_trades=raw.min_trades,
    )


def _walk_forward(
    document: Document, raw: WalkForwardSection | None, search: Search, objective: Objective
) -> WalkForward | None:
    if raw is None:
        return None
    if search.method == "tpe":
        document.refuse(
            ("walk_forward",),
            "method tpe cannot be combined with walk_forward: use grid, random or halton",
        )
    days = {name: _days(document, name, getattr(raw, name)) for name in ("train", "test")}
    days |= {
        name: _days(document, name, getattr(raw, name), zero=True) for name in ("warm_up", "purge")
    }
    if days["purge"] >= days["train"]:
        document.refuse(("walk_forward", "purge"), "is as long as train or longer: shorten it")
    if raw.plateau < 0 or (raw.plateau and search.method != "grid"):
        document.refuse(
            ("walk_forward", "plateau"),
            f"expected 0{' or more' if search.method == 'grid' else ': only a grid has neighbours'}"
            f", got {raw.plateau}",
        )
    train_days = days["train"] - days["purge"]
    if objective.metric in ANNUAL_METRICS and train_days < MIN_DAYS:
        document.refuse(
            ("walk_forward", "train"),
            f"{train_days} days are too short for a {objective.metric} ratio, which needs at least "
            f"{MIN_DAYS}: lengthen train, or use maximize: return",
        )
    return WalkForward(
        train_ms=days["train"] * DAY_MS,
        test_ms=days["test"] * DAY_MS,
        anchored=raw.anchored,
        warm_up_ms=days["warm_up"] * DAY_MS,
        purge_ms=days["purge"] * DAY_MS,
        plateau=raw.plateau,
    )


def _days(document: Document, name: str, text: str, *, zero: bool = False) -> int:
    """Return a duration in whole days; windows begin and end at 00:00 UTC."""
    if zero and text in ("0d", "0h", "0m"):
        return 0
    key = ("walk_forward", name)
    try:
        length_ms = parse_duration_ms(text)
    except ValueError:
        document.refuse(key, f"{text!r} is not a duration: write whole days, such as 60d")
    if length_ms % DAY_MS:
        document.refuse(key, f"{text!r} is not whole days: write whole days, such as 60d")
    return length_ms // DAY_MS


# The space.


def _search(document: Document, raw: SearchSection, strategy: Strategy) -> Search:
    axes = tuple(_axes(document, raw.space, strategy))
    if not axes:
        document.refuse(("search", "space"), "expected at least one axis, such as fast: [10, 20]")
    if raw.method != "grid" and raw.trials is None:
        document.refuse(("search", "trials"), f"missing: {raw.method} needs it")
    if raw.trials is not None and raw.trials < 1:
        document.refuse(("search", "trials"), f"expected 1 or more, got {raw.trials}")
    if raw.method == "tpe" and (problem := missing_library("optuna", root=strategy.root)):
        document.refuse(("search", "method"), problem)
    conditions: list[Comparison] = []
    for index, text in enumerate(raw.where):
        try:
            conditions += parse_condition(text, axes)
        except ValueError as e:
            document.refuse(("search", "where", index), str(e))
    method: Method = raw.method
    search = Search(
        method=method,
        axes=axes,
        conditions=tuple(conditions),
        where=tuple(raw.where),
        trials=None if method == "grid" else raw.trials,
        seed=0 if method == "grid" else raw.seed,
        batch=raw.batch,
    )
    key = ("search", "space" if method == "grid" else "trials")
    try:
        count = count_points(search)
    except ValueError as e:
        document.refuse(key, str(e))
    if count > MAX_POINTS:
        document.refuse(key, f"{count:,} trials are more than {MAX_POINTS:,}: try fewer")
    return search


def _axes(document: Document, space: Mapping[str, Any], strategy: Strategy) -> Iterator[Axis]:
    axis_names: dict[tuple[str, str], str] = {}
    classes_by_name = classes(strategy.module_path)
    types = param_types(classes_by_name[f"{strategy.class_name}Config"], classes_by_name)
    for name, raw in space.items():
        key: Key = ("search", "space", name)
        place, place_key = _place(document, key, name, strategy)
        if (place, place_key) in axis_names:
            document.refuse(key, f"is the same as {axis_names[place, place_key]!r}: remove one")
        axis_names[place, place_key] = name
        values = _values(document, key, raw)
        axis = Axis(name=name, place=place, key=place_key, values=values)
        kind = types.get(place_key, Any) if place == "params" else Any
        entries = raw.items() if isinstance(raw, dict) else enumerate(values)
        for at, value in entries:
            value_key = (*key, at)
            _check_value(document, value_key, axis, value, strategy)
            if problem := param_problem(value, kind):
                document.refuse(value_key, problem)
        yield axis


def _place(
    document: Document, key: Key, name: str, strategy: Strategy
) -> tuple[Literal["params", "risk", "backtest", "strategy"], str]:
    """Return the part of the strategy's file that an axis changes, and the key there."""
    classes_by_name = classes(strategy.module_path)
    accepted = config_params(classes_by_name[f"{strategy.class_name}Config"], classes_by_name)
    risks = risk_keys(strategy)
    place, separator, place_key = name.partition(".")
    if place == "risk" and separator:
        if place_key not in risks:
            document.refuse(key, unknown_key(place_key, risks))
        return "risk", place_key
    if place == "backtest" and separator:
        if place_key not in _BACKTEST_KEYS:
            document.refuse(key, unknown_key(place_key, _BACKTEST_KEYS))
        return "backtest", place_key
    place_key = place_key if place == "params" and separator else name
    if place_key == name and name == "timeframe":
        return "strategy", name
    if place_key == name and name in _BACKTEST_KEYS:
        if name in accepted.required:
            document.refuse(key, f"is ambiguous: write params.{name} or backtest.{name}")
        return "backtest", name
    if place_key in INJECTED:
        document.refuse(key, "set by tbv8 itself: remove it")
    if accepted.closed and place_key not in accepted.required:
        names = [
            *accepted.required,
            *_BACKTEST_KEYS,
            "timeframe",
            *(f"risk.{risk}" for risk in risks),
        ]
        document.refuse(key, unknown(f"param of {strategy.class_name}", place_key, names))
    return "params", place_key


def risk_keys(strategy: Strategy) -> dict[str, str | None]:
    """Return the keys of `risk` with the symbol of each position limit, None for other keys."""
    bases = {symbol: symbol.partition("/")[0].lower() for symbol in strategy.symbols}
    positions = {f"max_position_{base}": symbol for symbol, base in bases.items()}
    return {**positions, "max_daily_loss_usd": None, "max_leverage": None}


def _values(document: Document, key: Key, raw: Any) -> Point:
    if isinstance(raw, dict):
        return _range_values(document, key, raw)
    if not isinstance(raw, list) or not raw:
        document.refuse(key, "expected a list of values, or {from: 10, to: 50, step: 5}")
    values: list[Any] = []
    for index, value in enumerate(raw):
        if value is None or isinstance(value, dict | list):
            document.refuse((*key, index), "expected a number, a text, true or false")
        if any(_is_same(value, earlier) for earlier in values):
            document.refuse((*key, index), f"{value!r} is given twice: remove one")
        values.append(value)
    return tuple(values)


def _is_same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _range_values(document: Document, key: Key, raw: Mapping[str, Any]) -> Point:
    names = ("from", "to", "step")
    for name in raw:
        if name not in names:
            document.refuse((*key, name), unknown_key(name, names))
    numbers = {}
    for name in names:
        if name not in raw:
            document.refuse((*key, name), "missing: write this key")
        value = raw[name]
        try:
            if isinstance(value, bool):
                raise ValueError
            numbers[name] = Decimal(str(value))
        except (ArithmeticError, ValueError):
            document.refuse((*key, name), f"expected a number, got {value!r}")
        if not numbers[name].is_finite():
            document.refuse((*key, name), f"expected a number, got {value!r}")
    start, end, step = (numbers[name] for name in names)
    if step <= 0:
        document.refuse((*key, "step"), f"expected a number above 0, got {step}")
    if end < start:
        document.refuse((*key, "to"), f"{end} is below from, {start}")
    if (end - start) / step >= MAX_POINTS:
        document.refuse(key, f"has more than {MAX_POINTS:,} values: write a larger step")
    if remainder := (end - start) % step:
        last = end - remainder
        document.refuse(
            (*key, "to"),
            f"{plain(end)} is not reached from {plain(start)} by steps of {plain(step)}: write "
            f"{plain(last)} or {plain(last + step)}",
        )
    whole = all(isinstance(raw[name], int) for name in names)
    return range_values(start, end, step, whole=whole)


def _check_value(document: Document, key: Key, axis: Axis, value: Any, strategy: Strategy) -> None:
    """Refuse a value that is not allowed at this key of a strategy's file."""
    if axis.place == "risk" or axis.key == "starting_balance_usd":
        if isinstance(value, bool) or not isinstance(value, int | float):
            document.refuse(key, f"expected a number, got {value!r}")
        check_amount(document, key, Decimal(str(value)))
    elif axis.place == "backtest" and axis.key == "slippage_ticks":
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            document.refuse(key, f"expected a whole number from 0, got {value!r}")
    elif axis.place == "backtest" and axis.key == "detail":
        if value not in ("1m", "none"):
            document.refuse(key, f"expected 1m or none, got {value!r}")
    elif axis.place == "strategy":
        try:
            timeframe = parse_timeframe(str(value))
        except ValueError as e:
            document.refuse(key, str(e))
        for further in strategy.bars:
            if timeframe.label == further.label:
                document.refuse(
                    key, f"{value!r} is the same as {further} of the strategy's bars: remove it"
                )


def vary(strategy: Strategy, axes: Sequence[Axis], point: Point) -> Strategy:
    """Return a strategy with the values of a point."""
    new_params: dict[str, Any] = dict(strategy.params)
    changes: dict[str, Any] = {}
    for axis, value in zip(axes, point, strict=True):
        if axis.place == "params":
            new_params[axis.key] = value
        elif axis.place == "risk":
            changes["risk"] = _with_limit(strategy, changes.get("risk", strategy.risk), axis, value)
        elif axis.key == "starting_balance_usd":
            changes[axis.key] = Decimal(str(value))
        elif axis.key == "timeframe":
            changes[axis.key] = parse_timeframe(value)
        else:
            changes[axis.key] = value
    varied = replace(strategy, params=new_params, **changes)
    if varied.timeframe == ONE_MINUTE and varied.detail != "none":
        varied = replace(varied, detail="none")
    return varied


def _with_limit(strategy: Strategy, risk: Any, axis: Axis, value: Any) -> Any:
    symbol, amount = risk_keys(strategy)[axis.key], Decimal(str(value))
    if symbol is None:
        return replace(risk, **{axis.key: amount})
    return replace(risk, max_positions={**risk.max_positions, symbol: amount})


def promoted_text(
    experiment: Experiment, point: Point, strategy_id: str, *, comments: Sequence[str], root: Path
) -> str:
    """Return the file of an experiment's strategy with the values of a point and another id.

    Args:
        experiment: The experiment that the point belongs to.
        point: The values.
        strategy_id: The new id, which can be a file's name.
        comments: Comment lines at the top.
        root: The project's folder.
    """
    document = read_document(root / experiment.strategy.path, root=root)
    value = {**document.value, "strategy_id": strategy_id}
    for axis, axis_value in zip(experiment.search.axes, point, strict=True):
        if axis.place == "strategy":
            value[axis.key] = axis_value
        else:
            value[axis.place] = {**value.get(axis.place, {}), axis.key: axis_value}
    head = "".join(f"# {line}\n" for line in comments)
    text: str = yaml.safe_dump(value, sort_keys=False, default_flow_style=None, width=100)
    return f"{_SCHEMA_LINE}\n{head}{text}"


def results_folder(results_path: Path, experiment_id: str) -> Path:
    """Return the folder of an experiment's result."""
    return results_path / FOLDER / experiment_id
