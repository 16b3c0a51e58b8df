"""I01: an upper that somebody filled to hurt whoever looks at it. All of it is listed, and nothing else is touched."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from cowfs.cli.diffs.render import line
from cowfs.errors import NotFound, StoreError
from cowfs.runs.changes import Change, ChangeClass, Difference
from cowfs.runs.scan import scan
from cowfs.runs.trees import base_of, left_by, regular_file

DEPTH = 5000


def mark(path: Path, name: str, value: bytes) -> None:
    os.setxattr(path, f"trusted.overlay.{name}", value, follow_symlinks=False)


def deep(top: Path, depth: int) -> None:
    """Directories within directories, beyond any PATH_MAX, with a file in each."""
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        fd = below
    os.close(fd)


def flatten(top: Path) -> None:
    """Remove what ``deep`` made: pytest's own removal is recursive."""
    while (top / "d").exists():
        below = top / "d" / "d"
        if below.exists():
            below.rename(top / "next")
        (top / "d" / "f").unlink(missing_ok=True)
        (top / "d").rmdir()
        if (top / "next").exists():
            (top / "next").rename(top / "d")


def changes_of(scene: Any) -> dict[bytes, Change]:
    return {change.path: change for change in scene.changes()}


def test_i01_depth(scene: Any) -> None:
    deep(scene.upper, DEPTH)
    try:
        found = scene.changes()
        assert len(found) == 2 * DEPTH
        assert max(change.path.count(b"/") for change in found) == DEPTH
        assert {change.change for change in found} == {ChangeClass.ADDED}
    finally:
        flatten(scene.upper)


def test_i01_depth_on_both_sides(scene: Any) -> None:
    deep(scene.lower, DEPTH // 2)
    deep(scene.upper, DEPTH // 2)
    try:
        assert {change.change for change in scene.changes()} <= {ChangeClass.TOUCHED, ChangeClass.IDENTICAL}
    finally:
        flatten(scene.lower)
        flatten(scene.upper)


def test_i01_names(scene: Any) -> None:
    names = [b"\x1b]0;owned\x07", b"two\nlines", "\u202egnp.exe".encode(), b"\xff\xfe", b"-rf", b"a" * 255, b" ", b"\\"]
    for name in names:
        (scene.upper / os.fsdecode(name)).touch()
    assert set(changes_of(scene)) == {b"/" + name for name in names}
    shown = scene.lines()
    assert len(shown) == len(names)
    assert all(text.isprintable() for text in shown)


def test_i01_special_files_are_not_opened(scene: Any) -> None:
    os.mkfifo(scene.upper / "fifo")
    os.mknod(scene.upper / "full", 0o20666, os.makedev(1, 7))
    os.mknod(scene.upper / "disk", 0o60666, os.makedev(8, 0))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(scene.upper / "socket"))
    found = changes_of(scene)
    assert {path: change.kind.value for path, change in found.items()} == {
        b"/fifo": "fifo",
        b"/full": "char",
        b"/disk": "block",
        b"/socket": "socket",
    }


def test_i01_a_huge_sparse_file_costs_what_it_holds(scene: Any) -> None:
    for directory in (scene.lower, scene.upper):
        with open(directory / "sparse", "wb") as file:
            file.truncate(1 << 43)
            file.seek(1 << 40)
            file.write(b"same")
    os.utime(scene.lower / "sparse", (1, 1))
    assert changes_of(scene)[b"/sparse"].change is ChangeClass.TOUCHED
    with open(scene.upper / "sparse", "r+b") as file:
        file.seek(1 << 41)
        file.write(b"more")
    assert changes_of(scene)[b"/sparse"].change is ChangeClass.MODIFIED


def test_i01_links_are_not_followed(scene: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "canary").write_text("canary")
    (scene.lower / "file").write_text("canary")
    (scene.lower / "dir").mkdir()
    (scene.lower / "dir" / "inner").touch()
    (scene.upper / "file").symlink_to(outside / "canary")
    (scene.upper / "dir").symlink_to(outside)
    (scene.upper / "magic").symlink_to("/proc/self/root")
    accessed = (outside / "canary").stat().st_atime_ns
    found = changes_of(scene)
    assert {path: change.change.value for path, change in found.items()} == {
        b"/file": "replaced",
        b"/dir": "replaced",
        b"/magic": "added",
    }
    assert found[b"/dir"].after is not None
    assert found[b"/dir"].after.target == os.fsencode(outside)
    with left_by(scene.run) as tree:
        for path in (b"/file", b"/dir/canary", b"/magic/etc/passwd"):
            with pytest.raises(NotFound):
                regular_file(tree, path)
    assert (outside / "canary").stat().st_atime_ns == accessed


def test_i01_an_upper_that_is_a_link_is_refused(scene: Any, tmp_path: Path) -> None:
    scene.upper.rmdir()
    (tmp_path / "outside").mkdir()
    scene.upper.symlink_to(tmp_path / "outside")
    with pytest.raises(StoreError):
        scene.changes()


REDIRECTS = [
    b"/..",
    b"/../outside",
    b"..",
    b"../outside",
    b"/",
    b"",
    b"/dir\0x",
    b"/" + b"a/" * 1500 + b"a",
    b"/dir/",
    b"//dir",
    b"/./dir",
    b"a" * 300,
    b"/\xff",
]


@pytest.mark.parametrize("redirect", REDIRECTS)
def test_i01_redirects_that_lead_nowhere(scene: Any, tmp_path: Path, redirect: bytes) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").touch()
    (scene.lower / "dir").mkdir()
    (scene.upper / "made").mkdir()
    (scene.upper / "made" / "inner").touch()
    mark(scene.upper / "made", "redirect", redirect)
    found = changes_of(scene)
    assert set(found) == {b"/made", b"/made/inner"}
    assert found[b"/made/inner"].change is ChangeClass.ADDED


def test_i01_redirects_in_a_circle(scene: Any) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (scene.lower / name).mkdir()
        (scene.lower / name / f"in-{name}").touch()
        (scene.upper / name).mkdir()
        mark(scene.upper / name, "redirect", f"/{other}".encode())
    inner = scene.upper / "a" / "x"
    inner.mkdir()
    mark(inner, "redirect", b"/a")
    assert {change.change for change in scene.changes()} == {ChangeClass.RENAMED}


def test_i01_marks_with_nonsense(scene: Any) -> None:
    (scene.lower / "f").write_text("data")
    (scene.upper / "f").write_text("data")
    (scene.upper / "lone").write_text("\0" * 10)
    mark(scene.upper / "lone", "metacopy", b"")
    for name, value in {
        "origin": b"\xff" * 40,
        "nlink": b"U999999999999999999999x",
        "opaque": b"z",
        "impure": b"\0",
    }.items():
        mark(scene.upper / "f", name, value)
    found = changes_of(scene)
    assert found[b"/f"].change in (ChangeClass.TOUCHED, ChangeClass.IDENTICAL)
    assert found[b"/lone"].change is ChangeClass.ADDED


def test_i01_an_entry_that_vanishes_meanwhile_is_left_out(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (scene.upper / "stays").touch()
    (scene.upper / "goes").mkdir()
    (scene.upper / "goes" / "inner").touch()
    from cowfs.layers.directory import Directory

    listing = Directory.list

    def list_then_remove(directory: Directory) -> Any:
        entries = list(listing(directory))
        if directory.name == b"goes":
            (scene.upper / "goes" / "inner").unlink()
        return entries

    monkeypatch.setattr(Directory, "list", list_then_remove)
    assert set(changes_of(scene)) == {b"/stays", b"/goes"}


def test_the_scan_changes_nothing(scene: Any) -> None:
    scene.base("mkdir d; echo f >d/f; echo g >g")
    scene.change("echo more >>d/f; echo g >g; rm -r d; mkdir d")

    def state() -> list[tuple[str, int, int, int]]:
        paths = [scene.upper, *scene.upper.rglob("*"), scene.lower, *scene.lower.rglob("*")]
        states = [(str(path), path.lstat()) for path in paths]
        return [(path, s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns) for path, s in states]

    for path in [scene.upper, *scene.upper.rglob("*")]:
        os.utime(path, (1, 1))  # an old access time, so that relatime would set a new one
    before = state()
    with base_of(scene.run) as tree:
        assert scan(scene.run, tree)
    assert state() == before


def test_a_live_base_that_is_newer_than_the_run_is_told(scene: Any) -> None:
    scene.base("echo a >a; echo b >b")
    scene.change("echo A >a; rm b")
    scene.host = True
    scene.started = 4e9
    assert not any(change.base_changed for change in scene.changes())
    scene.started = 1e9
    assert scene.lines() == ["M /a (the base is newer than the run)", "D /b (the base is newer than the run)"]


def test_hidden_directories_of_the_base_are_empty(scene: Any) -> None:
    scene.base("mkdir store; echo secret >store/secret; mkdir other")
    (scene.upper / "store").mkdir()
    (scene.upper / "store" / "secret").write_text("new")
    scene.hidden = (scene.lower / "store",)
    found = changes_of(scene)
    assert found[b"/store/secret"].change is ChangeClass.ADDED


def test_several_lowers_are_one_base(scene: Any, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    top.chmod(0o755)
    scene.lowers.insert(0, top)
    scene.base("mkdir d gone; echo low >d/f; echo low >d/g; echo low >gone/f")
    (top / "d").mkdir()
    (top / "d").chmod(0o755)
    (top / "d" / "f").write_text("top\n")
    os.mknod(top / "gone", 0o20000, 0)
    scene.change("echo low >d/f; echo low >d/g; mkdir gone; echo low >gone/f")
    assert {path: change.change.value for path, change in changes_of(scene).items()} == {
        b"/d/f": "modified",
        b"/d/g": "touched",
        b"/gone": "added",
        b"/gone/f": "added",
    }


def test_a_file_of_equal_size_is_read_to_its_end(scene: Any) -> None:
    size = (1 << 20) * 3 + 17
    (scene.lower / "f").write_bytes(bytes(size))
    (scene.upper / "f").write_bytes(bytes(size - 1) + b"x")
    change = changes_of(scene)[b"/f"]
    assert Difference.CONTENT in change.differs
    assert line(change) == "M /f"
