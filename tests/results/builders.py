"""Runs made of fills and payments that are written out, without a session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from tbv8.results.marks import Marks
from tbv8.risk.events import Payment
from tbv8.trading.records import CarriedAccount, Fill, MarketDecimals, Run

D = Decimal
BTC, ETH = "BTC/USDT", "ETH/USDT"


def make_fills(
    *changes: tuple[str, ...], symbol: str = BTC, position: str = "0", step_ms: int = 1000
) -> list[Fill]:
    """Make fills from (signed quantity, price, fee[, type]), one after the other from 0 ms.

    Market orders are filled at a close, and so is any other whose type ends in ` at the close`.
    """
    held, fills = D(position), []
    for number, (change, price, fee, *kind) in enumerate(changes):
        held += D(change)
        type_, _, at_close = (kind[0] if kind else "market").partition(" ")
        fills.append(
            Fill(
                ts_ms=number * step_ms,
                symbol=symbol,
                order_id=f"O-{number + 1}",
                side="buy" if D(change) > 0 else "sell",
                type=type_,
                quantity=abs(D(change)),
                price=D(price),
                fee=D(fee),
                liquidity="maker" if type_ == "limit" and not at_close else "taker",
                position=held,
                at="close" if type_ == "market" or at_close else "inside",
            )
        )
    return fills


def make_payment(ts_ms: int, amount: str, *, symbol: str = BTC, kind: Any = "funding") -> Payment:
    """Make a payment in USD."""
    return Payment(ts_ms=ts_ms, symbol=symbol, kind=kind, amount=D(amount))


def make_run(
    fills: Sequence[Fill] = (),
    *,
    payments: Sequence[Payment] = (),
    start: str = "10000",
    carried: CarriedAccount | None = None,
    symbols: Sequence[str] = (BTC,),
) -> Run:
    """Make a run of fills in the order of their times."""
    return Run(
        venue="hyperliquid",
        markets=tuple(MarketDecimals(symbol=s, price_decimals=2, size_decimals=3) for s in symbols),
        start_equity=D(start),
        carried=carried,
        submitted=(),
        orders={},
        refused={},
        fills=tuple(sorted(fills, key=lambda fill: fill.ts_ms)),
        payments=tuple(payments),
        denials=(),
        halts=(),
    )


def make_marks(
    closes_ms: Sequence[int], prices: Sequence[float] | Mapping[str, Sequence[float]]
) -> Marks:
    """Make marks; prices of one symbol, or by symbol."""
    by_symbol = prices if isinstance(prices, Mapping) else {BTC: prices}
    return Marks(
        start_ms=closes_ms[0] - 1000,
        closes_ms=np.array(closes_ms, dtype=np.int64),
        prices={symbol: np.array(p, dtype=np.float64) for symbol, p in by_symbol.items()},
    )
