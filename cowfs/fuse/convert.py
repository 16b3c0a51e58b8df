"""Between the values of the overlay and those of pyfuse3."""

import os
from typing import Final

import pyfuse3

from cowfs.model import Attr
from cowfs.overlay import Changes

FOREVER: Final = 1e7  # seconds: nobody else changes the layers
LIVE: Final = 1.0  # seconds: a lower that is a running machine's root

_STATVFS: Final = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail")


def entry_attributes(attr: Attr, timeout: float) -> pyfuse3.EntryAttributes:
    """What lookup, getattr and their kin answer.

    ``timeout``: how long the kernel may keep name and attributes, seconds.
    """
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(attr.ino)
    entry.st_mode = pyfuse3.ModeT(attr.mode)
    entry.st_nlink = attr.nlink
    entry.st_uid = attr.uid
    entry.st_gid = attr.gid
    entry.st_rdev = attr.rdev
    entry.st_size = attr.size
    entry.st_blocks = attr.blocks
    entry.st_atime_ns = attr.atime_ns
    entry.st_mtime_ns = attr.mtime_ns
    entry.st_ctime_ns = attr.ctime_ns
    entry.entry_timeout = timeout
    entry.attr_timeout = timeout
    return entry


def absent(timeout: float) -> pyfuse3.EntryAttributes:
    """The answer "no such name" that the kernel remembers:

    number 0 with a timeout (an errno would not be remembered).
    """
    entry = pyfuse3.EntryAttributes()
    entry.st_ino = pyfuse3.InodeT(0)
    entry.entry_timeout = timeout
    return entry


def changes(attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> Changes:
    """What a setattr request asks for."""
    return Changes(
        mode=attr.st_mode if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime_ns=attr.st_atime_ns if fields.update_atime else None,
        mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
    )


def statvfs_data(status: os.statvfs_result, name_max: int) -> pyfuse3.StatvfsData:
    """What statfs answers."""
    data = pyfuse3.StatvfsData()
    for field in _STATVFS:
        setattr(data, field, getattr(status, field))
    data.f_namemax = name_max
    return data
