"""Shell completion of cowrun, whose first word is a command or an image. The rest is cowfs's."""

import os
import shlex
from importlib import import_module

import click
from click.shell_completion import split_arg_string

from cowfs.cli import completion
from cowrun.cli import cowrun
from cowrun.main import COMMANDS, RUN


def complete() -> int:
    """Answer the shell that asks in the environment; the exit status."""
    completion.split_line()
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))
    at = os.environ.get("COMP_CWORD", "")
    past_first = len(words) > 1 and (int(at) > 1 if at.isdigit() else len(words) > 2 or not at)
    command: click.Command = cowrun
    if past_first and words[1] in (*COMMANDS, RUN):
        if words[1] != RUN:
            command = import_module(f"cowrun.commands.{words[1]}").command
        os.environ["COMP_WORDS"] = shlex.join([words[0], *words[2:]])
        if at.isdigit():
            os.environ["COMP_CWORD"] = str(int(at) - 1)
    completion.prepare(command, () if past_first else (*COMMANDS, RUN))
    return completion.complete(command, "cowrun")
