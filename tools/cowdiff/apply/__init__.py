"""Giving a run's changes to the directory that it ran on, and taking them back.

    plan       from changes to operations, and what speaks against them. Reads the base, writes nothing
    site       one directory tree of the host: its files by descriptors
    record     what is kept of an application, so that it can be undone, also after a kill
    perform    carries operations out, and takes them back

Everything new is built aside, in the file system where it will be, before the first path is touched; then each path
changes by one rename. What was there before is kept in the run.
"""
