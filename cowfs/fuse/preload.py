"""What takes long to import and every mount needs, whatever its options are. For a process that waits for its order.

Not pyfuse3: the transport may have to load a library before it. Importing this module is the whole of it.

Of trio, serving needs the scheduler. TLS, name resolution, subprocesses and files, which its package brings along, are
a third of the time; they are imported when somebody asks for a name that is not there yet. pyfuse3 asks for its own
version by importlib.metadata, which brings mail and archives; and trio, for the names of threads, asks the linker's
cache, by a process.
"""

import ctypes.util
import gc
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

_NAMES = {
    "_core": ("run", "open_nursery", "CancelScope", "Cancelled", "ClosedResourceError", "TASK_STATUS_IGNORED"),
    "_sync": ("Event", "Lock"),
    "_timeouts": ("sleep",),
    "_signals": ("open_signal_receiver",),
}
_MODULES = ("lowlevel", "to_thread")


def _import_scheduler() -> None:
    """Import trio without what its ``__init__`` adds; that is executed in the same module by the first need of it."""
    spec = importlib.util.find_spec("trio")
    if "trio" in sys.modules or spec is None or spec.loader is None:
        return
    loader, module = spec.loader, importlib.util.module_from_spec(spec)

    def others(name: str) -> Any:
        if name.startswith("_") or "__getattr__" not in vars(module):
            raise AttributeError(f"module 'trio' has no attribute {name!r}")
        del module.__getattr__
        loader.exec_module(module)
        return getattr(module, name)

    module.__getattr__ = others  # type: ignore[method-assign]
    sys.modules["trio"] = module
    try:
        for part, names in _NAMES.items():
            found = importlib.import_module(f"trio.{part}")
            vars(module).update({name: getattr(found, name) for name in names})
        for part in _MODULES:
            importlib.import_module(f"trio.{part}")
    except (ImportError, AttributeError):  # another trio: then all of it
        for name in [name for name in sys.modules if name.partition(".")[0] == "trio"]:
            del sys.modules[name]


def without_versions(load: Callable[[], None]) -> None:
    """Do an import during which no package learns its own version."""
    known = "importlib.metadata" in sys.modules
    if not known:
        absent = ModuleType("importlib.metadata")
        error = type("PackageNotFoundError", (ModuleNotFoundError,), {})

        def version(name: str) -> str:
            raise error(name)

        vars(absent).update({"PackageNotFoundError": error, "version": version})
        sys.modules["importlib.metadata"] = absent
    try:
        load()
    finally:
        if not known:
            del sys.modules["importlib.metadata"]


find, ctypes.util.find_library = ctypes.util.find_library, lambda name: None
gc.disable()  # among ten thousand fresh objects a collection finds nothing
try:
    _import_scheduler()
    import trio  # noqa: F401

    import cowfs.fuse.serve
    import cowfs.overlay  # noqa: F401
finally:
    gc.enable()
    ctypes.util.find_library = find
