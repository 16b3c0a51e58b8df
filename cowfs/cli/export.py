"""``cowfs export IMAGE TARGET``: an image out of the store, for other tools."""

import click

from cowfs.cli.context import Context
from cowfs.cli.output import json_line


@click.command()
@click.argument("image")
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(context: Context, image: str, target: str, as_json: bool) -> None:
    """Write IMAGE to TARGET: oci:PATH[:TAG], an OCI image layout, or docker-archive:FILE[:NAME], for docker load.

    A layout that is there gets one image more. The layers have the DiffIDs with which they came; their blobs are packed
    anew. The digest of the manifest is printed, or of the config where the target has no manifest.
    """
    from cowfs.images.export import export
    from cowfs.images.sources import resolve_image

    with context.store() as store:
        found = resolve_image(image, store)
        digest = export(store, found, target)
    click.echo(json_line({"image": found.familiar, "target": target, "digest": digest}) if as_json else digest)
