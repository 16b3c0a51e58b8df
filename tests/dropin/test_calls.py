"""How the program is called, and how a mount of it begins and ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.dropin.conftest import OURS, TOP, call

COWFS = [sys.executable, "-c", "from cowfs.cli.main import main; main()"]


def servers(mountpoint: Path) -> list[int]:
    """The processes whose command line names a mount point."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.fsencode(mountpoint) in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def gone(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while condition() and time.monotonic() < end:
        time.sleep(0.01)
    return not condition()


def test_it_returns_when_the_mount_is_live_and_ends_with_an_ordinary_umount(scene):
    container = scene()
    (container.lower("base") / "file").write_text("below\n")
    done = call("-o", container.options("", "volatile"), container.merged)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    container.mounted = True
    assert (container.merged / "file").read_text() == "below\n"
    (server,) = servers(container.merged)
    assert os.getsid(server) == server
    assert os.readlink(f"/proc/{server}/cwd") == "/"
    assert {os.readlink(f"/proc/{server}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}
    container.umount()
    assert gone(lambda: servers(container.merged))


def test_relative_paths_through_short_links(scene):
    container = scene()
    (container.lower("base") / "below").touch()
    (container.top / "l").mkdir()
    (container.top / "l" / "ABCD").symlink_to("../base")
    done = call("-o", "lowerdir=l/ABCD,upperdir=diff,workdir=work", "merged", cwd=container.top)
    assert done.returncode == 0, done.stderr
    container.mounted = True
    assert os.listdir(container.merged) == ["below"]


def test_it_is_found_by_the_other_name(scene, tmp_path):
    container = scene()
    (container.lower("base") / "below").touch()
    program = shutil.which("cowfs-overlay") or Path(sys.executable).with_name("cowfs-overlay")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fuse-overlayfs").symlink_to(program)
    done = subprocess.run(
        [tmp_path / "bin" / "fuse-overlayfs", "-o", container.options(), container.merged],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.fspath(TOP)},
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    container.mounted = True
    assert os.listdir(container.merged) == ["below"]


def test_in_the_foreground_it_ends_with_the_mount(scene):
    container = scene()
    container.lower("base")
    process = subprocess.Popen([*OURS, "-f", "-o", container.options(), container.merged], stderr=subprocess.PIPE)
    assert gone(lambda: not os.path.ismount(container.merged))
    container.mounted = True
    container.umount()
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"")


def test_a_killed_server_harms_no_other_mount(scene):
    one, other = scene("one"), scene("other")
    for container in (one, other):
        (container.lower("base") / "file").write_text("below\n")
        container.mount("cowfs-overlay")
    (server,) = servers(one.merged)
    os.kill(server, signal.SIGKILL)
    assert (other.merged / "file").read_text() == "below\n"
    one.umount()
    one.mount("cowfs-overlay")
    assert (one.merged / "file").read_text() == "below\n"


def test_a_mount_that_follows_at_once_stays(scene):
    container = scene()
    (container.lower("base") / "file").write_text("below\n")
    for number in range(10):
        container.mount("cowfs-overlay" if number % 2 else "overlay")
        (container.merged / f"file{number}").write_text("above\n")
        container.umount()
    container.mount("overlay")
    time.sleep(0.2)  # an end that takes somebody else's mount along would have come
    assert len(os.listdir(container.merged)) == 11
    assert os.path.ismount(container.merged)


def test_the_mounts_of_containers_are_listed_and_not_ended_with_all_others(scene):
    container = scene()
    container.lower("base")
    container.mount("cowfs-overlay")
    listed = subprocess.run([*COWFS, "mounts"], capture_output=True, text=True, timeout=60).stdout
    assert any(line.split()[:2] == [os.fspath(container.merged), "cowfs-overlay"] for line in listed.splitlines())
    assert subprocess.run([*COWFS, "umount", "--all"], timeout=60).returncode == 0
    assert os.path.ismount(container.merged)


def test_acls_can_be_off(scene):
    container = scene()
    (container.lower("base") / "file").touch()
    container.mount("cowfs-overlay", "noacl")
    (container.merged / "file").chmod(0o600)
    assert oct((container.merged / "file").stat().st_mode) == "0o100600"


def test_layers_that_change_are_followed_where_a_timeout_says_so(scene):
    container = scene()
    base = container.lower("base")
    container.mount("cowfs-overlay", "timeout=0")
    assert os.listdir(container.merged) == []
    (base / "new").touch()
    assert gone(lambda: os.listdir(container.merged) != ["new"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(lambda words: words.replace("base", "no-such"), "no-such: No such file or directory", id="lower"),
        pytest.param(lambda words: words.replace("diff", "no-such"), "no-such: No such file or directory", id="upper"),
        pytest.param(
            lambda words: words.removesuffix("work") + "no-such", "no-such: No such file or directory", id="work"
        ),
        pytest.param(lambda words: words + ",nonsense", "unknown mount option nonsense", id="option"),
    ],
)
def test_what_is_wrong_is_one_line(scene, change, reason):
    container = scene("c")
    container.lower("base")
    done = call("-o", change(container.options()), container.merged)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"cowfs-overlay: .*{re.escape(reason)}\n", done.stderr), done.stderr
    assert not os.path.ismount(container.merged)


def test_a_mount_point_that_is_not_there_is_one_line(scene):
    container = scene()
    container.lower("base")
    done = call("-o", container.options(), container.top / "nowhere")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "nowhere" in done.stderr


def test_help_and_version():
    helped, version = call("--help"), call("--version")
    assert helped.stdout.startswith("usage: cowfs-overlay [-f] [-d] [-o OPTIONS] MOUNTPOINT\n")
    assert re.fullmatch(r"cowfs-overlay: version \d+\.\d+\.\d+\n", version.stdout)
    assert (helped.returncode, version.returncode, helped.stderr, version.stderr) == (0, 0, "", "")


def test_programs_cannot_be_run_where_noexec_says_so(scene):
    container = scene()
    base = container.lower("base")
    (base / "program").write_text("#!/bin/sh\n")
    (base / "program").chmod(0o755)
    container.mount("cowfs-overlay", "noexec")
    with pytest.raises(PermissionError):
        subprocess.run([container.merged / "program"])
