"""``cowdiff build IMAGE [PATH...]``: what each step of a build changed, and which of them changed a path."""

import json
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from cowdiff.context import Context

if TYPE_CHECKING:
    from cowdiff.steps import Step
    from cowfs.journal.reader import Reader
    from cowfs.model import Base, LayerInfo
    from cowfs.store import Store

_PROCESSES: Final = 8  # of a step that are named
_COMMAND: Final = 100  # characters of an instruction


@click.command("build")
@click.argument("source", metavar="IMAGE")
@click.argument("paths", metavar="[PATH...]", nargs=-1, type=click.Path(path_type=bytes))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line and step.")
@click.pass_obj
def command(context: Context, source: str, paths: tuple[bytes, ...], as_json: bool) -> int:
    """Say for each step that made IMAGE what it changed, its largest paths, which bytes of earlier layers it shadows,
    and which processes did it, where cowfs was under the build.

    With a PATH, as "cowdiff show" takes it: only the steps that changed it, each change, and who made it. Exit status 1
    if none did.

    IMAGE is podman:NAME, docker:NAME, oci:PATH, or an image of the store; a NAME or ID that is not there is podman's.
    """
    from cowdiff.select import wanted
    from cowdiff.steps import Wanted, steps
    from cowfs.cli.entry import complain
    from cowfs.runs.escape import printable

    with context.store() as store:
        base = _base(context, source, store)
        with store.lease(base):
            wants = Wanted(wanted(paths) if paths else None, _journals(context))
            count = 0
            for step in steps(base, wants):
                if step.changes or not paths:
                    count += 1
                    sys.stdout.writelines(_json(step, bool(paths)) if as_json else _lines(step, paths))
    if not count:
        complain("cowdiff", f"no step of {source} changed {' or '.join(map(printable, paths))}")
    return 0 if count else 1


def _base(context: Context, source: str, store: "Store") -> "Base":
    from cowfs.errors import CowfsError, NotFound, UsageError
    from cowfs.images.inspected import inspected

    root = f"[{context.podman_root}]" if context.podman_root else ""
    if source.startswith("podman:") and root and not source.startswith("podman:["):
        source = f"podman:{root}{source.removeprefix('podman:')}"
    try:
        base = inspected(source, store, any_form=True)
    except (NotFound, UsageError) as error:
        try:
            base = inspected(f"podman:{root}{source}", store, any_form=True)
        except CowfsError:
            raise error from None
    if not base.steps:
        raise UsageError(f"{source} is no image: it has no history")
    return base


def _journals(context: Context) -> "Callable[[LayerInfo], Reader | None]":
    from cowfs.engines.builds import journal_of
    from cowfs.journal.reader import Reader
    from cowfs.store.builds import Builds

    kept = Builds(context.root).list()

    def find(layer: "LayerInfo") -> "Reader | None":
        path = journal_of(layer, kept) if kept and layer.foreign else None
        return Reader(path) if path is not None else None

    return find


def _lines(step: "Step", paths: tuple[bytes, ...]) -> Iterator[str]:
    from cowdiff.steps import instruction
    from cowdiff.summary import total
    from cowfs.cli.diffs.render import line
    from cowfs.cli.output import human_size, short_digest
    from cowfs.runs.escape import printable

    said = " ".join(printable(instruction(step.created_by).encode("utf-8", "surrogateescape")).split())
    said = said if len(said) <= _COMMAND or paths else said[: _COMMAND - 3] + "..."
    made = f", layer {step.layer.number} ({short_digest(step.layer.diff_id)})" if step.layer else ""
    yield f"step {step.number}{made}: {said or '(the image does not say)'}\n"
    if paths:
        for change in step.changes:
            yield f"  {line(change, sizes=True)}\n"
            yield from _blame(step, change.path)
        return
    if step.layer is None:
        return
    yield f"  {total(step.sums)}\n"
    for number, size in sorted(step.shadows.items()):
        yield f"  shadows {human_size(size)} of layer {number}\n"
    for _, change in step.largest:
        yield f"    {line(change, sizes=True)}\n"
    yield from _processes(step)


def _processes(step: "Step") -> Iterator[str]:
    from cowdiff.journals import command_of, name_of, totals
    from cowdiff.steps import made_by
    from cowfs.cli.output import human_size

    made = made_by(step.recorded or [])
    for process, changes in made[:_PROCESSES]:
        count, written = totals(changes)
        wrote = f", {human_size(written)} written" if written else ""
        yield f"  by {name_of(process)}  {command_of(process)}  -- {count} path{'s' if count != 1 else ''}{wrote}\n"
    if len(made) > _PROCESSES:
        yield f"  ... and {len(made) - _PROCESSES} more processes (--json has all)\n"


def _blame(step: "Step", path: bytes) -> Iterator[str]:
    from cowdiff.commands.blame import blame_lines
    from cowfs.journal.history import History

    if step.recorded is None:
        return
    for text in blame_lines(History(step.recorded).blame(path.strip(b"/"))):
        yield f"    {text}"


def _json(step: "Step", with_paths: bool) -> Iterator[str]:
    from cowdiff.steps import instruction

    answer: dict[str, Any] = {
        "step": step.number,
        "layer": step.layer.number if step.layer else None,
        "diff_id": step.layer.diff_id if step.layer else None,
        "created_by": step.created_by,
        "instruction": instruction(step.created_by),
    }
    yield json.dumps(answer | ({"paths": list(_paths(step))} if with_paths else _sums(step))) + "\n"


def _paths(step: "Step") -> Iterator[dict[str, Any]]:
    """Each path that was asked for, with what the journal says of it: null where there is none."""
    from cowdiff.words import change_json, process_json
    from cowfs.cli.diffs import render
    from cowfs.journal.history import History

    history = None if step.recorded is None else History(step.recorded)
    for change in step.changes:
        recorded: list[dict[str, Any]] = []
        for one in history.blame(change.path.strip(b"/")) if history is not None else ():
            chain = one.process.chain if one.process else ()
            recorded.append(change_json(one) | {"processes": [process_json(process) for process in chain]})
        yield render.as_json(change) | {"recorded": None if history is None else recorded}


def _sums(step: "Step") -> dict[str, Any]:
    from cowdiff.journals import totals
    from cowdiff.steps import made_by
    from cowdiff.summary import as_json
    from cowdiff.words import process_json
    from cowfs.cli.diffs import render

    answer = as_json(step.sums)
    answer["shadows"] = [{"layer": number, "bytes": size} for number, size in sorted(step.shadows.items())]
    answer["largest"] = [render.as_json(change) for _, change in step.largest]
    answer["processes"] = None if step.recorded is None else []
    for process, changes in made_by(step.recorded or []):
        count, written = totals(changes)
        answer["processes"].append({"process": process_json(process), "paths": count, "bytes": written})
    return answer
