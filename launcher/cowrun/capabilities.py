"""Capabilities by name (capabilities(7)): the table, and what a command gets. Pure.

The default is podman's on Debian: docker's without mknod, net_raw and audit_write.
"""

from collections.abc import Iterable

from cowfs.errors import UsageError

# In the order of their numbers.
NAMES = (
    "chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
    "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
    "sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
    "sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
    "mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
    "checkpoint_restore",
)  # fmt: skip

DEFAULT = frozenset((
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service",
    "sys_chroot", "setfcap",
))  # fmt: skip


def choose(add: Iterable[str], drop: Iterable[str]) -> frozenset[str]:
    """The default with ``--cap-add`` and ``--cap-drop`` applied as docker does: ALL first, then single names.

    Raises UsageError.
    """
    added, dropped = _parse("--cap-add", add), _parse("--cap-drop", drop)
    chosen = set(NAMES if "all" in added else DEFAULT)
    if "all" in dropped:
        chosen = set(NAMES) - dropped if "all" in added else set()
    return frozenset((chosen - dropped) | (added - {"all"}))


def mask(names: Iterable[str]) -> int:
    """The bit mask of a set of names."""
    return sum(1 << NAMES.index(name) for name in names)


def _parse(option: str, texts: Iterable[str]) -> set[str]:
    found = set()
    for text in texts:
        name = text.lower().removeprefix("cap_")
        if name != "all" and name not in NAMES:
            raise UsageError(f"{option} {text}: no such capability")
        found.add(name)
    return found
