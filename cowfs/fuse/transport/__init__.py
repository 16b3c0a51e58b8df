"""How requests travel between the kernel and pyfuse3, faster than pyfuse3 does it alone.

Nine *levers*, each tried at start-up, each able to fail without harm, each switched off by name:

    handshake    mount(2) and INIT are ours: the kernel is told what pyfuse3 cannot ask for (no security.capability
                 look-up before writes, symbolic links cached, 1 MiB requests, the umask left to us)
    loop         requests are scheduled by a loop of our own, and trio is not imported
    waiting      the device is read or polled a few dozen times before the event loop is asked to wait for it
    latency      idle processors do not halt while many requests come (needs handshake, loop, root, a virtual machine)
    passthrough  reads, writes and mmap of files in the upper go to the file itself; their fsync needs no Python (needs
                 handshake and library)
    listings     the kernel keeps directory listings, and opens no directory (needs library; not where a lower may
                 change underneath)
    threads      files that are not in passthrough are read, and removed ones closed, by threads that need no Python
                 (needs library)
    answers      what needs no Python is answered as it is taken from the device: attributes of files without any,
                 ioctls, reads and syncs of ``threads`` and ``passthrough`` (needs handshake and library)
    extras       fallocate, lseek (SEEK_DATA, SEEK_HOLE) and copy_file_range are answered (needs library)

``MountOptions.transport`` is "auto" (all that work), "plain" (none: pyfuse3 as it is), or names joined by "+".
"""

from typing import Final

from cowfs.errors import UsageError

LEVERS: Final = ("handshake", "loop", "waiting", "latency", "passthrough", "listings", "threads", "answers", "extras")
AUTO: Final = "auto"
PLAIN: Final = "plain"


def wanted(text: str) -> frozenset[str]:
    """The levers that ``MountOptions.transport`` asks for. Raises UsageError for an unknown name."""
    if text == AUTO:
        return frozenset(LEVERS)
    if text == PLAIN:
        return frozenset()
    names = frozenset(text.split("+"))
    if unknown := names - frozenset(LEVERS):
        known = ", ".join((AUTO, PLAIN, *LEVERS))
        raise UsageError(f"unknown transport {sorted(unknown)[0]!r}: one of {known}, or several joined by +")
    return names


class Levers:
    """What is on, and for the rest why not, in words for ``cowfs info``."""

    __slots__ = ("asked", "on", "reasons")

    def __init__(self, asked: frozenset[str]) -> None:
        self.asked = asked
        self.on: set[str] = set()
        self.reasons: dict[str, str] = {}

    def asks(self, name: str) -> bool:
        """Is a lever wanted?"""
        return name in self.asked

    def enable(self, name: str) -> None:
        """A lever works."""
        self.on.add(name)
        self.reasons.pop(name, None)

    def refuse(self, name: str, reason: str) -> None:
        """A lever does not work."""
        self.on.discard(name)
        self.reasons[name] = reason

    def report(self) -> dict[str, str]:
        """Every lever: "on", or why it is off."""
        return {name: self._state(name) for name in LEVERS}

    def _state(self, name: str) -> str:
        if name in self.on:
            return "on"
        return self.reasons.get(name, "not tried") if name in self.asked else "switched off"
