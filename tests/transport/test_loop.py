"""Our loop does what trio does, as far as it goes: each case is run by both."""

import os
import signal
import subprocess
import sys
import threading

import pytest
import trio

from cowfs.fuse.transport import loop as ours

BOTH = pytest.mark.parametrize("loop", [trio, ours], ids=["trio", "ours"])


@BOTH
def test_tasks_take_turns_and_a_nursery_waits_for_all(loop):
    seen = []

    async def count(name):
        for number in range(3):
            seen.append((name, number))
            await loop.lowlevel.checkpoint()

    async def main():
        async with loop.open_nursery() as nursery:
            nursery.start_soon(count, "a")
            nursery.start_soon(count, "b")
        return "done"

    assert loop.run(main) == "done"
    assert {*seen} == {(name, number) for name in "ab" for number in range(3)}
    assert [number for _, number in seen] == [0, 0, 1, 1, 2, 2]


@BOTH
def test_a_lock_is_held_by_one_at_a_time(loop):
    holders = []

    async def hold(lock):
        async with lock:
            holders.append(1)
            assert sum(holders) == 1
            await loop.lowlevel.checkpoint()
            holders.pop()

    async def main():
        lock = loop.Lock()
        async with loop.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(hold, lock)

    loop.run(main)
    assert not holders


@BOTH
def test_a_descriptor_becomes_readable_or_is_about_to_be_closed(loop):
    read, write = os.pipe()
    seen = []

    async def wait():
        await loop.lowlevel.wait_readable(read)
        seen.append(os.read(read, 1))
        try:
            await loop.lowlevel.wait_readable(read)
        except loop.ClosedResourceError:
            seen.append("closed")

    async def main():
        async with loop.open_nursery() as nursery:
            nursery.start_soon(wait)
            await loop.sleep(0.01)
            assert not seen
            os.write(write, b"x")
            await loop.sleep(0.01)
            loop.lowlevel.notify_closing(read)

    loop.run(main)
    assert seen == [b"x", "closed"]
    os.close(read)
    os.close(write)


@BOTH
def test_threads_work_beside_the_loop_and_answer(loop):
    together = threading.Barrier(4)
    seen = []

    def fail():
        raise ZeroDivisionError

    async def meet():
        seen.append(await loop.to_thread.run_sync(together.wait))

    async def main():
        async with loop.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(meet)
        with pytest.raises(ZeroDivisionError):
            await loop.to_thread.run_sync(fail)
        assert await loop.to_thread.run_sync(divmod, 7, 4) == (1, 3)

    loop.run(main)
    assert sorted(seen) == [0, 1, 2, 3]


@BOTH
def test_time_runs_out_for_an_abandoned_thread_and_not_for_a_quick_one(loop):
    release = threading.Event()

    async def main():
        with loop.move_on_after(0.01) as slow:
            await loop.to_thread.run_sync(release.wait, abandon_on_cancel=True)
        with loop.move_on_after(60) as quick:
            await loop.to_thread.run_sync(int)
        await loop.sleep(0)  # its time is not over
        return slow.cancelled_caught, quick.cancelled_caught

    assert loop.run(main) == (True, False)
    release.set()


@BOTH
def test_an_event_wakes_all_that_wait_and_is_no_wait_afterwards(loop):
    seen = []

    async def wait(event):
        await event.wait()
        seen.append(1)

    async def main():
        event = loop.Event()
        async with loop.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(wait, event)
            await loop.sleep(0.01)
            assert not seen
            event.set()
        await event.wait()

    loop.run(main)
    assert seen == [1, 1, 1]


@BOTH
def test_signals_come_as_an_iterator_and_have_their_effect_again_afterwards(loop):
    async def main():
        with loop.open_signal_receiver(signal.SIGUSR1, signal.SIGUSR2) as signals:
            os.kill(os.getpid(), signal.SIGUSR1)
            first = await anext(aiter(signals))
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR2)).start()
            return [first, await anext(aiter(signals))]

    before = signal.getsignal(signal.SIGUSR1)
    assert loop.run(main) == [signal.SIGUSR1, signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR1) == before


@BOTH
def test_what_is_left_ends_with_the_main_task(loop):
    seen = []
    running, release = threading.Event(), threading.Event()

    def work():
        running.set()
        release.wait()
        seen.append("work")

    async def forever(name, wait):
        try:
            await wait()
        finally:
            seen.append(name)

    async def main():
        begin = loop.lowlevel.spawn_system_task
        begin(forever, "event", loop.Event().wait)
        begin(forever, "time", lambda: loop.sleep(1000))
        begin(forever, "thread", lambda: loop.to_thread.run_sync(work))
        await loop.sleep(0.01)
        running.wait()
        threading.Timer(0.02, release.set).start()

    loop.run(main)
    # Work that must not be abandoned is waited for.
    assert sorted(seen) == ["event", "thread", "time", "work"]


@BOTH
def test_a_task_that_fails_ends_everything(loop):
    ended = []

    async def wait():
        try:
            await loop.sleep(1000)
        finally:
            ended.append(1)

    async def fail():
        await loop.sleep(0.01)
        raise ZeroDivisionError("on purpose")

    async def main():
        async with loop.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(fail)

    with pytest.raises((ZeroDivisionError, ExceptionGroup)) as raised:
        loop.run(main)
    failure = raised.value.exceptions[0] if isinstance(raised.value, ExceptionGroup) else raised.value
    assert str(failure) == "on purpose"
    assert ended == [1]


def test_an_idle_loop_sleeps():
    async def main():
        polls = ours._loop._poll
        calls = []

        class Counting:
            def poll(self, patience):
                calls.append(patience)
                return polls.poll(patience)

        ours._loop._poll = Counting()
        await ours.sleep(0.2)
        return len(calls)

    assert ours.run(main) <= 3


@pytest.mark.parametrize("imported", [False, True])
def test_trio_is_imported_only_where_it_schedules(imported):
    program = (
        "import sys; from cowfs.fuse import schedule; "
        f"schedule.{'use_trio' if imported else 'use_ours'}(); import cowfs.fuse.session; "
        "print(sorted({'trio', 'attr', 'outcome', 'asyncio', 'ssl', 'inspect', 'dataclasses'} & set(sys.modules)))"
    )
    names = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    assert ("'trio'" in names) is imported
    assert imported or names.strip() == "[]"
