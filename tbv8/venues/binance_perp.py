"""The venue `binance_perp`: Binance's USD-M perpetual futures; see docs/venues/binance.md.

Unlike those of Spot, newer archive files have a header row, and all times are milliseconds. The
parser detects both from the rows.
"""

from __future__ import annotations

from tbv8.market import parse_time
from tbv8.venues.base import Venue
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.source import funding_source, history_source, rules_source

PRODUCT = Product(
    venue="binance_perp",
    opened_ms=parse_time("2019-09-08"),
    archive_folder="futures/um",
    rest_url="https://fapi.binance.com",
    rest_cure="a proxy of it that answers here",
    api="/fapi/v1",
    ccxt_api="fapiPublic",
    ccxt_klines="fapiPublicGetKlines",
    page_rows=1500,
    page_weights=((99, 1), (499, 2), (1000, 5), (1500, 10)),
    weight_limit=2400,
    info_weight=1,
    info_takes_symbol=False,
)

VENUE = Venue(
    name=PRODUCT.venue,
    history=history_source(PRODUCT),
    funding=funding_source(PRODUCT),
    rules=rules_source(PRODUCT),
)
