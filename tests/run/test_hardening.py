"""A hostile image gets nothing. The ids name the cases of the catalogue."""

import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import cowrun as cowrun_package
import pytest
from cowrun.syscalls import SYS_KEYCTL

import cowfs
from tests.run.conftest import PROMPT, status_field

PODMAN = 0x800405FB  # chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service sys_chroot setfcap


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file of the host that nothing inside may see or change."""
    path = tmp_path / "canary"
    path.write_text("secret\n")
    return path


def test_l01_no_way_up(cowrun: Any, canary: Path) -> None:
    # the classic: chroot into a directory, and walk up from a working directory that is outside of it
    script = (
        f"cat {'../' * 50}{canary} 2>&1; mkdir -p /x; cd /; chroot /x true 2>/dev/null; cat ./..{canary} 2>&1; ls /../"
    )
    found = cowrun.inside(f"{script}; true")
    assert "secret" not in found
    assert found.splitlines()[-1] == "x"


def test_l01_chroot_and_fchdir_lead_to_our_own_root(cowrun: Any, canary: Path) -> None:
    script = f"""
import os
os.mkdir("/jail"); fd = os.open("/", os.O_RDONLY); os.chroot("/jail"); os.fchdir(fd)
for _ in range(100): os.chdir("..")
os.chroot(".")
print(sorted(os.listdir("/run")))
print(open("{canary}").read())
open("{canary}", "w").write("changed")
"""
    result = cowrun.run("@host", "/usr/bin/python3", "-c", script)
    # the chroot is left, but there is only the merge behind it: fresh /run, and changes that are thrown away
    assert result.stdout == "['lock']\nsecret\n\n", result
    assert canary.read_text() == "secret\n"


def test_l02_no_descriptor_leaks_in(cowrun: Any, canary: Path) -> None:
    held = [os.open(canary, os.O_RDONLY) for _ in range(50)]
    for fd in held:
        os.set_inheritable(fd, True)
    try:
        result = cowrun.run(cowrun.root, "sh", "-c", "ls /proc/1/fd; true", close_fds=False)
    finally:
        for fd in held:
            os.close(fd)
    assert result.stdout.split() == ["0", "1", "2"], result


@pytest.mark.parametrize("number", range(3, 12))
def test_l02_a_working_directory_by_a_descriptor_is_refused(cowrun: Any, number: int) -> None:
    result = cowrun.run("-w", f"/proc/self/fd/{number}", cowrun.root, "pwd")
    assert result.returncode == 125, result
    assert result.stdout == ""


def test_l02_a_command_by_a_descriptor_is_refused(cowrun: Any, small_root: Path) -> None:
    for number in range(3, 10):
        script = small_root / "bin" / f"fd{number}"
        script.write_text(f"#!/proc/self/fd/{number}\n")
        script.chmod(0o755)
        assert cowrun.run(cowrun.root, f"fd{number}").returncode in (126, 127)


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "dev/pts", "dev/null", "etc", "etc/hosts", "etc/resolv.conf"])
@pytest.mark.parametrize("absolute", [True, False])
def test_l03_a_link_in_the_image_leads_nowhere(
    cowrun: Any, small_root: Path, canary: Path, tmp_path: Path, name: str, absolute: bool
) -> None:
    trap = tmp_path / "trap"
    trap.mkdir()
    for file in ("hosts", "resolv.conf", "hostname", "null"):
        (trap / file).write_text("host's\n")
    place = small_root / name
    place.parent.mkdir(exist_ok=True)
    if name == "etc":
        (small_root / "etc" / "passwd").unlink()
        (small_root / "etc" / "group").unlink()
        place.rmdir()
    target = trap / place.name if place.name in ("hosts", "resolv.conf", "null") else trap
    place.symlink_to(target if absolute else "../" * 30 + str(target))
    result = cowrun.run(cowrun.root, "sh", "-c", "echo x > /etc/hosts; ls /proc/self /dev/pts/ptmx")
    assert result.returncode in (0, 125), result
    if name in ("proc", "sys", "dev"):
        assert result.returncode == 125
        assert "symbolic link" in result.stderr
    assert sorted(os.listdir(trap)) == ["hostname", "hosts", "null", "resolv.conf"]
    assert {path.read_text() for path in trap.iterdir()} == {"host's\n"}
    assert canary.read_text() == "secret\n"


@pytest.mark.parametrize("target", ["/proc/self/root/x", "/proc/1/cwd/x", "/proc/sys/kernel/hostname", "/proc/self/fd"])
def test_l03_a_link_into_proc_is_refused(cowrun: Any, small_root: Path, target: str) -> None:
    (small_root / "etc" / "hosts").symlink_to(target)
    (small_root / "data").symlink_to(target)
    for options in ((), ("-v", f"{small_root}/srv:/data"), ("--tmpfs", "/data")):
        result = cowrun.run(*options, cowrun.root, "true")
        assert result.returncode == 125, result
        (small_root / "etc" / "hosts").unlink(missing_ok=True)


ATTACK = """
import os
program = os.open('/proc/self/exe', os.O_RDONLY)
os.set_inheritable(program, True)
print('read-only' if os.fstatvfs(program).f_flag & os.ST_RDONLY else 'writable', flush=True)
os.execv('/bin/sh', ['sh', '-c', f'echo OWNED >> /proc/self/fd/{program}'])
"""


@pytest.mark.parametrize("how", ["command", "interpreter"])
def test_l05_the_launchers_own_program_cannot_be_written(cowrun: Any, tmp_path: Path, how: str) -> None:
    """CVE-2019-5736: what the launcher executes may turn out to be the launcher's own program; no image writes it."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--copies", "--without-pip", environment], check=True, timeout=60)
    packages = next(environment.glob("lib/python*/site-packages"))
    ours = [str(Path(package.__path__[0]).parent) for package in (cowfs, cowrun_package)]
    (packages / "tests.pth").write_text("\n".join([*ours, *(path for path in sys.path if path.startswith("/"))]))
    program = environment / "bin" / "python3"
    before = hashlib.sha256(program.read_bytes()).hexdigest()
    script = tmp_path / "evil"
    script.write_text(f"#!/proc/self/exe\n{ATTACK}")
    script.chmod(0o755)
    command = ["/proc/self/exe", "-c", ATTACK] if how == "command" else [str(script)]
    line = [str(program), *cowrun.line("@host", *command)[1:]]
    result = subprocess.run(
        line, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, env=cowrun.environment, check=False
    )
    # the kernel may say "busy" first, and kernels 6.11 and 6.12 do not even say that
    assert result.stdout == "read-only\n", result
    assert hashlib.sha256(program.read_bytes()).hexdigest() == before


def test_l05_our_own_first_process_shows_nothing(cowrun: Any) -> None:
    script = (
        "for f in environ mem maps; do cat /proc/1/$f 2>&1; done;"
        "for l in exe root cwd fd/0 fd/1; do readlink /proc/1/$l || echo denied; done"
    )
    found = cowrun.inside(f"{script}; true", "--init", "-e", "SECRET=x")
    lines = [line for line in found.splitlines() if line]
    assert len(lines) == 8, found
    assert all("denied" in line for line in lines), found


def test_l06_capabilities_and_no_new_privileges(cowrun: Any) -> None:
    status = cowrun.inside("cat /proc/self/status")
    sets = {name: int(status_field(status, f"Cap{name}"), 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    assert sets == {"Inh": 0, "Prm": PODMAN, "Eff": PODMAN, "Bnd": PODMAN, "Amb": 0}
    assert status_field(status, "NoNewPrivs") == "1"


def test_l06_a_user_has_none(cowrun: Any) -> None:
    status = cowrun.inside("cat /proc/self/status", "-u", "app")
    assert {int(status_field(status, f"Cap{name}"), 16) for name in ("Inh", "Prm", "Eff", "Amb")} == {0}


def test_l06_options(cowrun: Any) -> None:
    options = ("--cap-drop", "ALL", "--cap-add", "NET_RAW", "--security-opt", "no-new-privileges=false")
    status = cowrun.inside("cat /proc/self/status", *options)
    assert {int(status_field(status, f"Cap{name}"), 16) for name in ("Prm", "Eff", "Bnd")} == {1 << 13}
    assert status_field(status, "NoNewPrivs") == "0"


def test_l07_no_group_of_the_caller_comes_along(cowrun: Any) -> None:
    result = cowrun.run(cowrun.root, "sh", "-c", "grep Groups /proc/self/status", extra_groups=[5, 6, 7, 8, 9])
    assert result.stdout.split() == ["Groups:", "0"]
    result = cowrun.run("-u", "app", cowrun.root, "sh", "-c", "grep Groups /proc/self/status", extra_groups=[5, 6])
    assert result.stdout.split() == ["Groups:", "50", "60"]


INJECT = """
import fcntl, os, sys, termios
for fd in (0, 1, 2):
    try:
        fcntl.ioctl(fd, termios.TIOCSCTTY, 1)
    except OSError as error:
        print(fd, "TIOCSCTTY", error.errno)
    try:
        for c in b"INJECTED\\n":
            fcntl.ioctl(fd, termios.TIOCSTI, bytes([c]))
    except OSError as error:
        print(fd, "TIOCSTI", error.errno)
"""


@pytest.mark.parametrize("redirected", ["", "</dev/null", "| cat"])
def test_l08_nothing_is_typed_into_the_callers_terminal(cowrun: Any, tmp_path: Path, redirected: str) -> None:
    (tmp_path / "inject.py").write_text(INJECT)
    line = " ".join(f"'{word}'" for word in cowrun.line("-q", "@host", "/usr/bin/python3", str(tmp_path / "inject.py")))
    (tmp_path / "script").write_text(f'{line} {redirected}\necho finished\nread -t 1 typed\necho "typed: $typed."\n')
    import pexpect

    shell = pexpect.spawn("/bin/bash", [str(tmp_path / "script")], env=cowrun.environment, timeout=30, encoding="utf-8")
    shell.expect_exact("finished")
    assert "typed: ." in shell.read()
    shell.close()


def test_l09_no_mount_propagates(cowrun: Any, tmp_path: Path) -> None:
    """In a mount namespace whose root is shared, as systemd makes it, no mount of a run may appear beside it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    line = " ".join(f"'{word}'" for word in cowrun.line("-v", f"{shared}:/data", cowrun.root, "cat"))
    script = f"""
mount --make-rshared /
before=$(cat /proc/self/mountinfo)
mkfifo {tmp_path}/hold
{line} < {tmp_path}/hold &
exec 9> {tmp_path}/hold
sleep 1.5
test "$before" = "$(cat /proc/self/mountinfo)" && echo same
exec 9>&-
wait
test "$before" = "$(cat /proc/self/mountinfo)" && echo same
"""
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True, text=True, timeout=60, env=cowrun.environment, check=False,
    )  # fmt: skip
    assert result.stdout == "same\nsame\n", result


def test_l09_in_a_chroot_whose_root_is_no_mount(cowrun: Any, tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    line = " ".join(f"'{word}'" for word in cowrun.line(cowrun.root, "sh", "-c", "ls /; cat /proc/mounts"))
    script = f"""
mount --make-rshared /
for name in $(ls /); do
    if test -L /$name; then cp -a /$name {machine}/; else
        mkdir {machine}/$name; mount --rbind /$name {machine}/$name; mount --make-rprivate {machine}/$name
    fi
done
before=$(cat /proc/self/mountinfo)
chroot {machine} {line}
echo status $?
test "$before" = "$(cat /proc/self/mountinfo)" && echo same
"""
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True, text=True, timeout=60, env=cowrun.environment, check=False,
    )  # fmt: skip
    assert result.stdout.endswith("status 0\nsame\n"), result
    assert "machine" not in result.stdout


def test_l09_a_mount_of_the_hosts_does_not_appear_inside(cowrun: Any) -> None:
    peers = cowrun.inside("cat /proc/self/mountinfo")
    assert "shared:" not in peers
    assert "master:" not in peers


def test_l10_what_could_harm_the_machine_is_out_of_reach(cowrun: Any) -> None:
    script = """
for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity /sys/kernel/profiling; do
    (echo x > $f) 2>/dev/null && echo wrote $f
done
for f in /proc/kcore /proc/keys /proc/timer_list; do test "$(head -c 1 $f | wc -c)" = 0 || echo read $f; done
mount -t tmpfs none /tmp 2>/dev/null && echo mounted
mount -t fusectl none /tmp 2>/dev/null && echo mounted fusectl
mount -o remount,rw /sys 2>/dev/null && echo remounted
umount /proc/sys 2>/dev/null && echo unmounted
hostname changed 2>/dev/null && echo renamed
true"""
    assert cowrun.inside(script) == ""


def test_l10_a_session_keyring_of_its_own(cowrun: Any) -> None:
    script = f"import ctypes; print(ctypes.CDLL(None).syscall({SYS_KEYCTL[os.uname().machine]}, 0, -3, 0))"
    inside = cowrun.run("@host", "/usr/bin/python3", "-c", script)
    outside = subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, text=True, check=True)
    assert inside.returncode == 0, inside
    assert inside.stdout != outside.stdout


def test_l12_a_device_that_is_made_cannot_be_opened(cowrun: Any, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    use = "mknod ${d}mem c 1 3 && (cat ${d}mem; echo x > ${d}mem) 2>&1"
    script = f"for d in / /dev/ /dev/shm/ /data/ /t/; do {use}; done"
    assert "not permitted" in cowrun.run(cowrun.root, "sh", "-c", script).stderr
    found = cowrun.run(
        "--cap-add", "mknod", "-v", f"{shared}:/data", "--tmpfs", "/t", cowrun.root, "sh", "-c", script + "; true"
    )
    assert found.stdout.count("ermission denied") == 10, found


SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
os.chdir(sys.argv[1])
while True:
    libc.renameat2(-100, b"a", -100, b"b", 2)  # RENAME_EXCHANGE
"""


def test_l04_names_that_are_swapped_while_we_mount_lead_nowhere(cowrun: Any, tmp_path: Path, canary: Path) -> None:
    """A volume that somebody else writes to: a directory and a link to the host's /proc change places all the time."""
    shared = tmp_path / "shared"
    (shared / "a").mkdir(parents=True)
    (shared / "b").symlink_to("/proc/1/root" + str(tmp_path))
    swapper = subprocess.Popen([sys.executable, "-c", SWAP, str(shared)])
    try:
        for place in ("/data/a", "/data/b", "/data/a/deep/er"):
            for option in (["--tmpfs", place], ["-v", f"{tmp_path}:{place}:ro"], ["-w", place]):
                cowrun.run("-v", f"{shared}:/data", *option, cowrun.root, "sh", "-c", "echo x > canary; true")
    finally:
        swapper.kill()
        swapper.wait()
    assert canary.read_text() == "secret\n"
    assert {path.name for path in tmp_path.iterdir()} == {"canary", "root", "shared", "store"}


def test_l04_what_hides_is_the_null_device(cowrun: Any, tmp_path: Path) -> None:
    """Where somebody put another file in place of the machine's /dev/null, nothing is run."""
    line = shlex.join(cowrun.line(cowrun.root, "true"))
    result = cowrun.shell_alone(f"echo secret > {tmp_path}/fake; mount --bind {tmp_path}/fake /dev/null; {line} <&-")
    assert result.returncode == 125, result
    assert "/dev/null of this machine" in result.stderr


def test_l13_orphans_are_reaped_and_the_status_is_kept(cowrun: Any) -> None:
    script = "i=0; while [ $i -lt 10000 ]; do ( : & ) ; i=$((i+1)); done; sleep 0.5; ps -o stat | grep -c Z; exit 6"
    result = cowrun.run("--init", cowrun.root, "sh", "-c", script)
    assert (result.returncode, result.stdout) == (6, "0\n"), result


def test_no_module_of_the_image_is_imported(cowrun: Any, small_root: Path) -> None:
    """Rule 15: after the pivot the interpreter's own paths are the image's."""
    for directory in {path for path in sys.path if path.startswith("/")} | {"/usr/lib/python3", "/"}:
        place = small_root / directory.lstrip("/")
        if place.suffix != ".zip":
            place.mkdir(parents=True, exist_ok=True)
            for name in ("array", "traceback", "encodings", "linecache", "codecs"):
                (place / f"{name}.py").write_text("import os; os.write(2, b'OWNED'); os._exit(66)")
    for arguments in (["true"], ["nosuch"], ["-"]):
        result = cowrun.run("--init", cowrun.root, *arguments)
        assert "OWNED" not in result.stderr
        assert result.returncode != 66
    shell = cowrun.terminal(cowrun.root, "sh")
    shell.expect_exact(PROMPT)
    shell.sendline("exit 3")
    shell.wait()
    assert shell.exitstatus == 3


def test_e18_digits_as_a_users_name_are_a_number(cowrun: Any, small_root: Path) -> None:
    (small_root / "etc" / "passwd").write_text("0:x:1000:1000::/:\n1000:x:0:0::/:\n")
    assert cowrun.inside("id -u", "-u", "1000") == "1000\n"


@pytest.mark.parametrize("name", ["passwd", "group"])
def test_the_users_files_are_read_without_harm(cowrun: Any, small_root: Path, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "passwd"
    secret.write_text("app:x:0:0::/:\n")
    file = small_root / "etc" / name
    for kind in ("link", "fifo", "directory", "large"):
        file.unlink()
        if kind == "link":
            file.symlink_to(secret)
        elif kind == "fifo":
            os.mkfifo(file)
        elif kind == "directory":
            file.mkdir()
        else:
            with open(file, "w") as stream:
                stream.truncate(1 << 40)
        result = cowrun.run("-u", "app", cowrun.root, "id", "-u")
        assert result.stdout in ("", "1000\n"), kind
        if kind == "directory":
            file.rmdir()
            file.touch()
