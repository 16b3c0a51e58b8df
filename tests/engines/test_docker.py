"""Debian's docker on its ``fuse-overlayfs`` driver, with our program under that name."""

from pathlib import Path

from tests.engines import eight_steps
from tests.engines.saved import Saved, differences, read
from tests.support import debian
from tests.support.docker import Docker


def test_it_runs_containers(docker: Docker, small: Path) -> None:
    assert docker.docker("info", "--format", "{{.Driver}}").strip() == "fuse-overlayfs"
    docker.docker("import", str(small), "small")
    assert docker.docker("run", "--rm", "small", "cat", "/srv/full/1") == "1\n"
    docker.docker("run", "--detach", "--name", "one", "small", "sleep", "1000")
    docker.docker("exec", "one", "sh", "-ec", "rm -r /srv/gone; mv /srv/moved /m; echo x > /new; chmod 700 /srv/full/2")
    assert sorted(docker.docker("diff", "one").splitlines()) == [
        "A /m", "A /m/file", "A /m/sub", "A /m/sub/file", "A /new", "C /srv", "C /srv/full", "C /srv/full/2",
        "D /srv/gone", "D /srv/moved",
    ]  # fmt: skip
    docker.docker("commit", "one", "changed")
    docker.docker("rm", "--force", "one")
    assert docker.docker("run", "--rm", "changed", "sh", "-c", "ls /srv; cat /m/sub/file /new") == (
        "deep\nfull\nsrv/moved/sub/file\nx\n"
    )
    assert docker.mounts() == []


def test_it_builds_eight_steps(docker: Docker, right: tuple[float, Saved], tmp_path: Path) -> None:
    context = eight_steps.write(tmp_path / "context", "debian")
    docker.docker("import", str(debian.tar()), "debian")
    docker.docker(
        "build",
        "--quiet",
        "--network",
        "none",
        "--tag",
        "built",
        "--file",
        str(context / "Containerfile"),
        str(context),
    )
    docker.docker("save", "--output", str(tmp_path / "saved"), "built")
    built = read(tmp_path / "saved")
    assert differences(right[1].tree, built.tree, since=right[0]) == {}
    assert docker.mounts() == []
