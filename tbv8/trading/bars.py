"""The bars of one piece of a session."""

from __future__ import annotations

import msgspec
import pyarrow as pa

from tbv8.market import Timeframe
from tbv8.trading.funding import FundingPayments


class Bars(msgspec.Struct, frozen=True):
    """Tables of bars, as the store has them, in the order of time.

    Attributes:
        shown: The bars that the strategy gets, by symbol and timeframe.
        steps: The bars that orders are matched with, by symbol: 1-minute bars with detail, else
            the bars of the main timeframe.
        funding: The payments, by the venue of the run and by symbol; a symbol without any is
            charged the fixed rate of its instrument.
    """

    shown: dict[tuple[str, Timeframe], pa.Table]
    steps: dict[str, pa.Table]
    funding: dict[str, dict[str, FundingPayments]] = {}
