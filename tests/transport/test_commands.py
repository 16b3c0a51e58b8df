"""``cowfs mount``, ``umount``, ``info`` and the helper of mount(8), as a person and mount(8) call them."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.images.layouts import Layout
from tests.images.tars import entry, tar
from tests.transport.conftest import in_child

ESCAPED = r"a\:b\,c"


def call(module: str, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    program = f"from cowfs.cli.{module} import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "COWFS_ROOT": os.environ["COWFS_TEST_STORE"], **environment},
    )


def cowfs(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return call("main", *words, **environment)


def mount_helper(*words: object) -> subprocess.CompletedProcess[str]:
    return call("mounthelper", *words)


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("COWFS_TEST_STORE", os.fspath(tmp_path / "store"))


@pytest.fixture
def tree(tmp_path):
    for name in ("top", "bottom", "upper", "work", "mnt"):
        (tmp_path / name).mkdir()
    (tmp_path / "top" / "both").write_text("top")
    (tmp_path / "bottom" / "both").write_text("bottom")
    (tmp_path / "bottom" / "below").write_text("bottom")
    return tmp_path


def mounted_line(mountpoint: Path) -> list[str]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return next(fields for fields in lines if fields[1] == os.fspath(mountpoint))


@pytest.mark.parametrize("transport", ["auto", "plain"])
def test_several_sources_the_first_on_top(tree, transport):
    def work():
        done(cowfs("mount", "--transport", transport, f"dir:{tree}/top", f"dir:{tree}/bottom", tree / "mnt"))
        assert (tree / "mnt" / "both").read_text() == "top"
        assert (tree / "mnt" / "below").read_text() == "bottom"
        with pytest.raises(OSError, match="Read-only file system"):
            (tree / "mnt" / "new").touch()
        source, _, kind, options, *_ = mounted_line(tree / "mnt")
        assert (source, kind) == (f"dir:{tree}/top,dir:{tree}/bottom", "fuse.cowfs")
        assert {"ro", "nosuid", "nodev", "default_permissions", "allow_other"} <= set(options.split(","))
        done(cowfs("umount", tree / "mnt"))
        assert os.listdir(tree / "mnt") == []

    in_child(work)


def test_the_upper_is_whole_when_umount_returns(tree):
    def work():
        names = [f"big{number}" for number in range(8)]
        for name in names:
            (tree / "bottom" / name).write_bytes(b"old" * (3 << 20))
        done(cowfs("mount", "--upper", tree / "upper", "--work", tree / "work", f"dir:{tree}/bottom", tree / "mnt"))
        for name in names:
            with open(tree / "mnt" / name, "r+b") as file:
                file.write(b"new")
        done(cowfs("umount", tree / "mnt"))
        for name in names:
            assert (tree / "upper" / name).read_bytes()[:9] == b"newoldold"
            assert os.listxattr(tree / "upper" / name) == ["trusted.overlay.origin"]

    in_child(work)


def test_an_upper_takes_the_changes(tree):
    def work():
        done(cowfs("mount", "--upper", tree / "upper", "--work", tree / "work", f"dir:{tree}/bottom", tree / "mnt"))
        (tree / "mnt" / "below").write_text("changed")
        done(cowfs("umount", tree / "mnt"))
        assert (tree / "upper" / "below").read_text() == "changed"
        assert (tree / "bottom" / "below").read_text() == "bottom"

    in_child(work)


@pytest.mark.parametrize("name", ["é ü", "back\\slash", "line\nbreak", "\udcff"])
def test_info_whatever_the_mount_point_is_called(tree, name):
    def work():
        odd, link = tree / name, tree / "link"
        odd.mkdir()
        link.symlink_to(odd)
        done(cowfs("mount", f"dir:{tree}/top", link))
        facts = json.loads(done(cowfs("info", "--json", link, PYTHONUTF8="1")))
        shown = done(cowfs("info", odd, PYTHONUTF8="1"))
        done(cowfs("umount", link))
        return facts, shown

    facts, shown = in_child(work)
    assert facts["levers"]["handshake"] == "on"
    assert facts["levers"]["passthrough"] == "nothing can be written: there is no upper"
    assert "handshake    on" in shown


def test_info_and_umount_of_a_mount_whose_process_was_killed(tree):
    def work():
        done(cowfs("mount", f"dir:{tree}/top", tree / "mnt"))
        os.kill(json.loads(done(cowfs("info", "--json", tree / "mnt")))["pid"], 9)
        for _ in range(1000):
            try:
                os.listdir(tree / "mnt")
            except OSError:
                break
            time.sleep(0.01)
        info = cowfs("info", tree / "mnt")
        assert (info.returncode, info.stderr.count("\n")) == (125, 1)
        done(cowfs("umount", tree / "mnt"))
        assert os.listdir(tree / "mnt") == []

    in_child(work)


def test_info_of_this_machine_leaves_no_mount(tree):
    def work():
        before = Path("/proc/self/mounts").read_text()
        assert "handshake    on" in done(cowfs("info"))
        assert Path("/proc/self/mounts").read_text() == before

    in_child(work)


def test_info_in_a_chroot_whose_root_is_no_mount(tmp_path):
    machine = tmp_path / "machine"
    machine.mkdir()
    program = f"'{sys.executable}' -c 'from cowfs.cli.main import main; main()'"
    script = f"""
mount --make-rshared /
for name in $(ls /); do
    if test -L /$name; then cp -a /$name {machine}/; elif test -d /$name; then
        mkdir {machine}/$name; mount --rbind /$name {machine}/$name; mount --make-rprivate {machine}/$name
    fi
done
before=$(cat /proc/self/mountinfo)
chroot {machine} {program} info
echo status $?
test "$before" = "$(cat /proc/self/mountinfo)" && echo same
"""
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    assert "handshake    on" in result.stdout, result
    assert result.stdout.endswith("status 0\nsame\n")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("absent", "no such directory"),
        ("top/both", "not a directory"),
        ("top", "not empty"),
    ],
)
def test_a_mount_point_that_will_not_do(tree, place, says):
    result = cowfs("mount", f"dir:{tree}/top", tree / place)
    assert result.returncode == 125
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("first", "says"),
    [
        ("os.setuid(65534)", "root"),
        ("assert ctypes.CDLL(None).mount(b'none', b'/dev', b'tmpfs', ctypes.c_ulong(0), None) == 0", "/dev/fuse"),
    ],
)
def test_a_machine_that_will_not_do(tree, first, says):
    modules = "cowfs.cli.mount, cowfs.cli.main, cowfs.fuse.mountpoints, cowfs.fuse.serve, cowfs.options"
    program = f"import ctypes, os, {modules}; {first}; cowfs.cli.main.main()"

    def work():
        words = [sys.executable, "-c", program, "mount", f"dir:{tree}/top", os.fspath(tree / "mnt")]
        result = subprocess.run(words, capture_output=True, text=True, timeout=60)
        return result.returncode, result.stderr

    status, message = in_child(work)
    assert status == 125
    assert says in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_until_a_signal(tree, number):
    def work():
        program = "from cowfs.cli.main import main; main()"
        words = [sys.executable, "-c", program, "mount", "--foreground", f"dir:{tree}/top", os.fspath(tree / "mnt")]
        with subprocess.Popen(words, stderr=subprocess.PIPE) as served:
            for _ in range(1000):
                if os.path.ismount(tree / "mnt"):
                    break
                time.sleep(0.01)
            assert (tree / "mnt" / "both").read_text() == "top"
            served.send_signal(number)
            _, errors = served.communicate(timeout=60)
        return served.returncode, errors.decode(), os.path.ismount(tree / "mnt")

    assert in_child(work) == [0, "", False]


def test_an_upper_needs_a_work_directory(tree):
    result = cowfs("mount", "--upper", tree / "upper", f"dir:{tree}/top", tree / "mnt")
    assert (result.returncode, result.stderr.count("\n")) == (125, 1)


def test_an_unknown_transport_is_named(tree):
    result = cowfs("mount", "--transport", "pigeon", f"dir:{tree}/top", tree / "mnt")
    assert (result.returncode, result.stderr.count("\n")) == (125, 1)
    assert "'pigeon'" in result.stderr


def test_what_a_shell_had_open_is_not_held_by_the_mount(tree):
    def work():
        lock = os.open(tree / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        program = "from cowfs.cli.main import main; main()"
        words = [sys.executable, "-c", program, "mount", f"dir:{tree}/top", os.fspath(tree / "mnt")]
        subprocess.run(words, pass_fds=[lock], check=True, timeout=60)
        os.close(lock)
        other = os.open(tree / "lock", os.O_RDWR)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        done(cowfs("umount", tree / "mnt"))

    in_child(work)


# --- mount(8) ---------------------------------------------------------------------------------------------


def test_the_helper_takes_overlay_options_and_says_nothing(tree):
    def work():
        (tree / "a:b,c").mkdir()
        (tree / "a:b,c" / "escaped").touch()
        (tree / "link").symlink_to("bottom")
        os.chdir(tree)
        options = f"rw,lowerdir=top:{ESCAPED}:link,upperdir=upper", "workdir=work,suid,dev,noexec"
        assert done(mount_helper("name", "mnt", "-o", options[0], "-n", "-o", options[1])) == ""
        assert (tree / "mnt" / "both").read_text() == "top"
        assert (tree / "mnt" / "below").read_text() == "bottom"
        assert (tree / "mnt" / "escaped").exists()
        source, _, kind, shown, *_ = mounted_line(tree / "mnt")
        assert (source, kind) == ("name", "fuse.cowfs")
        assert "noexec" in shown.split(",")
        assert not {"nosuid", "nodev"} & set(shown.split(","))
        (tree / "mnt" / "new").touch()
        done(cowfs("umount", tree / "mnt"))
        assert (tree / "upper" / "new").exists()

    in_child(work)


def test_a_fake_mount_mounts_nothing(tree):
    def work():
        done(mount_helper("name", tree / "mnt", "-f", "-o", f"lowerdir={tree}/top"))
        return os.path.ismount(tree / "mnt")

    assert in_child(work) is False


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ("lowerdir={tree}/top,shiny", 1),
        ("lowerdir={tree}/top,upperdir={tree}/upper", 1),
        ("lowerdir={tree}/top,layers", 1),
        ("root={tree}/store,layers,upperdir={tree}/upper,workdir={tree}/work", 1),
        ("root={tree}/store", 32),
        ("lowerdir={tree}/absent", 32),
    ],
)
def test_the_helper_refuses_in_one_line(tree, options, status):
    result = mount_helper("name", tree / "mnt", "-o", options.format(tree=tree))
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (status, "", 1)
    assert not os.path.ismount(tree / "mnt")


def test_the_layers_of_a_mounted_image_are_not_removed(tree):
    image = Layout(tree / "layout").image(tar(entry(b"file", data=b"content")))
    layers = tree / "store" / "layers" / "sha256"

    def work():
        done(cowfs("mount", image, tree / "mnt"))
        done(cowfs("rm", image))
        assert len(os.listdir(layers)) == 1
        assert (tree / "mnt" / "file").read_text() == "content"
        done(cowfs("umount", tree / "mnt"))

    in_child(work)
