"""The table of mutants fits the code, and the script that runs them tells what survived."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.builders import ROOT
from tests.mutants import TABLES, Mutant, load_mutants, run, select

MUTANTS = load_mutants()


@pytest.mark.parametrize("table", sorted(TABLES.glob("*.toml")), ids=lambda path: path.stem)
def test_each_mutant_is_one_other_text_that_python_can_read(table: Path) -> None:
    for mutant in MUTANTS:
        if mutant.subject == table.stem:
            source = (ROOT / mutant.file).read_text()
            mutated = mutant.mutate(source)  # raises where the old text is not there once
            assert mutated != source, mutant.name
            ast.parse(mutated)
            assert mutant.rule, mutant.name
            for test in mutant.tests:
                file, _, name = test.partition("::")
                text = (ROOT / file).read_text()
                assert not name or f"def {name.partition('[')[0]}(" in text, (mutant.name, test)


def test_each_name_is_used_once() -> None:
    assert [name for name, count in Counter(m.name for m in MUTANTS).items() if count > 1] == []


def test_a_name_means_a_subject_a_module_or_a_mutant() -> None:
    first = MUTANTS[0]

    assert select(MUTANTS, [first.name]) == [first]
    assert {mutant.file for mutant in select(MUTANTS, [first.file])} == {first.file}
    assert {mutant.subject for mutant in select(MUTANTS, [first.subject])} == {first.subject}
    assert select(MUTANTS, []) == MUTANTS
    with pytest.raises(ValueError, match="named 'nothing'"):
        select(MUTANTS, [first.name, "nothing"])


def test_a_mutant_is_caught_when_a_test_fails_and_the_tree_stays_as_it_was(tmp_path: Path) -> None:
    # given a project with a rule that its tests pin, and one that they do not
    code = "def middle(a, b):\n    return (a + b) // 2 if a < b else b\n"
    (tmp_path / "code_here.py").write_text(code)
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["."]\n')
    test = "from code_here import middle\n\ndef test_middle():\n    assert middle(2, 5) == 3\n"
    (tmp_path / "test_code.py").write_text(test)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    def mutant(old: str, new: str) -> Mutant:
        return Mutant(
            subject="s",
            name="n",
            file="code_here.py",
            rule="r",
            old=old,
            new=new,
            tests=("test_code.py",),
        )

    mutants = [mutant("+", "-"), mutant("a < b", "a <= b")]

    assert list(run(mutants, root=tmp_path)) == ["caught", "SURVIVED"]
    assert (tmp_path / "code_here.py").read_text() == code


def test_tests_that_fail_without_a_mutant_catch_none(tmp_path: Path) -> None:
    (tmp_path / "test_code.py").write_text("def test_wrong():\n    assert False\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)

    with pytest.raises(ValueError, match="must pass without a mutant"):
        list(
            run(
                [
                    Mutant(
                        subject="s",
                        name="n",
                        file="test_code.py",
                        rule="r",
                        old="a",
                        new="b",
                        tests=("test_code.py",),
                    )
                ],
                root=tmp_path,
            )
        )


def test_a_name_that_means_nothing_is_refused_in_one_line() -> None:
    ended = subprocess.run(
        [sys.executable, "tests/mutants.py", "nothing"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert ended.stderr == "no subject, module or mutant is named 'nothing'\n"
