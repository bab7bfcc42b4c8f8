"""Text is escaped, HTML is not, and a page asks for nothing."""

from __future__ import annotations

import re

from tbv8.page.html import Html, element, page, table


def test_text_is_escaped_in_children_and_attributes() -> None:
    made = element("p", 'a < b & "c"', title='" onclick="x')

    assert made == '<p title="&quot; onclick=&quot;x">a &lt; b &amp; "c"</p>'


def test_html_and_lists_of_it_stand_as_they_are() -> None:
    assert element("ul", [element("li", "<"), None, Html("<hr>")]) == "<ul><li>&lt;</li><hr></ul>"


def test_attributes_are_left_out_bare_or_renamed() -> None:
    made = element("input", class_="a", data_value=0, checked=True, hidden=False, id=None)

    assert made == '<input class="a" data-value="0" checked>'


def test_cells_of_a_table_are_escaped() -> None:
    assert "<td>&lt;b&gt;</td>" in table(["x"], [["<b>"]])


def test_a_page_names_no_address_that_a_browser_would_load() -> None:
    made = page("title", element("p", "text"), banner="SIMULATED")

    assert 'http-equiv="Content-Security-Policy" content="default-src &#x27;none&#x27;;' in made
    assert not re.search(r"<(link|img|iframe|script[^>]* src)", made.split("<script>")[0])
    assert made.count("<script>") == 2
    assert ">SIMULATED</div>" in made


def test_the_same_page_twice_is_the_same_bytes() -> None:
    assert page("a", "b") == page("a", "b")
