"""The order in which names are given out holds while a directory changes."""

import os
import random

from cowfs.state.listing import Listing


def read_on(listing: Listing, start: int, count: int) -> tuple[list[bytes], int]:
    """The next ``count`` names from a number on, and the number to go on from."""
    first = listing.position(start)
    names = listing.names[first : first + count]
    return names, listing.numbers[first + len(names) - 1] + 1 if names else start


def test_names_come_in_the_order_of_the_directory_after_itself_and_its_parent() -> None:
    listing = Listing()
    listing.follow([b"b", b"a"])
    assert read_on(listing, 0, 9) == ([b".", b"..", b"b", b"a"], 4)
    assert read_on(listing, 4, 9) == ([], 4)


def test_a_reader_goes_on_where_it_was_when_names_went_and_came() -> None:
    listing = Listing()
    listing.follow([b"a", b"b", b"c", b"d"])
    seen, position = read_on(listing, 0, 4)
    listing.follow([b"b", b"c", b"d", b"new"])  # another reader begins
    rest, _ = read_on(listing, position, 9)
    assert seen + rest == [b".", b"..", b"a", b"b", b"c", b"d", b"new"]


def test_readers_that_begin_between_random_changes_get_each_name_that_stayed_once() -> None:
    seed = int(os.environ.get("SEED", "0")) or random.randrange(1 << 32)
    print("SEED", seed)
    chance = random.Random(seed)
    for _ in range(200):
        names = [b"n%d" % number for number in range(chance.randrange(30))]
        listing, stayed, seen, position = Listing(), set(names), list[bytes](), 0
        listing.follow(names)
        while True:
            more, position = read_on(listing, position, chance.randrange(1, 6))
            seen += more
            if not more:
                break
            for name in chance.sample(names, min(len(names), chance.randrange(3))):
                names.remove(name)
                stayed.discard(name)
            names += [b"new%d" % chance.randrange(1000)] if chance.random() < 0.3 else []
            names = list(dict.fromkeys(names))
            if chance.random() < 0.7:
                listing.follow(names)
        assert len(seen) == len(set(seen))
        assert stayed <= set(seen)
