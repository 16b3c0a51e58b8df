"""``cowrun exec``: a further command in a container that is there. Nothing of the run is changed by it.

Like the container's first process, the command is executed by a fresh interpreter, which dies with us.
"""

import contextlib
import os
import termios

from cowfs.processes import Process
from cowrun import cgroups, seccomp, syscalls
from cowrun.container import Container
from cowrun.events import Events
from cowrun.guard import Guard
from cowrun.identity import JoinContainer
from cowrun.inside import Order
from cowrun.monitor import Monitor
from cowrun.plan import plan_to_join
from cowrun.running import Running
from cowrun.settings import Settings
from cowrun.terminal import window_of


def execute(found: Running, settings: Settings) -> int:
    """Run the command of ``settings`` and say its exit status. Raises CowfsError, and Interrupted."""
    with contextlib.ExitStack() as undo, Events() as events:
        first = found.container.open()
        undo.callback(os.close, first)
        _join_user(found.launcher)
        attributes = termios.tcgetattr(0) if settings.terminal else None
        guard = Guard((0, attributes) if attributes else None, [])
        undo.callback(guard.stop)
        events.check()
        same = os.path.samefile("/proc/self/ns/net", f"/proc/{found.container.pid}/ns/net")
        container = Container(_order(settings, JoinContainer(first, same)), join=first)
        undo.callback(container.end)
        guard.protect(container.pid)
        cgroups.join(found.container.pid, container.pid)
        container.go()
        monitor = Monitor(container, None, events, attributes)
        undo.callback(monitor.close)
        monitor.wait_for_start()
        return monitor.wait_for_end()


def _join_user(launcher: Process) -> None:
    """Be root where the launcher is: of the machine as we are, or of the user namespace that it made."""
    process = launcher.open()
    if not os.path.samefile("/proc/self/ns/user", f"/proc/{launcher.pid}/ns/user"):
        syscalls.join_namespaces(process, syscalls.CLONE_NEWUSER)
        syscalls.join_namespaces(process, syscalls.CLONE_NEWNS)
    os.close(process)


def _order(settings: Settings, joined: JoinContainer) -> Order:
    return Order(
        plan=plan_to_join(settings, joined, seccomp.program_for(settings.filter)),
        command=settings.command,
        shells=(),
        env=settings.env,
        merged="/",  # of the run's mount namespace, by the time somebody looks
        window=window_of(0) if settings.terminal else b"",
        init=False,
        debug=False,
    )
