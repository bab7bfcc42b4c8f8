"""The account and what it may do: limits, rules, costs. Pure: for a simulation and live alike.

Quantities are in base units, below 0 when short; money is in USD, and USDT and USDC count as USD.
Sums are exact: 60 digits, whatever the caller's own decimal context is.
"""
