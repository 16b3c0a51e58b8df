"""E17: imports at once while somebody swaps directories of the store for symbolic links: nothing outside is touched.

Nobody but root can do that to a store. It shows that each step goes by the descriptor of a directory that was checked.
"""

import contextlib
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

from cowfs.errors import CowfsError
from cowfs.store import Store
from cowfs.store.descriptors import exchange
from tests.images.layouts import Layout, digest
from tests.images.tars import DIRECTORY, HARD_LINK, SYMLINK, entry, tar

ROUNDS = int(os.environ.get("ROUNDS", "20"))
DIRECTORIES = [f"d{number}" for number in range(80)]  # more than the unpacker keeps open: each is opened by name again
LAYER = tar(
    *(entry(name.encode() + b"/", DIRECTORY, mode=0o750) for name in DIRECTORIES),
    *(entry(f"{name}/{n}".encode(), data=b"new", mode=0o4755) for n in range(6) for name in DIRECTORIES),
    *(entry(f"{name}/hard".encode(), HARD_LINK, link=f"{name}/0".encode()) for name in DIRECTORIES),
    *(entry(f"{name}/soft".encode(), SYMLINK, link=b"0") for name in DIRECTORIES),
)

RACER = """
import sys
from pathlib import Path
from cowfs.errors import CowfsError
from cowfs.images.sources import resolve
from cowfs.store import Store
store = Store.open(Path(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    try:
        resolve(sys.argv[2], store)
        print("imported", flush=True)
    except CowfsError as error:
        print(repr(error), flush=True)
    except BaseException as error:
        print("uncaught", repr(error), flush=True)
"""


class Swapper(threading.Thread):
    """Puts a symbolic link to ``outside`` in the place of directories below ``tops``, and the directories back."""

    def __init__(self, tops: list[Path], outside: Path, scratch: Path, seed: int) -> None:
        super().__init__()
        self._tops, self._outside, self._scratch = tops, outside, scratch
        self._chance = random.Random(seed)
        self._enough = threading.Event()
        self.swaps = 0

    def run(self) -> None:
        while not self._enough.is_set():
            self._enough.wait(self._chance.random() / 200)
            for top in self._tops:
                for directory, names, _ in os.walk(top):
                    if names and self._chance.random() < 0.4:
                        with contextlib.suppress(OSError):
                            self._swap(directory, self._chance.choice(names))

    def _swap(self, directory: str, name: str) -> None:
        link = self._scratch / "link"
        link.unlink(missing_ok=True) if not link.is_dir() or link.is_symlink() else shutil.rmtree(link)
        link.symlink_to(self._outside)
        parent = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        here = os.open(self._scratch, os.O_RDONLY)
        try:
            exchange(here, "link", parent, name)
            self.swaps += 1
            self._enough.wait(self._chance.random() / 2000)
            exchange(here, "link", parent, name)
        finally:
            os.close(parent)
            os.close(here)

    def stop(self) -> None:
        self._enough.set()
        self.join()


def state(top: Path) -> dict[str, tuple[object, ...]]:
    """All of a tree that a write, a removal or another owner, mode or time would change."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in [".", *names, *files]:
            path = os.path.join(directory, name)
            now = os.lstat(path)
            data = Path(path).read_bytes() if stat.S_ISREG(now.st_mode) else b""
            found[path] = (now.st_ino, now.st_mode, now.st_uid, now.st_nlink, now.st_mtime_ns, now.st_ctime_ns, data)
    return found


def make_outside(path: Path) -> Path:
    """The names that the layer and the store have, so that whoever follows a link meets some."""
    for part in ("", "root"):
        for name in DIRECTORIES:
            (path / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(2):
                (path / part / name / str(number)).write_bytes(b"outside")
    for number in range(4):
        (path / str(number)).write_bytes(b"outside")
    return path


def test_e17_two_imports_while_directories_are_swapped_for_links(store: Store, layout: Layout, tmp_path: Path) -> None:
    text = layout.image(LAYER, how="gzip")
    outside = make_outside(tmp_path / "outside")
    before = state(outside)
    (tmp_path / "scratch").mkdir()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, store.root, text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        )
        for _ in range(2)
    ]
    for racer in racers:
        assert racer.stdout
        assert racer.stdout.readline() == "ready\n"
    swapper = Swapper([store.root / "staging", store.root / "layers/sha256"], outside, tmp_path / "scratch", seed)
    swapper.start()
    said: list[str] = []
    try:
        for number in range(ROUNDS):
            for racer in racers:
                assert racer.stdin
                racer.stdin.write("go\n")
                racer.stdin.flush()
            for racer in racers:
                assert racer.stdout
                said.append(racer.stdout.readline().strip())
                assert said[-1], f"round {number}: a racer ended"
                assert not said[-1].startswith("uncaught"), f"round {number}: {said[-1]}"
            assert set(os.listdir(store.root / "layers/sha256")) <= {digest(LAYER)[7:]}
            assert state(outside) == before, f"round {number}"
            with contextlib.suppress(CowfsError, OSError):
                store.remove_image(text)
            with contextlib.suppress(CowfsError, OSError):
                store.collect()
            for name in os.listdir(store.root / "staging"):  # a link whose directory was removed meanwhile
                with contextlib.suppress(OSError):
                    os.unlink(store.root / "staging" / name)
    finally:
        swapper.stop()
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert state(outside) == before
    print(swapper.swaps, {words[:60]: said.count(words) for words in said})
    assert swapper.swaps > ROUNDS
    assert said.count("imported") > 0
