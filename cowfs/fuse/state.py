"""What a live mount says about itself, for ``cowfs info``: a file in /run that the serving process writes and removes.

Not an attribute of the mount, which a container would see, nor a socket, which one with the host's network could reach.
A process that was killed leaves its file; readers tell by the pid and its start time, and the next mount of that device
number writes over it.
"""

import json
import os
import select
from pathlib import Path
from typing import Any

from cowfs import ondisk
from cowfs.fuse import mountpoints


def publish(device: int, mountpoint: Path, facts: dict[str, Any]) -> Path | None:
    """Write the file of the mount ``device``; None where /run cannot be written, which costs only the report."""
    path = _file_of(device)
    record = {"pid": os.getpid(), "started": _start_time(os.getpid()), "mountpoint": os.fspath(mountpoint), **facts}
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        aside.touch(mode=0o600)
        aside.write_text(json.dumps(record) + "\n")
        aside.replace(path)
    except OSError:
        return None
    return path


def read(mountpoint: Path) -> dict[str, Any] | None:
    """What the process that serves ``mountpoint`` wrote; None where there is none, or it is gone."""
    device = mountpoints.device_at(Path(os.path.realpath(mountpoint)))
    if device is None:
        return None
    try:
        record: dict[str, Any] = json.loads(_file_of(device).read_text())
    except (OSError, ValueError):
        return None
    return record if _start_time(record.get("pid", 0)) == record.get("started") else None


def server_of(mountpoint: Path) -> int | None:
    """A pidfd of the process that serves ``mountpoint``, None where it is not known. The caller closes it."""
    record = read(mountpoint)
    if record is None:
        return None
    try:
        server = os.pidfd_open(record["pid"])
    except OSError:
        return None
    if read(mountpoint) == record:  # it is still the same one
        return server
    os.close(server)
    return None


def wait_for_end(server: int) -> None:
    """Until the process of a pidfd is over: after an unmount it makes files whole. Closes the pidfd."""
    poll = select.poll()
    poll.register(server, select.POLLIN)
    poll.poll()
    os.close(server)


def _file_of(device: int) -> Path:
    return Path(ondisk.MOUNTS, f"{os.minor(device)}.json")


def _start_time(pid: int) -> str | None:
    """With the pid it names a process for ever; None for one that is gone, or dead and not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None
