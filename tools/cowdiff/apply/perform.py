"""Carrying an application out, and taking one back: the operations of ``plan`` on a ``Site``, with a ``Record``.

    build    all that is new, aside                 a kill leaves only what the record names as aside
    publish  is written down
    change   each path by one rename                a kill leaves some paths old and some new: undo tells them apart
    done     is written down

``undo`` goes backwards and looks at each path, whose inode number tells what is there: it works after a kill at any
point, its own included.
"""

import os
import stat
from typing import Final

from cowdiff.apply.plan import Deed, Known, Moved, Operation, moves, source
from cowdiff.apply.record import Planned, Record, Seen
from cowdiff.apply.site import Site
from cowdiff.extract import Extraction
from cowfs.errors import CowfsError
from cowfs.model import Kind
from cowfs.runs.changes import Change, ChangeClass, Version
from cowfs.runs.escape import printable
from cowfs.runs.trees import Tree
from cowfs.store.descriptors import sync_file_system

_STAYING: Final = (ChangeClass.IDENTICAL, ChangeClass.METADATA, ChangeClass.TOUCHED)


class Conflict(CowfsError):
    """The base is not what it has to be for this."""


def apply(operations: list[Operation], changes: list[Change], after: Tree, site: Site, record: Record) -> None:
    """Apply a plan. Raises Conflict, and OSError as the changes do: then ``undo`` is due.

    ``changes``: those of the plan, and all that are identical.
    """
    planned = [Planned(one, _was(one), _before(one, site)) for one in operations]
    record.begin(planned, _parents(operations, changes, site))
    saved = Site(record.saved)
    try:
        _build(operations, changes, after, site)
        record.publish([_inode(site, one.aside if one.deed is Deed.PLACE else _was(one)) for one in operations])
        for number, one in enumerate(operations):
            _do(one, number, site, saved)
        _sync(operations, site)
        record.done({one.path: _seen(site, one.path) for one in operations})
    finally:
        saved.close()


def undo(record: Record, site: Site) -> Known:
    """Take an application back, and say what was put back. Raises Conflict, before anything is touched."""
    planned, parents = record.plan()
    if record.is_done:
        _check(record, planned, site)
    record.saved.mkdir(mode=0o700, parents=True, exist_ok=True)
    saved = Site(record.saved)
    try:
        _undo(record, site, saved)
    finally:
        saved.close()
    paths = {path for one in planned for path in (one.was, one.operation.path)} | parents.keys()
    return {os.fsdecode(path): status.st_ctime_ns for path in paths if (status := site.status(path)) is not None}


def _build(operations: list[Operation], changes: list[Change], after: Tree, site: Site) -> None:
    extraction = Extraction(after, everything=True)
    for change in changes:  # the names that a file keeps on the host: what links to it is a link again
        stays = change.change in _STAYING or moves(change)
        if change.after is not None and change.after.nlink > 1 and stays and change.kind is not Kind.DIRECTORY:
            node = after.walk(change.path)
            if node is not None and site.status(source(change)) is not None:
                extraction.know(node, site.place(source(change)))
    for one in operations:
        if one.deed is Deed.PLACE:
            node = after.walk(one.change.path) if one.change is not None else None
            if node is None:
                raise Conflict(f"{printable(one.path)} is no longer in the run")
            extraction.make(node, one.path, site.place(one.aside))
    _sync(operations, site)


def _was(one: Operation) -> bytes:
    """The path in the base of what an operation is about."""
    return one.path if one.change is None else source(one.change)


def _do(one: Operation, number: int, site: Site, saved: Site) -> None:
    if one.deed is Deed.REMOVE:
        site.take(one.path, saved, b"/%d" % number, _leaving(one, number))
    elif one.deed is Deed.OUT:
        site.rename(one.path, one.aside, replace=False)
    elif one.deed is Deed.ATTRIBUTES:
        assert one.change is not None
        assert one.change.after is not None
        site.dress(one.path, one.change.after)
    else:
        if one.replaces:
            _keep(one, number, site, saved)
        try:
            site.rename(one.aside, one.path, replace=one.replaces)
        except FileExistsError:
            raise Conflict(f"{printable(one.path)} was made since the run started") from None


def _keep(one: Operation, number: int, site: Site, saved: Site) -> None:
    """Save what is replaced: a file stays in place until the rename, anything that a rename cannot replace leaves."""
    there, new = site.status(one.path), site.status(one.aside)
    if there is None or new is None:
        raise Conflict(f"{printable(one.path)} was removed since the run started")
    if stat.S_ISDIR(there.st_mode) or stat.S_ISDIR(new.st_mode):
        site.take(one.path, saved, b"/%d" % number, _leaving(one, number))
    else:
        site.keep(one.path, saved, b"/%d" % number)


def _leaving(one: Operation, number: int) -> bytes:
    """Where a path goes to be removed after it was copied."""
    return one.path.rpartition(b"/")[0] + b"/.cowdiff-leaving-%d" % number


def _undo(record: Record, site: Site, saved: Site) -> None:
    planned, parents = record.plan()
    inodes = record.published()
    for number in reversed(range(len(planned))):
        one, before = planned[number].operation, planned[number].before
        if inodes is None:
            if one.deed is Deed.PLACE:
                site.remove(one.aside)
        elif one.deed is Deed.ATTRIBUTES:
            if before is not None and _inode(site, one.path) == inodes[number]:
                site.dress(one.path, before)
        elif one.deed is Deed.OUT:
            if site.status(one.aside) is not None:
                site.rename(one.aside, one.path, replace=False)
        else:
            _take_back(one, number, inodes[number], site, saved)
    for path, mtime in parents.items():
        if site.status(path) is not None:
            site.set_mtime(path, mtime)


def _take_back(one: Operation, number: int, inode: int, site: Site, saved: Site) -> None:
    """Undo what replaced or removed something."""
    name = b"/%d" % number
    kept, there = saved.status(name), site.status(one.path)
    placed = one.deed is not Deed.REMOVE and there is not None and there.st_ino == inode
    if placed and one.deed is Deed.IN:
        site.rename(one.path, one.aside, replace=False)
    elif placed and (kept is None or _is_directory(there) or _is_directory(kept)):
        site.remove_empty(one.path)
    if one.deed is Deed.PLACE:
        site.remove(one.aside)
    if kept is not None:
        site.give_back(saved, name, one.path, one.path.rpartition(b"/")[0] + b"/.cowdiff-back-%d" % number)
    site.remove(_leaving(one, number))


def _check(record: Record, planned: list[Planned], site: Site) -> None:
    """Raises Conflict where a path is not as the application left it."""
    for path, state in record.seen().items():
        if (now := _seen(site, path)) != state:
            what = "is gone" if not now else "was made" if not state else "changed"
            raise Conflict(f"{printable(path)} {what} since it was applied: nothing is undone")
    placed = {one.operation.path for one in planned if one.operation.deed in (Deed.PLACE, Deed.IN)}
    for one in planned:
        path = one.operation.path
        made = one.operation.deed is Deed.PLACE and _is_directory(site.status(path))
        for name in sorted(site.names(path)) if made else ():
            if path + b"/" + name not in placed:
                raise Conflict(f"{printable(path + b'/' + name)} was made since it was applied: nothing is undone")


def _seen(site: Site, path: bytes) -> Seen:
    """What tells this state of a path from a later one. Of a directory entries may come and go."""
    status = site.status(path)
    if status is None:
        return ()
    facts = (status.st_ino, status.st_mode, status.st_uid, status.st_gid)
    if _is_directory(status):
        return facts
    return (*facts, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _before(one: Operation, site: Site) -> Version | None:
    """What an operation changes in place; attributes of what is new go with it."""
    change = one.change
    if one.deed is not Deed.ATTRIBUTES or change is None:
        return None
    return site.version(source(change)) if change.change in _STAYING or moves(change) else None


def _parents(operations: list[Operation], changes: list[Change], site: Site) -> dict[bytes, int]:
    """The times of the directories that are there and get or lose entries, by their paths before."""
    moved = Moved(changes)
    paths = set(moved.sources.values())
    for one in operations:
        for path in (one.path, one.aside):
            paths |= {path.rpartition(b"/")[0], moved.formerly(path.rpartition(b"/")[0])}
    found = {path or b"/": site.status(path or b"/") for path in paths}
    return {path: status.st_mtime_ns for path, status in found.items() if status and _is_directory(status)}


def _inode(site: Site, path: bytes) -> int:
    status = site.status(path)
    return status.st_ino if status is not None else 0


def _is_directory(status: os.stat_result | None) -> bool:
    return status is not None and stat.S_ISDIR(status.st_mode)


def _sync(operations: list[Operation], site: Site) -> None:
    """All file systems on which something changes."""
    done: set[int] = set()
    for one in operations:
        directory, _ = site.place(one.aside or one.path)
        try:
            listing = directory.open_listing()
        except FileNotFoundError:
            continue
        try:
            device = os.fstat(listing).st_dev
            if device not in done:
                done.add(device)
                sync_file_system(listing)
        finally:
            os.close(listing)
