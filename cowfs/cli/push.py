"""``cowfs push``: an image of the store to a registry."""

import os

import click

from cowfs.cli.context import Context
from cowfs.cli.entry import complain
from cowfs.cli.output import json_line


@click.command()
@click.argument("image")
@click.argument("reference")
@click.option("-q", "--quiet", is_flag=True, help="No line about each layer.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(context: Context, image: str, reference: str, quiet: bool, as_json: bool) -> None:
    """Copy IMAGE to a registry, as REFERENCE, and print the digest that it has there.

    Blobs that the registry has are not uploaded. A login is that of docker or podman.
    """
    from cowfs.images.reference import parse_reference
    from cowfs.images.registry.pull import Registries
    from cowfs.images.registry.push import push
    from cowfs.images.sources import resolve_image

    def say(line: str) -> None:
        if not (quiet or as_json):
            complain("cowfs", line)

    target = parse_reference(reference)
    registries = Registries.configured(os.environ)
    with context.store() as store:
        found = resolve_image(image, store)
        digest = push(registries, store, found, target, say)
    record = {"image": found.familiar, "reference": str(target), "digest": digest}
    click.echo(json_line(record) if as_json else f"{target} {digest}")
