"""``mount.fuse.cowfs SOURCE MOUNTPOINT -o OPTIONS``: what ``mount -t fuse.cowfs`` runs.

Takes overlayfs's options (lowerdir with the top layer first, upperdir, workdir, volatile, userxattr) and those that
mount(8) passes on to every helper. Without lowerdir SOURCE is what ``cowfs mount`` takes, as in a line of /etc/fstab;
then root= names the store, and ``layers`` is --layers. Prints nothing and returns once the mount is live. Exit statuses
are mount(8)'s: 1 for a wrong call, 32 for a mount that failed. Copies up at open, as overlayfs does: callers know it by
that.
"""

import gc
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from cowfs.cli.mountwords import EXEC, IGNORED, SWITCHES, absolute, split, unescaped
from cowfs.errors import CowfsError, UsageError
from cowfs.ondisk import TRANSPORT_ENV
from cowfs.options import MountOptions

PROGRAM: Final = "mount.fuse.cowfs"
_WRONG_CALL: Final = 1
_FAILED: Final = 32


class Request(NamedTuple):
    """What a command line asks for."""

    options: MountOptions
    mountpoint: Path
    programs: bool  # may be run from the mount
    fake: bool  # check, and mount nothing (mount -f)
    root: str = ""  # the store that knows the source; empty: the default


def main() -> NoReturn:
    """The console script."""
    gc.disable()  # until the mount is served: among thousands of fresh objects a collection finds nothing
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
    os._exit(0)  # the interpreter's own end takes as long as the mount


def _mount(request: Request) -> None:
    from cowfs.fuse import mountpoints, serve

    mountpoints.check_root()
    mountpoints.check_mountpoint(request.mountpoint, empty=False)
    if request.fake:
        return
    with ExitStack() as leases:
        options = request.options
        if not options.lowers:
            from cowfs.cli.context import Context, default_root
            from cowfs.cli.mount import with_sources

            store = Context(Path(request.root or default_root()))
            options = with_sources(options, [options.source], store, leases)
        serve.start(options, request.mountpoint, detach=True)
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
            given.extend(split(word[2:] or next(words, ""), ","))
        elif word in ("-t", "-N"):  # mount(8) names the type; it is in the mount namespace already
            next(words, None)
        elif word.startswith("-") and len(word) > 1 and set(word[1:]) <= set("sfnv"):
            fake = fake or "f" in word
        elif word.startswith("-"):
            raise UsageError(f"unknown option {word}")
        else:
            positional.append(word)
    if len(positional) != 2:
        raise UsageError(f"usage: {PROGRAM} SOURCE MOUNTPOINT -o [lowerdir=DIR[:DIR...]][,upperdir=DIR,workdir=DIR]")
    programs = [EXEC[option] for option in given if option in EXEC]
    options, root = _options([option for option in given if option not in EXEC], positional[0])
    return Request(options, Path(positional[1]).absolute(), all(programs[-1:]), fake, root)


def _options(given: list[str], source: str) -> tuple[MountOptions, str]:
    switches: dict[str, bool] = {}
    paths: dict[str, list[str]] = {}
    for option in filter(None, given):
        key, equals, value = option.partition("=")
        if equals and key in ("lowerdir", "upperdir", "workdir", "root"):
            paths[key] = list(split(value, ":")) if key == "lowerdir" else [unescaped(value)]
        elif option in SWITCHES:
            name, setting = SWITCHES[option]
            switches[name] = setting
        elif option == "layers":
            switches["apart"] = True
        elif option not in IGNORED:
            raise UsageError(f"unknown mount option {option}")
    if "lowerdir" in paths and ("root" in paths or "apart" in switches):
        raise UsageError("root= and layers are about an image, and lowerdir= names directories")
    if "apart" in switches and "upperdir" in paths:
        raise UsageError("layers takes no upperdir=")
    if ("upperdir" in paths) != ("workdir" in paths):
        raise UsageError("upperdir= and workdir= go together")
    options = MountOptions(
        lowers=tuple(absolute(path) for path in paths.get("lowerdir", ())),
        upper=absolute(paths["upperdir"][0]) if "upperdir" in paths else None,
        work=absolute(paths["workdir"][0]) if "workdir" in paths else None,
        copy_up_on_open=True,
        source=source,
        transport=os.environ.get(TRANSPORT_ENV, "auto"),
        **switches,  # type: ignore[arg-type]
    )
    return options, paths.get("root", [""])[0]
