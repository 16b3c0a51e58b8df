"""Big files are copied up by what is written to them: against a plain file, and what is on disk."""

import contextlib
import os
import random

import pytest

from cowfs.options import MountOptions
from cowfs.overlay import Changes, Overlay

SIZE = 300_000
PARTIAL = "trusted.overlay.partial"


@pytest.fixture
def mount(tmp_path, monkeypatch):
    monkeypatch.setattr(Overlay, "partial_from", 10_000)
    for name in ("lower", "upper", "work"):
        (tmp_path / name).mkdir()
    content = random.Random(1).randbytes(SIZE)
    (tmp_path / "lower" / "big").write_bytes(content)
    (tmp_path / "plain").write_bytes(content)
    opened = []

    def again(crash=False):
        if opened:
            if crash:  # nobody had the time to make anything whole
                monkeypatch.setattr(Overlay, "_make_all_whole", lambda *_: None)
            opened.pop().close()
            monkeypatch.undo()
            monkeypatch.setattr(Overlay, "partial_from", 10_000)
        layers = {"upper": tmp_path / "upper", "work": tmp_path / "work"}
        opened.append(Overlay(MountOptions(lowers=(tmp_path / "lower",), **layers)))
        return opened[0]

    yield again
    opened.pop().close()


@contextlib.contextmanager
def handle(overlay, flags=os.O_RDWR):
    opened = overlay.open(overlay.walk(b"/big"), flags)
    yield opened
    overlay.release(opened)


def content(overlay):
    with handle(overlay, os.O_RDONLY) as reader:
        return overlay.read(reader, 0, 10 * SIZE)


def allocated(path):
    return os.stat(path).st_blocks * 512


def test_the_first_write_brings_what_it_writes(mount, tmp_path):
    overlay = mount()
    with handle(overlay) as writer:
        overlay.write(writer, 100_001, b"new")
    assert allocated(tmp_path / "upper" / "big") <= 3 * 4096
    expected = bytearray((tmp_path / "plain").read_bytes())
    expected[100_001:100_004] = b"new"
    assert content(overlay) == expected


def test_a_reader_from_before_sees_the_parts(mount):
    overlay = mount()
    with handle(overlay, os.O_RDONLY) as reader, handle(overlay) as writer:
        before = overlay.read(reader, 5000, 100)
        overlay.write(writer, 5050, b"!")
        assert overlay.read(reader, 5000, 100) == before[:50] + b"!" + before[51:]


def test_the_end_of_the_mount_makes_it_whole(mount, tmp_path):
    overlay = mount()
    with handle(overlay) as writer:
        overlay.write(writer, 7, b"new")
    node = overlay.walk(b"/big")
    overlay.setattr(node, Changes(mtime_ns=10**18))
    expected = content(overlay)
    mount()
    assert (tmp_path / "upper" / "big").read_bytes() == expected
    assert (tmp_path / "upper" / "big").stat().st_mtime_ns == 10**18
    assert not {PARTIAL, "trusted.overlay.metacopy"} & set(os.listxattr(tmp_path / "upper" / "big"))


def test_a_kill_loses_nothing(mount, tmp_path):
    overlay = mount()
    with handle(overlay) as writer:
        overlay.write(writer, 50_000, b"x" * 10_000)
        overlay.write(writer, SIZE + 5, b"end")
    overlay.truncate(overlay.walk(b"/big"), SIZE - 7)
    overlay.truncate(overlay.walk(b"/big"), SIZE + 100)
    expected = content(overlay)
    assert expected[-107:] == b"\0" * 107
    assert content(mount(crash=True)) == expected
    assert PARTIAL in os.listxattr(tmp_path / "upper" / "big")
    assert content(mount()) == expected


def test_a_read_only_mount_reads_the_parts(mount, tmp_path):
    overlay = mount()
    with handle(overlay) as writer:
        overlay.write(writer, 50_000, b"x" * 10_000)
    expected = content(overlay)
    mount(crash=True)
    looked_at = Overlay(MountOptions(lowers=(tmp_path / "upper", tmp_path / "lower")))
    assert content(looked_at) == expected
    looked_at.close()


@pytest.mark.parametrize("change", ["mode", "data"])
def test_a_layer_that_has_parts_is_copied_up_whole(mount, tmp_path, change):
    overlay = mount()
    with handle(overlay) as writer:
        overlay.write(writer, 50_000, b"x" * 10_000)
    expected = bytearray(content(overlay))
    mount(crash=True)
    for name in ("upper2", "work2"):
        (tmp_path / name).mkdir()
    lowers = (tmp_path / "upper", tmp_path / "lower")
    above = Overlay(MountOptions(lowers=lowers, upper=tmp_path / "upper2", work=tmp_path / "work2"))
    if change == "mode":
        above.setattr(above.walk(b"/big"), Changes(mode=0o600))
    else:
        with handle(above) as writer:
            above.write(writer, 5, b"new")
            expected[5:8] = b"new"
            assert above.read(writer, 0, SIZE) == expected
    assert content(above) == expected
    above.close()
    assert (tmp_path / "upper2" / "big").read_bytes() == expected


def test_reading_a_layer_that_has_parts_changes_nothing(mount, tmp_path):
    overlay = mount()
    with handle(overlay) as writer:
        overlay.write(writer, 50_000, b"x" * 10_000)
    expected = content(overlay)
    mount(crash=True)
    for name in ("upper2", "work2"):
        (tmp_path / name).mkdir()
    lowers = (tmp_path / "upper", tmp_path / "lower")
    above = Overlay(MountOptions(lowers=lowers, upper=tmp_path / "upper2", work=tmp_path / "work2"))
    above.walk(b"/big").lookups += 1
    assert content(above) == expected
    above.close()
    assert os.listdir(tmp_path / "upper2") == []


def test_what_a_kill_left_is_made_whole_by_the_next_mount_though_nobody_looks(mount, tmp_path):
    overlay = mount()
    overlay.mkdir(overlay.root, b"dir", 0o755)
    with handle(overlay) as writer:
        overlay.write(writer, 50_000, b"x" * 10_000)
    expected = content(overlay)
    overlay.rename(overlay.root, b"big", overlay.walk(b"/dir"), b"moved")
    mount(crash=True)
    assert os.path.exists(tmp_path / "work" / "parts")
    mount()
    assert (tmp_path / "upper" / "dir" / "moved").read_bytes() == expected
    assert not os.path.exists(tmp_path / "work" / "parts")


def test_writing_all_of_it_makes_it_an_ordinary_file(mount, tmp_path):
    overlay = mount()
    with handle(overlay) as writer:
        for offset in range(0, SIZE, 50_000):
            overlay.write(writer, offset, b"n" * 50_000)
        assert overlay.walk(b"/big").partial is None
        assert overlay.read(writer, SIZE - 1, 2) == b"n"
    assert (tmp_path / "upper" / "big").read_bytes() == b"n" * SIZE


def test_a_name_that_goes_and_one_that_moves(mount):
    overlay = mount()
    with handle(overlay) as writer:
        overlay.write(writer, 9, b"new")
        expected = overlay.read(writer, 0, SIZE)
        overlay.rename(overlay.root, b"big", overlay.root, b"moved")
        overlay.link(overlay.walk(b"/moved"), overlay.root, b"linked")
        overlay.unlink(overlay.root, b"moved")
        overlay.write(writer, 10, b"E")
        expected = expected[:10] + b"E" + expected[11:]
        assert overlay.read(writer, 0, SIZE) == expected
    overlay = mount()
    reader = overlay.open(overlay.walk(b"/linked"), os.O_RDONLY)
    assert overlay.read(reader, 0, SIZE) == expected
    overlay.release(reader)


@pytest.mark.parametrize("seed", range(8))
def test_random_operations_agree_with_a_plain_file(mount, tmp_path, seed):
    print("seed", seed)
    rng = random.Random(seed)
    overlay = mount()
    plain = os.open(tmp_path / "plain", os.O_RDWR)
    for _ in range(60):
        offset, size = rng.randrange(SIZE + 20_000), rng.choice([1, 100, 4096, 5000, 60_000])
        what = rng.choice(["write", "write", "write", "read", "read", "truncate", "remount", "crash"])
        if what == "write":
            data = rng.randbytes(size)
            with handle(overlay) as writer:
                assert overlay.write(writer, offset, data) == os.pwrite(plain, data, offset) == size
        elif what == "read":
            with handle(overlay, os.O_RDONLY) as reader:
                assert overlay.read(reader, offset, size) == os.pread(plain, size, offset)
        elif what == "truncate":
            overlay.truncate(overlay.walk(b"/big"), offset)
            os.ftruncate(plain, offset)
        else:
            overlay = mount(crash=what == "crash")
        assert content(overlay) == (tmp_path / "plain").read_bytes()
    os.close(plain)
