"""The unpacker: what hostile layers must not do (E01-E10), and what every layer must keep."""

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from cowfs.images.paths import BadPath
from cowfs.images.tarheader import BadTar
from cowfs.images.unpack import Unpacked, unpack
from tests.images import model, tars
from tests.images.model import Tree, merged, seen
from tests.images.tars import (
    BLOCK_DEVICE,
    CHAR,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    SYMLINK,
    TIME,
    entry,
    header,
    opaque,
    pax,
    tar,
    whiteout,
)

REFUSALS = (BadTar, BadPath)
SECOND = 10**9


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the layer goes."""
    path = tmp_path / "layer"
    path.mkdir()
    return path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tree beside the layer, which is also the working directory; it must be the same afterwards."""
    path = tmp_path / "host"
    (path / "directory").mkdir(parents=True)
    for name in ("secret", "directory/inside", "a"):
        (path / name).write_text("the host's")
        (path / name).chmod(0o400)
    os.symlink("secret", path / "link")
    monkeypatch.chdir(path)
    before = seen(path)
    yield path
    assert seen(path) == before
    assert os.stat(path / "secret").st_nlink == 1


def into(root: Path, *entries: bytes) -> Unpacked:
    """Unpack one layer."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return unpack([tar(*entries)], fd)
    finally:
        os.close(fd)


def refused(root: Path, *entries: bytes) -> None:
    with pytest.raises(REFUSALS):
        into(root, *entries)


def kind(path: Path) -> int:
    return stat.S_IFMT(os.lstat(path).st_mode)


def is_whiteout(path: Path) -> bool:
    found = os.lstat(path)
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def is_opaque(path: Path) -> bool:
    return "trusted.overlay.opaque" in os.listxattr(path) and os.getxattr(path, "trusted.overlay.opaque") == b"y"


# --- leaving the layer


@pytest.mark.parametrize(
    "target", ["{host}", "../host", "../../../../../../../..{host}", "/proc/self/cwd", "/proc/self/root{host}"]
)
@pytest.mark.parametrize("name", [b"link/secret", b"link/new", b"link/directory/inside", b"./link//new"])
def test_e01_a_file_below_a_symbolic_link_is_refused(root: Path, host: Path, target: str, name: bytes) -> None:
    refused(root, entry(b"link", SYMLINK, link=target.format(host=host).encode()), entry(name, data=b"evil"))


@pytest.mark.parametrize(
    "name", [b"../host/secret", b"a/../../host/new", b"..", b"./..", b"a/..", b"../../../../etc/evil"]
)
def test_e01_names_that_go_up_are_refused(root: Path, host: Path, name: bytes) -> None:
    refused(root, entry(b"a/", DIRECTORY), entry(name, data=b"evil"))


def test_e01_absolute_names_land_inside(root: Path, host: Path) -> None:
    name = os.fsencode(host / "secret")
    into(
        root,
        entry(name[:100], data=b"evil") if len(name) <= 100 else pax([(b"path", name)]) + entry(b"x", data=b"evil"),
    )
    assert (root / str(host).lstrip("/") / "secret").read_bytes() == b"evil"


def test_e01_a_link_in_one_layer_and_a_file_through_it_in_the_next(tmp_path: Path, host: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    for path in (lower, upper):
        path.mkdir()
    into(lower, entry(b"link", SYMLINK, link=os.fsencode(host)))
    into(upper, entry(b"link/secret", data=b"evil"))
    assert kind(upper / "link") == stat.S_IFDIR


@pytest.mark.parametrize(
    "target", [b"../host/secret", b"/secret", b"secret", b"a", b"link/secret", b"/proc/self/cwd/secret", b".", b"d"]
)
def test_e02_hard_links_to_anything_else_than_a_file_of_the_layer_are_refused(
    root: Path, host: Path, target: bytes
) -> None:
    link = entry(b"link", SYMLINK, link=os.fsencode(host))
    refused(root, entry(b"d/", DIRECTORY), link, entry(b"hard", HARD_LINK, link=target))


def test_e03_a_hard_link_to_a_symbolic_link_changes_nothing_behind_it(root: Path, host: Path) -> None:
    into(
        root,
        entry(b"link", SYMLINK, link=os.fsencode(host / "secret")),
        pax([(b"SCHILY.xattr.user.evil", b"1")])
        + header(b"hard", HARD_LINK, link=b"link", mode=0o6777, uid=1000, mtime=1),
    )
    assert kind(root / "hard") == stat.S_IFLNK
    assert os.lstat(root / "hard").st_ino == os.lstat(root / "link").st_ino


@pytest.mark.parametrize("name", [b"/", b".", b"/.", b"./", b"//."])
@pytest.mark.parametrize("type", [SYMLINK, FIFO, CHAR, HARD_LINK])
def test_e04_the_root_is_a_directory(root: Path, host: Path, name: bytes, type: bytes) -> None:
    refused(root, entry(b"a"), entry(name, type, link=b"a", device=(1, 1)))


@pytest.mark.parametrize("type", [SYMLINK, FIFO, DIRECTORY, tars.FILE])
def test_e04_an_entry_without_a_name_is_refused(root: Path, type: bytes) -> None:
    refused(root, header(b"", type, link=b"a" if type == SYMLINK else b""))


# --- whiteouts


@pytest.mark.parametrize(
    "name",
    [
        b".wh.",
        b".wh..",
        b".wh...",
        b"d/.wh.",
        b"d/.wh..",
        b"d/.wh...",
        b"d/.wh..wh.x",
        b"d/.wh..wh.",
        b"d/.wh..wh..opq/x",
        b".wh.d/x",
    ],
)
def test_e05_whiteouts_of_impossible_names_are_refused(root: Path, host: Path, name: bytes) -> None:
    refused(root, entry(b"keep"), entry(b"d/keep"), entry(name))


@pytest.mark.parametrize("type", [DIRECTORY, SYMLINK, CHAR, FIFO])
@pytest.mark.parametrize("name", [b".wh.x", b".wh..wh..opq", b"d/.wh..wh..opq"])
def test_e05_a_whiteout_is_a_file(root: Path, host: Path, name: bytes, type: bytes) -> None:
    refused(root, entry(name, type, link=b"x", device=(1, 3)))


@pytest.mark.parametrize("name", [b"link/.wh.secret", b"link/.wh..wh..opq"])
def test_e05_a_whiteout_below_a_symbolic_link_is_refused(root: Path, host: Path, name: bytes) -> None:
    refused(root, entry(b"link", SYMLINK, link=os.fsencode(host)), entry(name))


def test_e05_names_that_only_look_like_whiteouts_are_ordinary(root: Path) -> None:
    into(root, entry(b"wh.not", data=b"1"), entry(b".whx", data=b"2"), entry(b"a.wh.b", data=b"3"))
    assert {name: (root / name).read_bytes() for name in ("wh.not", ".whx", "a.wh.b")} == {
        "wh.not": b"1",
        ".whx": b"2",
        "a.wh.b": b"3",
    }


def test_e05_what_aufs_left_at_the_top_is_ignored(root: Path) -> None:
    into(root, entry(b".wh..wh.aufs"), entry(b".wh..wh.plnk/", DIRECTORY), entry(b".wh..wh.plnk/1.2"), entry(b"a"))
    assert os.listdir(root) == ["a"]


def test_e05_a_whiteout_that_aufs_made_a_hard_link_of(root: Path) -> None:
    into(root, entry(b".wh..wh.aufs"), entry(b".wh.gone", HARD_LINK, link=b".wh..wh.aufs"))
    assert is_whiteout(root / "gone")


def test_e05_marks_in_overlayfs_form(root: Path) -> None:
    result = into(root, entry(b"d/", DIRECTORY), whiteout(b"d/gone"), opaque(b"e"))
    assert is_whiteout(root / "d/gone")
    assert is_opaque(root / "e")
    assert not is_opaque(root / "d")
    assert not result.opaque


def test_e05_an_opaque_root_is_said(root: Path) -> None:
    assert into(root, opaque(), entry(b"a")).opaque


def test_e05_a_hard_link_to_a_whiteout_makes_no_second_one(root: Path) -> None:
    refused(root, whiteout(b"a"), entry(b"b", HARD_LINK, link=b"a"))


# --- what stands twice


TWICE = {
    "file and file": [entry(b"a", data=b"1"), entry(b"a", data=b"2")],
    "file and ./file": [entry(b"a"), entry(b"./a")],
    "file and directory": [entry(b"a"), entry(b"a/", DIRECTORY)],
    "directory and file": [entry(b"a/", DIRECTORY), entry(b"a")],
    "directory and directory": [entry(b"a/", DIRECTORY), entry(b"a/", DIRECTORY)],
    "directory and symbolic link": [entry(b"a/", DIRECTORY), entry(b"a", SYMLINK, link=b"/etc")],
    "symbolic link and directory": [entry(b"a", SYMLINK, link=b"/etc"), entry(b"a/", DIRECTORY)],
    "symbolic link and file": [entry(b"a", SYMLINK, link=b"/etc/passwd"), entry(b"a", data=b"evil")],
    "made-up directory and file": [entry(b"a/b"), entry(b"a")],
    "fifo and device": [entry(b"a", FIFO), entry(b"a", CHAR, device=(1, 3))],
    "link to itself": [entry(b"a"), entry(b"a", HARD_LINK, link=b"a")],
    "whiteout and whiteout": [whiteout(b"a"), whiteout(b"a")],
    "root and root": [entry(b"./", DIRECTORY), entry(b"/", DIRECTORY)],
}


@pytest.mark.parametrize("what", TWICE)
def test_e07_two_entries_for_one_name_are_refused(root: Path, host: Path, what: str) -> None:
    refused(root, *TWICE[what])


@pytest.mark.parametrize("below", [entry(b"a"), entry(b"a", SYMLINK, link=b"b"), entry(b"a", FIFO)])
def test_e07_a_name_below_something_that_is_no_directory_is_refused(root: Path, below: bytes) -> None:
    refused(root, below, entry(b"a/b"))


# --- devices, attributes


def test_e08_nodes_are_kept_as_nodes(root: Path) -> None:
    into(
        root,
        entry(b"null", CHAR, mode=0o666, device=(1, 3)),
        entry(b"disk", BLOCK_DEVICE, mode=0o660, gid=6, device=(8, 0)),
        entry(b"zero", BLOCK_DEVICE, device=(0, 0)),
        entry(b"large", CHAR, device=(4095, 1048575)),
        entry(b"fifo", FIFO, mode=0o600),
    )
    found = {name: os.lstat(root / name) for name in os.listdir(root)}
    assert (kind(root / "null"), found["null"].st_rdev) == (stat.S_IFCHR, os.makedev(1, 3))
    assert (kind(root / "disk"), found["disk"].st_rdev, found["disk"].st_gid) == (stat.S_IFBLK, os.makedev(8, 0), 6)
    assert (kind(root / "zero"), found["zero"].st_rdev) == (stat.S_IFBLK, 0)
    assert found["large"].st_rdev == os.makedev(4095, 1048575)
    assert kind(root / "fifo") == stat.S_IFIFO
    assert [stat.S_IMODE(found[name].st_mode) for name in ("null", "disk", "fifo")] == [0o666, 0o660, 0o600]


def test_e08_a_character_device_0_0_is_refused_as_it_would_be_a_whiteout(root: Path) -> None:
    refused(root, entry(b"hides", CHAR, device=(0, 0)))


def test_e08_an_impossible_device_number_is_refused(root: Path) -> None:
    refused(root, entry(b"a", CHAR, device=(4096, 0)))


CAPABILITY_2 = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)
CAPABILITY_3 = struct.pack("<6I", 0x03000001, 1 << 13, 0, 0, 0, 1000)
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *part)
    for part in ((1, 7, 0xFFFFFFFF), (2, 6, 1000), (4, 4, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF))
)


def xattrs(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def test_e09_which_attributes_are_kept(root: Path) -> None:
    given = {
        b"user.note": b"x",
        b"trusted.lab": b"y",
        b"security.capability": CAPABILITY_2,
        b"security.selinux": b"system_u:object_r:etc_t:s0\0",
        b"security.ima": b"\1",
        b"system.nfs4_acl": b"z",
        b"system.posix_acl_access": ACL,
        b"nonsense": b"1",
    }
    into(
        root, entry(b"a", mode=0o764, uid=5, xattrs=given), entry(b"v3", xattrs={b"security.capability": CAPABILITY_3})
    )
    assert xattrs(root / "a") == {
        "user.note": b"x",
        "trusted.lab": b"y",
        "security.capability": CAPABILITY_2,
        "system.posix_acl_access": ACL,
    }
    assert xattrs(root / "v3") == {}


def test_e09_modes_survive_owners(root: Path) -> None:
    for mode in (0o4755, 0o2755, 0o6711, 0o1777, 0o0000):
        into_one = root / oct(mode)
        into_one.mkdir()
        into(
            into_one, entry(b"f", mode=mode, uid=1000, gid=1000), entry(b"d/", DIRECTORY, mode=mode, uid=1000, gid=1000)
        )
        for name in ("f", "d"):
            assert stat.S_IMODE(os.stat(into_one / name).st_mode) == mode


def test_e09_a_directory_gives_its_children_nothing(root: Path) -> None:
    """Neither the group of a setgid directory nor a default ACL: the tar says what a file has."""
    into(
        root,
        entry(b"d/", DIRECTORY, mode=0o2775, gid=50, xattrs={b"system.posix_acl_default": ACL}),
        entry(b"d/f", mode=0o640),
        entry(b"d/e/", DIRECTORY, mode=0o755),
    )
    assert xattrs(root / "d") == {"system.posix_acl_default": ACL}
    assert xattrs(root / "d/f") == xattrs(root / "d/e") == {}
    assert os.stat(root / "d/f").st_gid == os.stat(root / "d/e").st_gid == 0
    assert stat.S_IMODE(os.stat(root / "d/f").st_mode) == 0o640
    assert stat.S_IMODE(os.stat(root / "d/e").st_mode) == 0o755


@pytest.mark.parametrize("mark", ["opaque", "whiteout", "redirect", "metacopy", "origin", "overlay.opaque"])
@pytest.mark.parametrize("prefix", ["trusted.overlay.", "user.overlay."])
@pytest.mark.parametrize("type", [tars.FILE, DIRECTORY])
def test_e10_marks_of_an_image_become_ordinary_names(root: Path, prefix: str, mark: str, type: bytes) -> None:
    into(root, entry(b"a", type, xattrs={(prefix + mark).encode(): b"y"}))
    assert xattrs(root / "a") == {f"{prefix}overlay.{mark}": b"y"}


def test_e10_the_kernel_gives_the_names_back_and_obeys_none(tmp_path: Path) -> None:
    layers = [tmp_path / "1", tmp_path / "2"]
    for path in layers:
        path.mkdir()
    into(layers[0], entry(b"d/below"))
    marks = {b"trusted.overlay.opaque": b"y", b"trusted.overlay.redirect": b"/etc"}
    into(layers[1], entry(b"./", DIRECTORY), entry(b"d/", DIRECTORY, xattrs=marks))
    tree = model.kernel_view(layers[::-1])
    assert b"d/below" in tree
    assert dict(tree[b"d"].xattrs) == {key.decode(): value for key, value in marks.items()}


# --- what must arrive


def everything() -> list[bytes]:
    """Layers that hold what unpackers get wrong, bottom first."""
    deep = b"/".join(b"level-%d" % number for number in range(150))
    names = [
        b"caf\xe9",
        b"bad\xff\xfe",
        b"new\nline",
        b" space ",
        b"-dash",
        b"esc\x1b[31m",
        b"L" * 255,
        "日本語".encode(),
    ]
    lower = tar(
        entry(b"./", DIRECTORY, mode=0o555),
        entry(b"d/", DIRECTORY, mode=0o1777, uid=3, gid=4, time_ns=5 * SECOND),
        entry(b"d/file", data=b"lower", time_ns=-14182940 * SECOND),
        entry(b"d/nano", data=b"1", time_ns=TIME * SECOND + 123456789),
        entry(b"d/before", data=b"2", time_ns=-1_500_000_000),
        entry(b"d/2100", data=b"3", time_ns=4102444800 * SECOND + 1),
        entry(b"d/big ids", uid=4_000_000_001, gid=4_000_000_002),
        entry(b"d/nobody", uid=65534, gid=65534),
        entry(b"d/suid", mode=0o4755, uid=1000),
        entry(b"d/none", mode=0o000),
        entry(
            b"d/attributes",
            xattrs={b"user.bin": b"\0\1\xff\n=", b"trusted.t": b"t", b"security.capability": CAPABILITY_2},
        ),
        entry(b"d/xdir/", DIRECTORY, xattrs={b"user.d": b"dir"}),
        entry(b"d/link", SYMLINK, link=b"../nowhere \xff", uid=7, time_ns=9 * SECOND),
        entry(b"d/long link", SYMLINK, link=b"t" * 1000),
        entry(b"d/null", CHAR, device=(1, 3), mode=0o666),
        entry(b"d/loop", BLOCK_DEVICE, device=(7, 0), mode=0o660, gid=6),
        entry(b"d/fifo", FIFO, mode=0o622),
        entry(b"hard/a", data=b"same"),
        entry(b"hard/b", HARD_LINK, link=b"hard/a"),
        entry(b"elsewhere/c", HARD_LINK, link=b"./hard/a"),
        entry(deep + b"/bottom", data=b"deep"),
        *(entry(b"names/" + name, data=name) for name in names),
        entry(b"gone/x", data=b"x"),
        entry(b"opaque/old", data=b"old"),
        entry(b"opaque/sub/old", data=b"old"),
        entry(b"file2dir", data=b"1"),
        entry(b"dir2file/x", data=b"1"),
        entry(b"link2dir", SYMLINK, link=b"d"),
        entry(b"again", data=b"first"),
        sparse_file(),
    )
    upper = tar(
        entry(b"d/", DIRECTORY, mode=0o700, time_ns=77 * SECOND + 7),
        entry(b"d/file", data=b"upper"),
        whiteout(b"d/nano"),
        whiteout(b"gone"),
        entry(b"opaque/new", data=b"new"),
        opaque(b"opaque"),
        entry(b"file2dir/", DIRECTORY),
        entry(b"file2dir/inside", data=b"2"),
        entry(b"dir2file", data=b"2"),
        entry(b"link2dir/", DIRECTORY),
        entry(b"link2dir/inside", data=b"2"),
        entry(b"again", data=b"second"),
        whiteout(b"again"),
        whiteout(b"never was"),
        entry(b"hard/b", data=b"another"),
    )
    return [lower, upper, tar(), tar(entry(b"no/parent/entries", data=b"3", time_ns=11 * SECOND))]


def sparse_file() -> bytes:
    """3 bytes at the start and 3 at the end of 16 MiB."""
    size = 16 << 20
    records = [
        (b"GNU.sparse.size", b"%d" % size),
        (b"GNU.sparse.numblocks", b"2"),
        (b"GNU.sparse.map", b"0,3,%d,3" % (size - 3)),
        (b"GNU.sparse.name", b"sparse"),
    ]
    return pax(records) + header(b"GNUSparseFile.0/sparse", size=6) + b"abcxyz".ljust(512, b"\0")


def test_the_merge_under_the_kernels_overlayfs_is_what_the_tars_say(tmp_path: Path) -> None:
    layers = everything()
    directories = []
    for number, data in enumerate(layers):
        if data == tar():
            continue  # holds nothing: it must not give its root to the merge
        path = tmp_path / str(number)
        path.mkdir()
        fd = os.open(path, os.O_RDONLY)
        unpack([data[at : at + 700] for at in range(0, len(data), 700)], fd)
        os.close(fd)
        directories.append(path)
    same(model.kernel_view(directories[::-1]), merged(layers))
    assert os.stat(tmp_path / "0/sparse").st_blocks * 512 < 1 << 20


def same(found: Tree, expected: Tree) -> None:
    """A short message instead of two whole trees."""
    different = {path for path in found.keys() | expected.keys() if found.get(path) != expected.get(path)}
    assert not {path[-60:]: (found.get(path), expected.get(path)) for path in different}


def test_a_directory_has_its_own_time_in_any_order(root: Path) -> None:
    """More directories than descriptors are kept, visited again and again."""
    directories = [b"%d" % number for number in range(100)]
    made = [entry(name + b"/", DIRECTORY, time_ns=number * SECOND) for number, name in enumerate(directories)]
    files = [entry(b"%s/%d" % (name, number)) for number in range(3) for name in directories]
    into(root, entry(b"./", DIRECTORY, time_ns=9 * SECOND), *made, *files)
    assert [os.stat(root / name.decode()).st_mtime_ns for name in directories] == [n * SECOND for n in range(100)]
    assert os.stat(root).st_mtime_ns == 9 * SECOND
    assert len(os.listdir("/proc/self/fd")) < 60


def test_an_entry_after_its_children_counts_as_well(root: Path) -> None:
    into(
        root,
        entry(b"a/b/c"),
        entry(b"a/", DIRECTORY, mode=0o700, uid=5, time_ns=SECOND),
        entry(b"./", DIRECTORY, mode=0o711),
    )
    assert stat.S_IMODE(os.stat(root / "a").st_mode) == 0o700
    assert os.stat(root / "a").st_mtime_ns == SECOND
    assert stat.S_IMODE(os.stat(root).st_mode) == 0o711


def test_made_up_directories_are_the_same_each_time(root: Path, tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for path in (root, tmp_path / "again"):
        into(path, entry(b"a/b/c", time_ns=7 * SECOND), entry(b"a/d", time_ns=8 * SECOND))
    assert seen(root) == seen(tmp_path / "again")
    found = os.stat(root / "a/b")
    assert (stat.S_IMODE(found.st_mode), found.st_uid, found.st_mtime_ns) == (0o755, 0, 7 * SECOND)


def test_a_link_between_two_deep_directories(root: Path) -> None:
    """Each one is deeper than descriptors are kept."""
    left, right = (b"/".join([side] * 200) for side in (b"l", b"r"))
    into(root, entry(left + b"/a", data=b"same"), entry(right + b"/b", HARD_LINK, link=left + b"/a"))
    assert os.path.samefile(root / os.fsdecode(left) / "a", root / os.fsdecode(right) / "b")


def test_paths_beyond_path_max(root: Path) -> None:
    """And a hard link between two of them, and a whiteout below a third."""
    left, right, gone = (b"/".join([side * 200] * 40) for side in (b"l", b"r", b"g"))
    into(
        root,
        entry(left + b"/a", data=b"same"),
        entry(right + b"/b", HARD_LINK, link=left + b"/a"),
        entry(gone + b"/.wh.name"),
    )
    a, b, c = (os.open(root, os.O_PATH) for _ in range(3))
    for _ in range(40):
        a, b, c = _below(a, b"l" * 200), _below(b, b"r" * 200), _below(c, b"g" * 200)
    first, second = os.stat("a", dir_fd=a), os.stat("b", dir_fd=b)
    assert (first.st_ino, first.st_nlink, first.st_size) == (second.st_ino, 2, 4)
    assert os.stat("name", dir_fd=c).st_rdev == 0
    for fd in (a, b, c):
        os.close(fd)


def _below(fd: int, name: bytes) -> int:
    try:
        return os.open(name, os.O_PATH | os.O_DIRECTORY, dir_fd=fd)
    finally:
        os.close(fd)
