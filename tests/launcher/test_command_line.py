"""What cowrun's command line says before anything is run."""

import subprocess
import sys

import click
import pytest
from cowrun.cli import cowrun

from cowfs.cli.entry import status_of

INTERRUPTED_AT = """
import importlib.abc, os, signal, sys
class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from cowrun.main import main
sys.modules.pop(sys.argv[1], None)
main()
"""


def test_help_starts_with_how_it_is_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(cowrun, "cowrun", ["--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: cowrun [OPTIONS] IMAGE [COMMAND [ARG...]]\n")


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--bogus", "no such option '--bogus'"),
        ("--detach", "no such option '--detach'"),
        ("-z", "no such option '-z'"),
        ("--volumes", "no such option '--volumes', did you mean --volume?"),
        ("--env-f", "no such option '--env-f', did you mean --env or --env-file?"),
    ],
)
def test_an_unknown_option_is_named_and_only_what_is_near_is_suggested(
    option: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(cowrun, "cowrun", [option, "image"]) == 125
    assert capsys.readouterr().err == f"cowrun: {line} (see cowrun --help)\n"


@pytest.mark.parametrize("module", ["signal", "cowrun.filesystem", "cowfs.cli.entry", "cowrun.cli"])
def test_an_interrupt_at_the_start_prints_nothing(module: str) -> None:
    command = [sys.executable, "-c", INTERRUPTED_AT, module, "dir:/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("", "")
    assert done.returncode in (130, -2)


# docker-run(1) of 20.10, but for -d and its like, which would need a daemon.
TAKEN = (
    "-i -t -v -e -w -u -h -m -p -q --interactive --tty --volume --mount --env --env-file --workdir --user"
    " --name --hostname --entrypoint --network --net --read-only --tmpfs --init --memory --cpus --pids-limit"
    " --ulimit --cap-add --cap-drop --security-opt --privileged --device --add-host --dns --publish"
    " --stop-signal --stop-timeout --platform --pull --rm"
)
NOT_TAKEN = (
    "-a -c -d -l -P --attach --blkio-weight --blkio-weight-device --cgroup-parent --cgroupns --cidfile"
    " --cpu-period --cpu-quota --cpu-rt-period --cpu-rt-runtime --cpu-shares --cpuset-cpus --cpuset-mems"
    " --detach --detach-keys --device-cgroup-rule --device-read-bps --device-read-iops --device-write-bps"
    " --device-write-iops --disable-content-trust --dns-option --dns-search --domainname --expose --gpus"
    " --group-add --health-cmd --health-interval --health-retries --health-start-period --health-timeout --ip"
    " --ip6 --ipc --isolation --kernel-memory --label --label-file --link --link-local-ip --log-driver"
    " --log-opt --mac-address --memory-reservation --memory-swap --memory-swappiness --network-alias"
    " --no-healthcheck --oom-kill-disable --oom-score-adj --pid --publish-all --restart --runtime --shm-size"
    " --sig-proxy --storage-opt --sysctl --userns --uts --volume-driver --volumes-from"
)


def test_the_options_of_docker_are_taken_or_refused_by_name() -> None:
    known = {name for parameter in cowrun.params for name in (*parameter.opts, *parameter.secondary_opts)}
    assert set(TAKEN.split()) - known == set()
    assert set(NOT_TAKEN.split()) & known == set()
    for option in NOT_TAKEN.split():
        with pytest.raises(click.NoSuchOption) as error:
            cowrun.make_context("cowrun", [option, "image"])
        assert option in error.value.format_message()
