"""Owners that are shifted, squashed, or kept in an attribute: as fuse-overlayfs shows and stores them."""

import os
import stat
import subprocess
import sys

import pytest

BOTH = ("cowfs-overlay", "fuse-overlayfs")
RANGES = "0:1000:1:1:110000:65536"
USER, SECURITY = "user.fuseoverlayfs.override_stat", "security.fuseoverlayfs.override_stat"
CONTAINERS = "user.containers.override_stat"


def owners(root):
    """Mode and owner of every path, the root's too; what fuse-overlayfs leaves in opaque directories is left out."""
    paths = [root, *sorted(path for path in root.rglob("*") if not path.name.startswith(".wh."))]
    return {
        os.fspath(path.relative_to(root)): (oct(path.lstat().st_mode), path.lstat().st_uid, path.lstat().st_gid)
        for path in paths
    }


def act(uid: int, code: str, root) -> None:
    """Run a line of Python as somebody, in ``root``."""
    words = [sys.executable, "-c", f"import os; os.umask(0o022); {code}"]
    subprocess.run(words, cwd=root, user=uid, group=uid, extra_groups=[], check=True, timeout=60)


def owned_base(container):
    base = container.lower("base")
    for name, owner in (("root", 0), ("one", 1), ("last", 65536), ("beyond", 70000)):
        (base / name).touch()
        os.chown(base / name, owner, owner)
    (base / "link").symlink_to("root")
    os.chown(base / "link", 7, 8, follow_symlinks=False)
    (base / "directory").mkdir()
    os.chown(base / "directory", 4, 4)


@pytest.mark.parametrize(
    "options",
    [
        (f"uidmapping={RANGES}", f"gidmapping={RANGES}"),
        (f"uidmapping=:{RANGES}", "squash_to_gid=9"),
        ("squash_to_root",),
        ("squash_to_root", "squash_to_uid=5"),
        ("uidmapping=0:10:5:2:20:1",),
    ],
    ids=lambda words: "+".join(word.split("=")[0] + str(len(word)) for word in words),
)
def test_owners_are_shown_as_fuse_overlayfs_shows_them(scene, options):
    shown = {}
    for program in BOTH:
        container = scene(program)
        owned_base(container)
        container.mount(program, *options)
        shown[program] = owners(container.merged)
    assert shown["cowfs-overlay"] == shown["fuse-overlayfs"]


def test_owners_are_stored_as_fuse_overlayfs_stores_them(scene):
    seen = {}
    for program in BOTH:
        container = scene(program)
        owned_base(container)
        container.mount(program, f"uidmapping={RANGES}", f"gidmapping={RANGES}")
        act(
            1000, "open('mine', 'w'); os.mkdir('here'); os.symlink('x', 'pointer'); os.mkfifo('fifo')", container.merged
        )
        act(110003, "open('directory/file', 'w')", container.merged)
        os.chown(container.merged / "root", 110004, 110005)
        os.chown(container.merged / "one", 110006, -1)
        os.chmod(container.merged / "last", 0o600)
        seen[program] = owners(container.merged), owners(container.upper)
    assert seen["cowfs-overlay"] == seen["fuse-overlayfs"]
    assert seen["cowfs-overlay"][1]["directory/file"][1:] == (4, 4)
    assert seen["cowfs-overlay"][1]["root"][1:] == (5, 6)


def kept(upper, name):
    """What the attribute says of every file and directory."""
    paths = [upper, *sorted(path for path in upper.rglob("*") if not path.name.startswith(".wh."))]
    return {
        os.fspath(path.relative_to(upper)): os.getxattr(path, name, follow_symlinks=False)
        for path in paths
        if not path.is_symlink() and (path.is_dir() or path.is_file())
    }


def change(root):
    (root / "new").write_text("new\n")
    os.chmod(root / "new", 0o640)
    os.chown(root / "new", 12, 13)
    (root / "made").mkdir(mode=0o711)
    os.chmod(root / "one", 0o4711)
    os.chown(root / "directory", 20, 21)
    act(4, "pass", root)
    (root / "root").write_text("changed\n")
    (root / "linked").hardlink_to(root / "new")


@pytest.mark.parametrize(("number", "name"), [(1, SECURITY), (2, USER)])
def test_owners_and_modes_are_kept_in_an_attribute(scene, number, name):
    """As overlayfs shows them, which keeps them on the disk; fuse-overlayfs 1.10 forgets some in a chmod or mkdir."""
    plain, container = scene("plain"), scene("kept")
    for one, words in ((plain, ("overlay",)), (container, ("cowfs-overlay", f"xattr_permissions={number}"))):
        owned_base(one)
        one.mount(*words)
        change(one.merged)
    shown = owners(container.merged)
    assert shown == owners(plain.merged)
    container.umount()
    for path, value in kept(container.upper, name).items():
        mode, uid, gid = shown[path]
        assert value == f"{uid}:{gid}:{mode[2:]}".encode()
    on_disk = owners(container.upper)
    assert {on_disk[path][1:] for path in ("new", "made", "one")} == {(0, 0)}


@pytest.mark.parametrize("first", BOTH)
def test_what_one_keeps_the_other_shows(scene, first):
    second = BOTH[1 - BOTH.index(first)]
    container = scene()
    owned_base(container)
    container.mount(first, "xattr_permissions=2")
    change(container.merged)
    before = owners(container.merged)
    container.umount()
    container.mount(second, "xattr_permissions=2")
    assert owners(container.merged) == before
    container.umount()
    container.next_layer()
    container.mount(second, read_only=True)
    assert owners(container.merged) == before
    assert USER not in os.listxattr(container.merged / "new")


@pytest.mark.parametrize("name", [USER, SECURITY, CONTAINERS])
def test_a_layer_that_keeps_owners_in_an_attribute_is_shown_so(scene, name):
    shown = {}
    for program in BOTH:
        container = scene(program)
        base = container.lower("base")
        os.setxattr(base, name, b"0:0:0755:dir")
        (base / "directory").mkdir(mode=0o700)
        os.setxattr(base / "directory", name, b"1000:1001:1777:dir")
        (base / "directory" / "file").write_text("x")
        os.setxattr(base / "directory" / "file", name, b"7:8:4755:file")
        container.mount(program)
        shown[program] = owners(container.merged)
        assert shown[program]["directory/file"] == ("0o104755", 7, 8)
        os.utime(container.merged / "directory" / "file")
        shown[program + " copied"] = owners(container.merged)
    assert shown["cowfs-overlay"] == shown["fuse-overlayfs"]
    assert shown["cowfs-overlay copied"] == shown["cowfs-overlay"]


def test_a_chown_takes_setuid_off_though_the_disk_does_not(scene):
    container = scene()
    container.lower("base")
    container.mount("cowfs-overlay", "xattr_permissions=2")
    (container.merged / "program").touch()
    os.chmod(container.merged / "program", 0o4755)
    os.chown(container.merged / "program", 5, 5)
    assert oct((container.merged / "program").stat().st_mode) == "0o100755"
    assert os.getxattr(container.upper / "program", USER) == b"5:5:100755"
    assert stat.S_IMODE((container.upper / "program").stat().st_mode) == 0o755


def test_directories_have_one_link_where_asked(scene):
    container = scene()
    base = container.lower("base")
    (base / "a" / "b").mkdir(parents=True)
    container.mount("cowfs-overlay", "static_nlink")
    (container.merged / "c").mkdir()
    assert [(container.merged / name).stat().st_nlink for name in ("a", "a/b", "c")] == [1, 1, 1]
