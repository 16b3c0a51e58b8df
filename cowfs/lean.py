"""Promises in the place of big modules of the standard library, while what a mount needs is imported.

``with lean.imports():`` around imports. Inside, a module of ``_PROMISED`` that is not there yet is a promise: importing
it brings nothing, and the first use brings the module. ``typing`` is the few names that our modules and pyfuse3 write
annotations with, as those do nothing at run time; ``signal`` has numbers where it has enumerations. Behind the block
later imports get what they name; who imported inside keeps the promise. Nothing here changes what a program does, only
when it imports.

Most of what the start of a mount imported was that (docs/architecture.md). Used by who serves one, around imports.
"""

import sys
from collections import namedtuple
from types import ModuleType

TYPE_CHECKING = False  # typing's is what this is to do without
if TYPE_CHECKING:
    from typing import Any


class _Promise(ModuleType):
    """A module that comes when it is asked for something. ``calls`` are functions of it that others import by name."""

    def __init__(self, name: str, *calls: str) -> None:
        super().__init__(name)
        for call in calls:
            setattr(self, call, self._later(call))

    def _later(self, call: str) -> "Any":
        return lambda *arguments, **keywords: getattr(self.kept(), call)(*arguments, **keywords)

    def kept(self) -> ModuleType:
        """The module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        __import__(self.__name__)
        return sys.modules[self.__name__]

    def __getattr__(self, name: str) -> "Any":
        if name.startswith("__"):  # import statements look for some that need not be there
            raise AttributeError(name)
        return getattr(self.kept(), name)


class _Logging(_Promise):
    """logging: comes with the first warning, and is configured then as it was to be before."""

    def __init__(self) -> None:
        super().__init__("logging")
        self._settings: list[dict[str, Any]] = []

    def basicConfig(self, **settings: "Any") -> None:
        self._settings = [settings]

    def getLogger(self, name: str | None = None) -> "_Logger":
        return _Logger(self, name)

    def kept(self) -> ModuleType:
        module = super().kept()
        while self._settings:
            module.basicConfig(**self._settings.pop())
        return module


class _Logger:
    """A logger without a level of its own; that of all is WARNING, as where nobody says another."""

    def __init__(self, logging: _Logging, name: str | None) -> None:
        self._logging = logging
        self._name = name

    def debug(self, *_: object) -> None: ...

    def info(self, *_: object) -> None: ...

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._logging.kept().getLogger(self._name), name)


class _Annotation:
    """Any part of an annotation, and a base class that adds nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __getitem__(self, _: object) -> "_Annotation":
        return self

    def __or__(self, _: object) -> "_Annotation":
        return self

    __ror__ = __or__

    def __getattr__(self, name: str) -> "_Annotation":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __mro_entries__(self, _: object) -> tuple[type, ...]:
        return ()


class _Parameter(_Annotation):
    """What TypeVar and ParamSpec give; collections.abc looks which module it is of."""

    __module__ = "typing"


_Parameter.__name__ = "ParamSpec"


class _NamedTupleType(type):
    """typing.NamedTuple as a base class."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: "dict[str, Any]") -> "Any":
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = body.get("__annotations__", {})
        defaults = [body[field] for field in fields if field in body]
        made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])  # type: ignore[misc]
        made.__annotations__ = fields
        for key, value in body.items():
            if key not in fields and key not in ("__module__", "__annotations__", "__slots__"):
                setattr(made, key, value)
        return made


class _NamedTuple(metaclass=_NamedTupleType):
    """What classes name as their base."""


def _typing() -> _Promise:
    typing = _Promise("typing")
    names = ("Callable", "ClassVar", "Final", "Generic", "NoReturn", "Optional", "Protocol", "Sequence", "Tuple")
    vars(typing).update(dict.fromkeys(names, _Annotation()))
    vars(typing).update(
        TYPE_CHECKING=False,
        Any=_Annotation,
        NamedTuple=_NamedTuple,
        ParamSpec=_Parameter,
        TypeVar=_Parameter,
        cast=lambda _, value: value,
    )
    return typing


def _signal() -> _Promise:
    """signal's half in C, which has all of it but the enumerations."""
    signal = _Promise("signal")
    vars(signal).update({name: it for name, it in vars(sys.modules["_signal"]).items() if not name.startswith("__")})
    return signal


_PROMISED = (
    _typing(),
    _signal(),
    _Logging(),
    *map(_Promise, ("fnmatch", "json", "ntpath", "re", "threading")),
    _Promise("pickle", "PicklingError"),
    _Promise("queue", "Queue"),
    _Promise("urllib.parse", "quote_from_bytes"),
)


class imports:
    """The block: see above."""

    def __enter__(self) -> None:
        self._made = [promise for promise in _PROMISED if promise.__name__ not in sys.modules]
        sys.modules.update({promise.__name__: promise for promise in self._made})

    def __exit__(self, *_: object) -> None:
        for promise in self._made:
            if sys.modules.get(promise.__name__) is promise:
                del sys.modules[promise.__name__]
