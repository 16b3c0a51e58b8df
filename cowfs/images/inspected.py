"""What a person may type where something is looked at: all that ``sources`` knows, and runs and parts of images.

run:ID       a run's base and what it changed, by "last", id, the beginning of one, or name; it may be going on
SOURCE@N     the layers of SOURCE up to number N

Used by ``cowfs mount``, ``layers``, ``explain``, ``find``, ``waste``, ``diff`` and ``report``.
"""

import re
from pathlib import Path

from cowfs.errors import NotFound, UsageError
from cowfs.images.sources import ARCHIVES, base_of, resolve
from cowfs.model import Base, LayerInfo, Run, RunState
from cowfs.store import Store
from cowfs.store.runs import Runs

_UP_TO = re.compile(r"(.+)@(\d{1,9})")


def inspected(text: str, store: Store, *, any_form: bool = False) -> Base:
    """The base that ``text`` names, with every layer, also those of which nothing shows.

    ``any_form``: those of another engine's store may have fuse-overlayfs's marks. Raises what ``sources.resolve`` does.
    """
    match = _UP_TO.fullmatch(text)
    if match is not None:
        return _up_to(inspected(match[1], store, any_form=any_form), int(match[2]), text)
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "run":
        return _of_run(text, Runs(store.root).find(rest), store)
    return resolve(text, store, every_layer=True, any_form=any_form)


def known(text: str, store: Store) -> Base:
    """The same, of what is there already: nothing is unpacked. Raises NotFound for what is not."""
    bare = match[1] if (match := _UP_TO.fullmatch(text)) else text
    scheme, _, rest = bare.partition(":")
    if scheme not in ARCHIVES:
        return inspected(text, store)
    from cowfs.images.archives import archive_reference

    image = store.image(archive_reference(scheme, rest))
    if image is None:
        raise NotFound(f"{bare} was not unpacked")
    return base_of(text, image, store, every_layer=True)


def _up_to(base: Base, number: int, text: str) -> Base:
    layers = tuple(layer for layer in base.layers if layer.number <= number)
    if not any(layer.number == number for layer in layers):
        last = base.layers[-1].number if base.layers else 0
        raise UsageError(f"{text!r}: {base.source} has layers 1 to {last}")
    return base._replace(source=text, layers=layers)


def _of_run(text: str, run: Run, store: Store) -> Base:
    known = _known(run, store)
    lowers = [
        known.get(directory) or LayerInfo(number, directory, _diff_id(directory))
        for number, directory in enumerate(reversed(run.lowers), 1)
    ]
    number = max((layer.number for layer in lowers), default=0) + 1
    command = " ".join(run.command)
    upper = LayerInfo(number, run.upper, created_by=f"run {run.id}: {command}")
    going = run.state is RunState.RUNNING
    return Base(
        source=text,
        layers=(*lowers, upper),
        digest=run.digest,
        live=run.host or going,
        hidden=run.hidden,
        host=run.host,
    )


def _known(run: Run, store: Store) -> dict[Path, LayerInfo]:
    """What the image of a run says of its layers, by their directories; nothing where it is no longer in the store."""
    for image in store.images():
        if image.digest == run.digest:
            return {layer.directory: layer for layer in base_of(run.source, image, store, every_layer=True).layers}
    return {}


def _diff_id(directory: Path) -> str:
    layers = directory.parent.parent
    return f"sha256:{directory.parent.name}" if layers.parts[-2:] == ("layers", "sha256") else ""
