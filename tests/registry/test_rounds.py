"""X06 with the programs as they are typed: pulls, runs, removals and gc at random, several at once.

A few rounds here; ROUNDS=200 for a long one.
"""

import os
import random
import shutil
import subprocess
import threading
from pathlib import Path

from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, SYMLINK, entry, tar
from tests.registry.conftest import Commands
from tests.support.registry import Registry

ROUNDS = int(os.environ.get("ROUNDS", "16"))
AT_ONCE = 4
# What a command may say that lost a race against a removal; anything else is a failure.
LOST = ("no image", "import the image again", "was removed from the store", "is not in the store", "try again")


def images(registry: Registry, layout: Layout) -> list[str]:
    """Three images that share layers; each can run /bin/true."""
    busybox = shutil.which("busybox")
    assert busybox, "busybox is missing: apt-get install busybox-static"
    program = entry(b"bin/busybox", data=Path(busybox).read_bytes(), mode=0o755)
    base = tar(
        entry(b"bin/", DIRECTORY), program, entry(b"bin/true", SYMLINK, link=b"busybox"), entry(b"etc/", DIRECTORY)
    )
    tops = [tar(entry(b"data%d" % number, data=b"%d" % number * 50_000)) for number in range(2)]
    for name, layers in (("a", [base]), ("b", [base, tops[0]]), ("c", [base, tops[1], tops[0]])):
        layout.image(*layers, name=name, how="gzip")
    registry.add(layout.path)
    return [f"{registry.name}/image:{name}" for name in ("a", "b", "c")]


class Worker(threading.Thread):
    """One person who types."""

    def __init__(self, cowfs: Commands, references: list[str], seed: str, rounds: int) -> None:
        super().__init__()
        self._cowfs, self._references, self._rounds = cowfs, references, rounds
        self._chance = random.Random(seed)
        self.failed: list[object] = []
        self.ran = 0

    def run(self) -> None:
        for _ in range(self._rounds):
            reference = self._chance.choice(self._references)
            words = self._chance.choice(
                [("pull", "-q", reference), ("rm", reference), ("gc",), ("check",), ("run",), ("run",), ("prune",)]
            )
            done = self._typed(words, reference)
            lost = done.returncode == 125 and any(text in done.stderr for text in LOST)
            if done.returncode and not lost:
                self.failed.append((words, done.returncode, done.stdout[-500:], done.stderr[-500:]))
            self.ran += words == ("run",) and not done.returncode

    def _typed(self, words: tuple[str, ...], reference: str) -> "subprocess.CompletedProcess[str]":
        if words == ("run",):
            options = ("--network", "none", "--pull", "missing")
            return self._cowfs(*options, reference, "/bin/true", program="cowrun.main", stdin=subprocess.DEVNULL)
        if words == ("prune",):
            return self._cowfs("prune", "--keep", "1", program="cowdiff.main")
        return self._cowfs(*words)


def test_x06_pull_run_rm_and_gc_at_random(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    references = images(registry, layout)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    workers = [Worker(cowfs, references, f"{seed}.{number}", ROUNDS // AT_ONCE) for number in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [failure for worker in workers for failure in worker.failed] == []
    assert ROUNDS < 50 or sum(worker.ran for worker in workers) > ROUNDS // 10
    for reference in references:  # whatever was left half way is gone on with
        assert cowfs("pull", "-q", reference).returncode == 0
    done = cowfs("check")
    assert (done.returncode, done.stderr) == (0, "")
    assert cowfs("rm", "-q", *references).returncode == 0
    assert cowfs("prune", "--keep", "0", program="cowdiff.main").returncode == 0
    assert cowfs("gc").returncode == 0
    assert {part: cowfs.names(part) for part in ("images", "layers/sha256", "staging", "runs")} == {
        "images": [],
        "layers/sha256": [],
        "staging": [],
        "runs": [],
    }
