"""The venue `binance_spot`; see docs/venues/binance.md."""

from __future__ import annotations

from tbv8.market import parse_time
from tbv8.venues.base import Venue
from tbv8.venues.binance.product import Product
from tbv8.venues.binance.source import history_source, rules_source

PRODUCT = Product(
    venue="binance_spot",
    opened_ms=parse_time("2017-08-17"),
    archive_folder="spot",
    rest_url="https://api.binance.com",
    rest_cure="another of Binance's hosts, such as https://data-api.binance.vision",
    api="/api/v3",
    ccxt_api="public",
    ccxt_klines="publicGetKlines",
    page_rows=1000,
    page_weights=((1000, 2),),
    weight_limit=6000,
    info_weight=20,
    info_takes_symbol=True,
)

VENUE = Venue(name=PRODUCT.venue, history=history_source(PRODUCT), rules=rules_source(PRODUCT))
