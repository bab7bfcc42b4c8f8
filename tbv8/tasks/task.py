"""A task for pydoit, and the output of one that fails."""

from __future__ import annotations

import inspect
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from doit.exceptions import BaseFail, TaskFailed
from doit.reporter import ConsoleReporter

from tbv8.ending import watch_native_code
from tbv8.errors import Tbv8Error
from tbv8.freshness.state import State

type Task = dict[str, Any]


type Question = Callable[[], State]


def make_task(
    action: Callable[..., None], question: Question, *, doc: str, after: Sequence[str] = ()
) -> Task:
    """Return a task: its action, its question, and the tasks that run before it."""
    return {
        "actions": [_UserErrors(action)],
        "task_dep": list(after),
        "uptodate": [_fresh(question)],
        "meta": {"state": question},  # what it holds is pickled for `doit -n 2`
        "doc": doc,
        "verbosity": 2,
    }


class _UserErrors:
    """An action whose Tbv8Error fails the task with its one line.

    It takes the options among those of the task that the action has parameters for.
    """

    def __init__(self, action: Callable[..., None]) -> None:
        self.action = action
        self._taken = inspect.signature(action).parameters

    def __call__(self, **options: Any) -> TaskFailed | None:
        watch_native_code()
        try:
            self.action(**{name: value for name, value in options.items() if name in self._taken})
        except Tbv8Error as e:
            return TaskFailed(str(e))
        except BrokenPipeError as e:
            raise ReaderGoneError from e
        except OSError as e:
            if (problem := os_problem(e)) is None:
                raise
            return TaskFailed(problem)
        except MemoryError:
            return TaskFailed(
                "out of memory: run again with fewer processes, or with a smaller --chunk-days"
            )
        return None


class ReaderGoneError(SystemExit):
    """The reader of a task's output has gone; pydoit would make a traceback of any Exception."""

    exit_code = 128 + signal.SIGPIPE

    def __init__(
        self, *_arguments: object
    ) -> None:  # pydoit sends it on from another process by words
        super().__init__(self.exit_code)


def os_problem(e: OSError) -> str | None:
    """Explain an error that a user can mend: a full disk, a read-only folder, a file in its place.

    None for what is no answer of the system's.
    """
    if e.filename is None and e.errno is None:
        return None
    where = f"{e.filename}: " if e.filename else ""
    return f"{where}{e.strerror}: mend that and run again, nothing is lost"


def _fresh(question: Question) -> Callable[[Any, Any], bool]:
    """Return an `uptodate` check; a state that cannot be read is stale, and the action says why."""

    def uptodate(task: object, values: object) -> bool:  # pydoit passes arguments by these names
        try:
            return not question().reasons
        except Tbv8Error:
            return False

    return uptodate


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit ships no types
    """Console output where a user's error is one line and only our own bugs keep a traceback."""

    desc = "console, errors as one line"

    def _write_failure(self, result: Mapping[str, Any], write_exception: bool = True) -> None:
        fail: BaseFail = result["exception"]
        name = result["task"].name.removeprefix("_")
        sys.stdout.flush()
        if isinstance(fail, TaskFailed) and not fail.traceback:
            message = str(fail.message).removeprefix(f"{name.partition(':')[2]}: ")
            sys.stderr.write(f"ERROR: {name}: {message}\n")
        else:
            sys.stderr.write(f"ERROR: {name}: {fail.get_msg()}\n")

    def complete_run(self) -> None:
        """Print the errors that stopped the run as a whole; each failure was printed before."""
        for message in self.runtime_errors:
            sys.stderr.write(f"ERROR: {message}\n")
