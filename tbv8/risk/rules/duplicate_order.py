"""The rule against sending an order twice."""

from __future__ import annotations

from tbv8.risk.rule import terms_rule

DUPLICATE_ORDER = terms_rule(
    "duplicate_order",
    description="an order that was sent before",
    cure="make a new order each time",
    breaks=lambda terms: terms.is_repeated,
)
