"""Big trees: what they cost is counted, in calls, descriptors and bytes of memory, never in seconds."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cowfs.overlay import Changes, Node
from tests.behaviour import layers, syscalls
from tests.behaviour.core import CowfsCore
from tests.behaviour.fs import names, read_all, write_all
from tests.behaviour.merged import CowfsMount, Scene, build_lowers

DEPTH = 5000
KIBIBYTE = 1024


@pytest.fixture
def base(tmp_path: Path) -> Iterator[bytes]:
    """A directory of memory that goes at once, however deep what is in it."""
    place = os.fsencode(tmp_path)
    syscalls.mount(b"scratch", place, b"tmpfs")
    yield place
    syscalls.unmount(place, lazy=True)


def fill(place: bytes, count: int, make: Callable[[int, int], object]) -> None:
    os.makedirs(place)
    fd = os.open(place, os.O_PATH)
    for number in range(count):
        make(number, fd)
    os.close(fd)


def new_file(name: bytes) -> Callable[[int, int], object]:
    return lambda number, fd: os.close(os.open(name % number, os.O_CREAT | os.O_WRONLY, dir_fd=fd))


@contextmanager
def mounted(base: bytes, *lowers: bytes) -> Iterator[CowfsMount]:
    fs = CowfsMount(Scene(base + b"/scene", lowers))
    try:
        yield fs
    finally:
        fs.close_files()
        fs.close()


def resident(fs: CowfsMount) -> int:
    """Bytes of memory of the file system process."""
    return int(Path(f"/proc/{fs.server}/statm").read_text().split()[1]) * resource.getpagesize()


def look_at_all(fs: CowfsMount, path: bytes) -> None:
    for entry in fs.listdir(path):
        fs.lstat(path + b"/" + entry.name)


def open_files(fs: CowfsMount) -> int:
    return len(os.listdir(f"/proc/{fs.server}/fd"))


# --- a big directory --------------------------------------------------------------------------------------


def test_a_directory_of_100000_entries(base: bytes) -> None:
    fill(base + b"/lower/d", 100_000, new_file(b"file-%06d"))
    with mounted(base, base + b"/lower") as fs:
        before = resident(fs)
        listed = names(fs, b"d")
        assert len(listed) == 100_000
        for name in listed:
            fs.lstat(b"d/" + name)
        assert resident(fs) - before < 100_000 * KIBIBYTE
        for number in range(0, 100_000, 100):
            fs.unlink(b"d/file-%06d" % number)
            write_all(fs, b"d/new-%06d" % number, b"x")
        changed = names(fs, b"d")
        assert len(changed) == 100_000
        assert len(changed - listed) == 1000
        fs.remount()
        assert names(fs, b"d") == changed


@pytest.mark.parametrize(
    ("one", "layer_count"),
    [
        (new_file(b"%06d" + b"n" * 249), 1),
        (new_file(b"file-%06d"), 3),
        (lambda number, fd: os.mkdir(b"directory-%06d" % number, dir_fd=fd), 1),
        (lambda number, fd: os.symlink(b"target", b"link-%06d" % number, dir_fd=fd), 1),
    ],
    ids=["255-byte names", "files of three layers", "directories", "links"],
)
def test_a_node_takes_less_than_a_kibibyte(base: bytes, one: Callable[[int, int], object], layer_count: int) -> None:
    lowers = [base + b"/lower%d" % number for number in range(layer_count)]
    for lower in lowers:
        fill(lower + b"/first", 20_000, one)
        fill(lower + b"/d", 20_000, one)
    with mounted(base, *lowers) as fs:
        look_at_all(fs, b"first")  # what is only needed while a directory is read is there from now on
        before = resident(fs)
        look_at_all(fs, b"d")
        assert resident(fs) - before < 20_000 * KIBIBYTE


# --- a deep tree ------------------------------------------------------------------------------------------


def deep(base: bytes) -> bytes:
    """A layer with directories DEPTH deep."""
    lower = base + b"/lower"
    os.mkdir(lower)
    fd = os.open(lower, os.O_PATH)
    for _ in range(DEPTH):
        os.mkdir(b"d", dir_fd=fd)
        fd = below(fd)
    os.close(fd)
    return lower


def below(fd: int, name: bytes = b"d") -> int:
    """The directory in it, in its place."""
    try:
        return os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    finally:
        os.close(fd)


def bottom(fs: CowfsMount, top: bytes) -> int:
    fd = below(os.open(fs.root, os.O_PATH), top)
    for _ in range(DEPTH - 1):
        fd = below(fd)
    return fd


def test_a_tree_5000_deep(base: bytes) -> None:
    with mounted(base, deep(base)) as fs:
        fd = bottom(fs, b"d")
        file = os.open("file", os.O_RDWR | os.O_CREAT, dir_fd=fd)
        os.write(file, b"deep")
        fs.rename(b"d", b"top")
        assert os.stat("file", dir_fd=fd).st_size == 4
        os.close(file)
        os.close(fd)
        fs.remount()
        fd = bottom(fs, b"top")
        file = os.open("file", os.O_RDONLY, dir_fd=fd)
        assert os.read(file, 10) == b"deep"
        os.close(file)
        os.close(fd)
        subprocess.run(["rm", "-r", fs.path(b"top")], check=True)
        assert fs.listdir(b"") == []


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_walk_down_and_up_a_deep_tree_opens_each_directory_a_few_times(
    base: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has to be reached from one above it that is open, and few can be."""
    opened = 0
    real = os.open

    def counting(*arguments: Any, **keywords: Any) -> int:
        nonlocal opened
        opened += 1
        assert opened < 12 * DEPTH  # at once: else it takes minutes to fail
        return real(*arguments, **keywords)

    with few_descriptors(200):
        fs = CowfsCore(Scene(base + b"/scene", [deep(base)]))
        monkeypatch.setattr(os, "open", counting)
        chain: list[Node] = [fs.overlay.root]
        for _ in range(DEPTH):
            node = fs.overlay.lookup(chain[-1], b"d")
            node.lookups += 1
            chain.append(node)
        down, opened = opened, 0
        fs.overlay.setattr(chain[-1], Changes(mode=0o700))
        while len(chain) > 1:
            node = chain.pop()
            fs.overlay.rmdir(chain[-1], b"d")
            fs.overlay.forget(node, 1)
        assert down < 3 * DEPTH
        monkeypatch.undo()
        fs.close()


def test_descriptors_of_directories_are_as_many_as_the_limit_whatever_is_done(base: bytes) -> None:
    """Also where each directory was used since the last time that one had to be closed."""
    lower = base + b"/lower"
    for number in range(300):
        os.makedirs(lower + b"/d%d/e" % number)
    with few_descriptors(200):
        fs = CowfsCore(Scene(base + b"/scene", [lower]))
        nodes = [fs.overlay.walk(b"d%d" % number) for number in range(300)]
        limit = fs.overlay.cache.limit
        for _ in range(30):
            for node in nodes:
                fs.overlay.listxattr(node)
        assert len(fs.overlay.cache) <= limit + 2
        fs.close()


# --- many layers ------------------------------------------------------------------------------------------


def test_a_hundred_layers(base: bytes) -> None:
    stack = [
        [
            layers.directory(b"shared", 0o700 + number % 8),
            layers.file(b"shared/file%d" % number, b"%d" % number),
            layers.file(b"every", b"%d" % number),
            layers.directory(b"opaque", opaque=number == 50),
            layers.file(b"opaque/file%d" % number, b"x"),
            *([layers.whiteout(b"shared/file%d" % (number - 1))] if number % 2 else []),
        ]
        for number in range(100)
    ]
    with mounted(base, *build_lowers(base, stack)) as fs:
        for _ in range(2):
            assert read_all(fs, b"every") == b"99"
            assert names(fs, b"shared") == {b"file%d" % number for number in range(1, 100, 2)}
            assert names(fs, b"opaque") == {b"file%d" % number for number in range(50, 100)}
            assert fs.lstat(b"shared").permissions == 0o703
            fs.remount()
        fs.rename(b"shared", b"moved")
        write_all(fs, b"moved/file1", b"new", 0)
        fs.remount()
        assert read_all(fs, b"moved/file1") == b"new"
        assert read_all(fs, b"moved/file99") == b"99"


# --- cost -------------------------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, those written in C included."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def in_one_directory(fs: CowfsCore, count: int) -> dict[str, Callable[[], object]]:
    def each(work: Callable[[int], object]) -> Callable[[], object]:
        return lambda: [work(number) for number in range(count)]

    return {
        "list": lambda: fs.listdir(b"d"),
        "look": each(lambda number: fs.lstat(b"d/lower%d" % number)),
        "create": each(lambda number: write_all(fs, b"d/upper%d" % number, b"x")),
        "change": each(lambda number: fs.chmod(b"d/lower%d" % number, 0o600)),
        "link": each(lambda number: fs.link(b"d/upper0", b"d/link%d" % number)),
        "rename": each(lambda number: fs.rename(b"d/lower%d" % number, b"d/moved%d" % number)),
        "remove": each(lambda number: fs.unlink(b"d/moved%d" % number)),
        "unlink": each(lambda number: fs.unlink(b"d/link%d" % number)),
    }


def test_no_cost_grows_faster_than_the_directory(base: bytes) -> None:
    cost: dict[str, list[float]] = {}
    for count in (300, 1200):
        place = base + b"/%d" % count
        fill(place + b"/lower/d", count, new_file(b"lower%d"))
        fs = CowfsCore(Scene(place + b"/scene", [place + b"/lower"]))
        for name, work in in_one_directory(fs, count).items():
            cost.setdefault(name, []).append(calls(work) / count)
        fs.close()
    assert {name: each for name, each in cost.items() if each[1] > 1.2 * each[0]} == {}


def test_many_files_are_removed_without_a_descriptor_for_each(base: bytes) -> None:
    fill(base + b"/lower/d", 5000, new_file(b"file-%06d"))
    with mounted(base, base + b"/lower") as fs:
        for entry in fs.listdir(b"d"):
            fs.chmod(b"d/" + entry.name, 0o600)
        before = open_files(fs)
        for number in range(5000):
            fs.unlink(b"d/file-%06d" % number)
        assert open_files(fs) < before + 300
