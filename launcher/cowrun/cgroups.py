"""Limits on all processes of a run together: control groups of version 2, or of 1 where the machine has those.

Used by the launcher. What is to be written where is worked out by pure functions; :class:`Groups` makes the groups,
puts the container into them, and removes them. A group lies below the launcher's own, so that its limits hold, too:

    version 1   in the launcher's own group of each controller
    version 2   in the nearest group above that holds no process itself, as a group that does cannot have children with
                limits; the root is free of that rule (Documentation/admin-guide/cgroup-v2.rst, "no internal process")

Each directory is locked (flock) as long as the launcher or the guard lives; what a killed launcher left is found by
that, and removed by the next.
"""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from cowfs.errors import PrivilegeError
from cowrun.limits import PERIOD, Limits

PREFIX: Final = "cowrun-"
_PATIENCE: Final = 1.0  # seconds until a group is empty whose processes have all ended
_FLAGS: Final = frozenset(("rw", "ro"))  # stand among the controllers
_TRIES: Final = 16
_OPTIONS: Final = {"memory": "-m", "cpu": "--cpus", "pids": "--pids-limit"}

Read = Callable[[str], str]


class Hierarchy(NamedTuple):
    """A mounted tree of groups."""

    mountpoint: str
    own: str  # the directory of the launcher's own group, below the mount point or the same
    controllers: frozenset[str]  # empty for version 2, where files say it
    unified: bool


class Setting(NamedTuple):
    """What to write into a file of a group."""

    controller: str
    file: str
    value: str
    needed: bool = True  # False: not every kernel has the file


class Group(NamedTuple):
    """One directory to make."""

    parent: str
    unified: bool
    settings: tuple[Setting, ...]


# --- what is to be done: pure


def hierarchies(mountinfo: str, membership: str) -> list[Hierarchy]:
    """What /proc/self/mountinfo and /proc/self/cgroup say."""
    own = {}
    for line in membership.splitlines():
        _, names, path = line.split(":", 2)
        own[names] = path
    found: list[Hierarchy] = []
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        if kind not in ("cgroup", "cgroup2"):
            continue
        _, _, _, top, mountpoint, *_ = left.split(" ")
        controllers = frozenset() if kind == "cgroup2" else frozenset(options.rpartition(" ")[2].split(",")) - _FLAGS
        groups = (path for names, path in own.items() if _names(names, controllers, kind))
        found += (
            Hierarchy(mountpoint, _below(mountpoint, top, path), controllers, kind == "cgroup2") for path in groups
        )
    return found


def _names(names: str, controllers: frozenset[str], kind: str) -> bool:
    return not names if kind == "cgroup2" else bool(names) and set(names.split(",")) <= controllers


def _below(mountpoint: str, top: str, path: str) -> str:
    relative = path.removeprefix(top.rstrip("/")) if path.startswith(top) else ""
    return mountpoint + relative.rstrip("/")


def settings_of(limits: Limits, *, unified: bool) -> list[Setting]:
    """The files of one version."""
    wanted = []
    if limits.memory is not None and unified:
        wanted += [
            Setting("memory", "memory.max", str(limits.memory)),
            Setting("memory", "memory.swap.max", str(limits.memory), needed=False),
        ]
    elif limits.memory is not None:
        wanted += [
            Setting("memory", "memory.limit_in_bytes", str(limits.memory)),
            Setting("memory", "memory.memsw.limit_in_bytes", str(2 * limits.memory), needed=False),
        ]
    if limits.quota is not None and unified:
        wanted.append(Setting("cpu", "cpu.max", f"{limits.quota} {PERIOD}"))
    elif limits.quota is not None:
        wanted += [
            Setting("cpu", "cpu.cfs_period_us", str(PERIOD)),
            Setting("cpu", "cpu.cfs_quota_us", str(limits.quota)),
        ]
    if limits.pids is not None:
        wanted.append(Setting("pids", "pids.max", str(limits.pids), needed=limits.pids_asked))
    return wanted


def plan(limits: Limits, machine: Iterable[Hierarchy], read: Read) -> tuple[list[Group], list[str]]:
    """The groups to make, and the controllers that no hierarchy has. ``read`` gives a file's content, or nothing."""
    groups: dict[str, Group] = {}
    missing = []
    for controller in dict.fromkeys(setting.controller for setting in settings_of(limits, unified=True)):
        hierarchy = next((h for h in machine if _has(h, controller, read)), None)
        if hierarchy is None:
            missing.append(controller)
            continue
        parent = _parent(hierarchy, read) if hierarchy.unified else hierarchy.own
        settings = tuple(s for s in settings_of(limits, unified=hierarchy.unified) if s.controller == controller)
        before = groups[parent].settings if parent in groups else ()
        groups[parent] = Group(parent, hierarchy.unified, before + settings)
    return list(groups.values()), missing


def _has(hierarchy: Hierarchy, controller: str, read: Read) -> bool:
    if hierarchy.unified:
        return controller in read(f"{_parent(hierarchy, read)}/cgroup.controllers").split()
    return controller in hierarchy.controllers


def _parent(hierarchy: Hierarchy, read: Read) -> str:
    path = hierarchy.own
    while len(path) > len(hierarchy.mountpoint) and read(f"{path}/cgroup.procs").strip():
        path = path.rpartition("/")[0]
    return path


# --- deeds


class Groups:
    """The groups of one run."""

    def __init__(self, limits: Limits, run_id: str) -> None:
        """Make them. Raises PrivilegeError where a limit that was asked for cannot be set."""
        self.directories: list[tuple[str, str, bool]] = []  # name for the inside, directory, version 2
        self._locks: list[int] = []
        groups, missing = _plan_here(limits)
        try:
            for controller in missing:
                _refuse(limits, controller, "this machine does not offer it (no such cgroup controller)")
            for group in groups:
                self._make(limits, group, run_id)
        except BaseException:
            self.remove()
            raise

    def take(self, pid: int) -> None:
        """Put a process, which is to have no children yet, into all of them."""
        for _, directory, _ in self.directories:
            _write(f"{directory}/cgroup.procs", str(pid))

    def remove(self) -> None:
        """All processes are over. May be called twice."""
        remove([directory for _, directory, _ in self.directories])
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()

    def _make(self, limits: Limits, group: Group, run_id: str) -> None:
        directory = f"{group.parent}/{PREFIX}{run_id}"
        controllers = dict.fromkeys(setting.controller for setting in group.settings)
        try:
            _sweep(group.parent)
            if group.unified:
                _enable(group.parent, controllers)
            self._locks.append(_make_locked(directory))
            self.directories.append((",".join(controllers), directory, group.unified))
        except OSError as error:
            for controller in controllers:
                _refuse(limits, controller, f"{directory}: {error.strerror}")
            return
        for setting in group.settings:
            try:
                _write(f"{directory}/{setting.file}", setting.value)
            except OSError as error:
                if setting.needed:
                    _refuse(limits, setting.controller, f"{directory}/{setting.file}: {error.strerror}")


def join(first: int, pid: int) -> None:
    """Put ``pid`` into the groups of the run whose first process is ``first``. Raises OSError."""
    for hierarchy in hierarchies(_read("/proc/self/mountinfo"), _read(f"/proc/{first}/cgroup")):
        if os.path.basename(hierarchy.own).startswith(PREFIX):
            _write(f"{hierarchy.own}/cgroup.procs", str(pid))


def remove(directories: Iterable[str]) -> None:
    """Remove groups whose processes have been killed: the kernel may need a moment to forget them."""
    deadline = time.monotonic() + _PATIENCE
    for directory in directories:
        while True:
            try:
                os.rmdir(directory)
            except OSError as error:
                if not isinstance(error, FileNotFoundError) and time.monotonic() < deadline:
                    time.sleep(0.002)
                    continue
            break


def _plan_here(limits: Limits) -> tuple[list[Group], list[str]]:
    try:
        machine = hierarchies(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
    except ValueError:
        machine = []
    return plan(limits, machine, _read)


def _refuse(limits: Limits, controller: str, reason: str) -> None:
    if controller != "pids" or limits.pids_asked:
        raise PrivilegeError(f"{_OPTIONS[controller]}: the limit cannot be set: {reason}")


def _enable(directory: str, controllers: Iterable[str]) -> None:
    """The parent's children get the controllers only if each group above passes them on."""
    enabled = _read(f"{directory}/cgroup.subtree_control").split()
    for controller in controllers:
        if controller not in enabled:
            _write(f"{directory}/cgroup.subtree_control", f"+{controller}")


def _sweep(parent: str) -> None:
    """What launchers left that were killed with their guard."""
    for name in os.listdir(parent):
        if name.startswith(PREFIX):
            with contextlib.suppress(OSError):
                lock = os.open(f"{parent}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.rmdir(f"{parent}/{name}")
                finally:
                    os.close(lock)


def _make_locked(directory: str) -> int:
    """A sweeper may take it for a dead one's before it is locked; then it is made again."""
    for _ in range(_TRIES):
        os.mkdir(directory, 0o755)
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.isdir(directory):
                return fd
            os.close(fd)
    raise BlockingIOError(errno.EAGAIN, "it is removed again and again")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
