"""What takes long to import and every mount needs, whatever its options are. For a process that waits for its order.

Not pyfuse3: the transport may have to load a library before it. Importing this module is the whole of it.
"""

import gc

gc.disable()  # among ten thousand fresh objects a collection finds nothing
try:
    import trio  # noqa: F401

    import cowfs.fuse.serve
    import cowfs.journal.processes
    import cowfs.journal.writer
    import cowfs.overlay  # noqa: F401
finally:
    gc.enable()
