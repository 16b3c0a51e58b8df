"""The requests that pyfuse3 has no handlers for: fallocate, lseek, copy_file_range.

Called by the C library out of libfuse, in the thread of the event loop; an answer is a number, an error an errno. Where
the data of a file has to be brought up first and that takes long, the answer comes later, from a task of its own.
"""

import errno
from collections.abc import Callable

from cowfs.fuse import schedule
from cowfs.fuse.errnos import reply_of
from cowfs.fuse.operations import Operations
from cowfs.fuse.transport.library import LATER, Library, Request
from cowfs.overlay import Node

Work = Callable[[], int | None]
Answer = Callable[[Request, int], None]


class Extras:
    """The three callbacks of one mount. Nothing may be raised out of one: C would answer what happens to be there."""

    def __init__(self, operations: Operations, library: Library) -> None:
        self._operations = operations
        self._overlay = operations.overlay
        self._handles = operations.handles
        self._library = library

    def install(self) -> None:
        """Have the library call them. Before pyfuse3.init."""
        self._library.answer(self.allocate, self.seek, self.copy_range)

    def allocate(self, request: Request, handle: int, mode: int, offset: int, length: int) -> int:
        """0 for done."""

        def work() -> None:
            self._overlay.allocate(self._handles[handle], mode, offset, length)

        def answer() -> int | None:
            return self._now_or_later(request, self._handles[handle].node, True, work, self._library.allocated)

        return _answer(answer)

    def seek(self, handle: int, offset: int, whence: int) -> int:
        """The position."""
        return _answer(lambda: self._overlay.seek(self._handles[handle], offset, whence))

    def copy_range(
        self, request: Request, source: int, offset: int, target: int, target_offset: int, length: int
    ) -> int:
        """The bytes copied."""
        handles = self._handles

        def work() -> int:
            return self._overlay.copy_range(handles[source], offset, handles[target], target_offset, length)

        def answer() -> int | None:
            node = handles[target].node
            needed = not handles[target].on_upper and not self._operations.in_parts(node)
            return self._now_or_later(request, node, needed, work, self._library.copied)

        return _answer(answer)

    def _now_or_later(self, request: Request, node: Node, needed: bool, work: Work, answer: Answer) -> int | None:
        if not self._operations.must_wait(node, needed=needed):
            return work()
        schedule.loop.lowlevel.spawn_system_task(self._later, request, node, needed, work, answer)
        return LATER

    async def _later(self, request: Request, node: Node, needed: bool, work: Work, answer: Answer) -> None:
        try:
            await self._operations.bring_data(node, needed=needed)
        except Exception as failure:
            answer(request, _failed(failure))
        else:
            answer(request, _answer(work))


def _answer(call: Work) -> int:
    try:
        return call() or 0
    except Exception as failure:
        return _failed(failure)


def _failed(failure: Exception) -> int:
    return -(reply_of(failure).errno or errno.EIO)
