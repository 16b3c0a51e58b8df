"""Makes what the workloads work on, once: trees, archives, a Debian root with packages, big files, the loops in C.

Each part is made when a workload first asks for it, and is the same for all file systems. Nothing here is measured.
"""

import functools
import io
import os
import random
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PYTHON: Final = "/usr/bin/python3"
PACKAGES: Final = ("git", "python3.11", "vim-tiny", "less", "make", "rsync", "tmux", "man-db", "procps")
MIB: Final = 1 << 20
_SOURCES: Final = Path(__file__).parent
_LOOKUPS: Final = 20_000


@dataclass(frozen=True)
class Inputs:
    """Paths below ``directory``; ``quick``: smaller ones."""

    directory: Path
    quick: bool

    @property
    def small_count(self) -> int:
        """Files in the tree of small files."""
        return 3_000 if self.quick else 15_000

    @property
    def big_mebibytes(self) -> int:
        """What the big files weigh."""
        return 256 if self.quick else 1024

    @functools.cached_property
    def loops(self) -> Path:
        """The program with the loops of system calls."""
        program = self.directory / "loops"
        _run("gcc", "-O2", "-o", program, _SOURCES / "loops.c")
        return program

    @functools.cached_property
    def empty(self) -> Path:
        """A lower with one empty directory."""
        return self._made("empty", lambda path: (path / "directory").mkdir(parents=True))

    def small_names(self) -> list[str]:
        """The files of the tree of small files, below its root."""
        return [_name(number) for number in range(self.small_count)]

    def tar(self, count: int) -> Path:
        """An archive of ``count`` small files, as in a source tree."""
        return self._made(f"{count}.tar", lambda path: _write_tar(path, count))

    @property
    def small_tar(self) -> Path:
        """The archive of the tree of small files."""
        return self.tar(self.small_count)

    @functools.cached_property
    def small(self) -> Path:
        """A lower with the tree of small files."""

        def make(path: Path) -> None:
            path.mkdir()
            _run("tar", "-C", path, "-xf", self.small_tar)

        return self._made(f"small-{self.small_count}", make)

    @functools.cached_property
    def lookups(self) -> Path:
        """A lower with one directory of many empty files."""

        def make(path: Path) -> None:
            (path / "many").mkdir(parents=True)
            for name in self.lookup_names("f"):
                (path / name).touch()

        return self._made("lookups", make)

    def lookup_names(self, letter: str) -> list[str]:
        """Names below ``lookups``: present with the letter f, absent with any other."""
        return [f"many/{letter}{number:05d}" for number in range(_LOOKUPS)]

    @functools.cached_property
    def big(self) -> Path:
        """A lower with a big file, ``big``."""

        def make(path: Path) -> None:
            path.mkdir()
            block = random.Random(1).randbytes(MIB)
            with (path / "big").open("wb") as file:
                for number in range(self.big_mebibytes):
                    file.write(number.to_bytes(8, "little") + block[8:])

        return self._made(f"big-{self.big_mebibytes}", make)

    @functools.cached_property
    def root(self) -> Path:
        """A lower with a minimal Debian, and packages that are not installed yet in its directory ``debs``."""

        def make(path: Path) -> None:
            release = dict(
                line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
            )
            path.mkdir()
            _run("mmdebstrap", "--variant=minbase", release["VERSION_CODENAME"], path)
            _download(path / "debs", path / "var/lib/dpkg/status")

        return self._made("root", make)

    def package_count(self) -> int:
        """How many packages are in ``debs``."""
        return len(list((self.root / "debs").glob("*.deb")))

    @functools.cached_property
    def full(self) -> Path:
        """A lower with the same Debian and the packages installed."""

        def make(path: Path) -> None:
            _run("cp", "-a", self.root, path)
            _run("chroot", path, "sh", "-c", "DEBIAN_FRONTEND=noninteractive dpkg -i /debs/*.deb")
            shutil.rmtree(path / "debs")

        return self._made("full", make)

    @functools.cached_property
    def usr_tar(self) -> Path:
        """The archive of ``full``'s /usr."""
        return self._made("usr.tar", lambda path: _run("tar", "-C", self.full, "-cf", path, "usr"))

    @functools.cached_property
    def layout(self) -> Path:
        """An OCI layout with an image of two layers: a minimal Debian, and a /usr with packages."""
        from benchmark.pulls import write_layout

        def make(path: Path) -> None:
            root = self.directory / "root.tar"
            _run("tar", "-C", self.root, "--exclude=./debs", "-cf", root, ".")
            write_layout(path, [root, self.usr_tar])
            root.unlink()

        return self._made("layout", make)

    def _made(self, name: str, make: Callable[[Path], object]) -> Path:
        path = self.directory / name
        if not path.exists():
            unfinished = self.directory / f"unfinished-{name}"
            subprocess.run(["rm", "-rf", str(unfinished)], check=True)
            make(unfinished)
            os.sync()
            unfinished.rename(path)
        return path


def _name(number: int) -> str:
    return f"tree/{number // 1000:03d}/{number // 20 % 50:02d}/file-{number}.c"


def _write_tar(path: Path, count: int) -> None:
    """Files of 3.5 KiB on average, most of them smaller, and their directories."""
    chance = random.Random(count)
    text = chance.randbytes(1 << 16)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        seen: set[str] = set()
        for number in range(count):
            name = _name(number)
            for directory in reversed(list(_parents(name))):
                if directory not in seen:
                    seen.add(directory)
                    _add(archive, directory, tarfile.DIRTYPE, b"")
            _add(archive, name, tarfile.REGTYPE, text[: min(int(chance.expovariate(1 / 3500)), len(text))])


def _parents(name: str) -> Iterator[str]:
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _add(archive: tarfile.TarFile, name: str, kind: bytes, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.mtime = kind, len(data), 1_700_000_000
    member.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    archive.addfile(member, io.BytesIO(data))


def _download(directory: Path, status: Path) -> None:
    """The packages and all that they need beyond what ``status`` says is installed."""
    archives = directory.with_name("debs-download")
    (archives / "partial").mkdir(parents=True)
    words = ["-o", f"Dir::State::status={status}", "-o", f"Dir::Cache::archives={archives}"]
    _run("apt-get", *words, "--download-only", "--no-install-recommends", "-y", "install", *PACKAGES)
    directory.mkdir()
    for package in archives.glob("*.deb"):
        package.rename(directory / package.name)
    shutil.rmtree(archives)


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        raise SystemExit(f"bench: {command[0]} failed:\n{done.stdout.decode(errors='replace')[-2000:]}")
