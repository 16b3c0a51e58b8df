"""Real mounts in a private mount namespace of a child's own, whose requests are counted."""

import ctypes
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cowfs.fuse.serve import start
from cowfs.fuse.transport import latency
from cowfs.options import MountOptions

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 0x40000


def unshare_mounts() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.unshare(_CLONE_NEWNS) == 0
    assert libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None) == 0


def in_child(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a child with a mount namespace of its own; its answer, or its failure, comes back as JSON."""
    answer, said = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(answer)
        try:
            unshare_mounts()
            result = {"value": work()}
        except BaseException as failure:
            import traceback

            result = {"failure": "".join(traceback.format_exception(failure))}
        os.write(said, json.dumps(result).encode())
        os._exit(0)
    os.close(said)
    with os.fdopen(answer) as text:
        told = json.loads(text.read())
    os.waitpid(pid, 0)
    if "failure" in told:
        pytest.fail(told["failure"])
    return told["value"]


class Mount:
    """An overlay mounted below ``top``, with a log of the handlers that were called."""

    def __init__(self, top: Path, transport: str) -> None:
        self.top = top
        self.lower, self.upper, self.merged = top / "lower", top / "upper", top / "merged"
        for name in ("lower", "upper", "work", "merged"):
            (top / name).mkdir(exist_ok=True)
        self._calls = top / "calls"
        self._calls.touch()
        self._transport = transport
        self.wishes = top / "wishes"  # instead of the machine's: what is written there for idle processors
        self.pid = 0

    def start(self) -> None:
        os.environ["COWFS_TEST_CALLS"] = os.fspath(self._calls)
        _count_requests(self._calls)
        self.wishes.touch()
        driver = self.top / "driver"
        driver.write_text("haltpoll\n")
        latency._DEVICE, latency._DRIVER, latency._MOST = os.fspath(self.wishes), driver, 1 << 16
        options = MountOptions(
            lowers=(self.lower,), upper=self.upper, work=self.top / "work", transport=self._transport, allow_suid=True
        )
        self.pid = start(options, self.merged, detach=False, log=self.top / "log")

    def requests(self) -> Counter[str]:
        """What was called since the last time."""
        names = self._calls.read_text().split()
        os.truncate(self._calls, 0)
        return Counter(names)

    def stop(self) -> str:
        """End it; what it logged."""
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        return (self.top / "log").read_text()


def _count_requests(calls: Path) -> None:
    """In this process and its children every handler writes its name; pyfuse3 is still to be imported by the child."""
    import cowfs.fuse.serve as serve

    original = serve._mount

    def counting(options: MountOptions, mountpoint: Path, *live: Any) -> Any:
        session = original(options, mountpoint, *live)
        log = os.open(calls, os.O_WRONLY | os.O_APPEND)
        import pyfuse3

        operations = session._operations
        for name in dir(pyfuse3.Operations):
            handler = getattr(operations, name)
            if not name.startswith("_") and callable(handler) and name != "init":
                setattr(operations, name, _noting(handler, name, log))
        return session

    serve._mount = counting


def _noting(handler: Any, name: str, log: int) -> Any:
    def noted(*arguments: Any) -> Any:
        os.write(log, name.encode() + b"\n")
        return handler(*arguments)

    return noted


Check = Callable[[Mount], Any]


def _cache_drops() -> list[str]:
    """How often anybody made the kernel forget what it had cached, of all mounts of this machine."""
    return [line for line in Path("/proc/vmstat").read_text().splitlines() if line.startswith("drop_")]


@pytest.fixture
def mounted(tmp_path: Path) -> Callable[..., Any]:
    """``mounted(check, transport="auto", prepare=None)``: mount, run ``check`` on it, end it; nothing may be logged.

    A check that answers a dict counts requests, and is repeated where other tests dropped the machine's caches.
    """

    def run(check: Check, transport: str = "auto", prepare: Check | None = None) -> Any:
        def work(top: Path) -> Any:
            mount = Mount(top, transport)
            if prepare is not None:
                prepare(mount)
            mount.start()
            try:
                value = check(mount)
            finally:
                logged = mount.stop()
            assert logged == "", logged
            return value

        for top in (tmp_path, *(tmp_path / str(number) for number in range(20))):
            top.mkdir(exist_ok=True)
            before = _cache_drops()
            value = in_child(lambda top=top: work(top))
            if not isinstance(value, dict) or _cache_drops() == before:
                break
        return value

    return run
