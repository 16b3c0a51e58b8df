"""One digest over all that a layer's tree is, but the bytes of its files: those have the DiffID (docs/format.md).

For each entry a record: path, type, mode, owner, device, size, mtime, link count, link target, extended attributes. The
SHA-256 of all records are added, modulo 2^256, so that no order has to be made and memory stays small however many
there are. For each file with several names, the names are added up the same way: which names are one file shows.

Not in it: atime, ctime, a directory's size and link count (they are the file system's), and the attributes that a
host's security module writes by itself.
"""

import errno
import os
import stat
from hashlib import sha256
from typing import NamedTuple

from cowfs.store.descent import Descent

_MODULUS = 1 << 256
_OF_THE_HOST = frozenset({"security.selinux", "security.ima", "security.evm", "security.SMACK64"})
_BLOCK = 512  # bytes, the unit of st_blocks


class TreeFacts(NamedTuple):
    """What a tree is like."""

    digest: str  # "sha256:<64 hex>"
    disk: int  # bytes that it takes on the disk


def tree_facts(root_fd: int) -> TreeFacts:
    """Walk the tree of ``root_fd``. Raises OSError."""
    walk = _Walk(root_fd)
    try:
        walk.run()
    finally:
        walk.directories.close()
    return TreeFacts(f"sha256:{walk.total():064x}", walk.disk)


class _Walk:
    def __init__(self, root_fd: int) -> None:
        self.directories = Descent(root_fd)
        self.disk = 0
        self._sum = 0
        self._links: dict[int, int] = {}  # by inode: the names of a file with several, added up

    def run(self) -> None:
        root_fd = self.directories.directory(b"")
        self._entry(b"", os.fstat(root_fd), root_fd, b".")
        waiting = [b""]
        while waiting:
            path = waiting.pop()
            fd = self.directories.directory(path)
            prefix = path + b"/" if path else b""
            with os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    status = entry.stat(follow_symlinks=False)
                    self._entry(prefix + name, status, fd, name)
                    if stat.S_ISDIR(status.st_mode):
                        waiting.append(prefix + name)

    def total(self) -> int:
        links = (_number(b"%d" % names) for names in self._links.values())
        return (self._sum + sum(links)) % _MODULUS

    def _entry(self, path: bytes, status: os.stat_result, fd: int, name: bytes) -> None:
        mode, size, links, target = status.st_mode, status.st_size, status.st_nlink, b""
        if stat.S_ISDIR(mode):
            size = links = 0
        elif stat.S_ISLNK(mode):
            target = os.readlink(name, dir_fd=fd)
        if links > 1:
            known = self._links.get(status.st_ino)
            self._links[status.st_ino] = ((known or 0) + _number(path)) % _MODULUS
        else:
            known = None
        if known is None:
            self.disk += status.st_blocks * _BLOCK
        facts = (mode, status.st_uid, status.st_gid, status.st_rdev, size, status.st_mtime_ns, links)
        parts = [path, b"%d %d %d %d %d %d %d" % facts, target, *_xattrs(fd, name)]
        self._sum = (self._sum + _number(b"\0".join(b"%d:%b" % (len(part), part) for part in parts))) % _MODULUS


def _xattrs(fd: int, name: bytes) -> list[bytes]:
    """Names and values, sorted. None on a file system that has no attributes."""
    path = b"/proc/self/fd/%d/%b" % (fd, name)
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise
    found = []
    for attribute in sorted(names):
        if attribute not in _OF_THE_HOST:
            found += [os.fsencode(attribute), os.getxattr(path, attribute, follow_symlinks=False)]
    return found


def _number(data: bytes) -> int:
    return int.from_bytes(sha256(data).digest(), "big")
