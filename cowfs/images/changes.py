"""From an upper over its base to the entries of a layer's tar. Used by cowfs.images.commit alone.

The one module of this package that knows the merge: marks of overlayfs are about places in the layers below, the tar of
a layer can only name what is deleted and bring what is there.

    in the upper                                       in the layer
    -------------------------------------------------  ---------------------------------------------------------------
    a whiteout                                         .wh.NAME, if the base has the name
    a directory that still shows the base's            its entry; and its upper's entries
    ... that does not (opaque, new, redirected)        its entry, .wh..wh..opq if the base has one there; all in it
    a file that has only its attributes (metacopy)     the whole file
    ... or parts of its data (partial)                 the whole file
    names of one file                                  the first with its data, the others as hard links to it
    names that the index knows and the upper lacks     hard links, too
    a socket                                           nothing: tar has none

Sorted, so that the same tree gives the same entries. No recursion; no link is followed.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cowfs import userns
from cowfs.errors import StoreError
from cowfs.images import attributes
from cowfs.images.linked import Identity, Linked, identity
from cowfs.images.tarstream import Entry, Type
from cowfs.model import Attr
from cowfs.ondisk import OCI_OPAQUE, OCI_WHITEOUT
from cowfs.options import EngineOptions, MountOptions, indexes_of
from cowfs.overlay import DirNode, Node, Overlay, open_overlay

CHUNK = 1 << 20
_HOLE = 64 << 10  # bytes of zeros, aligned, that are left out of a big file
_ZEROS = bytes(_HOLE)
_BIG = 1 << 20  # bytes from which on that is looked for
_TYPES = {
    stat.S_IFREG: Type.FILE,
    stat.S_IFDIR: Type.DIRECTORY,
    stat.S_IFLNK: Type.SYMLINK,
    stat.S_IFCHR: Type.CHAR,
    stat.S_IFBLK: Type.BLOCK,
    stat.S_IFIFO: Type.FIFO,
}


@dataclass(slots=True)
class Content:
    """An entry of the tar, and where the data of a file is read."""

    entry: Entry
    node: Node | None = None


@dataclass(slots=True)
class _Item:
    """A directory to be visited. ``before`` is what the base has there, if that shows through."""

    path: bytes  # with a slash at the end, empty for the root
    node: DirNode
    before: DirNode | None


class Changes:
    """What ``upper`` changed of the merge of ``lowers`` (top first). Close it after use.

    ``index`` is the directory in which overlayfs and cowfs keep what the names of one file share (``work/index``), if
    there is one. ``leave_out`` are paths that belong to nobody: where a run had volumes. Raises StoreError.
    """

    def __init__(
        self,
        lowers: tuple[Path, ...],
        upper: Path,
        index: Path | None,
        leave_out: frozenset[bytes],
        *,
        foreign: bool = False,
    ) -> None:
        """``foreign``: they lie in another engine's store."""
        self._leave_out = leave_out
        # The index of the upper itself is for ``Linked``: only those of other runs count in the merge.
        options = MountOptions(
            lowers=lowers,
            userxattr=not userns.is_root_of_machine(),
            indexes=indexes_of(lowers),
            engine=EngineOptions() if foreign else None,
        )
        self._before = self._open(options)
        try:
            self._after = self._open(options._replace(lowers=(upper, *lowers)))
        except BaseException:
            self._before.close()
            raise
        self._links: dict[Identity, bytes] = {}  # files with several names: the first that was met
        self._linked = Linked(self._before, self._after, index)

    @staticmethod
    def _open(options: MountOptions) -> Overlay:
        try:
            return open_overlay(options)
        except OSError as error:
            raise StoreError(f"cannot read {os.fsdecode(error.filename or b'the layers')}: {error.strerror}") from error

    def close(self) -> None:
        """Let all descriptors go."""
        self._linked.close()
        self._after.close()
        self._before.close()

    def __iter__(self) -> Iterator[Content]:
        assert isinstance(self._after.root, DirNode)
        assert isinstance(self._before.root, DirNode)
        root = _Item(b"", self._after.root, self._before.root)
        root.before = self._shown_below(root.node, root.before)
        if self._facts(self._after, self._after.root) != self._facts(self._before, self._before.root):
            yield Content(self._entry(b"./", root.node))
        if root.before is None:
            yield Content(_mark(OCI_OPAQUE))
        waiting = [root]
        while waiting:
            item = waiting.pop()
            below: list[_Item] = []
            for name in sorted(self._names(item)):
                if item.path + name not in self._leave_out:
                    yield from self._name(item, name, below)
            waiting += reversed(below)

    def _names(self, item: _Item) -> set[bytes]:
        """Those that the layer must speak of: the upper's if the base shows through, else all."""
        if item.before is None:
            return set(self._after.names(item.node))
        names = set(self._linked.names_below(item.path))
        top = item.node.parts[0]
        if top.layer.index == 1:
            names |= {name for name, _ in top.list()}
        return names

    def _name(self, item: _Item, name: bytes, below: list[_Item]) -> Iterator[Content]:
        node = self._after.find(item.node, name)
        before = self._before.find(item.before, name) if item.before is not None else None
        path = item.path + name
        if node is not None:
            node.lookups += 1  # it stays as it is until we let it go
        if node is None:
            if before is not None:
                yield Content(_mark(item.path + OCI_WHITEOUT + name))
            return
        if name.startswith(OCI_WHITEOUT):
            raise StoreError(
                f"{_shown(path)} cannot be in an image: there its name means a deletion; remove or rename it"
            )
        if not isinstance(node, DirNode):
            yield from self._file(path, node)
            return
        path += b"/"
        yield Content(self._entry(path, node))
        shown = self._shown_below(node, before)
        if shown is None and isinstance(before, DirNode):
            yield Content(_mark(path + OCI_OPAQUE))
        below.append(_Item(path, node, shown))

    @staticmethod
    def _shown_below(node: DirNode, before: Node | None) -> DirNode | None:
        """``before``, if the lower part of ``node`` is exactly that directory of the base."""
        if not isinstance(before, DirNode):
            return None
        mine = [part for part in node.parts if part.layer.index > 1]
        if len(mine) != len(before.parts):
            return None
        same = all(
            os.path.samestat(one.stat_self(), two.stat_self()) for one, two in zip(mine, before.parts, strict=True)
        )
        return before if same else None

    def _file(self, path: bytes, node: Node) -> Iterator[Content]:
        if stat.S_ISSOCK(node.kind):
            return
        node = self._linked.instead_of(node)
        attr = self._after.attr(node)
        if attr.nlink > 1 or node.index_name is not None:
            first = self._links.setdefault(identity(self._after, node), path)
            if first != path:
                yield Content(self._made(path, Type.HARD_LINK, attr, link=first))
                return
        entry = self._entry(path, node, attr)
        yield Content(entry, node if entry.type is Type.FILE and entry.size else None)
        if attr.nlink == 1:
            self._after.forget(node, 1)

    # --- entries

    def _entry(self, path: bytes, node: Node, attr: Attr | None = None) -> Entry:
        attr = attr or self._after.attr(node)
        kind = _TYPES[node.kind]
        link = self._after.readlink(node) if kind is Type.SYMLINK else b""
        entry = self._made(path, kind, attr, link=link)
        entry.xattrs = self._xattrs(self._after, node)
        if kind is Type.FILE:
            entry.size = attr.size
            if attr.size >= _BIG:
                entry.regions = self._regions(node, attr.size)
        elif kind in (Type.CHAR, Type.BLOCK):
            entry.major, entry.minor = os.major(attr.rdev), os.minor(attr.rdev)
        return entry

    @staticmethod
    def _made(path: bytes, kind: Type, attr: Attr, *, link: bytes) -> Entry:
        mode = stat.S_IMODE(attr.mode)
        return Entry(kind, path, link, mode, attr.uid, attr.gid, attr.mtime_ns, attr.mtime_ns, 0)

    @staticmethod
    def _xattrs(overlay: Overlay, node: Node) -> dict[bytes, bytes]:
        found = {name: overlay.getxattr(node, name) for name in overlay.listxattr(node)}
        return attributes.outgoing(found, data=node.kind in (stat.S_IFREG, stat.S_IFDIR))

    def _facts(self, overlay: Overlay, node: Node) -> object:
        attr = overlay.attr(node)
        return attr.mode, attr.uid, attr.gid, self._xattrs(overlay, node)

    # --- data

    def data(self, content: Content) -> Iterator[bytes]:
        """The bytes of a file's regions, or all of them. Raises StoreError if it changes meanwhile."""
        assert content.node is not None
        entry = content.entry
        handle = self._after.open(content.node, os.O_RDONLY)
        try:
            for offset, length in entry.regions if entry.regions is not None else [(0, entry.size)]:
                end = offset + length
                while offset < end:
                    piece = self._after.read(handle, offset, min(end - offset, CHUNK))
                    if not piece:
                        raise StoreError(f"{_shown(entry.name)} changes while it is read")
                    yield piece
                    offset += len(piece)
        finally:
            self._after.release(handle)

    def _regions(self, node: Node, size: int) -> list[tuple[int, int]] | None:
        """What of a big file is not zeros, by whole blocks; None where leaving zeros out is not worth it.

        By what the file says, not by what the file system allocated: else a copy of a tree would be another layer.
        """
        regions: list[tuple[int, int]] = []
        handle = self._after.open(node, os.O_RDONLY)
        try:
            offset = 0
            while offset < size:
                offset = _aligned(self._next_data(node, handle.fd, offset, size))
                piece = self._after.read(handle, offset, min(CHUNK, size - offset)) if offset < size else b""
                if not piece:
                    break
                for start in range(0, len(piece), _HOLE):
                    block = piece[start : start + _HOLE]
                    if block != _ZEROS[: len(block)]:
                        _extend(regions, offset + start, len(block))
                offset += len(piece)
        finally:
            self._after.release(handle)
        return regions if size - sum(length for _, length in regions) >= _BIG else None

    @staticmethod
    def _next_data(node: Node, fd: int, offset: int, size: int) -> int:
        if node.partial is not None:
            return offset
        try:
            return os.lseek(fd, offset, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return size


def _aligned(offset: int) -> int:
    return offset // _HOLE * _HOLE


def _extend(regions: list[tuple[int, int]], offset: int, length: int) -> None:
    if regions and sum(regions[-1]) == offset:
        regions[-1] = (regions[-1][0], regions[-1][1] + length)
    else:
        regions.append((offset, length))


def _mark(path: bytes) -> Entry:
    return Entry(Type.FILE, path, b"", 0, 0, 0, 0, 0, 0)


def _shown(path: bytes) -> str:
    return repr(path[:200].decode("utf-8", "backslashreplace"))
