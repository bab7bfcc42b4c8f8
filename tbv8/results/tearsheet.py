"""A result as one page: numbers, charts, trades, risk events, and all that it was made from.

Numbers come from the full data; curves are drawn from fewer points where a screen has no room for
all, and say so. The page holds no clock, path or random id, so that it is the same on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tbv8.market import DAY_MS, FEWEST_DAYS, HOUR_MS, iso, parse_time
from tbv8.page.charts import Chart, draw, label_text, line, time_axis, value_axis, zoom_buttons
from tbv8.page.html import Child, Html, element, join, page, section, table, tiles
from tbv8.page.thin import keep_extremes, shown, stretches
from tbv8.page.words import NONE, counted, length, length_cell, minute, number, part_of
from tbv8.results.accounting import Curve, to_money
from tbv8.results.periods import monthly_returns, rolling_sharpe
from tbv8.results.read import Account, Result
from tbv8.results.summary import Event, OneSided, cautions, still_open
from tbv8.risk.checks import RULES
from tbv8.risk.rules.halted import MAX_DAILY_LOSS
from tbv8.trading.nautilus import MONEY_DECIMALS, Floats, Ints

_POINTS = 800  # stretches of a curve, of each of which the lowest and the highest value is drawn
_FILLS = 1500  # drawn one by one; of more, those of a stretch together
_TRADES = 1000  # listed
_PARAM = 60  # characters of a param in the head; all of it stands at the end
_EVENTS = 200  # listed of each kind
_WINDOWS_DAYS = (30, 90)  # of the rolling Sharpe ratio
_MARKET = ("ts_ms", "open", "high", "low", "close")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def tearsheet(result: Result) -> str:
    """Return a result's page, under 6 MB whatever the length of the run."""
    summary = result.summary
    parts = [
        _numbers(result),
        _equity(result),
        _drawdown(result),
        _months(result),
        _rolling(result),
        _exposure(result),
        _prices(result),
        *([_against_shadow(result)] if result.shadow else []),
        *([_priced(result)] if result.summary.priced else []),
        _trades(result),
        _events(result),
        _key(result),
    ]
    links = [element("a", title, href=f"#{id_}") for id_, title, _ in parts]
    banner = (
        f"SIMULATED: the venue {summary.market_data_venue} is made up by tbv8. "
        "No market ever traded at these prices."
    )
    return page(
        f"{summary.strategy_id}{' (simulated)' if summary.simulated else ''} · tbv8",
        _header(result),
        element("nav", links, aria_label="Parts of this page"),
        _tiles(result),
        [section(id_, title, content) for id_, title, content in parts],
        banner=banner if summary.simulated else None,
    )


type Part = tuple[str, str, Child]


def _header(result: Result) -> Html:
    summary, span = result.summary, result.summary.span
    simulated = " (simulated)" if summary.simulated else ""
    facts = (
        f"{', '.join(summary.symbols)}, {summary.bars:,} {summary.timeframe} bars of "
        f"{summary.market_data_venue}{simulated}, "
        f"{_moment(span['start'])} to {_moment(span['end'])} UTC"
    )
    matched = "minute by minute" if summary.detail == "1m" else "bar by bar"
    rules = f"Orders matched {matched} by the rules and fees of {result.primary.venue}"
    if result.shadow:
        rules += f"; beside it, as its shadow, by those of {result.shadow.venue}"
    return element(
        "header",
        element("h1", summary.strategy_id),
        element("p", facts, class_="facts"),
        element("p", rules, class_="facts"),
        [element("p", said, class_="facts") for said in _settings(result)],
        [element("p", said, class_="caution") for said in cautions(summary)],
    )


def _settings(result: Result) -> list[str]:
    """Return which strategy it is and within which limits it ran, as the config says it."""
    value = msgspec.to_builtins(result.inputs).get("config", {}).get("value", {})
    if "class_name" not in value:
        return []
    params = ", ".join(f"{name} {_cut(str(one))}" for name, one in value["params"].items())
    risk, ticks = value["risk"], value["slippage_ticks"]
    positions = ", ".join(
        f"{amount} {symbol.partition('/')[0]}" for symbol, amount in risk["max_positions"].items()
    )
    fees = [
        f"{run.venue}{f' {symbol}' if len(result.summary.symbols) > 1 else ''} maker "
        f"{_fee(rules['maker_fee'])}, taker {_fee(rules['taker_fee'])}"
        for run in result.runs
        for symbol in result.summary.symbols
        if (rules := value["instruments"].get(run.venue, {}).get(symbol))
    ]
    return [
        f"{value['class_name']} of {value['module']}: {params or 'no params'}. "
        f"Starts with {float(value['starting_balance_usd']):,.8g} USD",
        f"At most: position {positions}, daily loss {risk['max_daily_loss_usd']} "
        f"USD, leverage {risk['max_leverage']}. Slippage {counted(ticks, 'tick')}. "
        f"Fees: {'; '.join(fees)}",
    ]


def _fee(fraction: str) -> str:
    return f"{float(fraction):.4%}"


def _tiles(result: Result) -> Html:
    stats, held = result.primary.numbers, result.primary.numbers["buy_and_hold"]
    numbers = [
        ("Return", _signed_percent(stats["return"]), _signed_percent(held["return"])),
        ("Max drawdown", _percent(stats["max_drawdown"]), _percent(held["max_drawdown"])),
        ("Sharpe ratio", _ratio(stats["sharpe"]), _ratio(held["sharpe"])),
        ("Volatility, a year", _percent(stats["volatility"]), _percent(held["volatility"])),
    ]
    return tiles((name, ours, f"buy and hold {theirs}") for name, ours, theirs in numbers)


# Numbers.


def _numbers(result: Result) -> Part:
    runs = [
        (
            run.venue if run is result.primary else f"{run.venue}, shadow",
            {**run.numbers, "average_position": _average_position(run.curve)},
        )
        for run in result.runs
    ]
    beside = [runs[0], ("buy and hold", result.primary.numbers["buy_and_hold"]), *runs[1:]]
    gains, risks, trading, costs = (
        table(
            [title, *(name for name, _ in columns)],
            (
                [what, *(form(stats[key]) if key in stats else "" for _, stats in columns)]
                for what, key, form in rows
            ),
        )
        for title, columns, rows in (
            ("Return", beside, _GAINS),
            ("Risk", beside, _RISKS),
            ("Trading", runs, _TRADING),
            ("Costs and account, USD", runs, _COSTS),
        )
    )
    alone = len(result.summary.symbols) == 1
    said = (
        "Marked to market at the close of every bar, after fees, slippage and funding; a year has "
        "365 days. Buy and hold puts the whole balance in at the first close"
        f"{'' if alone else ', in equal parts in every symbol'}."
    )
    if result.summary.days < FEWEST_DAYS:
        said += f" {NONE}: not shown for less than {FEWEST_DAYS} days, or not defined."
    return (
        "numbers",
        "Numbers",
        [
            _note(said),
            element(
                "div",
                [element("div", one) for one in (gains, risks, trading, costs)],
                class_="columns",
            ),
        ],
    )


def _gross(curve: Curve) -> Floats:
    """Return the value of all positions, long and short added up, in USD."""
    total = np.zeros(len(curve.closes_ms))
    for symbol in curve.prices:
        total += np.abs(_worth(curve, symbol))
    return total


def _worth(curve: Curve, symbol: str) -> Floats:
    """Return the value of a position, below 0 short; 0 before its symbol has a price."""
    worth: Floats = np.nan_to_num(curve.positions[symbol] * curve.prices[symbol])
    return worth


def _average_position(curve: Curve) -> float | None:
    """Return the mean value of the positions, long and short added, as a share of the equity.

    Bars without equity are left out.
    """
    equity = _usd(curve.equity)
    has_equity = equity > 0
    held = _gross(curve)
    return float(np.mean(held[has_equity] / equity[has_equity])) if has_equity.any() else None


def _percent(value: float | None) -> str:
    return number(value, ",.2%")


def _signed_percent(value: float | None) -> str:
    return number(value, "+,.2%")


def _ratio(value: float | None) -> str:
    return number(value, ",.2f")


def _money(value: float | None) -> str:
    return number(value, ",.2f")


def _count(value: int) -> str:
    return f"{value:,}"


def _hours(value: float | None) -> str:
    return NONE if value is None else length(round(value * HOUR_MS))


def _days(value: float | None) -> str:
    return number(value, ",.1f")


def _day_return(value: Mapping[str, Any] | None) -> str:
    return NONE if value is None else _signed_percent(value["return"])


def _day_date(value: Mapping[str, Any] | None) -> str:
    return NONE if value is None else str(value["date"])


def _date(value: str | None) -> str:
    return NONE if value is None else value[:10]


_GAINS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Return", "return", _signed_percent),
    ("CAGR", "cagr", _signed_percent),
    ("Volatility, a year", "volatility", _percent),
    ("Sharpe ratio", "sharpe", _ratio),
    ("its probability to be above 0", "probabilistic_sharpe", _percent),
    ("Sortino ratio", "sortino", _ratio),
    ("Calmar ratio", "calmar", _ratio),
    ("Best day", "best_day", _day_return),
    ("", "best_day", _day_date),
    ("Worst day", "worst_day", _day_return),
    ("", "worst_day", _day_date),
)
_RISKS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Max drawdown", "max_drawdown", _percent),
    ("fell from", "max_drawdown_start", _date),
    ("lowest", "max_drawdown_bottom", _date),
    ("recovered", "max_drawdown_end", _date),
    ("days until then, or the end", "max_drawdown_days", _days),
    ("Exposure, share of time", "exposure", _percent),
    ("Average position, share of equity", "average_position", _percent),
    ("Turnover, times a year", "turnover", _ratio),
)
_TRADING: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Round trips, from flat to flat", "trades", _count),
    ("Entries, enlarging too", "entries", _count),
    ("Exits, in part too", "exits", _count),
    ("Win rate", "win_rate", _percent),
    ("Profit factor", "profit_factor", _ratio),
    ("Expectancy of a round trip, USD", "expectancy", _money),
    ("Average time held", "average_holding_hours", _hours),
    ("Fills", "fills", _count),
)
_COSTS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("Fees", "fees", _money),
    ("Slippage", "slippage", _money),
    ("Funding paid", "funding", _money),
    ("Margin lost in liquidations", "lost_margin", _money),
    ("Equity at the start", "start_equity", _money),
    ("Equity at the end", "end_equity", _money),
    ("Profit or loss", "pnl", _money),
    ("of it open at the end", "unrealized_pnl", _money),
)


# Curves.


def _equity(result: Result) -> Part:
    run, venue, times_ms = result.primary, result.primary.venue, result.times_ms
    curves = [
        _usd(_from_start(run, run.curve.equity)),
        _usd(_from_start(run, run.curve.buy_and_hold)),
    ]
    at = keep_extremes(curves, most=_POINTS)
    columns = {
        "t": times_ms[at].tolist(),
        "equity": shown(curves[0][at]),
        "hold": shown(curves[1][at]),
    }
    traces = [
        line("buy and hold", "hold", "--hold"),
        line(label_text(venue), "equity", "--accent", line={"color": "--accent", "width": 2}),
    ]
    if run.stats.halts:
        marks = _halt_points(run.stats.halts, times_ms)
        columns |= {
            "halt_t": times_ms[marks].tolist(),
            "halt_equity": shown(curves[0][marks]),
        }
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": "halt",
                "x": "@halt_t",
                "y": "@halt_equity",
                "marker": {"symbol": "line-ns-open", "size": 9, "color": "--warn"},
                "hovertemplate": "closed and halted",
            }
        )
    chart = Chart(
        id="equity-chart",
        label="Equity of the strategy and of buy and hold, in USD",
        columns=columns,
        traces=traces,
        layout={"yaxis": value_axis(tickformat=",~r", zeroline=False)},
        span=result.span,
        mark=result.mark,
    )
    note = f"USD at the close of each bar. {_thinned(len(at), len(times_ms))}"
    return "equity", "Equity against buy and hold", [_note(note), draw(chart)]


def _halt_points(halts: Sequence[Event], times_ms: Ints) -> Ints:
    """Return the points of the halts, of many only the first in each stretch."""
    halts_ms = [parse_time(halt.time) for halt in halts]
    at = np.searchsorted(times_ms, halts_ms).clip(max=len(times_ms) - 1)
    starts = stretches(len(times_ms), _POINTS // 2)
    _, first = np.unique(np.searchsorted(starts, at, side="right"), return_index=True)
    return np.unique(at[first]).astype(np.int64)


def _drawdown(result: Result) -> Part:
    run, stats = result.primary, result.primary.numbers
    depth = -_falls(_from_start(run, run.curve.equity)) * 100
    at = keep_extremes([depth], most=_POINTS)
    chart = Chart(
        id="drawdown-chart",
        label="How far the equity was below its highest value until then, in percent",
        columns={"t": result.times_ms[at].tolist(), "drawdown": shown(depth[at], digits=5)},
        traces=[
            line(
                "drawdown",
                "drawdown",
                "--down",
                fill="tozeroy",
                fillcolor="--fall",
                hovertemplate="%{y:.2f} %",
            )
        ],
        layout={
            "yaxis": value_axis(ticksuffix=" %"),
            **_largest_fall_marks(stats, result.span),
            "showlegend": False,
        },
        span=result.span,
        height=260,
        mark=result.mark,
    )
    note = f"{_largest_fall(stats)} {_thinned(len(at), len(depth))}"
    return "drawdown", "Drawdown", [_note(note), draw(chart)]


def _largest_fall_marks(stats: Mapping[str, Any], span: tuple[int, int]) -> dict[str, Any]:
    """Return the parts of a layout that mark the largest drawdown, if there is one."""
    begun, bottom = stats["max_drawdown_start"], stats["max_drawdown_bottom"]
    if bottom is None:
        return {}
    rectangle = {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": begun,
        "x1": stats["max_drawdown_end"] or iso(span[1]),
        "y0": 0,
        "y1": 1,
        "fillcolor": "--fall",
        "opacity": 0.45,
        "line": {"width": 0},
        "layer": "below",
    }
    arrow = {
        "x": bottom,
        "y": -stats["max_drawdown"] * 100,
        "text": f"{-stats['max_drawdown']:.2%}",
        "showarrow": True,
        "arrowcolor": "--down",
        "arrowhead": 2,
        "ax": 44 if parse_time(bottom) < sum(span) // 2 else -44,  # inside, at both ends
        "ay": -24,
        "font": {"color": "--down"},
        "bgcolor": "--card",
    }
    return {"shapes": [rectangle], "annotations": [arrow]}


def _largest_fall(stats: Mapping[str, Any]) -> str:
    if stats["max_drawdown_bottom"] is None:
        return "The equity never fell below an earlier value."
    recovered = stats["max_drawdown_end"]
    until = f"recovered {_moment(recovered)}" if recovered else "not recovered"
    return (
        f"The largest, {stats['max_drawdown']:.2%}, from {_moment(stats['max_drawdown_start'])}"
        f" to {_moment(stats['max_drawdown_bottom'])}, {until}: marked."
    )


def _from_start(run: Account, equity: Ints) -> Ints:
    """Return a curve with what it began with before its first bar."""
    return np.concatenate([[to_money(run.stats.start_equity)], equity])


def _falls(equity: Ints) -> Floats:
    peaks = np.maximum.accumulate(equity)
    falls: Floats = (peaks - equity) / peaks
    return falls


def _exposure(result: Result) -> Part:
    curve, symbols = result.primary.curve, result.summary.symbols
    equity = _usd(curve.equity)

    def times(worth: Floats) -> Floats:
        share: Floats = np.full(len(equity), np.nan)
        np.divide(worth, equity, out=share, where=equity > 0)
        return share

    each = [times(_worth(curve, symbol)) for symbol in symbols]
    names, colors = [label_text(s) for s in symbols], [f"--c{n % 10}" for n in range(len(symbols))]
    if len(symbols) == 1:
        names, colors = ["exposure"], ["--accent"]
    else:  # first, so that it lies under the others
        each.insert(0, times(_gross(curve)))
        names.insert(0, "all, long and short added")
        colors.insert(0, "--hold")
    at = keep_extremes([np.nan_to_num(values) for values in each], most=_POINTS // len(each))
    columns = {f"exposure_{n}": shown(values[at], digits=5) for n, values in enumerate(each)}
    fill = {"fill": "tozeroy", "fillcolor": "--band"} if len(symbols) == 1 else {}
    traces = [
        line(
            name,
            f"exposure_{n}",
            color,
            line={"color": color, "width": 1, "shape": "hv"},
            hovertemplate="%{y:.3f} × equity",
            **fill,
        )
        for n, (name, color) in enumerate(zip(names, colors, strict=True))
    ]
    chart = Chart(
        id="exposure-chart",
        label="Value of the position as a multiple of the equity; below 0 it is short",
        columns={"t": curve.closes_ms[at].tolist(), **columns},
        traces=traces,
        layout={
            "yaxis": value_axis(tickformat=",~r", ticksuffix=" ×"),
            "showlegend": len(symbols) > 1,
        },
        span=result.span,
        height=240 if len(symbols) == 1 else 280,
        mark=result.mark,
    )
    whose = "The position's value" if len(symbols) == 1 else "Each position's value"
    note = (
        f"{whose} as a multiple of the equity, below 0 when short. {_thinned(len(at), len(equity))}"
    )
    return "exposure", "Exposure", [_note(note), draw(chart)]


# Prices.


def _prices(result: Result) -> Part:
    content: list[Child] = []
    days = {"1 d": 1, "1 w": 7, "1 m": 30, "3 m": 91, "1 y": 365}
    for at, symbol in enumerate(result.summary.symbols):
        fills = result.primary.fills
        fills = fills.filter(pc.equal(fills["symbol"], symbol))
        id_ = "price-chart" if not at else f"price-chart-{at + 1}"
        chart, marks = _price_chart(result, symbol, fills, id_=id_, has_slider=not at)
        if len(result.summary.symbols) > 1:
            content.append(element("h3", symbol))
        said = _price_note(result, result.market[symbol].num_rows, fills, marks, is_first=not at)
        content += [_note(said), zoom_buttons(id_, days), draw(chart)]
    return "price", "Price and fills", content


def _price_chart(
    result: Result, symbol: str, fills: pa.Table, *, id_: str, has_slider: bool
) -> tuple[Chart, dict[str, dict[str, Sequence[Any]]]]:
    """Return the chart of a symbol, and the marks of its buys and sells."""
    market = {name: result.market[symbol][name].to_numpy() for name in _MARKET}
    low, high, close = market["low"], market["high"], market["close"]
    columns: dict[str, Sequence[Any]] = {  # what a stretch was stands at its end, in steps
        "t": [result.span[0], *market["ts_ms"].tolist()],
        "low": shown(np.concatenate([low[:1], low])),
        "high": shown(np.concatenate([high[:1], high])),
        "close": shown(np.concatenate([market["open"][:1], close])),
    }
    edge = {"line": {"width": 0, "shape": "vh"}, "hoverinfo": "skip", "showlegend": False}
    traces = [
        line("low", "low", "--hold", **edge),
        line(
            "low to high",
            "high",
            "--hold",
            **{**edge, "showlegend": True},
            fill="tonexty",
            fillcolor="--band",
        ),
        line("close", "close", "--hold", line={"color": "--hold", "width": 1.2}),
    ]
    marks = {side: _fill_marks(result.primary.curve, fills, side) for side in ("buy", "sell")}
    for side, shape in (("buy", "triangle-up"), ("sell", "triangle-down")):
        columns |= {f"{side}_{name}": values for name, values in marks[side].items()}
        traces.append(_mark_trace(side, shape))
    slider = {
        "visible": True,
        "thickness": 0.1,
        "bordercolor": "--line",
        "range": list(result.span),
        "yaxis": {"rangemode": "auto"},
    }
    layout = {
        "hovermode": "closest",
        "xaxis": time_axis(**({"rangeslider": slider} if has_slider else {})),
        "yaxis": value_axis(tickformat=",~r", zeroline=False),
    }
    chart = Chart(
        id=id_,
        label=f"Price of {symbol} and where it was bought and sold",
        columns=columns,
        traces=traces,
        layout=layout,
        span=result.span,
        height=480 if has_slider else 400,
        mark=result.mark,
    )
    return chart, marks


def _mark_trace(side: str, shape: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": side,
        "x": f"@{side}_t",
        "y": f"@{side}_price",
        "text": f"@{side}_text",
        "hovertemplate": f"{side} %{{text}}<extra></extra>",
        "meta": "marks",
        "marker": {
            "color": f"--{side}",
            "symbol": shape,
            "line": {"color": "--card", "width": 0.5},
        },
    }


def _price_note(
    result: Result,
    drawn_bars: int,
    fills: pa.Table,
    marks: Mapping[str, Mapping[str, Sequence[Any]]],
    *,
    is_first: bool,
) -> str:
    bars, said = result.summary.bars, []
    if is_first:
        said.append(
            "Zoom with the buttons, the strip below or by dragging; every chart of time follows."
        )
        if drawn_bars < bars:
            width = -(-bars // drawn_bars)
            said.append(
                f"Drawn thinner: {bars:,} bars as {drawn_bars:,} stretches of {width:,}, "
                "each with its lowest and highest price and its last close."
            )
    drawn = sum(len(mark["t"]) for mark in marks.values())
    if drawn < fills.num_rows:
        said.append(
            f"The {fills.num_rows:,} fills are drawn as {drawn:,} marks: the buys of a stretch "
            "together, and the sells, at their average price."
        )
    elif not fills.num_rows:
        said.append("There were no fills.")
    return " ".join(said)


def _fill_marks(curve: Curve, fills: pa.Table, side: str) -> dict[str, Sequence[Any]]:
    """Return time, price and text of the marks of one side."""
    own = fills.filter(pc.equal(fills["side"], side))
    if fills.num_rows <= _FILLS:
        rows = own.to_pylist()
        return {
            "t": [row["ts_ms"] for row in rows],
            "price": [float(row["price"]) for row in rows],
            "text": [
                f"{_commas(row['quantity'])} at {_commas(row['price'])}, "
                f"{row['type'].replace('_', ' ')}"
                for row in rows
            ],
        }
    closes_ms = curve.closes_ms
    starts = stretches(len(closes_ms), _FILLS // 2)
    ends = np.append(starts[1:], len(closes_ms)) - 1
    bars = np.searchsorted(closes_ms, own["ts_ms"].to_numpy()).clip(max=len(closes_ms) - 1)
    stretch = np.searchsorted(starts, bars, side="right") - 1
    quantity, price = (own[name].cast(pa.float64()).to_numpy() for name in ("quantity", "price"))
    sizes, places = (_places(own[name][0].as_py()) for name in ("quantity", "price"))
    counts = np.bincount(stretch, minlength=len(starts))
    total = np.bincount(stretch, weights=quantity, minlength=len(starts))
    paid = np.bincount(stretch, weights=quantity * price, minlength=len(starts))
    at = np.flatnonzero(counts)
    average = np.round(paid[at] / total[at], places)
    return {
        "t": closes_ms[ends[at]].tolist(),
        "price": average.tolist(),
        "text": [
            f"{counted(count, 'fill')}, {amount:,.{sizes}f} at {mean:,.{places}f}"
            for count, amount, mean in zip(
                counts[at].tolist(), total[at].tolist(), average.tolist(), strict=True
            )
        ],
    }


def _thinned(drawn: int, count: int) -> str:
    if drawn == count:
        return ""
    return (
        f"Drawn thinner: {drawn:,} of {count:,} points, lowest and highest of each stretch among "
        "them. Numbers are from all."
    )


# Months and rolling windows.


def _months(result: Result) -> Part:
    curve, start = result.primary.curve, to_money(result.primary.stats.start_equity)
    ours = monthly_returns(curve.closes_ms, curve.equity, start=start)
    held = monthly_returns(curve.closes_ms, curve.buy_and_hold, start=start)
    widest = max((abs(v) for v in ours.months.values() if v is not None), default=0.0)
    rows = []
    for year in ours.years:
        cells = [
            _heat_cell(ours.months.get((year, month)), widest, (year, month) in ours.months)
            for month in range(1, 13)
        ]
        rows.append(
            element(
                "tr",
                element("td", str(year)),
                cells,
                element("td", _cell_percent(held.years[year]), class_="dim"),
                element("td", _cell_percent(ours.years[year])),
            )
        )
    heads = ["", *_MONTHS, "hold", "Year"]
    head = element("tr", [element("th", name, scope="col") for name in heads])
    return (
        "months",
        "Monthly returns",
        [
            _note(
                "Percent, of the equity at the month's begin; the first and the last may be in "
                "part. Year: all its months one after the other; hold: buy and hold in that year."
            ),
            element(
                "div",
                element("table", element("thead", head), element("tbody", rows), class_="months"),
                class_="scroll",
                tabindex=0,
            ),
        ],
    )


def _heat_cell(value: float | None, widest: float, is_in_run: bool) -> Html:
    if value is None:
        return element("td", NONE if is_in_run else "")
    share = round(8 + 62 * abs(value) / widest) if widest else 0
    color = "--up" if value > 0 else "--down"
    style = f"--heat:var({color});--share:{share}%" if value else None
    return element("td", _cell_percent(value), style=style)


def _cell_percent(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:+.1f}"


def _rolling(result: Result) -> Part:
    points = _from_start(result.primary, result.primary.curve.equity)
    columns: dict[str, Sequence[Any]] = {}
    traces = []
    for days, color in zip(_WINDOWS_DAYS, ("--hold", "--accent"), strict=True):
        days_ms, ratios = rolling_sharpe(result.times_ms, points, days=days)
        if not ratios:
            continue
        values = np.array([np.nan if ratio is None else ratio for ratio in ratios])
        at = keep_extremes([np.nan_to_num(values)], most=_POINTS)
        columns[f"t_{days}"] = (days_ms[at] + DAY_MS).tolist()
        columns[f"sharpe_{days}"] = shown(values[at], digits=5)
        traces.append(
            line(f"{days} days", f"sharpe_{days}", color, x=f"@t_{days}", hovertemplate="%{y:.2f}")
        )
    note = (
        "Sharpe ratio of the daily returns of the 30 and the 90 days before, a year of 365 days. "
        "Short windows are noise for the most part."
    )
    chart = Chart(
        id="rolling-chart",
        label="Sharpe ratio over a window that moves along",
        columns=columns,
        traces=traces,
        layout={"showlegend": True},
        span=result.span,
        height=260,
        mark=result.mark,
    )
    content: Child = draw(chart)
    if not traces:
        content = element("p", f"The run is shorter than {_WINDOWS_DAYS[0]} days.", class_="dim")
    return "rolling", "Rolling Sharpe ratio", [_note(note), content]


# Against the shadow.


def _against_shadow(result: Result) -> Part:
    primary, shadow = result.primary, result.shadow
    assert shadow is not None
    curves = [_usd(_from_start(run, run.curve.equity)) for run in (primary, shadow)]
    apart = curves[1] - curves[0]
    at = keep_extremes([*curves, apart], most=_POINTS // 2)
    times = result.times_ms[at].tolist()
    both = Chart(
        id="shadow-chart",
        label=f"Equity at {primary.venue} and at {shadow.venue}, in USD",
        columns={"t": times, "primary": shown(curves[0][at]), "shadow": shown(curves[1][at])},
        traces=[
            line(f"{label_text(primary.venue)}, primary", "primary", "--accent"),
            line(f"{label_text(shadow.venue)}, shadow", "shadow", "--shadow"),
        ],
        layout={"yaxis": value_axis(tickformat=",~r", zeroline=False)},
        span=result.span,
        height=300,
        mark=result.mark,
    )
    difference = Chart(
        id="difference-chart",
        label="Equity of the shadow less that of the primary, in USD",
        columns={"t": times, "difference": shown(apart[at])},
        traces=[
            line(
                "shadow less primary",
                "difference",
                "--shadow",
                fill="tozeroy",
                fillcolor="--shadow-band",
            )
        ],
        layout={"showlegend": False},
        span=result.span,
        height=200,
        mark=result.mark,
    )
    return (
        "shadow",
        "Primary against shadow",
        [
            _note(f"The same strategy by the rules of both. {_thinned(len(at), len(apart))}"),
            draw(both),
            element("h3", "Shadow less primary, USD"),
            draw(difference),
            *_divergence(result, primary.venue, shadow.venue),
        ],
    )


def _priced(result: Result) -> Part:
    priced = result.summary.priced
    assert priced is not None
    rows = [
        [day.day, f"{day.fills:,}", f"{day.priced:,}", f"{day.cost_usd:+,.2f}"]
        for day in priced.days[-_EVENTS:]
    ]
    rows.append(["in all", f"{priced.fills:,}", f"{priced.priced:,}", f"{priced.cost_usd:+,.2f}"])
    note = (
        f"Each fill of {result.primary.venue}, priced by the quotes that were recorded of "
        f"{priced.venue} when it was made: how much more it would have cost there, fees not "
        "counted. shadow/orders.csv lists them."
    )
    heads = ["day, UTC", "fills", "with a quote", "cost, USD"]
    title = f"Fills at the quotes of {priced.venue}"
    return "priced", title, [_note(note), element("div", table(heads, rows), class_="narrow")]


def _divergence(result: Result, primary: str, shadow: str) -> list[Child]:
    """Return the differences in numbers, and the fills that only the one run has."""
    divergence = result.summary.divergence
    assert divergence is not None
    rows = [
        ["Profit or loss, USD", f"{divergence.pnl:+z,.2f}"],
        ["Fees, USD", f"{divergence.fees:+z,.2f}"],
        ["Funding paid, USD", f"{divergence.funding:+z,.2f}"],
        ["Fills", f"{divergence.fills:+,}"],
        ["Equity at most apart, USD", f"{divergence.max_equity_difference:,.2f}"],
        [f"Fills of {primary} that {shadow} has not", _count(divergence.only_primary)],
        [f"Fills of {shadow} that {primary} has not", _count(divergence.only_shadow)],
    ]
    return [
        element("div", table(["Shadow less primary", ""], rows), class_="narrow"),
        _one_sided(
            f"Fills of {primary} only", divergence.only_primary, divergence.only_primary_fills
        ),
        _one_sided(f"Fills of {shadow} only", divergence.only_shadow, divergence.only_shadow_fills),
    ]


def _one_sided(title: str, count: int, fills: Sequence[OneSided]) -> Child:
    if not count:
        return None
    listed = fills[:_EVENTS]
    rows = [
        [_moment(f.time), f.symbol, f.side, f.type, f"{f.quantity:,}", f"{f.price:,}"]
        for f in listed
    ]
    return element(
        "details",
        element("summary", f"{title}: {part_of(len(listed), count, 'first')}"),
        table(["time", "symbol", "side", "type", "quantity", "price"], rows, words=4),
    )


# Lists.


def _trades(result: Result) -> Part:
    run, alone = result.primary, len(result.summary.symbols) == 1
    count = run.positions.num_rows
    listed = run.positions.slice(max(0, count - _TRADES)).to_pylist()
    heads = ["opened", "closed", "side", "held", "quantity", "entry", "exit", "PnL", "%"]
    heads += ["fees", "funding"]
    rows = [_trade_row(position) for position in listed]
    if not alone:
        heads = ["symbol", *heads]
        rows = [[position["symbol"], *row] for position, row in zip(listed, rows, strict=True)]
    said = f"{part_of(len(listed), count, 'last')} closed positions of {run.venue}, "
    said += "from flat to flat, after fees and funding"
    if len(listed) < count:
        said += "; all of them are in positions.csv"
    words = 3 if alone else 4
    content: Child = table(heads, rows, words=words, sortable=True, id_="trades-table")
    if not count:
        said, content = "No position was closed", None
    still = [_note(f"S{still_open(one)[1:]}.") for one in run.stats.open_positions]
    return "trades", "Trades", [_note(f"{said}."), still, content]


def _trade_row(position: Mapping[str, Any]) -> list[Child]:
    basis = float(position["entry_price"]) * float(position["quantity"])
    gained = Decimal(position["pnl"])
    return [
        minute(position["opened_ms"]),
        minute(position["closed_ms"]),
        position["side"],
        length_cell(position["closed_ms"] - position["opened_ms"]),
        _commas(position["quantity"]),
        _commas(position["entry_price"]),
        _commas(position["exit_price"]),
        element("span", f"{gained:+,.2f}", class_="up" if gained > 0 else "down"),
        f"{float(gained) / basis:+.2%}" if basis else NONE,
        f"{Decimal(position['fees']):,.2f}",
        f"{Decimal(position['funding']):z,.2f}",
    ]


def _events(result: Result) -> Part:
    lists = [
        _event_list(f"{run.title}: {name}", count, events, row, ("time", "rule", what, "why"))
        for run in result.runs
        for name, count, events, row, what in (
            ("halts", len(run.stats.halts), run.stats.halts, _halt_row, "until"),
            ("denials", sum(run.stats.denied.values()), run.stats.denials, _denial_row, "order"),
        )
        if events
    ]
    none = element("p", "No order was denied, nothing was halted.", class_="dim")
    return "risk", "Risk events", lists or none


def _event_list(
    title: str,
    count: int,
    events: Sequence[Event],
    row: Callable[[Event], list[Child]],
    heads: Sequence[str],
) -> Html:
    listed = events[:_EVENTS]
    return element(
        "details",
        element("summary", f"{title}: {part_of(len(listed), count, 'first')}"),
        table(heads, map(row, listed), words=4),
    )


def _halt_row(halt: Event) -> list[Child]:
    assert halt.until is not None
    return [_moment(halt.time), halt.rule, _moment(halt.until), _why_halted(halt)]


def _denial_row(denial: Event) -> list[Child]:
    return [_moment(denial.time), denial.rule, denial.order, _why_denied(denial)]


def _why_halted(halt: Event) -> str:
    said = _numbers_of(halt)
    if halt.rule == MAX_DAILY_LOSS:
        return (
            f"equity fell from {said['day_start_usd']} at 00:00 UTC to {said['equity_usd']} USD: "
            f"the day's loss reached {said['limit_usd']} USD"
        )
    return (
        f"{said['position']} liquidated at {said['liquidation_price']}, "
        f"equity left {said['equity_usd']} USD"
    )


def _why_denied(denial: Event) -> str:
    said = _numbers_of(denial)
    if denial.until is not None:
        by_loss = denial.rule == MAX_DAILY_LOSS
        why = f"the day's loss reached {said['limit_usd']} USD" if by_loss else f"by {denial.rule}"
        return f"halted until {_moment(denial.until)} UTC: {why}"
    numbers = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items())
    words = RULES[denial.rule].explanation if denial.rule in RULES else ""
    return f"{words}: {numbers}" if words and numbers else words or numbers


def _numbers_of(event: Event) -> dict[str, str]:
    return {name: f"{float(value):,.8g}" for name, value in event.numbers.items()}


def _key(result: Result) -> Part:
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
    files += ["manifest.json"]
    if result.shadow:
        files += [f"shadow/{name}" for name in ("fills.csv", "positions.csv", "equity.csv")]
    if result.summary.priced:
        files.append("shadow/orders.csv")
    links = join([[element("a", name, href=name), " "] for name in files])
    return (
        "key",
        "What this result was made from",
        [
            _note(
                "The same inputs give the same bytes: doit reproduce holds a result to it. When "
                "one of these digests is not what it would be now, the result is stale."
            ),
            element("p", "Its files: ", links),
            parts,
        ],
    )


# Words.


def _note(text: str) -> Html:
    return element("p", text.strip(), class_="note")


def _moment(time: str) -> str:
    return minute(parse_time(time))


def _usd(values: Ints) -> Floats:
    usd: Floats = values / 10.0**MONEY_DECIMALS
    return usd


def _cut(text: str) -> str:
    return text if len(text) <= _PARAM else f"{text[: _PARAM - 1]}…"


def _commas(text: str) -> str:
    """Return a number of a file with commas between its thousands, and all of its decimals."""
    return f"{Decimal(text):,f}"


def _places(text: str) -> int:
    return len(text.partition(".")[2])
