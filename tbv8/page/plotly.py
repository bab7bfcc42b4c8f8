"""plotly.js, inside each page or once beside the pages.

A page contains all of it, so that a single file can be sent to somebody. If the results folder has
a file of its name, an empty one too, pages load that file instead, and it is kept up to date.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from tbv8.files import replacing

PLOTLY_FILE = "plotly.min.js"


def has_plotly(folder: Path | None) -> bool:
    """Return True if the pages below a folder share its plotly.min.js."""
    return folder is not None and (folder / PLOTLY_FILE).is_file()


def write_plotly(folder: Path) -> None:
    """Write the installed version of plotly.min.js into a folder, unless it is there."""
    path, content = folder / PLOTLY_FILE, plotly_script().encode()
    if not path.is_file() or path.read_bytes() != content:
        with replacing(path) as new:
            new.write_bytes(content)


@cache
def plotly_script() -> str:
    """Return plotly.js, 4.8 MB."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script
