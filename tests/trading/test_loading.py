"""A user's class, its params and its exceptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tbv8.errors import ConfigError
from tbv8.trading.loading import StrategyError, check_params
from tests.backtest.builders import SCRIPTED, install, make_bars, make_strategy, run_strategy
from tests.lines import Line

EMA = {"module": "ema_cross", "class_name": "EmaCross"}
BAR_5 = "at the close of 2024-01-01T05:00:00Z"


@pytest.fixture
def run_scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Return a function that runs ten bars of Scripted with its last lines replaced by others."""

    def run(more: str) -> Any:
        install(monkeypatch, tmp_path / "more", "other", SCRIPTED + more)
        return run_strategy(
            make_strategy(module="other"), "hyperliquid", make_bars([100 + n for n in range(10)])
        )

    return run


@pytest.mark.parametrize(
    ("params", "said"),
    [
        pytest.param(
            {"fast": 50, "slow": 20}, "params: fast must be above 0 and below slow", id="order"
        ),
        pytest.param({"fast": 0}, "params: fast must be above 0", id="zero"),
        pytest.param(
            {"fast": "two"}, r"params\.fast: expected a whole number, got 'two'", id="type"
        ),
        pytest.param(
            {"fast": 2.5}, r"params\.fast: expected a whole number, got 2\.5", id="fraction"
        ),
        pytest.param(
            {"trade_size": 3}, "params: trade_size must be above 0 and at most", id="more"
        ),
        pytest.param({"quick": 3}, "params: .*unexpected keyword argument 'quick'", id="unknown"),
    ],
)
def test_params_are_refused_by_the_strategys_own_class(params: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=f"^config/strategies/test_v1.yaml: {said}"):
        check_params(make_strategy(**EMA, params=params))


def test_good_params_pass() -> None:
    check_params(make_strategy(**EMA, params={"fast": 3, "slow": 5, "trade_size": 0.5}))


def test_an_exception_in_a_callback_names_the_users_line(run_scripted: Any) -> None:
    with pytest.raises(StrategyError) as caught:
        run_scripted("        if number == 5:\n            {}['here']\n")

    line = SCRIPTED.count("\n") + 2
    assert str(caught.value) == (
        f"tbv8/strategies/other.py:{line}: KeyError: 'here' (strategy test_v1, in on_bar {BAR_5})"
    )
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None


def test_an_exception_in_what_a_strategy_builds_on_names_the_strategys_own_line(
    run_scripted: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    helper = "def help():\n    raise ValueError('no\\n  use')\n"
    install(monkeypatch, tmp_path / "more", "helping", helper)

    with pytest.raises(StrategyError) as caught:
        run_scripted(
            "        if number == 5:\n"
            "            from tbv8.strategies.helping import help\n"
            "            help()\n"
        )

    line = SCRIPTED.count("\n") + 3
    assert str(caught.value) == (
        f"tbv8/strategies/other.py:{line}: ValueError: no use (strategy test_v1, in on_bar "
        f"{BAR_5}, raised at tbv8/strategies/helping.py:2)"
    )


@pytest.mark.parametrize(
    ("callback", "where"),
    [
        ("on_start", "in on_start."),
        ("on_stop", "in on_stop at the close of 2024-01-01T10:00:00Z"),
    ],
)
def test_an_exception_at_either_end_is_an_error_too(
    run_scripted: Any, callback: str, where: str
) -> None:
    with pytest.raises(StrategyError, match=f"ValueError: no .strategy test_v1, {where}"):
        run_scripted(f"\n    def {callback}(self):\n        raise ValueError('no')\n")


def test_no_callback_runs_behind_one_that_raised(
    run_scripted: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StrategyError, match="KeyError: 'here'"):
        run_scripted(
            "        print(number)\n"
            "        if number == 5:\n"
            "            self.submit_order(factory.market(self.config.instrument_id,\n"
            "                OrderSide.BUY, Quantity.from_str('0.100')))\n"
            "            {}['here']\n\n"
            "    def on_order_filled(self, event):\n"
            "        print('filled')\n\n"
            "    def on_stop(self):\n"
            "        print('stopped')\n"
        )

    assert capsys.readouterr().out.split() == ["1", "2", "3", "4", "5"]


def test_an_error_that_only_the_engine_saw_ends_the_run(run_scripted: Any) -> None:
    with pytest.raises(StrategyError) as caught:
        run_scripted("        if number == 5:\n            self.log.error('so bad')\n")

    assert str(caught.value) == (
        Line("test_v1: the run ended at 2024-01-01T05:00:00Z: the strategy stopped itself, or ...")
    )


def test_an_interrupt_inside_of_a_callback_is_no_error_of_the_strategy(run_scripted: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_scripted("        if number == 5:\n            raise KeyboardInterrupt\n")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        pytest.param("import nowhere\n", "other.py:1: ModuleNotFoundError", id="import"),
        pytest.param(
            "from nautilus_trader.model.data import Bar\n",
            "other.py:1: ModuleNotFoundError: .*: tbv8 uses NautilusTrader 2: "
            "from nautilus_trader.model import Bar; docs/strategies.md lists what changed "
            ".strategy test_v1, in import.$",
            id="import of NautilusTrader 1",
        ),
        pytest.param("def (:\n", "other.py:1: SyntaxError", id="syntax"),
        pytest.param("x = 1\n", "other.py: AttributeError", id="no class"),
    ],
)
def test_a_module_that_cannot_be_imported_is_the_users(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, said: str
) -> None:
    install(monkeypatch, tmp_path / "more", "other", source)

    with pytest.raises(StrategyError, match=f"tbv8/strategies/{said}"):
        check_params(make_strategy(module="other"))


def test_a_rejected_order_is_counted_with_its_reason(run_scripted: Any) -> None:
    run = run_scripted(
        "        if number == 5:\n"
        "            quantity = Quantity.from_str('0.100')\n"
        "            self.submit_order(factory.limit(self.config.instrument_id, OrderSide.BUY,\n"
        "                quantity, Price.from_str('200.0'), post_only=True))\n"
    )

    assert run.orders == {"rejected": 1}
    assert run.refused == {"POST_ONLY LIMIT BUY order limit px of 200.0 would have been a TAKER": 1}
    assert run.fills == ()
