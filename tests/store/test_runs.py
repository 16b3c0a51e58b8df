"""Runs: made whole, locked while they live, found, sealed and removed."""

import json
import os
import stat
from pathlib import Path

import pytest

from cowfs import ondisk
from cowfs.errors import NotFound, StoreError, UsageError
from cowfs.model import Base, LayerInfo, Run, RunState
from cowfs.store import Store
from cowfs.store.runs import FILES, RunLock, Runs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "store") as store:
        return store.root


@pytest.fixture
def base(tmp_path: Path) -> Base:
    lower = tmp_path / "lower"
    lower.mkdir()
    lower.chmod(0o751)
    os.chown(lower, 12, 34)
    os.utime(lower, ns=(1_000_000_001, 2_000_000_002))
    return Base("dir:lower", (LayerInfo(1, lower),))


def make(root: Path, base: Base, name: str = "") -> tuple[Run, RunLock]:
    return Runs(root).create(base, ("true",), name=name, env_names=("A",), hidden=[Path("/proc")], volumes=["/proc"])


def test_a_store_without_runs_has_none(tmp_path: Path) -> None:
    assert Runs(tmp_path / "absent").list() == []
    with pytest.raises(NotFound):
        Runs(tmp_path / "absent").find("last")


def test_what_was_recorded_is_read_back_and_states_follow_the_lock(root: Path, base: Base) -> None:
    runs = Runs(root)
    run, lock = make(root, base)
    assert runs.list() == [run]
    assert run.state is RunState.RUNNING
    lock.close()
    assert runs.list()[0].state is RunState.LOST
    sealed = runs.seal(run, 7)
    assert runs.list() == [sealed]
    assert (sealed.state, sealed.exit_status) == (RunState.DISCARDED, 7)
    assert sealed.ended is not None


def test_the_upper_begins_with_the_attributes_of_the_lower_below_it(root: Path, base: Base) -> None:
    os.setxattr(base.lowers[0], "user.kept", b"1")
    os.setxattr(base.lowers[0], "trusted.overlay.opaque", b"y")
    run, lock = make(root, base)
    lock.close()
    status = run.upper.stat()
    assert stat.S_IMODE(status.st_mode) == 0o751
    assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (12, 34, 2_000_000_002)
    assert os.listxattr(run.upper) == ["user.kept"]


def test_a_run_is_private(root: Path, base: Base) -> None:
    run, lock = make(root, base)
    lock.close()
    assert stat.S_IMODE(run.directory.stat().st_mode) == 0o700


def test_sealing_keeps_upper_record_and_index(root: Path, base: Base) -> None:
    run, lock = make(root, base)
    for name in ("work", "index"):
        (run.work / name).mkdir()
        (run.work / name / "entry").touch()
    (run.directory / "files" / "hosts").touch()
    Runs(root).seal(run, 0)
    lock.close()
    assert sorted(os.listdir(run.directory)) == ["lock", "run.json", "upper", "work"]
    assert os.listdir(run.work) == ["index"]
    assert os.listdir(run.work / "index") == ["entry"]


def test_tokens(root: Path, base: Base) -> None:
    runs = Runs(root)
    first, lock = make(root, base, name="web")
    Runs(root).seal(first, 0)
    lock.close()
    second, lock = make(root, base, name="web")
    lock.close()
    assert runs.find("last").id == second.id
    assert runs.find("web").id == second.id
    assert runs.find(first.id).id == first.id
    assert runs.find(first.id[:11]).id == first.id
    for token in ("", "nothing", "../runs"):
        with pytest.raises(NotFound):
            runs.find(token)


def test_a_prefix_of_two_ids_is_refused(root: Path, base: Base) -> None:
    runs = Runs(root)
    seen: set[str] = set()
    while True:  # 17 ids have 16 first digits
        run, lock = make(root, base)
        lock.close()
        if run.id[0] in seen:
            break
        seen.add(run.id[0])
    with pytest.raises(UsageError, match="begins the ids of 2 runs"):
        runs.find(run.id[0])


def test_names(root: Path, base: Base) -> None:
    for name in ("last", "-x", "a/b", " "):
        with pytest.raises(UsageError, match="cannot be a name"):
            make(root, base, name=name)
    _, lock = make(root, base, name="web")
    with pytest.raises(UsageError, match="in use"):
        make(root, base, name="web")
    lock.close()


def test_a_run_that_is_going_is_not_removed(root: Path, base: Base) -> None:
    run, lock = make(root, base)
    with pytest.raises(StoreError, match="still going"):
        Runs(root).remove(run)
    assert run.upper.is_dir()
    assert Runs(root).prune() == []
    lock.close()
    Runs(root).remove(run)
    assert not run.directory.exists()
    assert os.listdir(root / "staging") == []
    Runs(root).remove(run)


def test_prune_keeps_the_newest(root: Path, base: Base) -> None:
    made = []
    for _ in range(3):
        run, lock = make(root, base)
        lock.close()
        made.append(run.id)
    assert [run.id for run in Runs(root).prune(keep=2, before=0.0)] == []
    assert [run.id for run in Runs(root).prune(keep=1)] == [made[1], made[0]]
    assert [run.id for run in Runs(root).list()] == [made[2]]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format": 2}', b"[" * 100_000, b"\xff"])
def test_a_damaged_record_is_a_lost_run_that_can_be_removed(root: Path, base: Base, content: bytes) -> None:
    run, lock = make(root, base)
    lock.close()
    (run.directory / "run.json").write_bytes(content)
    found = Runs(root).find(run.id)
    assert found.state is RunState.LOST
    Runs(root).remove(found)
    assert Runs(root).list() == []


def test_names_that_are_not_utf8_come_back_and_have_a_second_key(root: Path, base: Base) -> None:
    command = ("cat", os.fsdecode(b"/\xff"))
    run, lock = Runs(root).create(base, command)
    lock.close()
    assert Runs(root).find(run.id).command == command
    record = json.loads((run.directory / "run.json").read_bytes())
    assert record["command_b64"] == ["Y2F0", "L/8="]
    assert "source_b64" not in record


def test_what_was_killed_before_its_command_ran_is_removed_and_nothing_else(root: Path, base: Base) -> None:
    runs = Runs(root)
    made = []
    for kind in ("going", "unstarted", "lost", "sealed"):
        run, lock = runs.create(base, ["sh"], name=kind)
        if kind == "lost":
            (run.directory / FILES / ondisk.RUN_LAUNCHER).touch()
        if kind == "sealed":
            runs.seal(run, 0)
        made.append(lock)
        if kind != "going":
            lock.close()
    runs.remove_unstarted()
    assert {run.name for run in runs.list()} == {"going", "lost", "sealed"}
    made[0].close()
