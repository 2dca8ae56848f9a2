"""Debian packages by way of apt, which knows where they are: downloaded, checked, never installed.

The checksum of a download is the one of apt's own, signed metadata. What was downloaded once is
found again without a network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.errors import LabUnavailable
from kvmabi.lab import cache

LISTS: Final = Path("/var/lib/apt/lists")
DOWNLOAD_DEADLINE_S: Final = 900.0


@dataclass(frozen=True, slots=True)
class Package:
    """A package as apt would install it now."""

    name: str
    version: str
    architecture: str
    sha256: str

    @property
    def file_name(self) -> str:
        """The name of the package's file in the cache: it tells the content."""
        return f"{self.name}_{self.sha256[:16]}.deb"


def candidates(names: Sequence[str]) -> dict[str, Package]:
    """Return what apt would install under these names, without those that it does not know."""
    found = {}
    for text in _apt_cache("show", "--no-all-versions", *names).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)
        if "SHA256" in fields and fields["Package"] not in found:
            found[fields["Package"]] = Package(
                fields["Package"],
                fields["Version"],
                fields["Architecture"],
                fields["SHA256"].strip(),
            )
    return found


def depends(name: str) -> str:
    """Return what a package depends on, as apt writes it; empty for an unknown one."""
    lines = _apt_cache("show", "--no-all-versions", name).splitlines()
    return ", ".join(
        line.split(": ", 1)[1] for line in lines if line.startswith(("Depends: ", "Pre-Depends: "))
    )


def names(start: str) -> list[str]:
    """Return the names of all packages that start so."""
    return _apt_cache("pkgnames", start).split()


def fetch(package: Package) -> Path:
    """Return the package's file, downloaded first where it is not yet in the cache.

    Raises LabUnavailable where apt cannot get it, or what came is not what apt had promised.
    """
    path = cache.folder("packages") / package.file_name
    if path.is_file():
        return path
    cache.sweep(path.parent)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=path.parent) as place:
        _download(package, place)
        found = list(Path(place).glob("*.deb"))
        if len(found) != 1 or cache.file_sha256(found[0]) != package.sha256:
            raise LabUnavailable(
                f"the download of {package.name} {package.version} has another checksum than apt's "
                "metadata; `apt-get update`, then try again"
            )
        found[0].chmod(0o644)
        found[0].replace(path)
    return path


def _download(package: Package, place: str) -> None:
    wanted = f"{package.name}={package.version}"
    try:
        done = subprocess.run(
            ["apt-get", "download", "-q", wanted],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
            timeout=DOWNLOAD_DEADLINE_S,
        )
    except subprocess.TimeoutExpired:
        raise LabUnavailable(f"apt-get download {wanted} took too long") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise LabUnavailable(
            f"apt-get download {wanted} failed: {' '.join(lines) or done.stderr.strip()}; is there "
            "a network? Are apt's lists fresh (apt-get update)?"
        )


def _apt_cache(*arguments: str) -> str:
    """Return what apt-cache says; remembered until apt's lists change, and for want of any."""
    path = cache.folder("apt") / cache.digest(*arguments)
    state = _state_of_lists()
    known, _, text = path.read_text().partition("\n") if path.is_file() else ("", "", "")
    if known == state:
        return text
    if shutil.which("apt-cache") is None:
        if text:
            return text
        raise LabUnavailable(
            "the lab takes its Python, and kernels named debian:VERSION, from Debian packages by "
            "way of apt, and there is no apt-cache here"
        )
    done = subprocess.run(["apt-cache", *arguments], capture_output=True, text=True, check=False)
    if done.stdout:
        cache.publish(path, f"{state}\n{done.stdout}".encode())
    return done.stdout or text


def _state_of_lists() -> str:
    try:
        return str(LISTS.stat().st_mtime_ns)
    except OSError:
        return "none"


def natural(text: str) -> tuple[tuple[int, str], ...]:
    """Return a key that orders numbers inside names by value: 6.1.0-9 before 6.1.0-10."""
    return tuple(
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)
    )
