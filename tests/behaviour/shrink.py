"""Makes a failing run small: fewer steps, fewer layers, the same mistake."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from tests.behaviour.layers import Entry
from tests.behaviour.steps import Step

T = TypeVar("T")
Fails = Callable[[Sequence[Sequence[Entry]], Sequence[Step]], bool]


def shrink(stack: list[list[Entry]], todo: list[Step], fails: Fails) -> tuple[list[list[Entry]], list[Step]]:
    """The smallest run found for which ``fails`` still says yes."""
    before = -1
    while before != len(todo) + sum(map(len, stack)):
        before = len(todo) + sum(map(len, stack))
        todo = _fewer(todo, partial(fails, stack))
        for index in range(len(stack)):
            stack = _replace(stack, index, fails, todo)
        stack = _fewer(stack, partial(_fails_with_layers, fails, todo))
    return stack, todo


def _fails_with_layers(fails: Fails, todo: Sequence[Step], stack: Sequence[Sequence[Entry]]) -> bool:
    return bool(stack) and fails(stack, todo)


def _replace(stack: list[list[Entry]], index: int, fails: Fails, todo: list[Step]) -> list[list[Entry]]:
    def with_layer(layer: list[Entry]) -> list[list[Entry]]:
        return [*stack[:index], layer, *stack[index + 1 :]]

    return with_layer(_fewer(stack[index], lambda layer: fails(with_layer(layer), todo)))


def _fewer(items: list[T], fails: Callable[[list[T]], bool]) -> list[T]:
    """Take out chunks, half as long each time round, as long as it still fails (ddmin)."""
    chunk = len(items)
    while chunk:
        start = 0
        while start < len(items):
            shorter = items[:start] + items[start + chunk :]
            if len(shorter) < len(items) and fails(shorter):
                items = shorter
            else:
                start += chunk
        chunk //= 2
    return items
