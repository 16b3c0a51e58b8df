"""Container engines on our mount program: each test has stores of its own, and leaves nothing of them."""

import fcntl
import os
import pickle
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.eight_steps import build
from tests.engines.saved import Saved
from tests.support.docker import Docker
from tests.support.person import ordinary_user
from tests.support.podman import KERNEL, MAIN, Engine, program, short_directory

SMALL = "localhost/small"
APPLETS = (
    "sh", "cat", "ls", "echo", "true", "sleep", "id", "touch", "rm", "mkdir", "rmdir", "mv", "cp", "ln", "chmod",
    "chown", "stat", "seq", "stty", "find", "readlink", "head", "tr", "grep", "env", "mkfifo", "wc", "sort", "xargs",
)  # fmt: skip
TIME = 1_700_000_000


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our program."""
    return program(tmp_path_factory.mktemp("program"))


@pytest.fixture
def engines() -> Iterator[Callable[..., Engine]]:
    """Makes engines by name of a store and mount program."""
    stores: dict[str, Engine] = {}

    def make(store: str, mount_program: Path | str = KERNEL) -> Engine:
        place = stores[store].place if store in stores else short_directory()
        stores[store] = Engine(place, mount_program)
        return stores[store]

    yield make
    for engine in stores.values():
        engine.close()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A root with busybox and some of everything, as a tar for ``podman import``."""
    return small_tar(tmp_path)


def small_tar(directory: Path) -> Path:
    root = directory / "small"
    for name in ("bin", "etc", "tmp", "root", "srv/deep/er", "srv/full", "srv/gone/in", "srv/moved/sub", "usr/lib"):
        (root / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "/bin/busybox", root / "bin/busybox")
    for applet in APPLETS:
        (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\napp:x:1000:50:App:/srv:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:\n")
    for number in range(30):
        (root / f"srv/full/{number}").write_text(f"{number}\n" * number)
    for name in ("srv/deep/er/file", "srv/gone/in/file", "srv/moved/file", "srv/moved/sub/file", "usr/lib/text"):
        (root / name).write_text(f"{name}\n")
    (root / "usr/lib/program").write_bytes(os.urandom(3 << 20))
    (root / "usr/lib/program").chmod(0o4755)
    os.link(root / "usr/lib/text", root / "usr/lib/text-too")
    os.setxattr(root / "usr/lib/program", "user.note", b"kept")
    os.chown(root / "srv/deep/er/file", 1000, 50)
    (root / "tmp").chmod(0o1777)
    (root / "srv/deep").chmod(0o2750)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, (TIME, TIME), follow_symlinks=False)
    path = directory / "small.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.add(root, ".", filter=_with_attributes(root))
    shutil.rmtree(root)
    return path


def _with_attributes(root: Path) -> Callable[[tarfile.TarInfo], tarfile.TarInfo]:
    def add(member: tarfile.TarInfo) -> tarfile.TarInfo:
        path = root / member.name
        if member.isreg():
            for name in os.listxattr(path):
                member.pax_headers[f"SCHILY.xattr.{name}"] = os.getxattr(path, name).decode()
        return member

    return add


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Any]:
    """``once(name, make)``: what ``make`` gives, made by one of pytest's processes for all of them."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], Any]) -> Any:
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            kept = shared / f"{name}.pickle"
            if not kept.exists():
                made = make(shared / name)
                kept.write_bytes(pickle.dumps(made))
            return pickle.loads(kept.read_bytes())

    return get


Once = Callable[[str, Callable[[Path], Any]], Any]


@pytest.fixture
def right(once: Once) -> tuple[float, Saved]:
    """When the build on the kernel's overlayfs began, and what it gave."""

    def make(directory: Path) -> tuple[float, Saved]:
        began = float(int(time.time()))
        engine = Engine(short_directory())
        try:
            return began, build(engine, "podman")
        finally:
            engine.close()

    found: tuple[float, Saved] = once("built", make)
    return found


@pytest.fixture
def rootless(tmp_path: Path) -> Iterator[Engine]:
    """podman and buildah of an ordinary user with a range of numbers, as adduser gives it, on our program."""
    home = tmp_path / "home"
    home.mkdir()
    with ordinary_user(65536, home=home) as user:
        place = user.home / "engine"
        (place / "runtime").mkdir(mode=0o700, parents=True)
        mount_program = user.program(place / "bin" / "cowfs-overlay", MAIN)
        environment = {**user.options["env"], "XDG_RUNTIME_DIR": str(place / "runtime")}
        engine = Engine(place, mount_program, {**user.options, "env": environment})
        try:
            yield engine
        finally:
            engine.close()


@pytest.fixture
def docker(tmp_path: Path) -> Iterator[Docker]:
    daemon = Docker(program(tmp_path / "programs", "fuse-overlayfs").parent)
    try:
        yield daemon
    finally:
        daemon.close()
