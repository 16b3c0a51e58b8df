"""``--init``: our own first process, which reaps orphans and passes signals on. It holds nothing and shows nothing."""

import os
import signal
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
    _block()
    begin, ready = os.pipe()
    child = os.fork()
    if child == 0:
        # Only once the channel is open nowhere else: its end says that the command runs
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
    os.close(ready)
    os._exit(_serve(child))


def _block() -> None:
    """Keep every signal that is passed on until it is asked for.

    A handler would be run only after the wait that the signal came just before. That there is one tells the launcher,
    which looks into /proc, that the signal has an effect here.
    """
    for number in FORWARDED:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, (*FORWARDED, signal.SIGCHLD))


def _serve(child: int) -> int:
    """Pass on what comes until the command ends; its exit status as a shell has it."""
    while True:
        number = signal.sigwait((*FORWARDED, signal.SIGCHLD))
        if number != signal.SIGCHLD:
            os.kill(child, number)  # our own child, not yet reaped: the number is nobody else's
        elif (status := _reap(child)) is not None:
            return status


def _reap(child: int) -> int | None:
    """Orphans, too; the command's exit status if it was among those that ended."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if pid == 0:
            return None
