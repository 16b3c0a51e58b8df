"""The file system process: mount, serve until the mount ends, leave nothing.

``start`` forks it and returns when the mount is live; ``serve`` is what runs in it. The heavy imports (trio, pyfuse3)
happen in the child, so whoever starts a mount pays for neither. A mount ends by umount, by SIGTERM or SIGINT, or with
its mount namespace; the process always ends with it.
"""

import ctypes
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from cowfs.errors import CowfsError, MountError, PrivilegeError
from cowfs.fuse.transport import Levers, wanted
from cowfs.fuse.transport.library import Library
from cowfs.options import MountOptions

if TYPE_CHECKING:
    from cowfs.fuse.session import Session

DEVICE: Final = "/dev/fuse"
_PR_SET_PDEATHSIG: Final = 1
_MNT_DETACH: Final = 2
_LIVE: Final = b"\0"
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def start(options: MountOptions, mountpoint: Path, *, detach: bool, log: Path | None = None) -> int:
    """Mount in a new process and return its pid once the mount is live.

    ``detach``: the process outlives the caller, in a session of its own; else it is killed when the calling thread
    ends. ``log``: where the process writes what goes wrong, default nowhere. Raises MountError or PrivilegeError with
    the reason.
    """
    check_device()
    ready, said = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(ready)
        _child(options, mountpoint, said, detach=detach, log=log)
    os.close(said)
    with os.fdopen(ready, "rb") as answers:
        answer = answers.read()
    if answer == _LIVE:
        return pid
    os.waitpid(pid, 0)
    raise MountError(
        answer.decode(errors="replace") or f"{mountpoint}: the file system process ended before it was mounted"
    )


def serve(options: MountOptions, mountpoint: Path, ready: int) -> None:
    """Mount and serve in this process, until the mount ends.

    Writes one zero byte to the descriptor ``ready`` when the mount is live, or why it is not, and closes it.
    """
    try:
        session = _mount(options, mountpoint)
    except BaseException as failure:
        os.write(ready, _reason(failure, mountpoint).encode())
        os.close(ready)
        raise
    os.write(ready, _LIVE)
    os.close(ready)
    session.run()


def serve_here(options: MountOptions, mountpoint: Path) -> None:
    """Mount and serve in this process, with its standard streams. Raises MountError, PrivilegeError."""
    check_device()
    try:
        session = _mount(options, mountpoint)
    except Exception as failure:
        raise MountError(_reason(failure, mountpoint)) from failure
    session.run()


def unmount(mountpoint: Path, *, lazy: bool = False) -> None:
    """umount2(2). Raises MountError: not mounted, busy, not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(mountpoint), _MNT_DETACH if lazy else 0):
        code = ctypes.get_errno()
        raise MountError(f"{mountpoint}: cannot be unmounted: {os.strerror(code)}")


def check_device() -> None:
    """Raise PrivilegeError where /dev/fuse cannot be used."""
    try:
        os.close(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise PrivilegeError(f"{DEVICE} does not exist: load the fuse module, or make the device (c 10 229)") from None
    except OSError as failure:
        raise PrivilegeError(f"{DEVICE} cannot be opened: {failure.strerror} (run as root)") from None


def _child(options: MountOptions, mountpoint: Path, said: int, *, detach: bool, log: Path | None) -> NoReturn:
    status = 1
    try:
        if detach:
            os.setsid()
        else:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        _stand_alone(log)
        serve(options, mountpoint, said)
        status = 0
    except CowfsError:
        pass
    except BaseException:
        logging.getLogger(__name__).exception("the file system process failed")
    finally:
        # Without the interpreter's own end: the launcher's exit handlers are not ours, and it is faster.
        os._exit(status)


def _stand_alone(log: Path | None) -> None:
    """No terminal, no inherited signal handling, no working directory that could keep a mount busy."""
    for number in (*ENDING, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    errors = null if log is None else os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    for target, source in ((0, null), (1, errors), (2, errors)):
        os.dup2(source, target)
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(name)s %(levelname)s %(message)s", force=True)
    os.chdir("/")


def _reason(failure: BaseException, mountpoint: Path) -> str:
    if isinstance(failure, CowfsError):
        return str(failure)
    if isinstance(failure, OSError):
        where = os.fsdecode(failure.filename) if isinstance(failure.filename, (str, bytes)) else str(mountpoint)
        return f"{where}: {failure.strerror or failure}"
    return f"{mountpoint}: cannot be mounted: {failure}"


def _mount(options: MountOptions, mountpoint: Path) -> "Session":
    # Who asks for the end now has to wait until the session can leave no mount behind.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    levers = Levers(wanted(options.transport))
    library = _load_library(levers)
    gc.disable()  # a collection among ten thousand fresh objects of imports finds nothing and takes its time
    try:
        from cowfs.fuse.session import Session
    finally:
        gc.enable()
    gc.freeze()
    return Session(options, mountpoint, levers, library)


def _load_library(levers: Levers) -> Library | None:
    """The C library, before anything imports pyfuse3: only then are its functions found first."""
    needed = levers.asked & {"passthrough", "listings", "extras"}
    if not needed:
        return None
    try:
        return Library()
    except OSError as failure:
        for name in needed:
            levers.refuse(name, str(failure))
        return None
