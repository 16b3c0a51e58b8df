"""Waiting for the next request: look a few dozen times before going to sleep, and sleep there and then.

pyfuse3 goes once through the scheduler and epoll for each request; while a program waits for one answer after the
other, the next request is there a few microseconds later. The looks are bounded, so an idle mount costs nothing. With
the C library they are reads (receive.c); without it the device is polled.

pyfuse3 finds ``_wait_fuse_readable`` in its module at each call, which its own asyncio mode relies on.
"""

import select
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, Final

import pyfuse3

from cowfs.fuse import schedule
from cowfs.fuse.transport.latency import BURST, Latency
from cowfs.fuse.transport.library import Library

_LOOKS: Final = 60  # some 40 microseconds
_MANY_LOOKS: Final = 400
_SHORT: Final = 300e-6  # seconds: a sleep that _MANY_LOOKS would have spared

Wait = Callable[[], Awaitable[bool]]
Sleep = Callable[[], Awaitable[int]]  # how often to look the next time; 0: the mount ends


def install(
    descriptor: int,
    is_busy: Callable[[], bool],
    library: Library | None = None,
    latency: Latency | None = None,
    *,
    looks: bool = True,
) -> None:
    """Wait that way for ``descriptor``.

    ``is_busy``: other tasks have work, so they get a turn after each request. ``library``: takes the requests.
    ``latency``: is told of them. Without ``looks`` it goes to sleep when there is none.
    """
    module: Any = pyfuse3
    turn = _turner(is_busy, latency)
    sleep = _sleeper(descriptor, module._wait_fuse_readable, latency, looks=looks)
    module._wait_fuse_readable = _polls(descriptor, turn, sleep) if library is None else _reads(library, turn, sleep)


def _turner(is_busy: Callable[[], bool], latency: Latency | None) -> Callable[[], bool]:
    """Says whether other tasks get their turn before the next request: signals, work that came back from threads."""
    requests = 0

    def is_over() -> bool:
        nonlocal requests
        requests += 1
        if requests < BURST:
            return is_busy()
        requests = 0
        if latency is not None:
            latency.came()
        return True

    return is_over


def _sleeper(descriptor: int, wait: Wait, latency: Latency | None, *, looks: bool) -> Sleep:
    """Sleeps until ``descriptor`` can be read."""
    many, few = (_MANY_LOOKS, _LOOKS) if looks else (1, 1)
    nap: Callable[[float | None], bool] | None = None

    async def sleep() -> int:
        nonlocal nap
        if nap is None:
            nap = getattr(schedule.loop, "napper", _never)(descriptor)
        begin = monotonic()
        is_there = False
        if latency is not None and latency.held:
            is_there = nap(latency.until - begin)
            if not is_there:
                latency.release()
        if not is_there and not nap(None) and not await wait():
            return 0
        return many if monotonic() - begin < _SHORT else few

    return sleep


def _reads(library: Library, is_turn_over: Callable[[], bool], sleep: Sleep) -> Wait:
    """For a library that reads the device until it is drained."""
    drained, looks = library.drained, library.looks

    async def readable() -> bool:
        if is_turn_over():
            await schedule.loop.lowlevel.checkpoint()
        # Whatever ran meanwhile may have taken what woke us: then the library says so again.
        if drained[0]:
            drained[0] = 0
            looks[0] = await sleep()
            return looks[0] > 0
        return True

    return readable


def _polls(descriptor: int, is_turn_over: Callable[[], bool], sleep: Sleep) -> Wait:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    look = poll.poll
    looks = _LOOKS

    async def readable() -> bool:
        nonlocal looks
        if is_turn_over():
            await schedule.loop.lowlevel.checkpoint()
        while looks:
            # Nothing may run between the look that finds a request and the read: another task would take it away.
            for _ in range(looks):
                if look(0):
                    return True
            looks = await sleep()
        return False

    return readable


def _never(descriptor: int) -> Callable[[float | None], bool]:
    """trio sleeps by itself only."""
    return lambda seconds: False
