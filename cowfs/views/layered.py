"""One tree that shows an image from the inside: merged, each layer by itself, and the image as it was after each.

    merged/                 as a mount shows it
    layers/NN-<diffID>/     what layer NN brought; its deletions as .wh.NAME and .wh..wh..opq
    upto/NN/                the merge of the layers up to NN
    history                 which command made which layer

A part is an overlay of its own, opened when somebody first looks at it; all share one table of nodes, so that FUSE sees
one file system. Read-only: the mount refuses writes before they come here. Used by the session of ``mount --layers``.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from functools import partial
from itertools import count

from cowfs.layers.directory import Layer
from cowfs.model import Attr, LayerInfo, shown_layers
from cowfs.options import MountOptions
from cowfs.overlay import ROOT, Caller, DirNode, Handle, Node, Overlay
from cowfs.overlay.parts import error
from cowfs.rules.lookup import Entry
from cowfs.state.listing import Listing
from cowfs.state.nodes import InodeTable
from cowfs.views.labels import Labelled
from cowfs.views.whiteouts import LayerTree

_Opener = Callable[[], Overlay]


class _Numbers:
    """Numbers of one part that no other part has: counted, and kept as long as somebody knows the file."""

    def __init__(self, counter: "count[int]") -> None:
        self._counter = counter
        self._known: dict[tuple[int, int], int] = {}
        self._identity: dict[int, tuple[int, int]] = {}

    def of(self, device: int, inode: int) -> int:
        return self._known.get((device, inode)) or self.fresh(device, inode)

    def fresh(self, device: int, inode: int) -> int:
        number = next(self._counter)
        self._known[device, inode] = number
        self._identity[number] = (device, inode)
        return number

    def forget(self, number: int) -> None:
        identity = self._identity.pop(number, None)
        if identity is not None and self._known.get(identity) == number:
            del self._known[identity]

    def is_of(self, number: int, device: int, inode: int) -> bool:
        return self._identity.get(number) == (device, inode)


class Layered(Overlay):
    """The tree over ``options.layers``, all layers of an image, the bottom one first."""

    def __init__(self, options: MountOptions) -> None:
        # Not the parent's: this one has no layers itself, and hands everything to the part that has the node.
        self.options = options
        self.upper = None
        self.lowers = []
        self.table = InodeTable()
        self._counter = count(2)
        self._parts: dict[Layer, Overlay] = {}
        self._openers: dict[tuple[DirNode, bytes], _Opener] = {}
        self._time = time.time_ns()
        self._history = "".join(map(_line, options.layers)).encode("utf-8", "surrogateescape")
        self.root = DirNode(1, None, b"")
        self.root.entries = {}
        self.table.add(self.root)
        self._lay_out(options.layers)

    def _lay_out(self, layers: tuple[LayerInfo, ...]) -> None:
        for layer in layers:  # opened when somebody looks; that one is missing is to be said now
            os.stat(os.fsencode(layer.directory) + b"/.")
        by_layer, up_to = self._shelf(b"layers"), self._shelf(b"upto")
        self._part(self.root, b"merged", partial(self._merge, layers))
        for place, layer in enumerate(layers, 1):
            number = b"%02d" % layer.number
            short = os.fsencode(layer.diff_id.removeprefix("sha256:")[:12] or layer.directory.name)
            self._part(by_layer, number + b"-" + short, partial(self._layer, layers[:place]))
            self._part(up_to, number, partial(self._merge, layers[:place]))
        history = Node(next(self._counter), stat.S_IFREG, self.root, b"history")
        self.table.add(history)
        self.root.entries[b"history"] = history  # type: ignore[index]

    def _shelf(self, name: bytes) -> DirNode:
        node = DirNode(next(self._counter), self.root, name)
        node.entries = {}
        self.table.add(node)
        self.root.entries[name] = node  # type: ignore[index]
        return node

    def _part(self, parent: DirNode, name: bytes, opener: _Opener) -> None:
        self._openers[parent, name] = opener
        parent.entries[name] = Entry(stat.S_IFDIR, ())  # type: ignore[index]

    def _merge(self, layers: tuple[LayerInfo, ...]) -> Overlay:
        lowers = tuple(layer.directory for layer in reversed(shown_layers(layers)))
        return Labelled(self.options._replace(lowers=lowers, layers=layers, apart=False))

    def _layer(self, layers: tuple[LayerInfo, ...]) -> Overlay:
        return LayerTree(self.options._replace(lowers=(layers[-1].directory,), layers=layers, apart=False))

    def _opened(self, parent: DirNode, name: bytes) -> Node:
        """The root of a part, opened now."""
        part = self._openers.pop((parent, name))()
        part.table, part.numbers = self.table, _Numbers(self._counter)  # type: ignore[assignment]
        part.root.number = next(self._counter)
        part.root.parent, part.root.name = parent, name
        self.table.add(part.root)
        for layer in part.lowers:
            self._parts[layer] = part
        parent.entries[name] = part.root  # type: ignore[index]
        return part.root

    def _owner(self, node: Node) -> Overlay | None:
        """The part that has a node; None for what is laid out here."""
        directory: Node | None = node if isinstance(node, DirNode) else node.parent
        if not isinstance(directory, DirNode) or not directory.parts:
            return None
        return self._parts[directory.parts[0].layer]

    def close(self) -> None:
        for part in dict.fromkeys(self._parts.values()):
            part.cache.close()

    # --- what a mount asks for ----------------------------------------------------------------------------

    def find(self, parent: Node, name: bytes) -> Node | None:
        part = self._owner(parent)
        if part is not None:
            return part.find(parent, name)
        if not isinstance(parent, DirNode):
            raise error(errno.ENOTDIR)
        found = (parent.entries or {}).get(name)
        return self._opened(parent, name) if isinstance(found, Entry) else found

    def forget(self, node: Node, count: int) -> None:
        part = self._owner(node)
        if part is None:
            node.lookups -= count
        else:
            part.forget(node, count)

    def attr(self, node: Node) -> Attr:
        part = self._owner(node)
        if part is not None:
            return part.attr(node)
        now = self._time
        if node.is_dir:
            return Attr(node.number, stat.S_IFDIR | 0o555, 2, 0, 0, 0, 0, 0, now, now, now)
        size = len(self._history)
        return Attr(node.number, stat.S_IFREG | 0o444, 1, 0, 0, 0, size, -(-size // 512), now, now, now)

    def readlink(self, node: Node) -> bytes:
        part = self._owner(node)
        if part is None:
            raise error(errno.EINVAL)
        return part.readlink(node)

    def getxattr(self, node: Node, name: bytes) -> bytes:
        part = self._owner(node)
        if part is None:
            raise error(errno.ENODATA)
        return part.getxattr(node, name)

    def listxattr(self, node: Node) -> list[bytes]:
        part = self._owner(node)
        return part.listxattr(node) if part is not None else []

    def statfs(self) -> os.statvfs_result:
        return os.statvfs(self.options.layers[-1].directory)

    def listing(self, node: Node, start: int) -> Listing:
        part = self._owner(node)
        return part.listing(node, start) if part is not None else super().listing(node, start)

    def open(self, node: Node, flags: int, caller: Caller = ROOT) -> Handle:
        part = self._owner(node)
        if part is not None:
            return part.open(node, flags, caller)
        fd = os.memfd_create("history", os.MFD_CLOEXEC)
        os.write(fd, self._history)
        handle = Handle(node, fd, writable=False, on_upper=False)
        node.handles += (handle,)
        return handle

    def release(self, handle: Handle) -> None:
        part = self._owner(handle.node)
        if part is not None:
            part.release(handle)
            return
        handle.node.handles = tuple(other for other in handle.node.handles if other is not handle)
        os.close(handle.fd)


def _line(layer: LayerInfo) -> str:
    short = layer.diff_id.removeprefix("sha256:")[:12] or "-"
    made_by = (layer.created_by or os.fspath(layer.directory)).replace("\n", " ")
    return f"{layer.number:02d}  {short:<12}  {made_by}\n"
