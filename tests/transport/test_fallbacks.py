"""What is refused is reported and done without; what a mount costs where nobody uses it."""

import ctypes
import os
import resource
import struct
import time
from pathlib import Path

import pytest

from cowfs.fuse import serve, state
from cowfs.fuse.transport import handshake
from cowfs.fuse.transport.passthrough import Passthrough
from cowfs.options import MountOptions
from tests.transport.conftest import Mount, in_child


def works(mount):
    """Use it; what it reports."""
    path = mount.merged / "file"
    path.write_bytes(b"x" * 5000)
    assert path.read_bytes() == b"x" * 5000
    path.rename(mount.merged / "renamed")
    assert os.listdir(mount.merged) == ["renamed"]
    return state.read(mount.merged)["levers"]


def off(levers):
    return {name: what for name, what in levers.items() if what != "on"}


def test_without_the_library(mounted, monkeypatch):
    def absent():
        raise FileNotFoundError("the C library was not built")

    monkeypatch.setattr(serve, "Library", absent)
    reason = "the C library was not built"
    assert off(mounted(works)) == dict.fromkeys(("passthrough", "listings", "threads", "answers", "extras"), reason)


def test_with_a_kernel_that_offers_too_little(mounted, monkeypatch):
    monkeypatch.setattr(handshake, "_NEEDED", 1 << 63)
    levers = mounted(works)
    assert set(off(levers)) == {"handshake", "waiting", "latency", "passthrough", "answers"}
    assert "kernel is too old" in levers["handshake"]


def test_where_the_kernel_refuses_the_upper(mounted, monkeypatch):
    def refuse(*_arguments):
        raise OSError(40, os.strerror(40))

    monkeypatch.setattr(Passthrough, "probe", refuse)
    levers = mounted(works)
    assert off(levers) == {
        "passthrough": "the kernel refuses it for the upper: Too many levels of symbolic links",
    }


def test_where_the_privilege_ends_with_the_mount(tmp_path, monkeypatch):
    def connect(*arguments, **keywords):
        connection = connect_with_privilege(*arguments, **keywords)
        drop_admin()
        return connection

    connect_with_privilege = handshake.connect
    monkeypatch.setattr(handshake, "connect", connect)

    def work():
        mount = Mount(tmp_path, "auto")
        options = MountOptions(lowers=(mount.lower,), upper=mount.upper, work=tmp_path / "work", userxattr=True)
        mount.pid = serve.start(options, mount.merged, detach=False, log=tmp_path / "log")
        levers = works(mount)
        assert mount.stop() == ""
        return levers

    assert off(in_child(work)) == {
        "passthrough": "the kernel refuses it for the upper: Operation not permitted",
    }


def drop_admin():
    """Take CAP_SYS_ADMIN, as one has it in a user namespace without having it outside."""
    libc = ctypes.CDLL(None)
    header = struct.pack("<Ii", 0x20080522, 0)
    sets = ctypes.create_string_buffer(24)
    assert libc.capget(header, sets) == 0
    low, *others = struct.unpack("<6I", sets.raw)
    assert libc.capset(header, struct.pack("<6I", low & ~(1 << 21), *others)) == 0


@pytest.mark.parametrize("transport", ["auto", "plain"])
def test_an_idle_mount_is_never_woken(mounted, transport):
    def switches(pid):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

    def check(mount):
        works(mount)
        for _ in range(20):  # what the kernel puts off, releases and forgets, may come first
            before = switches(mount.pid)
            time.sleep(1)
            if switches(mount.pid) == before:
                return True
        return False

    assert mounted(check, transport)


def test_more_open_files_than_the_soft_limit(mounted):
    def few(_mount):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))

    def check(mount):
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, most))
        files = [os.open(mount.merged / str(number), os.O_RDWR | os.O_CREAT) for number in range(300)]
        for number, file in enumerate(files):
            os.write(file, b"%d" % number)
            os.close(file)
        assert (mount.merged / "299").read_bytes() == b"299"

    mounted(check, prepare=few)


def test_requests_are_a_mebibyte(mounted):
    def check(mount):
        with open(mount.merged / "file", "wb", buffering=0) as file:
            assert file.write(b"x" * (4 << 20)) == 4 << 20
        return mount.requests()

    assert mounted(check, "handshake")["write"] == 4
