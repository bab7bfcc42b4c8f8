"""HTML as text: a plain `str` is escaped, an `Html` is not."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from tbv8.page.plotly import PLOTLY_FILE, plotly_script
from tbv8.page.price_script import PRICE_SCRIPT
from tbv8.page.script import SCRIPT
from tbv8.page.style import STYLE
from tbv8.text import printable

_VOID = frozenset({"br", "input", "meta"})
_ALLOWED = "\n\t\N{NO-BREAK SPACE}"
_VISIBLE_ROWS = 17  # of a table, which scrolls

# What a page may load, for the browser to hold it to: nothing, or the plotly.js beside it.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'{shared}; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)
_SHARED_PLOTLY = " 'self' file:"

_GENERATOR = '<meta name="generator" content="tbv8">'


class Html(str):
    """Text that is HTML; any other text is escaped."""

    __slots__ = ()


type Child = str | Iterable[Child] | None
type PageSection = tuple[str, str, Child]
"""A section of a page: its id, its title, its content."""


def element(tag: str, /, *children: Child, **attributes: str | int | bool | None) -> Html:
    """Return one element.

    Args:
        tag: Its name.
        children: In order; text is escaped, None is left out, lists are unfolded.
        attributes: `class_` is class, `_` becomes `-`; True stands bare, False and None are left
            out.
    """
    parts = [tag]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        text = html.escape(printable(str(value), allowed=_ALLOWED))
        parts.append(key if value is True else f'{key}="{text}"')
    opening = f"<{' '.join(parts)}>"
    if tag in _VOID:
        return Html(opening)
    return Html(f"{opening}{join(children)}</{tag}>")


def join(children: Child) -> Html:
    """Return children one after the other."""
    if children is None:
        return Html("")
    if isinstance(children, Html):
        return children
    if isinstance(children, str):
        return Html(html.escape(printable(children, allowed=_ALLOWED), quote=False))
    return Html("".join(map(join, children)))


def tiles(rows: Iterable[tuple[str, str, str]]) -> Html:
    """Return a grid of headline numbers: name, value, and a comparison."""
    return element(
        "div",
        [
            element(
                "div",
                element("div", name, class_="name"),
                element("div", value, class_="value"),
                element("div", beside, class_="beside"),
            )
            for name, value, beside in rows
        ],
        class_="tiles",
    )


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Child]],
    *,
    words: int = 1,
    words_last: bool = False,
    sortable: bool = False,
    id_: str | None = None,
) -> Html:
    """Return a table in a box that scrolls if the table is too wide or too long.

    Args:
        heads: The columns' names.
        rows: Their cells.
        words: How many columns on the left hold words; the others are numbers, set to the right.
        words_last: The last two columns hold words too.
        sortable: A click on a head sorts by that column.
        id_: The table's id.
    """
    head = [
        element("th", element("button", name, type="button") if sortable else name, scope="col")
        for name in heads
    ]
    body = [Html(f"<tr>{''.join(f'<td>{join(cell)}</td>' for cell in row)}</tr>") for row in rows]
    box = element(
        "div",
        element(
            "table",
            element("thead", element("tr", head)),
            element("tbody", body),
            id=id_,
            class_=f"words-{words}{' words-last' if words_last else ''}",
            data_sortable=sortable,
        ),
        class_="scroll",
        tabindex=0,
    )
    if len(body) <= _VISIBLE_ROWS:
        return box
    return join([box, element("p", f"{len(body):,} rows: scroll to see all", class_="rows")])


def section(id_: str, title: str, *children: Child) -> Html:
    """Return a part of a page with its heading."""
    return element("section", element("h2", title), children, id=id_)


def color_keys(keys: Sequence[tuple[str, str]]) -> Html:
    """Return the legend of the page's colours, from pairs of a colour's name and its meaning."""
    return element(
        "div",
        [
            element(
                "span",
                element("span", class_="swatch", style=f"background:var({color})"),
                text,
            )
            for color, text in keys
        ],
        class_="keys",
    )


def page(
    title: str, *body: Child, banner: str | None = None, plotly_path: str | None = None
) -> str:
    """Return a with_plotly document.

    Args:
        title: Its title.
        body: What it shows.
        banner: Stands above everything and stays in sight.
        plotly_path: Where plotly.js lies, from the page; None puts it into the page.
    """
    policy = _POLICY.format(shared=_SHARED_PLOTLY if plotly_path else "")
    document = element(
        "html",
        element(
            "head",
            Html('<meta charset="utf-8">'),
            Html(_GENERATOR),
            element("meta", http_equiv="Content-Security-Policy", content=policy),
            element("meta", name="viewport", content="width=device-width, initial-scale=1"),
            element("meta", name="color-scheme", content="light dark"),
            element("title", title),
            element("style", Html(STYLE)),
        ),
        "\n",
        element(
            "body",
            element("div", banner, class_="banner", role="note") if banner else None,
            element("main", body),
            "\n",
            element("script", src=plotly_path)
            if plotly_path
            else element("script", Html(plotly_script())),
            "\n",
            element("script", Html(PRICE_SCRIPT + SCRIPT)),
        ),
        lang="en",
    )
    return f"<!doctype html>\n{document}\n"


def with_plotly(document: str) -> str:
    """Return a document of `page` without references to other files."""
    reference = re.compile(rf'<script src="[./]*{re.escape(PLOTLY_FILE)}"></script>')
    return reference.sub(lambda _found: f"<script>{plotly_script()}</script>", document, count=1)


def is_page(content: bytes) -> bool:
    """Return True if a file's content is a document made by `page`."""
    return _GENERATOR.encode() in content[:1000]
