"""F04: whatever a handler raises, the mount lives: the caller gets an errno, EIO for a mistake of ours."""

import errno
import inspect
import logging
from types import SimpleNamespace

import pyfuse3
import pytest
import trio

from cowfs.fuse import operations as module
from cowfs.fuse.errnos import reply_of
from cowfs.fuse.operations import Operations
from cowfs.options import MountOptions
from cowfs.overlay import Overlay

# Handlers that answer without the overlay: their answer is constant (poll is pyfuse3's own).
CONSTANT = {"access", "flush", "init", "stacktrace", "forget", "poll"}
HANDLERS = sorted(
    name
    for name, value in vars(pyfuse3.Operations).items()
    if inspect.iscoroutinefunction(value) and name not in CONSTANT
)


class Broken:
    """Stands for everything a handler may touch; each use fails."""

    def __init__(self, failure):
        self._failure = failure

    def __getattr__(self, name):
        raise self._failure

    def __getitem__(self, key):
        raise self._failure

    def __delitem__(self, key):
        raise self._failure

    def pop(self, key):
        raise self._failure


@pytest.fixture
def operations(tmp_path):
    lower = tmp_path / "lower"
    lower.mkdir()
    overlay = Overlay(MountOptions(lowers=(lower,)))
    yield Operations(overlay)
    overlay.close()


def call(operations, name):
    handler = getattr(operations, name)
    arguments = [SimpleNamespace(uid=0, gid=0, umask=0, pid=1)] * (len(inspect.signature(handler).parameters))
    return trio.run(handler, *arguments)


def break_everything(operations, monkeypatch, failure):
    broken = Broken(failure)
    for attribute in ("overlay", "_table", "_handles", "_directories"):
        monkeypatch.setattr(operations, attribute, broken)
    monkeypatch.setattr(module, "os", broken)


def test_every_handler_of_pyfuse3_is_ours():
    ours = {name for name in vars(Operations) if not name.startswith("_")}
    assert set(HANDLERS) - ours == set()


@pytest.mark.parametrize("name", HANDLERS)
def test_F04_a_mistake_of_ours_is_EIO_and_logged(operations, name, monkeypatch, caplog):
    break_everything(operations, monkeypatch, ZeroDivisionError("on purpose"))
    with pytest.raises(pyfuse3.FUSEError) as raised:
        call(operations, name)
    assert raised.value.errno == errno.EIO
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()


@pytest.mark.parametrize("name", HANDLERS)
def test_F04_an_oserror_is_its_errno(operations, name, monkeypatch, caplog):
    break_everything(operations, monkeypatch, OSError(errno.ENOSPC, "on purpose"))
    with pytest.raises(pyfuse3.FUSEError) as raised:
        call(operations, name)
    assert raised.value.errno == errno.ENOSPC
    assert not caplog.records


def test_an_oserror_without_errno_is_a_mistake_of_ours(caplog):
    with caplog.at_level(logging.ERROR):
        assert reply_of(OSError("no number")).errno == errno.EIO
    assert len(caplog.records) == 1
    caplog.clear()


def test_forget_of_an_unknown_number_is_harmless(operations):
    trio.run(operations.forget, [(123456, 1)])
