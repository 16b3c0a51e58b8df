"""``cowdiff mount RUN MOUNTPOINT``: the tree that a run left, to be looked at with any program."""

from contextlib import ExitStack
from pathlib import Path

import click

from cowdiff.context import Context


@click.command("mount")
@click.argument("token", metavar="RUN")
@click.argument("mountpoint", type=click.Path(path_type=Path))
@click.option("--before", is_flag=True, help="The base instead.")
@click.option("--foreground", is_flag=True, help="Serve in this process until the mount ends.")
@click.pass_obj
def command(context: Context, token: str, mountpoint: Path, before: bool, foreground: bool) -> None:
    """Mount the root of RUN as it left it, read-only; of one that is going, as it is. Ends with "cowfs umount"."""
    from cowfs.fuse import mountpoints, serve
    from cowfs.model import RunState
    from cowfs.runs.trees import mount_options

    run = context.find(token)
    mountpoints.check_root()
    serve.check_device()
    mountpoints.check_mountpoint(mountpoint, empty=True)
    with ExitStack() as leases:  # the file system process holds them, too
        with context.store() as store:
            leases.enter_context(store.lease_layers(diff_ids_of(run.lowers)))
        live = run.host or run.state is RunState.RUNNING
        options = mount_options(run, before=before)._replace(live_lower=live, source=run.title)
        if foreground:
            serve.serve_here(options, mountpoint.absolute())
        else:
            serve.start(options, mountpoint.absolute(), detach=True)


def diff_ids_of(lowers: tuple[Path, ...]) -> list[str]:
    """The DiffIDs of those that are layers of a store."""
    names = [path.parent.name for path in lowers if path.parent.parent.parts[-2:] == ("layers", "sha256")]
    return [f"sha256:{name}" for name in names]
