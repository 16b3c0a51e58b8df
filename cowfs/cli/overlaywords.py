"""The words of ``cowfs-overlay``: fuse-overlayfs's command line into MountOptions.

Every option is done, refused by name, or accepted because it changes nothing here; docs/podman.md has the list. Imports
next to nothing, as a container waits for it.
"""

import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from cowfs.cli.mountwords import EXEC, SWITCHES, absolute, split, unescaped
from cowfs.errors import UsageError
from cowfs.ondisk import ENGINE_SOURCE, OVERRIDE_SECURITY, OVERRIDE_USER, TRANSPORT_ENV
from cowfs.options import EngineOptions, IdRanges, MountOptions

PROGRAM: Final = ENGINE_SOURCE
_AT_MOST: Final = 1.0  # seconds: who wants names forgotten that soon has lowers that change

# Options of fuse-overlayfs, libfuse, overlayfs and mount(8) that change nothing here, whatever their value is: how it
# caches and schedules is not ours; marks that may be written need not be; the default is what is asked for.
_ACCEPTED: Final = frozenset({
    "threaded", "fast_ino", "writeback", "clone_fd", "max_idle_threads", "max_threads", "max_write", "kernel_cache",
    "splice_write", "splice_read", "splice_move", "auto_unmount", "fsname", "subtype",
    "metacopy", "redirect_dir", "index", "xino", "nfs_export", "uuid",
    "context", "fscontext", "defcontext", "rootcontext",
    "rw", "defaults", "default_permissions", "allow_other",
    "sync", "async", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime", "strictatime",
    "lazytime", "nolazytime",
})  # fmt: skip
_PATHS: Final = ("lowerdir", "upperdir", "workdir")


class Request(NamedTuple):
    """What a command line asks for."""

    options: MountOptions
    mountpoint: Path
    programs: bool  # may be run from the mount
    foreground: bool
    debug: bool


def parse(arguments: list[str]) -> Request:
    """A command line of fuse-overlayfs. Raises UsageError; the last of what is said twice counts, as there."""
    positional: list[str] = []
    given: list[str] = []
    flags: set[str] = set()
    words = iter(arguments)
    for word in words:
        if word in ("-f", "-d", "--debug"):
            flags.add(word)
        elif word == "-s":
            pass  # one thread: requests are handled one after the other anyway
        elif word.startswith("-o"):
            given.extend(_options_of(word[2:] or next(words, "")))
        elif word.startswith("-") and len(word) > 1:
            raise UsageError(f"unknown option {word}")
        else:
            positional.append(word)
    if len(positional) != 1:
        raise UsageError(f"one MOUNTPOINT is needed, not {len(positional)}: {PROGRAM} -o OPTIONS MOUNTPOINT")
    debug = bool(flags & {"-d", "--debug"}) or "debug" in given
    programs = [EXEC[option] for option in given if option in EXEC]
    options = _options([option for option in given if option not in EXEC and option != "debug"])
    return Request(options, absolute(positional[0]), all(programs[-1:]), debug or "-f" in flags, debug)


def _options_of(text: str) -> list[str]:
    """One ``-o``, split at commas; those in the quotes of an SELinux context do not count, an option may be empty."""
    found: list[str] = []
    quoted = False
    for part in split(text, ","):
        if quoted:
            found[-1] += "," + part
        else:
            found.append(part)
        key, _, value = found[-1].partition("=")
        quoted = key.endswith("context") and value.startswith('"') and not (len(value) > 1 and value.endswith('"'))
    return [option for option in found if option]


def _options(given: list[str]) -> MountOptions:
    values: dict[str, str] = {}
    switches: dict[str, bool] = {}
    for option in given:
        key, equals, value = option.partition("=")
        if equals and (key in _PATHS or key in _VALUES):
            values[key] = value
        elif option in SWITCHES:
            name, setting = SWITCHES[option]
            switches[name] = setting
        elif key in _REFUSED and value != "0":
            raise UsageError(f"mount option {key}: {_REFUSED[key]}")
        elif option not in _FLAGS and key not in _ACCEPTED and key not in _REFUSED:
            raise UsageError(f"unknown mount option {option}")
    lowers = [part for part in split(values.get("lowerdir", ""), ":") if part]
    if not lowers:
        raise UsageError("missing mount option lowerdir=DIR[:DIR...]")
    if ("upperdir" in values) != ("workdir" in values):
        raise UsageError("upperdir= and workdir= go together")
    for lower in lowers:
        if lower.startswith("//"):
            raise UsageError(f"lowerdir={lower}: // begins the name of a plugin, and there are none here")
    return _mount_options(lowers, values, switches, given)


def _mount_options(
    lowers: list[str], values: dict[str, str], switches: dict[str, bool], given: list[str]
) -> MountOptions:
    from cowfs import userns

    root = os.geteuid() == 0
    if values.get("fsync", "1") == "0":
        switches["volatile"] = True
    marks_are_users = not userns.is_root_of_machine()  # else nobody may write trusted.*
    settings: dict[str, Any] = {"allow_suid": root, "allow_other": root, "userxattr": marks_are_users, **switches}
    upper = absolute(unescaped(values["upperdir"])) if "upperdir" in values else None
    work = absolute(unescaped(values["workdir"])) if "workdir" in values else None
    if upper and work and not settings.get("read_only") and "nojournal" not in given:
        from cowfs.cli import enginejournal

        settings |= enginejournal.settings(upper, work, absolute(lowers[0]))
    return MountOptions(
        lowers=tuple(absolute(path) for path in lowers),
        upper=upper,
        work=work,
        copy_up_on_open=True,
        source=PROGRAM,
        live_lower=_seconds(values.get("timeout", "1e9")) <= _AT_MOST,
        engine=EngineOptions(
            uids=_ranges("uidmapping", values),
            gids=_ranges("gidmapping", values),
            squash_uid=_number("squash_to_uid", values, 0 if "squash_to_root" in given else None),
            squash_gid=_number("squash_to_gid", values, 0 if "squash_to_root" in given else None),
            override=_override(values),
            static_nlink="static_nlink" in given,
            acl="noacl" not in given,
        ),
        transport=os.environ.get(TRANSPORT_ENV, "auto"),
        **settings,
    )


def _ranges(key: str, values: dict[str, str]) -> IdRanges:
    """ID:SHOWN:COUNT[:ID:SHOWN:COUNT...]; containers/storage begins with a colon."""
    numbers = [part for part in values.get(key, "").split(":") if part]
    if not all(part.isascii() and part.isdigit() for part in numbers) or len(numbers) % 3:
        raise UsageError(f"mount option {key}={values[key]}: three numbers a range, ID:SHOWN:COUNT")
    return tuple((int(numbers[i]), int(numbers[i + 1]), int(numbers[i + 2])) for i in range(0, len(numbers), 3))


def _number(key: str, values: dict[str, str], default: int | None) -> int | None:
    value = values.get(key, "-1")
    if value == "-1":
        return default
    if not (value.isascii() and value.isdigit()):
        raise UsageError(f"mount option {key}={value}: not a number")
    return int(value)


def _override(values: dict[str, str]) -> bytes | None:
    value = values.get("xattr_permissions", "0")
    if value not in _OVERRIDES:
        raise UsageError(f"mount option xattr_permissions={value}: 0, 1 or 2")
    return _OVERRIDES[value]


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"mount option timeout={value}: not a number of seconds") from None


_VALUES: Final = (
    "fsync", "timeout", "uidmapping", "gidmapping", "squash_to_uid", "squash_to_gid", "xattr_permissions",
)  # fmt: skip
_FLAGS: Final = frozenset({"nojournal", "squash_to_root", "static_nlink", "noacl"})
_OVERRIDES: Final = {"0": None, "1": OVERRIDE_SECURITY, "2": OVERRIDE_USER}
_REFUSED: Final = {
    "plugins": "there are no plugins here",
    "noxattrs": "extended attributes are always there",
    "allow_root": "root alone cannot be let in; allow_other lets everybody in whom modes let in",
}
