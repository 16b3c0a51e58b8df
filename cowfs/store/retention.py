"""How long runs are kept: budgets of number, age and bytes, from ``runs.toml`` in the store. Used when a run ends.

    keep = 100        # runs
    age = "90d"       # since they started
    size = "20G"      # of what all of them changed

Those are the budgets where the file says nothing; ``"no"`` takes one away. The oldest run goes first, never one that is
going, pinned, applied (its undo would go with it), or that another run is built on.
"""

import os
import time
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from cowfs import ondisk
from cowfs.errors import StoreError, UsageError
from cowfs.model import Run
from cowfs.quantities import seconds, size
from cowfs.store.descent import disk_usage

CONFIG: Final = "runs.toml"
_NONE: Final = "no"
_LIMIT: Final = 1 << 20


class Budget(NamedTuple):
    """None: no limit."""

    keep: int | None = 100
    age: int | None = 90 * 86400  # seconds
    size: int | None = 20 << 30  # bytes


def read_budget(root: Path) -> Budget:
    """The budget of the store at ``root``. Raises StoreError where the file cannot be understood."""
    path = root / CONFIG
    try:
        with path.open("rb") as file:
            text = file.read(_LIMIT).decode()
        import tomllib  # few stores have the file, and every run would wait for this

        found = tomllib.loads(text)
    except FileNotFoundError:
        return Budget()
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: {error}") from error
    if unknown := found.keys() - {"keep", "age", "size"}:
        raise StoreError(f"{path}: {sorted(unknown)[0]!r} is none of keep, age and size")
    try:
        return Budget(**{key: _value(key, value) for key, value in found.items()})
    except (UsageError, ValueError) as error:
        raise StoreError(f"{path}: {error}") from None


def _value(key: str, value: Any) -> int | None:
    if value == _NONE:
        return None
    if key == "keep":
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ValueError(f"keep = {value!r} is no number of runs")
        return value
    if not isinstance(value, str):
        raise ValueError(f'{key} = {value!r}: write it as "90d", "20G"')
    return seconds(value) if key == "age" else size(value)


class Counted(Protocol):
    """What a budget counts."""

    @property
    def started(self) -> float:
        """Seconds since the epoch."""

    @property
    def size(self) -> int:
        """Bytes on the disk."""


Some = TypeVar("Some", bound=Counted)


def beyond(budget: Budget, runs: Iterable[Some], now: float | None = None) -> Iterator[Some]:
    """Those of ``runs`` (the newest first) that have no place in the budget, whether they may be removed or not."""
    now = time.time() if now is None else now
    bytes_used = 0
    for number, run in enumerate(runs, 1):
        bytes_used += run.size
        if (
            (budget.keep is not None and number > budget.keep)
            or (budget.age is not None and now - run.started > budget.age)
            or (budget.size is not None and bytes_used > budget.size)
        ):
            yield run


def is_kept(run: Run, bases: Container[str]) -> bool:
    """True for what only a person removes, by name; ``bases``: ids of the runs that others are built on."""
    return run.pinned or run.applied or run.id in bases


def bases_of(run: Run) -> set[str]:
    """The ids of the runs that a run is built on."""
    return {path.parts[-2] for path in run.lowers if path.parts[-3::2] == (ondisk.RUNS, ondisk.RUN_UPPER)}


def size_of(run: Run) -> int:
    """Bytes on the disk of what a run changed: from its record, else by looking at each file."""
    if run.size is not None:
        return run.size
    try:
        descriptor = os.open(run.upper, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        return disk_usage(descriptor)
    finally:
        os.close(descriptor)
