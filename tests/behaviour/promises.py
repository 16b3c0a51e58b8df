"""What we promise and peers do not: a probe for each promise, and the table in docs/semantics.md that they make.

``python -m tests.behaviour.promises`` runs them on everything that is installed and prints the table; with ``--write``
it takes the table's place in the document. ``test_promises`` holds the document against what is seen. Needs root.
"""

import argparse
import errno
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.behaviour import inotify, syscalls
from tests.behaviour.fs import Descriptor, read_all, write_all
from tests.behaviour.layers import Entry, directory, file, hard_link, whiteout
from tests.behaviour.merged import (
    OVERLAY_DEFAULT,
    OVERLAY_FULL,
    CowfsMount,
    FuseOverlay,
    KernelOverlay,
    PlainDirectory,
    Scene,
    build_lowers,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "semantics.md"
BEGIN, END = "<!-- made by tests.behaviour.promises: -->\n", "<!-- until here -->\n"
KEPT = "yes"
BIG = 8 << 20
PAGE = mmap.PAGESIZE

LOWER = [
    file(b"file", b"o" * PAGE),
    file(b"big", b"b" * BIG),
    file(b"linked", b"o" * PAGE),
    hard_link(b"name", b"linked"),
    directory(b"tree"),
    file(b"tree/inside", b"x"),
    directory(b"other"),
    file(b"other/inside", b"y"),
    directory(b"empty"),
]
TOP = [file(b"tree/above", b"y"), file(b"new/file"), whiteout(b"new/nothing")]
STACK: Sequence[Sequence[Entry]] = (LOWER, TOP)

Probe = Callable[[Any], str | None]  # None: the promise is kept; else what a program gets instead


class Promise(NamedTuple):
    text: str
    probe: Probe
    plain: bool = True  # a plain directory has no upper that could be looked at
    apart: bool = False  # the layers are on file systems of their own


# --- probes -----------------------------------------------------------------------------------------------


def _remount(fs: Any) -> None:
    if not isinstance(fs, PlainDirectory):
        fs.remount()


def _renames(fs: Any) -> str | None:
    fs.rename(b"tree", b"moved")
    fs.rename(b"moved", b"other", syscalls.RENAME_EXCHANGE)
    fs.rename(b"other", b"again")
    _remount(fs)
    seen = [read_all(fs, path) for path in (b"again/inside", b"again/above", b"moved/inside")]
    return None if seen == [b"x", b"y", b"y"] else "the wrong files inside"


def _hard_links(fs: Any) -> str | None:
    write_all(fs, b"linked", b"new", 0)
    if read_all(fs, b"name")[:3] != b"new":
        return "they part at the first write"
    _remount(fs)
    write_all(fs, b"name", b"more", 0)
    return None if read_all(fs, b"linked")[:4] == b"more" else "they part at the remount"


def _numbers(fs: Any) -> str | None:
    watched = {b"file": b"file", b"big": b"big", b"linked": b"linked", b"other": b"other"}
    before = {name: fs.lstat(name).ino for name in watched}
    broken: list[str] = []

    def look(after: str) -> None:
        if any(fs.lstat(path).ino != before[name] for name, path in watched.items()):
            broken.append(after)
            before.update({name: fs.lstat(path).ino for name, path in watched.items()})

    fs.chmod(b"file", 0o600)
    write_all(fs, b"big", b"x", 0)
    write_all(fs, b"linked", b"x", 0)
    fs.chmod(b"other", 0o700)
    look("copy-up")
    fs.rename(b"file", b"moved")
    fs.link(b"big", b"big2")
    watched[b"file"] = b"moved"
    look("rename or link")
    _remount(fs)
    look("remount")
    return "another one after " + ", ".join(broken) if broken else None


def _listed_numbers(fs: Any) -> str | None:
    fs.chmod(b"file", 0o600)
    fs.chmod(b"tree/inside", 0o600)
    for _ in range(2):
        for path in (b"", b"tree"):
            for entry in fs.listdir(path):
                if fs.lstat(path + b"/" + entry.name if path else entry.name).ino != entry.ino:
                    return "they differ"
        _remount(fs)
    return None


def _reader(fs: Any) -> str | None:
    reader = fs.open(b"file", os.O_RDONLY)
    write_all(fs, b"file", b"new", 0)
    seen = reader.pread(3, 0)
    reader.close()
    return None if seen == b"new" else "the old bytes for ever"


def _mapping(fs: Any) -> str | None:
    reader = fs.open(b"file", os.O_RDONLY)
    with mmap.mmap(reader.fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ) as view:
        assert view[:1] == b"o"
        write_all(fs, b"file", b"new", 0)
        seen = view[:3]
    reader.close()
    return None if seen == b"new" else "the old bytes for ever"


def _watch(fs: Any) -> str | None:
    with inotify.Watch(fs.path(b"file"), inotify.MODIFY) as watch:
        write_all(fs, b"file", b"new", 0)
        if not watch.events():
            return "silence"
        write_all(fs, b"file", b"more", 0)
        return None if watch.events() else "silence after the first"


def _tail(fs: Any) -> str | None:
    command = ["tail", "-f", "-n", "0", "-s", "0.05", os.fsdecode(fs.path(b"file"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as tail:
        assert tail.stdout is not None
        try:
            inotify.wait_until_reads(tail.pid, fs.path(b"file"))
            handle: Descriptor = fs.open(b"file", os.O_WRONLY | os.O_APPEND)
            handle.write(b"appended\n")
            handle.close()
            said = tail.stdout.read(100) if inotify.readable(tail.stdout.fileno()) else b""
        finally:
            tail.kill()
    return None if said == b"appended\n" else "nothing is shown"


def _upper_bytes(fs: Any) -> int:
    return sum(
        os.lstat(os.path.join(where, name)).st_blocks * 512
        for where, directories, files in os.walk(fs.scene.upper)
        for name in directories + files
    )


def _attributes(fs: Any) -> str | None:
    fs.chmod(b"big", 0o600)
    fs.chown(b"big", 1, 2)
    fs.utimens(b"big", 0, 0)
    fs.setxattr(b"big", b"trusted.a", b"b")
    fs.link(b"big", b"big2")
    fs.rename(b"big", b"moved")
    return None if _upper_bytes(fs) < BIG // 8 else "all data is copied"


def _open(fs: Any) -> str | None:
    fs.open(b"tree/inside", os.O_RDWR).close()
    fs.open(b"file", os.O_RDWR | os.O_CREAT).close()
    return "the file and its parents are copied" if os.listdir(fs.scene.upper) else None


def _first_write(fs: Any) -> str | None:
    handle = fs.open(b"big", os.O_RDWR)
    handle.pwrite(b"new", BIG // 2)
    cost = _upper_bytes(fs)
    handle.close()
    return None if cost < BIG // 8 else "the file's size"


def _removed_directory(fs: Any) -> str | None:
    fd = os.open(fs.path(b"empty"), os.O_RDONLY | os.O_DIRECTORY)
    fs.rmdir(b"empty")
    links = os.fstat(fd).st_nlink
    os.close(fd)
    return "still counts them" if links else None


def _absent_acl(fs: Any) -> str | None:
    fs.removexattr(b"file", b"system.posix_acl_access")
    return None


def _lone_whiteout(fs: Any) -> str | None:
    listed = {entry.name for entry in fs.listdir(b"new")}
    return "listed, as a name that does not exist" if b"nothing" in listed else None


PROMISES = (
    Promise("a directory of an image can be renamed, exchanged, renamed again", _renames),
    Promise("all names of a hard-linked file of an image stay one file, also after a remount", _hard_links),
    Promise("one inode number for life: copy-up, rename, link, remount", _numbers),
    Promise("a listing's numbers (d_ino) are those of stat, on two file systems too", _listed_numbers, apart=True),
    Promise("a reader that was open before the copy-up sees what is written later", _reader),
    Promise("so does a shared mapping", _mapping),
    Promise("so does who watches the file (inotify)", _watch),
    Promise("so does `tail -f`", _tail),
    Promise("chmod, chown, times, xattrs, rename and link copy no data", _attributes, plain=False),
    Promise("opening for writing changes nothing if nothing is written", _open, plain=False),
    Promise("the first write to a big file costs what is written", _first_write, plain=False),
    Promise("a removed open directory of an image has no links", _removed_directory),
    Promise("removing an ACL that is not there is no error", _absent_acl),
    Promise("a whiteout that hides nothing is not listed", _lone_whiteout),
)


# --- who is asked -----------------------------------------------------------------------------------------

ASKED: dict[str, Callable[[Scene], Any]] = {
    "cowfs": CowfsMount,
    "overlayfs, default": lambda scene: KernelOverlay(scene, OVERLAY_DEFAULT),
    "overlayfs, all on": lambda scene: KernelOverlay(scene, OVERLAY_FULL),
    "fuse-overlayfs": FuseOverlay,
}
COLUMNS = tuple(ASKED)


def ask(promise: Promise, name: str, base: bytes) -> str:
    """What a program gets; ``base`` is an empty directory, best of memory."""
    fs = (
        PlainDirectory(base, STACK)
        if name == "plain"
        else ASKED[name](Scene(base, build_lowers(base, STACK, apart=promise.apart)))
    )
    try:
        return promise.probe(fs) or KEPT
    except OSError as failure:
        return errno.errorcode.get(failure.errno or 0, str(failure))
    finally:
        fs.close_files()
        fs.close()


def versions() -> str:
    """Of the peers."""
    kernel = ".".join(os.uname().release.split(".")[:2])
    said = subprocess.run(["fuse-overlayfs", "--version"], capture_output=True, text=True, check=True).stdout
    version = next(line.split()[-1] for line in said.splitlines() if line.startswith("fuse-overlayfs"))
    return f"Linux {kernel}, fuse-overlayfs {version}"


def see(names: Iterable[str] = COLUMNS) -> dict[str, list[str]]:
    """The answers, by column, in the order of the promises."""
    found: dict[str, list[str]] = {}
    with syscalls.private_mounts(), tempfile.TemporaryDirectory(prefix="cowfs-promises-") as scratch:
        syscalls.mount(b"scratch", os.fsencode(scratch), b"tmpfs")
        try:
            for name in names:
                found[name] = []
                for number, promise in enumerate(PROMISES):
                    base = os.fsencode(f"{scratch}/{len(found)}.{number}")
                    os.mkdir(base)
                    asked = name != "plain" or promise.plain
                    found[name].append(ask(promise, name, base) if asked else KEPT)
        finally:
            syscalls.unmount(os.fsencode(scratch), lazy=True)
    return found


def table(seen: dict[str, list[str]]) -> str:
    """As the document has it, with the line that says of whom it speaks."""
    rows = [["", *COLUMNS], *([p.text, *(seen[c][n] for c in COLUMNS)] for n, p in enumerate(PROMISES))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return f"Seen with {versions()}:\n\n" + "\n".join(lines) + "\n"


def documented() -> str:
    """The table that the document has."""
    return DOCUMENT.read_text().split(BEGIN)[1].split(END)[0].strip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/semantics.md")
    arguments = parser.parse_args()
    made = table(see())
    if not arguments.write:
        print(made, end="")
        return 0
    before, rest = DOCUMENT.read_text().split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + "\n" + made + "\n" + END + rest.split(END)[1])
    return 0


if __name__ == "__main__":
    os.umask(0)
    sys.exit(main())
