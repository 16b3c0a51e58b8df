"""``cowdiff cp RUN:PATH DEST``: take something out of a run."""

import os
import re
from pathlib import Path

import click

from cowdiff.context import Context

_SOURCE = re.compile(rb"((?:(?:podman|docker):(?:\[[^]]*\])?)?[^:]+):(.*)", re.DOTALL)


@click.command("cp")
@click.argument("source", metavar="RUN:PATH", type=click.Path(path_type=bytes))
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--before", is_flag=True, help="As the base has it.")
@click.option("-a", "--archive", is_flag=True, help="Keep owners, setuid bits and extended attributes.")
@click.pass_obj
def command(context: Context, source: bytes, dest: Path, before: bool, archive: bool) -> int:
    """Copy a file or directory as RUN left it to DEST, or into it if that is a directory.

    Nothing is overwritten. Devices, pipes and sockets are left out, with a word and exit status 1.
    """
    from cowfs.errors import NotFound, UsageError

    match = _SOURCE.fullmatch(source)
    if match is None:
        raise UsageError("what to copy is written RUN:PATH, as in last:/etc/passwd")
    path = match[2]
    run = context.find(os.fsdecode(match[1]))
    from cowdiff.extract import Extraction, destination
    from cowfs.runs.escape import printable
    from cowfs.runs.trees import base_of, left_by

    path = b"/" + path.strip(b"/")
    parent, name = destination(dest, path.rpartition(b"/")[2])
    with (base_of if before else left_by)(run) as tree:
        node = tree.walk(path)
        if node is None:
            raise NotFound(f"no such path in the run: {printable(path)}")
        extraction = Extraction(tree, everything=archive)
        try:
            extraction.run(node, path, parent, name)
        except FileExistsError:
            raise UsageError(f"{parent / os.fsdecode(name)} exists: nothing is overwritten") from None
    for skipped in extraction.skipped:
        click.echo(f"cowdiff: not copied, being no file: {printable(skipped)}", err=True)
    return 1 if extraction.skipped else 0
