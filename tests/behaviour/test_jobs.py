"""Programs do a real job on a mount, over what a lower has, and check it themselves. Then it is looked at cold.

*Cold equals live*: after each job a full listing with contents, attributes and numbers is the same when the caches were
dropped, and when the mount was made again.
"""

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.behaviour.merged import CowfsMount, Scene
from tests.behaviour.snapshot import difference, take

NEVER = 1 << 63  # every time counts
ROOT = Path("/")


def run(*command: str | Path, at: Path = ROOT) -> str:
    """What a program says; it must not fail."""
    environment = {"PATH": os.environ["PATH"], "HOME": os.fspath(at), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    done = subprocess.run(command, cwd=at, env=environment, umask=0o022, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def cold_equals_live(fs: CowfsMount) -> None:
    """Dropping the caches, or remounting, changes nothing."""
    live = take(fs, NEVER)
    for cool in (fs.drop_caches, fs.remount):
        cool()
        cold = take(fs, NEVER)
        assert difference(live, cold) is None, cool.__name__
        assert cold == live, cool.__name__  # numbers, too


class Cold:
    """Checks that a program makes of its own work, live and again once the mount is another one."""

    def __init__(self, top: Path) -> None:
        self._top = top

    @contextmanager
    def job(self, prepare: Callable[[Path], object], check: Callable[[Path], object]) -> Iterator[Path]:
        (self._top / "lower").mkdir()
        prepare(self._top / "lower")
        base = os.fsencode(self._top)
        fs = CowfsMount(Scene(base + b"/scene", [base + b"/lower"]))
        mount = Path(os.fsdecode(fs.root))
        try:
            yield mount
            check(mount)
            cold_equals_live(fs)
            check(mount)
        finally:
            fs.close()


@pytest.fixture
def cold(tmp_path: Path) -> Cold:
    return Cold(tmp_path)


# --- sqlite -----------------------------------------------------------------------------------------------


def make_database(top: Path) -> None:
    with closing(sqlite3.connect(top / "data")) as database, database:
        database.execute("create table t (id integer primary key, text text)")
        database.execute("create index i on t (text)")
        database.executemany("insert into t values (?, ?)", ((n, f"{n:0300}") for n in range(5000)))


def check_database(top: Path) -> None:
    with closing(sqlite3.connect(top / "data")) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert database.execute("select count(*), sum(text = 'new') from t").fetchone() == (4900, 400)


@pytest.mark.parametrize("mapped", [0, 1 << 26], ids=["read", "mapped"])
@pytest.mark.parametrize("journal", ["delete", "truncate", "persist", "wal"])
def test_sqlite(cold: Cold, journal: str, mapped: int) -> None:
    with cold.job(make_database, check_database) as top:
        reader, writer = sqlite3.connect(top / "data"), sqlite3.connect(top / "data")
        with closing(reader), closing(writer):
            for database in (reader, writer):
                database.execute(f"pragma mmap_size = {mapped}")
            assert writer.execute(f"pragma journal_mode = {journal}").fetchone() == (journal,)
            for first in range(0, 400, 100):
                with writer:
                    writer.execute("update t set text = 'new' where id >= ? and id < ?", (first, first + 100))
                assert reader.execute("select count(*) from t where text = 'new'").fetchone() == (first + 100,)
            with writer:
                writer.execute("delete from t where id >= 4900")
            writer.execute("begin immediate")
            writer.execute("delete from t")
            writer.rollback()


def test_sqlite_after_a_program_that_died_in_a_transaction(cold: Cold) -> None:
    dying = (
        "import os, sqlite3; d = sqlite3.connect('data'); d.execute('pragma cache_size = 1');"
        "d.execute('begin'); d.execute('delete from t where id > 100'); os._exit(0)"
    )
    with cold.job(make_database, check_database) as top:
        run(sys.executable, "-c", dying, at=top)
        assert (top / "data-journal").stat().st_size > 0
        with closing(sqlite3.connect(top / "data")) as database, database:
            assert database.execute("select count(*) from t").fetchone() == (5000,)
            database.execute("update t set text = 'new' where id < 400")
            database.execute("delete from t where id >= 4900")


# --- packages ---------------------------------------------------------------------------------------------


def build_package(scratch: Path, version: int) -> Path:
    """Files, a link, a configuration file; what version 1 has and version 2 has not."""
    top = scratch / f"package{version}"
    for name, text in {
        "usr/bin/tool": f"#!/bin/sh\necho {version}\n",
        "usr/share/tool/data": f"{version}\n" * 300_000,
        "etc/tool.conf": f"version = {version}\n",
        f"usr/share/only{version}/file": "x\n",
        "DEBIAN/control": f"Package: tool\nVersion: {version}\nArchitecture: all\nMaintainer: A <a@b.c>\n"
        "Description: a tool\n",
        "DEBIAN/conffiles": "/etc/tool.conf\n",
        "DEBIAN/md5sums": "",
    }.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    (top / "usr/bin/tool").chmod(0o755)
    (top / "usr/bin/alias").symlink_to("tool")
    packed = [path for path in sorted(top.glob("usr/**/*")) if path.is_file() and not path.is_symlink()]
    sums = (f"{hashlib.md5(path.read_bytes()).hexdigest()}  {path.relative_to(top)}\n" for path in packed)
    (top / "DEBIAN").chmod(0o755)
    (top / "DEBIAN/md5sums").write_text("".join(sums))
    run("dpkg-deb", "--root-owner-group", "-Znone", "-b", top, scratch / f"tool_{version}_all.deb")
    return scratch / f"tool_{version}_all.deb"


def make_root(top: Path) -> None:
    for name in ("info", "updates", "triggers", "parts"):
        (top / "var/lib/dpkg" / name).mkdir(parents=True)
    (top / "var/lib/dpkg/status").touch()
    dpkg(top, "-i", os.fspath(build_package(top.parent, 1)))


def dpkg(top: Path, *arguments: str) -> str:
    return run("dpkg", f"--root={top}", "--force-confnew", "--no-triggers", *arguments)


def check_upgraded(top: Path) -> None:
    assert dpkg(top, "--verify") == ""
    assert dpkg(top, "--audit") == ""
    assert run(top / "usr/bin/alias") == "2\n"
    assert not (top / "usr/share/only1").exists()
    assert (top / "usr/share/only2/file").exists()
    assert (top / "etc/tool.conf").read_text() == "version = 2\n"


def test_dpkg(cold: Cold, tmp_path: Path) -> None:
    with cold.job(make_root, check_upgraded) as top:
        assert dpkg(top, "--verify") == ""
        dpkg(top, "-i", os.fspath(build_package(tmp_path, 2)))
        (top / "usr/share/tool/data").open("a").close()
        (top / "usr/bin/tool").write_text("changed")
        assert "/usr/bin/tool" in dpkg(top, "--verify")
        dpkg(top, "--purge", "tool")
        assert not (top / "usr/share").exists()
        dpkg(top, "-i", os.fspath(tmp_path / "tool_2_all.deb"))


def test_apt(cold: Cold, tmp_path: Path) -> None:
    archive = tmp_path / "archive"

    def prepare(top: Path) -> None:
        make_root(top)
        archive.mkdir()
        package = Path(shutil.copy(build_package(tmp_path, 2), archive))
        digest = hashlib.sha256(package.read_bytes()).hexdigest()
        fields = run("dpkg-deb", "-f", package).rstrip("\n")
        size = package.stat().st_size
        (archive / "Packages").write_text(f"{fields}\nFilename: ./{package.name}\nSize: {size}\nSHA256: {digest}\n")
        for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "var/cache/apt/archives/partial", "var/log/apt"):
            (top / name).mkdir(parents=True)
        (top / "var/lib/apt/lists/partial").mkdir(parents=True)
        (top / "etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{archive} ./\n")

    with cold.job(prepare, check_upgraded) as top:

        def apt(*arguments: str) -> None:
            options = {
                "Dir": top,
                "Dir::State::status": top / "var/lib/dpkg/status",
                "APT::Sandbox::User": "root",
                "DPkg::Options::": f"--root={top}",
            }
            given = [f"-o{name}={value}" for name, value in options.items()]
            run("apt-get", *given, "-oDPkg::Options::=--force-confnew", "-qq", "-y", *arguments)

        apt("update")
        apt("upgrade")
        apt("check")


# --- git --------------------------------------------------------------------------------------------------


def git(top: Path, *arguments: str) -> str:
    return run("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "safe.directory=*", *arguments, at=top)


def make_repository(top: Path) -> None:
    git(top, "init", "-q", "-b", "main", "work")
    for number in range(60):
        path = top / f"work/d{number % 6}/f{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{number}\n" * 500)
    git(top / "work", "add", ".")
    git(top / "work", "commit", "-q", "-m", "first")


def check_repositories(top: Path) -> None:
    for name in ("work", "clone"):
        git(top / name, "fsck", "--full", "--strict")
        assert git(top / name, "log", "--format=%s").split("\n")[0] in ("renamed", "merged")
        git(top / name, "diff-files", "--quiet")  # times and numbers are those of the index


def test_git(cold: Cold) -> None:
    with cold.job(make_repository, check_repositories) as top:
        work = top / "work"
        git(work, "checkout", "-q", "-b", "other")
        (work / "d0/f0").write_text("changed\n")
        git(work, "commit", "-q", "-a", "-m", "changed")
        git(work, "checkout", "-q", "main")
        git(work, "mv", "d1", "moved")
        git(work, "rm", "-q", "d2/f2")
        git(work, "commit", "-q", "-m", "renamed")
        git(work, "merge", "-q", "-m", "merged", "other")
        git(work, "gc", "-q", "--prune=now")
        git(work, "worktree", "add", "-q", "../tree", "other")
        git(work, "worktree", "remove", "../tree")
        git(top, "clone", "-q", "work", "clone")
        assert git(work, "status", "--porcelain") == ""


# --- archives and copies ----------------------------------------------------------------------------------


def make_tree(top: Path) -> None:
    """Everything that an archiver keeps."""
    tree = top / "tree"
    (tree / "d/deeper").mkdir(parents=True)
    (tree / "d/file").write_bytes(b"content" * 1000)
    (tree / ("n" * 250)).write_bytes(b"x")
    os.link(tree / "d/file", tree / "another name")
    (tree / "link").symlink_to("d/file")
    os.mkfifo(tree / "fifo")
    with (tree / "sparse").open("wb") as sparse:
        sparse.truncate(20 << 20)
        sparse.seek(10 << 20)
        sparse.write(b"middle")
    os.chown(tree / "d/deeper", 1234, 5678)
    os.chmod(tree / "d/deeper", 0o3751)
    os.setxattr(tree / "d/file", "user.a", b"b")
    run("setfacl", "-m", "u:1000:rwx", tree / "d")
    run("setfacl", "-d", "-m", "g:1000:rx", tree / "d")
    for path in sorted(tree.rglob("*"), reverse=True):
        os.utime(path, ns=(10**18 + 1, 10**18 + 2), follow_symlinks=False)


def change_tree(tree: Path) -> None:
    with (tree / "sparse").open("r+b") as sparse:
        sparse.seek(15 << 20)
        sparse.write(b"more")
    os.link(tree / "another name", tree / "third")
    (tree / "d").rename(tree / "e")
    (tree / "fifo").unlink()


def test_tar(cold: Cold) -> None:
    options = ("--xattrs", "--xattrs-include=*", "--acls", "--sparse")

    def check(top: Path) -> None:
        run("tar", "--compare", *options, "-f", top / "archive", at=top / "tree")
        run("tar", "--compare", *options, "-f", top / "archive", at=top / "copy")

    with cold.job(make_tree, check) as top:
        change_tree(top / "tree")
        run("tar", "-c", *options, "-f", top / "archive", ".", at=top / "tree")
        (top / "copy").mkdir()
        run("tar", "-x", "-p", *options, "-f", top / "archive", at=top / "copy")
        run("tar", "-x", "-p", *options, "-f", top / "archive", at=top / "copy")
        assert (top / "copy/sparse").stat().st_blocks * 512 < 10 << 20


def test_rsync(cold: Cold) -> None:
    def compare(top: Path) -> str:
        return run("rsync", "-aHAXcni", "--delete", "tree/", "copy/", at=top)

    def check(top: Path) -> None:
        assert compare(top) == ""

    def prepare(top: Path) -> None:
        make_tree(top)
        run("rsync", "-aHAX", "tree/", "copy/", at=top)

    with cold.job(prepare, check) as top:
        check(top)
        change_tree(top / "tree")
        assert compare(top)
        run("rsync", "-aHAX", "--delete", "--inplace", "tree/", "copy/", at=top)


# --- building ---------------------------------------------------------------------------------------------

MAKEFILE = """\
CFLAGS = -O0
program: main.o part.o
\t$(CC) -o $@ $^
main.o part.o: part.h
"""


def make_sources(top: Path) -> None:
    (top / "Makefile").write_text(MAKEFILE)
    (top / "part.h").write_text("int part(void);\n")
    (top / "part.c").write_text('#include "part.h"\nint part(void) { return 1; }\n')
    (top / "main.c").write_text('#include <stdio.h>\n#include "part.h"\nint main(void) { printf("%d", part()); }\n')
    run("make", at=top)


def test_gcc_and_make(cold: Cold) -> None:
    def check(top: Path) -> None:
        run("make", "-q", at=top)
        assert run(top / "program") == "2"

    with cold.job(make_sources, check) as top:
        run("make", "-q", at=top)
        assert run(top / "program") == "1"
        (top / "part.c").write_text('#include "part.h"\nint part(void) { return 2; }\n')
        said = run("make", at=top)
        assert ("main.c" in said, "part.c" in said) == (False, True)
        os.utime(top / "part.h")
        assert "main.c" in run("make", at=top)


# --- Python -----------------------------------------------------------------------------------------------


def test_python(cold: Cold) -> None:
    def prepare(top: Path) -> None:
        for name in ("email", "json", "logging"):
            source = Path(os.__file__).parent / name
            shutil.copytree(source, top / "lib" / name, ignore=shutil.ignore_patterns("__pycache__"))

    def check(top: Path) -> None:
        program = "import json, email.message, sys; print(json.__file__, json.__cached__, sys.prefix)"
        command = ["env", f"PYTHONPATH={top}/lib", top / "venv/bin/python", "-c", program]
        assert run(*command).split() == [
            f"{top}/lib/json/__init__.py",
            f"{top}/lib/json/__pycache__/__init__.{sys.implementation.cache_tag}.pyc",
            f"{top}/venv",
        ]
        assert "Compiling" not in run(sys.executable, "-m", "compileall", "lib", at=top)

    with cold.job(prepare, check) as top:
        run(sys.executable, "-m", "venv", "--without-pip", top / "venv")
        assert "Compiling" in run(sys.executable, "-m", "compileall", "lib", at=top)
        with (top / "lib/json/__init__.py").open("a") as source:
            source.write("# changed\n")
        assert run(sys.executable, "-m", "compileall", "lib", at=top).count("Compiling") == 1
