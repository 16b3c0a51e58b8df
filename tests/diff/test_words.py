"""What is no text, in words: ACLs, capabilities, other attributes, binary content. Compared with the system's tools."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cowfs.cli.diffs.attributes import acl, capabilities, differences
from cowfs.cli.diffs.binary import changed_ranges
from cowfs.runs.content import Content, differing, ranges


@pytest.mark.parametrize(
    "caps", ["cap_net_raw=ep", "cap_chown,cap_setuid=p", "cap_net_admin=i", "cap_checkpoint_restore=eip"]
)
def test_capabilities_as_getcap_says_them(tmp_path: Path, caps: str) -> None:
    file = tmp_path / "f"
    file.touch()
    subprocess.run(["setcap", caps, file], check=True, timeout=10)
    said = subprocess.run(["getcap", file], check=True, capture_output=True, text=True, timeout=10).stdout.split()[-1]
    mine = capabilities(os.getxattr(file, "security.capability"))
    assert re.sub("=e?ip", "=eip", mine) == re.sub("=e?ip", "=eip", said)


def test_an_acl_as_getfacl_says_it(tmp_path: Path) -> None:
    subprocess.run(["setfacl", "-m", "u:7:rw,g:8:x,d:u:9:r", tmp_path], check=True, timeout=10)
    said = subprocess.run(["getfacl", "-nc", tmp_path], check=True, capture_output=True, text=True, timeout=10).stdout
    lines = [line.split()[0] for line in said.splitlines() if line]
    for attribute, prefix in (("system.posix_acl_access", ""), ("system.posix_acl_default", "default:")):
        entries = acl(os.getxattr(tmp_path, attribute))
        assert entries is not None
        assert [prefix + entry for entry in entries] == [
            line for line in lines if line.startswith("default:") == bool(prefix)
        ]


@pytest.mark.parametrize("value", [b"", b"x", b"\2\0\0\0junk", b"\xff" * 20, b"\0" * 400])
def test_what_is_no_acl_and_no_capability_is_not_believed(value: bytes) -> None:
    told = list(differences((), ((b"security.capability", value), (b"system.posix_acl_access", value)), values=True))
    assert len(told) == 2
    assert all(word.isprintable() for word in told)


def test_other_attributes_have_their_values_in_a_patch_alone() -> None:
    before, after = ((b"user.a", b"1"), (b"user.gone", b"\x1b[1m")), ((b"user.a", b"2"), (b"user.new", b"x" * 99))
    assert list(differences(before, after, values=False)) == ["user.a differs", "-user.gone", "+user.new"]
    assert list(differences(before, after, values=True)) == [
        'user.a "1" -> "2"',
        r'-user.gone="\x1b[1m"',
        f'+user.new="{"x" * 60}"... (99 bytes)',
    ]


def both(tmp_path: Path, old: bytes, new: bytes) -> tuple[Content, Content, int, int]:
    (tmp_path / "old").write_bytes(old)
    (tmp_path / "new").write_bytes(new)
    left, right = (Content(os.open(tmp_path / name, os.O_RDONLY)) for name in ("old", "new"))
    return left, right, len(old), len(new)


BIG = bytes(3 << 20)
CONTENTS: dict[str, tuple[bytes, bytes, int, list[tuple[int, int]]]] = {
    "the same": (b"same", b"same", 0, []),
    "one byte": (b"some", b"same", 1, [(1, 2)]),
    "longer": (b"some", b"some more", 5, [(4, 9)]),
    "shorter, and another end": (b"some more", b"soma", 6, [(3, 9)]),
    "near each other": (b"a" + b"." * 14 + b"b", b"A" + b"." * 14 + b"B", 2, [(0, 16)]),
    "far from each other": (b"a" + b"." * 16 + b"b", b"A" + b"." * 16 + b"B", 2, [(0, 1), (17, 18)]),
    "in the third piece": (BIG, BIG[:-9] + b"x" + BIG[-8:], 1, [(len(BIG) - 9, len(BIG) - 8)]),
    "over the edge of a piece": (
        BIG,
        BIG[: (1 << 20) - 2] + b"yyyy" + BIG[(1 << 20) + 2 :],
        4,
        [((1 << 20) - 2, (1 << 20) + 2)],
    ),
}


@pytest.mark.parametrize("what", CONTENTS)
def test_where_two_files_differ(tmp_path: Path, what: str) -> None:
    old, new, count, places = CONTENTS[what]
    pair = both(tmp_path, old, new)
    try:
        assert differing(*pair) == count
        assert list(ranges(*pair)) == places
    finally:
        for content in pair[:2]:
            os.close(content.descriptor)


def test_many_ranges_are_counted(tmp_path: Path) -> None:
    pair = both(tmp_path, bytes(4000), (b"x" + bytes(99)) * 40)
    assert changed_ranges(*pair) == "0-0, 100-100, 200-200, 300-300, 400-400, 500-500 and 34 more"
    for content in pair[:2]:
        os.close(content.descriptor)


def test_text_says_where_a_binary_file_differs(make_run: Any, cowdiff: Any) -> None:
    make_run.base(r"printf '\177ELF\0\0\0\0abc' >program; printf '\0' >gone")
    make_run(
        r"printf '\177ELF\0\0\0\0aBc!' >program; rm gone; printf '\211PNG\0' >picture; setcap cap_net_raw=ep etc/passwd"
    )
    assert cowdiff("text", "last").stdout.splitlines() == [
        "# m /etc/passwd (capabilities none -> cap_net_raw=ep)",
        "# D /gone [1 bytes, data]",
        "# A /picture [5 bytes, PNG]",
        "# M /program [11 -> 12 bytes, ELF, differs at 9-11]",
    ]
