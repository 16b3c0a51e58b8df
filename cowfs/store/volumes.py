"""Named volumes: directories in the store that runs write to and share, and that nothing removes by itself.

volumes/<name>/     the data, with a shared flock of every run that uses it; volumes/ is 0700
"""

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from cowfs import ondisk
from cowfs.errors import NotFound, StoreError
from cowfs.store import staging
from cowfs.store.descent import disk_usage
from cowfs.store.descriptors import is_named, open_directory, opened_directory, try_lock, wait_for_lock
from cowfs.store.runs import Runs

_PATIENCE = 60.0  # seconds: an exclusive lock is held for the removal


class NamedVolume(NamedTuple):
    """One volume. ``runs`` are the ids of those that have it, the newest first; ``in_use``: one of them is going."""

    name: str
    directory: Path
    changed: float  # seconds since the epoch: when a name in its top directory came or went
    runs: tuple[str, ...]
    in_use: bool

    def disk(self) -> int:
        """Bytes on the disk; looks at each file. Raises StoreError."""
        try:
            with opened_directory(self.directory) as fd:
                return disk_usage(fd)
        except OSError as error:
            raise StoreError(f"volume {self.name} cannot be read: {error.strerror}") from error


def use(directory: str) -> int:
    """A descriptor of the volume that lies at ``directory``, made if it is missing: it stays until that is closed.

    Raises StoreError.
    """
    parent, name = os.path.split(directory)
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(parent, 0o700)
        with opened_directory(parent) as volumes_fd:
            while True:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name, 0o755, dir_fd=volumes_fd)
                with contextlib.suppress(FileNotFoundError):  # somebody removes it this moment
                    fd = open_directory(volumes_fd, name)
                    if wait_for_lock(fd, shared=True, seconds=_PATIENCE) and is_named(fd, volumes_fd, name):
                        return fd
                    os.close(fd)
    except OSError as error:
        raise StoreError(f"volume {directory} cannot be made: {error.strerror}") from error


def listed(root: Path) -> list[NamedVolume]:
    """All volumes of the store at ``root``, by name. Raises StoreError."""
    runs = Runs(root).list()
    found = []
    try:
        with opened_directory(root.absolute() / ondisk.VOLUMES) as volumes_fd:
            for name in sorted(os.listdir(volumes_fd)):
                with (
                    contextlib.suppress(FileNotFoundError, NotADirectoryError),
                    opened_directory(name, volumes_fd) as fd,
                ):
                    directory = root.absolute() / ondisk.VOLUMES / name
                    source = os.fspath(directory)
                    users = tuple(run.id for run in runs if any(mounted.source == source for mounted in run.mounts))
                    changed = os.fstat(fd).st_mtime
                    found.append(NamedVolume(name, directory, changed, users, in_use=not try_lock(fd)))
    except FileNotFoundError:  # none was ever made
        return []
    except OSError as error:
        raise StoreError(f"the volumes of {root} cannot be read: {error.strerror}") from error
    return found


def find(root: Path, name: str) -> NamedVolume:
    """The volume ``name``. Raises NotFound, StoreError."""
    for volume in listed(root):
        if volume.name == name:
            return volume
    raise NotFound(f"no volume {name!r} in the store (cowrun volume ls lists them)")


def remove(root: Path, name: str) -> None:
    """Remove a volume with all that is in it. Raises NotFound, and StoreError if a run that is going uses it."""
    volume = find(root, name)
    try:
        with (
            opened_directory(root / ondisk.STAGING) as staging_fd,
            opened_directory(volume.directory.parent) as volumes_fd,
            opened_directory(name, volumes_fd) as fd,
        ):
            if not try_lock(fd):
                raise StoreError(f"volume {name} is in use by a run that is going (cowrun ps lists them)")
            if is_named(fd, volumes_fd, name):
                staging.take_away(staging_fd, volumes_fd, name, os.dup(fd))
    except FileNotFoundError:
        return
    except OSError as error:
        raise StoreError(f"volume {name} cannot be removed: {error.strerror}") from error
