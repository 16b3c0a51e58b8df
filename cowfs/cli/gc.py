"""``cowfs gc``: remove what nothing uses."""

import click

from cowfs.cli.context import Context
from cowfs.cli.output import human_size, json_line, kept_by, short_digest


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go, and what that frees.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, dry_run: bool, as_json: bool) -> None:
    """Remove layers that no image, run or mount uses, and downloads that nobody goes on with.

    Images go by `cowfs rm`, runs by `cowdiff rm` and `cowdiff prune`, and their layers with them: something is left for
    gc after a command was killed, or where a run or a mount kept a layer longer than its image.
    """
    with context.store() as store:
        found = store.collectable() if dry_run else store.collect(downloads=True)
    if as_json:
        for kind, sizes in (("layer", found.layers), ("download", found.downloads)):
            for name, size in sizes.items():
                click.echo(json_line({kind: f"sha256:{name}", "freed": size, "removed": not dry_run}))
        for name, runs in found.in_use.items():
            click.echo(json_line({"layer": f"sha256:{name}", "removed": False, "in_use": True, "runs": list(runs)}))
        return
    for kind, sizes in (("layer", found.layers), ("download", found.downloads)):
        for name, size in sizes.items():
            click.echo(f"{'would remove' if dry_run else 'removed'} {kind} {short_digest(name)}  {human_size(size)}")
    for name, runs in found.in_use.items():
        click.echo(f"{'would keep' if dry_run else 'kept'} layer {short_digest(name)}: {kept_by(runs)}")
    total = sum(found.layers.values()) + sum(found.downloads.values())
    click.echo(f"{'this would free' if dry_run else 'freed'} {human_size(total)}")
