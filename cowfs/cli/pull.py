"""``cowfs pull``: an image from a registry into the store."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cowfs.cli.context import Context
from cowfs.cli.entry import complain
from cowfs.cli.output import json_line
from cowfs.cli.progress import progress_for
from cowfs.images.progress import Progress
from cowfs.store.records import StoredImage

if TYPE_CHECKING:
    from cowfs.images.plan import LayerSource


@click.command()
@click.argument("reference")
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="Another platform than this machine's.")
@click.option("-q", "--quiet", is_flag=True, help="Print the image's name alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(context: Context, reference: str, platform: str, quiet: bool, as_json: bool) -> None:
    """Bring the image REFERENCE into the store, as its registry has it now.

    Layers that the store has are not fetched; a download that was cut goes on where it was. Mirrors, plain http and
    certificates are configured in /etc/cowfs/registries.toml and ~/.config/cowfs/registries.toml; a login is that of
    docker or podman.
    """
    from cowfs.images.bring import bring
    from cowfs.images.reference import parse_reference

    seen = _Seen(progress_for("cowfs", quiet=quiet or as_json))
    parsed = parse_reference(reference)
    with context.store() as store:

        def say(line: str) -> None:
            complain("cowfs", line)

        get = bring(store, os.environ, policy="always", platform=platform, progress=lambda: seen, say=say)
        image = get(parsed, None)
    assert image is not None
    if as_json:
        click.echo(json_line(seen.record(image)))
    elif quiet:
        click.echo(image.reference)
    else:
        click.echo(f"{image.reference} {image.digest} {image.platform}")


class _Seen:
    """Passes progress on, and remembers what was fetched."""

    def __init__(self, shown: Progress) -> None:
        self._layers: Sequence[LayerSource] = ()
        self._fetched: set[str] = set()
        self._shown = shown
        self.at, self.end = shown.at, shown.end

    def begin(self, layers: "Sequence[LayerSource]", missing: set[str]) -> None:
        self._layers = layers
        self._shown.begin(layers, missing)

    def done(self, diff_id: str) -> None:
        self._fetched.add(diff_id)
        self._shown.done(diff_id)

    def record(self, image: StoredImage) -> dict[str, object]:
        """The object of --json."""
        layers = [
            {
                "diff_id": layer.diff_id,
                "digest": layer.digest,
                "size": layer.size,
                "fetched": layer.diff_id in self._fetched,
            }
            for layer in self._layers
        ]
        return {
            "image": image.familiar,
            "reference": image.reference,
            "digest": image.digest,
            "config_digest": image.config,
            "platform": image.platform,
            "layers": layers,
        }
