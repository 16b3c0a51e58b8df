"""``cowfs mounts``: what cowfs has mounted."""

import click

from cowfs.cli.output import columns, json_line


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(as_json: bool) -> None:
    """List the mounts of cowfs that this process sees; those of runs are in their own mount namespaces."""
    from cowfs.fuse import mountpoints, state

    rows = []
    for mounted in mountpoints.mounted():
        facts = state.read(mounted.mountpoint)
        pid = facts["pid"] if facts else None
        rows.append((str(mounted.mountpoint), mounted.source, mounted.access, pid))
    if as_json:
        for where, source, access, pid in rows:
            click.echo(json_line({"mountpoint": where, "source": source, "access": access, "pid": pid}))
    elif rows:
        cells = [[where, source, access, str(pid or "-")] for where, source, access, pid in rows]
        click.echo("\n".join(columns([["MOUNTPOINT", "SOURCE", "ACCESS", "PID"], *cells])))
