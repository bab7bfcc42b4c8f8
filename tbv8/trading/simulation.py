"""The account of a simulation: matching, liquidation, funding, the day's loss and the day.

stepping.py runs the engine; this module decides what happens to the account at each instant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from nautilus_trader.model import FundingRateUpdate, InstrumentId

from tbv8.config import files
from tbv8.market import DAY_MS
from tbv8.risk.book import Book
from tbv8.risk.costs import funding, next_midnight
from tbv8.risk.events import EXACT, LIQUIDATION, Payment, PaymentKind
from tbv8.risk.rules.halted import MAX_DAILY_LOSS
from tbv8.trading.funding import (
    AwaitedRates,
    DuePayment,
    FixedRates,
    FundingPayments,
    Holding,
    PaidRates,
    Rates,
)
from tbv8.trading.matching import PlannedEvent, Step, StepAccount
from tbv8.trading.orders import Orders
from tbv8.trading.records import CarriedAccount
from tbv8.trading.simulated_market import SimulatedMarket
from tbv8.trading.units import NEVER, Ratio

_NS = 1_000_000


class Simulation:
    """Changes of the account other than the strategy's own orders.

    Attributes:
        due_ns: The next midnight, funding or end of the warm-up; it comes at any price.
        unbooked: Amounts in USD that the engine's account has yet to book.
    """

    def __init__(
        self,
        book: Book,
        orders: Orders,
        markets: Sequence[SimulatedMarket],
        rules: Mapping[str, files.Instrument],
        *,
        counted_from_ms: int | None,
        starting_balance: Decimal,
        awaits_funding: bool,
    ) -> None:
        self.book, self.orders, self.markets, self.rules = book, orders, markets, rules
        self.due_ns = 0
        self.unbooked: list[Decimal] = []
        self.carried: CarriedAccount | None = None
        self._counted_from_ms = counted_from_ms
        self._starting_balance = starting_balance
        self._leverage = Ratio.of(book.limits.leverage)
        self._rates: dict[str, Rates] = {
            symbol: AwaitedRates()
            if awaits_funding
            else FixedRates(instrument.funding_rate_8h, instrument.funding_hours)
            for symbol, instrument in rules.items()
        }
        self._funding_ms: dict[str, int] = {}
        self._latest_rates: dict[InstrumentId, FundingRateUpdate] = {}
        self._account_at_alarms: tuple[Any, Any, Any] = (
            None,
            None,
            None,
        )  # the account at `set_alarms`

    def begin(self, first_ms: int) -> None:
        """Set the first midnight and funding; the first step closes at `first_ms`."""
        self.book.midnight_ms = next_midnight(first_ms - 1)
        self._set_funding(first_ms - 1)

    def add_funding(self, charged: Mapping[str, FundingPayments], after_ms: int) -> None:
        """Add funding payments after a time; their symbols have no fixed rate from then on."""
        for symbol, payments in charged.items():
            rates = self._rates[symbol]
            if isinstance(rates, FixedRates):
                rates = self._rates[symbol] = PaidRates()
            assert isinstance(rates, PaidRates | AwaitedRates)
            rates.extend(payments)
        if self._funding_ms:
            self._set_funding(after_ms)

    def _set_funding(self, after_ms: int) -> None:
        self._funding_ms = {
            symbol: rates.due_after(after_ms) for symbol, rates in self._rates.items()
        }
        self._set_due()

    # Due times and alarms.

    def _set_due(self) -> None:
        due_ms = min([self.book.midnight_ms, *self._funding_ms.values()])
        if self._counted_from_ms is not None:
            due_ms = min(due_ms, self._counted_from_ms)
        self.due_ns = due_ms * _NS

    def has_changed(self) -> bool:
        """Return True if the account has changed since the alarms were set."""
        book, (cash, day_start, halted) = self.book, self._account_at_alarms
        return not (book.cash is cash and book.day_start is day_start and book.halted is halted)

    def set_alarms(self) -> None:
        """Set each symbol's band of prices in which the account cannot be liquidated or halted.

        The loss that the account can bear is divided equally among the positions. While no price
        has reached its alarm, their total loss is smaller.
        """
        book = self.book
        self._account_at_alarms = book.cash, book.day_start, book.halted
        for market in self.markets:
            market.low_alarm, market.high_alarm = -1, NEVER
        positioned = [market for market in self.markets if market.position]
        if not positioned:
            if self.must_halt():
                for market in self.markets:
                    market.low_alarm = NEVER
            return
        equity, margin = positioned[0].units.from_money(book.cash), 0
        lowest = positioned[0].units.from_money(book.lowest_equity)
        for market in positioned:
            value, rate = market.value, market.units.maintenance
            equity += value
            margin -= -abs(value) * rate.numerator // rate.denominator
        shares = len(positioned)
        to_liquidation, to_halt = (equity - margin) // shares, (equity - lowest) // shares
        for market in positioned:
            per_unit, rate = abs(market.position) * market.units.scale, market.units.maintenance
            room = (
                to_liquidation
                * rate.denominator
                // (per_unit * (rate.denominator + rate.numerator))
            )
            if book.halted is None:
                room = min(room, to_halt // per_unit)
            market.set_alarm(room)

    # The step.

    def account_of(self, market: SimulatedMarket) -> StepAccount:
        """Return the account that matching in one symbol starts from."""
        cash, reserved, gross = market.units.from_money(self.book.cash), 0, 0
        for sibling in self.markets:
            if sibling is not market:
                value, rate = sibling.value, sibling.units.maintenance
                cash += value
                reserved += abs(value) * rate.numerator // rate.denominator
                gross += sibling.worst_value
        return StepAccount(market.position, cash, reserved, gross, self._leverage)

    def plan(
        self, market: SimulatedMarket, prices: Sequence[int], time_ns: int
    ) -> list[PlannedEvent]:
        """Return the events of a symbol's step; none if it reaches neither an order nor the margin.

        Args:
            market: The symbol.
            prices: Open, high, low and close.
            time_ns: The time of its close.
        """
        opened, high, low, close = prices
        account = self.account_of(market)
        threshold = market.units.liquidation_price(
            account.position, account.cash - account.reserved
        )
        before = opened if market.last is None else market.last
        liquidates = threshold is not None and (
            min(low, before) <= threshold
            if account.position > 0
            else max(high, before) >= threshold
        )
        if not liquidates and low > market.highest_below and high < market.lowest_above:
            return []
        return market.make_plan(Step(time_ns, opened, high, low, close, market.last), account)

    def margin_of(self, market: SimulatedMarket) -> Decimal:
        """Return the maintenance margin of the account where one symbol is liquidated."""
        account, units = self.account_of(market), market.units
        margin = units.margin(account.position, account.cash - account.reserved)
        return units.to_money(margin + account.reserved)

    # Midnight and funding.

    def pass_time(self, before_ns: int) -> None:
        """Process what is due before a time at the last prices: funding, days, end of warm-up."""
        while self.due_ns < before_ns:
            due_ms = self.due_ns // _NS
            self.pay_funding(due_ms)
            self.start_day(due_ms)
            self.begin_counting(due_ms)

    def pay_funding(self, ts_ms: int) -> None:
        """Charge the funding that is due at a time, on the position at its hour."""
        for market in self.markets:
            if self._funding_ms.get(market.symbol) != ts_ms:
                continue
            rates = self._rates[market.symbol]
            self._funding_ms[market.symbol] = rates.due_after(ts_ms)
            price = None if market.last is None else market.units.to_price(market.last)
            for due in rates.due_at(ts_ms, Holding(self.book.positions[market.symbol], price)):
                self._charge(market, due, ts_ms)
        self._set_due()

    def _charge(self, market: SimulatedMarket, due: DuePayment, ts_ms: int) -> None:
        """Book one payment of funding; a late one counts for the day of its hour."""
        name, holding = market.instrument.id, due.holding
        last = self._latest_rates.get(name)
        if last is None or last.ts_event <= due.hour_ms * _NS:
            self._latest_rates[name] = FundingRateUpdate(
                name, due.rate, due.hour_ms * _NS, ts_ms * _NS, due.hours * 60
            )
        if not holding.position or holding.price is None:
            return
        if self.carried is not None and due.hour_ms <= self.carried.ts_ms:
            return  # its hour lies in the warm-up, which has ended
        amount = funding(holding.position, holding.price, due.rate)
        if not amount:
            return
        booked_ms = ts_ms if ts_ms > due.hour_ms else None
        self.pay(market, "funding", amount, due.hour_ms, booked_ms=booked_ms)
        if booked_ms is not None and due.hour_ms <= self.book.midnight_ms - DAY_MS:
            self.book.day_start = EXACT.subtract(self.book.day_start, amount)

    def funding_rate(self, instrument_id: InstrumentId) -> FundingRateUpdate | None:
        """Return the funding rate charged last; None before the first of a run.

        Strategies read it with `self.funding_rate(...)`: the engine would charge a rate from the
        cache a second time.
        """
        return self._latest_rates.get(instrument_id)

    def pay(
        self,
        market: SimulatedMarket,
        kind: PaymentKind,
        amount: Decimal,
        ts_ms: int,
        *,
        booked_ms: int | None = None,
    ) -> None:
        """Book a payment; the engine's account books it at its next instant."""
        payment = Payment(
            ts_ms=ts_ms, symbol=market.symbol, kind=kind, amount=amount, booked_ms=booked_ms
        )
        self.book.pay(payment)
        self.unbooked.append(-amount)

    def start_day(self, ts_ms: int) -> None:
        """Begin a UTC day if `ts_ms` is a midnight."""
        if self.book.midnight_ms == ts_ms:
            self.book.start_day(ts_ms)
            self._set_due()

    # Halts.

    def must_halt(self) -> bool:
        """Return True if the day's loss has reached its limit at the last prices."""
        return self.book.halted is None and self.book.equity <= self.book.lowest_equity

    def halt_for_loss(self, ts_ms: int) -> None:
        """Halt for the day's loss: cancel all orders and close all positions."""
        limit = self.book.limits.max_daily_loss_usd
        self.book.halt(ts_ms, MAX_DAILY_LOSS, {"limit_usd": limit})
        self.orders.close_all()

    def liquidate(self, market: SimulatedMarket, planned: PlannedEvent, ts_ms: int) -> None:
        """Halt for a liquidation and close everything, this symbol at the planned price."""
        numbers = {
            "position": self.book.positions[market.symbol],
            "liquidation_price": market.units.to_price(planned.path_price),
        }
        self.book.halt(ts_ms, LIQUIDATION, numbers)
        self.orders.close_all({market.symbol: (LIQUIDATION, planned.price)})

    def charge_margin(self, market: SimulatedMarket, margin: Decimal, ts_ms: int) -> None:
        """Charge the maintenance margin once all is closed; cash does not stay below 0."""
        lost = min(margin, self.book.cash) if self.book.cash > 0 else self.book.cash
        if lost:
            self.pay(market, "liquidation", lost, ts_ms)

    # The warm-up.

    def begin_counting(self, ts_ms: int) -> None:
        """End the warm-up: the account has the starting balance, and the day begins anew."""
        if self._counted_from_ms is None or ts_ms < self._counted_from_ms:
            return
        self._counted_from_ms = None
        difference = EXACT.subtract(self._starting_balance, self.book.equity)
        self.book.cash = EXACT.add(self.book.cash, difference)
        self.unbooked.append(difference)
        self.book.day_start, self.book.halted = self._starting_balance, None
        self.carried = CarriedAccount(
            ts_ms=ts_ms, positions=dict(self.book.positions), prices=dict(self.book.prices)
        )
        book, orders = self.book, self.orders
        for events in (book.payments, book.denials, book.halts, orders.fills, orders.ended):
            events.clear()
        self._set_due()
