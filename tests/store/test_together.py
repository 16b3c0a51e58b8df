"""X06: imports, runs, removals, gc and checks at random by several processes: nothing in use goes, nothing breaks."""

import os
import random
import subprocess
import sys
from pathlib import Path

from cowfs.images.check import Report, check_image, check_layers
from cowfs.store import Store
from tests.images.layouts import Layout
from tests.images.tars import DIRECTORY, entry, tar, whiteout

PROCESSES = 4
ROUNDS = 50  # of each
LAYERS = [
    tar(entry(b"./", DIRECTORY), *(entry(b"d/%d" % number, data=b"%d" % number * 700) for number in range(20))),
    tar(entry(b"two", data=b"2" * 9000)),
    tar(entry(b"three", data=b"3" * 9000), whiteout(b"d/3")),
]

PROGRAM = """
import random, sys, time
from pathlib import Path
from cowfs.errors import CowfsError, NotFound, StoreError
from cowfs.images.check import check_layers
from cowfs.images.outgoing import plain
from cowfs.images.sources import resolve
from cowfs.store import Store
from cowfs.store.runs import Runs

root, seed, rounds, *texts = sys.argv[1:]
chance = random.Random(seed)
store = Store.open(Path(root))
used = 0

def use(text):
    # as cowrun does: import what is missing, lease, record the run, then look at every byte of every layer
    global used
    base = resolve(text, store)
    with store.lease(base):
        time.sleep(chance.random() / 20)
        run, lock = Runs(store.root).create(base, ["true"])
        time.sleep(chance.random() / 20)
        for layer in base.layers:
            assert sum(map(len, plain(store, layer.diff_id))) == layer.size
    lock.close()
    time.sleep(chance.random() / 20)
    for layer in base.layers:  # no lease any more, but the run is kept
        assert sum(map(len, plain(store, layer.diff_id))) == layer.size
    if chance.random() < 0.7:
        Runs(store.root).remove(run)
    used += 1

def check(text):
    reports = []
    check_layers(store, store.layers(), reports.append)
    bad = [report for report in reports if report.problems and report.problems != ("it is missing",)]
    assert not bad, bad

actions = {
    use: 5,
    store.remove_image: 2,
    lambda text: store.collect(downloads=True): 2,
    lambda text: store.collectable(): 1,
    check: 1,
}
for number in range(int(rounds)):
    (action,) = chance.choices(list(actions), list(actions.values()))
    try:
        action(chance.choice(texts))
    except (NotFound, StoreError) as error:
        gone = ("no image", "import the image again", "was removed from the store", "try again")
        assert any(words in str(error) for words in gone), f"seed {seed}, round {number}: {error!r}"
assert used > int(rounds) // 10, used
"""


def test_x06_200_rounds_of_imports_runs_removals_and_gc(store: Store, layout: Layout) -> None:
    one, two, three = LAYERS
    texts = [
        layout.image(one, two, name="a", how="gzip"),
        layout.image(one, three, name="b"),
        layout.image(one, name="c", how="zstd"),
        layout.image(two, three, name="d"),
    ]
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(store.root), f"{seed}.{number}", str(ROUNDS), *texts],
            stderr=subprocess.PIPE,
            text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        )
        for number in range(PROCESSES)
    ]
    try:
        for process in processes:
            _, complaint = process.communicate(timeout=200)
            assert process.returncode == 0, complaint
    finally:
        for process in processes:
            process.kill()
            process.wait()
    with Store.open(store.root) as again:
        assert os.listdir(store.root / "staging") == []
        reports: list[Report] = [check_image(again, image) for image in again.images()]
        check_layers(again, again.layers(), reports.append)
        assert not [report for report in reports if report.problems]
        for run in (Path(store.root) / "runs").iterdir():
            subprocess.run(["rm", "-r", run], check=True)
        for image in again.images():
            again.remove_image(image.reference)
        again.collect(downloads=True)
        assert again.layers() == []
        assert os.listdir(store.root / "blobs/sha256") == []
