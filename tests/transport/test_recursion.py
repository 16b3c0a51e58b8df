"""A mount whose own mount point lies in its lower: there it is an empty directory, not itself once more."""

import subprocess

import pytest

from cowfs.options import MountOptions
from tests.transport.conftest import in_child


@pytest.mark.parametrize("propagation", ["--make-rprivate", "--make-rshared"])
@pytest.mark.parametrize("live", [True, False])
def test_a_mount_does_not_see_itself(tmp_path, live, propagation):
    def work():
        from cowfs.fuse.serve import start

        subprocess.run(["mount", "-t", "tmpfs", "lower", tmp_path], check=True)
        subprocess.run(["mount", propagation, tmp_path], check=True)
        try:
            for name in ("merged", "state/upper", "state/work", "data"):
                (tmp_path / name).mkdir(parents=True)
            (tmp_path / "data" / "file").write_bytes(b"x")
            state = tmp_path / "state"
            options = MountOptions(
                lowers=(tmp_path,), upper=state / "upper", work=state / "work", live_lower=live, hidden=(state,)
            )
            start(options, tmp_path / "merged", detach=False, log=tmp_path / "log")
            merged = tmp_path / "merged"
            try:
                (merged / "data" / "file").write_bytes(b"y")
                subprocess.run(["mount", "-t", "tmpfs", "later", tmp_path / "data"], check=True)
                found = [
                    sorted(path.name for path in where.iterdir()) for where in (merged / "merged", merged / "state")
                ]
                return [*found, (merged / "data" / "file").read_bytes().decode()]
            finally:
                subprocess.run(["umount", merged], check=True)
        finally:
            subprocess.run(["umount", "-l", tmp_path], check=True)

    assert in_child(work) == [[], [], "y"]
