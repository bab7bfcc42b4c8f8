"""A strategy's class and its config, from the YAML's words; errors of the user's code as one line.

Importing a strategy runs the user's code, so that whatever it raises is theirs to mend.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, get_type_hints

import msgspec
from nautilus_trader.trading import Strategy

from tbv8.config import records
from tbv8.config.document import expected, nearest, read_document
from tbv8.config.source import (
    STRATEGIES,
    classes,
    import_root,
    is_file,
    remove_stale_bytecode,
    single_market_problem,
    strategy_sources,
)
from tbv8.errors import ConfigError, Tbv8Error
from tbv8.market import Series
from tbv8.trading.nautilus import to_bar_type, to_instrument_id

_STRATEGIES = "tbv8.strategies"
_NAUTILUS_1 = (
    "tbv8 uses NautilusTrader 2: from nautilus_trader.model import Bar; docs/strategies.md lists "
    "what changed"
)


class StrategyError(Tbv8Error):
    """An exception in a user's strategy, in one line; the exception itself is `__cause__`."""


def check_params(strategy: records.Strategy) -> None:
    """Refuse params that the strategy's own config class refuses.

    Raises:
        ConfigError: One has another type, or the class raised a ValueError.
        StrategyError: The module cannot be imported, or the class raised anything else.
    """
    make_config(strategy, strategy.routing.primary)


def load_strategy(
    strategy: records.Strategy, venue: str, *, behind: type[Strategy] | None = None
) -> Strategy:
    """Return a new strategy that trades on `venue`; errors as in `check_params`.

    `behind` becomes a base of its class, after the user's own and before NautilusTrader's.
    """
    made = make_config(strategy, venue)
    strategy_class = _load_class(strategy, strategy.class_name)
    if not issubclass(strategy_class, Strategy):
        raise StrategyError(
            f"{class_place(strategy)}: {strategy.class_name} is not a "
            "nautilus_trader.trading.Strategy: derive it from that"
        )
    _check_callbacks(strategy, strategy_class)
    try:
        if behind is not None:
            names = {"__module__": strategy_class.__module__, "__doc__": strategy_class.__doc__}
            strategy_class = type(strategy.class_name, (strategy_class, behind), names)
        loaded: Strategy = strategy_class(made)
    except Exception as e:
        raise strategy_error(strategy, e, f"{strategy.class_name}()") from e
    return loaded


def make_config(strategy: records.Strategy, venue: str) -> Any:
    """Return the strategy's own config object; errors as in `check_params`."""
    config_class = _load_class(strategy, f"{strategy.class_name}Config")
    params, given = _typed(config_class, strategy), _given(config_class, strategy, venue)
    try:
        return config_class(**given, **params)
    except (ValueError, TypeError) as e:
        name = f"{strategy.class_name}Config"
        if isinstance(e, TypeError) and not _takes_what_is_given(config_class):
            raise StrategyError(
                f"{class_place(strategy, name)}: {name} must be a dataclass with the fields "
                f"bar_type, instrument_id, max_position: {e}"
            ) from e
        _refuse(strategy, ("params",), str(e), e)
    except Exception as e:
        raise strategy_error(strategy, e, f"{strategy.class_name}Config()") from e


def _given(config_class: type, strategy: records.Strategy, venue: str) -> dict[str, Any]:
    """Return tbv8's own arguments: of the main symbol, or of all if the class has the plural."""
    series = [Series(venue, symbol) for symbol in strategy.symbols]
    one = {
        "instrument_id": to_instrument_id(series[0]),
        "bar_type": to_bar_type(series[0], strategy.timeframe),
        "max_position": strategy.risk.max_positions[strategy.symbol],
    }
    several = {
        "instrument_ids": tuple(to_instrument_id(each) for each in series),
        "bar_types": tuple(
            to_bar_type(each, timeframe) for each in series for timeframe in strategy.timeframes
        ),
        "max_positions": tuple(strategy.risk.max_positions[s] for s in strategy.symbols),
    }
    taken = inspect.signature(config_class).parameters
    problem = single_market_problem(
        config_class.__name__, taken, symbols=strategy.symbols, bars=strategy.bars
    )
    if problem and not any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        _refuse(strategy, (problem[0],), problem[1])
    named = {name: value for name, value in (one | several).items() if name in taken}
    return one | named if named.keys().isdisjoint(several) else named


def _takes_what_is_given(config_class: type) -> bool:
    taken = inspect.signature(config_class).parameters
    return any(p.kind is p.VAR_KEYWORD for p in taken.values()) or all(
        name in taken or f"{name}s" in taken
        for name in ("instrument_id", "bar_type", "max_position")
    )


def _refuse(
    strategy: records.Strategy, key: tuple[str, ...], problem: str, cause: Exception | None = None
) -> NoReturn:
    """Raise a ConfigError at a key of the strategy's YAML, with its line."""
    path = strategy.root / strategy.path
    if path.is_file():
        document = read_document(path, root=strategy.root)
        try:
            document.refuse(key, problem)
        except ConfigError as e:
            raise e from cause
    raise ConfigError(problem, path=strategy.path, key=".".join(key)) from cause


def _check_callbacks(strategy: records.Strategy, strategy_class: type[Strategy]) -> None:
    """Refuse callbacks that could not be called, or whose body would never run."""
    for name in dir(strategy_class):
        own, known = getattr(strategy_class, name), getattr(Strategy, name, None)
        if not name.startswith("on_") or known is None or not inspect.isfunction(own):
            continue
        place = f"{shown_path(own.__code__.co_filename)}:{own.__code__.co_firstlineno}"
        if inspect.iscoroutinefunction(own):
            raise StrategyError(f"{place}: {name} is async, and nobody awaits it: write def")
        wanted = [p.name for p in inspect.signature(known).parameters.values()]
        try:
            inspect.signature(own).bind(*wanted)
        except TypeError as e:
            raise StrategyError(f"{place}: write def {name}({', '.join(wanted)}): {e}") from e


def check_subscribed(strategy: records.Strategy, loaded: Strategy, *, subscribed: bool) -> None:
    """Refuse a strategy that received no bars. Call it only if the run sent no orders."""
    name, place = strategy.class_name, class_place(strategy)
    written = type(loaded).__mro__[1]  # before it, what tbv8 put in front
    if getattr(written, "on_bar", None) is Strategy.on_bar:
        meant = nearest("on_bar", set(dir(written)) - set(dir(Strategy)))
        cure = f"rename {meant}" if meant else "write one"
        raise StrategyError(f"{place}: {name} sent no order and has no on_bar: {cure}")
    if not subscribed:
        raise StrategyError(
            f"{place}: {name} sent no order and subscribed to no bars: write "
            "self.subscribe_bars(self.config.bar_type) in on_start"
        )


def class_place(strategy: records.Strategy, name: str | None = None) -> str:
    """Return file and line of a strategy's class, or of another in its module."""
    path = strategy.module_path
    known = classes(path) if path.is_file() else {}
    line = known.get(name or strategy.class_name)
    file = shown_path(path.as_posix())
    return f"{file}:{line.lineno}" if line else file


def strategy_error(strategy: records.Strategy, error: BaseException, where: str) -> StrategyError:
    """Return one line that names the user's file and line, and what it raised there."""
    said = " ".join(str(error).split())
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_own(strategy, frame.filename)]
    raised = [f"{shown_path(frame.filename)}:{frame.lineno}" for frame in own]
    if isinstance(error, SyntaxError):
        place = f"{shown_path(error.filename or '')}:{error.lineno}"
    elif own:  # rather in the strategy's module than in what it builds on
        module = shown_path(strategy.module_path.as_posix())
        place = next((at for at in reversed(raised) if at.startswith(f"{module}:")), raised[-1])
        where += f", raised at {raised[-1]}," if place != raised[-1] else ""
    else:
        place = class_place(strategy)
    return StrategyError(f"{place}: {what} (in {where} of {strategy.strategy_id})")


def is_of_strategy(strategy: records.Strategy, error: BaseException) -> bool:
    """Return True if an error passed through a strategy's own code."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(_is_own(strategy, frame.filename) for frame in frames)


def _is_own(strategy: records.Strategy, filename: str) -> bool:
    """Return True if a file belongs to a strategy, of tbv8's folder of strategies or its own."""
    path = Path(filename)
    if "/strategies/" in path.as_posix():
        return True
    return is_file(strategy.module) and path.resolve() in _own_files(strategy)


def _own_files(strategy: records.Strategy) -> set[Path]:
    """Return the file that a strategy's YAML names, and what it imports outside of tbv8."""
    sources, _ = strategy_sources(strategy.module, root=strategy.root)
    return {p.resolve() for p in sources if not p.is_relative_to(STRATEGIES.parent)}


def shown_path(filename: str) -> str:
    """Return the path from the project's folder on: the same on every machine."""
    path, here = Path(filename), Path.cwd()
    text = path.as_posix()
    if "tbv8/strategies/" in text:
        return text[text.rfind("tbv8/strategies/") :]
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else text


def forget_strategies(strategy: records.Strategy) -> None:
    """Import strategies anew at their next use: what one run left in a module ends with it."""
    files = _own_files(strategy) if is_file(strategy.module) else set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith(f"{_STRATEGIES}.") or (files and file and Path(file).resolve() in files):
            del sys.modules[name]


def _load_class(strategy: records.Strategy, name: str) -> type:
    try:
        loaded: type = getattr(_import_module(strategy), name)
    except ModuleNotFoundError as e:
        error = strategy_error(strategy, e, "import")
        if not (e.name or "").startswith("nautilus_trader."):
            raise error from e
        raise StrategyError(f"{error}: {_NAUTILUS_1}") from e
    except Exception as e:
        raise strategy_error(strategy, e, "import") from e
    return loaded


def _import_module(strategy: records.Strategy) -> ModuleType:
    """Import the module of a strategy; a file imports from its project's or repository's folder."""
    with suppress(ConfigError):  # of what is no Python, importing it tells more
        sources, _ = strategy_sources(strategy.module, root=strategy.root)
        remove_stale_bytecode(sources)
    if not is_file(strategy.module):
        return importlib.import_module(f"{_STRATEGIES}.{strategy.module}")
    root = import_root(strategy.module, root=strategy.root)
    if str(root.resolve()) not in sys.path:
        sys.path.insert(0, str(root.resolve()))
    path = strategy.module_path.relative_to(root)
    module = importlib.import_module(path.with_suffix("").as_posix().replace("/", "."))
    if Path(module.__file__ or "").resolve() != strategy.module_path.resolve():
        raise ImportError(f"another module is named {module.__name__}: rename the file")
    return module


def _typed(config_class: type, strategy: records.Strategy) -> dict[str, Any]:
    """Return the params in the types that a dataclass asks for: 0.01 as Decimal, 3 as float."""
    if not is_dataclass(config_class):
        return strategy.params
    hints = get_type_hints(config_class)
    typed = {}
    for name, value in strategy.params.items():
        try:
            typed[name] = msgspec.convert(value, hints.get(name, Any))
        except msgspec.ValidationError as e:
            _refuse(strategy, ("params", name), expected(str(e), value), e)
    return typed
