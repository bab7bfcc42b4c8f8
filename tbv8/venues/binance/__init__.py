"""Binance's histories: archives of monthly and daily files, and REST for the rest.

    product                 the differences between Spot and the USD-M perpetuals, as data
    plan                    the files and requests that fill gaps
    host                    requests to one host: retries, waits, the weight limit
    files, rest             the archive's files and the REST API, on top of `host`
    archive, minutes        parsers and checks of files and of 1m bars
    history, funding        the sessions
    rules                   the trading rules
    source                  all of it as fields of a venue's record

Only `product`, `plan` and `source` are imported at the start; the others import requests, numpy and
pyarrow. The first page of bars by REST imports ccxt, which takes two seconds.
"""
