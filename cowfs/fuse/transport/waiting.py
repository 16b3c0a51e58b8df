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
from cowfs.fuse.transport.library import Library

_LOOKS: Final = 60  # some 40 microseconds
_MANY_LOOKS: Final = 400
_SHORT: Final = 300e-6  # seconds: a sleep that _MANY_LOOKS would have spared
_TURNS: Final = 64  # requests in a row before other tasks get their turn: signals, work that came back from threads

Wait = Callable[[], Awaitable[bool]]


def install(descriptor: int, is_busy: Callable[[], bool], library: Library | None, *, looks: bool) -> None:
    """Wait that way for ``descriptor``.

    ``is_busy``: other tasks have work, so they get a turn after each request. ``library``: takes the requests. Without
    ``looks`` it goes to sleep when there is none.
    """
    module: Any = pyfuse3
    before = module._wait_fuse_readable
    sleep = _sleeper(descriptor, before, looks=looks)
    module._wait_fuse_readable = (
        _polls(descriptor, is_busy, sleep) if library is None else _reads(library, is_busy, sleep)
    )


def _sleeper(descriptor: int, wait: Wait, *, looks: bool) -> Callable[[], Awaitable[int]]:
    """Sleeps until ``descriptor`` can be read, and says how often to look the next time; 0: the mount ends."""
    many, few = (_MANY_LOOKS, _LOOKS) if looks else (1, 1)
    nap: Callable[[], bool] | None = None

    async def sleep() -> int:
        nonlocal nap
        if nap is None:
            nap = getattr(schedule.loop, "napper", _never)(descriptor)
        begin = monotonic()
        if not nap() and not await wait():
            return 0
        return many if monotonic() - begin < _SHORT else few

    return sleep


def _reads(library: Library, is_busy: Callable[[], bool], sleep: Callable[[], Awaitable[int]]) -> Wait:
    """For a library that reads the device until it is drained."""
    drained, looks = library.drained, library.looks
    turns = 0

    async def readable() -> bool:
        nonlocal turns
        turns += 1
        if turns >= _TURNS or is_busy():
            turns = 0
            await schedule.loop.lowlevel.checkpoint()
        # Whatever ran meanwhile may have taken what woke us: then the library says so again.
        if drained[0]:
            drained[0] = 0
            looks[0] = await sleep()
            return looks[0] > 0
        return True

    return readable


def _polls(descriptor: int, is_busy: Callable[[], bool], sleep: Callable[[], Awaitable[int]]) -> Wait:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    look = poll.poll
    turns, looks = 0, _LOOKS

    async def readable() -> bool:
        nonlocal turns, looks
        turns += 1
        if turns >= _TURNS or is_busy():
            turns = 0
            await schedule.loop.lowlevel.checkpoint()
        while looks:
            # Nothing may run between the look that finds a request and the read: another task would take it away.
            for _ in range(looks):
                if look(0):
                    return True
            looks = await sleep()
        return False

    return readable


def _never(descriptor: int) -> Callable[[], bool]:
    """trio sleeps by itself only."""
    return lambda: False
