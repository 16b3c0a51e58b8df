"""What a run created and removed again: no upper has it, the journal does."""

import json
import subprocess
import sys
from typing import Any

COWDIFF = [sys.executable, "-c", "from cowdiff.main import main; main()"]


def show(cowrun: Any, *arguments: str) -> list[str]:
    line = [*COWDIFF, "--root", str(cowrun.store), "show", "last", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()


def test_what_came_and_went(cowrun: Any) -> None:
    script = """
    echo longer >/gone; rm /gone; mkdir -p /dir/sub; rm -r /dir; echo x >/tmp.new; mv /tmp.new /kept
    rm /bin/seq; echo y >/bin/seq; rm /bin/seq; echo z >/twice; rm /twice; echo z >/twice
    """
    assert cowrun.run(cowrun.root, "sh", "-c", script).returncode == 0
    assert show(cowrun) == ["D /bin/seq", "A /kept", "A /twice"]
    assert show(cowrun, "-c", "x") == ["x /dir/", "x /dir/sub/", "x /gone"]
    assert show(cowrun, "--passing") == ["D /bin/seq", "x /dir/", "x /dir/sub/", "x /gone", "A /kept", "A /twice"]
    (told,) = map(json.loads, show(cowrun, "--json", "-c", "passing", "/gone"))
    assert (told["change"], told["before"]["size"], told["after"]) == ("passing", 7, None)
