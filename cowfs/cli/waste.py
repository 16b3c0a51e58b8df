"""``cowfs waste IMAGE``: the bytes of an image that no one can see, and a limit for them."""

import heapq
import re
from typing import TYPE_CHECKING

import click

from cowfs.cli.context import Context
from cowfs.cli.output import columns, human_size, short_digest
from cowfs.errors import UsageError

if TYPE_CHECKING:
    from cowfs.model import LayerInfo
    from cowfs.views.waste import Waste, Wasted

_SHOWN = 20  # paths
_KINDS = ("deleted", "shadowed", "duplicated")


@click.command()
@click.argument("source", metavar="IMAGE")
@click.option("--fail-above", metavar="N%", help="Exit status 1 if more than that of all bytes is wasted.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line: paths, then layers, then the sums.")
@click.pass_obj
def command(context: Context, source: str, fail_above: str | None, as_json: bool) -> int:
    """Count the bytes of files of IMAGE that no one can see: deleted, shadowed by other files, or duplicated by equal
    ones in a higher layer; the largest paths, and what each layer carries.

    The efficiency is dive's: the smallest size of each path, 0 if it is deleted, over all its sizes.
    """
    from cowfs.images.inspected import inspected
    from cowfs.views.survey import Survey
    from cowfs.views.waste import Waste

    limit = _limit(fail_above)
    with context.store() as store:
        base = inspected(source, store)
        with store.lease(base):
            survey = Survey(base)
            try:
                waste = Waste()
                wasted = waste.of(survey)
                if as_json:
                    for item in wasted:
                        click.echo(_path_record(item))
                    largest = []
                else:
                    largest = heapq.nlargest(_SHOWN, wasted, key=lambda item: item.size)
            finally:
                survey.close()
    lines = _records(waste, base.layers) if as_json else _lines(waste, base.layers, largest)
    click.echo("\n".join(lines))
    return 1 if limit is not None and waste.share * 100 > limit else 0


def _limit(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,3}(?:\.\d+)?)%?", text)
    if match is None:
        raise UsageError(f"--fail-above {text}: write a percentage, as 5%")
    return float(match[1])


def _lines(waste: "Waste", layers: "tuple[LayerInfo, ...]", largest: "list[Wasted]") -> list[str]:
    from cowfs.runs.escape import printable
    from cowfs.views.waste import Kind

    lines = [
        f"{human_size(waste.wasted)} of {human_size(waste.total)} ({waste.share:.1%}) in {waste.files} files"
        f" cannot be seen; efficiency {waste.efficiency:.1%}"
    ]
    if not waste.files:
        return lines
    rows = [["LAYER", "DIFFID", *(kind.upper() for kind in _KINDS), "MADE BY"]]
    for layer in layers:
        kinds = waste.by_layer.get(layer.number, {})
        sizes = [human_size(kinds[Kind(kind)]) if kinds.get(Kind(kind)) else "-" for kind in _KINDS]
        rows.append([str(layer.number), short_digest(layer.diff_id) or "-", *sizes, layer.created_by])
    lines += ["", *columns(rows, right=(0, 2, 3, 4)), ""]
    paths = [["SIZE", "LAYER", "HIDDEN BY", "WHY", "PATH"]]
    for item in largest:
        numbers = [str(item.layer.number), str(item.hidden_by.number)]
        paths.append([human_size(item.size), *numbers, item.kind.value, printable(item.path)])
    lines += columns(paths, right=(0, 1, 2))
    if waste.files > len(largest):
        lines.append(f"... and {waste.files - len(largest)} more (--json lists all)")
    return lines


def _path_record(item: "Wasted") -> str:
    import json

    from cowfs.runs.escape import json_name

    facts = {"layer": item.layer.number, "hidden_by": item.hidden_by.number, "why": item.kind.value, "size": item.size}
    return json.dumps({**json_name("path", item.path), **facts})


def _records(waste: "Waste", layers: "tuple[LayerInfo, ...]") -> list[str]:
    import json

    from cowfs.views.waste import Kind

    records: list[dict[str, object]] = []
    for layer in layers:
        kinds = waste.by_layer.get(layer.number, {})
        facts = {"layer": layer.number, "diff_id": layer.diff_id, "created_by": layer.created_by}
        records.append(facts | {kind: kinds.get(Kind(kind), 0) for kind in _KINDS})
    sums = {"total": waste.total, "wasted": waste.wasted, "files": waste.files}
    records.append(sums | {"share": round(waste.share, 6), "efficiency": round(waste.efficiency, 6)})
    return [json.dumps(record) for record in records]
