"""``cowfs-overlay``: what a command line of fuse-overlayfs's form means."""

from pathlib import Path

import pytest

from cowfs.cli.overlaywords import parse
from cowfs.errors import UsageError

BASE = "lowerdir=/a:/b,upperdir=/u,workdir=/w"


def options(*more: str):
    return parse(["-o", ",".join((BASE, *more)), "/m"]).options


def test_what_podman_calls_it_with():
    request = parse(["-o", "lowerdir=/s/l/A:/s/l/B,upperdir=/s/u,workdir=/s/w,,volatile", "/s/merged"])
    found = request.options
    assert (found.lowers, found.upper, found.work) == ((Path("/s/l/A"), Path("/s/l/B")), Path("/s/u"), Path("/s/w"))
    assert (found.volatile, found.writable, request.mountpoint) == (True, True, Path("/s/merged"))
    assert found.engine is not None
    assert not request.foreground


def test_paths_are_from_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    request = parse(["-o", "lowerdir=l/A:l/B,upperdir=1/diff,workdir=1/work", "1/merged"])
    assert request.options.lowers == (tmp_path / "l/A", tmp_path / "l/B")
    assert (request.options.upper, request.mountpoint) == (tmp_path / "1/diff", tmp_path / "1/merged")


def test_without_upper_it_is_read_only():
    assert not parse(["-o", "lowerdir=/a:/b", "/m"]).options.writable


@pytest.mark.parametrize(
    ("text", "lowers"),
    [
        (r"lowerdir=/a\:b:/c", ["/a:b", "/c"]),
        (r"lowerdir=/a\,b:/c", ["/a,b", "/c"]),
        (r"lowerdir=/a\\b", ["/a\\b"]),
        ("lowerdir=/a::/c:", ["/a", "/c"]),
        ("lowerdir=/a=b", ["/a=b"]),
    ],
)
def test_escapes(text, lowers):
    assert parse(["-o", text, "/m"]).options.lowers == tuple(map(Path, lowers))


def test_several_o_and_the_last_word_counts():
    request = parse(["-olowerdir=/a", "-o", "upperdir=/u", "-o", "workdir=/w,upperdir=/v", "-f", "/m"])
    assert (request.options.upper, request.foreground) == (Path("/v"), True)


@pytest.mark.parametrize("flag", ["-d", "--debug", "-odebug"])
def test_debugging_is_in_the_foreground(flag):
    request = parse(["-o", BASE, flag, "/m"])
    assert (request.foreground, request.debug) == (True, True)


def test_a_context_with_commas_is_one_option():
    found = options('context="system_u:object_r:container_file_t:s0:c1,c2"', "volatile")
    assert found.volatile


def test_ranges_as_containers_storage_writes_them():
    engine = options("uidmapping=:0:1000:1:1:110000:65536", "gidmapping=0:1000:1").engine
    assert (engine.uids, engine.gids) == (((0, 1000, 1), (1, 110000, 65536)), ((0, 1000, 1),))


@pytest.mark.parametrize(
    ("given", "squashed"),
    [
        (["squash_to_root"], (0, 0)),
        (["squash_to_uid=5"], (5, None)),
        (["squash_to_root", "squash_to_uid=5"], (5, 0)),
        (["squash_to_root", "squash_to_gid=6"], (0, 6)),
        (["squash_to_uid=-1"], (None, None)),
    ],
)
def test_squashing(given, squashed):
    engine = options(*given).engine
    assert (engine.squash_uid, engine.squash_gid) == squashed


@pytest.mark.parametrize(
    ("given", "attribute", "wanted"),
    [
        ("fsync=0", "volatile", True),
        ("fsync=1", "volatile", False),
        ("timeout=0", "live_lower", True),
        ("timeout=1000000000", "live_lower", False),
        ("ro", "read_only", True),
        ("dev", "allow_dev", True),
        ("nodev", "allow_dev", False),
        ("nosuid", "allow_suid", False),
        ("userxattr", "userxattr", True),
        ("metacopy=on", "copy_up_on_open", True),
        ("redirect_dir=on", "copy_up_on_open", True),
        ("threaded=0", "volatile", False),
        ("clone_fd", "volatile", False),
        ("noxattrs=0", "volatile", False),
    ],
)
def test_switches(given, attribute, wanted):
    assert getattr(options(given), attribute) == wanted


@pytest.mark.parametrize(
    ("given", "attribute", "wanted"),
    [
        ("static_nlink", "static_nlink", True),
        ("noacl", "acl", False),
        ("xattr_permissions=0", "override", None),
        ("xattr_permissions=1", "override", b"security.fuseoverlayfs.override_stat"),
        ("xattr_permissions=2", "override", b"user.fuseoverlayfs.override_stat"),
    ],
)
def test_options_of_the_store(given, attribute, wanted):
    assert getattr(options(given).engine, attribute) == wanted


def test_noexec():
    assert not parse(["-o", BASE + ",noexec", "/m"]).programs
    assert parse(["-o", BASE + ",noexec,exec", "/m"]).programs


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["-o", BASE], "MOUNTPOINT"),
        (["-o", BASE, "/m", "/n"], "MOUNTPOINT"),
        (["-o", "upperdir=/u,workdir=/w", "/m"], "lowerdir"),
        (["-o", "lowerdir=/a,upperdir=/u", "/m"], "workdir"),
        (["-o", BASE + ",nonsense", "/m"], "nonsense"),
        (["-o", BASE + ",squash_to_rot", "/m"], "squash_to_rot"),
        (["-o", BASE + ",plugins=/x.so", "/m"], "plugins"),
        (["-o", BASE + ",noxattrs=1", "/m"], "noxattrs"),
        (["-o", BASE + ",allow_root", "/m"], "allow_root"),
        (["-o", "lowerdir=//plugin/data/a", "/m"], "//plugin"),
        (["-o", BASE + ",uidmapping=0:1", "/m"], "uidmapping"),
        (["-o", BASE + ",gidmapping=0:a:1", "/m"], "gidmapping"),
        (["-o", BASE + ",squash_to_uid=root", "/m"], "squash_to_uid"),
        (["-o", BASE + ",xattr_permissions=3", "/m"], "xattr_permissions"),
        (["-o", BASE + ",timeout=soon", "/m"], "timeout"),
        (["--no-such", "/m"], "--no-such"),
    ],
)
def test_what_is_refused_is_named(arguments, word):
    with pytest.raises(UsageError, match=word):
        parse(arguments)


def test_a_journal_is_kept_in_the_work_directory(monkeypatch):
    monkeypatch.delenv("COWFS_JOURNAL", raising=False)
    found = options()
    assert (found.journal, found.journal_when_needed) == (Path("/w/cowfs/journal"), True)
    assert options("nojournal").journal is None
    assert options("ro").journal is None
    assert parse(["-o", "lowerdir=/a:/b", "/m"]).options.journal is None
    monkeypatch.setenv("COWFS_JOURNAL", "no")
    assert options().journal is None
