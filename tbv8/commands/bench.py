"""`doit bench`: speed against a floor of the same run."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from tbv8.commands.looking import Looking


class Bench(Looking):
    """Measure."""

    doc_purpose = "measure speed against a floor of the same run; prints JSON lines"
    doc_usage = "[BENCHMARK ...]"
    doc_description = "Runs tests/benchmarks/; without names, all of them. Takes minutes."

    def execute(self, params: Any, args: list[str]) -> int:
        """Run the benchmarks in a process of their own, so that nothing else is measured."""
        self.loader.setup(params)
        command = [sys.executable, "-m", "tests.benchmarks", *args]
        return subprocess.run(command, check=False).returncode
