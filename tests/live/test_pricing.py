"""What a fill of the primary would have cost by the secondary's quotes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tbv8.live.pricing import price_fill
from tbv8.market import Bbo
from tbv8.trading.records import Fill

D = Decimal
TICK = D("0.1")


def quote(bid: float | None, ask: float | None, *, size: float = 10.0, ts_ms: int = 1000) -> Bbo:
    return Bbo("mexc", "BTC/USDT", ts_ms, bid, bid and size, ask, ask and size)


def fill(side: str, **changes: Any) -> Fill:
    values: dict[str, Any] = {
        "ts_ms": 60_000,
        "symbol": "BTC/USDT",
        "order_id": "O-1",
        "side": side,
        "type": "market",
        "quantity": D(2),
        "price": D(100),
        "fee": D(0),
        "liquidity": "taker",
        "position": D(2),
    }
    return Fill(**(values | changes))


@pytest.mark.parametrize(
    ("side", "quotes", "price", "cost"),
    [
        pytest.param("buy", [quote(99.5, 100.5)], "100.5", "1", id="buys at the ask"),
        pytest.param("sell", [quote(99.5, 100.5)], "99.5", "1", id="sells at the bid"),
        pytest.param("buy", [quote(99, 99.5)], "99.5", "-1", id="cheaper there"),
        pytest.param(
            "buy", [quote(90, 91), quote(99.5, 100.5)], "100.5", "1", id="by the last quote"
        ),
        pytest.param(
            "buy", [quote(99.5, 100.5, size=0.5)], "100.575", "1.15", id="what the top lacks"
        ),
        pytest.param(
            "sell", [quote(99.5, 100.5, size=0.5)], "99.425", "1.15", id="of a sale, below it"
        ),
    ],
)
def test_a_market_order_takes_the_top_of_the_book(
    side: str, quotes: list[Bbo], price: str, cost: str
) -> None:
    priced = price_fill(fill(side), quotes, TICK, is_gap=False)

    assert (priced.quoted, priced.cost_usd) == (D(price), D(cost))


@pytest.mark.parametrize(
    ("quotes", "price", "why"),
    [
        ([quote(99, 101), quote(98, 99.9), quote(99, 101)], "100", "its limit"),
        ([quote(99, 101), quote(99, 100.1)], "100.1", "its limit was not reached"),
        ([quote(99, 100), quote(99, 101)], "100", "its limit"),
    ],
)
def test_a_limit_order_needs_quotes_that_trade_through_it(
    quotes: list[Bbo], price: str, why: str
) -> None:
    limit = fill("buy", type="limit", liquidity="maker")

    priced = price_fill(limit, quotes, TICK, is_gap=False)

    assert priced.quoted == D(price)
    assert priced.why.endswith(why)


@pytest.mark.parametrize(
    ("quotes", "is_gap"),
    [([], False), ([quote(99, None)], False), ([quote(99, 101)], True)],
    ids=["none recorded", "an empty side", "a gap of the recorder"],
)
def test_without_quotes_there_is_no_price(quotes: list[Bbo], is_gap: bool) -> None:
    priced = price_fill(fill("buy"), quotes, TICK, is_gap=is_gap)

    assert (priced.quoted, priced.cost_usd) == (None, None)
    assert priced.why
