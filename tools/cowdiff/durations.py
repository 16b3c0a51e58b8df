"""Lengths of time as people type them on a command line: "90s", "30m", "12h", "7d", "2w". Pure."""

import re
from typing import Final

from cowfs.errors import UsageError

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PART: Final = re.compile(r"(\d+)([smhdw])")


def seconds(text: str) -> int:
    """The seconds that ``text`` says; parts may follow each other, as "1d12h". Raises UsageError."""
    if not re.fullmatch(rf"(?:{_PART.pattern})+", text):
        raise UsageError(f"{text!r} is not a length of time: write it as 90s, 30m, 12h, 7d or 2w")
    return sum(int(count) * _SECONDS[unit] for count, unit in _PART.findall(text))
