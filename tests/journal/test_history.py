"""What a journal says about a path: under whatever names it was."""

from cowfs.journal.history import History
from cowfs.journal.reader import Change
from cowfs.journal.records import EXCHANGE, NO_LAYER, Op


def change(op: Op, path: str, other: str | None = None, flags: int = 0, *, clock: list[int] = [0]) -> Change:  # noqa: B006
    clock[0] += 1
    return Change(clock[0], op, None, path.encode(), NO_LAYER, None if other is None else other.encode(), flags=flags)


def told(history: History, path: str) -> list[tuple[Op, bytes]]:
    return [(change.op, change.path) for change in history.blame(path.encode())]


def test_a_file_that_took_the_place_of_another_has_both_histories() -> None:
    history = History(
        [
            change(Op.ATTRIBUTES, "etc/passwd"),
            change(Op.CREATE, "etc/new"),
            change(Op.CLOSE, "etc/new"),
            change(Op.RENAME, "etc/new", "etc/passwd"),
            change(Op.CLOSE, "etc/passwd"),
        ]
    )
    assert told(history, "etc/passwd") == [
        (Op.ATTRIBUTES, b"etc/passwd"),
        (Op.CREATE, b"etc/new"),
        (Op.CLOSE, b"etc/new"),
        (Op.RENAME, b"etc/new"),
        (Op.CLOSE, b"etc/passwd"),
    ]
    assert told(history, "etc/new")[-1] == (Op.RENAME, b"etc/new")


def test_directories_take_along_what_is_below_them_changed_or_not() -> None:
    history = History(
        [
            change(Op.CLOSE, "a/b/changed"),
            change(Op.RENAME, "a", "x"),
            change(Op.RENAME, "x/b", "y"),
            change(Op.CREATE, "y/made"),
            change(Op.RENAME, "y", "z"),
        ]
    )
    moves = [(Op.RENAME, b"a"), (Op.RENAME, b"x/b"), (Op.RENAME, b"y")]
    assert told(history, "z/changed") == [(Op.CLOSE, b"a/b/changed"), *moves]
    assert told(history, "z/of-the-base") == moves
    assert told(history, "z/made") == [(Op.CREATE, b"y/made"), (Op.RENAME, b"y")]


def test_links_are_one_file_and_exchanged_names_two() -> None:
    history = History(
        [
            change(Op.CREATE, "one"),
            change(Op.LINK, "two", "one"),
            change(Op.CLOSE, "two"),
            change(Op.CREATE, "other"),
            change(Op.RENAME, "one", "other", EXCHANGE),
        ]
    )
    assert (Op.CLOSE, b"two") in told(history, "other")
    assert told(history, "one") == [(Op.CREATE, b"other"), (Op.RENAME, b"one")]


def test_what_was_removed_and_made_again_keeps_its_past() -> None:
    history = History(
        [change(Op.UNLINK, "d/f"), change(Op.RMDIR, "d"), change(Op.MKDIR, "d"), change(Op.CREATE, "d/f")]
    )
    assert told(history, "d/f") == [(Op.UNLINK, b"d/f"), (Op.CREATE, b"d/f")]
