"""What a start may cost, in what can be counted: processes, programs and modules.

Limits are what it is, with a little room. Whoever needs more raises the limit, and says in docs/architecture.md why.
"""

import re
import subprocess
import sys
from pathlib import Path

import cowrun as launcher
import pytest

import cowfs

# No start has a use for these.
HEAVY = {
    "trio",
    "attr",
    "asyncio",
    "ssl",
    "email",
    "importlib.metadata",
    "subprocess",
    "tempfile",
    "shutil",
    "requests",
    "urllib3",
    "dataclasses",
    "hashlib",
}
# Nor has a mount: they are promises of cowfs.lean.
PROMISED = {
    "typing", "re", "logging", "traceback", "threading", "json", "pickle", "queue", "urllib.parse", "ipaddress",
    "fnmatch", "ntpath", "weakref", "string", "signal",
}  # fmt: skip
TELL = "\nprint(*sys.modules, file=sys.stderr)"
LAUNCHER = """
import os
end, launcher = os._exit, os.getpid()

def tell(status):
    if os.getpid() == launcher:
        print(*sys.modules, file=sys.stderr)
    end(status)

os._exit = tell
from cowrun.main import main
main()
"""
SERVED = f"""
import cowfs.cli.overlay
from cowfs import lean
with lean.imports():
    import cowfs.cli.overlaywords, cowfs.cli.enginejournal, cowfs.fuse.preload, cowfs.overlay.engine
{TELL}
"""
# Program -> what it executes, how many modules that makes, which of the usual suspects are not among them, too.
STARTS = {
    "launcher": (LAUNCHER, 205, set()),
    "file system process": (f"import cowfs.fuse.preload{TELL}", 150, {"click", "inspect"} | PROMISED),
    "container": (f"import cowrun.inside{TELL}", 92, {"click", "inspect", "pathlib", "json"}),
    "cowfs-overlay, who waits": (f"import cowfs.cli.overlay{TELL}", 50, {"cowfs.fuse.serve", "ctypes"} | PROMISED),
    "cowfs-overlay": (SERVED, 150, {"click", "inspect"} | PROMISED),
}


@pytest.mark.parametrize("program", STARTS)
def test_modules_of_a_start(cowrun, program):
    code, most, others = STARTS[program]
    where = [str(Path(package.__path__[0]).parent) for package in (cowfs, launcher)]
    paths = [*where, *(path for path in sys.path if path.endswith("site-packages"))]
    arguments = ["--root", str(cowrun.store), "--network", "none", cowrun.root, "true"]
    line = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {paths}\n{code}"]
    done = subprocess.run([*line, *arguments], capture_output=True, text=True, timeout=60, env=cowrun.environment)
    assert done.returncode == 0, done.stderr
    modules = set(done.stderr.split())
    assert (HEAVY | others) & modules == set()
    assert len(modules) <= most, f"{len(modules)}: {sorted(modules)}"


def test_processes_and_programs_of_a_run(cowrun, tmp_path):
    calls = tmp_path / "calls"
    trace = "trace=execve,execveat,fork,vfork,clone,clone3"
    line = [
        "strace",
        "-f",
        "-qq",
        "-o",
        str(calls),
        "-e",
        trace,
        *cowrun.line("--network", "none", cowrun.root, "true"),
    ]
    subprocess.run(line, check=True, timeout=60, stdin=subprocess.DEVNULL, env=cowrun.environment)
    ended = [line for line in calls.read_text().splitlines() if "unfinished" not in line]
    programs = [line for line in ended if re.search(r"exec(ve|veat)\b.* = 0$", line)]
    processes = [line for line in ended if re.search(r"(fork|clone3?)\b.* = \d+$", line) and "THREAD" not in line]
    assert len(programs) == 3, programs  # the launcher, the container's interpreter, the command
    assert len(processes) == 3, processes  # of the file system, the guard, the container
