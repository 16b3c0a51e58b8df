"""The whole tree of a file system as values that can be compared."""

import hashlib
import stat
from collections.abc import Container, Iterator
from typing import NamedTuple

from tests.behaviour.fs import Fs, Status, read_all

_SMALL = 64  # bytes of content that are kept as they are, so that a report can show them


class Record(NamedTuple):
    """What a program can see of one name.

    ``mtime_ns`` is None where it is younger than the run; ``peer`` is the first name of the file. ``ino`` is
    not compared with another file system's.
    """

    mode: int
    uid: int
    gid: int
    rdev: int
    nlink: int
    size: int
    mtime_ns: int | None
    peer: bytes
    content: bytes
    xattrs: tuple[tuple[bytes, bytes], ...]
    ino: int


Tree = dict[bytes, Record]


def walk(fs: Fs, top: bytes = b"") -> Iterator[tuple[bytes, Status]]:
    """Every path and its status, the names of a directory in order, the root first."""
    pending = [top]
    while pending:
        path = pending.pop()
        status = fs.lstat(path)
        yield path, status
        if stat.S_ISDIR(status.mode):
            listed = fs.listdir(path)
            names = [entry.name for entry in listed]
            assert len(set(names)) == len(names), f"listed twice: {names}"
            pending += [path + b"/" + name if path else name for name in sorted(names, reverse=True)]


def take(fs: Fs, started_ns: int) -> Tree:
    """The tree below the root. Times from ``started_ns`` on are "now": they differ from one file system to the next."""
    tree: Tree = {}
    first: dict[int, bytes] = {}
    for path, status in walk(fs):
        directory = stat.S_ISDIR(status.mode)
        tree[path] = Record(
            status.mode,
            status.uid,
            status.gid,
            status.rdev,
            1 if directory else status.nlink,
            0 if directory else status.size,
            status.mtime_ns if status.mtime_ns < started_ns else None,
            path if directory else first.setdefault(status.ino, path),
            _content(fs, path, status.mode),
            tuple(sorted((name, fs.getxattr(path, name)) for name in fs.listxattr(path))),
            status.ino,
        )
    return tree


def numbers(fs: Fs) -> dict[bytes, int]:
    """The inode number of every path, which listings must agree with."""
    found = {}
    for path, status in walk(fs):
        found[path] = status.ino
        if stat.S_ISDIR(status.mode):
            for entry in fs.listdir(path):
                child = path + b"/" + entry.name if path else entry.name
                assert fs.lstat(child).ino == entry.ino, f"d_ino is not st_ino: {child!r}"
                assert stat.S_IFMT(fs.lstat(child).mode) == entry.kind, f"wrong d_type: {child!r}"
    return found


def _content(fs: Fs, path: bytes, mode: int) -> bytes:
    if stat.S_ISLNK(mode):
        return fs.readlink(path)
    if not stat.S_ISREG(mode):
        return b""
    content = read_all(fs, path)
    return content if len(content) <= _SMALL else hashlib.sha256(content).digest()


def difference(wanted: Tree, found: Tree, ignored: Container[str] = ()) -> tuple[str, str] | None:
    """The first difference, as its kind and a sentence; None where there is none. ``ignored`` are fields of Record."""
    for path in sorted(wanted.keys() | found.keys()):
        if path not in found:
            return "missing name", f"{path!r} is missing"
        if path not in wanted:
            return "extra name", f"{path!r} should not be there"
        for field, want, have in zip(Record._fields[:-1], wanted[path], found[path], strict=False):
            if want != have and field not in ignored:
                return f"tree {field}", f"{path!r}: {field} is {have!r}, should be {want!r}"
    return None
