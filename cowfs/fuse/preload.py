"""What every mount needs that takes long to import. For a process that waits for its order.

Importing this module is the whole of it. Not pyfuse3: the transport may have to load a library before it.
"""

import gc

gc.disable()  # among thousands of fresh objects a collection finds nothing
try:
    import cowfs.fuse.serve
    import cowfs.overlay  # noqa: F401
finally:
    gc.enable()
