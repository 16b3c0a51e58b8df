"""The plan is data: what is in it, in which order, and that it describes itself."""

from cowrun.asked_mounts import AddDevice, AllDevices, Anonymous, ControlGroups
from cowrun.confinement import FilterSystemCalls, SetUlimits
from cowrun.identity import Become, FindUser, Loopback, Namespaces, Terminal, WorkingDirectory
from cowrun.limits import Ulimit
from cowrun.mounts import (
    Device,
    Inject,
    Kernel,
    Mask,
    PivotRoot,
    PrivateMounts,
    Protect,
    ReadOnlyRoot,
    Tmpfs,
    Volume,
)
from cowrun.plan import MASKED, Place, outside_the_merge, plan
from cowrun.settings import Machine, Options, Settings, settings
from cowrun.step import Step

from cowfs.linux import CAPABILITIES
from cowfs.model import Base, ImageConfig

PLACE = Place("0123456789ab", "/run-files")


def steps(options: Options, host: bool = False, **changes: object) -> tuple[Step, ...]:
    return plan(made(options, host)._replace(**changes), PLACE)  # type: ignore[arg-type]


def made(options: Options, host: bool = False) -> Settings:
    return settings(options, Base("test", (), ImageConfig(), host=host), Machine())


def order(found: tuple[Step, ...], *kinds: type) -> list[int]:
    return [max(number for number, step in enumerate(found) if isinstance(step, kind)) for kind in kinds]


def test_the_order_that_safety_rests_on() -> None:
    found = steps(Options("i", volumes=("/a:/b",), read_only=True), terminal=True)
    wanted = order(
        found, Namespaces, PrivateMounts, Kernel, Inject, Volume, FindUser, Terminal, PivotRoot, WorkingDirectory
    )
    assert wanted == sorted(wanted)
    assert order(found, WorkingDirectory, ReadOnlyRoot, Become) == sorted(
        order(found, WorkingDirectory, ReadOnlyRoot, Become)
    )
    assert [type(step) for step in found[-2:]] == [Become, FilterSystemCalls]
    unlocked = steps(Options("i", security=("no-new-privileges=false",)))
    assert [type(step) for step in unlocked[-2:]] == [FilterSystemCalls, Become]  # to load it takes a capability then


def test_every_step_says_what_it_does() -> None:
    found = steps(Options("i", volumes=("/a:/b:ro",), tmpfs=("/t:size=1m",), network="none"), terminal=True)
    lines = [step.describe() for step in found]
    assert all(line and "\n" not in line for line in lines)
    assert len(set(lines)) == len(lines)
    assert "bind /a of the host on /b (ro,nodev)" in lines
    assert "mount tmpfs on /t (nodev,noexec,nosuid,mode=1777,size=1m)" in lines
    assert "set the hostname to 0123456789ab" in lines


def test_the_network_by_option() -> None:
    assert not any(isinstance(step, Loopback) for step in steps(Options("i")))
    alone = steps(Options("i", network="none"))
    assert any(isinstance(step, Loopback) for step in alone)
    assert Namespaces(("mount", "cgroup", "uts", "ipc", "net")) in alone


def test_an_image_gets_files_and_the_host_a_fresh_run() -> None:
    image, host = steps(Options("i")), steps(Options("i"), host=True)
    assert Inject("/run-files/hosts", "/etc/hosts") in image
    assert not any(isinstance(step, Inject) for step in host)
    assert any(isinstance(step, Kernel) and step.target == "/run" for step in host)
    assert not any(isinstance(step, Kernel) and step.target == "/run" for step in image)


def test_the_hosts_resolv_conf_below_run_is_given_back() -> None:
    found = plan(made(Options("i"), host=True), PLACE._replace(host_resolv_conf="/run/resolve/stub.conf"))
    assert Inject("/run-files/resolv.conf", "/run/resolve/stub.conf") in found


def test_a_volume_takes_the_place_of_an_injected_file() -> None:
    found = steps(Options("i", volumes=("/mine:/etc/hosts",)))
    assert not any(isinstance(step, Inject) and step.target == "/etc/hosts" for step in found)


def test_what_is_mounted_over_is_no_change() -> None:
    assert outside_the_merge(made(Options("i", volumes=("/a:/b",), tmpfs=("/t",)))) == (
        "/proc", "/sys", "/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/mtab", "/b", "/t",
    )  # fmt: skip
    assert outside_the_merge(made(Options("i"), host=True)) == ("/proc", "/sys", "/dev", "/run")


def test_what_is_hidden_is_hidden() -> None:
    found = steps(Options("i"))
    assert {step.path for step in found if isinstance(step, Mask)} == set(MASKED)


def test_privileged_holds_nothing_back() -> None:
    found = steps(Options("i", privileged=True))
    kinds = {type(step) for step in found}
    assert not kinds & {Mask, Protect, FilterSystemCalls, Device}
    assert AllDevices in kinds
    become = found[-1]
    assert isinstance(become, Become)
    assert become.capabilities == set(CAPABILITIES)
    assert not become.no_new_privileges


def test_what_is_asked_for_is_in_the_plan() -> None:
    options = Options("i", devices=("/dev/fuse",), ulimits=("nofile=10:20",), security=("systempaths=unconfined",))
    found = steps(options)
    assert AddDevice("/dev/fuse", "/dev/fuse") in found
    assert SetUlimits((Ulimit("nofile", 10, 20),)) in found
    assert not any(isinstance(step, (Mask, Protect)) for step in found)
    groups = (("pids", "/sys/fs/cgroup/pids/cowrun-x", False),)
    assert ControlGroups(groups) in plan(made(Options("i")), PLACE._replace(groups=groups))


def test_mounts_are_made_from_the_top_down() -> None:
    config = ImageConfig(volumes=("/a/b/c", "/x", "/"))
    options = Options("i", volumes=("/h:/a",), tmpfs=("/a/b", "/x"))
    found = plan(settings(options, Base("test", (), config), Machine()), PLACE)
    assert [step.target for step in found if isinstance(step, (Volume, Tmpfs, Anonymous))] == [
        "/x", "/a", "/a/b", "/a/b/c",
    ]  # fmt: skip
