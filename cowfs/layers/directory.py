"""A layer, and the directories in it, as descriptors that are opened when needed and closed when many are open.

``Directory`` is a node in the tree of *one* layer: its parent and a name, whatever the merged tree calls it. It never
holds a path: a descriptor is reached from the nearest ancestor that has one, so depth and PATH_MAX are no limits.
"""

import os
import resource
import stat
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from cowfs import ondisk
from cowfs.layers import syscalls
from cowfs.layers.marks import NO_MARKS, DirectoryMarks, Marks

_OPEN_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_LISTING: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class DescriptorCache:
    """Closes directory descriptors that were not used lately (second chance), so that any number may be known."""

    def __init__(self, limit: int | None = None) -> None:
        if limit is None:
            soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            limit = 4096 if soft == resource.RLIM_INFINITY else max(16, min(4096, soft // 4))
        self.limit = limit
        self._open: OrderedDict[Directory, None] = OrderedDict()
        self._roots: list[Directory] = []  # never closed before the end: nothing leads to them

    def __len__(self) -> int:
        return len(self._open)

    def add(self, directories: "Sequence[Directory]") -> None:
        """Take in what was just opened, and close what is too much."""
        for directory in directories:
            if directory.parent is None:
                self._roots.append(directory)
            else:
                self._open[directory] = None
        if len(self._open) > self.limit:
            self._evict()

    def discard(self, directory: "Directory") -> None:
        self._open.pop(directory, None)

    def _evict(self) -> None:
        """One round: whatever was used since the last one stays, so a caller may hold the descriptors of two."""
        for _ in range(len(self._open)):
            oldest, _ = self._open.popitem(last=False)
            if oldest.used:
                oldest.used = False
                self._open[oldest] = None
            else:
                oldest.close()
                if len(self._open) <= self.limit:
                    return

    def close(self) -> None:
        for directory in [*self._open, *self._roots]:
            directory.close()
        self._open.clear()


class Directory:
    """One directory of one layer."""

    __slots__ = ("_fd", "_marks", "layer", "name", "parent", "used")

    def __init__(self, layer: "Layer", parent: "Directory | None", name: bytes) -> None:
        self.layer = layer
        self.parent = parent
        self.name = name
        self.used = False
        self._fd = -1
        self._marks: DirectoryMarks | None = None

    def adopt(self, fd: int) -> None:
        """Take over an open O_PATH descriptor of this directory."""
        self._fd = fd
        self.layer.cache.add([self])

    @property
    def fd(self) -> int:
        """An O_PATH descriptor, valid until the next Directory is asked for its own."""
        self.used = True
        if self._fd < 0:
            self._open()
        return self._fd

    def _open(self) -> None:
        missing: list[Directory] = []
        ancestor: Directory | None = self
        while ancestor is not None and ancestor._fd < 0:
            missing.append(ancestor)
            ancestor = ancestor.parent
        if ancestor is None:
            raise FileNotFoundError(2, "the layer was closed")
        # Of a long way those 1, 2, 4, 8 ... above this one are kept as well: a walk up a deep tree, as rm -r makes it,
        # then never begins at the top again. All of it would push everything else out of the cache.
        kept: list[Directory] = []
        try:
            fd, owned = ancestor._fd, False
            for above in range(len(missing) - 1, -1, -1):
                directory = missing[above]
                try:
                    below = os.open(directory.name, _OPEN_DIRECTORY, dir_fd=fd)
                finally:
                    if owned:
                        os.close(fd)
                fd, owned = below, above & (above - 1) != 0
                if not owned:
                    directory._fd = fd
                    kept.append(directory)
        finally:
            self.layer.cache.add(kept)

    def close(self) -> None:
        """Close the descriptor; it is opened again when needed."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def forget(self) -> None:
        """Close the descriptor for good: nobody refers to this directory any more."""
        self.layer.cache.discard(self)
        self.close()

    def child(self, name: bytes) -> "Directory":
        """The directory ``name`` in this one; nothing is looked up."""
        return type(self)(self.layer, self, name)

    def path(self) -> bytes:
        """A name for system calls that know no descriptors (xattrs)."""
        return b"/proc/self/fd/%d" % self.fd

    def path_of(self, name: bytes) -> bytes:
        """The same for an entry; the last component is a single name and is not followed."""
        return b"/proc/self/fd/%d/%s" % (self.fd, name)

    def stat(self, name: bytes) -> os.stat_result:
        """lstat of an entry."""
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False)

    def stat_self(self) -> os.stat_result:
        """stat of the directory itself."""
        return os.fstat(self.fd)

    def marks(self) -> DirectoryMarks:
        """Its marks, read once."""
        if self._marks is None:
            self._marks = NO_MARKS if self.is_hidden() else self.layer.marks.of_directory(self.path())
        return self._marks

    def forget_marks(self) -> None:
        """The marks on disk changed."""
        self._marks = None

    def is_hidden(self) -> bool:
        """True for a directory of a live lower that appears empty: /proc, our own store."""
        if not self.layer.hidden:
            return False
        status = self.stat_self()
        return (status.st_dev, status.st_ino) in self.layer.hidden

    def open_listing(self) -> int:
        """A descriptor that can be read and synced."""
        return os.open(b".", _OPEN_LISTING, dir_fd=self.fd)

    def list(self) -> Iterator[tuple[bytes, int | None]]:
        """The entries with their type (the type bits of st_mode); None for a whiteout."""
        if self.is_hidden():
            return
        with os.scandir(self.path()) as listing:
            fd, regular = self.fd, stat.S_IFREG  # as most are
            entries = [(e.name, regular if e.is_file(follow_symlinks=False) else _type_of(e, fd)) for e in listing]
        if not self.marks().has_xattr_whiteouts:
            yield from entries
            return
        for name, kind in entries:
            yield name, None if kind == stat.S_IFREG and self.is_xattr_whiteout(name) else kind

    def deletes(self, name: bytes) -> bool:
        """Is there another entry that says that ``name`` is deleted? So it is in other engines' stores only."""
        return False

    def is_xattr_whiteout(self, name: bytes) -> bool:
        """An empty file with a whiteout mark, in a directory whose opaque mark is "x" (Linux 6.7)."""
        return self.layer.marks.get(self.path_of(name), ondisk.WHITEOUT) is not None

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


class Layer:
    """One directory tree in overlayfs's format.

    ``index`` is 0 for the upper and counts the lowers from the top, from 1.
    """

    __slots__ = ("cache", "hidden", "index", "is_upper", "marks", "root", "uuids")

    directories: ClassVar[type[Directory]] = Directory  # the class of what is in it

    def __init__(self, root: int, index: int, marks: Marks, cache: DescriptorCache, *, is_upper: bool = False) -> None:
        """``root`` is an O_PATH descriptor of the layer's top directory; the layer closes it."""
        self.index = index
        self.marks = marks
        self.cache = cache
        self.is_upper = is_upper
        self.hidden: frozenset[tuple[int, int]] = frozenset()  # (st_dev, st_ino) of directories that appear empty
        self.uuids: dict[int, bytes] = {}
        self.root = self.directories(self, None, b"")
        self.root.adopt(root)

    def uuid_of(self, directory: "Directory") -> bytes:
        """The uuid of the file system that a directory lies on, 16 bytes."""
        device = os.fstat(directory.fd).st_dev
        if device not in self.uuids:
            listing = os.open(b".", _OPEN_LISTING, dir_fd=directory.fd)
            try:
                self.uuids[device] = syscalls.filesystem_uuid(listing)
            finally:
                os.close(listing)
        return self.uuids[device]


def is_whiteout(status: os.stat_result) -> bool:
    """A character device 0/0 (Documentation/filesystems/overlayfs.rst, whiteouts and opaque directories)."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == ondisk.WHITEOUT_RDEV


def _type_of(entry: "os.DirEntry[bytes]", directory: int) -> int | None:
    """The type bits of what is no file, in the directory with that descriptor; None for a whiteout that is a device.

    Asks the kernel only where the listing does not say.
    """
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    if entry.is_symlink():
        return stat.S_IFLNK
    status = os.stat(entry.name, dir_fd=directory, follow_symlinks=False)
    return None if is_whiteout(status) else stat.S_IFMT(status.st_mode)
