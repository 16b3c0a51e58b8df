"""Run a command and say what it left behind: ``python -m tests.support.guarded COMMAND [ARG...]``.

``scripts/test`` runs pytest so. Every process that the command started and that outlives its parent becomes a child of
this one (a subreaper), so none can hide by a fork, a session or an environment of its own. Temporary files of the
command go below one directory; what is mounted there at the end was left, too, but in a mount namespace that ends with
this process. Exits with the command's status, or 1 where something is left.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
libc = ctypes.CDLL(None, use_errno=True)
PATIENCE = 5.0  # seconds: what is ending is not left behind


def main() -> int:
    check(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
    scratch = tempfile.mkdtemp(prefix="cowfs-test-")
    os.chmod(scratch, 0o755)  # tests have users of their own that come by
    own_mounts()
    status = run(sys.argv[1:], scratch)
    end = time.monotonic() + PATIENCE
    while (left := [*processes(), *mounts(scratch)]) and time.monotonic() < end:
        time.sleep(0.1)
    if left:
        print("left behind:", *left, sep="\n  ", file=sys.stderr)
        return status or 1
    # Not shutil.rmtree: some tests leave directories that are deeper than it can go
    subprocess.run(["rm", "-rf", "--one-file-system", scratch], check=True)
    return status


def check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def own_mounts() -> None:
    """A mount namespace of our own with a mount as its root.

    The root of a chroot need not be one, and unshare(1) cannot make that private. So we go to the namespace's root,
    where setns(2) leads, make everything private, and come back to our root, bound over itself.
    """
    check(libc.unshare(CLONE_NEWNS))
    root, here = os.open("/", os.O_PATH), os.getcwd()
    namespace = os.open("/proc/self/ns/mnt", os.O_RDONLY)
    check(libc.setns(namespace, CLONE_NEWNS))
    check(libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    os.fchdir(root)
    os.chroot(".")
    if not any(line.split(" ")[4] == "/" for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        check(libc.mount(b"/", b"/", None, ctypes.c_ulong(MS_BIND | MS_REC), None))
        os.chroot("/..")  # "/" is what lies below the new mount, ".." looks at what is mounted
    os.chdir(here)
    os.close(root)
    os.close(namespace)


def run(command: list[str], scratch: str) -> int:
    """Wait for the command, and at once for every orphan: tests look whether one is gone, and nobody else waits."""
    process = subprocess.Popen(command, env={**os.environ, "TMPDIR": scratch})
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except KeyboardInterrupt:
            continue  # the command has it, too, and ends
        if pid == process.pid:
            return os.waitstatus_to_exitcode(status) % 256


def processes() -> list[str]:
    """Children that still run; those that ended are reaped."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return []
        if pid == 0:
            children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
            return [f"process {pid}: {_command_line(pid)}" for pid in children]


def _command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return "(gone)"


def mounts(scratch: str) -> list[str]:
    points = [line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [f"mount {point}" for point in points if point.startswith(scratch + "/")]


if __name__ == "__main__":
    sys.exit(main())
