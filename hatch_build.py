"""A wheel brings what a clone has beside the package: the start of a project, and the migrations.

Not an editable installation: that is the clone.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PROJECT = ("dodo.py", "pyproject.toml")


class CustomBuildHook(BuildHookInterface):
    """Hatchling finds it by this name."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to the wheel."""
        if version != "editable":
            names = [*_PROJECT, *(f"config/{name}" for name in self.config["config"])]
            build_data["force_include"] |= {name: f"tbv8/project/{name}" for name in names}
            build_data["force_include"] |= {"migrations": "tbv8/migrations"}
