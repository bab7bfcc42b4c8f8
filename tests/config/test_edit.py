"""Values of a venue's file changed in place: every other line stays, byte by byte."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tbv8.config.document import read_document
from tbv8.config.edit import edit_instruments
from tbv8.errors import ConfigError
from tests.builders import ROOT

BLOCK = """\
# a file of somebody with habits
venue:   mexc     # two words

symbols:
    - BTC/USDT
    - "ETH/USDT"
instruments:
    ETH/USDT:      # first the second
        tick_size: '0.05'   # quoted
        lot_size:  0.01
        maker_fee: 0
        taker_fee: 0.0002

        max_leverage: 100
    BTC/USDT: {tick_size: "0.1", lot_size: 0.0001, maker_fee: 0, taker_fee: 2e-4}
redirect_hosts: [ a.example,b.example ]
"""
PATH = Path("config/venues/mexc.yaml")


def test_only_the_lines_of_the_values_change() -> None:
    changes = {
        "ETH/USDT": {"tick_size": Decimal("0.01"), "min_notional_usd": Decimal(5)},
        "BTC/USDT": {"max_leverage": Decimal(200)},
    }

    edited = edit_instruments(BLOCK, changes, path=PATH)

    was, now = BLOCK.splitlines(), edited.splitlines()
    assert [line for line in was if line not in now] == [
        "        tick_size: '0.05'   # quoted",
        was[14],
    ]
    added = [line for line in now if line not in was]
    assert added[0].startswith("        tick_size: '0.01'")
    assert added[0].endswith("# quoted")
    assert added[1] == "        min_notional_usd: 5"
    assert added[2].endswith("taker_fee: 2e-4, max_leverage: 200}")
    assert [line for line in now if line in was] == [line for line in was if line in now]


@pytest.mark.parametrize("name", ["hyperliquid", "mexc"])
@settings(max_examples=15)
@given(
    values=st.dictionaries(
        st.sampled_from(["tick_size", "lot_size", "maker_fee", "max_leverage", "multiplier"]),
        st.decimals(Decimal("0.00000001"), 5000, places=8),
    )
)
def test_a_shipped_file_is_read_with_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, name: str, values: dict[str, Decimal]
) -> None:
    text = (ROOT / f"config/venues/{name}.yaml").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("edited") / f"{name}.yaml"

    path.write_text(edit_instruments(text, {"ETH/USDT": values}, path=path), encoding="utf-8")

    read = read_document(path, root=path.parent).value["instruments"]["ETH/USDT"]
    assert {key: Decimal(str(read[key])) for key in values} == values
    unchanged = path.read_text(encoding="utf-8").splitlines()[:-1]
    assert unchanged == text.splitlines()[:-1]


def test_a_layout_that_ruamel_would_change_line_by_line_is_refused() -> None:
    folded = BLOCK.replace("{tick_size", "{\n      tick_size")

    with pytest.raises(ConfigError, match="change the values by hand"):
        edit_instruments(folded, {"BTC/USDT": {"max_leverage": Decimal(7)}}, path=PATH)
