"""Layers in the stores of container engines: what fuse-overlayfs writes there counts beside overlayfs's marks.

    a directory is opaque            trusted.overlay.opaque or user.overlay.opaque or user.fuseoverlayfs.opaque is "y",
                                     or it holds a file .wh..wh..opq
    NAME is deleted                  NAME is a character device 0/0, or there is a file .wh.NAME
    owner and mode of a file         override_stat, in layers whose root has such an attribute

Where an upper has deletions by name they become devices when its directory is first listed: so there is one form to
keep up, which everybody reads. Names that begin with .wh. are never shown. Used by cowfs.overlay.engine.
"""

import os
import stat
from collections.abc import Iterator
from typing import Final, cast

from cowfs import ondisk
from cowfs.layers.directory import DescriptorCache, Directory, Layer
from cowfs.layers.marks import DirectoryMarks, Marks, get_optional
from cowfs.rules.owners import read_kept

_OPAQUE: Final = frozenset({
    ondisk.OVERLAY_TRUSTED + ondisk.OPAQUE, ondisk.OVERLAY_USER + ondisk.OPAQUE, ondisk.FUSE_OVERLAYFS + ondisk.OPAQUE,
})  # fmt: skip
_OVERRIDES: Final = (ondisk.OVERRIDE_SECURITY, ondisk.OVERRIDE_USER, ondisk.OVERRIDE_CONTAINERS)
_NOT_OURS: Final = (ondisk.FUSE_OVERLAYFS, ondisk.OVERRIDE_SECURITY, ondisk.OVERRIDE_CONTAINERS)
_PREFIX: Final = len(ondisk.OCI_WHITEOUT)
_Entries = list[tuple[bytes, int | None]]
_Names = list[bytes]
_KEEPS: Final = frozenset({stat.S_IFREG, stat.S_IFDIR})  # kinds of which the attribute speaks


class EngineMarks(Marks):
    """Marks of ours, and fuse-overlayfs's, which are read; neither is shown, and both are escaped when set inside."""

    def stored(self, name: bytes) -> bytes:
        """As ``Marks.stored``."""
        for foreign in _NOT_OURS:
            if name.startswith(foreign):
                return self._escape + name
        return super().stored(name)

    def shown(self, stored: bytes) -> bytes | None:
        """As ``Marks.shown``."""
        if stored.startswith(self._escape):
            name = stored[len(self._escape) :]
            return name if name.startswith(_NOT_OURS) else self.prefix + name
        return None if stored.startswith((self.prefix, *_NOT_OURS)) else stored

    def of_directory(self, path: bytes) -> DirectoryMarks:
        """As ``Marks.of_directory``; opaque by any of the names."""
        names = self.names(path, follow=True)
        marks = self._among(names, path)
        if marks.opaque or marks.has_xattr_whiteouts:
            return marks
        for name in names:
            if name in _OPAQUE and get_optional(path, name, follow=True) == b"y":
                return DirectoryMarks(True, False, marks.impure, marks.redirect)
        return marks


class EngineDirectory(Directory):
    """A directory in which deletions may be files."""

    __slots__ = ()

    def marks(self) -> DirectoryMarks:
        """As ``Directory.marks``."""
        if self._marks is None:
            marks = super().marks()
            if not marks.opaque and self._has(ondisk.OCI_OPAQUE):
                marks = DirectoryMarks(True, marks.has_xattr_whiteouts, marks.impure, marks.redirect)
            self._marks = marks
        return self._marks

    def deletes(self, name: bytes) -> bool:
        """As ``Directory.deletes``."""
        return self._has(ondisk.OCI_WHITEOUT + name)

    def _has(self, name: bytes) -> bool:
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def list(self) -> Iterator[tuple[bytes, int | None]]:
        """As ``Directory.list``; NAME beside .wh.NAME is deleted."""
        entries = list(super().list())
        marks = [name for name, _ in entries if name.startswith(ondisk.OCI_WHITEOUT)]
        if not marks:
            return iter(entries)
        return self._without(entries, marks)

    def _without(self, entries: _Entries, marks: _Names) -> Iterator[tuple[bytes, int | None]]:
        kinds = dict(entries)
        deleted = {name[_PREFIX:] for name in marks if name != ondisk.OCI_OPAQUE and kinds[name] is not None}
        for name, kind in entries:
            if not name.startswith(ondisk.OCI_WHITEOUT) and name not in deleted:
                yield name, kind
        for name in deleted:
            yield name, None


class EngineUpperDirectory(EngineDirectory):
    """One of the upper: what is deleted there by a file becomes a device."""

    __slots__ = ()

    def _without(self, entries: _Entries, marks: _Names) -> Iterator[tuple[bytes, int | None]]:
        kept = dict(entries)
        for mark in marks:
            kind = kept.pop(mark)
            name = mark[_PREFIX:]
            if kind is None:
                pass  # a device .wh..opq, which fuse-overlayfs leaves in an opaque directory: no file .opq was deleted
            elif mark == ondisk.OCI_OPAQUE:
                self.layer.marks.set_self(self.path(), ondisk.OPAQUE, b"y")
            elif name not in kept:  # else fuse-overlayfs made NAME again, and was killed before it took the mark away
                os.mknod(name, stat.S_IFCHR, ondisk.WHITEOUT_RDEV, dir_fd=self.fd)
                kept[name] = None
            os.unlink(mark, dir_fd=self.fd)
        return iter(kept.items())


class _Overridden(Directory):
    """A directory of a layer that keeps owners and modes in an attribute."""

    __slots__ = ()

    def stat(self, name: bytes) -> os.stat_result:
        """lstat of an entry, as the attribute says."""
        status = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if stat.S_IFMT(status.st_mode) not in _KEEPS:
            return status
        return overridden(status, self.path_of(name), self._override, follow=False)

    def stat_self(self) -> os.stat_result:
        """stat of the directory itself, likewise."""
        return overridden(os.fstat(self.fd), self.path(), self._override, follow=True)

    @property
    def _override(self) -> bytes:
        return cast(EngineLayer, self.layer).override


class OverriddenDirectory(_Overridden, EngineDirectory):
    """A lower's."""

    __slots__ = ()


class OverriddenUpperDirectory(_Overridden, EngineUpperDirectory):
    """The upper's."""

    __slots__ = ()


def overridden(status: os.stat_result, path: bytes, name: bytes, *, follow: bool) -> os.stat_result:
    """A status with owner and mode as the attribute ``name`` says; as it is where there is none."""
    value = get_optional(path, name, follow=follow)
    kept = read_kept(value) if value else None
    if kept is None:
        return status
    fields, rest = cast(tuple[tuple[int, ...], dict[str, int]], status.__reduce__()[1])
    mode = stat.S_IFMT(status.st_mode) | kept.mode
    return os.stat_result((mode, *fields[1:4], kept.uid, kept.gid, *fields[6:]), rest)


class EngineLayer(Layer):
    """A layer of an engine's store."""

    __slots__ = ("override",)

    directories = EngineDirectory
    override: bytes  # the attribute that keeps owner and mode, where there is one


class EngineUpperLayer(EngineLayer):
    """The upper of such a store."""

    __slots__ = ()

    directories = EngineUpperDirectory


class OverriddenLayer(EngineLayer):
    """A layer that keeps owners and modes in an attribute."""

    __slots__ = ()

    directories = OverriddenDirectory


class OverriddenUpperLayer(EngineLayer):
    """An upper that does."""

    __slots__ = ()

    directories = OverriddenUpperDirectory


def open_layer(root: int, index: int, marks: Marks, cache: DescriptorCache) -> EngineLayer:
    """A layer that is only read; ``root`` as in ``Layer``."""
    override = override_of(b"/proc/self/fd/%d" % root)
    layer = (OverriddenLayer if override else EngineLayer)(root, index, marks, cache)
    layer.override = override
    return layer


def override_of(root: bytes) -> bytes:
    """The attribute that the files of a layer keep owner and mode in, as its root says; empty for none."""
    return next((name for name in _OVERRIDES if get_optional(root, name, follow=True) is not None), b"")
