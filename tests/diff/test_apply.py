"""``apply`` and ``undo``: the base becomes what the run left, and what it was, in every respect; also after a kill."""

import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pexpect
import pytest
from cowdiff.apply import perform
from cowdiff.apply.application import application, undo
from cowdiff.apply.perform import Conflict
from cowdiff.apply.site import Site
from cowdiff.select import wanted

from cowfs.errors import NotFound, StoreError
from cowfs.model import Run, RunState

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.diff.test_scan import BASE, OPERATIONS, WITH_MARKS

State = tuple[dict[str, Any], list[list[str]]]


@pytest.fixture
def state(snapshot: Callable[[Path], dict[str, Any]]) -> Callable[[Path], State]:
    """Everything about a tree, and which of its names are one file."""

    def of(top: Path) -> State:
        groups = defaultdict(list)
        for path in sorted(top.rglob("*")):
            if not path.is_dir() or path.is_symlink():
                groups[path.lstat().st_ino].append(str(path.relative_to(top)))
        return snapshot(top), sorted(group for group in groups.values() if len(group) > 1)

    return of


def over(scene: Any) -> Run:
    """The scene's run, over and done, as if it had started just before now."""
    return scene.run._replace(state=RunState.DISCARDED, started=max(_ctimes(scene.lower)) + 1e-3)


def _ctimes(top: Path) -> list[float]:
    return [path.lstat().st_ctime for path in [top, *top.rglob("*")]]


def apply(run: Run, *paths: bytes) -> None:
    with application(run, wanted(paths)) as planned:
        planned.check()
        planned.perform()


def without_times_of_directories(tree: dict[str, Any]) -> dict[str, Any]:
    """Entries that come and go change the time of the directory that they are in."""
    return {path: file._replace(mtime_ns=0) if file.kind == 0o040000 else file for path, file in tree.items()}


@pytest.mark.parametrize("operation", [*OPERATIONS, *WITH_MARKS])
def test_the_base_becomes_what_the_run_left_and_what_it_was(
    scene: Any, state: Callable[[Path], State], operation: str
) -> None:
    script, _ = {**OPERATIONS, **WITH_MARKS}[operation]
    scene.base(BASE)
    before = state(scene.lower)
    wanted_tree = scene.change(script)
    with scene.mounted() as merged:
        groups = state(merged)[1]
    run = over(scene)
    try:
        apply(run)
    except NotFound:
        assert scene.lines() == [line for line in scene.lines() if line.startswith("= ")]
        return
    tree, now_groups = state(scene.lower)
    assert without_times_of_directories(tree) == without_times_of_directories(wanted_tree)
    assert now_groups == groups
    undo(run)
    assert state(scene.lower) == before
    apply(run)  # what an undo put back does not count as changed since
    assert state(scene.lower)[0].keys() == tree.keys()
    undo(run)
    assert state(scene.lower) == before


MANY = """
echo more >>d/one; rm -r gone; mv keep kept; echo n >kept/new; mkdir -p a/b; echo deep >a/b/c; ln a/b/c a/link
chmod 600 f; mv g g2; echo other >g2; rm y; ln -s x y; touch empty; attribute user.note n x; mknod dev c 1 3
echo more >>h; mv d/sub moved; setcap cap_net_raw=ep a/b/c; chown 7:8 a/b; chmod 4755 a/b/c
"""


@pytest.fixture
def many(scene: Any, state: Callable[[Path], State]) -> tuple[Run, State, dict[str, Any]]:
    """A run with some of everything: it, the base before, and the tree that it left."""
    scene.base(BASE)
    before = state(scene.lower)
    after = scene.change(MANY)
    return over(scene), before, after


class Killed(BaseException):
    """Stands for a kill: nothing catches it, and what would clean up is cut off."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, names: list[str], count: int) -> Iterator[list[int]]:
    """The ``count``-th of these calls of a site never returns, nor does any later one."""
    calls = [0]
    with monkeypatch.context() as patch:
        for name in names:
            original = getattr(Site, name)

            def call(*arguments: Any, original: Callable[..., Any] = original, **more: Any) -> Any:
                calls[0] += 1
                if calls[0] > count:
                    raise Killed
                return original(*arguments, **more)

            patch.setattr(Site, name, call)
        yield calls


WRITING = ["dress", "rename", "take", "keep", "give_back", "remove", "remove_empty", "set_mtime"]


def test_a_kill_at_any_step_can_be_undone(
    many: tuple[Run, State, dict[str, Any]], state: Callable[[Path], State], monkeypatch: pytest.MonkeyPatch, scene: Any
) -> None:
    run, before, _ = many
    for count in range(1000):
        with killed_at(monkeypatch, WRITING, count) as calls:
            try:
                apply(run)
            except Killed:
                pass
        if calls[0] <= count:
            break
        with pytest.raises(StoreError, match="interrupted"), application(run, wanted()):
            pass
        undo(run)
        assert state(scene.lower) == before, count
    assert count > 20
    undo(run)
    assert state(scene.lower) == before


def test_a_kill_of_an_undo_at_any_step_can_be_undone(
    many: tuple[Run, State, dict[str, Any]], state: Callable[[Path], State], monkeypatch: pytest.MonkeyPatch, scene: Any
) -> None:
    """Checks of what was changed since are the first undo's; the next one goes on where that was killed."""
    run, before, _ = many
    monkeypatch.setattr(perform, "_check", lambda *arguments: None)
    for count in range(1000):
        apply(run)
        with killed_at(monkeypatch, WRITING, count) as calls:
            try:
                undo(run)
            except Killed:
                pass
        if calls[0] <= count:
            break
        undo(run)
        assert state(scene.lower) == before, count
    assert count > 20
    assert state(scene.lower) == before


def test_what_fails_half_way_is_taken_back(
    many: tuple[Run, State, dict[str, Any]], state: Callable[[Path], State], monkeypatch: pytest.MonkeyPatch, scene: Any
) -> None:
    run, before, _ = many
    original = Site.rename
    for count in range(1000):
        calls = [0]

        def rename(*arguments: Any, calls: list[int] = calls, count: int = count, **more: Any) -> None:
            calls[0] += 1
            if calls[0] == count:
                raise OSError(28, "No space left on device")
            original(*arguments, **more)

        monkeypatch.setattr(Site, "rename", rename)
        try:
            apply(run)
        except OSError:
            assert state(scene.lower) == before, count
            assert not list(scene.lower.rglob(".cowdiff*"))
        else:
            monkeypatch.undo()
            undo(run)
            if count:
                break
    assert count > 5
    assert state(scene.lower) == before


def test_a_record_on_another_file_system(
    many: tuple[Run, State, dict[str, Any]], state: Callable[[Path], State], scene: Any, tmp_path: Path
) -> None:
    """What a rename cannot move is copied, with all that it has; then the hard links of a file part in the copy."""
    run, before, after = many
    (tmp_path / "applied").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "cowdiff-test", tmp_path / "applied"], check=True, timeout=20)
    try:
        apply(run)
        tree = state(scene.lower)[0]
        assert without_times_of_directories(tree) == without_times_of_directories(after)
        undo(run)
        assert state(scene.lower)[0] == before[0]
    finally:
        subprocess.run(["umount", tmp_path / "applied"], check=True, timeout=20)


SELECTED: dict[str, tuple[str, list[bytes], list[str]]] = {
    "one file": ("echo F >f; echo G >g", [b"/f"], ["f"]),
    "a new file and what leads to it": ("mkdir -p a/b; echo n >a/b/c; echo m >a/m", [b"/a/b/c"], ["a", "a/b", "a/b/c"]),
    "a file in a renamed directory": ("mv d e; echo n >e/new", [b"/e/new"], ["d", "e"]),
    "what was moved out of a removed directory": ("mv d/one .; rm -r d", [b"/d"], ["d", "one"]),
    "what took the place of a renamed file": ("mv f f~; echo new >f", [b"/f~"], ["f", "f~"]),
    "a file of a removed directory": ("rm -r d", [b"/d/one"], ["d/one"]),
}


@pytest.mark.parametrize("what", SELECTED)
def test_some_paths_and_what_they_need(scene: Any, snapshot: Callable[[Path], dict[str, Any]], what: str) -> None:
    script, paths, changed = SELECTED[what]
    scene.base(BASE)
    before = without_times_of_directories(snapshot(scene.lower))
    after = without_times_of_directories(scene.change(script))
    apply(over(scene), *paths)
    now = without_times_of_directories(snapshot(scene.lower))
    tops = {path for path in now.keys() | before.keys() if now.get(path) != before.get(path)}
    for path in tops:
        assert any(path == f"/{name}" or path.startswith(f"/{name}/") for name in changed), path
        assert now.get(path) == after.get(path)
    assert {name for name in changed if f"/{name}" in tops} == set(changed)


CONFLICTS: dict[str, tuple[str, str]] = {
    "a modified file changed": ("echo run >>f", "echo host >>f"),
    "a modified file was replaced": ("echo run >>f", "echo host >n; mv n f"),
    "a new file is there now": ("echo run >new", "echo host >new"),
    "a removed file changed": ("rm f", "chmod 600 f"),
    "something came into a removed directory": ("rm -r d", "echo host >d/sub/new"),
    "a file in a removed directory changed": ("rm -r d", "echo host >d/sub/s"),
    "a renamed file changed": ("mv f moved", "echo host >f"),
    "the mode of a directory changed": ("chmod 700 d", "chmod 711 d"),
}


@pytest.mark.parametrize("what", CONFLICTS)
def test_a_base_that_changed_meanwhile_is_left_alone(scene: Any, state: Callable[[Path], State], what: str) -> None:
    script, meanwhile = CONFLICTS[what]
    scene.base(BASE)
    run = over(scene)
    scene.change(script)
    subprocess.run(["sleep", "0.02"], check=True)
    scene.shell(meanwhile, scene.lower)
    before = state(scene.lower)
    with pytest.raises(Conflict, match=r"changed since the run started: /(f|new|d)"):
        apply(run)
    assert state(scene.lower) == before


def test_other_entries_of_a_directory_are_no_conflict(scene: Any) -> None:
    scene.base(BASE)
    run = over(scene)
    scene.change("chmod 700 d; echo run >d/run")
    subprocess.run(["sleep", "0.02"], check=True)
    scene.shell("echo host >d/host", scene.lower)
    apply(run)
    assert sorted(os.listdir(scene.lower / "d")) == ["host", "one", "run", "sub", "two"]


UNDO_CONFLICTS = {
    "a new file changed": ("echo n >new", "echo more >>new", "/new changed"),
    "a new file is gone": ("echo n >new", "rm new", "/new is gone"),
    "a removed file is there again": ("rm f", "echo n >f", "/f was made"),
    "something came into a new directory": ("mkdir new", "echo n >new/file", "/new/file was made"),
}


@pytest.mark.parametrize("what", UNDO_CONFLICTS)
def test_undo_does_not_undo_what_came_later(scene: Any, state: Callable[[Path], State], what: str) -> None:
    script, meanwhile, words = UNDO_CONFLICTS[what]
    scene.base(BASE)
    scene.change(script)
    run = over(scene)
    apply(run)
    scene.shell(meanwhile, scene.lower)
    before = state(scene.lower)
    with pytest.raises(Conflict, match=words):
        undo(run)
    assert state(scene.lower) == before


def test_a_link_in_the_place_of_a_directory_leads_nowhere(scene: Any, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    scene.base("mkdir d")
    scene.change("echo run >d/new")
    run = over(scene)
    with application(run, wanted()) as planned:
        shutil.rmtree(scene.lower / "d")
        (scene.lower / "d").symlink_to(outside)
        with pytest.raises(OSError):
            planned.perform()
    assert os.listdir(outside) == []


def test_applications_are_undone_the_newest_first(scene: Any, state: Callable[[Path], State]) -> None:
    scene.base(BASE)
    first = state(scene.lower)
    scene.change("echo F >f; echo G >g")
    run = over(scene)
    apply(run, b"/f")
    second = state(scene.lower)
    apply(run, b"/g")
    undo(run)
    assert state(scene.lower) == second
    undo(run)
    assert state(scene.lower) == first
    with pytest.raises(NotFound):
        undo(run)


def test_the_commands_show_ask_apply_and_undo(make_run: Any, cowdiff: Any, tmp_path: Path) -> None:
    make_run("echo hi >proof; echo x >>etc/passwd")
    passwd = tmp_path / "lower/etc/passwd"
    refused = cowdiff("apply", "last", "/proof")
    assert (refused.returncode, refused.stdout) == (125, "A /proof\n")
    assert "--yes" in refused.stderr
    assert not (tmp_path / "lower/proof").exists()
    applied = cowdiff("apply", "--yes", "last", "/etc")
    assert (applied.returncode, applied.stdout) == (0, "M /etc/passwd\n")
    assert passwd.read_text() == "root:x:0:0\nx\n"
    assert cowdiff("undo", "last").returncode == 0
    assert passwd.read_text() == "root:x:0:0\n"
    again = cowdiff("undo", "last")
    assert (again.returncode, len(again.stderr.splitlines())) == (125, 1)


@pytest.mark.parametrize(("answer", "status", "applied"), [("y", 0, True), ("n", 130, False)])
def test_a_person_is_asked(
    make_run: Any, cowdiff: Any, tmp_path: Path, answer: str, status: int, applied: bool
) -> None:
    make_run("echo hi >proof")
    program, *arguments = [*cowdiff.command, "apply", "last"]
    child = pexpect.spawn(program, arguments, env=os.environ | cowdiff.environment, encoding="utf-8", timeout=30)
    child.expect_exact(f"Apply this to {tmp_path / 'lower'}? [y/N]: ")
    child.sendline(answer)
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, (tmp_path / "lower/proof").exists()) == (status, applied)


def test_what_cannot_be_applied_is_refused(make_run: Any, cowdiff: Any) -> None:
    run = make_run("echo hi >proof", seal=False)
    assert "still going" in cowdiff("apply", "--yes", "last").stderr
    make_run.locks.pop().close()
    assert cowdiff("apply", "--yes", run.id, "/nothing").returncode == 125
    assert "nothing of that is left to apply" in cowdiff("apply", "--yes", run.id, "/nothing").stderr
