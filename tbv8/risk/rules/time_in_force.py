"""Rules for the time in force."""

from __future__ import annotations

from tbv8.risk.events import Terms
from tbv8.risk.rule import Numbers, OrderCheck, Rule, terms_rule

_LASTING = ("gtc", "gtd", "day")
_AT_ONCE = ("ioc", "fok")


def _is_not_simulated(terms: Terms) -> bool:
    if terms.time_in_force in _LASTING:
        return False
    return terms.is_stop or terms.time_in_force not in _AT_ONCE


def _has_expired(check: OrderCheck) -> Numbers | None:
    terms = check.terms
    if terms is None or terms.time_in_force != "gtd" or terms.type == "market":
        return None
    return {} if check.order.parent is None and terms.ends_ns <= terms.sent_ns else None


TIME_IN_FORCE = terms_rule(
    "time_in_force",
    description="a time in force that is not simulated",
    cure="use GTC, GTD or DAY, or IOC and FOK without a trigger",
    breaks=_is_not_simulated,
)
EXPIRE_TIME = Rule(
    name="expire_time",
    description="an order whose time is over when it counts",
    find_breach=_has_expired,
    scope="sending",
    cure="set expire_time after the close at which it is sent",
)
