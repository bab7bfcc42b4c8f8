"""Rules for the time in force."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, OrderCheck, Rule

_LASTING = ("gtc", "gtd", "day")
_AT_ONCE = ("ioc", "fok")


def _is_not_simulated(check: OrderCheck) -> bool:
    terms = check.terms
    if terms is None or terms.time_in_force in _LASTING:
        return False
    is_child = check.order.parent is not None
    return is_child or terms.is_stop or terms.time_in_force not in _AT_ONCE


def _has_expired(check: OrderCheck) -> Numbers | None:
    terms = check.terms
    if terms is None or terms.time_in_force != "gtd" or terms.type == "market":
        return None
    return {} if terms.ends_ns <= terms.sent_ns else None


TIME_IN_FORCE = Rule(
    name="time_in_force",
    description="a time in force that is not simulated",
    find_breach=lambda check: {} if _is_not_simulated(check) else None,
    scope="sending",
    cure="use GTC, GTD or DAY; IOC and FOK only without a trigger or a parent",
)
EXPIRE_TIME = Rule(
    name="expire_time",
    description="an order whose time is over when it counts",
    find_breach=_has_expired,
    scope="sending",
    cure="set expire_time after the close at which it is sent",
)
