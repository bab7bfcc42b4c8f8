"""The order of tasks: the same in each run of `doit`, and in the list of `doit plan`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import doit.control
from doit.task import Task

# mypy: disable-error-code="misc"
# pydoit ships no types, so that each base class here is Any


class _InOrder(dict[Any, None]):
    """A set in insertion order."""

    def add(self, member: Any) -> None:
        """Add a member."""
        self[member] = None


class _Node(doit.control.ExecNode):
    """A task in the dispatcher; the tasks that wait for it are in insertion order.

    pydoit keeps them in a set, whose order depends on memory addresses.
    """

    def __init__(self, task: Any, parent: Any) -> None:
        super().__init__(task, parent)
        self.waiting_me = _InOrder()


doit.control.ExecNode = _Node  # the dispatcher has no parameter for it


def in_order(control: Any) -> Iterator[Task]:
    """Yield the selected tasks and their dependencies, as a run of one process executes them.

    Args:
        control: A TaskControl of pydoit, with its selection.
    """
    generator, node = control.task_dispatcher().generator, None
    while True:
        try:
            node = generator.send(node)
        except StopIteration:
            return
        is_selected = node.run_status == "run" or not node.task.setup_tasks
        node.run_status = "done" if is_selected else "run"  # "run" yields its setup tasks first
        if is_selected:
            yield node.task


def with_dependencies(tasks: Iterable[Task], names: Iterable[str]) -> dict[str, Task]:
    """Return the named tasks and all their dependencies, by name and in no order."""
    by_name = {task.name: task for task in tasks}
    found: dict[str, Task] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in found:
            found[name] = by_name[name]
            waiting += [*by_name[name].task_dep, *by_name[name].setup_tasks]
    return found
