"""A big file that is written here and there, through a mount."""

import os

from cowfs.overlay import partial

SIZE = 4 << 20


def test_a_file_in_too_many_parts_is_made_whole_on_the_way(mounted, monkeypatch):
    monkeypatch.setattr(partial, "_MANY", 10)

    def prepare(mount):
        (mount.lower / "big").write_bytes(b"b" * SIZE)

    def check(mount):
        expected = bytearray(b"first".ljust(SIZE, b"b"))
        with open(mount.merged / "big", "r+b", buffering=0) as file:
            file.write(b"first")
            assert os.stat(mount.upper / "big").st_blocks < 100
            for number in range(1, 20):
                file.seek(number * 100_000)
                file.write(b"part")
                expected[number * 100_000 : number * 100_000 + 4] = b"part"
            assert (mount.merged / "big").read_bytes() == expected
        assert (mount.upper / "big").read_bytes() == expected
        assert "trusted.overlay.metacopy" not in os.listxattr(mount.upper / "big")
        assert (mount.lower / "big").read_bytes() == b"b" * SIZE

    mounted(check, prepare=prepare)
