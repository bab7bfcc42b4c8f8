"""The page of an experiment: one file that opens offline.

The Sharpe ratio of a chosen trial never stands alone: beside it is the share of luck in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tbv8.config.document import plain
from tbv8.experiments.keys import subject_of
from tbv8.experiments.montecarlo_charts import monte_carlo_section
from tbv8.experiments.overfitting import Overfitting, deflated_sharpe
from tbv8.experiments.result import (
    METRIC_NAMES,
    Findings,
    SearchTrial,
    best_text,
    cautions,
    efficiency_text,
    gains_text,
    no_choice_text,
    sharpe_text,
)
from tbv8.experiments.space_charts import path_section, ranked_trials, space_section
from tbv8.experiments.walk_charts import walk_section
from tbv8.market import iso_day
from tbv8.page.charts import Chart, draw, value_axis
from tbv8.page.html import (
    Child,
    Html,
    PageSection,
    color_keys,
    element,
    page,
    section,
    table,
    tiles,
)
from tbv8.page.words import capital, number
from tbv8.text import counted

_TOP = 20
_MAX_TICKS = 12  # with more ranks, Plotly chooses the ticks
_SIMULATED = "SIMULATED: all numbers come from a synthetic market."


def experiment_page(findings: Findings, *, plotly_path: str | None = None) -> str:
    """Return the page; for `plotly_path` see `page`."""
    sections = list(_sections(findings))
    links = [element("a", title, href=f"#{id_}") for id_, title, _ in sections]
    return page(
        f"tbv8 {findings.experiment.experiment_id}",
        _header(findings),
        element("nav", links, aria_label="Parts of this page"),
        tiles(_tiles(findings)),
        [section(id_, title, content) for id_, title, content in sections],
        banner=_SIMULATED if findings.experiment.strategy.simulated else None,
        plotly_path=plotly_path,
    )


def _sections(findings: Findings) -> Iterator[PageSection]:
    if findings.chosen:
        yield _luck(findings)
        yield space_section(findings)
    if findings.walk:
        yield walk_section(findings, findings.walk)
    if findings.monte_carlo:
        yield monte_carlo_section(findings, findings.monte_carlo)
    if findings.chosen:
        yield path_section(findings)
        yield _best(findings)
    if findings.failed:
        yield _failed(findings)


def _header(findings: Findings) -> Html:
    experiment = findings.experiment
    span = experiment.strategy.span
    days = f"{iso_day(span.start_ms)} to {iso_day(span.end_ms)}"
    chosen = findings.chosen
    text = (
        capital(best_text(findings, chosen))
        if chosen
        else "No best trial: " + no_choice_text(experiment, [row.trial for row in findings.rows])
    )
    return element(
        "header",
        element("h1", experiment.experiment_id),
        element("p", text),
        element(
            "p",
            f"{subject_of(experiment.strategy)}, {days}, {experiment.search.method} search over "
            f"{', '.join(axis.name for axis in experiment.search.axes)}"
            + (
                f" where {' and '.join(experiment.search.where)}" if experiment.search.where else ""
            ),
            class_="facts",
        ),
        [element("p", caution, class_="caution") for caution in cautions(findings)],
    )


def _tiles(findings: Findings) -> Iterator[tuple[str, str, str]]:
    luck, chosen, walk = findings.luck, findings.chosen, findings.walk
    failed = counted(len(findings.failed), "trial")
    if chosen is None:
        yield "Trials", f"{len(findings.rows):,}", f"{failed} failed"
        return
    tries = f" after {counted(luck.tries, 'try')}" if luck else ""
    deflated = luck.deflated if luck else None
    yield (
        "Sharpe ratio of the best trial",
        number(chosen.trial.sharpe, ".2f"),
        f"deflated Sharpe ratio {number(deflated, '.0%')}{tries}",
    )
    yield "Return of the best trial", number(chosen.trial.total_return, "+.2%"), _trips(chosen)
    overfitting = luck.overfitting if luck else None
    yield (
        "Probability of overfitting",
        number(overfitting.probability if overfitting else None, ".0%"),
        "how often the trial with the highest Sharpe ratio on half of the days is no better than "
        "the median on the others"
        if overfitting
        else "too few days or trials to tell",
    )
    if walk:
        yield (
            "Walk-forward, out of sample",
            f"{walk.performance.total_return:+.2%}",
            f"{gains_text(walk)}, {sharpe_text(walk)}, {efficiency_text(walk)}",
        )
    yield "Trials", f"{len(findings.rows):,}", f"{failed} failed"


def _trips(row: SearchTrial) -> str:
    fall = number(row.trial.max_drawdown, ".2%")
    return f"{counted(row.trial.trades, 'round trip')}, drawdown {fall}"


# Luck.


def _luck(findings: Findings) -> PageSection:
    luck = findings.luck
    if luck is None:
        text = "The account was lost, so that there are no daily returns to measure luck by."
        return "luck", "How much of it is luck", element("p", text, class_="dim")
    rows: list[Sequence[Child]] = [
        [
            "Annual Sharpe ratio of the best trial",
            number(findings.chosen and findings.chosen.trial.sharpe, ".2f"),
        ],
        [
            "Probability that the true Sharpe ratio of the best trial is above 0, if it were the "
            "only try",
            number(luck.probabilistic, ".1%"),
        ],
        [
            "Deflated Sharpe ratio: probability that the true one is above what the best of "
            f"{counted(luck.tries, 'try')} reaches by luck",
            number(luck.deflated, ".1%"),
        ],
        [
            f"Deflated Sharpe ratio if the {counted(luck.tries, 'try')}, which are similar, are "
            f"counted as {luck.effective:,.1f} independent ones",
            number(luck.deflated_effective, ".1%"),
        ],
    ]
    note = (
        "A try is a set of values with which any experiment has run this strategy on this market. "
        "Sources: Bailey and López de Prado, The Deflated "
        "Sharpe Ratio, 2014; Bailey, Borwein, López de Prado and Zhu, The Probability of Backtest "
        "Overfitting, 2017."
    )
    content: list[Child] = [
        element("p", note, class_="note"),
        table(["question", "answer"], rows, id_="luck-table"),
    ]
    content += _cross_validation(findings.experiment.blocks, luck.overfitting)
    return "luck", "How much of it is luck", content


def _cross_validation(blocks: int, overfitting: Overfitting | None) -> list[Child]:
    """Return the chart of ranks and its explanation; a line if there are too few days or trials."""
    if overfitting is None:
        text = "Too few days or trials to cross-validate the search."
        return [element("p", text, class_="dim")]
    keys = [
        ("--down", "no better than the median trial there"),
        ("--up", "better than the median trial"),
    ]
    return [
        element("h3", "How the best trial of one half of the days ranks in the other half"),
        color_keys(keys),
        draw(_ranks(overfitting)),
        element(
            "p",
            f"The days are cut into {blocks} blocks, which can be split into two halves in "
            f"{overfitting.splits:,} ways. The best trial of a half is the one with the highest "
            f"Sharpe ratio there, whatever the objective is. In {overfitting.probability:.0%} of "
            "the splits it was no better than the median trial in the other half: that is the "
            f"probability of overfitting. In {overfitting.loss:.0%} of the splits it lost money in "
            "the other half.",
            class_="note",
        ),
    ]


def _ranks(overfitting: Overfitting) -> Chart:
    """Return a bar for each rank, or each few neighbouring ranks, from the worst to the best."""
    trials = overfitting.ranks[-1].last
    names = [
        f"rank {ranks.first:,}" + (f" to {ranks.last:,}" if ranks.last > ranks.first else "")
        for ranks in overfitting.ranks
    ]
    return Chart(
        id="ranks-chart",
        label="Share of the splits by the rank of one half's best trial in the other half",
        columns={
            "x": [(ranks.first + ranks.last) / 2 for ranks in overfitting.ranks],
            "y": [ranks.splits / overfitting.splits * 100 for ranks in overfitting.ranks],
            "name": names,
        },
        traces=[
            {
                "type": "bar",
                "x": "@x",
                "y": "@y",
                "text": "@name",
                "textposition": "none",
                "width": [(ranks.last - ranks.first + 1) * 0.92 for ranks in overfitting.ranks],
                "marker": {
                    "color": ["--up" if ranks.is_above else "--down" for ranks in overfitting.ranks]
                },
                "hovertemplate": f"%{{text}} of {trials:,}: %{{y:.1f}} % of splits<extra></extra>",
            }
        ],
        layout={
            "hovermode": "closest",
            "showlegend": False,
            "xaxis": value_axis(
                zeroline=False,
                range=[0.5, trials + 0.5],
                title={"text": f"rank in the other half ({trials:,} is best)"},
                **({"dtick": 1} if trials <= _MAX_TICKS else {}),
            ),
            "yaxis": value_axis(ticksuffix=" %"),
            "margin": {"l": 60, "r": 8, "t": 10, "b": 48},
        },
        height=260,
    )


# The trials.


def _best(findings: Findings) -> PageSection:
    luck, experiment = findings.luck, findings.experiment
    names = [axis.name for axis in experiment.search.axes]
    scored = ranked_trials(findings)
    rows: list[Sequence[Child]] = []
    for row in scored[:_TOP]:
        trial = row.trial
        deflated = (
            deflated_sharpe(row.returns, trials=luck.tries, variance=luck.variance)
            if luck and row.returns
            else None
        )
        rows.append(
            [
                f"{row.number}",
                *(str(plain(row.params[name])) for name in names),
                number(trial.sharpe, ".2f"),
                number(deflated, ".0%"),
                number(trial.total_return, "+.2%"),
                number(trial.max_drawdown, ".2%"),
                number(trial.profit_factor, ".2f"),
                f"{trial.trades:,}",
                element("code", _promotion(experiment.experiment_id, row.number)),
            ]
        )
    heads = [
        *("trial", *names, "Sharpe ratio", "deflated Sharpe ratio", "return", "max drawdown"),
        *("profit factor", "round trips", "command that writes it as a strategy"),
    ]
    shown = "All" if len(rows) == len(scored) else f"The best {len(rows):,} of"
    least = counted(experiment.objective.min_trades, "round trip")
    note = (
        f"{shown} {counted(len(scored), 'trial')} with a result and at least {least}, by "
        f"{METRIC_NAMES[experiment.objective.metric]}. The deflated Sharpe ratio is the "
        "probability that the true one is above what the best of all tries reaches by luck."
    )
    return (
        "best",
        "The best trials",
        [
            element("p", note, class_="note"),
            table(heads, rows, sortable=True, id_="best-table"),
        ],
    )


def _promotion(experiment_id: str, at: int) -> str:
    return f"doit promote {experiment_id} --number {at} --as {experiment_id}_{at}"


def _failed(findings: Findings) -> PageSection:
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in findings.failed:
        grouped.setdefault(row.error or "", []).append(row.params)
    rows: list[Sequence[Child]] = [
        [f"{len(params):,}", element("div", text, class_="wrap")]
        for text, params in sorted(grouped.items(), key=lambda pair: -len(pair[1]))[:_TOP]
    ]
    count = counted(len(findings.failed), "trial")
    note = f"{count} of {len(findings.rows):,} ended without a result. The others are complete."
    return (
        "failed",
        "Trials that failed",
        [element("p", note, class_="note"), table(["trials", "why"], rows, words=9)],
    )
