"""Where an implementation is known to behave otherwise than a test says: the test must then fail.

Kept as a table so that documentation can be made of it, and so that a difference that ends is noticed.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Difference(NamedTuple):
    """``seen`` is what a program gets; ``source`` who met it."""

    implementations: Iterable[str]
    test: str  # the name of the test function
    seen: str
    source: str = ""


DIFFERENCES: tuple[Difference, ...] = ()


def expected(implementation: str, test: str) -> Difference | None:
    """The row that says that this test fails for this implementation, if there is one."""
    for difference in DIFFERENCES:
        if difference.test == test and implementation in difference.implementations:
            return difference
    return None
