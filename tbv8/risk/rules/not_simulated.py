"""Orders that bars cannot fill fairly, or that no venue here takes."""

from __future__ import annotations

from collections.abc import Callable

from tbv8.risk.events import Terms
from tbv8.risk.rule import Request, Rule

_TYPES = ("market", "limit", "stop_market", "stop_limit")


def _of_terms(name: str, *, words: str, cure: str, denies: Callable[[Terms], bool]) -> Rule:
    return Rule(
        name=name,
        key=None,
        words=words,
        broken=lambda request: {} if request.terms and denies(request.terms) else None,
        scope="sending",
        cure=cure,
    )


def _has_other_type(request: Request) -> bool:
    """Return True if no step can fill it, such as a market order that waits for a parent."""
    terms = request.terms
    if terms is None:
        return False
    waits_at_market = terms.type == "market" and request.order.parent is not None
    return waits_at_market or terms.type not in _TYPES


ORDER_TYPE = Rule(
    name="order_type",
    key=None,
    words="an order of a type that is not simulated",
    broken=lambda request: {} if _has_other_type(request) else None,
    scope="sending",
    cure="use market, limit, stop-market or stop-limit orders, as children all but market orders",
)
PARENT_ORDER = _of_terms(
    "parent_order",
    words="a child without its parent",
    cure="send a parent and its children, of one symbol, together by submit_order_list",
    denies=lambda terms: terms.lacks_parent,
)
QUOTE_QUANTITY = _of_terms(
    "quote_quantity",
    words="a quantity in money",
    cure="give quantities in base units",
    denies=lambda terms: terms.is_quote_quantity,
)
EXEC_ALGORITHM = _of_terms(
    "exec_algorithm",
    words="an order that an execution algorithm would split",
    cure="send the parts yourself",
    denies=lambda terms: terms.has_algorithm,
)
EMULATION_TRIGGER = _of_terms(
    "emulation_trigger",
    words="an order that the engine would keep back",
    cure="leave emulation_trigger away: stops rest at the venue",
    denies=lambda terms: terms.is_emulated and terms.type != "market",
)
POST_ONLY = _of_terms(
    "post_only",
    words="a post-only stop-limit",
    cure="leave post_only away",
    denies=lambda terms: terms.is_post_only and terms.type == "stop_limit",
)
