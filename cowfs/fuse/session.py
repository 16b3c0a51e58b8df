"""One mounted overlay: pyfuse3 between its start and its end, and the transport around it."""

import contextlib
import ctypes
import faulthandler
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyfuse3

from cowfs.fuse import schedule, state
from cowfs.fuse.backings import Backings
from cowfs.fuse.extras import Extras
from cowfs.fuse.ground import Ground
from cowfs.fuse.operations import Operations
from cowfs.fuse.serve import ENDING
from cowfs.fuse.transport import handshake, waiting
from cowfs.fuse.transport.latency import Latency, Unneeded
from cowfs.fuse.transport.library import Library
from cowfs.fuse.transport.passthrough import Passthrough
from cowfs.options import MountOptions

if TYPE_CHECKING:
    from cowfs.fuse.journaled import Journaled

log = logging.getLogger(__name__)

_TASKS = 8  # requests at once; all but one wait for threads
_WRITE_BACK = 120  # seconds


class Session:
    """A live mount; ``run`` serves it and returns when it ended.

    One per process: pyfuse3 keeps its state in globals.
    """

    def __init__(self, ground: Ground, library: Library | None) -> None:
        """Mount, where ``ground`` has not yet; it is ours. Raises OSError, and RuntimeError where libfuse refuses."""
        self._ground = ground
        self.levers = ground.levers
        self._options = options = ground.options
        self._library = library
        self._takes: Library | None = None  # takes the requests from the device
        self._on_live: Callable[[], None] = lambda: None
        self._failure: BaseException | None = None
        self._state: Path | None = None
        self._begun = False  # libfuse has a session
        self._overlay = ground.overlay
        self._operations, self._journal = self._begin_operations(options)
        self._operations.enable_acl = options.acl
        try:
            self._prepare_library()
            self._connect()
        except BaseException:
            self._leave()
            raise

    def _begin_operations(self, options: MountOptions) -> "tuple[Operations, Journaled | None]":
        if options.journal is None or not options.writable:
            return Operations(self._overlay), None
        from cowfs.fuse.journaled import Journaled
        from cowfs.journal.writer import Journal

        try:
            journal = Journal(options.journal, when_needed=options.journal_when_needed, ended=options.journal_ended)
        except BaseException:
            self._ground.leave()
            raise
        operations = Journaled(self._overlay, journal, each_write=options.each_write)
        return operations, operations

    def _prepare_library(self) -> None:
        if self._library is None:
            return
        if self.levers.asks("listings"):
            if self._options.live_lower:
                self.levers.refuse("listings", "a lower may change underneath")
            else:
                self._library.keep_listings()
        if self._options.engine is not None:
            self._library.share_numbers()
            self._overlay.shows_links = True
        if self.levers.asks("extras"):
            Extras(self._operations, self._library).install()
        if self.levers.asks("passthrough") and not self._options.volatile:
            self._library.sync_files()
        if self.levers.asks("threads"):
            self._library.read_files()
        if self.levers.asks("answers") and self.levers.asks("handshake") and self._overlay.shows_what_is_stored:
            self._overlay.bare_numbers = self._library.answer_attributes()

    def _connect(self) -> None:
        ground = self._ground
        where, options = os.fspath(ground.mountpoint), _mount_options(self._options)
        ground.connect(passes=self._library is not None)
        if ground.connection is not None:
            self._operations.umask_is_ours = True
            where, options = ground.connection.path, set(pyfuse3.default_options) & {"default_permissions"}
        else:
            self._refuse_without_handshake()
        self._operations.on_init = self._connected
        pyfuse3.init(self._operations, where, options)
        self._begun = True
        self._look_whether_library_answers()
        if ground.connection is not None:
            self._choose_wait(ground.connection.descriptor)
        else:
            ground.note_mount()

    def _refuse_without_handshake(self) -> None:
        for name in ("waiting", "latency", "passthrough", "answers"):
            if self.levers.asks(name) and name not in self.levers.reasons:
                self.levers.refuse(name, "needs the handshake")

    def _choose_wait(self, descriptor: int) -> None:
        looks = self.levers.asks("waiting")
        self._takes = self._library if looks or "answers" in self.levers.on else None
        latency = self._latency()
        if looks or self._takes is not None or latency is not None:
            waiting.install(descriptor, lambda: self._operations.busy > 0, self._takes, latency, looks=looks)
        if looks:
            self.levers.enable("waiting")

    def _latency(self) -> Latency | None:
        if not self.levers.asks("latency"):
            return None
        if "loop" not in self.levers.on:
            self.levers.refuse("latency", "needs the loop, which alone sleeps for a limited time")
            return None
        try:
            latency = Latency()
        except Unneeded as reason:
            self.levers.refuse("latency", str(reason))
            return None
        self.levers.enable("latency")
        return latency

    def _look_whether_library_answers(self) -> None:
        for name in ("listings", "threads", "answers", "extras"):
            if self._library is None or not self.levers.asks(name) or name in self.levers.reasons:
                continue
            if self._library.answers:
                self.levers.enable(name)
            else:
                self.levers.refuse(name, "this libfuse makes its sessions by another function")
        self._operations.directories_by_node = "listings" in self.levers.on
        if self._library is not None and "threads" in self.levers.on:
            self._operations.use_threads(self._library)

    def _connected(self) -> None:
        """Libfuse handles INIT: the first request of all, before any that a program caused."""
        try:
            if self._ground.connection is not None:
                self._finish_handshake(self._ground.connection)
            if self._ground.device is not None:
                self._state = state.publish(
                    self._ground.device, self._ground.mountpoint, {"levers": self.levers.report()}
                )
            self._on_live()
        except handshake.Gone:
            pyfuse3.terminate()
        except BaseException as failure:  # pyfuse3 would drop it and go on
            self._failure = failure
            pyfuse3.terminate()

    def _finish_handshake(self, connection: handshake.Connection) -> None:
        connection.answer()
        if self._takes is not None:
            os.set_blocking(connection.descriptor, False)
            self._takes.take_requests(answers="answers" in self.levers.on)
        if self._ground.device is not None:
            handshake.read_ahead(self._ground.device)
        self.levers.enable("handshake")
        if not self.levers.asks("passthrough") or self._library is None:
            return
        if self._options.each_write:
            self.levers.refuse("passthrough", "the journal is to have each write")
            return
        upper = self._overlay.upper
        if upper is None:
            self.levers.refuse("passthrough", "nothing can be written: there is no upper")
        elif not connection.flags & handshake.PASSTHROUGH:
            self.levers.refuse("passthrough", "the kernel does not offer it (Linux 6.9)")
        else:
            passthrough = Passthrough(connection.descriptor)
            try:
                passthrough.probe(upper.work.fd, upper.temporary())
            except OSError as failure:
                self.levers.refuse("passthrough", f"the kernel refuses it for the upper: {failure.strerror}")
            else:
                self._operations.backings = Backings(passthrough, self._library)
                self.levers.enable("passthrough")

    def run(self, on_live: Callable[[], None] | None = None) -> None:
        """Serve until the mount ends or a signal asks for it; unmount, close the layers.

        ``on_live`` is called when the kernel takes requests.
        """
        if on_live is not None:
            self._on_live = on_live
        try:
            schedule.loop.run(self._serve)
            if self._failure is not None:
                raise self._failure
        finally:
            self._leave()

    def _leave(self) -> None:
        """Close everything, and unmount where nobody did: what nobody serves would answer ENOTCONN for ever.

        In this order: an unmount writes back what is dirty, and would wait for us.
        """
        if self._state is not None:
            state.withdraw(self._state)
        self._ground.hang_up()
        if self._library is not None:
            self._library.wait_for_threads()
        if self._begun:
            pyfuse3.close(unmount=False)
        self._ground.unmount()
        if self._journal is not None:
            self._journal.end()
        self._overlay.close()

    def _write_back(self, written: list[bytes]) -> None:
        """What was written through shared mappings comes as requests of the kernel's own; wait for them.

        syncfs(2) starts them and was seen not to wait for all of them (Linux 6.18); fsync(2) of each file does.
        """
        if not self._ground.is_on_top():
            return
        root = os.open(self._ground.mountpoint, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            ctypes.CDLL(None).syncfs(root)
            for path in written:
                with contextlib.suppress(OSError):  # removed meanwhile, or its own error: the others count, too
                    file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
                    try:
                        os.fsync(file)
                    finally:
                        os.close(file)
        finally:
            os.close(root)

    async def _serve(self) -> None:
        begin = schedule.loop.lowlevel.spawn_system_task  # which end with us
        begin(self._end_on_signal)
        if self._journal is not None:
            begin(self._journal.flush_when_idle)
        await pyfuse3.main(min_tasks=1, max_tasks=_TASKS)

    async def _end_on_signal(self) -> None:
        loop = schedule.loop
        with loop.open_signal_receiver(*ENDING) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            async for _ in signals:
                with contextlib.suppress(OSError):
                    written = self._operations.cached_writers()
                    with loop.move_on_after(_WRITE_BACK) as limit:
                        await loop.to_thread.run_sync(self._write_back, written, abandon_on_cancel=True)
                    if limit.cancelled_caught:
                        # The thread waits for an answer of ours, maybe: the end of the connection sets it free.
                        log.error("what was written did not reach the disk within %d s", _WRITE_BACK)
                        faulthandler.dump_traceback()
                pyfuse3.terminate()


def _mount_options(options: MountOptions) -> set[str]:
    flags = {"default_permissions", f"fsname={_escaped(options.source)}", "subtype=cowfs"}
    if options.allow_other:
        flags.add("allow_other")
    flags.add("suid" if options.allow_suid else "nosuid")
    flags.add("dev" if options.allow_dev else "nodev")
    if not options.writable:
        flags.add("ro")
    return flags


def _escaped(source: str) -> str:
    """For libfuse, which splits at commas, and pyfuse3, which takes ASCII."""
    ascii_only = source.encode("ascii", "replace").decode()
    return ascii_only.replace("\\", "\\\\").replace(",", "\\,")
