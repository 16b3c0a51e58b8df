"""A small Debian that tests build images on, and packages that are not installed in it: made once for a checkout.

``scripts/setup --test`` makes it, ``python -m tests.support.debian``; tests of container engines use it. It needs
Debian's archive, mmdebstrap and apt. What is made by one process is complete or is not there.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.images.layouts import Layout

TOP = Path(__file__).parents[2]
HERE = TOP / "build" / "test-debian"
TAG = "base"
INCLUDED = ("git",)
PACKAGES = ("less", "make", "rsync")  # for a build to install
_EXCLUDED = ("/usr/share/locale/*", "/usr/share/man/*", "/usr/share/doc/*/*.gz", "/usr/share/zoneinfo/*")


def image(top: Path = TOP) -> str:
    """The image, as podman names it; ``top``: where the checkout is seen."""
    return f"oci:{top / _made().relative_to(TOP) / 'layout'}:{TAG}"


def tar() -> Path:
    """Its only layer."""
    return _made() / "root.tar"


def packages() -> Path:
    """The directory with the packages and all that they need."""
    return _made() / "debs"


def _made() -> Path:
    if HERE.exists():
        return HERE
    HERE.parent.mkdir(exist_ok=True)
    with _locked(HERE.with_suffix(".lock")):
        if not HERE.exists():
            print("setup: making a small Debian for the tests", file=sys.stderr)
            new = Path(tempfile.mkdtemp(dir=HERE.parent, prefix="unfinished-"))
            try:
                _make(new)
                new.chmod(0o755)
                new.rename(HERE)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    return HERE


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(new: Path) -> None:
    lines = (line for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    codename = dict(line.split("=", 1) for line in lines)["VERSION_CODENAME"]
    excluded = [f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED]
    status = new / "status"
    copy = f'--customize-hook=cp "$1/var/lib/dpkg/status" "{status}"'
    include = f"--include={','.join(INCLUDED)}"
    _run("mmdebstrap", "--quiet", "--variant=minbase", include, *excluded, copy, codename, str(new / "root.tar"))
    Layout(new / "layout").image((new / "root.tar").read_bytes(), name=TAG)
    archives = new / "debs"
    (archives / "partial").mkdir(parents=True)
    words = [f"-oDir::State::status={status}", f"-oDir::Cache::archives={archives}", "-oDebug::NoLocking=1"]
    _run("apt-get", *words, "--download-only", "--no-install-recommends", "-qqy", "install", *PACKAGES)
    shutil.rmtree(archives / "partial")


def _run(*command: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout.decode(errors='replace')[-2000:]}"


if __name__ == "__main__":
    _made()
