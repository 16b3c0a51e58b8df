"""Options as typed and an image's config become Settings: everything that decides a run, checked and frozen. Pure.

``settings`` is called by the command line alone; the plan is made from its result and nothing else. What it needs to
know of the machine comes in as a value.
"""

import posixpath
from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeVar

from cowfs.errors import BrokenImage, UsageError
from cowfs.model import Base
from cowrun import capabilities, security, signals, users
from cowrun.limits import Limits, Ulimit, parse_limits, parse_ulimits
from cowrun.mounts import Tmpfs, Volume
from cowrun.ports import PROGRAMS, Port, parse_ports
from cowrun.syscall_rules import Filter
from cowrun.volumes import HostDevice, Places, absolute, parse_device, parse_mount, parse_tmpfs, parse_volume

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # docker's
SHELLS = ("/bin/bash", "/bin/sh")  # where nothing says what to run: the first that is there
ALL_IDS = 2**32 - 1  # of root of the machine
NETWORKS = ("host", "none", "private", *PROGRAMS)

Mount = TypeVar("Mount", Volume, Tmpfs)


class Options(NamedTuple):
    """The command line as typed."""

    image: str
    command: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # NAME=value, or NAME for the launcher's own value
    env_files: tuple[tuple[str, str], ...] = ()  # name and content
    workdir: str | None = None
    user: str | None = None
    name: str = ""
    hostname: str | None = None
    entrypoint: str | None = None
    network: str | None = None
    ports: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    add_host: tuple[str, ...] = ()
    read_only: bool = False
    init: bool = False
    want_terminal: bool = False  # -t
    stop_signal: str = ""
    stop_timeout: int = 10  # seconds
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security: tuple[str, ...] = ()
    profiles: tuple[tuple[str, bytes], ...] = ()  # files that --security-opt names, with their contents
    privileged: bool = False
    mounts: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    memory: str | None = None
    cpus: str | None = None
    pids_limit: int | None = None
    ulimits: tuple[str, ...] = ()


class Machine(NamedTuple):
    """What settings may depend on besides the command line."""

    environ: Mapping[str, str] = {}
    directory: str = "/"  # the working directory, for relative volume sources
    terminal: bool = False  # standard input and output are terminals
    input_terminal: bool = False  # standard input is one
    volumes: str = "/volumes"  # the directory of the named ones
    machine: str = "x86_64"  # uname -m
    ids: int = ALL_IDS  # of users; fewer in a user namespace


class Settings(NamedTuple):
    """One run."""

    command: tuple[str, ...]  # empty: the first of SHELLS that is there
    env: tuple[tuple[str, str], ...]  # HOME is added where it is missing, once the user is known
    workdir: str
    user: str
    hostname: str  # empty: the run's id
    network: str
    ports: tuple[Port, ...]
    dns: tuple[str, ...]
    hosts: tuple[tuple[str, str], ...]  # name and address
    volumes: tuple[Volume, ...]
    tmpfs: tuple[Tmpfs, ...]
    read_only: bool
    init: bool
    terminal: bool
    capabilities: frozenset[str]
    no_new_privileges: bool
    filter: Filter | None
    hide: bool  # parts of /proc and /sys
    privileged: bool
    limits: Limits
    ulimits: tuple[Ulimit, ...]
    devices: tuple[HostDevice, ...]
    anonymous: tuple[str, ...]  # volumes of the image where nothing else is mounted
    host: bool
    ids: int
    stop_signal: int
    stop_timeout: int  # seconds; below 0: for ever


def settings(options: Options, base: Base, machine: Machine) -> Settings:
    """The run that ``options`` ask for. Raises UsageError, and BrokenImage where the image's config makes no sense."""
    config = base.config
    user = config.user if options.user is None else options.user
    users.check(user)
    places = Places(machine.directory, machine.volumes)
    volumes, tmpfs = _mounts(options, places)
    held = capabilities.choose((*options.cap_add, *(("ALL",) if options.privileged else ())), options.cap_drop)
    safety = security.parse(
        options.security,
        privileged=options.privileged,
        capabilities=held,
        machine=machine.machine,
        profiles=dict(options.profiles),
    )
    if options.privileged and machine.ids < ALL_IDS:
        raise UsageError("--privileged: only root of the machine has what it gives")
    made = Settings(
        command=_command(options, config.entrypoint, config.cmd),
        env=_environment(options, base, machine),
        workdir=absolute(options.workdir or config.working_dir or "/", "the working directory"),
        user=user,
        hostname=_hostname(options.hostname),
        network=_network(options),
        ports=parse_ports(options.ports),
        dns=tuple(_address("--dns", text) for text in options.dns),
        hosts=tuple(_host(text) for text in options.add_host),
        volumes=volumes,
        tmpfs=tmpfs,
        read_only=options.read_only,
        init=options.init,
        terminal=_terminal(options, machine),
        capabilities=held,
        no_new_privileges=safety.no_new_privileges,
        filter=safety.filter,
        hide=safety.hide,
        privileged=safety.privileged,
        limits=parse_limits(options.memory, options.cpus, options.pids_limit),
        ulimits=parse_ulimits(options.ulimits),
        devices=tuple(parse_device(text) for text in options.devices),
        anonymous=_anonymous(config.volumes, {*(v.target for v in volumes), *(t.target for t in tmpfs)}),
        host=base.host,
        ids=machine.ids,
        stop_signal=signals.parse("--stop-signal", options.stop_signal or config.stop_signal or "TERM"),
        stop_timeout=options.stop_timeout,
    )
    _check_strings(made)
    return made


def to_join(options: Options, first: Settings, machine: Machine) -> Settings:
    """A further command in the container that was set up with ``first`` (docker exec(1)). Raises UsageError."""
    user = first.user if options.user is None else options.user
    users.check(user)
    terminal = _terminal(options, machine)
    env = {"TERM": _terminal_type(first.host, machine)} if terminal else {}
    return first._replace(
        command=options.command,
        env=tuple((env | dict(first.env) | _typed_environment(options, machine)).items()),
        workdir=absolute(options.workdir or first.workdir, "the working directory"),
        user=user,
        terminal=terminal,
    )


def _mounts(options: Options, places: Places) -> tuple[tuple[Volume, ...], tuple[Tmpfs, ...]]:
    asked = [parse_mount(text, places) for text in options.mounts]
    volumes = [*(parse_volume(text, places) for text in options.volumes), *(m for m in asked if isinstance(m, Volume))]
    tmpfs = [*(parse_tmpfs(text) for text in options.tmpfs), *(m for m in asked if isinstance(m, Tmpfs))]
    targets = [*(volume.target for volume in volumes), *(mount.target for mount in tmpfs)]
    for target in targets:
        if targets.count(target) > 1:
            raise UsageError(f"two mounts on {target}")
    return _by_depth(volumes), _by_depth(tmpfs)


def _anonymous(paths: Iterable[str], taken: set[str]) -> tuple[str, ...]:
    """VOLUME paths of the image, but for the root and what docker takes for a mistake, too."""
    found = (absolute(path, "a VOLUME of the image") for path in paths if path.startswith("/"))
    return tuple(path for path in dict.fromkeys(found) if path != "/" and path not in taken)


def _command(options: Options, entrypoint: tuple[str, ...], cmd: tuple[str, ...]) -> tuple[str, ...]:
    """Entrypoint and Cmd are joined; arguments replace Cmd; --entrypoint drops both (docker run(1))."""
    if options.entrypoint is not None:
        return ((options.entrypoint,) if options.entrypoint else ()) + options.command
    return entrypoint + (options.command or cmd)


def _environment(options: Options, base: Base, machine: Machine) -> tuple[tuple[str, str], ...]:
    """Lowest first: our defaults, the image's, --env-file, -e. The launcher's own environment is not inherited."""
    found = {"PATH": PATH, "container": "cowrun"}
    if _terminal(options, machine):
        found["TERM"] = _terminal_type(base.host, machine)
    found |= dict(_pair(text) for text in base.config.env)
    return tuple((found | _typed_environment(options, machine)).items())


def _terminal_type(host: bool, machine: Machine) -> str:
    """An image knows few terminals; this machine knows the one it is used from."""
    return machine.environ.get("TERM", "xterm") if host else "xterm"


def _typed_environment(options: Options, machine: Machine) -> dict[str, str]:
    found: dict[str, str] = {}
    texts = [line for name, content in options.env_files for line in _env_lines(name, content)]
    for text in (*texts, *options.env):
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"-e {text!r}: no name before the =")
        if equals:
            found[name] = value
        elif name in machine.environ:
            found[name] = machine.environ[name]
    return found


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def _env_lines(name: str, content: str) -> Iterable[str]:
    """docker's format: a variable a line, no quotes, ``#`` begins a comment line."""
    for number, line in enumerate(content.splitlines(), 1):
        text = line.lstrip()
        if not text or text.startswith("#"):
            continue
        variable = text.partition("=")[0]
        if not variable or any(character.isspace() for character in variable):
            raise UsageError(f"{name}, line {number}: {variable!r} is no name of a variable")
        yield text


def _hostname(text: str | None) -> str:
    if text is None:
        return ""
    labels = text.split(".")
    if len(text) > 64 or not all(_is_label(label) for label in labels):
        raise UsageError(f"--hostname {text!r}: letters, digits, - and ., at most 64")
    return text


def _is_label(text: str) -> bool:
    return bool(text) and text.isascii() and text.replace("-", "a").isalnum() and text[0] != "-" != text[-1]


def _terminal(options: Options, machine: Machine) -> bool:
    if options.want_terminal and not machine.input_terminal:
        raise UsageError("-t: standard input is not a terminal")
    return machine.terminal or options.want_terminal


def _network(options: Options) -> str:
    """Ports can be published from a private network only."""
    network = _one_of("--network", options.network or ("private" if options.ports else "host"), NETWORKS)
    if options.ports and network in ("host", "none"):
        raise UsageError(f"-p needs --network private; with {network} there is nothing to publish")
    return network


def _address(option: str, text: str) -> str:
    from ipaddress import ip_address  # takes long to import

    try:
        return str(ip_address(text))
    except ValueError:
        raise UsageError(f"{option} {text}: no address") from None


def _host(text: str) -> tuple[str, str]:
    name, _, address = text.replace("=", ":", 1).partition(":")
    if not name or any(character.isspace() for character in name):
        raise UsageError(f"--add-host {text!r}: NAME:ADDRESS")
    return name, _address("--add-host", address.strip("[]"))


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f"{option} {value}: one of {', '.join(allowed)}")
    return value


def _by_depth(mounts: Iterable[Mount]) -> tuple[Mount, ...]:
    return tuple(sorted(mounts, key=lambda mount: mount.target.count("/")))


def _check_strings(made: Settings) -> None:
    """A NUL ends a string for the kernel: refused here, where it can be said."""
    for text in (*made.command, *(part for pair in made.env for part in pair), made.workdir, made.user):
        if "\0" in text:
            raise BrokenImage(f"a zero byte in {text!r}")
    if posixpath.normpath(made.workdir) != made.workdir:
        raise BrokenImage(f"the working directory {made.workdir!r} cannot be used")
