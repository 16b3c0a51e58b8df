"""The handlers of a mount that keeps a journal: each does what it did, and then records it.

The one place where changes and the journal meet; a mount without a journal has plain ``Operations``. Recorded is what
succeeded, with who asked, before the answer goes: so the process that waits for it is still what it was.

What a file held before is asked before the change. Data that the kernel writes by itself (passthrough, mappings) lies
between the open for writing and its end, which is when the last descriptor and mapping are gone; what happened between
is told by size, blocks and times.
"""

import os
from collections.abc import Callable, Coroutine
from time import time_ns
from typing import Any, Final, ParamSpec, TypeVar, cast

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FileNameT, FlagT, InodeT, ModeT, RequestContext, XAttrNameT

from cowfs.fuse import schedule
from cowfs.fuse.errnos import immediate, waiting
from cowfs.fuse.operations import Operations
from cowfs.journal import records
from cowfs.journal.processes import Process, Processes
from cowfs.journal.records import NO_LAYER, UPPER, Op
from cowfs.journal.writer import Journal
from cowfs.overlay import DirNode, Handle, Node, Overlay

_FOR_EXECUTION: Final = 0x20  # FMODE_EXEC among the flags of an open: include/linux/fs.h
_DIRECTORIES: Final = 4096  # numbers of directories that are remembered
_MOMENT: Final = 0.25  # seconds


# The handlers themselves, without what turns exceptions into replies: here that happens around both
P = ParamSpec("P")
T = TypeVar("T")


def _plain(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    return cast(Callable[P, T], handler.__wrapped__)  # type: ignore[attr-defined]


def _plain_waiting(handler: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    return cast(Callable[P, Coroutine[Any, Any, T]], handler.__wrapped__)  # type: ignore[attr-defined]


_mknod: Final = _plain(Operations.mknod)
_mkdir: Final = _plain(Operations.mkdir)
_symlink: Final = _plain(Operations.symlink)
_link: Final = _plain(Operations.link)
_unlink: Final = _plain(Operations.unlink)
_rmdir: Final = _plain(Operations.rmdir)
_rename: Final = _plain(Operations.rename)
_setxattr: Final = _plain(Operations.setxattr)
_removexattr: Final = _plain(Operations.removexattr)
_create: Final = _plain(Operations.create)
_release: Final = _plain(Operations.release)
_setattr: Final = _plain_waiting(Operations.setattr)
_open: Final = _plain_waiting(Operations.open)
_write: Final = _plain_waiting(Operations.write)

_ATTRIBUTES: Final = int(Op.ATTRIBUTES)  # a plain number is packed faster
_CREATE: Final = int(Op.CREATE)
_CLOSE: Final = int(Op.CLOSE)
_TICK_NS: Final = 20_000_000  # two writes closer than this may leave the same mtime (older kernels, 100 Hz)


class _Writer:
    """A handle that is open for writing."""

    __slots__ = ("bytes", "changed", "layer", "mtime_ns", "number", "process", "size")

    def __init__(self, number: int, process: Process | None, layer: int, before: os.stat_result | None) -> None:
        self.number = number
        self.process = process  # None: it cannot be seen
        self.layer = layer
        self.size = 0 if before is None else before.st_size
        self.mtime_ns = None if before is None else before.st_mtime_ns  # None: this open made the file
        self.bytes = 0  # written by requests
        self.changed = before is not None and time_ns() - before.st_mtime_ns < _TICK_NS

    def settle(self, now: os.stat_result) -> None:
        """Decide by the times whether something was written so far, for they are about to be set."""
        if self.mtime_ns is not None and now.st_mtime_ns != self.mtime_ns:
            self.changed = True


class Journaled(Operations):
    """Operations, and a journal of what they change."""

    def __init__(self, overlay: Overlay, journal: Journal, *, each_write: bool = False) -> None:
        """``each_write``: record every write; then no file may be opened in passthrough."""
        super().__init__(overlay)
        self.journal = journal
        self._each_write = each_write
        self._people = Processes(journal.append)
        self._places: dict[DirNode, int] = {}
        self._numbered = cast(dict[object, int], self._places)  # the same, for whoever does not know what a node is
        self._place_count = 0
        self._writers: dict[int, _Writer] = {}
        self._judged = 0  # of these, those whose files had times before
        self._depth = len(overlay.lowers) + 1

    def end(self) -> None:
        """The mount is over: what is open is closed now."""
        for number in list(self._writers):
            self._closed(self._handles[number])
        self._people.close()
        self.journal.close()

    async def flush_when_idle(self) -> None:
        """Write what waits a moment after it came, until cancelled."""
        while True:
            event = schedule.loop.Event()
            self.journal.wake = event.set
            if not self.journal.is_waiting:
                await event.wait()
            await schedule.loop.sleep(_MOMENT)
            self.journal.flush()

    # --- names --------------------------------------------------------------------------------------------

    @immediate
    def mknod(self, parent: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext) -> EntryAttributes:
        entry = _mknod(self, parent, name, mode, rdev, ctx)
        self._note(ctx, Op.MKNOD, NO_LAYER, self._table[parent], name, records.DEVICE.pack(entry.st_mode, rdev))
        return entry

    @immediate
    def mkdir(self, parent: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext) -> EntryAttributes:
        entry = _mkdir(self, parent, name, mode, ctx)
        self._note(ctx, Op.MKDIR, NO_LAYER, self._table[parent], name, records.MODE.pack(entry.st_mode))
        return entry

    @immediate
    def symlink(self, parent: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext) -> EntryAttributes:
        entry = _symlink(self, parent, name, target, ctx)
        self._note(ctx, Op.SYMLINK, NO_LAYER, self._table[parent], name, target)
        return entry

    @immediate
    def link(self, inode: InodeT, parent: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        node = self._table[inode]
        entry = _link(self, inode, parent, name, ctx)
        older, older_name = self._older_name(node, self._table[parent], name)
        rest = records.PLACE.pack(self._place(older)) + older_name
        self._note(ctx, Op.LINK, NO_LAYER, self._table[parent], name, rest)
        return entry

    @immediate
    def unlink(self, parent: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        layer = self._layer_at(self._table[parent], name)
        _unlink(self, parent, name, ctx)
        self._note(ctx, Op.UNLINK, layer, self._table[parent], name)

    @immediate
    def rmdir(self, parent: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        layer = self._layer_at(self._table[parent], name)
        _rmdir(self, parent, name, ctx)
        self._note(ctx, Op.RMDIR, layer, self._table[parent], name)

    @immediate
    def rename(
        self,
        parent_old: InodeT,
        name_old: FileNameT,
        parent_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        old, new = self._table[parent_old], self._table[parent_new]
        source, target = self.overlay.find(old, name_old), self.overlay.find(new, name_new)
        layer, replaced = self._layer_of(source), self._layer_of(target)
        _rename(self, parent_old, name_old, parent_new, name_new, flags, ctx)
        if source is target:
            return  # two names of one file: nothing moved
        rest = records.RENAMED.pack(self._place(new), replaced, flags) + name_new
        self._note(ctx, Op.RENAME, layer, old, name_old, rest)
        if isinstance(source, DirNode) or (isinstance(target, DirNode) and flags & records.EXCHANGE):
            self._places.clear()  # paths below it are others now

    # --- attributes ---------------------------------------------------------------------------------------

    @waiting
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self._table[inode]
        layer = self._layer_of(node)
        writers = self._writers_of(node) if self._judged and node.handles else ()
        if writers:
            before = self.overlay.status(node)
            for writer in writers:
                writer.settle(before)
        reply = await _setattr(self, inode, attr, fields, fh, ctx)
        for writer in writers:
            writer.mtime_ns, writer.size = reply.st_mtime_ns, reply.st_size
        if node.parent is not None or not node.orphan:
            self._note(ctx, _ATTRIBUTES, layer, node.parent, node.name, _attributes(attr, fields))
        return reply

    def _writers_of(self, node: Node) -> list[_Writer]:
        """Those that look at times: not who made the file itself."""
        get = self._writers.get
        return [w for handle in node.handles if (w := get(handle.fd)) is not None and w.mtime_ns is not None]

    @immediate
    def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        node = self._table[inode]
        layer = self._layer_of(node)
        _setxattr(self, inode, name, value, ctx)
        self._note_node(ctx, Op.SETXATTR, layer, node, name)

    @immediate
    def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        node = self._table[inode]
        layer = self._layer_of(node)
        _removexattr(self, inode, name, ctx)
        self._note_node(ctx, Op.REMOVEXATTR, layer, node, name)

    # --- files --------------------------------------------------------------------------------------------

    @waiting
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        node = self._table[inode]
        if flags & _FOR_EXECUTION:
            self._people.executing(ctx.pid)
        else:
            self._people.opened(ctx.pid, ctx.uid, ctx.gid)
        if not flags & (os.O_ACCMODE | os.O_TRUNC):
            return await _open(self, inode, flags, ctx)
        layer = self._layer_of(node)
        info = await _open(self, inode, flags, ctx)
        if flags & os.O_TRUNC:
            self._note_node(ctx, Op.ATTRIBUTES, layer, node, records.ATTRIBUTES.pack(records.SET_SIZE, 0, 0, 0, 0))
            layer = UPPER
        if flags & os.O_ACCMODE:
            before = self.overlay.status(node)
            rest = records.OPENED.pack(info.fh, before.st_size)
            number = 0 if node.orphan else self._note(ctx, Op.OPEN, layer, node.parent, node.name, rest)
            self._writers[info.fh] = _Writer(number, self._people.process_of(ctx.pid), layer, before)
            self._judged += 1
        return info

    @immediate
    def create(
        self, parent: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        info, entry = _create(self, parent, name, mode, flags, ctx)
        rest = records.CREATED.pack(entry.st_mode, info.fh)
        number = self._note(ctx, _CREATE, NO_LAYER, self._table[parent], name, rest)
        if flags & os.O_ACCMODE:
            self._writers[info.fh] = _Writer(number, self._people.process_of(ctx.pid), NO_LAYER, None)
        return info, entry

    @waiting
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        done = await _write(self, fh, off, buf)
        writer = self._writers.get(fh)
        if writer is not None:
            writer.bytes += done
            if self._each_write:
                node = self._handles[fh].node
                rest = records.WRITTEN.pack(fh, off, done)
                self._note_handle(Op.WRITE, self._layer_of(node), writer, node, rest)
        return done

    @immediate
    def release(self, fh: FileHandleT) -> None:
        if fh in self._writers:
            self._closed(self._handles[fh])
        _release(self, fh)

    def _closed(self, handle: Handle) -> None:
        """What the holder of a handle wrote, whoever that is by now: a shell opens files for what it executes then."""
        writer = self._writers.pop(handle.fd)
        now = os.fstat(handle.fd)
        changed = writer.changed or writer.bytes or now.st_size != writer.size
        if writer.mtime_ns is not None:
            self._judged -= 1
            changed = handle.on_upper and (changed or now.st_mtime_ns != writer.mtime_ns)
            changed = changed and bool(now.st_size or writer.size)
        elif not changed:
            return  # it made an empty file, and that is known
        written = writer.bytes or (records.UNKNOWN if changed else 0)
        rest = records.CLOSED.pack(handle.fd, writer.size, now.st_size, written)
        self._note_handle(_CLOSE, writer.layer, writer, handle.node, rest)

    # --- recording ----------------------------------------------------------------------------------------

    def _note_node(self, ctx: RequestContext, op: Op, layer: int, node: Node, rest: bytes) -> None:
        if not node.orphan:  # else it goes with its last user
            self._note(ctx, op, layer, node.parent, node.name, rest)

    def _note(
        self, ctx: RequestContext, op: int, layer: int, directory: Node | None, name: bytes, rest: bytes = b""
    ) -> int:
        """Record a change of a name in a directory, None for the root itself: the number of the process."""
        process = self._people.number_of(ctx.pid, ctx.uid, ctx.gid)
        place = self._numbered.get(directory) or self._place(directory or self.overlay.root)
        self.journal.change(op, layer, process, place, name, rest)
        return process

    def _note_handle(self, op: int, layer: int, writer: _Writer, node: Node, rest: bytes) -> None:
        """Record a change by a handle; a file without a name is in no directory."""
        process = writer.number if writer.process is None else writer.process.number
        if node.parent is None:
            self.journal.change(op, layer, process, 0, b"", rest)
        else:
            self.journal.change(op, layer, process, self._place(node.parent), node.name, rest)

    def _place(self, directory: Node) -> int:
        assert isinstance(directory, DirNode)
        return self._places.get(directory) or self._new_place(directory)

    def _new_place(self, directory: DirNode) -> int:
        if len(self._places) >= _DIRECTORIES:
            self._places.clear()
        unknown: list[DirNode] = []
        current: DirNode | None = directory
        while current is not None and current not in self._places:
            unknown.append(current)
            current = current.parent
        number = self._places[current] if current is not None else 0
        for node in reversed(unknown):
            self._place_count += 1
            self.journal.append(records.directory(self._place_count, number, node.name))
            number = self._places[node] = self._place_count
        return number

    def _layer_at(self, parent: Node, name: bytes) -> int:
        return self._layer_of(self.overlay.find(parent, name))

    def _layer_of(self, node: Node | None) -> int:
        """Which layer has what a node shows: its number from the bottom, from 1."""
        if node is None:
            return NO_LAYER
        if node.upper is not None and node.data is None:  # as most that change
            return UPPER
        if isinstance(node, DirNode):
            index = node.parts[0].layer.index if node.parts else 0
        else:
            place = node.data or node.upper or node.lower
            index = 0 if place is None else place[0].layer.index
        return self._depth - index if index else UPPER

    def _older_name(self, node: Node, parent: Node, name: bytes) -> tuple[Node, bytes]:
        if node.parent is not None and (node.parent, node.name) != (parent, name):
            return node.parent, node.name
        return next(iter(node.aliases or ()), (self.overlay.root, b""))


def _attributes(attr: EntryAttributes, fields: pyfuse3.SetattrFields) -> bytes:
    """What a setattr sets."""
    mask = mode = uid = gid = size = 0
    if fields.update_atime or fields.update_mtime:
        mask = records.SET_TIMES
    if fields.update_mode:
        mask, mode = mask | records.SET_MODE, attr.st_mode
    if fields.update_uid:
        mask, uid = mask | records.SET_OWNER, attr.st_uid
    if fields.update_gid:
        mask, gid = mask | records.SET_GROUP, attr.st_gid
    if fields.update_size:
        mask, size = mask | records.SET_SIZE, attr.st_size
    return records.ATTRIBUTES.pack(mask, mode, uid, gid, size)
