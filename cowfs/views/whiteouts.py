"""One layer by itself, with its deletions in the form that the OCI image-spec gives them: .wh.NAME, .wh..wh..opq."""

import errno
import os
import posixpath
import stat

from cowfs.layers.directory import Directory
from cowfs.model import Attr, LayerInfo
from cowfs.options import MountOptions
from cowfs.overlay import ROOT, Caller, DirNode, Handle, Node
from cowfs.overlay.parts import error
from cowfs.rules.lookup import Entry
from cowfs.views.labels import PREFIX, Labelled

_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"


class LayerTree(Labelled):
    """An overlay of one lower, the last of ``options.layers``."""

    def __init__(self, options: MountOptions) -> None:
        super().__init__(options)
        self._opaque = options.layers[-1].opaque  # its root hides all below, which the directory itself does not say

    def _told(self, layers: tuple[LayerInfo, ...]) -> list[LayerInfo]:
        return [layers[-1]]

    def load(self, node: DirNode) -> "dict[bytes, Node | Entry[Directory]]":
        if node.entries is not None:
            return node.entries
        entries = super().load(node)
        for directory in node.lowers:
            for name, kind in directory.list():
                if kind is None:
                    entries[_WHITEOUT + name] = Entry(stat.S_IFREG, ())
            if directory.marks().opaque or (node is self.root and self._opaque):
                entries[_OPAQUE] = Entry(stat.S_IFREG, ())
        return entries

    def _materialize(self, parent: DirNode, name: bytes, entry: "Entry[Directory]") -> Node | None:
        if entry.where:
            return super()._materialize(parent, name, entry)
        node = Node(self.numbers.fresh(0, 0), stat.S_IFREG, parent, name)
        self.table.add(node)
        assert parent.entries is not None
        parent.entries[name] = node
        return node

    def attr(self, node: Node) -> Attr:
        if not _is_mark(node):
            return super().attr(node)
        assert node.parent is not None
        times = super().attr(node.parent)[-3:]
        return Attr(node.number, stat.S_IFREG, 1, 0, 0, 0, 0, 0, *times)

    def getxattr(self, node: Node, name: bytes) -> bytes:
        if _is_mark(node) and not name.startswith(PREFIX):
            raise error(errno.ENODATA)
        return super().getxattr(node, name)

    def listxattr(self, node: Node) -> list[bytes]:
        return list(self._labels(node)) if _is_mark(node) else super().listxattr(node)

    def _labels(self, node: Node) -> dict[bytes, bytes]:
        if not _is_mark(node):
            return super()._labels(node)
        assert node.parent is not None
        path = b"/" + self.path_of(node.parent)
        if node.name != _OPAQUE:
            path = posixpath.join(path, node.name.removeprefix(_WHITEOUT))
        found = self._explained(path)
        return self._told_of(found.rows[0].layer, [row for row in found.hidden if found.hider(row) is found.rows[0]])

    def open(self, node: Node, flags: int, caller: Caller = ROOT) -> Handle:
        if not _is_mark(node):
            return super().open(node, flags, caller)
        handle = Handle(node, os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), writable=False, on_upper=False)
        node.handles += (handle,)
        return handle


def _is_mark(node: Node) -> bool:
    return not node.is_dir and node.lower is None and node.upper is None
