"""Binance's histories: archives of monthly and daily files, and REST APIs for the rest.

    product <- all              the differences between Spot and the USD-M perpetuals, as data
    plan <- archive, history    the files and calls that fill a gap
    minutes <- archive, rest    rows of 1m bars: checks, mending, holes
    host <- rest, history       retries, waits and limits of one host
    history, funding, rules     the sessions, and the trading rules
    source                      all of it as fields of a venue's record

Only `product`, `plan` and `source` are imported at the start: the others import requests, numpy and
pyarrow. ccxt (two seconds) is imported with the first page of bars by REST.
"""
