"""What every command of cowdiff gets from its group: where the runs are, and the containers of other engines."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cowfs.cli.entry import complain
from cowfs.engines import is_container
from cowfs.errors import UsageError

if TYPE_CHECKING:
    from cowfs.model import Run
    from cowfs.store import Store
    from cowfs.store.runs import Runs


@dataclass(frozen=True, slots=True)
class Context:
    """The context object of the command line (``@click.pass_obj``)."""

    root: Path
    podman_root: Path | None = None  # None: podman's usual places

    def runs(self) -> "Runs":
        """The records of the store's runs."""
        from cowfs.store.runs import Runs  # only commands that need them pay for it

        return Runs(self.root)

    def collect(self) -> None:
        """After runs were removed: remove the layers that only they used. Raises StoreError."""
        with self.store() as store:
            store.collect()

    def store(self) -> "Store":
        """Open the store. Raises StoreError."""
        from cowfs.store import Store

        return Store.open(self.root, say=lambda line: complain("cowdiff", line))

    def find(self, token: str) -> "Run":
        """The run, or the container of another engine, that ``token`` names. Raises NotFound, and what those do."""
        if is_container(token):
            from cowfs import engines

            return engines.find(token, self.podman_root)
        return self.runs().find(token)

    def own(self, token: str) -> "Run":
        """The run of our store that ``token`` names; for what only it can take. Raises NotFound, UsageError."""
        if is_container(token):
            engine, _, _ = token.partition(":")
            raise UsageError(f"{token} is {engine}'s: cowdiff only looks at it")
        return self.runs().find(token)
