"""The line at a run's end says that nothing changed only where cowdiff lists nothing."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cowrun import report
from cowrun.report import at_the_end, may_have_changes

from cowfs.model import Run
from cowfs.options import MountOptions
from cowfs.overlay import Changes, Overlay
from cowfs.runs.scan import scan
from cowfs.runs.trees import base_of

VOLUMES = ("/data/in", "/etc/hosts", "/srv/v")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    for name in ("lower/etc", "lower/data", "upper", "work"):
        (tmp_path / name).mkdir(parents=True, mode=0o755)
    for name in ("lower", "upper"):
        (tmp_path / name).chmod(0o755)
        os.utime(tmp_path / name, (1e9, 1e9))
    return Run("0" * 12, tmp_path, "dir:lower", (tmp_path / "lower",), ("sh",))


def nothing(overlay: Overlay) -> None:
    pass


def mount_points_that_were_missing(overlay: Overlay) -> None:
    overlay.mkdir(overlay.mkdir(overlay.root, b"srv", 0o755), b"v", 0o755)


def a_file(overlay: Overlay) -> None:
    overlay.mkdir(overlay.root, b"new", 0o755)


def beside_a_mount_point(overlay: Overlay) -> None:
    overlay.mkdir(overlay.mkdir(overlay.root, b"srv", 0o755), b"mine", 0o755)


def the_root_itself(overlay: Overlay) -> None:
    overlay.setattr(overlay.root, Changes(mode=0o700))


def an_attribute_of_the_root(overlay: Overlay) -> None:
    overlay.setxattr(overlay.root, b"user.note", b"x", 0)


def a_directory_above_a_mount_point(overlay: Overlay) -> None:
    overlay.setattr(overlay.walk(b"/etc"), Changes(mode=0o700))


def a_name_that_went(overlay: Overlay) -> None:
    overlay.rmdir(overlay.root, b"data")


@pytest.mark.parametrize("change", [nothing, mount_points_that_were_missing])
def test_nothing_changed(run: Run, change: Callable[[Overlay], None], capsys: pytest.CaptureFixture[str]) -> None:
    made = _done(run, change)
    assert not may_have_changes(made)
    assert _listed(made) == 0
    at_the_end(made)
    assert f"run {made.id} changed nothing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    [
        a_file,
        beside_a_mount_point,
        the_root_itself,
        an_attribute_of_the_root,
        a_directory_above_a_mount_point,
        a_name_that_went,
    ],
)
def test_something_changed(run: Run, change: Callable[[Overlay], None], capsys: pytest.CaptureFixture[str]) -> None:
    made = _done(run, change)
    assert _listed(made) > 0
    assert may_have_changes(made)
    at_the_end(made)
    count = _listed(made)
    paths = "1 path" if count == 1 else f"{count} paths"
    assert f"run {made.id} changed {paths}, kept in {made.upper}: cowdiff show last" in capsys.readouterr().err


def test_a_link_in_the_place_of_a_mount_point_is_not_followed(run: Run) -> None:
    (run.upper / "srv").symlink_to("/proc/self")
    assert may_have_changes(run._replace(volumes=VOLUMES))


def test_a_base_that_is_gone_is_no_failure_of_the_run(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.lowers[0].rename(run.directory / "elsewhere")
    at_the_end(run)
    assert f"changed paths, kept in {run.upper}" in capsys.readouterr().err


@pytest.mark.parametrize("limit", ["_MOST_ENTRIES", "_MOST_BYTES"])
def test_much_is_not_counted(
    run: Run, limit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is compared, and no more is listed than it takes to know that."""
    monkeypatch.setattr(report, limit, 3)
    monkeypatch.setattr("cowfs.runs.scan.scan", None)
    for number in range(4):
        (run.upper / str(number)).write_text("four")
    at_the_end(run)
    assert f"changed paths, kept in {run.upper}" in capsys.readouterr().err


def _done(run: Run, change: Callable[[Overlay], None]) -> Run:
    umask = os.umask(0o022)  # an overlay that can be written sets its process's
    overlay = Overlay(MountOptions(lowers=run.lowers, upper=run.upper, work=run.work))
    try:
        change(overlay)
    finally:
        overlay.close()
        os.umask(umask)
    return run._replace(volumes=VOLUMES)


def _listed(run: Run) -> int:
    with base_of(run) as before:
        return len(scan(run, before))
