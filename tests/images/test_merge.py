"""E06: the order of the entries of a layer makes no difference, and overlayfs shows what the specification says."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cowfs.images.unpack import unpack
from tests.images import model
from tests.images.model import Tree, merged, seen
from tests.images.tars import DIRECTORY, entry, opaque, tar, whiteout

LOWER = tar(
    *(
        entry(path, data=b"lower")
        for path in (b"f", b"d/a", b"d/b", b"d/sub/x", b"e/a", b"gone/x", b"again/x", b"again/y")
    )
)

# The entries of the layer above it, in any order.
UPPER = {
    "whiteout f": whiteout(b"f"),
    "f": entry(b"f", data=b"upper"),
    "d": entry(b"d/", DIRECTORY, mode=0o700),
    "opaque d": opaque(b"d"),
    "d/a": entry(b"d/a", data=b"upper"),
    "whiteout d/b": whiteout(b"d/b"),
    "d/sub/y": entry(b"d/sub/y", data=b"upper"),
    "whiteout gone": whiteout(b"gone"),
    "whiteout again": whiteout(b"again"),
    "again": entry(b"again/", DIRECTORY),
    "again/x": entry(b"again/x", data=b"upper"),
    "whiteout e/a": whiteout(b"e/a"),
    "opaque new": opaque(b"new"),
}


def upper(order: Iterable[str]) -> bytes:
    return tar(*(UPPER[name] for name in order))


def unpacked(path: Path, data: bytes) -> Path:
    path.mkdir()
    fd = os.open(path, os.O_RDONLY)
    try:
        unpack([data], fd)
    finally:
        os.close(fd)
    return path


def by_path(tree: Tree) -> Tree:
    return dict(sorted(tree.items()))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(list(UPPER)))
def test_e06_any_order_makes_the_same_layer(order: list[str]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        first = unpacked(Path(temporary) / "first", upper(UPPER))
        other = unpacked(Path(temporary) / "other", upper(order))
        assert by_path(seen(other)) == by_path(seen(first))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.permutations(list(UPPER)))
def test_e06_overlayfs_shows_what_the_specification_says(order: list[str]) -> None:
    layers = [LOWER, upper(order)]
    with tempfile.TemporaryDirectory() as temporary:
        directories = [unpacked(Path(temporary) / str(number), data) for number, data in enumerate(layers)]
        assert by_path(model.kernel_view(directories[::-1])) == by_path(merged(layers))
