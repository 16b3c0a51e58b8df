"""``cowfs info [MOUNTPOINT]``: how the requests of a mount travel, and why not faster."""

import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import click

from cowfs.cli.entry import printable
from cowfs.cli.output import json_line
from cowfs.errors import MountError

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 0x40000


@click.command()
@click.argument("mountpoint", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(mountpoint: Path | None, as_json: bool) -> None:
    """Say which levers of the transport a mount uses, and why the others are off.

    Without MOUNTPOINT, try them on this machine with a mount that nobody sees.
    """
    from cowfs.fuse import mountpoints, state

    if mountpoint is None:
        mountpoints.check_root()
        facts = _trial()
    else:
        mountpoints.check_mounted(mountpoint)
        found = state.read(mountpoint)
        if found is None:
            raise MountError(f"{mountpoint}: its file system process left no word; is it alive?")
        facts = found
    if as_json:
        click.echo(json_line(facts))
        return
    where = printable(facts["mountpoint"]) if mountpoint else "this machine"
    click.echo(f"{where}: Linux {platform.release()}")
    for name, what in facts["levers"].items():
        click.echo(f"  {name:<12} {what}")


def _trial() -> dict[str, Any]:
    """Mount an empty directory in a mount namespace of a child's own, and read what the mount says."""
    import json

    answer, said = os.pipe()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(answer)
            os.write(said, json.dumps(_mounted_alone()).encode())
            status = 0
        except Exception as failure:
            os.write(said, json.dumps({"error": str(failure)}).encode())
        finally:
            os._exit(status)
    os.close(said)
    with os.fdopen(answer) as text:
        facts: dict[str, Any] = json.loads(text.read() or '{"error": "the trial mount failed"}')
    os.waitpid(pid, 0)
    if "error" in facts:
        raise MountError(f"a trial mount failed: {facts['error']}")
    return facts


def _mounted_alone() -> dict[str, Any]:
    import signal

    from cowfs.fuse import serve, state
    from cowfs.options import MountOptions

    _enter_private_namespace()
    with tempfile.TemporaryDirectory() as top:
        lower, upper, work, merged = (Path(top, name) for name in ("lower", "upper", "work", "merged"))
        for directory in (lower, upper, work, merged):
            directory.mkdir()
        pid = serve.start(MountOptions(lowers=(lower,), upper=upper, work=work), merged, detach=False)
        try:
            return state.read(merged) or {}
        finally:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)


def _enter_private_namespace() -> None:
    """Mounts of this process are its own from here on. In a chroot, whose root need not be a mount, that is said of the
    root outside of it: setns(2) leads there."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)

    def check(result: int) -> None:
        if result:
            raise MountError(f"no mount namespace: {os.strerror(ctypes.get_errno())}")

    check(libc.unshare(_CLONE_NEWNS))
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # the new namespace's
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    check(libc.setns(namespace, _CLONE_NEWNS))
    check(libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    os.fchdir(root)
    os.chroot(".")
    os.close(namespace)
    os.close(root)
