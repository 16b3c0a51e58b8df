"""What the random operations found, each in its smallest form: a plain directory is right."""

import os
from pathlib import Path

import pytest

from tests.behaviour.differences import LEVERS_OFF
from tests.behaviour.generator import acl
from tests.behaviour.layers import Entry, directory, file
from tests.behaviour.steps import Step
from tests.behaviour.world import Mismatch, replay

DEFAULT_ACL = b"system.posix_acl_default"

NEEDS_UMASK = "the default ACL takes the place of the umask"

FINDS: dict[str, tuple[list[list[Entry]], list[Step]]] = {
    "a symbolic link has no ACLs, and may not": (
        [[Entry(b"l", 0o120000, content=b"a", mode=0o777)]],
        [("getxattr", b"l", DEFAULT_ACL), ("removexattr", b"l", DEFAULT_ACL)],
    ),
    "truncating a lower file to nothing sets its time": ([[file(b"a", b"k")]], [("truncate", b"a", 0)]),
    "a directory made in a setgid directory has what the default ACL leaves of its mode": (
        [[directory(b"d", 0o2777)]],
        [("setxattr", b"d", DEFAULT_ACL, acl(7, 5, 0, 7, 7), 0), ("mkdir", b"d/new", 0o755)],
    ),
    NEEDS_UMASK: (
        [[directory(b"d", 0o777)]],
        [
            ("setxattr", b"d", DEFAULT_ACL, acl(7, 5, 2, 7, 7), 0),
            ("umask", 0o022, ("create", b"d/new", os.O_RDWR, 0o777, 1, 1)),
        ],
    ),
    "the data of a file that moved in a layer and moves again is found": (
        [[file(b"d", b"x"), directory(b"a")]],
        [("rename", b"d", b"e", 0), ("rotate",), ("rename", b"e", b"a/a", 0)],
    ),
    "a link of a file that moved in a layer outlives the other name": (
        [[file(b"d", b"x"), directory(b"a")]],
        [("rename", b"d", b"e", 0), ("rotate",), ("link", b"e", b"a/a"), ("unlink", b"e")],
    ),
    "a link of a layer that has only attributes is unlinked: the other name keeps its data": (
        [[file(b"f", b"x" * 5)]],
        [("link", b"f", b"c"), ("rotate",), ("unlink", b"c"), ("remount",)],
    ),
    "removing an ACL that is not there is no error": ([[directory(b"d")]], [("removexattr", b"d", DEFAULT_ACL)]),
}


CALLERS: dict[str, tuple[list[list[Entry]], list[Step]]] = {
    "a stranger's write takes setuid off also when root has just truncated the file by opening it": (
        [[file(b"a", b"x", 0o6777)]],
        [("open", 3, b"a", os.O_RDONLY | os.O_TRUNC, 0), ("as", 1000, 1000, ("write", b"a", 0, 41, 10))],
    ),
    "a chown that changes nothing is refused to a stranger where it would take setuid off": (
        [[file(b"a", b"x", 0o4755)]],
        [("as", 1000, 1000, ("chown", b"a", -1, -1))],
    ),
    "a chown that changes nothing takes setuid off": (
        [[file(b"a", b"x", 0o6777)]],
        [("chown", b"a", -1, -1)],
    ),
}


@pytest.mark.parametrize("find", CALLERS)
def test_found_with_permissions(find: str, tmp_path: Path) -> None:
    stack, steps = CALLERS[find]
    replay(os.fsencode(tmp_path), stack, steps, ("plain", "cowfs"))


@pytest.mark.parametrize("who", ["core", "cowfs"])
@pytest.mark.parametrize("find", FINDS)
def test_found(find: str, who: str, tmp_path: Path) -> None:
    stack, steps = FINDS[find]
    if who == "cowfs" and LEVERS_OFF and find == NEEDS_UMASK:
        with pytest.raises(Mismatch):
            replay(os.fsencode(tmp_path), stack, steps, ("plain", who))
        return
    replay(os.fsencode(tmp_path), stack, steps, ("plain", who))
