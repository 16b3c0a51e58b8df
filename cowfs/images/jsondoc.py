"""JSON documents from strangers: one reading only, every field's type checked. No I/O. Raises BrokenImage."""

import json
import re
from typing import Any

from cowfs.errors import BrokenImage

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def parse(data: bytes, what: str) -> "Fields":
    """The object that ``data`` is. ``what`` names the document in messages."""
    return Fields(_load(data, what), what)


def parse_list(data: bytes, what: str) -> list["Fields"]:
    """The list of objects that ``data`` is."""
    found = _load(data, what)
    if not isinstance(found, list):
        raise BrokenImage(f"the {what} is not a list")
    return [Fields(item, what) for item in found]


class Fields:
    """An object with typed access to its members. A member that is null counts as absent."""

    def __init__(self, found: Any, what: str) -> None:
        if not isinstance(found, dict):
            raise BrokenImage(f"the {what} is not an object")
        self._found = found
        self.what = what

    def __contains__(self, key: str) -> bool:
        return self._found.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """A string. Without a default it must be there."""
        value = self._get(key, str, default)
        assert isinstance(value, str)
        if "\0" in value:
            raise BrokenImage(f"{key!r} of the {self.what} holds a NUL")
        return value

    def integer(self, key: str) -> int:
        """An integer that is not negative."""
        value = self._get(key, int, None)
        if isinstance(value, bool) or value < 0:
            raise BrokenImage(f"{key!r} of the {self.what} is no size")
        return int(value)

    def flag(self, key: str) -> bool:
        """A boolean, false if absent."""
        return bool(self._get(key, bool, False))

    def digest(self, key: str) -> str:
        """A sha256 digest in its only form: it becomes part of a path."""
        value = self.text(key)
        check_digest(value, self.what)
        return value

    def fields(self, key: str) -> "Fields":
        """An object; an empty one if absent."""
        return Fields(self._get(key, dict, {}), f"{key} of the {self.what}")

    def names(self) -> tuple[str, ...]:
        """The names of the members."""
        return tuple(self._found)

    def objects(self, key: str) -> list["Fields"]:
        """A list of objects; an empty one if absent."""
        return [Fields(item, f"{key} of the {self.what}") for item in self._get(key, list, [])]

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings; an empty one if absent."""
        found = self._get(key, list, [])
        if not all(isinstance(item, str) and "\0" not in item for item in found):
            raise BrokenImage(f"{key!r} of the {self.what} is not a list of strings")
        return tuple(found)

    def _get(self, key: str, kind: type, default: Any) -> Any:
        value = self._found.get(key)
        if value is None:
            value = default
        if not isinstance(value, kind):
            problem = "is missing" if value is None else f"is no {kind.__name__}"
            raise BrokenImage(f"{key!r} of the {self.what} {problem}")
        return value


def check_digest(value: str, what: str) -> None:
    """Raises BrokenImage unless ``value`` is a sha256 digest."""
    if not _DIGEST.fullmatch(value):
        raise BrokenImage(f"the {what} holds a digest that is not sha256 and 64 hex digits: {value[:100]!r}")


def _load(data: bytes, what: str) -> Any:
    """Duplicate keys (two readers would see two documents), NaN, other encodings and endless nesting are refused."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise BrokenImage(f"the {what} is nested too deeply") from None
    except ValueError as error:
        raise BrokenImage(f"the {what} is not valid JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
