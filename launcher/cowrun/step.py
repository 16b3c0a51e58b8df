"""What a step of the plan is, and what steps share while they are done. The plan is data: steps say what they do."""

import os
import socket
from typing import Protocol

from cowrun.root import Root
from cowrun.users import User


class Inside:
    """The process that becomes the container's first, on its way. Steps fill this in for those after them."""

    def __init__(self, merged: str, channel: socket.socket, window: bytes = b"") -> None:
        self.merged = merged  # the mounted root, in the launcher's mount namespace
        self.channel = channel  # to the launcher
        self.window = window  # struct winsize of the launcher's terminal
        self.user = User()
        self.terminal = -1  # the slave side of the pty, where there is one
        self._root: Root | None = None

    @property
    def root(self) -> Root:
        """The root by a descriptor; opened once the mount namespace is our own."""
        if self._root is None:
            self._root = Root(os.open(self.merged, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return self._root


class Step(Protocol):
    """One thing to do, in the order of the plan, in the process that becomes the container's first."""

    def describe(self) -> str:
        """One line for --dry-run and --debug."""

    def execute(self, inside: Inside) -> None:
        """Do it. Raises CowfsError or OSError."""
