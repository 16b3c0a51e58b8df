"""podman on our mount program does what it does on the kernel's overlayfs: runs, diff, commit, cp, export, prune."""

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pexpect

from tests.engines.conftest import SMALL
from tests.engines.saved import Saved, differences, read
from tests.images.model import Tree, merged
from tests.run.conftest import wait_until
from tests.support.podman import Engine

Engines = Callable[..., Engine]
CHANGES = """
set -e
echo new > /new; echo more >> /srv/full/3; > /srv/full/4; rm /srv/full/5; rm -r /srv/gone; mv /srv/moved /srv/elsewhere
rm -r /srv/deep; mkdir /srv/deep; echo other > /srv/deep/other; chmod 700 /srv/full/6; chown 1000:50 /srv/full/7
mkdir /srv/gone; rmdir /srv/gone; echo x > /passing; rm /passing; ln -s new /link; ln /srv/full/8 /srv/hard
mkfifo /fifo; touch -d @1600000000 /srv/full/9; mkdir -p /many; for i in $(seq 50); do echo $i > /many/$i; done
cp -p /usr/lib/program /usr/lib/copy; echo y >> /usr/lib/program; mv /srv/full/10 /srv/full/11; rm /usr/lib/text
mv /srv/full/12 /srv/full/13; echo z > /srv/full/12; mkdir /srv/full/14x; chmod 1777 /srv/full/14x
"""
# On the kernel's overlayfs podman reads the upper. Where a program mounts, whichever it is, it compares two mounts: a
# directory that was removed and made again is a changed one, and a file with a new name did not change, so that the
# committed layer has it twice.
OF_COMPARING = {"C /srv/deep", "D /srv/deep/er"}
OF_READING_THE_UPPER = {"D /srv/deep", "C /srv/full/8"}
LINKED = {b"srv/full/8", b"srv/hard"}


class Told(NamedTuple):
    """What an engine says of a container that was changed."""

    diff: list[str]
    commit: Saved
    export: Tree
    copied: str


def story(engine: Engine, small: Path, directory: Path) -> Told:
    """Run, exec, stop and start again, and what comes of it."""
    directory.mkdir()
    engine.podman("import", "--quiet", str(small), SMALL)
    engine.podman("run", "--detach", "--name", "c", SMALL, "sleep", "1000")
    engine.podman("exec", "c", "sh", "-c", CHANGES)
    (directory / "in").write_text("from outside\n")
    engine.podman("cp", str(directory / "in"), "c:/srv/full/3")
    engine.podman("cp", "c:/srv", str(directory / "srv"))
    copied = _found(directory / "srv")
    engine.podman("stop", "--time", "0", "c")
    engine.podman("start", "c")
    assert engine.podman("exec", "c", "cat", "/srv/full/3", "/srv/elsewhere/file") == "from outside\nsrv/moved/file\n"
    engine.podman("exec", "c", "sh", "-c", "echo again >> /new; rm /many/7")
    diff = sorted(engine.podman("diff", "c").splitlines())
    engine.podman("commit", "--quiet", "c", "localhost/changed")
    engine.podman("save", "--quiet", "-o", str(directory / "saved"), "localhost/changed")
    engine.podman("export", "-o", str(directory / "exported"), "c")
    export = merged([(directory / "exported").read_bytes()])
    assert engine.podman("run", "--rm", "localhost/changed", "cat", "/new") == "new\nagain\n"
    return Told(diff, read(directory / "saved"), export, copied)


def _found(directory: Path) -> str:
    script = 'cd "$0" && find . -printf "%p %y %m %U %G %s %l\n" | sort && find . -type f | sort | xargs md5sum'
    return subprocess.run(["sh", "-c", script, directory], check=True, capture_output=True, text=True).stdout


def test_what_a_container_changed(engines: Engines, ours: Path, small: Path, tmp_path: Path) -> None:
    began = float(int(os.stat(small).st_mtime))
    right = story(engines("kernel"), small, tmp_path / "right")
    told = story(engines("ours", ours), small, tmp_path / "told")
    assert set(told.diff) > OF_COMPARING
    # podman tries by a mount whether the kernel's upper can be read; where that fails it compares there, too.
    reads = not set(right.diff) > OF_COMPARING
    assert set(told.diff) ^ set(right.diff) == (OF_COMPARING | OF_READING_THE_UPPER if reads else set())
    assert told.copied == right.copied
    assert differences(right.export, told.export, since=began) == {}
    assert differences(right.commit.tree, told.commit.tree, since=began).keys() == LINKED
    if reads:
        of_reading = {"srv/full/8", "srv/deep/.wh.er", "srv/deep/.wh..wh..opq"}
        assert told.commit.layers[0] ^ right.commit.layers[0] == of_reading


def test_an_image_that_was_saved_is_loaded(engines: Engines, ours: Path, small: Path, tmp_path: Path) -> None:
    engine = engines("ours", ours)
    engine.podman("import", "--quiet", str(small), SMALL)
    engine.podman("save", "--quiet", "--format", "oci-archive", "-o", str(tmp_path / "saved"), SMALL)
    engine.podman("rmi", SMALL)
    engine.podman("load", "--quiet", "-i", str(tmp_path / "saved"))
    assert engine.podman("run", "--rm", SMALL, "cat", "/srv/full/2") == "2\n2\n"


def test_a_shell_in_a_terminal(engines: Engines, ours: Path, small: Path) -> None:
    engine = engines("ours", ours)
    engine.podman("import", "--quiet", str(small), SMALL)
    terminal = engine.terminal("run", "-it", "--rm", "--env", "PS1=ready> ", SMALL, "sh")
    terminal.expect_exact("ready> ")
    terminal.sendline("stty size; echo kept > /kept; cat /kept /srv/full/1")
    terminal.expect("24 80\r\nkept\r\n1\r\nready> ")
    terminal.sendline("exit 7")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 7
    assert engine.overlays() == []


def test_eight_at_once(engines: Engines, ours: Path, small: Path) -> None:
    engine = engines("ours", ours)
    engine.podman("import", "--quiet", str(small), SMALL)
    script = "rm -r /srv/gone; mv /srv/moved /m; echo {0} > /new; cat /new /m/file; find / -xdev | wc -l"
    with ThreadPoolExecutor(8) as pool:
        lines = [("run", "--rm", SMALL, "sh", "-c", script.format(number)) for number in range(8)]
        answers = [answer.split() for answer in pool.map(lambda line: engine.podman(*line), lines)]
    assert [answer[:2] for answer in answers] == [[str(number), "srv/moved/file"] for number in range(8)]
    assert len({answer[2] for answer in answers}) == 1
    assert engine.overlays() == []


def test_killed_servers_harm_no_other_container(engines: Engines, ours: Path, small: Path) -> None:
    engine = engines("ours", ours)
    engine.podman("import", "--quiet", str(small), SMALL)
    for name in ("one", "two"):
        engine.podman("run", "--detach", "--name", name, SMALL, "sleep", "1000")
    servers = engine.servers(engine.merged("one"))
    assert servers
    for pid in servers:
        os.kill(pid, 9)
    wait_until(lambda: not engine.servers(engine.merged("one")))
    assert engine.run("podman", "exec", "one", "cat", "/srv/full/1").returncode != 0
    assert engine.podman("exec", "two", "sh", "-c", "echo x > /new; cat /new /srv/full/1") == "x\n1\n"
    engine.podman("rm", "--force", "--time", "0", "one")
    assert engine.overlays() == [engine.merged("two")]
    assert engine.podman("run", "--rm", SMALL, "cat", "/srv/full/1") == "1\n"


def test_prune_removes_everything(engines: Engines, ours: Path, small: Path, tmp_path: Path) -> None:
    engine = engines("ours", ours)
    engine.podman("import", "--quiet", str(small), SMALL)
    (tmp_path / "Containerfile").write_text(
        f"FROM {SMALL}\nRUN rm -r /srv/gone && mv /srv/moved /m\nRUN echo x > /m/x\n"
    )
    engine.build("--quiet", "--tag", "localhost/built", str(tmp_path))
    engine.podman("run", "--name", "ended", "localhost/built", "sh", "-c", "rm -r /m")
    engine.podman("system", "prune", "--all", "--force", "--volumes")
    assert engine.podman("images", "--quiet") == ""
    assert engine.overlays() == []
    layers = {path.name for path in (engine.place / "store/overlay").iterdir() if path.is_dir()}
    assert layers == {"l"}
    assert list((engine.place / "store/overlay/l").iterdir()) == []
