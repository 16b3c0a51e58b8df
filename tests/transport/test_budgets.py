"""What everyday jobs cost in requests, for each file. Numbers are counted, so they are the same on every machine."""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FILES, DIRECTORIES = 100, 5
REST = 40  # what the directories and the job itself may cost


def make_tree(top: Path) -> None:
    for number in range(FILES):
        directory = top / f"d{number % DIRECTORIES}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"f{number}").write_bytes(b"x" * 3000)


def visit(top: Path) -> None:
    for path, directories, files in os.walk(top):
        for name in directories + files:
            os.stat(os.path.join(path, name))


def change_modes(top: Path) -> None:
    for path in top.rglob("f*"):
        path.chmod(0o600)


def append(top: Path) -> None:
    for path in top.rglob("f*"):
        with path.open("ab") as file:
            file.write(b"more")


def read(top: Path) -> None:
    for path in top.rglob("f*"):
        with path.open("rb") as file:
            file.read()


def remove(top: Path) -> None:
    subprocess.run(["rm", "-rf", os.fspath(top)], check=True)


def unpack(top: Path) -> None:
    (top / "new").mkdir()
    subprocess.run(["tar", "-xf", os.fspath(top.parent.parent / "tree.tar"), "-C", os.fspath(top / "new")], check=True)


def look_for_what_is_absent(top: Path) -> None:
    for number in range(FILES):
        for _ in range(10):
            assert not os.path.lexists(top / f"d0/absent{number}")


Job = Callable[[Path], None]
BUDGETS: list[tuple[Job, int, dict[str, float]]] = [  # the job, its how manieth time counts, requests for each file
    (visit, 1, {"lookup": 0, "getattr": 0}),
    (visit, 2, {}),
    (read, 1, {"open": 1, "read": 1, "release": 1}),
    (read, 2, {"open": 1, "getattr": 1, "release": 1}),  # atime is the kernel's to ask for after it read
    (append, 1, {"open": 1, "getxattr": 1, "write": 1, "release": 1}),  # security.capability, once for each file
    (append, 2, {"open": 1, "getattr": 1, "getxattr": 1, "release": 1}),  # in passthrough
    (change_modes, 1, {"setattr": 1, "getattr": 1, "getxattr": 1}),
    (remove, 1, {"unlink": 1, "getattr": 1, "forget": 1.1}),  # attributes of the directory, whose times changed
    (unpack, 1, {"lookup": 1, "create": 1, "getattr": 1, "setattr": 3, "getxattr": 2, "release": 1}),
    (look_for_what_is_absent, 1, {"lookup": 1}),
    (look_for_what_is_absent, 2, {}),
]


@pytest.mark.parametrize(("job", "time", "budget"), BUDGETS, ids=lambda value: getattr(value, "__name__", None))
def test_requests(mounted: Any, job: Job, time: int, budget: dict[str, float]) -> None:
    def prepare(mount: Any) -> None:
        make_tree(mount.lower / "tree")
        shutil.make_archive(os.fspath(mount.top / "tree"), "tar", mount.lower, "tree")

    def check(mount: Any) -> dict[str, int]:
        top = mount.merged / "tree"
        visit(mount.merged)
        for _ in range(time - 1):
            job(top)
        mount.requests()
        job(top)
        return dict(mount.requests())

    seen = Counter(mounted(check, prepare=prepare))
    for directories in ("opendir", "readdir", "releasedir", "mkdir", "rmdir", "statfs", "flush"):
        del seen[directories]
    over = {name: count for name, count in seen.items() if count > budget.get(name, 0) * FILES + REST}
    assert not over, seen
