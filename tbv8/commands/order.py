"""The order in which tasks run: the same in each run of `doit`, and the one that `plan` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import doit.control
from doit.task import Task

# mypy: disable-error-code="misc"
# pydoit ships no types, so that each base class here is Any


class _InOrder(dict[Any, None]):
    """A set that keeps the order in which its members came."""

    def add(self, member: Any) -> None:
        """Add a member."""
        self[member] = None


class _Node(doit.control.ExecNode):
    """A task in the dispatcher, with the tasks that wait for it in order.

    pydoit has a set of them, so that their order depends on memory addresses.
    """

    def __init__(self, task: Any, parent: Any) -> None:
        super().__init__(task, parent)
        self.waiting_me = _InOrder()


doit.control.ExecNode = _Node  # the dispatcher knows no other way to choose it


def in_order(control: Any) -> Iterator[Task]:
    """Yield the selected tasks and all that they need, as a run of one process executes them.

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
        node.run_status = "done" if is_selected else "run"  # its setup tasks come in between
        if is_selected:
            yield node.task
