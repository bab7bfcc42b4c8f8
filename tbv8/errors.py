"""The errors that a user can act on; any other exception is a bug and keeps its traceback.

Tbv8Error             one line is printed, the exit code is not 0
+-- ConfigError       a file of config/ or an argument of the command line is wrong
|   +-- OptionsError      a valid file has no history under `venue=`, `start=` and `end=`
+-- DataError         rows are missing, damaged, or from another version of tbv8
|   +-- UnreadableError   the database is damaged, locked, or cannot be opened
|   +-- NotMigratedError  there is no database yet, or none of this revision
|   +-- MovedError        the open database is no longer the file at its path
|   +-- DiffersError      a paper session's replay differs from its journal
+-- VenueError        a venue refused, or could not be reached
+-- StrategyError     a user's strategy raised (in trading/loading.py, with its traceback)
"""

from __future__ import annotations

from pathlib import Path

from tbv8.text import one_line


class Tbv8Error(Exception):
    """An error to the user, in one line: where, what is wrong, the cure."""


class ConfigError(Tbv8Error):
    """A configured value that cannot be used.

    Args:
        path: The file, or None for the command line.
        line: Its line, counted from 1.
        key: The dotted key, `risk.max_leverage`.
        problem: What is wrong, and the cure.
    """

    def __init__(
        self, problem: str, *, path: Path | None = None, line: int | None = None, key: str = ""
    ) -> None:
        where = "command line" if path is None else str(path) + (f":{line}" if line else "")
        super().__init__(": ".join(part for part in (where, key, problem) if part))
        self.path, self.line, self.key, self.problem = path, line, key, problem


class OptionsError(ConfigError):
    """No history under the command line's options, where there is some without them."""

    @classmethod
    def of(cls, e: ConfigError) -> OptionsError:
        """Return an error with the same place and text."""
        return cls(e.problem, path=e.path, line=e.line, key=e.key)


class DataError(Tbv8Error):
    """Rows that are missing, damaged or changed outside of tbv8."""


class UnreadableError(DataError):
    """The database file is damaged, locked, or cannot be opened; nothing in it can be known."""


class NotMigratedError(DataError):
    """There is no database of this revision; `doit migrate` creates or upgrades it."""


class MovedError(DataError):
    """The open database was removed, moved or replaced; the recorder continues in a new one."""


class DiffersError(DataError):
    """A paper session's replay differs from its journal; the session waits for the user."""


class VenueError(Tbv8Error):
    """A venue refused, or could not be reached; the venue's own text is escaped."""

    def __init__(self, problem: str) -> None:
        super().__init__(one_line(problem))
