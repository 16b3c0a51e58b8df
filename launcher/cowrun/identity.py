"""The steps that are not mounts: namespaces, names, the terminal, the working directory, who the command runs as."""

import array  # noqa: F401  (socket.send_fds imports it when it is called, and then nothing can be imported any more)
import contextlib
import errno
import fcntl
import os
import signal
import socket
import struct
import termios
from typing import Final, NamedTuple

from cowfs.errors import BrokenImage, CommandNotExecutable, UsageError
from cowfs.linux import CAPABILITIES
from cowrun import capabilities, syscalls, users
from cowrun.mounts import attach, new_file
from cowrun.step import Inside

_NAMESPACES: Final = {
    "mount": syscalls.CLONE_NEWNS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
    "uts": syscalls.CLONE_NEWUTS,
    "ipc": syscalls.CLONE_NEWIPC,
    "net": syscalls.CLONE_NEWNET,
}
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_TIOCSPTLCK: Final = 0x40045431
_TIOCGPTPEER: Final = 0x5441
TERMINAL: Final = b"T"  # the message that carries the master side of the pty


class Namespaces(NamedTuple):
    """All but the pid namespace, which the process was born into."""

    names: tuple[str, ...]

    def describe(self) -> str:
        """See Step."""
        return f"new namespaces: {', '.join(self.names)}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        syscalls.unshare(sum(_NAMESPACES[name] for name in self.names))


class JoinContainer(NamedTuple):
    """All namespaces of a container that is there, but for the pid namespace, which the process was born into.

    Nobody in there may look at this process, which has more rights than they have.
    """

    process: int  # a descriptor of the container's first process
    share_network: bool  # with us: it has none of its own, and as an ordinary user we could not even enter ours

    def describe(self) -> str:
        """See Step."""
        return "enter the namespaces of the run"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        syscalls.set_dumpable(False)
        flags = sum(flag for name, flag in _NAMESPACES.items() if name != "net" or not self.share_network)
        syscalls.join_namespaces(self.process, flags)


class Hostname(NamedTuple):
    """The name of the machine, inside."""

    name: str

    def describe(self) -> str:
        """See Step."""
        return f"set the hostname to {self.name}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        socket.sethostname(self.name)


class JoinNetwork(NamedTuple):
    """A network namespace that somebody else serves."""

    holder: int  # the process that is in it, by its number on the host
    program: str

    def describe(self) -> str:
        """See Step."""
        return f"enter the network namespace that {self.program} serves"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        namespace = os.open(f"/proc/{self.holder}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        syscalls.join_namespaces(namespace, syscalls.CLONE_NEWNET)
        os.close(namespace)


class Loopback:
    """A new network namespace has a loopback device that is down."""

    def describe(self) -> str:
        """See Step."""
        return "bring the loopback device up"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


class FindUser(NamedTuple):
    """Look the user up in the root's own files."""

    user: str

    def describe(self) -> str:
        """See Step."""
        return f"look up user {self.user or '0'} in /etc/passwd and /etc/group of the root"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        inside.user = users.find(self.user, inside.root.read("/etc/passwd"), inside.root.read("/etc/group"))


class Terminal(NamedTuple):
    """A pty of the container's own devpts; the launcher gets the other side."""

    console: bool = True

    def describe(self) -> str:
        """See Step."""
        console = ", bind it on /dev/console" if self.console else ""
        return f"open a pty of the container's /dev/pts{console}, give the other side to the launcher"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        master = inside.root.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY, strict=True)
        fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("i", 0))
        inside.terminal = fcntl.ioctl(master, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        os.fchown(inside.terminal, inside.user.uid, -1)
        if inside.window:
            fcntl.ioctl(master, termios.TIOCSWINSZ, inside.window)
        if self.console:
            console = syscalls.clone_mount_at(inside.terminal)
            attach(console, new_file(inside.root, "/dev", "console"), "/dev/console")
        socket.send_fds(inside.channel, [TERMINAL], [master])
        os.close(master)


class WorkingDirectory(NamedTuple):
    """Made if it is missing, as docker does; it must be inside."""

    path: str
    make: bool = True

    def describe(self) -> str:
        """See Step."""
        return f"change to {self.path}{', made if it is missing' if self.make else ''}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        fd = inside.root.directory(self.path) if self.make else self._existing(inside)
        os.fchdir(fd)
        os.close(fd)
        try:
            found = os.getcwd()
        except FileNotFoundError:
            found = ""
        if not found.startswith("/"):
            raise BrokenImage(f"the working directory {self.path} is outside of the root: refused")

    def _existing(self, inside: Inside) -> int:
        try:
            return inside.root.open(self.path, os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise CommandNotExecutable(f"the working directory {self.path}: {(error.strerror or '').lower()}") from None


class Session:
    """The pty is the terminal of the session that the process leads; a keyring that nobody else has; no other place in
    the queue for the kernel's out-of-memory killer than any process has."""

    def describe(self) -> str:
        """See Step."""
        return "take the pty as the session's terminal, new session keyring, oom_score_adj 0"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        if inside.terminal >= 0:
            fcntl.ioctl(inside.terminal, termios.TIOCSCTTY, 0)
            for number in (0, 1, 2):
                os.dup2(inside.terminal, number)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb") as score:  # EACCES: it was higher
            score.write(b"0")
        try:
            syscalls.join_new_session_keyring()
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise


class Become(NamedTuple):
    """The user that was found, with these capabilities and no way to more. The order matters: each step needs what the
    next one takes away."""

    capabilities: frozenset[str]
    no_new_privileges: bool
    has_groups: bool = True  # False where nobody but root exists: the kernel forbids to change groups

    def describe(self) -> str:
        """See Step."""
        names = " ".join(name for name in CAPABILITIES if name in self.capabilities) or "none"
        return f"become the user, capabilities: {names}{', no new privileges' if self.no_new_privileges else ''}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        user, mask = inside.user, capabilities.mask(self.capabilities)
        syscalls.clear_ambient_set()
        for number in range(64):
            if not mask >> number & 1:
                with contextlib.suppress(OSError):  # EINVAL: more than this kernel knows
                    syscalls.drop_from_bounding_set(number)
        mask &= _held()
        try:
            if self.has_groups:
                os.setgroups(user.groups)
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
        except OSError as error:
            few = "" if self.has_groups else " (an ordinary user without newuidmap and /etc/subuid has root only)"
            raise UsageError(f"cannot become uid {user.uid}, gid {user.gid}: {error.strerror}{few}") from None
        syscalls.set_capabilities(mask if user.uid == 0 else 0)
        if self.no_new_privileges:
            syscalls.no_new_privileges()


def _held() -> int:
    """The permitted set that we have: the machine itself may have been started without some."""
    with open("/proc/self/status", "rb") as lines:
        return next(int(line.split()[1], 16) for line in lines if line.startswith(b"CapPrm:"))


def default_signals() -> None:
    """No handler, nothing ignored, nothing blocked: Python ignores SIGPIPE, and whoever started us may have more."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
