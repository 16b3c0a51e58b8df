"""A journal as a stream of changes, of a mount that is still live, too.

Everything that cannot be read whole is at the end: a frame that a killed writer left half, or one that is just being
written. ``Reader.more`` goes on where it stopped.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from zlib import crc32

from cowfs.errors import StoreError
from cowfs.journal import records
from cowfs.journal.records import Op

_LAST: Final = len(records.frame(0, [records.short(Op.LOST, records.COUNT.pack(0)), records.short(Op.END)]))
_NONE: Final = struct.Struct("")
_FIXED: Final = {
    Op.CREATE: (records.CREATED, ("mode", "handle")),
    Op.MKDIR: (records.MODE, ("mode",)),
    Op.MKNOD: (records.DEVICE, ("mode", "rdev")),
    Op.SYMLINK: (_NONE, ()),
    Op.LINK: (records.PLACE, ("place",)),
    Op.UNLINK: (_NONE, ()),
    Op.RMDIR: (_NONE, ()),
    Op.RENAME: (records.RENAMED, ("place", "replaced", "flags")),
    Op.ATTRIBUTES: (records.ATTRIBUTES, ("mask", "mode", "uid", "gid", "size")),
    Op.SETXATTR: (_NONE, ()),
    Op.REMOVEXATTR: (_NONE, ()),
    Op.OPEN: (records.OPENED, ("handle", "size")),
    Op.CLOSE: (records.CLOSED, ("handle", "before", "size", "written")),
    Op.WRITE: (records.WRITTEN, ("handle", "offset", "written")),
}


@dataclass(frozen=True, slots=True, eq=False)
class Process:
    """What a process was when it made changes: one program that it executed, as one user."""

    number: int  # by when it was first seen
    parent: "Process | None"
    pid: int  # as the file system process sees it
    inner_pid: int  # in the process's own pid namespace
    uid: int
    gid: int
    started: int  # ticks since the boot
    exe: bytes
    cwd: bytes  # when it was first seen
    argv: tuple[bytes, ...]
    cut: bool  # it has more arguments than these

    @property
    def chain(self) -> "tuple[Process, ...]":
        """The process, its parent, and so on."""
        found: list[Process] = []
        process: Process | None = self
        while process is not None:
            found.append(process)
            process = process.parent
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Change:
    """One change. What an operation does not have is None."""

    time_ns: int  # since the epoch
    op: Op
    process: Process | None  # None: it could not be seen
    path: bytes  # below the root, without a leading slash
    layer: int  # which had what was there before, from the bottom, from 1; records.NO_LAYER, records.UPPER
    other: bytes | None = None  # rename: the new path; link: an older name
    replaced: int | None = None  # rename: the layer that had what was at the new path
    flags: int | None = None
    mask: int | None = None  # records.SET_*: the attributes that were set
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    rdev: int | None = None
    size: int | None = None  # bytes, after the change
    before: int | None = None  # bytes
    written: int | None = None  # bytes; None where the kernel wrote them past us
    offset: int | None = None
    name: bytes | None = None  # of an extended attribute
    target: bytes | None = None  # of a symbolic link


@dataclass(slots=True)
class Reader:
    """Reads one journal."""

    path: Path
    ended: bool = False  # the last mount ended in order
    full: bool = False  # the limit was reached: later changes are missing
    lost: int = 0  # changes that are missing
    unread: int = 0  # bytes at the end that make no whole frame
    _at: int = 0
    _processes: dict[int, Process] = field(default_factory=dict)  # by their numbers since the last START
    _count: int = 0
    _directories: dict[int, tuple[int, bytes]] = field(default_factory=dict)
    _paths: dict[int, bytes] = field(default_factory=dict)  # of directories, where they are short
    _open: dict[int, Change] = field(default_factory=dict)

    def more(self) -> Iterator[Change]:
        """The changes that were written since the last call. Raises StoreError."""
        try:
            with self.path.open("rb") as file:
                self._begin(file.read(len(records.MAGIC)))
                file.seek(self._at)
                size = os.fstat(file.fileno()).st_size
                while (data := _frame(file.read, size - self._at)) is not None:
                    self._at = file.tell()
                    yield from self._records(data)
                self.unread = size - self._at
        except OSError as error:
            raise StoreError(f"{self.path}: {error.strerror}") from None

    def still_open(self) -> list[Change]:
        """Files that are open for writing, or were when the mount was killed: they may have changed."""
        return list(self._open.values())

    def _begin(self, magic: bytes) -> None:
        if magic != records.MAGIC:
            raise StoreError(f"{self.path}: it is not a journal, or of another version")
        self._at = self._at or len(magic)

    def _records(self, data: bytes) -> Iterator[Change]:
        began, at = records.TIME.unpack_from(data)[0], records.TIME.size
        try:
            while at < len(data):
                size, op = records.SHORT.unpack_from(data, at)
                if op >= Op.CREATE:
                    change = self._change(began, data, at, at + size)
                    if change is not None:
                        yield change
                else:
                    self._other(op, data[at + records.SHORT.size : at + size])
                at += max(size, records.SHORT.size)
        except (struct.error, ValueError, KeyError, IndexError):
            raise StoreError(f"{self.path}: a record makes no sense") from None

    def _change(self, began: int, data: bytes, at: int, end: int) -> Change | None:
        _, number, layer, since, process, place, length = records.HEAD.unpack_from(data, at)
        if number not in _FIXED:
            return None  # of a later version
        op, at = Op(number), at + records.HEAD.size
        name, rest = data[at : at + length], data[at + length : end]
        form, keys = _FIXED[op]
        facts: dict[str, Any] = dict(zip(keys, form.unpack_from(rest), strict=True))
        rest = rest[form.size :]
        if "place" in facts:
            facts["other"] = _join(self._directory(facts.pop("place")), rest)
        elif op is Op.SYMLINK:
            facts["target"] = rest
        elif op in (Op.SETXATTR, Op.REMOVEXATTR):
            facts["name"] = rest
        handle = facts.pop("handle", None)
        if facts.get("written") == records.UNKNOWN:
            facts["written"] = None
        path = _join(self._directory(place), name) if place else b""
        change = Change(began + since * 1000, op, self._processes.get(process), path, layer, **facts)
        return self._bracketed(change, handle, nameless=not place)

    def _bracketed(self, change: Change, handle: int | None, *, nameless: bool) -> Change | None:
        """The open for writing is no change, and its end is one where something was written."""
        if change.op is Op.OPEN:
            assert handle is not None
            self._open[handle] = change
            return None
        if change.op is Op.CLOSE:
            assert handle is not None
            self._open.pop(handle, None)
            if change.written == 0:
                return None
        return None if nameless else change

    def _other(self, op: int, body: bytes) -> None:
        if op == Op.START:
            self._processes, self._directories, self._paths, self._open = {}, {}, {}, {}
            self.ended = False
        elif op == Op.END:
            self.ended = True
        elif op == Op.FULL:
            self.full = True
        elif op == Op.LOST:
            self.lost += records.COUNT.unpack(body)[0]
        elif op == Op.DIRECTORY:
            number, parent = records.DIRECTORY.unpack_from(body)
            if parent >= number:
                raise ValueError("it holds itself")
            self._directories[number] = parent, body[records.DIRECTORY.size :]
        elif op == Op.PROCESS:
            self._process(body)

    def _directory(self, number: int) -> bytes:
        path = self._paths.get(number)
        if path is None:
            names, parent = [], number
            while parent:
                parent, name = self._directories[parent]
                names.append(name)
            path = b"/".join(reversed(names[:-1]))  # the last is the root
            if len(path) <= records.TEXT_LIMIT:
                self._paths[number] = path
        return path

    def _process(self, body: bytes) -> None:
        number, parent, pid, inner, uid, gid, started, flags, *sizes = records.PROCESS.unpack_from(body)
        at, texts = records.PROCESS.size, []
        for size in sizes:
            texts.append(body[at : at + size])
            at += size
        exe, cwd, argv = texts
        arguments = tuple(argv.removesuffix(b"\0").split(b"\0")) if argv else ()
        above = self._processes.get(parent)
        cut = bool(flags & records.ARGV_CUT)
        self._count += 1
        process = Process(self._count, above, pid, inner, uid, gid, started, exe, cwd, arguments, cut)
        self._processes[number] = process


def lost_at_the_end(path: Path) -> int:
    """How many changes are missing of a journal that was closed in order; 0 where none are, or it was not."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LAST))
            data = _frame(file.read, _LAST) or b""
    except OSError:
        return 0
    at = records.TIME.size
    if len(data) < _LAST - records.FRAME.size or data[at + 2] != Op.LOST:
        return 0
    lost: int = records.COUNT.unpack_from(data, at + records.SHORT.size)[0]
    return lost


def _frame(read: "Any", left: int) -> bytes | None:
    """The next frame's content; None where it is not whole (yet)."""
    head = read(records.FRAME.size)
    if len(head) < records.FRAME.size:
        return None
    length, check = records.FRAME.unpack(head)
    if not records.TIME.size <= length <= left - records.FRAME.size:
        return None
    data: bytes = read(length)
    return data if len(data) == length and crc32(data) == check else None


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory and name else directory or name
