"""The base of a run as it was: the merge of the lowers, read-only, node by node.

Used by ``scan`` and by the commands that show old content. Follows no symbolic link, opens regular files only,
and lists a directory only when asked for its names.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cowdiff.changes import Version
from cowdiff.places import Handle, Place, open_layer, open_place, version_at
from cowfs.layers import origin
from cowfs.layers.directory import DescriptorCache, Directory, is_whiteout

_NAME_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Node:
    """A file of the base. ``directories`` are the parts of a directory, the top one first; empty for anything else."""

    place: Place
    directories: tuple[Directory, ...] = ()


class Before:
    """The merged lowers, the top one first. Close it after use."""

    def __init__(self, lowers: Iterable[Path], hidden: Iterable[Path] = ()) -> None:
        self._cache = DescriptorCache()
        self._layers = [open_layer(path, self._cache) for path in lowers]
        for layer in self._layers:
            layer.hidden = frozenset(_identities(hidden))
        self.root = Node((self._layers[0].root, b"."), tuple(layer.root for layer in self._layers))

    def close(self) -> None:
        """Close all descriptors; nodes are of no use afterwards."""
        self._cache.close()

    def lookup(self, parent: Node, name: bytes) -> Node | None:
        """The entry of a directory, None where there is none or ``parent`` is no directory."""
        found: list[Directory] = []
        if name in (b"", b".", b"..") or b"\0" in name or len(name) > _NAME_MAX:
            return None  # a redirect of a hostile upper
        for directory in parent.directories:
            if directory.is_hidden():
                break
            try:
                status = directory.stat(name)
            except (FileNotFoundError, NotADirectoryError):
                continue
            if is_whiteout(status) or _is_xattr_whiteout(directory, name, status):
                break
            if not stat.S_ISDIR(status.st_mode):
                if not found:
                    return Node((directory, name))
                break
            child = directory.child(name)
            found.append(child)
            if child.marks().opaque:
                break
        return Node((found[0], b"."), tuple(found)) if found else None

    def walk(self, path: bytes) -> Node | None:
        """The node at an absolute path."""
        node: Node | None = self.root
        for name in path.split(b"/"):
            if name and node is not None:
                node = self.lookup(node, name)
        return node

    def names(self, node: Node) -> set[bytes]:
        """The names in a directory; empty for anything else."""
        names: set[bytes] = set()
        gone: set[bytes] = set()
        for directory in node.directories:
            entries = list(directory.list())
            names |= {name for name, kind in entries if kind is not None and name not in gone}
            gone |= {name for name, kind in entries if kind is None}
        return names

    def version(self, node: Node) -> Version:
        """What is there."""
        return version_at(node.place)

    def open(self, node: Node) -> int:
        """A descriptor of a regular file's content."""
        return open_place(node.place)

    def handle(self, node: Node) -> Handle | None:
        """The file handle that a copy of this file carries as its origin; None where there are no handles."""
        directory, name = node.place
        found = origin.origin_of(directory.fd, name, b"")
        return (found.handle_type, found.handle) if found else None


def _is_xattr_whiteout(directory: Directory, name: bytes, status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode) or status.st_size or not directory.marks().has_xattr_whiteouts:
        return False
    return directory.is_xattr_whiteout(name)


def _identities(paths: Iterable[Path]) -> Iterable[tuple[int, int]]:
    for path in paths:
        try:
            status = path.lstat()
        except OSError:
            continue
        yield status.st_dev, status.st_ino
