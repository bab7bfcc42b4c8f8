"""A strategy's class and its config, from the YAML's words; errors of the user's code as one line.

Importing a strategy runs the user's code, so that whatever it raises is theirs to mend.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
from nautilus_trader.trading import Strategy

from tbv8 import config
from tbv8.backtest.nautilus import to_bar_type, to_instrument_id
from tbv8.errors import ConfigError, Tbv8Error
from tbv8.market import Series

_STRATEGIES = "tbv8.strategies"


class StrategyError(Tbv8Error):
    """What a user's strategy raised; the exception itself, with its traceback, is `__cause__`."""


def check_params(strategy: config.Strategy) -> None:
    """Refuse params that the strategy's own config class refuses.

    Raises:
        ConfigError: One has another type, or the class raised a ValueError.
        StrategyError: The module cannot be imported, or the class raised anything else.
    """
    make_config(strategy, strategy.routing.primary)


def load_strategy(strategy: config.Strategy, venue: str) -> Strategy:
    """Return a new strategy that trades on `venue`; errors as in `check_params`."""
    made = make_config(strategy, venue)
    strategy_class = _load_class(strategy, strategy.class_name)
    try:
        loaded = strategy_class(made)
    except Exception as e:
        raise strategy_error(strategy, e, f"{strategy.class_name}()") from e
    if not isinstance(loaded, Strategy):
        raise ConfigError(
            f"{strategy.class_name} is not a nautilus_trader.trading.Strategy: derive it from that",
            path=strategy.path,
            key="strategy",
        )
    return loaded


def make_config(strategy: config.Strategy, venue: str) -> Any:
    """Return the strategy's own config object; errors as in `check_params`."""
    config_class = _load_class(strategy, f"{strategy.class_name}Config")
    series = Series(venue, strategy.symbol)
    params = _typed(config_class, strategy)
    try:
        return config_class(
            instrument_id=to_instrument_id(series),
            bar_type=to_bar_type(series, strategy.timeframe),
            max_position=strategy.risk.max_position,
            **params,
        )
    except (ValueError, TypeError) as e:
        raise ConfigError(str(e), path=strategy.path, key="params") from e
    except Exception as e:
        raise strategy_error(strategy, e, f"{strategy.class_name}Config()") from e


class Caught(msgspec.Struct, frozen=True):
    """What a callback raised."""

    error: BaseException
    callback: str


def guard(loaded: Strategy) -> list[Caught]:
    """Catch what the callbacks raise, since the engine only logs it and goes on.

    Returns the list that will hold the first of them; no callback runs after it.
    """
    caught: list[Caught] = []
    for name in dir(type(loaded)):
        own = getattr(type(loaded), name)
        if name.startswith("on_") and callable(own) and own is not getattr(Strategy, name, None):
            setattr(loaded, name, _guarded(loaded, name, caught))
    return caught


def _guarded(loaded: Strategy, name: str, caught: list[Caught]) -> Callable[..., Any]:
    callback = getattr(loaded, name)

    @wraps(callback)
    def run(*args: Any) -> Any:
        if caught:
            return None
        try:
            return callback(*args)
        except BaseException as e:  # Ctrl-C too: the engine would swallow it as well
            caught.append(Caught(e, name))
            if name == "on_start":
                raise  # the one callback whose exception ends the run
            loaded.shutdown_system(f"{name} raised")
            return None

    return run


def strategy_error(strategy: config.Strategy, error: BaseException, where: str) -> StrategyError:
    """Return one line that names the user's file and line, and what it raised there."""
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/strategies/" in Path(frame.filename).as_posix()]
    if isinstance(error, SyntaxError):
        place = f"{_shown(error.filename or '')}:{error.lineno}"
    elif own:
        place = f"{_shown(own[-1].filename)}:{own[-1].lineno}"
    else:
        place = f"tbv8/strategies/{strategy.module.replace('.', '/')}.py"
    return StrategyError(f"{place}: {what} (in {where} of {strategy.strategy_id})")


def _shown(filename: str) -> str:
    """Return the path from the project's folder on: the same on every machine."""
    path = Path(filename).as_posix()
    return path[path.rfind("tbv8/strategies/") :] if "tbv8/strategies/" in path else path


def _load_class(strategy: config.Strategy, name: str) -> type:
    try:
        module = importlib.import_module(f"{_STRATEGIES}.{strategy.module}")
        loaded: type = getattr(module, name)
    except Exception as e:
        raise strategy_error(strategy, e, "import") from e
    return loaded


def _typed(config_class: type, strategy: config.Strategy) -> dict[str, Any]:
    """Return the params in the types that a dataclass asks for: 0.01 as Decimal, 3 as float."""
    if not is_dataclass(config_class):
        return strategy.params
    hints = get_type_hints(config_class)
    typed = {}
    for name, value in strategy.params.items():
        try:
            typed[name] = msgspec.convert(value, hints.get(name, Any))
        except msgspec.ValidationError as e:
            raise ConfigError(str(e), path=strategy.path, key=f"params.{name}") from e
    return typed
