"""``-v SOURCE:TARGET[:OPTIONS]``, ``--mount KEY=VALUE,...``, ``--tmpfs TARGET[:OPTIONS]``, ``--device`` as docker
has them, as values. Pure."""

import posixpath
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from cowfs.errors import UsageError
from cowrun.mounts import Tmpfs, Volume

_SIZE: Final = re.compile(r"[0-9]+[kKmMgG%]?")
_OCTAL: Final = re.compile(r"[0-7]{1,4}")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")


_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")
_BOOLEANS: Final = {"": True, "true": True, "1": True, "false": False, "0": False}


class Places(NamedTuple):
    """Where sources of volumes lie."""

    directory: str  # where a relative source begins
    volumes: str  # the directory of the named ones


class HostDevice(NamedTuple):
    """``--device``."""

    source: str
    target: str


def parse_volume(text: str, places: Places) -> Volume:
    """Raises UsageError."""
    parts = text.split(":")
    if len(parts) not in (2, 3) or not all(parts):
        raise UsageError(f"-v {text!r}: SOURCE:TARGET or SOURCE:TARGET:ro")
    source, target, *rest = parts
    read_only = False
    for option in rest[0].split(",") if rest else ():
        if option not in ("ro", "rw"):
            raise UsageError(f"-v {text!r}: unknown option {option!r}, only ro and rw are there")
        read_only = option == "ro"
    return _volume(f"-v {text!r}", source, target, read_only, places)


def _volume(option: str, source: str, target: str, read_only: bool, places: Places) -> Volume:
    """A source without a slash that begins with no dot is a name."""
    if source.startswith(("/", ".")):
        return Volume(posixpath.join(places.directory, source), target_of(option, target), read_only)
    if not _NAME.fullmatch(source):
        raise UsageError(f"{option}: {source!r} is neither a path (begin it with / or .) nor a name of a volume")
    return Volume(posixpath.join(places.volumes, source), target_of(option, target), read_only, source)


def parse_mount(text: str, places: Places) -> Volume | Tmpfs:
    """``type=bind|volume|tmpfs,source=...,target=...,readonly,...``. Raises UsageError."""
    option = f"--mount {text!r}"
    given: dict[str, str] = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        key = _MOUNT_KEYS.get(key, key)
        if key in given:
            raise UsageError(f"{option}: {key} is there twice")
        given[key] = value
    kind = given.pop("type", "volume")
    read_only = _BOOLEANS.get(given.pop("readonly", "false"))
    target = given.pop("target", "")
    if kind not in _MOUNTS or read_only is None:
        raise UsageError(f"{option}: type is bind, volume or tmpfs; readonly is true or false")
    if not target:
        raise UsageError(f"{option}: no target")
    made = _MOUNTS[kind](option, target, read_only, given, places)
    if given:
        raise UsageError(f"{option}: {next(iter(given))} is not known for type={kind}")
    return made


def _bound(option: str, target: str, read_only: bool, given: dict[str, str], places: Places) -> Volume:
    source = given.pop("source", "")
    if given.pop("bind-propagation", "rprivate") not in ("private", "rprivate"):
        raise UsageError(f"{option}: only private propagation is there")
    if not source.startswith(("/", ".")):
        raise UsageError(f"{option}: the source is a path, and begins with / or .")
    return _volume(option, source, target, read_only, places)


def _named(option: str, target: str, read_only: bool, given: dict[str, str], places: Places) -> Volume:
    source = given.pop("source", "")
    if not _NAME.fullmatch(source):
        raise UsageError(f"{option}: the source is the name of a volume: letters, digits and _.-")
    return _volume(option, source, target, read_only, places)


def _fresh(option: str, target: str, read_only: bool, given: dict[str, str], places: Places) -> Tmpfs:
    words = [f"{key}={given.pop(f'tmpfs-{key}')}" for key in ("size", "mode") if f"tmpfs-{key}" in given]
    try:
        return parse_tmpfs(f"{target}:{','.join([*words, *(['ro'] if read_only else [])])}")
    except UsageError as error:
        raise UsageError(f"{option}: {error}") from None


def parse_device(text: str) -> HostDevice:
    """``SOURCE[:TARGET[:rwm]]``. Raises UsageError."""
    source, _, rest = text.partition(":")
    target, _, permissions = rest.partition(":")
    if rest and not rest.startswith("/"):
        target, permissions = "", rest
    if permissions and set(permissions) != set("rwm"):
        raise UsageError(f"--device {text}: only rwm is there; what may be done with it is for its mode to say")
    source = absolute(source, "--device")
    return HostDevice(source, target_of(f"--device {text}", target or source))


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


_Parser = Callable[[str, str, bool, dict[str, str], Places], Volume | Tmpfs]
_MOUNTS: Final[dict[str, _Parser]] = {"bind": _bound, "volume": _named, "tmpfs": _fresh}
_MOUNT_KEYS: Final = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
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
