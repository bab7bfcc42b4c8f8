"""A drawing of the graph of tasks: a column per stage; many tasks of a kind share a box.

Pure: tasks in, SVG out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from tbv8.page.html import Html, element
from tbv8.text import counted

_MAX_BOXES = 14  # of a column; more tasks are grouped by kind
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 250, 40, 30, 12
_TITLE_LENGTH, _SUBTITLE_LENGTH = 30, 35  # characters
_MIN_SCALE = 0.6  # on a narrow screen
_LISTED = 20  # lines in a node's tooltip
NOT_NEEDED = "stale, not needed by a backtest"


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One task: its dependencies, and the reasons why it is stale; none if it is fresh.

    `is_needed` is True if a bare `doit` runs it.
    """

    name: str
    after: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    is_needed: bool = True

    @property
    def is_stale(self) -> bool:
        """True if a bare `doit` would run it."""
        return self.is_needed and bool(self.reasons)

    @property
    def is_idle(self) -> bool:
        """True if it is stale, and a bare `doit` does not need it."""
        return not self.is_needed and bool(self.reasons)

    @property
    def stage(self) -> str:
        """The kind of task, `backfill`."""
        return self.name.partition(":")[0]


class _Box(msgspec.Struct, frozen=True):
    title: str
    nodes: tuple[Node, ...]

    @property
    def stale(self) -> list[Node]:
        return [node for node in self.nodes if node.is_stale]

    @property
    def idle(self) -> list[Node]:
        return [node for node in self.nodes if node.is_idle]


def draw_graph(nodes: Sequence[Node]) -> Html:
    """Return the drawing: tasks from left to right, each after its dependencies."""
    depths = _depths(nodes)
    columns: list[list[_Box]] = [[] for _ in range(max(depths.values(), default=-1) + 1)]
    for depth, column in enumerate(columns):
        column += _boxes([node for node in nodes if depths[node.name] == depth])
    box_of = {node.name: box for column in columns for box in column for node in box.nodes}
    places: dict[str, tuple[float, float]] = {}
    height = max((len(column) for column in columns), default=0) * (_HEIGHT + _GAP_Y) + _GAP_Y
    for depth, column in enumerate(columns):
        column.sort(key=lambda box: (_middle(box, box_of, places), box.title))
        top = _GAP_Y / 2  # visible first on a narrow screen
        for row, box in enumerate(column):
            places[box.title] = (depth * (_WIDTH + _GAP_X) + 2, top + row * (_HEIGHT + _GAP_Y))
    edges = dict.fromkeys(
        (box_of[before].title, box_of[node.name].title)
        for node in nodes
        for before in node.after
        if before in box_of
    )
    width = len(columns) * (_WIDTH + _GAP_X) - _GAP_X + 4
    return element(
        "svg",
        [element("path", d=_edge(places[a], places[b]), class_="edge") for a, b in edges],
        [_draw_box(box, *places[box.title]) for column in columns for box in column],
        viewBox=f"0 0 {width} {height}",
        style=f"min-width:{width * _MIN_SCALE:g}px;max-width:{width}px",
        role="img",
        aria_label=f"{counted(len(nodes), 'task')}, {sum(n.is_stale for n in nodes)} of them stale",
    )


def _depths(nodes: Iterable[Node]) -> dict[str, int]:
    """Return the column of each task by name: that of the deepest task of its stage."""
    by_name = {node.name: node for node in nodes}
    depths: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in depths:
            depths_before = [depth(before) for before in by_name[name].after if before in by_name]
            depths[name] = max(depths_before, default=-1) + 1
        return depths[name]

    deepest: dict[str, int] = {}
    for node in by_name.values():
        deepest[node.stage] = max(deepest.get(node.stage, 0), depth(node.name))
    columns = {at: number for number, at in enumerate(sorted(set(deepest.values())))}
    return {name: columns[deepest[node.stage]] for name, node in by_name.items()}


def _boxes(nodes: Sequence[Node]) -> list[_Box]:
    """Return a column's boxes: one per task, or one per kind of task if there are many."""
    groupings: tuple[Callable[[Node], str], ...] = (
        _name,
        _venue_and_timeframe,
        _venue,
        _stage,
    )
    for grouping in groupings:
        groups: dict[str, list[Node]] = {}
        for node in nodes:
            groups.setdefault(grouping(node), []).append(node)
        if len(groups) <= _MAX_BOXES:
            break
    return [_Box(title, tuple(members)) for title, members in groups.items()]


def _name(node: Node) -> str:
    return node.name


def _venue_and_timeframe(node: Node) -> str:
    """Return `aggregate:binance_spot:*:5m` for `aggregate:binance_spot:BTC/USDT:5m`."""
    parts = node.name.split(":")
    if len(parts) < 3:
        return f"{parts[0]}:*"
    return ":".join([*parts[:2], "*", *parts[3:]])


def _venue(node: Node) -> str:
    return ":".join([*node.name.split(":")[:2], "*"])


def _stage(node: Node) -> str:
    return f"{node.stage}:*"


def _middle(box: _Box, box_of: dict[str, _Box], places: dict[str, tuple[float, float]]) -> float:
    """Return the mean height of the boxes before a box."""
    heights = [
        places[box_of[before].title][1]
        for node in box.nodes
        for before in node.after
        if before in box_of
    ]
    return sum(heights) / len(heights) if heights else 0.0


def _edge(a: tuple[float, float], b: tuple[float, float]) -> str:
    x0, y0 = a[0] + _WIDTH, a[1] + _HEIGHT / 2
    x1, y1 = b[0], b[1] + _HEIGHT / 2
    bend = (x1 - x0) / 2
    return f"M{x0:g} {y0:g}C{x0 + bend:g} {y0:g} {x1 - bend:g} {y1:g} {x1:g} {y1:g}"


def _draw_box(box: _Box, x: float, y: float) -> Html:
    stale, idle = box.stale, box.idle
    subtitle = NOT_NEEDED if idle else "fresh"
    if len(box.nodes) > 1:
        parts = [f"{len(stale)} stale"] if stale else []
        parts += [f"{len(idle)} not needed"] if idle else []
        subtitle = f"{counted(len(box.nodes), 'task')}, {', '.join(parts) or 'all fresh'}"
    elif stale:
        subtitle = f"stale: {stale[0].reasons[0]}"
    lines = [
        f"{node.name}: {'; '.join(node.reasons) or 'fresh'}" for node in stale or idle or box.nodes
    ]
    rest = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return element(
        "g",
        element("title", "\n".join([*lines[:_LISTED], *rest])),
        element("rect", x=f"{x:g}", y=f"{y:g}", width=_WIDTH, height=_HEIGHT, rx=6),
        element("text", _shortened(box.title, _TITLE_LENGTH), x=f"{x + 10:g}", y=f"{y + 17:g}"),
        element(
            "text",
            _shortened(subtitle, _SUBTITLE_LENGTH),
            x=f"{x + 10:g}",
            y=f"{y + 32:g}",
            class_="sub",
        ),
        class_="node stale" if stale else "node idle" if idle else "node",
    )


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
