"""From the entries of a layer's tar to a directory tree in overlayfs's format.

    .wh.name          character device 0/0
    .wh..wh..opq      trusted.overlay.opaque = "y"
    both a whiteout and an entry for one name, in any order: the entry; a directory is opaque
    a whiteout in an opaque directory: nothing
    a device 0/0      refused: overlayfs has no way to store one that is not a whiteout
    two entries for one name, a name below something that is no directory, a link to what is not there: refused

A mark is about the layers below and never touches what its own layer brings. Everything is reached by the descriptor
of its directory and a single name (cowfs.images.directories). Nothing is synced here: the store does it once.
Raises BadTar and BadPath for what the layer does wrong, OSError for what the file system cannot do.
"""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from cowfs import userns
from cowfs.images import attributes, limits, paths
from cowfs.images.directories import Directories, Directory, is_opaque, is_whiteout, set_opaque, shown
from cowfs.images.paths import Mark, Place
from cowfs.images.tarheader import BadTar
from cowfs.images.tarstream import Entry, TarReader, Type
from cowfs.linux import ACL_DEFAULT
from cowfs.ondisk import WHITEOUT_RDEV

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODES = {Type.CHAR: stat.S_IFCHR, Type.BLOCK: stat.S_IFBLK, Type.FIFO: stat.S_IFIFO}
Made = TypeVar("Made")

_WHITEOUT_TYPES = (Type.FILE, Type.HARD_LINK)  # AUFS made hard links of them


class Uncounted(Exception):
    """So many entries in so few bytes that they should be counted (cowfs.images.census) before any is made."""


class Unpacked:
    """What an unpacked layer is like."""

    def __init__(self) -> None:
        self.entries = 0
        self.opaque = False  # its root hides all layers below


def unpack(
    chunks: Iterable[bytes],
    root_fd: int,
    record: Callable[[bytes | memoryview], object] | None = None,
    *,
    counted: bool = True,
) -> Unpacked:
    """Unpack the tar ``chunks`` into the empty directory ``root_fd``, to its very end.

    ``record`` gets all bytes of the tar but the data of the files (cowfs.images.skeleton). Where nobody ``counted`` the
    entries, Uncounted is raised in the midst of a layer that is mostly headers.
    """
    return _Unpacker(TarReader(chunks, record), root_fd, counted).run()


class _Unpacker:
    def __init__(self, reader: TarReader, root_fd: int, counted: bool) -> None:
        self._reader = reader
        self._counted = counted
        self._crowd_from = 0  # position in the tar
        self._directories = Directories(root_fd)
        self._default_acls: dict[bytes, bytes] = {}  # by directory: set at the end, as children inherit them
        self._result = Unpacked()
        self._ids = userns.mapped_ids()
        os.fchmod(root_fd, 0o755)

    def run(self) -> Unpacked:
        try:
            for entry in self._reader:
                self._result.entries += 1
                if self._result.entries + self._directories.made_up > limits.ENTRIES:
                    raise BadTar(f"a layer of more than {limits.ENTRIES} entries")
                if not self._counted and self._result.entries % limits.CROWD == 0:
                    self._look_for_a_crowd()
                if self._result.entries == 1:
                    self._directories.date_root(entry.mtime_ns)
                self._add(entry)
            for path, value in self._default_acls.items():
                os.setxattr(self._directories.existing(path).fd, ACL_DEFAULT, value)
        except BaseException:
            self._directories.abandon()
            raise
        self._directories.close()
        return self._result

    def _look_for_a_crowd(self) -> None:
        if self._reader.position - self._crowd_from < limits.CROWD_BYTES:
            raise Uncounted
        self._crowd_from = self._reader.position

    def _add(self, entry: Entry) -> None:
        place = paths.place(entry.name)
        if place.mark is Mark.NONE:
            self._make(self._owned(entry), place)
        elif place.mark is not Mark.IGNORED:
            if entry.type not in _WHITEOUT_TYPES:
                raise BadTar(f"{shown(entry.name)} is a whiteout and not a file")
            parent = self._directories.needed(place.parent, entry.mtime_ns)
            if place.mark is Mark.WHITEOUT:
                self._whiteout(entry, parent, place)
            else:
                set_opaque(parent.fd)
                self._result.opaque |= not place.parent

    def _owned(self, entry: Entry) -> Entry:
        """The entry with owners that there are: in a user namespace not all are."""
        if entry.uid < self._ids and entry.gid < self._ids:
            return entry
        if self._ids == 1:
            return replace(entry, uid=0, gid=0)
        raise BadTar(
            f"{shown(entry.name)} belongs to {entry.uid}:{entry.gid}, but there are only {self._ids} ids for an "
            "ordinary user (/etc/subuid, /etc/subgid)"
        )

    # --- marks

    def _whiteout(self, entry: Entry, parent: Directory, place: Place) -> None:
        try:
            os.mknod(place.name, stat.S_IFCHR | 0o600, WHITEOUT_RDEV, dir_fd=parent.fd)
            if is_opaque(parent.fd):
                os.unlink(place.name, dir_fd=parent.fd)
            else:
                os.utime(place.name, ns=(entry.atime_ns, entry.mtime_ns), dir_fd=parent.fd)
        except FileExistsError:
            found = os.stat(place.name, dir_fd=parent.fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                set_opaque(self._directories.existing(place.path).fd)
            elif is_whiteout(parent.fd, place.name):
                raise BadTar(f"the whiteout of {shown(place.path)} is there twice") from None

    # --- entries

    def _make(self, entry: Entry, place: Place) -> None:
        if not place.name and entry.type is not Type.DIRECTORY:
            raise BadTar("the root of the layer is not a directory")
        parent = self._directories.needed(place.parent, entry.mtime_ns)
        if entry.type is Type.DIRECTORY:
            self._directory(entry, place, parent)
        elif entry.type is Type.FILE:
            self._file(entry, place, parent)
        elif entry.type is Type.HARD_LINK:
            self._hard_link(entry, place, parent)
        else:
            self._special(entry, place, parent)

    def _directory(self, entry: Entry, place: Place, parent: Directory) -> None:
        directory = self._directories.make(parent, place.path, place.name)
        directory.atime_ns, directory.mtime_ns = entry.atime_ns, entry.mtime_ns
        os.fchown(directory.fd, entry.uid, entry.gid)
        os.fchmod(directory.fd, entry.mode)
        for name, value in attributes.stored(entry.xattrs, data=True).items():
            if name == ACL_DEFAULT:
                self._default_acls[place.path] = value
            else:
                os.setxattr(directory.fd, name, value)

    def _file(self, entry: Entry, place: Place, parent: Directory) -> None:
        fd = _create(parent.fd, place, lambda: os.open(place.name, _CREATE, 0o600, dir_fd=parent.fd))
        try:
            self._write(fd, entry)
            os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                for name, value in attributes.stored(entry.xattrs, data=True).items():
                    os.setxattr(fd, name, value)
            os.utime(fd, ns=(entry.atime_ns, entry.mtime_ns))
        finally:
            os.close(fd)

    def _write(self, fd: int, entry: Entry) -> None:
        if entry.regions is not None:
            os.ftruncate(fd, entry.size)
        for at, piece in self._reader.data():
            while piece:
                written = os.pwrite(fd, piece, at)
                piece = piece[written:]
                at += written

    def _hard_link(self, entry: Entry, place: Place, parent: Directory) -> None:
        target = paths.place(entry.link)
        if target.mark is not Mark.NONE or not target.name:
            raise BadTar(f"{shown(place.path)} is a link to no file")
        parent_fd = os.dup(parent.fd)  # the walk to the target may let the directory go
        try:
            source = self._directories.existing(target.parent)
            _check_target(entry, place, target, source)
            # not the header's owner and mode: the file has them, and a symbolic link has none (CVE-2021-32760)
            _create(parent_fd, place, lambda: _link(source.fd, target.name, parent_fd, place.name))
        finally:
            os.close(parent_fd)

    def _special(self, entry: Entry, place: Place, parent: Directory) -> None:
        """A symbolic link, a device or a fifo: made and changed by name, in a tree that nobody else can reach."""
        name, fd = place.name, parent.fd
        if entry.type is Type.SYMLINK:
            _create(parent.fd, place, lambda: os.symlink(entry.link, name, dir_fd=fd))
        else:
            device = _device(entry, place)
            if entry.type is not Type.FIFO and not userns.is_root_of_machine():
                return  # nobody else can make one, and none can be opened in a run
            _create(parent.fd, place, lambda: os.mknod(name, _NODES[entry.type] | 0o600, device, dir_fd=fd))
        os.chown(name, entry.uid, entry.gid, dir_fd=fd, follow_symlinks=False)
        if entry.type is not Type.SYMLINK:
            os.chmod(name, entry.mode, dir_fd=fd)
        for key, value in attributes.stored(entry.xattrs, data=False).items():
            os.setxattr(b"/proc/self/fd/%d/%b" % (fd, name), key, value, follow_symlinks=False)
        os.utime(name, ns=(entry.atime_ns, entry.mtime_ns), dir_fd=fd, follow_symlinks=False)


def _check_target(entry: Entry, place: Place, target: Place, source: Directory) -> None:
    """Raises BadTar unless a hard link to ``target`` is one to a file of this layer."""
    try:
        found = os.stat(target.name, dir_fd=source.fd, follow_symlinks=False)
    except FileNotFoundError:
        raise BadTar(f"{shown(place.path)} is a link to {shown(entry.link)}, which the layer lacks") from None
    if stat.S_ISDIR(found.st_mode) or is_whiteout(source.fd, target.name):
        raise BadTar(f"{shown(place.path)} is a link to {shown(entry.link)}, which is no file")


def _link(source_fd: int, source: bytes, parent_fd: int, name: bytes) -> None:
    os.link(source, name, src_dir_fd=source_fd, dst_dir_fd=parent_fd, follow_symlinks=False)


def _device(entry: Entry, place: Place) -> int:
    if entry.type is Type.FIFO:
        return 0
    if entry.major >= 1 << 12 or entry.minor >= 1 << 20:
        raise BadTar(f"{shown(place.path)} has an impossible device number")
    device = os.makedev(entry.major, entry.minor)
    if entry.type is Type.CHAR and device == WHITEOUT_RDEV:
        raise BadTar(f"{shown(place.path)} is a character device 0/0, which cannot be told from a whiteout")
    return device


def _create(parent_fd: int, place: Place, make: Callable[[], Made]) -> Made:
    """Make a new name; it takes the place of a whiteout of its own layer, and of nothing else."""
    try:
        return make()
    except FileExistsError:
        if not is_whiteout(parent_fd, place.name):
            raise BadTar(f"{shown(place.path)} is there twice") from None
    os.unlink(place.name, dir_fd=parent_fd)
    return make()
