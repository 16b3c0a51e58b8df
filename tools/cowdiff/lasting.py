"""Would it have lasted? Where a path of a run lives, and what becomes of it.

    what is at the path, or above it      at exit                       what keeps it
    ------------------------------------  ----------------------------  ----------------------------------
    a volume                              stays on the host             it does; ":ro" refuses changes
    a tmpfs                               gone, it was memory           -v in its place
    a file that cowrun injected           gone with the run             -v of a file of one's own
    proc, sysfs, devpts ...               it is the kernel's            nothing
    the upper, changed or made            kept until the run is removed cowdiff apply, commit, cp; -v
    the upper, removed                    the base has it still         cowdiff apply
    a layer, not changed                  it stays as it is             -

Of a container of another engine the same, in that engine's words: its upper stays until it is removed.

Mounts come first, the deepest of them; then the upper, then the layers.
"""

import os
import posixpath
import stat
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cowfs.errors import NotFound
from cowfs.model import Container, Mounted, Run, RunState
from cowfs.runs.escape import printable


class Place(Enum):
    """Where a path lives."""

    VOLUME = "volume"
    TMPFS = "tmpfs"
    INJECTED = "injected"
    KERNEL = "kernel"
    UPPER = "upper"
    REMOVED = "removed"
    LAYER = "layer"
    NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True)
class Answer:
    """All in words but ``place`` and ``lasts``: is a change there once the run is over?"""

    place: Place
    lasts: bool
    where: str
    at_exit: str
    keep: tuple[str, ...]


_MEMORY: Final = frozenset(("tmpfs", "ramfs"))


def explain(run: Run, path: bytes) -> Answer:
    """``path`` without a leading slash. Raises NotFound, StoreError."""
    shown = "/" + os.fsdecode(path)
    mounted = _over(run, shown)
    if mounted is not None:
        return _mounted(run, mounted, shown)
    return _merged(run, path)


def _over(run: Run, path: str) -> Mounted | None:
    """The mount that a path is on: the deepest; of several at one place, the last."""
    found = None
    for mounted in run.mounts or tuple(Mounted(target, "mount") for target in run.volumes):
        inside = path == mounted.target or path.startswith(mounted.target.rstrip("/") + "/")
        if inside and (found is None or len(mounted.target) >= len(found.target)):
            found = mounted
    return found


def _mounted(run: Run, mounted: Mounted, path: str) -> Answer:
    target = _text(mounted.target)
    if mounted.kind == "volume":
        source = _text(posixpath.join(mounted.source, posixpath.relpath(path, mounted.target)).removesuffix("/."))
        if mounted.read_only:
            keep = f"nothing could be written; without :ro, {_starts(run)} -v {_text(mounted.source)}:{target}"
            return Answer(
                Place.VOLUME, True, f"a volume, read-only: {source} of the host", "stays on the host", (keep,)
            )
        keep = f"it is kept already: what the {_noun(run)} wrote there is on the host"
        return Answer(Place.VOLUME, True, f"a volume: {source} of the host", "stays on the host", (keep,))
    if mounted.kind in _MEMORY:
        keep = f"{_starts(run)} -v DIRECTORY:{target} puts a directory of the host there"
        return Answer(Place.TMPFS, False, f"a tmpfs on {target}: memory", _past(run, "gone, without a trace"), (keep,))
    if mounted.kind == "injected":
        maker = run.engine if isinstance(run, Container) else "cowrun"
        where = f"a file that {maker} made for this {_noun(run)} and mounted on {target}"
        keep = f"{_starts(run)} -v FILE:{target} mounts a file of the host instead"
        return Answer(
            Place.INJECTED, False, where, _past(run, "thrown away; the image's own was never changed"), (keep,)
        )
    if mounted.kind == "mount":
        where, at_exit = f"a mount on {target}, not the merge", f"not part of the {_noun(run)}'s changes"
        return Answer(Place.KERNEL, False, where, at_exit, ())
    keep = "nothing keeps it: there is no file on a disk"
    at_exit = _past(run, f"gone with the {_noun(run)}")
    return Answer(Place.KERNEL, False, f"{mounted.kind} on {target}: the kernel's", at_exit, (keep,))


def _merged(run: Run, path: bytes) -> Answer:
    from cowfs.runs.trees import base_of, left_by

    shown = "/" + printable(path)
    with left_by(run) as tree:
        node, names = tree.root, path.split(b"/") if path else []
        for count, name in enumerate(names):
            if stat.S_ISLNK(node.kind):
                raise _is_link(names[:count], tree.version(node).target, names[count:])
            found = tree.lookup(node, name)
            if found is None:
                break
            node = found
        else:
            return _found(run, path, shown)
    with base_of(run) as base:
        if base.walk(path) is not None:
            where = f"nowhere in the {_noun(run)}: it removed it; the base below has it still"
            at_exit = _past(run, f"there again for the next {_noun(run)}")
            return Answer(Place.REMOVED, False, where, at_exit, _removal(run, shown))
    _nowhere(run, path, shown)
    where = f"nowhere any more: the {_noun(run)} made and removed it"
    return Answer(Place.NOWHERE, False, where, "nothing is left of it", ())


def _is_link(path: list[bytes], target: bytes, rest: list[bytes]) -> NotFound:
    link = b"/" + b"/".join(path)
    leads = os.path.normpath(os.path.join(os.path.dirname(link), target, *rest))
    return NotFound(f"{printable(link)} is a symbolic link: ask for {printable(leads)}")


def _removal(run: Run, shown: str) -> tuple[str, ...]:
    if isinstance(run, Container):
        return (_commit(run),)
    return (f"cowdiff apply {run.id} {shown} removes it from the base",) if not run.digest else ()


def _nowhere(run: Run, path: bytes, shown: str) -> None:
    from cowdiff.journals import history_of

    if not run.journal.exists() or not history_of(run)[0].blame(path):
        raise NotFound(f"no such path in the {_noun(run)}: {shown}")


def _found(run: Run, path: bytes, shown: str) -> Answer:
    number, above = _layer(run, path)
    if number is None:
        where = f"the {_noun(run)}'s upper, {printable(os.fsencode(run.upper) + b'/' + path)}"
        where += f", over layer {above}" if above else ""
        if isinstance(run, Container):
            at_exit = f"stays until the container is removed ({run.engine} rm)"
            return Answer(Place.UPPER, False, where, at_exit, (_commit(run), *_taken_out(run, shown)))
        at_exit = _past(run, f"thrown away, and kept to look at until run {run.id} is removed (cowdiff rm, prune)")
        keep = (
            f"cowdiff commit {run.id} NAME makes an image of all that the run left"
            if run.digest
            else f"cowdiff apply {run.id} {shown} gives it to the base",
            *_taken_out(run, shown),
        )
        return Answer(Place.UPPER, False, where, at_exit, keep)
    base = (
        "this machine's own root"
        if run.host
        else f"layer {number} of {len(run.lowers)} of {printable(os.fsencode(run.source))}"
    )
    return Answer(Place.LAYER, True, f"{base}; the {_noun(run)} did not change it", "stays as it is", ())


def _taken_out(run: Run, shown: str) -> tuple[str, str]:
    return (
        f"cowdiff cp {run.token}:{shown} DEST takes it out",
        f"{_starts(run)} -v DIRECTORY:{posixpath.dirname(shown)} ... writes it to the host the next time",
    )


def _commit(run: Container) -> str:
    return f"{run.engine} commit {run.name} NAME makes an image of all that the container left"


def _noun(run: Run) -> str:
    return "container" if isinstance(run, Container) else "run"


def _starts(run: Run) -> str:
    return f"{run.engine} run" if isinstance(run, Container) else "cowrun"


def _layer(run: Run, path: bytes) -> tuple[int | None, int]:
    """The number of the layer that supplies a path, None for the upper; and that of the next below it, 0 for none."""
    from cowfs.layers.testimony import testify
    from cowfs.rules.explain import Effect, explain

    directories = (run.upper, *run.lowers)
    verdicts = explain([testify(directory, path).saying for directory in directories])
    speaking = (Effect.SUPPLIES, Effect.MERGES, Effect.HIDDEN)
    numbers = [len(run.lowers) - index + 1 for index, one in enumerate(verdicts) if one.effect in speaking]
    if not numbers:
        return None, 0  # it moved here: the upper alone knows
    above = numbers[1] if len(numbers) > 1 else 0
    return (None if numbers[0] > len(run.lowers) else numbers[0]), above


def _past(run: Run, text: str) -> str:
    return text if run.state is not RunState.RUNNING else f"will be {text}"


def _text(path: str) -> str:
    return printable(os.fsencode(path))
