"""What differs between two runs over the same base: changes from the tree that one left to what the other left.

Only paths that one of them changed are looked at, and what is below directories that one of them removed or moved.
"""

from collections.abc import Iterable, Iterator

from cowfs.errors import UsageError
from cowfs.model import Kind, Run
from cowfs.runs.changes import Change, ChangeClass, Version, classify, differences, order
from cowfs.runs.content import differing
from cowfs.runs.scan import scan
from cowfs.runs.trees import Tree, base_of

_WHOLE = (ChangeClass.REMOVED, ChangeClass.REPLACED, ChangeClass.RENAMED)


def between(first: Run, second: Run, left: Tree, right: Tree) -> Iterator[Change]:
    """The changes that lead from one to the other, in order; those of times alone left out. Raises UsageError."""
    if first.lowers != second.lowers:
        raise UsageError(f"the runs {first.id} and {second.id} have different bases")
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
    one, other = left.walk(path), right.walk(path)
    old = left.version(one) if one is not None else None
    new = right.version(other) if other is not None else None
    if old is None or new is None:
        verdict = classify(old, new, frozenset())
        return Change(path, verdict, old, new) if verdict is not None else None
    count = 0
    if old.kind is new.kind is Kind.FILE and one is not None and other is not None:
        with left.opened(one) as before, right.opened(other) as after:
            count = differing(before, after, old.size, new.size)
    differs = differences(_without_time(old), _without_time(new), same_content=not count)
    verdict = classify(old, new, differs)
    return Change(path, verdict, old, new, differs, differing=count) if verdict is not None else None


def _without_time(version: Version) -> Version:
    return version._replace(mtime_ns=0)
