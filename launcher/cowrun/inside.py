"""The process that becomes the container's first: it gets the plan from the launcher, does it, and executes the
command.

A fresh interpreter, not a fork of the launcher: its memory holds nothing of the host, and it was executed from a
read-only mount, so that a command that is ``/proc/self/exe`` in disguise cannot write the host's Python through it.
Started by ``container`` with -I -S; imports as little as it can.

On the channel, from the launcher: the length and pickle of an Order, then one byte when the root is mounted. To it:
TERMINAL with a descriptor; then FAILURE, status, and a line; or nothing, and the end: the command was executed.
"""

import gc
import os
import pickle
import select
import signal
import socket
import struct
import sys
from typing import Final, NamedTuple, NoReturn

from cowfs.errors import CommandNotExecutable, CommandNotFound, CowfsError
from cowrun import syscalls
from cowrun.identity import default_signals
from cowrun.init import become_init
from cowrun.step import Inside, Step

FAILURE: Final = b"E"
LENGTH: Final = struct.Struct("!I")
GO: Final = b"G"
CHANNEL: Final = 3  # where the channel is, whatever number it came under


class Order(NamedTuple):
    """What the launcher wants done."""

    plan: tuple[Step, ...]
    command: tuple[str, ...]  # empty: the first of ``shells`` that is there
    shells: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    merged: str
    window: bytes
    init: bool
    debug: bool


def main(descriptor: int) -> NoReturn:
    """Never returns: executes the command, or says why not and exits."""
    if descriptor != CHANNEL:
        os.dup2(descriptor, CHANNEL)
        os.close(descriptor)
    os.set_inheritable(CHANNEL, False)
    channel = socket.socket(fileno=CHANNEL)
    gc.disable()  # this interpreter lives for milliseconds
    try:
        _end_with_launcher(channel)
        order = pickle.loads(_receive(channel, LENGTH.unpack(_receive(channel, LENGTH.size))[0]))
        assert isinstance(order, Order)
        _import_no_more()
        _receive(channel, len(GO))
        _carry_out(order, channel)
    except CowfsError as error:
        _report(error.status, str(error))
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        _report(CowfsError.status, f"{where}{error.strerror}")
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        _report(CowfsError.status, f"internal error: {error!r}")
    os._exit(CowfsError.status)


def _import_no_more() -> None:
    """In the new root every module that is found is the image's, those of the standard library among them."""
    sys.meta_path.clear()
    sys.path_hooks.clear()
    sys.path.clear()


def _carry_out(order: Order, channel: socket.socket) -> NoReturn:
    os.umask(0o022)
    inside = Inside(merged=order.merged, channel=channel, window=order.window)
    for step in order.plan:
        step.execute(inside)
        if order.debug:
            print(f"cowrun: {step.describe()}", file=sys.stderr, flush=True)
    env = dict(order.env)
    env.setdefault("HOSTNAME", os.uname().nodename)
    env.setdefault("HOME", inside.user.home)
    default_signals()
    # Again: the change of the user took it back. Nothing but 0, 1, 2 and the channel lives on to the command's start.
    _end_with_launcher(channel)
    syscalls.close_from(CHANNEL + 1)
    if order.init:
        become_init(inside.terminal >= 0, CHANNEL)
    _execute(order, env)


def _end_with_launcher(channel: socket.socket) -> None:
    """Die when the launcher does; if it died before this, its end of the channel is closed."""
    syscalls.die_with_parent(signal.SIGKILL)
    poll = select.poll()
    poll.register(channel, 0)
    if poll.poll(0):
        os._exit(CowfsError.status)


def _execute(order: Order, env: dict[str, str]) -> NoReturn:
    if order.command:
        _try(order.command, env)
    for shell in order.shells:
        try:
            _try((shell,), env)
        except CommandNotFound:
            continue
    raise CommandNotFound(f"no command was given, and there is none of {', '.join(order.shells)} in this root")


def _try(command: tuple[str, ...], env: dict[str, str]) -> NoReturn:
    """execvp(3) with the PATH of the command's own environment. Raises CommandNotFound, CommandNotExecutable."""
    name = command[0]
    failure: OSError | None = None
    for path in _candidates(name, env):
        try:
            os.execve(path, command, env)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.lexists(path) and failure is None:
                failure = error
        except OSError as error:
            if "/" in name or not isinstance(error, PermissionError) or not os.path.isdir(path):
                failure = error
    raise _failure(name, failure) from None


def _candidates(name: str, env: dict[str, str]) -> list[str]:
    if not name:
        return []
    if "/" in name:
        return [name]
    return [f"{directory or '.'}/{name}" for directory in env.get("PATH", os.defpath).split(":")]


def _failure(name: str, error: OSError | None) -> CowfsError:
    if error is None:
        where = "no such file in this root" if "/" in name else "command not found in this root"
        return CommandNotFound(f"{name!r}: {where}")
    if isinstance(error, FileNotFoundError):
        return CommandNotFound(f"{name!r}: it is there, but what should run it (an interpreter or loader) is not")
    if isinstance(error, PermissionError) and os.path.isdir(name):
        return CommandNotExecutable(f"{name!r}: is a directory")
    return CommandNotExecutable(f"{name!r}: {(error.strerror or str(error)).lower()}")


def _receive(channel: socket.socket, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = channel.recv(length - len(parts))
        if not part:  # the launcher gave up, or died
            os._exit(CowfsError.status)
        parts += part
    return bytes(parts)


def _report(status: int, line: str) -> None:
    data = FAILURE + bytes((status,)) + line.encode("utf-8", "surrogateescape")
    try:
        os.write(CHANNEL, data)
    except OSError:
        pass
