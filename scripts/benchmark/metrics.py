"""What is measured, in the order of the table, and what cowfs aims at. Used by the workloads and by the report.

A target is the most that ours may take, as a part of what fuse-overlayfs and the kernel's overlayfs take.
"""

from dataclasses import dataclass
from typing import Final

SECONDS: Final = "s"
MICROSECONDS: Final = "µs"
MIB: Final = "MiB"


@dataclass(frozen=True, slots=True)
class Group:
    """Metrics with the same target; None: no target."""

    title: str
    to_fuse: float | None
    to_kernel: float | None


DATA: Final = Group("Data", 1.0, 1.15)
JOBS: Final = Group("Whole jobs", 0.9, 1.3)
CHANGES: Final = Group("Many changes", 0.9, 3.0)
WARM: Final = Group("Known to the kernel", 1.0, 1.1)
FIRST: Final = Group("First write", 0.05, 0.05)
OTHER: Final = Group("Others", 1.0, None)
TRIPS: Final = Group("Round trips", 1.0, None)
PARTS: Final = Group("Parts of git's job", None, None)
COSTS: Final = Group("What a mount costs", None, None)
GROWTH: Final = Group("Growth", None, None)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table: its key, what it says to a reader, its group, and what is counted."""

    name: str
    title: str
    group: Group
    unit: str = SECONDS


METRICS: Final = (
    Metric("write-seq", "sequential write of a big file", DATA),
    Metric("read-seq", "sequential read of it", DATA),
    Metric("write-4k", "writes of 4 KiB", DATA),
    Metric("write-4k-fsync", "writes of 4 KiB, each with fsync", DATA),
    Metric("read-4k", "random reads of 4 KiB", DATA),
    Metric("mmap-4k", "random reads of 4 KiB through mmap", DATA),
    Metric("read-seq-lower-cold", "sequential read of a big lower file, cold", DATA),
    Metric("read-seq-lower", "the same, warm", DATA),
    Metric("read-4k-lower", "random reads of 4 KiB in it", DATA),
    Metric("mmap-4k-lower", "the same through mmap", DATA),
    Metric("first-write", "first 4 KiB into a big lower file", FIRST),
    Metric("dpkg", "dpkg -i of {packages} packages in a chroot", JOBS),
    Metric("git", "git add, commit, status, clone", JOBS),
    Metric("compileall", "compileall of Python's library", JOBS),
    Metric("python", "30 starts of Python with imports", JOBS),
    Metric("unpack", "unpack {small} files", CHANGES),
    Metric("rm", "rm -rf of them", CHANGES),
    Metric("chmod", "chmod -R of {small} lower files", CHANGES),
    Metric("append", "append to 1,500 lower files", CHANGES),
    Metric("unpack-4", "4 unpacks at once", CHANGES),
    Metric("usr-in", "unpack /usr ({usr})", CHANGES),
    Metric("find-warm", "find, warm", WARM),
    Metric("stat-warm", "find with stat, warm", WARM),
    Metric("negative-warm", "look up a missing name again", WARM, MICROSECONDS),
    Metric("find-cold", "find, cold", OTHER),
    Metric("stat-cold", "find with stat, cold", OTHER),
    Metric("usr-out", "tar of /usr, cold", OTHER),
    Metric("trip-getattr", "getattr", TRIPS, MICROSECONDS),
    Metric("trip-lookup", "lookup", TRIPS, MICROSECONDS),
    Metric("trip-negative", "lookup of a missing name", TRIPS, MICROSECONDS),
    Metric("trip-open", "open and close", TRIPS, MICROSECONDS),
    Metric("git-add", "git add", PARTS),
    Metric("git-commit", "git commit", PARTS),
    Metric("git-status", "git status", PARTS),
    Metric("git-clone", "git clone", PARTS),
    Metric("start", "from exec to a usable mount", COSTS),
    Metric("memory", "resident at the start", COSTS, MIB),
    Metric("memory-after", "resident after find with stat", COSTS, MIB),
    Metric("idle", "CPU of an idle mount in {idle} s", COSTS),
    Metric("unpack-1000", "unpack 1,000 files", GROWTH),
    Metric("unpack-10000", "unpack 10,000 files", GROWTH),
    Metric("unpack-100000", "unpack 100,000 files", GROWTH),
    Metric("list-1000", "list 1,000 files, cold", GROWTH),
    Metric("list-10000", "list 10,000 files, cold", GROWTH),
    Metric("list-100000", "list 100,000 files, cold", GROWTH),
    Metric("rm-1000", "rm 1,000 files", GROWTH),
    Metric("rm-10000", "rm 10,000 files", GROWTH),
    Metric("rm-100000", "rm 100,000 files", GROWTH),
)
