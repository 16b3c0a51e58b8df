"""Registries of the tests' own on 127.0.0.1, a client in this process, and commands as a person types them."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cowfs.images.manifest import Descriptor
from cowfs.images.registry.download import Download
from cowfs.images.registry.patience import Patience
from cowfs.images.registry.pull import Registries
from cowfs.images.registry.repository import Repository
from cowfs.images.registry.settings import Settings, load
from cowfs.images.registry.wire import Limits
from cowfs.store import Store
from tests.images.layouts import Layout
from tests.support.registry import Registry, command, environment, login_file, serving


@dataclass
class Client:
    """The client in this process; ``sleeps`` has the pauses that it would have made."""

    home: Path
    store: Store
    settings: Settings = field(default_factory=Settings)
    sleeps: list[float] = field(default_factory=list)
    limits: Limits = field(default_factory=Limits)
    environ: dict[str, str] = field(default_factory=dict)
    registries: Registries = field(init=False)

    def __post_init__(self) -> None:
        self.environ = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home)}
        self.renew()

    def renew(self) -> None:
        """As a new command: nothing is known of anybody."""
        patience: Callable[[], Patience] = lambda: Patience(self.sleeps.append)  # noqa: E731
        self.registries = Registries(self.settings, self.environ, self.limits, patience)

    def configure(self, text: str) -> None:
        """A new command with this registries.toml."""
        file = self.home / "registries.toml"
        file.write_text(text)
        self.settings = load({"COWFS_REGISTRIES": str(file)})
        self.renew()

    def login(self, *names: str) -> None:
        """Credentials that docker left behind."""
        login_file(self.home / ".docker/config.json", *names)

    def repository(self, name: str, path: str = "image") -> Repository:
        return self.registries.repository(self.settings.endpoint(name, path))

    def download(self, name: str, digest: str, size: int) -> bytes:
        """A whole blob, kept in the store as the import does."""
        descriptor = Descriptor("", digest, size)
        with Download(self.repository(name), descriptor, self.store.part(digest)) as stream:
            return b"".join(iter(lambda: stream.read(256 << 10), b""))

    def kept(self, digest: str) -> int:
        """How much of a blob the store has."""
        path = self.store.root / "blobs/sha256" / (digest[7:] + ".part")
        return path.stat().st_size if path.exists() else 0


@dataclass
class Commands:
    """cowfs and cowrun with a home and a store of their own."""

    home: Path
    environ: dict[str, str]

    def __call__(
        self, *arguments: str, program: str = "cowfs.cli.main", **more: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(program, *arguments), env=self.environ, capture_output=True, text=True, timeout=120, **more
        )

    def start(self, *arguments: str, program: str = "cowfs.cli.main", **more: Any) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command(program, *arguments),
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def pull(self, reference: str, *options: str) -> dict[str, Any]:
        """The object of a pull that must succeed."""
        done = self("pull", "--json", *options, reference)
        assert (done.returncode, done.stderr) == (0, "")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def refused(self, reference: str, *options: str) -> str:
        """What a pull that must fail says. Nothing of it is in the store."""
        done = self("pull", "-q", *options, reference)
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr.startswith("cowfs: ")
        assert done.stderr.count("\n") == 1, done.stderr
        self.assert_nothing_is_there()
        return done.stderr.removeprefix("cowfs: ").rstrip("\n")

    @property
    def root(self) -> Path:
        return self.home / "store"

    def names(self, part: str) -> list[str]:
        directory = self.root / part
        return sorted(path.name for path in directory.iterdir()) if directory.exists() else []

    def assert_nothing_is_there(self) -> None:
        assert {part: self.names(part) for part in ("images", "layers/sha256", "staging", "locks")} == {
            "images": [],
            "layers/sha256": [],
            "staging": [],
            "locks": [],
        }

    def layer(self, diff_id: str) -> Path:
        return self.root / "layers/sha256" / diff_id[7:] / "root"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serving() as found:
        yield found


@pytest.fixture
def other() -> Iterator[Registry]:
    """Another server, for where somebody might be sent."""
    with serving() as found:
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def cowfs(home: Path) -> Commands:
    return Commands(home, environment(home))


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with Store.open(home / "store") as store:
        yield Client(home, store)
