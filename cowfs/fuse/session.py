"""One mounted overlay: pyfuse3 between its start and its end."""

import logging
import os
import signal
from pathlib import Path

import pyfuse3
import trio

from cowfs.fuse.operations import Operations
from cowfs.options import MountOptions
from cowfs.overlay import Overlay

log = logging.getLogger(__name__)


class Session:
    """A live mount; ``run`` serves it and returns when it ended.

    One per process: pyfuse3 keeps its state in globals.
    """

    def __init__(self, options: MountOptions, mountpoint: Path) -> None:
        """Open the layers and mount. Raises OSError, and RuntimeError where libfuse refuses."""
        self._overlay = Overlay(options)
        try:
            pyfuse3.init(Operations(self._overlay), os.fspath(mountpoint), _mount_options(options))
        except BaseException:
            self._overlay.close()
            raise

    def run(self) -> None:
        """Serve until the mount ends or a signal asks for it; unmount, close the layers."""
        try:
            trio.run(_serve_until_ended)
        finally:
            pyfuse3.close(unmount=True)
            self._overlay.close()


async def _serve_until_ended() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_on_signal)
        await pyfuse3.main(min_tasks=1, max_tasks=8)
        nursery.cancel_scope.cancel()


async def _end_on_signal() -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async for _ in signals:
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
