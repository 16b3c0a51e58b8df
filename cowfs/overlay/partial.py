"""Big files are copied up by what is written to them (``cowfs.state.partial`` has the picture).

On disk such a file is a metacopy with one mark more. It is made whole at the end of the mount, when all of it was
written, or when somebody asks for what only a whole file can do; until then the kernel's overlayfs would show the
lower's bytes.
"""

import errno
import logging
import os
import stat
from typing import Final

from cowfs import ondisk
from cowfs.layers.directory import Directory
from cowfs.layers.upper import Upper
from cowfs.overlay.attributes import Attributes
from cowfs.overlay.copy_up import Content
from cowfs.overlay.create import ROOT, Caller
from cowfs.overlay.parts import error
from cowfs.state.extents import Extents
from cowfs.state.handles import Handle
from cowfs.state.nodes import Node
from cowfs.state.partial import BLOCK, Partial

log = logging.getLogger(__name__)

_MANY: Final = 4096  # parts from which on one whole file is better


class PartialCopyUp(Attributes):
    """Copies up by parts."""

    partial_from = 1 << 20  # bytes: smaller files are copied whole
    _holes_work: bool | None = None

    def comes_in_parts(self, node: Node) -> bool:
        """Should the first write to this lower file bring only what it writes?"""
        if node.partial is not None or not stat.S_ISREG(node.kind) or (node.on_upper and node.data is None):
            return False
        if self.options.copy_up_on_open or self.options.live_lower:
            return False  # somebody reads the upper beside us; the lower may change under the parts
        return self.status(node).st_size >= self.partial_from and self._upper_has_holes()

    def _upper_has_holes(self) -> bool:
        if self._holes_work is None:
            directory = self.writer().work.fd
            probe = os.open(b".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                os.ftruncate(probe, 16 * BLOCK)
                os.pwrite(probe, b"x", 8 * BLOCK)
                found = os.lseek(probe, 0, os.SEEK_DATA), os.lseek(probe, 8 * BLOCK, os.SEEK_HOLE)
                self._holes_work = found == (8 * BLOCK, 9 * BLOCK)
            except OSError:
                self._holes_work = False
            finally:
                os.close(probe)
        return self._holes_work

    def start_partial(self, node: Node) -> None:
        """From here on writes go to the upper, and reads take each part from where it is."""
        self.raise_node(node, Content.STAYS)
        source = self._open_data(node)
        end = min(os.fstat(source).st_size, self.status(node).st_size)
        partial = Partial(source, end, Extents())
        try:
            self._write_end(node, end)
        except BaseException:
            partial.close()
            raise
        self.before_parts(node)
        node.partial = partial
        self._switch_handles(node)

    def _write_end(self, node: Node, end: int) -> None:
        self.writer().expect_parts()
        path, follow = self.operand(node)
        os.setxattr(path, self.marks.name(ondisk.PARTIAL), b"%d" % end, follow_symlinks=follow)

    def truncate(self, node: Node, size: int, caller: Caller = ROOT, *, by_handle: bool = False) -> None:
        """As ``Attributes.truncate``, without the data of a big file."""
        if size and not node.is_dir and self.comes_in_parts(node):
            self.start_partial(node)
        if not size or node.partial is None:
            super().truncate(node, size, caller, by_handle=by_handle)
            return
        if size < node.partial.lower_end:
            self._write_end(node, size)
            node.partial.lower_end = size
        if not by_handle and self.status(node).st_size == size:
            return
        upper = self.open_upper(node, writable=True)
        try:
            node.partial.truncate(upper, size)
        finally:
            os.close(upper)
        if not caller.privileged:
            self.kill_privileges(node)
        self.touch(node)

    def read_parts(self, handle: Handle, offset: int, size: int) -> bytes:
        """Read of a file whose node has ``partial``."""
        assert handle.node.partial is not None
        return handle.node.partial.read(handle.fd, offset, size)

    def write_parts(self, handle: Handle, offset: int, data: bytes) -> int:
        """Write to a file whose node has ``partial``."""
        partial = handle.node.partial
        assert partial is not None
        done = partial.write(handle.fd, offset, data)
        if len(partial.extents) == 1 and not partial.missing():
            self.raise_node(handle.node, Content.COMES)  # nothing is left to copy
        return done

    def has_many_parts(self, node: Node) -> bool:
        """Is a file in so many parts that a whole one is better? Making it one may take long."""
        return node.partial is not None and len(node.partial.extents) > _MANY

    def seek_parts(self, handle: Handle, offset: int, whence: int) -> int:
        """SEEK_DATA and SEEK_HOLE of a file that counts as one piece of data."""
        size = os.fstat(handle.fd).st_size
        if offset >= size:
            raise error(errno.ENXIO)
        return offset if whence == os.SEEK_DATA else size

    def close(self) -> None:
        """As ``Tree.close``; files of which only parts were written are made whole first."""
        if self.upper is not None:
            self._make_all_whole(self.upper)
        super().close()

    def _make_all_whole(self, upper: Upper) -> None:
        found = not upper.parts_left or self._look_for_parts(upper)
        whole = [self._make_whole(node) for node in list(self.table) if node.partial is not None]
        if found and all(whole):
            upper.all_whole()

    def _make_whole(self, node: Node) -> bool:
        try:
            if node.on_upper and not node.orphan:
                self.raise_node(node, Content.COMES)
        except OSError:
            log.exception("a file that was written in part could not be made whole; it stays as it is")
            return False
        return True

    def _look_for_parts(self, upper: Upper) -> bool:
        """Have nodes for all files that a mount that was killed left in parts. False where one cannot be found."""
        pending, found = [(upper.root, b"")], True
        while pending:
            directory, path = pending.pop()
            for name, kind in directory.list():
                if kind == stat.S_IFDIR:
                    pending.append((directory.child(name), path + b"/" + name))
                elif kind == stat.S_IFREG and self._is_in_parts(directory, name):
                    found = self._meet(path + b"/" + name) and found
        return found

    def _is_in_parts(self, directory: Directory, name: bytes) -> bool:
        return directory.marks().impure and self.marks.get(directory.path_of(name), ondisk.PARTIAL) is not None

    def _meet(self, path: bytes) -> bool:
        try:
            self.walk(path)
        except OSError:
            log.exception("%r was written in part and cannot be made whole; it stays as it is", path)
            return False
        return True
