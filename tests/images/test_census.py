"""E12: layers of very many entries. They are counted where making them would take long; other layers are read once."""

import os
import subprocess
import sys
import zlib
from collections.abc import Callable

import pytest

from cowfs.errors import BrokenImage
from cowfs.images import importer, limits
from cowfs.images.census import check_entries
from cowfs.images.sources import resolve
from cowfs.images.tarheader import BadTar
from cowfs.images.tarstream import TarReader
from cowfs.store import Store
from tests.images import tars
from tests.images.layouts import LAYER, Layout, config_of
from tests.images.tars import DIRECTORY, HARD_LINK, entry, header, tar
from tests.images.test_skeleton import TARS
from tests.images.test_sources import assert_nothing_is_left

TEN_MILLION = 10_000_000
BLOCK_ENTRIES = 1000


def block(number: int) -> bytes:
    """The headers of 1000 names. The digits of the directory have one sum, so that the checksums stay."""
    digits = b"%05d" % number
    name = digits + bytes(ord("0") + ord("9") - digit for digit in digits)
    return TEMPLATE.replace(b"0000099999", name)


TEMPLATE = b"".join(header(b"0000099999/%d" % number) for number in range(BLOCK_ENTRIES))


def member(data: bytes, padding: int = 0) -> bytes:
    """A gzip member, with a comment that makes it longer: the whole must not be refused for its ratio."""
    pack = zlib.compressobj(1, wbits=-15)
    body = pack.compress(data) + pack.flush()
    end = zlib.crc32(data).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    return b"\x1f\x8b\x08\x10" + bytes(6) + b"c" * padding + b"\0" + body + end


def of_repeated_entries() -> bytes:
    """Ten million that are alike: of names that the unpacker ignores, or it would see the second one."""
    data = header(b".wh..wh.plnk/1") * BLOCK_ENTRIES
    return member(data, len(data) // 190) * (TEN_MILLION // BLOCK_ENTRIES) + member(tars.END)


def of_other_entries() -> bytes:
    """The first 100,000 are different files; more are never looked at if they are counted first."""
    first = b"".join(member(block(number)) for number in range(100))
    data = block(101)
    return first + member(data, len(data) // 190) * (TEN_MILLION // BLOCK_ENTRIES - 100) + member(tars.END)


BOMBS: dict[str, Callable[[], bytes]] = {"repeated": of_repeated_entries, "different": of_other_entries}

PROGRAM = """
import re, resource, sys
from pathlib import Path
from cowfs.errors import BrokenImage
from cowfs.images.sources import resolve
from cowfs.store import Store
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
with Store.open(Path(sys.argv[1])) as store:
    try:
        resolve(sys.argv[2], store)
    except BrokenImage as error:
        print(error)
# ru_maxrss would count what the processes were before their exec; ours have the workers' as children
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10)
"""


@pytest.mark.parametrize("what", BOMBS)
def test_e12_ten_million_entries(store: Store, layout: Layout, what: str) -> None:
    blob = layout.blob(BOMBS[what](), LAYER + "+gzip")
    text = layout.image(b"", descriptors=[blob])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, store.root, text],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
    )
    said, *peaks = done.stdout.splitlines()
    assert "a layer of more than 1000000 entries" in said
    assert max(map(int, peaks)) < 256, "MiB"
    assert_nothing_is_left(store)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Small limits; a list of how often a layer was begun, as seen by a worker in this process."""
    monkeypatch.setattr(limits, "CROWD", 10)
    monkeypatch.setattr(limits, "CROWD_BYTES", 20_000)
    monkeypatch.setattr(limits, "ENTRIES", 100)
    begun: list[int] = []

    def here(tasks: dict[str, Callable[..., object]], at_most: int, seen: Callable[..., None]) -> None:
        for name, task in tasks.items():
            try:
                seen(name, task(lambda value: None))
            except Exception as error:
                raise importer.TaskFailed(name, error) from None

    real = importer.unpack

    def counting(*arguments: object, **more: object) -> object:
        begun.append(1)
        return real(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(importer, "in_processes", here)
    monkeypatch.setattr(importer, "unpack", counting)
    return begun


@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
def test_e12_a_crowd_that_is_small_enough_is_unpacked(store: Store, layout: Layout, made: list[int], how: str) -> None:
    crowd = tar(*(entry(b"%d" % number, data=b"%d" % number) for number in range(100)))
    (layer,) = resolve(layout.image(crowd, how=how), store).layers
    assert len(os.listdir(layer.directory)) == 100
    assert (layer.directory / "99").read_bytes() == b"99"
    assert len(made) == 2  # the first time up to the tenth


def test_e12_a_crowd_behind_ordinary_files(store: Store, layout: Layout, made: list[int]) -> None:
    ordinary = [entry(b"f%d" % number, data=bytes(5000)) for number in range(50)]
    crowd = [entry(b"c%d" % number) for number in range(60)]
    with pytest.raises(BrokenImage, match="more than 100 entries"):
        resolve(layout.image(tar(*ordinary, *crowd)), store)
    assert len(made) == 1
    assert_nothing_is_left(store)


def test_e12_ordinary_layers_are_read_once(store: Store, layout: Layout, made: list[int]) -> None:
    resolve(layout.image(tar(*(entry(b"%d" % number, data=bytes(5000)) for number in range(100)))), store)
    assert len(made) == 1


def test_what_is_wrong_behind_a_crowd_is_said(store: Store, layout: Layout, made: list[int]) -> None:
    """Counting judges nothing: what is wrong behind the crowd is found by the unpacker."""
    crowd = tar(*(entry(b"%d" % number) for number in range(50)))
    broken = crowd[:-1100] + b"?" + crowd[-1099:]
    with pytest.raises(BrokenImage, match="checksum"):
        resolve(layout.image(broken, config=config_of([broken])), store)
    assert len(made) == 2
    assert_nothing_is_left(store)


# --- the headers are found where the reader finds them

MORE = {
    "pax size": tar(
        tars.pax([(b"size", b"700")]) + header(b"f", size=0) + tars.padded(b"x" * 700), entry(b"g", DIRECTORY)
    ),
    "a link": tar(entry(b"f"), entry(b"g", HARD_LINK, link=b"f")),
    "a large header": tar(entry(b"n" * 2000, xattrs={b"user.a": b"v" * 60_000}), entry(b"f", data=b"1" * 5000)),
    "global": tar(tars.pax([(b"comment", b"size=7")], b"g"), entry(b"f")),
}


@pytest.mark.parametrize("data", (TARS | MORE).values(), ids=(TARS | MORE).keys())
@pytest.mark.parametrize("size", [1, 100, 511, 512, 513, 5000, 1 << 20])
def test_as_many_as_the_reader_finds(monkeypatch: pytest.MonkeyPatch, data: bytes, size: int) -> None:
    if len(data) > 1000 * size:
        size = len(data) // 1000
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    entries = len(list(TarReader([data])))
    # and global headers
    entries += sum(
        data[at + 156 : at + 157] == b"g" and data[at + 257 : at + 262] == b"ustar" for at in range(0, len(data), 512)
    )
    monkeypatch.setattr(limits, "ENTRIES", entries)
    check_entries(chunks)
    if entries:
        monkeypatch.setattr(limits, "ENTRIES", entries - 1)
        with pytest.raises(BadTar, match="more than"):
            check_entries(chunks)
