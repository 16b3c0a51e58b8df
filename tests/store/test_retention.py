"""Budgets of runs: which ones go, which ones never do, and that nobody measures what does not count."""

import os
from pathlib import Path

import pytest

from cowfs.errors import StoreError
from cowfs.model import Base, LayerInfo, Run, RunState
from cowfs.store import Store, run_removal, runs
from cowfs.store.ledger import Kept
from cowfs.store.retention import Budget, bases_of, beyond, is_kept, read_budget
from cowfs.store.runs import Runs

DAY = 86400.0


def made(number: int, **facts: object) -> Run:
    """Run ``number`` started that many days ago and changed a megabyte."""
    run = Run(f"{number:012x}", Path(f"/runs/{number:012x}"), "dir:/base", (Path("/base"),), ("true",))
    facts = {"started": -number * DAY, "size": 1 << 20, "state": RunState.DISCARDED} | facts
    return run._replace(**facts)  # type: ignore[arg-type]


def gone(budget: Budget, runs: list[Run]) -> list[int]:
    return [int(kept.id, 16) for kept in beyond(budget, map(Kept.of, runs), now=0)]


BUDGETS: dict[str, tuple[Budget, list[int]]] = {
    "none": (Budget(None, None, None), []),
    "a number": (Budget(3, None, None), [4, 5]),
    "no run at all": (Budget(0, None, None), [1, 2, 3, 4, 5]),
    "an age": (Budget(None, int(2.5 * DAY), None), [3, 4, 5]),
    "bytes": (Budget(None, None, 2 << 20), [3, 4, 5]),
    "the narrowest counts": (Budget(4, int(9 * DAY), 3 << 20), [4, 5]),
}


@pytest.mark.parametrize("what", BUDGETS)
def test_the_oldest_go_first(what: str) -> None:
    budget, expected = BUDGETS[what]
    assert gone(budget, [made(number) for number in range(1, 6)]) == expected


@pytest.mark.parametrize(
    ("fact", "kept"), [({}, False), ({"pinned": True}, True), ({"applied": True}, True), ({"id": "base"}, True)]
)
def test_what_no_budget_removes(fact: dict[str, object], kept: bool) -> None:
    assert is_kept(made(1, **fact), {"base"}) is kept


def test_what_a_run_is_built_on_is_told_by_where_it_lies() -> None:
    first = made(2)
    lowers = (first.upper, Path("/data/upper"), Path("/runs/upper/x"), Path("/base"))
    assert bases_of(made(1, lowers=lowers)) == {first.id}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    Store.open(root).close()
    (tmp_path / "base").mkdir()
    return root


def sealed(store: Path, content: bytes = b"", on: Run | None = None) -> Run:
    base = Base("dir:base", (LayerInfo(1, store.parent / "base"),))
    run, lock = Runs(store).create(base if on is None else Runs(store).on_top(base, on), ["true"])
    (run.upper / "file").write_bytes(content)
    lock.close()
    return Runs(store).seal(run, 0)


def test_a_run_knows_what_it_takes_on_the_disk(store: Path) -> None:
    run = sealed(store, os.urandom(1 << 20))
    (run.upper / "sub").mkdir()
    assert run.size is not None
    assert 1 << 20 <= run.size < (1 << 20) + 65536
    assert Runs(store).list()[0].size == run.size


def test_runs_toml(store: Path) -> None:
    assert read_budget(store) == Budget()
    (store / "runs.toml").write_text('keep = 2\nage = "no"\nsize = "1.5G"\n')
    assert read_budget(store) == Budget(2, None, 3 << 29)
    runs = [sealed(store) for _ in range(4)]
    Runs(store).pin(runs[0])
    assert [run.id for run in Runs(store).retain()] == [runs[1].id]
    Runs(store).pin(runs[0], pinned=False)
    assert [run.id for run in Runs(store).retain()] == [runs[0].id]


@pytest.mark.parametrize(
    "text",
    ["keep = -1", "keep = true", 'keep = "x"', "age = 90", 'age = "soon"', 'size = "much"', "more = 1", "keep ="],
)
def test_a_file_that_makes_no_sense_removes_nothing(store: Path, text: str) -> None:
    (store / "runs.toml").write_text(text)
    with pytest.raises(StoreError, match=r"runs\.toml"):
        read_budget(store)


class Counts:
    """How often runs were looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.records = self.listings = 0
        decode, listdir = runs.decode, os.listdir

        def counted(data: bytes, directory: Path) -> Run:
            self.records += 1
            return decode(data, directory)

        def listed(fd: int) -> list[str]:
            self.listings += 1
            return listdir(fd)

        monkeypatch.setattr(runs, "decode", counted)
        monkeypatch.setattr(run_removal.os, "listdir", listed)


def many(store: Path, count: int) -> list[Run]:
    """Runs that are over, the oldest first."""
    return [sealed(store) for _ in range(count)]


@pytest.mark.parametrize("count", [3, 30])
def test_the_end_of_a_run_reads_no_record_of_another(store: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    many(store, count)
    counts = Counts(monkeypatch)
    assert Runs(store).retain() == []
    assert counts.records == 0


def test_what_the_ledger_lacks_is_read_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = many(store, 5)
    (store / "runs.ledger").write_bytes(b"half a li")
    (store / "runs.toml").write_text("keep = 4\n")
    counts = Counts(monkeypatch)
    assert [run.id for run in Runs(store).retain()] == [made[0].id]
    assert counts.records == 5 + 1  # all, and once more the one that goes
    assert Runs(store).retain() == []
    assert counts.records == 6


def test_the_ledger_does_not_grow_for_ever(store: Path) -> None:
    (store / "runs.toml").write_text("keep = 1\n")
    made = [Runs(store).retain() for _ in range(120) if sealed(store)]
    assert sum(map(len, made)) == 119
    assert len((store / "runs.ledger").read_bytes().split(b"\n")) < 220
    assert len(Runs(store).list()) == 1


def test_to_prune_is_linear(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many(store, 130)
    counts = Counts(monkeypatch)
    assert len(Runs(store).prune()) == 130
    assert counts.records == 130
    assert counts.listings < 10 + 130 * 4  # each run's own directories, and the list of all now and then


def test_neither_budget_nor_prune_takes_a_run_that_another_is_built_on(store: Path) -> None:
    first = sealed(store)
    second = sealed(store, on=first)
    assert [run.id for run in Runs(store).prune()] == [second.id]
    second = sealed(store, on=first)
    (store / "runs.toml").write_text("keep = 0\n")
    assert [run.id for run in Runs(store).retain()] == [second.id]
    assert [run.id for run in Runs(store).retain()] == [first.id]


def test_a_run_that_came_while_others_are_removed_keeps_what_it_is_built_on(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sealed(store)
    lock = run_removal._lock

    def locked(*arguments: object) -> int | None:
        sealed(store, on=first)
        return lock(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(run_removal, "_lock", locked)
    assert Runs(store).prune() == []
    assert first.upper.is_dir()
