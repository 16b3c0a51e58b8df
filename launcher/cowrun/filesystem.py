"""The file system process of a run: forked before anything else, it imports what it needs while the launcher goes on.

It stays in the host's pid namespace and in the launcher's mount namespace, has a session of its own (no ^C of the
terminal reaches it), and is killed by the kernel when the launcher ends. What it has to complain about goes to a memory
file, and into the run's directory at its end. Imports little: this is at the beginning of every start.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NoReturn

from cowfs.processes import die_with
from cowrun import syscalls

if TYPE_CHECKING:
    from pathlib import Path

    from cowfs.options import MountOptions

_LIVE: Final = b"\0"
_PF_EXITING: Final = 4  # include/linux/sched.h, in the ninth field of proc_pid_stat(5)
_PATIENCE: Final = 5.0  # seconds to end by itself once nothing is mounted any more
_NUDGE: Final = 2.0  # seconds more after SIGTERM
_LOG_LIMIT: Final = 4096
_LOG_KEPT: Final = 1 << 20  # bytes: the end of it
_ORDER_LIMIT: Final = 1 << 20


class FileSystem:
    """First a process that waits, after :meth:`serve` a mount that comes up: ``channel`` tells when it is there."""

    def __init__(self, pid: int, channel: socket.socket, log: int) -> None:
        self.pid = pid
        self.channel = channel
        self._log = log
        self._mountpoint = b""
        self._live = False
        self._ended = False

    @classmethod
    def begin(cls) -> "FileSystem | None":
        """Give this process a mount namespace, and fork. None where the kernel does not let us."""
        try:
            syscalls.unshare(syscalls.CLONE_NEWNS)
            # A slave, not private: what the host unmounts is not kept busy by us.
            syscalls.set_propagation(syscalls.MS_SLAVE | syscalls.MS_REC)
        except OSError:
            return None
        log = os.memfd_create("cowfs-log")
        ours, theirs = socket.socketpair()
        launcher = os.getpid()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _wait_and_serve(theirs, log, launcher)
        theirs.close()
        return cls(pid, ours, log)

    def serve(self, options: "MountOptions", mountpoint: "Path") -> None:
        """Mount; the answer comes on ``channel``."""
        import pickle

        self._mountpoint = os.fsencode(mountpoint)
        self.channel.sendall(pickle.dumps((options, mountpoint)))
        self.channel.shutdown(socket.SHUT_WR)

    def check(self) -> None:
        """Read the answer. Raises MountError with the reason if the mount is not live."""
        with self.channel.makefile("rb") as answers:
            answer = answers.read()
        self._live = answer == _LIVE
        if not self._live:
            from cowfs.errors import MountError

            raise MountError(
                answer.decode(errors="replace") or f"the file system process ended at once{self.complaint()}"
            )

    def complaint(self) -> str:
        """The last line that the process wrote, in brackets; empty if there is none."""
        size = os.fstat(self._log).st_size
        lines = os.pread(self._log, _LOG_LIMIT, max(0, size - _LOG_LIMIT)).decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return f" ({last.strip()})" if last else ""

    def has_ended(self) -> bool:
        """Reap the process if it is over."""
        if not self._ended:
            self._ended = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        return self._ended

    def is_ending(self) -> bool:
        """Has it ended, or begun to? The mount is dead from the moment on that its files are closed."""
        if self.has_ended():
            return True
        with open(f"/proc/{self.pid}/stat", "rb") as status:
            flags = int(status.read().rpartition(b")")[2].split()[6])
        return bool(flags & _PF_EXITING)

    def stop(self) -> None:
        """Unmount and wait for the process. Leaves neither, whatever state they are in. May be called twice."""
        if self.channel.fileno() < 0:
            return
        try:
            if self._live and self._unmount() and not wait_until(self.has_ended, _PATIENCE):
                os.kill(self.pid, signal.SIGTERM)
                wait_until(self.has_ended, _NUDGE)
            if not self.has_ended():
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                self._ended = True
                self._unmount()  # it was killed after it had mounted
        finally:
            self.channel.close()
            self._keep_log()
            os.close(self._log)

    def _keep_log(self) -> None:
        size = os.fstat(self._log).st_size
        if not (size and self._mountpoint):
            return
        import contextlib

        from cowfs import ondisk

        path = f"{os.path.dirname(os.fsdecode(self._mountpoint))}/{ondisk.RUN_LOG}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        tail = os.pread(self._log, _LOG_KEPT, max(0, size - _LOG_KEPT))
        # A full disk is no reason to fail at the very end.
        with contextlib.suppress(OSError), open(os.open(path, flags, 0o600), "wb") as file:
            file.write(tail)

    def _unmount(self) -> bool:
        """False if nothing is mounted. Busy is no excuse: the mount is in a namespace that ends with the launcher."""
        for flags in (0, syscalls.MNT_DETACH):
            try:
                syscalls.unmount(self._mountpoint, flags)
            except OSError:
                continue
            return True
        return False


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Ask again, ever more slowly, until it is true or the time is over."""
    deadline, pause = time.monotonic() + seconds, 0.0005
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return True


def _wait_and_serve(channel: socket.socket, log: int, launcher: int) -> NoReturn:
    """In the child: import, wait for the order, serve, and end without the interpreter's own end."""
    status = 1
    try:
        os.setsid()
        die_with(launcher)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.chdir("/")
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if not any(word.startswith("--transport") for word in sys.argv):  # who asks for less does not get all
            import pickle  # noqa: F401  (the order is in it)

            import cowfs.fuse.preload  # noqa: F401  (this is what the process was forked early for)

        with channel.makefile("rb") as orders:
            data = orders.read(_ORDER_LIMIT)
        if data:
            _serve(data, channel.detach())
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _serve(data: bytes, ready: int) -> None:
    import pickle

    from cowfs.errors import CowfsError
    from cowfs.fuse.forked import Answer
    from cowfs.fuse.serve import check_device, serve

    options, mountpoint = pickle.loads(data)
    try:
        check_device()
    except CowfsError as error:
        os.write(ready, str(error).encode())
        return
    serve(options, mountpoint, Answer(ready))
