"""The book of one account: cash, positions, working orders, the day, halts, denials, payments.

It has no engine and no bars: its caller reports prices, fills and times. msgspec can encode and
decode all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, localcontext

import msgspec

from tbv8.risk.checks import RULES
from tbv8.risk.costs import next_midnight
from tbv8.risk.events import EXACT, Breach, Denial, Halt, Order, Payment, Terms
from tbv8.risk.limits import Limits
from tbv8.risk.rule import OrderCheck

_ZERO = Decimal(0)


class Book(msgspec.Struct, kw_only=True):
    """The state of one account: positions, working orders, the day, halts.

    `cash` is the equity without the value of the positions; `prices` are the last prices;
    `day_start` is the equity at the start of the UTC day that ends at `midnight_ms`. `blocked_by`
    is the rule, with its numbers, by which a live session denies new positions.
    """

    limits: Limits
    cash: Decimal
    day_start: Decimal
    midnight_ms: int
    positions: dict[str, Decimal]
    prices: dict[str, Decimal] = {}
    working: dict[str, Order] = {}
    halted: Halt | None = None
    blocked_by: Breach | None = None
    denials: list[Denial] = []
    halts: list[Halt] = []
    payments: list[Payment] = []

    @property
    def equity(self) -> Decimal:
        """Cash and positions, at the last prices."""
        with localcontext(EXACT):
            sizes = ((symbol, size) for symbol, size in self.positions.items() if size)
            return self.cash + sum((size * self.prices[s] for s, size in sizes), _ZERO)

    # Checks.

    def check(
        self,
        order: Order,
        *,
        terms: Terms | None = None,
        trigger: Decimal | None = None,
        together_with: Iterable[Order] = (),
        replacing: Sequence[str] = (),
        rules: Sequence[str] | None = None,
    ) -> Breach | None:
        """Return the first rule that an order would break; None if it breaks none.

        Args:
            order: The order, or the changed order.
            terms: Its instructions when it is sent; None for a change.
            trigger: The trigger of a stop; None once reached.
            together_with: Orders of the same request.
            replacing: Ids of the working orders that it replaces.
            rules: The names of the rules to check; None for all.
        """
        with localcontext(EXACT):
            working = [o for name, o in self.working.items() if name not in replacing]
            request = self._to_check(order, terms, trigger, [*working, *together_with])
            scopes = request.scopes
            for name, rule in RULES.items():
                if rules is not None and name not in rules:
                    continue
                if rule.scope in scopes and (numbers := rule.find_breach(request)) is not None:
                    return Breach(name, numbers)
        return None

    def closing_part(self, order: Order, breach: Breach) -> Decimal:
        """Return the part of a denied order that may still be sent: it closes a position."""
        with localcontext(EXACT):
            position = self.expected_position(order.symbol)
            if RULES[breach.rule].scope != "opening" or position * order.change >= 0:
                return _ZERO
            return min(abs(position), abs(order.change))

    def expected_position(self, symbol: str, together_with: Iterable[Order] = ()) -> Decimal:
        """Return the position after the fills of all market orders in flight."""
        with localcontext(EXACT):
            return self._expected_position(symbol, [*self.working.values(), *together_with])

    def _expected_position(self, symbol: str, working: Iterable[Order]) -> Decimal:
        position = self.positions[symbol]
        for order in working:
            if order.symbol != symbol or not order.is_market:
                continue
            change = order.change
            if order.reduce_only:
                reducible = abs(position) if position * change < 0 else _ZERO
                change = min(abs(change), reducible).copy_sign(change)
            position += change
        return position

    def _to_check(
        self,
        order: Order,
        terms: Terms | None,
        trigger: Decimal | None,
        working: Sequence[Order],
    ) -> OrderCheck:
        """Return the order and the account as the rules need them.

        The worst position is the larger of two: the present position plus all working orders on
        the order's side, and the position after market orders in flight plus the resting orders.
        Children that wait for a parent do not count.
        """
        buys, sells = (dict.fromkeys(self.positions, _ZERO) for _ in range(2))
        resting = reducing = _ZERO
        for open_order in working:
            if open_order.parent is not None:
                continue
            change = open_order.change
            is_same_side = open_order.symbol == order.symbol and change * order.change > 0
            if not open_order.reduce_only:
                side = buys if change > 0 else sells
                side[open_order.symbol] += change
            if is_same_side and not open_order.is_market:
                if open_order.reduce_only:
                    reducing += change
                else:
                    resting += change
        same_side = buys if order.change > 0 else sells
        worst = {
            symbol: max(size + buys[symbol], size + sells[symbol], key=abs)
            for symbol, size in self.positions.items()
        }
        position, open_orders = self.positions[order.symbol], same_side[order.symbol]
        expected = self._expected_position(order.symbol, working)
        later = expected + resting + order.change
        worst[order.symbol] = max(position + open_orders + order.change, later, key=abs)
        return OrderCheck(
            order=order,
            terms=terms,
            trigger=trigger,
            position=position,
            expected=expected,
            open_orders=open_orders,
            worst=worst,
            prices=self.prices,
            equity=self.equity,
            opens=not order.reduce_only and (later + reducing) * order.change > 0,
            halted=self.halted,
            blocked_by=self.blocked_by,
            limits=self.limits,
        )

    # Events.

    def fill(
        self, order_id: str, symbol: str, change: Decimal, price: Decimal, fee: Decimal
    ) -> None:
        """Book an execution of `change` units, below 0 for a sale."""
        with localcontext(EXACT):
            self.cash -= change * price + fee
            self.positions[symbol] += change
            order = self.working.get(order_id)
            if order is None:
                return
            left = order.change - change
            if left * order.change > 0:
                self.working[order_id] = msgspec.structs.replace(order, change=left)
            else:
                del self.working[order_id]

    def pay(self, payment: Payment) -> None:
        """Book and list a payment."""
        self.cash = EXACT.subtract(self.cash, payment.amount)
        self.payments.append(payment)

    # The day.

    @property
    def lowest_equity(self) -> Decimal:
        """The equity at which the limit of the day's loss is reached."""
        return EXACT.subtract(self.day_start, self.limits.max_daily_loss_usd)

    def start_day(self, midnight_ms: int) -> None:
        """Begin the UTC day at `midnight_ms` with the equity at the last prices."""
        self.day_start = self.equity
        self.midnight_ms = next_midnight(midnight_ms)
        if self.halted and midnight_ms >= self.halted.until_ms:
            self.halted = None

    def halt(self, ts_ms: int, rule: str, numbers: dict[str, Decimal]) -> None:
        """Deny new positions for the rest of the day, which ends with a close at 00:00 UTC."""
        equity = self.equity
        money = {
            "equity_usd": equity,
            "day_start_usd": self.day_start,
            "loss_usd": EXACT.subtract(self.day_start, equity),
        }
        self.halted = Halt(
            ts_ms=ts_ms, until_ms=self.midnight_ms, rule=rule, numbers=money | numbers
        )
        self.halts.append(self.halted)
