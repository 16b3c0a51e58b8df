"""The wish that idle processors do not halt: while many requests come, and no longer."""

import os
import time

import pytest

from cowfs.fuse.transport import latency

HELD, RELEASED = bytes(4), b"\xff" * 4


def ask(mount, times):
    for number in range(times):
        (mount.merged / f"absent{number}").exists()


def released(mount):
    """Wait until what was wished for is taken back; a machine that is busy elsewhere makes several bursts of it."""
    end = time.monotonic() + 20
    while True:
        wishes = mount.wishes.read_bytes()
        bursts, rest = divmod(len(wishes), len(HELD + RELEASED))
        if bursts and not rest:
            assert wishes == (HELD + RELEASED) * bursts
            return wishes
        assert time.monotonic() < end, wishes
        time.sleep(0.005)


def test_it_is_held_while_many_requests_come(mounted):
    def check(mount):
        os.listdir(mount.merged)
        assert mount.wishes.read_bytes() == b""
        ask(mount, 20)
        assert mount.wishes.read_bytes() == b""
        ask(mount, 2000)
        wishes = released(mount)
        ask(mount, 1)
        time.sleep(0.1)
        assert mount.wishes.read_bytes() == wishes

    mounted(check)


def test_without_the_lever_nothing_is_wished_for(mounted):
    def check(mount):
        ask(mount, 2000)
        return mount.wishes.read_text()

    assert mounted(check, "handshake+loop+waiting") == ""


def test_real_processors_need_none(tmp_path, monkeypatch):
    (tmp_path / "driver").write_text("intel_idle\n")
    monkeypatch.setattr(latency, "_DRIVER", tmp_path / "driver")
    with pytest.raises(latency.Unneeded, match="intel_idle"):
        latency.Latency()


def test_many_processors_do_not_poll_for_one(tmp_path, monkeypatch):
    (tmp_path / "driver").write_text("haltpoll\n")
    monkeypatch.setattr(latency, "_DRIVER", tmp_path / "driver")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    with pytest.raises(latency.Unneeded, match="64 processors"):
        latency.Latency()


def test_who_may_not_wish_is_told(tmp_path, monkeypatch):
    (tmp_path / "driver").write_text("haltpoll\n")
    monkeypatch.setattr(latency, "_DRIVER", tmp_path / "driver")
    monkeypatch.setattr(latency, "_MOST", 1 << 16)
    monkeypatch.setattr(latency, "_DEVICE", os.fspath(tmp_path / "absent"))
    with pytest.raises(latency.Unneeded, match="absent: No such file"):
        latency.Latency()


def test_few_requests_at_a_time_are_no_burst(tmp_path, monkeypatch):
    (tmp_path / "driver").write_text("haltpoll\n")
    (tmp_path / "device").touch()
    monkeypatch.setattr(latency, "_DRIVER", tmp_path / "driver")
    monkeypatch.setattr(latency, "_DEVICE", os.fspath(tmp_path / "device"))
    monkeypatch.setattr(latency, "_MOST", 1 << 16)
    now = iter([1.0, 1.1, 1.2, 1.201, 1.202])
    monkeypatch.setattr(latency, "monotonic", lambda: next(now))
    wish = latency.Latency()
    for held in (False, False, False, True, True):
        wish.came()
        assert wish.held == held
    wish.release()
    assert (tmp_path / "device").read_bytes() == HELD + RELEASED
