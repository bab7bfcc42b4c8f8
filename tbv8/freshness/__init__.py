"""What is stale, and why: questions to the ledger and to the manifests, nothing remembered.

Only the standard library is used below this package, since it is asked at each start.
"""
