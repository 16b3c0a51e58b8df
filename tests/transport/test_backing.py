"""How the files behind an open file are opened: what was asked of the mount is not asked of the layer as well."""

import os
from pathlib import Path

import pytest

OTHERS = os.O_APPEND | os.O_DIRECT | os.O_SYNC | os.O_DSYNC
CONTENT = b"x" * 8192


def flags_behind(mount) -> list[int]:
    """Of the descriptors that the file system process has of regular files of the layers."""
    found = []
    for fd in Path(f"/proc/{mount.pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except FileNotFoundError:
            continue
        if target.endswith("/file"):
            lines = Path(f"/proc/{mount.pid}/fdinfo/{fd.name}").read_text().splitlines()
            found.append(int(next(line for line in lines if line.startswith("flags:")).split()[1], 8))
    return [flags for flags in found if not flags & os.O_PATH]


@pytest.mark.parametrize("transport", ["auto", "plain"])
@pytest.mark.parametrize("where", ["lower", "upper"])
@pytest.mark.parametrize("asked", ["O_APPEND", "O_SYNC", "O_DSYNC", "O_DIRECT"])
def test_flags_of_the_opener_do_not_reach_the_layers(mounted, asked, where, transport):
    def check(mount):
        file = mount.merged / "file"
        if where == "upper":
            file.write_bytes(CONTENT)
        fd = os.open(file, os.O_RDWR | getattr(os, asked))
        behind = flags_behind(mount)
        assert behind
        assert [flags & OTHERS for flags in behind] == [0] * len(behind)
        if asked == "O_APPEND":
            os.write(fd, b"end")
            os.pwrite(fd, b"more", 0)  # appends, too
            assert [flags & OTHERS for flags in flags_behind(mount)] == [0] * len(behind)
            assert file.read_bytes() == CONTENT + b"endmore"
        os.close(fd)

    mounted(check, transport, prepare=lambda mount: (mount.lower / "file").write_bytes(CONTENT))


@pytest.mark.parametrize("flag", ["O_SYNC", "O_DSYNC"])
def test_a_synchronous_write_is_on_disk_when_it_returns(mounted, flag):
    """Through the cache the kernel asks us for it; in passthrough it does it itself."""

    def check(mount):
        fd = os.open(mount.merged / "file", os.O_WRONLY | getattr(os, flag))
        mount.requests()
        os.write(fd, b"y" * 100)
        requests = mount.requests()
        os.close(fd)
        return dict(requests)

    seen = mounted(check, "plain", prepare=lambda mount: (mount.lower / "file").write_bytes(CONTENT))
    assert (seen["write"], seen["fsync"]) == (1, 1)
