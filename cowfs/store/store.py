"""The store under one directory: what the command lines, the importer and the launcher talk to.

Locks, in the order in which they are taken: ``locks/<hex>`` of each layer to import, sorted; ``locks/store``; the layer
directories themselves (:mod:`cowfs.store.leases`). Not for use by several threads at once.
"""

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cowfs import ondisk, userns
from cowfs.errors import NotFound, StoreError
from cowfs.model import Base
from cowfs.store import leases, staging
from cowfs.store.descriptors import is_named, make_directory, read_file, wait_for_lock, write_file
from cowfs.store.layers import LayerBuild, Layers
from cowfs.store.leases import Lease
from cowfs.store.parts import Part, open_part, remove_part
from cowfs.store.records import (
    LIMIT,
    Damaged,
    StoredImage,
    StoredLayer,
    decode_image,
    digest_hex,
    encode,
    image_file_name,
)
from cowfs.store.removal import Removed, collect

_PARTS = (ondisk.IMAGES, ondisk.BLOBS, ondisk.LAYERS, ondisk.RUNS, ondisk.STAGING, ondisk.LOCKS)
_USERS_MARKS = "userxattr"  # says that layers and uppers have user.overlay.* marks
_FOREIGN = {"lost+found", _USERS_MARKS}  # may lie in the root of a file system that was made for a store
_IMPORT_PATIENCE = 3600.0  # seconds to wait for another import of the same layer
_STORE_PATIENCE = 60.0
_DOCUMENT = 4 << 20  # bytes of a manifest or config
_DAMAGED = ".damaged"  # the end of the name of a record that was set aside
_SAY_AFTER = 1.0  # seconds of waiting before a word is said


class Store:
    """An open store. ``say`` gets a line for a person where something unusual happens (waiting, damage)."""

    def __init__(self, root: Path, root_fd: int, say: Callable[[str], None]) -> None:
        self.root = root
        self._say = say
        self._root_fd = root_fd
        self._fds = {part: _make_path(root_fd, part) for part in _PARTS}
        self._layers = Layers(self._fds[ondisk.LAYERS], self._fds[ondisk.STAGING])

    @classmethod
    def open(cls, root: Path | None = None, say: Callable[[str], None] = lambda line: None) -> "Store":
        """Open the store at ``root``, made 0700 where there is none, and finish what a killed command left.

        Raises StoreError: not ours, not private, not a store, not writable.
        """
        path = Path(ondisk.STORE_DEFAULT) if root is None else root
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = path.resolve(strict=True)
            root_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"the store {path} cannot be used: {error.strerror}") from error
        try:
            _check_root(path, root_fd)
            store = cls(path, root_fd, say)
            store._finish_others_work()
        except OSError as error:
            os.close(root_fd)
            raise StoreError(f"the store {path} cannot be written: {error.strerror}") from error
        except BaseException:
            os.close(root_fd)
            raise
        return store

    def close(self) -> None:
        """Close the descriptors; leases live on."""
        for fd in (self._root_fd, *self._fds.values()):
            os.close(fd)
        self._fds.clear()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    @property
    def runs_directory(self) -> Path:
        """Where the runs lie (cowfs.store.runs)."""
        return self.root / ondisk.RUNS

    # --- images

    def images(self) -> list[StoredImage]:
        """Every image, by reference. A damaged record is set aside, and said."""
        found = []
        for name in os.listdir(self._fds[ondisk.IMAGES]):
            if not name.endswith(_DAMAGED) and (image := self._read_image(name)):
                found.append(image)
        return sorted(found, key=lambda image: image.reference)

    def image(self, reference: str) -> StoredImage | None:
        """The image stored as exactly ``reference``."""
        return self._read_image(image_file_name(reference))

    def publish_image(self, image: StoredImage, blobs: Iterable[bytes]) -> None:
        """List ``image``; ``blobs`` are its manifest and its config. The caller holds a lease on the layers."""
        with self._lock(shared=True), contextlib.closing(staging.create(self._fds[ondisk.STAGING])) as entry:
            for blob in blobs:
                self._put_blob(entry, blob)
            write_file(entry.fd, "record", encode(image))
            images_fd = self._fds[ondisk.IMAGES]
            os.rename("record", image.file_name, src_dir_fd=entry.fd, dst_dir_fd=images_fd)
            os.fsync(images_fd)

    def tag(self, image: StoredImage, reference: str) -> None:
        """List ``image`` as ``reference`` too. Raises NotFound if it was removed meanwhile."""
        with self.lease_layers(list(image.diff_ids)):
            documents = [self.blob(digest, _DOCUMENT) for digest in dict.fromkeys((image.digest, image.config))]
            self.publish_image(image._replace(reference=reference, stored=time.time()), documents)

    def blob(self, digest: str, limit: int) -> bytes:
        """A manifest or config. Raises StoreError if it is missing or not what its digest says."""
        try:
            data = read_file(self._fds[ondisk.BLOBS], digest_hex(digest), limit)
        except FileNotFoundError:  # somebody may have removed the image since its record was read
            raise StoreError(f"{digest} is not in the store: import the image again") from None
        except OSError as error:
            raise StoreError(f"{digest} cannot be read from the store: {error.strerror}") from error
        if _digest(data) != digest:
            raise StoreError(f"{digest} is damaged in the store: import the image again")
        return data

    def remove_image(self, reference: str) -> Removed:
        """Remove an image and what nothing else uses. Raises NotFound."""
        with self._lock(shared=False):
            if self.image(reference) is None:
                raise NotFound(f"no image {reference!r} in the store (cowfs images lists them)")
            self._mark_removal()
            os.unlink(image_file_name(reference), dir_fd=self._fds[ondisk.IMAGES])
            return self._collect()

    def collect(self, *, downloads: bool = False) -> Removed:
        """Remove the layers that no image, run or lease uses; with ``downloads`` also half blobs."""
        with self._lock(shared=False):
            self._mark_removal()
            return self._collect(downloads=downloads)

    def collectable(self) -> Removed:
        """What ``collect`` would remove, downloads included."""
        with self._lock(shared=False):
            return collect(*self._collected(), dry_run=True, downloads=True)

    # --- layers

    def layer(self, diff_id: str) -> StoredLayer | None:
        """The layer if it is here, complete. Raises StoreError if it is damaged and in use."""
        return self._layers.find(diff_id)

    def layers(self) -> list[str]:
        """The diffIDs of all layers."""
        return [f"sha256:{name}" for name in sorted(self._layers.names())]

    def layer_directory(self, diff_id: str) -> Path:
        """The tree of a layer."""
        return self.root / ondisk.LAYERS / digest_hex(diff_id) / ondisk.LAYER_ROOT

    def open_layer(self, diff_id: str) -> contextlib.AbstractContextManager[tuple[int, BinaryIO]]:
        """A descriptor of a layer's tree, and the skeleton of its tar. Raises OSError."""
        return self._layers.opened(diff_id)

    def stage_layer(self) -> LayerBuild:
        """A new, empty layer in staging."""
        return self._layers.stage()

    def commit_layers(self, builds: list[LayerBuild], *, replace: bool = False) -> None:
        """Publish complete layers durably. ``replace``: in the place of those that are there.

        Raises OSError, and StoreError if one to be replaced is in use.
        """
        self._layers.commit(builds, replace=replace)

    def lease(self, base: Base) -> Lease:
        """Keep the layers of ``base`` from removal until the lease is closed. Raises NotFound if one is gone.

        That is, those that are ours: other programs know nothing of leases.
        """
        return self.lease_layers([layer.diff_id for layer in base.layers if layer.diff_id and not layer.foreign])

    def lease_layers(self, diff_ids: list[str]) -> Lease:
        """The same for layers by diffID."""
        return leases.take(self._fds[ondisk.LAYERS], list(dict.fromkeys(diff_ids)))

    @contextlib.contextmanager
    def importing(self, diff_ids: Iterable[str]) -> Iterator[set[str]]:
        """Be the only one to import some of these layers: all that nobody else imports now, or after a wait the first.

        Who has some does not wait for others, so nobody waits in a circle. Look again afterwards what is missing.
        """
        names = {digest_hex(diff_id): diff_id for diff_id in sorted(diff_ids)}
        with contextlib.ExitStack() as held:
            mine = set()
            for name, diff_id in names.items():
                with contextlib.suppress(_Taken):
                    held.enter_context(self._lock_file(name, shared=False, seconds=0, what=""))
                    mine.add(diff_id)
            if not mine and names:
                name, diff_id = next(iter(names.items()))
                held.enter_context(
                    self._lock_file(name, shared=False, seconds=_IMPORT_PATIENCE, what=f"imports layer {name[:12]}")
                )
                mine.add(diff_id)
            yield mine

    def part(self, digest: str) -> Part:
        """What there is of a blob that is being downloaded. Raises StoreError if another command does not let it go."""
        try:
            return open_part(self._fds[ondisk.BLOBS], digest, _IMPORT_PATIENCE)
        except OSError as error:
            raise StoreError(f"{digest} cannot be downloaded into the store: {error.strerror or error}") from error

    def remove_part(self, digest: str) -> None:
        """Forget what was downloaded of a blob."""
        remove_part(self._fds[ondisk.BLOBS], digest)

    def scratch_file(self) -> int:
        """A descriptor of a new file without a name, for what does not fit in memory."""
        return os.open(".", os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self._fds[ondisk.STAGING])

    # --- inside

    def _read_image(self, name: str) -> StoredImage | None:
        images_fd = self._fds[ondisk.IMAGES]
        try:
            image = decode_image(read_file(images_fd, name, LIMIT))
            if image.file_name != name:
                raise Damaged("it lies under another name")
        except FileNotFoundError:
            return None
        except (OSError, Damaged) as error:
            self._say(f"the record of an image is damaged ({error}) and set aside: import the image again")
            os.rename(name, name + _DAMAGED, src_dir_fd=images_fd, dst_dir_fd=images_fd)
            return None
        return image

    def _put_blob(self, entry: staging.Entry, data: bytes) -> None:
        name = digest_hex(_digest(data))
        write_file(entry.fd, name, data)
        os.rename(name, name, src_dir_fd=entry.fd, dst_dir_fd=self._fds[ondisk.BLOBS])
        os.fsync(self._fds[ondisk.BLOBS])

    def _collected(self) -> tuple[Layers, int, int, Callable[[], list[StoredImage]]]:
        return self._layers, self._fds[ondisk.BLOBS], self._fds[ondisk.RUNS], self.images

    def _collect(self, *, downloads: bool = False) -> Removed:
        """Under the exclusive store lock."""
        images_fd = self._fds[ondisk.IMAGES]
        for name in os.listdir(images_fd):
            if name.endswith(_DAMAGED):
                os.unlink(name, dir_fd=images_fd)
        removed = collect(*self._collected(), downloads=downloads)
        os.unlink(ondisk.REMOVAL, dir_fd=self._fds[ondisk.LOCKS])
        return removed

    def _mark_removal(self) -> None:
        """Until this is taken back, whoever opens the store goes on with the removal."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        os.close(os.open(ondisk.REMOVAL, flags, 0o600, dir_fd=self._fds[ondisk.LOCKS]))

    def _finish_others_work(self) -> None:
        staging.sweep(self._fds[ondisk.STAGING])
        locks_fd = self._fds[ondisk.LOCKS]
        if not os.access(ondisk.REMOVAL, os.F_OK, dir_fd=locks_fd):
            return
        try:
            with self._lock_file(ondisk.STORE_LOCK, shared=False, seconds=0, what=""):
                if os.access(ondisk.REMOVAL, os.F_OK, dir_fd=locks_fd):
                    self._collect()
        except _Taken:
            pass
        except StoreError as error:  # this command may have nothing to do with it
            self._say(f"a removal cannot be finished: {error}")

    def _lock(self, *, shared: bool) -> contextlib.AbstractContextManager[None]:
        return self._lock_file(ondisk.STORE_LOCK, shared=shared, seconds=_STORE_PATIENCE, what="changes the store")

    @contextlib.contextmanager
    def _lock_file(self, name: str, *, shared: bool, seconds: float, what: str) -> Iterator[None]:
        """Hold the flock of a file in ``locks``. Raises _Taken after ``seconds``."""
        locks_fd = self._fds[ondisk.LOCKS]
        deadline = time.monotonic() + seconds
        while True:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=locks_fd)
            try:
                self._wait(fd, name, shared, deadline, what)
                if not is_named(fd, locks_fd, name):  # whoever held it removed it: a new one counts
                    continue
                try:
                    yield
                finally:
                    if name != ondisk.STORE_LOCK:
                        os.unlink(name, dir_fd=locks_fd)
                return
            finally:
                os.close(fd)

    def _wait(self, fd: int, name: str, shared: bool, deadline: float, what: str) -> None:
        left = deadline - time.monotonic()
        if wait_for_lock(fd, shared=shared, seconds=min(left, _SAY_AFTER)):
            return
        if left > _SAY_AFTER:
            self._say(f"waiting for another command that {what}")
        if not wait_for_lock(fd, shared=shared, seconds=deadline - time.monotonic()):
            raise _Taken(f"another command that {what} does not end (fuser -v {self.root / ondisk.LOCKS / name})")


class _Taken(StoreError):
    """A lock that somebody else did not give up in time."""


def _digest(data: bytes) -> str:
    import hashlib  # brings OpenSSL, which a run in a directory has no use for

    return "sha256:" + hashlib.sha256(data).hexdigest()


def _make_path(root_fd: int, path: str) -> int:
    """Open ``path`` below ``root_fd``, made where it is missing."""
    first, _, rest = path.partition("/")
    fd = make_directory(root_fd, first)
    if not rest:
        return fd
    try:
        return _make_path(fd, rest)
    finally:
        os.close(fd)


def _check_root(path: Path, root_fd: int) -> None:
    """Raises StoreError unless this is a store, or may become one: a directory full of other things never does."""
    found = os.fstat(root_fd)
    if found.st_uid != os.geteuid():
        raise StoreError(f"the store {path} belongs to uid {found.st_uid}, not to uid {os.geteuid()}")
    names = set(os.listdir(root_fd)) - _FOREIGN
    # Whoever was stopped while making the store left some of its parts: names of a store alone are one.
    if names - {part.split("/")[0] for part in _PARTS} and ondisk.LAYERS.split("/")[0] not in names:
        raise StoreError(f"{path} is not a store and not empty: name another directory with --root")
    if not names:
        os.fchmod(root_fd, 0o700)
    elif stat.S_IMODE(found.st_mode) & 0o077:
        raise StoreError(f"the store {path} is open to others: chmod 700 {path}")
    _check_marks(path, root_fd, new=not names)


def _check_marks(path: Path, root_fd: int, *, new: bool) -> None:
    """Raises StoreError where layers have marks that we cannot see, or would not look for."""
    trusted = userns.is_root_of_machine()
    if new and not trusted:
        os.close(os.open(_USERS_MARKS, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=root_fd))
    if os.access(_USERS_MARKS, os.F_OK, dir_fd=root_fd) == trusted:
        whose = "an ordinary user" if trusted else "root of the machine"
        raise StoreError(f"the store {path} was made by {whose}, whose layers have other marks: name another by --root")
