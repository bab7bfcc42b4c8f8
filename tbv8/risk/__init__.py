"""The account, its limits, rules and costs. Pure: the same for a simulation and live.

Quantities are in base units, below 0 when short; money is in USD, and USDT and USDC count as USD.
Sums are exact: 60 digits, whatever the caller's own decimal context is.
"""
