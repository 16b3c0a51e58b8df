"""A pull of an image from a registry on loopback, by cowfs and by podman in turn: time, and memory at its most.

Each pull has a new ext4 in a file: where much was removed a moment ago, new files take several times as long.
podman is installed if it is missing; where it cannot be, its column stays empty.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from benchmark.inputs import Inputs
from benchmark.registry import TAG
from benchmark.results import Results

NAME: Final = "pull"
OURS: Final = "cowfs"
PODMAN: Final = "podman"
FORMS: Final = {"gzip": ("gzip", "-6nc"), "zstd": ("zstd", "-10qc")}
_SIZE: Final = 4 << 30  # bytes of a store's file system
_SAMPLE: Final = 0.02  # seconds
_PATIENCE: Final = 600.0
_TYPE: Final = "application/vnd.oci.image."


def measure(inputs: Inputs, commands: Path, rounds: int, results: Results) -> None:
    """All rounds; ``commands``: the directory with the command ``cowfs``."""
    results.words["pull"] = f"{_size(inputs.layout) >> 20} MiB"
    systems = _systems(commands, results)
    with _registry(inputs.layout) as port:
        for number in range(rounds):
            order = list(systems)[number % len(systems) :] + list(systems)[: number % len(systems)]
            for form in FORMS:
                for system in order:
                    seconds, memory = _pull(systems[system], inputs.directory.parent / "run", port, form, number == 0)
                    results.figures[f"pull-{form}"][system][number] = seconds
                    if number == 0:
                        results.figures[f"pull-{form}-memory"][system][number] = memory
                    print(f"pull {number + 1} {form} {system:8s} {seconds:.3g}", file=sys.stderr, flush=True)


def write_layout(path: Path, tars: list[Path]) -> None:
    """An OCI layout with the archives as layers, once in each form."""
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def store(data: Path | bytes) -> dict[str, object]:
        if isinstance(data, bytes):
            name = hashlib.sha256(data).hexdigest()
            (blobs / name).write_bytes(data)
        else:
            name = _hex(data)
            data.rename(blobs / name)
        return {"digest": f"sha256:{name}", "size": (blobs / name).stat().st_size}

    config = {
        "os": "linux",
        "architecture": subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True).stdout.strip(),
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_hex(tar)}" for tar in tars]},
    }
    entries = []
    for form, command in FORMS.items():
        layers = []
        for tar in tars:
            packed = path / "packed"
            with tar.open("rb") as source, packed.open("wb") as target:
                subprocess.run(command, stdin=source, stdout=target, check=True)
            layers.append({"mediaType": f"{_TYPE}layer.v1.tar+{form}", **store(packed)})
        descriptor = {"mediaType": f"{_TYPE}config.v1+json", **store(json.dumps(config).encode())}
        kind = f"{_TYPE}manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": descriptor, "layers": layers}
        entries.append({"mediaType": kind, **store(json.dumps(manifest).encode()), "annotations": {TAG: form}})
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": entries}))


Command = Callable[[Path, str], list[str]]


def _systems(commands: Path, results: Results) -> dict[str, Command]:
    def ours(root: Path, reference: str) -> list[str]:
        return [str(commands / "cowfs"), "--root", str(root / "store"), "pull", "--quiet", reference]

    def podman(root: Path, reference: str) -> list[str]:
        places = [
            f"--{name}={root / place}" for name, place in (("root", "store"), ("runroot", "run"), ("tmpdir", "tmp"))
        ]
        return ["podman", *places, "--storage-driver", "overlay", "pull", "--quiet", "--tls-verify=false", reference]

    if not shutil.which("podman"):
        print("bench: installing podman", file=sys.stderr)
        command = ["apt-get", "-qq", "install", "--no-install-recommends", "-y", "podman"]
        subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True)
    if shutil.which("podman"):
        return {OURS: ours, PODMAN: podman}
    results.fail(NAME, PODMAN, "it cannot be installed")
    return {OURS: ours}


def _pull(command: Command, directory: Path, port: int, form: str, watched: bool) -> tuple[float, float]:
    """Seconds, and MiB at the most where it was ``watched``."""
    with _file_system(directory) as root:
        os.sync()
        begin = time.perf_counter()
        process = subprocess.Popen(command(root, f"127.0.0.1:{port}/image:{form}"), stdout=subprocess.DEVNULL)
        most = 0.0
        while watched and process.poll() is None:
            most = max(most, _memory(process.pid))
            time.sleep(_SAMPLE)
        if process.wait(timeout=_PATIENCE):
            raise SystemExit(f"bench: the pull failed with status {process.returncode}")
        return time.perf_counter() - begin, most


@contextlib.contextmanager
def _file_system(directory: Path) -> Iterator[Path]:
    """A new ext4 in a file."""
    shutil.rmtree(directory, ignore_errors=True)
    mountpoint, image = directory / "mounted", directory / "ext4"
    mountpoint.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(_SIZE)
    subprocess.run(["mkfs.ext4", "-q", "-E", "lazy_itable_init=0,nodiscard", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(mountpoint)], check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run(["umount", "--lazy", str(mountpoint / "store/overlay")], capture_output=True)  # podman's
        subprocess.run(["umount", str(mountpoint)], check=True)
        shutil.rmtree(directory)


@contextlib.contextmanager
def _registry(layout: Path) -> Iterator[int]:
    command = [sys.executable, "-m", "benchmark.registry", str(layout)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def _memory(pid: int) -> float:
    """MiB of a process and all below it, what they share counted once."""
    total = 0
    waiting = [pid]
    while waiting:
        found = Path(f"/proc/{waiting.pop()}")
        with contextlib.suppress(OSError):
            lines = (found / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
            for task in (found / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return total / 1024


def _size(layout: Path) -> int:
    return sum(path.stat().st_size for path in (layout / "blobs/sha256").iterdir()) // len(FORMS)


def _hex(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
