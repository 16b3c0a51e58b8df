"""What a person may type as IMAGE, and what it becomes. Used by every command that takes one.

@host                        the machine's own root, as one layer
dir:PATH                     a directory, as one layer
oci:PATH[:TAG]               an OCI image layout
oci-archive:FILE[:TAG]       a tar of one
docker-archive:FILE[:NAME]   what docker save wrote
anything else                an image in the store, by its reference
"""

import os
import re
from pathlib import Path

from cowfs.errors import NotFound, UsageError
from cowfs.model import Base, LayerInfo
from cowfs.store import Store

HOST = "@host"
_SCHEMES = ("dir", "oci", "oci-archive", "docker-archive")

_ALWAYS_HIDDEN = ("/proc", "/sys", "/dev", "/run")
# File systems that are windows on the kernel or on a daemon, not data: fresh or absent inside.
_PSEUDO = {
    "autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs",
    "fusectl", "hugetlbfs", "mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs",
    "tracefs", "fuse.cowfs", "fuse.gvfsd-fuse", "fuse.portal",
}  # fmt: skip


def resolve(text: str, store: Store) -> Base:
    """The base that ``text`` names; what is missing in the store is unpacked into it.

    Raises NotFound, UsageError, BrokenImage, StoreError, PrivilegeError.
    """
    if text == HOST:
        return Base(source=text, layers=(LayerInfo(1, Path("/")),), host=True)
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _SCHEMES:
        return _stored(text, store)
    if not rest:
        raise UsageError(f"{text!r} names no path: {scheme}:PATH")
    if scheme == "dir":
        return Base(source=text, layers=(LayerInfo(1, _directory(Path(rest))),))
    raise NotFound(f"{scheme}: is not there yet")


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


def _directory(path: Path) -> Path:
    try:
        found = path.resolve(strict=True)
    except FileNotFoundError:
        raise NotFound(f"no directory {path}") from None
    except (OSError, RuntimeError) as error:
        raise NotFound(f"{path} cannot be used: {error}") from None
    if not found.is_dir():
        raise UsageError(f"{path} is not a directory")
    return found


def _stored(text: str, store: Store) -> Base:
    raise NotFound(f"no image {text!r} in the store")
