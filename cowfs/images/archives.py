"""``oci:PATH``, ``oci-archive:FILE`` and ``docker-archive:FILE``: from a layout or an archive into the store.

Imported only when such a source was typed.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cowfs.errors import BrokenImage, NotFound, UsageError
from cowfs.images.compression import BadCompression
from cowfs.images.dockerarchive import plan_docker_archive
from cowfs.images.files import DirectoryFiles, Files, open_archive
from cowfs.images.importer import import_image
from cowfs.images.layout import plan_layout
from cowfs.images.plan import Plan
from cowfs.images.tarheader import BadTar
from cowfs.store import Store
from cowfs.store.records import StoredImage


def imported(scheme: str, rest: str, store: Store) -> StoredImage:
    """The image of a layout or an archive, stored under its full path: what is in the store already is not unpacked.

    Raises NotFound, UsageError, BrokenImage, StoreError, PrivilegeError.
    """
    path, name = _split(rest)
    reference = _reference(scheme, path, name)
    image = store.image(reference)
    if image is not None and not path.exists():  # the layout is gone, the layers are not
        return image
    with planned(scheme, path, name, store) as plan:
        if image is None or image.digest != plan.digest or not all(map(store.layer, image.diff_ids)):
            image = import_image(store, plan, reference)
    return image


@contextlib.contextmanager
def planned(scheme: str, path: Path, name: str, store: Store) -> Iterator[Plan]:
    """The plan of an image of a layout or an archive; its layers can be read as long as the context lasts."""
    if not path.exists():
        raise NotFound(f"no file or directory {path}")
    with contextlib.ExitStack() as cleanup:
        files = _files(scheme, path, store, cleanup)
        try:
            plan = plan_docker_archive(files, name) if scheme == "docker-archive" else plan_layout(files, name)
        except BrokenImage as error:
            raise BrokenImage(f"{path}: {error}") from error
        yield plan


def planned_again(reference: str, store: Store) -> contextlib.AbstractContextManager[Plan]:
    """The same for an image that the store holds as ``reference``, from where it came."""
    scheme, _, rest = reference.partition(":")
    return planned(scheme, *_split(rest), store)


def archive_reference(scheme: str, rest: str) -> str:
    """The name under which the store holds what ``SCHEME:REST`` names."""
    return _reference(scheme, *_split(rest))


def _reference(scheme: str, path: Path, name: str) -> str:
    return f"{scheme}:{path}" + (f":{name}" if name else "")


def _files(scheme: str, path: Path, store: Store, cleanup: contextlib.ExitStack) -> Files:
    if path.is_dir():
        if scheme != "oci":
            raise UsageError(f"{path} is a directory, not an archive{' (oci:?)' if scheme == 'oci-archive' else ''}")
        return DirectoryFiles(path)
    if scheme == "oci":
        raise UsageError(f"{path} is a file, not a directory (oci-archive: or docker-archive:?)")
    try:
        archive = open_archive(path, store.scratch_file)
    except (BadTar, BadCompression) as error:
        raise BrokenImage(f"{path} is not an archive of an image: {error}") from None
    cleanup.callback(archive.close)
    return archive


def _split(rest: str) -> tuple[Path, str]:
    """PATH[:NAME]. Both may hold colons: the longest beginning that exists is the path."""
    place = len(rest)
    while place > 0:
        if os.path.exists(rest[:place]):
            return Path(os.path.abspath(rest[:place])), rest[place + 1 :]
        place = rest.rfind(":", 0, place)
    path, _, name = rest.partition(":")
    return Path(os.path.abspath(path)), name
