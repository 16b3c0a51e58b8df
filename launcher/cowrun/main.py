"""The console script. The slowest thing comes first: the file system process imports while we look at the arguments.

Importing this costs next to nothing; everything else is imported when it is needed.
"""

import gc
import os
import sys

TYPE_CHECKING = False  # typing's own costs an import; what comes before the try below should take no time
if TYPE_CHECKING:
    from typing import NoReturn

# The first word, where it is one of these; any other is an image, or an option of RUN, which may be left out.
COMMANDS = ("ps", "exec", "stop", "kill", "volume")
RUN = "run"
_INTERRUPTED = 130  # 128 + SIGINT


def main() -> "NoReturn":
    """Run ``cowrun`` and exit with its status; whatever was typed, no process of ours is left."""
    try:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing to clean up yet, and no traceback to print
    except KeyboardInterrupt:
        os._exit(_INTERRUPTED)
    gc.disable()  # until the command runs: among ten thousand fresh objects a collection finds nothing
    _have_standard_streams()
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    filesystem = None
    status = 1
    try:
        if name not in COMMANDS and _be_root():
            from cowrun.filesystem import FileSystem

            filesystem = FileSystem.begin()
        status = _command_line(name, filesystem)
        sys.stderr.flush()
    finally:
        if filesystem:
            filesystem.stop()
    # Nothing is left to tear down, and the interpreter's own end takes longer than a container's.
    os._exit(status)


def _be_root() -> bool:
    """Of the machine, or of a user namespace; False where that cannot be."""
    if os.geteuid() != 0:
        from cowfs import userns
        from cowfs.errors import PrivilegeError

        try:
            userns.enter()
        except PrivilegeError:  # the command says so, where it is needed
            return False
    return True


def _have_standard_streams() -> None:
    """Where the caller closed one, what is opened next would take its number, and go to the command."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _command_line(name: str, filesystem: object) -> int:
    from cowfs.cli.entry import status_of
    from cowrun.events import Interrupted

    try:
        if "_COWRUN_COMPLETE" in os.environ:
            from cowrun.completion import complete

            return complete()
        if name in COMMANDS:
            from importlib import import_module

            return status_of(import_module(f"cowrun.commands.{name}").command, f"cowrun {name}", sys.argv[2:])
        from cowrun.cli import cowrun

        cowrun.context_settings["obj"] = filesystem
        return status_of(cowrun, "cowrun", sys.argv[2:] if name == RUN else sys.argv[1:])
    except Interrupted as interrupted:
        return interrupted.status
