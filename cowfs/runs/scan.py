"""From the upper of a run to its changes: overlayfs's format, read by descriptors.

Three steps. ``walk`` visits every directory of the upper (and no other: the cost follows the changes) and pairs each
entry with what the base has for it; ``links`` finds out what was renamed or is another name of the same file; then each
pair is compared and classified. A base directory is listed only where a new one stands over it, to see what it lost.

The upper may be hostile, or still be written to: an entry that vanishes meanwhile is left out, no link is followed, and
only regular files are opened.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache as once
from typing import Final

from cowfs.layers.directory import DescriptorCache
from cowfs.model import Kind, Run
from cowfs.runs.changes import Change, ChangeClass, Difference, Version, classify, differences, order, parents
from cowfs.runs.content import Content, differing, same
from cowfs.runs.links import resolve
from cowfs.runs.places import Place, open_place, open_upper
from cowfs.runs.trees import Tree, left_by
from cowfs.runs.walk import Found, Gone, Walk

_NONE: Final[frozenset[Difference]] = frozenset()


def scan(run: Run, before: Tree, *, measure: bool = False, lone_xattrs: bool = True) -> list[Change]:
    """All changes of a run, sorted by path; ``measure``: with how many bytes of modified files differ.

    Who shows no extended attributes of what came or went does not have to wait for them (``lone_xattrs``).

    StoreError where the upper cannot be read.
    """
    cache = DescriptorCache()
    try:
        walk = Walk(before, foreign=run.foreign, lone_xattrs=lone_xattrs)
        walk.run(open_upper(run.upper, cache, foreign=run.foreign).root)
        resolve(walk, before)
        with ExitStack() as opened:
            after = once(lambda: opened.enter_context(left_by(run)))
            found = _found(walk.found, _Comparison(before, after, measure))
            changes = [*_removed(walk.gone, before, lone_xattrs), *found]
    finally:
        cache.close()
    if run.host:
        changes = [_dated(change, run.started) for change in changes]
    return sorted(_without(changes, run.volumes), key=lambda change: order(change.path))


def _removed(gone: Iterable[Gone], before: Tree, xattrs: bool) -> Iterator[Change]:
    for item in gone:
        yield Change(item.path, ChangeClass.REMOVED, before.version(item.node, xattrs=xattrs), None)


def _found(found: Iterable[Found], comparison: "_Comparison") -> Iterator[Change]:
    for item in found:
        try:
            change = comparison.change(item)
        except (FileNotFoundError, NotADirectoryError):  # gone since the walk: the run goes on
            continue
        if change is not None:
            yield change


@dataclass(frozen=True, slots=True)
class _Comparison:
    """``after``, the merged tree, is asked for the rare file that neither the upper nor the base has whole."""

    before: Tree
    after: Callable[[], Tree]
    measure: bool

    def change(self, item: Found) -> Change | None:
        """What became of one pair; None where nothing did."""
        if item.node is None and item.overwrote is None and item.moved_from is None:  # as most
            link, others = item.link_to, item.other_names
            return Change(item.path, ChangeClass.ADDED, None, item.entry.version, link_to=link, other_names=others)
        before = self.before
        old = before.version(item.node) if item.node else None
        new = item.entry.version
        differing, differs = 0, _NONE
        if old:
            differing = self._differing(item, old)
            differs = differences(old, new, same_content=not differing)
        moved = item.moved_from is not None
        change = classify(old, new, differs, moved=moved, anew=item.anew, entries_changed=item.entries_changed)
        if change is None or (change is ChangeClass.IDENTICAL and item.by_index):
            return None
        return Change(
            path=item.path,
            change=change,
            before=old,
            after=new,
            differs=differs,
            before_path=item.before_path if old and item.before_path != item.path else None,
            overwrote=before.version(item.overwrote) if item.overwrote else None,
            link_to=item.link_to,
            other_names=item.other_names,
            differing=differing if self.measure and old is not None and old.kind is new.kind is Kind.FILE else None,
        )

    def _differing(self, item: Found, old: Version) -> int:
        """How many bytes of a file differ; without ``measure`` any number above 0 means that some do.

        Bytes are compared only where sizes do not decide, and not where the data is still the base's own.
        """
        new = item.entry.version
        whole_in_base = item.data is not None and not item.in_parts
        if not old.kind is new.kind is Kind.FILE or (whole_in_base and item.data == item.node):
            return 0
        if item.node is None or not (self.measure or old.size == new.size):
            return 1
        place = None if item.data is not None else self.before.one_place(item.node)
        if place is not None:  # as most
            return self._compared(place, item.place, old.size, new.size)
        with self.before.opened(item.node) as left, self._content(item) as right:
            return self._count(left, right, old.size, new.size)

    def _compared(self, one: Place, other: Place, old_size: int, new_size: int) -> int:
        left = open_place(one)
        try:
            right = open_place(other)
            try:
                return self._count(Content(left), Content(right), old_size, new_size)
            finally:
                os.close(right)
        finally:
            os.close(left)

    def _count(self, left: Content, right: Content, old_size: int, new_size: int) -> int:
        if self.measure:
            return differing(left, right, old_size, new_size)
        return 0 if same(left, right, new_size) else 1

    @contextmanager
    def _content(self, item: Found) -> Iterator[Content]:
        """What the run left there."""
        if item.data is not None:
            tree, node = (self.after(), self.after().walk(item.path)) if item.in_parts else (self.before, item.data)
            if node is None:
                raise FileNotFoundError
            with tree.opened(node) as content:
                yield content
            return
        descriptor = open_place(item.place)
        try:
            yield Content(descriptor)
        finally:
            os.close(descriptor)


def _dated(change: Change, started: float) -> Change:
    """Say where the base of a live system was changed after the run's start: then "before" is not what the run saw."""
    newer = change.before is not None and change.before.ctime_ns > started * 1e9
    return change._replace(base_changed=True) if newer else change


def _without(changes: Iterable[Change], volumes: Iterable[str]) -> list[Change]:
    """Leave out volumes and injected files, and the new directories that do nothing but lead to them."""
    outside = [b"/" + os.fsencode(volume).strip(b"/") for volume in volumes]
    if not outside:
        return list(changes)
    kept = [change for change in changes if not any(_is_at_or_below(change.path, path) for path in outside)]
    leading = {parent for path in outside for parent in parents(path)}
    needed = {parent for change in kept if change.path not in leading for parent in parents(change.path)}
    return [
        change
        for change in kept
        if change.path not in leading or change.path in needed or change.change is not ChangeClass.ADDED
    ]


def _is_at_or_below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")
