"""Rules against orders that bars cannot simulate fairly, or that no venue here accepts."""

from __future__ import annotations

from tbv8.risk.rule import OrderCheck, Rule, terms_rule

_TYPES = ("market", "limit", "stop_market", "stop_limit")


def _has_other_type(check: OrderCheck) -> bool:
    """Return True if no step can fill the order, such as a market order that waits for a parent."""
    terms = check.terms
    if terms is None:
        return False
    waits_at_market = terms.type == "market" and check.order.parent is not None
    return waits_at_market or terms.type not in _TYPES


ORDER_TYPE = Rule(
    name="order_type",
    description="an order of a type that is not simulated",
    find_breach=lambda check: {} if _has_other_type(check) else None,
    scope="sending",
    cure="use market, limit, stop-market or stop-limit orders, as children all but market orders",
)
PARENT_ORDER = terms_rule(
    "parent_order",
    description="a child without its parent",
    cure="send a parent and its children, of one symbol, together by submit_order_list",
    breaks=lambda terms: terms.lacks_parent,
)
QUOTE_QUANTITY = terms_rule(
    "quote_quantity",
    description="a quantity in money",
    cure="give quantities in base units",
    breaks=lambda terms: terms.is_quote_quantity,
)
EXEC_ALGORITHM = terms_rule(
    "exec_algorithm",
    description="an order that an execution algorithm would split",
    cure="send the parts yourself",
    breaks=lambda terms: terms.has_algorithm,
)
EMULATION_TRIGGER = terms_rule(
    "emulation_trigger",
    description="an order that the engine would keep back",
    cure="leave emulation_trigger out: stops rest at the venue",
    breaks=lambda terms: terms.is_emulated and terms.type != "market",
)
POST_ONLY = terms_rule(
    "post_only",
    description="a post-only stop-limit",
    cure="leave post_only out",
    breaks=lambda terms: terms.is_post_only and terms.type == "stop_limit",
)
