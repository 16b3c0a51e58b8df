"""Files with several names of which the upper has some: the index says that the others are the same file.

What a run left is read through ``left_by`` and compared with what the kernel's overlayfs showed before.
"""

import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cowfs.model import Kind
from cowfs.overlay import DirNode
from cowfs.runs.trees import Tree, left_by

Cowdiff = Callable[..., subprocess.CompletedProcess[str]]
BASE = "mkdir a b; echo 1 >h; ln h h2; ln h a/h3; ln h b/h4; echo s >single; ln -s x l; ln l l2"
Shown = dict[bytes, tuple[int, bytes, int, int, set[bytes]]]  # mode, content, size, links; all names of the same file

SCRIPTS = {
    "write through one of the names": "echo more >>h",
    "write through one and another": "echo more >>h2; echo yet more >>a/h3",
    "metadata alone": "chmod 600 a/h3",
    "metadata, then data through another name": "chmod 600 h; echo more >>h2",
    "the name that was written is removed": "echo more >>h; rm h",
    "one more name": "ln h2 new; echo more >>new",
    "renamed": "mv h moved; echo more >>moved",
    "renamed without a write": "mv h a/moved",
    "its directory is renamed": "echo more >>a/h3; mv a c",
    "a name in a directory that is removed": "echo more >>h; rm -r a",
    "replaced under one name": "echo other >x; mv x h2; echo more >>h",
    "all but one removed": "rm h h2 a/h3",
    "a symbolic link": "touch -h -d @1 l2",
    "two new names": "echo n >n1; ln n1 n2; echo more >>h",
}


def seen(paths: dict[bytes, tuple[Any, int, bytes, int, int]]) -> Shown:
    """By path; ``paths`` say which file it is, and what."""
    names: dict[Any, set[bytes]] = {}
    for path, (identity, *_) in paths.items():
        names.setdefault(identity, set()).add(path)
    return {path: (*facts, names[identity]) for path, (identity, *facts) in paths.items()}  # type: ignore[misc]


def of_directory(top: Path) -> Shown:
    found = {}
    for directory, _, files in os.walk(os.fsencode(top)):
        for name in files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            data = os.readlink(path) if stat.S_ISLNK(status.st_mode) else Path(os.fsdecode(path)).read_bytes()
            facts = stat.S_IMODE(status.st_mode), data, status.st_size, status.st_nlink
            found[path.removeprefix(os.fsencode(top))] = ((status.st_dev, status.st_ino), *facts)
    return seen(found)


def of_tree(tree: Tree) -> Shown:
    found = {}
    waiting = [(b"", tree.root)]
    while waiting:
        path, node = waiting.pop()
        if isinstance(node, DirNode):
            waiting += [(path + b"/" + name, child) for name in tree.names(node) if (child := tree.lookup(node, name))]
            continue
        version, data = tree.version(node), b""
        if version.kind is Kind.FILE:
            with tree.opened(node) as content:
                data = b"".join(content.chunks())
        found[path] = (node.number, version.mode, data or version.target, version.size, version.nlink)
    return seen(found)


@pytest.mark.parametrize("what", SCRIPTS)
def test_every_name_shows_what_the_run_left(scene: Any, what: str) -> None:
    scene.base(BASE)
    with scene.mounted() as merged:
        scene.shell(SCRIPTS[what], merged)
        expected = of_directory(merged)
    with left_by(scene.run) as tree:
        assert of_tree(tree) == expected


def test_the_commands_show_it(make_run: Any, cowdiff: Cowdiff, tmp_path: Path) -> None:
    make_run.base("echo 1 >h; ln h h2; ln h h3")
    make_run("echo more >>h2", index="on")
    names = {"h", "h2", "h3"}
    for name in names:
        assert cowdiff("cat", "last", f"/{name}").stdout == "1\nmore\n"
        assert cowdiff("cp", f"last:/{name}", str(tmp_path / name)).returncode == 0
        assert (tmp_path / name).read_text() == "1\nmore\n"
    assert cowdiff("export", "last", f"tar:{tmp_path / 'out.tar'}").returncode == 0
    with tarfile.open(tmp_path / "out.tar") as tar:
        assert {tar.extractfile(name).read() for name in names} == {b"1\nmore\n"}  # type: ignore[union-attr]
        assert sorted(tar.getmember(name).islnk() for name in names) == [False, True, True]
    there = tmp_path / "there"
    there.mkdir()
    assert cowdiff("mount", "last", str(there)).returncode == 0
    try:
        assert {(there / name).read_text() for name in names} == {"1\nmore\n"}
        assert {(there / name).stat().st_nlink for name in names} == {3}
        assert len({(there / name).stat().st_ino for name in names}) == 1
    finally:
        umount = [sys.executable, "-c", "from cowfs.cli.main import main; main()", "umount", there]
        subprocess.run(umount, check=True, timeout=20)
