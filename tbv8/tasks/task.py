"""The dict of a task for pydoit, and the output of failed tasks."""

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
type ReadState = Callable[[], State]


def make_task(
    action: Callable[..., None], read_state: ReadState, *, doc: str, after: Sequence[str] = ()
) -> Task:
    """Return a task: its action, the function that reads its state, and its dependencies."""
    return {
        "actions": [_Action(action)],
        "task_dep": list(after),
        "uptodate": [_uptodate(read_state)],
        "meta": {"state": read_state},  # must be picklable for `doit -n 2`
        "doc": doc,
        "verbosity": 2,
    }


class _Action:
    """An action that returns a user's error as one line, and ignores options that it lacks."""

    def __init__(self, action: Callable[..., None]) -> None:
        self.action = action
        self._parameters = inspect.signature(action).parameters

    def __call__(self, **options: Any) -> TaskFailed | None:
        watch_native_code()
        try:
            self.action(
                **{name: value for name, value in options.items() if name in self._parameters}
            )
        except Tbv8Error as e:
            return TaskFailed(str(e))
        except BrokenPipeError as e:
            raise ClosedPipeError from e
        except OSError as e:
            if (problem := os_problem(e)) is None:
                raise
            return TaskFailed(problem)
        except MemoryError:
            return TaskFailed(
                "out of memory: run again with fewer processes, or with a smaller --chunk-days"
            )
        return None


class ClosedPipeError(SystemExit):
    """The reader of a pipe closed it; a SystemExit, since pydoit prints a traceback of others."""

    exit_code = 128 + signal.SIGPIPE

    def __init__(self, *_message: object) -> None:  # pydoit passes one from another process
        super().__init__(self.exit_code)


def os_problem(e: OSError) -> str | None:
    """Return the message about an error of the system, such as a full disk; None for a bug."""
    if e.filename is None and e.errno is None:
        return None
    where = f"{e.filename}: " if e.filename else ""
    return f"{where}{e.strerror}: fix that and run again, no data is lost"


def _uptodate(read_state: ReadState) -> Callable[[Any, Any], bool]:
    """Return an `uptodate` check; an unreadable state is stale, and the action reports it."""

    def uptodate(task: object, values: object) -> bool:  # pydoit passes arguments by these names
        try:
            return not read_state().reasons
        except Tbv8Error:
            return False

    return uptodate


class Reporter(ConsoleReporter):  # type: ignore[misc]  # doit ships no types
    """Console output with one line for a user's error, and a traceback only for a bug."""

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
        """Print the errors that stopped the whole run; failed tasks are printed already."""
        for message in self.runtime_errors:
            sys.stderr.write(f"ERROR: {message}\n")
