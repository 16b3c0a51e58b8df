"""Removing directory trees that anybody may have filled. Used by the store, by runs and by cowdiff.

By descriptor and single names, so that no symbolic link is followed and no path gets too long; iterative, so that depth
costs nothing: every subdirectory is renamed into the top of the tree before it is entered. That rename is also
the guard against deleting through a mount: the kernel refuses to rename a mount point (EBUSY, vfs_rename), a bind
mount of the same file system included.
"""

import errno
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

Result = TypeVar("Result")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what rename says when the new name is taken


def remove_tree(parent_fd: int, name: bytes) -> None:
    """Remove ``name`` in the directory ``parent_fd``, with all that is below it if it is a directory.

    Raises OSError: ENOENT if there is no such name, EBUSY if something is mounted on it or below it. What was
    removed before the failure stays removed.
    """
    try:
        top_fd = _open_directory(parent_fd, name)
    except NotADirectoryError:
        os.unlink(name, dir_fd=parent_fd)
        return
    try:
        if _mount_id(top_fd) != _mount_id(parent_fd):
            raise OSError(errno.EBUSY, "something is mounted there", os.fsdecode(name))
        _empty(top_fd)
    finally:
        os.close(top_fd)
    os.rmdir(name, dir_fd=parent_fd)


def _empty(top_fd: int) -> None:
    """Remove everything in ``top_fd``. ``pending`` are directories in it that are still to be emptied."""
    free_names = (b".removing-%d" % number for number in range(1 << 62))
    pending = [_move_up(top_fd, child, top_fd, free_names) for child in _remove_files(top_fd)]
    while pending:
        name = pending.pop()
        try:
            fd = _open_directory(top_fd, name)
        except FileNotFoundError:  # it was empty, and another one was renamed over it
            continue
        try:
            pending += [_move_up(fd, child, top_fd, free_names) for child in _remove_files(fd)]
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=top_fd)


def _remove_files(fd: int) -> list[bytes]:
    """Unlink all that is no directory in ``fd``; return the names of the directories."""
    with os.scandir(fd) as entries:
        found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        if not is_directory:
            _permitted(fd, None, _unlink, fd, name)
    return [name for name, is_directory in found if is_directory]


def _move_up(fd: int, name: bytes, top_fd: int, free_names: Iterator[bytes]) -> bytes:
    """Rename the directory ``name`` in ``fd`` to a free name in ``top_fd``."""
    while True:
        new = next(free_names)
        if new == name:  # a rename to itself would not ask whether something is mounted there
            continue
        try:
            _permitted(fd, name, _rename, fd, name, top_fd, new)
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
        else:
            return new


def _permitted(fd: int, child: bytes | None, action: Callable[..., Result], *arguments: object) -> Result:
    """Do ``action``; where modes forbid it (they do for everybody but root), change them and do it again.

    ``fd`` is the directory that it writes, ``child`` a directory in it whose ".." it writes.
    """
    try:
        return action(*arguments)
    except PermissionError:
        os.fchmod(fd, 0o700)
        if child is not None:
            os.chmod(child, 0o700, dir_fd=fd)
        return action(*arguments)


def _unlink(fd: int, name: bytes) -> None:
    os.unlink(name, dir_fd=fd)


def _rename(fd: int, name: bytes, new_fd: int, new: bytes) -> None:
    os.rename(name, new, src_dir_fd=fd, dst_dir_fd=new_fd)


def _open_directory(parent_fd: int, name: bytes) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent_fd)
    except PermissionError:
        # a symbolic link cannot be in its place: that open fails with ENOTDIR before modes are asked
        os.chmod(name, 0o700, dir_fd=parent_fd)
        return os.open(name, _DIRECTORY, dir_fd=parent_fd)


def _mount_id(fd: int) -> bytes:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
        return next(line for line in lines if line.startswith(b"mnt_id:"))
