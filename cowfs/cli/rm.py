"""``cowfs rm``: remove images, and the layers that nothing else needs."""

import click

from cowfs.cli.context import Context
from cowfs.cli.output import kept_by, short_digest


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@click.pass_obj
def command(context: Context, images: tuple[str, ...], quiet: bool) -> None:
    """Remove images from the store, each by the name that `cowfs images` shows.

    A layer goes with the last image that has it. One that a run or a mount uses, or a run that is kept (cowdiff lists
    them), stays until that run is removed.
    """
    from cowfs.images.sources import stored_reference

    with context.store() as store:
        references = [stored_reference(image, store) for image in images]
        for reference in dict.fromkeys(references):
            removed = store.remove_image(reference)
            if quiet:
                continue
            click.echo(f"removed {reference}")
            for name in removed.layers:
                click.echo(f"removed layer {short_digest(name)}")
            for name, runs in removed.in_use.items():
                click.echo(f"kept layer {short_digest(name)}: {kept_by(runs)}")
