"""What a mount with a journal and every lever needs, and takes long to import. For a process that waits for its order.

Importing this module is the whole of it. An order that asks for less finds more in memory than it needs.
"""

import gc

from cowfs import lean

gc.disable()  # among thousands of fresh objects a collection finds nothing
try:
    with lean.imports():
        from cowfs.fuse import serve

        serve.prepare()
        import cowfs.fuse.journaled
        import cowfs.journal.writer  # noqa: F401
finally:
    gc.enable()
