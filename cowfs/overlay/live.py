"""Lowers that change underneath: the root of a running machine (``MountOptions.live_lower``).

overlayfs calls this undefined. Here names follow the lower, an open file stays the version that was opened, and a node
whose lower file went away answers ESTALE, and so does an open of one whose attributes are the upper's and whose data
changed below them. What the upper has is never touched.
"""

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from cowfs import ondisk
from cowfs.layers import origin as origins
from cowfs.layers.directory import Directory
from cowfs.options import MountOptions
from cowfs.overlay.parts import error
from cowfs.overlay.tree import Tree
from cowfs.rules import lookup as rules
from cowfs.state.nodes import DirNode, Node, Place


class _Version(NamedTuple):
    """What changes when a file is replaced or written to."""

    inode: int
    mtime_ns: int
    size: int


def _version(status: os.stat_result) -> _Version:
    return _Version(status.st_ino, status.st_mtime_ns, status.st_size)


class Live(Tree):
    """Looks again where a lower may have changed; does nothing else where it may not."""

    def __init__(self, options: MountOptions) -> None:
        """As ``Tree``."""
        super().__init__(options)
        self._versions: dict[int, _Version] = {}  # of files when they were last opened, by number
        self._below: dict[int, _Version] = {}  # of the data of metacopies, by number

    def find(self, parent: Node, name: bytes) -> Node | None:
        """As ``Tree.find``, of the lower as it is now."""
        if self.options.live_lower and isinstance(parent, DirNode) and not parent.orphan:
            self.refresh(parent, name)
        return super().find(parent, name)

    def names(self, node: DirNode) -> Iterator[bytes]:
        """As ``Tree.names``, of the lower as it is now."""
        return iter(self.refresh(node)) if self.options.live_lower else super().names(node)

    def refresh(self, node: DirNode, name: bytes | None = None) -> "dict[bytes, Node | rules.Entry[Directory]]":
        """Follow a live lower: list a directory again if it changed, and look whether ``name`` is still the same file.

        What the upper has is left as it is. A node whose lower file is gone or replaced keeps its number and its open
        handles, and answers ESTALE to anything else.
        """
        entries = self.load(node)
        version = self._version(node)
        if node.version and version != node.version:
            seen, node.below = node.below, rules.merge((part, part.list()) for part in node.lowers)
            for gone in seen.keys() - node.below.keys():
                self._withdraw(node, gone)
            for new in node.below.keys() - entries.keys() - node.whiteouts:
                entries[new] = node.below[new]
        node.version = version
        if name is not None:
            self._check(node, name)
        return entries

    def _check(self, node: DirNode, name: bytes) -> None:
        entries = self.load(node)
        found = entries.get(name)
        if isinstance(found, Node) and not found.on_upper and not self._is_same(found):
            self._withdraw(node, name)
            if name in node.below:
                entries[name] = node.below[name]

    def is_same_version(self, node: Node, status: os.stat_result) -> bool:
        """Is the lower file that was just opened the one that was opened last? If not, nobody's cache of it holds."""
        version = _version(status)
        seen = self._versions.get(node.number)
        self._versions[node.number] = version
        if seen != version:
            node.reply = None
        return seen in (None, version)

    def check_data(self, node: Node, size: int) -> None:
        """Is the data below the upper's attributes still that of the file which they were copied from?

        ``size``: what the attributes say. Raises ESTALE; first called when they are copied.
        """
        if node.data is None or not self.options.live_lower:
            return
        try:
            now = _version(node.data[0].stat(node.data[1]))
        except FileNotFoundError:
            raise error(errno.ESTALE) from None
        if now.size != size or self._below.setdefault(node.number, now) != now or not self._is_origin(node, node.data):
            raise error(errno.ESTALE)

    def _is_origin(self, node: Node, data: Place) -> bool:
        """Is this the file that the upper's was copied from, as far as the mark there tells?"""
        if node.upper is None or len(self.lowers) > 1:
            return True
        mark = self.marks.get(node.upper[0].path_of(node.upper[1]), ondisk.ORIGIN)
        now = origins.origin_of(data[0].fd, data[1], data[0].layer.uuid_of(data[0]))
        return not mark or now is None or origins.encode(now) == mark

    def discard(self, node: Node) -> None:
        """As ``Tree.discard``."""
        super().discard(node)
        self._versions.pop(node.number, None)

    def _version(self, node: DirNode) -> tuple[int, ...]:
        try:
            return tuple(part.stat_self().st_mtime_ns for part in node.lowers)
        except FileNotFoundError:
            return ()

    def _is_same(self, node: Node) -> bool:
        if isinstance(node, DirNode):
            place: Place | None = (node.lowers[0].parent or node.lowers[0], node.lowers[0].name)
        else:
            place = node.lower
        if place is None:
            return False
        try:
            status = place[0].stat(place[1])
        except OSError:
            return False
        same = self.numbers.is_of(node.number, status.st_dev, status.st_ino)
        return same and stat.S_IFMT(status.st_mode) == node.kind

    def _withdraw(self, parent: DirNode, name: bytes) -> None:
        """The lower no longer has ``name`` as we knew it."""
        assert parent.entries is not None
        found = parent.entries.get(name)
        if found is None or parent.in_upper(name):
            return
        del parent.entries[name]
        if isinstance(found, Node):
            found.parent, found.lower, found.data, found.reply = None, None, None, None
            if found.lookups <= 0 and not found.handles:
                self.discard(found)
