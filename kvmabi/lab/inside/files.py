"""Files of the host's that a verb reads: packed into its job, and unpacked where it runs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FOLDER: Final = Path("/files")
"""Where they lie in the kernel under test."""


def pack(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return files, name to content, as a job can carry them."""
    return {name: base64.b64encode(data).decode() for name, data in files.items()}


def unpack(packed: Mapping[str, str], folder: Path = FOLDER) -> None:
    """Write the files that `pack` packed."""
    for name, text in packed.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(base64.b64decode(text))
