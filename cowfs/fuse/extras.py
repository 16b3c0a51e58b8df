"""The requests that pyfuse3 has no handlers for: fallocate, lseek, copy_file_range.

Called by the C library out of libfuse, in the thread of the event loop; an answer is a number, an error an errno.
"""

import errno
from collections.abc import Callable

from cowfs.fuse.errnos import reply_of
from cowfs.fuse.operations import Operations
from cowfs.fuse.transport.library import Library


class Extras:
    """The three callbacks of one mount."""

    def __init__(self, operations: Operations) -> None:
        self._overlay = operations.overlay
        self._handles = operations.handles

    def install(self, library: Library) -> None:
        """Have the library call them. Before pyfuse3.init."""
        library.answer(self.allocate, self.seek, self.copy_range)

    def allocate(self, handle: int, mode: int, offset: int, length: int) -> int:
        """An errno, 0 for done."""
        return -_answer(lambda: self._overlay.allocate(self._handles[handle], mode, offset, length))

    def seek(self, handle: int, offset: int, whence: int) -> int:
        """The position, or minus an errno."""
        return _answer(lambda: self._overlay.seek(self._handles[handle], offset, whence))

    def copy_range(self, source: int, offset: int, target: int, target_offset: int, length: int) -> int:
        """The bytes copied, or minus an errno."""
        handles = self._handles
        return _answer(
            lambda: self._overlay.copy_range(handles[source], offset, handles[target], target_offset, length)
        )


def _answer(call: Callable[[], int | None]) -> int:
    try:
        return call() or 0
    except Exception as failure:
        return -(reply_of(failure).errno or errno.EIO)
