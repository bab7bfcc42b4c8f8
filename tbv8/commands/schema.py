"""`doit schema`: JSON Schemas of the YAML files, for editors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from doit.cmd_base import Command
from doit.exceptions import InvalidCommand

from tbv8.commands.errors import OneLineErrors
from tbv8.config.schema import FOLDER, schemas
from tbv8.files import replacing

_CONFIG = Path("config")


class Schema(OneLineErrors, Command):  # type: ignore[misc]  # doit ships no types
    """Write JSON Schemas."""

    doc_purpose = "write JSON Schemas of the YAML files, for editors"
    doc_usage = ""
    doc_description = (
        "Writes config/.schemas/<kind>.schema.json for data, history, venue, strategy and "
        "experiment files. An "
        "editor with a YAML language server completes and checks a file that begins with "
        "`# yaml-language-server: $schema=../.schemas/strategy.schema.json`, as the shipped ones "
        "do. Run it again after adding a venue or a strategy class, so that their names and params "
        "are offered. It works with errors in the config too. tbv8 itself checks more than a "
        "schema can."
    )

    def execute(self, _params: Any, args: Sequence[str]) -> int:
        """Write the schemas; the config is not loaded, so it may have errors."""
        if args:
            raise InvalidCommand(f"{args[0]!r}: `doit schema` takes no names: leave it out")
        if not _CONFIG.is_dir():
            raise InvalidCommand("config: folder not found: run it in the project's folder")
        folder = _CONFIG / FOLDER
        by_kind = schemas(path.stem for path in (_CONFIG / "venues").glob("[!.]*.y*ml"))
        for name, schema in by_kind.items():
            path = folder / f"{name}.schema.json"
            with replacing(path) as new:
                new.write_text(f"{json.dumps(schema, indent=2)}\n", encoding="utf-8")
            print(path)
        return 0
