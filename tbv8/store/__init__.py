"""The database: every SQL statement of the project.

database        opening the file, its errors and its revision; standard library only
schema          the tables, and their migrations
ledger          the known spans, sources and digests of each series and UTC day
bars, funding   rows of bars and funding rates, by Arrow; the venue of each funding rate
ticks           the recorder's writes: trades, quotes, marks, 1m bars, gaps
tick_tables     trades, quotes and marks as Arrow tables
sessions        the journal of paper sessions
trials          the trials of experiments
natives         the native market of each series
locks           lock files: one recorder, one process per session
verify, prune, export       checks against the ledger; deleting; Parquet files and copies
"""
