"""What differs between two whole trees, found by walking both at once: two images, layers, directories.

Times do not count: an image that was built anew has other ones. What both trees have from the same directories of the
same layers is not looked at, and files of one place are not read. One directory of each depth is held at a time.
"""

from collections.abc import Iterator

from cowfs.model import Kind
from cowfs.overlay import DirNode, Node
from cowfs.runs.changes import Change, ChangeClass, Version, classify, differences
from cowfs.runs.content import differing
from cowfs.runs.trees import Tree


def pairs(left: Tree, right: Tree) -> Iterator[Change]:
    """The changes that lead from one to the other, in order; of a directory that is gone the directory alone."""
    root = compared(b"/", left, left.root, right, right.root)
    if root is not None and _counts(root):
        yield root
    waiting = [_Pair(b"", left, left.root, right, right.root).children()]
    while waiting:
        pair = next(waiting[-1], None)
        if pair is None:
            waiting.pop()
            continue
        change = compared(pair.path, left, pair.one, right, pair.other)
        if change is not None and _counts(change):
            yield change
        if isinstance(pair.other, DirNode) and not pair.is_same():
            waiting.append(pair.children())
        else:
            pair.release()


def _counts(change: Change) -> bool:
    return change.change not in (ChangeClass.TOUCHED, ChangeClass.IDENTICAL)


class _Pair:
    """What both trees have at one path."""

    def __init__(self, path: bytes, left: Tree, one: Node | None, right: Tree, other: Node | None) -> None:
        self.path = path
        self.left, self.one = left, one
        self.right, self.other = right, other

    def children(self) -> "Iterator[_Pair]":
        """The pairs of a directory, in order; then the nodes of this one are released."""
        one = self.one if isinstance(self.one, DirNode) else None
        old = self.left.names(one) if one is not None else set()
        new = self.right.names(self.other) if self.other is not None else set()
        for name in sorted(old | new):
            before = self.left.held(one, name) if one is not None and name in old else None
            after = self.right.held(self.other, name) if self.other is not None and name in new else None
            yield _Pair(self.path + b"/" + name, self.left, before, self.right, after)
        self.release()

    def release(self) -> None:
        """Neither is needed any more."""
        if self.one is not None:
            self.left.release(self.one)
        if self.other is not None:
            self.right.release(self.other)

    def is_same(self) -> bool:
        """True where both are the same directories of the same layers: then all that is in them is the same."""
        return self.one is not None and self.left.places(self.one) == self.right.places(self.other)


def compared(path: bytes, left: Tree, one: Node | None, right: Tree, other: Node | None) -> Change | None:
    """What became of ``one``; None where nothing did."""
    old = left.version(one) if one is not None else None
    new = right.version(other) if other is not None else None
    if old is None or new is None:
        verdict = classify(old, new, frozenset())
        return Change(path, verdict, old, new) if verdict is not None else None
    count = 0
    files = old.kind is new.kind is Kind.FILE and left.places(one) != right.places(other)
    if files and one is not None and other is not None:
        with left.opened(one) as before, right.opened(other) as after:
            count = differing(before, after, old.size, new.size)
    differs = differences(_without_time(old), _without_time(new), same_content=not count)
    verdict = classify(old, new, differs)
    return Change(path, verdict, old, new, differs, differing=count) if verdict is not None else None


def _without_time(version: Version) -> Version:
    return version._replace(mtime_ns=0)
