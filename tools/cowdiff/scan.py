"""From the upper of a run to its changes: overlayfs's format, read by descriptors.

Three steps. ``walk`` visits every directory of the upper (and no other: the cost follows the changes) and pairs each
entry with what the base has for it; ``links`` finds out what was renamed or is another name of the same file; then each
pair is compared and classified. A base directory is listed only where a new one stands over it, to see what it lost.

The upper may be hostile, or still be written to: an entry that vanishes meanwhile is left out, no link is followed, and
only regular files are opened.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache as once

from cowdiff.changes import Change, ChangeClass, Version, classify, differences, order
from cowdiff.content import Content, same
from cowdiff.links import resolve
from cowdiff.places import open_place, open_upper
from cowdiff.trees import Tree, left_by
from cowdiff.walk import Found, Gone, Walk
from cowfs.layers.directory import DescriptorCache
from cowfs.model import Kind, Run


def scan(run: Run, before: Tree) -> list[Change]:
    """All changes of a run, sorted by path. StoreError where the upper cannot be read."""
    cache = DescriptorCache()
    try:
        walk = Walk(before)
        walk.run(open_upper(run.upper, cache).root)
        resolve(walk, before)
        with ExitStack() as opened:
            after = once(lambda: opened.enter_context(left_by(run)))
            changes = [*_removed(walk.gone, before), *_found(walk.found, before, after)]
    finally:
        cache.close()
    if run.host:
        changes = [_dated(change, run.started) for change in changes]
    return sorted(_without(changes, run.volumes), key=lambda change: order(change.path))


def held(before: Tree, path: bytes) -> int:
    """How many files the base has below a directory: what went with it. Lists it whole."""
    count = 0
    waiting = [before.walk(path)]
    while waiting:
        node = waiting.pop()
        if node is None or not node.is_dir:
            continue
        children = [before.lookup(node, name) for name in before.names(node)]
        count += len(children)
        waiting.extend(children)
    return count


def _removed(gone: Iterable[Gone], before: Tree) -> Iterator[Change]:
    for item in gone:
        yield Change(item.path, ChangeClass.REMOVED, before.version(item.node), None)


def _found(found: Iterable[Found], before: Tree, after: Callable[[], Tree]) -> Iterator[Change]:
    for item in found:
        try:
            change = _compared(item, before, after)
        except (FileNotFoundError, NotADirectoryError):  # gone since the walk: the run goes on
            continue
        if change is not None:
            yield change


def _compared(item: Found, before: Tree, after: Callable[[], Tree]) -> Change | None:
    old = before.version(item.node) if item.node else None
    new = item.entry.version
    differs = differences(old, new, same_content=_same_content(item, old, before, after)) if old else frozenset()
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
    )


def _same_content(item: Found, old: Version, before: Tree, after: Callable[[], Tree]) -> bool:
    """Compare bytes only where sizes do not decide, and not where the data is still the base's own.

    ``after``, the merged tree, is asked for the rare file that neither the upper nor the base has whole.
    """
    new = item.entry.version
    whole_in_base = item.data is not None and not item.in_parts
    if not old.kind is new.kind is Kind.FILE or (whole_in_base and item.data == item.node):
        return True
    if old.size != new.size or item.node is None:
        return False
    with before.opened(item.node) as left:
        if item.data is not None:
            tree, node = (after(), after().walk(item.path)) if item.in_parts else (before, item.data)
            if node is None:
                raise FileNotFoundError
            with tree.opened(node) as right:
                return same(left, right, new.size)
        descriptor = open_place(item.place)
        try:
            return same(left, Content(descriptor), new.size)
        finally:
            os.close(descriptor)


def _dated(change: Change, started: float) -> Change:
    """Say where the base of a live system was changed after the run's start: then "before" is not what the run saw."""
    newer = change.before is not None and change.before.ctime_ns > started * 1e9
    return replace(change, base_changed=True) if newer else change


def _without(changes: Iterable[Change], volumes: Iterable[str]) -> list[Change]:
    """Leave out volumes and injected files, and the new directories that do nothing but lead to them."""
    outside = [b"/" + os.fsencode(volume).strip(b"/") for volume in volumes]
    if not outside:
        return list(changes)
    kept = [change for change in changes if not any(_is_at_or_below(change.path, path) for path in outside)]
    leading = {parent for path in outside for parent in _parents(path)}
    needed = {parent for change in kept if change.path not in leading for parent in _parents(change.path)}
    return [
        change
        for change in kept
        if change.path not in leading or change.path in needed or change.change is not ChangeClass.ADDED
    ]


def _is_at_or_below(path: bytes, directory: bytes) -> bool:
    return path == directory or path.startswith(directory + b"/")


def _parents(path: bytes) -> Iterator[bytes]:
    while path := path.rpartition(b"/")[0]:
        yield path
