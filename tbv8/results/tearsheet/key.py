"""The inputs of a result, and links to its files."""

from __future__ import annotations

import json

import msgspec

from tbv8.page.html import element, join
from tbv8.results.read import Result
from tbv8.results.tearsheet.part import Part, caption


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
    return (
        "key",
        "What this result was made from",
        [
            caption(
                "The same inputs give the same bytes; doit reproduce checks that. The result is "
                "stale when one of these digests has changed."
            ),
            element("p", "Its files: ", links),
            parts,
        ],
    )
