"""``cowfs inspect IMAGE``: what an image says about itself, and which line of its history made which layer."""

import json
from typing import Any

import click

from cowfs.cli.context import Context
from cowfs.cli.output import columns, human_size, short_digest
from cowfs.images.inspection import inspect

_LISTS = {"Entrypoint": "entrypoint", "Cmd": "command", "Env": "environment", "Volumes": "volumes"}
_WORDS = {"User": "user", "WorkingDir": "directory", "StopSignal": "stop signal"}


@click.command()
@click.argument("image")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def command(context: Context, image: str, as_json: bool) -> None:
    """Show digest, platform, config and history of IMAGE, with the layer that each line of the history made.

    SIZE is that of the layer's tar, DISK what its tree takes.
    """
    from cowfs.images.sources import resolve_image

    with context.store() as store:
        found = inspect(store, resolve_image(image, store))
    click.echo(json.dumps(found, ensure_ascii=False) if as_json else "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    config = found["config"]
    facts = [[key, str(found[key])] for key in ("image", "digest", "config_digest", "platform", "created")]
    facts += [[word, str(config[key])] for key, word in _WORDS.items() if config.get(key)]
    for key, word in _LISTS.items():
        facts += [[word if not place else "", str(item)] for place, item in enumerate(config.get(key) or ())]
    facts += [["labels" if not place else "", f"{key}={value}"] for place, (key, value) in enumerate(_labels(config))]
    rows = [["LAYER", "DIFFID", "SIZE", "DISK", "MADE BY"]]
    for line in found["history"]:
        layer = line["layer"]
        sizes = [human_size(line["size"]), human_size(line["disk"])] if layer else ["-", "-"]
        rows.append([str(layer or "-"), short_digest(line["diff_id"] or "-"), *sizes, line["created_by"]])
    return [*columns(facts), "", *columns(rows, right=(0, 2, 3))]


def _labels(config: dict[str, Any]) -> list[tuple[str, object]]:
    return sorted((config.get("Labels") or {}).items())
