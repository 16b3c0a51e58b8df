"""``--init``: our own first process, which reaps orphans and passes signals on. It holds nothing and shows nothing."""

import contextlib
import os
import signal
from types import FrameType
from typing import Final

from cowrun import syscalls
from cowrun.identity import default_signals

FORWARDED: Final = tuple(
    signal.valid_signals()
    - {
        signal.SIGKILL,
        signal.SIGSTOP,
        signal.SIGCHLD,
        signal.SIGTTIN,
        signal.SIGTTOU,
        signal.SIGTSTP,
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGTRAP,
        signal.SIGABRT,
        signal.SIGSYS,
    }
)


def become_init(terminal: bool, channel: int) -> None:
    """Return in a child, which is to execute the command; the caller itself never returns from here."""
    syscalls.set_dumpable(False)  # before there is anybody to look
    for number in (signal.SIGTTOU, signal.SIGTTIN):
        signal.signal(number, signal.SIG_IGN)
    begin, ready = os.pipe()
    child = os.fork()
    if child == 0:
        # Only once signals are passed on, and the channel is open nowhere else: its end says that the command runs
        os.close(ready)
        os.read(begin, 1)
        os.close(begin)
        os.setpgid(0, 0)
        if terminal:
            os.tcsetpgrp(0, os.getpid())
        default_signals()
        return
    os.close(channel)
    os.close(begin)
    os.chdir("/")
    syscalls.set_process_name("cowrun-init")
    _forward_to(child)
    os.close(ready)
    os._exit(_reap(child))


def _forward_to(child: int) -> None:
    """Pass signals on to the command from now on."""

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    for number in FORWARDED:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, forward)


def _reap(child: int) -> int:
    """Until the command ends; its exit status as a shell has it."""
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
