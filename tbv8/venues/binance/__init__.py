"""Binance's histories: archives of monthly and daily files, and REST APIs for the rest.

    product <- all              what tells Spot from the USD-M perpetuals, as data
    plan <- archive, history    which file or call for which time
    minutes <- archive, rest    rows of 1m bars: checks, mending, holes
    host <- rest, history       tries, waits and limits of one host
    history, funding, rules     what is asked for, over them
    source                      all of it as what a venue's record has

Only `product`, `plan` and `source` are light enough for the start: the others bring requests, numpy
and pyarrow with them, and ccxt (two seconds) comes with the first page of bars that REST is asked
for.
"""
