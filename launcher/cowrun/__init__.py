"""A launcher for throw-away roots. For programs: ``cowrun.run``, imported when it is asked for."""

TYPE_CHECKING = False  # typing's own costs an import, and every start of cowrun would pay
if TYPE_CHECKING:
    from cowrun.api import run as run


def __getattr__(name: str) -> object:
    if name == "run":
        from cowrun.api import run

        return run
    raise AttributeError(f"module 'cowrun' has no attribute {name!r}")
