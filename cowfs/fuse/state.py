"""What a live mount says about itself, for ``cowfs info``: a file in /run that the serving process writes and removes.

Not an attribute of the mount, which a container would see, nor a socket, which one with the host's network could reach.
A process that was killed leaves its file; readers tell by the pid and its start time, and the next mount of that device
number writes over it.
"""

import json
import os
from pathlib import Path
from typing import Any

from cowfs import ondisk
from cowfs.fuse import mountpoints
from cowfs.processes import Process


def publish(device: int, mountpoint: Path, facts: dict[str, Any]) -> Path | None:
    """Write the file of the mount ``device``; None where /run cannot be written, which costs only the report."""
    path = _file_of(device)
    record = {**Process.of(os.getpid())._asdict(), "mountpoint": os.fspath(mountpoint), **facts}
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        aside.touch(mode=0o600)
        aside.write_text(_as_json(record) + "\n")
        aside.replace(path)
    except OSError:
        return None
    return path


def withdraw(path: Path) -> None:
    """Remove what this process published; the next mount of that device number may have written over it."""
    try:
        if path.read_text().startswith(_as_json({"pid": os.getpid()})[:-1] + ","):
            path.unlink()
    except (OSError, ValueError):
        pass


def read(mountpoint: Path) -> dict[str, Any] | None:
    """What the process that serves ``mountpoint`` wrote; None where there is none, or it is gone."""
    found = _found(mountpoint)
    if found is None:
        return None
    record, server = found
    os.close(server)
    return record


def server_of(mountpoint: Path) -> int | None:
    """A pidfd of the process that serves ``mountpoint``, None where it is not known. The caller closes it."""
    found = _found(mountpoint)
    return None if found is None else found[1]


def _found(mountpoint: Path) -> tuple[dict[str, Any], int] | None:
    device = mountpoints.device_at(Path(os.path.realpath(mountpoint)))
    if device is None:
        return None
    try:
        record: dict[str, Any] = json.loads(_file_of(device).read_text())
        return record, Process(record["pid"], record["started"]).open()
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file_of(device: int) -> Path:
    return Path(ondisk.MOUNTS, f"{os.minor(device)}.json")


def _as_json(value: dict[str, Any] | str | int) -> str:
    """As json would have it, which takes longer to import than most of a mount to be made."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_as_json(key)}: {_as_json(item)}" for key, item in value.items()) + "}"
    if not isinstance(value, str):
        return str(value)
    if value.isascii() and value.isprintable() and not set(value) & set('"\\'):
        return f'"{value}"'
    units = value.encode("utf-16-be", "surrogatepass").hex()
    return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'
