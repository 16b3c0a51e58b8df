"""What `docker run` sets up, a row for each line, observed from inside: ours, and podman's where that is installed.

``podman`` of a row: SAME, or what podman gives instead, which is then a difference on purpose and said in ``why``.
"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pexpect
import pytest

from .conftest import PROMPT, wait_until

SAME = object()
PODMAN = (
    "podman", "--runtime", "runc", "run", "--rm", "--network", "none",
    "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=32768:32768",
)  # fmt: skip


def mounted(path: str) -> str:
    """The type of what is mounted there, and its options."""
    options = "tr ' ,' '\\n\\n' | grep -vE '^(relatime|size=.*|inode.*)$'"
    return f"grep ' {path} ' /proc/mounts | tail -1 | cut -d' ' -f3,4 | {options}"


class Row(NamedTuple):
    script: str
    ours: str  # the words that are printed, in their order
    podman: Any = SAME
    why: str = ""
    options: tuple[str, ...] = ()


NAMES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts", "time")
OUTSIDE = " ".join(f"{name}='{os.readlink(f'/proc/self/ns/{name}')}';" for name in NAMES)
SAME_NAMES = f'for n in {" ".join(NAMES)}; do eval "test $(readlink /proc/self/ns/$n) = \\$$n" && echo $n; done; true'

ROWS = {
    "namespaces": Row(
        f"{OUTSIDE} {SAME_NAMES}",
        "user time",
        "cgroup user time",
        "of control groups one's own place in the host's tree is not for the command to know",
    ),
    "/proc": Row(mounted("/proc"), "proc rw nosuid nodev noexec"),
    "/proc, read-only parts": Row(
        "for d in bus fs irq sys; do grep \" /proc/$d \" /proc/mounts | cut -d' ' -f2,3,4; done",
        " ".join(f"/proc/{name} proc ro,nosuid,nodev,noexec,relatime" for name in ("bus", "fs", "irq", "sys")),
    ),
    "/proc, hidden parts": Row(
        "ls -A /proc/acpi /proc/scsi 2>/dev/null | grep -v :;"
        "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 9; true",
        "",
    ),
    "/proc/sysrq-trigger": Row("(echo > /proc/sysrq-trigger) 2>/dev/null || echo refused", "refused"),
    "/sys": Row(mounted("/sys"), "sysfs ro nosuid nodev noexec"),
    "/sys, hidden parts": Row("ls -A /sys/firmware /sys/dev/block | grep -v :; true", ""),
    "/sys/fs/cgroup": Row(
        "grep -c ' /sys/fs/cgroup[^ ]* cgroup.* rw,' /proc/mounts; cd /sys/fs/cgroup;"
        "cat pids.max pids/pids.max 2>/dev/null; true",
        "0 2048",
    ),
    "/dev": Row(
        mounted("/dev"),
        "tmpfs rw nosuid nodev noexec mode=755",
        "tmpfs rw nosuid noexec mode=755",
        "devices are bound, so that nobody can make another one that works",
    ),
    "/dev, names": Row(
        "ls /dev | grep -v core; for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done",
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"
        " /proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 pts/ptmx",
    ),
    "/dev, numbers": Row(
        "cd /dev; stat -c '%n %t:%T %a' full null random tty urandom zero",
        "full 1:7 666 null 1:3 666 random 1:8 666 tty 5:0 666 urandom 1:9 666 zero 1:5 666",
    ),
    "/dev/pts": Row(mounted("/dev/pts"), "devpts rw nosuid noexec gid=5 mode=620 ptmxmode=666"),
    "/dev/shm": Row(
        f"{mounted('/dev/shm')} | grep -v mode; stat -c %a /dev/shm; df -k /dev/shm | grep -cE ' (64000|65536) '",
        "tmpfs rw nosuid nodev noexec 1777 1",
    ),
    "/dev/mqueue": Row(mounted("/dev/mqueue"), "mqueue rw nosuid nodev noexec"),
    "/etc": Row(
        "stat -c '%n %a' /etc/hostname /etc/hosts; readlink /etc/mtab;"
        "for f in hostname hosts; do echo x >> /etc/$f && echo written; done",
        "/etc/hostname 644 /etc/hosts 644 /proc/mounts written written",
    ),
    "/etc/resolv.conf": Row(
        "test -f /etc/resolv.conf && echo x >> /etc/resolv.conf && echo written; true",
        "written",
        "",
        "podman has none without a network",
    ),
    "markers": Row(
        "echo $container; ls /.dockerenv /run/.containerenv 2>/dev/null; true",
        "cowrun",
        "/run/.containerenv",
        "a variable and no file, which would be a change of the root",
    ),
    "hostname": Row("hostname | grep -cE '^[0-9a-f]{12}$'; test $(hostname) = $HOSTNAME && echo same", "1 same"),
    "--hostname": Row(
        "hostname; cat /etc/hostname; echo; grep -c box /etc/hosts", "box box 1", options=("--hostname", "box")
    ),
    "environment": Row(
        "env | grep -vE '^(HOSTNAME|COWRUN_TEST|SHLVL|PWD|TERM|container)=' | sort",
        "A=1 HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        options=("-e", "A=1", "-e", "NOT_SET_ON_THE_HOST"),
    ),
    "--env-file": Row("echo $FROM_FILE", "a b", options=("--env-file", "VARS")),
    "capabilities": Row(
        "grep Cap /proc/self/status | cut -f2",
        "0000000000000000 00000000800405fb 00000000800405fb 00000000800405fb 0000000000000000",
    ),
    "--cap-add, --cap-drop": Row(
        "grep CapEff /proc/self/status | cut -f2",
        "0000000000002001",
        options=("--cap-drop", "ALL", "--cap-add", "NET_RAW", "--cap-add", "CHOWN"),
    ),
    "seccomp, no_new_privs": Row(
        "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2",
        "1 2",
        "0 2",
        "setuid programs give nothing unless that is asked for",
    ),
    "what is refused": Row(
        "for c in 'mount -t tmpfs t /tmp' 'unshare -m true' 'hostname x' dmesg; do"
        " $c >/dev/null 2>&1 && echo $c; done; date -s 200101010000 2>&1 | grep -c permitted;"
        "touch /tmp/x; chown 5 /tmp/x && stat -c %u /tmp/x",
        "1 5",
    ),
    "--security-opt seccomp": Row(
        "grep ^Seccomp: /proc/self/status | cut -f2", "0", options=("--security-opt", "seccomp=unconfined")
    ),
    "user, umask, directory": Row("id -u; id -g; umask; pwd; cat /proc/self/oom_score_adj", "0 0 0022 / 0"),
    "limits": Row(
        "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes pids.max pids/pids.max cpu/cpu.cfs_quota_us"
        " 2>/dev/null; cut -d' ' -f1 cpu.max 2>/dev/null; true",
        "67108864 20 50000",
        options=("-m", "64m", "--pids-limit", "20", "--cpus", "0.5"),
    ),
    "--ulimit": Row("ulimit -Sc; ulimit -Hc", "0 0", options=("--ulimit", "core=0")),
    "--network none": Row("ip -o link | cut -d: -f2", "lo"),
    "stdin": Row("cat | wc -c", "0"),
    "first process": Row("cat /proc/1/comm; cut -d' ' -f4 /proc/[0-9]*/stat 2>/dev/null | grep -c '^0$'", "sh 1"),
    "--init": Row("cat /proc/1/comm", "cowrun-init", "podman-init", "each has its own", options=("--init",)),
    "--user": Row("id -u; id -g; id -G; echo $HOME", "1000 50 50 /srv", options=("-u", "app:staff")),
    "--user of several groups": Row("id -u; id -g; id -G", "1000 50 50 60", options=("-u", "app")),
    "--user without entry": Row("id -u; id -g", "1500 0", options=("-u", "1500")),
    "--workdir": Row("pwd", "/srv", options=("-w", "/srv")),
    "--read-only": Row(
        "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo written;"
        "touch /tmp/x 2>/dev/null && echo tmp; true",
        "refused written",
        "refused written tmp",
        "docker has no /tmp of its own either",
        ("--read-only",),
    ),
    "--tmpfs": Row(
        f"{mounted('/t')} | grep -v mode",
        "tmpfs rw nosuid nodev noexec",
        "tmpfs rw nosuid nodev",
        "docker's is noexec, too",
        ("--tmpfs", "/t"),
    ),
    "--mount": Row(
        f"{mounted('/t')} | grep mode", "mode=700", options=("--mount", "type=tmpfs,target=/t,tmpfs-mode=700")
    ),
    "--device": Row(
        "stat -c %t:%T /dev/fuse; (exec 3<>/dev/fuse) && echo opened", "a:e5 opened", options=("--device", "/dev/fuse")
    ),
    "--privileged": Row(
        "grep -E '^Seccomp:' /proc/self/status | cut -f2; ls -d /dev/fuse; grep -c '/proc/sys ' /proc/mounts;"
        "mount -t tmpfs t /tmp && echo mounted",
        "0 /dev/fuse 0 mounted",
        options=("--privileged",),
    ),
}


SEPARATOR = "-- row --"
PLAIN = tuple(name for name, row in ROWS.items() if not row.options)
GROUPS = [pytest.param(PLAIN, id="of a plain run")]
GROUPS += [pytest.param((name,), id=name) for name, row in ROWS.items() if row.options]


@pytest.fixture
def podman(small_root: Path, tmp_path: Path) -> Callable[..., str] | None:
    if not shutil.which("podman"):
        return None

    def run(script: str, *options: str) -> str:
        line = [*PODMAN, *options, "--rootfs", f"{small_root}:O", "sh", "-c", script]
        result = subprocess.run(line, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
        assert result.returncode == 0, result
        return result.stdout

    return run


@pytest.mark.parametrize("names", GROUPS)
def test_rows(
    cowrun: Any, podman: Callable[..., str] | None, small_root: Path, tmp_path: Path, names: tuple[str, ...]
) -> None:
    """Rows without options share a container."""
    for applet in ("date", "df", "dmesg", "tail", "tr", "cut", "sort", "unshare", "chown"):
        (small_root / "bin" / applet).symlink_to("busybox")
    (tmp_path / "vars").write_text("# a comment\nFROM_FILE=a b\n")
    options = tuple(option.replace("VARS", str(tmp_path / "vars")) for option in ROWS[names[0]].options)
    script = "\n".join(f"echo '{SEPARATOR}'; ({ROWS[name].script})" for name in names)
    assert _answers(names, cowrun.inside(script, "--network", "none", *options)) == {
        name: ROWS[name].ours.split() for name in names
    }
    if podman is not None:
        expected = {name: ROWS[name].ours if ROWS[name].podman is SAME else ROWS[name].podman for name in names}
        assert _answers(names, podman(script, *options)) == {name: text.split() for name, text in expected.items()}


def _answers(names: tuple[str, ...], printed: str) -> dict[str, list[str]]:
    return dict(zip(names, (part.split() for part in printed.split(SEPARATOR)[1:]), strict=True))


def test_each_difference_from_podman_has_its_reason() -> None:
    assert all((row.podman is SAME) == (not row.why) for row in ROWS.values())


def test_row_volumes_of_an_image(cowrun: Any, image: Callable[..., str]) -> None:
    """Writable in a read-only root, with what the image has there; thrown away, and to be looked at."""
    source = image(
        Volumes={"/srv": {}, "/bin/../new/place": {}}, Cmd=["sh", "-c", "echo 1 > /srv/x && echo 2 > /new/place/y"]
    )
    result = cowrun.run("--read-only", source)
    assert result.returncode == 0, result
    assert (cowrun.upper / "srv" / "x").read_text() == "1\n"
    assert cowrun.run("--read-only", source, "sh", "-c", "cat /srv/x; echo > /etc/x").returncode == 1
    assert "/srv fuse.cowfs rw" in cowrun.run(source, "cat", "/proc/mounts").stdout


def test_row_named_volumes(cowrun: Any, small_root: Path) -> None:
    (small_root / "srv" / "given").write_text("image's\n")
    os.chown(small_root / "srv", 1000, 50)
    for option in (("-v", "data:/srv"), ("--mount", "type=volume,source=data,target=/srv")):
        cowrun.inside("cat /srv/given; echo kept >> /srv/file", *option)
    assert cowrun.inside("cat /srv/file", "-v", "data:/srv:ro") == "kept\nkept\n"
    result = cowrun.run("-v", "data:/srv:ro", cowrun.root, "sh", "-c", "echo > /srv/file")
    assert result.returncode == 1
    assert cowrun.inside("stat -c '%u %g' /srv; touch /srv/mine", "-v", "data:/srv", "-u", "app") == "1000 50\n"
    assert not (cowrun.upper / "srv" / "mine").exists()


def test_row_bind_mounts(cowrun: Any, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    option = ("--mount", f"type=bind,src={shared},dst=/data")
    cowrun.inside("echo 1 > /data/x", *option)
    assert (shared / "x").read_text() == "1\n"
    readonly = cowrun.run("--mount", f"{option[1]},readonly", cowrun.root, "sh", "-c", "echo > /data/y")
    assert (readonly.returncode, "Read-only" in readonly.stderr) == (1, True)


def test_row_a_terminal_has_its_size_at_once_and_a_name(cowrun: Any) -> None:
    shell = cowrun.terminal(
        "-t", cowrun.root, "sh", "-c", "stty size; tty; echo $TERM; ls /dev/console", size=(33, 101)
    )
    assert shell.read().split()[:5] == ["33", "101", "/dev/pts/0", "xterm", "/dev/console"]
    shell.close()


def test_row_keys_in_a_terminal(cowrun: Any) -> None:
    """^C ends what runs in front, ^Z stops it, fg goes on with it, ^D ends the shell."""
    shell = cowrun.terminal(cowrun.root, "sh")
    shell.expect_exact(PROMPT)
    shell.sendline("sleep 1000")
    wait_until(lambda: _in_front(cowrun) == "sleep")
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("echo status $?")
    shell.expect_exact("status 130")
    shell.expect_exact(PROMPT)
    shell.sendline("sleep 1000")
    wait_until(lambda: _in_front(cowrun) == "sleep")
    shell.send("\x1a")
    shell.expect("Stopped")
    shell.expect_exact(PROMPT)
    shell.sendline("fg")
    wait_until(lambda: _in_front(cowrun) == "sleep")
    shell.setwinsize(40, 120)
    shell.sendintr()
    shell.expect_exact(PROMPT)
    shell.sendline("stty size")
    shell.expect_exact("40 120")
    shell.expect_exact(PROMPT)
    shell.sendeof()
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus in (0, 130)


def _in_front(cowrun: Any) -> str:
    """The program that the run's terminal belongs to."""
    fields = Path(f"/proc/{cowrun.container()}/stat").read_text().rpartition(")")[2].split()
    foreground = fields[5]
    for pid in cowrun.processes():
        if f"\nNSpid:\t{pid}\t{foreground}\n" in Path(f"/proc/{pid}/status").read_text() or pid == int(foreground):
            return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
