"""Settings become a plan: the steps from a mounted merge to the command, as a list of values. Pure.

The rows follow what docker and podman set up. ``--dry-run`` prints the list, ``--debug`` each step when it is done.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

from cowfs.model import Mounted
from cowrun.asked_mounts import AddDevice, AllDevices, Anonymous, ControlGroups, Mtab
from cowrun.confinement import FilterSystemCalls, SetUlimits
from cowrun.identity import (
    Become,
    FindUser,
    Hostname,
    JoinContainer,
    JoinNetwork,
    Loopback,
    Namespaces,
    Session,
    Terminal,
    WorkingDirectory,
)
from cowrun.mounts import (
    Device,
    Directory,
    HostSys,
    Inject,
    Kernel,
    Link,
    Mask,
    PivotRoot,
    PrivateMounts,
    Protect,
    ReadOnlyRoot,
    Tmpfs,
    Volume,
)
from cowrun.settings import ALL_IDS, Settings
from cowrun.step import Step

_NO_EXEC: Final = frozenset(("nosuid", "nodev", "noexec"))
_NO_SUID: Final = frozenset(("nosuid", "nodev"))

DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
LINKS: Final = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
)
PROTECTED: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
MASKED: Final = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/dev/block",
    "/sys/firmware",
)
MTAB: Final = "/etc/mtab"
BELOW_SYS: Final = (
    "/sys/fs/bpf",
    "/sys/fs/fuse",
    "/sys/fs/pstore",
    "/sys/kernel/debug",
    "/sys/kernel/security",
    "/sys/kernel/tracing",
)
INJECTED: Final = {"/etc/hostname": "hostname", "/etc/hosts": "hosts", "/etc/resolv.conf": "resolv.conf"}


class Place(NamedTuple):
    """Where this run is: what the plan needs besides its settings."""

    run_id: str
    files: str  # the directory of the files to inject
    host_resolv_conf: str = ""  # where @host's /etc/resolv.conf really lies, if that is below /run
    groups: tuple[tuple[str, str, bool], ...] = ()  # the run's control groups, as ControlGroups wants them
    program: bytes = b""  # the compiled filter
    network: tuple[int, str] = (0, "")  # of a private network: its holder, and what serves it


def plan(settings: Settings, place: Place) -> tuple[Step, ...]:
    """Everything that the container's first process does before it executes the command."""
    namespaces = ("mount", "cgroup", "uts", "ipc", *(("net",) if settings.network == "none" else ()))
    return (
        Namespaces(namespaces),
        *(() if settings.network in ("host", "none") else (JoinNetwork(*place.network),)),
        PrivateMounts(),
        Hostname(settings.hostname or place.run_id),
        *((Loopback(),) if settings.network != "host" else ()),
        *_kernel(settings),
        *((ControlGroups(place.groups),) if place.groups else ()),
        *(_fresh_run() if settings.host else ()),
        *_injected(settings, place),
        *_asked(settings),
        FindUser(settings.user),
        *((Terminal(),) if settings.terminal else ()),
        PivotRoot(),
        WorkingDirectory(settings.workdir),
        *((ReadOnlyRoot(),) if settings.read_only else ()),
        *_restrictions(settings, place.program),
    )


def _restrictions(settings: Settings, program: bytes) -> tuple[Step, ...]:
    """What every command of a run gives up before it is executed, the first and those that join it."""
    return (
        Session(),
        *((SetUlimits(settings.ulimits),) if settings.ulimits else ()),
        *_confined(settings, program),
    )


def plan_to_join(settings: Settings, joined: JoinContainer, program: bytes) -> tuple[Step, ...]:
    """The same for ``cowrun exec``: what the first process of the run is held to, this one is, too."""
    return (
        joined,
        FindUser(settings.user),
        *((Terminal(console=False),) if settings.terminal else ()),
        WorkingDirectory(settings.workdir, make=False),
        *_restrictions(settings, program),
    )


def outside_the_merge(settings: Settings) -> tuple[str, ...]:
    """All paths inside that are mounted over: whatever the upper holds there was made to mount on, and is no change."""
    fresh = ("/run", *_replaced(settings)) if settings.host else (*INJECTED, MTAB)
    volumes = (volume.target for volume in settings.volumes)
    tmpfs = (mount.target for mount in settings.tmpfs)
    return tuple(dict.fromkeys(("/proc", "/sys", "/dev", *fresh, *volumes, *tmpfs)))


def mounted_by(steps: Iterable[Step]) -> tuple[Mounted, ...]:
    """What a plan puts over the merge, in the order in which it does."""
    return tuple(mounted for step in steps if (mounted := _mounted(step)) is not None)


def _mounted(step: Step) -> Mounted | None:
    if isinstance(step, Kernel):
        return Mounted(step.target, step.kind)
    if isinstance(step, Tmpfs):
        return Mounted(step.target, "tmpfs")
    if isinstance(step, Inject):
        return Mounted(step.target, "injected")
    if isinstance(step, Volume):
        return Mounted(step.target, "volume", step.source, step.read_only)
    if isinstance(step, AddDevice):
        return Mounted(step.target, "device", step.source)
    return None


def _confined(settings: Settings, program: bytes) -> tuple[Step, ...]:
    """The later the filter, the fewer of our own calls it has to allow."""
    become = Become(settings.capabilities, settings.no_new_privileges, settings.ids > 1)
    if settings.filter is None:
        return (become,)
    filtered = FilterSystemCalls(settings.filter.allowed, program)
    return (become, filtered) if settings.no_new_privileges else (filtered, become)


def _asked(settings: Settings) -> tuple[Step, ...]:
    """What is deeper in the tree comes later; devices last."""
    mounts: list[Anonymous | Tmpfs | Volume] = [Anonymous(path) for path in settings.anonymous]
    mounts += (*settings.tmpfs, *settings.volumes)
    return (
        *sorted(mounts, key=lambda mount: mount.target.count("/")),
        *(AddDevice(device.source, device.target) for device in settings.devices),
    )


def _sys(settings: Settings) -> tuple[Step, ...]:
    """sysfs is about a network namespace, and only its owner may mount it: as an ordinary user we have none of ours."""
    if settings.ids == ALL_IDS or settings.network != "host":
        return (Kernel("sysfs", "/sys", _NO_EXEC if settings.privileged else _NO_EXEC | {"ro"}),)
    return (HostSys(), *(Mask(path) for path in BELOW_SYS))


def _kernel(settings: Settings) -> tuple[Step, ...]:
    privileged = settings.privileged
    flags = frozenset(("nosuid", "noexec")) if privileged else _NO_SUID | {"noexec"}
    return (
        Kernel("proc", "/proc", _NO_EXEC),
        *(Protect(path) for path in PROTECTED if settings.hide),
        *_sys(settings),
        *(Mask(path) for path in MASKED if settings.hide),
        Kernel("tmpfs", "/dev", flags, (("mode", "755"), ("size", "65536k"))),
        *((AllDevices(),) if privileged else ()),
        *(Device(name) for name in DEVICES if not privileged),
        *(Link("/dev", name, target) for name, target in LINKS),
        Kernel("devpts", "/dev/pts", frozenset(("nosuid", "noexec")), _DEVPTS if settings.ids > _TTY else _DEVPTS[:2]),
        Kernel("tmpfs", "/dev/shm", _NO_EXEC, (("mode", "1777"), ("size", "65536k"))),
        Kernel("mqueue", "/dev/mqueue", _NO_EXEC),
    )


_TTY: Final = 5  # the group of terminals
_DEVPTS: Final = (("mode", "620"), ("ptmxmode", "666"), ("gid", str(_TTY)))


def _fresh_run() -> tuple[Step, ...]:
    """@host keeps its own /etc; /run holds the sockets of the machine's services, and must not be seen."""
    return (
        Kernel("tmpfs", "/run", _NO_SUID, (("mode", "755"),)),
        Directory("/run/lock", 0o1777),
    )


def _injected(settings: Settings, place: Place) -> tuple[Step, ...]:
    taken = {volume.target for volume in settings.volumes}
    wanted = _replaced(settings) if settings.host else tuple(INJECTED)
    steps: list[Step] = [
        Inject(f"{place.files}/{INJECTED[target]}", target) for target in wanted if target not in taken
    ]
    if settings.host and place.host_resolv_conf and "/etc/resolv.conf" not in wanted:
        steps.append(Inject(f"{place.files}/resolv.conf", place.host_resolv_conf))
    return tuple(steps) if settings.host else (Mtab(), *steps)


def _replaced(settings: Settings) -> tuple[str, ...]:
    """What of @host's own files does not hold in this run."""
    own_network = settings.network != "host"
    names = {"/etc/hosts": own_network or settings.hosts, "/etc/resolv.conf": own_network or settings.dns}
    return tuple(name for name, replaced in names.items() if replaced)
