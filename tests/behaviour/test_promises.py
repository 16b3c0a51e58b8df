"""The table of promises in docs/semantics.md is what is seen now."""

from tests.behaviour import promises


def test_a_plain_directory_passes_every_probe() -> None:
    assert promises.see(["plain"])["plain"] == [promises.KEPT] * len(promises.PROMISES)


def test_cowfs_keeps_every_promise() -> None:
    assert promises.see(["cowfs"])["cowfs"] == [promises.KEPT] * len(promises.PROMISES)


def test_the_documented_table_is_what_is_seen() -> None:
    """What other versions of the peers do is not held against the table, only that it has these rows and columns."""
    documented, seen = promises.documented(), promises.table(promises.see())
    if promises.versions() in documented:
        assert seen == documented
    else:
        assert [row[:2] for row in _cells(seen)] == [row[:2] for row in _cells(documented)]


def _cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]
