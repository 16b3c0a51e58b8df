"""fallocate, lseek, copy_file_range: what they do to files not in the upper yet, and whom they keep waiting."""

import ctypes
import os
import threading
import time

import pytest

from cowfs.layers import data

LIBC = ctypes.CDLL(None, use_errno=True)
PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE = 2, 1, 16
BIG = 3 << 20  # more than what is copied while others wait


def fallocate(descriptor, mode, offset, length):
    if LIBC.fallocate(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@pytest.fixture
def gate(tmp_path, monkeypatch):
    """Copies of file data begin when the returned path exists."""
    path = tmp_path / "gate"
    copy, copy_ranges = data.copy, data.copy_ranges

    def wait():
        for _ in range(2000):
            if path.exists():
                return
            time.sleep(0.005)

    monkeypatch.setattr(data, "copy", lambda *a: (wait(), copy(*a))[1])
    monkeypatch.setattr(data, "copy_ranges", lambda *a: (wait(), copy_ranges(*a))[1])
    return path


@pytest.mark.parametrize("mode", [0, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE])
def test_fallocate_of_a_big_lower_file_keeps_nobody_waiting(mounted, gate, mode):
    def prepare(mount):
        (mount.lower / "big").write_bytes(b"b" * BIG)
        (mount.lower / "other").write_bytes(b"other")

    def check(mount):
        descriptor = os.open(mount.merged / "big", os.O_RDWR)
        allocating = threading.Thread(target=fallocate, args=(descriptor, mode, 0, 4096))
        allocating.start()
        (mount.merged / "new").write_bytes(b"new")
        assert (mount.merged / "other").read_bytes() == b"other"
        assert allocating.is_alive()
        gate.touch()
        allocating.join()
        expected = b"b" * 4096 if mode == 0 else bytes(4096)
        assert os.pread(descriptor, 4096, 0) == expected
        assert os.pread(descriptor, BIG, 4096) == b"b" * (BIG - 4096)
        os.close(descriptor)
        assert (mount.lower / "big").read_bytes() == b"b" * BIG

    mounted(check, prepare=prepare)


def test_copy_file_range_into_a_big_lower_file(mounted, gate):
    gate.touch()

    def prepare(mount):
        (mount.lower / "big").write_bytes(b"b" * BIG)
        (mount.lower / "source").write_bytes(b"s" * 8192)

    def check(mount):
        with open(mount.merged / "big", "r+b") as big, open(mount.merged / "source", "rb") as source:
            assert os.copy_file_range(source.fileno(), big.fileno(), 8192, 0, 4096) == 8192
            assert os.copy_file_range(source.fileno(), big.fileno(), 8192, 8192, 0) == 0  # the source's end
        expected = b"b" * 4096 + b"s" * 8192 + b"b" * (BIG - 12288)
        assert (mount.merged / "big").read_bytes() == expected
        assert (mount.lower / "big").read_bytes() == b"b" * BIG

    mounted(check, prepare=prepare)


def test_what_fails_says_why(mounted):
    def check(mount):
        with open(mount.merged / "file", "w+b") as file:
            with pytest.raises(OSError, match="not supported"):
                fallocate(file.fileno(), 1 << 30, 0, 4096)
            with pytest.raises(OSError, match="too large"):
                fallocate(file.fileno(), 0, (1 << 62), 1 << 62)
        assert (mount.merged / "file").stat().st_size == 0

    mounted(check)


def test_holes_of_a_lower_file_are_found_and_cp_keeps_them(mounted):
    def prepare(mount):
        with open(mount.lower / "sparse", "wb") as file:
            file.truncate(8 << 20)
            file.seek(4 << 20)
            file.write(b"data")

    def check(mount):
        with open(mount.merged / "sparse", "rb") as file:
            assert os.lseek(file.fileno(), 0, os.SEEK_DATA) == 4 << 20
            assert os.lseek(file.fileno(), 4 << 20, os.SEEK_HOLE) < 5 << 20
        assert os.spawnlp(os.P_WAIT, "cp", "cp", "--sparse=auto", mount.merged / "sparse", mount.merged / "copy") == 0
        assert (mount.merged / "copy").stat().st_blocks < 100
        assert (mount.merged / "copy").read_bytes() == (mount.lower / "sparse").read_bytes()

    mounted(check, prepare=prepare)
