"""``cowfs tag IMAGE NAME``: one more name for an image in the store."""

import click

from cowfs.cli.context import Context


@click.command()
@click.argument("image")
@click.argument("name")
@click.pass_obj
def command(context: Context, image: str, name: str) -> None:
    """Give IMAGE the reference NAME too. Nothing is copied; `cowfs rm NAME` takes it away again."""
    from cowfs.images.reference import parse_reference
    from cowfs.images.sources import resolve_image

    with context.store() as store:
        store.tag(resolve_image(image, store), str(parse_reference(name)))
