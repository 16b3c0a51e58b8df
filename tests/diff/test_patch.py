"""The patch format: ``git apply`` must make the merged tree's text files out of the base's."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cowdiff.select import Filter, selected

from cowfs.cli.diffs.patch import patch
from cowfs.cli.diffs.texts import Texts
from cowfs.model import Kind
from cowfs.runs.below import Below
from cowfs.runs.changes import Change, ChangeClass, Difference, Version
from cowfs.runs.scan import scan
from cowfs.runs.trees import base_of, left_by

BASE = r"""
mkdir -p dir/sub 'odd dir'
seq 1 60 >numbers; printf 'no end' >open-ended; : >empty
echo one >'odd dir/a b'; echo q >'quo"te\back'; printf 'x\n' >"$(printf 'new\nline')"; echo u >ümlaut
echo run >script; ln -s numbers link; ln -s script other
printf 'b\0' >binary; printf 'c\0' >binary2
echo d >dir/d; echo s >dir/sub/s; echo gone >gone; echo m >moved; seq 1 30 >moved2; echo t >type; ln -s type type2
"""

CHANGES = r"""
sed -i 's/^3$/three/; 40,50d; $a end' numbers; printf 'still no end' >open-ended; echo full >empty; : >new-empty
echo two >>'odd dir/a b'; echo Q >'quo"te\back'; printf 'y\n' >"$(printf 'new\nline')"; echo U >ümlaut
chmod 755 script binary; mv binary2 binary3; ln -sfn dir link; rm other
rm gone; mv moved moved-away; mv moved2 moved-2; sed -i 5d moved-2; rm -r dir
rm type; ln -s script type; rm type2; echo file >type2; mkdir made; echo in >made/in; ln -s /nowhere made/link
"""


def text_files(top: Path) -> dict[str, tuple[object, ...]]:
    """Files and links with what git knows of them; directories are nothing to git."""
    found: dict[str, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = Path(directory, name)
            if path.is_symlink():
                found[str(path.relative_to(top))] = ("link", os.readlink(path))
            elif path.is_file():
                found[str(path.relative_to(top))] = (path.read_bytes(), bool(path.stat().st_mode & 0o100))
    return found


@pytest.mark.parametrize("options", ["full", "plain"])
def test_git_apply_makes_the_merged_tree(scene: Any, options: str) -> None:
    scene.base(BASE)
    scene.change(CHANGES, options)
    with base_of(scene.run) as before, left_by(scene.run) as after:
        changes = scan(scene.run, before)
        chosen = selected(changes, Filter(), Below(before, changes), everything=True)
        (scene.directory / "patch").write_bytes(b"".join(Texts(before, after).patches(chosen)))
    copy = scene.directory / "copy"
    shutil.copytree(scene.lower, copy, symlinks=True)
    git = ["git", "-c", "core.fileMode=true", "apply", "--whitespace=nowarn", "../patch"]
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(scene.directory), "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(git, cwd=copy, check=True, timeout=30, env=environment)
    with scene.mounted(options) as merged:
        assert text_files(copy) == text_files(merged)


def of(kind: Kind, size: int = 0, mode: int = 0o644, uid: int = 0) -> Version:
    return Version(kind, size, mode, uid, 0, 0, 0)


def lines(change: Change, old: bytes | None, new: bytes | None) -> list[str]:
    return b"".join(patch(change, old, new)).decode().splitlines()


def test_binary_files_are_named_with_their_sizes() -> None:
    content = frozenset({Difference.CONTENT})
    change = Change(b"/b", ChangeClass.MODIFIED, of(Kind.FILE, 12), of(Kind.FILE, 34), content)
    assert lines(change, None, b"") == ["# M /b [12 -> 34 bytes, not shown]"]


def test_binary_files_with_the_same_content_are_as_any_other() -> None:
    mode = frozenset({Difference.MODE})
    change = Change(b"/b", ChangeClass.METADATA, of(Kind.FILE, 12), of(Kind.FILE, 12, 0o4644), mode)
    assert lines(change, None, None) == ["# m /b (mode 0644 -> 4644)"]
    change = Change(b"/b", ChangeClass.METADATA, of(Kind.FILE, 12), of(Kind.FILE, 12, 0o755), mode)
    assert lines(change, None, None)[1:] == ["diff --git a/b b/b", "old mode 100644", "new mode 100755"]
    change = Change(b"/c", ChangeClass.RENAMED, of(Kind.FILE, 12), of(Kind.FILE, 12), before_path=b"/b")
    assert lines(change, None, None) == [
        "diff --git a/b b/c",
        "similarity index 100%",
        "rename from b",
        "rename to c",
    ]


def test_directories_and_devices_are_only_named() -> None:
    assert lines(Change(b"/d", ChangeClass.ADDED, None, of(Kind.DIRECTORY)), b"", None) == ["# A /d/"]
    assert lines(Change(b"/d", ChangeClass.REMOVED, of(Kind.DIRECTORY), None), None, b"") == ["# D /d/"]
    assert lines(Change(b"/n", ChangeClass.ADDED, None, of(Kind.CHAR)), b"", None) == ["# A /n"]


def test_what_git_does_not_know_is_said_beside_the_patch() -> None:
    before, after = of(Kind.FILE, 2), of(Kind.FILE, 2, 0o755, 7)
    differs = frozenset({Difference.CONTENT, Difference.OWNER, Difference.MODE})
    told = lines(Change(b"/f", ChangeClass.MODIFIED, before, after, differs=differs), b"a\n", b"b\n")
    assert told[:4] == [
        "# M /f (mode 0644 -> 0755; owner 0:0 -> 7:0)",
        "diff --git a/f b/f",
        "old mode 100644",
        "new mode 100755",
    ]
