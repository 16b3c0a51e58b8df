"""Run a command and say what it left behind: ``python -m tests.support.guarded COMMAND [ARG...]``.

``scripts/test`` runs pytest so. Every process that the command started and that outlives its parent becomes a child of
this one (a subreaper), so none can hide by a fork, a session or an environment of its own. Temporary files of the
command go below one directory, which is removed. Exits with the command's status, or 1 where something is left.
"""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 5.0  # seconds: what is ending is not left behind


def main() -> int:
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER) failed")
    scratch = tempfile.mkdtemp(prefix="cowfs-test-")
    os.chmod(scratch, 0o755)  # tests have users of their own that come by
    status = run(sys.argv[1:], scratch)
    end = time.monotonic() + PATIENCE
    while (left := processes()) and time.monotonic() < end:
        time.sleep(0.1)
    if left:
        print("left behind:", *left, sep="\n  ", file=sys.stderr)
        return status or 1
    # Not shutil.rmtree: some tests leave directories that are deeper than it can go
    subprocess.run(["rm", "-rf", "--one-file-system", scratch], check=True)
    return status


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


if __name__ == "__main__":
    sys.exit(main())
