"""Cuts, lies about ranges, overload (R08, R09), and what a download leaves behind."""

import os
import subprocess
import time
from email.utils import formatdate

import pytest

from cowfs.errors import NotFound, RegistryError
from cowfs.images.registry.patience import LONGEST, TRIES, retry_after
from tests.images.layouts import Layout, digest, packed
from tests.images.tars import entry, tar
from tests.registry.conftest import Client, Commands
from tests.support.registry import Fault, Registry, Request, first_byte

PIECE = 64 << 10
BLOB = b"".join(number.to_bytes(8, "big") for number in range(50 * PIECE // 8))
NAME = digest(BLOB)


def cutting(every: int, sent: list[int]) -> Fault:
    """Blobs come in connections that end after so many bytes. ``sent`` counts all bytes."""

    def fault(request: Request) -> bool:
        data = request.registry.blobs.get(request.path.rpartition("/")[2])
        if data is None:
            return False
        start = first_byte(request)
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(data) - start))
        request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.end_headers()
        piece = data[start : start + every]
        request.wfile.write(piece)
        sent.append(len(piece))
        if start + every < len(data):
            request.cut()
        return True

    return fault


def test_r08_fifty_cuts(client: Client, registry: Registry) -> None:
    sent: list[int] = []
    registry.blobs[NAME] = BLOB
    registry.faults.append(cutting(PIECE, sent))
    assert client.download(registry.name, NAME, len(BLOB)) == BLOB
    assert len(sent) == 50
    assert sum(sent) <= len(BLOB) * 1.05
    assert set(client.sleeps) == {0.0}  # each cut came after something new


@pytest.mark.parametrize("kept", [0, 1, PIECE, len(BLOB) - 1, len(BLOB)])
def test_r08_what_another_command_left_is_gone_on_with(client: Client, registry: Registry, kept: int) -> None:
    registry.blobs[NAME] = BLOB
    with client.store.part(NAME) as part:
        part.append(BLOB[:kept])
    assert client.download(registry.name, NAME, len(BLOB)) == BLOB
    assert [first_byte_of(entry.headers) for entry in registry.log] == ([kept] if kept < len(BLOB) else [])
    assert client.kept(NAME) == len(BLOB)


def first_byte_of(headers: object) -> int:
    assert isinstance(headers, dict)
    return int(headers.get("Range", "bytes=0-")[len("bytes=") : -1])


def test_r08_more_than_the_blob_can_be_is_not_kept(client: Client, registry: Registry) -> None:
    registry.blobs[NAME] = BLOB
    with client.store.part(NAME) as part:
        part.append(BLOB + b"more")
    assert client.download(registry.name, NAME, len(BLOB)) == BLOB


RANGES = {
    "ignored": (200, None, 0),
    "another start": (206, "bytes 0-{last}/{size}", 0),
    "a start too far": (206, "bytes {next}-{last}/{size}", 1),
    "another size": (206, "bytes {start}-{last}/999", 0),
    "no number": (206, "bytes a-b/c", 0),
    "negative": (206, "bytes -1-{last}/{size}", 0),
    "none": (206, None, 0),
    "416": (416, None, 0),
}


@pytest.mark.parametrize("lie", RANGES)
def test_r08_a_registry_that_does_ranges_wrong_is_asked_for_all(client: Client, registry: Registry, lie: str) -> None:
    status, content_range, more = RANGES[lie]
    registry.blobs[NAME] = BLOB
    start = 10 * PIECE
    with client.store.part(NAME) as part:
        part.append(BLOB[:start])

    def fault(request: Request) -> bool:
        if not first_byte(request):
            return False
        values = {"start": start, "next": start + 1, "last": len(BLOB) - 1, "size": len(BLOB)}
        headers = {"Content_Range": content_range.format(**values)} if content_range else {}
        request.answer(status, b"" if status == 416 else BLOB[start + more :] if status == 206 else BLOB, **headers)
        return True

    registry.faults.append(fault)
    assert client.download(registry.name, NAME, len(BLOB)) == BLOB
    assert len(registry.log) == (1 if lie == "ignored" else 2)


def test_r08_a_range_that_nobody_asked_for(client: Client, registry: Registry) -> None:
    registry.faults.append(lambda request: not request.answer(206, BLOB, Content_Range=f"bytes 0-9/{len(BLOB)}"))
    with pytest.raises(RegistryError, match="the status 206 makes no sense"):
        client.download(registry.name, NAME, len(BLOB))


def test_a_content_length_is_not_believed(client: Client, registry: Registry) -> None:
    """One that is too small ends the answer too early; the rest is asked for. One that is too large is a cut."""
    registry.blobs[NAME] = BLOB

    def fault(request: Request) -> bool:
        start = first_byte(request)
        request.send_response(206 if start else 200)
        request.send_header("Content-Range", f"bytes {start}-{len(BLOB) - 1}/{len(BLOB)}")
        request.send_header("Content-Length", str(PIECE if start == 0 else 10 * len(BLOB)))
        request.send_header("Connection", "close")
        request.close_connection = True
        request.end_headers()
        request.wfile.write(BLOB[start:] + b"more than there is")
        return True

    registry.faults.append(fault)
    assert client.download(registry.name, NAME, len(BLOB)) == BLOB
    assert len(registry.log) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("what", ["manifest", "blob"])
def test_r09_what_may_pass_is_tried_five_times(client: Client, registry: Registry, status: int, what: str) -> None:
    registry.faults.append(lambda request: not request.answer(status, b"{}"))
    asks = {
        "manifest": lambda: client.repository(registry.name).manifest("latest"),
        "blob": lambda: client.download(registry.name, NAME, len(BLOB)),
    }
    with pytest.raises(RegistryError, match=rf"status {status} \(tried 5 times\)"):
        asks[what]()
    assert len(registry.log) == TRIES
    assert client.sleeps == [1.0, 2.0, 4.0, 8.0]


def test_r09_one_that_comes_back_is_used(client: Client, registry: Registry) -> None:
    registry.blobs[NAME] = BLOB
    registry.faults.append(lambda request: len(registry.log) < TRIES and not request.answer(503))
    assert client.download(registry.name, NAME, len(BLOB)) == BLOB


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("1000000000", LONGEST),
        ("9" * 400, LONGEST),
        ("-5", 1.0),
        ("soon", 1.0),
        ("", 1.0),
        ("1e3", 1.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", LONGEST),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 1.0),
    ],
)
def test_r09_retry_after(client: Client, registry: Registry, value: str, pause: float) -> None:
    registry.blobs[NAME] = BLOB
    registry.faults.append(lambda request: len(registry.log) == 1 and not request.answer(429, Retry_After=value))
    client.download(registry.name, NAME, len(BLOB))
    assert client.sleeps == [pause]


def test_r09_retry_after_is_a_date() -> None:
    now = time.time()
    found = retry_after(formatdate(now + 30, usegmt=True), now)
    assert found is not None
    assert 28 < found <= 30


@pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 501])
def test_r09_what_is_final_is_asked_once(client: Client, registry: Registry, status: int) -> None:
    registry.faults.append(lambda request: not request.answer(status))
    with pytest.raises(NotFound if status == 404 else RegistryError):
        client.download(registry.name, NAME, len(BLOB))
    assert len(registry.log) == 1


def test_nobody_there_is_said_at_once(client: Client, registry: Registry) -> None:
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:1 cannot be reached: Connection refused"):
        client.repository("127.0.0.1:1").manifest("latest")
    assert client.sleeps == []


# --- what stays in the store

NOISE = tar(entry(b"noise", data=b"".join(digest(b"%d" % number).encode() for number in range(20_000))))


def test_a_pull_that_was_cut_for_good_goes_on_later(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(NOISE)
    registry.add(layout.path)
    blob = digest(NOISE)

    def fault(request: Request) -> bool:
        if blob not in request.path:
            return False
        if first_byte(request):
            request.answer(404)  # for good
            return True
        return cutting(1 << 20, [])(request)

    registry.faults.append(fault)
    name = f"{registry.name}/image:image"
    cowfs.refused(name)
    assert (cowfs.root / "blobs/sha256" / f"{blob[7:]}.part").stat().st_size == 1 << 20
    registry.faults.clear()
    registry.log.clear()
    cowfs.pull(name)
    assert [first_byte_of(entry.headers) for entry in registry.asked("GET", blob)] == [1 << 20]
    assert not (cowfs.root / "blobs/sha256" / f"{blob[7:]}.part").exists()


@pytest.mark.parametrize("how", ["none", "gzip", "zstd"])
@pytest.mark.parametrize("damage", ["zeros", "other"])
def test_c04_what_a_power_cut_left_of_a_download_is_fetched_again(
    cowfs: Commands, registry: Registry, layout: Layout, how: str, damage: str
) -> None:
    """The size was on disk, the data was not."""
    layout.image(NOISE, how=how)
    registry.add(layout.path)
    data = packed(NOISE, how)
    parts = cowfs.root / "blobs/sha256"
    cowfs.pull(f"{registry.name}/image:image", "--platform", "linux/amd64")
    cowfs("rm", f"{registry.name}/image:image")
    (parts / f"{digest(data)[7:]}.part").write_bytes(bytes(300_000) if damage == "zeros" else data[:1000] + bytes(9000))
    registry.log.clear()
    cowfs.pull(f"{registry.name}/image:image")
    assert cowfs.names("layers/sha256") == [digest(NOISE)[7:]]
    asked = [first_byte_of(entry.headers) for entry in registry.asked("GET", digest(data))]
    assert asked[-1] == 0
    assert len(asked) <= 2


def test_a_blob_that_is_wrong_is_not_kept(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(NOISE)
    registry.add(layout.path)
    registry.blobs[digest(NOISE)] = NOISE[:-600] + bytes([1]) + NOISE[-599:]
    cowfs.refused(f"{registry.name}/image:image")
    assert cowfs.names("blobs/sha256") == []
    assert len(registry.asked("GET", digest(NOISE))) == 1


def test_old_parts_go_with_the_next_removal(cowfs: Commands, registry: Registry, layout: Layout) -> None:
    layout.image(NOISE)
    registry.add(layout.path)
    cowfs.pull(f"{registry.name}/image:image")
    old, new = (cowfs.root / "blobs/sha256" / f"{letter * 64}.part" for letter in "ab")
    for path in (old, new):
        path.write_bytes(b"x")
    os.utime(old, (0, 0))
    cowfs("rm", f"{registry.name}/image:image")
    assert cowfs.names("blobs/sha256") == [new.name]


def test_x03_a_store_that_is_full_is_said_and_a_retry_goes_on(
    cowfs: Commands, registry: Registry, layout: Layout
) -> None:
    """What is packed fits, what is unpacked does not; then somebody makes room."""
    layout.image(NOISE, how="gzip")
    registry.add(layout.path)
    blob = digest(packed(NOISE, "gzip"))
    cowfs.root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k,mode=0700", "tmpfs", cowfs.root], check=True)
    try:
        message = cowfs.refused(f"{registry.name}/image:image")
        assert "needs more room than the 1 MiB that were free" in message
        kept = (cowfs.root / "blobs/sha256" / f"{blob[7:]}.part").stat().st_size
        assert kept > 100_000
        subprocess.run(["mount", "-o", "remount,size=64m", cowfs.root], check=True)
        registry.log.clear()
        cowfs.pull(f"{registry.name}/image:image")
        assert [first_byte_of(entry.headers) for entry in registry.asked("GET", blob)] in ([kept], [])
        assert cowfs.names("layers/sha256") == [digest(NOISE)[7:]]
    finally:
        subprocess.run(["umount", cowfs.root], check=True)
