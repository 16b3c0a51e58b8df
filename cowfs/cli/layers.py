"""``cowfs layers``: what an image is made of."""

import os

import click

from cowfs.cli.context import Context
from cowfs.cli.output import columns, human_size, json_line, short_digest
from cowfs.model import LayerInfo


@click.command()
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, source: str, as_json: bool) -> None:
    """List the layers of SOURCE, an image or a run (run:ID), from the bottom, numbered from 1 as its history is."""
    from cowfs.images.inspected import inspected

    with context.store() as store:
        layers = inspected(source, store).layers
    if as_json:
        for layer in layers:
            click.echo(json_line(_record(layer)))
        return
    head = ["LAYER", "DIFFID", "SIZE", "MADE BY"]
    rows = [_row(layer) for layer in layers]
    click.echo("\n".join(columns([head, *rows], right=(0, 2))))


def _row(layer: LayerInfo) -> list[str]:
    made_by = layer.created_by or ("" if layer.diff_id else os.fspath(layer.directory))
    return [
        str(layer.number),
        short_digest(layer.diff_id) or "-",
        human_size(layer.size) if layer.size else "-",
        made_by,
    ]


def _record(layer: LayerInfo) -> dict[str, object]:
    return {
        "number": layer.number,
        "diff_id": layer.diff_id,
        "size": layer.size,
        "created_by": layer.created_by,
        "directory": os.fspath(layer.directory),
    }
