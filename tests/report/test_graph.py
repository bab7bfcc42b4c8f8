"""The graph as a drawing: every task in it, in its column, coloured by its state."""

from __future__ import annotations

from xml.etree import ElementTree

from tbv8.report.graph import Node, draw_graph


def drawn(nodes: list[Node]) -> ElementTree.Element:
    """Return the drawing, which is XML."""
    return ElementTree.fromstring(str(draw_graph(nodes)))


def titles(svg: ElementTree.Element, kind: str = "") -> dict[str, float]:
    """Return what is written on each box, and how far to the right it is."""
    boxes = svg.findall("g") if not kind else svg.findall(f"g[@class='{kind}']")
    return {
        str(box.findall("text")[0].text): float(box.findall("text")[0].attrib["x"]) for box in boxes
    }


CHAIN = [
    Node(name="migrate"),
    Node(name="backfill:sample:BTC/USDT", after=("migrate",)),
    Node(name="aggregate:sample:BTC/USDT:5m", after=("backfill:sample:BTC/USDT",)),
    Node(
        name="backtest:one",
        after=("aggregate:sample:BTC/USDT:5m",),
        reasons=("params.fast: was 5, now 6",),
    ),
    Node(name="backtest:of_minutes", after=("backfill:sample:BTC/USDT",)),
]


def test_each_stage_is_a_column_to_the_right_of_what_it_depends_on() -> None:
    at = titles(drawn(CHAIN))

    assert at["migrate"] < at["backfill:sample:BTC/USDT"] < at["aggregate:sample:BTC/USDT:5m"]
    assert at["aggregate:sample:BTC/USDT:5m"] < at["backtest:one"] == at["backtest:of_minutes"]


def test_an_edge_for_each_dependency() -> None:
    assert len(drawn(CHAIN).findall("path")) == 4


def test_stale_tasks_are_told_apart_and_say_why() -> None:
    svg = drawn(CHAIN)

    assert set(titles(svg, "node stale")) == {"backtest:one"}
    (box,) = svg.findall("g[@class='node stale']")
    assert box.findall("text")[1].text == "stale: params.fast: was 5, now 6"
    assert svg.attrib["aria-label"] == "5 tasks, 1 of them stale"


def test_many_series_are_drawn_together_and_counted() -> None:
    symbols = [f"C{number:03}/USDT" for number in range(200)]
    nodes = [Node(name="migrate")]
    nodes += [
        Node(
            name=f"backfill:binance_spot:{symbol}",
            after=("migrate",),
            reasons=("3 days not held yet",) if symbol in ("C007/USDT", "C100/USDT") else (),
        )
        for symbol in symbols
    ]
    nodes += [
        Node(
            name=f"aggregate:binance_spot:{symbol}:{timeframe}",
            after=(f"backfill:binance_spot:{symbol}",),
        )
        for symbol in symbols
        for timeframe in ("5m", "1h")
    ]

    svg = drawn(nodes)

    assert set(titles(svg)) == {
        "migrate",
        "backfill:binance_spot:*",
        "aggregate:binance_spot:*:5m",
        "aggregate:binance_spot:*:1h",
    }
    (box,) = svg.findall("g[@class='node stale']")
    assert box.findall("text")[1].text == "200 tasks, 2 stale"
    assert "backfill:binance_spot:C100/USDT: 3 days not held yet" in str(
        box.findall("title")[0].text
    )
    assert len(svg.findall("path")) == 3


def test_names_are_escaped_and_no_tasks_are_an_empty_drawing() -> None:
    assert titles(drawn([Node(name="backtest:<b>&")])) == {"backtest:<b>&": 12.0}
    assert titles(drawn([])) == {}
