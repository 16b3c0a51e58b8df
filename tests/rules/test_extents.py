"""Extents against a set of bytes, which is what they stand for."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from cowfs.state.extents import Extents

RANGE = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted).map(tuple)
CHANGE = st.one_of(RANGE.map(lambda r: ("add", r)), st.integers(0, 60).map(lambda end: ("clip", end)))


@given(st.lists(CHANGE, max_size=12), RANGE)
def test_extents_are_a_set_of_bytes(changes, asked):
    extents, model = Extents(), set()
    for what, value in changes:
        if what == "add":
            extents.add(*value)
            model |= set(range(*value))
        else:
            extents.clip(value)
            model = {byte for byte in model if byte < value}
    ranges = list(extents)
    assert {byte for start, end in ranges for byte in range(start, end)} == model
    assert all(end < start for (_, end), (start, _) in pairwise(ranges)), "neighbours are joined"
    pieces = list(extents.pieces(*asked))
    assert [byte for start, end, _ in pieces for byte in range(start, end)] == list(range(*asked))
    assert {b for start, end, present in pieces if present for b in range(start, end)} == model & set(range(*asked))
    assert {b for start, end in extents.gaps(*asked) for b in range(start, end)} == set(range(*asked)) - model
    assert all(extents.covers(byte) == (byte in model) for byte in range(61))
