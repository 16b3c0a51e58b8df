"""Whether an image is pulled, and the way to it, for who names one: ``--pull missing|always|never``.

Imports nothing of the network until an image is pulled.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from cowfs.errors import NotFound
from cowfs.images.reference import Reference
from cowfs.images.sources import Bring
from cowfs.store import Store
from cowfs.store.records import StoredImage

if TYPE_CHECKING:
    from cowfs.images.platforms import Platform
    from cowfs.images.progress import Progress

POLICIES: Final = ("missing", "always", "never")


def bring(
    store: Store,
    environ: Mapping[str, str],
    *,
    policy: str,
    platform: str = "",
    progress: "Callable[[], Progress] | None" = None,
    say: Callable[[str], None] = lambda line: None,
) -> Bring:
    """What ``resolve`` wants. ``platform``: the one that was typed, if any. ``progress`` is called for a pull.

    Raises UsageError.
    """
    wanted = _parsed(platform) if platform else None

    def get(reference: Reference, image: StoredImage | None) -> StoredImage | None:
        usable = image is not None and _fits(image, wanted) and all(map(store.layer, image.diff_ids))
        if policy == "never" or (policy == "missing" and usable):
            if image is not None and not _fits(image, wanted):
                raise NotFound(f"the image {reference.familiar!r} of the store is for {image.platform}, not {wanted}")
            return image
        from cowfs.images.registry.pull import Registries, pull

        registries = Registries.configured(environ)
        return pull(registries, store, reference, platform=wanted, progress=progress and progress(), say=say)

    return get


def _parsed(text: str) -> "Platform":
    from cowfs.images.platforms import parse_platform

    return parse_platform(text)


def _fits(image: StoredImage, wanted: "Platform | None") -> bool:
    if wanted is None:
        return True
    from cowfs.images.platforms import Platform

    return wanted.rank(Platform(*[*image.platform.split("/"), "", ""][:3])) is not None
