"""Chooses layers and steps at random, by a seed: what is likely to collide, more than what is likely in practice."""

import os
import random
import stat
import struct
from collections.abc import Collection
from typing import ClassVar

from tests.behaviour.fs import Fs
from tests.behaviour.layers import BASE_TIME_NS, Entry, directory, file, hard_link, special, symlink, whiteout
from tests.behaviour.snapshot import walk
from tests.behaviour.steps import Step
from tests.behaviour.syscalls import FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, RENAME_EXCHANGE, RENAME_NOREPLACE

NAMES = [b"a", b"b", b"c", b"d", b"e", b"\xff"]
SLOTS = 4
DESCRIPTORS = frozenset({"slot_map", "slot_allocate", "slot_copy"})  # steps that need a file descriptor
_OURS = ("remount", "kill", "drop_caches", "rotate", "visit", "close")  # not a program's doing
_ACCESS, _DEFAULT = b"system.posix_acl_access", b"system.posix_acl_default"


def acl(user: int, group: int, other: int, named: int, mask: int) -> bytes:
    """A POSIX ACL with one named user, 1000, as the kernel takes it (linux/posix_acl_xattr.h)."""
    entries = [(1, user, -1), (2, named, 1000), (4, group, -1), (16, mask, -1), (32, other, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)


class LayerChooser:
    """Two or three layers over the same few names."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._linked: set[bytes] = set()  # hard links of a lower: later layers leave them alone, they count their names
        self._below: set[bytes] = set()  # what the layer below has: overlayfs lists whiteouts that hide nothing

    def stack(self) -> list[list[Entry]]:
        """Layers, the bottom one first."""
        return [self._layer(number) for number in range(self.rng.choice([1, 2, 3]))]

    def _layer(self, depth: int) -> list[Entry]:
        rng, entries = self.rng, dict[bytes, Entry]()
        for _ in range(rng.randrange(4, 14)):
            path = b"/".join(rng.choice(NAMES) for _ in range(rng.choice([1, 1, 2, 2, 3])))
            above = [path[:cut] for cut in range(len(path)) if path[cut : cut + 1] == b"/"]
            if path in entries or any(entries.get(p, directory(p)).kind != stat.S_IFDIR for p in above):
                continue
            if any(other.startswith(path + b"/") for other in entries) or self._touches_links(path, above):
                continue
            for parent in above:
                entries.setdefault(parent, self._directory(parent, opaque=False))
            hides = path in self._below and not any(entries[parent].opaque for parent in above)
            entries[path] = self._entry(path, bottom=depth == 0, hides=hides)
        layer = list(entries.values())
        files = [entry.path for entry in layer if entry.kind == stat.S_IFREG]
        for number in range(rng.choice([0, 1, 2])):
            if files:
                source = rng.choice(files)
                where = rng.choice([b"", *(entry.path + b"/" for entry in layer if entry.kind == stat.S_IFDIR)])
                name = where + b"l%d%d" % (depth, number)
                layer.append(hard_link(name, source))
                self._linked |= {source, name}
        self._below = {entry.path for entry in layer if entry.kind}
        return layer

    def _touches_links(self, path: bytes, above: list[bytes]) -> bool:
        return any(path == linked or linked.startswith(path + b"/") for linked in self._linked) or any(
            parent in self._linked for parent in above
        )

    def _directory(self, path: bytes, *, opaque: bool) -> Entry:
        rng = self.rng
        return directory(path, rng.choice([0o755, 0o755, 0o700, 0o2755, 0o1777]), opaque=opaque, mtime_ns=self._time())

    def _time(self) -> int:
        return BASE_TIME_NS + self.rng.randrange(10**12)

    def _entry(self, path: bytes, *, bottom: bool, hides: bool) -> Entry:
        rng = self.rng
        kind = rng.choice("fffffdddsxwww" if hides else "fffffdddsx")
        if kind == "f":
            size = rng.choice([0, 1, 100, 5000, 70000, 70000, 70000, 2_000_001])
            mode = rng.choice([0o644, 0o600, 0o4755, 0o2755])
            attributes = {b"user.lower": path} if rng.random() < 0.3 else {}
            content = bytes([rng.randrange(1, 250)]) * size
            return file(path, content, mode, mtime_ns=self._time(), xattrs=attributes, uid=rng.choice([0, 1000]))
        if kind == "d":
            return self._directory(path, opaque=not bottom and rng.random() < 0.3)
        if kind == "s":
            return symlink(path, rng.choice([b"a", b"a/../b", b"nowhere", b"a/b"]), mtime_ns=self._time())
        if kind == "x":
            return special(path, rng.choice([stat.S_IFIFO, stat.S_IFCHR]), os.makedev(1, 3), mtime_ns=self._time())
        return whiteout(path)


class StepChooser:
    """Steps that fit the tree as it is: mostly names that exist, sometimes ones that do not."""

    WEIGHTS: ClassVar = {
        "create": 10, "write": 8, "read": 3, "lstat": 3, "listdir": 4, "readlink": 1, "truncate": 5, "mkdir": 8,
        "rmdir": 6, "unlink": 9, "rename": 22, "link": 6, "symlink": 3, "mknod": 2, "chmod": 5, "chown": 3,
        "utimens": 3, "setxattr": 4, "removexattr": 2, "getxattr": 1, "open": 8, "close": 3, "slot_read": 4,
        "slot_pwrite": 6, "slot_write": 4, "slot_truncate": 3, "slot_chmod": 1, "slot_status": 4, "slot_fsync": 1,
        "slot_map": 3, "slot_allocate": 2, "slot_copy": 3, "remount": 1, "kill": 0.5, "drop_caches": 3,
        "rotate": 0.4, "visit": 0.4,
    }  # fmt: skip

    def __init__(self, rng: random.Random, view: Fs, *, without: Collection[str] = ()) -> None:
        """``without``: steps that are not wanted, and "as" (somebody without privileges), "umask", "acl"."""
        self.rng, self._view, self._without = rng, view, without
        self._names = [name for name in self.WEIGHTS if name not in without]
        self._weights = [self.WEIGHTS[name] for name in self._names]
        self._age = 0
        self._fill = 0

    def _refresh(self) -> None:
        if self._age % 4 == 0:
            tree = [(path, status.mode) for path, status in walk(self._view) if path]
            self._all = [path for path, _ in tree]
            self._directories = [b""] + [path for path, mode in tree if stat.S_ISDIR(mode)]
            self._files = [path for path, mode in tree if stat.S_ISREG(mode)]
        self._age += 1

    def _new(self) -> bytes:
        where = self.rng.choice(self._directories)
        if where.count(b"/") > 2:
            where = b""
        name = self.rng.choice(NAMES)
        return where + b"/" + name if where else name

    def _any(self) -> bytes:
        return self.rng.choice(self._all) if self._all and self.rng.random() < 0.85 else self._new()

    def _file(self) -> bytes:
        return self.rng.choice(self._files) if self._files and self.rng.random() < 0.9 else self._any()

    def _directory(self) -> bytes:
        return (
            self.rng.choice(self._directories[1:])
            if len(self._directories) > 1 and self.rng.random() < 0.9
            else self._any()
        )

    def _data(self) -> tuple[int, int]:
        self._fill = self._fill % 250 + 1
        return self._fill, self.rng.choice([0, 1, 10, 4096, 5000, 70000] + [3 << 20] * (self.rng.random() < 0.05))

    def next(self) -> Step:
        """The next step."""
        self._refresh()
        name = self.rng.choices(self._names, self._weights)[0]
        step = (name, *getattr(self, "_" + name, tuple)())
        chance = self.rng.random()
        if chance < 0.3 and name in ("create", "mkdir", "mknod") and "umask" not in self._without:
            return ("umask", self.rng.choice([0o022, 0o077, 0o002]), step)
        if chance > 0.9 and name not in _OURS and "slot" not in name and name != "open" and "as" not in self._without:
            return ("as", 1000, self.rng.choice([1000, 0]), step)
        return step

    def _mode(self) -> int:
        return self.rng.choice([0o644, 0o600, 0o666, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o444])

    def _create(self) -> tuple[object, ...]:
        flags = self.rng.choice([os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDWR | os.O_EXCL, os.O_WRONLY | os.O_APPEND])
        return (self._new() if self.rng.random() < 0.7 else self._file(), flags, self._mode(), *self._data())

    def _write(self) -> tuple[object, ...]:
        return (self._file(), self.rng.choice([0, 0, 3, 4096, 100000, 1_500_000]), *self._data())

    def _read(self) -> tuple[object, ...]:
        return (self._file(),)

    def _lstat(self) -> tuple[object, ...]:
        return (self._any(),)

    def _listdir(self) -> tuple[object, ...]:
        return (self._directory(),)

    _readlink, _unlink = _lstat, _lstat

    def _truncate(self) -> tuple[object, ...]:
        return (self._file(), self.rng.choice([0, 0, 1, 50, 6000, 1_200_000]))

    def _mkdir(self) -> tuple[object, ...]:
        return (self._new(), self.rng.choice([0o755, 0o700, 0o777, 0o1777]))

    def _rmdir(self) -> tuple[object, ...]:
        return (self._directory(),)

    def _rename(self) -> tuple[object, ...]:
        old = self._directory() if self.rng.random() < 0.4 else self._any()
        new = self._new() if self.rng.random() < 0.6 else self._any()
        return (old, new, self.rng.choice([0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE]))

    def _link(self) -> tuple[object, ...]:
        return (self._any(), self._new())

    def _symlink(self) -> tuple[object, ...]:
        return (self.rng.choice([b"a", b"b/c", b"b/../c", b"nowhere"]), self._new())

    def _mknod(self) -> tuple[object, ...]:
        kind = self.rng.choice([stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK, stat.S_IFREG])
        return (self._new(), kind | self._mode(), os.makedev(1, 5) if kind == stat.S_IFCHR else 0)

    def _chmod(self) -> tuple[object, ...]:
        path = self._any()
        return (path, self.rng.choice([0o755, 0o700, 0o2755, 0o1777]) if path in self._directories else self._mode())

    def _chown(self) -> tuple[object, ...]:
        return (self._any(), self.rng.choice([-1, 0, 1000]), self.rng.choice([-1, 0, 1000]))

    def _utimens(self) -> tuple[object, ...]:
        old = self.rng.choice([None, 10**18 + self.rng.randrange(10**9), -5_000_000_001])
        return (self._any(), self.rng.choice([None, 10**18]) if old else 10**18, old)

    def _setxattr(self) -> tuple[object, ...]:
        if self.rng.random() < 0.15 and "acl" not in self._without:
            return (self._file(), _ACCESS, acl(*(self.rng.randrange(8) for _ in range(5))), 0)
        if self.rng.random() < 0.15 and "acl" not in self._without:
            return (self._directory(), self.rng.choice([_ACCESS, _DEFAULT]), acl(7, 5, self.rng.randrange(8), 7, 7), 0)
        name = self.rng.choice([b"user.a", b"user.lower", b"trusted.b", b"trusted.overlay.opaque"])
        flags = self.rng.choice([0, 0, os.XATTR_CREATE, os.XATTR_REPLACE])
        return (self._any(), name, self.rng.choice([b"", b"y", b"v" * 300]), flags)

    def _removexattr(self) -> tuple[object, ...]:
        acls = [] if "acl" in self._without else [_DEFAULT, _ACCESS]
        return (self._any(), self.rng.choice([b"user.a", b"user.lower", b"trusted.b", *acls]))

    _getxattr = _removexattr

    def _open(self) -> tuple[object, ...]:
        more = self.rng.choice([0, 0, 0, os.O_APPEND, os.O_TRUNC, os.O_CREAT])
        return (self._slot()[0], self._file(), self.rng.choice([os.O_RDONLY, os.O_RDWR, os.O_WRONLY]) | more, 0o644)

    def _slot(self) -> tuple[int]:
        return (self.rng.randrange(SLOTS),)

    _close, _slot_status, _slot_fsync = _slot, _slot, _slot

    def _slot_read(self) -> tuple[object, ...]:
        return (*self._slot(), self.rng.choice([10, 100000]), self.rng.choice([0, 5, 5000]))

    def _slot_pwrite(self) -> tuple[object, ...]:
        return (*self._slot(), self.rng.choice([0, 0, 3, 6000]), *self._data())

    def _slot_write(self) -> tuple[object, ...]:
        return (*self._slot(), *self._data())

    def _slot_truncate(self) -> tuple[object, ...]:
        return (*self._slot(), self.rng.choice([0, 1, 5000]))

    def _slot_map(self) -> tuple[object, ...]:
        return (*self._slot(), self.rng.choice([0, 3, 4096, 1_000_000]), *self._data())

    def _slot_allocate(self) -> tuple[object, ...]:
        mode = self.rng.choice([0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE])
        return (*self._slot(), mode, self.rng.choice([0, 4096, 5000]), self.rng.choice([1, 4096, 20000]))

    def _slot_copy(self) -> tuple[object, ...]:
        places = self.rng.choice([0, 0, 100, 4096]), self.rng.choice([0, 0, 5, 8192])
        return (self._file(), *self._slot(), *places, self.rng.choice([1, 5000, 3_000_000]))

    def _slot_chmod(self) -> tuple[object, ...]:
        return (*self._slot(), self._mode())
