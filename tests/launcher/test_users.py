"""Who a command runs as, by the root's own files."""

import pytest
from cowrun.users import LARGEST, User, find

from cowfs.errors import UsageError

PASSWD = b"""\
root:x:0:0:root:/root:/bin/bash
# comment:x:7:7::/:
app:x:1000:50:App:/srv/app:/bin/sh
1234:x:77:77:digits:/digits:/bin/sh
broken
short:x:5
negative:x:-1:0::/:
large:x:4294967295:0::/:
relative:x:1001:1001::home:
"""
GROUP = b"""\
root:x:0:
staff:x:50:other
dev:x:60:app,root
ops:x:61:app
broken:x:x:app
4321:x:88:
"""


@pytest.mark.parametrize(
    ("text", "user"),
    [
        pytest.param("", User(0, 0, (0, 60), "/root"), id="nothing is root"),
        pytest.param("root", User(0, 0, (0, 60), "/root"), id="root by name"),
        pytest.param("app", User(1000, 50, (50, 60, 61), "/srv/app"), id="a name, with supplementary groups"),
        pytest.param("app:staff", User(1000, 50, (), "/srv/app"), id="with a group, without supplementary ones"),
        pytest.param("app:7", User(1000, 7, (), "/srv/app"), id="with the number of a group"),
        pytest.param("1000", User(1000, 50, (50, 60, 61), "/srv/app"), id="a number with an entry"),
        pytest.param("1500", User(1500, 0, (0,), "/"), id="a number without an entry has gid 0"),
        pytest.param("1500:staff", User(1500, 50, (), "/"), id="a number and a group's name"),
        pytest.param("1234", User(1234, 0, (0,), "/"), id="E18 digits are never a name"),
        pytest.param("0:4321", User(0, 4321, (), "/root"), id="E18 nor of a group"),
        pytest.param(f"{LARGEST}", User(LARGEST, 0, (0,), "/"), id="the largest"),
        pytest.param("0000", User(0, 0, (0, 60), "/root"), id="leading zeros"),
        pytest.param("relative", User(1001, 1001, (1001,), "/"), id="a home that is no path"),
        pytest.param(":dev", User(0, 60, (), "/root"), id="a group alone"),
    ],
)
def test_found(text: str, user: User) -> None:
    assert find(text, PASSWD, GROUP) == user


@pytest.mark.parametrize(
    "text",
    ["nobody", "app:none", "app:", "broken", "short", "negative", "large", "-1", "4294967295", "0:broken", "comment"],
)
def test_not_found(text: str) -> None:
    with pytest.raises(UsageError):
        find(text, PASSWD, GROUP)


def test_files_may_be_missing_or_rubbish() -> None:
    assert find("", b"", b"") == User(0, 0, (0,), "/")
    assert find("5", b"\xff\xff:::\n\0:x:5:5::/:\n", b"::::") == User(5, 0, (0,), "/")
