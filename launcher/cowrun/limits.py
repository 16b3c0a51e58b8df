"""``-m``, ``--cpus``, ``--pids-limit``, ``--ulimit``: docker's syntax as values. Pure."""

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from cowfs.errors import UsageError

PIDS_DEFAULT: Final = 2048  # podman's: enough for a build on a big machine, and the end of a fork bomb
LEAST_MEMORY: Final = 6 << 20  # docker's
PERIOD: Final = 100_000  # microseconds, the kernel's default
_CPUS: Final = re.compile(r"[0-9]{0,6}(?:\.[0-9]{1,9})?", re.ASCII)
_LIMIT: Final = re.compile(r"-1|unlimited|[0-9]{1,18}", re.ASCII)

# RLIMIT_* (asm-generic/resource.h), by docker's names.
ULIMITS: Final = (
    "cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending",
    "msgqueue", "nice", "rtprio", "rttime",
)  # fmt: skip
UNLIMITED: Final = -1


class Limits(NamedTuple):
    """Of all processes of a run together. None: as much as there is."""

    memory: int | None = None  # bytes
    quota: int | None = None  # microseconds of processor time in each PERIOD
    pids: int | None = None
    pids_asked: bool = False  # the others are set only where they were asked for


class Ulimit(NamedTuple):
    """Of one process, and those that it starts (setrlimit(2))."""

    name: str
    soft: int
    hard: int


def parse_limits(memory: str | None, cpus: str | None, pids: int | None) -> Limits:
    """Raises UsageError."""
    return Limits(
        None if memory is None else _memory(memory),
        None if cpus is None else _quota(cpus),
        PIDS_DEFAULT if pids is None else (pids if pids > 0 else None),
        pids is not None and pids > 0,
    )


def parse_ulimits(texts: Iterable[str]) -> tuple[Ulimit, ...]:
    """``NAME=SOFT[:HARD]``; the last one of a name counts. Raises UsageError."""
    found = {}
    for text in texts:
        name, _, values = text.partition("=")
        soft, colon, hard = values.partition(":")
        hard = hard if colon else soft
        if name not in ULIMITS or not _LIMIT.fullmatch(soft) or not _LIMIT.fullmatch(hard):
            raise UsageError(f"--ulimit {text}: NAME=SOFT[:HARD] with NAME one of {', '.join(ULIMITS)}")
        made = Ulimit(name, _limit(soft), _limit(hard))
        if made.hard != UNLIMITED and not 0 <= made.soft <= made.hard:
            raise UsageError(f"--ulimit {text}: the soft limit is above the hard one")
        found[name] = made
    return tuple(found.values())


def _memory(text: str) -> int:
    from cowfs.quantities import size  # the container's first process reads limits, and needs none of that

    try:
        memory = size(text)
    except UsageError:
        raise UsageError(f"-m {text}: a number with b, k, m or g after it") from None
    if not LEAST_MEMORY <= memory < 1 << 62:
        raise UsageError(f"-m {text}: at least {LEAST_MEMORY >> 20}m")
    return memory


def _quota(text: str) -> int:
    if not _CPUS.fullmatch(text) or not text.strip("."):
        raise UsageError(f"--cpus {text}: a number of processors, as 0.5")
    quota = round(float(text) * PERIOD)
    if quota < 1000:  # the kernel takes no less
        raise UsageError(f"--cpus {text}: at least 0.01")
    return quota


def _limit(text: str) -> int:
    return UNLIMITED if text in ("-1", "unlimited") else int(text)
