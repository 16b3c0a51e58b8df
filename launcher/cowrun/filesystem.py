"""The file system process of a run: forked first, so that it imports what it needs while the launcher does the rest.

It stays in the host's pid namespace and in the launcher's mount namespace, has a session of its own (no ^C of the
terminal reaches it), and is killed by the kernel when the launcher ends. What it has to complain about goes to a
memory file.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cowfs.errors import MountError
from cowfs.options import MountOptions
from cowrun import syscalls

_LIVE: Final = b"\0"
_PATIENCE: Final = 5.0  # seconds to end by itself once nothing is mounted any more
_NUDGE: Final = 2.0  # seconds more after SIGTERM
_LOG_LIMIT: Final = 4096


class FileSystem:
    """A mount that comes up; ``ready`` is readable as soon as there is an answer."""

    def __init__(self, options: MountOptions, mountpoint: Path) -> None:
        from cowfs.fuse.serve import check_device

        check_device()
        self._mountpoint = mountpoint
        self._log = os.memfd_create("cowfs-log")
        self.ready, said = os.pipe2(os.O_CLOEXEC)
        self.ended = False
        launcher = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(options, mountpoint, said, self._log, launcher)
        os.close(said)

    def check(self) -> None:
        """Read the answer. Raises MountError with the reason if the mount is not live."""
        with open(self.ready, "rb") as answers:
            answer = answers.read()
        self.ready = -1
        if answer != _LIVE:
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
        if not self.ended:
            self.ended = os.waitpid(self.pid, os.WNOHANG)[0] == self.pid
        return self.ended

    def stop(self) -> None:
        """Unmount and wait for the process. Leaves neither, whatever state they are in."""
        try:
            with contextlib.suppress(OSError):  # EINVAL: it never was mounted, or is not any more
                self._unmount()
            if not self._wait(_PATIENCE if self.ready < 0 else 0):
                self._kill(signal.SIGTERM)
                if not self._wait(_NUDGE):
                    self._kill(signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    self.ended = True
            with contextlib.suppress(OSError):  # it was killed while it mounted
                syscalls.unmount(os.fsencode(self._mountpoint), syscalls.MNT_DETACH)
        finally:
            if self.ready >= 0:
                os.close(self.ready)
            os.close(self._log)

    def _unmount(self) -> None:
        path = os.fsencode(self._mountpoint)
        try:
            syscalls.unmount(path)
        except OSError:
            syscalls.unmount(path, syscalls.MNT_DETACH)

    def _kill(self, number: int) -> None:
        if not self.has_ended():
            os.kill(self.pid, number)

    def _wait(self, seconds: float) -> bool:
        return wait_until(self.has_ended, seconds)


def wait_until(true: Callable[[], bool], seconds: float) -> bool:
    """Ask again, ever more slowly, until it is true or the time is over."""
    deadline, pause = time.monotonic() + seconds, 0.0005
    while not true():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
    return True


def _serve(options: MountOptions, mountpoint: Path, said: int, log: int, launcher: int) -> None:
    """In the child: serve, and end without the interpreter's own end."""
    status = 1
    try:
        os.setsid()
        syscalls.die_with_parent(signal.SIGKILL)
        if os.getppid() != launcher:
            os._exit(status)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD, signal.SIGWINCH):
            signal.signal(number, signal.SIG_DFL)
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        os.chdir("/")
        from cowfs.fuse.serve import serve

        serve(options, mountpoint, said)
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)
