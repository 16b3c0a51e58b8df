"""What each lever of the transport brings, by counts of requests, and that all of it works without them."""

import contextlib
import ctypes
import errno
import mmap
import os
from collections import Counter

import pytest

from cowfs.fuse.transport import LEVERS, wanted

BOTH = pytest.mark.parametrize("transport", ["auto", "plain"])
LIBC = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE, KEEP_SIZE = 2, 1


def test_names():
    assert wanted("auto") == set(LEVERS)
    assert wanted("plain") == set()
    assert wanted("waiting+handshake") == {"waiting", "handshake"}
    with pytest.raises(Exception, match="unknown transport 'fast'"):
        wanted("fast")


@pytest.mark.parametrize("lever", [None, *LEVERS])
def test_each_lever_is_reported(mounted, lever):
    def check(mount):
        from cowfs.fuse import state

        return state.read(mount.merged)["levers"]

    alone = lever if lever != "passthrough" else "passthrough+handshake"
    levers = mounted(check, "auto" if lever is None else alone)
    for name, what in levers.items():
        if lever is None or name in alone:
            expected = "needs the handshake" if lever in ("waiting", "latency", "answers") else "on"
            assert what.startswith(expected), levers
        else:
            assert what == "switched off"


def write_and_read(mount):
    with open(mount.merged / "file", "wb") as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
    with open(mount.merged / "file", "rb") as file:
        assert file.read() == b"x" * 409600
    return mount.requests()


def test_passthrough_leaves_no_read_and_no_write(mounted):
    seen = Counter(mounted(write_and_read))
    assert (seen["read"], seen["write"]) == (0, 0)
    assert (seen["create"], seen["open"]) == (1, 1)


def test_the_handshake_saves_the_capability_lookups(mounted):
    with_it = Counter(mounted(write_and_read, "handshake"))
    without = Counter(mounted(write_and_read, "plain"))
    assert with_it["write"] == without["write"] == 100
    assert with_it["getxattr"] <= 1
    assert without["getxattr"] >= 100


@BOTH
def test_flush_is_asked_once(mounted, transport):
    def check(mount):
        for number in range(10):
            (mount.merged / f"f{number}").write_bytes(b"x")
        return mount.requests()

    assert Counter(mounted(check, transport))["flush"] <= 1


@BOTH
def test_absent_names_are_asked_once(mounted, transport):
    def check(mount):
        for _ in range(10):
            assert not (mount.merged / "absent").exists()
        return mount.requests()

    assert Counter(mounted(check, transport))["lookup"] == 1


@BOTH
def test_attributes_are_asked_once(mounted, transport):
    def check(mount):
        os.stat(mount.merged / "file")
        mount.requests()
        for _ in range(10):
            os.stat(mount.merged / "file")
        return mount.requests()

    def prepare(mount):
        (mount.lower / "file").write_bytes(b"x")

    seen = Counter(mounted(check, transport, prepare))
    assert sum(seen.values()) == 0, seen


def test_a_listing_is_kept_and_follows_changes(mounted):
    def prepare(mount):
        for number in range(50):
            (mount.lower / f"f{number}").touch()

    def check(mount):
        before = sorted(os.listdir(mount.merged))
        mount.requests()
        assert sorted(os.listdir(mount.merged)) == before
        kept = mount.requests()
        (mount.merged / "new").touch()
        (mount.merged / "f0").unlink()
        (mount.merged / "f1").rename(mount.merged / "renamed")
        (mount.merged / "dir").mkdir()
        after = sorted(os.listdir(mount.merged))
        assert after == sorted({*before, "new", "renamed", "dir"} - {"f0", "f1"})
        return kept

    assert Counter(mounted(check, prepare=prepare))["readdir"] == 0


@BOTH
def test_a_reader_from_before_the_copy_up_sees_later_writes(mounted, transport):
    def prepare(mount):
        (mount.lower / "file").write_bytes(b"a" * 8192)

    def check(mount):
        path = mount.merged / "file"
        with open(path, "rb", buffering=0) as reader, mmap.mmap(reader.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert reader.read(4) == mapped[:4] == b"aaaa"
            with open(path, "r+b", buffering=0) as writer:
                writer.write(b"bbbb")
            assert mapped[:4] == b"bbbb"
            assert os.pread(reader.fileno(), 4, 0) == b"bbbb"
        assert path.read_bytes()[:8] == b"bbbbaaaa"
        assert (mount.lower / "file").read_bytes()[:4] == b"aaaa"

    mounted(check, transport, prepare)


@BOTH
def test_a_mapping_and_writes_of_one_file_agree(mounted, transport):
    def check(mount):
        path = mount.merged / "file"
        path.write_bytes(b"a" * 8192)
        with open(path, "r+b", buffering=0) as file, mmap.mmap(file.fileno(), 0) as mapped:
            file.write(b"bbbb")
            assert mapped[:4] == b"bbbb"
            mapped[4:8] = b"cccc"
            assert os.pread(file.fileno(), 8, 0) == b"bbbbcccc"
        assert path.read_bytes()[:8] == b"bbbbcccc"
        assert (mount.upper / "file").read_bytes()[:8] == b"bbbbcccc"

    mounted(check, transport)


def test_fallocate_lseek_and_copy_file_range(mounted):
    def prepare(mount):
        (mount.lower / "source").write_bytes(b"s" * 100_000)

    def check(mount):
        target = os.open(mount.merged / "target", os.O_RDWR | os.O_CREAT)
        source = os.open(mount.merged / "source", os.O_RDONLY)
        os.posix_fallocate(target, 0, 1 << 20)
        assert os.fstat(target).st_size == 1 << 20
        assert os.copy_file_range(source, target, 100_000, 0, 4096) == 100_000
        assert os.pread(target, 10, 4096) == b"s" * 10
        hole = LIBC.fallocate(target, PUNCH_HOLE | KEEP_SIZE, ctypes.c_int64(1 << 16), ctypes.c_int64(1 << 16))
        assert hole == 0
        assert os.lseek(target, 1 << 16, os.SEEK_HOLE) == 1 << 16
        with pytest.raises(OSError) as raised:
            os.lseek(target, 1 << 21, os.SEEK_DATA)
        assert raised.value.errno == errno.ENXIO
        os.close(target)
        os.close(source)

    mounted(check, prepare=prepare)


def test_fallocate_brings_a_lower_file_up_first(mounted):
    def prepare(mount):
        (mount.lower / "file").write_bytes(b"old")

    def check(mount):
        with open(mount.merged / "file", "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, 4096)
        assert (mount.merged / "file").read_bytes() == b"old".ljust(4096, b"\0")
        assert (mount.lower / "file").read_bytes() == b"old"

    mounted(check, prepare=prepare)


def test_without_the_library_programs_fall_back(mounted):
    def check(mount):
        with open(mount.merged / "a", "w+b") as first, open(mount.merged / "b", "w+b") as second:
            first.write(b"x" * 1000)
            first.flush()
            os.posix_fallocate(first.fileno(), 0, 8192)  # the C library writes instead
            assert os.fstat(first.fileno()).st_size == 8192
            assert os.copy_file_range(first.fileno(), second.fileno(), 1000, 0, 0) == 1000  # the kernel splices
            assert os.lseek(first.fileno(), 0, os.SEEK_DATA) == 0  # all of it is data
        assert (mount.merged / "b").read_bytes() == b"x" * 1000

    mounted(check, "plain")


@BOTH
def test_many_files_open_at_once_both_ways(mounted, transport):
    def prepare(mount):
        (mount.lower / "shared").write_bytes(b"lower")

    def check(mount):
        path = mount.merged / "shared"
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(open(path, "rb", buffering=0)) for _ in range(5)]
            writers = [stack.enter_context(open(path, "r+b", buffering=0)) for _ in range(5)]
            writers[0].write(b"UPPER")
            for reader in readers:
                assert reader.read() == b"UPPER"
        with contextlib.ExitStack() as stack:
            handles = [stack.enter_context(open(path, mode, buffering=0)) for mode in ("rb", "r+b", "rb", "ab")]
            handles[3].write(b"+more")
            assert handles[0].read() == b"UPPER+more"

    mounted(check, transport, prepare)
