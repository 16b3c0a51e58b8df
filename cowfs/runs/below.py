"""What was below removed directories, path by path: a change says no more than that the directory went.

Used by whoever counts, filters or shows single files. Lists those directories of the base whole.
"""

import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cowfs.model import Kind
from cowfs.overlay import Node
from cowfs.runs.changes import Change, ChangeClass, order
from cowfs.runs.trees import Tree


class Held(NamedTuple):
    """What a directory had in it."""

    entries: int  # directories too
    size: int  # bytes of its files


class Below:
    """``before`` is the base of a run, ``changes`` all its changes."""

    def __init__(self, before: Tree, changes: Iterable[Change]) -> None:
        self._before = before
        self._elsewhere: set[bytes] = set()  # what was renamed out, or is a change of its own
        for change in changes:
            self._elsewhere.add(change.path)
            if change.change is ChangeClass.RENAMED and change.before_path is not None:
                self._elsewhere.add(change.before_path)

    def changes(self, change: Change) -> Iterator[Change]:
        """All that went with the directory that ``change`` says is gone; nothing for any other change."""
        for path, node in self._walk(change):
            yield Change(path, ChangeClass.REMOVED, self._before.version(node), None)

    def held(self, change: Change) -> Held | None:
        """How much went with it; None where ``change`` is not about such a directory."""
        if not is_gone_directory(change):
            return None
        count = size = 0
        for _, node in self._walk(change):
            count += 1
            if stat.S_ISREG(node.kind):
                size += self._before.version(node).size
        return Held(count, size)

    def _walk(self, change: Change) -> Iterator[tuple[bytes, Node]]:
        if not is_gone_directory(change):
            return
        top = change.before_path or change.path
        waiting = [(top, self._before.walk(top))]
        while waiting:
            path, node = waiting.pop()
            if node is None or (path != top and path in self._elsewhere):
                continue
            if path != top:
                yield path, node
            children = sorted((path + b"/" + name for name in self._before.names(node)), key=order, reverse=True)
            waiting += [(child, self._before.lookup(node, child.rpartition(b"/")[2])) for child in children]


def is_gone_directory(change: Change) -> bool:
    """True if a directory of the base is no longer there."""
    gone = change.change is ChangeClass.REMOVED or change.change is ChangeClass.REPLACED
    return gone and change.before is not None and change.before.kind is Kind.DIRECTORY
