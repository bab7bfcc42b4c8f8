"""What a strategy opens: part of the key, or refused with its line. Each module runs for real."""

from __future__ import annotations

import hashlib
import importlib
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from tbv8.config.source import digest_file
from tbv8.trading.loading import StrategyError
from tbv8.trading.opened_files import track_files
from tests.backtest.builders import make_strategy

type Run = Callable[[str], dict[str, str]]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "project"
    (root / "code").mkdir(parents=True)
    (root / "prices.csv").write_text("1,2\n")
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(root / "code")
    return root


@pytest.fixture
def run(project: Path) -> Run:
    """Return what runs code of a user and returns the digests of what it opened."""

    def run(code: str) -> dict[str, str]:
        (project / "own.py").write_text(code)
        compiled = compile(code, str(project / "own.py"), "exec")
        with track_files(replace(make_strategy(), root=project)) as opened:
            exec(compiled, {"__name__": "own"})
        return opened.files()

    return run


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("open('prices.csv').read()", id="open"),
        pytest.param("open('code/../prices.csv', 'r+').read()", id="to read and write"),
        pytest.param("import os\nos.read(os.open('prices.csv', os.O_RDONLY), 9)", id="os.open"),
        pytest.param("from pathlib import Path\nPath('prices.csv').read_bytes()", id="pathlib"),
        pytest.param("import numpy as np\nnp.loadtxt('prices.csv', delimiter=',')", id="numpy"),
        pytest.param("import csv\nlist(csv.reader(open('prices.csv')))", id="csv"),
        pytest.param(
            "import threading\nt = threading.Thread(target=lambda: open('prices.csv').read())\n"
            "t.start()\nt.join()",
            id="another thread",
        ),
        pytest.param("exec(\"open('prices.csv').read()\")", id="code in a text"),
    ],
)
def test_a_file_of_the_project_is_recorded_with_its_digest(run: Run, code: str) -> None:
    assert run(code) == {"prices.csv": digest("1,2\n")}


def test_a_device_is_not_recorded_and_a_file_in_memory_is_like_any_other(run: Run) -> None:
    assert run("open('/dev/zero', 'rb').read(1)") == {}

    with (
        tempfile.NamedTemporaryFile("w", dir="/dev/shm", suffix=".csv") as prices,
        pytest.raises(StrategyError, match=f"opens {prices.name}, outside of the project's folder"),
    ):
        run(f"open({prices.name!r}).read()")


def test_a_file_that_is_only_written_is_not_recorded(run: Run) -> None:
    assert run("open('log.txt', 'w').write('x')\nopen('log.txt', 'a').write('y')") == {}


def test_a_file_that_is_not_there_is_recorded_as_absent(run: Run) -> None:
    code = "try:\n    open('override.csv')\nexcept OSError:\n    pass"

    assert run(code) == {"override.csv": "absent"}


def test_a_folder_that_is_listed_is_recorded_with_its_names(run: Run, project: Path) -> None:
    (project / "days").mkdir()
    (project / "days" / "2.csv").touch()
    code = "from pathlib import Path\nsorted(Path('days').glob('*.csv'))"
    first = run(code)
    assert run(code) == first

    (project / "days" / "1.csv").touch()

    assert first.keys() == run(code).keys() == {"days"}
    assert first != run(code)


def test_modules_that_are_found_by_sys_path_are_recorded_and_imported_anew_each_time(
    run: Run, project: Path
) -> None:
    (project / "code/helper.py").write_text("import deeper\nseen = []\n")
    (project / "code/deeper.py").write_text("ONE = 1\n")
    code = "import helper\nassert not helper.seen\nhelper.seen.append(1)"

    found = [run(code), run(code)]  # the second time there are compiled files

    assert (
        found[0]
        == found[1]
        == {name: digest_file(project / name) for name in ("code/deeper.py", "code/helper.py")}
    )
    assert "helper" not in sys.modules
    assert "deeper" not in sys.modules


def test_what_a_strategy_imports_by_name_is_not_recorded_once_more(project: Path) -> None:
    (project / "code/base.py").write_text("ONE = 1\n")
    (project / "own.py").write_text("import code.base\n")
    strategy = replace(make_strategy(module="own.py"), root=project)

    with track_files(strategy) as opened:
        path = str(project / "own.py")
        exec(compile(f"open('code/base.py').read(); open({path!r}).read()", path, "exec"), {})

    assert opened.files() == {}


def test_a_bare_package_of_an_import_is_not_recorded_whether_it_is_loaded_already_or_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a package with a docstring alone, which is no part of the sources
    (project / "pack").mkdir()
    (project / "pack/__init__.py").write_text('"""A package."""\n')
    (project / "pack/helper.py").write_text("ONE = 1\n")
    (project / "own.py").write_text(code := "import pack.helper\n")
    monkeypatch.syspath_prepend(project)
    strategy = replace(make_strategy(module="own.py"), root=project)
    found = []

    # when the second run finds the package in memory
    for _ in range(2):
        with track_files(strategy) as opened:
            exec(compile(code, str(project / "own.py"), "exec"), {})
        found.append(opened.files())
        importlib.import_module("pack")
    del sys.modules["pack"]

    # then the key is the same
    assert found == [{}, {}]


def test_a_module_that_is_loaded_from_its_path_is_recorded(run: Run, project: Path) -> None:
    (project / "loose.py").write_text("open('prices.csv').read()\n")

    found = run(
        "import importlib.util as u\ns = u.spec_from_file_location('loose', 'loose.py')\n"
        "s.loader.exec_module(u.module_from_spec(s))"
    )

    assert list(found) == ["loose.py", "prices.csv"]


def test_libraries_and_what_they_read_are_not_recorded(run: Run) -> None:
    code = (
        "import wave, zoneinfo, json.tool, random\nzoneinfo.ZoneInfo('Europe/Zurich')\n"
        "open('/dev/null').read()\nrandom.SystemRandom().random()"
    )
    for name in ("wave", "json.tool"):
        sys.modules.pop(name, None)

    assert run(code) == {}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        pytest.param(
            "\n\nopen('/tmp/../etc/../bin/sh', 'rb')",
            "own.py:3 opens /bin/sh, outside of the project's folder",
            id="a file elsewhere",
        ),
        pytest.param(
            "import pathlib\npathlib.Path('/etc/passwd').read_text()",
            "own.py:2 opens /etc/passwd, outside of the project's folder",
            id="a file of the machine",
        ),
        pytest.param(
            "import sqlite3\nsqlite3.connect('prices.db').close()",
            "own.py:2 opens the database prices.db",
            id="a database",
        ),
        pytest.param(
            "import subprocess\nsubprocess.run(['true'])", "own.py:2 starts true", id="a program"
        ),
        pytest.param("import os\nos.system('true')", "own.py:2 starts ", id="by a shell"),
        pytest.param(
            "import urllib.request as r\ntry:\n    r.urlopen('http://127.0.0.1:9/', timeout=1)\n"
            "except OSError:\n    pass",
            "own.py:3 connects to 127.0.0.1",
            id="a connection",
        ),
        pytest.param(
            "text = open('prices.csv').read()\nopen('prices.csv', 'w').write('3,4')",
            "own.py:1 opens prices.csv, which the run itself changes",
            id="a file that it writes too",
        ),
        pytest.param(
            "import helper",
            "code/helper.py:2 imports pyarrow, and tbv8 cannot see which files it opens",
            id="a helper that reads unseen",
        ),
        pytest.param(
            "import importlib\nimportlib.import_module('polars.io')",
            "own.py:2 imports polars, and tbv8 cannot see which files it opens",
            id="an import by name",
        ),
    ],
)
def test_what_cannot_be_in_a_key_is_refused_with_its_line(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    (project / "code/helper.py").write_text("import math\nimport pyarrow as pa\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "polars"]:
        monkeypatch.delitem(sys.modules, name)  # a second polars does not get on with the first

    with pytest.raises(StrategyError) as caught:
        run(code)

    assert str(caught.value).startswith(f"test_v1: {said}")
    assert "\n" not in str(caught.value)


def test_files_opened_by_other_code_are_not_the_strategys(run: Run, project: Path) -> None:
    """tbv8 itself opens files in a run: what its code opens is not behind a user's line."""
    with track_files(replace(make_strategy(), root=project)) as opened:
        digest_file(project / "prices.csv")
        importlib.import_module("tbv8.venues.sample")

    assert opened.files() == {}


def test_after_the_block_nothing_is_recorded(project: Path) -> None:
    with track_files(replace(make_strategy(), root=project)) as opened:
        pass

    (project / "prices.csv").read_text()
    with closing(sqlite3.connect(":memory:")), closing(socket.socket()):
        assert opened.files() == {}


def test_a_file_of_the_repository_beside_the_project_is_recorded_from_the_project_on(
    project: Path, tmp_path: Path
) -> None:
    beside = project.parent / "beside"
    (beside / ".git").mkdir(parents=True)
    (beside / "levels.csv").write_text("1,2")
    (beside / "own.py").write_text(code := "open('../beside/levels.csv').read()")
    strategy = replace(make_strategy(module="../beside/own.py"), root=project)

    with track_files(strategy) as opened:
        exec(compile(code, str(beside / "own.py"), "exec"), {})

    assert opened.files() == {"../beside/levels.csv": digest_file(beside / "levels.csv")}
