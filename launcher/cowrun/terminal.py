"""The launcher's own terminal while the container has a pty: raw, so that every key goes through, and restored."""

import contextlib
import fcntl
import os
import select
import termios
import tty
from typing import Any, Final

from cowrun.events import Events

_CHUNK: Final = 1 << 16
_BACKLOG: Final = 1 << 16  # bytes typed ahead of a container that does not read; then the terminal waits
_WINSIZE: Final = bytes(8)


def window_of(fd: int) -> bytes:
    """struct winsize of a terminal (ioctl_tty(2))."""
    return fcntl.ioctl(fd, termios.TIOCGWINSZ, _WINSIZE)


class Relay:
    """Bytes between the launcher's terminal (standard input and output) and the master side of the container's pty."""

    def __init__(self, master: int, events: Events, attributes: list[Any]) -> None:
        self._master = master
        self._events = events
        self._attributes = attributes  # of standard input, as they were
        self._typed = b""
        self._reading = True
        self._open = True
        self._raw = False
        os.set_blocking(master, False)

    def begin(self) -> None:
        """The command runs: every key is its own from here."""
        # What was typed ahead stays: TCSADRAIN.
        tty.setraw(0, termios.TCSADRAIN)
        self._raw = True
        self.resize()
        self._watch()

    def resize(self) -> None:
        """The launcher's window has another size."""
        with contextlib.suppress(OSError):  # it hung up
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, window_of(0))

    def move(self, ready: dict[int, int]) -> None:
        """Carry what is ready, both ways."""
        if self._master in ready:
            if ready[self._master] & ~select.POLLOUT:
                self._show()
            if self._typed and self._open:
                self._give()
        if 0 in ready and self._reading:
            self._take()
        self._watch()

    def end(self) -> None:
        """Nothing writes to the pty any more: show the rest, restore the terminal."""
        if self._raw:
            while self._open and self._show():
                pass
        self.restore()
        if self._reading and self._raw:
            self._events.forget(0)
        if self._open and self._raw:
            self._events.forget(self._master)
        os.close(self._master)

    def restore(self) -> None:
        """Put the terminal right. May be called more than once."""
        if self._raw:
            with contextlib.suppress(termios.error):  # it hung up
                termios.tcsetattr(0, termios.TCSADRAIN, self._attributes)

    def _watch(self) -> None:
        if self._open:
            self._events.watch(self._master, select.POLLIN | (select.POLLOUT if self._typed else 0))
        if self._reading:
            self._events.watch(0, select.POLLIN if len(self._typed) < _BACKLOG else 0)

    def _show(self) -> bool:
        """Container to terminal. False if there is nothing more at the moment."""
        try:
            data = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: every process that had the pty is gone
            data = b""
        if not data:
            self._open = False
            self._events.forget(self._master)
            return False
        _write_all(data)
        return True

    def _take(self) -> None:
        try:
            data = os.read(0, _CHUNK)
        except OSError:
            data = b""
        if not data:
            self._reading = False
            self._events.forget(0)
        self._typed += data
        if self._open:
            self._give()

    def _give(self) -> None:
        try:
            self._typed = self._typed[os.write(self._master, self._typed) :]
        except BlockingIOError:
            pass
        except OSError:
            self._typed = b""


def _write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(1, view) :]
        except BlockingIOError:  # somebody made the terminal non-blocking
            select.select([], [1], [])
        except OSError:  # the terminal is gone: the container gets its SIGHUP from us
            return
