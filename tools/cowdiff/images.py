"""The image that a run was over, as the store has it. Used by the commands that make images of runs."""

from cowfs.errors import NotFound, UsageError
from cowfs.model import Run
from cowfs.store import Store
from cowfs.store.records import StoredImage


def image_of(run: Run, store: Store) -> StoredImage:
    """The image by its digest. Raises UsageError where there was none, NotFound where it was removed since."""
    if not run.digest:
        raise UsageError(
            f"{run.source} is no image: cowdiff apply gives it the changes, cowdiff export writes them out"
        )
    found = [image for image in store.images() if image.digest == run.digest]
    if not found:
        raise NotFound(f"the image of run {run.id} is no longer in the store: cowfs pull or import {run.source} again")
    return found[0]
