"""What a command finds: docker's table, observed from inside."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cowfs.store.runs import Runs


def test_the_command_is_the_first_process_and_sees_only_its_own(cowrun: Any) -> None:
    assert cowrun.inside("echo $$; ps -o pid,comm; true").split() == ["1", "PID", "COMMAND", "1", "sh", "2", "ps"]


def test_init_is_the_first_process_where_it_is_asked_for(cowrun: Any) -> None:
    assert cowrun.inside("cat /proc/1/comm; echo $$", "--init").split() == ["cowrun-init", "2"]


def test_hostname_is_the_runs_id(cowrun: Any) -> None:
    before = os.uname().nodename
    name, variable, file = cowrun.inside("hostname; echo $HOSTNAME; cat /etc/hostname").split()
    assert name == variable == file == cowrun.runs[0].id
    assert cowrun.inside("hostname; cat /etc/hostname", "--hostname", "web.example").split() == ["web.example"] * 2
    assert os.uname().nodename == before


def test_namespaces_are_new_but_for_the_network(cowrun: Any) -> None:
    names = ("mnt", "pid", "uts", "ipc", "net", "user")
    found = cowrun.inside(f"for n in {' '.join(names)}; do readlink /proc/self/ns/$n; done").split()
    same = [name for name, link in zip(names, found, strict=True) if os.readlink(f"/proc/self/ns/{name}") == link]
    assert same == ["net", "user"]


def test_a_network_of_its_own(cowrun: Any) -> None:
    found = cowrun.inside("readlink /proc/self/ns/net; ip -o link; ip -o addr", "--network", "none")
    assert os.readlink("/proc/self/ns/net") not in found
    assert re.findall(r"^\d+: (\S+):", found, re.MULTILINE) == ["lo"]
    assert "127.0.0.1" in found


def test_injected_files_are_there_and_no_change(cowrun: Any) -> None:
    found = cowrun.inside("cat /etc/hosts /etc/resolv.conf; echo own > /etc/resolv.conf; cat /etc/resolv.conf")
    assert "localhost" in found
    assert found.endswith("own\n")
    outside = {name.strip("/") for name in cowrun.runs[0].volumes}
    changed = {str(path.relative_to(cowrun.upper)) for path in cowrun.upper.rglob("*")}
    assert changed - outside == {"etc"}
    for path in changed & outside:
        made = cowrun.upper / path
        assert made.is_symlink() or not made.is_file() or made.read_bytes() == b""
    assert os.readlink(cowrun.upper / "etc" / "mtab") == "/proc/mounts"


def test_devices(cowrun: Any) -> None:
    script = (
        "ls /dev; echo x > /dev/null; head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c;"
        "readlink /dev/fd; readlink /dev/ptmx; ls /dev/pts; echo shm > /dev/shm/x; cat /dev/shm/x;"
        "stat -c %a /dev/shm /dev"
    )
    found = cowrun.inside(script).split()
    devices = [
        "core",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
    ]
    assert found == [*devices, "urandom", "zero", "4", "4", "/proc/self/fd", "pts/ptmx", "ptmx", "shm", "1777", "755"]


def test_mounts_and_their_flags(cowrun: Any) -> None:
    table = {}
    for line in cowrun.inside("cat /proc/mounts").splitlines():
        _, where, kind, options, *_ = line.split()
        table[where] = (kind, set(options.split(",")))
    assert table["/"][0] == "fuse.cowfs"
    assert "nodev" in table["/"][1]
    for where, kind, flags in [
        ("/proc", "proc", {"rw", "nosuid", "nodev", "noexec"}),
        ("/sys", "sysfs", {"ro", "nosuid", "nodev", "noexec"}),
        ("/dev", "tmpfs", {"rw", "nosuid", "nodev"}),
        ("/dev/pts", "devpts", {"rw", "nosuid", "noexec"}),
        ("/dev/shm", "tmpfs", {"rw", "nosuid", "nodev", "noexec"}),
        ("/dev/mqueue", "mqueue", {"rw", "nosuid", "nodev", "noexec"}),
        ("/proc/sys", "proc", {"ro", "nosuid", "nodev", "noexec"}),
    ]:
        assert table[where][0] == kind
        assert flags <= table[where][1]


def test_environment(cowrun: Any) -> None:
    found = cowrun.inside("env", "-e", "A=1", "-e", "B=", "-e", "PASSED", "-e", "ABSENT")
    values = dict(line.split("=", 1) for line in found.splitlines())
    assert values.pop("COWRUN_TEST") == cowrun.token
    assert values.pop("HOSTNAME") == cowrun.runs[0].id
    assert values.pop("PWD") == "/"
    assert int(values.pop("SHLVL")) >= 1
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert values == {"A": "1", "B": "", "PATH": path, "HOME": "/root", "container": "cowrun"}
    assert "1" not in (cowrun.runs[0].directory / "run.json").read_text().split('"env_names"')[1].split("]")[0]


def test_env_file(cowrun: Any, tmp_path: Path) -> None:
    (tmp_path / "vars").write_text("# none\nFROM_FILE=a b\n")
    assert cowrun.inside("echo $FROM_FILE", "--env-file", str(tmp_path / "vars")) == "a b\n"


@pytest.mark.parametrize(
    ("user", "identity"),
    [
        ("app", "1000 50 50 60 /srv"),
        ("app:dev", "1000 60 60 /srv"),
        ("1000", "1000 50 50 60 /srv"),
        ("1500", "1500 0 0 /"),
        ("1500:77", "1500 77 77 /"),
    ],
)
def test_users(cowrun: Any, user: str, identity: str) -> None:
    script = "echo $(id -u) $(id -g) $(id -G) $HOME; touch /etc/denied 2>/dev/null && echo wrote; exit 0"
    assert cowrun.inside(script, "-u", user).splitlines() == [identity]


def test_workdir_is_made(cowrun: Any) -> None:
    assert cowrun.inside("pwd; stat -c '%u %a' .", "-w", "/a/new/place") == "/a/new/place\n0 755\n"
    assert cowrun.inside("pwd", "-w", "/srv/../tmp") == "/tmp\n"


def test_umask_and_oom_score(cowrun: Any) -> None:
    assert cowrun.inside("umask; cat /proc/self/oom_score_adj").split()[0] == "0022"


def test_read_only(cowrun: Any) -> None:
    found = cowrun.inside(
        "touch /x 2>&1; touch /dev/shm/x /tmp/x && pwd", "--read-only", "--tmpfs", "/tmp", "-w", "/new"
    )
    assert "Read-only file system" in found
    assert found.endswith("/new\n")


def test_tmpfs(cowrun: Any) -> None:
    found = cowrun.inside("grep ' /scratch ' /proc/mounts; touch /scratch/x", "--tmpfs", "/scratch:size=64k,mode=700")
    assert "size=64k,mode=700" in found
    assert not list((cowrun.upper / "scratch").iterdir())


def test_volumes(cowrun: Any, tmp_path: Path) -> None:
    shared, single = tmp_path / "shared", tmp_path / "single"
    shared.mkdir()
    single.write_text("before\n")
    script = "echo new > /data/deep/file; cat /one; echo after > /one; ls /data/deep"
    options = ("-v", f"{shared}:/data/deep", "-v", f"{single}:/one")
    assert cowrun.inside(script, *options) == "before\nfile\n"
    assert (shared / "file").read_text() == "new\n"
    assert single.read_text() == "after\n"
    assert not list((cowrun.upper / "data" / "deep").iterdir())


def test_volumes_read_only(cowrun: Any, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "kept").write_text("kept")
    found = cowrun.inside("touch /data/x 2>&1; rm /data/kept 2>&1; cat /data/kept", "-v", f"{shared}:/data:ro")
    assert found.count("Read-only file system") == 2
    assert os.listdir(shared) == ["kept"]


def test_a_relative_volume_begins_where_the_caller_is(cowrun: Any, tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    result = cowrun.run("-v", "./here:/data", cowrun.root, "touch", "/data/x", cwd=tmp_path)
    assert result.returncode == 0, result
    assert os.listdir(tmp_path / "here") == ["x"]


def test_the_root_begins_as_the_base_and_ends_unchanged(cowrun: Any, small_root: Path) -> None:
    def state() -> list[str]:
        line = ["ls", "-laR", "--time-style=full-iso", small_root]
        listing = subprocess.run(line, capture_output=True, text=True, check=True).stdout
        return [line for line in listing.splitlines() if not line.endswith(" ..")]

    before = state()
    assert cowrun.inside("cat /etc/passwd; echo x > /etc/passwd; rm -rf /srv; mkdir /new").startswith("root:x:0:0")
    assert state() == before
    assert (cowrun.upper / "etc" / "passwd").read_text() == "x\n"
    assert (cowrun.upper / "srv").is_char_device()
    assert (cowrun.upper / "new").is_dir()


def test_a_shell_without_a_command_reads_standard_input(cowrun: Any) -> None:
    result = cowrun.run("--rm", "-i", cowrun.root, input="echo from $0; exit 3\n")
    assert (result.returncode, result.stdout) == (3, "from /bin/sh\n")


def test_bytes_pass_unchanged_without_a_terminal(cowrun: Any) -> None:
    data = bytes(range(256)) * 1000
    result = subprocess.run(
        cowrun.line(cowrun.root, "cat"), input=data, capture_output=True, timeout=30, env=cowrun.environment, check=True
    )
    assert result.stdout == data


def test_an_images_config(cowrun: Any, image: Callable[..., str]) -> None:
    source = image(
        Entrypoint=["sh", "-c", 'echo "$A $(id -u) $(pwd) $*"', "sh"],
        Cmd=["from", "cmd"],
        Env=["A=image"],
        User="app",
        WorkingDir="/srv/made",
    )
    assert cowrun.run(source).stdout == "image 1000 /srv/made from cmd\n"
    assert cowrun.run(source, "arguments").stdout == "image 1000 /srv/made arguments\n"
    assert cowrun.run("-e", "A=mine", "-u", "0", "-w", "/", source).stdout == "mine 0 / from cmd\n"
    assert cowrun.run("--entrypoint", "echo", source, "x").stdout == "x\n"


def test_a_run_has_a_name(cowrun: Any) -> None:
    process = cowrun.start_ready("echo up; cat", "--name", "mine")
    result = cowrun.run("--name", "mine", cowrun.root, "true")
    assert result.returncode == 125
    assert "in use" in result.stderr
    process.stdin.close()
    assert process.wait(30) == 0
    assert cowrun.run("--name", "mine", cowrun.root, "true").returncode == 0
    assert Runs(cowrun.store).find("mine").id == cowrun.runs[0].id


def test_several_runs_at_once(cowrun: Any) -> None:
    processes = [cowrun.start_ready("echo up; cat > /mine; cat /mine") for _ in range(5)]
    for number, process in enumerate(processes):
        assert process.communicate(f"{number}\n", timeout=30)[0] == f"{number}\n"
        assert process.returncode == 0
    assert sorted((run.upper / "mine").read_text() for run in cowrun.runs) == [f"{number}\n" for number in range(5)]


def test_the_host_as_base(cowrun: Any, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.write_text("host\n")
    script = f"cat {marker}; echo inside > {marker}; cat {marker}; ls {cowrun.store} | wc -l; ls /run; ps -A | wc -l"
    result = cowrun.run("@host", "sh", "-c", script)
    assert result.stdout.split() == ["host", "inside", "0", "lock", "4"], result
    assert marker.read_text() == "host\n"
    (run,) = cowrun.runs
    assert run.host
    assert (run.upper / str(marker).lstrip("/")).read_text() == "inside\n"


def test_no_attribute_of_ours_is_seen_inside(cowrun: Any) -> None:
    """Which layer a file is of says a mount for looking at an image, and nothing else."""
    script = (
        "import os; open('/etc/mine', 'w').close(); os.chmod('/etc/passwd', 0o600)\n"
        "names = [name for path in ('/', '/etc/passwd', '/etc/mine') for name in os.listxattr(path)]\n"
        "print([name for name in names if 'cowfs' in name or 'overlay' in name])\n"
        "os.setxattr('/etc/mine', 'user.cowfs.layer', b'1'); print(os.getxattr('/etc/mine', 'user.cowfs.layer'))"
    )
    result = cowrun.run("@host", "/usr/bin/python3", "-c", script)
    assert (result.stdout, result.returncode) == ("[]\nb'1'\n", 0), result
