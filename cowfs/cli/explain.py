"""``cowfs explain IMAGE PATH...``: which layer supplies a path, what it hides, which layers delete it."""

import json
import os
import stat
from typing import Any

import click

from cowfs.cli.context import Context
from cowfs.cli.entry import printable
from cowfs.model import Kind, LayerInfo

_WORDS = {
    "supplies": "supplies it",
    "merges": "merges with it",
    "deletes": "deletes it",
    "hidden": "hidden by layer {by}",
}


@click.command()
@click.argument("source", metavar="IMAGE")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and path.")
@click.pass_obj
def command(context: Context, source: str, paths: tuple[str, ...], as_json: bool) -> int:
    """Say which layer of IMAGE supplies each PATH, what hides below it, and which layers delete it.

    Layers are numbered from the bottom, from 1. The exit status is 1 where a path does not exist in the merge.
    """
    from cowfs.images.sources import resolve

    base = resolve(source, context.store())
    missing = False
    for path in paths:
        answer = explanation(base.layers, os.fsencode(path))
        missing = missing or not answer["exists"]
        click.echo(json.dumps(answer) if as_json else "\n".join(_lines(answer)))
    return 1 if missing else 0


def explanation(layers: tuple[LayerInfo, ...], path: bytes) -> dict[str, Any]:
    """What all layers together say: ``path``, ``exists``, and ``layers``, the top one first."""
    from cowfs.layers.testimony import testify
    from cowfs.rules.explain import Effect, explain

    top_first = list(reversed(layers))
    testimonies = [testify(layer.directory, path) for layer in top_first]
    verdicts = explain([testimony.saying for testimony in testimonies])
    rows = []
    for layer, testimony, verdict in zip(top_first, testimonies, verdicts, strict=True):
        row: dict[str, Any] = {
            "layer": layer.number,
            "diff_id": layer.diff_id,
            "created_by": layer.created_by,
            "effect": verdict.effect.value,
        }
        if verdict.by is not None:
            row["hidden_by"] = top_first[verdict.by].number
        if verdict.effect is Effect.DELETES:
            row["deletes"] = os.fsdecode(testimony.saying.about)
        if testimony.status is not None:
            row["kind"] = Kind.of(testimony.status.st_mode).value
            row["mode"] = f"{stat.S_IMODE(testimony.status.st_mode):04o}"
            row["size"] = testimony.status.st_size
        rows.append(row)
    exists = any(verdict.effect is Effect.SUPPLIES for verdict in verdicts)
    return {"path": os.fsdecode(path), "exists": exists, "layers": rows}


def _lines(answer: dict[str, Any]) -> list[str]:
    supplier = next((row for row in answer["layers"] if row["effect"] == "supplies"), None)
    name = printable(answer["path"])
    if supplier is not None:
        lines = [f"{name}: {supplier['kind']}, from layer {supplier['layer']}"]
    else:
        lines = [f"{name}: not in the merged tree"]
    for row in answer["layers"]:
        if row["effect"] == "nothing":
            continue
        what = _WORDS[row["effect"]].format(by=row.get("hidden_by"))
        if row.get("deletes") not in (None, answer["path"]):
            what = f"ends at {printable(row['deletes'])}"
        facts = f"{row['kind']} {row['mode']} {row['size']} bytes" if "kind" in row else ""
        lines.append(f"  {row['layer']:>3}  {what:<22} {facts:<28} {printable(row['created_by'])}".rstrip())
    if len(lines) == 1:
        lines.append("  no layer has it")
    return lines
