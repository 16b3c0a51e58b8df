"""A loop for one thing: the requests of a mount. It stands where pyfuse3 expects trio, and has trio's names.

Importing trio takes longer than everything else a mount needs, and serving needs little of it: tasks, one descriptor to
wait for, a few threads, signals, a timer. What is here means what it means in trio, with two simplifications: a task
that fails ends the loop with its exception as it is, and there is one limit of time for a task at once.

pyfuse3 finds ``trio`` in its module at each call, which its own asyncio mode relies on; ``cowfs.fuse.schedule`` puts
this module there, or trio where the lever is off. One thread runs the loop and all tasks; only ``run_sync`` has others.
"""

import heapq
import os
import select
import signal
import sys
import threading
import types
from _queue import SimpleQueue
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from itertools import count
from time import monotonic
from typing import Any, Final

Function = Callable[..., Coroutine[Any, Any, Any]]
_BELL_BYTES: Final = 4096
_FOR_EVER: Final = float("inf")


class Cancelled(BaseException):
    """What a task waited for is not waited for any more."""


class ClosedResourceError(Exception):
    """The descriptor that was waited for is about to be closed."""


class Task:
    """A coroutine under way."""

    __slots__ = ("abort", "cancelled", "coroutine", "name", "nursery")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], name: str, nursery: "Nursery | None") -> None:
        self.coroutine = coroutine
        self.name = name
        self.nursery = nursery
        self.cancelled = False  # its next wait raises Cancelled
        self.abort: Callable[[], object] | None = None  # takes back what it waits for; None: that cannot be


class Nursery:
    """Tasks that are all over where its block ends."""

    def __init__(self) -> None:
        self._children = 0
        self._waiting: Task | None = None

    async def __aenter__(self) -> "Nursery":
        return self

    async def __aexit__(self, kind: object, failure: BaseException | None, tb: object) -> None:
        if failure is None and self._children:
            self._waiting = _loop.current
            await _wait(lambda: setattr(self, "_waiting", None))

    def start_soon(self, function: Function, *arguments: Any, name: str | None = None) -> None:
        """Begin a task."""
        self._children += 1
        _loop.begin(function(*arguments), name or function.__name__, self)

    def child_ended(self) -> None:
        """For the loop."""
        self._children -= 1
        if not self._children and self._waiting is not None:
            _loop.wake(self._waiting)


class Event:
    """Is set once."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: list[Task] = []

    def set(self) -> None:
        """Whoever waits goes on."""
        self._is_set = True
        for task in self._waiting:
            _loop.wake(task)
        self._waiting.clear()

    async def wait(self) -> None:
        """Until it is set."""
        if not self._is_set:
            task = _loop.current
            self._waiting.append(task)
            await _wait(lambda: self._waiting.remove(task))


class Lock:
    """For one task at a time, in the order in which they came."""

    def __init__(self) -> None:
        self._is_held = False
        self._waiting: deque[Task] = deque()

    async def __aenter__(self) -> None:
        if self._is_held:
            task = _loop.current
            self._waiting.append(task)
            await _wait(lambda: self._waiting.remove(task))
        self._is_held = True

    async def __aexit__(self, kind: object, failure: object, tb: object) -> None:
        if self._waiting:
            _loop.wake(self._waiting.popleft())  # which holds it from now on
        else:
            self._is_held = False


class MoveOn:
    """A block that is left when its time is over; ``cancelled_caught`` tells."""

    def __init__(self, seconds: float) -> None:
        self.cancelled_caught = False
        self._seconds = seconds
        self._is_over = False

    def __enter__(self) -> "MoveOn":
        self._task = _loop.current
        self._timer = _loop.at(monotonic() + self._seconds, self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: object, tb: object) -> bool:
        self._timer.cancel()
        if not _loop.is_ending:
            self._task.cancelled = False
            self.cancelled_caught = self._is_over and kind is Cancelled
        return self.cancelled_caught

    def _end(self) -> None:
        self._is_over = True
        _loop.cancel(self._task)


class SignalReceiver:
    """Inside the block signals come as an asynchronous iterator instead of having their effect."""

    def __init__(self, *numbers: int) -> None:
        self._numbers = numbers
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "SignalReceiver":
        for number in self._numbers:
            self._before[number] = signal.signal(number, lambda number, _: _loop.signals.append(number))
        return self

    def __exit__(self, kind: object, failure: object, tb: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __aiter__(self) -> "SignalReceiver":
        return self

    async def __anext__(self) -> int:
        if not _loop.signals:
            _loop.listener = _loop.current
            await _wait(lambda: setattr(_loop, "listener", None))
        return _loop.signals.popleft()


class _Timer:
    __slots__ = ("call", "time")

    def __init__(self, time: float, call: Callable[[], object]) -> None:
        self.time = time
        self.call: Callable[[], object] | None = call

    def __lt__(self, other: "_Timer") -> bool:
        return self.time < other.time

    def cancel(self) -> None:
        self.call = None


class _Job:
    """Work for a thread, and who waits for it; None: nobody any more."""

    __slots__ = ("arguments", "failure", "function", "task", "value")

    def __init__(self, task: Task, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.task: Task | None = task
        self.function = function
        self.arguments = arguments
        self.value: Any = None
        self.failure: BaseException | None = None

    def give_up(self) -> None:
        self.task = None


class _Loop:
    def __init__(self) -> None:
        self.current: Task
        self.is_ending = False
        self.signals: deque[int] = deque()
        self.listener: Task | None = None
        self._tasks: set[Task] = set()
        self._ready: deque[tuple[Task, Any, BaseException | None]] = deque()
        self._timers: list[_Timer] = []
        self._readers: dict[int, Task] = {}
        self._failure: BaseException | None = None
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._done: deque[_Job] = deque()
        self._idle_threads = 0
        self._thread_numbers = count(1)
        self._ear, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._ear, select.POLLIN)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Until the coroutine and all that it began is over; the loop can be used once."""
        before = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        try:
            self._main = self.begin(coroutine, "main", None)
            while self._tasks:
                self._turn()
        finally:
            signal.set_wakeup_fd(before)
            os.close(self._ear)  # the other end is left to threads that nobody waits for
        if self._failure is not None:
            raise self._failure
        return self._result

    # --- tasks

    def begin(self, coroutine: Coroutine[Any, Any, Any], name: str, nursery: Nursery | None) -> Task:
        task = Task(coroutine, name, nursery)
        task.cancelled = self.is_ending
        self._tasks.add(task)
        self._ready.append((task, None, None))
        return task

    def wake(self, task: Task, value: Any = None, failure: BaseException | None = None) -> None:
        """What it waits for is there."""
        task.abort = None
        self._ready.append((task, value, failure))

    def cancel(self, task: Task) -> None:
        """Make its wait, or else the next one, raise Cancelled."""
        task.cancelled = True
        if task.abort is not None:
            task.abort()
            self.wake(task, failure=Cancelled())

    def _step(self, task: Task, value: Any, failure: BaseException | None) -> None:
        self.current = task
        try:
            if failure is None:
                task.coroutine.send(value)
            else:
                task.coroutine.throw(failure)
        except StopIteration as end:
            self._ended(task, end.value)
        except Cancelled:
            self._ended(task, None)
        except BaseException as unexpected:
            if self._failure is None:
                self._failure = unexpected
            self._ended(task, None)
            self._end()

    def _ended(self, task: Task, value: Any) -> None:
        self._tasks.remove(task)
        if task.nursery is not None:
            task.nursery.child_ended()
        if task is self._main:
            self._result = value
            self._end()

    def _end(self) -> None:
        if not self.is_ending:
            self.is_ending = True
            for task in list(self._tasks):
                self.cancel(task)

    # --- what is waited for

    def _turn(self) -> None:
        for descriptor, _ in self._poll.poll(self._patience()):
            if descriptor == self._ear:
                os.read(self._ear, _BELL_BYTES)
            else:
                self.wake(self.forget(descriptor))
        if self.signals and self.listener is not None:
            listener, self.listener = self.listener, None
            self.wake(listener)
        while self._done:
            job = self._done.popleft()
            self._idle_threads += 1
            if job.task is not None:
                self.wake(job.task, job.value, job.failure)
        while self._timers and self._timers[0].time <= monotonic():
            if (call := heapq.heappop(self._timers).call) is not None:
                call()
        for _ in range(len(self._ready)):
            self._step(*self._ready.popleft())

    def _patience(self) -> float | None:
        """Milliseconds until something is to be done; None: until somebody rings."""
        if self._ready:
            return 0
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
        return max(0, self._timers[0].time - monotonic()) * 1000 if self._timers else None

    def napper(self, descriptor: int) -> Callable[[float | None], bool]:
        poll = select.poll()
        for number in (self._ear, descriptor):
            poll.register(number, select.POLLIN)

        def nap(seconds: float | None) -> bool:
            if self._ready or self._done or self._readers or self.signals or self.is_ending:
                return False
            patience = self._patience()
            if seconds is not None:
                patience = max(0, min(seconds * 1000, _FOR_EVER if patience is None else patience))
            found = poll.poll(patience)
            return len(found) == 1 and found[0][0] == descriptor

        return nap

    def watch(self, descriptor: int) -> None:
        assert descriptor not in self._readers
        self._readers[descriptor] = self.current
        self._poll.register(descriptor, select.POLLIN)

    def forget(self, descriptor: int) -> Task:
        self._poll.unregister(descriptor)
        return self._readers.pop(descriptor)

    def closing(self, descriptor: int) -> None:
        if descriptor in self._readers:
            self.wake(self.forget(descriptor), failure=ClosedResourceError())

    def at(self, time: float, call: Callable[[], object]) -> _Timer:
        timer = _Timer(time, call)
        heapq.heappush(self._timers, timer)
        return timer

    def hand_out(self, job: _Job) -> None:
        if self._idle_threads:
            self._idle_threads -= 1
        else:
            name = f"cowfs-{next(self._thread_numbers)}"
            threading.Thread(target=self._work, name=name, daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                job.value = job.function(*job.arguments)
            except BaseException as failure:
                job.failure = failure
            self._done.append(job)
            try:
                os.write(self._bell, b"\0")
            except OSError:  # full: it rings already; or the loop is over
                pass


_loop: _Loop


@types.coroutine
def _parked() -> Generator[None, Any, Any]:
    return (yield)


async def _wait(abort: Callable[[], object] | None) -> Any:
    """Until somebody wakes the task; ``abort`` takes that back, None: it must be waited for."""
    task = _loop.current
    if abort is not None:
        if task.cancelled:
            abort()
            raise Cancelled
        task.abort = abort
    return await _parked()


# --- trio's names


def run(function: Function, *arguments: Any) -> Any:
    """Run the main task; what else there is when it is over is cancelled."""
    global _loop
    _loop = _Loop()
    return _loop.run(function(*arguments))


def spawn_system_task(function: Function, *arguments: Any) -> None:
    """Begin a task that may be cancelled when the main one is over."""
    _loop.begin(function(*arguments), function.__name__, None)


def notify_closing(descriptor: int) -> None:
    """Whoever waits for it gets ClosedResourceError."""
    _loop.closing(descriptor)


def current_task() -> Task:
    """The one that runs."""
    return _loop.current


def current_trio_token() -> object:
    """Whatever stands for the loop."""
    return _loop


def napper(descriptor: int) -> Callable[[float | None], bool]:
    """Not trio's: a function that sleeps until ``descriptor`` can be read, without giving the turn to others.

    Which saves a turn of the loop after a sleep. It answers True then, and False where others have something to do, or
    it slept for the seconds that it is given.
    """
    return _loop.napper(descriptor)


async def wait_readable(descriptor: int) -> None:
    """Until a read would not block."""
    _loop.watch(descriptor)
    await _wait(lambda: _loop.forget(descriptor))


async def checkpoint() -> None:
    """Let the others have their turn."""
    task = _loop.current
    if task.cancelled:
        raise Cancelled
    _loop.wake(task)
    await _parked()


async def sleep(seconds: float) -> None:
    """Until that much later."""
    task = _loop.current
    timer = _loop.at(monotonic() + seconds, lambda: _loop.wake(task))
    await _wait(timer.cancel)


async def run_sync(function: Callable[..., Any], *arguments: Any, abandon_on_cancel: bool = False) -> Any:
    """Do work in a thread. ``abandon_on_cancel``: who is cancelled does not wait for its end."""
    job = _Job(_loop.current, function, arguments)
    _loop.hand_out(job)
    return await _wait(job.give_up if abandon_on_cancel else None)


open_nursery = Nursery
move_on_after = MoveOn
open_signal_receiver = SignalReceiver
lowlevel = to_thread = sys.modules[__name__]
