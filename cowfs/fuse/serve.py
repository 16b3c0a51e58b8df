"""The file system process: mount, serve until the mount ends, leave nothing.

``start`` forks it and returns when the mount is live; ``serve`` is what runs in it. The heavy import (pyfuse3)
happens in the child, so whoever starts a mount does not pay for it. A mount ends by umount, by SIGTERM or SIGINT, or
with its mount namespace; the process always ends with it.
"""

import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cowfs import lean
from cowfs.errors import CowfsError, MountError, PrivilegeError
from cowfs.fuse import forked
from cowfs.fuse.transport import AUTO, Levers, handshake, wanted
from cowfs.fuse.transport.library import Library
from cowfs.options import MountOptions
from cowfs.processes import die_with

if TYPE_CHECKING:
    from cowfs.fuse.session import Session

DEVICE: Final = "/dev/fuse"
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT: Final = 8 << 20  # bytes
_FILES: Final = 1 << 20  # numbers from here on are open directories (cowfs.fuse.backings)
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start(options: MountOptions, mountpoint: Path, *, detach: bool, log: Path | None = None) -> int:
    """Mount in a new process and return its pid once the mount is live.

    ``detach``: the process outlives the caller, in a session of its own; else it is killed when the calling thread
    ends. ``log``: where the process writes what goes wrong, default nowhere. Raises MountError or PrivilegeError with
    the reason.
    """
    check_device()
    caller = None if detach else os.getpid()

    def child(answer: forked.Answer) -> int:
        if caller is None:
            leave_caller()
        else:
            die_with(caller)
        return apart(options, mountpoint, answer, log)

    return forked.start(child, os.fspath(mountpoint))


def serve(options: MountOptions, mountpoint: Path, answer: forked.Answer) -> None:
    """Mount and serve in this process, until the mount ends. ``answer`` is told when it is live, or why it is not."""
    try:
        _mount(options, mountpoint, answer.live).run(answer.live)
    except BaseException as failure:
        answer.failed(forked.reason(failure, os.fspath(mountpoint)))
        raise
    answer.failed(f"{mountpoint}: it was unmounted before it was live")


def apart(options: MountOptions, mountpoint: Path, answer: forked.Answer, log: Path | None = None) -> int:
    """The same in a process that was forked for nothing else; return its status. What fails is logged."""
    try:
        _stand_alone(log)
        serve(options, mountpoint, answer)
        return 0
    except CowfsError:
        pass
    except BaseException:
        logging.getLogger(__name__).exception("the file system process failed")
    return 1


def serve_here(options: MountOptions, mountpoint: Path) -> None:
    """Mount and serve in this process, with its standard streams. Raises MountError, PrivilegeError."""
    check_device()
    try:
        session = _mount(options, mountpoint)
    except Exception as failure:
        raise MountError(forked.reason(failure, os.fspath(mountpoint))) from failure
    session.run()


def leave_caller() -> None:
    """Be in a session of one's own, without what came here through exec: a pipe's other end, a shell's lock.

    Those would be held as long as the mount. What this program opened itself is meant to be kept, and close-on-exec, as
    all that Python opens.
    """
    os.setsid()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself
            if int(name) > 2 and os.get_inheritable(int(name)):
                os.close(int(name))


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """End a mount; ``lazy``: even if it is busy. Raises MountError: not mounted, busy, not permitted."""
    if os.geteuid() != 0:
        from cowfs.fuse.transport import outside

        outside.unmount(mountpoint, lazy=lazy)
        return
    try:
        handshake.unmount(mountpoint, lazy=lazy)
    except OSError as failure:
        raise MountError(f"{mountpoint}: cannot be unmounted: {failure.strerror}") from None


def forbid_programs(mountpoint: Path, options: MountOptions) -> None:
    """Add noexec to the mount that was just made with ``options``; where that fails, end it and raise MountError."""
    try:
        handshake.forbid_programs(mountpoint, options)
    except OSError as failure:
        unmount(mountpoint, lazy=True)
        raise MountError(f"{mountpoint}: noexec: {failure.strerror}") from None


def check_device() -> None:
    """Raise PrivilegeError where /dev/fuse cannot be used."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise PrivilegeError(f"{DEVICE} does not exist: load the fuse module, or make the device (c 10 229)") from None
    except OSError as failure:
        raise PrivilegeError(f"{DEVICE} cannot be opened: {failure.strerror} (run as root)") from None


def _stand_alone(log: Path | None) -> None:
    """No terminal, no inherited signal handling, no working directory that could keep a mount busy."""
    for number in (*ENDING, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    errors = null if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for target, source in ((0, null), (1, errors), (2, errors)):
        os.dup2(source, target)
    # Whatever the caller has put in its place: a test's capture would swallow what we say.
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True)
    os.chdir("/")


def _mount(options: MountOptions, mountpoint: Path, live: Callable[[], None] | None = None) -> "Session":
    """``live`` is called where there is a mount already that is not served yet, and that is enough."""
    # Who asks for the end now has to wait until the session can leave no mount behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # each open file of each user of the mount is one here
    files = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    levers = Levers(wanted(options.transport))
    gc.disable()  # a collection among ten thousand fresh objects of imports finds nothing and takes its time
    try:
        with lean.imports():
            session = _session(options, mountpoint, levers, live)
    finally:
        gc.enable()
    gc.freeze()
    _keep_memory()
    return session


def _session(options: MountOptions, mountpoint: Path, levers: Levers, live: Callable[[], None] | None) -> "Session":
    library = _load_library(levers)
    from cowfs.fuse.ground import Ground

    ground = Ground(options, mountpoint, levers)
    try:
        # An engine does not look inside at once: the rest is imported meanwhile. Whoever else mounts does.
        if live is not None and options.engine is not None and ground.connect(passes=library is not None):
            live()
        _choose_loop(levers)
        from cowfs.fuse.session import Session
    except BaseException:
        ground.leave()
        raise
    return Session(ground, library)


def prepare() -> None:
    """Have everything imported that a mount with all levers needs, before there is one."""
    levers = Levers(wanted(AUTO))
    _load_library(levers)
    _choose_loop(levers)
    import cowfs.fuse.session  # noqa: F401


def _choose_loop(levers: Levers) -> None:
    from cowfs.fuse import schedule

    if levers.asks("loop"):
        schedule.use_ours()
        levers.enable("loop")
    else:
        schedule.use_trio()


def _keep_memory() -> None:
    """Have malloc keep the buffers of big reads, instead of getting new pages from the kernel for each (mallopt(3))."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT)


def _load_library(levers: Levers) -> Library | None:
    """The C library, before anything imports pyfuse3: only then are its functions found first."""
    needed = levers.asked & {"passthrough", "listings", "threads", "answers", "extras"}
    if not needed:
        return None
    try:
        return Library()
    except OSError as failure:
        for name in needed:
            levers.refuse(name, str(failure))
        return None
