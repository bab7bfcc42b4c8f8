"""The recorder: sockets -> trades, quotes and whole minutes in the store, and a list of the gaps.

    desk        one series: dedupe, minutes, gaps. Pure: events and times in, rows out
    outbox      what waits for the writer, and where desks put it
    link        one venue's connection: dial, subscribe, keep alive, receive
    refill      one venue's REST: what desks want to know, within the venue's limits
    writer      from the outbox to the database, a transaction at a time
    view        the table on a terminal, a line every 10 s elsewhere
    metrics     /metrics and /healthz
    run         all of it together, until it is told to stop

Only this package is async. Times that desks see are the venue's clock, as `link.Clock` knows it.
"""
