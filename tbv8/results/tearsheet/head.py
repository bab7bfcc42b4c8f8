"""The page's head, with the run, its rules, the cautions and four numbers; its end, the key."""

from __future__ import annotations

import json

import msgspec

from tbv8.config.document import plain
from tbv8.config.source import class_text
from tbv8.page.html import Html, element, join, tiles
from tbv8.page.words import number
from tbv8.results.read import Result
from tbv8.results.summary import cautions, funding_words, warm_up_words
from tbv8.results.tearsheet.part import PERCENT, SIGNED_PERCENT, TWO_PLACES, Part, caption, moment
from tbv8.text import counted

_PARAM = 60  # characters of a param in the head; the end of the page has all of it


def page_header(result: Result) -> Html:
    """Return the run's name, facts, rules, limits and cautions."""
    summary, span = result.summary, result.summary.span
    simulated = " (simulated)" if summary.simulated else ""
    facts = (
        f"{', '.join(summary.symbols)}, {counted(summary.bars, f'{summary.timeframe} bar')} of "
        f"{summary.market_data_venue}{simulated}, "
        f"{moment(span['start'])} to {moment(span['end'])} UTC"
        f"{warm_up_words(summary)}"
    )
    matched = "minute by minute" if summary.detail == "1m" else "bar by bar"
    rules = f"Orders are matched {matched}, with the rules and fees of {result.primary.venue}"
    if result.shadow:
        rules += f"; the shadow run uses those of {result.shadow.venue}"
    return element(
        "header",
        element("h1", summary.strategy_id, " · paper" if result.paper_name else ""),
        element("p", element("strong", _paper_text(result))) if result.paper_name else [],
        element("p", facts, class_="facts"),
        element("p", rules, class_="facts"),
        [element("p", text, class_="facts") for text in _settings(result)],
        [
            element("p", f"{stats.venue}: {words}", class_="facts")
            for stats in summary.runs
            for words in funding_words(stats)
        ],
        [element("p", text, class_="caution") for text in cautions(summary)],
    )


def _paper_text(result: Result) -> str:
    """Return the sentence about a paper session: its name, start and the time of the page."""
    times = {name: moment(time) for name, time in result.inputs["span"].value.items()}
    bars = "not from the venue's own addresses" if result.addresses else "from the live market"
    return (
        f"Paper session {result.paper_name} since {times['start']} UTC, shown as of "
        f"{times['end']} UTC. Bars came {bars}; no order was sent to a venue."
    )


def _settings(result: Result) -> list[str]:
    """Return lines about the strategy, its params and its limits."""
    strategy, risk = result.strategy, result.strategy.risk
    params = ", ".join(
        f"{name} {_shortened(str(plain(value)))}" for name, value in strategy.params.items()
    )
    positions = ", ".join(
        f"{plain(amount)} {symbol.partition('/')[0]}"
        for symbol, amount in risk.max_positions.items()
    )
    fees = "; ".join(
        f"{run.venue}{f' {symbol}' if len(strategy.symbols) > 1 else ''} maker "
        f"{float(rules.maker_fee):.4%}, taker {float(rules.taker_fee):.4%}"
        for run in result.runs
        for symbol, rules in strategy.instruments[run.venue].items()
    )
    return [
        f"{class_text(strategy.module, strategy.class_name)}: {params or 'no params'}. Starts with "
        f"{float(strategy.starting_balance_usd):,.8g} USD",
        f"Limits: position {positions}, daily loss {plain(risk.max_daily_loss_usd)} USD, leverage "
        f"{plain(risk.max_leverage)}. Slippage {counted(strategy.slippage_ticks, 'tick')}. "
        f"Fees: {fees}",
    ]


def headline_tiles(result: Result) -> Html:
    """Return the four numbers that matter most, beside those of buy and hold."""
    stats, hold = result.primary.numbers, result.primary.numbers["buy_and_hold"]
    return tiles(
        (name, number(stats[key], form), f"buy and hold {number(hold[key], form)}")
        for name, key, form in (
            ("Return", "return", SIGNED_PERCENT),
            ("Max drawdown", "max_drawdown", PERCENT),
            ("Sharpe ratio", "sharpe", TWO_PLACES),
            ("Volatility, a year", "volatility", PERCENT),
        )
    )


def _shortened(text: str) -> str:
    return text if len(text) <= _PARAM else f"{text[: _PARAM - 1]}…"


def key_part(result: Result) -> Part:
    """Return the parts of the result's key, and links to its files."""
    inputs = msgspec.to_builtins(result.inputs)
    parts = [
        element(
            "details",
            element("summary", name, " ", element("span", part["digest"], class_="mono dim")),
            element("pre", json.dumps(part["value"], indent=2, ensure_ascii=False)),
        )
        for name, part in inputs.items()
    ]
    files = ["summary.json", "fills.csv", "positions.csv", "equity.csv", "market.csv"]
    files += ["chart_lines.csv"] if result.chart_lines is not None else []
    files += ["tags.csv"] if result.primary.tags else []
    files += ["manifest.json"]
    if result.shadow:
        files += [f"shadow/{name}" for name in ("fills.csv", "positions.csv", "equity.csv")]
    files += ["shadow/orders.csv"] if result.summary.priced else []
    links = join([[element("a", name, href=name), " "] for name in files])
    name = result.summary.strategy_id
    note = (
        f"doit replay:{name} repeats the session from its journal and compares every byte."
        if result.paper_name
        else f"The same inputs give the same bytes; doit reproduce:{name} checks that. The result "
        "is stale when one of these digests has changed."
    )
    content = [caption(note), element("p", "Its files: ", links), parts]
    return "key", "What this result was made from", content
