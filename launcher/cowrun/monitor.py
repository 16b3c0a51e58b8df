"""From the container's start to its end: one loop over signals, the channel, the pty and the two processes."""

import gc
import os
import signal
from typing import Any, Final

from cowfs.errors import MountError
from cowrun.container import Container
from cowrun.events import FORWARDED, Events
from cowrun.filesystem import FileSystem
from cowrun.terminal import Relay

_EMULATED: Final = FORWARDED


class Monitor:
    """Waits for the command and passes on what comes meanwhile."""

    def __init__(
        self, container: Container, filesystem: FileSystem | None, events: Events, attributes: list[Any] | None
    ) -> None:
        """``filesystem``: the one that ends with the command.

        ``attributes`` of the terminal on standard input, None if the container has no pty.
        """
        self._container = container
        self._filesystem = filesystem
        self._events = events
        self._attributes = attributes
        self._relay: Relay | None = None
        self._killed_by = 0

    def wait_for_start(self) -> None:
        """Until the command was executed. Raises the reason why it was not, and Interrupted."""
        channel = self._container.channel.fileno()
        while True:
            self._events.wait_for(channel)
            master = self._container.hear()
            if master is None:
                return
            assert self._attributes is not None
            os.set_inheritable(master, False)
            self._relay = Relay(master, self._events, self._attributes)

    def wait_for_end(self) -> int:
        """Until the command is over: its exit status. Raises MountError if the file system ended before it."""
        gc.enable()
        if self._relay:
            self._relay.begin()
        while not self._container.reap() and not self._is_stranded():
            ready = self._events.wait()
            for number in self._events.signals():
                self._pass_on(number)
            if self._relay:
                self._relay.move(ready)
        if self._filesystem and self._filesystem.is_ending():  # and the command has ended, maybe, for want of it
            raise MountError(f"the file system process ended before the command{self._filesystem.complaint()}")
        assert self._container.status is not None
        return 128 + self._killed_by if self._killed_by else self._container.status

    def _is_stranded(self) -> bool:
        return self._filesystem is not None and self._filesystem.has_ended()

    def close(self) -> None:
        """The container is over, one way or the other: the terminal is put right."""
        if self._relay:
            self._relay.end()
            self._relay = None

    def _pass_on(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if self._relay:
                self._relay.resize()
        elif number in _EMULATED:
            if self._container.has_no_way_to_take(number):
                self._killed_by = number
                self._container.kill(signal.SIGKILL)
            else:
                self._container.kill(number)
