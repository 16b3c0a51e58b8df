"""What ``pip install .`` brings: built from a copy, as building leaves files beside the sources."""

import importlib
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
NOT_SOURCES = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "tests", "docs")
COMMANDS = {"cowfs", "cowrun", "cowdiff", "cowfs-overlay", "mount.fuse.cowfs"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A source archive, and a wheel made from what is in it."""
    copy = tmp_path_factory.mktemp("package") / "cowfs"
    shutil.copytree(TOP, copy, ignore=NOT_SOURCES)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", copy], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_the_three_packages_and_nothing_else(wheel):
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    assert {name.split("/")[0] for name in names} == {"cowfs", "cowrun", "cowdiff"}


def test_every_module_is_in_the_wheel(wheel):
    for package, where in {"cowfs": TOP, "cowrun": TOP / "launcher", "cowdiff": TOP / "tools"}.items():
        modules = {path.relative_to(where).as_posix() for path in (where / package).rglob("*.py")}
        assert {name for name in wheel.namelist() if name.startswith(package + "/") and name.endswith(".py")} == modules


def test_the_wheel_is_typed_and_has_the_library(wheel):
    names = wheel.namelist()
    assert {"cowfs/py.typed", "cowrun/py.typed", "cowdiff/py.typed"} <= set(names)
    assert [name for name in names if name.startswith("cowfs/fuse/transport/_library") and name.endswith(".so")]


def test_each_command_leads_to_a_function(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    parser = ConfigParser()
    parser.read_string(wheel.read(name).decode())
    assert set(parser["console_scripts"]) == COMMANDS
    for target in parser["console_scripts"].values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_the_source_archive_has_what_the_build_reads(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "cowfs/fuse/transport/library.c"} <= names
