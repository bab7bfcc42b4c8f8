"""An EMA cross whose config takes longer bars beside its own."""

from __future__ import annotations

from dataclasses import dataclass

from nautilus_trader.model import BarType

from tbv8.strategies.ema_cross import EmaCross, EmaCrossConfig


@dataclass(frozen=True, kw_only=True)
class LongerConfig(EmaCrossConfig):
    """The parameters of an EMA cross, and every bar type."""

    bar_types: tuple[BarType, ...] = ()


class Longer(EmaCross):
    """An EMA cross."""
