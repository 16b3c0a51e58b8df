"""What fuse-overlayfs writes where it may not do as overlayfs does: deletions by name, opaque marks of its own."""

import errno
import os
import stat

import pytest

MARKS = ("trusted.overlay.opaque", "user.overlay.opaque", "user.fuseoverlayfs.opaque", ".wh..wh..opq")


def make_opaque(directory, mark):
    if mark.startswith(".wh."):
        (directory / mark).touch()
    else:
        os.setxattr(directory, mark, b"y")


@pytest.mark.parametrize("program", ["cowfs-overlay", "fuse-overlayfs"])
@pytest.mark.parametrize("mark", MARKS)
def test_an_opaque_directory_hides_what_is_below(scene, mark, program):
    container = scene()
    base, top = container.lower("base"), container.lower("top")
    for layer, name in ((base, "below"), (top, "above")):
        (layer / "directory").mkdir()
        (layer / "directory" / name).touch()
    make_opaque(top / "directory", mark)
    container.mount(program, read_only=True)
    assert os.listdir(container.merged / "directory") == ["above"]
    assert not [name for name in os.listxattr(container.merged / "directory") if name.startswith("user.fuse")]


@pytest.mark.parametrize("program", ["cowfs-overlay", "fuse-overlayfs"])
def test_a_name_is_deleted_by_another(scene, program):
    container = scene()
    base, top = container.lower("base"), container.lower("top")
    for name in ("gone", "kept", "both"):
        (base / name).write_text(name)
    (top / ".wh.gone").touch()
    (top / ".wh.both").touch()
    container.mount(program, read_only=True)
    assert os.listdir(container.merged) == ["kept"]
    with pytest.raises(FileNotFoundError):
        (container.merged / "gone").stat()


@pytest.mark.parametrize("first", ["cowfs-overlay", "fuse-overlayfs"])
def test_deletions_by_name_in_the_upper_become_devices(scene, first):
    container = scene()
    base = container.lower("base")
    (base / "directory").mkdir()
    for name in ("gone", "kept"):
        (base / "directory" / name).write_text("below\n")
    (container.upper / "directory").mkdir()
    (container.upper / "directory" / ".wh.gone").touch()
    (container.upper / "opaque").mkdir()
    (container.upper / "opaque" / ".wh..wh..opq").touch()
    (base / "opaque").mkdir()
    (base / "opaque" / "hidden").touch()
    container.mount("cowfs-overlay")
    assert os.listdir(container.merged / "directory") == ["kept"]
    assert os.listdir(container.merged / "opaque") == []
    (container.merged / "directory" / "gone").write_text("again\n")
    (container.merged / "directory" / "gone").unlink()
    (container.merged / "opaque").rmdir()
    container.umount()
    assert os.listdir(container.upper / "directory") == ["gone"]
    assert stat.S_ISCHR((container.upper / "directory" / "gone").stat().st_mode)
    for program in (first, "overlay"):
        container.mount(program)
        assert os.listdir(container.merged / "directory") == ["kept"]
        assert sorted(os.listdir(container.merged)) == ["directory"]
        container.umount()


def test_such_names_cannot_be_made(scene):
    container = scene()
    container.lower("base")
    container.mount("cowfs-overlay")
    (container.merged / "file").touch()
    for act in (
        lambda: (container.merged / ".wh.file").touch(),
        lambda: (container.merged / ".wh.directory").mkdir(),
        lambda: (container.merged / "file").rename(container.merged / ".wh.file"),
        lambda: (container.merged / ".wh.link").symlink_to("file"),
    ):
        with pytest.raises(OSError) as failure:
            act()
        assert failure.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    "name", ["user.fuseoverlayfs.opaque", "user.containers.override_stat", "trusted.overlay.opaque"]
)
def test_marks_set_inside_are_ordinary_attributes(scene, name):
    container = scene()
    base = container.lower("base")
    (base / "directory").mkdir()
    (base / "directory" / "file").touch()
    container.mount("cowfs-overlay")
    os.setxattr(container.merged / "directory", name, b"y")
    assert os.listxattr(container.merged / "directory") == [name]
    container.umount()
    container.mount("cowfs-overlay")
    assert os.getxattr(container.merged / "directory", name) == b"y"
    assert os.listdir(container.merged / "directory") == ["file"]
    os.removexattr(container.merged / "directory", name)
    assert os.listxattr(container.merged / "directory") == []
