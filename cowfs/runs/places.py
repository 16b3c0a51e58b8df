"""Reading one entry of an upper as it is on disk, without following a link, and opening nothing but regular files.

Used by ``walk`` and ``scan``; the base is read through ``trees``. A *place* is a directory of the upper and a single
name in it, or "." for the directory itself.
"""

import errno
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from cowfs import ondisk, userns
from cowfs.errors import StoreError
from cowfs.layers import origin, syscalls
from cowfs.layers.directory import DescriptorCache, Directory, Layer
from cowfs.layers.marks import Marks, get_optional
from cowfs.runs.changes import Version, Xattrs

Place = tuple[Directory, bytes]
Handle = tuple[int, bytes]  # type and bytes, see name_to_handle_at(2)

_MARKS: Final = Marks(userxattr=not userns.is_root_of_machine())
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NO_MARKS: Final[dict[bytes, bytes]] = {}  # most entries have none, and share this
_NO_CLONE: Final = frozenset({errno.EPERM, errno.ENOSYS, errno.EINVAL})
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Entry(NamedTuple):
    """One entry of a layer: the file, its identity on that file system, and overlayfs's marks on it."""

    version: Version
    identity: tuple[int, int]  # st_dev, st_ino
    marks: dict[bytes, bytes]

    @property
    def origin(self) -> Handle | None:
        """The handle of the file that this was copied up from."""
        if not self.marks:
            return None
        known = origin.decode(self.marks.get(ondisk.ORIGIN, b""))
        return (known.handle_type, known.handle) if known else None


def open_upper(path: Path, cache: DescriptorCache, *, foreign: bool = False) -> Layer:
    """An upper for reading; where the kernel lets us, by a private read-only mount, so that not even atimes change.

    ``foreign``: it lies in another engine's store.
    """
    try:
        root = os.open(path, _DIRECTORY)
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
    try:
        clone = syscalls.clone_read_only(b"/proc/self/fd/%d" % root, recursive=False)
    except OSError as error:
        if error.errno not in _NO_CLONE:
            os.close(root)
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
    else:
        os.close(root)
        root = clone
    if not foreign:
        return Layer(root, 0, _MARKS, cache, is_upper=True)
    from cowfs.layers.engines import EngineMarks, open_layer  # few uppers are an engine's

    return open_layer(root, 0, EngineMarks(userxattr=not userns.is_root_of_machine()), cache)


def open_place(place: Place) -> int:
    """A descriptor of a regular file. OSError where it is anything else, or gone."""
    directory, name = place
    descriptor = os.open(name, _OPEN, dir_fd=directory.fd)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def path_of(place: Place) -> bytes:
    """A name for system calls that take no descriptor."""
    directory, name = place
    return directory.path_of(name)


def read(place: Place, *, xattrs: bool = True) -> Entry:
    """What is at a place, and its marks; without ``xattrs`` as if it had neither marks nor others.

    OSError where nothing is.
    """
    directory, name = place
    status = directory.stat(name)
    marks, found = _attributes(path_of(place), directory.layer.marks) if xattrs else (_NO_MARKS, ())
    target = os.readlink(name, dir_fd=directory.fd) if stat.S_ISLNK(status.st_mode) else b""
    return Entry(Version.of_status(status, target, found), (status.st_dev, status.st_ino), marks)


def _attributes(path: bytes, known: Marks) -> tuple[dict[bytes, bytes], Xattrs]:
    """The marks by their short names, and everybody else's attributes as they are called inside."""
    names = known.names(path, follow=False)
    if not names:  # as most
        return _NO_MARKS, ()
    marks: dict[bytes, bytes] = {}
    xattrs: list[tuple[bytes, bytes]] = []
    for stored in names:
        value = get_optional(path, stored)
        shown = known.shown(stored)
        if value is None:  # gone meanwhile
            continue
        if shown is None:
            marks[stored.removeprefix(known.prefix)] = value
        else:
            xattrs.append((shown, value))
    return marks, tuple(sorted(xattrs))
