"""Wrap a strategy's callbacks to catch their exceptions, which the engine would only log.

Callbacks are its `on_...` methods and the functions that it gives its clock for timers. They run in
a decimal context of their own, so that a strategy's rounding does not change tbv8's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import copy_context
from decimal import Context, setcontext
from typing import Any

import msgspec
from nautilus_trader.common import Clock
from nautilus_trader.trading import Strategy

_TIMERS = (  # the methods of a clock that take a callback
    "set_time_alert",
    "set_time_alert_ns",
    "set_timer",
    "set_timer_ns",
    "register_default_handler",
)


class CallbackFailure(msgspec.Struct, frozen=True):
    """An exception from a callback, and the callback's name."""

    error: BaseException
    callback: str


class Callbacks:
    """The callbacks of one strategy, wrapped.

    They become properties of the strategy's class, so that an assignment to `self.on_bar` cannot
    replace them. No other strategy may use that class.

    Args:
        loaded: The strategy.
        hooks: Functions to run before single callbacks, by name.
        after: A function to run after each callback.
        followers: Functions to run after single callbacks, by name, as a part of them.
    """

    def __init__(
        self,
        loaded: Strategy,
        hooks: Mapping[str, Callable[..., Any]],
        after: Callable[[], None],
        followers: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.failure: CallbackFailure | None = None
        self.has_timers = False  # True once the strategy has set one
        self._loaded = loaded
        self._after = after
        self._variables = copy_context()  # with its decimal context
        self._variables.run(setcontext, Context())
        self._is_inside = False
        assigned = vars(loaded)
        methods = {
            name: getattr(loaded, name)
            for name in dir(loaded)
            if name.startswith("on_") and callable(getattr(loaded, name))
            if name in assigned or getattr(type(loaded), name) is not getattr(Strategy, name, None)
        }
        followers = followers or {}
        self._wrapped = {
            name: self._wrap(name, methods.get(name), hooks.get(name), followers.get(name))
            for name in methods.keys() | hooks.keys() | followers.keys()
        }
        for name in self._wrapped:
            setattr(type(loaded), name, self._property(name))

    def release(self) -> None:
        """Drop the strategy, its attributes and its error; no callback may run afterwards."""
        vars(self._loaded).clear()  # it may refer to itself
        self._wrapped.clear()
        self.failure = None
        del self._loaded

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the strategy in the strategy's decimal context."""
        if self._is_inside:
            return function(*args)
        self._is_inside = True
        try:
            return self._variables.run(function, *args)
        finally:
            self._is_inside = False

    def fail(self, callback: str, error: BaseException) -> None:
        """Keep the first error; no callback runs after it."""
        if self.failure is None:  # else another callback raised inside of this one
            self.failure = CallbackFailure(error, callback)
            self._wrapped.update(dict.fromkeys(self._wrapped, _skip))
        self._loaded.shutdown_system(f"{callback} raised")

    def _property(self, name: str) -> property:
        def refuse(_strategy: Any, _value: Any) -> None:
            raise AttributeError(f"self.{name} cannot be assigned in a run: define it as a method")

        return property(lambda _strategy: self._wrapped[name], refuse)

    def _wrap(
        self,
        name: str,
        method: Callable[..., Any] | None,
        hook: Callable[..., Any] | None,
        follower: Callable[..., Any] | None,
    ) -> Callable[..., Any]:
        after, fail, run_in_context = self._after, self.fail, self._variables.run

        def follow(*args: Any) -> Any:
            result = method(*args) if method is not None else None
            after()
            if follower is not None:
                follower(*args)
            return result

        def run(*args: Any) -> Any:  # as `call`, without one more call: this runs at each bar
            try:
                if hook is not None:
                    hook(*args)
                if self._is_inside:
                    return follow(*args)
                self._is_inside = True
                try:
                    return run_in_context(follow, *args)
                finally:
                    self._is_inside = False
            except BaseException as e:  # noqa: BLE001  # the session raises it
                fail(name, e)
                return None

        return run


def _skip(*_args: Any) -> None:
    """Replace every callback after one has raised."""


@contextmanager
def guard_clocks(callbacks: Callbacks) -> Iterator[None]:
    """Refuse `clock.set_time` within the block, and catch exceptions of timers' callbacks.

    A strategy's clock is the engine's, which moves it by itself. Set forward, the engine's next
    step panics and aborts the process; set back, what follows is dated wrongly.
    """

    def set_time(_clock: Clock, _to_time_ns: int) -> None:
        raise RuntimeError(
            "clock.set_time() in a run: the bars move the clock; for a call at a later time, use "
            "set_time_alert_ns() or set_timer_ns()"
        )

    def wrap(callback: Any) -> Any:
        def run(event: Any) -> None:
            try:
                callbacks.call(callback, event)
            except BaseException as e:  # noqa: BLE001  # the session raises it
                callbacks.fail("a timer's callback", e)

        return run if callable(callback) else callback

    def wrap_timer(method: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            callbacks.has_timers = True
            method(*map(wrap, args), **{name: wrap(value) for name, value in options.items()})

        return call

    before = {name: getattr(Clock, name) for name in ("set_time", *_TIMERS)}
    guarded = {name: wrap_timer(method) for name, method in before.items()} | {"set_time": set_time}
    try:
        for name, method in guarded.items():
            setattr(Clock, name, method)
        yield
    finally:
        for name, method in before.items():
            setattr(Clock, name, method)
