"""Compressed layers: whole, cut, padded, in several members, and too large (E12, E13)."""

import gzip
import subprocess
import sys
from collections.abc import Callable

import pytest
import zstandard

from cowfs.images.compression import CHUNK, BadCompression, Compression, decompress, sniff

DATA = b"".join(b"%d some text of which there is more\n" % number for number in range(20_000))


def reader(data: bytes) -> Callable[[int], bytes]:
    """``read`` over bytes, giving less than asked for now and then."""
    position = 0

    def read(size: int) -> bytes:
        nonlocal position
        part = data[position : position + min(size, 5000)]
        position += len(part)
        return part

    return read


def plain(data: bytes) -> bytes:
    return b"".join(decompress(reader(data), sniff(data[:4])))


def zstd(data: bytes, **options: int) -> bytes:
    return zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters(**options)).compress(data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        pytest.param(DATA, Compression.NONE, id="none"),
        pytest.param(gzip.compress(DATA), Compression.GZIP, id="gzip"),
        pytest.param(
            gzip.compress(DATA[:777]) + gzip.compress(b"") + gzip.compress(DATA[777:]), Compression.GZIP, id="members"
        ),
        pytest.param(gzip.compress(DATA) + bytes(1000), Compression.GZIP, id="padded with zeros"),
        pytest.param(zstd(DATA), Compression.ZSTD, id="zstd"),
        pytest.param(zstd(DATA[:777]) + zstd(DATA[777:]), Compression.ZSTD, id="frames"),
    ],
)
def test_e13_whole_streams(data: bytes, kind: Compression) -> None:
    assert sniff(data[:4]) is kind
    assert plain(data) == DATA


def test_no_chunk_is_larger_than_said() -> None:
    for data in (gzip.compress(bytes(5 << 20)), zstd(bytes(5 << 20))):
        assert max(map(len, decompress(reader(data), sniff(data[:4])))) <= CHUNK


def test_e13_a_gzip_stream_that_is_cut_is_refused_wherever() -> None:
    data = gzip.compress(DATA)
    for end in [*range(2, len(data), 1024), len(data) - 8, len(data) - 1]:
        with pytest.raises(BadCompression):
            plain(data[:end])


def test_e13_a_zstd_stream_that_is_cut_never_gives_it_all() -> None:
    """The frame's end is not announced; the tar's is, and the digest is another one."""
    data = zstd(DATA)
    for end in range(4, len(data) - 4, 1024):
        try:
            assert len(plain(data[:end])) < len(DATA)
        except BadCompression:
            pass


@pytest.mark.parametrize("rest", [b"garbage", b"\0\0garbage", b"\x1f\x8b", b"\x1f\x8b\x08garbage and more of it"])
def test_e13_something_after_the_gzip_data_is_refused(rest: bytes) -> None:
    with pytest.raises(BadCompression):
        plain(gzip.compress(DATA) + rest)


def test_e13_something_after_the_zstd_data_is_refused() -> None:
    with pytest.raises(BadCompression):
        plain(zstd(DATA) + b"garbage")


@pytest.mark.parametrize("at", [2, 100, -5])
def test_e13_flipped_bits_are_refused(at: int) -> None:
    data = bytearray(gzip.compress(DATA))
    data[at] ^= 0x40
    with pytest.raises(BadCompression):
        plain(bytes(data))


def test_e12_a_stream_that_unpacks_to_too_much_is_stopped() -> None:
    for data in (gzip.compress(bytes(200 << 20)), zstd(bytes(200 << 20))):
        with pytest.raises(BadCompression, match="more than 200 times"):
            for _ in decompress(reader(data), sniff(data[:4])):
                pass


def test_e12_a_zstd_window_of_2_gib_is_refused_and_one_of_128_mib_is_not() -> None:
    def frame(window: int) -> bytes:
        """RFC 8878: a frame without a content size, and its last block, which is empty."""
        return b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([(window - 10) << 3]) + b"\x01\x00\x00"

    assert plain(frame(27)) == b""
    with pytest.raises(BadCompression):
        plain(frame(31))


def test_e12_memory_stays_small() -> None:
    """In a process of its own, which prints the most that it used, in MiB."""
    block = (((128 << 10) << 3) | (1 << 1)).to_bytes(3, "little") + b"\0"  # RFC 8878: 128 KiB of one byte
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + bytes([17 << 3]) + block * 8000
    bomb = """
import re, resource, sys
def peak():  # kibibytes; ru_maxrss would count what this process was before its exec
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
from cowfs.images.compression import BadCompression, decompress, sniff
import io
data = sys.stdin.buffer.read()
try:
    for _ in decompress(io.BytesIO(data).read, sniff(data[:4])):
        pass
except BadCompression:
    print(peak() >> 10)
"""
    done = subprocess.run([sys.executable, "-c", bomb], check=True, input=frame, capture_output=True, timeout=60)
    assert int(done.stdout) < 256
