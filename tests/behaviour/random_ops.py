"""Random operations for as long as you like: ``python -m tests.behaviour.random_ops --seed 1 --steps 100000``.

Steps come in episodes, each over new layers, by a seed of its own. What fails is made small and printed. Needs root.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Collection, Sequence

from tests.behaviour import syscalls
from tests.behaviour.generator import DESCRIPTORS, LayerChooser, StepChooser
from tests.behaviour.layers import Entry
from tests.behaviour.shrink import shrink
from tests.behaviour.steps import Step
from tests.behaviour.world import Mismatch, World, replay

EPISODE = 250
COMPARE_EVERY = 20


class Found(Exception):
    """A mismatch, and what leads to it."""

    def __init__(self, mismatch: Mismatch, stack: list[list[Entry]], todo: list[Step]) -> None:
        super().__init__(str(mismatch))
        self.mismatch, self.stack, self.todo = mismatch, stack, todo


def episode(base: bytes, seed: str, count: int, names: Sequence[str], without: Collection[str] = ()) -> None:
    """One run over layers of its own. Raises Found."""
    rng = random.Random(seed)
    stack = LayerChooser(rng).stack()
    todo: list[Step] = []
    syscalls.mount(b"scratch", base, b"tmpfs")
    try:
        world = World(base, stack, names)
        # Permissions are a kernel's to judge
        unable = {"as", *DESCRIPTORS} if "core" in names else set[str]()
        chooser = StepChooser(rng, world.players[0].fs, without=unable.union(without))
        try:
            for number in range(1, count + 1):
                todo.append(chooser.next())
                world.do(todo[-1])
                if number % COMPARE_EVERY == 0:
                    world.compare()
            world.finish()
            world.close()
        except Mismatch as mismatch:
            with contextlib.suppress(Mismatch):
                world.close()
            raise Found(mismatch, stack, todo) from mismatch
    finally:
        syscalls.unmount(base, lazy=True)


def smallest(base: bytes, found: Found, names: Sequence[str], budget: float = 60.0) -> Found:
    """The same mistake with as little as possible, in at most ``budget`` seconds."""
    best, deadline = found, time.monotonic() + budget

    def fails(stack: Sequence[Sequence[Entry]], todo: Sequence[Step]) -> bool:
        nonlocal best
        if time.monotonic() > deadline:
            return False
        try:
            replay(base, stack, todo, names, every=COMPARE_EVERY if len(todo) > 40 else 1)
        except Mismatch as mismatch:
            if mismatch.signature == found.mismatch.signature:
                best = Found(mismatch, [list(layer) for layer in stack], list(todo))
                return True
        except Exception:
            return False
        return False

    if fails(found.stack, found.todo):
        shrink(found.stack, found.todo, fails)
    return best


def as_test(found: Found) -> str:
    """What to keep of a find."""
    layers = ",\n        ".join("[" + ", ".join(_entry(entry) for entry in layer) + "]" for layer in found.stack)
    todo = ",\n        ".join(map(repr, found.todo))
    return f"# {found.mismatch}\n    layers = [\n        {layers},\n    ]\n    steps = [\n        {todo},\n    ]"


def _entry(entry: Entry) -> str:
    plain = Entry(entry.path, entry.kind)
    fields = ("content", "mode", "uid", "gid", "rdev", "link", "opaque", "xattrs")
    more = "".join(f", {f}={_value(getattr(entry, f))}" for f in fields if getattr(entry, f) != getattr(plain, f))
    return f"Entry({entry.path!r}, {entry.kind:#o}{more})"


def _value(value: object) -> str:
    if isinstance(value, bytes) and len(value) > 20 and value == value[:1] * len(value):
        return f"{value[:1]!r} * {len(value)}"
    return repr(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", default="1", help="of the first episode; the others follow from it")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument(
        "--on",
        default="plain,cowfs",
        help="the first is right: plain, overlayfs, core, cowfs, helper and apart (tests.behaviour.world)",
    )
    parser.add_argument("--without", default="", help="steps to leave out, and: as, umask, acl")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at the first find; show each sort once")
    arguments = parser.parse_args()
    names = arguments.on.split(",")
    seen: dict[tuple[str, str], int] = {}
    os.umask(0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the scratch directory goes
    started, done = time.monotonic(), 0
    with syscalls.private_mounts(), tempfile.TemporaryDirectory() as scratch:
        base = os.fsencode(scratch)
        for number in range((arguments.steps + EPISODE - 1) // EPISODE):
            seed = f"{arguments.seed}.{number}"
            try:
                episode(base, seed, min(EPISODE, arguments.steps - done), names, arguments.without.split(","))
            except Found as found:
                signature = found.mismatch.signature
                seen[signature] = seen.get(signature, 0) + 1
                if seen[signature] == 1:
                    print(f"--- seed {seed}, step {len(found.todo)}: {found}", flush=True)
                    print(as_test(smallest(base, found, names)), flush=True)
                    if not arguments.keep_going:
                        return 1
            done += EPISODE
    rate = done / (time.monotonic() - started)
    print(f"{done} steps from seed {arguments.seed} on {', '.join(names)}: {rate:.0f} steps/s, finds: {seen or 'none'}")
    return 1 if seen else 0


if __name__ == "__main__":
    sys.exit(main())
