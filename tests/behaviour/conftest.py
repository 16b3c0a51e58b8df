"""Runs each test of the suite over the implementations, each in a scene of its own, all mounts in a private namespace.

Markers say which can answer a test: ``kernel`` needs file descriptors (not the core in process), ``merged``
needs layers (not a plain directory). A difference that ``differences.py`` lists is expected: the test must then fail.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from cowfs.options import EngineOptions
from tests.behaviour import layers, syscalls
from tests.behaviour.core import CowfsCore
from tests.behaviour.differences import expected
from tests.behaviour.fs import SyscallFs
from tests.behaviour.merged import (
    OVERLAY_DEFAULT,
    OVERLAY_FULL,
    CowfsMount,
    KernelOverlay,
    PlainDirectory,
    Scene,
    build_lowers,
)

Make = Callable[..., Any]  # each implementation has more than the protocol: a test's markers say what it uses


def _plain(base: bytes, stack: Sequence[layers.Layer]) -> PlainDirectory:
    return PlainDirectory(base, stack)


def _overlay(base: bytes, stack: Sequence[layers.Layer]) -> KernelOverlay:
    return KernelOverlay(Scene(base, build_lowers(base, stack or [[]])), OVERLAY_DEFAULT)


def _overlay_full(base: bytes, stack: Sequence[layers.Layer]) -> KernelOverlay:
    return KernelOverlay(Scene(base, build_lowers(base, stack or [[]])), OVERLAY_FULL)


def _core(base: bytes, stack: Sequence[layers.Layer]) -> CowfsCore:
    return CowfsCore(Scene(base, build_lowers(base, stack or [[]])))


def _mount(base: bytes, stack: Sequence[layers.Layer]) -> CowfsMount:
    return CowfsMount(Scene(base, build_lowers(base, stack or [[]])))


def _engine(base: bytes, stack: Sequence[layers.Layer]) -> CowfsMount:
    """As cowfs-overlay mounts it for container engines."""
    scene = Scene(base, build_lowers(base, stack or [[]]))
    return CowfsMount(scene, copy_up_on_open=True, engine=EngineOptions())


IMPLEMENTATIONS: dict[str, Callable[[bytes, Sequence[layers.Layer]], Any]] = {
    "plain": _plain,
    "overlayfs": _overlay,
    "overlayfs-full": _overlay_full,
    "core": _core,
    "cowfs": _mount,
    "engine": _engine,
}

# The rest is the same code, and each test with a mount costs a start.
_WHERE_ENGINES_DIFFER = {"test_copy_up", "test_identity", "test_marks", "test_names", "test_rename"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kernel: needs file descriptors, so the core in process cannot answer")
    config.addinivalue_line("markers", "all_on: needs redirects and metacopies, so overlayfs as default cannot answer")
    config.addinivalue_line("markers", "merged: needs layers, so a plain directory cannot answer")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make" not in metafunc.fixturenames:
        return
    chosen = list(IMPLEMENTATIONS)
    if metafunc.definition.get_closest_marker("kernel"):
        chosen.remove("core")
    if metafunc.module.__name__.rpartition(".")[2] not in _WHERE_ENGINES_DIFFER:
        chosen.remove("engine")
    if metafunc.definition.get_closest_marker("all_on"):
        chosen.remove("overlayfs")
    if metafunc.definition.get_closest_marker("merged"):
        chosen.remove("plain")
    metafunc.parametrize("implementation", chosen)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    difference = None
    if hasattr(pyfuncitem, "callspec") and "implementation" in pyfuncitem.callspec.params:
        implementation = str(pyfuncitem.callspec.params["implementation"])
        difference = expected(
            implementation, pyfuncitem.name.replace(f"[{implementation}-", "[").replace(f"[{implementation}]", "")
        )
    if difference is None:
        return (yield)
    try:
        yield
    except (AssertionError, OSError):
        return True  # type: ignore[return-value]
    pytest.fail(f"{implementation} no longer differs: {difference.seen}")


@pytest.fixture(scope="module", autouse=True)
def private_mounts() -> Iterator[None]:
    """Mounts of these tests are nobody else's, and end with them."""
    with syscalls.private_mounts():
        yield


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Modes are what a test asks for."""
    with syscalls.umask(0):
        yield


@pytest.fixture
def make(implementation: str) -> Iterator[Make]:
    """``make(bottom, ..., top)``: the file system under test over these layers. Anybody may enter its directory."""
    made: list[PlainDirectory | KernelOverlay | CowfsCore | CowfsMount] = []
    with tempfile.TemporaryDirectory(prefix="cowfs-behaviour-") as scratch:
        os.chmod(scratch, 0o755)

        def build(*stack: layers.Layer) -> object:
            base = os.fsencode(scratch) + b"/%d" % len(made)
            os.makedirs(base, 0o755)
            made.append(IMPLEMENTATIONS[implementation](base, stack))
            return made[-1]

        yield build
        for fs in made:
            if isinstance(fs, SyscallFs):
                fs.close_files()
            fs.close()
