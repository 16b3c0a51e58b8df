"""The workloads: what is done on a mount and measured. Each starts on a fresh mount over its lower.

A new workload is a function with a row in WORKLOADS, and its figures are rows of ``metrics``.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmark import filesystems
from benchmark.inputs import PYTHON, Inputs
from benchmark.measuring import Bench

_IMPORTS: Final = "import argparse, asyncio, email, http.client, json, logging, re, sqlite3, subprocess, tempfile"
_GROWTH: Final = (1_000, 10_000, 100_000)


@dataclass(frozen=True, slots=True)
class Workload:
    """What --only calls it, its lower, what it does, and in how many rounds at most (0: in all)."""

    name: str
    lower: Callable[[Inputs], Path]
    work: Callable[[Bench], None]
    rounds: int = 0


def unpack(bench: Bench) -> None:
    """An archive of small files out, and away again."""
    _unpack_and_remove(bench, bench.inputs.small_tar, "unpack", "rm")


def change_modes(bench: Bench) -> None:
    """Every small file of the lower gets another mode."""
    bench.timed("chmod", "chmod", "-R", "go-rwx", "tree")


def append(bench: Bench) -> None:
    """A line more in many small files of the lower."""
    names = bench.inputs.small_names()
    bench.loop("append", "append", 1_500, names=names[:: len(names) // 1_500])


def find(bench: Bench) -> None:
    """A Debian is listed and looked at, with and without caches."""
    stat = ("find", ".", "-size", "+1000000")
    bench.timed("find-cold", "find", ".", cold=True)
    bench.timed("stat-cold", *stat, cold=True)
    bench.run(*stat)
    bench.timed("find-warm", "find", ".", times=5)
    bench.timed("stat-warm", *stat, times=5)


def usr(bench: Bench) -> None:
    """A /usr goes into an archive, and another one comes out of it."""
    bench.timed("usr-out", "sh", "-c", "tar -cf - usr | cat >/dev/null", cold=True)
    Path(bench.root, "new").mkdir()
    bench.timed("usr-in", "tar", "-C", "new", "-xf", bench.inputs.usr_tar)


def dpkg(bench: Bench) -> None:
    """Packages are installed in a chroot, which has the machine's /dev: a FUSE mount has no devices of its own."""
    bench.run("mount", "--bind", "/dev", "dev")
    try:
        bench.timed("dpkg", "chroot", ".", "sh", "-c", "exec dpkg -i /debs/*.deb")
    finally:
        bench.run("umount", "dev")


def git(bench: Bench) -> None:
    """A tree of the lower becomes a repository; git and its start are from outside the mount."""
    tree = bench.root / "usr/share"
    bench.run("git", "-c", "init.defaultBranch=main", "init", "-q", tree)
    total = bench.timed("git-add", "git", "-C", tree, "add", ".")
    total += bench.timed("git-commit", "git", "-C", tree, "-c", "gc.auto=0", "commit", "-q", "-m", "all")
    total += bench.timed("git-status", "git", "-C", tree, "status", "--short")
    total += bench.timed("git-clone", "git", "clone", "-q", "--no-hardlinks", tree, bench.root / "clone")
    bench.record("git", total)


def compile_all(bench: Bench) -> None:
    """Python's library is compiled, by a Python from outside the mount."""
    library = next((bench.root / "usr/lib").glob("python3.*"))
    bench.timed("compileall", PYTHON, "-S", "-E", "-m", "compileall", "-q", "-f", library)


def python(bench: Bench) -> None:
    """Python of the lower starts again and again."""
    script = f'for i in $(seq 30); do python3.11 -c "{_IMPORTS}"; done'
    bench.timed("python", "chroot", ".", "sh", "-e", "-c", script)


def write_and_read(bench: Bench) -> None:
    """A new big file: written and read in order, then read here and there."""
    file = bench.root / "new"
    write = ("dd", "if=/dev/zero", f"of={file}", "bs=1M", f"count={bench.inputs.big_mebibytes}")
    bench.run(*write)  # a virtual machine's memory may have to be fetched from its host first
    file.unlink()
    bench.timed("write-seq", *write)
    bench.timed("read-seq", "dd", f"if={file}", "of=/dev/null", "bs=1M")
    bench.loop("read-4k", "read", file, 100_000)
    bench.loop("mmap-4k", "mmap", file, 100_000)


def read_lower(bench: Bench) -> None:
    """A big file of the lower: read in order, without and with caches, then here and there; written at last."""
    file = bench.root / "big"
    bench.run("dd", f"if={file}", "of=/dev/null", "bs=1M")  # and a disk's content likewise
    bench.timed("read-seq-lower-cold", "dd", f"if={file}", "of=/dev/null", "bs=1M", cold=True)
    bench.timed("read-seq-lower", "dd", f"if={file}", "of=/dev/null", "bs=1M")
    bench.loop("read-4k-lower", "read", file, 100_000)
    bench.loop("mmap-4k-lower", "mmap", file, 100_000)
    bench.loop("first-write", "first", file)


def small_writes(bench: Bench) -> None:
    """4 KiB at a time into new files."""
    bench.loop("write-4k", "write", bench.root / "fast", 50_000, 0)
    bench.loop("write-4k-fsync", "write", bench.root / "safe", 300, 1)


def unpack_parallel(bench: Bench) -> None:
    """The archive of small files, four times at once."""
    one = f"mkdir $i && tar -C $i -xf {bench.inputs.small_tar}"
    bench.timed("unpack-4", "sh", "-c", f"for i in 1 2 3 4; do ({one}) & done; wait")


def round_trips(bench: Bench) -> None:
    """One request at a time, the kernel's caches avoided where the request is meant."""
    first = bench.inputs.lookup_names("f")[0]
    bench.loop("trip-negative", "stat", names=bench.inputs.lookup_names("x"))
    bench.loop("trip-lookup", "stat", names=bench.inputs.lookup_names("f"))
    bench.loop("trip-getattr", "getattr", first, 20_000)
    bench.loop("trip-open", "open", first, 20_000)
    bench.loop("negative-warm", "missing", "many/nothing", 20_000)


def costs(bench: Bench) -> None:
    """Start, memory and idle CPU of the mount."""
    daemons = bench.mount.daemons
    bench.record("start", bench.mount.seconds_to_start)
    if not daemons:
        return
    bench.rest()
    bench.record("memory", sum(map(filesystems.resident, daemons)) / (1 << 20))
    before = sum(map(filesystems.processor_seconds, daemons))
    time.sleep(idle_seconds(bench.inputs))
    bench.record("idle", sum(map(filesystems.processor_seconds, daemons)) - before)
    bench.run("find", ".", "-size", "+1000000")
    bench.record("memory-after", sum(map(filesystems.resident, daemons)) / (1 << 20))


def growth(bench: Bench) -> None:
    """Ten times the files, ten times the time."""
    for count in _GROWTH[: 2 if bench.inputs.quick else 3]:
        _unpack_and_remove(bench, bench.inputs.tar(count), f"unpack-{count}", f"rm-{count}", f"list-{count}")


def idle_seconds(inputs: Inputs) -> int:
    """How long an idle mount is watched."""
    return 10 if inputs.quick else 60


def _unpack_and_remove(bench: Bench, archive: Path, unpack_name: str, remove_name: str, list_name: str = "") -> None:
    bench.run("cat", archive)
    bench.timed(unpack_name, "tar", "-xf", archive)
    if list_name:
        bench.timed(list_name, "find", "tree", "-size", "+1000000", cold=True)
    bench.timed(remove_name, "rm", "-rf", "tree")


WORKLOADS: Final = (
    Workload("unpack", lambda inputs: inputs.empty, unpack),
    Workload("find", lambda inputs: inputs.full, find),
    Workload("chmod", lambda inputs: inputs.small, change_modes),
    Workload("append", lambda inputs: inputs.small, append),
    Workload("write", lambda inputs: inputs.empty, write_and_read),
    Workload("small-writes", lambda inputs: inputs.empty, small_writes),
    Workload("lower", lambda inputs: inputs.big, read_lower),
    Workload("trips", lambda inputs: inputs.lookups, round_trips),
    Workload("python", lambda inputs: inputs.full, python),
    Workload("compileall", lambda inputs: inputs.full, compile_all),
    Workload("git", lambda inputs: inputs.full, git),
    Workload("dpkg", lambda inputs: inputs.root, dpkg),
    Workload("usr", lambda inputs: inputs.full, usr),
    Workload("parallel", lambda inputs: inputs.empty, unpack_parallel),
    Workload("costs", lambda inputs: inputs.full, costs),
    Workload("growth", lambda inputs: inputs.empty, growth, rounds=1),
)
