"""What every command of cowdiff gets from its group: where the runs are."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cowfs.cli.entry import complain

if TYPE_CHECKING:
    from cowfs.model import Run
    from cowfs.store import Store
    from cowfs.store.runs import Runs


@dataclass(frozen=True, slots=True)
class Context:
    """The context object of the command line (``@click.pass_obj``)."""

    root: Path

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
        """The run that ``token`` names. Raises NotFound."""
        return self.runs().find(token)
