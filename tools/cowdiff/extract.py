"""Copying a file or a tree out of a merged tree, into a directory of the host.

Used by ``cowdiff cp`` and ``apply``. The source may be hostile: nothing of it is followed or executed, all is made anew
(O_EXCL, single names below a descriptor), and it belongs to the caller, without setuid bits, unless ``everything`` is
asked for. Iterative: depth is no limit.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cowfs import userns
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
_SYSTEMS_OWN: Final = b"security.selinux"
_TYPES: Final = {Kind.CHAR: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO, Kind.SOCKET: stat.S_IFSOCK}
_ORDINARY: Final = 0o777  # the mode bits that a copy keeps without ``everything``


class Extraction:
    """Copies out of one tree. ``skipped`` are the paths of devices, pipes and sockets that were not copied.

    With ``everything`` those are made as well, and names of one file stay names of one file.
    """

    def __init__(self, tree: Tree, *, everything: bool) -> None:
        self._tree = tree
        self._everything = everything
        self._links: dict[int, Place] = {}  # files with several names that were made, by their number in the tree
        self.skipped: list[bytes] = []

    def run(self, node: Node, path: bytes, parent: Path, name: bytes) -> None:
        """Make ``node`` (at ``path`` in the tree) the new entry ``name`` of ``parent``, with all that is in it.

        Raises FileExistsError, and OSError as the copying does; what was made by then stays.
        """
        cache = DescriptorCache()
        target = Layer(os.open(parent, _PARENT), 0, Marks(userxattr=not userns.is_root_of_machine()), cache)
        made: list[tuple[Place, Version]] = []
        try:
            waiting = [(node, path, (target.root, name))]
            while waiting:
                node, path, place = waiting.pop()
                version = self.make(node, path, place)
                if version.kind is Kind.DIRECTORY:
                    made.append((place, version))
                    below = place[0].child(place[1])
                    waiting += [(child, path + b"/" + name, (below, name)) for name, child in self._children(node)]
            for place, version in reversed(made):  # their times and modes, once nothing is made in them any more
                dress(place, version, everything=self._everything)
        finally:
            self._links.clear()
            cache.close()

    def make(self, node: Node, path: bytes, place: Place) -> Version:
        """Make one new entry. A directory is empty, and the caller's alone until it is dressed. Raises as ``run``."""
        directory, name = place
        version = self._tree.version(node)
        if version.kind is Kind.DIRECTORY:
            os.mkdir(name, 0o700, dir_fd=directory.fd)
            return version
        known = self._links.get(node.number) if self._everything else None
        if known is not None:
            link(known, place)
            return version
        if version.kind is Kind.SYMLINK:
            os.symlink(version.target, name, dir_fd=directory.fd)
        elif version.kind is Kind.FILE:
            self._copy(node, place, version)
        elif self._everything:
            os.mknod(name, _TYPES[version.kind] | 0o600, version.rdev, dir_fd=directory.fd)
        else:
            self.skipped.append(path)
            return version
        dress(place, version, everything=self._everything)
        if version.nlink > 1:
            self._links[node.number] = place
        return version

    def know(self, node: Node, place: Place) -> None:
        """``place`` is a name of this file: what is made of its other names are links to it."""
        self._links.setdefault(node.number, place)

    def _children(self, node: Node) -> Iterator[tuple[bytes, Node]]:
        for name in sorted(self._tree.names(node), reverse=True):
            child = self._tree.lookup(node, name)
            if child is not None:
                yield name, child

    def _copy(self, node: Node, place: Place, version: Version) -> None:
        target = os.open(place[1], _CREATE, 0o600, dir_fd=place[0].fd)
        try:
            with self._tree.opened(node) as source:
                source.copy(target, version.size)
        finally:
            os.close(target)


def link(known: Place, new: Place) -> None:
    """One more name of a file; a symbolic link is not followed."""
    os.link(known[1], new[1], src_dir_fd=known[0].fd, dst_dir_fd=new[0].fd, follow_symlinks=False)


def dress(place: Place, version: Version, *, everything: bool) -> None:
    """Give an entry its attributes and time; owner, setuid bits and extended attributes only with ``everything``."""
    directory, name = place
    path = directory.path_of(name)
    if everything:
        os.chown(path, version.uid, version.gid, follow_symlinks=False)
        wanted = dict(version.xattrs)
        for attribute in map(os.fsencode, os.listxattr(path, follow_symlinks=False)):
            if attribute not in wanted and not attribute.startswith(_SYSTEMS_OWN):  # a default ACL was inherited
                os.removexattr(path, attribute, follow_symlinks=False)
        for attribute, value in wanted.items():
            os.setxattr(path, attribute, value, follow_symlinks=False)
    if version.kind is not Kind.SYMLINK:
        _chmod(place, version.mode if everything else version.mode & _ORDINARY)
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
