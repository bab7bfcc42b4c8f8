"""The standard output of a session's processes: it carries their reports and nothing else."""

from __future__ import annotations

import os
from typing import BinaryIO


def claim_stdout() -> BinaryIO:
    """Return the process's standard output, and send what libraries write to it to stderr.

    Only file descriptors change: set `sys.stdout` for what Python code prints.
    """
    stdout = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return stdout
