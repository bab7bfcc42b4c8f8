"""The account in a simulation: what an instant brings to it beside the strategy's own orders.

That is the matching of the step, liquidation, funding, the day's loss and the day. The engine is
run by the session; here is decided what it is asked.
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
    Charged,
    Due,
    FixedRates,
    Holding,
    PaidRates,
    Rates,
)
from tbv8.trading.matching import Account, Planned, Step
from tbv8.trading.orders import Orders
from tbv8.trading.records import Carried
from tbv8.trading.resting import RestingOrders
from tbv8.trading.units import NEVER

_NS = 1_000_000


class Simulation:
    """The rules of an account that are no rules for orders.

    Attributes:
        due_ns: When something falls due whatever the prices are.
        unbooked: What the engine's account does not know yet, in USD.
    """

    def __init__(
        self,
        book: Book,
        orders: Orders,
        markets: Sequence[RestingOrders],
        rules: Mapping[str, files.Instrument],
        *,
        counted_from_ms: int | None,
        starting_balance: Decimal,
        awaits_funding: bool,
    ) -> None:
        self.book, self.orders, self.markets, self.rules = book, orders, markets, rules
        self.due_ns = 0
        self.unbooked: list[Decimal] = []
        self.carried: Carried | None = None
        self._counted_from_ms = counted_from_ms
        self._starting_balance = starting_balance
        self._rates: dict[str, Rates] = {
            symbol: AwaitedRates()
            if awaits_funding
            else FixedRates(own.funding_rate_8h, own.funding_hours)
            for symbol, own in rules.items()
        }
        self._funding_ms: dict[str, int] = {}
        self._charged: dict[InstrumentId, FundingRateUpdate] = {}
        self._alarmed: tuple[Any, Any, Any] = (None, None, None)  # for which the alarms are set

    def begin(self, first_ms: int) -> None:
        """Set what falls due first; the first step closes at `first_ms`."""
        self.book.midnight_ms = next_midnight(first_ms - 1)
        self._set_funding(first_ms - 1)

    def add_funding(self, charged: Mapping[str, Charged], after_ms: int) -> None:
        """Take the payments after a time, in place of the fixed rates of their symbols."""
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

    # What a step is looked at for.

    def _set_due(self) -> None:
        due_ms = min([self.book.midnight_ms, *self._funding_ms.values()])
        if self._counted_from_ms is not None:
            due_ms = min(due_ms, self._counted_from_ms)
        self.due_ns = due_ms * _NS

    def has_changed(self) -> bool:
        """Return True if the account has changed since the alarms were set."""
        book, (cash, day_start, halted) = self.book, self._alarmed
        return not (book.cash is cash and book.day_start is day_start and book.halted is halted)

    def set_alarms(self) -> None:
        """Set each symbol's prices between which nothing can happen to the account.

        Every position may lose its share of what the account may lose, all have the same: while no
        price is at its alarm, they have lost less together.
        """
        book = self.book
        self._alarmed = book.cash, book.day_start, book.halted
        for market in self.markets:
            market.low_alarm, market.high_alarm = -1, NEVER
        positioned = [market for market in self.markets if market.position]
        if not positioned:
            if self.must_halt():
                for market in self.markets:
                    market.low_alarm = NEVER
            return
        equity, margin = positioned[0].units.money(book.cash), 0
        lowest = positioned[0].units.money(book.lowest_equity)
        for market in positioned:
            value, rate = market.value, market.units.maintenance
            equity += value
            margin -= -abs(value) * rate.over // rate.under
        shares = len(positioned)
        to_liquidation, to_halt = (equity - margin) // shares, (equity - lowest) // shares
        for market in positioned:
            per_unit, rate = abs(market.position) * market.units.scale, market.units.maintenance
            room = to_liquidation * rate.under // (per_unit * (rate.under + rate.over))
            if book.halted is None:
                room = min(room, to_halt // per_unit)
            market.set_alarm(room)

    # The step.

    def account_of(self, market: RestingOrders) -> Account:
        """Return the account as matching in one symbol sees it."""
        cash, reserved = market.units.money(self.book.cash), 0
        for other in self.markets:
            if other is not market and other.position:
                value, rate = other.value, other.units.maintenance
                cash += value
                reserved += abs(value) * rate.over // rate.under
        return Account(market.position, cash, reserved)

    def plan(self, market: RestingOrders, prices: Sequence[int], time_ns: int) -> list[Planned]:
        """Return the events of a symbol's step; none if it reaches neither an order nor the margin.

        Args:
            market: The symbol.
            prices: Open, high, low and close.
            time_ns: When it closes.
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

    def margin_of(self, market: RestingOrders) -> Decimal:
        """Return the maintenance margin of the account where one symbol is liquidated."""
        account, units = self.account_of(market), market.units
        margin = units.margin(account.position, account.cash - account.reserved)
        return units.to_money(margin + account.reserved)

    # What falls due.

    def pass_time(self, before_ns: int) -> None:
        """Do what fell due before a time, at the last prices."""
        before_ms = -(-before_ns // _NS)
        while (due_ms := min([self.book.midnight_ms, *self._funding_ms.values()])) < before_ms:
            self._do_due(due_ms)

    def pay_funding(self, ts_ms: int) -> None:
        """Charge the funding that is due at a time, on what was held at its hour."""
        for market in self.markets:
            if self._funding_ms.get(market.symbol) != ts_ms:
                continue
            rates = self._rates[market.symbol]
            self._funding_ms[market.symbol] = rates.due_after(ts_ms)
            price = None if market.last is None else market.units.to_price(market.last)
            for due in rates.due_at(ts_ms, Holding(self.book.positions[market.symbol], price)):
                self._charge(market, due, ts_ms)
        self._set_due()

    def _charge(self, market: RestingOrders, due: Due, ts_ms: int) -> None:
        """Book one payment of funding; a late one counts for the day of its hour."""
        name, holding = market.instrument.id, due.holding
        last = self._charged.get(name)
        if last is None or last.ts_event <= due.hour_ms * _NS:
            self._charged[name] = FundingRateUpdate(
                name, due.rate, due.hour_ms * _NS, ts_ms * _NS, due.hours * 60
            )
        if not holding.position or holding.price is None:
            return
        if self.carried is not None and due.hour_ms <= self.carried.ts_ms:
            return  # of the warm-up, which is over
        amount = funding(holding.position, holding.price, due.rate)
        if not amount:
            return
        booked_ms = ts_ms if ts_ms > due.hour_ms else None
        self.pay(market, "funding", amount, due.hour_ms, booked_ms=booked_ms)
        if booked_ms is not None and due.hour_ms <= self.book.midnight_ms - DAY_MS:
            self.book.day_start = EXACT.subtract(self.book.day_start, amount)

    def funding_rate(self, instrument_id: InstrumentId) -> FundingRateUpdate | None:
        """Return the funding that was charged last; None before the first of a run.

        A strategy has it as `self.funding_rate`: with one in its cache, the engine would charge it
        a second time.
        """
        return self._charged.get(instrument_id)

    def pay(
        self,
        market: RestingOrders,
        kind: PaymentKind,
        amount: Decimal,
        ts_ms: int,
        *,
        booked_ms: int | None = None,
    ) -> None:
        """Book a payment of the account; the engine's account follows."""
        payment = Payment(
            ts_ms=ts_ms, symbol=market.symbol, kind=kind, amount=amount, booked_ms=booked_ms
        )
        self.book.pay(payment)
        self.unbooked.append(-amount)

    def _do_due(self, due_ms: int) -> None:
        self.pay_funding(due_ms)
        self.start_day(due_ms)

    def start_day(self, ts_ms: int) -> None:
        """Begin the UTC day, if one begins at a time."""
        if self.book.midnight_ms == ts_ms:
            self.book.start_day(ts_ms)
            self._set_due()

    # Halts.

    def must_halt(self) -> bool:
        """Return True if the limit of the day's loss is reached at the last prices."""
        return self.book.halted is None and self.book.equity <= self.book.lowest_equity

    def halt_for_loss(self, ts_ms: int) -> None:
        """Halt for the day's loss, and close everything."""
        limit = self.book.limits.max_daily_loss_usd
        self.book.halt(ts_ms, MAX_DAILY_LOSS, {"limit_usd": limit})
        self.orders.close_all()

    def liquidate(self, market: RestingOrders, planned: Planned, ts_ms: int) -> None:
        """Halt for a liquidation, and close everything, the symbol at the planned price."""
        numbers = {
            "position": self.book.positions[market.symbol],
            "liquidation_price": market.units.to_price(planned.at),
        }
        self.book.halt(ts_ms, LIQUIDATION, numbers)
        self.orders.close_all({market.symbol: (LIQUIDATION, planned.price)})

    def lose_margin(self, market: RestingOrders, margin: Decimal, ts_ms: int) -> None:
        """Take the maintenance margin, or bring cash below 0 back to it, once all is closed."""
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
        self.carried = Carried(
            ts_ms=ts_ms, positions=dict(self.book.positions), prices=dict(self.book.prices)
        )
        book, orders = self.book, self.orders
        for events in (book.payments, book.denials, book.halts, orders.fills, orders.ended):
            events.clear()
        self._set_due()
