"""Copying a file or a tree out of a merged tree, into a directory of the host.

Used by ``cowdiff cp``. The source may be hostile: nothing of it is followed or executed, all is made anew (O_EXCL,
single names below a descriptor), and it belongs to the caller, without setuid bits, unless ``everything`` is asked for.
Iterative: depth is no limit.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cowfs.errors import CowfsError
from cowfs.layers import syscalls
from cowfs.layers.directory import DescriptorCache, Layer
from cowfs.layers.marks import Marks
from cowfs.model import Kind
from cowfs.overlay import Node
from cowfs.runs.changes import Version
from cowfs.runs.places import Place
from cowfs.runs.trees import Tree

_PARENT: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ORDINARY: Final = 0o777  # the mode bits that a copy keeps without ``everything``


class Extraction:
    """One copy. ``skipped`` are the paths of devices, pipes and sockets, which are not copied."""

    def __init__(self, tree: Tree, *, everything: bool) -> None:
        self._tree = tree
        self._everything = everything
        self.skipped: list[bytes] = []

    def run(self, node: Node, path: bytes, parent: Path, name: bytes) -> None:
        """Make ``node`` (at ``path`` in the tree) the new entry ``name`` of ``parent``.

        Raises FileExistsError, and OSError as the copying does; what was made by then stays.
        """
        cache = DescriptorCache()
        target = Layer(os.open(parent, _PARENT), 0, Marks(userxattr=False), cache)
        made: list[tuple[Place, Version]] = []
        try:
            waiting = [(node, path, (target.root, name))]
            while waiting:
                node, path, place = waiting.pop()
                version = self._tree.version(node)
                self._make(node, path, place, version)
                if version.kind is Kind.DIRECTORY:
                    made.append((place, version))
                    below = place[0].child(place[1])
                    waiting += [(child, path + b"/" + name, (below, name)) for name, child in self._children(node)]
            for place, version in reversed(made):  # their times and modes, once nothing is made in them any more
                self._finish(place, version)
        finally:
            cache.close()

    def _children(self, node: Node) -> Iterator[tuple[bytes, Node]]:
        for name in sorted(self._tree.names(node), reverse=True):
            child = self._tree.lookup(node, name)
            if child is not None:
                yield name, child

    def _make(self, node: Node, path: bytes, place: Place, version: Version) -> None:
        directory, name = place
        if version.kind is Kind.DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=directory.fd)
        elif version.kind is Kind.SYMLINK:
            os.symlink(version.target, name, dir_fd=directory.fd)
            self._finish(place, version)
        elif version.kind is Kind.FILE:
            self._copy(node, place, version)
            self._finish(place, version)
        else:
            self.skipped.append(path)

    def _copy(self, node: Node, place: Place, version: Version) -> None:
        target = os.open(place[1], _CREATE, 0o600, dir_fd=place[0].fd)
        try:
            with self._tree.opened(node) as source:
                source.copy(target, version.size)
        finally:
            os.close(target)

    def _finish(self, place: Place, version: Version) -> None:
        directory, name = place
        path = directory.path_of(name)
        if self._everything:
            os.chown(path, version.uid, version.gid, follow_symlinks=False)
            for attribute, value in version.xattrs:
                os.setxattr(path, attribute, value, follow_symlinks=False)
        if version.kind is not Kind.SYMLINK:
            mode = version.mode if self._everything else version.mode & _ORDINARY
            _chmod(place, mode)
        syscalls.set_times(path, None, version.mtime_ns, follow=False)


def _chmod(place: Place, mode: int) -> None:
    """chmod by descriptor of what was just made: os.chmod would follow a link that came in its place."""
    descriptor = os.open(place[1], os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place[0].fd)
    try:
        if not stat.S_ISLNK(os.fstat(descriptor).st_mode):
            os.chmod(b"/proc/self/fd/%d" % descriptor, mode)
    finally:
        os.close(descriptor)


def destination(dest: Path, name: bytes) -> tuple[Path, bytes]:
    """The directory and the name that a copy called ``name`` gets at ``dest``: in it, if that is a directory."""
    if dest.is_dir():
        if not name:
            raise CowfsError(f"{dest} exists: the root of a run needs a new name")
        return dest, name
    if not dest.parent.is_dir():
        raise CowfsError(f"no such directory: {dest.parent}")
    return dest.parent, os.fsencode(dest.name)
