"""The bars of one piece of a session."""

from __future__ import annotations

import msgspec
import pyarrow as pa

from tbv8.market import Timeframe
from tbv8.trading.funding import Charged


class Bars(msgspec.Struct, frozen=True):
    """Tables of bars, as the store has them, in the order of time.

    Attributes:
        shown: What the strategy sees, by symbol and timeframe.
        steps: By which orders are matched, by symbol: 1-minute bars with detail, else the bars of
            the main timeframe.
        funding: What is charged, by the venue whose rules hold and by symbol; a symbol without any
            is charged the fixed rate of its instrument.
    """

    shown: dict[tuple[str, Timeframe], pa.Table]
    steps: dict[str, pa.Table]
    funding: dict[str, dict[str, Charged]] = {}
