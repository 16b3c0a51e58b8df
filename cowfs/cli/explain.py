"""``cowfs explain SOURCE PATH...``: which layer supplies a path, what it hides, which layers delete it, and why."""

import stat
from typing import TYPE_CHECKING, Any

import click

from cowfs.cli.context import Context
from cowfs.cli.output import columns, short_digest

if TYPE_CHECKING:
    from cowfs.model import LayerInfo
    from cowfs.views.explain import Explanation, Reason, Row, Step

_WORDS = {
    "supplies": "supplies it",
    "merges": "merges with it",
    "deletes": "deletes it",
    "hidden": "hidden by layer {by}",
}


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=bytes))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and path.")
@click.pass_obj
def command(context: Context, source: str, paths: tuple[bytes, ...], as_json: bool) -> int:
    """Say which layer of SOURCE supplies each PATH, what hides below it, and which layers delete it.

    Symbolic links are followed step by step within SOURCE, which is an image, a directory or a run (run:ID). Layers are
    numbered from the bottom, from 1. The exit status is 1 where a path, or what a link leads to, does not exist.
    """
    import json

    from cowfs.images.inspected import inspected
    from cowfs.views.explain import Explainer

    with context.store() as store:
        base = inspected(source, store)
        with store.lease(base):
            explainer = Explainer(base.layers)
            try:
                missing = False
                for path in paths:
                    steps, found = explainer.follow(path)
                    missing = missing or found.supplier is None
                    click.echo(
                        json.dumps(_record(path, steps, found)) if as_json else "\n".join(_lines(path, steps, found))
                    )
            finally:
                explainer.close()
    return 1 if missing else 0


def _lines(path: bytes, steps: "list[Step]", found: "Explanation") -> list[str]:
    from cowfs.runs.escape import printable

    lines = [
        f"{printable(step.link)} -> {printable(step.target)}: link, from layer {step.layer.number}" for step in steps
    ]
    supplier, reason = found.supplier, found.reason
    name = printable(found.path)
    if supplier is not None:
        lines.append(f"{name}: {_kind(supplier)}, from layer {supplier.layer.number}")
    if reason is not None:
        lines.append(f"{name}: not there: {_why(reason, found.path)}")
    rows = [_cells(row, found) for row in found.rows if row.verdict.effect.value != "nothing"]
    return lines + [f"  {line}" for line in columns(rows, right=(0,))]


def _cells(row: "Row", found: "Explanation") -> list[str]:
    from cowfs.rules.explain import Effect
    from cowfs.runs.escape import printable

    hider = found.hider(row)
    what = _WORDS[row.verdict.effect.value].format(by=hider.layer.number if hider else "")
    saying = row.testimony.saying
    if row.verdict.effect is Effect.DELETES and saying.about != row.asked:
        what = f"ends at {printable(saying.about)}"
    elif saying.here and row.asked != found.path:
        what += f", as {printable(row.asked)}"
    status = row.testimony.status if saying.here else None
    facts = f"{_kind(row)} {_mode(status.st_mode)} {status.st_size} bytes" if status else ""
    return [str(row.layer.number), short_digest(row.layer.diff_id) or "-", what, facts, row.layer.created_by]


def _why(reason: "Reason", path: bytes) -> str:
    from cowfs.runs.escape import printable
    from cowfs.views.explain import Why

    if reason.layer is None:
        return "no layer has it"
    about = printable(reason.about)
    where = f"layer {reason.layer.number}"
    words = {
        Why.DELETED: f"deleted in {where}" + (f", with {about}" if reason.about != path else ""),
        Why.OPAQUE: f"hidden by {about}, which is opaque in {where}",
        Why.FILE_ABOVE: f"hidden by {about}, which is no directory in {where}",
        Why.BELOW_FILE: f"{about} is no directory in {where}",
    }
    return words[reason.why]


def _record(path: bytes, steps: "list[Step]", found: "Explanation") -> dict[str, Any]:
    """What all layers together say: ``path``, ``exists``, and ``layers``, the top one first."""
    from cowfs.runs.escape import json_name

    reason = found.reason
    record: dict[str, Any] = {**json_name("path", path), "exists": found.supplier is not None}
    if steps:
        record["links"] = [
            {**json_name("path", step.link), **json_name("target", step.target), "layer": step.layer.number}
            for step in steps
        ]
    record |= json_name("leads_to", found.path)
    if reason is not None:
        record["reason"] = {"why": reason.why.value, "layer": reason.layer and reason.layer.number}
        record["reason"] |= json_name("at", reason.about) if reason.about else {}
    record["layers"] = [_row_record(row, found) for row in found.rows]
    return record


def _row_record(row: "Row", found: "Explanation") -> dict[str, Any]:
    from cowfs.rules.explain import Effect
    from cowfs.runs.escape import json_name

    record: dict[str, Any] = {**_layer_record(row.layer), "effect": row.verdict.effect.value}
    hider, saying, status = found.hider(row), row.testimony.saying, row.testimony.status
    if hider is not None:
        record["hidden_by"] = hider.layer.number
    if row.verdict.effect is Effect.DELETES:
        record |= json_name("deletes", saying.about)
    if row.asked != found.path:
        record |= json_name("as", row.asked)
    if status is not None and saying.here:
        record |= {"kind": _kind(row), "mode": _mode(status.st_mode), "size": status.st_size}
    return record


def _layer_record(layer: "LayerInfo") -> dict[str, Any]:
    return {"layer": layer.number, "diff_id": layer.diff_id, "created_by": layer.created_by}


def _kind(row: "Row") -> str:
    from cowfs.model import Kind

    return Kind.of(row.testimony.status.st_mode).value if row.testimony.status else ""


def _mode(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}"
