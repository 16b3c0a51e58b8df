"""Who changed this file? Containers and builds of a real podman on our mount program, asked by cowdiff."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import SMALL
from tests.engines.test_mixed import start
from tests.run.conftest import wait_until
from tests.support.docker import Docker
from tests.support.person import INTERPRETER
from tests.support.podman import BUILDERS, KERNEL, Engine

Engines = Callable[..., Engine]
MAIN = "from cowdiff.main import main; main()"


@pytest.fixture
def engine(engines: Engines, ours: Path, small: Path) -> Engine:
    made = engines("one", ours)
    made.podman("import", "--quiet", str(small), SMALL)
    return made


def cowdiff(engine: Engine, *words: str, status: int = 0) -> str:
    line = [sys.executable, "-c", MAIN, "--podman-root", str(engine.place / "store"), *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=engine.environment)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False), done
    return done.stdout if status == 0 else done.stderr


def lines(engine: Engine, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in cowdiff(engine, *words, "--json").splitlines()]


def last_of(engine: Engine, container: str, path: str) -> dict[str, Any]:
    """The process that changed a path last, once that is written."""
    found: list[dict[str, Any]] = []

    def told() -> bool:
        done = [change for change in lines(engine, "log", container) if change["path"] == path]
        found[:] = [change["process"] for change in done[-1:]]
        return bool(found)

    wait_until(told)
    return found[0]


def kept(engine: Engine) -> int:
    """How many journals of containers that are gone there are."""
    directory = engine.place / "cowfs/builds"
    return len(list(directory.iterdir())) if directory.exists() else 0


def test_a_container_that_runs_is_asked(engine: Engine, tmp_path: Path) -> None:
    script = "echo one > /srv/new; rm /usr/lib/program; mv /srv/full/1 /srv/full/moved; sleep 1000"
    engine.podman("run", "--detach", "--name", "web", "--volume", f"{tmp_path}:/data", SMALL, "sh", "-c", script)
    process = last_of(engine, "podman:web", "/srv/full/1")
    assert process["argv"] == ["sh", "-c", script]
    inside, outside = process["inner_pid"], process["pid"]
    first = last_of(engine, "podman:web", "/srv/new")
    assert first["inner_pid"] == 1  # the shell itself wrote; what it started has other numbers
    assert engine.inspect("web", "{{.State.Pid}}") == str(first["pid"])
    assert inside > 1
    assert outside != inside

    (row,) = lines(engine, "list")
    assert (row["run"], row["source"], row["state"]) == ("podman:web", f"{SMALL}:latest", "running")
    assert row["command"] == ["sh", "-c", script]
    shown = cowdiff(engine, "show", "podman:web").splitlines()
    assert {"A /srv/new", "D /usr/lib/program", "R /srv/full/moved (from /srv/full/1)"} <= set(shown)
    assert not [line for line in shown if "/etc/hosts" in line or "/data" in line or "containerenv" in line]
    assert "+one" in cowdiff(engine, "text", "podman:web", "/srv/new")
    assert cowdiff(engine, "cat", "podman:web", "/srv/new") == "one\n"
    assert cowdiff(engine, "why", "podman:web", "/data/x").startswith(f"lives in  a volume: {tmp_path}/x of the host\n")
    assert "podman commit web" in cowdiff(engine, "why", "podman:web", "/srv/new")
    cowdiff(engine, "cp", "podman:web:/srv/full", str(tmp_path / "full"))
    assert (tmp_path / "full/moved").exists()
    cowdiff(engine, "export", "podman:web", f"tar:{tmp_path / 'tree.tar'}")
    listed = subprocess.run(["tar", "tf", tmp_path / "tree.tar"], capture_output=True, text=True, check=True).stdout
    assert "srv/new" in listed.split()


def test_following_a_container(engine: Engine) -> None:
    engine.podman("run", "--detach", "--name", "web", SMALL, "sleep", "1000")
    line = [sys.executable, "-c", MAIN, "--podman-root", str(engine.place / "store")]
    words = [*line, "log", "--follow", "--json", "podman:web"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=engine.environment) as follower:
        assert follower.stdout is not None
        engine.podman("exec", "web", "sh", "-c", "echo more > /srv/followed; true")
        found = next(change for change in map(json.loads, follower.stdout) if change["path"] == "/srv/followed")
        assert found["process"]["argv"] == ["sh", "-c", "echo more > /srv/followed; true"]
        engine.podman("stop", "--time", "0", "web")
        assert follower.wait(timeout=30) == 0  # the container's root is no longer mounted


def test_a_container_that_is_started_again_goes_on(engine: Engine) -> None:
    engine.podman("run", "--detach", "--name", "twice", SMALL, "sh", "-c", "echo $$ >> /srv/twice; sleep 1000")
    last_of(engine, "podman:twice", "/srv/twice")
    engine.podman("stop", "--time", "0", "twice")
    assert lines(engine, "list")[0]["state"] == "stopped"
    engine.podman("start", "twice")
    wait_until(lambda: len(lines(engine, "blame", "podman:twice", "/srv/twice")) == 3)
    told = lines(engine, "blame", "podman:twice", "/srv/twice")
    engine.podman("stop", "--time", "0", "twice")
    assert [change["op"] for change in told] == ["create", "close", "close"]
    assert len({change["processes"][0]["number"] for change in told}) == 2  # two mounts, two processes
    assert len({change["processes"][0]["pid"] for change in told}) == 2
    engine.podman("rm", "twice")
    assert lines(engine, "list") == []
    assert "podman has no container 'twice'" in cowdiff(engine, "show", "podman:twice", status=125)
    assert kept(engine) == 0


def test_the_kernel_goes_on_over_the_same_work_directory(engine: Engine, engines: Engines, ours: Path) -> None:
    def on(name: str) -> Engine:
        found = engines("one", ours if name == "ours" else KERNEL)
        found.forget_the_program()
        return found

    engine.podman("create", "--name", "c", SMALL, "sleep", "1000")
    engine = start(on, "ours")
    engine.podman("exec", "c", "sh", "-c", "echo ours > /srv/ours")
    last_of(engine, "podman:c", "/srv/ours")
    engine.podman("stop", "--time", "0", "c")
    told = len(lines(engine, "log", "podman:c"))
    kernel = start(on, "kernel")
    kernel.podman("exec", "c", "sh", "-c", "echo kernel > /srv/kernel")
    kernel.podman("stop", "--time", "0", "c")
    assert len(lines(engine, "log", "podman:c")) == told  # the journal is there still, and knows nothing of that
    assert "A /srv/kernel" in cowdiff(engine, "show", "podman:c")
    engine = start(on, "ours")
    engine.podman("exec", "c", "sh", "-c", "echo again > /srv/again")
    assert last_of(engine, "podman:c", "/srv/again")["argv"][-1] == "echo again > /srv/again"


@pytest.mark.parametrize("how", ["nojournal", "COWFS_JOURNAL"])
def test_nobody_has_to_keep_one(engines: Engines, ours: Path, small: Path, how: str, tmp_path: Path) -> None:
    words = {"nojournal": f'exec {ours} -o nojournal "$@"', "COWFS_JOURNAL": f'COWFS_JOURNAL=no exec {ours} "$@"'}
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f"#!/bin/sh\n{words[how]}\n")
    wrapper.chmod(0o755)
    engine = engines("none", wrapper)
    engine.podman("import", "--quiet", str(small), SMALL)
    engine.podman("run", "--detach", "--name", "c", SMALL, "sleep", "1000")
    engine.podman("exec", "c", "touch", "/srv/new")
    engine.podman("stop", "--time", "0", "c")
    assert list((engine.place / "store/overlay").glob("*/work/cowfs")) == []
    assert "A /srv/new" in cowdiff(engine, "show", "podman:c")
    assert "container c has no journal" in cowdiff(engine, "who", "podman:c", status=125)


CONTAINERFILE = f"""
FROM {SMALL}
ENV A=1
RUN echo first > /srv/first && mkdir /srv/made
COPY file /srv/copied
RUN rm /usr/lib/program && echo more >> /srv/copied
RUN chmod 700 /srv/full/1 && mv /srv/deep /srv/moved/
CMD ["sh"]
"""


@pytest.fixture
def context(tmp_path: Path) -> Path:
    directory = tmp_path / "context"
    directory.mkdir()
    (directory / "Containerfile").write_text(CONTAINERFILE)
    (directory / "file").write_bytes(b"copied\n" * 1000)
    return directory


@pytest.mark.parametrize("builder", ["podman", "buildah"])
def test_which_step_of_a_build_changed_what(engine: Engine, context: Path, builder: str) -> None:
    engine.build("--quiet", "--tag", "localhost/built", str(context), builder=builder)
    wait_until(lambda: kept(engine) == 4)
    told = lines(engine, "build", "localhost/built")
    assert [(step["step"], step["layer"]) for step in told] == [
        (1, 1), (2, None), (3, 2), (4, 3), (5, 4), (6, 5), (7, None),
    ]  # fmt: skip
    assert told[2]["instruction"] == "RUN echo first > /srv/first && mkdir /srv/made"
    assert told[2]["changes"]["added"] >= 2
    assert told[3]["bytes_in"] == 7000
    assert told[3]["largest"][0]["path"] == "/srv/copied"
    assert [step.get("shadows") for step in told] == [
        [], [], [], [], [{"layer": 1, "bytes": 3 << 20}, {"layer": 3, "bytes": 7000}], [{"layer": 1, "bytes": 19}], [],
    ]  # fmt: skip
    assert told[0]["processes"] is None  # it was imported
    made = [process["process"]["argv"] for process in told[4]["processes"]]
    assert any(argv[-1].startswith("rm /usr/lib/program") for argv in made)

    text = cowdiff(engine, "build", "localhost/built", "/srv/copied")
    assert [line.split(",")[0] for line in text.splitlines() if line.startswith("step")] == ["step 4", "step 5"]
    assert "written: 7000 -> 7005 bytes  (was in layer 3)" in text
    (fifth,) = lines(engine, "build", "localhost/built", "/usr/lib/program")[1:]
    (removed,) = fifth["paths"][0]["recorded"]
    assert (removed["op"], removed["processes"][0]["argv"][-1]) == (
        "unlink",
        "rm /usr/lib/program && echo more >> /srv/copied",
    )
    assert "no step of localhost/built changed /nowhere" in cowdiff(
        engine, "build", "localhost/built", "/nowhere", status=1
    )


def test_builds_of_other_origin_are_told_without_processes(engines: Engines, small: Path, context: Path) -> None:
    engine = engines("kernel", KERNEL)
    engine.podman("import", "--quiet", str(small), SMALL)
    engine.build("--quiet", "--tag", "localhost/built", str(context))
    told = lines(engine, "build", "podman:localhost/built")
    assert [step["processes"] for step in told if step["layer"]] == [None] * 5
    assert told[4]["shadows"] == [{"layer": 1, "bytes": 3 << 20}, {"layer": 3, "bytes": 7000}]
    by_id = lines(engine, "build", engine.inspect("localhost/built", "{{.Id}}")[:12])
    assert by_id == told


def test_steps_on_one_parent_at_once_are_told_apart(engine: Engine, tmp_path: Path) -> None:
    builders = []
    for number in range(3):
        context = tmp_path / str(number)
        context.mkdir()
        (context / "Containerfile").write_text(f"FROM {SMALL}\nRUN echo {number} > /srv/mine{number} && sleep 1\n")
        line = [*BUILDERS["podman"], "--quiet", "--tag", f"localhost/built{number}", str(context)]
        builders.append(subprocess.Popen(line, env=engine.environment, stdout=subprocess.DEVNULL))
    assert [builder.wait(timeout=100) for builder in builders] == [0, 0, 0]
    wait_until(lambda: kept(engine) == 3)
    for number in range(3):
        step = lines(engine, "build", f"localhost/built{number}", f"/srv/mine{number}")[0]
        argv = step["paths"][0]["recorded"][0]["processes"][0]["argv"]
        assert argv[-1] == f"echo {number} > /srv/mine{number} && sleep 1"


def test_what_podman_run_leaves_is_not_kept(engine: Engine, context: Path) -> None:
    engine.podman("run", "--detach", "--rm", "--name", "short", SMALL, "sh", "-c", "touch /srv/short; sleep 1000")
    engine.podman("stop", "--time", "0", "short")
    engine.podman("run", "--detach", "--name", "long", SMALL, "sh", "-c", "touch /srv/long; sleep 1000")
    engine.build("--quiet", "--tag", "localhost/built", str(context))
    wait_until(lambda: kept(engine) == 4)
    engine.podman("rm", "--force", "--time", "0", "long")
    end = time.monotonic() + 20
    while engine.all_servers() and time.monotonic() < end:
        time.sleep(0.05)
    names = {path.name for path in (engine.place / "cowfs/builds").iterdir()}
    step = lines(engine, "build", "localhost/built", "/srv/first")[0]
    assert len(names) in (4, 5)  # the long one was on the same parent while a layer was made of another
    assert step["paths"][0]["recorded"][0]["processes"][0]["argv"][-1] == "echo first > /srv/first && mkdir /srv/made"


def test_an_ordinary_users_container(rootless: Engine, small: Path) -> None:
    image = rootless.place / "small.tar"
    image.write_bytes(small.read_bytes())
    image.chmod(0o644)
    rootless.podman("import", "--quiet", str(image), SMALL)
    script = "echo one > /srv/new; rm /usr/lib/program; sleep 1000"
    rootless.podman("run", "--detach", "--name", "web", SMALL, "sh", "-c", script)
    line = [str(INTERPRETER), "-c", MAIN]

    def blamed() -> list[dict[str, Any]]:
        done = rootless.run(*line, "blame", "--json", "podman:web", "/usr/lib/program")
        return [json.loads(told) for told in done.stdout.splitlines()]

    wait_until(blamed)
    assert blamed()[0]["processes"][-1]["argv"] == ["sh", "-c", script]
    assert blamed()[0]["processes"][-1]["inner_pid"] == 1
    row = json.loads(rootless.run_well(*line, "list", "--json"))
    assert (row["run"], row["state"]) == ("podman:web", "running")
    assert "D /usr/lib/program\n" in rootless.run_well(*line, "show", "podman:web")
    assert rootless.run_well(*line, "cat", "podman:web", "/srv/new") == "one\n"
    (rootless.place / "Containerfile").write_text(f"FROM {SMALL}\nRUN echo built > /srv/built && rm /srv/full/1\n")
    rootless.build("--quiet", "--tag", "localhost/built", "--file", str(rootless.place / "Containerfile"))
    wait_until(lambda: kept(rootless))
    step = json.loads(rootless.run_well(*line, "build", "--json", "localhost/built").splitlines()[-1])
    assert step["shadows"] == [{"layer": 1, "bytes": 2}]
    assert "echo built > /srv/built && rm /srv/full/1" in str(step["processes"])
    rootless.podman("stop", "--time", "0", "web")
    wait_until(lambda: json.loads(rootless.run_well(*line, "list", "--json"))["state"] == "stopped")


def test_a_container_of_docker(docker: Docker, small: Path) -> None:
    docker.docker("import", str(small), "small")
    docker.docker("run", "--detach", "--name", "web", "small", "sleep", "1000")
    docker.docker("exec", "web", "sh", "-c", "echo more > /srv/new; true")
    engine = f"docker:[{docker.place}/data]web"
    environment = {**os.environ, "COWFS_ROOT": str(docker.place / "cowfs")}
    line = [sys.executable, "-c", MAIN]

    def said(*words: str) -> str:
        done = subprocess.run([*line, *words], capture_output=True, text=True, timeout=60, env=environment)
        assert done.returncode == 0, done
        return done.stdout

    assert said("show", engine) == "A /srv/new\n"
    wait_until(lambda: "/srv/new" in said("log", engine))
    last = json.loads(said("blame", "--json", engine, "/srv/new").splitlines()[-1])
    assert last["processes"][0]["argv"] == ["sh", "-c", "echo more > /srv/new; true"]
    docker.docker("rm", "--force", "web")


def test_a_journal_in_a_store_is_only_its_owners(engine: Engine) -> None:
    engine.podman("run", "--detach", "--name", "c", SMALL, "sh", "-c", "touch /srv/new; sleep 1000")
    last_of(engine, "podman:c", "/srv/new")
    (journal,) = (engine.place / "store/overlay").glob("*/work/cowfs/journal")
    assert [path.stat().st_mode & 0o777 for path in (journal, journal.parent)] == [0o600, 0o700]
    assert os.stat(journal).st_uid == 0
