"""The machine's own root as the base of an image (``@host``): which of its directories appear empty."""

import os
import re
from pathlib import Path

from cowfs.store import Store

HOST = "@host"
_ALWAYS_HIDDEN = ("/proc", "/sys", "/dev", "/run")
# File systems that are windows on the kernel or on a daemon, not data: fresh or absent inside.
_PSEUDO = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs",
    "tracefs", "fuse.cowfs", "fuse.gvfsd-fuse", "fuse.portal",
}  # fmt: skip


def hidden_directories(store: Store) -> frozenset[Path]:
    """The directories that must appear empty where ``/`` is a layer: pseudo file systems, /run, and the store itself.

    A directory below another one of the set is left out.
    """
    mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    found = {Path(path) for path in _ALWAYS_HIDDEN} | {store.root}
    found |= {path for line in mounts if (path := _pseudo_mount(line)) and os.path.isdir(path)}
    return frozenset(path for path in found if not found.intersection(path.parents))


def _pseudo_mount(line: bytes) -> Path | None:
    """The mount point in a line of mountinfo (proc_pid_mountinfo(5)) if it is a pseudo file system's."""
    before, _, after = line.partition(b" - ")
    if os.fsdecode(after.split(b" ", 1)[0]) not in _PSEUDO:
        return None
    escaped = before.split(b" ")[4]
    return Path(os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), escaped)))
