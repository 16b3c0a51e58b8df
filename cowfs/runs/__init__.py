"""What a run changed, as a library: an upper in overlayfs's format is compared with the base it was written over.

    changes     what a change is, and which class it belongs to: pure values and rules
    trees       a merged tree as it was, read-only: the base of a run, or the root that it left
    places      one entry of an upper as it is on disk
    walk        visits the directories of an upper, pairs each entry with what the base has
    links       finds renames and hard links, which no entry tells alone
    content     the bytes of files: compared, copied, counted
    scan        all of these together: the changes of a run

Used by cowdiff and by ``cowrun.run``; nothing here prints, asks or writes. The trees may be hostile.
"""
