"""Why a path is as it is: what each layer says about it, and which of them is heard.

    a layer's word      about the path itself                 about a directory above it
    ------------------  ------------------------------------  ------------------------------------------
    ABSENT              nothing                               nothing: the path is not in this layer
    PRESENT             it supplies it, unless hidden         -
    DIRECTORY           it supplies or merges, unless hidden  -
    OPAQUE              as DIRECTORY, and hides all below     hides all below
    DELETED             hides all below                       hides all below
    REPLACED            -                                     a file is there: hides all below

Layers are heard from the top. The first that has the path supplies it; a directory goes on to merge with directories
below until something ends it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Word(Enum):
    """What one layer says about a path."""

    ABSENT = "absent"
    PRESENT = "present"
    DIRECTORY = "directory"
    OPAQUE = "opaque"
    DELETED = "deleted"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class Saying:
    """A word and the path that it is about:

    the asked one, or a directory above it. ``here``: has the layer the path itself?
    """

    word: Word
    about: bytes = b""
    here: bool = False


class Effect(Enum):
    """What comes of a layer's word."""

    NOTHING = "nothing"
    SUPPLIES = "supplies"
    MERGES = "merges"
    HIDDEN = "hidden"
    DELETES = "deletes"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The effect of one layer. ``by`` is the index, in the order given, of the layer that hides it."""

    effect: Effect
    by: int | None = None


_ENDS = frozenset({Word.PRESENT, Word.OPAQUE, Word.DELETED, Word.REPLACED})


def explain(sayings: Sequence[Saying]) -> list[Verdict]:
    """One verdict for each layer, in the order given: the top one first."""
    verdicts: list[Verdict] = []
    hider: int | None = None
    supplier: int | None = None
    for index, saying in enumerate(sayings):
        has = saying.here
        if hider is not None:
            verdicts.append(
                Verdict(Effect.HIDDEN, hider) if has or saying.word is Word.DELETED else Verdict(Effect.NOTHING)
            )
            continue
        if has and supplier is not None and saying.word is Word.PRESENT:
            # A file below a directory: the directory hides it, and whatever lies deeper.
            hider = supplier
            verdicts.append(Verdict(Effect.HIDDEN, supplier))
            continue
        if has:
            verdicts.append(Verdict(Effect.SUPPLIES if supplier is None else Effect.MERGES))
            supplier = index if supplier is None else supplier
        elif saying.word in (Word.DELETED, Word.REPLACED, Word.OPAQUE):
            verdicts.append(Verdict(Effect.DELETES))
        else:
            verdicts.append(Verdict(Effect.NOTHING))
        if saying.word in _ENDS:
            hider = index
    return verdicts
