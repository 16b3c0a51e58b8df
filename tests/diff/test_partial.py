"""A run whose file system process was killed while a big file was there in parts: the file is read whole."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cowdiff.extract import Extraction
from cowdiff.main import cowdiff

from cowfs.model import Base, LayerInfo, Run
from cowfs.options import MountOptions
from cowfs.overlay import Changes, Overlay
from cowfs.runs.changes import ChangeClass, Difference
from cowfs.runs.trees import base_of, left_by, regular_file
from cowfs.store import Store
from cowfs.store.runs import Runs

SIZE = 300_000
BEFORE = random.Random(1).randbytes(SIZE)
WHERE = 100_001

Script = Callable[[Overlay], None]


@pytest.fixture
def killed(scene: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Do something to a scene by an overlay that does not come to its end."""
    (scene.lower / "big").write_bytes(BEFORE)

    def do(script: Script, upper: Path = scene.upper, work: Path = scene.directory / "work") -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Overlay, "partial_from", 10_000)
            umask = os.umask(0o022)  # an overlay that can be written sets its process's
            overlay = Overlay(MountOptions(lowers=(scene.lower,), upper=upper, work=work))
            try:
                script(overlay)
                patch.setattr(overlay, "raise_node", lambda *_: None)
            finally:
                overlay.close()
                os.umask(umask)
        (left,) = (path for path in upper.iterdir() if path.is_file())
        assert "trusted.overlay.partial" in os.listxattr(left)

    return do


def write(overlay: Overlay, data: bytes = b"new", offset: int = WHERE) -> None:
    handle = overlay.open(overlay.walk(b"/big"), os.O_RDWR)
    overlay.write(handle, offset, data)
    overlay.release(handle)


def written(data: bytes = b"new") -> bytes:
    return BEFORE[:WHERE] + data + BEFORE[WHERE + len(data) :]


def test_it_is_modified_and_its_content_is_whole(scene: Any, killed: Callable[..., None]) -> None:
    killed(write)
    (change,) = scene.changes()
    assert (change.path, change.change) == (b"/big", ChangeClass.MODIFIED)
    assert change.before.size == change.after.size == SIZE
    with left_by(scene.run) as after, after.opened(regular_file(after, b"/big")) as content:
        assert b"".join(content.chunks()) == written()
    with base_of(scene.run) as before, before.opened(regular_file(before, b"/big")) as content:
        assert b"".join(content.chunks()) == BEFORE


def test_a_file_that_grew(scene: Any, killed: Callable[..., None]) -> None:
    killed(lambda overlay: write(overlay, b"end", SIZE + 5))
    (change,) = scene.changes()
    assert (change.change, change.after.size) == (ChangeClass.MODIFIED, SIZE + 8)
    with left_by(scene.run) as after, after.opened(regular_file(after, b"/big")) as content:
        assert b"".join(content.chunks()) == BEFORE + b"\0" * 5 + b"end"


def test_the_same_bytes_are_no_modification(scene: Any, killed: Callable[..., None]) -> None:
    killed(lambda overlay: write(overlay, BEFORE[WHERE : WHERE + 3]))
    assert scene.lines() == ["t /big"]


def test_a_renamed_one(scene: Any, killed: Callable[..., None]) -> None:
    def script(overlay: Overlay) -> None:
        write(overlay)
        overlay.rename(overlay.root, b"big", overlay.root, b"moved")
        overlay.setattr(overlay.walk(b"/moved"), Changes(mode=0o600))

    killed(script)
    (change,) = scene.changes()
    assert (change.path, change.before_path, change.change) == (b"/moved", b"/big", ChangeClass.RENAMED)
    assert {Difference.CONTENT, Difference.MODE} <= change.differs


def test_a_copy_is_whole(scene: Any, killed: Callable[..., None], tmp_path: Path) -> None:
    killed(write)
    out = tmp_path / "out"
    out.mkdir()
    with left_by(scene.run) as after:
        Extraction(after, everything=False).run(regular_file(after, b"/big"), b"/big", out, b"copy")
    assert (out / "copy").read_bytes() == written()


def test_cat_and_text(scene: Any, killed: Callable[..., None], tmp_path: Path) -> None:
    (scene.lower / "big").write_bytes(b"line\n" * (SIZE // 5))
    Store.open(tmp_path / "store").close()
    run, lock = Runs(tmp_path / "store").create(Base("dir:lower", (LayerInfo(1, scene.lower),)), ["true"])
    with lock:
        killed(lambda overlay: write(overlay, b"LINE\n", 100_000), run.upper, run.work)
    assert _output(tmp_path, "cat", run) == b"line\n" * 20_000 + b"LINE\n" + b"line\n" * (SIZE // 5 - 20_001)
    shown = _output(tmp_path, "text", run).splitlines()
    assert [line for line in shown if line[:1] in b"+-"][2:] == [b"-line", b"+LINE"]


def _output(tmp_path: Path, command: str, run: Run) -> bytes:
    arguments = ["--root", str(tmp_path / "store"), command, run.id, "/big"]
    return CliRunner().invoke(cowdiff, arguments, catch_exceptions=False).stdout_bytes
