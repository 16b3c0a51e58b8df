"""What a step of the plan is, and what steps share while they are done. The plan is data: steps say what they do."""

import os
import socket
from dataclasses import dataclass, field
from typing import Protocol

from cowrun.root import Root
from cowrun.users import User


@dataclass(slots=True)
class Inside:
    """The process that becomes the container's first, on its way. Steps fill this in for those after them."""

    merged: str  # the mounted root, in the launcher's mount namespace
    channel: socket.socket  # to the launcher
    user: User = field(default_factory=User)
    terminal: int = -1  # the slave side of the pty, where there is one
    window: bytes = b""  # struct winsize of the launcher's terminal
    _root: Root | None = None

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
