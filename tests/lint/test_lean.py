"""Promises of modules: what is imported inside of the block works behind it, and behind it everything is as ever."""

import subprocess
import sys

import pytest

CASES = {
    "a module comes with its first use": """
with lean.imports():
    import re, fnmatch
assert "re" not in sys.modules
assert re.sub("a", "b", "banana") == "bbnbnb" and fnmatch.fnmatch("ab", "a*")
import re as again
assert again is sys.modules["re"]
""",
    "functions by name": """
with lean.imports():
    from urllib.parse import quote_from_bytes
    from queue import Queue
    from pickle import PicklingError
assert not {"urllib.parse", "queue", "pickle"} & set(sys.modules)
assert quote_from_bytes(b" ") == "%20"
queue = Queue(1); queue.put(1)
assert queue.get() == 1
import pickle
try:
    raise PicklingError("no")
except pickle.PicklingError as failure:
    assert str(failure) == "no"
""",
    "a use inside of the block": """
with lean.imports():
    import json, threading
    assert json.dumps({}) == "{}" and json.JSONDecodeError
    assert threading.current_thread() is threading.main_thread()
    import json as again
assert again is sys.modules["json"]
""",
    "named tuples": """
with lean.imports():
    from typing import NamedTuple, Generic, TypeVar, ClassVar, Final, Any, cast, Protocol, ParamSpec
    from collections.abc import Callable
    T = TypeVar("T"); P = ParamSpec("P")
    class Kept(Generic[T]):
        own: ClassVar[int] = 1
    class Shown(Protocol):
        def show(self) -> "int | None": ...
    class Point(NamedTuple):
        "A place."
        x: int
        y: "int | None" = 2
        @property
        def both(self) -> tuple[int, int]:
            return self.x, self.y
        @classmethod
        def zero(cls) -> "Point":
            return cls(0)
    def kept(function: Callable[P, T], *words: P.args, **more: P.kwargs) -> Callable[P, T | None]: ...
    LIMIT: Final[int] = cast(int, 3)
assert "typing" not in sys.modules
assert Point(1).both == (1, 2) and Point.zero()._replace(y=5) == (0, 5) and Point._fields == ("x", "y")
assert repr(Point(1)) == "Point(x=1, y=2)" and Point.__doc__ == "A place." and Point.__module__ == "__main__"
import pickle
assert pickle.loads(pickle.dumps(Point(4))) == Point(4) and isinstance(Point(4), Point)
""",
    "other names of typing are its own": """
with lean.imports():
    from typing import Annotated
import typing
assert typing.Annotated is Annotated and typing.NamedTuple.__module__ == "typing"
""",
    "signals are numbers until more is asked": """
with lean.imports():
    import signal
assert "signal" not in sys.modules
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
assert signal.SIGTERM == 15 and 15 in signal.pthread_sigmask(signal.SIG_BLOCK, ())
assert signal.signal(signal.SIGINT, signal.SIG_DFL) and signal.getsignal(signal.SIGINT) == signal.SIG_DFL
assert signal.Signals(9).name == "SIGKILL" and "signal" in sys.modules
""",
    "what is there stays": """
import re
with lean.imports():
    import re as again
    with lean.imports():
        import typing
    import typing as other
assert again is re and other is typing and "typing" not in sys.modules
""",
    "a warning is formatted as was said, whenever": """
import io
told = io.StringIO()
with lean.imports():
    import logging
    log = logging.getLogger("part")
logging.basicConfig(stream=told, format="%(name)s %(levelname)s %(message)s", force=True)
log.debug("not %s", "this"); log.info("nor this")
assert "logging" not in sys.modules
log.warning("but %s", "this")
try:
    1 / 0
except ArithmeticError:
    log.exception("and this")
lines = told.getvalue().splitlines()
assert lines[0] == "part WARNING but this" and lines[1] == "part ERROR and this", lines
assert lines[-1] == "ZeroDivisionError: division by zero"
""",
}


@pytest.mark.parametrize("case", CASES)
def test_promises(case):
    program = f"import sys\nsys.path += {[path for path in sys.path if path]}\nfrom cowfs import lean\n{CASES[case]}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.returncode == 0
