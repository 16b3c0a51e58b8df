"""Reads and last closes that threads of the library's own do."""

import os
import threading
from pathlib import Path

from cowfs.fuse.transport import LEVERS

SIZE = 8 << 20
REST = "+".join(name for name in LEVERS if name != "threads")


def pattern(size: int) -> bytes:
    return b"".join(b"%015d\n" % number for number in range(size // 16))


def big_lower(mount) -> None:
    (mount.lower / "big").write_bytes(pattern(SIZE))
    (mount.lower / "small").write_bytes(pattern(SIZE)[:10_001])


def test_reads_of_lower_files_need_no_python(mounted):
    def check(mount):
        for name in ("big", "small"):
            assert (mount.merged / name).read_bytes() == (mount.lower / name).read_bytes()
        file = os.open(mount.merged / "small", os.O_RDONLY)
        assert os.pread(file, 100, 9_990) == (mount.lower / "small").read_bytes()[9_990:]
        assert os.pread(file, 100, 20_000) == b""
        os.close(file)
        return mount.requests()["read"]

    assert mounted(check, prepare=big_lower) == 0
    assert mounted(check, REST, prepare=big_lower) > 0


def test_a_file_that_nobody_has_in_memory_is_read_from_the_disk(mounted):
    def check(mount):
        file = os.open(mount.lower / "big", os.O_RDONLY)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
        assert (mount.merged / "big").read_bytes() == pattern(SIZE)
        return mount.requests()["read"]

    assert mounted(check, prepare=big_lower) == 0


def test_a_file_that_is_written_in_part_while_it_is_read_has_no_holes(mounted):
    """The descriptor's file changes under the readers, to one that has the written parts only."""

    expected = bytearray(pattern(SIZE))
    expected[:5] = b"first"

    def prepare(mount):
        for number in range(10):
            (mount.lower / f"big{number}").write_bytes(pattern(SIZE))

    def check(mount):
        for number in range(10):
            file, seen = mount.merged / f"big{number}", []
            readers = [threading.Thread(target=lambda: seen.append(file.read_bytes())) for _ in range(3)]  # noqa: B023
            for reader in readers:
                reader.start()
            with open(file, "r+b", buffering=0) as writer:
                writer.write(b"first")
            for reader in readers:
                reader.join()
            assert [data[5:] == expected[5:] for data in seen] == [True] * 3
            assert file.read_bytes() == expected

    mounted(check, prepare=prepare)


def test_descriptors_of_removed_files_are_closed(mounted):
    def check(mount):
        def removed() -> list[str]:
            found = []
            for entry in Path(f"/proc/{mount.pid}/fd").iterdir():
                try:
                    target = os.readlink(entry)
                except FileNotFoundError:
                    continue
                if target.endswith("(deleted)") and "/upper/" in target:
                    found.append(target)
            return found

        for number in range(200):
            (mount.merged / f"f{number}").write_bytes(b"x" * 5_000)
        open_one = os.open(mount.merged / "f0", os.O_RDONLY)
        for number in range(200):
            os.unlink(mount.merged / f"f{number}")
        os.sync()
        for _ in range(100):
            if len(removed()) <= 2:  # the open one: its handle, and what keeps it
                break
            os.stat(mount.merged)
            threading.Event().wait(0.05)
        assert os.pread(open_one, 10, 0) == b"x" * 10
        os.close(open_one)
        for _ in range(100):
            if not removed():
                break
            threading.Event().wait(0.05)
        assert removed() == []

    mounted(check)
    mounted(check, "plain")
