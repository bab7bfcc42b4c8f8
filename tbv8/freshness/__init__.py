"""Freshness of data and results, computed from the ledger and the manifests at each start.

For a quick start, this package imports nothing heavier than msgspec.
"""
