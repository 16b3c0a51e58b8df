"""Journals that are kept of containers that are gone."""

import json
import os
from pathlib import Path

import pytest

from cowfs.errors import StoreError
from cowfs.store import builds
from cowfs.store.builds import Build, Builds


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


def keep(root: Path, number: int, text: bytes = b"journal", ended: float = 0.0) -> Build:
    build = Build(f"{number:064x}"[::-1], "p" * 64, ended - 1, ended)
    source = root.parent / "source"
    source.write_bytes(text)
    fd = os.open(source, os.O_RDONLY)
    source.unlink()  # as the engine does with the container
    os.lseek(fd, 3, os.SEEK_SET)
    try:
        Builds(root).keep(build, fd)
    finally:
        os.close(fd)
    return build


NOW = 4_000_000_000.0


def test_what_is_kept_is_found(root: Path) -> None:
    assert Builds(root).list() == []
    first, second = keep(root, 1, ended=NOW), keep(root, 2, b"second", ended=NOW + 1)
    found = Builds(root).list()
    assert found == [second, first]
    assert [build.journal.read_bytes() for build in found] == [b"second", b"journal"]
    assert found[0].journal.stat().st_mode & 0o777 == 0o600
    assert os.listdir(root / "staging") == []


def test_a_container_that_was_mounted_again_has_one(root: Path) -> None:
    keep(root, 1, ended=NOW)
    keep(root, 1, b"journal, and more", ended=NOW + 1)
    (found,) = Builds(root).list()
    assert (found.ended, found.journal.read_bytes()) == (NOW + 1, b"journal, and more")
    assert os.listdir(root / "staging") == []


def test_the_budgets_of_runs_hold(root: Path) -> None:
    keep(root, 1, ended=NOW)
    (root / "runs.toml").write_text("keep = 2\n")
    for number in (2, 3):
        keep(root, number, ended=NOW + number)
    assert [build.ended - NOW for build in Builds(root).list()] == [3, 2]
    (root / "runs.toml").write_text('keep = "no"\nsize = "20K"\n')
    keep(root, 4, b"x" * 15_000, ended=NOW + 4)
    keep(root, 5, b"x" * 15_000, ended=NOW + 5)
    assert [build.ended - NOW for build in Builds(root).list()] == [5]
    (root / "runs.toml").write_text('age = "1d"\n')
    keep(root, 6, ended=1.0)
    assert [build.ended - NOW for build in Builds(root).list()] == [5]


def test_a_journal_that_is_too_large_is_not_copied(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builds, "_LARGEST", 10)
    with pytest.raises(StoreError, match="larger than 10 bytes"):
        keep(root, 1, b"x" * 11, ended=NOW)
    assert not (root / "builds").exists()


@pytest.mark.parametrize("text", ["", "[]", "{", json.dumps({"format": 2}), json.dumps({"format": 1, "layer": "x"})])
def test_what_cannot_be_read_is_left_out(root: Path, text: str) -> None:
    keep(root, 1, ended=NOW)
    second = keep(root, 2, ended=NOW + 1)
    (Builds(root).list()[0].directory / "build.json").write_text(text)
    assert [build.ended - NOW for build in Builds(root).list()] == [0]
    assert second not in Builds(root).list()
