"""Sources read without importing them: params of config classes, what imports what, digests."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import cache_from_source
from pathlib import Path
from textwrap import dedent

import pytest

from tbv8.config.source import (
    Params,
    classes,
    config_params,
    digest_source,
    import_root,
    parse_source,
    project_imports,
    source_name,
    strategy_sources,
)
from tbv8.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]

type Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a source below a root of its own."""

    def write(name: str, code: str | bytes = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(code if isinstance(code, bytes) else dedent(code).encode())
        return path

    return write


def params_of(code: str, name: str = "OwnConfig") -> Params:
    """Return the params of a class in this code."""
    found = {
        node.name: node for node in ast.parse(dedent(code)).body if isinstance(node, ast.ClassDef)
    }
    return config_params(found[name], found)


# Params.

DATACLASS = """
    @dataclass(frozen=True, kw_only=True)
    class OwnConfig:
        "What it takes."

        instrument_id: InstrumentId
        bar_type: BarType
        max_position: Decimal

        lookback: int
        threshold: float = 0.5
        KINDS: ClassVar[tuple[str, ...]] = ("a", "b")
        SIDES: "typing.ClassVar[int]"
        _: KW_ONLY
        weights: list[float] = field(default_factory=list)
        label: str = field(default="x")
        name: str = field(repr=False)
        window: int = dataclasses.field(init=False)
        not_annotated = 3

        def __post_init__(self) -> None:
            self.window: int = 2 * self.lookback
"""


def test_params_of_a_dataclass_are_its_fields() -> None:
    assert params_of(DATACLASS) == Params(
        {"lookback": True, "threshold": False, "weights": False, "label": False, "name": True}
    )


@pytest.mark.parametrize(
    ("head", "required"),
    [
        pytest.param(
            "def __init__(self, instrument_id, bar_type, max_position, fast, slow=50)",
            {"fast": True, "slow": False},
            id="by place",
        ),
        pytest.param(
            "def __init__(self, *, instrument_id, bar_type, max_position, fast, slow=50)",
            {"fast": True, "slow": False},
            id="by name",
        ),
        pytest.param(
            "def __new__(cls, instrument_id, /, fast=20, *rest, slow, bar_type)",
            {"fast": False, "slow": True},
            id="__new__, by place and by name",
        ),
        pytest.param("def __init__(self)", {}, id="none"),
        pytest.param("def __init__(self, fast=None)", {"fast": False}, id="None by default"),
    ],
)
def test_params_of_a_class_are_the_arguments_that_make_it(
    head: str, required: dict[str, bool]
) -> None:
    code = f"class OwnConfig:\n    fast: int\n    other: str\n    {head}: ...\n"

    assert params_of(code) == Params(required)


def test_params_of_a_nautilus_config_are_those_that_it_takes_out() -> None:
    code = """
        class OwnConfig(StrategyConfig):
            fast: int

            def __new__(cls, *args, **kwargs):
                return super().__new__(cls)

            def __init__(self, *, instrument_id, bar_type, max_position, fast, slow=50):
                self.fast = fast
    """

    assert params_of(code) == Params({"fast": True, "slow": False})


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("class OwnConfig:\n    def __init__(self, fast, **rest): ...", id="**rest"),
        pytest.param("class OwnConfig(elsewhere.Base):\n    fast: int", id="a base of elsewhere"),
        pytest.param(
            "class Base(elsewhere.Base): ...\nclass OwnConfig(Base):\n    fast: int",
            id="a base of a base of elsewhere",
        ),
    ],
)
def test_params_that_no_source_here_names_leave_it_open(code: str) -> None:
    assert params_of(code) == Params({"fast": True}, closed=False)


@pytest.mark.parametrize("base", ["object", "StrategyConfig", "msgspec.Struct", "NamedTuple"])
def test_params_of_a_base_without_any_are_closed(base: str) -> None:
    code = f"class OwnConfig({base}, frozen=True):\n    fast: int"

    assert params_of(code) == Params({"fast": True})


def test_params_of_bases_in_the_module_are_inherited() -> None:
    code = """
        class Base:
            instrument_id: object
            fast: int
            slow: int

        class Middle(Base):
            slow: int = 50

        class OwnConfig(Middle):
            size: float
    """

    assert params_of(code) == Params({"fast": True, "slow": False, "size": True})


def test_a_constructor_hides_the_fields_of_the_base() -> None:
    code = """
        class Base:
            slow: int

        class OwnConfig(Base):
            def __init__(self, fast): ...
    """

    assert params_of(code) == Params({"fast": True})


def test_a_base_of_the_same_name_is_one_of_elsewhere() -> None:
    code = "class OwnConfig(library.OwnConfig):\n    fast: int"

    assert params_of(code) == Params({"fast": True}, closed=False)


def test_the_shipped_strategy_takes_its_params() -> None:
    known = classes(ROOT / "tbv8/strategies/ema_cross.py")

    assert list(known) == ["EmaCrossConfig", "EmaCross"]
    assert config_params(known["EmaCrossConfig"], known) == Params(
        {"fast": False, "slow": False, "trade_size": False}
    )


def test_classes_are_those_at_the_top_of_a_module(write: Write) -> None:
    path = write(
        "own.py",
        """\
        class First:
            class Inner: ...

        def function():
            class Local: ...

        class Second(First): ...
        """,
    )

    assert list(classes(path)) == ["First", "Second"]


# Imports.


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        pytest.param("import tbv8.market", ["tbv8/market.py"], id="a module"),
        pytest.param("import tbv8.market as m, os", ["tbv8/market.py"], id="under another name"),
        pytest.param("from tbv8 import market", ["tbv8/market.py"], id="from its package"),
        pytest.param("from tbv8.market import Span", ["tbv8/market.py"], id="a name of a module"),
        pytest.param("from tbv8.market import *", ["tbv8/market.py"], id="all of a module"),
        pytest.param("from . import helper", ["tbv8/strategies/helper.py"], id="a sibling"),
        pytest.param("from .helper import f", ["tbv8/strategies/helper.py"], id="of a sibling"),
        pytest.param("from .. import market", ["tbv8/market.py"], id="from the package above"),
        pytest.param("from ..market import Span", ["tbv8/market.py"], id="of a module above"),
        pytest.param(
            "from .kit import tool",
            ["tbv8/strategies/kit/__init__.py", "tbv8/strategies/kit/tool.py"],
            id="from a package with code",
        ),
        pytest.param(
            "import tbv8.strategies.kit.tool",
            ["tbv8/strategies/kit/__init__.py", "tbv8/strategies/kit/tool.py"],
            id="by way of a package with code",
        ),
        pytest.param(
            "from tbv8.strategies import kit",
            ["tbv8/strategies/kit/__init__.py"],
            id="a package with code",
        ),
        pytest.param(
            "def f():\n    from . import helper", ["tbv8/strategies/helper.py"], id="late"
        ),
        pytest.param(
            "if TYPE_CHECKING:\n    from . import helper",
            ["tbv8/strategies/helper.py"],
            id="for types",
        ),
        pytest.param("import numpy, os.path\nfrom json import loads", [], id="of others"),
        pytest.param("from tbv8 import nothing_here", [], id="what is not there"),
        pytest.param("from ...... import above_the_root", [], id="above the root"),
        pytest.param("'import tbv8.market'  # import tbv8.market", [], id="in words only"),
    ],
)
def test_an_import_of_the_project_is_found(
    write: Write, tmp_path: Path, line: str, found: list[str]
) -> None:
    write("tbv8/__init__.py", '"""A docstring."""\n')
    write("tbv8/strategies/__init__.py", "")
    write("tbv8/market.py")
    write("tbv8/strategies/helper.py")
    write("tbv8/strategies/kit/__init__.py", "SIZE = 3\n")
    write("tbv8/strategies/kit/tool.py")
    own = write("tbv8/strategies/own.py", line)

    imports = project_imports([own], root=tmp_path)

    assert names(imports, tmp_path) == sorted(["tbv8/strategies/own.py", *found])


def test_imports_are_followed_at_any_depth_and_round_in_circles(
    write: Write, tmp_path: Path
) -> None:
    write("tbv8/strategies/a.py", "from . import b")
    write("tbv8/strategies/b.py", "from tbv8.strategies.kit import c")
    write("tbv8/strategies/kit/c.py", "from ..d import x")
    write("tbv8/strategies/d.py", "import tbv8.strategies.a")
    write("tbv8/strategies/unrelated.py", "from . import a")

    imports = project_imports([tmp_path / "tbv8/strategies/a.py"], root=tmp_path)

    assert names(imports, tmp_path) == [
        "tbv8/strategies/a.py",
        "tbv8/strategies/b.py",
        "tbv8/strategies/d.py",
        "tbv8/strategies/kit/c.py",
    ]


def test_the_package_of_a_strategy_counts_when_it_holds_code(write: Write, tmp_path: Path) -> None:
    write("tbv8/__init__.py", '"""A docstring alone."""')
    write("tbv8/strategies/mine/__init__.py", '"""A docstring, and code."""\nSIZE = 3')
    own = write("tbv8/strategies/mine/own.py")

    imports = project_imports([own], root=tmp_path)

    assert names(imports, tmp_path) == [
        "tbv8/strategies/mine/__init__.py",
        "tbv8/strategies/mine/own.py",
    ]


def test_a_name_of_a_package_that_imports_it_is_followed(write: Write, tmp_path: Path) -> None:
    write("tbv8/strategies/kit/__init__.py", "from tbv8.strategies.kit.tool import hammer")
    write("tbv8/strategies/kit/tool.py")
    own = write("tbv8/strategies/own.py", "from tbv8.strategies.kit import hammer")

    imports = project_imports([own], root=tmp_path)

    assert names(imports, tmp_path) == [
        "tbv8/strategies/kit/__init__.py",
        "tbv8/strategies/kit/tool.py",
        "tbv8/strategies/own.py",
    ]


def test_the_shipped_strategy_imports_nothing_of_the_project() -> None:
    path = ROOT / "tbv8/strategies/ema_cross.py"

    assert project_imports([path], root=ROOT) == [path]


# Digests.

CODE = """\
\"\"\"A strategy.\"\"\"
import math


def size(price):
    return math.floor(price) * 2
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("import math\n", "import math  # for floor\n", id="a comment"),
        pytest.param("import math\n", "\n\n\nimport math\n\n# only a comment\n", id="blank lines"),
        pytest.param("    return", "        return", id="indentation"),
        pytest.param("(price) * 2", "(\n        price\n    )   *   2", id="line breaks"),
        pytest.param('"""A strategy."""', "'A strategy.'", id="other quotes"),
        pytest.param("* 2", "* (2)", id="parentheses"),
        pytest.param("\n", "\r\n", id="lines of Windows"),
    ],
)
def test_what_changes_nothing_leaves_the_digest(write: Write, old: str, new: str) -> None:
    before = digest_source(write("before.py", CODE.encode()))
    after = digest_source(write("after.py", CODE.replace(old, new).encode()))

    assert old in CODE
    assert after == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("* 2", "* 3", id="a number"),
        pytest.param("* 2", "* 2.0", id="the type of a number"),
        pytest.param("floor", "ceil", id="a name"),
        pytest.param("(price):", "(price=1):", id="a default"),
        pytest.param("import math", "import math, os", id="an import"),
    ],
)
def test_what_changes_the_program_changes_the_digest(write: Write, old: str, new: str) -> None:
    before = digest_source(write("before.py", CODE))
    after = digest_source(write("after.py", CODE.replace(old, new)))

    assert old in CODE
    assert after != before


def test_a_digest_is_the_same_in_any_folder(write: Write) -> None:
    first = digest_source(write("a/own.py", CODE))
    second = digest_source(write("b/c/other.py", CODE))

    assert first == second
    assert len(first) == 64


def test_a_digest_is_the_same_in_any_process(write: Write) -> None:
    """Under other hashes, with asserts left out, and beside objects that are shared by chance."""
    path = write("own.py", CODE + "    assert price in {'a', 'b', 'c', 'd'} and 'a' != 'price'\n")
    script = f"from tbv8.config.source import *; print(digest_source(Path({str(path)!r})))"

    digests = {
        subprocess.run(
            [sys.executable, *options, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for options, seed in (([], "1"), (["-OO"], "2"))
    }

    assert digests == {f"{digest_source(path)}\n".encode()}


def test_a_module_of_tbv8_has_the_digest_of_its_source_with_and_without_bytecode(
    write: Write,
) -> None:
    module = ROOT / "tbv8/risk/book.py"
    copy = write("book.py", module.read_bytes())
    Path(cache_from_source(module)).unlink(missing_ok=True)

    compiled, loaded = digest_source.__wrapped__(module), digest_source.__wrapped__(module)

    assert compiled == loaded == digest_source(copy)


# What is not Python.


def test_a_source_that_cannot_be_compiled_is_refused(write: Write) -> None:
    path = write("own.py", "x = 1\nreturn x\n")

    with pytest.raises(ConfigError) as caught:
        digest_source(path)

    assert str(caught.value) == f"{path}:2: not Python: 'return' outside function"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        pytest.param("x = 1\ndef f(:\n", ":2: not Python: invalid syntax", id="syntax"),
        pytest.param("class A\n", ":1: not Python: expected ':'", id="no colon"),
        pytest.param(
            "def f():\nreturn 1\n",
            ":2: not Python: expected an indented block after function definition on line 1",
            id="indentation",
        ),
        pytest.param(
            b"x = '\xe9'\n",
            ":1: not Python: (unicode error) 'utf-8' codec can't decode byte 0xe9 in position 0: "
            "unexpected end of data",
            id="not UTF-8",
        ),
        pytest.param(
            b"x = 1\0\n", ": not Python: source code string cannot contain null bytes", id="binary"
        ),
    ],
)
def test_what_is_not_python_is_refused_where_it_stands(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str | bytes, line: str
) -> None:
    path = write("tbv8/strategies/own.py", code)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ConfigError) as caught:
        parse_source(path)

    assert str(caught.value) == f"tbv8/strategies/own.py{line}"


def test_an_import_that_is_not_python_is_refused(write: Write, tmp_path: Path) -> None:
    helper = write("tbv8/strategies/helper.py", "def f(:\n")
    own = write("tbv8/strategies/own.py", "from . import helper")

    with pytest.raises(ConfigError) as caught:
        project_imports([own], root=tmp_path)

    assert str(caught.value) == f"{helper}:1: not Python: invalid syntax"


def test_a_source_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.py"

    with pytest.raises(ConfigError) as caught:
        digest_source(path)

    assert str(caught.value) == f"{path}: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"\xef\xbb\xbfx = 1\n", id="a byte order mark"),
        pytest.param(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", id="an encoding of its own"),
    ],
)
def test_python_in_any_encoding_is_read(write: Write, code: bytes) -> None:
    assert len(parse_source(write("own.py", code)).body) == 1


@pytest.mark.parametrize(
    ("mark", "module", "root"),
    [
        pytest.param("alpha/.git/HEAD", "../alpha/trend/own.py", "alpha", id="a repository"),
        pytest.param("alpha/pyproject.toml", "../alpha/trend/own.py", "alpha", id="a package"),
        pytest.param("alpha/README.md", "../alpha/trend/own.py", "alpha/trend", id="a folder"),
        pytest.param("project/trend/.git/HEAD", "trend/own.py", "project", id="in the project"),
        pytest.param(".git/HEAD", "../alpha/own.py", ".", id="a repository around both"),
    ],
)
def test_a_file_beside_the_project_is_imported_from_its_repository(
    tmp_path: Path, mark: str, module: str, root: str
) -> None:
    for name in ("project/x", mark):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    found = import_root(module, root=tmp_path / "project")

    assert found == tmp_path / root


def test_what_a_file_imports_of_an_installed_tbv8_is_a_source_too(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text("from tbv8.strategies.base import OneMarket\n")

    sources, below = strategy_sources("own.py", root=tmp_path)

    assert below == tmp_path
    assert {source_name(path, below) for path in sources} == {
        "own.py",
        "tbv8/strategies/base.py",
    }


def test_of_an_installed_strategy_the_libraries_beside_it_are_no_sources(tmp_path: Path) -> None:
    site = tmp_path / "site-packages"
    for name in ("tbv8/strategies", "numpy"):
        (site / name).mkdir(parents=True)
    (site / "numpy/__init__.py").write_text("import ctypes\n")
    (site / "tbv8/strategies/helper.py").write_text("import numpy\n")
    own = site / "tbv8/strategies/own.py"
    own.write_text("import numpy as np\nfrom tbv8.strategies.helper import np\n")

    sources = project_imports([own], root=site)

    assert sources == [own.with_name("helper.py"), own]
