"""NautilusTrader's engine as the simulated venue: it keeps orders, positions and the account.

It decides nothing. Bars are only shown to the strategy (`bar_execution=False`). A quote makes the
engine request a fill for each order that it reaches, and fill_source.py returns price and size. To
refuse a fill, the book gets a price off the tick: rc6 skips such a fill with a warning and leaves
the order unchanged (test_venue.py checks that).
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from nautilus_trader.backtest import (
    BacktestEngine,
    BacktestEngineConfig,
    SimulationModule,
    SimulationModuleContext,
)
from nautilus_trader.common import LoggerConfig, LogLevel
from nautilus_trader.execution import FeeModel, FillModel
from nautilus_trader.model import (
    AccountType,
    BookOrder,
    BookType,
    Currency,
    Money,
    OmsType,
    OrderBook,
    OrderSide,
    Price,
    Quantity,
)
from nautilus_trader.portfolio import PortfolioConfig
from nautilus_trader.risk import RiskEngineConfig

from tbv8.trading.fill_source import FillSource
from tbv8.trading.units import ENGINE_DECIMALS


class PlannedFills(FillModel):
    """Makes the book for an order: one level, at the price and size from fill_source.py."""

    def __init__(self, source: FillSource) -> None:
        self.source = source

    def is_slipped(self) -> bool:
        """Return False: the price includes slippage."""
        return False

    def is_limit_filled(self) -> bool:
        """Return True: the engine requests a fill at a touch."""
        return True

    def fill_limit_inside_spread(self) -> bool:
        """Return False: bid and ask are equal."""
        return False

    def get_orderbook_for_fill_simulation(
        self,
        _instrument: Any,
        order: Any,
        _best_bid: Price | None = None,
        _best_ask: Price | None = None,
    ) -> OrderBook | None:
        """Return the book for this one order."""
        units = self.source.markets[order.instrument_id].units
        fill = self.source.fill(order)
        book = OrderBook(order.instrument_id, BookType.L2_MBP)
        if fill is None:
            price, size = Price.from_raw(1, ENGINE_DECIMALS), order.leaves_qty
        else:
            raw = fill[0] * 10 ** (ENGINE_DECIMALS - units.price_decimals)
            price = Price.from_raw(raw, units.price_decimals)
            raw = fill[1] * 10 ** (ENGINE_DECIMALS - units.size_decimals)
            size = Quantity.from_raw(raw, units.size_decimals)
        far_side = OrderSide.SELL if order.is_buy else OrderSide.BUY
        book.add(BookOrder(far_side, price, size, 1), 0, 0, 0)
        return book


class PlannedFees(FeeModel):
    """The maker's or taker's rate of the order's own instrument."""

    def __init__(self, source: FillSource, currency: Currency) -> None:
        self.source, self.currency = source, currency

    def get_commission(
        self, order: Any, fill_quantity: Quantity, fill_px: Price, _instrument: Any
    ) -> Money:
        """Return the fee of a fill."""
        return Money.from_decimal(self.source.fee(order, fill_quantity, fill_px), self.currency)


class Payments(SimulationModule):
    """Books payments outside of fills, such as funding, at the engine's next instant.

    Args:
        due: Amounts in USD to add to the balance; emptied when booked.
        currency: The account's currency.
    """

    def __init__(self, due: list[Decimal], currency: Currency) -> None:
        self.due, self.currency = due, currency

    def process(self, _ts_now: int, _context: SimulationModuleContext) -> list[Money] | None:
        """Return the amount to add to the balance; called at every instant of every run."""
        if not self.due:
            return None  # an empty list would be acknowledged by one more call
        amounts = [Money.from_decimal(amount, self.currency) for amount in self.due]
        self.due.clear()
        return amounts


def make_engine(
    instruments: Iterable[Any], source: FillSource, payments: Payments, *, balance: Decimal
) -> BacktestEngine:
    """Return an engine with one venue, on which every instrument is traded from one account."""
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggerConfig(stdout_level=LogLevel.ERROR, is_colored=False),
            shutdown_on_error=True,
            run_analysis=False,
            # the gate checks orders; NautilusTrader's risk engine would deny the 101st order of a
            # second, and every order of an account with negative cash, even one that closes
            risk_engine=RiskEngineConfig(bypass=True),
            portfolio=PortfolioConfig(equity_curve=False),  # it is copied at each order
        )
    )
    traded, currency = list(instruments), payments.currency
    engine.add_venue(
        venue=traded[0].id.venue,
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money.from_decimal(balance, currency)],
        base_currency=currency,
        default_leverage=Decimal(1),  # instruments ask for no margin
        fee_model=PlannedFees(source, currency),
        fill_model=PlannedFills(source),
        modules=[payments],
        reject_stop_orders=False,
        bar_execution=False,
    )
    for instrument in traded:
        engine.add_instrument(instrument)
    return engine
