"""Unified hunks between two texts, as diff -u and git write them. Pure: from bytes to bytes.

Lines end in "\\n"; the last one may lack it, and then says so. Common heads and tails are put aside before difflib sees
the rest, whose cost grows with its square; where that is huge, one hunk replaces the old by the new: just as correct.
"""

from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Final, NamedTuple

CONTEXT: Final = 3  # lines
_TOO_MANY: Final = 20_000  # lines of both sides together, without head and tail


class Span(NamedTuple):
    """Lines ``start`` to ``end`` (exclusive) of the old text became ``new_start`` to ``new_end`` of the new one."""

    start: int
    end: int
    new_start: int
    new_end: int


def hunks(old: bytes, new: bytes) -> Iterator[bytes]:
    """The lines of all hunks, each with its line end; nothing where the texts are equal."""
    before, after = _lines(old), _lines(new)
    for group in _groups(_spans(before, after)):
        yield from _hunk(before, after, group)


def _lines(text: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in text.split(b"\n")]
    last = lines.pop()
    return lines if last == b"\n" else [*lines, last + b"\\ No newline at end of file\n"]


def _spans(before: list[bytes], after: list[bytes]) -> list[Span]:
    """What differs, in order."""
    head = _common(before, after)
    tail = _common(before[head:][::-1], after[head:][::-1])
    old, new = before[head : len(before) - tail], after[head : len(after) - tail]
    if not old and not new:
        return []
    if not old or not new or len(old) + len(new) > _TOO_MANY:
        return [Span(head, head + len(old), head, head + len(new))]
    matcher = SequenceMatcher(None, old, new)
    return [
        Span(head + start, head + end, head + new_start, head + new_end)
        for tag, start, end, new_start, new_end in matcher.get_opcodes()
        if tag != "equal"
    ]


def _common(left: list[bytes], right: list[bytes]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _groups(spans: list[Span]) -> Iterator[list[Span]]:
    """Spans that share context, together."""
    group: list[Span] = []
    for span in spans:
        if group and span.start - group[-1].end > 2 * CONTEXT:
            yield group
            group = []
        group.append(span)
    if group:
        yield group


def _hunk(before: list[bytes], after: list[bytes], group: list[Span]) -> Iterator[bytes]:
    first, last = group[0], group[-1]
    lead = min(CONTEXT, first.start)
    trail = min(CONTEXT, len(before) - last.end)
    old = _range(first.start - lead, last.end + trail)
    new = _range(first.new_start - lead, last.new_end + trail)
    yield b"@@ -%s +%s @@\n" % (old, new)
    position = first.start - lead
    for span in group:
        yield from _marked(b" ", before[position : span.start])
        yield from _marked(b"-", before[span.start : span.end])
        yield from _marked(b"+", after[span.new_start : span.new_end])
        position = span.end
    yield from _marked(b" ", before[position : last.end + trail])


def _range(start: int, end: int) -> bytes:
    """A range as diff writes it: from 1; an empty one names the line before it."""
    if end - start == 1:
        return b"%d" % end
    return b"%d,%d" % (start + 1 if end > start else start, end - start)


def _marked(sign: bytes, lines: list[bytes]) -> Iterator[bytes]:
    return (sign + line for line in lines)
