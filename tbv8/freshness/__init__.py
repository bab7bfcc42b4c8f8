"""Freshness of data and results, computed from the ledger and the manifests at each start.

It runs at each start, so this package imports nothing heavier than the standard library.
"""
