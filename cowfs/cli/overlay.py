"""``cowfs-overlay -o OPTIONS MOUNTPOINT``: what podman, buildah, CRI-O and docker run instead of fuse-overlayfs.

Takes fuse-overlayfs's command line (cowfs.cli.overlaywords), under its own name or that one. Returns when the mount is
live. Each start of a container waits for it, so all is done in one process from the beginning: that which serves. It is
forked before anything is imported that it alone has a use for, and whoever was called waits for its answer.
"""

import gc
import os
import sys

from cowfs import lean

with lean.imports():
    from typing import Final, NoReturn

    from cowfs import __version__
    from cowfs.errors import CowfsError
    from cowfs.fuse import forked
    from cowfs.ondisk import ENGINE_SOURCE

PROGRAM: Final = ENGINE_SOURCE
_FAILED: Final = 1

_USAGE: Final = f"""\
usage: {PROGRAM} [-f] [-d] [-o OPTIONS] MOUNTPOINT

  -o lowerdir=A:B:C        the read-only directories, the top one first
  -o upperdir=U,workdir=W  where changes go; without them the mount is read-only
  -o uidmapping=ID:SHOWN:COUNT[:...], gidmapping=..., squash_to_root, squash_to_uid=ID, squash_to_gid=ID
  -o xattr_permissions=2   keep owners and modes in an extended attribute (1: security.*, 2: user.*)
  -o static_nlink, noacl, volatile, fsync=0, timeout=SECONDS
  -o nojournal             do not record who changes what
  -o ro, dev, nodev, suid, nosuid, exec, noexec
  -f                       serve in this process; -d, --debug the same, and say more
  -h, --help; -V, --version

It takes fuse-overlayfs's options, and overlayfs's; docs/podman.md says which of them change nothing.
"""


def main() -> NoReturn:
    """The console script."""
    gc.disable()  # until the mount is served: among thousands of fresh objects a collection finds nothing
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
        os._exit(status)  # the interpreter's own end takes as long as the mount
    except (CowfsError, OSError) as failure:
        reason = forked.reason(failure, "the mount")
    print(f"{PROGRAM}: {reason}", file=sys.stderr)
    sys.exit(_FAILED)


def _run(arguments: list[str]) -> int:
    if "--help" in arguments or "-h" in arguments:
        print(_USAGE, end="")
        return 0
    if "--version" in arguments or "-V" in arguments:
        print(f"{PROGRAM}: version {__version__}")
        return 0
    if any(word in ("-f", "-d") or "debug" in word or "noexec" in word for word in arguments):
        return _begin_here(arguments)
    forked.start(lambda answer: _serve(arguments, answer), arguments[-1] if arguments else PROGRAM)
    return 0


def _serve(arguments: list[str], answer: forked.Answer) -> int:
    """In the forked process. Before the mount is live, what fails is for who waits to tell."""
    with lean.imports():
        from cowfs.cli import overlaywords
        from cowfs.fuse import mountpoints, serve

        request = overlaywords.parse(arguments)
    mountpoints.check_mountpoint(request.mountpoint, empty=False)
    serve.check_device()
    serve.leave_caller()
    return serve.apart(request.options, request.mountpoint, answer)


def _begin_here(arguments: list[str]) -> int:
    """What is more than to serve: in the foreground, or with something to be done to the live mount."""
    from cowfs.cli import overlaywords
    from cowfs.fuse import mountpoints, serve

    request = overlaywords.parse(arguments)
    mountpoints.check_mountpoint(request.mountpoint, empty=False)
    if request.foreground:
        if request.debug:
            import logging

            logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
        serve.serve_here(request.options, request.mountpoint)
        return 0
    serve.start(request.options, request.mountpoint, detach=True)
    if not request.programs:
        serve.forbid_programs(request.mountpoint, request.options)
    return 0
