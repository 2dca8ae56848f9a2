#!/usr/bin/env python3
"""How long the ABI takes to read, to write and to import, beside other ways to get at it.

    tools/bench_abi.py [--repeat N]

Each figure is the best of N. The references are measured in the same run, on the same headers:
pycparser on text that a C compiler has already preprocessed (with GNU attributes taken out, which
it does not read), and gcc, where it is there, preprocessing and compiling with DWARF that
pyelftools then reads.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pycparser import CParser  # type: ignore[import-untyped] # noqa: E402

from kvmabi import arch  # noqa: E402
from kvmabi.abi.build import read_abi  # noqa: E402
from kvmabi.abi.dwarf import read_object  # noqa: E402
from kvmabi.abi.emit import ModuleSource, emit_module  # noqa: E402
from kvmabi.abi.proof import ZIG  # noqa: E402
from kvmabi.abi.trees import ziglang_folder, ziglang_tree  # noqa: E402
from kvmabi.arch import Architecture  # noqa: E402
from kvmabi.errors import KvmAbiError  # noqa: E402

_NO_GNU = ("-D__attribute__(x)=", "-D__extension__=", "-D__signed__=signed", "-D__int128=long long")
_IMPORT = """\
import sys, time
import ctypes, typing
start = time.perf_counter()
import {module}
print(time.perf_counter() - start)
"""


def best(repeat: int, action: Callable[[], object]) -> float:
    """Seconds of the fastest of `repeat` runs."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def parse(architecture: Architecture) -> None:
    """Read an architecture's headers from files to facts; nothing is kept from before."""
    read_abi(ziglang_tree(architecture), architecture)


def emit_all() -> None:
    """Read the headers of all seven, and write their modules."""
    for architecture in arch.ARCHITECTURES.values():
        abi = read_abi(ziglang_tree(architecture), architecture)
        emit_module(ModuleSource(abi, abi, "", ""))


def import_seconds(repeat: int, module: str) -> float:
    """The best of `repeat` imports in a fresh interpreter, with bytecode from the one before."""
    with tempfile.TemporaryDirectory(prefix="kvmabi-bench-") as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONPATH": str(ROOT)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        command = [sys.executable, "-c", _IMPORT.format(module=module)]
        times = []
        for _ in range(repeat + 1):
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            times.append(float(done.stdout))
        return min(times[1:])


def preprocessed(folder: Path) -> str:
    """What a compiler's preprocessor makes of kvm.h, for pycparser."""
    (folder / "kvm.c").write_text("#include <linux/kvm.h>\n")
    command = [*ZIG, "-target", arch.X86.zig_target, "-E", "-P", "-w", "-nostdinc", *_NO_GNU]
    for include in ziglang_tree(arch.X86).folders:
        command += ["-isystem", str(include)]
    done = subprocess.run(
        [*command, "kvm.c"], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout


def with_gcc(gcc: str, folder: Path) -> None:
    """What a script without a parser does: gcc -E for the macros, gcc -g and DWARF for the rest."""
    includes = [str(ziglang_folder() / name) for name in ("x86-linux-any", "any-linux-any")]
    options = ["-w", "-nostdinc", *(part for one in includes for part in ("-isystem", one))]
    macros = [gcc, *options, "-E", "-dM", "kvm.c"]
    subprocess.run(macros, cwd=folder, capture_output=True, check=True)
    keep = ["-g", "-fno-eliminate-unused-debug-types", "-nostdlib", "-shared", "-o", "kvm.so"]
    subprocess.run([gcc, *options, *keep, "kvm.c"], cwd=folder, capture_output=True, check=True)
    read_object(folder / "kvm.so")


def report(repeat: int) -> None:
    """Print every figure, with its bound and the references."""
    parsed = {}
    for architecture in arch.ARCHITECTURES.values():
        parsed[architecture.name] = best(repeat, partial(parse, architecture))
        line(f"parse {architecture.name}", parsed[architecture.name], 0.25)
    line("parse and emit all seven", best(max(repeat // 2, 1), emit_all), 2.0)
    line("import kvmabi.uapi", import_seconds(repeat, "kvmabi.uapi"), 0.03)
    line("import kvmabi.uapi.s390", import_seconds(repeat, "kvmabi.uapi.s390"), 0.03)
    ours = min(parsed["x86"], best(repeat, partial(parse, arch.X86)))
    with tempfile.TemporaryDirectory(prefix="kvmabi-bench-") as name:
        folder = Path(name)
        text = preprocessed(folder)
        beside("pycparser alone, on preprocessed x86 text", ours, best(repeat, parser_of(text)))
        gcc = shutil.which("gcc")
        if gcc is None:
            print("gcc -E and -g, DWARF read: gcc is not installed")
        else:
            beside("gcc -E and -g, DWARF read", ours, best(repeat, lambda: with_gcc(gcc, folder)))


def parser_of(text: str) -> Callable[[], object]:
    """A parse of the text by a new pycparser; building its parser is not counted."""
    parser = CParser()
    return lambda: parser.parse(text)


def line(what: str, seconds: float, bound: float) -> None:
    """One of our figures beside its bound."""
    verdict = "" if seconds < bound else "   over its bound"
    print(f"{what:28} {seconds * 1e3:8.1f} ms   bound {bound * 1e3:6.0f} ms{verdict}")


def beside(what: str, ours: float, theirs: float) -> None:
    """A reference's figure, and how often ours goes into it."""
    print(f"{what:42} {theirs * 1e3:8.1f} ms   {theirs / ours:5.2f} x our whole parse of x86")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeat", metavar="N", type=int, default=5, help="runs of each")
    options = parser.parse_args(arguments)
    try:
        report(max(options.repeat, 1))
    except KvmAbiError as error:
        print(f"bench_abi: {error}", file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
