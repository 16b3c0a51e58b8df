"""Extended attributes as layers store them: our marks, and everybody else's names beside them.

A *mark* is ``trusted.overlay.X`` (or ``user.overlay.X`` without privilege) and belongs to the merge. The same name used
by somebody inside is stored escaped, ``trusted.overlay.overlay.X``, and shown unescaped, as overlayfs does since Linux
6.7 (fs/overlayfs/xattrs.c), so that an overlay can be made inside an overlay.
"""

import errno
import os
from typing import NamedTuple

from cowfs import ondisk


class DirectoryMarks(NamedTuple):
    """What the marks of one layer's directory say."""

    opaque: bool = False  # hides the same directory in the layers below
    has_xattr_whiteouts: bool = False  # opaque=x: empty files with a whiteout mark are whiteouts
    impure: bool = False  # may hold files with an origin or a metacopy mark
    redirect: bytes | None = None  # where the directory lies in the layers below


NO_MARKS = DirectoryMarks()


class Marks:
    """The namespace of one mount's marks: names, escaping, and reading and writing by path.

    ``path`` arguments are ``/proc/self/fd/N`` or ``/proc/self/fd/N/name``: a descriptor and one component.
    """

    def __init__(self, *, userxattr: bool) -> None:
        self.prefix = ondisk.OVERLAY_USER if userxattr else ondisk.OVERLAY_TRUSTED
        self._escape = self.prefix + ondisk.ESCAPE

    def name(self, mark: bytes) -> bytes:
        """The attribute's full name."""
        return self.prefix + mark

    def stored(self, name: bytes) -> bytes:
        """How an attribute that somebody inside calls ``name`` is stored in a layer."""
        return self._escape + name[len(self.prefix) :] if name.startswith(self.prefix) else name

    def shown(self, stored: bytes) -> bytes | None:
        """What a stored attribute is called inside; None for a mark, which is not shown."""
        if not stored.startswith(self.prefix):
            return stored
        return self.prefix + stored[len(self._escape) :] if stored.startswith(self._escape) else None

    def get(self, path: bytes, mark: bytes) -> bytes | None:
        """The value of a mark, None where it is absent or the file system has no such attributes."""
        return get_optional(path, self.prefix + mark)

    def set(self, path: bytes, mark: bytes, value: bytes) -> None:
        """Write a mark."""
        os.setxattr(path, self.prefix + mark, value, follow_symlinks=False)

    def set_self(self, path: bytes, mark: bytes, value: bytes) -> None:
        """Write a mark of the directory behind ``/proc/self/fd/N``."""
        os.setxattr(path, self.prefix + mark, value)

    def remove(self, path: bytes, mark: bytes) -> None:
        """Remove a mark that may be absent."""
        try:
            os.removexattr(path, self.prefix + mark, follow_symlinks=False)
        except OSError as error:
            if error.errno not in ABSENT:
                raise

    def names(self, path: bytes, *, follow: bool) -> list[bytes]:
        """The names of all attributes, as stored; empty where the file system has none."""
        try:
            return [os.fsencode(name) for name in os.listxattr(path, follow_symlinks=follow)]
        except OSError as error:
            if error.errno in ABSENT:
                return []
            raise

    def of_directory(self, path: bytes) -> DirectoryMarks:
        """Read the marks of a directory: one system call where it has none."""
        return self._among(self.names(path, follow=True), path)

    def _among(self, names: list[bytes], path: bytes) -> DirectoryMarks:
        found = [name for name in names if name.startswith(self.prefix)]
        if not found:
            return NO_MARKS
        marks = {name[len(self.prefix) :] for name in found}
        opaque = os.getxattr(path, self.prefix + ondisk.OPAQUE) if ondisk.OPAQUE in marks else None
        redirect = os.getxattr(path, self.prefix + ondisk.REDIRECT) if ondisk.REDIRECT in marks else None
        return DirectoryMarks(
            opaque=opaque == b"y",
            has_xattr_whiteouts=opaque == b"x",
            impure=ondisk.IMPURE in marks,
            redirect=redirect,
        )


ABSENT = frozenset({errno.ENODATA, errno.EOPNOTSUPP})


def get_optional(path: bytes, name: bytes, *, follow: bool = False) -> bytes | None:
    """An attribute's value, None where it is absent."""
    try:
        return os.getxattr(path, name, follow_symlinks=follow)
    except OSError as error:
        if error.errno in ABSENT:
            return None
        raise
