"""Attributes that a mount for looking at an image shows and no disk has: where each file comes from.

    user.cowfs.layer    whose file it is: number, short DiffID ("-" where there is none) and command of the layer
    user.cowfs.hides    numbers of the layers whose copy does not show, the top one first; absent where there is none
    user.cowfs.origin   of what was copied up: number and DiffID of the layer it was copied from, and its path there

Files and directories have them; the kernel knows no ``user.`` attributes of anything else. They cannot be set or
removed: EOPNOTSUPP, as overlayfs says of its own, so that cp and tar go on. Stored ones of these names do not show.
A file with several names has those of the one by which it was found first. Of a copy that was renamed the origin is
told while its data, or the directory that moved, still lead there.

Only a mount that ``cowfs mount`` made has them, as its options name the layers; no run has.
"""

import errno
import os
import posixpath
import stat
from typing import TYPE_CHECKING, Final

from cowfs import ondisk
from cowfs.layers.directory import Layer
from cowfs.layers.marks import Marks
from cowfs.model import LayerInfo, shown_layers
from cowfs.options import MountOptions
from cowfs.overlay import DirNode, Node, Overlay
from cowfs.overlay.parts import error, open_lower
from cowfs.state.nodes import Place

if TYPE_CHECKING:
    from cowfs.views.explain import Explainer, Explanation, Row

PREFIX: Final = b"user.cowfs."
LAYER: Final = PREFIX + b"layer"
HIDES: Final = PREFIX + b"hides"
ORIGIN: Final = PREFIX + b"origin"
_COMMAND: Final = 4096  # bytes of it: an attribute holds 64 KiB, an image's history what it likes


class Labelled(Overlay):
    """An overlay that tells of ``options.layers``: those of its lowers and of its upper, and those that do not show."""

    shows_what_is_stored = False

    def __init__(self, options: MountOptions) -> None:
        super().__init__(options)
        opened = [*([self.upper.layer] if self.upper is not None else []), *self.lowers]
        self._infos = dict(zip(opened, self._told(options.layers), strict=True))
        self._explainer: Explainer | None = None  # made when somebody asks

    def _namespace(self, options: MountOptions) -> Marks:
        if not any(layer.foreign for layer in options.layers):
            return super()._namespace(options)
        from cowfs.layers.engines import EngineMarks

        return EngineMarks(userxattr=options.userxattr)

    def _lower_layer(self, root: int, index: int) -> Layer:
        if not any(layer.foreign for layer in self.options.layers):
            return super()._lower_layer(root, index)
        from cowfs.layers.engines import open_layer

        return open_layer(root, index, self.marks, self.cache)

    def _told(self, layers: tuple[LayerInfo, ...]) -> list[LayerInfo]:
        """Of ``layers`` those that are open, the top one first."""
        return [*reversed(shown_layers(layers))]

    def getxattr(self, node: Node, name: bytes) -> bytes:
        if not name.startswith(PREFIX):
            return super().getxattr(node, name)
        value = self._labels(node).get(name)
        if value is None:
            raise error(errno.ENODATA)
        return value

    def listxattr(self, node: Node) -> list[bytes]:
        stored = [name for name in super().listxattr(node) if not name.startswith(PREFIX)]
        return stored + list(self._labels(node))

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int = 0) -> None:
        if name.startswith(PREFIX):
            raise error(errno.EOPNOTSUPP)
        super().setxattr(node, name, value, flags)

    def removexattr(self, node: Node, name: bytes) -> None:
        if name.startswith(PREFIX):
            raise error(errno.EOPNOTSUPP)
        super().removexattr(node, name)

    # --- what they say ------------------------------------------------------------------------------------

    def _labels(self, node: Node) -> dict[bytes, bytes]:
        place = _place(node)
        if place is None or node.kind not in (stat.S_IFREG, stat.S_IFDIR):
            return {}
        found = self._explained(b"/" + self.path_of(node))
        upper = self.upper.layer if self.upper is not None and node.on_upper else None  # or it is an index entry
        labels = self._told_of(self._infos[upper or place[0].layer], found.hidden)
        origin = self._origin(node, place, found)
        if origin is not None:
            labels[ORIGIN] = _words(origin.layer, origin.asked)
        return labels

    def _told_of(self, layer: LayerInfo, hidden: "list[Row]") -> dict[bytes, bytes]:
        labels = {LAYER: _words(layer)}
        if hidden:
            labels[HIDES] = b" ".join(b"%d" % row.layer.number for row in hidden)
        return labels

    def _explained(self, path: bytes) -> "Explanation":
        if self._explainer is None:
            from cowfs.views.explain import Explainer

            known = {info: layer for layer, info in self._infos.items()}
            known |= {info: self._opened(info) for info in self.options.layers if info not in known}
            self._explainer = Explainer(self.options.layers, known)
        return self._explainer.explain(path)

    def _opened(self, info: LayerInfo) -> Layer:
        """A layer of which nothing shows. Without what is mounted in it: it may hold our own mount point."""
        return self._lower_layer(open_lower(os.fsencode(info.directory), False), len(self.lowers))

    def _origin(self, node: Node, place: Place, found: "Explanation") -> "Row | None":
        """The row of the file that a copy was made of; None where it is no copy, or nothing leads there any more."""
        directory, name = place
        path = directory.path_of(name)
        if not self.marks.get(path, ondisk.ORIGIN):
            return None
        if node.is_dir:
            from cowfs.rules.explain import Effect  # asked for more rarely than mounted

            return next((row for row in found.rows if row.verdict.effect is Effect.MERGES), None)
        original = self.origin_of(directory, name)
        if original is None:
            return None
        rows = list(found.rows)
        redirect = self.marks.get(path, ondisk.REDIRECT)
        if redirect is not None:
            rows += self._explained(posixpath.join(posixpath.dirname(found.path), redirect)).rows
        return next((row for row in rows if _is(row, original[1])), None)


def _place(node: Node) -> Place | None:
    """Where the layers have a node: a directory of one, and the name there. None where nothing leads there."""
    if not isinstance(node, DirNode):
        return node.upper or node.lower
    if not node.parts:
        return None
    top = node.parts[0]
    return (top, b".") if top.parent is None else (top.parent, top.name)


def _is(row: "Row", original: os.stat_result) -> bool:
    status = row.testimony.status
    return (
        status is not None
        and row.testimony.saying.here
        and (status.st_dev, status.st_ino) == (original.st_dev, original.st_ino)
    )


def _words(layer: LayerInfo, last: bytes | None = None) -> bytes:
    """One line about a layer; its command at the end, unless there is something else to say."""
    short = layer.diff_id.removeprefix("sha256:")[:12] or "-"
    if last is None:
        last = os.fsencode(layer.created_by or layer.directory).replace(b"\n", b" ")[:_COMMAND]
    return b"%d %s %s" % (layer.number, short.encode(), last)
