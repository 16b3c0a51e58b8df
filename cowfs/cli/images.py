"""``cowfs images``: what the store holds."""

from datetime import datetime

import click

from cowfs.cli.context import Context
from cowfs.cli.output import columns, human_size, json_line, short_digest
from cowfs.store import Store
from cowfs.store.records import StoredImage


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, as_json: bool) -> None:
    """List the images in the store.

    SIZE is that of the layers, unpacked; images share layers, so the sum may be more than the store takes.
    """
    with context.store() as store:
        found = [(image, _size(store, image)) for image in store.images()]
    if as_json:
        for image, size in found:
            click.echo(json_line(_record(image, size)))
        return
    head = ["IMAGE", "DIGEST", "PLATFORM", "LAYERS", "SIZE", "STORED"]
    rows = [_row(image, size) for image, size in found]
    click.echo("\n".join(columns([head, *rows], right=(3, 4))))


def _size(store: Store, image: StoredImage) -> int:
    return sum(layer.size for diff_id in set(image.diff_ids) if (layer := store.layer(diff_id)))


def _row(image: StoredImage, size: int) -> list[str]:
    stored = datetime.fromtimestamp(image.stored).strftime("%Y-%m-%d %H:%M")
    digest = short_digest(image.digest)
    return [image.familiar, digest, image.platform, str(len(image.diff_ids)), human_size(size), stored]


def _record(image: StoredImage, size: int) -> dict[str, object]:
    return {
        "image": image.familiar,
        "digest": image.digest,
        "config_digest": image.config,
        "platform": image.platform,
        "diff_ids": list(image.diff_ids),
        "size": size,
        "stored": image.stored,
    }
