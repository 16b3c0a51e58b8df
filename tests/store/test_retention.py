"""Budgets of runs: which ones go, which ones never do, and that nobody measures what does not count."""

import os
from pathlib import Path

import pytest

from cowfs.errors import StoreError
from cowfs.model import Base, LayerInfo, Run, RunState
from cowfs.store import Store, retention
from cowfs.store.retention import Budget, beyond, read_budget
from cowfs.store.runs import Runs

DAY = 86400.0


def made(number: int, **facts: object) -> Run:
    """Run ``number`` started that many days ago and changed a megabyte."""
    run = Run(f"{number:012x}", Path(f"/runs/{number:012x}"), "dir:/base", (Path("/base"),), ("true",))
    facts = {"started": -number * DAY, "size": 1 << 20, "state": RunState.DISCARDED} | facts
    return run._replace(**facts)  # type: ignore[arg-type]


def gone(budget: Budget, runs: list[Run]) -> list[int]:
    return [int(run.id, 16) for run in beyond(budget, runs, now=0)]


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


@pytest.mark.parametrize("fact", [{"pinned": True}, {"applied": True}, {"state": RunState.RUNNING}])
def test_what_no_budget_removes(fact: dict[str, object]) -> None:
    assert gone(Budget(0, 0, 0), [made(1), made(2, **fact), made(3)]) == [1, 3]


def test_a_run_that_another_is_built_on_stays() -> None:
    first = made(2)
    assert gone(Budget(0, None, None), [made(1, lowers=(first.upper, Path("/base"))), first]) == [1]


def test_sizes_are_asked_for_only_if_they_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "disk_usage", lambda fd: pytest.fail("measured"))
    assert gone(Budget(1, 1, None), [made(1, size=None), made(2, size=None)]) == [1, 2]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    Store.open(root).close()
    (tmp_path / "base").mkdir()
    return root


def sealed(store: Path, content: bytes = b"") -> Run:
    run, lock = Runs(store).create(Base("dir:base", (LayerInfo(1, store.parent / "base"),)), ["true"])
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
