"""Where headers to read come from: the ziglang package, or a source that the user names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from kvmabi.arch import Architecture
from kvmabi.header import HeaderTree
from kvmabi.headersets.collect import collect
from kvmabi.headersets.installed import COMMON
from kvmabi.headersets.sources import open_source, ziglang_folder
from kvmabi.headersets.store import default_store

__all__ = ["named_trees", "ziglang_folder", "ziglang_tree"]


def ziglang_tree(architecture: Architecture) -> HeaderTree:
    """The headers of one architecture in the ziglang package; ToolMissing without it."""
    folder = ziglang_folder()
    return HeaderTree.of(folder / architecture.header_dir, folder / "any-linux-any")


@contextmanager
def named_trees(
    text: str, architectures: Sequence[Architecture], store: Path | None = None
) -> Iterator[dict[Architecture, HeaderTree]]:
    """The headers of each of these architectures that a source has.

    A source is what `headersets.sources.open_source` takes: a folder of headers, a kernel's tree, a
    package, and more. UsageError where it is none, or has none of the architectures.
    """
    with (
        open_source(text, store or default_store()) as source,
        TemporaryDirectory(prefix="kvmabi-headers-") as name,
    ):
        folder = Path(name)
        collected = collect(source, architectures)
        collected.write(folder)
        (folder / COMMON).mkdir(exist_ok=True)
        yield {
            one: HeaderTree.of(folder / one.name, folder / COMMON)
            for one in architectures
            if one.name in collected.architectures
        }
