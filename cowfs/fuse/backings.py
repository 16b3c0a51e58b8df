"""Which open files are served by the kernel alone: the policy over ``transport.passthrough``'s mechanism.

    the file's data   other open handles    the handle            it is opened
    ----------------  --------------------  --------------------  -------------------------------------------
    in a lower        -                     -                     cached: a later copy-up switches it
    in the upper      a cached one          -                     cached, as that one
    in the upper      none                  takes privileges off  cached, with what the kernel kept thrown away
    in the upper      passthrough ones      any                   passthrough, with the same id
    in the upper      none                  plain                 passthrough

One inode is never open both ways at once, which the kernel would answer with EIO.

Of writes to a mapping nobody tells the kernel's FUSE side: while a file in passthrough is open for reading and writing,
as a shared mapping for writing needs it, its attributes must not be kept (``is_mappable``). A mapping that outlives the
handles is known to nobody: stat shows the times of its later writes when the kernel asks again for another reason.
"""

import logging
import os

from cowfs.fuse.transport.library import HANDLES, Library
from cowfs.fuse.transport.passthrough import Passthrough
from cowfs.state.handles import Handle
from cowfs.state.nodes import Node

log = logging.getLogger(__name__)


class _Backing:
    __slots__ = ("mappable", "number", "users")

    def __init__(self, number: int) -> None:
        self.number = number  # the kernel's
        self.users = 0  # handles
        self.mappable = False  # one of them was opened for reading and writing


class Backings:
    """The backing ids that are in use, one for each node that is open in passthrough."""

    def __init__(self, passthrough: Passthrough, library: Library) -> None:
        self._passthrough = passthrough
        self._library = library
        self._open: dict[Node, _Backing] = {}

    def is_mappable(self, node: Node) -> bool:
        """May somebody write to the file through a mapping that the kernel's FUSE side does not see?"""
        backing = self._open.get(node)
        return backing is not None and backing.mappable

    def opened(self, handle: Handle, flags: int) -> bool:
        """Decide how a new handle is opened, by ``flags``; True where the kernel may keep its cache of the file."""
        node = handle.node
        known = self._open.get(node)
        if known is not None:
            self._use(known, handle, flags)
            return True
        if not handle.on_upper or node.data is not None or handle.fd >= HANDLES:
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
        known = self._open[node] = _Backing(backing)
        self._use(known, handle, flags)
        return True

    def released(self, handle: Handle) -> None:
        """A handle that was opened in passthrough is closed; the last one gives the id back."""
        backing = self._open[handle.node]
        backing.users -= 1
        if not backing.users:
            del self._open[handle.node]
            self._passthrough.forget(backing.number)
        self._library.backing[handle.fd] = 0
        handle.backing = None

    def _use(self, backing: _Backing, handle: Handle, flags: int) -> None:
        backing.users += 1
        if flags & os.O_ACCMODE == os.O_RDWR:
            backing.mappable = True
        handle.backing = backing.number
        self._library.backing[handle.fd] = backing.number
