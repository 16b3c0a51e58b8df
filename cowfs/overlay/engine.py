"""The overlay of mounts on layers in the store of podman, buildah, CRI-O or docker: what cowfs-overlay mounts.

There the upper is read by others, as a layer, while it is mounted and afterwards, and goes on under the kernel's
overlayfs or fuse-overlayfs. Neither has to know what only some overlays write, so what is in the upper says all:

    attributes change          the data comes along: no metacopy
    a directory of a lower     cannot be renamed: EXDEV, and programs copy it
    a lower file has links     each name is a file of its own once it changes: no index
    a name begins with .wh.    EINVAL, as with fuse-overlayfs: there it says that another one is deleted

(overlayfs with metacopy=off, redirect_dir=off and index=off; fuse-overlayfs.) Other owners than the disk's are the
business of cowfs.overlay.owners. Chosen at mount by ``open_engine``: other mounts pay nothing.
"""

import errno
import os
import stat
from typing import Final

from cowfs import ondisk
from cowfs.layers.directory import Directory, Layer
from cowfs.layers.engines import EngineMarks, EngineUpperLayer, open_layer, override_of
from cowfs.model import Attr
from cowfs.options import EngineOptions, MountOptions
from cowfs.overlay import Content, DirNode, Fill, Node, Overlay
from cowfs.overlay.parts import error
from cowfs.state.nodes import Place

_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class _Aside(Fill):
    """A whole copy of a file, built in the work directory under a name that is free."""

    def __init__(self, node: Node, source: int, directory: Directory, name: bytes, size: int) -> None:
        super().__init__(node, source, os.open(name, _CREATE, 0o600, dir_fd=directory.fd), size)
        self._directory = directory
        self.name = name
        self.published = False

    def close(self) -> None:
        """As ``Fill.close``; a copy that was not published goes."""
        super().close()
        if not self.published:
            os.unlink(self.name, dir_fd=self._directory.fd)


class EngineOverlay(Overlay):
    """The merge, with an upper that says all."""

    patience = 5.0  # an umount is over before the process that served the mount has ended

    def __init__(self, options: MountOptions) -> None:
        """As ``Overlay``; ``options.engine`` is set."""
        assert options.engine is not None
        self.engine: EngineOptions = options.engine
        self._same: dict[int, int] = {}  # numbers of names of a lower file -> the one that all of them show
        super().__init__(options)

    # --- layers -------------------------------------------------------------------------------------------

    def _namespace(self, options: MountOptions) -> EngineMarks:
        return EngineMarks(userxattr=options.userxattr)

    def _lower_layer(self, root: int, index: int) -> Layer:
        return open_layer(root, index, self.marks, self.cache)

    def _upper_layer(self, root: int) -> Layer:
        return EngineUpperLayer(root, 0, self.marks, self.cache, is_upper=True)

    def _close_upper(self) -> None:
        """Nothing is touched: an umount is over before we know, and an engine mounts again, with whatever program."""
        if self.upper is not None:
            self.upper.close()

    # --- links --------------------------------------------------------------------------------------------

    def _lower_file(self, status: os.stat_result) -> Node | int:
        """Each name is a node: which of them is meant, when one changes, the kernel says by the node alone."""
        number = self.numbers.of(status.st_dev, status.st_ino)
        if status.st_nlink < 2 and self.table.get(number) is None:
            return number
        fresh = self.numbers.fresh(status.st_dev, status.st_ino)
        self._same[fresh] = number
        return fresh

    def attr(self, node: Node) -> Attr:
        """As ``Overlay.attr``; names of one lower file have one number, in ``rdev`` where that says nothing."""
        attr = super().attr(node)
        if self.shows_links and self.may_part(node) and not (stat.S_ISCHR(node.kind) or stat.S_ISBLK(node.kind)):
            return attr._replace(rdev=self._same[node.number])
        return attr

    def may_part(self, node: Node) -> bool:
        """Will an open for writing change a node's number and link count, which no answer to that tells?"""
        return node.number in self._same and not node.on_upper

    def discard(self, node: Node) -> None:
        """As ``Overlay.discard``."""
        self._same.pop(node.number, None)
        super().discard(node)

    def _keep_link_count(self, node: Node) -> None:
        """There is no index to keep it in."""

    def _index_name(self, lower: Place) -> str | None:
        return None

    # --- copy up ------------------------------------------------------------------------------------------

    def _copy_file(self, node: Node, content: Content) -> None:
        super()._copy_file(node, Content.COMES if content is Content.STAYS else content)

    def start_fill(self, node: Node) -> Fill:
        """As ``Overlay.start_fill``; nothing of the file is in the upper before all of it is."""
        if node.on_upper or node.partial is not None:
            return super().start_fill(node)
        source = self._open_data(node)
        try:
            upper = self.writer()
            return _Aside(node, source, upper.work, upper.temporary(), os.fstat(source).st_size)
        except BaseException:
            os.close(source)
            raise

    def finish_fill(self, fill: Fill, before: os.stat_result, capability: bytes | None) -> None:
        """As ``Overlay.finish_fill``."""
        if not isinstance(fill, _Aside):
            super().finish_fill(fill, before, capability)
            return
        node = fill.node
        if node.on_upper:
            return  # somebody else's request brought it meanwhile
        if node.lower is None:
            raise error(errno.ESTALE)
        if node.parent is not None:
            self.raise_directory(node.parent)
        status = node.lower[0].stat(node.lower[1])
        self._dress(node, self.writer().work.path_of(fill.name), status)
        self._place(node, fill.name, status)
        fill.published = True
        self._copied(node, Content.COMES, status)

    def _set_origin(self, target: bytes, place: Place, status: os.stat_result) -> None:
        """Not of one name of several, as overlayfs without index: fuse-overlayfs takes files of one origin for one."""
        if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
            super()._set_origin(target, place, status)

    # --- names --------------------------------------------------------------------------------------------

    def _room_for(self, parent: Node, name: bytes) -> tuple[DirNode, Directory]:
        if name.startswith(ondisk.OCI_WHITEOUT):
            raise error(errno.EINVAL)
        return super()._room_for(parent, name)

    def rename(self, old: Node, old_name: bytes, new: Node, new_name: bytes, flags: int = 0) -> None:
        """As ``Overlay.rename``. Raises EXDEV for a directory that is in a lower, as overlayfs without redirects."""
        if new_name.startswith(ondisk.OCI_WHITEOUT):
            raise error(errno.EINVAL)
        moved = [self.lookup(old, old_name)]
        if flags:
            moved.extend(filter(None, [self.find(new, new_name)]))
        if any(isinstance(node, DirNode) and node.lowers for node in moved):
            raise error(errno.EXDEV)
        super().rename(old, old_name, new, new_name, flags)

    def _links(self, node: Node, status: os.stat_result) -> int:
        links = super()._links(node, status)
        return min(links, 1) if self.engine.static_nlink and node.is_dir else links


def open_engine(options: MountOptions) -> EngineOverlay:
    """The overlay that the options ask for. Raises OSError."""
    engine = options.engine
    assert engine is not None
    if options.upper is not None and engine.override is None:
        engine = engine._replace(override=override_of(os.fsencode(options.upper)) or None)
        options = options._replace(engine=engine)
    shifts = bool(engine.uids or engine.gids) or (engine.squash_uid, engine.squash_gid) != (None, None)
    keeps = engine.override is not None and options.writable
    if not shifts and not keeps:
        return EngineOverlay(options)
    from cowfs.overlay.owners import class_of  # rare, and a container waits for what is imported

    return class_of(shifts=shifts, keeps=keeps)(options)
