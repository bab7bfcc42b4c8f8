"""History into the store, from venues and from files.

fill        gaps of the ledger, from a venue's history
importing   a file of 1m bars
compare     stored bars beside those of a venue's API
sessions    a session with a venue's history; target: checks of the series that rows go to
"""
