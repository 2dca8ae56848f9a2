from __future__ import annotations

import stat

from kvmabi.lab.archive import Entry
from kvmabi.lab.rootfs.cpio import archive


def read(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Name to mode and content, by the format's own description."""
    found, at = {}, 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        assert fields[2:4] == [0, 0], "owners"
        assert fields[5] == 0, "time"
        name = data[at + 110 : at + 110 + name_size]
        assert name.endswith(b"\0")
        at += (110 + name_size + 3) // 4 * 4
        content = data[at : at + size]
        at += (size + 3) // 4 * 4
        if name == b"TRAILER!!!\0":
            assert data[at:] == bytes(len(data) - at)
            return found
        found[name[:-1].decode()] = (mode, content)


FILES = (
    Entry("usr/bin/tool", 0o755, b"12345"),
    Entry("lib", 0o777, target="usr/lib"),
    Entry("empty", 0o600),
)


def test_files_links_and_their_folders() -> None:
    assert read(archive(FILES)) == {
        "empty": (stat.S_IFREG | 0o600, b""),
        "lib": (stat.S_IFLNK | 0o777, b"usr/lib"),
        "usr": (stat.S_IFDIR | 0o755, b""),
        "usr/bin": (stat.S_IFDIR | 0o755, b""),
        "usr/bin/tool": (stat.S_IFREG | 0o755, b"12345"),
    }


def test_folders_stand_before_what_is_in_them() -> None:
    names = list(read(archive(FILES)))
    assert names.index("usr") < names.index("usr/bin") < names.index("usr/bin/tool")


def test_the_same_entries_give_the_same_bytes() -> None:
    assert archive(FILES) == archive(reversed(FILES))
    assert archive(FILES) != archive(FILES[:2])


def test_archives_can_stand_behind_one_another() -> None:
    assert len(archive(FILES)) % 512 == 0


def test_the_last_of_two_entries_counts() -> None:
    both = archive([Entry("a", 0o644, b"old"), Entry("a", 0o644, b"new")])
    assert read(both)["a"] == (stat.S_IFREG | 0o644, b"new")
