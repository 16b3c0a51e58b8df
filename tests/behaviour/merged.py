"""The implementations that stand over layers: the kernel's overlayfs as the oracle, our mount, and a peer of it.

Mounts are made in the caller's mount namespace, which is a private one (``syscalls.private_mounts``), so that a kill
leaves none behind. The directories of one merge lie below a single directory, which the caller removes.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from cowfs import ondisk
from cowfs.fuse import serve
from cowfs.fuse.transport import AUTO
from cowfs.options import EngineOptions, MountOptions
from tests.behaviour import layers, syscalls
from tests.behaviour.fs import Fs, SyscallFs

OVERLAY_DEFAULT = b"redirect_dir=off,index=off,metacopy=off,xino=off"
OVERLAY_FULL = b"redirect_dir=on,index=on,metacopy=on,xino=on"


class Scene:
    """The directories of one merge: ``lowers`` (the top one first), ``upper``, ``work``, and ``merged`` to mount on."""

    def __init__(self, base: bytes, lowers: Sequence[bytes]) -> None:
        self.base = base
        self.lowers = list(lowers)
        self.upper, self.work, self.merged = base + b"/upper", base + b"/work", base + b"/merged"
        for path in (base, self.upper, self.work, self.merged):
            os.makedirs(path, 0o755, exist_ok=True)

    def rotate(self) -> None:
        """Make the upper the topmost lower, and begin a new upper. The marks of the old work directory go."""
        lower = self.base + b"/rotated%d" % len(self.lowers)
        os.rename(self.upper, lower)
        self.lowers.insert(0, lower)
        shutil.rmtree(self.work)
        os.mkdir(self.upper, 0o755)
        os.mkdir(self.work, 0o755)
        _copy_attributes(lower, self.upper)

    @property
    def options(self) -> MountOptions:
        """As cowfs wants it."""
        return MountOptions(
            lowers=tuple(Path(os.fsdecode(path)) for path in self.lowers),
            upper=Path(os.fsdecode(self.upper)),
            work=Path(os.fsdecode(self.work)),
            allow_suid=True,
            allow_dev=True,
        )


def _copy_attributes(source: bytes, target: bytes) -> None:
    """The root of the merge has the attributes of the topmost layer: a new one must take them over, marks apart."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        if not name.startswith("trusted.overlay.") or name.startswith("trusted.overlay.overlay."):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def build_lowers(base: bytes, stack: Sequence[layers.Layer], *, apart: bool = False) -> list[bytes]:
    """Make layer directories below ``base``. ``stack`` is bottom first, as a history is; the answer is top first.

    ``apart``: each is on a file system of its own, which goes with whatever is mounted on ``base``.
    """
    made: list[bytes] = []
    for number, layer in enumerate(stack, 1):
        path = base + b"/lower%d" % number
        os.makedirs(path, 0o755)
        if apart:
            syscalls.mount(b"layer", path, b"tmpfs", 0, b"mode=755")
        layers.build(path, layer)
        made.insert(0, path)
    return made


class Merged(Fs, Protocol):
    """An implementation over layers, which can be looked at from outside."""

    scene: Scene

    def remount(self) -> None: ...
    def rotate(self) -> None: ...
    def drop_caches(self) -> None: ...
    def close(self) -> None: ...


class PlainDirectory(SyscallFs):
    """A directory of the local file system: what programs expect."""

    def __init__(self, base: bytes, stack: Sequence[layers.Layer]) -> None:
        super().__init__(base + b"/plain")
        os.makedirs(self.root, 0o755)
        for layer in stack:
            layers.flatten(self.root, layer)

    def close(self) -> None:
        pass


class KernelOverlay(SyscallFs):
    """The kernel's overlayfs with the given options."""

    def __init__(self, scene: Scene, options: bytes) -> None:
        super().__init__(scene.merged)
        self.scene = scene
        self._options = options
        self._mount()

    def _mount(self) -> None:
        scene = self.scene
        places = b"lowerdir=%s,upperdir=%s,workdir=%s," % (b":".join(scene.lowers), scene.upper, scene.work)
        syscalls.mount(b"oracle", scene.merged, b"overlay", 0, places + self._options)

    def remount(self) -> None:
        self.close()
        self._mount()

    def rotate(self) -> None:
        self.close()
        self.scene.rotate()
        self._mount()

    def drop_caches(self) -> None:
        syscalls.shrink(self.root)

    def close(self) -> None:
        syscalls.unmount(self.root)


class FuseOverlay(SyscallFs):
    """fuse-overlayfs, as it mounts by default."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.merged)
        self.scene = scene
        self._mount()

    def _mount(self) -> None:
        scene = self.scene
        places = b"lowerdir=%s,upperdir=%s,workdir=%s" % (b":".join(scene.lowers), scene.upper, scene.work)
        before = os.stat(self.root).st_dev
        self._server = subprocess.Popen([b"fuse-overlayfs", b"-f", b"-o", places, self.root], stderr=subprocess.DEVNULL)
        while os.stat(self.root).st_dev == before:
            assert self._server.poll() is None, "fuse-overlayfs does not mount"
            time.sleep(0.005)

    def remount(self) -> None:
        self.close()
        self._mount()

    def drop_caches(self) -> None:
        syscalls.shrink(self.root)

    def close(self) -> None:
        syscalls.unmount(self.root)
        self._server.wait()


class CowfsMount(SyscallFs):
    """Our mount, served by a process of its own."""

    def __init__(self, scene: Scene, *, copy_up_on_open: bool = False, engine: EngineOptions | None = None) -> None:
        super().__init__(scene.merged)
        self.scene = scene
        self._as = {"copy_up_on_open": copy_up_on_open, "engine": engine}
        self._mount()

    def _mount(self) -> None:
        self._log = Path(os.fsdecode(self.scene.base)) / "log"
        mountpoint = Path(os.fsdecode(self.root))
        transport = os.environ.get(ondisk.TRANSPORT_ENV, AUTO)
        options = self.scene.options._replace(transport=transport, **self._as)  # type: ignore[arg-type]
        self.server = serve.start(options, mountpoint, detach=False, log=self._log)

    def remount(self) -> None:
        self.close()
        self._mount()

    def kill(self) -> None:
        """End the process in the middle of everything, and mount again."""
        os.kill(self.server, signal.SIGKILL)
        os.waitpid(self.server, 0)
        syscalls.unmount(self.root, lazy=True)
        self._mount()

    def rotate(self) -> None:
        self.close()
        self.scene.rotate()
        self._mount()

    def drop_caches(self) -> None:
        syscalls.shrink(self.root)

    def close(self) -> None:
        """Unmount. What the server logged was a mistake, but for the last files that were closed as the mount went."""
        try:
            syscalls.unmount(self.root)
        except OSError:
            os.kill(self.server, signal.SIGKILL)
            syscalls.unmount(self.root, lazy=True)
            raise
        finally:
            os.waitpid(self.server, 0)
        said = [line for line in self._log.read_text().splitlines() if "fuse_reply_* failed" not in line]
        assert not said, "\n".join(said)
