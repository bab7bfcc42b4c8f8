"""Prices, sizes and money of one symbol as integers, as matching counts them.

A price is in units of the instrument's last decimal, a size in those of the lot's, money in units
of 10^-money_decimals, one scale for all symbols of an account. NautilusTrader counts in 10^-16.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec

from tbv8.risk.events import EXACT

ENGINE_DECIMALS = 16
FEE_DECIMALS = 8
NEVER = 10**40
"""A price that is never reached, and a time that never comes."""
_POWERS = tuple(10**exponent for exponent in range(ENGINE_DECIMALS + 1))
_SMALLEST_FEE = Decimal(1).scaleb(-FEE_DECIMALS)


class Ratio(msgspec.Struct, frozen=True):
    """A fraction of integers."""

    numerator: int
    denominator: int

    @classmethod
    def of(cls, value: Decimal) -> Ratio:
        """Return a decimal as a fraction."""
        return cls(*value.as_integer_ratio())


class Units(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol's scales, and what an order in it costs.

    `tick` and `slippage` are prices, `max_position` is a size; `scale` makes money of price x size.
    """

    price_decimals: int
    size_decimals: int
    money_decimals: int
    tick: int
    slippage: int
    maker: Ratio
    taker: Ratio
    maintenance: Ratio
    max_position: int

    @property
    def scale(self) -> int:
        """The worth of one unit of price x size, in units of money."""
        return int(10 ** (self.money_decimals - self.price_decimals - self.size_decimals))

    # Conversions.

    def from_price(self, value: Any) -> int:
        """Return a Price of NautilusTrader as an integer."""
        return int(value.raw // _POWERS[ENGINE_DECIMALS - self.price_decimals])

    def from_size(self, value: Any) -> int:
        """Return a Quantity of NautilusTrader as an integer."""
        return int(value.raw // _POWERS[ENGINE_DECIMALS - self.size_decimals])

    def to_price(self, units: int) -> Decimal:
        """Return an integer price in USD."""
        return EXACT.scaleb(Decimal(units), -self.price_decimals)

    def to_size(self, units: int) -> Decimal:
        """Return an integer size in base units."""
        return EXACT.scaleb(Decimal(units), -self.size_decimals)

    def from_money(self, amount: Decimal) -> int:
        """Return an amount in USD as an integer."""
        return int(EXACT.scaleb(amount, self.money_decimals))

    def to_money(self, units: int) -> Decimal:
        """Return integer money in USD, rounded half to even to 10^-8."""
        exact = EXACT.scaleb(Decimal(units), -self.money_decimals)
        return exact.quantize(_SMALLEST_FEE, rounding=ROUND_HALF_EVEN, context=EXACT)

    # Costs.

    def taker_price(self, price: int, *, buy: bool, slipped: bool = True) -> int:
        """Return a price rounded to the tick against us, and slipped; never below one tick."""
        slippage = self.slippage if slipped else 0
        if buy:
            return -(-price // self.tick) * self.tick + slippage
        return max(price // self.tick * self.tick - slippage, self.tick)

    def fee(self, price: int, size: int, *, maker: bool) -> int:
        """Return the fee as money, rounded half to even to 10^-8 USD."""
        rate = self.maker if maker else self.taker
        smallest = 10 ** (self.money_decimals - FEE_DECIMALS)
        return _rounded(price * size * self.scale * rate.numerator, rate.denominator, smallest)

    def liquidation_price(self, position: int, free: int) -> int | None:
        """Return the liquidation price of a position, rounded to the side where it is liquidated.

        It solves `free + position x price = maintenance x |position| x price`; None without a
        solution. A short position without money is liquidated at any price: 0.

        Args:
            position: The position in this symbol.
            free: Cash and the other positions at their prices, less their maintenance margin.
        """
        rate = self.maintenance
        if position > 0:
            if free >= 0:
                return None
            return (
                -free
                * rate.denominator
                // (position * self.scale * (rate.denominator - rate.numerator))
            )
        if position < 0:
            debt = -position * self.scale * (rate.denominator + rate.numerator)
            return max(-(-free * rate.denominator // debt), 0)
        return None

    def margin(self, position: int, free: int) -> int:
        """Return the maintenance margin of a position at its liquidation price, as money.

        Rounded half to even to 10^-8 USD; `free` as in `liquidation_price`.
        """
        rate = self.maintenance
        scaled = max(-free, 0) if position > 0 else max(free, 0)
        denominator = rate.denominator - (rate.numerator if position > 0 else -rate.numerator)
        smallest = 10 ** (self.money_decimals - FEE_DECIMALS)
        return _rounded(scaled * rate.numerator, denominator, smallest)


def maintenance_ratio(max_leverage: Decimal) -> Ratio:
    """Return the fraction of the notional that equity must stay above.

    Half of the initial margin at the instrument's highest leverage, as Hyperliquid has it:
    https://hyperliquid.gitbook.io/hyperliquid-docs/trading/margining
    """
    leverage = max(max_leverage, Decimal(1))
    numerator, denominator = leverage.as_integer_ratio()
    return Ratio(denominator, 2 * numerator)


def _rounded(numerator: int, denominator: int, smallest: int) -> int:
    """Return a fraction rounded half to even to a multiple of `smallest`."""
    whole, rest = divmod(numerator, denominator * smallest)
    twice = 2 * rest - denominator * smallest
    return (whole + (twice > 0 or (twice == 0 and whole % 2 == 1))) * smallest
