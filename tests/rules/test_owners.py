"""The arithmetic of shifted owners, and the attribute that keeps them."""

import stat

import pytest

from cowfs.rules.owners import Ids, Kept, read_kept, write_kept

PODMAN = ((0, 1000, 1), (1, 110000, 65536))  # the example of fuse-overlayfs's manual page


@pytest.mark.parametrize(
    ("ids", "disk", "shown"),
    [
        pytest.param(Ids(), 1234, 1234, id="nothing asked for"),
        pytest.param(Ids(PODMAN), 0, 1000, id="the first range"),
        pytest.param(Ids(PODMAN), 1, 110000, id="the second one's first"),
        pytest.param(Ids(PODMAN), 65536, 175535, id="its last"),
        pytest.param(Ids(PODMAN), 65537, 65534, id="beyond"),
        pytest.param(Ids(PODMAN, overflow=99), 65537, 99, id="beyond, with another overflow number"),
        pytest.param(Ids(((0, 10, 5), (2, 20, 1))), 2, 20, id="of ranges that overlap the last counts"),
        pytest.param(Ids(PODMAN, squash=7), 1, 7, id="squashed before mapped"),
        pytest.param(Ids(squash=0), 1234, 0, id="squashed"),
    ],
)
def test_what_the_disk_has_is_shown(ids, disk, shown):
    assert ids.shown(disk) == shown


@pytest.mark.parametrize(
    ("ids", "shown", "disk"),
    [
        pytest.param(Ids(), 1234, 1234, id="nothing asked for"),
        pytest.param(Ids(PODMAN), 1000, 0, id="the first range"),
        pytest.param(Ids(PODMAN), 175535, 65536, id="the second one's last"),
        pytest.param(Ids(PODMAN), 175536, 65534, id="beyond"),
        pytest.param(Ids(PODMAN), 0, 65534, id="below"),
        pytest.param(Ids(((0, 10, 5), (100, 12, 1))), 12, 100, id="of ranges that overlap the last counts"),
        pytest.param(Ids(squash=0), 1234, 1234, id="squashing is for looking only"),
        pytest.param(Ids(PODMAN, squash=0), 1000, 0, id="squashed and mapped"),
    ],
)
def test_what_somebody_inside_says_is_stored(ids, shown, disk):
    assert ids.stored(shown) == disk


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"0:0:100644", Kept(0, 0, 0o644)),
        (b"1000:1001:755", Kept(1000, 1001, 0o755)),
        (b"0:0:104755", Kept(0, 0, 0o4755)),
        (b"5:6:0755:dir", Kept(5, 6, 0o755)),
        (b"5:6:644:file", Kept(5, 6, 0o644)),
        (b"", None),
        (b"0:0", None),
        (b"0:0:", None),
        (b"0:x:644", None),
        (b"-1:0:644", None),
        (b"0:0:689", None),
    ],
)
def test_what_the_attribute_says(value, kept):
    assert read_kept(value) == kept


def test_what_is_written_is_read_again():
    value = write_kept(1000, 1001, stat.S_IFREG | 0o4755)
    assert value == b"1000:1001:104755"
    assert read_kept(value) == Kept(1000, 1001, 0o4755)
