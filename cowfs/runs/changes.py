"""What a change is, and which class it belongs to: pure values and rules, no I/O.

``scan`` finds pairs of "what the base had" and "what the merged tree has" and asks this module for the verdict;
``render`` shows it. A row of this table is a row of the test:

    base had       merged tree has     what differs                  class
    -------------  ------------------  ----------------------------  ---------
    nothing        something           -                             added
    something      nothing             -                             removed
    (elsewhere)    it, at a new path   anything                      renamed
    one kind       another kind        -                             replaced
    a directory    an unrelated one    -                             replaced
    a directory    a directory         nothing, or times that the    None: not a change
                                       entries below explain
    the same kind  the same kind       content, target or device     modified
    the same kind  the same kind       mode, owner or xattrs only    metadata
    the same kind  the same kind       times only                    touched
    the same kind  the same kind       nothing                       identical

*Touched* is what ``touch`` or a rewrite with the same bytes leaves; *identical* was copied up (for a hard link, a write
that was taken back, an open on overlayfs) and is the same. Neither is "modified". What was created and removed again is
*passing*: it leaves no trace in an upper, and only a journal can tell.
"""

import os
import stat
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from cowfs.model import Attr, Kind

Xattrs = tuple[tuple[bytes, bytes], ...]  # names and values, sorted; overlayfs's own marks are not among them


class ChangeClass(Enum):
    """The class of a change, in the words of the JSON output."""

    __hash__ = object.__hash__  # members are one each; enum's own hash is a call of Python, for each look into a table

    ADDED = "added"
    MODIFIED = "modified"
    METADATA = "metadata"
    TOUCHED = "touched"
    IDENTICAL = "identical"
    REPLACED = "replaced"
    RENAMED = "renamed"
    REMOVED = "removed"
    PASSING = "passing"


class Difference(Enum):
    """One respect in which two versions of the same kind differ."""

    __hash__ = object.__hash__

    CONTENT = "content"
    TARGET = "target"  # of a symbolic link
    DEVICE = "device"  # the numbers of a device node
    MODE = "mode"
    OWNER = "owner"
    XATTRS = "xattrs"
    TIMES = "times"  # the modification time


SUBSTANCE = frozenset({Difference.CONTENT, Difference.TARGET, Difference.DEVICE})
METADATA = frozenset({Difference.MODE, Difference.OWNER, Difference.XATTRS})
_SIZED = (Kind.FILE, Kind.SYMLINK)
_PERMISSIONS = 0o7777


class Version(NamedTuple):
    """One file on one side of the comparison. ``mode`` is the permission bits alone, 0 to 0o7777."""

    kind: Kind
    size: int  # bytes; 0 for what has no content
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    ctime_ns: int
    nlink: int = 1
    rdev: int = 0
    target: bytes = b""
    xattrs: Xattrs = ()

    @classmethod
    def of(cls, attr: Attr, target: bytes, xattrs: Xattrs) -> "Version":
        """The version that these facts make."""
        kind = Kind.of(attr.mode)
        size = attr.size if kind in _SIZED else 0
        mode = stat.S_IMODE(attr.mode)
        times = attr.mtime_ns, attr.ctime_ns
        return cls(kind, size, mode, attr.uid, attr.gid, *times, attr.nlink, attr.rdev, target, xattrs)

    @classmethod
    def of_status(cls, status: os.stat_result, target: bytes, xattrs: Xattrs) -> "Version":
        """The same of what lstat(2) says."""
        mode = status.st_mode
        kind = Kind.of(mode)
        return cls(
            kind,
            status.st_size if kind in _SIZED else 0,
            mode & _PERMISSIONS,
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            status.st_ctime_ns,
            status.st_nlink,
            status.st_rdev,
            target,
            xattrs,
        )


class Change(NamedTuple):
    """One changed path. Paths are absolute in the run's root; a removed path is named as the base knew it."""

    path: bytes
    change: ChangeClass
    before: Version | None
    after: Version | None
    differs: frozenset[Difference] = frozenset()
    before_path: bytes | None = None  # where the base has it if elsewhere: it, or a directory above it, was renamed
    overwrote: Version | None = None  # what the base had at ``path`` of something that was renamed to it
    link_to: bytes | None = None  # an added hard link: another name of the same file
    other_names: int = 0  # names in the base that share the file, changed with it, and are not listed
    differing: int | None = None  # bytes of content that differ, where ``scan`` was asked to count them
    base_changed: bool = False  # the base is a live system, and its file is newer than the run's start

    @property
    def kind(self) -> Kind:
        """The kind of file that is there now, or was there."""
        version = self.after or self.before
        assert version is not None
        return version.kind


def differences(before: Version, after: Version, *, same_content: bool) -> frozenset[Difference]:
    """In what two versions differ. ``same_content`` counts for regular files alone; a link has no mode of its own."""
    found = []
    if before.kind is after.kind is Kind.FILE and not same_content:
        found.append(Difference.CONTENT)
    if before.target != after.target:
        found.append(Difference.TARGET)
    if before.rdev != after.rdev:
        found.append(Difference.DEVICE)
    if before.mode != after.mode and Kind.SYMLINK not in (before.kind, after.kind):
        found.append(Difference.MODE)
    if before.uid != after.uid or before.gid != after.gid:
        found.append(Difference.OWNER)
    if before.xattrs != after.xattrs:
        found.append(Difference.XATTRS)
    if before.mtime_ns != after.mtime_ns:
        found.append(Difference.TIMES)
    return frozenset(found)


def classify(
    before: Version | None,
    after: Version | None,
    differs: frozenset[Difference],
    *,
    moved: bool = False,
    anew: bool = False,
    entries_changed: bool = False,
) -> ChangeClass | None:
    """The class of a pair, by the table above; None where nothing changed.

    ``moved``: ``before`` lay at another path, which is gone. ``anew``: a directory that was
    removed elsewhere and has an unrelated one at its old path. ``entries_changed``: names in this directory came or
    went, so that its time differs by itself.
    """
    if before is None or after is None:
        return _came_or_went(before, after)
    if moved:
        return ChangeClass.RENAMED
    if anew or before.kind is not after.kind:
        return ChangeClass.REPLACED
    if differs & SUBSTANCE:
        return ChangeClass.MODIFIED
    if differs & METADATA:
        return ChangeClass.METADATA
    if after.kind is Kind.DIRECTORY and (entries_changed or not differs):
        return None
    return ChangeClass.TOUCHED if differs else ChangeClass.IDENTICAL


def _came_or_went(before: Version | None, after: Version | None) -> ChangeClass | None:
    if after is not None:
        return ChangeClass.ADDED
    return ChangeClass.REMOVED if before is not None else None


def order(path: bytes) -> bytes:
    """The sort key of a path: a directory, then all that is in it, before the next name."""
    return path.replace(b"/", b"\0")


def parents(path: bytes) -> Iterator[bytes]:
    """The directories above a path, the nearest first, without the root."""
    while path := path.rpartition(b"/")[0]:
        yield path
