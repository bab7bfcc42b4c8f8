"""A market of 1000 units is recorded in single ones; another market never mixes with it."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tbv8.errors import ConfigError
from tbv8.recorder.run import RecorderOptions, record
from tests.builders import rows, shell
from tests.recorder.rig import QUICK, check, recording, venue, wait_until
from tests.servers.hyperliquid import hyperliquid_market, hyperliquid_server
from tests.servers.live_market import Truth, VenueClock

PEPE, K = "PEPE/USDT", Decimal(1000)


def price(value: float | None) -> float | None:
    return None if value is None else float(Decimal(str(value)) / K)


def amount(value: float | None) -> float | None:
    return None if value is None else float(Decimal(str(value)) * K)


def of_one_unit(truth: Truth) -> Truth:
    """Return what happened to one PEPE, where the venue tells of 1000."""
    return Truth(
        [t._replace(price=price(t.price), size=amount(t.size)) for t in truth.trades],
        [
            q._replace(
                bid_price=price(q.bid_price),
                bid_size=amount(q.bid_size),
                ask_price=price(q.ask_price),
                ask_size=amount(q.ask_size),
            )
            for q in truth.quotes
        ],
        [
            b._replace(
                volume=amount(b.volume),
                **{name: price(getattr(b, name)) for name in ("open", "high", "low", "close")},
            )
            for b in truth.bars
        ],
    )


@pytest.mark.parametrize("clock", [60.0], indirect=True)
def test_trades_quotes_and_minutes_are_of_one_unit(db_path: Path, clock: VenueClock) -> None:
    with hyperliquid_server(
        [hyperliquid_market("kPEPE", rate=1, quote_rate=1)], clock=clock
    ) as server:
        pepe = venue("hyperliquid", server, {PEPE: "kPEPE"}, multipliers={PEPE: K})
        with recording(db_path, [pepe], local_ms=clock.now_ms) as running:
            wait_until(lambda: len(rows(db_path, "SELECT 1 FROM bars_1m")) >= 3)
            assert running.error is None
        check(db_path, "hyperliquid", of_one_unit(server.truth("kPEPE")), symbol=PEPE)


@pytest.mark.parametrize(
    ("symbols", "multipliers", "present"),
    [
        pytest.param({PEPE: "kPEPE"}, {}, "'kPEPE'", id="unit"),
        pytest.param({PEPE: "PEPE2"}, {PEPE: K}, "'PEPE2' in units of 1000", id="name"),
    ],
)
def test_a_series_of_another_market_than_its_rows_is_refused(
    db_path: Path, symbols: dict[str, str], multipliers: dict[str, Decimal], present: str
) -> None:
    shell(
        db_path,
        "INSERT INTO native_markets VALUES ('hyperliquid', ?, 'kPEPE', 'kPEPE', '1000')",
        (PEPE,),
    )
    pepe = venue("hyperliquid", None, symbols, multipliers=multipliers)

    with pytest.raises(ConfigError) as refused:
        record(db_path, [pepe], RecorderOptions(pace=QUICK, for_s=1))

    assert str(refused.value) == (
        f"config/venues/hyperliquid.yaml: symbols.{PEPE}: its stored rows are of 'kPEPE' in units "
        f"of 1000, but the file has {present} now: write that back, or drop the rows with "
        f"`doit prune --everything --venue hyperliquid --symbol {PEPE}` and fetch or import them "
        "again"
    )
