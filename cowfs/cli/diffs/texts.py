"""The patches of a run's changes: reads what ``patch`` compares. Used by ``text`` and the report."""

from collections.abc import Iterable, Iterator

from cowfs.cli.diffs.binary import changed_ranges, kind_of
from cowfs.cli.diffs.patch import LIMIT, has_same_content, is_text, patch
from cowfs.model import Kind
from cowfs.runs.changes import Change, ChangeClass, Version
from cowfs.runs.trees import Tree

_SAME = (ChangeClass.TOUCHED, ChangeClass.IDENTICAL)


class Texts:
    """Patches from the base to what the run left."""

    def __init__(self, before: Tree, after: Tree) -> None:
        self._before = before
        self._after = after

    def patches(self, changes: Iterable[Change]) -> Iterator[bytes]:
        """The lines of all of them, in order; nothing where only times differ."""
        for change in changes:
            if change.change not in _SAME:
                yield from self.patch(change)

    def patch(self, change: Change) -> Iterator[bytes]:
        """The lines of one change."""
        if has_same_content(change):
            yield from patch(change, b"", b"")
            return
        old = _content(self._before, change.before_path or change.path, change.before)
        new = _content(self._after, change.path, change.after)
        about = self._binary(change) if old is None or new is None else ""
        yield from patch(change, old, new, about)

    def _binary(self, change: Change) -> str:
        """Type and changed ranges of what is not shown."""
        sides = []
        for tree, path, version in (
            (self._before, change.before_path or change.path, change.before),
            (self._after, change.path, change.after),
        ):
            node = tree.walk(path) if version is not None and version.kind is Kind.FILE else None
            if node is not None and version is not None:
                sides.append((tree, node, version.size))
        if not sides:
            return ""
        tree, node, size = sides[-1]
        with tree.opened(node) as new:
            kind = kind_of(new)
            if len(sides) == 1:
                return kind
            tree, node, old_size = sides[0]
            with tree.opened(node) as old:
                return f"{kind}, differs at {changed_ranges(old, new, old_size, size)}"


def _content(tree: Tree, path: bytes, version: Version | None) -> bytes | None:
    """What a patch would show of a file; None if nothing."""
    if version is None:
        return b""
    if version.kind is Kind.SYMLINK:
        return version.target
    node = tree.walk(path) if version.kind is Kind.FILE and version.size <= LIMIT else None
    if node is None:
        return None
    with tree.opened(node) as opened:
        content = opened.read(0, LIMIT + 1)
    return content if is_text(content) and len(content) <= LIMIT else None
