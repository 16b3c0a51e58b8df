"""The merged tree of a SOURCE, for commands that look into it: ``diff``, and the completion of paths."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cowfs import userns
from cowfs.images.host import hidden_directories
from cowfs.images.inspected import known
from cowfs.model import Base, shown_layers
from cowfs.options import EngineOptions, MountOptions, indexes_of
from cowfs.runs.trees import Tree

if TYPE_CHECKING:
    from cowfs.store import Store


def tree_of(base: Base, store: "Store", opened: ExitStack) -> Tree:
    """What ``base`` comes to; ``opened`` closes it."""
    hidden = frozenset(base.hidden) | (hidden_directories(store) if base.host else frozenset())
    lowers = tuple(layer.directory for layer in reversed(shown_layers(base.layers)))
    tree = Tree(
        MountOptions(
            lowers=lowers,
            indexes=indexes_of(lowers),
            live_lower=base.live,
            hidden=hidden,
            userxattr=not userns.is_root_of_machine(),
            engine=EngineOptions() if any(layer.foreign for layer in base.layers) else None,
        )
    )
    opened.callback(tree.close)
    return tree


def paths(source: str, store: "Store", incomplete: str) -> Iterator[str]:
    """The names beside and below that ``incomplete`` may become, links on the way followed; directories end with "/".

    Names that cannot be typed are left out.
    """
    from cowfs.views.explain import Explainer

    base = known(source, store)
    above = incomplete[: incomplete.rfind("/") + 1]
    with ExitStack() as opened:
        explainer = Explainer(base.layers)
        opened.callback(explainer.close)
        _, directory = explainer.follow(os.fsencode(above))
        tree = tree_of(base, store, opened)
        node = tree.walk(directory.path)
        for name in sorted(tree.names(node)) if node is not None else ():
            shown = os.fsdecode(name)
            if shown.isprintable() and shown.startswith(incomplete[len(above) :]):
                child = tree.lookup(node, name)  # type: ignore[arg-type]  # it was walked to
                yield above + shown + ("/" if child is not None and child.is_dir else "")
