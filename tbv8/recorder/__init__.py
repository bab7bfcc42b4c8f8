"""The recorder: writes live trades, quotes, 1m bars and a list of all gaps into the database.

    tracker     one series: events in, rows out; deduplicates and finds gaps. Pure, no clock
    stream, dedupe, quotes, minutes, gaps       the parts of a tracker
    outbox      the rows from all trackers that wait for the writer
    writer      commits the outbox to the database, one transaction at a time
    link        one venue's socket: connect, subscribe, keep alive, receive
    rest        one venue's REST API, within its rate limit
    facts       the venue's clock and its listed symbols, by REST
    refill      the REST requests that trackers need: bars of gaps, checks of silent streams
    polls       mark prices and funding by REST, at intervals
    status      the state of all parts as plain records
    view        the status as a table on a terminal, as lines elsewhere
    metrics     the status as `/metrics` and `/healthz`
    run         all parts together, until a request to stop
    enabled, pace       the venues to record; timeouts and intervals

Only this package is async. Times in trackers are on the venue's clock (see `link.Clock`).
"""
