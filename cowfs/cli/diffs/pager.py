"""A pager for long output on a terminal: ``$PAGER``, else ``less -R``. Used by the commands that print much."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO, Final

from cowfs.cli.terminal import on_terminal

_DEFAULT: Final = "less"
_LESS: Final = "FRX"  # what fits is only printed; colours; the screen is left as it is: git's choice


@contextlib.contextmanager
def paged() -> Iterator[IO[bytes]]:
    """Where to write: the pager's input on a terminal, else standard output. To leave the pager early is no error."""
    command = os.environ.get("PAGER", _DEFAULT)
    if not on_terminal() or command in ("", "cat"):
        yield sys.stdout.buffer
        return
    environment = {"LESS": _LESS, **os.environ}
    pager = subprocess.Popen(command, shell=True, stdin=subprocess.PIPE, env=environment)
    assert pager.stdin is not None
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the pager's to obey
    try:
        with contextlib.suppress(BrokenPipeError):
            yield pager.stdin
    finally:
        with contextlib.suppress(BrokenPipeError):
            pager.stdin.close()
        pager.wait()
        signal.signal(signal.SIGINT, before)
    if pager.returncode == 127:  # the shell found no such command
        print(f"cowdiff: the pager {command!r} does not exist: set PAGER, or PAGER=cat", file=sys.stderr)
