"""MountOptions: everything that decides what a mount is, parsed once and frozen.

Only command lines build one; the file system reads it and never looks at the environment.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cowfs import ondisk

if TYPE_CHECKING:
    from cowfs.model import LayerInfo

IdRanges = tuple[tuple[int, int, int], ...]  # first on disk, first shown, how many


class EngineOptions(NamedTuple):
    """A mount on layers of a container engine's store (cowfs.overlay.engine): how owners are kept and shown there."""

    uids: IdRanges = ()  # empty: as on disk
    gids: IdRanges = ()
    squash_uid: int | None = None  # everything is shown as this owner's
    squash_gid: int | None = None
    override: bytes | None = None  # the attribute that holds owner and mode of files and directories of the upper
    static_nlink: bool = False  # directories are shown with one link
    acl: bool = True  # POSIX ACLs are the kernel's to check


class MountOptions(NamedTuple):
    """One mount.

    ``lowers`` are the read-only directories, the top one first, as in overlayfs's ``lowerdir=``.
    ``upper`` and ``work`` are both given or both None; they lie on one file system (a rename joins them).
    ``hidden`` are absolute paths of directories in the lowers that appear empty inside: pseudo file systems
    and our own store when ``/`` is a lower.
    ``indexes``: of lowers that were an upper once, where the index of its work directory is. It says which files were
    copied up for all their names (overlayfs "index"); it need not be there.
    """

    lowers: tuple[Path, ...]
    upper: Path | None = None
    work: Path | None = None
    read_only: bool = False
    volatile: bool = False  # fsync is not passed on: the upper is to be thrown away (overlayfs "volatile")
    userxattr: bool = False  # marks are user.overlay.* instead of trusted.overlay.* (overlayfs "userxattr")
    copy_up_on_open: bool = False  # as overlayfs: opening for writing copies up; else the first write does
    live_lower: bool = False  # the lowers may change underneath: "/" of a running machine
    hidden: frozenset[Path] = frozenset()
    indexes: tuple[tuple[Path, Path], ...] = ()
    allow_other: bool = True
    allow_suid: bool = False
    allow_dev: bool = False
    journal: Path | None = None  # the file in which every change is recorded (cowfs.journal)
    journal_when_needed: bool = False  # the first change makes it, and its directory; a failure costs no mount
    journal_ended: Callable[[int], None] | None = None  # gets the journal's descriptor once all is written
    each_write: bool = False  # there every write, too: no passthrough then
    engine: EngineOptions | None = None  # the layers are an engine's: others read what we write, and we what they wrote
    layers: "tuple[LayerInfo, ...]" = ()  # all that lowers and upper are of, bottom first: attributes tell of them
    apart: bool = False  # show each of these layers by itself, instead of the merge alone
    mounter: int = -1  # a socket to who mounts it, where this process may not (cowfs.fuse.transport.outside)
    source: str = "cowfs"  # the first field of /proc/mounts
    transport: str = "auto"  # "auto", "plain", or a list of levers as cowfs.fuse.transport documents

    @property
    def acl(self) -> bool:
        """True when the kernel is to check permissions, by ACLs, too: it does both or neither."""
        return self.mounter < 0 and (self.engine is None or self.engine.acl)

    @property
    def writable(self) -> bool:
        """True when the mount has an upper and is not forced read-only."""
        return self.upper is not None and not self.read_only


def indexes_of(lowers: Iterable[Path]) -> tuple[tuple[Path, Path], ...]:
    """``MountOptions.indexes`` of those lowers that are what a run changed, by where they lie (docs/format.md)."""
    runs = [lower for lower in lowers if lower.parts[-3::2] == (ondisk.RUNS, ondisk.RUN_UPPER)]
    return tuple((upper, upper.with_name(ondisk.RUN_WORK) / os.fsdecode(ondisk.INDEX)) for upper in runs)
