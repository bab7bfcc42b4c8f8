"""A trial's key: of all that it is made of and nothing else, whatever experiment asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tbv8.config.experiments import vary
from tbv8.config.files import Routing
from tbv8.config.records import MonteCarlo, WalkForward
from tbv8.config.space import Axis, points
from tbv8.errors import ConfigError, DataError
from tbv8.experiments.blocks import RechainedMarket
from tbv8.experiments.keys import Keys, TrialSpan, subject_of
from tbv8.experiments.survey import Survey
from tbv8.market import DAY_MS, ONE_MINUTE, Span
from tbv8.store.database import Query, open_reader
from tbv8.store.trials import Details, Trial, open_trials
from tests.backtest.builders import rules
from tests.builders import BTC, hold
from tests.experiments.builders import FIVE_MINUTES, axis, days, ema, experiment, tables

SPAN = days(0, 3)
FAST, SLOW = axis("fast", 5, 10), axis("slow", 20, 50)
AXES: tuple[Axis, ...] = (
    FAST,
    axis("trade_size", 0.001, 0.002),
    axis("max_leverage", 1, 2.5, place="risk"),
    axis("max_position_btc", 0.01, 0.02, place="risk"),
    axis("slippage_ticks", 0, 3, place="backtest"),
    axis("starting_balance_usd", 5000, 10000, place="backtest"),
    axis("detail", "1m", "none", place="backtest"),
)


@pytest.fixture
def query(db_path: Path) -> Iterator[Query]:
    bars = tables(3)
    hold(db_path, BTC, SPAN, bars["BTC/USDT", ONE_MINUTE])
    hold(db_path, BTC, SPAN, bars["BTC/USDT", FIVE_MINUTES], dataset="bars_5m")
    with open_reader(db_path) as asked:
        yield asked


def key_of(query: Query, strategy: Any) -> bytes:
    keys = Keys(query, strategy, ())
    return keys.key((), keys.span)


def test_a_point_has_the_key_of_a_strategy_with_its_values(query: Query) -> None:
    """So experiments with other axes, and one without any, share their trials."""
    strategy = ema(SPAN, detail="1m")
    keys = Keys(query, strategy, AXES)
    found = experiment(strategy, *AXES)

    for point in points(found.search):
        assert keys.key(point, keys.span) == key_of(query, vary(strategy, AXES, point))
    seen = {keys.key(point, keys.span) for point in points(found.search)}
    assert len(seen) == found.search.size == 128


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"params": {"fast": 20, "slow": 51}}, id="a param"),
        pytest.param({"params": {"fast": 20.0, "slow": 50}}, id="a param's type"),
        pytest.param({"slippage_ticks": 1}, id="slippage"),
        pytest.param({"starting_balance_usd": Decimal(1)}, id="balance"),
        pytest.param({"detail": "1m"}, id="detail"),
        pytest.param({"span": days(0, 2)}, id="span"),
        pytest.param({"span": days(1, 3), "warm_up_ms": DAY_MS}, id="warm-up"),
        pytest.param({"timeframe": ONE_MINUTE}, id="timeframe"),
        pytest.param({"instrument": rules(taker_fee="0.001")}, id="fee"),
        pytest.param({"module": "breakout", "class_name": "Breakout"}, id="strategy"),
    ],
)
def test_whatever_changes_a_number_changes_the_key(query: Query, changes: dict[str, Any]) -> None:
    assert key_of(query, ema(SPAN)) != key_of(query, ema(**{"span": SPAN, **changes}))


def test_names_and_the_shadow_venue_change_nothing(query: Query) -> None:
    strategy = ema(SPAN)
    other = replace(
        strategy,
        strategy_id="other",
        path=Path("config/strategies/other.yaml"),
        routing=Routing(
            primary="hyperliquid", secondary="mexc", mode="PRIMARY_LIVE_SECONDARY_SHADOW"
        ),
        instruments={**strategy.instruments, "mexc": {"BTC/USDT": rules()}},
        starting_balance_usd=Decimal("10000.00"),
    )

    assert key_of(query, other) == key_of(query, strategy)


def test_bars_of_the_span_are_part_of_the_key_and_others_are_not(
    query: Query, db_path: Path
) -> None:
    before = key_of(query, ema(days(0, 2)))
    minutes = tables(3)["BTC/USDT", FIVE_MINUTES]
    changed = minutes.set_column(5, "volume", [[1.0] * minutes.num_rows])
    rows = changed.filter([ts >= days(2, 3).start_ms for ts in changed["ts_ms"].to_pylist()])

    hold(db_path, BTC, days(2, 3), rows, dataset="bars_5m")

    with open_reader(db_path) as now:
        assert key_of(now, ema(days(0, 2))) == before
        assert key_of(now, ema(SPAN)) != key_of(query, ema(SPAN))


def test_a_variant_is_the_same_on_any_span_and_a_subject_names_class_and_series(
    query: Query,
) -> None:
    keys = Keys(query, ema(SPAN), (FAST, SLOW))
    whole, part = keys.span, TrialSpan(days(1, 2), DAY_MS)

    assert keys.variant((5, 20), whole) == keys.variant((5, 20), part)
    assert keys.variant((5, 20), whole) != keys.variant((5, 50), whole)
    assert keys.key((5, 20), whole) != keys.key((5, 20), part)
    assert subject_of(ema(SPAN)) == "ema_cross.EmaCross on sample:BTC/USDT"


WALK = WalkForward(
    train_ms=DAY_MS, test_ms=DAY_MS, anchored=False, warm_up_ms=0, purge_ms=0, plateau=0
)


def write(db_path: Path, survey: Survey, asked: Any, **changes: Any) -> None:
    values: dict[str, Any] = {"status": "ok", "total_return": 0.1, "trades": 5} | changes
    trial = Trial(
        key=asked.key,
        subject=subject_of(survey.experiment.strategy),
        variant=survey.variant(asked),
        start_ms=0,
        end_ms=1,
        digest=b"d" * 32,
        **values,
    )
    with open_trials(db_path) as store:
        store.write(trial, Details(stats=b"{}", equity=b""))


def test_what_is_missing_shrinks_row_by_row_and_choices_follow_from_rows(
    query: Query, db_path: Path
) -> None:
    survey = Survey(experiment(ema(SPAN), FAST, SLOW, walk_forward=WALK), query)
    assert [one.part for one in survey.fixed_trials] == [""] * 4 + ["is:0"] * 4 + ["is:1"] * 4

    for number, one in enumerate(survey.fixed_trials):
        write(db_path, survey, one, total_return=number % 4 / 10)

    with open_reader(db_path) as now:
        assert survey.missing(now, survey.fixed_trials) == []
        assert survey.choices(now) == [3, 3]
        tested = survey.test_trials([3, None])
        assert [(one.part, one.number, one.point) for one in tested] == [("oos:0", 3, (10, 50))]
        # the second training is the first test: one row for both
        assert survey.missing(now, survey.test_trials([3, 3])) == survey.test_trials([3, 3])[1:]


def test_a_trial_whose_strategy_read_a_file_is_stale_when_the_file_changes(
    query: Query, db_path: Path, tmp_path: Path
) -> None:
    survey = Survey(experiment(ema(SPAN, root=tmp_path), FAST), query)
    write(db_path, survey, survey.search[0], files='{"signals.csv": "absent"}')
    write(db_path, survey, survey.search[1])
    with open_reader(db_path) as now:
        assert survey.missing(now, survey.search) == []

        (tmp_path / "signals.csv").write_text("1\n")

        assert survey.missing(now, survey.search) == survey.search[:1]


DRAWN = MonteCarlo(paths=9, block_days=2, seed=1, markets=2)


def test_the_chosen_trial_alone_is_drawn_and_its_jobs_have_keys_of_their_own(
    query: Query, db_path: Path
) -> None:
    survey = Survey(experiment(ema(days(0, 15)), FAST, SLOW, monte_carlo=DRAWN), query)
    for number, one in enumerate(survey.search):
        write(db_path, survey, one, total_return=number % 3 / 10)

    with open_reader(db_path) as now:
        assert survey.best_number(now) == 2
        by_trade, *markets = survey.dependent_trials(now)

    assert (by_trade.part, by_trade.number, by_trade.by_trade) == ("trades", 2, True)
    assert [(one.part, one.number) for one in markets] == [("mc:0", 2), ("mc:1", 2)]
    assert markets[1].market == RechainedMarket(block_days=2, seed=1, path=1)
    assert {one.point for one in (by_trade, *markets)} == {(10, 20)}
    changes: list[dict[str, Any]] = [
        {},
        {"block_days": 3},
        {"seed": 2},
        {"markets": 3},
        {"paths": 4},
    ]
    keys = [
        [one.key for one in Survey(changed, query).monte_carlo_trials(2)]
        for change in changes
        for changed in [replace(survey.experiment, monte_carlo=replace(DRAWN, **change))]
    ]
    assert keys[3][:3] == keys[4] == keys[0]  # more markets or paths of days
    assert len({*keys[0], *keys[1], *keys[2]}) == 1 + 3 * 2
    assert survey.search[2].key not in keys[0]
    subjects = [survey.subject(one) for one in (survey.search[2], by_trade, *markets)]
    assert subjects[0] == subject_of(ema(SPAN))
    assert subject_of(ema(SPAN)) not in subjects[1:]
    assert survey.monte_carlo_trials(None) == []


def test_markets_of_a_span_without_a_whole_day_are_refused(query: Query) -> None:
    span = Span(SPAN.start_ms + 1, SPAN.start_ms + DAY_MS)
    short = experiment(ema(span), monte_carlo=DRAWN)

    with pytest.raises(ConfigError, match=r"monte_carlo.markets: .* has no whole UTC day"):
        Survey(short, query)
    Survey(replace(short, monte_carlo=replace(DRAWN, markets=0, block_days=1)), query)


@pytest.mark.parametrize(("span_days", "most"), [(182, 36), (10, 2), (4, 1)])
def test_blocks_longer_than_a_fifth_of_the_span_are_refused(
    query: Query, span_days: int, most: int
) -> None:
    asked = experiment(ema(days(0, span_days)), monte_carlo=replace(DRAWN, markets=0))

    with pytest.raises(ConfigError, match=rf"monte_carlo.block_days: blocks of .* span, {most}$"):
        Survey(replace(asked, monte_carlo=replace(DRAWN, markets=0, block_days=most + 1)), query)
    Survey(replace(asked, monte_carlo=replace(DRAWN, markets=0, block_days=most)), query)


def test_a_span_without_a_window_is_refused(query: Query) -> None:
    walk = replace(WALK, train_ms=3 * DAY_MS)

    with pytest.raises(ConfigError, match="walk_forward: warm_up and train leave nothing of"):
        Survey(experiment(ema(SPAN), FAST, walk_forward=walk), query)


def test_an_edited_day_is_refused_when_it_is_read_and_never_keyed(
    query: Query, db_path: Path
) -> None:
    from tbv8.experiments.run import run_experiment
    from tests.builders import shell

    with open_reader(db_path) as now:
        whole = key_of(now, ema(SPAN))
    shell(db_path, "UPDATE bars_5m SET close = close + 1 WHERE ts_ms = ?", (SPAN.start_ms,))

    with open_reader(db_path) as now:
        assert key_of(now, ema(SPAN)) != whole
    with pytest.raises(DataError, match="doit verify"):
        run_experiment(
            experiment(ema(SPAN), FAST), db_path=db_path, results_path=db_path.parent / "results"
        )
