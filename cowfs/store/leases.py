"""Leases: shared flocks on layer directories, so that nobody removes a layer that is in use.

The lock belongs to the open file description: children that are forked hold it too, until the last of them closes it.
"""

import os
from types import TracebackType

from cowfs.errors import NotFound
from cowfs.store.descriptors import is_named, open_directory, wait_for_lock
from cowfs.store.records import digest_hex

_PATIENCE = 60.0  # seconds: an exclusive lock is held for the removal of a layer


class Lease:
    """Held until :meth:`close`."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    def add(self, fd: int) -> None:
        """Take over a descriptor that holds the shared lock of a layer."""
        self._fds.append(fd)

    def close(self) -> None:
        """Let the layers go."""
        while self._fds:
            os.close(self._fds.pop())

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def take(layers_fd: int, diff_ids: list[str]) -> Lease:
    """A lease on the layers ``diff_ids``. Raises NotFound if one of them is not listed (any more)."""
    lease = Lease()
    try:
        for diff_id in diff_ids:
            lease.add(_shared(layers_fd, diff_id))
    except BaseException:
        lease.close()
        raise
    return lease


def _shared(layers_fd: int, diff_id: str) -> int:
    name = digest_hex(diff_id)
    gone = NotFound(f"the layer {diff_id[:19]} was removed from the store; import the image again")
    try:
        fd = open_directory(layers_fd, name)
    except FileNotFoundError:
        raise gone from None
    if wait_for_lock(fd, shared=True, seconds=_PATIENCE) and is_named(fd, layers_fd, name):
        return fd
    os.close(fd)
    raise gone
