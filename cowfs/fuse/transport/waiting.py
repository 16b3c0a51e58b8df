"""Waiting for the next request: look a few dozen times before going to sleep, and sleep there and then.

pyfuse3 goes once through the scheduler and epoll for each request; while a program waits for one answer after the
other, the next request is there a few microseconds later. The looks are bounded, so an idle mount costs nothing.

pyfuse3 finds ``_wait_fuse_readable`` in its module at each call, which its own asyncio mode relies on.
"""

import select
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Any, Final

import pyfuse3

from cowfs.fuse import schedule

_LOOKS: Final = 60  # some 40 microseconds
_MANY_LOOKS: Final = 400
_SHORT: Final = 300e-6  # seconds: a sleep that _MANY_LOOKS would have spared
_TURNS: Final = 64  # requests in a row before other tasks get their turn: signals, work that came back from threads


def install(descriptor: int, is_busy: Callable[[], bool], unfinished: Sequence[int]) -> None:
    """Wait that way for ``descriptor``.

    ``is_busy``: other tasks have work, so they get a turn after each request. ``unfinished``: its first item is not 0
    while threads have work, which want the processor: nothing is looked for then.
    """
    module: Any = pyfuse3
    module._wait_fuse_readable = _waiter(descriptor, is_busy, unfinished, module._wait_fuse_readable)


def _waiter(
    descriptor: int, is_busy: Callable[[], bool], unfinished: Sequence[int], sleep: Callable[[], Awaitable[bool]]
) -> Callable[[], Awaitable[bool]]:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    look = poll.poll
    nap: Callable[[], bool] | None = None
    turns, looks = 0, _LOOKS

    async def readable() -> bool:
        nonlocal nap, turns, looks
        if nap is None:
            nap = getattr(schedule.loop, "napper", _never)(descriptor)
        turns += 1
        if turns >= _TURNS or is_busy():
            turns = 0
            await schedule.loop.lowlevel.checkpoint()
        while True:
            # Nothing may run between the look that finds a request and the read: another task would take it away.
            for _ in range(1 if unfinished[0] else looks):
                if look(0):
                    return True
            begin = monotonic()
            is_there = nap()
            if not is_there and not await sleep():
                return False
            looks = _MANY_LOOKS if monotonic() - begin < _SHORT else _LOOKS
            if is_there:
                return True

    return readable


def _never(descriptor: int) -> Callable[[], bool]:
    """trio sleeps by itself only."""
    return lambda: False
