"""A build of eight steps gives, entry for entry, the image that it gives on the kernel's overlayfs.

By podman and by buildah, as root and as an ordinary user. Every test reads the whole of both images.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engines.eight_steps import build
from tests.engines.saved import Saved, differences, whiteouts
from tests.support import debian
from tests.support.person import PLACE
from tests.support.podman import Engine


def assert_same(built: Saved, right: tuple[float, Saved]) -> None:
    """The trees are the same; a layer of ours has nothing that did not change, which the kernel's may."""
    assert differences(right[1].tree, built.tree, since=right[0]) == {}
    for layer, other in zip(built.layers, right[1].layers, strict=True):
        assert layer - other <= whiteouts(layer)


@pytest.mark.parametrize("builder", ["podman", "buildah"])
def test_eight_steps(builder: str, engines: Callable[..., Engine], ours: Path, right: tuple[float, Saved]) -> None:
    engine = engines("ours", ours)
    built = build(engine, builder)
    assert_same(built, right)
    assert engine.overlays() == []


@pytest.mark.parametrize("builder", ["podman", "buildah-chroot"])
def test_eight_steps_of_an_ordinary_user(builder: str, rootless: Engine, right: tuple[float, Saved]) -> None:
    built = build(rootless, builder, debian.image(PLACE / "project"))
    assert_same(built, right)
    assert rootless.overlays() == []
