"""Processes: which one a number means, its signals and its end, and how a forked one ends with who forked it.

Used by whoever writes down where a process of ours is and finds it again, and by who forks one.
"""

import os
import select
import signal
from pathlib import Path
from typing import Final, NamedTuple

_PR_SET_PDEATHSIG: Final = 1


class Process(NamedTuple):
    """A process that cannot be mistaken for a later one of the same number."""

    pid: int
    started: int  # field 22 of proc_pid_stat(5)

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process ``pid``. Raises OSError if there is none."""
        return cls(pid, _start_time(pid))

    def open(self) -> int:
        """A descriptor of it. Raises ProcessLookupError if it is over."""
        fd = os.pidfd_open(self.pid)
        try:
            if _start_time(self.pid) == self.started and not wait(fd, 0):
                return fd
        except OSError:
            pass
        os.close(fd)
        raise ProcessLookupError


def send(process: int, number: int) -> None:
    """Send a signal to a process by its descriptor; one that is over gets none."""
    try:
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        pass


def wait(process: int, seconds: float | None) -> bool:
    """True once the process behind the descriptor is over; False if that takes too long."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))


def die_with(parent: int) -> None:
    """The calling process, forked by ``parent``, is killed when that ends; now, if it has ended."""
    import ctypes  # the launcher's other processes have no use for it

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # before the kernel was told


def _start_time(pid: int) -> int:
    content = Path(f"/proc/{pid}/stat").read_bytes()
    return int(content[content.rindex(b")") + 2 :].split()[19])
