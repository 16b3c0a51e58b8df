"""The scan against an independent comparison of the base and the merged tree, path for path, after many operations.

``accounted`` applies the changes that cowdiff reports to a snapshot of the base, and must arrive at the merged tree;
and no change may be reported for what is the same in both.
"""

import random
from collections.abc import Iterable
from typing import Any

import pytest

from cowfs.model import Kind
from cowfs.runs.changes import Change, ChangeClass

Snapshot = dict[str, Any]
SEEDS = range(40)

BASE = """
for d in a b a/c b/c a/c/e; do mkdir $d; for f in 1 2 3; do echo $d/$f >$d/$f; done; done
echo top >1; ln -s a/1 l; mknod p c 1 3; chmod 600 a/2; chown 7 b/2; attribute user.k v b/3
"""

STEPS = """
echo new >>{file}
echo new >{path}
: >{file}
chmod 751 {path}
chown 3:4 {path}
touch {path}
attribute user.n 1 {file}
rm {file}
rm -r {directory}
mkdir {new}
mkdir -p {directory}/{leaf}
mv {path} {new}
mv {file} {other}
mv {path} {target}
mv -T {directory} {target}
ln -s {file} {new}
ln {file} {new}
ln {file} {other}
rm -r {directory}; mkdir {directory}; echo again >{directory}/1
rm {file}; mkdir {file}; echo in >{file}/1
cp -a {directory} {new}
exec 3<>{file}
mknod {new} c 1 3
"""


def test_everything_at_once(scene: Any, snapshot: Any) -> None:
    scene.base(BASE)
    before = snapshot(scene.lower)
    after = scene.change("mv a z; rm -r b/c; echo x >>z/1; chmod 700 z/c; mv z/c/e b/e; rm b/1; ln -s q b/1; touch z/3")
    changes = scene.changes()
    assert {letter.path: letter.change.value for letter in changes} == {
        b"/b/1": "replaced",
        b"/b/c": "removed",
        b"/b/e": "renamed",
        b"/z": "renamed",
        b"/z/1": "modified",
        b"/z/3": "touched",
        b"/z/c": "metadata",
    }
    check(before, after, changes)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_operations(scene: Any, snapshot: Any, seed: int) -> None:
    scene.base(BASE)
    before = snapshot(scene.lower)
    script = "\n".join(f"({step}) 2>/dev/null || true" for step in random_steps(random.Random(seed), 30))
    after = scene.change(script, random.Random(seed).choice(["full", "full", "plain"]))
    check(before, after, scene.changes())


def random_steps(rng: random.Random, count: int) -> Iterable[str]:
    directories = ["a", "b", "a/c", "b/c", "a/c/e", "n1", "n2", "b/n1"]
    files = [*(f"{directory}/{name}" for directory in directories for name in "123"), "1", "l", "p"]
    templates = STEPS.strip().splitlines()
    for _ in range(count):
        yield rng.choice(templates).format(
            file=rng.choice(files),
            other=rng.choice(files),
            directory=rng.choice(directories),
            target=rng.choice(directories),
            path=rng.choice(files + directories),
            new=rng.choice(["n1", "n2", "a/n1", "b/n1", "n1/n2"]),
            leaf=rng.choice("1wc"),
        )


def check(before: Snapshot, after: Snapshot, changes: list[Change]) -> None:
    paths = [change.path for change in changes]
    assert len(paths) == len(set(paths)), "a path is listed twice"
    told = accounted(before, after, changes)
    differing = {path for path in told.keys() | after.keys() if not same(told.get(path), after.get(path))}
    assert not differing, f"not accounted for: {sorted(differing)}"
    for change in changes:
        assert_true(change, before, after)


def accounted(before: Snapshot, after: Snapshot, changes: list[Change]) -> Snapshot:
    """The base with the changes applied: renamed subtrees moved, removed ones dropped, changed files taken over."""
    moved = {text(c.before_path): text(c.path) for c in changes if c.change is ChangeClass.RENAMED and c.before_path}
    gone = (ChangeClass.REMOVED, ChangeClass.REPLACED)
    dropped = {text(c.before_path or c.path) for c in changes if c.change in gone}
    origins = {new: old for old, new in moved.items()}
    over = [c for c in changes if c.overwrote is not None]
    dropped |= {text(c.path) for c in over if c.change is not ChangeClass.RENAMED}
    overwritten = [text(c.path).rpartition("/") for c in over if c.change is ChangeClass.RENAMED]
    dropped |= {f"{place_of(head, origins, set())}/{name}" for head, _, name in overwritten} - moved.keys()
    stayed = {text(c.path) for c in changes if c.before and c.before_path is None and c.kind is not Kind.DIRECTORY}
    told: Snapshot = {}
    for path, file in before.items():
        place = path if path in stayed - moved.keys() - dropped else place_of(path, moved, dropped)
        if place is not None:
            told[place] = file
    for change in changes:
        if change.after is not None and text(change.path) in after:
            told[text(change.path)] = after[text(change.path)]
    return told


def place_of(path: str, moved: dict[str, str], dropped: set[str]) -> str | None:
    """Where a path of the base is now: what was said of the nearest of its parents, or itself, decides."""
    head, rest = path, ""
    while True:
        if head in moved:
            return moved[head] + rest
        if head in dropped:
            return None
        if head in ("", "/"):
            return path
        head, _, name = head.rpartition("/")
        rest = f"/{name}{rest}"


def same(left: Any, right: Any) -> bool:
    """Equal but for times: those of directories follow from their entries, and a "touched" takes over the others."""
    if left is None or right is None:
        return left is right
    return bool(left[:-1] == right[:-1])


def assert_true(change: Change, before: Snapshot, after: Snapshot) -> None:
    """A reported change must be one."""
    old, new = before.get(text(change.before_path or change.path)), after.get(text(change.path))
    if change.change is ChangeClass.ADDED:
        assert new is not None
        assert old is None or change.path != change.before_path
    elif change.change is ChangeClass.REMOVED:
        assert old is not None
    else:
        assert old is not None
        assert new is not None
        verdicts = {
            ChangeClass.REPLACED: old.kind != new.kind or change.kind is Kind.DIRECTORY,  # or by an unrelated one
            ChangeClass.MODIFIED: (old.content, old.rdev) != (new.content, new.rdev),
            ChangeClass.METADATA: old[1:3] + old[5:6] != new[1:3] + new[5:6] and old.content == new.content,
            ChangeClass.TOUCHED: old[:-1] == new[:-1] and old.mtime_ns != new.mtime_ns,
            ChangeClass.IDENTICAL: old == new,
            ChangeClass.RENAMED: old.kind == new.kind,
        }
        assert verdicts[change.change], f"{change.path!r} is not {change.change.value}: {old} {new}"


def text(path: bytes | None) -> str:
    assert path is not None
    return path.decode()
