"""Mounts whose upper is on a stacked file system, and mounts that others are stacked on."""

import ctypes
import os

import pytest

from cowfs.fuse import state
from tests.transport.conftest import Mount, in_child

LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, data=""):
    if LIBC.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(0), data.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fspath(target))


def overlayfs(top, lower):
    """The kernel's overlayfs over ``lower``, writable; on a tmpfs, for it does not take every file system's upper."""
    top.mkdir()
    mount("none", top, "tmpfs")
    for name in ("upper", "work", "merged"):
        (top / name).mkdir()
    options = f"lowerdir={lower},upperdir={top}/upper,workdir={top}/work"
    mount("overlay", top / "merged", "overlay", options)
    return top / "merged"


def use(mounted):
    """Write through one mount and read again: what its transport says, and how often it was asked for data."""
    mounted.requests()
    (mounted.merged / "file").write_bytes(b"x" * 5000)
    assert (mounted.merged / "file").read_bytes() == b"x" * 5000
    assert (mounted.upper / "file").read_bytes() == b"x" * 5000
    requests = mounted.requests()
    return state.read(mounted.merged)["levers"]["passthrough"], requests["read"] + requests["write"]


def test_an_upper_on_overlayfs(tmp_path):
    def work():
        (tmp_path / "below").mkdir()
        top = overlayfs(tmp_path / "overlay", tmp_path / "below")
        mounted = Mount(top, "auto")
        mounted.start()
        said = use(mounted)
        mounted.stop()
        return said

    assert in_child(work) == ["on", 0]


@pytest.mark.parametrize("transport", ["auto", "plain"])
def test_one_mount_on_another(tmp_path, transport):
    def work():
        outer = Mount(tmp_path, "auto")
        outer.start()
        (outer.merged / "inner").mkdir()
        inner = Mount(outer.merged / "inner", transport)
        inner.start()
        said = use(inner)
        inner.stop()
        (outer.merged / "after").write_bytes(b"still there")
        outer.stop()
        assert (tmp_path / "upper/inner/upper/file").read_bytes() == b"x" * 5000
        return said

    assert in_child(work) == (["on", 0] if transport == "auto" else ["switched off", 2])


def test_overlayfs_on_a_mount(tmp_path):
    def work():
        mounted = Mount(tmp_path, "auto")
        mounted.lower.joinpath("lower").write_bytes(b"lower")
        mounted.start()
        (mounted.merged / "file").write_bytes(b"ours")
        top = overlayfs(tmp_path / "overlay", mounted.merged)
        assert (top / "lower").read_bytes() == b"lower"
        (top / "file").write_bytes(b"its own")
        assert (mounted.merged / "file").read_bytes() == b"ours"
        LIBC.umount2(os.fsencode(top), 0)
        mounted.stop()

    in_child(work)
