"""The times in force that are accepted."""

from __future__ import annotations

from tbv8.risk.rule import Numbers, Request, Rule

_LASTING = ("gtc", "gtd", "day")
_AT_ONCE = ("ioc", "fok")


def _not_simulated(request: Request) -> Numbers | None:
    terms = request.terms
    if terms is None or terms.time_in_force in _LASTING:
        return None
    return {} if terms.is_stop or terms.time_in_force not in _AT_ONCE else None


def _over(request: Request) -> Numbers | None:
    terms = request.terms
    if terms is None or terms.time_in_force != "gtd" or terms.type == "market":
        return None
    return {} if request.order.parent is None and terms.ends_ns <= terms.sent_ns else None


TIME_IN_FORCE = Rule(
    name="time_in_force",
    key=None,
    words="a time in force that is not simulated",
    broken=_not_simulated,
    scope="sending",
    cure="use GTC, GTD or DAY, or IOC and FOK without a trigger",
)
EXPIRE_TIME = Rule(
    name="expire_time",
    key=None,
    words="an order whose time is over when it counts",
    broken=_over,
    scope="sending",
    cure="set expire_time after the close at which it is sent",
)
