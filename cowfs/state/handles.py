"""Open files. The number that the kernel gets for a handle is the descriptor itself.

So reads and writes need no look-up, and a C function that serves a request without Python has all it needs.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cowfs.state.nodes import Node


class Handle:
    """An open regular file. ``fd`` stays the same number when a copy-up puts another file behind it."""

    __slots__ = ("backing", "fd", "kill_privileges", "node", "on_upper", "privileged", "same_version", "writable")

    def __init__(self, node: "Node", fd: int, *, writable: bool, on_upper: bool, privileged: bool = True) -> None:
        self.node = node
        self.fd = fd
        self.writable = writable  # opened for writing by the caller, not necessarily so behind ``fd``
        self.on_upper = on_upper  # False: ``fd`` is the lower file, read-only, until the first write
        self.privileged = privileged  # its opener's writes leave setuid and setgid on the file (CAP_FSETID)
        self.kill_privileges = False  # a write through it takes setuid and setgid off the file
        self.same_version = True  # False: a live lower put another version there since the last open
        self.backing: int | None = None  # the id of a passthrough registration
