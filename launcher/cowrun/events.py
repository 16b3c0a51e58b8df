"""Signals to the launcher as events of one poll loop: from here on none interrupts what is half done.

A context manager around everything that must be cleaned up. ``wait`` is the only place where the launcher blocks.
"""

import contextlib
import os
import select
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from types import FrameType, TracebackType
from typing import Any, Final

ENDING: Final = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))
FORWARDED: Final = ENDING | {signal.SIGUSR1, signal.SIGUSR2}  # docker's, and USR2
_HANDLED: Final = FORWARDED | {signal.SIGCHLD, signal.SIGWINCH}


class Interrupted(BaseException):
    """A signal asked the launcher to end before the command was started."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, a signal that asks the launcher to end raises Interrupted wherever it is."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Events:
    """Signals wait here until somebody takes them."""

    def __init__(self) -> None:
        self._signals: deque[int] = deque()
        self._poll = select.poll()
        self._read, self._write = -1, -1
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1

    def __enter__(self) -> "Events":
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._read, select.POLLIN)
        self._wakeup_before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _HANDLED:
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._read)
        os.close(self._write)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.append(number)

    def watch(self, fd: int, events: int = select.POLLIN) -> None:
        """Wake up for ``fd`` from now on; ``events`` replace what it was watched for."""
        self._poll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Not any more."""
        self._poll.unregister(fd)

    def wait(self, seconds: float | None = None) -> dict[int, int]:
        """Block until a signal or a watched descriptor is ready, or the time is over. Descriptor -> poll events."""
        if self._signals:
            seconds = 0
        ready = dict(self._poll.poll(None if seconds is None else seconds * 1000))
        if ready.pop(self._read, 0):
            while True:
                try:
                    os.read(self._read, 4096)
                except BlockingIOError:
                    break
        return ready

    def signals(self) -> Iterable[int]:
        """Take the signals that are waiting."""
        while self._signals:
            yield self._signals.popleft()

    def check(self) -> None:
        """Raise Interrupted if the launcher was asked to end. Other signals are dropped: nothing runs yet."""
        self._check(len(self._signals))

    def wait_for(self, fd: int) -> None:
        """Block until ``fd`` is readable. Raises Interrupted, but not for a signal that came after that."""
        self.watch(fd)
        try:
            while fd not in self.wait():
                came = len(self._signals)
                if fd in self.wait(0):
                    return
                self._check(came)
        finally:
            self.forget(fd)

    def _check(self, count: int) -> None:
        """Look at the first ``count`` signals that are waiting."""
        for _ in range(count):
            if (number := self._signals.popleft()) in ENDING:
                raise Interrupted(number)
