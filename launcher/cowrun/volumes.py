"""``-v SOURCE:TARGET[:OPTIONS]`` and ``--tmpfs TARGET[:OPTIONS]``: docker's syntax as values. Pure."""

import posixpath
import re
from typing import Final

from cowfs.errors import UsageError
from cowrun.mounts import Tmpfs, Volume

_SIZE: Final = re.compile(r"[0-9]+[kKmMgG%]?")
_OCTAL: Final = re.compile(r"[0-7]{1,4}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


def parse_volume(text: str, directory: str) -> Volume:
    """``directory`` is where a relative source begins. Raises UsageError."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(f"-v {text!r}: SOURCE:TARGET or SOURCE:TARGET:ro")
    source, target, *rest = parts
    if not source.startswith(("/", ".")):
        raise UsageError(f"-v {text!r}: named volumes are not there, a source begins with / or .")
    read_only = False
    for option in rest[0].split(",") if rest else ():
        if option not in ("ro", "rw"):
            raise UsageError(f"-v {text!r}: unknown option {option!r}, only ro and rw are there")
        read_only = option == "ro"
    return Volume(posixpath.join(directory, source), target_of(f"-v {text!r}", target), read_only)


def parse_tmpfs(text: str) -> Tmpfs:
    """Raises UsageError."""
    target, _, rest = text.partition(":")
    flags = {"nosuid": True, "nodev": True, "noexec": True, "ro": False}
    data = {"mode": "1777"}
    for option in filter(None, rest.split(",")):
        name, _, value = option.partition("=")
        if option in _FLAGS:
            flag, setting = _FLAGS[option]
            flags[flag] = setting
        elif name in _VALUES and _VALUES[name].fullmatch(value):
            data[name] = value
        else:
            raise UsageError(f"--tmpfs {text!r}: unknown option {option!r}")
    return Tmpfs(
        target_of(f"--tmpfs {text!r}", target), tuple(data.items()), frozenset(f for f, on in flags.items() if on)
    )


def target_of(option: str, target: str) -> str:
    """A mount point inside. Raises UsageError."""
    path = absolute(target, f"{option}: the target")
    if path == "/":
        raise UsageError(f"{option}: the root itself cannot be the target")
    return path


def absolute(path: str, what: str) -> str:
    """``path`` without dots and double slashes. Raises UsageError if it is relative."""
    if not path.startswith("/"):
        raise UsageError(f"{what} {path!r} must begin with /")
    return "/" + posixpath.normpath(path).lstrip("/")


_FLAGS: Final = {
    "ro": ("ro", True),
    "rw": ("ro", False),
    "exec": ("noexec", False),
    "noexec": ("noexec", True),
    "suid": ("nosuid", False),
    "nosuid": ("nosuid", True),
    "nodev": ("nodev", True),
}
_VALUES: Final = {"size": _SIZE, "nr_inodes": _SIZE, "mode": _OCTAL, "uid": _NUMBER, "gid": _NUMBER}
