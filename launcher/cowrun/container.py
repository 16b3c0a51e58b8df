"""A process in a container, from the launcher's side: started in its pid namespace, told what to do, awaited.

The first process of a new one for ``cowrun IMAGE``, a further one of a container that is there for ``cowrun exec``.
"""

import os
import pickle
import signal
import socket
import sys
from pathlib import Path
from typing import Final

import cowfs
import cowrun
from cowfs.errors import CommandNotExecutable, CommandNotFound, CowfsError, PrivilegeError
from cowrun import syscalls
from cowrun.identity import TERMINAL
from cowrun.inside import FAILURE, GO, LENGTH, Order

_LOCALE: Final = ("LC_ALL", "LC_CTYPE", "LANG")  # names of files must mean the same bytes on both sides
_BOOT: Final = "import sys; sys.path += sys.argv[2:]; from cowrun.inside import main; main(int(sys.argv[1]))"
_MESSAGE: Final = 1 << 16


class Container:
    """One process, PID 1 in its namespace unless it joins one. From its creation on, this process can fork no other."""

    def __init__(self, order: Order, join: int = -1) -> None:
        """``join``: a descriptor of the first process of a container that is there; order's steps get it as theirs."""
        program = _read_only(sys.executable)
        self.is_first = join < 0
        if self.is_first:
            syscalls.unshare(syscalls.CLONE_NEWPID)
        else:
            syscalls.join_namespaces(join, syscalls.CLONE_NEWPID)
        ours, theirs = socket.socketpair()
        self.channel = ours
        self.status: int | None = None  # as a shell has it, once the process was reaped
        self.pid = os.fork()
        if self.pid == 0:
            _boot(program, theirs, join)
        self._pidfd = os.pidfd_open(self.pid)
        theirs.close()
        os.close(program)
        data = pickle.dumps(order)
        self._tell(LENGTH.pack(len(data)) + data)

    def go(self) -> None:
        """The root is mounted."""
        self._tell(GO)

    def hear(self) -> int | None:
        """What the channel has, without blocking: the master side of the pty, or None at the end: the command runs.

        Raises the reason why it does not. Call it when the channel is readable.
        """
        data, fds, _, _ = socket.recv_fds(self.channel, _MESSAGE, 1)
        if data.startswith(TERMINAL):
            if len(data) > 1:
                raise _failure(data[1:])
            return fds[0]
        if data:
            raise _failure(data)
        return None

    def kill(self, number: int) -> None:
        """Send a signal; one that is over already gets none."""
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass

    def has_no_way_to_take(self, number: int) -> bool:
        """True if the signal would end any other process, and has no effect on the first of a namespace (signal(7)).

        SIGTERM and SIGHUP are how others end a run, so they count as such even where the command ignores them.
        """
        ignoring_counts = number not in (signal.SIGTERM, signal.SIGHUP)
        return self.is_first and not has_handler(self.pid, number, or_ignores=ignoring_counts)

    def reap(self, *, block: bool = False) -> bool:
        """True once the process is over; then all others of its namespace are, too."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, 0 if block else os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self.status = code if code >= 0 else 128 - code
        return self.status is not None

    def end(self) -> None:
        """Kill it if it lives, and wait."""
        if not self.reap():
            self.kill(signal.SIGKILL)
            self.reap(block=True)
        self.channel.close()
        os.close(self._pidfd)

    def _tell(self, data: bytes) -> None:
        try:
            self.channel.sendall(data)
        except (BrokenPipeError, ConnectionResetError):  # it died: hear() and reap() will say how
            pass


def has_handler(pid: int, number: int, *, or_ignores: bool = False) -> bool:
    """Whether a process handles a signal itself; True of one that is over."""
    try:
        with open(f"/proc/{pid}/status", "rb") as lines:
            masks = dict(line.split(b":", 1) for line in lines if line.startswith((b"SigCgt:", b"SigIgn:")))
    except OSError:
        return True
    caught, ignored = int(masks[b"SigCgt"], 16), int(masks[b"SigIgn"], 16)
    return bool((caught | ignored if or_ignores else caught) >> (number - 1) & 1)


def _failure(data: bytes) -> CowfsError:
    assert data[: len(FAILURE)] == FAILURE, data
    status, line = data[len(FAILURE)], data[len(FAILURE) + 1 :].decode("utf-8", "surrogateescape")
    kinds: tuple[type[CowfsError], ...] = (CommandNotFound, CommandNotExecutable)
    return next((kind for kind in kinds if kind.status == status), CowfsError)(line)


def _read_only(program: str) -> int:
    """The interpreter on a read-only mount of its own: who gets hold of /proc/self/exe cannot write it."""
    try:
        mount = syscalls.clone_mount(os.fsencode(program))
        syscalls.set_mount_attributes(mount, syscalls.MOUNT_ATTR_RDONLY)
    except PermissionError as error:
        raise PrivilegeError(f"the kernel refuses mounts: {error.strerror} (run as root)") from None
    return mount


def _boot(program: int, channel: socket.socket, join: int) -> None:
    """In the child, right after the fork."""
    try:
        os.setsid()
        syscalls.die_with_parent(signal.SIGKILL)
        channel.set_inheritable(True)
        if join >= 0:
            os.set_inheritable(join, True)
        paths = {str(Path(package.__path__[0]).parent) for package in (cowrun, cowfs)}
        arguments = [sys.executable, "-I", "-S", "-c", _BOOT, str(channel.fileno()), *paths]
        os.execve(program, arguments, {name: os.environ[name] for name in _LOCALE if name in os.environ})
    finally:
        os._exit(CowfsError.status)
