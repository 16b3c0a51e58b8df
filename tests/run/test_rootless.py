"""cowrun as an ordinary user: in a user namespace, with a store of the user's own.

The user, the numbers given to it, and devices that it may open are made up: they are mounted in the tests' own mount
namespace, and nothing of the machine is changed. Once with 65,536 numbers and once with none but its own.
"""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images.layouts import Layout
from tests.images.tars import entry, opaque, tar, whiteout
from tests.run.conftest import wait_until
from tests.support.person import PLACE, UID, Person, ordinary_user, processes


@pytest.fixture(params=[65536, 1])
def person(request: pytest.FixtureRequest, small_root: Path) -> Iterator[Person]:
    """The user, and a small root."""
    with ordinary_user(request.param, root=small_root) as user:
        yield user


def test_the_command_is_root_and_nothing_of_it_is_outside(person: Person) -> None:
    script = "id -u; cat /proc/self/uid_map | wc -l; cat /proc/self/setgroups; touch /new; rm -r /srv; chmod 700 /bin"
    assert person.inside(script).split() == ["0", "2" if person.ids > 1 else "1", "allow" if person.ids > 1 else "deny"]
    assert (person.store / "runs").stat().st_uid == UID
    assert person.run("cowdiff", "show", "last").stdout == "m /bin/ (mode 0755 -> 0700)\nA /new\nD /srv/\n"
    person.inside("mkdir /srv/a; rmdir /srv/a; rm -r /srv; mkdir /srv; mv /root /home")
    assert "R /home/ (from /root)" in person.run("cowdiff", "show", "last").stdout
    (upper,) = person.store.glob("runs/*/upper/home")
    assert os.getxattr(upper, "user.overlay.redirect") == b"root"
    assert "trusted.overlay.redirect" not in os.listxattr(upper)
    assert person.run("cowdiff", "prune", "--keep", "0").returncode == 0
    assert list((person.store / "runs").iterdir()) == []


CHANGES = """
echo more >>/srv/h2; mv /root /home; chmod 700 /bin; rm /bin/seq; ln /srv/h /srv/h4
echo new >/etc/new; rm -r /tmp; mkdir /tmp; echo t >/tmp/t
"""
SHOWN = """\
m /bin/ (mode 0755 -> 0700)
D /bin/seq
A /etc/new
R /home/ (from /root)
M /srv/h (hard link of /srv/h2)
M /srv/h2
M /srv/h3 (hard link of /srv/h2)
A /srv/h4 (hard link of /srv/h2)
A /tmp/t
"""


def test_what_a_run_did_is_shown_and_given_back(person: Person) -> None:
    """By every command of cowdiff, with the marks of an ordinary user."""
    (PLACE / "root/srv/h").write_text("1\n")
    for name in ("h2", "h3"):
        (PLACE / "root/srv" / name).hardlink_to(PLACE / "root/srv/h")
    person.inside(CHANGES)

    def cowdiff(*arguments: str, status: int = 0) -> str:
        done = person.run("cowdiff", *arguments)
        assert done.returncode == status, done
        assert "Traceback" not in done.stderr
        return done.stdout

    home = PLACE / "home"
    owners = "m /tmp/ (owner 65534:65534 -> 0:0)"  # the small root belongs to nobody that exists inside
    assert set(cowdiff("show", "last").splitlines()) - {owners} == set(SHOWN.splitlines())
    assert "+more" in cowdiff("text", "last")
    for name in ("h", "h2", "h3", "h4"):
        assert cowdiff("cat", "last", f"/srv/{name}") == "1\nmore\n"
    cowdiff("cp", "last:/srv/h3", f"{home}/copy")
    assert (home / "copy").read_text() == "1\nmore\n"
    for command in ("who", "log", "list"):
        assert cowdiff(command, *(["last"] if command != "list" else []))
    assert "sh" in cowdiff("blame", "last", "/etc/new")
    assert "/etc/new" in cowdiff("why", "last", "/etc/new")
    for kind in ("tar", "layer"):
        cowdiff("export", "last", f"{kind}:{home}/{kind}")
        with tarfile.open(home / kind) as archive:
            names = {f"srv/{name}" for name in ("h", "h2", "h3", "h4")}
            assert names <= {name.removeprefix("./") for name in archive.getnames()}
            assert {archive.extractfile(name).read() for name in names} == {b"1\nmore\n"}  # type: ignore[union-attr]
            assert any("home" in name for name in archive.getnames())
    cowdiff("export", "last", f"overlay:{home}/overlay")
    assert os.getxattr(home / "overlay/home", "user.overlay.redirect") == b"root"
    cowdiff("report", "last", "-o", f"{home}/page.html")
    cowdiff("rerun", "last")
    assert cowdiff("diff", "last", person.run("cowrun", "ps", "-aq").stdout.split()[-1]) == ""
    assert person.inside("cat /srv/h3; test ! -e /root", "--from", "last") == "1\nmore\n"
    assert "needs root" in person.run("cowdiff", "mount", "last", str(home)).stderr
    cowdiff("pin", "last")
    cowdiff("unpin", "last")
    cowdiff("rm", "last")


def test_a_run_is_applied_and_taken_back(person: Person) -> None:
    """To a directory of the user's own."""
    mine = PLACE / "home" / "mine"
    shutil.copytree(PLACE / "root", mine, symlinks=True)
    (mine / "srv/h").write_text("1\n")
    (mine / "srv/h2").hardlink_to(mine / "srv/h")
    for path in (mine, *mine.rglob("*")):
        os.chown(path, UID, UID, follow_symlinks=False)
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    script = "echo more >>/srv/h2; mv /root /home; rm /bin/seq; echo new >/etc/new"
    assert person.run("cowrun", f"dir:{mine}", "sh", "-c", script).returncode == 0
    done = person.run("cowdiff", "apply", "--yes", "last")
    assert done.returncode == 0, done
    assert (mine / "srv/h").read_text() == "1\nmore\n"
    assert (mine / "srv/h").samefile(mine / "srv/h2")
    assert (mine / "home").is_dir()
    assert not (mine / "root").exists()
    assert (mine / "etc/new").stat().st_uid == UID
    done = person.run("cowdiff", "undo", "last")
    assert done.returncode == 0, done
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before
    assert (mine / "root").is_dir()


def test_a_run_becomes_an_image(person: Person, small_root: Path) -> None:
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as archive:
        archive.add(small_root, ".")
    (PLACE / "layout").mkdir()
    image = Layout(PLACE / "layout").image(base.getvalue())
    done = person.run(
        "cowrun", image, "sh", "-c", "echo x >/etc/new; mv /root /home; rm -r /tmp; mkdir /tmp; rm /bin/seq"
    )
    assert done.returncode == 0, done
    done = person.run("cowdiff", "commit", "last", "made:1")
    assert done.returncode == 0, done
    done = person.run("cowrun", "made:1", "sh", "-c", "cat /etc/new; test -d /home -a ! -e /root -a ! -e /bin/seq")
    assert (done.returncode, done.stdout) == (0, "x\n"), done


def test_other_users_and_their_files(person: Person) -> None:
    script = "echo x > /tmp/f; stat -c %u /tmp/f; id -G"
    done = person.run("cowrun", "-u", "app", f"dir:{PLACE}/root", "sh", "-c", f"chmod 1777 /tmp; {script}")
    if person.ids == 1:
        assert (done.returncode, done.stdout) == (125, "")
        assert "cannot become uid 1000" in done.stderr
        assert "newuidmap and /etc/subuid" in done.stderr
        return
    os.chmod(PLACE / "root" / "tmp", 0o1777)
    done = person.run("cowrun", "-u", "app", f"dir:{PLACE}/root", "sh", "-c", script)
    assert done.stdout.split() == ["1000", "50", "60"], done
    assert person.inside("chown 1000:50 /bin/plain; stat -c %u:%g /bin/plain") == "1000:50\n"


def test_an_image_is_unpacked(person: Person, small_root: Path) -> None:
    """With owners, whiteouts, opaque directories and devices, some of which an ordinary user cannot have."""
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as archive:
        archive.add(small_root, ".")
    top = tar(
        entry(b"bin/plain", data=b"of app\n", uid=1000, gid=50, mode=0o640),
        whiteout(b"tmp"),
        opaque(b"etc"),
        entry(b"etc/passwd", data=b"root:x:0:0::/:/bin/sh\n"),
        entry(b"console", b"3", device=(5, 1)),
    )
    layout = PLACE / "layout"
    layout.mkdir()
    image = Layout(layout).image(base.getvalue(), top)
    done = person.run("cowrun", image, "sh", "-c", "stat -c %u:%g:%a /bin/plain; ls -A / /etc; cat /proc/self/uid_map")
    assert done.returncode == 0, done
    owner, *names = done.stdout.split()
    assert owner == ("1000:50:640" if person.ids > 1 else "0:0:640")
    assert not {"tmp", "group", "console"} & set(names)
    assert "passwd" in names
    assert person.run("cowfs.cli", "rm", *_images(person)).returncode == 0
    assert person.run("cowdiff", "prune", "--keep", "0").returncode == 0
    assert list((person.store / "layers" / "sha256").iterdir()) == []


def _images(person: Person) -> list[str]:
    lines = person.run("cowfs.cli", "images").stdout.splitlines()[1:]
    return [line.split()[0] for line in lines]


def test_owners_beyond_the_numbers_of_the_user_are_named(person: Person) -> None:
    layout = PLACE / "layout"
    layout.mkdir()
    image = Layout(layout).image(tar(entry(b"far", uid=70000)))
    done = person.run("cowrun", image, "true")
    if person.ids > 1:
        assert (done.returncode, done.stderr.count("\n")) == (125, 1)
        assert "'far' belongs to 70000:0, but there are only 65536 ids" in done.stderr
        assert list((person.store / "staging").iterdir()) == []
    else:
        assert done.returncode == 127  # it has no such program, but it is there


@pytest.mark.parametrize("network", ["host", "none", "pasta", "slirp4netns"])
def test_networks(person: Person, network: str) -> None:
    lines = person.inside("grep -c : /proc/net/dev; mount | grep ' on /sys '; ls /sys/fs/fuse", "--network", network)
    devices, sys, *rest = lines.splitlines()
    assert "(ro,nosuid,nodev,noexec" in sys
    assert network == "host" or int(devices) == (1 if network == "none" else 2)
    assert "connections" not in rest or network != "host"


def test_the_machines_own_root(person: Person) -> None:
    script = "echo x >> /etc/hosts && rm /etc/passwd && touch /usr/new && cat /etc/shadow"
    done = person.run("cowrun", "@host", "sh", "-c", script)
    assert done.returncode == 1
    assert "shadow: Permission denied" in done.stderr
    assert {"M /etc/hosts", "D /etc/passwd", "A /usr/new"} <= set(
        person.run("cowdiff", "show", "last").stdout.splitlines()
    )
    assert "x" not in Path("/etc/hosts").read_text().splitlines()


def test_what_is_going(person: Person) -> None:
    line = person.line("cowrun", "--name", "one", f"dir:{PLACE}/root", "sh", "-c", "echo up; exec sleep 1000")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **person.options) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        assert person.run("cowrun", "ps", "-q").stdout
        done = person.run("cowrun", "exec", "one", "sh", "-c", "id -u; readlink /proc/1/exe; touch /by-exec")
        assert done.stdout == "0\n/bin/busybox\n", done
        assert person.run("cowrun", "stop", "one").returncode == 0
        assert process.wait(30) == 137
    assert person.run("cowdiff", "show", "last").stdout == "A /by-exec\n"


def test_a_kill_of_the_launcher_leaves_nothing(person: Person) -> None:
    line = person.line("cowrun", "--network", "pasta", f"dir:{PLACE}/root", "sh", "-c", "echo up; exec sleep 1000")
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, **person.options) as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        assert len(processes()) > 4
        process.kill()
    wait_until(lambda: not processes(), 10)


@pytest.mark.parametrize(
    ("program", "arguments", "words"),
    [
        ("cowrun", ("--privileged", f"dir:{PLACE}/root", "true"), "--privileged: only root of the machine"),
        ("cowrun", ("-m", "64m", f"dir:{PLACE}/root", "true"), "-m: the limit cannot be set"),
        ("cowrun", ("-p", "80:80", f"dir:{PLACE}/root", "true"), "-p 80: the port cannot be published: Permission"),
        ("cowfs.cli", ("mount", "--upper", "up", "--work", "work", f"dir:{PLACE}/root", f"{PLACE}/home"), "needs root"),
        ("cowrun", ("--root", f"{PLACE}/roots", f"dir:{PLACE}/root", "true"), "/roots"),
    ],
)
def test_what_cannot_work_is_refused_by_name(
    person: Person, program: str, arguments: tuple[str, ...], words: str
) -> None:
    (PLACE / "roots").mkdir(mode=0o700)
    done = person.run(program, *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (125, 1), done
    assert words in done.stderr


def test_a_dry_run_says_how_many_there_are_inside(person: Person) -> None:
    done = person.run("cowrun", "--dry-run", f"dir:{PLACE}/root", "true")
    first, *more = done.stdout.splitlines()
    assert first == f"new user namespace, in which the caller is root of {person.ids} ids"
    assert "bind /sys of the host on /sys (ro,nodev,noexec,nosuid)" in more
    assert not list(person.store.glob("runs/*"))


def test_a_device_that_only_root_may_open_is_named(person: Person) -> None:
    os.chmod(PLACE / "fuse", 0o600)
    done = person.run("cowrun", f"dir:{PLACE}/root", "true")
    assert (done.returncode, done.stderr.count("\n")) == (125, 1), done
    assert "/dev/fuse cannot be opened: Permission denied" in done.stderr


def test_root_of_a_user_namespace_has_a_store_of_its_own_kind(cowrun: Any) -> None:
    """Marks of root cannot be seen there, so a store that has them is refused, and the other way round."""
    alone = ["unshare", "--user", "--map-root-user"]
    assert cowrun.run(cowrun.root, "true").returncode == 0

    def inside(store: Path) -> subprocess.CompletedProcess[str]:
        line = [word if word != str(cowrun.store) else str(store) for word in cowrun.line(cowrun.root, "true")]
        return subprocess.run([*alone, *line], capture_output=True, text=True, timeout=60, check=False)

    refused = inside(cowrun.store)
    assert refused.returncode == 125
    assert "was made by root of the machine, whose layers have other marks" in refused.stderr
    other = cowrun.store.with_name("other")
    assert inside(other).returncode == 0
    line = [word if word != str(cowrun.store) else str(other) for word in cowrun.line(cowrun.root, "true")]
    refused = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 125
    assert "was made by an ordinary user" in refused.stderr
