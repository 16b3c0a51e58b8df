"""The steps for mounts and devices beside the usual ones and ``-v``: what an image declares, or an option asks for."""

import os
import stat
from typing import Final, NamedTuple

from cowfs.errors import NotFound, UsageError
from cowrun import syscalls
from cowrun.mounts import attach
from cowrun.root import refuse_proc
from cowrun.step import Inside

_READ_ONLY: Final = (
    syscalls.MOUNT_ATTR_RDONLY | syscalls.MOUNT_ATTR_NOSUID | syscalls.MOUNT_ATTR_NODEV | syscalls.MOUNT_ATTR_NOEXEC
)
_OTHERS: Final = frozenset(("pts", "shm", "mqueue"))  # file systems of their own
_OURS: Final = frozenset(("/dev/ptmx", "/dev/console"))


class Anonymous(NamedTuple):
    """A VOLUME of the image: writable also in a read-only root, and part of the run's changes, which are thrown away
    as an anonymous volume is with --rm."""

    target: str

    def describe(self) -> str:
        """See Step."""
        return f"volume of the image on {self.target}, part of the run's changes"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        target = refuse_proc(inside.root.directory(self.target), self.target)
        attach(syscalls.clone_mount_at(target), target, self.target)


class Mtab:
    """/etc/mtab, for programs older than /proc/mounts; an image's own stays."""

    def describe(self) -> str:
        """See Step."""
        return "link /etc/mtab -> /proc/mounts, if there is none"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        etc = inside.root.directory("/etc")
        try:
            os.symlink("/proc/mounts", "mtab", dir_fd=etc)
        except FileExistsError:
            pass
        finally:
            os.close(etc)


class AddDevice(NamedTuple):
    """``--device``: a device of the host's, bound; the rest of the tree is nodev."""

    source: str
    target: str

    def describe(self) -> str:
        """See Step."""
        return f"bind device {self.source} of the host on {self.target}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        try:
            source = syscalls.clone_mount(os.fsencode(self.source))
        except OSError as error:
            raise NotFound(f"--device: {self.source} of the host cannot be used: {error.strerror}") from None
        if not _is_device(os.fstat(source).st_mode):
            os.close(source)
            raise UsageError(f"--device: {self.source} of the host is no device")
        attach(source, refuse_proc(inside.root.file(self.target), self.target), self.target)


class AllDevices:
    """``--privileged``: a node for each device of the host's /dev."""

    def describe(self) -> str:
        """See Step."""
        return "make all devices of the host in /dev"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        for directory, names, files in os.walk("/dev"):
            names[:] = [name for name in names if name not in _OTHERS]
            nodes = [(name, os.lstat(f"{directory}/{name}")) for name in files if f"{directory}/{name}" not in _OURS]
            devices = [(name, status) for name, status in nodes if _is_device(status.st_mode)]
            if not devices:
                continue
            parent = inside.root.directory(directory, strict=True)
            for name, status in devices:
                try:
                    os.mknod(name, status.st_mode, status.st_rdev, dir_fd=parent)
                    os.chmod(f"/proc/self/fd/{parent}/{name}", status.st_mode & 0o7777)
                except FileExistsError:
                    continue
            os.close(parent)


class ControlGroups(NamedTuple):
    """The run's own groups, to be read: programs ask there how much memory they may use."""

    groups: tuple[tuple[str, str, bool], ...]  # name (version 1), directory on the host, version 2

    def describe(self) -> str:
        """See Step."""
        return f"bind {', '.join(directory for _, directory, _ in self.groups)} below /sys/fs/cgroup (ro)"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        where = "/sys/fs/cgroup"
        old = [group for group in self.groups if not group[2]]
        if old:
            mount = syscalls.new_mount("tmpfs", _READ_ONLY & ~syscalls.MOUNT_ATTR_RDONLY, (("mode", "755"),))
            attach(mount, inside.root.directory(where, strict=True), where)
        for name, directory, unified in self.groups:
            target = f"{where}/unified" if unified and old else where if unified else f"{where}/{name}"
            bind = syscalls.clone_mount(os.fsencode(directory))
            syscalls.set_mount_attributes(bind, _READ_ONLY)
            attach(bind, inside.root.directory(target, strict=True), target)
        if old:
            top = inside.root.open(where, strict=True)
            syscalls.set_mount_attributes(top, syscalls.MOUNT_ATTR_RDONLY)
            os.close(top)


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
