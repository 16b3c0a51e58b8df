"""The table of cowfs.rules.redirect."""

import errno

import pytest

from cowfs.rules.redirect import refusal

TABLE = {
    b"name": 0,
    b"...": 0,
    b".name": 0,
    b"/a": 0,
    b"/a/b": 0,
    b"/a/..b": 0,
    b"": errno.EINVAL,
    b"/": errno.EINVAL,
    b"a/b": errno.EINVAL,
    b"//a": errno.EINVAL,
    b"/a//b": errno.EINVAL,
    b"/a/": errno.EINVAL,
    b"a\0": errno.EINVAL,
    b".": errno.EACCES,
    b"..": errno.EACCES,
    b"/..": errno.EACCES,
    b"/a/../b": errno.EACCES,
    b"/a/.": errno.EACCES,
}


@pytest.mark.parametrize(("redirect", "code"), TABLE.items())
def test_the_table(redirect, code):
    assert refusal(redirect) == code
