"""Positions and the curve, from fills and payments alone."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tbv8.errors import DataError
from tbv8.results.accounting import Position, entry_price, history, to_books, to_money
from tbv8.risk.events import Payment
from tbv8.trading.records import CarriedAccount, Fill
from tests.results.builders import BTC, ETH, make_fills, make_marks, make_payment, make_run

D = Decimal
ANY = make_marks([10**9], [100.0])


def _positions(fills: Sequence[Fill], *payments: Payment) -> list[Position]:
    return list(to_books(make_run(fills, payments=payments), ANY).positions)


def _position(**values: object) -> Position:
    words = ("symbol", "opened_ms", "closed_ms", "side")
    given_values = {"symbol": BTC, "funding": 0, "fees": 0} | values
    decimals = {n: v if n in words else D(str(v)) for n, v in given_values.items()}
    return Position(**decimals)


def _gains(positions: Sequence[Position]) -> list[tuple[int, Decimal, Decimal, Decimal]]:
    return [(p.closed_ms, p.pnl, p.fees, p.funding) for p in positions]


def test_what_is_open_was_entered_at_the_average_of_what_added_to_it() -> None:
    fills = make_fills(
        ("2", "100", "0"),
        ("2", "110", "0"),  # 4 at 105
        ("-1", "120", "0"),  # 3 are left of those
        ("1", "99", "0"),  # (3 x 105 + 99) / 4
        ("-6", "90", "0"),  # turned round: 2 short
        ("-1", "93", "0"),  # (2 x 90 + 93) / 3
        ("3", "80", "0"),
    )

    assert [entry_price(fills[:count]) for count in range(8)] == [
        None, 100, 105, 105, D("103.5"), 90, 91, None
    ]  # fmt: skip


def test_a_fill_through_zero_closes_one_position_and_opens_the_next() -> None:
    fills = make_fills(("2", "100", "0.2"), ("-3", "110", "0.33"), ("1", "100", "0.1"))

    # The middle fill's fee of 0.33 is shared two to one.
    assert _positions(fills) == [
        _position(
            opened_ms=0,
            closed_ms=1000,
            side="long",
            quantity=2,
            entry_price=100,
            exit_price=110,
            pnl="19.58",  # 2 x 10 - 0.2 - 0.22
            fees="0.42",
        ),
        _position(
            opened_ms=1000,
            closed_ms=2000,
            side="short",
            quantity=1,
            entry_price=110,
            exit_price=100,
            pnl="9.79",  # 10 - 0.11 - 0.1
            fees="0.21",
        ),
    ]


def test_entries_and_exits_in_parts_are_averaged() -> None:
    fills = make_fills(("1", "100", "0"), ("3", "104", "0"), ("-2", "110", "0"), ("-2", "112", "0"))

    assert _positions(fills) == [
        _position(
            opened_ms=0,
            closed_ms=3000,
            side="long",
            quantity=4,
            entry_price=103,
            exit_price=111,
            pnl=32,
        )
    ]


# Funding and liquidation.


def test_funding_is_of_the_position_that_was_open_when_it_was_paid() -> None:
    # Long 1 from 0 to 2000 ms, short 1 from then to 4000; the last is still open.
    fills = make_fills(
        ("1", "100", "0"), ("1", "100", "0"), ("-3", "110", "0"), ("-1", "110", "0"),
        ("2", "105", "0"), ("1", "100", "0"),
    )  # fmt: skip
    payments = [
        make_payment(500, "0.3"),
        make_payment(1500, "-0.1"),
        make_payment(2500, "0.7"),
        make_payment(9000, "5"),
    ]

    assert _gains(_positions(fills, *payments)) == [
        (2000, D("19.8"), 0, D("0.2")),  # 2 x 10 - 0.2
        (4000, D("9.3"), 0, D("0.7")),  # 2 x 5 - 0.7
    ]


@pytest.mark.parametrize(
    ("exit_type", "funding"),
    [
        pytest.param("market", [1, 0], id="sent at the close: the funding comes first"),
        pytest.param("limit at the close", [1, 0], id="a limit that takes at the close"),
        pytest.param("stop_market at the close", [1, 0], id="a stop that triggers at the close"),
        pytest.param("stop_market", [0, 1], id="inside of the step that ends with the funding"),
        pytest.param("limit", [0, 1], id="a resting limit inside of it"),
    ],
)
def test_funding_at_the_time_of_a_fill_follows_the_order_of_time(
    exit_type: str, funding: list[int]
) -> None:
    fills = make_fills(("1", "100", "0"), ("-2", "100", "0", exit_type), ("1", "100", "0"))

    positions = _positions(fills, make_payment(1000, "1"))

    assert [position.funding for position in positions] == funding
    assert [position.pnl for position in positions] == [-paid for paid in funding]


def test_the_margin_that_a_liquidation_takes_is_a_cost_of_its_position() -> None:
    fills = make_fills(
        ("9", "100", "1"), ("-9", "91", "2", "liquidation"), ("1", "90", "0"), ("-1", "95", "0")
    )
    lost = make_payment(1000, "10", kind="liquidation")

    assert _gains(_positions(fills, lost)) == [
        (1000, D(-94), D(13), 0),  # 9 x -9 - 1 - 2 - 10
        (3000, D(5), 0, 0),
    ]


def test_the_margin_is_of_the_position_that_was_liquidated_not_of_one_closed_before_it() -> None:
    first, turned, liquidated = make_fills(
        ("1", "100", "0"), ("-2", "95", "0", "stop_market"), ("1", "110", "0", "liquidation")
    )
    fills = [first, turned, replace(liquidated, ts_ms=turned.ts_ms)]

    positions = _positions(fills, make_payment(1000, "3", kind="liquidation"))

    assert [(position.side, position.pnl) for position in positions] == [
        ("long", -5),
        ("short", -18),
    ]


def test_what_the_venue_bears_below_zero_is_no_loss() -> None:
    fills = make_fills(("1", "100", "0"), ("-1", "10", "0", "liquidation"))

    positions = _positions(fills, make_payment(1000, "-40", kind="liquidation"))

    assert [position.pnl for position in positions] == [-50]


# A warm-up, several symbols.


def test_what_a_warm_up_carries_counts_as_entered_then_at_that_price() -> None:
    carried = CarriedAccount(ts_ms=5000, positions={BTC: D(-2), ETH: D(0)}, prices={BTC: D(110)})
    (bought,) = make_fills(("2", "100", "0.5"), position="-2")
    run = make_run([replace(bought, ts_ms=9000)], carried=carried, symbols=(BTC, ETH))

    books = to_books(run, make_marks([6000, 8000, 9000], {BTC: [111, 105, 100], ETH: [7, 7, 7]}))

    assert _gains(books.positions) == [(9000, D("19.5"), D("0.5"), 0)]
    assert books.positions[0].opened_ms == 5000
    assert books.curve.positions[BTC].tolist() == [-2, -2, 0]
    # 10000 + 2 x 110 at the start; at 111 two are lost, at 105 ten won.
    assert [value / 10**8 for value in books.curve.equity.tolist()] == [9998, 10010, 10019.5]
    assert [value / 10**8 for value in books.cash.tolist()] == [10220, 10220, 10019.5]
    assert entry_price(history(run, BTC)[:1]) == 110


def test_two_symbols_share_the_cash_and_keep_their_own_positions() -> None:
    fills = [
        *make_fills(("1", "100", "1"), ("-1", "120", "1"), step_ms=3000),
        *make_fills(("-10", "7", "0"), ("10", "6", "0"), symbol=ETH, step_ms=2000),
    ]
    run = make_run(fills, symbols=(BTC, ETH))

    books = to_books(
        run, make_marks([0, 1000, 2000, 3000], {BTC: [100, 110, 115, 120], ETH: [7, 8, 6, 5]})
    )

    curve = books.curve
    assert [(p.symbol, p.closed_ms, p.pnl) for p in books.positions] == [
        (ETH, 2000, 10),
        (BTC, 3000, 18),
    ]
    assert [value / 10**8 for value in books.cash.tolist()] == [9969, 9969, 9909, 10028]
    # cash, 1 x BTC, and 10 x ETH short: 9969 + 110 - 80 at the second close
    assert [value / 10**8 for value in curve.equity.tolist()] == [9999, 9999, 10024, 10028]
    # half in each: 5000 x 120 / 100 + 5000 x 5 / 7
    assert curve.buy_and_hold[-1] / 10**8 == pytest.approx(6000 + 5000 * 5 / 7)


def test_a_symbol_without_a_price_yet_is_neither_held_nor_bought() -> None:
    nan = float("nan")
    run = make_run(symbols=(BTC, ETH))

    curve = to_books(
        run, make_marks([0, 1000, 2000], {BTC: [100, 110, 100], ETH: [nan, 5, 10]})
    ).curve

    assert [value / 10**8 for value in curve.equity.tolist()] == [10000] * 3
    # 5000 in BTC; the other 5000 are cash, then ETH from 5 on
    assert [value / 10**8 for value in curve.buy_and_hold.tolist()] == [10000, 10500, 15000]


# The whole.


_change = st.tuples(
    st.integers(-5, 5).filter(bool).map(str),
    st.integers(1, 10**6).map(lambda cents: str(D(cents) / 100)),
    st.integers(0, 10**8).map(lambda units: str(D(units).scaleb(-8))),
    st.sampled_from(["market", "limit", "stop_market"]),
)
_paid = st.tuples(st.integers(0, 40), st.integers(-(10**8), 10**8))


@given(st.lists(_change, max_size=30), st.lists(_paid, max_size=8))
def test_what_positions_gained_is_what_the_account_gained(
    changes: list[tuple[str, ...]], paid: list[tuple[int, int]]
) -> None:
    held = sum(D(change) for change, *_ in changes)
    if held:
        changes = [*changes, (str(-held), "50", "0.01")]
    fills = make_fills(*changes)
    held_at = {fill.ts_ms: fill.position for fill in fills}
    payments = [
        make_payment(second * 1000 + 1, str(D(amount).scaleb(-8)))
        for second, amount in sorted(paid)
        if held_at.get(second * 1000)  # nothing is paid by a flat account
    ]

    books = to_books(
        make_run(fills, payments=payments), make_marks([len(changes) * 1000 + 10**6], [50.0])
    )

    gained = sum((position.pnl for position in books.positions), D(0))
    assert books.curve.equity[-1] == to_money(D(10_000) + gained)
    assert sum((p.fees for p in books.positions), D(0)) == sum((f.fee for f in fills), D(0))
    assert sum((p.funding for p in books.positions), D(0)) == sum(
        (p.amount for p in payments), D(0)
    )


def test_a_fill_at_a_bars_close_is_in_that_bar() -> None:
    fills = make_fills(("1", "100", "0"), ("-1", "110", "0"))  # at 0 and at 1000 ms

    curve = to_books(
        make_run(fills, start="1000"),
        make_marks([-1, 0, 999, 1000, 2000], [100, 100, 105, 110, 120]),
    ).curve

    assert curve.positions[BTC].tolist() == [0, 1, 1, 0, 0]
    assert (curve.equity // 10**8).tolist() == [1000, 1000, 1005, 1010, 1010]


def test_more_money_than_64_bits_hold_is_refused() -> None:
    with pytest.raises(DataError, match="lower starting_balance_usd"):
        to_books(make_run(start="1e11"), make_marks([0], [1.0]))
