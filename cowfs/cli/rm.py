"""``cowfs rm``: remove images, and the layers that nothing else needs."""

import click

from cowfs.cli.context import Context
from cowfs.cli.output import short_digest


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGE...")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
@click.pass_obj
def command(context: Context, images: tuple[str, ...], quiet: bool) -> None:
    """Remove images from the store, each by the name that `cowfs images` shows.

    A layer goes with the last image that has it. One that a run uses, or a run that is kept (cowdiff lists them),
    stays until that run is removed and an image is removed after it.
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
            for name in removed.in_use:
                click.echo(f"kept layer {short_digest(name)}: a run or an import uses it")
