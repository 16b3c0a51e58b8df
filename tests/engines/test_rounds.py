"""Many things at once on one store, at random: run, build, commit, exec, rm, by four at a time.

COWFS_TEST_ENGINE_ROUNDS says how many (12); COWFS_TEST_SEED says which.
"""

import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.engines.conftest import SMALL
from tests.support.podman import BUILDERS, Engine

ROUNDS = int(os.environ.get("COWFS_TEST_ENGINE_ROUNDS", "12"))
SEED = int(os.environ.get("COWFS_TEST_SEED", str(random.randrange(1 << 31))))
SCRIPTS = (
    "rm -r /srv/gone; mkdir /srv/gone; echo x > /srv/gone/x",
    "mv /srv/moved /srv/m 2>/dev/null || mv /srv/m /srv/moved",
    "for i in $(seq 40); do echo $i > /tmp/$i; ln /tmp/$i /tmp/l$i; done; rm -f /tmp/1* /tmp/l2*; rm -rf /tmp/[3-5]*",
    "echo more >> /usr/lib/program; chmod 755 /srv/full; cp -r /srv/full /srv/f; rm -rf /srv/full; mv /srv/f /srv/full",
    "find / -xdev -type f | sort | head -20 | xargs cat > /dev/null; touch /srv/full/2",
)
VISIT = "cd /tmp; cp -r /srv/full {0}; find {0} -type f | xargs cat > /dev/null; mv {0} {0}y; rm -r {0}y"
# What podman 4.3 says on any file system where one removes an image that a build of another is looking at
RACES = ("layer not known", "image not known", "image is in use by a container")
MEMORY_MORE = 8 << 20  # bytes: what a server may grow by that has nothing to do with what happens


class Player:
    """One of four: it has containers and images of its own."""

    def __init__(self, engine: Engine, number: int) -> None:
        self.engine, self.chance = engine, random.Random(f"{SEED}-{number}")
        self.number, self.made = number, 0
        self.containers: dict[str, str] = {}  # and what each is of
        self.images: list[str] = [SMALL]
        self.context = engine.place / "context"
        self.context.mkdir(exist_ok=True)

    def play(self, rounds: int) -> None:
        for _ in range(rounds):
            self.chance.choice(self.ACTIONS)(self)
        while self.containers:
            self.rm()
        while len(self.images) > 1:
            self.rmi()

    def _name(self) -> str:
        self.made += 1
        return f"p{self.number}-{self.made}"

    def _script(self) -> str:
        return self.chance.choice(SCRIPTS)

    def run(self) -> None:
        self.engine.podman("run", "--rm", self.chance.choice(self.images), "sh", "-c", self._script())

    def detach(self) -> None:
        name, image = self._name(), self.chance.choice(self.images)
        self.engine.podman("run", "--detach", "--name", name, image, "sleep", "10000")
        self.containers[name] = image

    def build(self) -> None:
        name = f"localhost/{self._name()}"
        text = f"FROM {self.chance.choice(self.images)}\nRUN {self._script()}\nRUN {self._script()}\n"
        line = (*BUILDERS["podman"], "--quiet", "--tag", name, "-f", "-", str(self.context))
        if self._unless_raced(*line, input=text):
            self.images.append(name)

    def commit(self) -> None:
        if self.containers:
            name = f"localhost/{self._name()}"
            self.engine.podman("commit", "--quiet", self.chance.choice(list(self.containers)), name)
            self.images.append(name)

    def exec(self) -> None:
        if self.containers:
            self.engine.podman("exec", self.chance.choice(list(self.containers)), "sh", "-c", self._script())

    def rm(self) -> None:
        if self.containers:
            name = self.chance.choice(list(self.containers))
            self.engine.podman("rm", "--force", "--time", "0", name)
            del self.containers[name]

    def rmi(self) -> None:
        unused = [image for image in self.images[1:] if image not in self.containers.values()]
        if unused:
            self.images.remove(image := self.chance.choice(unused))
            self._unless_raced("podman", "rmi", image)

    def visit(self) -> None:
        """Work in the container that stays, which leaves nothing there."""
        self.engine.podman("exec", "stays", "sh", "-ec", VISIT.format(self._name()))

    def _unless_raced(self, *line: str, **more: str) -> bool:
        done = self.engine.run(*line, **more)
        assert done.returncode == 0 or any(reason in done.stderr for reason in RACES), done
        return done.returncode == 0

    ACTIONS = (run, detach, build, commit, exec, rm, rmi, visit)


def test_rounds_at_random(engines: Callable[..., Engine], ours: Path, small: Path) -> None:
    print(f"seed {SEED}")
    engine = engines("ours", ours)
    engine.podman("import", "--quiet", str(small), SMALL)
    engine.podman("run", "--detach", "--name", "stays", SMALL, "sleep", "100000")
    (stays,) = engine.servers(engine.merged("stays"))
    before = _memory(stays)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: Player(engine, number).play(-(-ROUNDS // 4)), range(4)))
    print(f"memory of a server that stays: {before >> 10} KiB, {_memory(stays) >> 10} KiB")
    assert _memory(stays) < before + MEMORY_MORE
    assert engine.overlays() == [engine.merged("stays")]
    assert engine.all_servers() == [stays]
    assert engine.podman("exec", "stays", "sh", "-c", "ls /tmp; cat /srv/moved/file") == "srv/moved/file\n"


def _memory(pid: int) -> int:
    """Bytes of a process alone, without what it shares."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))
