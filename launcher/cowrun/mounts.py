"""The steps that mount: what a command finds at /proc, /sys, /dev, and at the places that were asked for.

Everything is attached by descriptor (move_mount(2)), never by a path that the root could have bent: where we put the
kernel's own file systems no symbolic link is followed at all.
"""

import os
import stat
from typing import Final, NamedTuple

from cowfs.errors import BrokenImage, MountError, NotFound
from cowrun import syscalls
from cowrun.filling import fill
from cowrun.root import Root, refuse_proc
from cowrun.step import Inside

_ATTRIBUTES: Final = {
    "ro": syscalls.MOUNT_ATTR_RDONLY,
    "nosuid": syscalls.MOUNT_ATTR_NOSUID,
    "nodev": syscalls.MOUNT_ATTR_NODEV,
    "noexec": syscalls.MOUNT_ATTR_NOEXEC,
}
_NULL: Final = os.makedev(1, 3)


class PrivateMounts:
    """Nothing that is mounted from here on shows on the host, nor the other way."""

    def describe(self) -> str:
        """See Step."""
        return "make all mounts private"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        syscalls.set_propagation(syscalls.MS_PRIVATE | syscalls.MS_REC)


class Kernel(NamedTuple):
    """A file system of the kernel's at a fixed place."""

    kind: str
    target: str
    flags: frozenset[str]
    data: tuple[tuple[str, str], ...] = ()

    def describe(self) -> str:
        """See Step."""
        options = [*sorted(self.flags), *(f"{key}={value}" for key, value in self.data)]
        return f"mount {self.kind} on {self.target} ({','.join(options)})"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        _attach_new(self.kind, self.flags, self.data, inside.root.directory(self.target, strict=True), self.target)


class HostSys(NamedTuple):
    """The host's own /sys, with all that is mounted below it, to be read only."""

    def describe(self) -> str:
        """See Step."""
        return "bind /sys of the host on /sys (ro,nodev,noexec,nosuid)"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        mount = syscalls.clone_mount(b"/sys", recursive=True)
        syscalls.set_mount_attributes(mount, _mask(frozenset(_ATTRIBUTES)), recursive=True)
        attach(mount, inside.root.directory("/sys", strict=True), "/sys")


class Tmpfs(NamedTuple):
    """``--tmpfs``: an empty file system that is gone with the run."""

    target: str
    data: tuple[tuple[str, str], ...]
    flags: frozenset[str]

    def describe(self) -> str:
        """See Step."""
        options = [*sorted(self.flags), *(f"{key}={value}" for key, value in self.data)]
        return f"mount tmpfs on {self.target} ({','.join(options)})"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        target = refuse_proc(inside.root.directory(self.target), self.target)
        _attach_new("tmpfs", self.flags, self.data, target, self.target)


class Directory(NamedTuple):
    """A directory in one of the file systems that were mounted before."""

    path: str
    mode: int

    def describe(self) -> str:
        """See Step."""
        return f"make directory {self.path} ({self.mode:o})"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        fd = inside.root.directory(self.path, strict=True)
        os.chmod(f"/proc/self/fd/{fd}", self.mode)
        os.close(fd)


class Device(NamedTuple):
    """A device of the host's /dev, bound: no other one can be opened, the rest of the tree being nodev."""

    name: str

    def describe(self) -> str:
        """See Step."""
        return f"bind /dev/{self.name}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        source = syscalls.clone_mount(b"/dev/" + self.name.encode())
        if not stat.S_ISCHR(os.fstat(source).st_mode):
            raise MountError(f"/dev/{self.name} of this machine is no device")
        attach(source, new_file(inside.root, "/dev", self.name), f"/dev/{self.name}")


class Link(NamedTuple):
    """A symbolic link in a directory that was mounted before."""

    directory: str
    name: str
    target: str

    def describe(self) -> str:
        """See Step."""
        return f"link {self.directory}/{self.name} -> {self.target}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        fd = inside.root.open(self.directory, strict=True)
        os.symlink(self.target, self.name, dir_fd=fd)
        os.close(fd)


class Protect(NamedTuple):
    """A part of /proc that stays readable only."""

    path: str

    def describe(self) -> str:
        """See Step."""
        return f"make {self.path} read-only"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        try:
            target = inside.root.open(self.path, strict=True)
        except FileNotFoundError:
            return
        mount = syscalls.clone_mount_at(target)
        flags = _mask(frozenset(("ro", "nosuid", "nodev", "noexec")))
        syscalls.set_mount_attributes(mount, flags)
        attach(mount, target, self.path)


class Mask(NamedTuple):
    """A part of /proc or /sys that appears empty."""

    path: str

    def describe(self) -> str:
        """See Step."""
        return f"hide {self.path}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        try:
            target = inside.root.open(self.path, strict=True)
        except FileNotFoundError:
            return
        if stat.S_ISDIR(os.fstat(target).st_mode):
            _attach_new("tmpfs", frozenset(("ro", "nosuid", "nodev", "noexec")), (), target, self.path)
            return
        null = syscalls.clone_mount(b"/dev/null")
        if os.fstat(null).st_rdev != _NULL:
            raise MountError("/dev/null of this machine is not the null device")
        attach(null, target, self.path)


class Inject(NamedTuple):
    """A file of the run's own directory, bound over one of the root's: writable, and never part of the changes."""

    source: str
    target: str

    def describe(self) -> str:
        """See Step."""
        return f"bind {self.source} on {self.target}"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        target = refuse_proc(inside.root.file(self.target), self.target)
        attach(syscalls.clone_mount(os.fsencode(self.source)), target, self.target)


class Volume(NamedTuple):
    """``-v``: a directory or file of the host, with what is mounted below it."""

    source: str
    target: str
    read_only: bool
    name: str = ""  # of a named volume, which is in the store

    def describe(self) -> str:
        """See Step."""
        what = f"volume {self.name}" if self.name else f"{self.source} of the host"
        return f"bind {what} on {self.target} ({'ro' if self.read_only else 'rw'},nodev)"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        try:
            mount = syscalls.clone_mount(os.fsencode(self.source), recursive=True)
        except OSError as error:
            raise NotFound(f"-v: {self.source} of the host cannot be used: {error.strerror}") from None
        syscalls.set_mount_attributes(
            mount, _mask(frozenset(("ro", "nodev") if self.read_only else ("nodev",))), recursive=True
        )
        is_directory = stat.S_ISDIR(os.fstat(mount).st_mode)
        root = inside.root
        target = root.directory(self.target) if is_directory else root.file(self.target)
        if self.name and is_directory:
            _fill(mount, refuse_proc(target, self.target), self.target)
        attach(mount, refuse_proc(target, self.target), self.target)


class PivotRoot:
    """The root becomes ``/``, and the old one is unmounted from here."""

    def describe(self) -> str:
        """See Step."""
        return "pivot into the new root and unmount the old one"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        root = inside.root.fd
        syscalls.leave_chroot()
        os.fchdir(root)
        syscalls.pivot_root_here()
        os.chdir("/")


class ReadOnlyRoot:
    """``--read-only``: set last, so that mount points can be made before."""

    def describe(self) -> str:
        """See Step."""
        return "make the root read-only"

    def execute(self, inside: Inside) -> None:
        """See Step."""
        syscalls.set_mount_attributes(inside.root.fd, syscalls.MOUNT_ATTR_RDONLY)


def _mask(flags: frozenset[str]) -> int:
    return sum(_ATTRIBUTES[flag] for flag in flags)


def _attach_new(kind: str, flags: frozenset[str], data: tuple[tuple[str, str], ...], target: int, path: str) -> None:
    try:
        mount = syscalls.new_mount(kind, _mask(flags), data)
    except OSError as error:
        raise MountError(f"{path}: {kind} cannot be mounted: {error.strerror}") from None
    attach(mount, target, path)


def attach(mount: int, target: int, path: str) -> None:
    """Put a detached mount on an open file and close both. Raises BrokenImage, MountError."""
    try:
        syscalls.attach(mount, target)
    except NotADirectoryError:
        raise BrokenImage(f"{path}: a directory cannot be mounted on a file, nor the other way") from None
    except OSError as error:
        raise MountError(f"{path}: cannot be mounted: {error.strerror}") from None
    finally:
        os.close(mount)
        os.close(target)


def _fill(mount: int, place: int, path: str) -> None:
    """A new volume's directory with what the root has where it is to be."""
    source = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=place)
    target = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
    try:
        fill(source, target)
    except OSError as error:
        raise MountError(f"{path}: the new volume cannot be filled: {error.strerror}") from None
    finally:
        os.close(source)
        os.close(target)


def new_file(root: Root, directory: str, name: str) -> int:
    """An empty file to mount on, in a directory that was mounted before."""
    parent = root.open(directory, strict=True)
    try:
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666, dir_fd=parent))
    finally:
        os.close(parent)
    return root.open(f"{directory}/{name}", strict=True)
