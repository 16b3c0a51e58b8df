"""``cowfs report IMAGE -o FILE``: the layers of an image as one page for a browser."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cowfs.cli.context import Context
from cowfs.cli.output import short_digest

if TYPE_CHECKING:
    from cowfs.model import Base
    from cowfs.views.picture import Picture


@click.command()
@click.argument("source", metavar="IMAGE")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The page; replaced if it exists.")
@click.pass_obj
def command(context: Context, source: str, output: Path) -> None:
    """Write a page that shows where the bytes of IMAGE are: which layer brought them, and which no one can see.

    A slider shows the image as it was after each layer. One file that needs no network: to be sent, kept, or opened
    anywhere.
    """
    from cowfs.cli.page import page, save
    from cowfs.images.inspected import inspected
    from cowfs.views.picture import picture
    from cowfs.views.survey import Survey

    with context.store() as store:
        base = inspected(source, store)
        with store.lease(base):
            survey = Survey(base)
            try:
                found = picture(survey, base.layers)
            finally:
                survey.close()
    save(page("cowfs", "Layers of an image", "cowfs.cli.page", "image", data(base, found)), output)


def data(base: "Base", found: "Picture") -> dict[str, Any]:
    """All that the page shows."""
    import os

    from cowfs.runs.escape import printable
    from cowfs.views.waste import Kind

    kinds = (None, *Kind)
    numbers = {kind: place for place, kind in enumerate(kinds)}
    return {
        "image": {"name": printable(os.fsencode(base.source)), "digest": short_digest(base.digest)},
        "layers": [
            {
                "number": layer.number,
                "id": short_digest(layer.diff_id) or "-",
                "command": printable(os.fsencode(layer.created_by or layer.directory)),
            }
            for layer in base.layers
        ],
        "kinds": ["seen", *(kind.value for kind in Kind)],
        "total": found.waste.total,
        "wasted": found.waste.wasted,
        "efficiency": round(found.waste.efficiency, 4),
        "paths": [printable(file.path) for file in found.files],
        "layer": [file.layer for file in found.files],
        "size": [file.size for file in found.files],
        "gone": [file.gone for file in found.files],
        "why": [numbers[file.why] for file in found.files],
        "files": sum(file.files for file in found.files),
    }
