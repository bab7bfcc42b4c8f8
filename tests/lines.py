"""Messages by what a test pins of them: place, key, rule and values.

The whole sentence is pinned once, where it is made. Elsewhere `...` stands for what may be worded
in another way, above all for the cure:

    assert refusal == Line("config/data.yaml:2: db_pth: unknown key ... 'db_path'?")
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Line:
    """A line that equals each one with the same text around its `...`."""

    text: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, str):
            return NotImplemented
        parts = map(re.escape, re.split(r" ?\.\.\. ?", self.text))
        return re.fullmatch(".*".join(parts), other) is not None

    __hash__ = None  # type: ignore[assignment]
