"""The store: images, layers and runs under one directory that is 0700 (docs/format.md).

Everything that is listed is complete: it was built in ``staging`` under a flock, made durable, and published by one
rename. Whoever is killed on the way leaves an entry in ``staging`` whose lock is free, and the next one to open
the store removes it. Imports nothing of images, fuse or overlay.
"""

from cowfs.store.leases import Lease
from cowfs.store.store import Store

__all__ = ["Lease", "Store"]
