"""A container that one program began goes on with another, and everybody reads what it left as a layer."""

import os
import stat

import pytest

from tests.dropin.conftest import PROGRAMS, SHOWN_AS_ONE, fill, first_steps, second_steps, tree


def run(scene, first, second, *options):
    fill(scene)
    scene.mount(first, *options)
    first_steps(scene.merged)
    scene.umount()
    scene.mount(second, *options)
    second_steps(scene.merged)
    shown = tree(scene.merged)
    scene.umount()
    return shown


@pytest.fixture(scope="module")
def rightly(tmp_path_factory):
    """As the kernel does it alone: the merged tree, the upper."""
    from tests.dropin.conftest import Scene

    scene = Scene(tmp_path_factory.mktemp("right") / "container")
    shown = run(scene, "overlay", "overlay")
    return shown, tree(scene.upper, marks=True)


def same_bytes_anywhere(found):
    """The random file differs from scene to scene."""
    return {
        path: {key: value for key, value in facts.items() if (path, key) != ("big", "bytes")}
        for path, facts in found.items()
    }


PAIRS = [(a, b) for a in PROGRAMS for b in PROGRAMS if "cowfs-overlay" in (a, b)]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=["-then-".join(pair) for pair in PAIRS])
def test_a_container_goes_on_with_another_program(scene, rightly, first, second):
    assert same_bytes_anywhere(run(scene(), first, second)) == same_bytes_anywhere(rightly[0])


def test_the_upper_is_what_the_kernel_leaves(scene, rightly):
    container = scene()
    run(container, "cowfs-overlay", "cowfs-overlay")
    assert same_bytes_anywhere(tree(container.upper, marks=True)) == same_bytes_anywhere(rightly[1])


@pytest.mark.parametrize("reader", PROGRAMS)
def test_what_we_left_is_a_layer_for_everybody(scene, rightly, reader):
    container = scene()
    run(container, "cowfs-overlay", "cowfs-overlay")
    container.next_layer()
    container.mount(reader, read_only=True)
    found = same_bytes_anywhere(tree(container.merged))
    wanted = same_bytes_anywhere(rightly[0])
    if reader == "fuse-overlayfs":  # which answers with the number of the directory's node
        assert found.keys() == wanted.keys()
    if reader == "cowfs-overlay" and not SHOWN_AS_ONE:
        assert found["work/b"].pop("same as") != wanted["work/b"].pop("same as")
    assert found == wanted


def test_names_of_a_lower_file_have_one_number_until_one_changes(scene):
    container = scene()
    base = container.lower("base")
    for name in ("a", "b", "c"):
        (base / name).hardlink_to(base / "a") if name != "a" else (base / name).write_text("one\n")
    container.mount("cowfs-overlay")
    numbers = {name: (container.merged / name).stat() for name in "abc"}
    assert len({status.st_ino for status in numbers.values()}) == (1 if SHOWN_AS_ONE else 3)
    assert {status.st_nlink for status in numbers.values()} == {3}
    assert {entry.name: entry.inode() for entry in os.scandir(container.merged)} == {
        name: status.st_ino for name, status in numbers.items()
    }
    (container.merged / "b").chmod(0o600)
    assert [stat.S_IMODE((container.merged / name).stat().st_mode) for name in "abc"] == [0o644, 0o600, 0o644]
    assert sorted(os.listdir(container.upper)) == ["b"]
    assert [(container.merged / name).stat().st_ino for name in "ac"] == [numbers[name].st_ino for name in "ac"]
    assert (container.merged / "b").stat().st_ino != (container.merged / "a").stat().st_ino
    assert (container.merged / "b").stat().st_nlink == 1


def test_a_directory_of_an_image_is_not_renamed(scene):
    container = scene()
    fill(container)
    container.mount("cowfs-overlay")
    with pytest.raises(OSError, match="cross-device"):
        (container.merged / "tree").rename(container.merged / "elsewhere")
    assert os.listdir(container.upper) == []
    (container.merged / "mine").mkdir()
    (container.merged / "mine").rename(container.merged / "ours")
    assert os.listdir(container.upper) == ["ours"]


def test_a_big_file_that_is_opened_for_writing_is_whole_in_the_upper_or_not_there(scene):
    container = scene()
    fill(container)
    container.mount("cowfs-overlay")
    with (container.merged / "big").open("r+b"):
        pass
    copy, original = container.upper / "big", container.lowers[-1] / "big"
    assert copy.read_bytes() == original.read_bytes()
    assert copy.stat().st_mtime_ns == original.stat().st_mtime_ns
    assert os.listdir(container.work / "work") == []
    assert not [name for name in os.listxattr(copy) if name.endswith("metacopy")]
