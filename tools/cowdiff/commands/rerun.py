"""``cowdiff rerun RUN``: the same command once more, in a new run."""

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from cowdiff.context import Context


@click.command("rerun", context_settings={"ignore_unknown_options": True})
@click.argument("token", metavar="RUN")
@click.argument("options", metavar="[-- COWRUN-OPTION...]", nargs=-1, type=click.UNPROCESSED)
@click.option("--from", "on", default="", metavar="RUN", help="Start with what that run left, not with the base.")
@click.pass_obj
def command(context: Context, token: str, options: tuple[str, ...], on: str) -> NoReturn:
    """Run the command of RUN again, on the same base: a new run, its exit status the command's.

    Options are not remembered, as they may hold secrets: give volumes, variables and the like again, after "--".
    """
    from cowfs.errors import UsageError

    run = context.own(token)
    if not run.command:
        raise UsageError(f"nobody knows what run {run.id} ran")
    program = Path(sys.argv[0]).with_name("cowrun")  # the one that belongs to us, if we were started from a file
    start = [os.fspath(program)] if program.is_file() else [sys.executable, "-m", "cowrun"]
    first, *arguments = run.command
    on_top = ["--from", context.own(on).id] if on else []
    typed = ["--root", os.fspath(context.root), *on_top, *options, "--entrypoint", first, run.source, *arguments]
    sys.stdout.flush()
    os.execvp(start[0], [*start, *typed])
