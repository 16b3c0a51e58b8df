"""Requests that are answered without Python: attributes of files that have none, and ioctls."""

import contextlib
import ctypes
import errno
import fcntl
import os
import random
import signal
import subprocess
import sys
import termios
import time

import pytest

from cowfs.fuse.transport import LEVERS, library

REST = "+".join(name for name in LEVERS if name != "answers")
FILES = 40
CAPABILITY = b"\x01\0\0\x02\0\x04\0\0" + bytes(12)  # cap_net_bind_service, as setcap(8) writes it


def tree(mount) -> None:
    if (mount.lower / "link").is_symlink():
        return
    for number in range(FILES):
        (mount.lower / f"file{number}").write_text("text")
    (mount.lower / "directory").mkdir()
    (mount.lower / "link").symlink_to("file1")
    os.setxattr(mount.lower / "file7", "user.kept", b"value")
    os.setxattr(mount.lower / "file8", "security.capability", CAPABILITY)


def attributes(top) -> dict[str, list[str]]:
    """Of each entry, as podman asks for them; those that it has."""
    found = {}
    for name in sorted(os.listdir(top)):
        path = top / name
        with contextlib.suppress(OSError):
            os.getxattr(path, "security.capability", follow_symlinks=False)
        found[name] = sorted(os.listxattr(path, follow_symlinks=False))
    return {name: names for name, names in found.items() if names}


HAVE_SOME = {"file7": ["user.kept"], "file8": ["security.capability"]}


def asked(mount) -> int:
    calls = mount.requests()
    return calls["getxattr"] + calls["listxattr"]


def test_few_questions_for_attributes_reach_python(mounted):
    def check(mount):
        seen = [attributes(mount.merged) for _ in range(3)]
        assert seen == [HAVE_SOME] * 3
        return {"asked": asked(mount)}

    # The first two, and each time those of the two that have some: of a capability the kernel asks for the size, too.
    assert mounted(check, prepare=tree)["asked"] == 2 + 3 * 5
    assert mounted(check, REST, prepare=tree)["asked"] == 3 * (2 * (FILES + 2) + 1)


def test_a_new_file_is_asked_for_nothing(mounted):
    def check(mount):
        for number in range(10):
            path = mount.merged / f"file{number}"
            path.write_text("text")
            os.chown(path, 1, 1)
        return {"asked": asked(mount)}

    assert mounted(check) == {"asked": 0}


def test_what_gets_an_attribute_has_it_at_once(mounted):
    def check(mount):
        attributes(mount.merged)
        for name in ("file1", "directory"):
            path = mount.merged / name
            os.setxattr(path, "user.new", b"1")
            assert os.listxattr(path) == ["user.new"]
            assert os.getxattr(path, "user.new") == b"1"
            os.removexattr(path, "user.new")
            assert os.listxattr(path) == []
        os.setxattr(mount.merged / "file2", "security.capability", CAPABILITY)
        assert os.getxattr(mount.merged / "file2", "security.capability") == CAPABILITY
        (mount.merged / "file2").write_text("more")  # which takes it off again
        assert os.listxattr(mount.merged / "file2") == []

    mounted(check, prepare=tree)


def test_a_default_acl_is_passed_on_to_what_is_made_later(mounted):
    def check(mount):
        attributes(mount.merged)
        directory = mount.merged / "directory"
        (directory / "before").touch()
        subprocess.run(["setfacl", "-m", "d:u:7:rwx", directory], check=True)
        (directory / "after").touch()
        (directory / "below").mkdir()
        return attributes(directory), os.listxattr(directory)

    access, default = "system.posix_acl_access", "system.posix_acl_default"
    assert mounted(check, prepare=tree) == [{"after": [access], "below": [access, default]}, [default]]


def test_a_name_that_is_used_again_has_what_the_new_file_has(mounted):
    def check(mount):
        attributes(mount.merged)
        other = mount.merged / "other"
        other.touch()
        os.setxattr(other, "user.new", b"1")
        other.rename(mount.merged / "file3")
        assert os.listxattr(mount.merged / "file3") == ["user.new"]
        (mount.merged / "file4").unlink()
        (mount.merged / "file4").touch()
        assert os.listxattr(mount.merged / "file4") == []

    mounted(check, prepare=tree)


@pytest.mark.parametrize("transport", ["auto", REST])
def test_an_ioctl_is_refused(mounted, transport):
    def check(mount):
        with (mount.merged / "file1").open() as file, pytest.raises(OSError) as failure:
            fcntl.ioctl(file, termios.TCGETS, bytes(64))
        return failure.value.errno

    assert mounted(check, transport, prepare=tree) == errno.ENOTTY


_ASKING = "import os, sys\nwhile True: os.listxattr(sys.argv[1])"


def test_a_flood_of_such_questions_does_not_keep_a_mount_from_ending(mounted):
    def check(mount):
        attributes(mount.merged)
        asking = [subprocess.Popen([sys.executable, "-c", _ASKING, mount.merged / "file1"]) for _ in range(2)]
        try:
            mount.requests()
            time.sleep(0.3)
            assert asked(mount) == 0
            os.kill(mount.pid, signal.SIGTERM)
            end = time.monotonic() + 20
            while os.path.ismount(mount.merged):
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            for process in asking:
                process.kill()
                process.wait()

    mounted(check, prepare=tree)


def test_a_request_that_is_taken_back_before_it_is_read_costs_nothing(mounted):
    """Who is killed while his request waits takes it with him: then a read of the device finds nothing."""

    def check(mount):
        attributes(mount.merged)
        for number in range(60):
            asking = [subprocess.Popen([sys.executable, "-c", _ASKING, mount.merged / f"file{n}"]) for n in (1, 7)]
            time.sleep(0.02 + number % 7 / 100)
            for process in asking:
                process.kill()
            for process in asking:
                process.wait()
        return attributes(mount.merged)

    assert mounted(check, prepare=tree) == HAVE_SOME


def test_the_set_of_numbers_is_one():
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    (path,) = (path for path in os.scandir(os.path.dirname(library.__file__)) if path.name.startswith("_library"))
    functions = ctypes.CDLL(path.path)
    ours, expected = library.BareNumbers(functions), set()
    functions.is_bare.argtypes = [ctypes.c_uint64]
    numbers = [chance.getrandbits(chance.choice((6, 12, 48, 64))) or 1 for _ in range(6000)]
    for step in range(40_000):
        number = chance.choice(numbers)
        adds = chance.random() < (0.7 if step < 20_000 else 0.3)
        (ours.add if adds else ours.discard)(number)
        (expected.add if adds else expected.discard)(number)
    assert {number for number in numbers if functions.is_bare(number)} == expected
