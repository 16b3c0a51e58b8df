"""The rules of the merge as pure functions over values: no system calls, no FUSE, no event loop.

Each module opens with its law as a table, and a test has a row for each row of it.
"""
