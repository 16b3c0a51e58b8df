"""Containers of podman and docker, laid out here by hand as those programs do it, through the commands of cowdiff."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from cowfs.engines import docker, podman
from cowfs.errors import BrokenImage, CowfsError, NotFound, UsageError
from cowfs.journal import records
from cowfs.journal.records import NO_LAYER, Op
from cowfs.journal.writer import Journal
from cowfs.model import RunState

from .conftest import Cowdiff

LOW, MID, TOP = "a" * 64, "b" * 64, "c" * 64
ID = "d" * 64
LINKS = {LOW: "L" * 26, MID: "M" * 26, TOP: "T" * 26}


class Store:
    """Two layers below a container's own, which adds ``new``, writes over ``kept`` and removes ``gone``."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "l").mkdir(parents=True)
        for layer, name in LINKS.items():
            for part in ("diff", "work", "merged"):
                (home / layer / part).mkdir(parents=True)
            (home / "l" / name).symlink_to(f"../{layer}/diff")
        self.low, self.mid, self.top = (home / layer / "diff" for layer in LINKS)
        for path in (self.low, self.mid, self.top):
            path.chmod(0o755)
        (self.low / "gone").write_text("gone\n")
        (self.low / "old").mkdir()
        (self.low / "old/file").write_text("old\n")
        (self.mid / "kept").write_text("one\n")
        (self.top / "kept").write_text("two\n")
        (self.top / "new").write_text("new\n")
        (self.top / "etc").mkdir()
        (self.top / "etc/hosts").write_text("")
        os.mknod(self.top / "gone", stat.S_IFCHR, 0)
        (home / TOP / "lower").write_text(f"l/{LINKS[MID]}:l/{LINKS[LOW]}")

    def journal(self) -> None:
        """``new`` was made by a process 3, which is 7000 outside."""
        journal = Journal(self.home / TOP / "work/cowfs/journal", when_needed=True)
        arguments = b"sh\0-c\0echo new > /new\0"
        journal.append(
            records.process(1, 0, pid=7000, inner_pid=3, uid=0, gid=0, started=1, exe=b"/sh", cwd=b"/", argv=arguments)
        )
        journal.append(records.directory(1, 0, b""))
        journal.change(Op.CREATE, NO_LAYER, 1, 1, b"new", records.CREATED.pack(0o644, 1))
        journal.close()


class Podman(Store):
    """/var/lib/containers/storage."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "overlay")
        self.root = root
        self.userdata = root / "overlay-containers" / ID / "userdata"
        self.userdata.mkdir(parents=True)
        self.record: dict[str, Any] = {
            "id": ID,
            "names": ["web"],
            "image": "e" * 64,
            "layer": TOP,
            "metadata": json.dumps({"image-name": "docker.io/library/debian:12"}),
            "created": "2026-11-24T17:05:45.694741128Z",
        }
        mounts: list[dict[str, Any]] = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/etc/hosts", "type": "bind", "source": f"{self.userdata}/hosts", "options": ["bind"]},
            {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "ro"]},
        ]
        self.config: dict[str, Any] = {"process": {"args": ["sh", "-c", "sleep 1"]}, "root": {}, "mounts": mounts}
        self.write()

    def write(self) -> None:
        (self.root / "overlay-containers/containers.json").write_text(json.dumps([self.record]))
        (self.userdata / "config.json").write_text(json.dumps(self.config))

    def find(self, name: str = "web") -> Any:
        return podman.find(name, self.root)


class Docker(Store):
    """/var/lib/docker."""

    def __init__(self, root: Path, driver: str = "fuse-overlayfs") -> None:
        super().__init__(root / driver)
        self.root = root
        mounts = root / "image" / driver / "layerdb/mounts" / ID
        mounts.mkdir(parents=True)
        (mounts / "mount-id").write_text(TOP)
        self.directory = root / "containers" / ID
        self.directory.mkdir(parents=True)
        self.config: dict[str, Any] = {
            "ID": ID,
            "Name": "/web",
            "Driver": driver,
            "Path": "sh",
            "Args": ["-c", "sleep 1"],
            "Config": {"Image": "debian:12"},
            "Created": "2026-11-24T17:05:45.694741128Z",
            "State": {"Running": False, "ExitCode": 3, "StartedAt": "", "FinishedAt": "2026-11-24T17:06:45Z"},
            "HostsPath": "/var/lib/docker/containers/x/hosts",
            "MountPoints": {"/data": {"Source": "/srv/data", "RW": False, "Type": "bind"}},
        }
        self.write()

    def write(self) -> None:
        (self.directory / "config.v2.json").write_text(json.dumps(self.config))


@pytest.fixture
def pod(tmp_path: Path) -> Podman:
    return Podman(tmp_path / "containers")


@pytest.fixture
def dock(tmp_path: Path) -> Docker:
    return Docker(tmp_path / "docker")


def call(cowdiff: Cowdiff, pod: Podman, *arguments: str, status: int = 0) -> str:
    done = cowdiff(*arguments, COWFS_PODMAN_ROOT=str(pod.root))
    assert done.returncode == status, done
    return done.stdout if status == 0 else done.stderr


def test_a_container_of_podman_is_looked_at_as_a_run(cowdiff: Cowdiff, pod: Podman, tmp_path: Path) -> None:
    assert call(cowdiff, pod, "show", "podman:web") == "D /gone\nM /kept\nA /new\n"
    assert "+two" in call(cowdiff, pod, "text", "podman:web", "/kept")
    assert call(cowdiff, pod, "cat", "podman:web", "/kept") == "two\n"
    assert call(cowdiff, pod, "cat", "--before", "podman:web", "/kept") == "one\n"
    call(cowdiff, pod, "cp", "podman:web:/old", str(tmp_path / "taken"))
    assert (tmp_path / "taken/file").read_text() == "old\n"
    call(cowdiff, pod, "export", "podman:web", f"layer:{tmp_path / 'layer.tar'}")
    assert (tmp_path / "layer.tar").stat().st_size
    why = call(cowdiff, pod, "why", "podman:web", "/new")
    assert "stays until the container is removed (podman rm)" in why
    assert "podman commit web NAME" in why
    assert "made for this container" in call(cowdiff, pod, "why", "podman:web", "/etc/hosts")
    assert "a volume, read-only: /srv/data" in call(cowdiff, pod, "why", "podman:web", "/data")


def test_docker_likewise(cowdiff: Cowdiff, dock: Docker) -> None:
    name = f"docker:[{dock.root}]web"
    assert cowdiff("show", name).stdout == "D /gone\nM /kept\nA /new\n"
    found = docker.find(f"[{dock.root}]web")
    assert (found.exit_status, found.state, found.source) == (3, RunState.STOPPED, "debian:12")
    assert found.command == ("sh", "-c", "sleep 1")
    assert found.lowers == (dock.mid, dock.low)
    assert "a volume, read-only: /srv/data" in cowdiff("why", name, "/data").stdout


def test_the_journal_of_a_container(cowdiff: Cowdiff, pod: Podman) -> None:
    error = call(cowdiff, pod, "who", "podman:web", status=125)
    assert error == "cowdiff: container web has no journal: cowfs has seen no change of it\n"
    assert "web" not in call(cowdiff, pod, "list")
    pod.journal()
    rows = [line.split() for line in call(cowdiff, pod, "list").splitlines()]
    assert rows[1][:2] == [ID[:12], "podman:web"]
    assert "docker.io/library/debian:12" in rows[1]
    assert "stopped" in rows[1]
    record = json.loads(call(cowdiff, pod, "list", "--json"))
    assert (record["run"], record["name"], record["state"]) == ("podman:web", "web", "stopped")
    assert call(cowdiff, pod, "who", "podman:web").startswith("[3] sh -c 'echo new > /new'  -- 1 path\n")
    process = json.loads(call(cowdiff, pod, "blame", "podman:web", "/new", "--json"))["processes"][0]
    assert (process["inner_pid"], process["pid"]) == (3, 7000)
    assert call(cowdiff, pod, "show", "podman:web", "--process", "echo new") == "A /new\n"
    assert "sh[3]" in call(cowdiff, pod, "log", "podman:web")


@pytest.mark.parametrize("name", ["web", ID, ID[:12], ID[:1]])
def test_names(pod: Podman, dock: Docker, name: str) -> None:
    assert pod.find(name).id == docker.find(f"[{dock.root}]{name}").id == ID[:12]


@pytest.mark.parametrize("name", ["wen", "f" * 12, "WEB"])
def test_a_name_that_is_not_there_is_said_with_those_that_are(pod: Podman, dock: Docker, name: str) -> None:
    for find in (lambda: pod.find(name), lambda: docker.find(f"[{dock.root}]{name}")):
        with pytest.raises(NotFound, match="its containers: web"):
            find()


def test_an_id_that_begins_two(pod: Podman) -> None:
    other = pod.record | {"id": "d" * 63 + "e", "names": ["other"]}
    (pod.root / "overlay-containers/volatile-containers.json").write_text(json.dumps([other]))
    with pytest.raises(UsageError, match="begins the ids of 2 containers of podman"):
        pod.find("ddd")
    assert pod.find("other").name == "other"


def test_no_store(tmp_path: Path, cowdiff: Cowdiff) -> None:
    done = cowdiff("show", f"podman:[{tmp_path}/none]web")
    assert (done.returncode, done.stderr.count("\n")) == (125, 1)
    assert "podman has no store in" in done.stderr
    assert cowdiff("list", COWFS_PODMAN_ROOT=str(tmp_path / "none")).returncode == 0


@pytest.mark.parametrize("command", ["rm", "pin", "unpin", "undo", "apply", "commit NAME", "rerun"])
def test_what_is_the_engines_is_only_looked_at(cowdiff: Cowdiff, pod: Podman, command: str) -> None:
    word, *more = command.split()
    error = call(cowdiff, pod, word, "podman:web", *more, status=125)
    assert error == "cowdiff: podman:web is podman's: cowdiff only looks at it\n"


def test_nothing_of_a_store_is_written_to(cowdiff: Cowdiff, pod: Podman) -> None:
    pod.journal()
    (pod.top / ".wh.old").write_text("")  # as fuse-overlayfs has it where it may make no devices
    before = {path: path.lstat() for path in pod.root.rglob("*")}
    assert call(cowdiff, pod, "show", "podman:web") == "D /gone\nM /kept\nA /new\nD /old/\n"
    for words in (["list"], ["who", "podman:web"], ["cat", "podman:web", "/new"], ["why", "podman:web", "/new"]):
        call(cowdiff, pod, *words)
    after = {path: path.lstat() for path in pod.root.rglob("*")}
    assert [(str(path), one.st_mtime_ns, one.st_ctime_ns) for path, one in after.items()] == [
        (str(path), one.st_mtime_ns, one.st_ctime_ns) for path, one in before.items()
    ]


MARKS = {
    "a file beside it": lambda directory: (directory / ".wh..wh..opq").touch(),
    "fuse-overlayfs's attribute": lambda directory: os.setxattr(directory, "user.fuseoverlayfs.opaque", b"y"),
    "overlayfs's": lambda directory: os.setxattr(directory, "trusted.overlay.opaque", b"y"),
}


@pytest.mark.parametrize("mark", MARKS)
def test_a_directory_that_was_made_anew(cowdiff: Cowdiff, pod: Podman, mark: str) -> None:
    (pod.top / "old").mkdir()
    (pod.top / "old/other").write_text("other\n")
    MARKS[mark](pod.top / "old")
    lines = call(cowdiff, pod, "show", "podman:web", "/old").splitlines()
    assert [line for line in lines if not line.startswith("t ")][-2:] == ["D /old/file", "A /old/other"]
    assert cowdiff("cat", f"podman:[{pod.root}]web", "/old/file").returncode == 125


LOWER = {
    "up": "../../../etc",
    "absolute": "/etc",
    "a link that leads elsewhere": f"l/{'X' * 26}",
    "a link that is none": f"l/{'Y' * 26}",
    "empty": "",
}


@pytest.mark.parametrize("what", LOWER)
def test_a_store_that_leads_elsewhere_is_not_followed(pod: Podman, what: str) -> None:
    (pod.home / "l" / ("X" * 26)).symlink_to("/etc")
    (pod.home / TOP / "lower").write_text(LOWER[what])
    with pytest.raises(BrokenImage, match="which is no layer"):
        pod.find()


DAMAGE: dict[str, dict[str, Any]] = {
    "an id that is a path": {"id": "../../etc"},
    "a layer that is a path": {"layer": "../../etc"},
    "no layer": {"layer": None},
    "names that are none": {"names": "web"},
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_record_that_is_none(cowdiff: Cowdiff, pod: Podman, what: str) -> None:
    pod.journal()
    pod.record |= DAMAGE[what]
    pod.write()
    with pytest.raises(CowfsError):
        pod.find()
    assert call(cowdiff, pod, "list").count("\n") == 1  # only the heading


def test_what_a_runtime_was_told_may_be_missing_or_nonsense(pod: Podman) -> None:
    for config in ("", "[]", "{", json.dumps({"process": 7, "mounts": [1, {"destination": 2}], "root": []})):
        (pod.userdata / "config.json").write_text(config)
        found = pod.find()
        assert (found.command, found.mounts, found.read_only) == ((), (), False)
