"""Names that share a file with a name of the layer, and are not in the upper. Used by cowfs.images.changes.

    a file of the base was copied up once, into ``work/index``: a name that nobody touched since stays the base's, and
    shows the copy all the same
    a name moved with its directory (redirect), and another one of the file did not

A layer has no index and no redirects, so these names must be in it, as hard links.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cowfs import ondisk
from cowfs.layers.directory import Directory, Layer
from cowfs.overlay import DirNode, Node, Overlay
from cowfs.overlay.parts import origin_name, read_partial

Identity = tuple[int, int]  # device and inode


def identity(overlay: Overlay, node: Node) -> Identity:
    """Of the file in a layer that supplies a node."""
    status = overlay.status(node)
    return status.st_dev, status.st_ino


class Linked:
    """The index in the directory ``index``, for an upper that ``after`` shows over the lowers of ``before``."""

    def __init__(self, before: Overlay, after: Overlay, index: Path | None) -> None:
        self._before = before
        self._after = after
        self._instead: dict[Identity, Node] = {}  # by the file of the base: its copy
        self._names: dict[bytes, set[bytes]] = {}  # by directory: names that lead to missing ones
        missing = self._moved()
        if index is not None and index.is_dir():
            missing |= self._read(index)
        if missing:
            self._search(missing)

    def names_below(self, directory: bytes) -> set[bytes]:
        """Names in ``directory`` (with a slash at its end) that are, or lead to, names of copied files."""
        return self._names.get(directory, set())

    def instead_of(self, node: Node) -> Node:
        """The copy that shows where the layers have ``node``, or that itself."""
        copy = self._instead.get(identity(self._after, node)) if self._instead else None
        if copy is None:
            return node
        if copy.data is None and self._has(copy, ondisk.METACOPY):
            copy.data = node.data or node.lower
            assert copy.lower is not None
            assert copy.data is not None
            copy.partial = read_partial(self._after.marks, copy.lower, copy.data)
        return copy

    def close(self) -> None:
        """Let the descriptors of parts go."""
        for node in self._instead.values():
            node.drop_partial()

    def _moved(self) -> set[Identity]:
        """Files of the base with several names, one of them in a directory that was renamed."""
        assert isinstance(self._after.root, DirNode)
        found: set[Identity] = set()
        waiting = [(self._after.root, False)]
        while waiting:
            directory, moved = waiting.pop()
            top = directory.parts[0]
            if not moved and top.layer.index != 1:
                continue  # the upper changed nothing below
            moved = moved or top.marks().redirect is not None
            names = self._after.names(directory) if moved else [name for name, _ in top.list()]
            for name in list(names):
                node = self._after.find(directory, name)
                if isinstance(node, DirNode):
                    waiting.append((node, moved))
                elif moved and node is not None and node.lower is not None and node.lower[0].layer.index > 1:
                    status = self._after.status(node)
                    if status.st_nlink > 1:
                        found.add((status.st_dev, status.st_ino))
        return found

    def _read(self, index: Path) -> set[Identity]:
        """Fill ``_instead``; return the files of the base of which the upper lacks names."""
        root = os.open(index, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        directory = Layer(root, 1, self._after.marks, self._after.cache).root
        copies = [name for name, kind in list(directory.list()) if kind not in (None, stat.S_IFDIR)]
        found = {name: at[1] for name in copies if (at := self._before.origin_of(directory, name)) is not None}
        if len(found) < len(copies):  # only root of the machine may open a file by its handle
            found |= self._by_handle({name for name in copies if name not in found})
        missing = set()
        for name, origin in found.items():
            original = (origin.st_dev, origin.st_ino)
            self._instead[original] = self._node(directory, name)
            status = directory.stat(name)
            names = status.st_nlink + self._before.links_diff((directory, name), status, origin)
            if names > status.st_nlink - 1:  # one of its links is the index's
                missing.add(original)
        return missing

    def _by_handle(self, names: set[bytes]) -> dict[bytes, os.stat_result]:
        """The files of the base that are called so in an index, by a look at each."""
        found = {}
        for _, _, node in self._files():
            status = self._before.status(node)
            if status.st_nlink + node.links_diff > 1 and node.lower is not None:
                name = origin_name(node.lower)
                if name in names:
                    found[name] = status
        return found

    def _node(self, directory: Directory, name: bytes) -> Node:
        status = directory.stat(name)
        number = self._after.numbers.fresh(status.st_dev, status.st_ino)
        node = Node(number, stat.S_IFMT(status.st_mode), self._after.root, name)
        node.lower = (directory, name)
        node.index_name = os.fsdecode(name)
        node.lookups = 1  # nobody frees it when a handle is closed
        return node

    def _has(self, node: Node, mark: bytes) -> bool:
        assert node.lower is not None
        directory, name = node.lower
        return self._after.marks.get(directory.path_of(name), mark) is not None

    def _search(self, missing: set[Identity]) -> None:
        """The whole base, as nothing tells the names of a file."""
        for path, name, node in self._files():
            found = identity(self._before, node)
            if found in missing and self._still_shows(path + name, found):
                self._want(path, name)

    def _files(self) -> Iterator[tuple[bytes, bytes, Node]]:
        """All names of the base but those of directories: directory, name, and the node, until the next."""
        assert isinstance(self._before.root, DirNode)
        waiting = [(b"", self._before.root)]
        while waiting:
            path, directory = waiting.pop()
            for name in list(self._before.names(directory)):
                node = self._before.find(directory, name)
                if isinstance(node, DirNode):
                    waiting.append((path + name + b"/", node))
                elif node is not None:
                    yield path, name, node
                    self._before.drop_unused(node)

    def _still_shows(self, path: bytes, found: Identity) -> bool:
        try:
            return identity(self._after, self._after.walk(path)) == found
        except OSError:
            return False

    def _want(self, directory: bytes, name: bytes) -> None:
        self._names.setdefault(directory, set()).add(name)
        while directory:
            above, _, name = directory[:-1].rpartition(b"/")
            directory = above + b"/" if above else b""
            self._names.setdefault(directory, set()).add(name)
