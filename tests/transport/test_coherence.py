"""What one program writes another sees at once, however each of them has the file open."""

import mmap
import os

import pytest

BOTH = pytest.mark.parametrize("transport", ["auto", "plain"])


@BOTH
def test_a_write_through_a_mapping_moves_the_time_that_stat_shows(mounted, transport):
    def check(mount):
        path = mount.merged / "file"
        with open(path, "w+b") as file:
            file.truncate(8192)
            with mmap.mmap(file.fileno(), 8192) as mapped:
                os.utime(path, (1, 1))
                assert path.stat().st_mtime == 1
                mapped[:4] = b"abcd"
                mapped.flush()
                assert path.stat().st_mtime > 1
            os.utime(path, (1, 1))
        assert path.stat().st_mtime == 1
        assert (mount.upper / "file").read_bytes()[:4] == b"abcd"

    mounted(check, transport)


def test_attributes_of_a_file_that_no_mapping_can_change_are_kept(mounted):
    def check(mount):
        path = mount.merged / "file"
        with open(path, "wb") as file:
            file.write(b"x")
            file.flush()
            os.fchmod(file.fileno(), 0o600)
            mount.requests()
            for _ in range(10):
                path.stat()
            return mount.requests()

    assert sum(mounted(check).values()) <= 1


@BOTH
def test_size_and_content_follow_whoever_wrote_last(mounted, transport):
    def prepare(mount):
        (mount.lower / "file").write_bytes(b"lower")

    def check(mount):
        path = mount.merged / "file"
        with open(path, "rb", buffering=0) as before:  # cached: the data is in the lower
            assert before.read() == b"lower"
            with open(path, "ab", buffering=0) as writer:
                writer.write(b"+1")
                assert os.fstat(before.fileno()).st_size == path.stat().st_size == 7
        path.write_bytes(b"whole")  # in passthrough, where the kernel can: past what it had cached
        assert path.read_bytes() == b"whole"
        with open(path, "rb", buffering=0) as reader, open(path, "r+b", buffering=0) as writer:
            writer.write(b"W")
            writer.truncate(3)
            assert os.pread(reader.fileno(), 10, 0) == b"Who"
            assert os.fstat(reader.fileno()).st_size == 3

    mounted(check, transport, prepare)


@BOTH
def test_setuid_goes_when_a_stranger_writes(mounted, transport):
    """Whoever had the file open first, and whenever the bit was set; the kernel's own copy of the mode, too."""

    def check(mount):
        path = mount.merged / "file"
        path.write_bytes(b"x" * 10)
        os.chmod(path, 0o4777)
        with open(path, "rb"):
            writes_as_stranger(path)
        assert path.stat().st_mode & 0o7777 == 0o777
        assert (mount.upper / "file").stat().st_mode & 0o7777 == 0o777
        os.chmod(path, 0o4777)
        with open(path, "r+b") as ours:
            ours.write(b"y")  # root's writes leave it
        assert path.stat().st_mode & 0o7777 == 0o4777
        writes_as_stranger(path)
        assert path.stat().st_mode & 0o7777 == 0o777

    mounted(check, transport)


def writes_as_stranger(path):
    """In a child without privileges, through a handle of its own."""
    descriptor_of_directory = os.open(path.parent, os.O_PATH)  # pytest's directories are closed to strangers
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.setgid(65534)
            os.setuid(65534)
            descriptor = os.open(path.name, os.O_RDWR, dir_fd=descriptor_of_directory)
            status = 0 if os.pwrite(descriptor, b"z", 0) == 1 else 1
        finally:
            os._exit(status)
    os.close(descriptor_of_directory)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
