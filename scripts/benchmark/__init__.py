"""The benchmark behind scripts/bench: workloads, the file systems they go through, and the report.

``workloads`` says what is done, ``metrics`` what is measured and what is aimed at, ``inputs`` makes the layers,
``filesystems`` mounts them, ``measuring`` takes the times, ``report`` and ``plot`` write docs/bench. Not installed.
"""
