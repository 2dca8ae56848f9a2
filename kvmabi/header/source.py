"""Header files as text with places: where they are found, and what stands at an offset.

A backslash at a line's end is taken out before anything else looks at the text (C's second
translation phase); `SourceFile.place` still gives the line and column of the file as it is on disk.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kvmabi.errors import HeaderError

MAX_FILE_BYTES: Final = 2 << 20
"""A longer header is refused; the longest that the kernel offers programs is a fifth of it."""

_SHOWN_COLUMNS: Final = 160
_SPLICE: Final = re.compile(r"\\[ \t]*\r?\n")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file: line and column count from 1; `source` is that line."""

    file: str
    line: int
    column: int
    source: str

    def error(self, message: str) -> HeaderError:
        """A HeaderError for this place; a long source line is cut around the column."""
        shown = self.source
        if len(shown) > _SHOWN_COLUMNS:
            start = max(0, self.column - 20)
            message = f"{message} (near {shown[start : start + 40]!r})"
            shown = ""
        return HeaderError(
            message, file=self.file, line=self.line, column=self.column, source=shown
        )


class SourceFile:
    """One header: `name` is what errors and origins call it, `text` has its lines spliced."""

    __slots__ = ("_line_starts", "_original", "_removed", "name", "text")

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._original = text
        self._line_starts: list[int] | None = None
        self._removed: list[tuple[int, int]] = []
        self.text = self._splice(text)

    def _splice(self, text: str) -> str:
        if "\\" not in text:
            return text
        removed = 0
        pieces = []
        end = 0
        for match in _SPLICE.finditer(text):
            pieces.append(text[end : match.start()])
            removed += match.end() - match.start()
            self._removed.append((match.end() - removed, removed))
            end = match.end()
        pieces.append(text[end:])
        return "".join(pieces)

    def place(self, offset: int) -> Place:
        """The place on disk of an offset into `text`."""
        index = bisect_right(self._removed, (offset, len(self._original) + 1))
        original = offset + (self._removed[index - 1][1] if index else 0)
        if self._line_starts is None:
            newlines = re.finditer("\n", self._original)
            self._line_starts = [0, *(match.end() for match in newlines)]
        line = bisect_right(self._line_starts, original)
        start = self._line_starts[line - 1]
        end = self._original.find("\n", start)
        source = self._original[start : end if end >= 0 else None].rstrip("\r")
        return Place(self.name, line, original - start + 1, source)


def read_source(path: Path, name: str) -> SourceFile:
    """The header at `path`; HeaderError if it cannot be read, is binary or too long."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise HeaderError(f"cannot be read: {error.strerror}", file=name) from error
    return source_from_bytes(data, name)


def source_from_bytes(data: bytes, name: str) -> SourceFile:
    """A header from bytes, UTF-8 or else Latin-1; HeaderError if they are binary or too many."""
    if len(data) > MAX_FILE_BYTES:
        raise HeaderError(f"longer than {MAX_FILE_BYTES} bytes, which no header is", file=name)
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise HeaderError("a NUL byte: this is no text file", file=name, line=line)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return SourceFile(name, text.removeprefix("\ufeff"))


@dataclass(slots=True)
class HeaderTree:
    """Include folders in the order in which they are searched; files are read once.

    A file's name is its path below its folder ("linux/kvm.h"), so that no name depends on where the
    folders are.
    """

    folders: tuple[Path, ...]
    _files: dict[Path, SourceFile] = field(default_factory=dict, repr=False)
    _found: dict[tuple[str, int], tuple[Path, int] | None] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, *folders: str | Path) -> HeaderTree:
        """A tree over these folders; HeaderError if one is no folder."""
        paths = tuple(Path(folder) for folder in folders)
        for path in paths:
            if not path.is_dir():
                raise HeaderError("no such folder of headers", file=str(path))
        return cls(paths)

    def find(self, name: str, *, after: int = -1) -> tuple[Path, int] | None:
        """(path, index of its folder) of a header, behind folder `after`; None if there is none."""
        key = (name, after)
        if key not in self._found:
            self._found[key] = self._search(name, after)
        return self._found[key]

    def _search(self, name: str, after: int) -> tuple[Path, int] | None:
        if "\0" in name or len(name) > 1000:
            return None
        for index in range(after + 1, len(self.folders)):
            path = self.folders[index] / name
            try:
                if path.is_file():
                    return path, index
            except OSError:
                continue
        return None

    def read(self, path: Path, name: str) -> SourceFile:
        """The file at `path`, as `name`; HeaderError if it cannot be read."""
        if path not in self._files:
            self._files[path] = read_source(path, name)
        return self._files[path]
