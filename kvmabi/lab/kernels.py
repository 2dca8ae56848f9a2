"""The kernel under test: found by what the user calls it, and looked at before it is booted."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kvmabi.errors import LabUnavailable, UsageError
from kvmabi.lab import apt, cache, image
from kvmabi.lab.archive import Entry, entries
from kvmabi.lab.modules import find_modules, module_name

DEBIAN: Final = "debian:"
HOST: Final = "host"
_USEFUL: Final = re.compile(
    r"(usr/)?lib/modules/[^/]+/kernel/(arch/x86|virt|crypto|lib|drivers/(virtio|char|crypto|block))/"
)
"""The modules that a lab may need; the others of a distribution's kernel are left packed."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel to boot. `modules` is name to file; `source` tells a person where it came from."""

    name: str
    source: str
    release: str
    image: Path
    modules: Mapping[str, Path]
    built_in: frozenset[str] | None = None
    """The modules that are part of the image, where that is known."""
    config: Mapping[str, str] | None = None
    """Option to value ("CONFIG_KVM": "m"), where the configuration is at hand."""


def find_kernel(name: str, modules: str | None = None) -> Kernel:
    """Return the kernel that a user calls so; `modules` is a folder with its modules, if named.

    "debian:6.1" is the newest kernel package of that version that apt knows, "debian:6.1.0-50" the
    one with that release, "host" the kernel of this machine as it lies in /boot, a file that ends
    with .deb a kernel package, a folder a built kernel tree, and any other file a bzImage. Raises
    UsageError and LabUnavailable with the remedy.
    """
    path = Path(name)
    if modules is not None and not Path(modules).is_dir():
        raise UsageError(f"--modules {modules}: there is no such folder")
    if name.startswith(DEBIAN):
        found = _debian(name)
    elif name == HOST:
        found = _host(os.uname().release)
    elif path.is_dir():
        found = _tree(path)
    elif not path.is_file():
        raise UsageError(
            f"{name!r} is no kernel: name debian:VERSION (debian:6.1), host, a kernel's .deb, a "
            "built kernel tree or a bzImage"
        )
    elif path.suffix == ".deb":
        found = _unpacked(name, path, cache.file_sha256(path), f"the package {path.name}")
    else:
        found = _image(path)
    return with_modules(found, Path(modules)) if modules is not None else found


def with_modules(kernel: Kernel, folder: Path) -> Kernel:
    """Return the kernel with the modules of a folder instead of its own."""
    return replace(kernel, modules=find_modules(folder), built_in=_built_in(folder))


def _host(release: str, boot: Path = Path("/boot")) -> Kernel:
    path = boot / f"vmlinuz-{release}"
    if not path.is_file():
        raise LabUnavailable(
            f"the running kernel, {release}, does not lie in {boot} (as {path.name}): name its "
            "bzImage with --kernel, and its modules with --modules"
        )
    return replace(_image(path), name=HOST, source=f"this machine's {path}")


def _image(path: Path, installed: Path = Path("/lib/modules")) -> Kernel:
    """Return a bzImage with the configuration beside it, and the modules installed for it."""
    release = image.release_of(path)
    folder = installed / release
    beside = (path.with_name(f"config-{release}"), path.with_name(".config"))
    config = next((one for one in beside if one.is_file()), None)
    here = bool(release) and folder.is_dir()
    return Kernel(
        name=str(path),
        source=f"the image {path}",
        release=release,
        image=path,
        modules=find_modules(folder) if here else {},
        built_in=_built_in(folder) if here else None,
        config=read_config(config.read_text()) if config else None,
    )


def _tree(folder: Path) -> Kernel:
    path = folder / "arch/x86/boot/bzImage"
    if not path.is_file():
        raise UsageError(f"{folder} is no built kernel tree: it has no {path.relative_to(folder)}")
    order = folder / "modules.order"
    lines = order.read_text().split() if order.is_file() else []
    paths = [(folder / line).with_suffix(".ko") for line in lines]
    config = folder / ".config"
    return Kernel(
        name=str(folder),
        source=f"the tree {folder}",
        release=image.release_of(path),
        image=path,
        modules={module_name(one.name): one for one in paths if one.is_file()},
        built_in=_built_in(folder),
        config=read_config(config.read_text()) if config.is_file() else None,
    )


def _built_in(folder: Path) -> frozenset[str] | None:
    """Return the names of the modules that are part of the image; None where nothing tells."""
    path = folder / "modules.builtin"
    if not path.is_file():
        return None
    return frozenset(module_name(line) for line in path.read_text().split())


def _debian(name: str) -> Kernel:
    version = name.removeprefix(DEBIAN)
    if not re.fullmatch(r"\d+\.\d+[-+.~\w]*", version):
        raise UsageError(f"{name!r}: a version is meant, as in debian:6.1 or debian:6.1.0-50")
    series = re.fullmatch(r"\d+\.\d+", version)
    more = r"(\.\d+)*([+][a-z0-9]+)?(-\d+)?" if series else ""
    wanted = re.compile(rf"linux-image-{re.escape(version)}{more}-cloud-amd64-unsigned")
    found = [one for one in apt.names(f"linux-image-{version}") if wanted.fullmatch(one)]
    candidates = apt.candidates(found) if found else {}
    if not candidates:
        raise LabUnavailable(
            f"apt knows no kernel package of {version}: are its lists fresh (apt-get update), and "
            "is that version in its sources (for bookworm, 6.12 is in bookworm-backports)?"
        )
    package = max(candidates.values(), key=lambda one: apt.natural(one.name))
    path = apt.fetch(package)
    return _unpacked(name, path, package.sha256, f"Debian's {package.name} {package.version}")


def _unpacked(name: str, package: Path, sha256: str, source: str) -> Kernel:
    """Return the kernel in a package, whose useful files are unpacked into the cache once."""
    folder = cache.folder("kernels") / sha256[:24]
    if not folder.is_dir():
        with cache.whole_folder(folder) as fresh:
            _unpack(package, fresh)
    config = folder / "config"
    return Kernel(
        name=name,
        source=source,
        release=(folder / "release").read_text(),
        image=folder / "vmlinuz",
        modules=find_modules(folder / "modules"),
        config=read_config(config.read_text()) if config.is_file() else None,
    )


def _unpack(package: Path, folder: Path) -> None:
    release = ""
    (folder / "modules").mkdir()
    for one in entries(package, _is_useful):
        where = one.path.rpartition("/")[2]
        if where.startswith("vmlinuz-"):
            release = where.removeprefix("vmlinuz-")
            (folder / "vmlinuz").write_bytes(one.data)
        elif where.startswith("config-"):
            (folder / "config").write_bytes(one.data)
        else:
            _keep(folder / "modules" / where, one)
    if not release:
        raise UsageError(f"{package} has no /boot/vmlinuz-*: it is no kernel package")
    (folder / "release").write_text(release)


def _keep(path: Path, entry: Entry) -> None:
    if not entry.target:
        path.write_bytes(entry.data)


def _is_useful(path: str) -> bool:
    if path.startswith(("boot/vmlinuz-", "boot/config-")):
        return True
    return bool(_USEFUL.match(path) and module_name(path))


def read_config(text: str) -> dict[str, str]:
    """Return a kernel configuration's options; those that are not set are left out."""
    pairs = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {key: value for key, _, value in pairs}
