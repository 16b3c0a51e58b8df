"""From a click command to an exit status: written once, used by cowfs, cowrun and cowdiff.

    a number that the command returns    that status (None is 0)
    CowfsError                           its line on stderr, its status
    a usage error                        one line on stderr, 125, as docker's
    OSError                              the system's words and the path on stderr, 125
    KeyboardInterrupt                    130
    a reader that went away              141, without a word

Anything else is a bug and keeps its traceback.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterable
from typing import NoReturn

import click

from cowfs.errors import CowfsError

FAILED = CowfsError.status
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + signal.SIGPIPE


def run(command: click.Command, prog: str, arguments: list[str] | None = None) -> NoReturn:
    """Run ``command`` as the program ``prog`` with ``arguments`` (default: the process's own) and exit."""
    gc.enable()  # whoever started us may have imports done without
    sys.exit(status_of(command, prog, sys.argv[1:] if arguments is None else arguments))


def status_of(command: click.Command, prog: str, arguments: list[str]) -> int:
    """Run ``command`` and say the exit status; what a person must read is on stderr by then."""
    try:
        if f"_{prog.upper()}_COMPLETE" in os.environ:
            from cowfs.cli.completion import complete

            return complete(command, prog)
        status = _invoke(command, prog, arguments)
        sys.stdout.flush()
    except CowfsError as error:
        complain(prog, str(error))
        return error.status
    except click.ClickException as error:
        complain(prog, _usage_line(error))
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more when it ends, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return BROKEN_PIPE
    except OSError as error:
        complain(prog, _system_line(error))
        return FAILED
    return status


def complain(prog: str, line: str) -> None:
    """Print one line for a person to stderr, as ``prog: line``."""
    print(f"{prog}: {printable(line)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """``text`` without control characters: names in messages come from images, and a terminal obeys them."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _invoke(command: click.Command, prog: str, arguments: list[str]) -> int:
    try:
        with command.make_context(prog, list(arguments)) as context:
            result = command.invoke(context)
    except click.exceptions.Exit as leaving:  # --help, --version
        return leaving.exit_code
    return result if isinstance(result, int) else 0


def _usage_line(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        line = _no_such_option(error.option_name, error.possibilities or ())
    else:
        line = error.format_message().replace("\n", " ").rstrip(".")
        line = line[:1].lower() + line[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{line} (see {context.command_path} --help)" if context else line


def _no_such_option(name: str, known: Iterable[str]) -> str:
    """click's message, without the options that resemble it in no more than a few letters."""
    from difflib import SequenceMatcher  # takes long to import

    meant = [option for option in known if option.startswith(name) or SequenceMatcher(None, name, option).ratio() > 0.8]
    return f"no such option {name!r}{', did you mean ' + ' or '.join(sorted(meant)) + '?' if meant else ''}"


def _system_line(error: OSError) -> str:
    reason = error.strerror or str(error)
    where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    return f"{where}: {reason}" if where else reason
