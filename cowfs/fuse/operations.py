"""Requests of the kernel, one method each: find the node, call the overlay, answer.

Nothing is decided here but what a mount alone knows: what the kernel may cache, how long work moves to a thread, which
node numbers the kernel holds. Between two awaits nothing else runs, so only the methods that await need care: they
re-read what they knew before.
"""

import errno
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Final, cast

import pyfuse3
from pyfuse3 import EntryAttributes, FileHandleT, FileInfo, FileNameT, FlagT, InodeT, ModeT, RequestContext, XAttrNameT

from cowfs.fuse import convert, schedule
from cowfs.fuse.backings import Backings
from cowfs.fuse.errnos import immediate, waiting
from cowfs.fuse.transport.library import HANDLES, Library
from cowfs.linux import ACL_ACCESS
from cowfs.overlay import Caller, DirNode, Handle, Node, Overlay
from cowfs.overlay.parts import NAME_MAX

if TYPE_CHECKING:
    import trio

    from cowfs.overlay.engine import EngineOverlay

log = logging.getLogger(__name__)

_IN_THREAD: Final = 1 << 20  # bytes: a copy that may take longer than a few milliseconds


class Operations(pyfuse3.Operations):
    """The handlers of one mount."""

    supports_dot_lookup = False
    enable_writeback_cache = False
    enable_acl = True

    def __init__(self, overlay: Overlay) -> None:
        super().__init__()
        self.overlay = overlay
        if overlay.options.engine is not None:
            self._keep_no_attributes_that(cast("EngineOverlay", overlay).may_part)
        self.umask_is_ours = False  # the kernel leaves the caller's umask to us (FUSE_DONT_MASK)
        self.on_init: Callable[[], None] | None = None  # called while libfuse handles INIT
        self.backings: Backings | None = None  # where files of the upper are opened in passthrough
        self.busy = 0  # requests that wait for a thread
        self._threads: Library | None = None  # whose threads read and close files
        self._table = overlay.table
        self._live = overlay.options.live_lower
        self._absent = convert.absent(convert.LIVE if self._live else convert.FOREVER)
        self._handles: dict[int, Handle] = {}
        self._directories: dict[int, Node] = {}
        self.directories_by_node = False  # no OPENDIR comes: the node's number is the handle
        self._numbers = count(HANDLES)  # of open directories, apart from those of files
        self._filling: dict[Node, trio.Event] = {}

    def use_threads(self, library: Library) -> None:
        """Have files read, and removed ones closed, by the library's threads."""
        self._threads = library
        self.overlay.close_removed = library.close_later
        self.overlay.before_parts = self._read_here

    def _read_here(self, node: Node) -> None:
        """Not all of the file's data will be behind its descriptors any more."""
        assert self._threads is not None
        for handle in node.handles:
            self._threads.whole[handle.fd] = 0
        self._threads.wait_for_reads()

    def init(self) -> None:
        """Called by libfuse when the connection begins."""
        if self.on_init is not None:
            self.on_init()

    @property
    def handles(self) -> Mapping[int, Handle]:
        """The open files by their numbers, which are descriptors."""
        return self._handles

    def cached_writers(self) -> list[bytes]:
        """Paths below the mount point of files that are open for writing through the kernel's cache."""
        nodes = {handle.node for handle in self._handles.values() if handle.writable and handle.backing is None}
        return [self.overlay.path_of(node) for node in nodes if not node.orphan]

    # --- common -------------------------------------------------------------------------------------------

    def _entry(self, node: Node) -> EntryAttributes:
        """The answer for a node, made once: attributes are kept until they change, never while a writer has it open."""
        reply = node.reply
        if reply is None:
            timeout = convert.LIVE if self._live and not node.on_upper else convert.FOREVER
            reply = convert.entry_attributes(self.overlay.attr(node), timeout)
            if self.backings is not None and self.backings.is_mappable(node):
                reply.attr_timeout = 0
            if not self._live and not any(handle.writable for handle in node.handles):
                node.reply = reply
        return cast(EntryAttributes, reply)

    def _keep_no_attributes_that(self, may_part: Callable[[Node], bool]) -> None:
        """Have the kernel ask each time for what an open may change. To tell it then could wait for us for ever."""
        entry = self._entry

        def asked_again(node: Node) -> EntryAttributes:
            reply = entry(node)
            if may_part(node):
                reply.attr_timeout = 0
            return reply

        self._entry = asked_again  # type: ignore[method-assign]

    def _known(self, node: Node) -> EntryAttributes:
        """The answer for a node that the kernel now holds once more."""
        entry = self._entry(node)
        node.lookups += 1
        return entry

    def _caller(self, ctx: RequestContext) -> Caller:
        return self.overlay.caller(ctx.uid, ctx.gid, ctx.umask if self.umask_is_ours else 0)

    # --- names --------------------------------------------------------------------------------------------

    @immediate
    def lookup(self, parent: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        node = self.overlay.find(self._table[parent], name)
        return self._absent if node is None else self._known(node)

    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, lookups in inode_list:
            node = self._table.get(inode)
            if node is None:
                continue
            try:
                self.overlay.forget(node, lookups)
            except Exception:  # there is no answer that could carry an error, and the mount must not end
                log.exception("node %d could not be forgotten", inode)

    @immediate
    def mknod(self, parent: InodeT, name: FileNameT, mode: ModeT, rdev: int, ctx: RequestContext) -> EntryAttributes:
        return self._known(self.overlay.mknod(self._table[parent], name, mode, rdev, self._caller(ctx)))

    @immediate
    def mkdir(self, parent: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext) -> EntryAttributes:
        return self._known(self.overlay.mkdir(self._table[parent], name, mode, self._caller(ctx)))

    @immediate
    def symlink(self, parent: InodeT, name: FileNameT, target: FileNameT, ctx: RequestContext) -> EntryAttributes:
        return self._known(self.overlay.symlink(self._table[parent], name, target, self._caller(ctx)))

    @immediate
    def link(self, inode: InodeT, parent: InodeT, name: FileNameT, ctx: RequestContext) -> EntryAttributes:
        node = self._table[inode]
        self.overlay.link(node, self._table[parent], name)
        return self._known(node)

    @immediate
    def unlink(self, parent: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self.overlay.unlink(self._table[parent], name)

    @immediate
    def rmdir(self, parent: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        self.overlay.rmdir(self._table[parent], name)

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
        self.overlay.rename(self._table[parent_old], name_old, self._table[parent_new], name_new, flags)

    @immediate
    def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return FileNameT(self.overlay.readlink(self._table[inode]))

    # --- attributes ---------------------------------------------------------------------------------------

    @immediate
    def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        return self._entry(self._table[inode])

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
        changes = convert.changes(attr, fields)
        # Whatever changes, not while a copy of the data is under way: it restores the times that it found.
        await self.bring_data(node, needed=bool(changes.size) and not self.in_parts(node))
        self.overlay.setattr(node, changes, self._caller(ctx), by_handle=fh is not None)
        return self._entry(node)

    @immediate
    def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        return self.overlay.getxattr(self._table[inode], name)

    @immediate
    def listxattr(self, inode: InodeT, ctx: RequestContext) -> list[XAttrNameT]:
        return [XAttrNameT(name) for name in self.overlay.listxattr(self._table[inode])]

    @immediate
    def setxattr(self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext) -> None:
        node = self._table[inode]
        self.overlay.setxattr(node, name, value)
        if name == ACL_ACCESS and ctx.uid and not self._in_group(node, ctx):
            self.overlay.drop_setgid(node)

    def _in_group(self, node: Node, ctx: RequestContext) -> bool:
        gid = self.overlay.attr(node).gid
        return gid == ctx.gid or gid in pyfuse3.get_sup_groups(ctx.pid)

    @immediate
    def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        self.overlay.removexattr(self._table[inode], name)

    @immediate
    def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        return True  # default_permissions: the kernel has decided

    @immediate
    def statfs(self, ctx: RequestContext) -> pyfuse3.StatvfsData:
        return convert.statvfs_data(self.overlay.statfs(), NAME_MAX)

    # --- files --------------------------------------------------------------------------------------------

    @waiting
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        node = self._table[inode]
        if flags & os.O_TRUNC:
            await self.bring_data(node, needed=False)
        elif flags & os.O_ACCMODE != os.O_RDONLY and self.overlay.options.copy_up_on_open:
            await self.bring_data(node, needed=True)
        return self._opened(self.overlay.open(node, flags, self._caller(ctx)), flags)

    @immediate
    def create(
        self, parent: InodeT, name: FileNameT, mode: ModeT, flags: FlagT, ctx: RequestContext
    ) -> tuple[FileInfo, EntryAttributes]:
        handle = self.overlay.create(self._table[parent], name, mode, self._caller(ctx))
        info = self._opened(handle, flags)
        return info, self._known(handle.node)

    def _opened(self, handle: Handle, flags: int) -> FileInfo:
        self._handles[handle.fd] = handle
        keep_cache = handle.same_version if self.backings is None else self.backings.opened(handle, flags)
        if self._threads is not None and handle.fd < HANDLES:
            self._threads.whole[handle.fd] = handle.node.partial is None
        return FileInfo(fh=FileHandleT(handle.fd), keep_cache=keep_cache)

    @immediate
    def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        handle = self._handles[fh]
        if handle.node.partial is not None:
            return self.overlay.read_parts(handle, off, size)
        return os.pread(fh, size, off)

    @waiting
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        handle = self._handles[fh]
        if self._filling or not handle.on_upper:
            await self.bring_data(handle.node, needed=not handle.on_upper and not self.in_parts(handle.node))
        if not handle.on_upper or handle.kill_privileges:
            self.overlay.prepare_write(handle)
        if handle.node.partial is None:
            return os.pwrite(fh, buf, off)
        done = self.overlay.write_parts(handle, off, buf)
        if self.overlay.has_many_parts(handle.node):
            await self.bring_data(handle.node, needed=True)
        return done

    def in_parts(self, node: Node) -> bool:
        """Does a write to the file bring up only what it writes?"""
        return node.partial is not None or self.overlay.comes_in_parts(node)

    async def flush(self, fh: FileHandleT) -> None:
        raise pyfuse3.FUSEError(errno.ENOSYS)  # asked once, then never again: nothing is buffered here

    @immediate
    def release(self, fh: FileHandleT) -> None:
        handle = self._handles.pop(fh)
        if handle.backing is not None and self.backings is not None:
            self.backings.released(handle)
        self.overlay.release(handle)

    @waiting
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:
        handle = self._handles[fh]
        await self._in_thread(lambda: self.overlay.fsync(handle, data_only=datasync))

    async def _in_thread(self, work: Callable[[], None]) -> None:
        self.busy += 1
        try:
            await schedule.loop.to_thread.run_sync(work)
        finally:
            self.busy -= 1

    def must_wait(self, node: Node, *, needed: bool) -> bool:
        """Would ``bring_data`` wait?"""
        return node in self._filling or (needed and self._is_long(node))

    def _is_long(self, node: Node) -> bool:
        is_whole = node.on_upper and node.data is None
        return not is_whole and self.overlay.attr(node).size >= _IN_THREAD

    async def bring_data(self, node: Node, *, needed: bool) -> None:
        """Wait for a copy of the node's data that is under way; where ``needed`` and long, make it in a thread."""
        while node in self._filling:
            await self._filling[node].wait()
        if not needed or not self._is_long(node):
            return
        done = self._filling[node] = schedule.loop.Event()
        try:
            before, capability = self.overlay.status(node), self.overlay.capability(node)
            fill = self.overlay.start_fill(node)
            try:
                await self._in_thread(fill.run)
                self.overlay.finish_fill(fill, before, capability)
            finally:
                fill.close()
        finally:
            del self._filling[node]
            done.set()

    # --- directories --------------------------------------------------------------------------------------

    @immediate
    def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        number = next(self._numbers)
        self._directories[number] = self._table[inode]
        return FileHandleT(number)

    def _directory(self, fh: int) -> DirNode:
        node = self._table[fh] if self.directories_by_node else self._directories[fh]
        assert isinstance(node, DirNode)
        return node

    @immediate
    def readdir(self, fh: FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        directory = self._directory(fh)
        listing = self.overlay.listing(directory, start_id)
        for position in range(listing.position(start_id), len(listing.names)):
            name = listing.names[position]
            node, entry = None, self._absent
            try:
                node = self._listed(directory, name)
                if node is None:
                    continue
                entry = self._entry(node)
            except OSError as failure:
                # What is wrong with one name a look-up of it says; the others are listed.
                log.debug("%r in a listing: %s", name, failure)
            if not pyfuse3.readdir_reply(token, FileNameT(name), entry, listing.numbers[position] + 1):
                return
            if node is not None and name not in (b".", b".."):
                node.lookups += 1

    def _listed(self, directory: DirNode, name: bytes) -> Node | None:
        """The node of a listed name, None where it was removed since."""
        if name == b".":
            return directory
        if name == b"..":
            return directory.parent or directory
        return self.overlay.find(directory, name)

    @immediate
    def releasedir(self, fh: FileHandleT) -> None:
        del self._directories[fh]

    @waiting
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:
        node = self._directory(fh)
        await self._in_thread(lambda: self.overlay.fsyncdir(node))
