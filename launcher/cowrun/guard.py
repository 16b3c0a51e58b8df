"""The guard: a process that does nothing but wait for the launcher's end, for what the kernel's own means do not cover.

A command can refuse to die with its parent (prctl(2)), and nobody else would put the terminal right after a kill -9 of
the launcher. The guard cannot be seen from inside. In the ordinary case the launcher ends it.
"""

import contextlib
import os
import signal
import struct
import termios
from typing import Any, Final, NoReturn

from cowrun import cgroups, syscalls

_PID: Final = struct.Struct("i")


class Guard:
    """Started before the container, in the host's pid namespace."""

    def __init__(self, terminal: tuple[int, list[Any]] | None, groups: list[str]) -> None:
        """``terminal``: a descriptor, and the attributes that it is to have again. ``groups``: control groups that are
        empty once the process is over."""
        told, self._tell = os.pipe2(os.O_CLOEXEC)
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._tell)
            _watch(told, terminal, groups)
        os.close(told)

    def protect(self, pid: int) -> None:
        """Kill the process ``pid`` when the launcher is gone."""
        os.write(self._tell, _PID.pack(pid))

    def stop(self) -> None:
        """The launcher has done it all itself."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._tell)


def _watch(told: int, terminal: tuple[int, list[Any]] | None, groups: list[str]) -> NoReturn:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTTOU):
            signal.signal(number, signal.SIG_IGN)
        os.dup2(told, 3, inheritable=False) if told != 3 else None
        keep = terminal[0] if terminal else -1
        syscalls.set_process_name("cowrun-guard")
        _close_all_but(3, keep)
        data = os.read(3, _PID.size)
        process = os.pidfd_open(_PID.unpack(data)[0]) if data else -1
        while data:
            data = os.read(3, 1)
        with contextlib.suppress(ProcessLookupError):
            if process >= 0:
                signal.pidfd_send_signal(process, signal.SIGKILL)
        if terminal:
            termios.tcsetattr(keep, termios.TCSANOW, terminal[1])
        cgroups.remove(groups)
    finally:
        os._exit(0)


def _close_all_but(channel: int, terminal: int) -> None:
    """Nothing of the launcher's may stay open for our sake: a pipe behind it must end when it does."""
    for number in range(3):
        if number != terminal:
            os.close(number)
    syscalls.close_from(channel + 1)
