"""What layers come to: their tars read with tarfile, applied as the OCI image-spec tells. Shares no code with cowfs."""

import io
import random
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.images.tars import DIRECTORY, SYMLINK, entry, opaque, tar, whiteout

KINDS = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink"}


@dataclass
class Item:
    """What one layer has at one path."""

    layer: int
    kind: str
    data: bytes = b""


@dataclass
class Model:
    """``visible`` by path; ``carried`` is every file of every layer."""

    visible: dict[str, Item] = field(default_factory=dict)
    carried: list[tuple[str, Item]] = field(default_factory=list)
    entries: list[dict[str, str]] = field(default_factory=list)  # of each layer: name -> kind, whiteouts as they are

    def hide(self, path: str, *, itself: bool) -> None:
        """Take away what is below ``path``."""
        for name in [n for n in self.visible if n.startswith(path.rstrip("/") + "/") or (itself and n == path)]:
            del self.visible[name]

    def paths(self) -> list[str]:
        """Every path that a layer has, or takes away."""
        names = {name for entries in self.entries for name in entries if ".wh..wh." not in name}
        return sorted("/" + name.replace(".wh.", "") for name in names)

    def wasted(self) -> list[tuple[str, Item]]:
        """Files that no one can see."""
        return [(path, item) for path, item in self.carried if self.visible.get(path) is not item]


def model(layers: Sequence[bytes]) -> Model:
    """All layers, the bottom one first."""
    found = Model()
    for number, data in enumerate(layers, 1):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [(("/" + member.name).rstrip("/"), member) for member in archive.getmembers()]
            found.entries.append({path[1:]: KINDS[member.type] for path, member in members})
            for path, _ in members:
                above, _, name = path.rpartition("/")
                if name == ".wh..wh..opq":
                    found.hide(above, itself=False)
                elif name.startswith(".wh."):
                    found.hide(f"{above}/{name[4:]}", itself=True)
            for path, member in members:
                if not path.rpartition("/")[2].startswith(".wh."):
                    _add(found, path, Item(number, KINDS[member.type], _data(archive, member)))
    return found


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    source = archive.extractfile(member) if member.isreg() else None
    return source.read() if source else b""


def _add(found: Model, path: str, item: Item) -> None:
    if item.kind != "directory" or (path in found.visible and found.visible[path].kind != "directory"):
        found.hide(path, itself=True)
    found.visible[path] = item
    if item.kind == "file":
        found.carried.append((path, item))


def random_layers(seed: int, count: int = 5) -> list[bytes]:
    """Layers over few names, so that they get into each other's way."""
    chance = random.Random(seed)
    layers = []
    for _ in range(count):
        entries: list[bytes] = []
        _fill(chance, b"", 0, entries)
        layers.append(tar(*entries))
    return layers


def _fill(chance: random.Random, above: bytes, depth: int, entries: list[bytes]) -> None:
    if depth and chance.random() < 0.15:
        entries.append(opaque(above.rstrip(b"/")))
    for name in (b"a", b"b", b"c", b"d"):
        path, roll = above + name, chance.random()
        if roll < 0.25 and depth < 3:
            entries.append(entry(path, DIRECTORY))
            _fill(chance, path + b"/", depth + 1, entries)
        elif roll < 0.45:
            entries.append(entry(path, data=chance.choice([b"", b"x" * 7, b"y" * 7, b"z" * chance.randrange(500)])))
        elif roll < 0.5:
            entries.append(entry(path, SYMLINK, link=b"nowhere"))
        elif roll < 0.65:
            entries.append(whiteout(path))
