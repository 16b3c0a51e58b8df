"""Random operations, a little of them: long runs are ``python -m tests.behaviour.random_ops``.

A plain directory is right. overlayfs runs against it as well: that shows that the steps and the comparison are sound.
"""

import os
from pathlib import Path

import pytest

from tests.behaviour.differences import LEVERS_OFF
from tests.behaviour.random_ops import Found, as_test, episode, smallest


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("who", ["core", "cowfs", "overlayfs"])
def test_random_operations(who: str, seed: int, tmp_path: Path) -> None:
    base, names = os.fsencode(tmp_path), ("plain", who)
    unable = {"slot_allocate", "umask"} if who == "cowfs" and LEVERS_OFF else set[str]()
    try:
        episode(base, f"ci.{seed}", 250 if who == "core" else 100, names, unable)
    except Found as found:
        pytest.fail(as_test(smallest(base, found, names)))


@pytest.mark.parametrize("seed", range(5))
def test_random_operations_as_the_kernel_does_them_for_engines(seed: int, tmp_path: Path) -> None:
    base, names = os.fsencode(tmp_path), ("overlayfs-default", "engine")
    unable = {"removexattr", "setxattr"}  # where they fail, overlayfs has copied up all the same
    if LEVERS_OFF:
        unable |= {"slot_allocate", "umask"}
    try:
        episode(base, f"engines.{seed}", 100, names, unable)
    except Found as found:
        pytest.fail(as_test(smallest(base, found, names)))
