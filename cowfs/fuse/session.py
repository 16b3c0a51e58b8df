"""One mounted overlay: pyfuse3 between its start and its end, and the transport around it."""

import contextlib
import logging
import os
import signal
from pathlib import Path

import pyfuse3
import trio

from cowfs.errors import MountError
from cowfs.fuse import state
from cowfs.fuse.backings import Backings
from cowfs.fuse.extras import Extras
from cowfs.fuse.operations import Operations
from cowfs.fuse.serve import ENDING, unmount
from cowfs.fuse.transport import Levers, handshake, waiting
from cowfs.fuse.transport.library import Library
from cowfs.fuse.transport.passthrough import Passthrough
from cowfs.options import MountOptions
from cowfs.overlay import Overlay

log = logging.getLogger(__name__)

_TASKS = 8  # requests at once; all but one wait for threads


class Session:
    """A live mount; ``run`` serves it and returns when it ended.

    One per process: pyfuse3 keeps its state in globals.
    """

    def __init__(self, options: MountOptions, mountpoint: Path, levers: Levers, library: Library | None) -> None:
        """Open the layers and mount. Raises OSError, and RuntimeError where libfuse refuses."""
        self.levers = levers
        self._options = options
        self._mountpoint = mountpoint
        self._library = library
        self._connection: handshake.Connection | None = None
        self._asked_to_end = False
        self._state: Path | None = None
        self._overlay = Overlay(options)
        self._operations = Operations(self._overlay)
        try:
            self._prepare_library()
            self._connect()
        except BaseException:
            self._overlay.close()
            raise

    def _prepare_library(self) -> None:
        if self._library is None:
            return
        if self.levers.asks("listings"):
            if self._options.live_lower:
                self.levers.refuse("listings", "a lower may change underneath")
            else:
                self._library.cache_directories()
                self.levers.enable("listings")
        if self.levers.asks("extras"):
            Extras(self._operations).install(self._library)

    def _connect(self) -> None:
        where, options = os.fspath(self._mountpoint), _mount_options(self._options)
        if self.levers.asks("handshake"):
            passthrough = self._library is not None and "passthrough" in self.levers.asked
            try:
                connection = handshake.connect(self._options, self._mountpoint, passthrough=passthrough)
            except handshake.HandshakeFailed as failure:
                self.levers.refuse("handshake", str(failure))
            else:
                self._connection = connection
                self._operations.umask_is_ours = True
                where, options = connection.path, set(pyfuse3.default_options) & {"default_permissions"}
        self._operations.on_init = self._connected
        pyfuse3.init(self._operations, where, options)
        if self._library is not None and "extras" in self.levers.asked:
            if self._library.answers:
                self.levers.enable("extras")
            else:
                self.levers.refuse("extras", "this libfuse makes its sessions by another function")
        if self.levers.asks("waiting") and self._connection is not None:
            waiting.install(self._connection.descriptor, lambda: self._operations.busy > 0)
            self.levers.enable("waiting")
        elif "waiting" in self.levers.asked:
            self.levers.refuse("waiting", "needs the handshake: the descriptor is libfuse's own")
        if self._connection is None and "passthrough" in self.levers.asked:
            self.levers.refuse("passthrough", "needs the handshake")

    def _connected(self) -> None:
        """Libfuse handles INIT: the first request of all, before any that a program caused."""
        if self._connection is not None:
            self._finish_handshake(self._connection)
        self._state = state.publish(self._mountpoint, {"levers": self.levers.report()})

    def _finish_handshake(self, connection: handshake.Connection) -> None:
        connection.answer()
        self.levers.enable("handshake")
        if not self.levers.asks("passthrough") or self._library is None:
            return
        upper = self._overlay.upper
        if not connection.flags & handshake.PASSTHROUGH:
            self.levers.refuse("passthrough", "the kernel does not offer it (Linux 6.9)")
        elif upper is None:
            self.levers.refuse("passthrough", "nothing can be written: there is no upper")
        else:
            passthrough = Passthrough(connection.descriptor)
            try:
                passthrough.probe(upper.work.fd)
            except OSError as failure:
                self.levers.refuse("passthrough", f"the kernel refuses it for the upper: {failure.strerror}")
            else:
                self._operations.backings = Backings(passthrough, self._library)
                self.levers.enable("passthrough")

    def run(self) -> None:
        """Serve until the mount ends or a signal asks for it; unmount, close the layers."""
        try:
            trio.run(self._serve)
        finally:
            if self._state is not None:
                self._state.unlink(missing_ok=True)
            if self._connection is not None and self._asked_to_end:
                with contextlib.suppress(MountError):
                    unmount(self._mountpoint, lazy=True)
            pyfuse3.close(unmount=self._connection is None)
            self._overlay.close()

    async def _serve(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_on_signal)
            await pyfuse3.main(min_tasks=1, max_tasks=_TASKS)
            nursery.cancel_scope.cancel()

    async def _end_on_signal(self) -> None:
        with trio.open_signal_receiver(*ENDING) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            async for _ in signals:
                self._asked_to_end = True
                pyfuse3.terminate()


def _mount_options(options: MountOptions) -> set[str]:
    flags = {"default_permissions", f"fsname={options.source}", "subtype=cowfs"}
    if options.allow_other:
        flags.add("allow_other")
    flags.add("suid" if options.allow_suid else "nosuid")
    flags.add("dev" if options.allow_dev else "nodev")
    if not options.writable:
        flags.add("ro")
    return flags
