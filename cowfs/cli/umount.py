"""``cowfs umount``: end mounts."""

from pathlib import Path

import click


@click.command()
@click.argument("targets", metavar="MOUNTPOINT...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--lazy", is_flag=True, help="Detach now, end when the last user leaves.")
def command(targets: tuple[Path, ...], lazy: bool) -> None:
    """Unmount each MOUNTPOINT that cowfs mounted. The upper keeps the changes, and is whole when this returns."""
    from cowfs.fuse import mountpoints, serve, state

    for mountpoint in targets:
        mountpoints.check_mounted(mountpoint)
        server = None if lazy else state.server_of(mountpoint)
        serve.unmount(mountpoint, lazy=lazy)
        if server is not None:
            state.wait_for_end(server)
