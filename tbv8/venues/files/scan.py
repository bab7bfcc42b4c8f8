"""The process that scans files for the index: JSON paths on stdin, JSON facts on stdout.

python -m tbv8.venues.files.scan ZONE < paths.json
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from tbv8.errors import DataError
from tbv8.venues.files.index import Facts, disk_state
from tbv8.venues.files.read import read_file


def scan(path: Path, zone: str) -> Facts:
    """Return the facts of one file; for an unusable file they include the problem."""
    mark = disk_state(path)
    try:
        bars = read_file(path, name="", zone=zone)
    except DataError as e:
        return Facts(mark=mark, zone=zone, problem=str(e))
    return Facts(
        mark=mark,
        zone=zone,
        sha256=bars.sha256,
        start_ms=bars.span.start_ms,
        end_ms=bars.span.end_ms,
    )


if __name__ == "__main__":
    paths = msgspec.json.decode(sys.stdin.buffer.read(), type=list[str])
    sys.stdout.buffer.write(msgspec.json.encode([scan(Path(path), sys.argv[1]) for path in paths]))
