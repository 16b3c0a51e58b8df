"""Tasks done by several processes at once, each forked from this one: the work of unpacking is held back by Python's
lock if threads do it. Used by the importer alone; knows nothing of images.

    parent                                  worker
    fork ---------------------------------> the task
         <- Note (as often as it wants) --- tell(note)
         <- result, or its exception ------ ends

A worker is killed when the parent dies, when another one fails and when the parent is interrupted: a task must leave
nothing that is wrong then. The terminal's ^C is for the parent alone.
"""

import contextlib
import os
import pickle
import selectors
import signal
import struct
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

from cowfs.errors import StoreError
from cowfs.processes import die_with

Result = TypeVar("Result")
Tell = Callable[[int], None]

_HEAD = struct.Struct("<I")
_CHUNK = 64 << 10


@dataclass(slots=True)
class Note:
    """A number that a task told: how far it is."""

    value: int


class _Worker:
    """One process and its end of the pipe."""

    def __init__(self, task: Callable[[Tell], object]) -> None:
        parent = os.getpid()
        self.fd, out = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            _work(task, out, parent)
        os.close(out)
        self._data = b""

    def read(self) -> "Iterator[Note | _Sent[Any]]":
        """What it sent since. The end of the pipe without a result is an error."""
        data = os.read(self.fd, _CHUNK)
        if not data:
            raise StoreError(f"a process that unpacks {_end_of(self.wait())}")
        self._data += data
        while len(self._data) >= _HEAD.size:
            (size,) = _HEAD.unpack_from(self._data)
            if len(self._data) < _HEAD.size + size:
                return
            yield pickle.loads(self._data[_HEAD.size : _HEAD.size + size])  # from a fork of ourselves
            self._data = self._data[_HEAD.size + size :]

    def wait(self) -> int:
        """Its wait status."""
        pid, self.pid = self.pid, 0
        return os.waitpid(pid, 0)[1] if pid else 0

    def close(self) -> None:
        """End it if it still works."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self.wait()
        os.close(self.fd)


@dataclass(slots=True)
class _Sent(Generic[Result]):
    """The last thing that a worker sends."""

    result: Result | None
    error: BaseException | None


def in_processes(
    tasks: Mapping[str, Callable[[Tell], Result]], at_most: int, seen: Callable[[str, Note | Result], None]
) -> None:
    """Do all tasks, in their order, ``at_most`` at a time. ``seen`` gets the notes and the result of each one.

    The first exception of a task ends all others and is raised as :class:`TaskFailed`.
    """
    waiting = list(tasks.items())
    with contextlib.ExitStack() as cleanup, selectors.DefaultSelector() as selector:
        working: dict[str, _Worker] = {}
        while waiting or working:
            while waiting and len(working) < at_most:
                name, task = waiting.pop(0)
                working[name] = _Worker(task)
                cleanup.callback(working[name].close)
                selector.register(working[name].fd, selectors.EVENT_READ, name)
            for key, _ in selector.select():
                name = key.data
                for message in _messages(name, working[name]):
                    if isinstance(message, Note):
                        seen(name, message)
                        continue
                    selector.unregister(key.fd)
                    working.pop(name).wait()
                    seen(name, _result(name, message))


class TaskFailed(Exception):
    """``task`` raised ``error``."""

    def __init__(self, task: str, error: BaseException) -> None:
        super().__init__(f"{task}: {error}")
        self.task = task
        self.error = error


def _messages(name: str, worker: _Worker) -> Iterator[Note | _Sent[Any]]:
    try:
        yield from worker.read()
    except StoreError as error:
        raise TaskFailed(name, error) from None


def _result(name: str, sent: "_Sent[Result]") -> Result:
    if sent.error is not None:
        raise TaskFailed(name, sent.error)
    return sent.result  # type: ignore[return-value]  # without an error there is one


def _work(task: Callable[[Tell], object], out: int, parent: int) -> NoReturn:
    """The worker's whole life."""
    try:
        _become_worker(parent)
        try:
            sent = _Sent(task(lambda value: _send(out, Note(value))), None)
        except Exception as error:
            sent = _Sent(None, _portable(error))
        _send(out, sent)
        os._exit(0)
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(1)


def _become_worker(parent: int) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    die_with(parent)


def _portable(error: Exception) -> Exception:
    """The exception as it can be sent. One that nobody expected brings the place where it was raised."""
    if not isinstance(error, (OSError, ValueError)) and not type(error).__module__.startswith("cowfs."):
        error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _send(fd: int, message: object) -> None:
    data = pickle.dumps(message)
    view = memoryview(_HEAD.pack(len(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def _end_of(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
