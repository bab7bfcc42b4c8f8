"""`doit bench`: speed against a floor of the same run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from tbv8.commands.looking import Looking


class Bench(Looking):
    """Measure."""

    doc_purpose = "measure speed against a floor of the same run; prints JSON lines"
    doc_usage = "[BENCHMARK ...]"
    doc_description = "Runs tests/benchmarks/; without names, all of them. Takes minutes."

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the benchmarks in a process of their own, so that nothing else is measured."""
        self.loader.setup(params)
        if not Path("tests/benchmarks").is_dir():
            raise InvalidCommand(
                "the benchmarks are no part of an installed tbv8: use a clone of it"
            )
        command = [sys.executable, "-m", "tests.benchmarks", *args]
        return subprocess.run(command, check=False).returncode
