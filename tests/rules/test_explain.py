"""Rows of the table of cowfs.rules.explain, in the same words."""

import pytest

from cowfs.rules.explain import Effect, Saying, Verdict, Word, explain

ABSENT = Saying(Word.ABSENT)
FILE = Saying(Word.PRESENT, b"/x", True)
DIR = Saying(Word.DIRECTORY, b"/x", True)
OPAQUE = Saying(Word.OPAQUE, b"/x", True)
OPAQUE_ABOVE = Saying(Word.OPAQUE, b"/")
DELETED = Saying(Word.DELETED, b"/x")
REPLACED = Saying(Word.REPLACED, b"/")
NOTHING, SUPPLIES, MERGES, DELETES = (
    Verdict(e) for e in (Effect.NOTHING, Effect.SUPPLIES, Effect.MERGES, Effect.DELETES)
)


def hidden(by):
    return Verdict(Effect.HIDDEN, by)


@pytest.mark.parametrize(
    ("sayings", "verdicts"),
    [
        pytest.param([ABSENT, FILE], [NOTHING, SUPPLIES], id="the first that has it supplies it"),
        pytest.param([FILE, FILE], [SUPPLIES, hidden(0)], id="a file hides a file"),
        pytest.param([DIR, DIR, ABSENT, DIR], [SUPPLIES, MERGES, NOTHING, MERGES], id="directories merge"),
        pytest.param([DIR, FILE, DIR], [SUPPLIES, hidden(0), hidden(0)], id="a directory ends at a file"),
        pytest.param([OPAQUE, DIR], [SUPPLIES, hidden(0)], id="opaque hides what is below"),
        pytest.param([OPAQUE_ABOVE, FILE], [DELETES, hidden(0)], id="opaque above hides what is below"),
        pytest.param([DELETED, FILE], [DELETES, hidden(0)], id="deleted"),
        pytest.param([FILE, DELETED, FILE], [SUPPLIES, hidden(0), hidden(0)], id="made again after a deletion"),
        pytest.param([REPLACED, FILE], [DELETES, hidden(0)], id="a file took the place of a directory above"),
        pytest.param([ABSENT, ABSENT], [NOTHING, NOTHING], id="never there"),
    ],
)
def test_explain(sayings, verdicts):
    assert explain(sayings) == verdicts
