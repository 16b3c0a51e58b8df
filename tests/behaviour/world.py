"""The same steps on several file systems side by side; the first one is what is right.

After each step the answers are compared, after every few the trees. Ours is also compared with itself remounted, and
its layers are shown to the kernel's overlayfs, which must see the same tree.
"""

import contextlib
import os
import stat
import time
from collections.abc import Sequence
from typing import NamedTuple

from cowfs.options import EngineOptions
from tests.behaviour import snapshot, steps, syscalls
from tests.behaviour.core import CowfsCore
from tests.behaviour.differences import LEVERS_OFF
from tests.behaviour.fs import Fs
from tests.behaviour.layers import Entry
from tests.behaviour.merged import (
    OVERLAY_DEFAULT,
    OVERLAY_FULL,
    CowfsMount,
    KernelOverlay,
    Merged,
    PlainDirectory,
    Scene,
    build_lowers,
)
from tests.behaviour.steps import Slots, Step

OURS = ("core", "cowfs", "helper", "apart")
AS_DEFAULT = ("overlayfs-default", "engine")  # without redirects, metacopies, index: engine is to be as the kernel is
MERGED = ("overlayfs", *OURS, *AS_DEFAULT)


class Mismatch(Exception):
    """``kind`` tells one sort of mistake from another; the message says the rest."""

    def __init__(self, who: str, kind: str, text: str) -> None:
        super().__init__(f"{who}: {kind}: {text}")
        self.signature = (who, kind)


class Player(NamedTuple):
    """One file system and the files that a program holds open on it."""

    name: str
    fs: Fs
    slots: Slots


class World:
    """The file systems ``names`` over the same layers, below ``base``: "plain" and those of MERGED.

    "helper" is ours as ``mount.fuse.cowfs`` mounts it: it copies up when a file is opened. "apart" is ours over layers
    each of which is on a file system of its own; "engine" is ours as ``cowfs-overlay`` mounts it, and as
    "overlayfs-default", not as "plain".
    """

    def __init__(self, base: bytes, stack: Sequence[Sequence[Entry]], names: Sequence[str]) -> None:
        self.started_ns = time.time_ns() - 10**9
        lowers = build_lowers(base, stack)
        self.players: list[Player] = []
        self._numbers_of: dict[str, dict[int, int]] = {name: {} for name in names}
        for name in names:
            self.players.append(Player(name, _start(name, base + b"/" + name.encode(), lowers, stack), {}))

    def close(self) -> None:
        """End all of them. Raises Mismatch where one does not end well."""
        for player in self.players:
            steps.close_all(player.slots)
        for player in self.players:
            self._guard(player, "close", player.fs.close)  # type: ignore[attr-defined]

    # --- steps --------------------------------------------------------------------------------------------

    def do(self, step: Step) -> None:
        """Do a step everywhere. Raises Mismatch."""
        special = getattr(self, "_" + step[0], None)
        if special is not None:
            special()
            return
        wanted = self._apply(self.players[0], step)
        for player in self.players[1:]:
            found = self._apply(player, step)
            if found != wanted and not _tolerated(player, step):
                name = " ".join(str(part[0]) for part in (step, step[-1]) if isinstance(part, tuple))
                text = f"{str(found)[:80]}, should be {str(wanted)[:80]}, for {step!r}"
                raise Mismatch(player.name, f"answer of {name}", text)

    def _apply(self, player: Player, step: Step) -> object:
        try:
            return steps.apply(player.fs, player.slots, step)
        except Exception as failure:
            raise Mismatch(player.name, f"crash {type(failure).__name__}", f"{failure} in {step!r}") from failure

    def _merged(self) -> list[tuple[Player, Merged]]:
        return [(player, player.fs) for player in self.players if player.name in MERGED]  # type: ignore[misc]

    def _remount(self) -> None:
        for player, fs in self._merged():
            ours = player.name in OURS
            before, numbers = self._take(player), self._listed_numbers(player) if ours else {}
            steps.close_all(player.slots)
            self._guard(player, "remount", fs.remount)
            self._same(player, "remount", before, self._take(player))
            if ours:
                self._same_numbers(player, numbers)
        steps.close_all(self.players[0].slots)

    def _kill(self) -> None:
        """The process of our mount is killed; what others do then is a remount."""
        for player in self.players:
            steps.close_all(player.slots)
        for player, fs in self._merged():
            before = self._take(player)
            kill = fs.kill if isinstance(fs, CowfsMount) else fs.remount
            self._guard(player, "kill", kill)
            self._same(player, "kill", before, self._take(player))

    def _drop_caches(self) -> None:
        for player, fs in self._merged():
            self._guard(player, "drop_caches", fs.drop_caches)

    def _rotate(self) -> None:
        """Make the upper a layer. Names that only an index connects cannot outlive it: they are removed before."""
        for player in self.players:
            steps.close_all(player.slots)
        scenes = [fs.scene for player, fs in self._merged() if player.name not in AS_DEFAULT]
        if any(os.listdir(scene.work + b"/index") for scene in scenes):
            linked = {name for scene in scenes for name in _linked_names(scene.lowers)}
            for path, status in list(snapshot.walk(self.players[0].fs)):
                if not stat.S_ISDIR(status.mode) and (status.nlink > 1 or path.rpartition(b"/")[2] in linked):
                    self.do(("unlink", path))
        for player, fs in self._merged():
            self._guard(player, "rotate", fs.rotate)
            self._numbers_of[player.name].clear()  # a file of the upper is another one as a file of a layer
        self.compare()

    def _visit(self) -> None:
        """The kernel's overlayfs mounts the layers that ours wrote, and must show the same tree."""
        for player in self.players:
            steps.close_all(player.slots)
        wanted = self._take(self.players[0])
        for player, fs in self._merged():
            if player.name in (*OURS, "engine"):
                fs.close()
                visitor = KernelOverlay(fs.scene, OVERLAY_DEFAULT if player.name == "engine" else OVERLAY_FULL)
                try:
                    found = self._guard(player, "visit", snapshot.take, visitor, self.started_ns)
                    self._same(player, "visit", wanted, found)  # type: ignore[arg-type]
                finally:
                    visitor.close()
                    self._guard(player, "after visit", fs._open if player.name == "core" else fs._mount)  # type: ignore[attr-defined]

    # --- comparing ----------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Compare the trees. Raises Mismatch."""
        wanted = self._take(self.players[0])
        for player in self.players[1:]:
            found = self._take(player)
            self._same(player, "", wanted, found)
            if player.name in OURS:
                self._same_files(player, wanted, found)

    def _same_files(self, player: Player, wanted: snapshot.Tree, found: snapshot.Tree) -> None:
        """A file has one number for life. Which file it is says the first of them: on tmpfs no number comes twice."""
        known = self._numbers_of[player.name]
        for path, record in found.items():
            number = known.setdefault(wanted[path].ino, record.ino)
            if number != record.ino:
                raise Mismatch(player.name, "number", f"{path!r} was {number:#x}, is {record.ino:#x}")

    def finish(self) -> None:
        """All that can be compared at the end."""
        self.compare()
        self._drop_caches()
        self.compare()
        self._remount()
        self._visit()
        self.compare()

    def _take(self, player: Player) -> snapshot.Tree:
        return self._guard(player, "tree", snapshot.take, player.fs, self.started_ns)  # type: ignore[return-value]

    def _listed_numbers(self, player: Player) -> dict[bytes, int]:
        return self._guard(player, "numbers", snapshot.numbers, player.fs)  # type: ignore[return-value]

    def _guard(self, player: Player, what: str, function: object, *arguments: object) -> object:
        assert callable(function)
        try:
            return function(*arguments)
        except Exception as failure:
            raise Mismatch(player.name, f"{what} fails: {type(failure).__name__}", str(failure)) from failure

    def _same(self, player: Player, what: str, wanted: snapshot.Tree, found: snapshot.Tree) -> None:
        ignored = {"mtime_ns"} if player.name == "overlayfs" else set()  # filling a metacopy sets the time
        if player.name == "engine" and LEVERS_OFF:
            ignored |= {"peer"}  # pyfuse3 alone cannot give several nodes one number
        different = snapshot.difference(wanted, found, ignored)
        if different is not None:
            raise Mismatch(player.name, f"{what} {different[0]}".strip(), different[1])

    def _same_numbers(self, player: Player, wanted: dict[bytes, int]) -> None:
        found = self._listed_numbers(player)
        for path, number in wanted.items():
            if found[path] != number:
                raise Mismatch(player.name, "remount number", f"{path!r} was {number:#x}, is {found[path]:#x}")


def _start(name: str, base: bytes, lowers: Sequence[bytes], stack: Sequence[Sequence[Entry]]) -> Fs:
    if name == "plain":
        return PlainDirectory(base, stack)
    if name == "apart":
        os.mkdir(base, 0o755)
        lowers = build_lowers(base, stack, apart=True)
    scene = Scene(base, lowers)
    if name == "overlayfs":
        return KernelOverlay(scene, OVERLAY_FULL)
    if name == "overlayfs-default":
        return KernelOverlay(scene, OVERLAY_DEFAULT)
    if name == "engine":
        return CowfsMount(scene, copy_up_on_open=True, engine=EngineOptions())
    if name == "core":
        return CowfsCore(scene)
    return CowfsMount(scene, copy_up_on_open=name == "helper")


def _tolerated(player: Player, step: Step) -> bool:
    """What overlayfs is known to do otherwise (``differences``): a reader from before the copy-up, an absent ACL."""
    inner = step[-1] if isinstance(step[-1], tuple) else step
    if player.name not in ("overlayfs", "engine"):  # who plays against overlayfs is to differ from it there
        return False
    if inner[0] == "removexattr":
        return bool(inner[2].startswith(b"system."))
    if inner[0] != "slot_read" or inner[1] not in player.slots:
        return False
    return player.slots[inner[1]][1] & os.O_ACCMODE == os.O_RDONLY


def _linked_names(lowers: Sequence[bytes]) -> set[bytes]:
    found = set()
    for lower in lowers:
        for _, _, files, fd in os.fwalk(lower):
            found |= {name for name in files if os.lstat(name, dir_fd=fd).st_nlink > 1}
    return found


def replay(
    base: bytes, stack: Sequence[Sequence[Entry]], todo: Sequence[Step], names: Sequence[str], every: int = 1
) -> None:
    """Do the steps over a file system of memory that is mounted on ``base`` meanwhile. Raises Mismatch."""
    syscalls.mount(b"scratch", base, b"tmpfs")
    try:
        world = World(base, stack, names)
        try:
            for number, step in enumerate(todo, 1):
                world.do(step)
                if number % every == 0:
                    world.compare()
            world.finish()
        except BaseException:
            with contextlib.suppress(Mismatch):
                world.close()
            raise
        world.close()
    finally:
        syscalls.unmount(base, lazy=True)
