"""An upper becomes a layer: whoever unpacks that over the base sees the tree that the mount showed.

Three look: the kernel's overlayfs over base and upper with all its marks, the same over the layers of the new image
(where no mark but whiteouts and opaque is left), and a reader of tars that is independent of ours.
"""

import fcntl
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cowfs.errors import StoreError, UsageError
from cowfs.images.commit import History, commit
from cowfs.images.outgoing import plain
from cowfs.images.sources import resolve, resolve_image
from cowfs.options import MountOptions
from cowfs.overlay import Overlay
from cowfs.store import Store
from cowfs.store.records import StoredImage
from tests.images import model
from tests.images.layouts import Layout, config_of
from tests.images.tars import DIRECTORY, HARD_LINK, SYMLINK, entry, tar, whiteout

BIG = random.Random(1).randbytes(3 << 20)
BASE = [
    tar(
        entry(b"./", DIRECTORY, mode=0o755),
        entry(b"etc/", DIRECTORY),
        entry(b"etc/passwd", data=b"root"),
        entry(b"etc/shadow", data=b"secret", mode=0o600),
        entry(b"d/", DIRECTORY, mode=0o750, uid=3),
        *(entry(b"d/%d" % number, data=b"%d" % number) for number in range(5)),
        entry(b"d/sub/", DIRECTORY),
        entry(b"d/sub/deep", data=b"deep"),
        entry(b"one", data=b"linked"),
        entry(b"d/two", HARD_LINK, link=b"one"),
        entry(b"far/", DIRECTORY),
        entry(b"far/three", HARD_LINK, link=b"one"),
        entry(b"big", data=BIG),
        entry(b"link", SYMLINK, link=b"etc"),
        entry(b"gone/", DIRECTORY),
        entry(b"gone/x", data=b"x"),
    ),
    tar(entry(b"etc/", DIRECTORY), entry(b"etc/motd", data=b"hello"), whiteout(b"d/4"), entry(b"d/", DIRECTORY)),
]


ENVIRON = dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))


class Place:
    """A base in the store, and an upper over it."""

    def __init__(self, path: Path, store: Store, base: StoredImage) -> None:
        self.store = store
        self.base = base
        self.path = path
        for name in ("upper", "work", "merged"):
            (path / name).mkdir(parents=True)
        (path / "upper").chmod(0o755)

    @contextmanager
    def mounted_by_us(self) -> Iterator[Path]:
        """By cowfs, as a run is."""
        command = [sys.executable, "-c", "from cowfs.cli.main import main; main()", "--root", self.store.root]
        upper = ["--upper", self.path / "upper", "--work", self.path / "work"]
        subprocess.run([*command, "mount", *upper, self.base.reference, self.path / "merged"], check=True, env=ENVIRON)
        try:
            yield self.path / "merged"
        finally:
            subprocess.run([*command, "umount", self.path / "merged"], check=True, env=ENVIRON)
            fd = os.open(self.path / "work", os.O_RDONLY)
            fcntl.flock(fd, fcntl.LOCK_EX)  # held until big files are whole
            os.close(fd)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """By the kernel, with every mark that it knows."""
        lowers = ":".join(map(str, resolve(self.base.reference, self.store).lowers))
        marks = "redirect_dir=on,index=on,metacopy=on"
        options = f"{marks},lowerdir={lowers},upperdir={self.path}/upper,workdir={self.path}/work"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, self.path / "merged"], check=True)
        try:
            yield self.path / "merged"
        finally:
            subprocess.run(["umount", self.path / "merged"], check=True)

    def commit(self, name: str = "new", **more: object) -> StoredImage:
        """The upper as an image."""
        history = History("step", created=1.5)
        work = self.path / "work"
        return commit(self.store, self.base, self.path / "upper", name, history, work=work, **more)  # type: ignore[arg-type]


@pytest.fixture
def place(tmp_path: Path, store: Store, layout: Layout) -> Place:
    return Place(tmp_path, store, resolve_image(layout.image(*BASE), store))


def nothing_but(tree: model.Tree, *ignored: bytes) -> model.Tree:
    """Without the root, whose times an upper has anew, and sockets, which no tar has."""
    return {path: node for path, node in tree.items() if path and path not in ignored}


def assert_same(found: model.Tree, wanted: model.Tree) -> None:
    different = {path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path)}
    assert not {path: (found.get(path), wanted.get(path)) for path in different}


def tars_of(store: Store, image: StoredImage) -> list[bytes]:
    return [b"".join(plain(store, diff_id)) for diff_id in image.diff_ids]


def replace_directory(root: Path) -> None:
    for name in os.listdir(root / "gone"):
        (root / "gone" / name).unlink()
    (root / "gone").rmdir()
    (root / "gone").mkdir(mode=0o711)
    (root / "gone/new").write_text("new")


def move_and_fill(root: Path) -> None:
    (root / "d").rename(root / "moved")
    (root / "d").mkdir()
    (root / "d/1").write_text("another")
    (root / "moved/3").unlink()
    (root / "moved/new").write_text("new")
    (root / "moved/sub").rename(root / "etc/sub")


def everything_new(root: Path) -> None:
    (root / "new").mkdir(mode=0o1777)
    os.mkfifo(root / "new/fifo", 0o620)
    os.mknod(root / "new/tty", 0o600 | stat.S_IFCHR, os.makedev(5, 1))
    os.mknod(root / "new/disk", 0o660 | stat.S_IFBLK, os.makedev(259, 70000))
    (root / "new/l").symlink_to("x" * 300)
    (root / "new" / ("n" * 255)).write_text("long")
    (root / "new" / "line\nbreak \x1b[31m").write_text("hostile")
    (root / "new" / os.fsdecode(b"\xff\xfe")).write_text("bytes")
    (root / "new/owned").write_text("o")
    os.chown(root / "new/owned", 3_000_000_000, 70)
    os.chmod(root / "new/owned", 0o6755)
    os.utime(root / "new/owned", ns=(0, -1_500_000_001))
    os.setxattr(root / "new/owned", "user.x", b"\0\n=")
    os.setxattr(root / "new/owned", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    os.link(root / "new/owned", root / "new/again")
    os.link(root / "etc/shadow", root / "new/shadow")
    os.mknod(root / "new/socket", 0o600 | stat.S_IFSOCK)


def write_in(root: Path) -> None:
    with (root / "big").open("r+b") as file:
        file.seek(1 << 20)
        file.write(b"written")
    with (root / "holes").open("wb") as file:
        for at in (0, 5 << 20, 300 << 20):
            file.seek(at)
            file.write(b"data")
        file.truncate((400 << 20) + 17)


CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda root: None,
    "a new file": lambda root: (root / "f").write_text("new"),
    "a changed file": lambda root: (root / "etc/passwd").write_text("changed"),
    "a removed file": lambda root: (root / "etc/passwd").unlink(),
    "a removed directory": lambda root: subprocess.run(["rm", "-r", root / "d"], check=True),
    "only attributes (metacopy)": lambda root: (root / "big").chmod(0o600),
    "a renamed file": lambda root: (root / "etc/shadow").rename(root / "d/shadow"),
    "a renamed big file": lambda root: (root / "big").rename(root / "etc/bigger"),
    "a renamed directory (redirect)": lambda root: (root / "d").rename(root / "etc/e"),
    "renamed, and one name of three removed": lambda root: ((root / "d").rename(root / "e"), (root / "one").unlink()),
    "a renamed directory, another in its place": move_and_fill,
    "there and back": lambda root: ((root / "d").rename(root / "x"), (root / "x").rename(root / "d")),
    "a directory made anew (opaque)": replace_directory,
    "a file in place of a directory": lambda root: (subprocess.run(["rm", "-r", root / "d"]), (root / "d").touch()),
    "a directory in place of a file": lambda root: ((root / "one").unlink(), (root / "one").mkdir()),
    "one name of three is written (index)": lambda root: (root / "one").write_text("all three"),
    "one name of three is removed": lambda root: (root / "d/two").unlink(),
    "written, and a name renamed": lambda root: ((root / "one").write_text("1"), (root / "far").rename(root / "near")),
    "attributes of one name": lambda root: os.chmod(root / "far/three", 0o604),
    "everything new": everything_new,
    "big and sparse files": write_in,
    "the root's own mode": lambda root: root.chmod(0o711),
}


@pytest.mark.parametrize("what", CHANGES)
def test_the_image_shows_what_the_mount_showed(place: Place, what: str) -> None:
    with place.mounted() as root:
        CHANGES[what](root)
    with place.mounted() as root:
        wanted = nothing_but(model.seen(root), b"new/socket")
    image = place.commit()
    assert_same(nothing_but(model.kernel_view(resolve("new", place.store).lowers)), wanted)
    assert_same(nothing_but(model.merged(tars_of(place.store, image))), wanted)
    assert len(image.diff_ids) == (2 if what == "nothing" else 3)
    top = resolve("new", place.store).lowers[0]
    assert what != "the root's own mode" or stat.S_IMODE(top.stat().st_mode) == 0o711
    assert what != "big and sparse files" or (top / "holes").stat().st_blocks < 4096


def change_at_random(root: Path, chance: random.Random) -> None:
    """One step of a program that has no plan."""
    paths = [path for path in root.rglob("*") if not path.is_symlink()]
    directories = [root, *(path for path in paths if path.is_dir())]
    new = chance.choice(directories) / chance.choice(["etc", "d", "one", "two", "a", "b", "c"])
    old = chance.choice(paths or [new])
    step = chance.randrange(9)
    try:
        if step == 0:
            new.mkdir(mode=0o700 + chance.randrange(64))
        elif step == 1:
            new.write_text("new")
        elif step == 2 and old.is_file():
            with old.open("r+b") as file:
                file.seek(chance.randrange(old.stat().st_size + 1))
                file.write(b"changed")
        elif step == 3:
            old.chmod(0o700 + chance.randrange(64))
        elif step == 4 and old.is_file():
            os.link(old, new)
        elif step in (5, 6):
            old.rename(new)
        elif step == 7:
            subprocess.run(["rm", "-rf", old], check=True)
        else:
            old.unlink()
    except OSError:  # there already, not empty, into itself: then the next one
        pass


@pytest.mark.parametrize("by", ["kernel", "us"])
def test_random_changes_become_a_layer(place: Place, by: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for number in range(4):
        with place.mounted() if by == "kernel" else place.mounted_by_us() as root:
            for _ in range(12):
                change_at_random(root, chance)
        with place.mounted() as root:
            wanted = nothing_but(model.seen(root))
        image = place.commit(f"new:{number}")
        assert_same(nothing_but(model.kernel_view(resolve(f"new:{number}", place.store).lowers)), wanted)
        assert_same(nothing_but(model.merged(tars_of(place.store, image))), wanted)


def test_the_same_tree_is_the_same_layer(place: Place, tmp_path: Path) -> None:
    """Made in another order, with other holes, at another time of access, with whiteouts that delete nothing."""
    other = Place(tmp_path / "other", place.store, place.base)
    names = [b"%d" % number for number in range(30)]
    for upper, order in ((place.path / "upper", names), (other.path / "upper", names[::-1])):
        for name in order:
            (upper / os.fsdecode(name)).write_bytes(name * 20_000)
            os.setxattr(upper / os.fsdecode(name), f"user.{name.decode()}", name)
        zeros = bytes(1 << 20)
        with (upper / "zeros").open("wb") as file:
            if order is names:
                file.write(b"start" + zeros + zeros)
            else:
                file.write(b"start")
                file.truncate(5 + 2 * len(zeros))
        for path in (*upper.iterdir(), upper):
            os.utime(path, ns=(1 if order is names else 2, 10**18))
    os.mknod(other.path / "upper/nothing-below", stat.S_IFCHR, 0)
    one, two = place.commit("one"), other.commit("two")
    assert one.diff_ids == two.diff_ids
    assert one.config == two.config


def test_a_file_that_was_written_in_part_is_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    lowers = resolve(place.base.reference, place.store).lowers
    overlay = Overlay(MountOptions(lowers=lowers, upper=place.path / "upper", work=place.path / "work"))
    handle = overlay.open(overlay.walk(b"big"), os.O_RDWR)
    overlay.write(handle, 70_000, b"in the middle")
    overlay.release(handle)
    monkeypatch.setattr(Overlay, "raise_node", lambda *_: None)  # killed: nobody makes it whole
    overlay.close()
    assert os.getxattr(place.path / "upper/big", "trusted.overlay.partial")
    place.commit()
    data = (resolve("new", place.store).lowers[0] / "big").read_bytes()
    assert data == BIG[:70_000] + b"in the middle" + BIG[70_013:]


def test_e05_a_name_that_would_be_a_whiteout_is_refused(place: Place) -> None:
    (place.path / "upper/d").mkdir()
    (place.path / "upper/d/.wh.1").touch()
    with pytest.raises(StoreError, match=r"'d/\.wh\.1' cannot be in an image"):
        place.commit()
    assert place.store.image("docker.io/library/new:latest") is None
    assert os.listdir(place.store.root / "staging") == []


def test_e10_marks_of_overlayfs_made_inside_do_not_get_out(place: Place) -> None:
    """Whoever unpacks the layer may obey them."""
    (place.path / "upper/f").touch()
    os.setxattr(place.path / "upper/f", "trusted.overlay.overlay.opaque", b"y")
    os.setxattr(place.path / "upper/f", "user.overlay.opaque", b"y")
    os.setxattr(place.path / "upper/f", "user.kept", b"y")
    image = place.commit()
    data = tars_of(place.store, image)[-1]
    assert b"user.kept" in data
    assert b"overlay" not in data


def test_depth_costs_no_recursion(place: Place) -> None:
    fd = os.open(place.path / "upper", os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    image = place.commit()
    layer = place.store.layer(image.diff_ids[-1])
    assert layer is not None
    assert layer.entries == 1500
    place.store.remove_image(image.reference)
    subprocess.run(["rm", "-r", place.path / "upper"], check=True)


def test_a_path_that_no_layer_may_have_is_said(place: Place) -> None:
    fd = os.open(place.path / "upper", os.O_RDONLY)
    for _ in range(270):
        os.mkdir("n" * 250, dir_fd=fd)
        below = os.open("n" * 250, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    with pytest.raises(StoreError, match="cannot become a layer: a name is longer than 65536 bytes"):
        place.commit()


def test_what_belongs_to_a_volume_is_left_out(place: Place) -> None:
    (place.path / "upper/data").mkdir()
    (place.path / "upper/data/x").touch()
    (place.path / "upper/f").touch()
    image = place.commit(leave_out=frozenset({b"data"}))
    assert b"data" not in model.merged(tars_of(place.store, image))


def test_the_config_keeps_what_it_had_and_takes_what_is_new(place: Place, layout: Layout) -> None:
    config = config_of(BASE, author="somebody", config={"Cmd": ["sh"], "User": "7", "Healthcheck": {"Test": ["x"]}})
    base = resolve_image(layout.image(*BASE, name="rich", config=config), place.store)
    upper = place.path / "upper"
    (upper / "f").touch()
    history = History("make", author="me", comment="why", created=0)
    image = commit(place.store, base, upper, "a/b:1", history, config={"Cmd": ["true"], "User": None})
    assert image.reference == "docker.io/a/b:1"
    document = json.loads(place.store.blob(image.config, 1 << 20))
    assert document["config"] == {"Cmd": ["true"], "Healthcheck": {"Test": ["x"]}}
    assert document["author"] == "somebody"
    assert document["rootfs"]["diff_ids"] == list(image.diff_ids)
    line = {"created": "1970-01-01T00:00:00Z", "created_by": "make", "author": "me", "comment": "why"}
    assert document["history"][-1] == line
    assert [layer.created_by for layer in resolve("a/b:1", place.store, every_layer=True).layers] == [
        "step 1",
        "step 2",
        "make",
    ]


def test_nothing_changed_is_no_layer_but_a_line(place: Place) -> None:
    image = place.commit(config={"Cmd": ["true"]})
    assert image.diff_ids == place.base.diff_ids
    assert json.loads(place.store.blob(image.config, 1 << 20))["history"][-1]["empty_layer"] is True
    assert os.listdir(place.store.root / "staging") == []


def test_a_name_that_is_none_is_refused_before_anything_is_read(place: Place) -> None:
    with pytest.raises(UsageError, match="not an image reference"):
        commit(place.store, place.base, Path("/nowhere"), "UPPER", History("x"))
