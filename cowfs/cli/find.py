"""``cowfs find SOURCE [PATTERN]``: the files of an image with their layers; those that lower layers still carry."""

import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

from cowfs.cli.context import Context
from cowfs.cli.output import human_size
from cowfs.cli.terminal import write
from cowfs.errors import UsageError

if TYPE_CHECKING:
    from cowfs.views.survey import Claim, Found


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("pattern", metavar="[PATTERN]", required=False, type=click.Path(path_type=bytes))
@click.option("--deleted", is_flag=True, help="What lower layers still carry, but no one sees: deleted or replaced.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_obj
def command(context: Context, source: str, pattern: bytes | None, deleted: bool, as_json: bool) -> int:
    """List layer, size, mode, kind and path of what SOURCE, an image or a run, holds.

    PATTERN without a slash is a name, as '*.pem'; with one a path, and then all below it, or a pattern of paths. The
    exit status is 1 where nothing is found.
    """
    from cowfs.images.inspected import inspected
    from cowfs.views.survey import Survey

    wanted = _wanted(pattern)
    with context.store() as store:
        base = inspected(source, store)
        with store.lease(base):
            survey = Survey(base)
            try:
                found = ((item, claim) for item in survey if wanted(item.path) for claim in _claims(item, deleted))
                show = _record if as_json else _line
                count = 0

                def lines() -> Iterator[str]:
                    nonlocal count
                    for item, claim in found:
                        count += 1
                        yield show(item, claim) + "\n"

                write(lines())
            finally:
                survey.close()
    return 0 if count else 1


def _wanted(pattern: bytes | None) -> Callable[[bytes], bool]:
    from fnmatch import fnmatchcase

    from cowfs.runs.patterns import matcher

    if pattern is None:
        return lambda path: True
    if b".." in pattern.split(b"/"):
        raise UsageError(f"{os.fsdecode(pattern)}: paths are those of the image, from its root, without ..")
    if b"/" in pattern:
        return matcher(pattern)
    return lambda path: fnmatchcase(path.rpartition(b"/")[2], pattern)


def _claims(found: "Found", deleted: bool) -> "list[Claim]":
    if not deleted:
        return [found.shows] if found.shows is not None else []
    return [claim for claim in found.hidden if claim.kind != stat.S_IFDIR or found.shows is None]


def _line(found: "Found", claim: "Claim") -> str:
    from cowfs.runs.escape import printable

    status = claim.status()
    kind = _kind(claim)
    size = human_size(status.st_size) if kind in ("file", "symlink") else "-"
    text = f"{claim.layer.number:>3}  {size:>9}  {stat.S_IMODE(status.st_mode):04o}  {kind:<9}  {printable(found.path)}"
    if claim.hidden_by is None:
        return text
    return f"{text}  ({'deleted' if found.shows is None else 'replaced'} in layer {claim.hidden_by.number})"


def _record(found: "Found", claim: "Claim") -> str:
    import json

    from cowfs.runs.escape import json_name

    status = claim.status()
    record: dict[str, object] = dict(json_name("path", found.path))
    record |= {
        "layer": claim.layer.number,
        "diff_id": claim.layer.diff_id,
        "kind": _kind(claim),
        "mode": f"{stat.S_IMODE(status.st_mode):04o}",
        "uid": status.st_uid,
        "gid": status.st_gid,
        "size": status.st_size,
    }
    if claim.hidden_by is not None:
        record |= {"hidden_by": claim.hidden_by.number, "exists": found.shows is not None}
    return json.dumps(record)


def _kind(claim: "Claim") -> str:
    from cowfs.model import Kind

    return Kind.of(claim.kind or 0).value
