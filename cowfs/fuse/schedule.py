"""What schedules the requests of this process: a loop of our own, or trio. And how pyfuse3 is imported.

``loop`` is one of the two, by trio's names. To be used as ``schedule.loop.NAME``, never kept: a process that was forked
from one with the other takes its own choice. Nobody's choice is trio.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import trio

    loop = trio


def use_ours() -> None:
    """From now on it is :mod:`cowfs.fuse.transport.loop`; trio is not imported."""
    from cowfs.fuse.transport import loop as ours

    _take(ours)


def use_trio() -> None:
    """From now on it is trio."""
    import ctypes.util

    # For the names of threads it asks for the C library, which Python does by the linker's cache, in a process.
    find, ctypes.util.find_library = ctypes.util.find_library, lambda name: None
    try:
        import trio
    finally:
        ctypes.util.find_library = find
    _take(trio)


def _take(module: ModuleType) -> None:
    """Put it where pyfuse3 looks at each call, which its own asyncio mode relies on (pyfuse3/asyncio.py).

    pyfuse3 imports trio, and importlib.metadata to learn its own version, which brings mail and archives. For that
    moment something else has their names.
    """
    standing_in = {"trio": module, "importlib.metadata": _without_versions()}
    standing_in = {name: other for name, other in standing_in.items() if name not in sys.modules}
    sys.modules.update(standing_in)
    try:
        import pyfuse3
    finally:
        for name in standing_in:
            del sys.modules[name]
    vars(pyfuse3)["trio"] = module
    globals()["loop"] = module


def _without_versions() -> ModuleType:
    """An importlib.metadata that knows no package."""
    absent = ModuleType("importlib.metadata")
    error = type("PackageNotFoundError", (ModuleNotFoundError,), {})

    def version(name: str) -> str:
        raise error(name)

    vars(absent).update({"PackageNotFoundError": error, "version": version})
    return absent


def __getattr__(name: str) -> Any:
    if name != "loop":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    use_trio()
    return globals()[name]
