"""The command ``cowdiff`` as it is typed: output, messages, exit statuses."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from cowfs.cli.diffs.render import LETTERS
from cowfs.images.sources import resolve
from cowfs.model import Run
from cowfs.store import Store
from cowfs.store.runs import Runs

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.images.layouts import Layout
from tests.images.tars import entry, tar

MAIN = "from cowdiff.main import main; main()"

Cowdiff = Callable[..., subprocess.CompletedProcess[str]]
MakeRun = Callable[..., Run]


def test_no_runs_is_an_empty_list(cowdiff: Cowdiff) -> None:
    done = cowdiff()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["ID", "NAME", "STARTED", "STATE", "SIZE", "EXIT", "SOURCE", "COMMAND"]


def test_list_has_the_newest_first(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    first = make_run("true", name="first", status=3)
    second = make_run("echo 'a b'")
    lines = cowdiff("list").stdout.splitlines()
    assert cowdiff().stdout.splitlines() == lines
    assert lines[1].split()[0] == second.id
    assert re.fullmatch(
        rf"{first.id}  first  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  discarded  0 B   3     dir:lower  sh -c true", lines[2]
    )
    assert lines[1].endswith("""sh -c 'echo '"'"'a b'"'"''""")


def test_list_json(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    run = make_run("true", name="n", env_names=["PATH"], volumes=["/data"])
    (told,) = map(json.loads, cowdiff("list", "--json").stdout.splitlines())
    assert told["id"] == run.id
    assert told["command"] == ["sh", "-c", "true"]
    assert (told["name"], told["state"], told["exit_status"], told["source"]) == ("n", "discarded", 0, "dir:lower")
    assert (told["env_names"], told["volumes"]) == (["PATH"], ["/data"])


def test_a_command_line_cannot_paint_the_list(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("true # \x1b]0;owned\x07\n true")
    done = cowdiff()
    assert len(done.stdout.splitlines()) == 2
    assert "\\x1b]0;owned\\x07\\x0a" in done.stdout


def test_show_has_a_line_per_path(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("echo hi >etc/proof; echo x >>etc/passwd; rm -r doc; chmod 700 etc; ln -s proof etc/link")
    done = cowdiff("show", "last")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "D /doc/",
        "m /etc/ (mode 0755 -> 0700)",
        "A /etc/link -> proof",
        "M /etc/passwd",
        "A /etc/proof",
    ]


@pytest.mark.parametrize("naming", ["id", "beginning", "name", "last"])
def test_a_run_is_named_in_four_ways(cowdiff: Cowdiff, make_run: MakeRun, naming: str) -> None:
    run = make_run("echo hi >proof", name="mine")
    token = {"id": run.id, "beginning": run.id[:6], "name": "mine", "last": "last"}[naming]
    assert cowdiff("show", token).stdout == "A /proof\n"


def test_the_help_of_show_explains_every_letter(cowdiff: Cowdiff) -> None:
    legend = re.findall(r"(\S) ((?:\S+ )*\S+)", cowdiff("show", "--help").stdout.partition("sorted.")[2])
    assert {letter for letter, _ in legend} >= set(LETTERS.values())
    assert ("=", "copied up, but the same") in legend


def test_show_json_is_an_object_a_line(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("echo hi >proof; chmod 640 proof; chown 5:6 proof; echo x >>etc/passwd; rm -r doc; ln -s proof link")
    lines = cowdiff("show", "last", "--json").stdout.splitlines()
    told = {line["path"]: line for line in map(json.loads, lines)}
    assert list(told) == ["/doc", "/etc/passwd", "/link", "/proof"]
    added = told["/proof"]
    assert (added["change"], added["kind"], added["before"]) == ("added", "file", None)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", added["after"].pop("mtime"))
    assert added["after"] == {"kind": "file", "size": 3, "mode": "0640", "uid": 5, "gid": 6}
    modified = told["/etc/passwd"]
    assert (modified["change"], modified["differs"]) == ("modified", ["content", "times"])
    assert (modified["before"]["size"], modified["after"]["size"]) == (11, 13)
    assert (told["/doc"]["change"], told["/doc"]["after"]) == ("removed", None)
    assert "held" not in told["/doc"]
    assert told["/link"]["after"]["target"] == "proof"


def test_show_counts_what_a_removed_directory_held(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("rm -r doc")
    assert cowdiff("show", "last", "--count").stdout == "D /doc/ (it held 3)\n"
    assert json.loads(cowdiff("show", "last", "--count", "--json").stdout)["held"] == 3


def test_names_are_escaped_and_exact_in_json(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run(r"""touch "$(printf 'bad\033[31m\nname')" "$(printf 'latin-\351')" """)
    assert cowdiff("show", "last").stdout.splitlines() == ["A /bad\\x1b[31m\\x0aname", "A /latin-\\xe9"]
    first, second = map(json.loads, cowdiff("show", "last", "--json").stdout.splitlines())
    assert first["path"] == "/bad\x1b[31m\nname"
    assert second["path_b64"] == "L2xhdGluLek="


def test_no_locale_is_too_small_for_a_name(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("touch '日本'")
    done = cowdiff("show", "last", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "A /\\u65e5\\u672c\n"


def test_volumes_and_injected_files_are_left_out(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run(
        "mkdir -p srv/data mnt/v; touch etc/resolv.conf mnt/mine", volumes=["/srv/data", "/mnt/v", "/etc/resolv.conf"]
    )
    assert cowdiff("show", "last").stdout.splitlines() == ["A /mnt/", "A /mnt/mine"]


def test_a_run_that_goes_on_can_be_looked_at_but_not_removed(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    run = make_run("echo hi >proof", seal=False)
    assert "running" in cowdiff("list").stdout
    assert cowdiff("show", "last").stdout == "A /proof\n"
    done = cowdiff("rm", "last")
    assert done.returncode == 125
    assert done.stderr == f"cowdiff: run {run.id} is still going: end it first\n"
    assert run.id in cowdiff("list").stdout
    over = make_run("true")
    assert cowdiff("rm", over.id, run.id).returncode == 125
    assert over.directory.exists()


def test_a_lost_run_is_told_and_can_be_removed(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    run = make_run("echo hi >proof", seal=False)
    make_run.locks.pop().close()  # type: ignore[attr-defined]
    assert "lost" in cowdiff("list").stdout
    assert cowdiff("show", "last").stdout == "A /proof\n"
    assert cowdiff("rm", run.id).stdout == f"{run.id}\n"


def test_rm_removes_all_or_none(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    runs = [make_run("true"), make_run("true"), make_run("true")]
    done = cowdiff("rm", runs[0].id, "nonesuch")
    assert (done.returncode, done.stdout) == (125, "")
    assert len(cowdiff("list").stdout.splitlines()) == 4
    assert cowdiff("rm", runs[0].id, runs[2].id).stdout.split() == [runs[0].id, runs[2].id]
    assert cowdiff("list").stdout.splitlines()[1].startswith(runs[1].id)
    assert not runs[0].directory.exists()


@pytest.mark.parametrize("arguments", [("rm", "last"), ("prune", "--keep", "0")])
def test_layers_go_with_the_last_run_that_uses_them(
    cowdiff: Cowdiff, store: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    image = Layout(tmp_path / "layout").image(tar(entry(b"one", data=b"1")))
    runs = Runs(store)
    with Store.open(store) as opened:
        base = resolve(image, opened)
        for _ in range(2):
            run, lock = runs.create(base, ["true"])
            lock.close()
            runs.seal(run, 0)
        opened.remove_image(image)
    layers = store / "layers/sha256"
    assert cowdiff("prune", "--keep", "1").returncode == 0
    assert len(os.listdir(layers)) == 1
    (left,) = runs.list()
    assert cowdiff(*arguments).stdout.split() == [left.id]
    assert os.listdir(layers) == []


def test_prune_keeps_the_newest(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    runs = [make_run("true") for _ in range(3)]
    assert cowdiff("prune").stdout == ""
    assert cowdiff("prune", "--older-than", "1h").stdout == ""
    assert set(cowdiff("prune", "--keep", "1").stdout.split()) == {run.id for run in runs[:2]}
    assert cowdiff("prune", "--keep", "0").stdout.split() == [runs[2].id]


def test_prune_by_age(cowdiff: Cowdiff, make_run: MakeRun, store: Path) -> None:
    run = make_run("true")
    Runs(store).seal(run._replace(started=time.time() - 7200), 0)
    assert cowdiff("prune", "--older-than", "2h1m").stdout == ""
    assert cowdiff("prune", "--older-than", "1h59m").stdout.split() == [run.id]


def test_text_is_a_patch(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("echo me:x:1:1 >>etc/passwd; echo hi >proof; rm -r doc")
    assert cowdiff("text", "last").stdout.splitlines() == [
        "# D /doc/",
        "diff --git a/etc/passwd b/etc/passwd",
        "--- a/etc/passwd",
        "+++ b/etc/passwd",
        "@@ -1 +1,2 @@",
        " root:x:0:0",
        "+me:x:1:1",
        "diff --git a/proof b/proof",
        "new file mode 100644",
        "--- /dev/null",
        "+++ b/proof",
        "@@ -0,0 +1 @@",
        "+hi",
    ]


def test_text_of_some_paths(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("echo hi >proof; echo x >>etc/passwd; rm -r doc")
    assert "proof" not in cowdiff("text", "last", "/etc").stdout
    below = cowdiff("text", "last", "doc/deep").stdout.splitlines()
    assert below[:2] == ["diff --git a/doc/deep/two b/doc/deep/two", "deleted file mode 100644"]
    assert "a/doc/one" in cowdiff("text", "last", "/").stdout


def test_cat_has_both_sides(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    make_run("echo x >>etc/passwd; mv doc d; chmod 600 d/one")
    assert cowdiff("cat", "last", "/etc/passwd").stdout == "root:x:0:0\nx\n"
    assert cowdiff("cat", "--before", "last", "etc/passwd").stdout == "root:x:0:0\n"
    assert cowdiff("cat", "last", "/d/one").stdout == "1\n"
    assert cowdiff("cat", "last", "/d/deep/two").stdout == "2\n"


MISTAKES = {
    "no such run": (["show", "nonesuch"], "no run 'nonesuch' (cowdiff lists them)"),
    "no such command": (["nonesuch"], "no such command 'nonesuch' (see cowdiff --help)"),
    "no run named": (["show"], "missing argument 'RUN' (see cowdiff show --help)"),
    "no such option": (["show", "--nonesuch", "last"], "no such option"),
    "no such path": (["cat", "last", "/none\x1b"], "no such path in the run: /none\\x1b"),
    "a directory": (["cat", "last", "/etc"], "/etc is a directory, not a file"),
    "a fifo": (["cat", "last", "/fifo"], "/fifo is a fifo, not a file"),
    "a link out": (["cat", "last", "/out"], "/out is a symlink, not a file"),
    "below a link out": (["cat", "last", "/up/etc/hostname"], "no such path in the run: /up/etc/hostname"),
    "dots": (["cat", "last", "/../../etc/passwd"], "no such path in the run: /../../etc/passwd"),
    "not a time": (
        ["prune", "--older-than", "soon"],
        "'soon' is not a length of time: write it as 90s, 30m, 12h, 7d or 2w",
    ),
    "less than none": (
        ["prune", "--keep", "-1"],
        "invalid value for '--keep': -1 is not in the range x>=0 (see cowdiff prune --help)",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_one_line(cowdiff: Cowdiff, make_run: MakeRun, mistake: str) -> None:
    make_run("mkfifo fifo; ln -s /etc/passwd out; ln -s / up")
    arguments, line = MISTAKES[mistake]
    done = cowdiff(*arguments)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(f"cowdiff: {line}")
    assert done.stderr.count("\n") == 1


def test_last_without_runs(cowdiff: Cowdiff) -> None:
    done = cowdiff("show", "last")
    assert (done.returncode, done.stderr) == (125, "cowdiff: there are no runs yet\n")


def test_a_record_that_cannot_be_read(cowdiff: Cowdiff, make_run: MakeRun) -> None:
    run = make_run("true")
    (run.directory / "run.json").write_bytes(b"\0" * 10)
    assert run.id in cowdiff("list").stdout
    done = cowdiff("show", run.id)
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr.startswith(f"cowdiff: the record of run {run.id} cannot be read")
    assert cowdiff("rm", run.id).returncode == 0


def test_a_base_that_is_gone(cowdiff: Cowdiff, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("true")
    (tmp_path / "lower").rename(tmp_path / "elsewhere")
    done = cowdiff("show", "last")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"cowdiff: cannot read {tmp_path / 'lower'}: No such file or directory\n"


def test_a_reader_that_goes_away(make_run: MakeRun, store: Path) -> None:
    make_run("mkdir many; cd many; seq -f %0200g 1 2000 | xargs touch")  # more than a pipe holds
    command = f"{sys.executable} -c '{MAIN}' show last | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"COWFS_ROOT": str(store)}, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("A /many/\n", "", 141)


@pytest.mark.parametrize("command", ["list", "show", "text", "cat", "cp", "rm", "prune"])
def test_help_of_each_command(cowdiff: Cowdiff, command: str) -> None:
    done = cowdiff(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: cowdiff {command} ")
    assert command in cowdiff("--help").stdout


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_on_a_terminal_unless_forbidden(make_run: MakeRun, store: Path, no_color: str, coloured: bool) -> None:
    make_run("echo hi >proof")
    environment = os.environ | {"COWFS_ROOT": str(store), "NO_COLOR": no_color, "TERM": "xterm"}
    output, status = pexpect.run(
        f'{sys.executable} -c "{MAIN}" show last', env=environment, withexitstatus=True, timeout=60
    )
    assert status == 0
    assert output == (b"\x1b[32mA /proof\x1b[0m\r\n" if coloured else b"A /proof\r\n")


def test_text_on_a_terminal_has_nothing_that_it_obeys_and_is_exact_elsewhere(
    cowdiff: Cowdiff, make_run: MakeRun, store: Path
) -> None:
    make_run(r"printf 'a\033]0;owned\007\tb\r\n' >proof")
    assert "+a\x1b]0;owned\x07\tb" in cowdiff("text", "last").stdout
    environment = os.environ | {"COWFS_ROOT": str(store), "NO_COLOR": "1", "TERM": "xterm", "PAGER": "cat"}
    program = f'{sys.executable} -c "{MAIN}"'
    shown, status = pexpect.run(f"{program} text last", env=environment, timeout=60, withexitstatus=True)
    assert status == 0
    assert shown.endswith(b"+a\\x1b]0;owned\\x07\tb\\x0d\r\n")
    assert b"\x1b" not in shown


def test_list_is_cut_to_the_terminal_only(cowdiff: Cowdiff, make_run: MakeRun, store: Path) -> None:
    make_run(f": {'long ' * 50}")
    assert len(cowdiff("list").stdout.splitlines()[1]) > 250
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"} | {"COWFS_ROOT": str(store)}
    shown, _ = pexpect.run(
        f'{sys.executable} -c "{MAIN}" list', env=environment, timeout=60, dimensions=(24, 90), withexitstatus=True
    )
    lines = shown.decode().splitlines()
    assert [len(line) for line in lines[1:]] == [90]
    assert lines[1].endswith("…")
    assert "sh -c" in lines[1]


def test_start_imports_click_and_little_else() -> None:
    code = "import sys, cowdiff.main; print(*sorted(m for m in sys.modules if m.split('.')[0] in sys.argv[1:]))"
    heavy = ["pyfuse3", "trio", "requests", "difflib", "json", "cowdiff"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["cowdiff", "cowdiff.context", "cowdiff.main"]


def test_cp_takes_a_file_or_a_tree_out(cowdiff: Cowdiff, make_run: MakeRun, tmp_path: Path) -> None:
    make_run(
        "echo x >>etc/passwd; mv doc d; ln -s /etc/shadow d/link; chown 5:6 d/one; chmod 4750 d/one; chmod 500 d/deep"
    )
    out = tmp_path / "out"
    out.mkdir()
    assert cowdiff("cp", "last:/etc/passwd", str(out)).returncode == 0
    assert (out / "passwd").read_text() == "root:x:0:0\nx\n"
    assert cowdiff("cp", "--before", "last:etc/passwd", str(out / "old")).returncode == 0
    assert (out / "old").read_text() == "root:x:0:0\n"
    assert cowdiff("cp", "last:/d", str(out / "tree")).returncode == 0
    assert (out / "tree/deep/two").read_text() == "2\n"
    assert os.readlink(out / "tree/link") == "/etc/shadow"
    status = (out / "tree/one").stat()
    assert (status.st_mode & 0o7777, status.st_uid) == (0o750, os.getuid())
    assert (out / "tree/deep").stat().st_mode & 0o7777 == 0o500
    assert cowdiff("cp", "-a", "last:/d/one", str(out)).returncode == 0
    status = (out / "one").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o4750, 5, 6)


def test_cp_overwrites_nothing_and_follows_nothing(cowdiff: Cowdiff, make_run: MakeRun, tmp_path: Path) -> None:
    make_run("echo x >>etc/passwd; mkdir bag; mkfifo bag/fifo; echo f >bag/f; ln -s / up")
    out = tmp_path / "out"
    out.mkdir()
    (out / "target").write_text("mine")
    (out / "passwd").symlink_to(out / "target")
    done = cowdiff("cp", "last:/etc/passwd", str(out))
    assert (done.returncode, done.stderr) == (125, f"cowdiff: {out / 'passwd'} exists: nothing is overwritten\n")
    assert (out / "target").read_text() == "mine"
    assert cowdiff("cp", "last:/up/etc/hostname", str(out)).returncode == 125
    done = cowdiff("cp", "last:/bag", str(out))
    assert (done.returncode, done.stderr) == (1, "cowdiff: not copied, being no file: /bag/fifo\n")
    assert [path.name for path in (out / "bag").iterdir()] == ["f"]


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("last", "what to copy is written RUN:PATH, as in last:/etc/passwd"),
        ("last:/none", "no such path in the run: /none"),
        ("last:/", "OUT exists: the root of a run needs a new name"),
    ],
)
def test_cp_mistakes(cowdiff: Cowdiff, make_run: MakeRun, tmp_path: Path, source: str, line: str) -> None:
    make_run("true")
    done = cowdiff("cp", source, str(tmp_path))
    assert (done.returncode, done.stderr) == (125, f"cowdiff: {line.replace('OUT', str(tmp_path))}\n")
