"""A process that ends in the middle: what changes the disk is counted, in all processes that work for one command.

``dies_after(N, work)`` does ``work`` in a child, and the process of it that is about to make the change number N is
killed, or does something worse first.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterable

from cowfs.errors import CowfsError
from cowfs.store import descriptors, staging

CHANGES = (
    "mkdir", "rmdir", "rename", "unlink", "link", "symlink", "mknod", "fsync", "open", "utime", "fchmod",
)  # fmt: skip
STEPS_AT_MOST = 800


def dies_after(
    steps: int, work: Callable[[], None], *, counted: Iterable[str] = CHANGES, blow: Callable[[], object] = lambda: None
) -> bool:
    """Do ``work``; False if it came to its end. ``blow`` comes before the kill. Waits for all processes of it.

    Counted are functions of ``os``, the sync of the file system, and the exchange of two names.
    """
    tokens, put = os.pipe2(os.O_NONBLOCK)
    os.write(put, b"." * steps + b"!")
    alive, dead = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _count_down(tokens, counted, blow)
            work()
            os._exit(0)
        except (CowfsError, OSError):  # what others see of the one that died
            os._exit(2)
        finally:
            os._exit(1)
    os.close(dead)
    _, status = os.waitpid(child, 0)
    assert os.read(alive, 1) == b""  # until the last process is gone
    died = _is_empty(tokens)
    for fd in (tokens, put, alive):
        os.close(fd)
    if died:
        assert os.waitstatus_to_exitcode(status) in (-signal.SIGKILL, 0, 2)
    else:
        assert status == 0
    return died


def _is_empty(tokens: int) -> bool:
    try:
        return not os.read(tokens, 1)
    except BlockingIOError:
        return True


def _count_down(tokens: int, counted: Iterable[str], blow: Callable[[], object]) -> None:
    """Each change takes a token, in whichever process it is made; who gets the last one dies."""

    def counting(real: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            with contextlib.suppress(BlockingIOError):
                if os.read(tokens, 1) == b"!":
                    blow()
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return counted

    for name in counted:
        setattr(os, name, counting(getattr(os, name)))
    sync = counting(descriptors.sync_file_system)
    for module in ("descriptors", "layers"):
        __import__(f"cowfs.store.{module}", fromlist=[module]).sync_file_system = sync
    staging.exchange = counting(staging.exchange)  # type: ignore[assignment]
