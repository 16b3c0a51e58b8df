"""Signals by name or number, as docker takes them: KILL, SIGKILL, kill, 9, RTMIN+3. Pure."""

import re
import signal
from typing import Final

from cowfs.errors import UsageError

_REAL_TIME: Final = re.compile(r"RT(MIN\+|MAX-)([0-9]{1,2})")


def parse(option: str, text: str) -> int:
    """The number of a signal. Raises UsageError."""
    name = text.upper().removeprefix("SIG")
    known = {number.name.removeprefix("SIG"): int(number) for number in signal.Signals}
    number = int(name) if name.isascii() and name.isdigit() else known.get(name, 0)
    if match := _REAL_TIME.fullmatch(name):
        offset = int(match[2])
        number = signal.SIGRTMIN + offset if match[1] == "MIN+" else signal.SIGRTMAX - offset
    if number not in signal.valid_signals():
        raise UsageError(f"{option} {text}: no such signal")
    return number
