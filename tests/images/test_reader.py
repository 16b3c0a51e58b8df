"""The tar reader against right and wrong archives (hardening cases E11 and E12)."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cowfs.images.tarheader import BadTar
from cowfs.images.tarstream import TarReader, Type
from tests.images.tars import DIRECTORY, FILE, HARD_LINK, SYMLINK, entry, header, padded, pax, tar

A = entry(b"a", data=b"hello")


def read(data: bytes, size: int = 1000) -> list[tuple[bytes, Type, dict[int, bytes]]]:
    """The names, types and data of all entries, the stream cut into chunks of ``size``."""
    reader = TarReader(data[at : at + size] for at in range(0, len(data), size))
    found = []
    for one in reader:
        joined: dict[int, bytes] = {}
        last = -1
        for at, piece in reader.data():
            if last in joined and at == last + len(joined[last]):
                joined[last] += bytes(piece)
            else:
                last = at
                joined[at] = bytes(piece)
        found.append((one.name, one.type, joined))
    return found


def test_an_archive_is_read_the_same_in_chunks_of_any_size() -> None:
    data = tar(A, entry(b"d/", DIRECTORY), entry(b"big", data=bytes(range(256)) * 20), entry(b"end"))
    whole = read(data, len(data))
    assert [name for name, _, _ in whole] == [b"a", b"d/", b"big", b"end"]
    assert whole[2][2] == {0: bytes(range(256)) * 20}
    for size in (1, 7, 511, 512, 513, 5000):
        assert [(name, kind) for name, kind, _ in read(data, size)] == [(name, kind) for name, kind, _ in whole]


def test_data_that_nobody_asks_for_is_skipped() -> None:
    assert [one.name for one in TarReader([tar(A, entry(b"b", data=b"x" * 3000), A)])] == [b"a", b"b", b"a"]


LONG = b"directory-of-a-long-name/" * 20 + b"file"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(pax([(b"path", LONG)]) + header(b"short", size=2) + padded(b"hi"), id="pax"),
        pytest.param(
            header(b"@", b"L", size=len(LONG) + 1) + padded(LONG + b"\0") + header(b"short", size=2) + padded(b"hi"),
            id="GNU",
        ),
        pytest.param(header(LONG[-4:], prefix=LONG[:150].rstrip(b"/"), size=2) + padded(b"hi"), id="ustar prefix"),
    ],
)
def test_long_names_in_all_three_forms(data: bytes) -> None:
    ((name, kind, pieces),) = read(tar(data))
    assert kind is Type.FILE
    assert pieces == {0: b"hi"}
    assert name in (LONG, LONG[:150].rstrip(b"/") + b"/" + LONG[-4:])


def test_a_header_of_unix_v7_knows_directories_by_their_slash() -> None:
    ((_, kind, _),) = read(tar(header(b"old/", b"\0", magic=bytes(8))))
    assert kind is Type.DIRECTORY


def only(data: bytes) -> object:
    """The only entry."""
    (one,) = TarReader([data])
    return one


def test_times_and_owners_beyond_what_ustar_holds() -> None:
    one = next(iter(TarReader([tar(header(b"a", uid=4_000_000_001, mtime=-14182940))])))
    assert (one.uid, one.mtime_ns) == (4_000_000_001, -14182940 * 10**9)
    records = [(b"mtime", b"-1.5"), (b"atime", b"4102444800.123456789123"), (b"uid", b"4294967294"), (b"gid", b"7")]
    one = next(iter(TarReader([tar(pax(records) + header(b"a"))])))
    assert (one.mtime_ns, one.atime_ns) == (-1_500_000_000, 4102444800123456789)
    assert (one.uid, one.gid) == (4294967294, 7)


def test_a_global_header_holds_until_an_entry_says_otherwise() -> None:
    data = tar(
        pax([(b"uid", b"5"), (b"comment", b"a commit")], b"g"), A, pax([(b"uid", b"6")]) + header(b"b"), header(b"c")
    )
    assert [one.uid for one in TarReader([data])] == [5, 6, 5]


def test_extended_attributes_may_hold_any_bytes() -> None:
    value = b"a=b\n\0\xff 12 "
    one = next(iter(TarReader([tar(entry(b"a", xattrs={b"user.x": value, b"user.empty": b""}))])))
    assert one.xattrs == {b"user.x": value, b"user.empty": b""}


REGIONS = [(0, 5), (4096, 3), (10_000, 0)]
STORED = b"begin" + b"mid"


def sparse(version: str) -> bytes:
    """A sparse file of 10,000 bytes in one of the three pax formats."""
    flat = [number for region in REGIONS for number in region]
    prefix = b"GNU.sparse."
    if version == "0.0":
        keys = (b"offset", b"numbytes")
        pairs = [(prefix + keys[place % 2], b"%d" % number) for place, number in enumerate(flat)]
        records = [(prefix + b"size", b"10000"), (prefix + b"numblocks", b"3"), *pairs]
        return pax(records) + header(b"sparse", size=len(STORED)) + padded(STORED)
    if version == "0.1":
        records = [
            (prefix + b"size", b"10000"),
            (prefix + b"numblocks", b"3"),
            (prefix + b"name", b"sparse"),
            (prefix + b"map", b",".join(b"%d" % number for number in flat)),
        ]
        return pax(records) + header(b"GNUSparseFile.1/sparse", size=len(STORED)) + padded(STORED)
    records = [
        (prefix + b"major", b"1"),
        (prefix + b"minor", b"0"),
        (prefix + b"name", b"sparse"),
        (prefix + b"realsize", b"10000"),
    ]
    data = padded(b"".join(b"%d\n" % number for number in [3, *flat])) + STORED
    return pax(records) + header(b"GNUSparseFile.1/sparse", size=len(data)) + padded(data)


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_sparse_files(version: str) -> None:
    reader = TarReader([tar(sparse(version), A)])
    entries = iter(reader)
    one = next(entries)
    assert (one.name, one.size) == (b"sparse", 10_000)
    assert [(at, bytes(piece)) for at, piece in reader.data()] == [(0, b"begin"), (4096, b"mid")]
    assert next(entries).name == b"a"


def broken_checksum() -> bytes:
    return header(b"a", checksum=b"000000\0 ")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


MAP = b"GNU.sparse.map"
SIZED = [(b"GNU.sparse.size", b"100"), (b"GNU.sparse.name", b"s")]

REFUSED = {
    "negative size in octal": tar(header(b"a", size=b"-0000000001\0")),
    "negative size in base 256": tar(header(b"a", size=b"\xff" * 12)),
    "size with an underscore": tar(header(b"a", size=b"0000000_001\0")),
    "size with a plus": tar(header(b"a", size=b"+0000000001\0")),
    "size followed by something": tar(header(b"a", size=b"0000001\0001 \0")),
    "size of the pax header and the other one differ": tar(
        pax([(b"size", b"5")]) + header(b"a", size=6) + padded(b"hello!")
    ),
    "pax size is negative": tar(pax([(b"size", b"-5")]) + header(b"a")),
    "NUL in a pax path": tar(pax([(b"path", b"a\0b")]) + header(b"a")),
    "NUL in a pax link": tar(pax([(b"linkpath", b"a\0b")]) + header(b"a", SYMLINK)),
    "NUL in a GNU long name": tar(header(b"@", b"L", size=8) + padded(b"abc\0def\0") + header(b"a")),
    "path of more than 65536 bytes": tar(pax([(b"path", b"d/" * 32769)]) + header(b"a")),
    "target of more than 4095 bytes": tar(pax([(b"linkpath", b"t" * 4096)]) + header(b"a", SYMLINK)),
    "unknown type": tar(header(b"a", b"Z")),
    "old GNU sparse": tar(header(b"a", b"S")),
    "multi-volume": tar(header(b"a", b"M")),
    "data after a directory": tar(header(b"d/", DIRECTORY, size=5) + padded(b"hello")),
    "data after a hard link": tar(A, header(b"l", HARD_LINK, link=b"a", size=5) + padded(b"hello")),
    "data after a symbolic link": tar(header(b"l", SYMLINK, link=b"a", size=5) + padded(b"hello")),
    "a link without a target": tar(header(b"l", SYMLINK)),
    "a file with the name of a directory": tar(header(b"d/", FILE)),
    "garbage instead of a header": tar(A, b"\x01" * 512),
    "a wrong checksum": tar(broken_checksum()),
    "a flipped bit in a header": tar(flipped(A, 3)),
    "an unknown magic": tar(header(b"a", magic=b"xstar\x0000")),
    "nothing at all": b"",
    "no end": A,
    "one block of zeros at the end": A + bytes(512),
    "one block of zeros in the middle": A + bytes(512) + tar(A),
    "something after the end": tar(A) + b"\0" * 512 + b"x" * 512,
    "one byte after the end": tar(A) + b"x",
    "another archive after the end": tar(A) + tar(A),
    "cut in a header": tar(A)[:100],
    "cut in the data": tar(A)[:515],
    "cut in the padding": tar(A)[:1000],
    "pax header without an entry": pax([(b"path", b"a")]) + bytes(1024),
    "long name without an entry": header(b"@", b"L", size=2) + padded(b"a\0") + bytes(1024),
    "two pax headers": tar(pax([(b"path", b"a")]) + pax([(b"path", b"b")]) + header(b"c")),
    "pax record without a newline": tar(header(b"x", b"x", size=8) + padded(b"8 path=a") + header(b"a")),
    "pax record that is too long": tar(header(b"x", b"x", size=9) + padded(b"99 path=a") + header(b"a")),
    "pax record without a length": tar(header(b"x", b"x", size=7) + padded(b"path=a\n") + header(b"a")),
    "pax record of length 0": tar(header(b"x", b"x", size=9) + padded(b"0 path=a\n") + header(b"a")),
    "pax record without a key": tar(header(b"x", b"x", size=6) + padded(b"6 =ab\n") + header(b"a")),
    "global header with a path": tar(pax([(b"path", b"a")], b"g") + header(b"b")),
    "uid of -1": tar(pax([(b"uid", b"4294967295")]) + header(b"a")),
    "uid that is no number": tar(pax([(b"uid", b"0x10")]) + header(b"a")),
    "time that is no number": tar(pax([(b"mtime", b"1e9")]) + header(b"a")),
    "time after the end of all things": tar(pax([(b"mtime", b"9" * 20)]) + header(b"a")),
    "extended attribute without a name": tar(pax([(b"SCHILY.xattr.", b"v")]) + header(b"a")),
    "64 KiB of extended attributes": tar(entry(b"a", xattrs={b"user.a": bytes(40_000), b"user.b": bytes(30_000)})),
    "sparse map out of order": tar(pax([*SIZED, (MAP, b"50,1,0,1")]) + header(b"a", size=2) + padded(b"hi")),
    "sparse map beyond the end": tar(pax([*SIZED, (MAP, b"99,2")]) + header(b"a", size=2) + padded(b"hi")),
    "sparse map with less data": tar(pax([*SIZED, (MAP, b"0,3")]) + header(b"a", size=2) + padded(b"hi")),
    "sparse map with half a region": tar(pax([*SIZED, (MAP, b"0,1,5")]) + header(b"a", size=2) + padded(b"hi")),
    "sparse file of 8 EiB": tar(
        pax([(b"GNU.sparse.size", b"%d" % (1 << 63)), (MAP, b"0,2")]) + header(b"a", size=2) + padded(b"hi")
    ),
    "sparse format 2.0": tar(pax([(b"GNU.sparse.major", b"2"), (b"GNU.sparse.minor", b"0")]) + header(b"a")),
    "sparse map 1.0 that does not end": tar(
        pax([(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.realsize", b"9")])
        + header(b"a", size=1024)
        + b"1" * 1024
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_e11_refused(what: str) -> None:
    with pytest.raises(BadTar):
        read(REFUSED[what])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(tar(pax([(b"VENDOR.thing", b"1"), (b"comment", b"x")]) + header(b"a")), id="unknown pax keys"),
        pytest.param(tar(A) + bytes(20 * 512), id="more zeros at the end"),
        pytest.param(tar(A) + bytes(7), id="some zeros at the end"),
        pytest.param(tar(pax([(b"path", b"\xff\xfe")]) + header(b"a")), id="names that are not UTF-8"),
        pytest.param(tar(pax([(b"size", b"5")]) + header(b"a") + padded(b"hello")), id="pax size for a header without"),
    ],
)
def test_e11_accepted(data: bytes) -> None:
    assert len(read(data)) == 1


@given(st.binary(max_size=2048), st.integers(0, 2048))
def test_e11_garbage_raises_nothing_else(garbage: bytes, at: int) -> None:
    data = tar(A, entry(b"b/" + b"n" * 120, xattrs={b"user.a": b"b"}), sparse("1.0"))
    broken = data[:at] + garbage + data[at + len(garbage) :]
    try:
        read(broken)
    except BadTar:
        pass


BOMBS = {
    "pax header of 300 MB": "header(b'x', b'x', size=300 << 20), 300",
    "long name of 200 MB": "header(b'x', b'L', size=200 << 20), 200",
    "extended attributes without end": "header(b'x', b'x', size=(1 << 20) - 512), 300",
}


@pytest.mark.parametrize("what", BOMBS)
def test_e12_headers_do_not_fill_the_memory(what: str) -> None:
    """In a process of its own that may use 1 GiB of address space; what it used at most is what it prints."""
    program = f"""
import re, resource, sys
def peak():  # kibibytes; ru_maxrss would count what this process was before its exec
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from cowfs.images.tarheader import BadTar
from cowfs.images.tarstream import TarReader
from tests.images.tars import header
start, megabytes = {BOMBS[what]}
def chunks():
    yield start
    for _ in range(megabytes):
        yield b"1" * (1 << 20)
try:
    list(TarReader(chunks()))
except BadTar:
    print(peak() >> 10)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
    assert int(done.stdout) < 100
