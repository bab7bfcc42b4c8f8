"""The recorder: sockets -> trades, quotes and whole minutes in the store, and a list of the gaps.

    tracker        one series: dedupe, minutes, gaps. Pure: events and times in, rows out
    outbox      rows from the trackers that wait for the writer
    link        one venue's connection: dial, subscribe, keep alive, receive
    refill      one venue's REST: requests for the trackers, within the venue's limits
    writer      from the outbox to the database, a transaction at a time
    view        the table on a terminal, a line every 10 s elsewhere
    metrics     /metrics and /healthz
    run         all parts together, until a request to stop

Only this package is async. Times in trackers are the venue's clock, as estimated by `link.Clock`.
"""
