"""``cowrun volume``: the named volumes of the store."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cowfs.cli.context import root_option
from cowrun.commands.common import SETTINGS, each

if TYPE_CHECKING:
    from cowfs.store.volumes import NamedVolume

_HEADINGS = ("NAME", "SIZE", "RUNS")


@click.group(context_settings=SETTINGS)
@root_option
@click.pass_context
def command(ctx: click.Context, root: Path) -> None:
    """List and remove named volumes.

    A volume is made when a run first names it (-v NAME:TARGET), and stays until it is removed here.
    """
    ctx.obj = root


@command.command("ls")
@click.option("-q", "--quiet", is_flag=True, help="Print names and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def list_them(root: Path, quiet: bool, as_json: bool) -> None:
    """List them, with their sizes and the runs that had them."""
    from cowfs.cli.output import columns, human_size, json_line
    from cowfs.store import volumes

    found = volumes.listed(root)
    if quiet:
        lines = [volume.name for volume in found]
    elif as_json:
        lines = [json_line(_object(volume)) for volume in found]
    else:
        rows = [(volume.name, human_size(volume.disk()), _users(volume)) for volume in found]
        lines = columns([_HEADINGS, *rows], right=(1,))
    for line in lines:
        click.echo(line)


@command.command("inspect")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.pass_obj
def inspect(root: Path, names: tuple[str, ...]) -> None:
    """Print what docker would, as JSON: where the data is above all."""
    from cowfs.store import volumes

    found = [_object(volumes.find(root, name)) for name in names]
    click.echo(json.dumps(found, indent=4))


@command.command("rm")
@click.option("-f", "--force", is_flag=True, help="A volume that is not there is no error.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.pass_obj
def remove(root: Path, names: tuple[str, ...], force: bool) -> int:
    """Remove volumes, with all that is in them; none that a run uses which is going."""
    from cowfs.errors import NotFound
    from cowfs.store import volumes

    def rm(name: str) -> None:
        try:
            volumes.remove(root, name)
        except NotFound:
            if not force:
                raise

    return each(names, rm)


@command.command("prune")
@click.option("-a", "--all", "everything", is_flag=True, help="Those of runs that are over and kept, too.")
@click.option("-f", "--force", is_flag=True, help="Do not ask.")
@click.pass_obj
def prune(root: Path, everything: bool, force: bool) -> int:
    """Remove the volumes that no run has, after they were shown."""
    from cowfs.cli.output import human_size
    from cowfs.store import volumes

    unused = [volume for volume in volumes.listed(root) if not volume.in_use and (everything or not volume.runs)]
    if not unused:
        click.echo("no volume is unused")
        return 0
    if not force:
        for volume in unused:
            click.echo(f"{volume.name}  {human_size(volume.disk())}")
        if not click.confirm("Remove them, with all that is in them?"):
            return 1
    return each([volume.name for volume in unused], lambda name: volumes.remove(root, name))


def _users(volume: "NamedVolume") -> str:
    return ", ".join(volume.runs) + (" (in use)" if volume.in_use else "") or "-"


def _object(volume: "NamedVolume") -> dict[str, object]:
    changed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(volume.changed))
    return {
        "Name": volume.name,
        "Driver": "local",
        "Scope": "local",
        "Mountpoint": str(volume.directory),
        "ChangedAt": changed,
        "Size": volume.disk(),
        "Runs": list(volume.runs),
        "InUse": volume.in_use,
    }
