"""Many pulls at once, pulls that are killed or interrupted, and what a person at a terminal sees of them."""

import os
import pty
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.images.layouts import Layout, config_of, digest
from tests.images.tars import entry, tar
from tests.registry.conftest import Commands
from tests.support.registry import Registry, command

LAYERS = [
    tar(*(entry(b"%d/%d" % (layer, number), data=b"%d" % number * 3000) for number in range(40))) for layer in range(3)
]


class Gate:
    """Blobs wait in the middle until it opens."""

    def __init__(self, registry: Registry) -> None:
        self.reached, self._open = threading.Event(), threading.Event()
        registry.piece, registry.pause = 20_000, self._pause

    def _pause(self) -> None:
        self.reached.set()
        self._open.wait(60)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(registry: Registry, layout: Layout) -> Gate:
    """A registry with an image of three layers, and a gate before the end of each."""
    layout.image(*LAYERS)
    registry.add(layout.path)
    return Gate(registry)


def wait_until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def assert_complete(cowfs: Commands) -> None:
    assert cowfs.names("layers/sha256") == sorted(digest(layer)[7:] for layer in LAYERS)
    assert len(cowfs.names("images")) == 1
    assert cowfs.names("staging") == []
    assert not [name for name in cowfs.names("blobs/sha256") if name.endswith(".part")]
    for layer, data in enumerate(LAYERS):
        for number in range(40):
            path = cowfs.layer(digest(data)) / str(layer) / str(number)
            assert path.read_bytes() == b"%d" % number * 3000


def test_x05_ten_pulls_of_one_image_and_one_of_them_killed(cowfs: Commands, registry: Registry, gate: Gate) -> None:
    """The one that is killed is the one that downloads; what it had is gone on with."""
    name = f"{registry.name}/image:image"
    first = cowfs.start("pull", "-q", name)
    assert gate.reached.wait(30)
    others = [cowfs.start("pull", "-q", name) for _ in range(9)]
    wait_until(lambda: len(registry.asked("GET", "/manifests/")) == 10)
    first.kill()
    first.communicate()
    gate.open()
    for process in others:
        out, complaint = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, f"{name}\n"), complaint
    cowfs("images")  # takes away what the dead one was unpacking
    assert_complete(cowfs)
    asked: dict[str, list[int]] = {}
    for found in registry.asked("GET", "/blobs/"):
        where = found.headers.get("Range", "bytes=0-")[len("bytes=") : -1]
        asked.setdefault(found.path.rpartition("/")[2], []).append(int(where))
    for layer in map(digest, LAYERS):
        starts = asked[layer]
        assert starts[0] == 0
        assert all(start > 0 for start in starts[1:])
        assert len(starts) <= 2


def test_x05_nine_of_ten_download_nothing(cowfs: Commands, registry: Registry, gate: Gate) -> None:
    name = f"{registry.name}/image:image"
    processes = [cowfs.start("pull", "-q", name) for _ in range(10)]
    assert gate.reached.wait(30)
    gate.open()
    for process in processes:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    assert_complete(cowfs)
    assert {layer: registry.blobs_asked()[layer] for layer in map(digest, LAYERS)} == dict.fromkeys(
        map(digest, LAYERS), 1
    )


def test_x05_images_that_share_a_layer_do_not_wait_in_a_circle(
    cowfs: Commands, registry: Registry, layout: Layout
) -> None:
    one, two, three = LAYERS
    for place, layers in enumerate(([one, two], [two, three], [three, one], [one, two, three])):
        layout.image(*layers, name=f"image{place}")
    registry.add(layout.path)
    processes = [cowfs.start("pull", "-q", f"{registry.name}/image:image{place % 4}") for place in range(8)]
    for process in processes:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint
    assert {layer: registry.blobs_asked()[layer] for layer in map(digest, LAYERS)} == dict.fromkeys(
        map(digest, LAYERS), 1
    )


def test_x05_one_blob_under_two_diff_ids_is_downloaded_by_one_at_a_time(
    cowfs: Commands, registry: Registry, layout: Layout
) -> None:
    """One of the two images lies. It is refused, the other one is not hurt."""
    layout.image(LAYERS[0], name="true")
    layout.image(LAYERS[0], name="lie", config=config_of([LAYERS[1]]))
    registry.add(layout.path)
    processes = {tag: cowfs.start("pull", "-q", f"{registry.name}/image:{tag}") for tag in ("lie", "true")}
    complaints = {tag: process.communicate(timeout=60)[1] for tag, process in processes.items()}
    assert processes["true"].returncode == 0, complaints
    assert processes["lie"].returncode == 125
    assert "its DiffID is" in complaints["lie"]
    assert cowfs.names("layers/sha256") == [digest(LAYERS[0])[7:]]


# --- killed and interrupted


def test_control_c_leaves_the_store_clean_and_the_download_to_be_gone_on_with(
    cowfs: Commands, registry: Registry, gate: Gate
) -> None:
    name = f"{registry.name}/image:image"
    process = cowfs.start("pull", "-q", name, start_new_session=True)
    assert gate.reached.wait(30)
    parts = cowfs.root / "blobs/sha256"
    wait_until(lambda: [path for path in parts.glob("*.part") if path.stat().st_size >= 20_000])
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    out, complaint = process.communicate(timeout=30)
    gate.open()
    assert (process.returncode, out, complaint) == (130, "", "")
    assert cowfs.names("staging") == cowfs.names("images") == cowfs.names("layers/sha256") == []
    assert all(name.endswith(".part") for name in cowfs.names("blobs/sha256"))
    registry.log.clear()
    cowfs.pull(name)
    assert_complete(cowfs)
    assert any(first > 0 for first in starts(registry))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_cowrun_is_interrupted_while_it_pulls(
    cowfs: Commands, registry: Registry, gate: Gate, number: signal.Signals
) -> None:
    process = cowfs.start("-q", f"{registry.name}/image:image", "sh", program="cowrun.main", start_new_session=True)
    assert gate.reached.wait(30)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.terminate()
    _, complaint = process.communicate(timeout=30)
    gate.open()
    assert (process.returncode, complaint) == (128 + number, "")
    assert cowfs.names("staging") == cowfs.names("images") == cowfs.names("layers/sha256") == cowfs.names("runs") == []


def starts(registry: Registry) -> list[int]:
    return [int(found.headers.get("Range", "bytes=0-")[6:-1]) for found in registry.asked("GET", "/blobs/")]


def test_a_worker_that_is_killed_ends_the_pull_and_the_next_one_succeeds(
    cowfs: Commands, registry: Registry, gate: Gate
) -> None:
    name = f"{registry.name}/image:image"
    process = cowfs.start("pull", "-q", name)
    assert gate.reached.wait(30)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_until(lambda: len(children.read_text().split()) == 3)
    os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
    _, complaint = process.communicate(timeout=30)
    assert process.returncode == 125
    assert "a process that unpacks was killed by SIGKILL" in complaint
    assert cowfs.names("staging") == []
    gate.open()
    cowfs.pull(name)
    assert_complete(cowfs)


# --- a terminal


def on_a_terminal(arguments: list[str], environ: dict[str, str]) -> tuple[int, str]:
    """The status of a command and all that it wrote to its terminal of 80 columns."""
    master, slave = pty.openpty()
    process = subprocess.Popen(arguments, env=environ, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    written = b""
    while process.poll() is None or select.select([master], [], [], 0)[0]:
        if select.select([master], [], [], 0.05)[0]:
            try:
                written += os.read(master, 1 << 16)
            except OSError:
                break
    process.wait()
    os.close(master)
    return process.returncode, written.decode()


def test_bars_on_a_terminal_that_are_gone_at_the_end(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(*LAYERS)
    registry.add(layout.path)
    registry.piece, registry.pause = 50_000, lambda: time.sleep(0.05)
    name = f"{registry.name}/image:image"
    status, written = on_a_terminal(
        command("cowfs.cli.main", "pull", name), {**cowfs.environ, "COLUMNS": "80", "LINES": "24"}
    )
    assert status == 0
    for layer in LAYERS:
        assert f"{digest(layer)[7:19]} [" in written
        assert f"of {len(layer) / 1024:.1f} KiB" in written
    assert ">" in written
    shown = written.split("\x1b[K\r\n")
    assert max(map(len, shown)) < 200
    assert written.endswith("linux/amd64\r\n")
    # each drawing goes up as many lines as it has; the last one only erases
    assert written.count("\x1b[3A") >= 2
    last = written[written.rindex("\x1b[3A", 0, written.rindex(name)) :]
    assert "[=" not in last


def test_no_more_bars_than_lines(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    many = [tar(entry(b"%d" % number, data=b"x")) for number in range(30)]
    layout.image(*many)
    registry.add(layout.path)
    environ = {**cowfs.environ, "COLUMNS": "40", "LINES": "10"}
    status, written = on_a_terminal(command("cowfs.cli.main", "pull", f"{registry.name}/image:image"), environ)
    assert status == 0
    ups = {int(part.partition("A")[0]) for part in written.split("\x1b[")[1:] if part.partition("A")[0].isdigit()}
    assert max(ups) == 8
    drawn = [line for line in written.split("\r\n") if " [" in line]
    assert all(len(line.replace("\x1b[K", "").rpartition("A")[2]) < 40 for line in drawn)
