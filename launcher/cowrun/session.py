"""One run from its settings to its exit status: ties the store, the mount and the container together.

The order is the design: the file system process starts first and imports while the rest is prepared; everything that is
made is undone in the reverse order, whatever happens in between.
"""

import contextlib
import os
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cowfs import userns
from cowfs.errors import CowfsError
from cowfs.images.host import hidden_directories
from cowfs.model import Base, Run
from cowfs.options import MountOptions, indexes_of
from cowfs.store import Store, volumes
from cowfs.store.runs import FILES, Runs
from cowrun import files, running, seccomp
from cowrun.cgroups import Groups
from cowrun.container import Container
from cowrun.events import Events
from cowrun.filesystem import FileSystem
from cowrun.guard import Guard
from cowrun.inside import Order
from cowrun.monitor import Monitor
from cowrun.plan import Place, mounted_by, outside_the_merge, plan
from cowrun.ports import PROGRAMS
from cowrun.settings import SHELLS, Settings
from cowrun.terminal import window_of

if TYPE_CHECKING:
    from cowrun.network import PrivateNetwork


class Request(NamedTuple):
    """A run to be made."""

    base: Base
    settings: Settings
    name: str = ""
    transport: str = "auto"
    journal: bool = True
    trace_writes: bool = False
    debug: Callable[[str], None] | None = None


class Outcome(NamedTuple):
    """A run that is over."""

    run: Run
    status: int
    failure: Exception | None = None  # of ours, while the command ran


def execute(request: Request, store: Store, filesystem: FileSystem) -> Outcome:
    """Run the command. Raises CowfsError where it could not be started (then no run is kept), and Interrupted."""
    runs = Runs(store.root)
    base, settings = request.base, request.settings
    with store.lease(base), Events() as events:
        runs.remove_unstarted()
        run, lock = runs.create(
            base,
            settings.command,
            name=request.name,
            env_names=(name for name, _ in settings.env),
            hidden=hidden_directories(store) if base.host else (),
            volumes=outside_the_merge(settings),
            mounts=mounted_by(plan(settings, _place("", Path(FILES), settings))),
            read_only=settings.read_only,
        )
        with lock:
            try:
                status, failure = _supervise(request, run, filesystem, events)
            except BaseException:
                lock.close()
                runs.remove(run)
                raise
            sealed = runs.seal(run, status)
        _retain(runs, store)
        return Outcome(sealed, status, failure)


def _retain(runs: Runs, store: Store) -> None:
    """The budgets of the store. A run that is over ended well, whatever becomes of older ones."""
    try:
        if runs.retain():
            store.collect()
    except CowfsError as error:
        say(f"older runs cannot be removed: {error}")


def describe(request: Request) -> Iterator[str]:
    """The lines of --dry-run: nothing is made."""
    base = request.base
    if userns.entered():
        yield f"new user namespace, in which the caller is root of {request.settings.ids} ids"
    yield "new mount namespace for the launcher, nothing of it propagates to the host"
    yield f"mount cowfs: {len(base.layers)} layer(s), the top one {base.lowers[0]}, changes go to the run's upper"
    if request.settings.network not in ("host", "none"):
        yield from _network_lines(request.settings)
    yield "new pid namespace: what follows is done by its first process"
    for step in plan(request.settings, _place("<run id>", Path("<run>") / FILES, request.settings)):
        yield step.describe()
    yield f"execute {' '.join(request.settings.command) or ' or '.join(SHELLS)}"


def _network_lines(settings: Settings) -> Iterator[str]:
    """What a private network takes, for --dry-run."""
    yield f"new network namespace, served by {_program(settings)}"
    for port in settings.ports:
        yield f"publish {port}"


def _supervise(request: Request, run: Run, filesystem: FileSystem, events: Events) -> tuple[int, Exception | None]:
    debug = request.debug or (lambda line: None)
    with contextlib.ExitStack() as undo:
        undo.callback(filesystem.stop)
        filesystem.serve(_mount_options(request, run), run.directory / "merged")
        settings = request.settings
        network = _network(settings, run)
        if network:
            undo.callback(network.stop)
            settings = settings._replace(ports=network.ports)
        files.write(run.directory / FILES, run.id, settings)
        attributes = termios.tcgetattr(0) if settings.terminal else None
        for volume in settings.volumes:
            if volume.name:
                undo.callback(os.close, volumes.use(volume.source))
        groups = Groups(settings.limits, run.id)
        undo.callback(groups.remove)
        guard = Guard((0, attributes) if attributes else None, [directory for _, directory, _ in groups.directories])
        undo.callback(guard.stop)
        events.check()
        container = Container(_order(request, run, groups, network))
        undo.callback(container.end)
        guard.protect(container.pid)
        groups.take(container.pid)
        events.wait_for(filesystem.channel.fileno())
        filesystem.check()
        debug("the root is mounted")
        if network:
            events.wait_for(network.fileno())
            network.check()
            debug(f"{network.program} serves the network")
        container.go()
        monitor = Monitor(container, filesystem, events, attributes)
        undo.callback(monitor.close)
        monitor.wait_for_start()
        undo.callback(os.close, running.publish(run, container.pid, settings))
        debug("the command runs")
        try:
            return monitor.wait_for_end(), None
        except Exception as failure:  # the run is kept: it may have changed much
            return CowfsError.status, failure


def _network(settings: Settings, run: Run) -> "PrivateNetwork | None":
    if settings.network in ("host", "none"):
        return None
    from cowrun.network import PrivateNetwork

    return PrivateNetwork(settings.network, settings.ports, os.fspath(run.directory / FILES))


def _order(request: Request, run: Run, groups: Groups, network: "PrivateNetwork | None") -> Order:
    settings = request.settings
    place = _place(run.id, run.directory / FILES, settings)._replace(
        groups=tuple(groups.directories),
        program=seccomp.program_for(settings.filter),
        network=(network.holder, network.program) if network else (0, ""),
    )
    return Order(
        plan=plan(settings, place),
        command=settings.command,
        shells=SHELLS,
        env=settings.env,
        merged=os.fspath(run.directory / "merged"),
        window=window_of(0) if settings.terminal else b"",
        init=settings.init,
        debug=request.debug is not None,
    )


def _place(run_id: str, directory: Path, settings: Settings) -> Place:
    resolv_conf = files.below_run() if settings.host else ""
    return Place(run_id, os.fspath(directory), resolv_conf, network=(0, _program(settings)))


def _program(settings: Settings) -> str:
    return " or ".join(PROGRAMS) if settings.network == "private" else settings.network


def _mount_options(request: Request, run: Run) -> MountOptions:
    return MountOptions(
        lowers=run.lowers,
        upper=run.upper,
        work=run.work,
        live_lower=run.host,
        userxattr=not userns.is_root_of_machine(),
        hidden=frozenset(run.hidden),
        allow_suid=True,  # what may become of it is for no_new_privs and the bounding set to say
        indexes=indexes_of(run.lowers),
        source=run.source,
        journal=run.journal if request.journal else None,
        each_write=request.journal and request.trace_writes,
        transport=request.transport,
    )


def say(line: str) -> None:
    """For --debug."""
    print(f"cowrun: {line}", file=sys.stderr, flush=True)
