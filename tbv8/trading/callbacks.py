"""A strategy's callbacks in a run: what they raise is caught, since the engine only logs it.

Callbacks are its `on_...` methods, and what it gives its clock for timers. They run in a decimal
context of the strategy's own: what it sets there rounds nothing of ours.
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


class Caught(msgspec.Struct, frozen=True):
    """An exception from a callback, and the callback's name."""

    error: BaseException
    callback: str


class Callbacks:
    """The callbacks of one strategy, wrapped.

    They become properties of the strategy's class, which must be this strategy's alone: what is
    assigned to `self.on_bar` and the like would be called in their place, unguarded.

    Args:
        loaded: The strategy.
        hooks: What runs before single callbacks, by name.
        after: What runs after each callback.
        behind: What runs after single callbacks, by name, as if it were theirs.
    """

    def __init__(
        self,
        loaded: Strategy,
        hooks: Mapping[str, Callable[..., Any]],
        after: Callable[[], None],
        behind: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        self.caught: Caught | None = None
        self.has_timers = False  # whether the strategy ever set one
        self._loaded = loaded
        self._after = after
        self._variables = copy_context()  # among them its decimal context; no other keeps a call
        self._variables.run(setcontext, Context())
        self._is_inside = False
        assigned = vars(loaded)
        own = {
            name: getattr(loaded, name)
            for name in dir(loaded)
            if name.startswith("on_") and callable(getattr(loaded, name))
            if name in assigned or getattr(type(loaded), name) is not getattr(Strategy, name, None)
        }
        behind = behind or {}
        self._wrapped = {
            name: self._around(name, own.get(name), hooks.get(name), behind.get(name))
            for name in own.keys() | hooks.keys() | behind.keys()
        }
        for name in self._wrapped:
            setattr(type(loaded), name, self._property(name))

    def release(self) -> None:
        """Forget the strategy, what it holds and what it raised; no callback may come after it."""
        vars(self._loaded).clear()  # it may hold itself
        self._wrapped.clear()
        self.caught = None
        del self._loaded

    def call(self, own: Callable[..., Any], *args: Any) -> Any:
        """Call what is the strategy's, in its own decimal context."""
        if self._is_inside:
            return own(*args)
        self._is_inside = True
        try:
            return self._variables.run(own, *args)
        finally:
            self._is_inside = False

    def fail(self, callback: str, error: BaseException) -> None:
        """Keep the first error; no callback runs after it."""
        if self.caught is None:  # else another callback raised inside of this one
            self.caught = Caught(error, callback)
            self._wrapped.update(dict.fromkeys(self._wrapped, _skip))
        self._loaded.shutdown_system(f"{callback} raised")

    def _property(self, name: str) -> property:
        def refuse(_strategy: Any, _value: Any) -> None:
            raise AttributeError(f"self.{name} cannot be assigned in a run: define it as a method")

        return property(lambda _strategy: self._wrapped[name], refuse)

    def _around(
        self,
        name: str,
        own: Callable[..., Any] | None,
        hook: Callable[..., Any] | None,
        behind: Callable[..., Any] | None,
    ) -> Callable[..., Any]:
        after, fail, run_in_context = self._after, self.fail, self._variables.run

        def follow(*args: Any) -> Any:
            result = own(*args) if own is not None else None
            after()
            if behind is not None:
                behind(*args)
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
    """Stand for every callback once one has raised."""


@contextmanager
def clocks_guarded(callbacks: Callbacks) -> Iterator[None]:
    """Inside of the block, keep clocks from being set, and catch what timers' callbacks raise.

    A strategy's clock is the engine's, which moves it by itself. Set forward, the engine's next
    step panics and aborts the process; set back, what follows is dated wrongly.
    """

    def set_time(_clock: Clock, _to_time_ns: int) -> None:
        raise RuntimeError(
            "clock.set_time() in a run: the bars move the clock; to be called at a later time, use "
            "set_time_alert_ns() or set_timer_ns()"
        )

    def caught(callback: Any) -> Any:
        def run(event: Any) -> None:
            try:
                callbacks.call(callback, event)
            except BaseException as e:  # noqa: BLE001  # the session raises it
                callbacks.fail("a timer's callback", e)

        return run if callable(callback) else callback

    def catching(own: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **options: Any) -> None:
            callbacks.has_timers = True
            own(*map(caught, args), **{name: caught(value) for name, value in options.items()})

        return call

    before = {name: getattr(Clock, name) for name in ("set_time", *_TIMERS)}
    guarded = {name: catching(own) for name, own in before.items()} | {"set_time": set_time}
    try:
        for name, method in guarded.items():
            setattr(Clock, name, method)
        yield
    finally:
        for name, own in before.items():
            setattr(Clock, name, own)
