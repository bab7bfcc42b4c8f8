"""YAML files as plain values with line numbers, and as records with refusals."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tbv8.config.document import Document, plain, read_document, to_record, unknown, unknown_key
from tbv8.errors import ConfigError
from tests.lines import Line


class Wheel(msgspec.Struct, forbid_unknown_fields=True):
    size: Annotated[Decimal, msgspec.Meta(description="in inches")]
    spokes: int = 32


class Bike(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    kind: Literal["road", "gravel"] = "road"
    folded: bool = False
    owner: str | None = None
    wheels: Annotated[dict[str, Wheel], msgspec.Meta(description="by place")] = {}
    spare: Wheel | None = None
    gears: tuple[Literal["low", "high"], ...] = ()
    tags: dict[str, str] | list[str] = {}
    anything: dict[str, Any] = {}


def read(folder: Path, content: str | bytes) -> Document:
    """Read a file of this content."""
    path = folder / "bike.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_document(path, root=folder)


def refusal(folder: Path, content: str | bytes) -> str:
    """Return why a file of this content is not a Bike."""
    with pytest.raises(ConfigError) as caught:
        to_record(read(folder, content), Bike)
    return str(caught.value)


# Values.


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("text", "text", id="text"),
        pytest.param('"7"', "7", id="digits in quotes"),
        pytest.param("7", 7, id="a whole number"),
        pytest.param("-7", -7, id="below zero"),
        pytest.param("+7", 7, id="with a plus"),
        pytest.param("1_000_000", 1_000_000, id="thousands"),
        pytest.param("0", 0, id="zero"),
        pytest.param("7.5", 7.5, id="a broken number"),
        pytest.param(".5", 0.5, id="without a zero"),
        pytest.param("7.", 7.0, id="without a decimal"),
        pytest.param("1e-5", 1e-5, id="a power of ten"),
        pytest.param("1.5E+3", 1500.0, id="a large power of ten"),
        pytest.param("-.inf", float("-inf"), id="infinite"),
        pytest.param("010", "010", id="not eight"),
        pytest.param("0x1F", "0x1F", id="not hexadecimal"),
        pytest.param("12:30", "12:30", id="not minutes"),
        pytest.param("1.2.3", "1.2.3", id="a version"),
        pytest.param("-a", "-a", id="a dash"),
        pytest.param("2024-01-01", "2024-01-01", id="a date"),
        pytest.param("2024-01-01T00:00:00Z", "2024-01-01T00:00:00Z", id="a time"),
        pytest.param("2024-01-01 00:00:00", "2024-01-01 00:00:00", id="a time with a space"),
        pytest.param("9" * 5000, "9" * 5000, id="more digits than Python reads"),
        pytest.param("true", True, id="true"),
        pytest.param("off", False, id="off"),
        pytest.param("null", None, id="null"),
        pytest.param("~", None, id="tilde"),
        pytest.param("", None, id="nothing"),
        pytest.param("=", "=", id="equals"),
        pytest.param("'it''s'", "it's", id="quotes in quotes"),
    ],
)
def test_a_value_is_what_it_looks_like(tmp_path: Path, text: str, value: object) -> None:
    read_value = read(tmp_path, f"key: {text}").value["key"]

    assert read_value == value
    assert type(read_value) is type(value)


def test_not_a_number_is_a_number(tmp_path: Path) -> None:
    value = read(tmp_path, "key: .nan").value["key"]

    assert isinstance(value, float)
    assert value != value  # as only it is


def test_each_key_and_item_has_its_line(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        """\
# a comment
name: "of
  two lines"
wheels:

  front: {size: 28,
    spokes: 24}
tags:
- red
- [light,
   small]
""",
    )

    assert document.value == {
        "name": "of two lines",
        "wheels": {"front": {"size": 28, "spokes": 24}},
        "tags": ["red", ["light", "small"]],
    }
    assert document.line_numbers == {
        (): 1,
        ("name",): 2,
        ("wheels",): 4,
        ("wheels", "front"): 6,
        ("wheels", "front", "size"): 6,
        ("wheels", "front", "spokes"): 7,
        ("tags",): 8,
        ("tags", 0): 9,
        ("tags", 1): 10,
        ("tags", 1, 0): 10,
        ("tags", 1, 1): 11,
    }


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbfname: x\nkind: road\n", id="a byte order mark"),
        pytest.param(b"name: x\r\nkind: road\r\n", id="lines of Windows"),
        pytest.param(b"name: x\rkind: road\r", id="lines of an old Mac"),
        pytest.param(b"%YAML 1.1\n---\nname: x\nkind: road\n...\n", id="a directive"),
        pytest.param(b'{"name": "x", "kind": "road"}', id="JSON"),
    ],
)
def test_files_of_any_machine_are_read(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path, content).value == {"name": "x", "kind": "road"}


def test_an_anchor_is_written_once_and_meant_twice(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        """\
name: &it x
wheels:
  front: &wheel {size: 28}
  back: {<<: *wheel, spokes: 36}
owner: *it
""",
    )

    assert to_record(document, Bike) == Bike(
        name="x",
        owner="x",
        wheels={"front": Wheel(Decimal(28)), "back": Wheel(Decimal(28), spokes=36)},
    )


def test_twenty_levels_are_deep_enough(tmp_path: Path) -> None:
    deepest = read(tmp_path, f"a: {'[' * 19}x{']' * 19}")

    assert deepest.line_numbers[("a", *[0] * 19)] == 1
    assert refusal(tmp_path, f"\na: {'[' * 20}x{']' * 20}") == (
        "bike.yaml:2: a: nested deeper than 20 levels, or endlessly through an anchor: flatten it"
    )


def test_a_document_can_be_empty(tmp_path: Path) -> None:
    assert read(tmp_path, "# nothing\n") == Document(Path("bike.yaml"), {}, {(): 1})


# Refusals of files.


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param("- a", ":1: expected `key: value` lines", id="a list"),
        pytest.param("a", ":1: expected `key: value` lines", id="text"),
        pytest.param("null", ":1: expected `key: value` lines", id="null"),
        pytest.param(
            "name: x\nname: y", ":2: name: given twice, first on line 1: remove one", id="twice"
        ),
        pytest.param(
            "wheels:\n  a: {size: 1}\n  b: {size: 1, size: 2}",
            ":3: wheels.b.size: given twice, first on line 3: remove one",
            id="twice below",
        ),
        pytest.param(
            '"a\\nb": 1\n"a\\nb": 2',
            ":2: 'a\\nb': given twice, first on line 1: remove one",
            id="odd key twice",
        ),
        pytest.param("1: x", ":1: expected text as a key, got '1' without quotes", id="number key"),
        pytest.param(
            "true: x", ":1: expected text as a key, got 'true' without quotes", id="bool key"
        ),
        pytest.param(
            "a:\n  ~: x", ":2: a: expected text as a key, got '~' without quotes", id="null key"
        ),
        pytest.param("? [a]\n: x", ":1: expected text as a key, got a collection", id="list key"),
        pytest.param("{a: 1}: x", ":1: expected text as a key, got a collection", id="mapping key"),
        pytest.param('"a`": x', ":1: expected text as a key, got 'a`'", id="key with a backtick"),
        pytest.param(
            "a: &a [*a]",
            ":1: a: nested deeper than 20 levels, or endlessly through an anchor: ...",
            id="a list in itself",
        ),
        pytest.param(
            "a: &a [1,1,1,1,1,1,1,1,1]\n"
            + "".join(
                f"{name}: &{name} [{','.join([f'*{below}'] * 9)}]\n"
                for below, name in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            ":6: f: nested deeper than 20 levels, or endlessly through an anchor: ...",
            id="a billion items by anchors",
        ),
        pytest.param("a: *b", ":1: not YAML: found undefined alias", id="no anchor"),
        pytest.param(
            "a: {<<: 3}",
            ":1: not YAML: while constructing a mapping: "
            "expected a mapping or list of mappings for merging, but found scalar",
            id="a merge of a number",
        ),
        pytest.param("a:\n\t- b", ":2: not YAML: a tab, indent with spaces", id="a tab"),
        pytest.param(
            'a: 1\nb: "open\n',
            ":3: not YAML: while scanning a quoted scalar from line 2: "
            "found unexpected end of stream",
            id="an open quote",
        ),
        pytest.param(
            "a: 1\nb\nc: 2",
            ":3: not YAML: while scanning a simple key from line 2: could not find expected ':'",
            id="a key without a colon",
        ),
        pytest.param(
            'a: "\\q"',
            ":1: not YAML: while parsing a quoted scalar: found unknown escape character",
            id="an escape",
        ),
        pytest.param(
            b"a: 1\nb: \x07",
            ":2: not YAML: the character U+0007 is not allowed, remove it",
            id="a bell",
        ),
        pytest.param(b"a: 1\nb: \xff", ":2: not UTF-8: save it as UTF-8", id="a byte"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(
    tmp_path: Path, content: str | bytes, line: str
) -> None:
    assert refusal(tmp_path, content) == Line(f"bike.yaml{line}")


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        pytest.param("!!set {a, b}", "!!set", id="a set"),
        pytest.param("!!binary aGVsbG8=", "!!binary", id="bytes"),
        pytest.param("!!timestamp 2024-01-01", "!!timestamp", id="a time"),
        pytest.param("!!timestamp soon", "!!timestamp", id="no time"),
        pytest.param("!!bool maybe", "!!bool", id="no truth"),
        pytest.param('!!int ""', "!!int", id="no number"),
        pytest.param('!!float ""', "!!float", id="no broken number"),
        pytest.param("!!omap [a: 1]", "!!omap", id="an ordered mapping"),
        pytest.param("!!map [1]", "!!map", id="a list as a mapping"),
        pytest.param("!!str [1]", "!!str", id="a list as text"),
        pytest.param("!wheel {size: 1}", "!wheel", id="of somebody else"),
        pytest.param("!!python/object:os.system x", "!!python/object:os.system", id="Python"),
    ],
)
def test_a_tag_is_refused(tmp_path: Path, value: str, tag: str) -> None:
    assert refusal(tmp_path, f"name: x\nanything: {{deep: {value}}}") == (
        f"bike.yaml:2: anything.deep: expected a plain value, got one tagged {tag}: remove the tag"
    )


def test_text_can_be_tagged_as_text(tmp_path: Path) -> None:
    assert read(tmp_path, "a: !!str 5\nb: !!int 5").value == {"a": "5", "b": 5}


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_document(tmp_path / "bike.yaml", root=tmp_path)

    assert str(caught.value) == "bike.yaml: cannot be read: No such file or directory"


@given(content=st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_a_document_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    try:
        document = read(tmp_path, content)
    except ConfigError as e:
        said = str(e)
    else:
        said = "bike.yaml: fine"
        json.dumps(plain(document.value), allow_nan=False, ensure_ascii=False).encode()

    assert said.startswith("bike.yaml:")
    assert said.isprintable()


WORDS = st.text().filter(  # PyYAML writes 1e5 without quotes, since in YAML 1.1 it is text
    lambda text: not re.match(r"[-+.]?[0-9]", text)
)


@given(
    tree=st.dictionaries(
        WORDS.filter(lambda key: "`" not in key),
        st.recursive(
            st.none() | st.booleans() | st.integers() | WORDS | st.floats(allow_nan=False),
            lambda inner: st.lists(inner) | st.dictionaries(st.just("k"), inner),
            max_leaves=6,
        ),
    )
)
def test_what_is_written_as_yaml_is_read_again(tmp_path: Path, tree: dict[str, Any]) -> None:
    document = read(tmp_path, yaml.safe_dump(tree, allow_unicode=True))

    assert document.value == tree


# Refusals of values.


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param("kind: road", ":1: name: missing: write this key", id="missing"),
        pytest.param(
            "name: x\nkidn: y", ":2: kidn: unknown key, did you mean 'kind'?", id="misspelt"
        ),
        pytest.param(
            "name: x\nzzz: y",
            ":2: zzz: unknown key; "
            "known: name, kind, folded, owner, wheels, spare, gears, tags, anything",
            id="unknown",
        ),
        pytest.param(
            "name: x\nnmae: y",
            ":2: nmae: unknown key; "
            "known: name, kind, folded, owner, wheels, spare, gears, tags, anything",
            id="near a key that is there",
        ),
        pytest.param(
            "name: x\n' - at $.x': 1",
            ":2:  - at $.x: unknown key; "
            "known: name, kind, folded, owner, wheels, spare, gears, tags, anything",
            id="unknown and odd",
        ),
        pytest.param("name: [x]", ":1: name: expected text, got a list", id="a list"),
        pytest.param("name: {x: y}", ":1: name: expected text, got a mapping", id="a mapping"),
        pytest.param("name: ~", ":1: name: expected text, got nothing", id="null"),
        pytest.param(
            "name: 1e3", ":1: name: expected text, got 1000.0: write it in quotes", id="number"
        ),
        pytest.param(
            "name: yes", ":1: name: expected text, got true: write it in quotes", id="truth"
        ),
        pytest.param(
            "name: x\nowner: 7",
            ":2: owner: expected text or null, got 7: ...",
            id="number for text or null",
        ),
        pytest.param(
            "name: x\nfolded: 'no'", ":2: folded: expected true or false, got 'no'", id="text"
        ),
        pytest.param(
            "name: x\nkind: raod",
            ":2: kind: unknown value 'raod', did you mean 'road'? Known: gravel, road",
            id="misspelt value",
        ),
        pytest.param(
            "name: x\nkind: ' - at `$.kind`'",
            ":2: kind: unknown value ' - at `$.kind`'; known: gravel, road",
            id="odd value",
        ),
        pytest.param(
            "name: x\nkind: 3", ":2: kind: expected road or gravel, got 3", id="number for a word"
        ),
        pytest.param(
            "name: x\ngears:\n- low\n- mid",
            ":4: gears[1]: unknown value 'mid'; known: high, low",
            id="value in a list",
        ),
        pytest.param(
            "name: x\nwheels:\n  a: {size: 1}\n  b: {size: x}",
            ":4: wheels.b.size: expected a number, got 'x'",
            id="value in the second of a mapping",
        ),
        pytest.param(
            "name: x\nwheels:\n  a: {size: 1}\n  b:\n    size: 1\n    spoke: 3",
            ":6: wheels.b.spoke: unknown key, did you mean 'spokes'?",
            id="key in the second of a mapping",
        ),
        pytest.param(
            "name: x\nwheels:\n  a: {size: 1}\n  b: {}",
            ":4: wheels.b.size: missing: write this key",
            id="missing in the second of a mapping",
        ),
        pytest.param(
            "name: x\nwheels: {'a.b[0]': {size: 1, spokes: 1.5}}",
            ":2: wheels.a.b[0].spokes: expected a whole number, got 1.5",
            id="key with dots and brackets",
        ),
        pytest.param(
            "name: x\nspare: {size: 1, spoke: 3}",
            ":2: spare.spoke: unknown key ... 'spokes'?",
            id="key of what can be left out",
        ),
        pytest.param(
            "name: x\nwheels: {'': 3}", ":2: wheels.'': expected a mapping, got 3", id="empty key"
        ),
        pytest.param(
            "name: x\ntags: {a: b, c: 3}",
            ":2: tags.c: expected text, got 3: ...",
            id="mapping of either",
        ),
        pytest.param(
            "name: x\ntags: [a, 3]",
            ":2: tags[1]: expected text, got 3: ...",
            id="list of either",
        ),
        pytest.param(
            "name: x\ntags: 3", ":2: tags: expected a mapping or a list, got 3", id="neither"
        ),
        pytest.param(
            "name: x\nwheels:\n  a: &w {size: 1}\n  b: {<<: *w, size: x}",
            ":4: wheels.b.size: expected a number, got 'x'",
            id="value beside a merge",
        ),
        pytest.param(
            "name: x\nwheels:\n  a: {<<: {size: x}}",
            ":3: wheels.a.size: expected a number, got 'x'",
            id="value in a merge",
        ),
    ],
)
def test_a_value_that_does_not_fit_is_refused(tmp_path: Path, content: str, line: str) -> None:
    assert refusal(tmp_path, content) == Line(f"bike.yaml{line}")


def test_a_key_that_is_not_there_is_refused_at_the_nearest_above(tmp_path: Path) -> None:
    document = read(tmp_path, "name: x\nwheels:\n  a: {size: 1}")

    with pytest.raises(ConfigError) as caught:
        document.refuse(("wheels", "a", "tyre", 0, "width"), "too narrow")

    error = caught.value
    assert str(error) == "bike.yaml:3: wheels.a.tyre[0].width: too narrow"
    assert (error.path, error.line) == (Path("bike.yaml"), 3)
    assert (error.key, error.problem) == ("wheels.a.tyre[0].width", "too narrow")


def test_choose_returns_what_is_named_or_refuses(tmp_path: Path) -> None:
    document = read(tmp_path, "name: x")
    among = {"hyperliquid": 1, "mexc": 2}

    assert document.choose(("name",), "mexc", among, "venue") == 2
    with pytest.raises(ConfigError) as caught:
        document.choose(("name",), "Hyperliqid", among, "venue")

    assert str(caught.value) == (
        "bike.yaml:1: name: unknown venue 'Hyperliqid', did you mean 'hyperliquid'? "
        "Known: hyperliquid, mexc"
    )


@pytest.mark.parametrize(
    ("value", "among", "text"),
    [
        pytest.param(
            "fats",
            ["slow", "fast"],
            "unknown param 'fats', did you mean 'fast'? Known: fast, slow",
            id="near",
        ),
        pytest.param(
            "FAST",
            ["slow", "fast"],
            "unknown param 'FAST', did you mean 'fast'? Known: fast, slow",
            id="in capitals",
        ),
        pytest.param(
            "fast", ["FAST"], "unknown param 'fast', did you mean 'FAST'? Known: FAST", id="small"
        ),
        pytest.param(
            "DOGE/USDT",
            ["ETH/USDT", "BTC/USDT"],
            "unknown param 'DOGE/USDT'; known: BTC/USDT, ETH/USDT",
            id="alike by its quote alone",
        ),
        pytest.param(
            "sample:BTC/USD",
            ["sample:BTC/USDT", "sample:ETH/USD"],
            "unknown param 'sample:BTC/USD', did you mean 'sample:BTC/USDT'? Known: "
            "sample:BTC/USDT, sample:ETH/USD",
            id="near in each part",
        ),
        pytest.param("x", ["slow", "fast"], "unknown param 'x'; known: fast, slow", id="far"),
        pytest.param("x\n", [], "unknown param 'x\\n'; known: none", id="none"),
    ],
)
def test_unknown_names_the_nearest_and_all(value: str, among: list[str], text: str) -> None:
    assert unknown("param", value, among) == text


def test_unknown_key_names_the_nearest_or_all() -> None:
    known = ("tick_size", "lot_size")

    assert unknown_key("tick_sze", known) == "unknown key, did you mean 'tick_size'?"
    assert unknown_key("zzz", known) == "unknown key; known: tick_size, lot_size"
    assert unknown_key("pair", ("params", "symbol")) == "unknown key, did you mean 'symbol'?"


# JSON.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(Decimal("2.0"), "2", id="a Decimal"),
        pytest.param(Decimal("1E+3"), "1000", id="a Decimal with an exponent"),
        pytest.param(Decimal("0.00001000"), "0.00001", id="a small Decimal"),
        pytest.param(2.0, 2.0, id="a float stays one"),
        pytest.param(2, 2, id="an int"),
        pytest.param("2", "2", id="text"),
        pytest.param(True, True, id="a truth"),
        pytest.param(None, None, id="nothing"),
        pytest.param(float("nan"), "nan", id="what JSON has not"),
        pytest.param(float("-inf"), "-inf", id="what JSON has not either"),
        pytest.param(("a", [Decimal("1.50")]), ["a", ["1.5"]], id="a tuple"),
        pytest.param({"a": {"b": Decimal("0.0")}}, {"a": {"b": "0"}}, id="a mapping"),
    ],
)
def test_plain_is_ready_for_json(value: object, expected: object) -> None:
    made = plain(value)

    assert made == expected
    assert type(made) is type(expected)
    assert json.loads(json.dumps(made, allow_nan=False)) == expected


def test_plain_tells_a_number_from_its_text() -> None:
    assert plain({"threshold": 0.5}) != plain({"threshold": "0.5"})


def test_plain_leaves_the_original_alone() -> None:
    value = {"a": [Decimal("1.0")]}

    plain(value)

    assert value == {"a": [Decimal("1.0")]}
