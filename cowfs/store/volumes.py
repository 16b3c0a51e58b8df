"""Named volumes: directories in the store that runs write to and share, and that nothing removes by itself.

volumes/<name>/     the data; volumes/ is 0700
"""

import os
from pathlib import Path

from cowfs.errors import StoreError


def make(directory: str) -> None:
    """Make the volume that lies at ``directory``; nothing happens if it is there. Raises StoreError."""
    try:
        Path(directory).parent.mkdir(0o700, exist_ok=True)
        os.mkdir(directory, 0o755)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"volume {directory} cannot be made: {error.strerror}") from error
