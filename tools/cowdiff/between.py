"""What differs between two runs over the same base: changes from the tree that one left to what the other left.

Only paths that one of them changed are looked at, and what is below directories that one of them removed or moved.
"""

from collections.abc import Iterable, Iterator

from cowfs.errors import UsageError
from cowfs.model import Run
from cowfs.runs.changes import Change, ChangeClass, order
from cowfs.runs.pairs import compared
from cowfs.runs.scan import scan
from cowfs.runs.trees import Tree, base_of

_WHOLE = (ChangeClass.REMOVED, ChangeClass.REPLACED, ChangeClass.RENAMED)


def between(first: Run, second: Run, left: Tree, right: Tree) -> Iterator[Change]:
    """The changes that lead from one to the other, in order; those of times alone left out. Raises UsageError."""
    if first.lowers != second.lowers:
        raise UsageError(f"{first.title} and {second.title} have different bases")
    for path in sorted(_paths([first, second], (left, right)), key=order):
        change = _compared(path, left, right)
        if change is not None and change.change not in (ChangeClass.TOUCHED, ChangeClass.IDENTICAL):
            yield change


def _paths(runs: Iterable[Run], trees: tuple[Tree, Tree]) -> set[bytes]:
    found: set[bytes] = set()
    for run in runs:
        with base_of(run) as before:
            for change in scan(run, before):
                here = {change.path, change.before_path or change.path}
                found |= here
                if change.change in _WHOLE:
                    found.update(*(_below(path, tree) for path in here for tree in trees))
    return found


def _below(top: bytes, tree: Tree) -> Iterator[bytes]:
    waiting = [(top, tree.walk(top))]
    while waiting:
        path, node = waiting.pop()
        if node is None:
            continue
        yield path
        waiting += [(path.rstrip(b"/") + b"/" + name, tree.lookup(node, name)) for name in tree.names(node)]


def _compared(path: bytes, left: Tree, right: Tree) -> Change | None:
    return compared(path, left, left.walk(path), right, right.walk(path))
