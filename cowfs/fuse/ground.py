"""What a session stands on: the opened layers and, by the handshake, the mount. Without pyfuse3.

So that whoever waits can be told of a mount for a container engine before pyfuse3 and all that serves are imported: an
engine has other things to do before it looks inside (docs/architecture.md). Requests wait in the kernel till then.
Everything that a person can have done wrong is found here.
"""

import contextlib
import os
from pathlib import Path

from cowfs.errors import MountError
from cowfs.fuse import mountpoints
from cowfs.fuse.transport import Levers, handshake
from cowfs.options import MountOptions
from cowfs.overlay import Overlay, open_overlay


class Ground:
    """Opened layers, and their mount once there is one."""

    def __init__(self, options: MountOptions, mountpoint: Path, levers: Levers) -> None:
        """Open the layers. Raises OSError."""
        self.levers = levers
        self.options = options
        self.mountpoint = Path(os.path.realpath(mountpoint))  # before it asks ourselves
        self.device: int | None = None  # of the mount, once there is one
        self._identity: int | None = None  # no other mount ever has it; None where the kernel does not tell
        self.connection: handshake.Connection | None = None
        self.overlay = _overlay(options)

    def connect(self, *, passes: bool) -> bool:
        """Mount by the handshake; False where that is not to be. ``passes``: passthrough may be wanted.

        Raises OSError and MountError where there is no other way.
        """
        if self.connection is not None:
            return True
        if not self.levers.asks("handshake"):
            if self.options.mounter >= 0:
                raise MountError("an ordinary user's mount needs the handshake (--transport)")
            return False
        if "handshake" in self.levers.reasons:
            return False
        depth = self._stack_depth() if passes else 0
        try:
            self.connection = handshake.connect(self.options, self.mountpoint, stack_depth=depth)
        except handshake.HandshakeFailed as failure:
            self.levers.refuse("handshake", str(failure))
            return False
        self.note_mount()
        return True

    def _stack_depth(self) -> int:
        upper = self.overlay.upper
        if upper is None or not self.levers.asks("passthrough"):
            return 0
        from cowfs.fuse.transport.passthrough import stack_depth_above

        return stack_depth_above(upper.work.fd)

    def note_mount(self) -> None:
        """There is a mount; which one?"""
        self.device = mountpoints.device_at(self.mountpoint)
        self._identity = mountpoints.identity_at(self.mountpoint)

    def is_on_top(self) -> bool:
        """Is our mount what is seen there?"""
        return self.device is not None and mountpoints.device_at(self.mountpoint) == self.device

    def hang_up(self) -> None:
        """Close what is not libfuse's of the connection."""
        if self.connection is not None:
            self.connection.close()

    def unmount(self) -> None:
        """Take the mount away, where nobody did: what nobody serves would answer ENOTCONN for ever."""
        if not self.is_on_top():
            return
        # Somebody's next mount may have the number of ours by now.
        if self._identity is None or mountpoints.identity_at(self.mountpoint) == self._identity:
            with contextlib.suppress(OSError):
                handshake.unmount(self.mountpoint, lazy=True)

    def leave(self) -> None:
        """Without a session: no mount, nothing open."""
        self.hang_up()
        self.unmount()
        self.overlay.close()


def _overlay(options: MountOptions) -> Overlay:
    if not options.layers:
        return open_overlay(options)
    if not options.apart:
        from cowfs.views.labels import Labelled  # no start of a run must pay for these

        return Labelled(options)
    from cowfs.views.layered import Layered

    return Layered(options)
