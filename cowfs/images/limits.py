"""The caps on everything that a stranger decides. A layer or document beyond one is refused, not cut."""

from typing import Final

DOCUMENT: Final = 4 << 20  # bytes of a manifest, an index or a config
LAYERS: Final = 500  # of an image
INDEX_DEPTH: Final = 4  # an index in an index in ...

# Entries of a layer, directories that we must make up included. Whole systems have some 100,000, images of several
# development kits some 500,000, all layers together.
ENTRIES: Final = 1_000_000
CROWD: Final = 8192  # entries, one after another ...
CROWD_BYTES: Final = 16 << 20  # ... in less of the tar than this: the rest is counted before it is unpacked
PATH: Final = 64 << 10  # bytes of a path in a layer: it is walked name by name, so PATH_MAX is no limit
TARGET: Final = 4095  # bytes of a symbolic link's target: Linux takes no more
COMPONENT: Final = 255  # bytes of one name of a path
PAX: Final = 1 << 20  # bytes of a pax header, and of a sparse map
XATTRS: Final = 64 << 10  # bytes of the names and values of one entry
FILE: Final = 1 << 44  # bytes of a sparse file: as many as ext4 takes
OWNER: Final = (1 << 32) - 2  # the largest uid and gid; the next one means "none"
SECONDS: Final = 1 << 40  # of a time, before or after the epoch
REMEMBERED: Final = 32 << 20  # bytes of paths that the unpacker keeps in memory until the layer's end

RATIO: Final = 200  # bytes unpacked for each byte read ...
RATIO_FREE: Final = 64 << 20  # ... once so many are unpacked
ZSTD_WINDOW: Final = 128 << 20  # bytes of memory that a zstd frame may ask for
