"""``cowfs umount``: end mounts."""

import os
from pathlib import Path

import click

from cowfs.errors import UsageError
from cowfs.ondisk import ENGINE_SOURCE


@click.command()
@click.argument("targets", metavar="MOUNTPOINT...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--all", "everything", is_flag=True, help="All that cowfs mounts lists, but those of container engines.")
@click.option("--lazy", is_flag=True, help="Detach now, end when the last user leaves.")
def command(targets: tuple[Path, ...], everything: bool, lazy: bool) -> None:
    """Unmount each MOUNTPOINT that cowfs mounted. The upper keeps the changes, and is whole when this returns."""
    from cowfs import processes
    from cowfs.fuse import mountpoints, serve, state

    if bool(targets) == everything:
        raise UsageError("which mount? name a MOUNTPOINT, or --all (cowfs mounts lists them)")
    if everything:
        ours = [mount for mount in mountpoints.mounted() if mount.source != ENGINE_SOURCE]
        targets = tuple(mount.mountpoint for mount in reversed(ours))
    for mountpoint in targets:
        mountpoints.check_mounted(mountpoint)
        server = None if lazy else state.server_of(mountpoint)
        serve.unmount(mountpoint, lazy=lazy)
        if server is not None:
            processes.wait(server, None)  # it makes files whole
            os.close(server)
