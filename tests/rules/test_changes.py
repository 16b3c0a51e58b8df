"""Rows of the tables of cowfs.rules.create, remove and rename, in the same words."""

import errno
import stat

import pytest

from cowfs.rules import rename
from cowfs.rules.create import NewFile, new_file
from cowfs.rules.remove import Removal, removal


@pytest.mark.parametrize(
    ("mode", "parent_mode", "default_acl", "expected"),
    [
        pytest.param(stat.S_IFREG | 0o666, 0o755, False, NewFile(stat.S_IFREG | 0o644, 7), id="plain parent"),
        pytest.param(stat.S_IFREG | 0o666, 0o2755, False, NewFile(stat.S_IFREG | 0o644, 3), id="setgid parent, file"),
        pytest.param(
            stat.S_IFDIR | 0o777, 0o2755, False, NewFile(stat.S_IFDIR | 0o2755, 3), id="setgid parent, directory"
        ),
        pytest.param(stat.S_IFREG | 0o666, 0o755, True, NewFile(stat.S_IFREG | 0o666, 7), id="default ACL: no umask"),
    ],
)
def test_new_file(mode, parent_mode, default_acl, expected):
    made = new_file(mode, 7, 0o022, parent_mode=parent_mode, parent_gid=3, default_acl=default_acl)
    assert made == expected


@pytest.mark.parametrize(
    ("in_upper", "in_lower", "how"),
    [(True, False, Removal.UNLINK), (False, True, Removal.WHITEOUT), (True, True, Removal.REPLACE)],
)
def test_removal(in_upper, in_lower, how):
    assert removal(in_upper=in_upper, in_lower=in_lower) is how


FACTS = {
    "source_is_dir": False,
    "target": True,
    "target_is_dir": False,
    "target_is_empty": True,
    "loop_down": False,
    "loop_up": False,
}
A_DIR = {"source_is_dir": True}
ONTO_DIR = {"target_is_dir": True}
ABSENT = {"target": False}


@pytest.mark.parametrize(
    ("flags", "facts", "refused"),
    [
        pytest.param(rename.WHITEOUT, {}, errno.EINVAL, id="a whiteout is never a file"),
        pytest.param(rename.NOREPLACE | rename.EXCHANGE, {}, errno.EINVAL, id="noreplace and exchange"),
        pytest.param(8, {}, errno.EINVAL, id="an unknown flag"),
        pytest.param(rename.EXCHANGE, ABSENT, errno.ENOENT, id="exchange with nothing"),
        pytest.param(rename.NOREPLACE, {}, errno.EEXIST, id="noreplace onto something"),
        pytest.param(rename.NOREPLACE, ABSENT, 0, id="noreplace onto nothing"),
        pytest.param(0, A_DIR, errno.ENOTDIR, id="a directory onto a file"),
        pytest.param(0, ONTO_DIR, errno.EISDIR, id="a file onto a directory"),
        pytest.param(0, A_DIR | ONTO_DIR | {"target_is_empty": False}, errno.ENOTEMPTY, id="onto a full directory"),
        pytest.param(0, A_DIR | ONTO_DIR, 0, id="onto an empty directory"),
        pytest.param(rename.EXCHANGE, A_DIR, 0, id="exchange of a directory and a file"),
        pytest.param(0, A_DIR | ABSENT | {"loop_down": True}, errno.EINVAL, id="into itself"),
        pytest.param(0, ONTO_DIR | {"loop_up": True}, errno.ENOTEMPTY, id="onto a directory above"),
        pytest.param(rename.EXCHANGE, ONTO_DIR | {"loop_up": True}, errno.EINVAL, id="exchange with a directory above"),
        pytest.param(0, {}, 0, id="a file onto a file"),
        pytest.param(0, ABSENT, 0, id="onto nothing"),
    ],
)
def test_refusal(flags, facts, refused):
    assert rename.refusal(flags, **(FACTS | facts)) == refused
