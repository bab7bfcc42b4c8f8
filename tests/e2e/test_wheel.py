"""A wheel gives a command that makes a project, in which everything works without a clone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.e2e.conftest import ONE_WEEK, ROOT, copy_project
from tests.lines import Line

STRATEGY = "btc_usdt_perp_v1"


@dataclass(frozen=True)
class Installed:
    """An unpacked wheel, its command, and the folder in which it is typed."""

    site: Path
    command: Path
    folder: Path

    def run(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Type `tbv8 WORDS`."""
        end = subprocess.run(
            [sys.executable, str(self.command), *words],
            cwd=self.folder,
            env={"PYTHONPATH": str(self.site), "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
        assert end.returncode == code, f"{end.stdout}\n{end.stderr}"
        return end

    def doit(self, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Type `doit WORDS`."""
        command = self.command.with_name("doit")
        command.write_text("from doit.__main__ import main\nimport sys\nsys.exit(main())\n")
        return replace(self, command=command).run(*words, code=code)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
        (entries,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "tbv8 = tbv8.commands.main:main" in archive.read(entries).decode()
    (folder / "bin").mkdir()
    command = folder / "bin" / "tbv8"
    command.write_text("import sys\nfrom tbv8.commands.main import main\nsys.exit(main())\n")
    return Installed(folder / "site", command, folder)


def test_init_makes_a_project_that_runs_without_a_clone(installed: Installed) -> None:
    made = installed.run("init", "mine")
    project = replace(installed, folder=installed.folder / "mine")
    project.run("new", "strategy", "my_idea")
    ran = project.run(*ONE_WEEK, f"backtest:{STRATEGY}", "backtest:my_idea")
    below = replace(project, folder=project.folder / "config" / "venues")

    assert made.stdout == (
        "   mine: .gitignore, config, data, dodo.py, pyproject.toml\n"
        f"   ready to run: `cd mine` and `tbv8 backtest:{STRATEGY}`\n"
    )
    assert f"{STRATEGY}: BTC/USDT 5m, " in ran.stdout
    assert "my_idea: BTC/USDT 5m, " in ran.stdout
    assert (
        below.run("plan", *ONE_WEEK, "backtest:my_idea", f"backtest:{STRATEGY}").stdout
        == project.doit("plan", *ONE_WEEK, "backtest:my_idea", f"backtest:{STRATEGY}").stdout
        == "nothing to do: everything is fresh\n"
    )
    manifest = json.loads((project.folder / "data/results/my_idea/manifest.json").read_text())
    assert (
        "`tbv8 lookahead:my_idea`"
        in (project.folder / "config/strategies/my_idea.yaml").read_text()
    )
    assert project.run("why", code=3).stderr == (
        "ERROR: `tbv8 why` needs a task: `tbv8 list` shows them\n"
    )
    assert "`tbv8 start`" in " ".join(project.run("help", "stop").stdout.split())
    assert list(manifest["inputs"]["strategy"]["value"]) == [
        "strategies/my_idea.py",
        "tbv8/strategies/base.py",
    ]
    refused = project.run("bench", code=3).stderr
    assert refused.startswith("ERROR: an installed tbv8 has no benchmarks")
    assert project.doit("--version").stdout.splitlines() == [
        f"tbv8 {manifest_version(installed)} (doit 0.37.0)",
        f"lib @ {installed.site}/tbv8",
    ]


def manifest_version(installed: Installed) -> str:
    """Return the version that the wheel's metadata has."""
    (metadata,) = installed.site.glob("*.dist-info/METADATA")
    (line,) = [line for line in metadata.read_text().splitlines() if line.startswith("Version:")]
    return line.removeprefix("Version: ")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        pytest.param(
            ("status",),
            "{folder}: neither this folder nor a parent is a tbv8 project: change to a project, "
            "or create one with `tbv8 init FOLDER`",
            id="outside of a project",
        ),
        pytest.param((), "{folder}: neither this folder", id="no words outside of a project"),
        pytest.param(("init",), "write `tbv8 init FOLDER`", id="no folder"),
        pytest.param(
            ("init", "bin"), "bin: exists already and is not empty: choose another", id="a full one"
        ),
        pytest.param(("init", "bin/tbv8/x"), "bin/tbv8/x: Not a directory", id="below a file"),
    ],
)
def test_the_command_refuses_in_one_line(
    installed: Installed, words: tuple[str, ...], problem: str
) -> None:
    end = installed.run(*words, code=3)

    assert end.stdout == ""
    assert end.stderr.startswith(f"ERROR: {problem.replace('{folder}', str(installed.folder))}")
    assert end.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "words", [(), ("list",), ("status",), ("help",), ("help", "status")], ids=" ".join
)
def test_doit_outside_of_a_project_says_so_in_one_line(
    installed: Installed, tmp_path: Path, words: tuple[str, ...]
) -> None:
    outside = replace(installed, folder=tmp_path)

    assert outside.doit(*words, code=3).stderr == (
        Line(f"ERROR: {tmp_path}: neither this folder nor a parent is a tbv8 project: ...\n")
    )


def test_doit_below_a_project_names_it(installed: Installed, tmp_path: Path) -> None:
    replace(installed, folder=tmp_path).run("init", "mine")
    below = tmp_path / "mine" / "config"

    assert replace(installed, folder=below).doit(code=3).stderr == (
        f"ERROR: {below}: has no dodo.py: change to {below.parent}, or type `tbv8` in place of "
        "`doit`\n"
    )


def test_doit_runs_another_dodo_file_as_ever(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "dodo.py").write_text(
        'def task_hello():\n    return {"actions": ["echo hi"], "verbosity": 2}\n'
    )
    outside = replace(installed, folder=tmp_path)

    assert outside.doit("list").stdout.split() == ["hello"]
    assert "doit TASK" not in outside.doit("help").stdout  # pydoit's own
    assert outside.doit().stdout == ".  hello\nhi\n"


def test_init_in_a_clone_copies_what_ships_and_no_config_of_the_user(tmp_path: Path) -> None:
    clone = copy_project(tmp_path / "clone", examples="*")
    (clone.root / "config" / "experiments").mkdir()
    shutil.copy(ROOT / "config/experiments/ema_sweep.yaml", clone.root / "config/experiments")
    for folder in ("strategies", "venues", "experiments"):
        clone.write(f"config/{folder}/private.yaml", "secret: 1")

    command = "import sys\nfrom tbv8.commands.main import main\nsys.exit(main())"
    subprocess.run(
        [sys.executable, "-c", command, "init", "made"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(clone.root), "PATH": ""},
        check=True,
    )

    listed = subprocess.run(
        ["git", "ls-files", "config"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    made = tmp_path / "made"
    copied = {str(path.relative_to(made)) for path in made.glob("config/**/*.yaml")}
    assert "config/strategies/btc_usdt_perp_v1.yaml" in copied
    assert not [name for name in copied if "private" in name]
    if listed.returncode == 0:  # a download without git has no list
        assert copied == set(listed.stdout.split())
