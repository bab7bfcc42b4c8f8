"""`doit bench`: speed compared with a reference of the same run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from doit.exceptions import InvalidCommand

from tbv8.commands.base import ProjectCommand


class Bench(ProjectCommand):
    """Measure speed."""

    doc_purpose = "measure speed, as ratios to a reference of the same run; prints JSON lines"
    doc_usage = "[BENCHMARK ...]"
    doc_description = "Runs tests/benchmarks/; without names, all of them. Takes minutes."

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the benchmarks in a separate process, so that nothing else is measured."""
        self.loader.setup(params)
        if not Path("tests/benchmarks").is_dir():
            raise InvalidCommand(
                "an installed tbv8 has no benchmarks: run this in a clone of its repository"
            )
        command = [sys.executable, "-m", "tests.benchmarks", *args]
        return subprocess.run(command, check=False).returncode
