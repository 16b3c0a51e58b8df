"""``mount.fuse.cowfs SOURCE MOUNTPOINT -o OPTIONS``: what ``mount -t fuse.cowfs`` runs.

Takes overlayfs's options (lowerdir with the top layer first, upperdir, workdir, volatile, userxattr) and those that
mount(8) passes on to every helper. Prints nothing and returns once the mount is live. Exit statuses are mount(8)'s:
1 for a wrong call, 32 for a mount that failed. Copies up at open, as overlayfs does: callers know it by that.
"""

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from cowfs.errors import CowfsError, UsageError
from cowfs.ondisk import TRANSPORT_ENV
from cowfs.options import MountOptions

PROGRAM: Final = "mount.fuse.cowfs"
_WRONG_CALL: Final = 1
_FAILED: Final = 32

# What mount(8) passes on or /etc/fstab carries, and what changes nothing here.
_IGNORED: Final = frozenset({
    "rw", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev",
    "sync", "async", "atime", "noatime", "diratime", "nodiratime", "relatime", "norelatime",
    "strictatime", "lazytime", "nolazytime", "silent", "default_permissions", "allow_other",
})  # fmt: skip
_SWITCHES: Final = {
    "ro": ("read_only", True),
    "dev": ("allow_dev", True),
    "nodev": ("allow_dev", False),
    "suid": ("allow_suid", True),
    "nosuid": ("allow_suid", False),
    "volatile": ("volatile", True),
    "userxattr": ("userxattr", True),
}
_EXEC: Final = {"exec": True, "noexec": False}


@dataclass(frozen=True, slots=True)
class Request:
    """What a command line asks for."""

    options: MountOptions
    mountpoint: Path
    programs: bool  # may be run from the mount
    fake: bool  # check, and mount nothing (mount -f)


def main() -> NoReturn:
    """The console script."""
    try:
        request = parse(sys.argv[1:])
    except UsageError as failure:
        print(f"{PROGRAM}: {failure}", file=sys.stderr)
        sys.exit(_WRONG_CALL)
    try:
        _mount(request)
    except CowfsError as failure:
        print(f"{PROGRAM}: {failure}", file=sys.stderr)
        sys.exit(_FAILED)
    sys.exit(0)


def _mount(request: Request) -> None:
    from cowfs.fuse import mountpoints, serve

    mountpoints.check_root()
    mountpoints.check_mountpoint(request.mountpoint, empty=False)
    if request.fake:
        return
    serve.start(request.options, request.mountpoint, detach=True)
    if not request.programs:
        serve.forbid_programs(request.mountpoint, request.options)


def parse(arguments: list[str]) -> Request:
    """A helper's command line. Raises UsageError."""
    positional: list[str] = []
    given: list[str] = []
    fake = False
    words = iter(arguments)
    for word in words:
        if word.startswith("-o"):
            given.extend(_split(word[2:] or next(words, ""), ","))
        elif word in ("-t", "-N"):  # mount(8) names the type; it is in the mount namespace already
            next(words, None)
        elif word.startswith("-") and len(word) > 1 and set(word[1:]) <= set("sfnv"):
            fake = fake or "f" in word
        elif word.startswith("-"):
            raise UsageError(f"unknown option {word}")
        else:
            positional.append(word)
    if len(positional) != 2:
        raise UsageError(f"usage: {PROGRAM} SOURCE MOUNTPOINT -o lowerdir=DIR[:DIR...][,upperdir=DIR,workdir=DIR]")
    programs = [_EXEC[option] for option in given if option in _EXEC]
    options = _options([option for option in given if option not in _EXEC], positional[0])
    return Request(options, Path(positional[1]).absolute(), all(programs[-1:]), fake)


def _options(given: list[str], source: str) -> MountOptions:
    switches: dict[str, bool] = {}
    paths: dict[str, list[str]] = {}
    for option in filter(None, given):
        key, equals, value = option.partition("=")
        if equals and key in ("lowerdir", "upperdir", "workdir"):
            paths[key] = list(_split(value, ":")) if key == "lowerdir" else [_unescaped(value)]
        elif option in _SWITCHES:
            name, setting = _SWITCHES[option]
            switches[name] = setting
        elif option not in _IGNORED:
            raise UsageError(f"unknown mount option {option}")
    if "lowerdir" not in paths:
        raise UsageError("missing mount option lowerdir=DIR[:DIR...]")
    if ("upperdir" in paths) != ("workdir" in paths):
        raise UsageError("upperdir= and workdir= go together")
    return MountOptions(
        lowers=tuple(_absolute(path) for path in paths["lowerdir"]),
        upper=_absolute(paths["upperdir"][0]) if "upperdir" in paths else None,
        work=_absolute(paths["workdir"][0]) if "workdir" in paths else None,
        copy_up_on_open=True,
        source=source,
        transport=os.environ.get(TRANSPORT_ENV, "auto"),
        **switches,  # type: ignore[arg-type]
    )


def _split(text: str, separator: str) -> Iterator[str]:
    """Split at separators that no backslash stands before; a lowerdir's own backslashes stay for its own split."""
    part = ""
    characters = iter(text)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            part += escaped if separator == ":" or escaped == separator else "\\" + escaped
        elif character == separator:
            yield part
            part = ""
        else:
            part += character
    yield part


def _unescaped(path: str) -> str:
    return next(_split(path, ":")) if "\\" in path else path


def _absolute(path: str) -> Path:
    return Path(path).absolute()
