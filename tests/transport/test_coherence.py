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


@BOTH
def test_a_directory_that_changes_while_it_is_read_gives_each_name_that_stays_once(mounted, transport):
    def prepare(mount):
        (mount.lower / "many").mkdir()
        for number in range(3000):
            (mount.lower / "many" / f"old{number}").touch()

    def check(mount):
        many = mount.merged / "many"
        seen = []
        with os.scandir(many) as listing:
            for entry in listing:
                seen.append(entry.name)
                if entry.name.startswith("old") and int(entry.name[3:]) % 2:
                    os.unlink(many / entry.name)
                if len(seen) % 500 == 0:
                    (many / f"new{len(seen)}").touch()
                    os.listdir(many)  # another reader
        assert len(seen) == len(set(seen))
        assert {f"old{number}" for number in range(0, 3000, 2)} <= set(seen)
        assert len(os.listdir(many)) == 1500 + len([name for name in os.listdir(many) if name.startswith("new")])

    mounted(check, transport, prepare)


def test_directories_are_read_without_being_opened(mounted):
    def prepare(mount):
        (mount.lower / "sub").mkdir()
        (mount.lower / "sub" / "file").touch()

    def check(mount):
        os.listdir(mount.merged)  # after the first time the kernel knows
        mount.requests()
        assert os.listdir(mount.merged / "sub") == ["file"]
        first = mount.requests()
        os.listdir(mount.merged / "sub")
        directory = os.open(mount.merged / "sub", os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)
        return first, mount.requests()

    first, second = mounted(check, prepare=prepare)
    assert not {"opendir", "releasedir"} & first.keys()
    assert second.keys() <= {"fsyncdir", "getattr"}  # the time of the last access is asked for once


@pytest.mark.parametrize(("transport", "asked"), [("auto", 0), ("plain", 2)])
def test_fsync_of_a_new_file_needs_no_python_where_the_library_does_it(mounted, transport, asked):
    def check(mount):
        with open(mount.merged / "file", "wb") as file:
            file.write(b"x" * 5000)
            mount.requests()
            os.fsync(file.fileno())
            os.fdatasync(file.fileno())
            return mount.requests()["fsync"]

    assert mounted(check, transport) == asked


def test_a_big_file_is_read_by_big_requests(mounted):
    def prepare(mount):
        (mount.lower / "big").write_bytes(os.urandom(1 << 24))

    def check(mount):
        assert (mount.merged / "big").read_bytes() == (mount.lower / "big").read_bytes()
        return mount.requests()["read"]

    assert mounted(check, prepare=prepare) < 40


def test_capabilities_that_a_new_file_gets_are_seen(mounted):
    capability = bytes.fromhex("0100000200200000000000000000000000000000")

    def check(mount):
        path = mount.merged / "file"
        path.write_bytes(b"x")
        mount.requests()
        os.setxattr(path, "security.capability", capability)
        assert os.getxattr(path, "security.capability") == capability
        path.write_bytes(b"y")
        with pytest.raises(OSError, match="No data"):
            os.getxattr(path, "security.capability")

    mounted(check)
