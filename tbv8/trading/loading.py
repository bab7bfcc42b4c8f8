"""Load a strategy's class and config, and turn exceptions in user code into one-line errors.

Importing a strategy runs the user's code, which may raise anything.
"""

from __future__ import annotations

import importlib
import inspect
import re
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
from tbv8.config.document import nearest, read_document, type_problem
from tbv8.config.extras import add_command
from tbv8.config.source import (
    STRATEGIES,
    classes,
    import_root,
    is_file,
    remove_stale_bytecode,
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
_WRONG_TYPE = re.compile(r"object is not an instance of '(Price|Quantity)'")  # the engine's
_TYPE_CURES = {
    "Price": "write instrument.next_bid_price(x) or next_ask_price(x), or use the order helpers "
    "of tbv8.strategies.base, which take numbers",
    "Quantity": "write *sided(change, instrument) of tbv8.strategies.base for an order's first "
    "three arguments, or use its order helpers, which take numbers",
}


class StrategyError(Tbv8Error):
    """An exception in a user's strategy, in one line; the exception itself is `__cause__`."""


def check_params(strategy: records.Strategy) -> None:
    """Check the params with the strategy's config class.

    Raises:
        ConfigError: A param has another type, or the class raised a ValueError.
        StrategyError: The module cannot be imported, or the class raised anything else.
    """
    make_config(strategy, strategy.routing.primary)


def load_strategy(
    strategy: records.Strategy, venue: str, *, base: type[Strategy] | None = None
) -> Strategy:
    """Return a new strategy that trades on `venue`; errors as in `check_params`.

    `base` becomes a base of its class, between the user's class and NautilusTrader's.
    """
    config = make_config(strategy, venue)
    strategy_class = _load_class(strategy, strategy.class_name)
    if not issubclass(strategy_class, Strategy):
        raise StrategyError(
            f"{class_place(strategy)}: {strategy.class_name} is not a "
            "nautilus_trader.trading.Strategy: derive it from that"
        )
    _check_callbacks(strategy, strategy_class)
    try:
        if base is not None:
            names = {"__module__": strategy_class.__module__, "__doc__": strategy_class.__doc__}
            strategy_class = type(strategy.class_name, (strategy_class, base), names)
        loaded: Strategy = strategy_class(config)
    except Exception as e:
        raise strategy_error(strategy, e, f"{strategy.class_name}()") from e
    return loaded


def make_config(strategy: records.Strategy, venue: str) -> Any:
    """Return the strategy's own config object; errors as in `check_params`."""
    config_class = _load_class(strategy, f"{strategy.class_name}Config")
    params = _convert_params(config_class, strategy)
    try:
        return config_class(**_injected_arguments(config_class, strategy, venue), **params)
    except (ValueError, TypeError) as e:
        name = f"{strategy.class_name}Config"
        if isinstance(e, TypeError) and not _takes_injected_arguments(config_class):
            raise StrategyError(
                f"{class_place(strategy, name)}: {name} must be a dataclass with the fields "
                f"bar_type, instrument_id, max_position: {e}"
            ) from e
        _refuse(strategy, ("params",), str(e), e)
    except Exception as e:
        raise strategy_error(strategy, e, f"{strategy.class_name}Config()") from e


def _injected_arguments(
    config_class: type, strategy: records.Strategy, venue: str
) -> dict[str, Any]:
    """Return the arguments that tbv8 adds: of the main symbol, or of all for plural fields."""
    series = [Series(venue, symbol) for symbol in strategy.symbols]
    of_main = {
        "instrument_id": to_instrument_id(series[0]),
        "bar_type": to_bar_type(series[0], strategy.timeframe),
        "max_position": strategy.risk.max_positions[strategy.symbol],
    }
    of_all = {
        "instrument_ids": tuple(to_instrument_id(traded) for traded in series),
        "bar_types": tuple(
            to_bar_type(traded, timeframe) for traded in series for timeframe in strategy.timeframes
        ),
        "max_positions": tuple(strategy.risk.max_positions[s] for s in strategy.symbols),
    }
    parameters = inspect.signature(config_class).parameters
    named = {name: value for name, value in (of_main | of_all).items() if name in parameters}
    return of_main | named if named.keys().isdisjoint(of_all) else named


def _takes_injected_arguments(config_class: type) -> bool:
    parameters = inspect.signature(config_class).parameters
    return any(p.kind is p.VAR_KEYWORD for p in parameters.values()) or all(
        name in parameters or f"{name}s" in parameters
        for name in ("instrument_id", "bar_type", "max_position")
    )


def _refuse(
    strategy: records.Strategy, key: tuple[str, ...], problem: str, cause: Exception
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
    """Refuse callbacks with wrong parameters, and async ones."""
    for name in dir(strategy_class):
        method, known = getattr(strategy_class, name), getattr(Strategy, name, None)
        if not name.startswith("on_") or known is None or not inspect.isfunction(method):
            continue
        place = f"{shown_path(method.__code__.co_filename)}:{method.__code__.co_firstlineno}"
        if inspect.iscoroutinefunction(method):
            raise StrategyError(f"{place}: {name} is async, but nothing awaits it: write def")
        parameters = [p.name for p in inspect.signature(known).parameters.values()]
        try:
            inspect.signature(method).bind(*parameters)
        except TypeError as e:
            raise StrategyError(f"{place}: write def {name}({', '.join(parameters)}): {e}") from e


def check_subscribed(strategy: records.Strategy, loaded: Strategy, *, subscribed: bool) -> None:
    """Refuse a strategy that received no bars. Call it only if the run sent no orders."""
    name, place = strategy.class_name, class_place(strategy)
    written = type(loaded).__mro__[1]  # the first is the class that tbv8 derived from it
    if getattr(written, "on_bar", None) is Strategy.on_bar:
        misnamed = nearest("on_bar", set(dir(written)) - set(dir(Strategy)))
        cure = f"rename {misnamed}" if misnamed else "write one"
        raise StrategyError(f"{place}: {name} sent no order and has no on_bar: {cure}")
    if not subscribed:
        raise StrategyError(
            f"{place}: {name} sent no order and subscribed to no bars: write "
            "self.subscribe_bars(self.config.bar_type) in on_start"
        )


def class_place(strategy: records.Strategy, name: str | None = None) -> str:
    """Return file and line of a strategy's class, or of another class in its module."""
    path = strategy.module_path
    known = classes(path) if path.is_file() else {}
    line = known.get(name or strategy.class_name)
    file = shown_path(path.as_posix())
    return f"{file}:{line.lineno}" if line else file


def strategy_error(strategy: records.Strategy, error: BaseException, where: str) -> StrategyError:
    """Return a one-line error with the user's file and line, and the exception raised there.

    `where` is the call that raised, such as `on_bar`.
    """
    message = " ".join(str(error).split())
    parts = type(error).__name__, message, _cure(strategy, error)
    text = ": ".join(part for part in parts if part)
    frames = traceback.extract_tb(error.__traceback__)
    user_frames = [frame for frame in frames if _is_user_code(strategy, frame.filename)]
    raised = [f"{shown_path(frame.filename)}:{frame.lineno}" for frame in user_frames]
    if isinstance(error, SyntaxError):
        place = f"{shown_path(error.filename or '')}:{error.lineno}"
    elif user_frames:  # prefer the strategy's module to modules that it imports
        module = shown_path(strategy.module_path.as_posix())
        place = next((p for p in reversed(raised) if p.startswith(f"{module}:")), raised[-1])
        where += f", raised at {raised[-1]}" if place != raised[-1] else ""
    else:
        place = class_place(strategy)
    return StrategyError(f"{place}: {text} (strategy {strategy.strategy_id}, in {where})")


def _cure(strategy: records.Strategy, error: BaseException) -> str:
    """Return the cure of a frequent mistake; empty if it is none of them."""
    if isinstance(error, TypeError) and (wrong := _WRONG_TYPE.search(str(error))):
        return _TYPE_CURES[wrong[1]]
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return ""
    if error.name.startswith("nautilus_trader."):
        return _NAUTILUS_1
    if "." in error.name:  # in a package that is there
        return ""
    return f"`{add_command(error.name, root=strategy.root)}` installs it if it is a package"


def is_of_strategy(strategy: records.Strategy, error: BaseException) -> bool:
    """Return True if an error passed through user code."""
    frames = traceback.extract_tb(error.__traceback__)
    return any(_is_user_code(strategy, frame.filename) for frame in frames)


def _is_user_code(strategy: records.Strategy, filename: str) -> bool:
    """Return True for files in tbv8/strategies, and for the user files of a strategy."""
    path = Path(filename)
    if "/strategies/" in path.as_posix():
        return True
    return is_file(strategy.module) and path.resolve() in _user_files(strategy)


def _user_files(strategy: records.Strategy) -> set[Path]:
    """Return the file named in a strategy's YAML, and the files that it imports outside of tbv8."""
    sources, _ = strategy_sources(strategy.module, root=strategy.root)
    return {p.resolve() for p in sources if not p.is_relative_to(STRATEGIES.parent)}


def shown_path(filename: str) -> str:
    """Return the path relative to the project's folder: the same on every machine."""
    path, here = Path(filename), Path.cwd()
    text = path.as_posix()
    if "tbv8/strategies/" in text:
        return text[text.rfind("tbv8/strategies/") :]
    return path.relative_to(here).as_posix() if path.is_relative_to(here) else text


def forget_strategies(strategy: records.Strategy) -> None:
    """Drop imported strategies, so that the next run starts from fresh modules."""
    imported = {name for name in sys.modules if name.startswith(f"{_STRATEGIES}.")}
    if is_file(strategy.module):
        files = _user_files(strategy)
        for name, module in sys.modules.items():
            file = getattr(module, "__file__", None)
            if file and Path(file).resolve() in files:
                imported.add(name)
    for name in imported:
        del sys.modules[name]


def _load_class(strategy: records.Strategy, name: str) -> type:
    try:
        loaded: type = getattr(_import_module(strategy), name)
    except Exception as e:
        raise strategy_error(strategy, e, "import") from e
    return loaded


def _import_module(strategy: records.Strategy) -> ModuleType:
    """Import the module of a strategy; a file imports from its project's or repository's folder."""
    with suppress(ConfigError):  # a syntax error: the import below reports it better
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


def _convert_params(config_class: type, strategy: records.Strategy) -> dict[str, Any]:
    """Convert params to the field types of a dataclass: 0.01 to Decimal, 3 to float."""
    if not is_dataclass(config_class):
        return strategy.params
    hints = get_type_hints(config_class)
    typed = {}
    for name, value in strategy.params.items():
        try:
            typed[name] = msgspec.convert(value, hints.get(name, Any))
        except msgspec.ValidationError as e:
            _refuse(strategy, ("params", name), type_problem(str(e), value), e)
    return typed
