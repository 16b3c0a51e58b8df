"""``cowrun [options] IMAGE [COMMAND [ARG...]]``: what may be typed, and no more. docker's names for docker's things.

Importing this costs click; the rest is imported once the arguments are known to be sound.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cowfs import __version__, userns
from cowfs.cli.context import root_option
from cowfs.errors import PrivilegeError

if TYPE_CHECKING:
    from cowfs.images.progress import Progress
    from cowrun.filesystem import FileSystem

_SETTINGS = {
    "help_option_names": ["--help"],  # -h is docker's --hostname
    "allow_interspersed_args": False,
    "auto_envvar_prefix": None,
}


@click.command(context_settings=_SETTINGS)
@click.option(
    "-v",
    "--volume",
    "volumes",
    multiple=True,
    metavar="SOURCE:TARGET[:ro]",
    help="\
Bind a path of the host, or a volume of the store by its name, which is made if it is missing.",
)
@click.option(
    "--mount",
    "mounts",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="""\
type=bind|volume|tmpfs, source, target, readonly, tmpfs-size, tmpfs-mode.""",
)
@click.option("--tmpfs", multiple=True, metavar="TARGET[:OPTIONS]", help="Mount an empty tmpfs.")
@click.option("-e", "--env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable, or pass on the caller's.")
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="Read variables from a file.")
@click.option("-w", "--workdir", metavar="DIR", help="Working directory inside, made if it is missing.")
@click.option("-u", "--user", metavar="USER[:GROUP]", help="Who the command runs as: names of the image, or numbers.")
@click.option("--name", default="", metavar="NAME", help="A name for the run.")
@click.option("-h", "--hostname", metavar="NAME", help="Hostname inside; the run's id if not given.")
@click.option("--entrypoint", metavar="COMMAND", help="Instead of the image's entrypoint and command.")
@click.option(
    "--network",
    "--net",
    metavar="host|none|private",
    help="""\
host: this machine's own, the default. none: a loopback device and nothing else. private: its own, with a way out, by
pasta or slirp4netns (or one of these two by name); the default with -p.""",
)
@click.option(
    "-p",
    "--publish",
    "ports",
    multiple=True,
    metavar="[ADDRESS:][PORT:]PORT[/udp]",
    help="A port of this machine, a free one if not given, that leads to one inside.",
)
@click.option("--dns", multiple=True, metavar="ADDRESS", help="A name server, instead of this machine's.")
@click.option("--add-host", multiple=True, metavar="NAME:ADDRESS", help="A line for /etc/hosts.")
@click.option("--read-only", is_flag=True, help="The root cannot be written.")
@click.option("--init", is_flag=True, help="A first process that reaps orphans and passes signals on.")
@click.option("--cap-add", multiple=True, metavar="NAME", help="Add a capability (or ALL).")
@click.option("--cap-drop", multiple=True, metavar="NAME", help="Drop a capability (or ALL).")
@click.option(
    "--security-opt",
    "security",
    multiple=True,
    metavar="OPTION",
    help="""\
no-new-privileges=false: setuid works inside. seccomp=unconfined: every system call; seccomp=FILE: a profile in docker's
format. systempaths=unconfined: nothing of /proc and /sys is hidden.""",
)
@click.option("--privileged", is_flag=True, help="All capabilities, devices and system calls: nothing is held back.")
@click.option("--device", "devices", multiple=True, metavar="PATH[:TARGET]", help="A device of the host.")
@click.option("-m", "--memory", metavar="SIZE", help="Most memory of all processes together, as 64m.")
@click.option("--cpus", metavar="NUMBER", help="Most processor time, as 0.5 of one processor.")
@click.option("--pids-limit", type=int, metavar="NUMBER", help="Most processes and threads; 2048, -1 for no limit.")
@click.option(
    "--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT[:HARD]", help="A limit of each process, as nofile."
)
@click.option("--stop-signal", default="", metavar="SIGNAL", help="What cowrun stop sends; the image's, or TERM.")
@click.option("--stop-timeout", default=10, show_default=True, metavar="SECONDS", help="How long cowrun stop waits.")
@click.option("-i", "--interactive", is_flag=True, help="Accepted: standard input is always passed on.")
@click.option("-t", "--tty", is_flag=True, help="Insist on a terminal; there is one wherever there can be one.")
@click.option("--rm", is_flag=True, help="Accepted: every run is thrown away (cowdiff shows what it changed).")
@click.option(
    "--pull",
    type=click.Choice(("missing", "always", "never")),
    default="missing",
    show_default=True,
    help="When to ask the registry for the image.",
)
@click.option("--platform", default="", metavar="OS/ARCH[/VARIANT]", help="Another platform of the image.")
@click.option("--from", "token", default="", metavar="RUN", help="Start with what that run of IMAGE left (cowdiff).")
@click.option("--dry-run", is_flag=True, help="Print what would be done, step by step, and do nothing.")
@click.option("--debug", is_flag=True, help="Print each step when it is done.")
@click.option("-q", "--quiet", is_flag=True, help="No line about the run at its end.")
@click.option("--no-journal", is_flag=True, help="Do not record which process changes what (cowdiff who, blame, log).")
@click.option("--trace-writes", is_flag=True, help="Record every single write, too; slower.")
@click.option(
    "--transport", default="auto", metavar="NAME", help="How the file system talks to the kernel (cowfs info)."
)
@root_option
@click.version_option(__version__, prog_name="cowrun", message="%(prog)s %(version)s")
@click.argument("image")
@click.argument("command", metavar="[COMMAND [ARG...]]", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def cowrun(
    filesystem: "FileSystem | None",
    /,
    image: str,
    command: tuple[str, ...],
    root: Path,
    env_files: tuple[str, ...],
    tty: bool,
    interactive: bool,
    rm: bool,
    dry_run: bool,
    debug: bool,
    quiet: bool,
    no_journal: bool,
    trace_writes: bool,
    transport: str,
    name: str,
    pull: str,
    platform: str,
    token: str,
    **typed: object,
) -> int:
    """Run a command in a throw-away copy of a root.

    IMAGE is a reference like debian:12 (pulled if the store lacks it), @host (this machine), dir:PATH, oci:PATH[:TAG],
    oci-archive:FILE, docker-archive:FILE, docker:NAME or podman:NAME. Without a command the image's own is run, or a
    shell. Standard input is always passed on, and there is a terminal where input and output are terminals.

    The first word may be a command: ps, exec, stop, kill for runs that are going, and volume (cowrun ps --help). An
    image that is called like one of them is reached by "cowrun run ps".

    \b
    cowrun debian:12                            a shell in an image
    cowrun @host make install                   what would it do to this machine?
    cowrun -v .:/src -w /src gcc:13 make        with a directory of this machine
    cowrun -p 8080:80 --name web nginx          in a network of its own
    cowrun exec web sh                          a second command in there

    Without root it works in a user namespace, with a store in $XDG_DATA_HOME/cowfs.

    \b
    The exit status is the command's own, and
    125   it was not started: a bad option, no such image, something missing
    126   the command cannot be executed
    127   the command is not found
    128+N the command, or cowrun, was ended by signal N

    \b
    COWFS_ROOT                    the store
    NO_COLOR                      no dim line at the end
    _COWRUN_COMPLETE=bash_source  prints what sets up completion (zsh_source, fish_source)
    """
    if os.geteuid() != 0:
        userns.enter()  # it failed before: now it says why
    from cowfs.images.bring import bring
    from cowfs.images.sources import resolve
    from cowfs.store import Store
    from cowfs.store.runs import Runs
    from cowrun.commands.common import env_files as read
    from cowrun.commands.common import machine, profiles
    from cowrun.events import interruptible
    from cowrun.session import Request, describe, execute, say
    from cowrun.settings import Options, settings

    options = Options(
        image=image,
        command=command,
        profiles=profiles(typed["security"]),
        env_files=read(env_files),
        want_terminal=tty,
        **typed,  # type: ignore[arg-type]
    )
    with Store.open(root, say) as store:
        with interruptible():  # this may unpack an image
            get = bring(store, os.environ, policy=pull, platform=platform, progress=lambda: _progress(quiet), say=say)
            base = resolve(image, store, bring=get)
        if token:
            runs = Runs(store.root)
            base = runs.on_top(base, runs.find(token))
        request = Request(
            base,
            settings(options, base, machine(root)),
            name,
            transport,
            journal=not no_journal,
            trace_writes=trace_writes,
            debug=say if debug else None,
        )
        if dry_run:
            for line in describe(request):
                click.echo(line)
            return 0
        if filesystem is None:
            raise PrivilegeError("no mount namespace can be made: CAP_SYS_ADMIN is missing, or /proc is not mounted")
        outcome = execute(request, store, filesystem)
    if outcome.failure:
        raise outcome.failure
    if not quiet and sys.stderr.isatty():
        from cowrun.report import at_the_end

        at_the_end(outcome.run)
    return outcome.status


def _progress(quiet: bool) -> "Progress":
    from cowfs.cli.progress import progress_for

    return progress_for("cowrun", quiet=quiet)
