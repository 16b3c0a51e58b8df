"""Who changed what: a real dpkg, its maintainer scripts, and the tree that they left, compared without the journal."""

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cowfs.fuse import serve
from cowfs.journal.history import History
from cowfs.journal.reader import Change, Reader
from cowfs.journal.records import Op
from cowfs.model import Run
from cowfs.options import MountOptions

PROGRAM = [sys.executable, "-c", "from cowdiff.main import main; main()"]


def cowdiff(cowrun: Any, *arguments: str, status: int = 0) -> str:
    line = [*PROGRAM, "--root", str(cowrun.store), *arguments]
    result = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == status, result
    return result.stdout if status == 0 else result.stderr


def journal(run: Run) -> list[Change]:
    reader = Reader(run.journal)
    changes = list(reader.more())
    assert (reader.ended, reader.full, reader.lost, reader.unread) == (True, False, 0, 0)
    return changes


# --- a root with dpkg ---------------------------------------------------------------------------------------


@pytest.fixture
def dpkg_root(small_root: Path, tmp_path: Path) -> Path:
    """The small root with this machine's dpkg, and a package ``greeter`` in /packages."""
    for program in ("dpkg", "dpkg-deb", "dpkg-split", "dpkg-query", "tar", "rm"):
        found = shutil.which(program)
        assert found, f"{program} is missing: this test needs a Debian"
        (small_root / "bin" / program).unlink(missing_ok=True)
        shutil.copy(found, small_root / "bin" / program)
        for word in subprocess.run(["ldd", found], capture_output=True, text=True, check=True).stdout.split():
            if word.startswith("/"):
                place = small_root / word.lstrip("/")
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(word, place)
    for name in ("ldconfig", "start-stop-daemon", "diff"):  # dpkg wants them in the PATH
        (small_root / "bin" / name).symlink_to("true")
    for name in ("info", "updates", "triggers", "parts"):
        (small_root / "var" / "lib" / "dpkg" / name).mkdir(parents=True)
    (small_root / "var" / "lib" / "dpkg" / "status").write_text("")
    (small_root / "var" / "log").mkdir()
    (small_root / "etc" / "motd").write_text("welcome\n")
    (small_root / "srv" / "old").mkdir()
    (small_root / "srv" / "old" / "kept").write_text("kept\n")
    _package(tmp_path / "package", small_root / "packages")
    return small_root


def _package(source: Path, target: Path) -> None:
    scripts = {
        "preinst": "mkdir -p /var/lib/greeter",
        "postinst": "echo seeded > /var/lib/greeter/seed; chmod 600 /var/lib/greeter/seed; echo more >> /etc/motd",
        "prerm": "mv /srv/old /srv/new; rm /etc/greeter.conf",
        "postrm": "rm -rf /var/lib/greeter; ln -sf gone /srv/trace",
    }
    control = source / "DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(
        "Package: greeter\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: hello\n"
    )
    for name, lines in scripts.items():
        (control / name).write_text(f"#!/bin/sh\nset -e\n{lines}\n")
        (control / name).chmod(0o755)
    for path, text in (("usr/bin/greeter", "#!/bin/sh\necho hello\n"), ("etc/greeter.conf", "loud=no\n")):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(text)
    target.mkdir()
    build = ["dpkg-deb", "--root-owner-group", "--build", str(source), str(target / "greeter.deb")]
    subprocess.run(build, check=True, capture_output=True)


# --- comparing without the journal --------------------------------------------------------------------------


def tree(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Everything but times, and but what hangs on names: link counts, sizes of directories."""
    found = {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        for name in (*directories, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            facts: list[object] = [status.st_mode, status.st_uid, status.st_gid, status.st_rdev]
            if stat.S_ISREG(status.st_mode):
                facts.append(hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest())
            elif stat.S_ISLNK(status.st_mode):
                facts.append(os.readlink(path))
            found[os.path.relpath(path, os.fsencode(root))] = tuple(facts)
    return found


def merged_tree(run: Run, mountpoint: Path) -> dict[bytes, tuple[object, ...]]:
    mountpoint.mkdir()
    options = MountOptions(lowers=run.lowers, upper=run.upper, work=run.work, read_only=True)
    pid = serve.start(options, mountpoint, detach=False)
    try:
        return tree(mountpoint)
    finally:
        serve.unmount(mountpoint)
        os.waitpid(pid, 0)


def replayed(names: set[bytes], changes: list[Change]) -> set[bytes]:
    """The names that a tree has after what the journal says happened to it."""
    for change in changes:
        path, other = change.path, change.other
        if change.op in (Op.CREATE, Op.MKDIR, Op.MKNOD, Op.SYMLINK, Op.LINK):
            assert path not in names, change
            names.add(path)
        elif change.op in (Op.UNLINK, Op.RMDIR):
            names.remove(path)
        elif change.op is Op.RENAME:
            assert other is not None
            moved = {name for name in names if name == path or name.startswith(path + b"/")}
            names = (names - moved - {other}) | {other + name[len(path) :] for name in moved}
    return names


def test_all_changes_are_what_differs_path_for_path(cowrun: Any, dpkg_root: Path, tmp_path: Path) -> None:
    script = "/bin/dpkg --install /packages/greeter.deb && /bin/dpkg --purge greeter"
    cowrun.inside(f"{script} && echo z > /srv/new/kept && chmod 1777 /tmp")
    run = cowrun.runs[0]
    changes = journal(run)
    base, merged = tree(dpkg_root), merged_tree(run, tmp_path / "merged")
    assert replayed(set(base), changes) == set(merged)
    differ = {path for path in base.keys() | merged.keys() if base.get(path) != merged.get(path)}
    history = History(changes)
    assert [path for path in differ if not history.blame(path)] == []
    assert {b"srv/old", b"srv/old/kept", b"srv/new", b"srv/new/kept", b"srv/trace", b"etc/motd", b"tmp"} <= differ
    for path in differ & merged.keys():  # and what is said last about each is true
        sizes = [change.size for change in history.blame(path) if change.op is Op.CLOSE]
        if sizes and stat.S_ISREG(merged[path][0]):  # type: ignore[arg-type]
            assert sizes[-1] == len(_content(run, path)), path
        modes = [change.mode for change in history.blame(path) if (change.mask or 0) & 1 and change.mode is not None]
        if modes:
            assert stat.S_IMODE(modes[-1]) == stat.S_IMODE(merged[path][0]), path  # type: ignore[arg-type]


def _content(run: Run, path: bytes) -> bytes:
    return Path(os.fsdecode(os.fsencode(run.upper) + b"/" + path)).read_bytes()


def test_who_names_dpkg_and_each_maintainer_script(cowrun: Any, dpkg_root: Path) -> None:
    cowrun.inside("/bin/dpkg --install /packages/greeter.deb && /bin/dpkg --purge greeter; true")
    records = [json.loads(line) for line in cowdiff(cowrun, "who", "last", "--json").splitlines()]
    touched: dict[str, set[str]] = {}
    above = {record["process"]["number"]: record["process"] for record in records}
    for record in records:
        chain, number = "", record["process"]["number"]
        while number is not None:
            chain += " < " + " ".join(above[number]["argv"])
            number = above[number]["parent"]
        for script in ("preinst", "postinst", "prerm", "postrm", "dpkg --install", "dpkg --purge"):
            if script in chain.split(" < ")[1] or (script[:3] in ("pre", "pos") and script in chain):
                touched.setdefault(script, set()).update(change["path"] for change in record["changes"])
                assert "dpkg" in chain
    assert touched["preinst"] == {"/var/lib/greeter"}
    assert touched["postinst"] == {"/var/lib/greeter/seed", "/etc/motd"}
    assert touched["prerm"] == {"/srv/old", "/etc/greeter.conf"}
    assert touched["postrm"] == {"/var/lib/greeter/seed", "/var/lib/greeter", "/srv/trace"}
    assert {"/usr/bin/greeter.dpkg-new", "/var/lib/dpkg/status-new"} <= touched["dpkg --install"]
    assert "/usr/bin/greeter" in touched["dpkg --purge"]
    shown = cowdiff(cowrun, "who", "last")
    for words in ("dpkg --install /packages/greeter.deb", "preinst install", "postinst configure", "/srv/trace"):
        assert words in shown


def test_blame_follows_a_file_to_its_name(cowrun: Any, dpkg_root: Path) -> None:
    cowrun.inside("/bin/dpkg --install /packages/greeter.deb; mv /usr/bin /usr/programs")
    told = [
        json.loads(line) for line in cowdiff(cowrun, "blame", "last", "/usr/programs/greeter", "--json").splitlines()
    ]
    assert [(one["op"], one["path"]) for one in told if one["op"] in ("create", "close", "rename")] == [
        ("create", "/usr/bin/greeter.dpkg-new"),
        ("close", "/usr/bin/greeter.dpkg-new"),
        ("rename", "/usr/bin/greeter.dpkg-new"),
        ("rename", "/usr/bin"),
    ]
    assert [process["argv"][0] for process in told[0]["processes"]] == ["/bin/dpkg", "sh"]
    assert "mv /usr/bin" in " ".join(told[-1]["processes"][0]["argv"])
    assert "did not change /etc/passwd" in cowdiff(cowrun, "blame", "last", "/etc/passwd", status=125)


# --- writing ------------------------------------------------------------------------------------------------


def test_who_writes_is_who_has_the_file_by_then(cowrun: Any, dpkg_root: Path) -> None:
    """The shell opens a file for what it executes next; what is opened and not written is no change."""
    cowrun.inside("(exec /bin/tar -c /etc/passwd > /srv/copy); exec 3<> /etc/group; echo x >> /etc/passwd")
    run = cowrun.runs[0]
    writes = {change.path: change for change in journal(run) if change.op is Op.CLOSE}
    assert set(writes) == {b"srv/copy", b"etc/passwd"}
    copied = writes[b"srv/copy"]
    assert copied.process is not None
    assert copied.process.argv == (b"/bin/tar", b"-c", b"/etc/passwd")
    grown = writes[b"etc/passwd"]
    assert grown.size is not None
    assert grown.before == grown.size - 2
    assert (grown.layer, copied.layer) == (1, 0), "the old content came from layer 1, and there was none"


def test_each_write_is_told_where_that_is_asked_for(cowrun: Any) -> None:
    cowrun.inside("dd if=/dev/zero of=/srv/zeros bs=100 count=3 2> /dev/null", "--trace-writes")
    writes = [change for change in journal(cowrun.runs[0]) if change.op is Op.WRITE]
    assert [(change.offset, change.written) for change in writes] == [(0, 100), (100, 100), (200, 100)]
    [closed] = [change for change in journal(cowrun.runs[0]) if change.op is Op.CLOSE]
    assert (closed.written, closed.size) == (300, 300)


def test_nothing_of_the_host_is_recorded_for_who_joins_a_run_either(cowrun: Any) -> None:
    process = cowrun.start_ready("echo up; read line; (echo 1 > /srv/one); true")
    launcher = [sys.executable, "-c", "from cowrun.main import main; main()", "exec", "--root", str(cowrun.store)]
    subprocess.run([*launcher, "last", "/bin/sh", "-c", "echo 2 > /srv/two"], check=True, stdin=subprocess.DEVNULL)
    process.communicate("\n")
    run = cowrun.runs[0]
    chains = {change.path: change.process.chain for change in journal(run) if change.process is not None}
    assert [len(chains[path]) for path in (b"srv/one", b"srv/two")] == [2, 1]
    assert chains[b"srv/two"][0].argv[:2] == (b"/bin/sh", b"-c")
    assert [member.inner_pid for member in chains[b"srv/one"]][-1] == 1


def test_without_a_journal_nothing_is_kept_and_that_is_said(cowrun: Any) -> None:
    cowrun.inside("echo x > /srv/x", "--no-journal")
    assert not cowrun.runs[0].journal.exists()
    assert "--no-journal" in cowdiff(cowrun, "who", "last", status=125)


# --- runs that are going, and that were killed --------------------------------------------------------------


def test_a_run_that_is_going_can_be_followed(cowrun: Any) -> None:
    process = cowrun.start_ready("echo 1 > /srv/one; echo up; read line; echo 2 > /srv/two")
    line = [*PROGRAM, "--root", str(cowrun.store), "log", "last", "--follow", "--json"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout
        paths = [json.loads(follower.stdout.readline())["path"]]
        while paths[-1] != "/srv/one":
            paths.append(json.loads(follower.stdout.readline())["path"])
        assert process.poll() is None
        assert "/srv/one" in cowdiff(cowrun, "who", "last")
        assert "will be thrown away" in cowdiff(cowrun, "why", "last", "/srv/one")
        process.communicate("\n")
        assert "/srv/two" in {json.loads(line)["path"] for line in follower.stdout}
        assert follower.wait() == 0


def test_what_a_killed_file_system_had_written_is_there(cowrun: Any) -> None:
    process = cowrun.start_ready("echo 1 > /srv/one; echo up; read line")
    journal_file = cowrun.runs[0].journal
    end = time.monotonic() + 20
    while not any(change.path == b"srv/one" for change in Reader(journal_file).more()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    result = subprocess.run(
        [*PROGRAM, "--root", str(cowrun.store), "log", "last"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "/srv/one" in result.stdout
    assert "was killed" in result.stderr


# --- would it have lasted -----------------------------------------------------------------------------------


def test_why_knows_every_place(cowrun: Any, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    script = "echo v > /data/v; echo t > /cache/t; echo u > /srv/u; rm /etc/group; echo w > /srv/w; rm /srv/w"
    cowrun.inside(script, "-v", f"{shared}:/data", "-v", f"{shared}:/fixed:ro", "--tmpfs", "/cache")

    def why(path: str) -> dict[str, Any]:
        return json.loads(cowdiff(cowrun, "why", "last", path, "--json"))  # type: ignore[no-any-return]

    places = {
        "/data/v": ("volume", True),
        "/fixed/v": ("volume", True),
        "/cache/t": ("tmpfs", False),
        "/dev/shm/x": ("tmpfs", False),
        "/proc/1/status": ("kernel", False),
        "/sys": ("kernel", False),
        "/etc/resolv.conf": ("injected", False),
        "/srv/u": ("upper", False),
        "/etc/group": ("removed", False),
        "/srv/w": ("nowhere", False),
        "/bin/busybox": ("layer", True),
    }
    assert {path: (why(path)["lives_in"], why(path)["lasts"]) for path in places} == places
    assert f"{shared}/v of the host" in why("/data/v")["where"]
    assert "-v DIRECTORY:/cache" in why("/cache/t")["keep"][0]
    assert "layer 1 of 1" in why("/bin/busybox")["where"]
    assert why("/srv/u")["keep"][0].startswith(f"cowdiff apply {cowrun.runs[0].id} /srv/u")
    assert "no such path" in cowdiff(cowrun, "why", "last", "/nothing", status=125)
    assert "ask for /bin/busybox/x" in cowdiff(cowrun, "why", "last", "/bin/sh/x", status=125)


# --- hostile names ------------------------------------------------------------------------------------------


def test_i01_names_and_arguments_cannot_speak_to_the_terminal(cowrun: Any) -> None:
    cowrun.inside("n=$(printf '/srv/a\\033[2J\\nb\\377'); echo x > \"$n\"; touch -- \"$n.$(printf '\\033]0;')\"")
    for command in (("who", "last", "--all"), ("log", "last"), ("blame", "last", os.fsdecode(b"/srv/a\x1b[2J\nb\xff"))):
        shown = cowdiff(cowrun, *command)
        assert "\x1b" not in shown
        assert "a\\x1b[2J\\x0ab\\xff" in shown
    for line in cowdiff(cowrun, "log", "last", "--json").splitlines():
        json.loads(line)
