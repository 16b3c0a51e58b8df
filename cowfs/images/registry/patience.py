"""What is tried again, and when. No I/O but the sleep that it is given.

a cut, a stall, 429, 500, 502, 503, 504     may pass: five tries, unless something arrives in between
Retry-After                                 obeyed, up to a minute
everything else                             is final
"""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

from cowfs.errors import RegistryError

TRIES = 5
LONGEST = 60.0  # seconds between two tries
PASSING = frozenset((408, 429, 500, 502, 503, 504))


class Passing(Exception):
    """A failure that may pass. ``after``: seconds that the registry asked for."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Patience:
    """How often one thing was tried. A new one for each request or download."""

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep
        self._failures = 0
        self._arrived = False

    def arrived(self) -> None:
        """So much came that the next failure is the first one, and worth an immediate try."""
        self._failures = 0
        self._arrived = True

    def bear(self, failure: Passing, what: str) -> None:
        """Wait before the next try. Raises RegistryError if there is none."""
        self._failures += 1
        if self._failures >= TRIES:
            raise RegistryError(f"{what}: {failure} (tried {TRIES} times)") from failure
        pause = 0.0 if self._arrived else 2.0 ** (self._failures - 1)
        self._arrived = False
        self._sleep(min(LONGEST, pause if failure.after is None else failure.after))


def retry_after(value: str | None, now: float | None = None) -> float | None:
    """The seconds of a Retry-After header (RFC 9110, 10.2.3); None if there is none that can be understood."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        then = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, then - (time.time() if now is None else now))
