"""The C library of the transport; everything else is in pyproject.toml.

It is optional: without a compiler or libfuse's headers the build goes on, and the file system runs without what the
library brings.
"""

import subprocess

from setuptools import Extension, setup


def pkg_config(option: str) -> list[str]:
    try:
        return subprocess.run(
            ["pkg-config", option, "fuse3"], capture_output=True, text=True, check=True
        ).stdout.split()
    except (OSError, subprocess.CalledProcessError):
        return ["-lfuse3"] if option == "--libs" else []


library = Extension(
    "cowfs.fuse.transport._library",
    sources=[f"cowfs/fuse/transport/{name}.c" for name in ("library", "receive", "threads")],
    depends=[f"cowfs/fuse/transport/{name}.h" for name in ("receive", "threads")],
    extra_compile_args=["-O2", "-pthread", "-Wall", "-Wextra", *pkg_config("--cflags")],
    extra_link_args=["-pthread", *pkg_config("--libs")],
    optional=True,
)
setup(ext_modules=[library])
