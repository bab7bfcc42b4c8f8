"""A result as one page: numbers, charts, trades, risk events, and its inputs.

Numbers come from the full data; long curves are drawn from fewer points, with a note. The page has
no clock, path or random id, so that it is the same on any machine.
"""

from __future__ import annotations

from tbv8.page.html import element, page, section
from tbv8.page.plotly import PLOTLY_FILE
from tbv8.results.read import Result
from tbv8.results.tearsheet.curves import drawdown_part, equity_part, rolling_part
from tbv8.results.tearsheet.events import events_part
from tbv8.results.tearsheet.exposure import exposure_part, hold_at_exposure
from tbv8.results.tearsheet.groups import groups_part
from tbv8.results.tearsheet.head import headline_tiles, key_part, page_header
from tbv8.results.tearsheet.months import months_part
from tbv8.results.tearsheet.numbers import numbers_part
from tbv8.results.tearsheet.prices import prices_part
from tbv8.results.tearsheet.round_trips import round_trips
from tbv8.results.tearsheet.shadow import priced_part, shadow_part
from tbv8.results.tearsheet.spread import spread_part
from tbv8.results.tearsheet.trades import trades_part


def tearsheet(result: Result) -> str:
    """Return a result's page, under 8 MB whatever the length of the run."""
    summary, trips = result.summary, round_trips(result)
    exposed = hold_at_exposure(result.primary)
    parts = [
        numbers_part(result, exposed),
        equity_part(result, exposed),
        drawdown_part(result),
        months_part(result),
        rolling_part(result),
        exposure_part(result),
        prices_part(result, trips),
        trades_part(result, trips),
        groups_part(trips),
        spread_part(result, trips),
        *([shadow_part(result)] if result.shadow else []),
        *([priced_part(result)] if summary.priced else []),
        events_part(result),
        key_part(result),
    ]
    links = [element("a", title, href=f"#{id_}") for id_, title, _ in parts]
    banner = None
    if summary.simulated:
        banner = (
            f"SIMULATED: the data of {summary.market_data_venue} are synthetic. "
            "No market ever traded at these prices."
        )
    elif result.addresses:
        sources = "; ".join(
            f"bars of {venue} came from {' and '.join(addresses)}, see config/venues/{venue}.yaml"
            for venue, addresses in result.addresses.items()
        )
        banner = f"NOT THE VENUE'S OWN DATA: {sources}."
    kind = " (paper)" if result.paper_name else " (simulated)" if summary.simulated else ""
    return page(
        f"{summary.strategy_id}{kind} · tbv8",
        page_header(result),
        element("nav", links, aria_label="Parts of this page"),
        headline_tiles(result),
        [section(id_, title, content) for id_, title, content in parts],
        banner=banner,
        plotly_path=f"../{PLOTLY_FILE}" if result.shares_plotly else None,
    )
