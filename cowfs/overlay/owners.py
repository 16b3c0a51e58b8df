"""Mounts for container engines whose owners are not as the disk has them; ``open_engine`` chooses among these.

    Shifted   inside, users and groups have other numbers
    Kept      owners and modes of the upper are in an attribute; a lower's are, where its root says so (layers.engines)

What the numbers become is the law of cowfs.rules.owners.
"""

import errno
import os
import stat
from typing import Final

from cowfs.layers.directory import Directory, Layer
from cowfs.layers.engines import OverriddenUpperLayer, overridden, override_of
from cowfs.layers.marks import get_optional
from cowfs.linux import CAPABILITY
from cowfs.model import Attr
from cowfs.options import MountOptions
from cowfs.overlay import Caller, Changes, Node
from cowfs.overlay.copy_up import Target
from cowfs.overlay.create import ROOT
from cowfs.overlay.engine import EngineOverlay
from cowfs.rules.create import NewFile
from cowfs.rules.owners import Ids, write_kept

_ON_DISK: Final = 0o755  # where the mode is kept elsewhere, the engine has to get in
_UNABLE: Final = frozenset({errno.EPERM, errno.EINVAL})


class _Stranger(Caller):
    """Root of a container: it has no privilege of the machine's, whatever it is on the disk."""

    privileged = False


class Shifted(EngineOverlay):
    """Inside, users and groups have other numbers than on the disk. Below this class all numbers are the disk's."""

    def __init__(self, options: MountOptions) -> None:
        """As ``EngineOverlay``."""
        super().__init__(options)
        self._uids = Ids(self.engine.uids or None, self.engine.squash_uid, _overflow("uid"))
        self._gids = Ids(self.engine.gids or None, self.engine.squash_gid, _overflow("gid"))
        self._squashes = (self.engine.squash_uid, self.engine.squash_gid) != (None, None)
        self.caller = self._caller_on_disk

    def _caller_on_disk(self, uid: int, gid: int, umask: int) -> Caller:
        return (_Stranger if uid else Caller)(self._uids.stored(uid), self._gids.stored(gid), umask)

    def attr(self, node: Node) -> Attr:
        """As ``EngineOverlay.attr``."""
        attr = super().attr(node)
        return attr._replace(uid=self._uids.shown(attr.uid), gid=self._gids.shown(attr.gid))

    def setattr(self, node: Node, changes: Changes, caller: Caller = ROOT, *, by_handle: bool = False) -> None:
        """As ``EngineOverlay.setattr``."""
        uid = None if changes.uid is None else self._uids.stored(changes.uid)
        gid = None if changes.gid is None else self._gids.stored(changes.gid)
        super().setattr(node, changes._replace(uid=uid, gid=gid), caller, by_handle=by_handle)

    def set_owner(self, path: Target, uid: int, gid: int, *, follow: bool) -> None:
        """As ``EngineOverlay.set_owner``; where all is squashed, an owner that the disk does not take is no error."""
        try:
            super().set_owner(path, uid, gid, follow=follow)
        except OSError as failure:
            if not self._squashes or failure.errno not in _UNABLE:
                raise

    def _own(self, directory: Directory, name: bytes, new: NewFile, caller: Caller, given_gid: int) -> None:
        try:
            super()._own(directory, name, new, caller, given_gid)
        except OSError as failure:
            if not self._squashes or failure.errno not in _UNABLE:
                raise


class Kept(EngineOverlay):
    """Owners and modes of the upper's files and directories are in an attribute; on the disk all is the engine's."""

    attributes_by_handle = False

    def __init__(self, options: MountOptions) -> None:
        """As ``EngineOverlay``; ``engine.override`` is the attribute."""
        assert options.engine is not None
        self._attribute = options.engine.override or b""
        super().__init__(options)

    def _upper_layer(self, root: int) -> Layer:
        path = b"/proc/self/fd/%d" % root
        if get_optional(path, self._attribute, follow=True) is None:
            status, other = os.stat(path), override_of(path)
            status = overridden(status, path, other, follow=True) if other else status
            os.setxattr(path, self._attribute, write_kept(status.st_uid, status.st_gid, status.st_mode))
        layer = OverriddenUpperLayer(root, 0, self.marks, self.cache, is_upper=True)
        layer.override = self._attribute
        return layer

    def status(self, node: Node) -> os.stat_result:
        """As ``EngineOverlay.status``."""
        status = super().status(node)
        return self._kept(b"/proc/self/fd/%d" % node.anchor, status, follow=True) if node.anchor >= 0 else status

    def set_owner(self, path: Target, uid: int, gid: int, *, follow: bool) -> None:
        """In the attribute; as chown(2) does, it takes setuid, setgid and capabilities off."""
        assert isinstance(path, bytes)
        status = self._kept(path, os.stat(path, follow_symlinks=follow), follow=follow)
        mode = status.st_mode
        if stat.S_ISREG(mode):
            mode &= ~(stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0))
            if get_optional(path, CAPABILITY, follow=follow) is not None:
                os.removexattr(path, CAPABILITY, follow_symlinks=follow)
        self._keep(path, status.st_uid if uid < 0 else uid, status.st_gid if gid < 0 else gid, mode, follow=follow)

    def set_mode(self, path: Target, mode: int) -> None:
        """In the attribute."""
        assert isinstance(path, bytes)
        follow = _is_descriptor(path)
        status = self._kept(path, os.stat(path, follow_symlinks=follow), follow=follow)
        self._keep(path, status.st_uid, status.st_gid, stat.S_IFMT(status.st_mode) | mode, follow=follow)

    def _own(self, directory: Directory, name: bytes, new: NewFile, caller: Caller, given_gid: int) -> None:
        path = directory.path_of(name)
        self._keep(path, caller.uid, new.gid, new.mode, follow=False)
        if not stat.S_ISLNK(new.mode):
            os.chmod(path, stat.S_IMODE(new.mode) & 0o777 | _ON_DISK)

    def _kept(self, path: bytes, status: os.stat_result, *, follow: bool) -> os.stat_result:
        if stat.S_IFMT(status.st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            return status
        return overridden(status, path, self._attribute, follow=follow)

    def _keep(self, path: bytes, uid: int, gid: int, mode: int, *, follow: bool) -> None:
        try:
            os.setxattr(path, self._attribute, write_kept(uid, gid, mode), follow_symlinks=follow)
        except OSError as failure:
            # Links and devices have no attributes of users: as with fuse-overlayfs, they stay whose they are.
            if failure.errno != errno.EPERM or not self._attribute.startswith(b"user."):
                raise


class _KeptAndShifted(Shifted, Kept):
    """Both."""


def class_of(*, shifts: bool, keeps: bool) -> type[EngineOverlay]:
    """The class that does one of both, or both."""
    if keeps:
        return _KeptAndShifted if shifts else Kept
    return Shifted


def _is_descriptor(path: bytes) -> bool:
    """Does a path of ``operand`` name a descriptor, which must be followed?"""
    return path.rpartition(b"/")[0] == b"/proc/self/fd"


def _overflow(kind: str) -> int:
    try:
        with open(f"/proc/sys/kernel/overflow{kind}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 65534
