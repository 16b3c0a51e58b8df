"""What an import tells while it goes on, for whoever shows it to a person. Called in one thread, often."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # who shows progress need not import what makes it
    from cowfs.images.plan import LayerSource


class Progress(Protocol):
    """``at`` and ``done`` are about layers that ``begin`` named as missing, by diffID."""

    def begin(self, layers: "Sequence[LayerSource]", missing: set[str]) -> None:
        """The layers of the image, and those that the store lacks."""

    def at(self, diff_id: str, size: int) -> None:
        """So many bytes of the layer's blob were read."""

    def done(self, diff_id: str) -> None:
        """The layer is unpacked and verified."""

    def end(self) -> None:
        """All is done, or nothing more will be."""


class Silent:
    """Shows nothing."""

    def begin(self, layers: "Sequence[LayerSource]", missing: set[str]) -> None: ...
    def at(self, diff_id: str, size: int) -> None: ...
    def done(self, diff_id: str) -> None: ...
    def end(self) -> None: ...
