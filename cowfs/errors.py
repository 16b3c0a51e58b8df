"""The exceptions that reach a person, and the exit status each one means.

    CowfsError                   125  one line for a person: what, where, what to do
    |-- UsageError               125  options that contradict each other, a malformed value
    |-- PrivilegeError           125  not root, no /dev/fuse, a capability that is missing
    |-- NotFound                 125  no such image, run, layer or path
    |   `-- NotRunning             1  ... no such run that is still going
    |-- BrokenImage              125  an image, archive or layout that breaks its specification
    |-- RegistryError            125  a registry that cannot be reached, refuses, or does not say what it should
    |-- StoreError               125  the store cannot be read, written or trusted
    |-- MountError               125  a mount that cannot be made or ended
    |-- NetworkError           125  a network of a run's own that cannot be made
    |-- CommandNotFound          127  the container's command does not exist
    `-- CommandNotExecutable     126  it exists and cannot be executed

The statuses are docker's. Inside the file system nothing of this is used: rules and layers raise OSError
with an errno, and one place (cowfs.fuse.errnos) turns exceptions into replies.
"""

from typing import ClassVar


class CowfsError(Exception):
    """A mistake that a person can mend. ``str(error)`` is one line without a trailing full stop."""

    status: ClassVar[int] = 125


class UsageError(CowfsError):
    """Options or arguments that make no sense together, or a value that does not parse."""


class PrivilegeError(CowfsError):
    """The kernel refuses what is needed: not root, no /dev/fuse, no namespace."""


class NotFound(CowfsError):
    """Something named on the command line does not exist."""


class NotRunning(NotFound):
    """A run that somebody wants to reach is over, or was never there."""

    status = 1


class BrokenImage(CowfsError):
    """An image, archive or layout that breaks its specification or fails its digest."""


class RegistryError(CowfsError):
    """A registry cannot be reached, wants other credentials, or breaks the protocol."""


class StoreError(CowfsError):
    """The store cannot be read, written or trusted."""


class MountError(CowfsError):
    """A mount that cannot be made or ended."""


class NetworkError(CowfsError):
    """A network of a run's own that cannot be made."""


class CommandNotFound(CowfsError):
    """The command to run does not exist inside the root."""

    status = 127


class CommandNotExecutable(CowfsError):
    """The command exists and cannot be executed: no permission, or a directory."""

    status = 126
