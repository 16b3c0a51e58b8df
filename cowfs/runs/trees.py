"""A merged tree as it was, read-only, node by node: the base of a run, or the root that a run left.

Used by ``walk``, ``links`` and ``scan`` for the base and by whoever shows content. The merge is cowfs's own; a
directory is listed when a name in it is first asked for, no link is followed, and only regular files are opened.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from cowfs import ondisk, userns
from cowfs.errors import NotFound, StoreError
from cowfs.layers import origin
from cowfs.layers.marks import ABSENT
from cowfs.model import Attr, Kind, Run, RunState
from cowfs.options import EngineOptions, MountOptions, indexes_of
from cowfs.overlay import DirNode, Node, open_overlay
from cowfs.runs.changes import Version, Xattrs
from cowfs.runs.content import Content
from cowfs.runs.escape import printable
from cowfs.runs.places import Handle, Place, open_place

_NO_SUCH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG})


class Tree:
    """One merged tree. Close it after use."""

    def __init__(self, options: MountOptions) -> None:
        try:
            self._overlay = open_overlay(options)
        except OSError as error:
            where = os.fsdecode(error.filename) if error.filename else "its layers"
            raise StoreError(f"cannot read {where}: {error.strerror}") from error
        self.root: Node = self._overlay.root
        self._kept: dict[int, Attr] = {}

    def close(self) -> None:
        """Close all descriptors; nodes are of no use afterwards."""
        self._overlay.close()

    def lookup(self, parent: Node, name: bytes) -> Node | None:
        """The entry of a directory, None where there is none, or ``parent`` is no directory."""
        try:
            return self._overlay.find(parent, name)
        except OSError as error:
            if error.errno in _NO_SUCH:
                return None
            raise

    def held(self, parent: Node, name: bytes) -> Node | None:
        """As ``lookup``; the node stays as long as it is not released, and all above it."""
        node = self.lookup(parent, name)
        if node is not None:
            node.lookups += 1
        return node

    def release(self, node: Node) -> None:
        """Forget a node that was held, with all that is known of it."""
        if node is not self.root:
            self._overlay.forget(node, 1)

    def places(self, node: Node | None) -> list[tuple[int, int]]:
        """Where it is on disk, as (st_dev, st_ino): of a directory all its parts, the top one first."""
        if isinstance(node, DirNode):
            found = [part.stat_self() for part in node.parts]
        else:
            found = [
                place[0].stat(place[1]) for place in (node and (node.upper or node.lower), node and node.data) if place
            ]
        return [(status.st_dev, status.st_ino) for status in found]

    def walk(self, path: bytes) -> Node | None:
        """The node at an absolute path."""
        node: Node | None = self.root
        for name in path.split(b"/"):
            if name and node is not None:
                node = self.lookup(node, name)
        return node

    def names(self, node: Node) -> set[bytes]:
        """The names in a directory; empty for anything else."""
        return set(self._overlay.names(node)) if isinstance(node, DirNode) else set()

    def keep(self, node: Node) -> None:
        """Keep the attributes that finding a node has read, until ``version`` asks for them: saves a system call."""
        self._kept[node.number] = self._overlay.attr(node)

    def version(self, node: Node, *, xattrs: bool = True) -> Version:
        """What is there; without ``xattrs``: as if it had no extended attributes."""
        target = self._overlay.readlink(node) if stat.S_ISLNK(node.kind) else b""
        attr = self._kept.pop(node.number, None) or self._overlay.attr(node)
        return Version.of(attr, target, self._xattrs(node) if xattrs else ())

    def _xattrs(self, node: Node) -> Xattrs:
        found = []
        for name in self._overlay.listxattr(node):
            try:
                found.append((name, self._overlay.getxattr(node, name)))
            except OSError as error:
                if error.errno not in ABSENT:
                    raise
        return tuple(sorted(found))

    def one_place(self, node: Node) -> Place | None:
        """Where one layer has all of a file, as most are; None for the others."""
        return node.lower if node.upper is None and node.data is None else None

    @contextmanager
    def opened(self, node: Node) -> Iterator[Content]:
        """The content of a regular file. OSError where the node is anything else."""
        if not stat.S_ISREG(node.kind):
            raise OSError(errno.EINVAL, "not a regular file")
        if node.partial is not None and node.lower is not None:  # the run's file system was killed
            parts = open_place(node.lower)
            try:
                yield Content(parts, node.partial)
            finally:
                os.close(parts)
            return
        place = self.one_place(node)
        if place is not None:
            descriptor = open_place(place)
            try:
                yield Content(descriptor)
            finally:
                os.close(descriptor)
            return
        handle = self._overlay.open(node, os.O_RDONLY)
        try:
            yield Content(handle.fd)
        finally:
            self._overlay.release(handle)

    def lower_of(self, node: Node) -> int | None:
        """Which of the lowers a file is of: the top one is 1; None for what is in none."""
        return node.lower[0].layer.index if node.lower is not None else None

    def handle(self, node: Node) -> Handle | None:
        """The file handle that a copy of this file carries as its origin; None where there are no handles."""
        if node.lower is None:
            return None
        directory, name = node.lower
        found = origin.origin_of(directory.fd, name, b"")
        return (found.handle_type, found.handle) if found else None


def mount_options(run: Run, *, before: bool = False) -> MountOptions:
    """A read-only mount of the root of a run as it left it, or of its base. Raises StoreError."""
    if not run.lowers:  # what Runs makes of a record that it cannot read
        raise StoreError(f"the record of run {run.id} cannot be read: it can only be removed (cowdiff rm {run.id})")
    return MountOptions(
        lowers=run.lowers if before else (run.upper, *run.lowers),
        read_only=True,
        live_lower=run.host or (run.foreign and run.state is RunState.RUNNING),
        userxattr=not userns.is_root_of_machine(),
        hidden=frozenset(run.hidden),
        indexes=() if run.foreign else ((run.upper, run.work / os.fsdecode(ondisk.INDEX)), *indexes_of(run.lowers)),
        engine=EngineOptions() if run.foreign else None,
    )


@contextmanager
def base_of(run: Run) -> Iterator[Tree]:
    """The base of a run."""
    tree = Tree(mount_options(run, before=True))
    try:
        yield tree
    finally:
        tree.close()


@contextmanager
def left_by(run: Run) -> Iterator[Tree]:
    """The root of a run as it left it."""
    tree = Tree(mount_options(run))
    try:
        yield tree
    finally:
        tree.close()


def regular_file(tree: Tree, path: bytes) -> Node:
    """The node of a regular file that a person named. Raises NotFound."""
    node = tree.walk(path)
    if node is None:
        raise NotFound(f"no such path in the run: {printable(path)}")
    if not stat.S_ISREG(node.kind):
        raise NotFound(f"{printable(path)} is a {Kind.of(node.kind).value}, not a file")
    return node
