"""Which open files are served by the kernel alone: the policy over ``transport.passthrough``'s mechanism.

    the file's data   other open handles    the handle            it is opened
    ----------------  --------------------  --------------------  -------------------------------------------
    in a lower        -                     -                     cached: a later copy-up switches it
    in the upper      a cached one          -                     cached, as that one
    in the upper      none                  takes privileges off  cached, with what the kernel kept thrown away
    in the upper      passthrough ones      any                   passthrough, with the same id
    in the upper      none                  plain                 passthrough

One inode is never open both ways at once, which the kernel would answer with EIO.
"""

import logging
from typing import Final

from cowfs.fuse.transport.library import Library
from cowfs.fuse.transport.passthrough import Passthrough
from cowfs.state.handles import Handle
from cowfs.state.nodes import Node

FIRST_DIRECTORY: Final = 1 << 16  # numbers of open directories, apart from those of files (library.c: HANDLES)

log = logging.getLogger(__name__)


class Backings:
    """The backing ids that are in use, one for each node that is open in passthrough."""

    def __init__(self, passthrough: Passthrough, library: Library) -> None:
        self._passthrough = passthrough
        self._library = library
        self._ids: dict[Node, tuple[int, int]] = {}  # node -> id, number of handles

    def opened(self, handle: Handle) -> bool:
        """Decide how a new handle is opened; True where the kernel may keep its cache of the file."""
        node = handle.node
        known = self._ids.get(node)
        if known is not None:
            self._ids[node] = (known[0], known[1] + 1)
            self._mark(handle, known[0])
            return True
        if not handle.on_upper or node.data is not None or handle.fd >= FIRST_DIRECTORY:
            return handle.same_version
        if len(node.handles) > 1:
            return True  # a cached one was there before; since then nothing went past the cache
        if handle.kill_privileges:
            return False
        try:
            backing = self._passthrough.register(handle.fd, privileged=handle.privileged)
        except OSError as failure:
            log.info("no passthrough for a file: %s", failure)
            return False
        self._ids[node] = (backing, 1)
        self._mark(handle, backing)
        return True

    def released(self, handle: Handle) -> None:
        """A handle that was opened in passthrough is closed; the last one gives the id back."""
        backing, users = self._ids.pop(handle.node)
        if users > 1:
            self._ids[handle.node] = (backing, users - 1)
        else:
            self._passthrough.forget(backing)
        self._library.set_backing(handle.fd, 0)
        handle.backing = None

    def _mark(self, handle: Handle, backing: int) -> None:
        handle.backing = backing
        self._library.set_backing(handle.fd, backing)
