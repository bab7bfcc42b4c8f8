"""A heatmap of the stored bars: a row per series, a column per month."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from tbv8.market import Series
from tbv8.page.charts import Chart, draw, label_text
from tbv8.page.html import Child, color_keys, element, table
from tbv8.page.words import part_of
from tbv8.report.months import Month, SeriesMonths
from tbv8.store.ledger import HISTORY
from tbv8.venues.registry import find_venue

_LISTED = 200
_ROW = 22  # pixels
_MANY_ROWS = 40
_COLORS = [
    [0, "--ok"],
    [0.25, "--ok"],
    [0.2501, "--outage-0"],
    [0.5, "--outage-1"],
    [0.5001, "--gap-0"],
    [0.75, "--gap-1"],
    [0.7501, "--axis"],
    [1, "--axis"],
]
_LAYOUT = {
    "hovermode": "closest",
    "xaxis": {
        "type": "category",
        "showgrid": False,
        "tickfont": {"color": "--muted"},
        "nticks": 12,
    },
    "yaxis": {
        "type": "category",
        "autorange": "reversed",
        "showgrid": False,
        "automargin": True,
        "dtick": 1,
        "tickfont": {"color": "--ink", "size": 11},
    },
    "margin": {"l": 20, "r": 8, "t": 6, "b": 40},
}


def draw_coverage(coverage: Sequence[SeriesMonths], idle: Collection[Series] = ()) -> Child:
    """Return a heatmap of each dataset, one of them visible, and a table of incomplete months.

    Args:
        coverage: The stored months of each series and dataset.
        idle: The series whose history is not fetched, since no task of `doit` needs it.
    """
    datasets = list(dict.fromkeys(row.dataset for row in coverage))
    if not any(row.months for row in coverage):
        return element("p", "Nothing is stored yet.", class_="dim")
    panels: list[Child] = []
    choices: list[Child] = []
    for dataset in datasets:
        rows = [row for row in coverage if row.dataset == dataset and row.months]
        if len(rows) > _MANY_ROWS:  # incomplete series come first, without scrolling
            rows.sort(key=_is_whole)
        if not rows:
            continue
        panel = f"coverage-{dataset}"
        choices.append(
            element(
                "label",
                element(
                    "input", type="radio", name="dataset", data_panel=panel, checked=not choices
                ),
                f" {dataset}",
            )
        )
        panels.append(
            element(
                "div",
                element("div", draw(_heatmap(rows, f"{panel}-chart", idle)), class_="scroll tall"),
                _incomplete_months(rows),
                id=panel,
                hidden=bool(panels),
            )
        )
    keys = [
        ("--ok", "complete"),
        ("--outage-1", "missing at the venue itself"),
        ("--gap-1", "not fetched or built yet"),
    ]
    if idle:
        keys.append(("--axis", "not fetched: no task of doit needs it"))
    note = (
        "A cell for each series and month, UTC. Its colour is that of the month's worst problem, "
        "stronger the larger its share is. A blank month is not configured, or before the listing. "
        "If there are many series, the incomplete ones come first."
    )
    return [
        element("p", note, class_="note"),
        color_keys(keys),
        element("div", choices, class_="choice", role="radiogroup", aria_label="Dataset"),
        panels,
    ]


def _heatmap(rows: Sequence[SeriesMonths], id_: str, idle: Collection[Series]) -> Chart:
    names = sorted({month.name for row in rows for month in row.months})
    first, last = (_month_number(name) for name in (names[0], names[-1]))
    all_names = [f"{number // 12}-{number % 12 + 1:02}" for number in range(first, last + 1)]
    z: list[list[float | None]] = []
    text: list[list[str]] = []
    for row in rows:
        months = {month.name: month for month in row.months}
        is_idle = row.dataset == HISTORY and row.series in idle
        z.append([_heat(months.get(name), is_idle) for name in all_names])
        text.append([_share_text(months.get(name)) for name in all_names])
    return Chart(
        id=id_,
        label=f"Stored share of each month of {len(rows)} series",
        columns={
            "months": all_names,
            "series": [label_text(_series_name(row.series)) for row in rows],
            "z": z,
            "text": text,
        },
        traces=[
            {
                "type": "heatmap",
                "x": "@months",
                "y": "@series",
                "z": "@z",
                "text": "@text",
                "zmin": 0,
                "zmax": 4,
                "showscale": False,
                "hoverongaps": False,
                "xgap": 1,
                "ygap": 2,
                "hovertemplate": "%{y}, %{x}: stored %{text}<extra></extra>",
                "colorscale": _COLORS,
            }
        ],
        layout=_LAYOUT,
        height=56 + _ROW * len(rows),
    )


def _is_whole(row: SeriesMonths) -> bool:
    return not any(month.outage or month.gap for month in row.months)


def _month_number(name: str) -> int:
    year, month = name.split("-")
    return int(year) * 12 + int(month) - 1


def _heat(month: Month | None, is_idle: bool) -> float | None:
    """Return 0 for a whole month, 1 to 2 for the share of an outage, 2 to 3 for that of a gap.

    4 is a gap that no task of `doit` fills.
    """
    if month is None or not month.minutes:
        return None
    if month.gap and is_idle:
        return 4
    if month.gap:
        return round(2.0005 + 0.9995 * month.gap / month.minutes, 4)
    return round(1.0005 + 0.995 * month.outage / month.minutes, 4) if month.outage else 0


def _share_text(month: Month | None) -> str:
    if month is None or not month.minutes:
        return ""
    parts = [_share(month.stored, month.minutes)]
    if month.outage:
        parts.append(f"venue outage {_share(month.outage, month.minutes)}")
    if month.gap:
        parts.append(f"gap {_share(month.gap, month.minutes)}")
    return ", ".join(parts)


def _share(part: int, whole: int) -> str:
    """Return a percentage, rounded to 0 or 100 only if it is exactly that."""
    if part in (0, whole):
        return "100%" if part else "0%"
    return f"{min(max(part / whole, 0.0001), 0.9999):.2%}"


def _incomplete_months(rows: Sequence[SeriesMonths]) -> Child:
    cells = [
        [_series_name(row.series), month.name, f"{month.outage:,}", f"{month.gap:,}"]
        for row in rows
        for month in row.months
        if month.outage or month.gap
    ]
    if not cells:
        return element("p", "Every month is whole.", class_="dim")
    shown = cells[:_LISTED]
    count_text = part_of(len(shown), len(cells), "first")
    return element(
        "details",
        element("summary", f"Incomplete months: {count_text}"),
        table(
            ["series", "month", "minutes of outage", "minutes not known"],
            shown,
            words=2,
            sortable=True,
        ),
    )


def _series_name(series: Series) -> str:
    simulated = " (simulated)" if find_venue(series.venue).simulated else ""
    return f"{series.venue} {series.symbol}{simulated}"
