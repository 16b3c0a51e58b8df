"""Options and an image's config become settings: docker's rules, row by row."""

import pytest
from cowrun import capabilities
from cowrun.mounts import Tmpfs, Volume
from cowrun.settings import PATH, Machine, Options, Settings, settings

from cowfs.errors import BrokenImage, CowfsError, UsageError
from cowfs.linux import CAPABILITIES
from cowfs.model import Base, ImageConfig

CONFIG = ImageConfig(
    entrypoint=("/entry", "-a"),
    cmd=("cmd", "-b"),
    env=("PATH=/image/bin", "IMAGE=1", "EQUALS=a=b"),
    user="app:staff",
    working_dir="/srv/./app/",
)


def made(
    options: Options, config: ImageConfig = CONFIG, machine: Machine | None = None, host: bool = False
) -> Settings:
    return settings(options, Base("test", (), config, host=host), machine or Machine())


def option(**values: object) -> Options:
    return Options("image")._replace(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "config", "command"),
    [
        pytest.param(option(), CONFIG, ("/entry", "-a", "cmd", "-b"), id="entrypoint and cmd are joined"),
        pytest.param(option(command=("x",)), CONFIG, ("/entry", "-a", "x"), id="arguments replace cmd"),
        pytest.param(option(entrypoint="/e"), CONFIG, ("/e",), id="--entrypoint drops both"),
        pytest.param(option(entrypoint="/e", command=("x",)), CONFIG, ("/e", "x"), id="--entrypoint and arguments"),
        pytest.param(option(entrypoint="", command=("x",)), CONFIG, ("x",), id="an empty --entrypoint drops it"),
        pytest.param(option(), ImageConfig(cmd=("c",)), ("c",), id="cmd alone"),
        pytest.param(option(), ImageConfig(), (), id="nothing: a shell will be looked for"),
    ],
)
def test_command(options: Options, config: ImageConfig, command: tuple[str, ...]) -> None:
    assert made(options, config).command == command


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        pytest.param(option(), "IMAGE", "1", id="the image's"),
        pytest.param(option(), "EQUALS", "a=b", id="a value with an equals sign"),
        pytest.param(option(), "PATH", "/image/bin", id="the image's PATH before ours"),
        pytest.param(option(env=("IMAGE=2",)), "IMAGE", "2", id="-e before the image's"),
        pytest.param(option(env=("IMAGE=",)), "IMAGE", "", id="-e with an empty value"),
        pytest.param(option(env=("MINE",)), "MINE", "own", id="-e without a value passes the caller's on"),
        pytest.param(option(env=("ABSENT",)), "ABSENT", None, id="-e of what the caller does not have"),
        pytest.param(option(), "MINE", None, id="the caller's environment is not inherited"),
        pytest.param(option(env_files=(("f", "# c\n\n A=1\nIMAGE=3\nMINE\n"),)), "A", "1", id="--env-file"),
        pytest.param(option(env_files=(("f", "IMAGE=3\n"),)), "IMAGE", "3", id="--env-file before the image's"),
        pytest.param(option(env_files=(("f", "A=1"),), env=("A=2",)), "A", "2", id="-e before --env-file"),
        pytest.param(option(env_files=(("f", "MINE"),)), "MINE", "own", id="--env-file passes on"),
        pytest.param(option(), "TERM", None, id="no TERM without a terminal"),
        pytest.param(option(), "HOME", None, id="HOME is known later"),
        pytest.param(option(), "container", "cowrun", id="the marker"),
    ],
)
def test_environment(options: Options, name: str, value: str | None) -> None:
    found = dict(made(options, machine=Machine({"MINE": "own", "TERM": "vt52"})).env)
    assert found.get(name) == value


def test_term_is_the_callers_on_the_host_and_dockers_in_images() -> None:
    machine = Machine({"TERM": "vt52"}, terminal=True, input_terminal=True)
    assert dict(made(option(), machine=machine).env)["TERM"] == "xterm"
    assert dict(made(option(), ImageConfig(), machine, host=True).env)["TERM"] == "vt52"


def test_defaults_without_a_config() -> None:
    found = made(option(), ImageConfig())
    assert dict(found.env) == {"PATH": PATH, "container": "cowrun"}
    assert (found.user, found.workdir, found.hostname, found.network) == ("", "/", "", "host")
    assert found.capabilities == capabilities.DEFAULT
    assert found.no_new_privileges
    assert (found.read_only, found.init, found.terminal) == (False, False, False)


def test_options_before_the_image() -> None:
    assert made(option()).user == "app:staff"
    assert made(option(user="0")).user == "0"
    assert made(option()).workdir == "/srv/app"
    assert made(option(workdir="//tmp/../x/")).workdir == "/x"


@pytest.mark.parametrize(
    ("terminal", "input_terminal", "want", "has"),
    [(True, True, False, True), (False, True, False, False), (False, True, True, True), (False, False, False, False)],
)
def test_there_is_a_pty_where_there_can_be_one(terminal: bool, input_terminal: bool, want: bool, has: bool) -> None:
    machine = Machine(terminal=terminal, input_terminal=input_terminal)
    assert made(option(want_terminal=want), machine=machine).terminal is has


@pytest.mark.parametrize(
    ("text", "volume"),
    [
        ("/a:/b", Volume("/a", "/b", False)),
        ("/a:/b:ro", Volume("/a", "/b", True)),
        ("/a:/b:rw", Volume("/a", "/b", False)),
        ("./a:/b/../c/", Volume("/here/./a", "/c", False)),
        (".:/b", Volume("/here/.", "/b", False)),
    ],
)
def test_volumes(text: str, volume: Volume) -> None:
    assert made(option(volumes=(text,)), machine=Machine(directory="/here")).volumes == (volume,)


def test_mounts_are_made_from_the_root_down() -> None:
    found = made(option(volumes=("/x:/a/b/c", "/y:/a", "/z:/a/b"))).volumes
    assert [volume.target for volume in found] == ["/a", "/a/b", "/a/b/c"]


def test_tmpfs() -> None:
    plain, tuned = made(option(tmpfs=("/t", "/u:size=1m,mode=700,exec,ro"))).tmpfs
    assert plain == Tmpfs("/t", (("mode", "1777"),), frozenset(("nosuid", "nodev", "noexec")))
    assert tuned == Tmpfs("/u", (("mode", "700"), ("size", "1m")), frozenset(("nosuid", "nodev", "ro")))


@pytest.mark.parametrize(
    ("add", "drop", "chosen"),
    [
        ((), (), capabilities.DEFAULT),
        (("NET_RAW",), (), capabilities.DEFAULT | {"net_raw"}),
        (("CAP_NET_RAW",), ("chown",), (capabilities.DEFAULT | {"net_raw"}) - {"chown"}),
        ((), ("ALL",), frozenset()),
        (("chown",), ("all",), frozenset(("chown",))),
        (("all",), (), frozenset(CAPABILITIES)),
        (("all",), ("sys_admin",), frozenset(CAPABILITIES) - {"sys_admin"}),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], chosen: frozenset[str]) -> None:
    assert made(option(cap_add=add, cap_drop=drop)).capabilities == chosen


def test_privileged_is_every_capability_but_for_those_that_are_dropped() -> None:
    found = made(option(privileged=True, cap_add=("net_raw",), cap_drop=("mknod",)))
    assert found.capabilities == frozenset(CAPABILITIES) - {"mknod"}
    assert found.filter is None
    assert not found.no_new_privileges


def test_the_default_capabilities_have_the_kernels_numbers() -> None:
    assert capabilities.mask(capabilities.DEFAULT) == 0x800405FB


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("no-new-privileges", True),
        ("no-new-privileges=true", True),
        ("no-new-privileges:false", False),
        ("no-new-privileges=false", False),
    ],
)
def test_no_new_privileges(text: str, wanted: bool) -> None:
    assert made(option(security=(text,))).no_new_privileges is wanted


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (option(volumes=("/a",)), "SOURCE:TARGET"),
        (option(volumes=("/a:",)), "SOURCE:TARGET"),
        (option(volumes=("/a:/b:ro:x",)), "SOURCE:TARGET"),
        (option(volumes=("na/me:/b",)), "neither a path"),
        (option(volumes=("/a:/b",), tmpfs=("/b/",)), "two mounts on /b"),
        (option(mounts=("type=bind,target=/b",)), "the source is a path"),
        (option(mounts=("type=bind,source=/a",)), "no target"),
        (option(mounts=("type=bind,source=/a,dst=/b,target=/c",)), "twice"),
        (option(mounts=("type=npipe,source=/a,target=/b",)), "type is bind, volume or tmpfs"),
        (option(mounts=("type=volume,source=../x,target=/b",)), "name of a volume"),
        (option(mounts=("type=volume,source=x,target=/b,volume-driver=nfs",)), "volume-driver is not known"),
        (option(mounts=("type=bind,source=/a,target=/b,bind-propagation=shared",)), "only private"),
        (option(mounts=("type=tmpfs,target=/b,tmpfs-size=x",)), "unknown option 'size=x'"),
        (option(devices=("/dev/fuse:/dev/fuse:r",)), "only rwm"),
        (option(devices=("fuse",)), "must begin with /"),
        (option(memory="1m"), "at least 6m"),
        (option(memory="much"), "a number with"),
        (option(cpus="0"), "at least 0.01"),
        (option(cpus="."), "a number of processors"),
        (option(ulimits=("nofiles=1",)), "NAME one of"),
        (option(ulimits=("nofile=2:1",)), "above the hard one"),
        (option(security=("apparmor=mine",)), "not taken"),
        (option(security=("no-new-privileges=maybe",)), "not taken"),
        (option(security=("seccomp=p",), profiles=(("p", b"{}"),)), "defaultAction"),
        (option(volumes=("/a:b",)), "must begin with /"),
        (option(volumes=("/a:/",)), "the root itself"),
        (option(volumes=("/a:/b/..",)), "the root itself"),
        (option(volumes=("/a:/b:z",)), "unknown option 'z'"),
        (option(tmpfs=("t",)), "must begin with /"),
        (option(tmpfs=("/t:size=x",)), "unknown option 'size=x'"),
        (option(tmpfs=("/t:huge=always",)), "unknown option"),
        (option(workdir="x"), "must begin with /"),
        (option(user="4294967295"), "larger than"),
        (option(user="0:99999999999999999999"), "larger than"),
        (option(hostname=""), "--hostname"),
        (option(hostname="a_b"), "--hostname"),
        (option(hostname="-a"), "--hostname"),
        (option(hostname="a" * 65), "--hostname"),
        (option(network="bridge"), "one of host, none"),
        (option(want_terminal=True), "not a terminal"),
        (option(cap_add=("root",)), "no such capability"),
        (option(env=("=x",)), "no name"),
        (option(env_files=(("f", "A=1\nB C=2"),)), "f, line 2"),
    ],
)
def test_what_makes_no_sense_is_said(options: Options, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        made(options)


@pytest.mark.parametrize(
    "config",
    [
        ImageConfig(cmd=("a\0b",)),
        ImageConfig(env=("A=\0",)),
        ImageConfig(user="a\0"),
        ImageConfig(working_dir="/a\0"),
    ],
)
def test_e18_an_images_config_cannot_smuggle_a_zero_byte(config: ImageConfig) -> None:
    with pytest.raises(BrokenImage, match="zero byte"):
        made(option(), config)


def test_e18_an_images_user_and_directory_are_checked() -> None:
    for config in (ImageConfig(user="4294967295"), ImageConfig(working_dir="relative")):
        with pytest.raises(CowfsError):
            made(option(), config)
