"""A signal at every system call of a launch: what must be left is nothing. strace(1) sends it ("inject").

    sudo .venv/bin/python -m tests.run.sweep ROOT [--signal TERM] [--first 1] [--step 1]

ROOT is a directory with a small root. Counted are the launcher's calls that change something outside of its memory,
or wait: between two of them every moment is alike. A part of it runs with the tests (test_interrupted).
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from cowfs import ondisk
from cowfs.model import Run, RunState
from cowfs.store.runs import FILES, Runs
from tests.run.conftest import Launcher

# Looking at files and memory: thousands of calls while modules are imported.
IDLE = (
    "access,brk,close,epoll_ctl,fcntl,fstat,futex,getcwd,getdents64,getegid,geteuid,getgid,getpid,getppid,getrandom,"
    "getuid,getxattr,ioctl,listxattr,lseek,mmap,mprotect,mremap,munmap,newfstatat,open,openat,pread64,prlimit64,read,"
    "readlink,readlinkat,rseq,set_robust_list,set_tid_address,statx,sysinfo,uname,arch_prctl,execve,exit_group"
)
PATIENCE = 2.0


class Sweep:
    """Launches in a store of their own, each interrupted at another call."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.launcher = Launcher(directory / "store", f"dir:{root}", f"sweep{os.getpid()}")
        self.directory = directory
        self.launcher.run(self.launcher.root, "true")
        self._mounts = self._host_mounts()

    def calls(self) -> list[tuple[str, int]]:
        """The calls of a whole launch that count: the name of each, and which one of that name it is."""
        trace = self.directory / "trace"
        self._strace(["-o", str(trace), "-e", f"trace=!{IDLE}"])
        names = [match[1] for line in trace.read_text().splitlines() if (match := re.match(r"(\w+)\(", line))]
        return [(name, names[: place + 1].count(name)) for place, name in enumerate(names)]

    def interrupt(self, number: signal.Signals, call: tuple[str, int]) -> list[str]:
        """Send the signal at one of them: what was left."""
        name, count = call
        action = f"inject={name}:signal={number.name}:when={count}"
        status = self._strace(["-o", os.devnull, "-e", f"trace={name}", "-e", action])
        problems = [] if status in (0, 128 + number, -number, 125) else [f"exit status {status}"]
        deadline = time.monotonic() + PATIENCE
        while (left := self._left(after_kill=number == signal.SIGKILL)) and time.monotonic() < deadline:
            time.sleep(0.02)
        if number == signal.SIGKILL:
            self.launcher.run(self.launcher.root, "true")
            left += self._left(after_kill=False)
        return problems + left

    def _left(self, *, after_kill: bool) -> list[str]:
        """What is there that was not: processes and mounts; groups and directories, which may wait after a SIGKILL."""
        found = [f"process {pid}" for pid in self.launcher.processes()]
        found += [f"mount {line!r}" for line in self._host_mounts() - self._mounts]
        if not after_kill:
            runs = [run for run in Runs(self.launcher.store).list() if run.ended is None]
            found += [f"run {run.id} is {run.state.value}" for run in runs if not _had_begun(run)]
            found += [f"group {path}" for path in self.launcher.groups()]
            found += [f"staging/{name}" for name in os.listdir(self.launcher.store / "staging")]
        return found

    def _strace(self, options: list[str]) -> int:
        line = ["strace", "-qq", *options, *self.launcher.line("--network", "none", self.launcher.root, "true")]
        result = subprocess.run(
            line, env=self.launcher.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False
        )
        if b"Traceback" in result.stderr and b"KeyboardInterrupt" not in result.stderr:
            sys.stderr.write(result.stderr.decode())
        return result.returncode

    def _host_mounts(self) -> set[bytes]:
        lines = Path("/proc/self/mountinfo").read_bytes().splitlines()
        return {line for line in lines if os.fsencode(self.directory) in line}


def _had_begun(run: Run) -> bool:
    """The command ran before its launcher was killed: what it changed is kept, and said to be lost."""
    return run.state is RunState.LOST and (run.directory / FILES / ondisk.RUN_LAUNCHER).exists()


@contextlib.contextmanager
def sweep(root: Path) -> Iterator[Sweep]:
    directory = tempfile.mkdtemp(prefix="sweep-")
    try:
        yield Sweep(root, Path(directory))
    finally:
        shutil.rmtree(directory)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("--signal", default="TERM,INT,KILL")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--step", type=int, default=1)
    typed = parser.parse_args()
    failed = done = 0
    with sweep(typed.root) as swept:
        calls = swept.calls()
        for name in typed.signal.split(","):
            for place in range(typed.first, len(calls) + 1, typed.step):
                problems = swept.interrupt(signal.Signals[f"SIG{name}"], calls[place - 1])
                done += 1
                failed += bool(problems)
                if problems:
                    call = f"{calls[place - 1][0]}, {place} of {len(calls)}"
                    print(f"SIG{name} at {call}: {'; '.join(problems)}", flush=True)
            print(f"SIG{name}: {done} launches of {len(calls)} calls so far, {failed} failed", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
