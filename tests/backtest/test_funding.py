"""A backtest is charged what venues charged: the primary where it is held, else the bars' venue."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tbv8.backtest.bars import read_bars
from tbv8.backtest.funding import read_funding
from tbv8.errors import DataError
from tbv8.freshness.result import backtest_inputs
from tbv8.market import DAY_MS, HOUR_MS, MINUTE_MS, Series, Span, parse_timeframe
from tbv8.results.read import read_result
from tbv8.results.tearsheet.page import tearsheet
from tbv8.store.bars import FUNDING_RATES, open_bars, write_history
from tbv8.store.database import open_reader
from tbv8.store.ledger import FUNDING
from tbv8.trading.bars import Bars
from tbv8.trading.funding import FundingPayments
from tests.backtest.builders import (
    SCRIPTED,
    START_MS,
    backtest,
    bar_number,
    bars_of,
    books_of,
    install,
    make_bars,
    make_strategy,
    rules,
    run_strategy,
)
from tests.builders import shell

D = Decimal
HOURS = 72
BTC = "BTC/USDT"


def charged(*payments: tuple[int, str, int], venue: str = "hyperliquid") -> FundingPayments:
    """Return payments, each of an hour from the start, a rate and an interval."""
    return FundingPayments(
        times_ms=[START_MS + hour * HOUR_MS for hour, _, _ in payments],
        rates=[D(rate) for _, rate, _ in payments],
        hours=[hours for _, _, hours in payments],
        venues=[venue] * len(payments),
    )


def with_funding(strategy: Any, bars: pa.Table, payments: FundingPayments) -> Bars:
    made = bars_of(strategy, bars)
    return Bars(
        shown=made.shown, steps=made.steps, funding={"hyperliquid": {strategy.symbol: payments}}
    )


def hold(db_path: Path, venue: str, span: Span, rates: Sequence[tuple[int, float, int]]) -> None:
    table = pa.table(dict(zip(FUNDING_RATES.names, zip(*rates, strict=True), strict=True)))
    with open_bars(db_path) as store:
        write_history(
            store,
            Series(venue, BTC),
            span,
            table.cast(FUNDING_RATES),
            source="rest",
            updated_ms=0,
            dataset=FUNDING,
        )


def every(hours: int, span: Span, rate: float) -> list[tuple[int, float, int]]:
    step = hours * HOUR_MS
    first = -(-span.start_ms // step) * step
    return [(ts_ms, rate, hours) for ts_ms in range(first, span.end_ms, step)]


# A session


def test_each_payment_is_charged_at_its_time_and_rate() -> None:
    # 1 is bought at 100 at the first close; 103 at the fourth, 105 at the sixth, sold at the last.
    strategy = make_strategy(
        params={"orders": {1: "1", 8: "-1"}}, instrument=rules(taker_fee="0"), funding="history"
    )
    bars = make_bars([100, 101, 102, 103, 104, 105, 106, 107])
    payments = charged((4, "0.001", 4), (6, "-0.002", 2), (20, "0.5", 8))

    run = run_strategy(strategy, "hyperliquid", with_funding(strategy, bars, payments))

    assert [(bar_number(p.ts_ms), p.amount) for p in run.payments] == [
        (4, D("0.103")),
        (6, D("-0.21")),
    ]


def test_a_fixed_rate_holds_where_no_payments_are_given() -> None:
    strategy = make_strategy(
        params={"orders": {1: "1"}}, instrument=rules(funding_rate_8h="0.0008", funding_hours=1)
    )

    run = run_strategy(strategy, "hyperliquid", make_bars([100, 100, 101]))

    # the last seven of ten hours have no bars
    assert [payment.amount for payment in run.payments] == [D("0.01"), *[D("0.0101")] * 8]


def test_a_warm_up_ends_where_the_first_whole_bar_begins() -> None:
    # Bought at 01:00; the bar of four hours that begins first after 02:00 begins at 04:00.
    strategy = make_strategy(
        timeframe=parse_timeframe("4h"),
        bars=(parse_timeframe("1h"),),
        span=Span(START_MS + 2 * HOUR_MS, START_MS + 13 * HOUR_MS),
        warm_up_ms=2 * HOUR_MS,
        params={"orders": {1: "1"}},
        instrument=rules(taker_fee="0", funding_rate_8h="0.0008", funding_hours=1),
    )
    hours = make_bars([100] * 3 + [200] * 9)
    fours = make_bars([200] * 3, timeframe="4h")
    shown = dict(zip(((BTC, each) for each in strategy.timeframes), (fours, hours), strict=True))
    bars = Bars(shown=shown, steps={BTC: hours})

    books = books_of(run_strategy(strategy, "hyperliquid", bars), strategy, bars)

    assert [bar_number(p.ts_ms) for p in books.run.payments] == [5, 6, 7, 8, 9, 10, 11, 12]
    assert [bar_number(ts_ms) for ts_ms in books.curve.times_ms.tolist()] == [4, 8, 12]
    money = [10_000, D("9999.92"), D("9999.84")]
    assert books.curve.from_start(books.curve.equity).tolist() == [int(m * 10**8) for m in money]


def test_payments_that_come_with_a_later_piece_are_charged_too() -> None:
    from tbv8.trading.session import Session

    strategy = make_strategy(params={"orders": {1: "1"}}, instrument=rules(taker_fee="0"))
    bars = make_bars([100] * 8)
    first, second = charged((2, "0.001", 2)), charged((2, "0.001", 2), (6, "0.002", 4))

    with Session(strategy, "hyperliquid", price_decimals={BTC: 2}) as session:
        session.feed(with_funding(strategy, bars.slice(0, 4), first))
        session.feed(with_funding(strategy, bars.slice(4), second))
        run = session.end()

    assert [(bar_number(p.ts_ms), p.amount) for p in run.payments] == [(2, D("0.1")), (6, D("0.2"))]


def test_a_strategy_reads_the_rate_that_was_charged_last(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    more = (
        "        rate = self.funding_rate(self.config.instrument_id)\n"
        "        hours = 3_600_000_000_000\n"
        "        seen = rate and (str(rate.rate), rate.interval, rate.ts_event // hours)\n"
        "        hour = bar.ts_event // hours\n"
        "        assert seen == (None if number < 3 else ('0.001', 240, hour - number + 3)), seen\n"
    )
    install(monkeypatch, tmp_path, "other", SCRIPTED + more)
    strategy = make_strategy(module="other", params={"orders": {1: "1"}})

    run = run_strategy(
        strategy,
        "hyperliquid",
        with_funding(strategy, make_bars([100] * 6), charged((3, "0.001", 4))),
    )

    assert len(run.payments) == 1


# What is held


@pytest.fixture
def span() -> Span:
    return Span(START_MS, START_MS + 3 * DAY_MS)


Strategies = Callable[..., Any]


@pytest.fixture
def strategy(span: Span) -> Strategies:
    def make(funding: str = "history", **changes: Any) -> Any:
        return make_strategy(funding=funding, span=span, **({"simulated": False} | changes))

    return make


def test_the_primary_pays_from_its_first_day_on_and_the_bars_venue_before(
    db_path: Path, span: Span, strategy: Strategies
) -> None:
    second_day = Span(START_MS + DAY_MS, span.end_ms + HOUR_MS)
    whole = Span(span.start_ms, span.end_ms + HOUR_MS)
    hold(db_path, "sample", whole, every(8, whole, 0.0003))
    hold(db_path, "hyperliquid", second_day, every(1, second_day, 0.0001))

    with open_bars(db_path) as store:
        found = read_funding(store, strategy())["hyperliquid"][BTC]

    hours = [(ts_ms - START_MS) // HOUR_MS for ts_ms in found.times_ms]
    by_venue = list(zip(found.venues, hours, strict=True))
    assert by_venue[:3] == [("sample", 8), ("sample", 16), ("sample", 24)]
    assert by_venue[3:] == [("hyperliquid", hour) for hour in range(25, 73)]
    assert found.covered_ms(span) == {"sample": 24 * HOUR_MS, "hyperliquid": 48 * HOUR_MS}


def test_hours_without_a_rate_are_counted_and_not_charged(
    db_path: Path, span: Span, strategy: Strategies
) -> None:
    rates = [row for row in every(8, span, 0.0003) if row[0] != START_MS + 16 * HOUR_MS]
    hold(db_path, "hyperliquid", span, rates)

    with open_bars(db_path) as store:
        found = read_funding(store, strategy())["hyperliquid"][BTC]
        made_up = read_funding(store, strategy(simulated=True))["hyperliquid"][BTC]

    assert made_up == FundingPayments()  # no real rate on bars of a made-up market
    hours = 72 - 8 - 8
    assert found.covered_ms(span) == {
        "hyperliquid": hours * HOUR_MS
    }  # the last is paid behind the span


@pytest.mark.parametrize(
    ("funding", "charges"), [("history", True), ("held", False), ("fixed", False)]
)
def test_without_any_rate_history_alone_charges_nothing_knowingly(
    db_path: Path, strategy: Strategies, funding: str, charges: bool
) -> None:
    with open_bars(db_path) as store:
        found = read_funding(store, strategy(funding))

    assert found == ({"hyperliquid": {BTC: FundingPayments()}} if charges else {})


def test_a_rate_that_was_changed_by_hand_is_refused(
    db_path: Path, span: Span, strategy: Strategies
) -> None:
    hold(db_path, "hyperliquid", span, every(8, span, 0.0003))
    shell(db_path, "UPDATE funding SET rate = 0.001 WHERE ts_ms = ?", (START_MS + 8 * HOUR_MS,))

    with (
        open_bars(db_path) as store,
        pytest.raises(DataError, match="`doit verify --repair` drops"),
    ):
        read_funding(store, strategy())


def test_the_rates_of_a_run_are_in_its_key_and_no_others(
    db_path: Path, span: Span, strategy: Strategies
) -> None:
    later = Span(span.end_ms, span.end_ms + 30 * DAY_MS)
    shipped = strategy("held", module="ema_cross", class_name="EmaCross")

    def key() -> Any:
        with open_reader(db_path) as query:
            return backtest_inputs(query, shipped)["funding:hyperliquid:BTC/USDT"]

    empty = key()
    hold(db_path, "hyperliquid", span, every(8, span, 0.0003))
    held = key()
    hold(db_path, "hyperliquid", later, every(8, later, 0.0003)[1:])
    same = key()
    shell(db_path, "UPDATE funding SET rate = 0.001 WHERE ts_ms = ?", (START_MS + 8 * HOUR_MS,))
    edited = key()

    assert empty != held == same != edited
    assert edited.digest == "edited by hand"


# What a result says


def test_a_result_names_source_share_and_what_was_paid(tmp_path: Path) -> None:
    strategy = make_strategy(
        params={"orders": {1: "1"}},
        instrument=rules(taker_fee="0"),
        funding="history",
        span=Span(START_MS, START_MS + 10 * HOUR_MS),
    )
    payments = FundingPayments(
        times_ms=[START_MS + 2 * HOUR_MS, START_MS + 8 * HOUR_MS],
        rates=[D("0.001"), D("0.002")],
        hours=[2, 4],
        venues=["sample", "hyperliquid"],
    )
    bars = with_funding(strategy, make_bars([100.0] * 10), payments)

    summary = backtest(strategy, bars, tmp_path)

    rates = (
        "at sample's rates (25.0% of the time) and hyperliquid's rates (50.0% of the time); no "
        "rate for 2 hours, not charged: 2024-01-01T02:00:00Z to 2024-01-01T04:00:00Z"
    )
    words = f"paid 0.30 USD of funding {rates}"
    total, origin = [line for line in str(summary).splitlines() if "funding" in line]
    assert ", funding paid 0.30, " in total
    assert origin == f"  hyperliquid: funding {rates}"
    folder = tmp_path / strategy.strategy_id
    told = json.loads((folder / "summary.json").read_text())["primary"]["funding_sources"]
    assert told == {
        BTC: {
            "rate_8h": None,
            "shares": {"sample": 0.25, "hyperliquid": 0.5},
            "hours_without_rate": 2,
            "first_without_rate": ["2024-01-01T02:00:00Z", "2024-01-01T04:00:00Z"],
            "paid": 0.3,
        }
    }
    assert html.escape(words, quote=False) in tearsheet(
        read_result(folder, strategy=strategy, bars=bars, inputs={})
    )


def test_an_interval_that_has_not_ended_is_no_gap(tmp_path: Path) -> None:
    strategy = make_strategy(
        params={"orders": {1: "-1"}},
        funding="history",
        span=Span(START_MS, START_MS + 24 * HOUR_MS),
    )
    payments = FundingPayments(
        times_ms=[START_MS + 8 * HOUR_MS, START_MS + 16 * HOUR_MS],
        rates=[D("0.001"), D("0.002")],
        hours=[8, 8],
        venues=["sample", "sample"],
    )
    bars = with_funding(strategy, make_bars([100.0] * 24), payments)

    summary = backtest(strategy, bars, tmp_path)

    source = summary.primary.funding_sources[BTC]
    assert (source.shares, source.hours_without_rate) == ({"sample": 1.0}, 0)
    first, *_ = [line for line in str(summary).splitlines() if "funding" in line]
    assert ", funding received 0.30, " in first
    assert "  hyperliquid: funding at sample's rates" in str(summary)


def test_a_payment_for_less_than_an_hour_of_the_span_has_its_share(tmp_path: Path) -> None:
    """As of a paper session that began at 00:50."""
    strategy = make_strategy(
        params={"orders": {1: "-1"}},
        funding="history",
        timeframe=parse_timeframe("5m"),
        span=Span(START_MS + 50 * MINUTE_MS, START_MS + 70 * MINUTE_MS),
    )
    payments = FundingPayments(
        times_ms=[START_MS + HOUR_MS], rates=[D("0.001")], hours=[1], venues=["sample"]
    )
    table = make_bars([100.0] * 14, timeframe="5m").slice(10)

    summary = backtest(strategy, with_funding(strategy, table, payments), tmp_path)

    source = summary.primary.funding_sources[BTC]
    assert (source.shares, source.hours_without_rate) == ({"sample": 1.0}, 0)


@pytest.mark.parametrize(
    ("minutes", "hours", "text"),
    [
        (8, 0, ""),
        (9, 1, "; no rate for the payment of 2024-01-01T01:00:00Z, not charged"),
        (70, 2, "; no rate for 2 hours, not charged: 2024-01-01T00:00:00Z to 2024-01-01T02:00:00Z"),
        (
            130,
            3,
            "; no rate for 3 hours, not charged: 2024-01-01T00:00:00Z to 2024-01-01T03:00:00Z",
        ),
    ],
)
def test_without_any_payment_whole_hours_of_the_span_lack_one(
    tmp_path: Path, minutes: int, hours: int, text: str
) -> None:
    """As of a paper session that began at 00:51: no payment is due before 01:00."""
    begin_ms = START_MS + 51 * MINUTE_MS
    strategy = make_strategy(
        params={},
        funding="history",
        timeframe=parse_timeframe("1m"),
        span=Span(begin_ms, begin_ms + minutes * MINUTE_MS),
    )
    table = make_bars([100.0] * (51 + minutes), timeframe="1m").slice(51)

    summary = backtest(strategy, with_funding(strategy, table, FundingPayments()), tmp_path)

    source = summary.primary.funding_sources[BTC]
    assert (source.shares, source.hours_without_rate) == ({}, hours)
    assert f"  hyperliquid: funding: nothing paid{text}\n" in f"{summary}\n"


@pytest.mark.parametrize(("hours", "minutes", "missing"), [(1, 181, 2), (1, 120, 0), (8, 1439, 8)])
def test_only_intervals_that_have_ended_lack_a_payment(
    tmp_path: Path, hours: int, minutes: int, missing: int
) -> None:
    strategy = make_strategy(
        params={},
        funding="history",
        timeframe=parse_timeframe("1m"),
        span=Span(START_MS, START_MS + minutes * MINUTE_MS),
    )
    payments = FundingPayments(
        times_ms=[START_MS + hours * HOUR_MS], rates=[D("0.001")], hours=[hours], venues=["sample"]
    )
    table = make_bars([100.0] * minutes, timeframe="1m")

    summary = backtest(strategy, with_funding(strategy, table, payments), tmp_path)

    assert summary.primary.funding_sources[BTC].hours_without_rate == missing


def test_the_bars_of_a_backtest_bring_its_funding(db_path: Path, strategy: Strategies) -> None:
    with open_bars(db_path) as store:
        assert read_bars(store, strategy()).funding == {"hyperliquid": {BTC: FundingPayments()}}
