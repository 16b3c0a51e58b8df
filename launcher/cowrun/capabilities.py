"""Which capabilities (capabilities(7)) a command gets. Pure.

The default is podman's on Debian: docker's without mknod, net_raw and audit_write.
"""

from collections.abc import Iterable

from cowfs.errors import UsageError
from cowfs.linux import CAPABILITIES

DEFAULT = frozenset((
    "chown", "dac_override", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap", "net_bind_service",
    "sys_chroot", "setfcap",
))  # fmt: skip


def choose(add: Iterable[str], drop: Iterable[str]) -> frozenset[str]:
    """The default with ``--cap-add`` and ``--cap-drop`` applied as docker does: ALL first, then single names.

    Raises UsageError.
    """
    added, dropped = _parse("--cap-add", add), _parse("--cap-drop", drop)
    chosen = set(CAPABILITIES if "all" in added else DEFAULT)
    if "all" in dropped:
        chosen = set(CAPABILITIES) - dropped if "all" in added else set()
    return frozenset((chosen - dropped) | (added - {"all"}))


def mask(names: Iterable[str]) -> int:
    """The bit mask of a set of names."""
    return sum(1 << CAPABILITIES.index(name) for name in names)


def _parse(option: str, texts: Iterable[str]) -> set[str]:
    found = set()
    for text in texts:
        name = text.lower().removeprefix("cap_")
        if name != "all" and name not in CAPABILITIES:
            raise UsageError(f"{option} {text}: no such capability")
        found.add(name)
    return found
