"""The proof that an Abi is right: a C compiler reads the same headers, and every fact is compared.

Sizes, offsets, bit-fields and enumerators come from the DWARF of the compiled object; alignments,
values and types of macros, and ioctl numbers from arrays of constants in it; the names of all
macros from the preprocessor. So what we forgot shows as well as what we got wrong.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kvmabi.abi.compare import Comparison, element_of
from kvmabi.abi.dwarf import CompiledAbi, read_object
from kvmabi.abi.model import Abi, Array, Field, Record
from kvmabi.errors import AbiError
from kvmabi.header import HeaderTree, SourceFile

ZIG: Final = (sys.executable, "-m", "ziglang", "cc")
_TIMEOUT_S: Final = 300

# The types that a constant expression can have, as _Generic tells them apart; 0 is any other.
_TYPES: Final = (
    "_Bool", "char", "signed char", "unsigned char", "short", "unsigned short", "int",
    "unsigned int", "long", "unsigned long", "long long", "unsigned long long", "__int128",
    "unsigned __int128",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Proof:
    """What to prove: an Abi and the headers that it came from; `compiler` takes clang's options."""

    abi: Abi
    tree: HeaderTree
    overlays: tuple[SourceFile, ...] = ()
    compiler: tuple[str, ...] = ZIG
    includes: tuple[str, ...] = ("linux/kvm.h",)

    def run(self) -> Comparison:
        """The comparison of all facts; AbiError where the compiler does not take the headers."""
        subject = _Subject(self.abi)
        with tempfile.TemporaryDirectory(prefix="kvmabi-proof-") as name:
            folder = Path(name)
            lines = self._includes(folder)
            (folder / "names.c").write_text("".join(lines), encoding="utf-8")
            (folder / "empty.c").write_text("", encoding="utf-8")
            (folder / "probe.c").write_text("".join(lines) + subject.source(), encoding="utf-8")
            options = ("-g", "-shared", "-fno-eliminate-unused-debug-types", "-o", "probe.so")
            self._compile(folder, *options, "probe.c")
            compiled = read_object(folder / "probe.so")
            names = self._macro_names(folder, "names.c") - self._macro_names(folder, "empty.c")
        comparison = Comparison()
        subject.compare(compiled, names, comparison)
        return comparison

    def work_out(self, source: str) -> str:
        """The compiler's optimised intermediate code of C that stands behind the headers."""
        with tempfile.TemporaryDirectory(prefix="kvmabi-proof-") as name:
            folder = Path(name)
            text = "".join(self._includes(folder)) + source
            (folder / "calls.c").write_text(text, encoding="utf-8")
            self._compile(folder, "-O2", "-S", "-emit-llvm", "-o", "calls.ll", "calls.c")
            return (folder / "calls.ll").read_text(encoding="utf-8")

    def _includes(self, folder: Path) -> list[str]:
        lines = [f"#include <{name}>\n" for name in self.includes]
        for number, overlay in enumerate(self.overlays):
            (folder / f"overlay{number}.h").write_text(overlay.text, encoding="utf-8")
            lines.append(f'#include "overlay{number}.h"\n')
        return lines

    def _compile(self, folder: Path, *arguments: str) -> str:
        command = [*self.compiler, "-target", self.abi.architecture.zig_target, "-w", "-std=gnu11"]
        command += ["-nostdlib", "-nostdinc", "-fPIC", "-O0"]
        for include in self.tree.folders:
            command += ["-isystem", str(include.resolve())]
        command += arguments
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise AbiError(f"the compiler cannot be run: {problem}") from None
        if done.returncode:
            head = "\n".join(done.stderr.splitlines()[:12])
            raise AbiError(f"the compiler fails: {shlex.join(command)}\n{head}")
        return done.stdout

    def _macro_names(self, folder: Path, file: str) -> set[str]:
        text = self._compile(folder, "-E", "-dM", file)
        words = (line.split(None, 2) for line in text.splitlines() if line.startswith("#define"))
        return {parts[1].partition("(")[0] for parts in words}


@dataclass(frozen=True, slots=True)
class _Place:
    """A record that C can name: by its tag, its typedef, or as the type of a field."""

    record: Record
    expression: str


class _Subject:
    """The facts of an Abi in the order in which the C source has them."""

    def __init__(self, abi: Abi) -> None:
        self.abi = abi
        self.excluded: list[tuple[str, str]] = []
        self.places = list(self._all_places())
        self.constants = list(self._constants())
        self.strings = [macro for macro in abi.macros.values() if macro.kind == "string"]

    def _all_places(self) -> Iterator[_Place]:
        for record in self.abi.records.values():
            if record.tag is not None:
                yield from self._places(record, f"{record.kind} {record.tag}")
            elif self.abi.typedefs.get(record.name) == record:
                yield from self._places(record, record.name)

    def _places(self, record: Record, name: str) -> Iterator[_Place]:
        yield _Place(record, name)
        yield from self._inner(record, f"((({name} *)0)->", "")

    def _inner(self, record: Record, start: str, path: str) -> Iterator[_Place]:
        for field in record.fields:
            inner = element_of(field.type)
            if not isinstance(inner, Record) or inner.tag is not None:
                continue
            if field.name is None:
                text = "no expression of C has the type of an anonymous member"
                self.excluded.append((f"alignment of {inner.name}", text))
                yield from self._inner(inner, start, path)
            else:
                reached = f"{path}{field.name}{_indices(field)}"
                yield _Place(inner, f"__typeof__({start}{reached}))")
                yield from self._inner(inner, start, f"{reached}.")

    def _constants(self) -> Iterator[tuple[str, int, str]]:
        """(name, value, C type or "" where it is not compared) of each constant."""
        for enumerator in self.abi.enumerators.values():
            yield enumerator.name, enumerator.value, ""
        for macro in self.abi.macros.values():
            if macro.kind == "opaque":
                self.excluded.append((f"value of {macro.name}", macro.reason))
            elif isinstance(macro.value, int) and macro.name not in self.abi.enumerators:
                if -(1 << 63) <= macro.value < 1 << 64:
                    yield macro.name, macro.value, macro.c_type
                else:
                    self.excluded.append((f"value of {macro.name}", "wider than 64 bits"))
        for ioctl in self.abi.ioctls.values():
            yield ioctl.name, ioctl.number, ""

    def source(self) -> str:
        """The C that stands behind the headers."""
        generic = ", ".join(f"{name}: {number}" for number, name in enumerate(_TYPES, 1))
        names = [name for name, _, _ in self.constants]
        parts = [
            f"#define KVMABI_TYPE(x) _Generic((x), {generic}, default: 0)\n",
            _array("unsigned long long", "value", [f"(unsigned long long)({n})" for n in names]),
            _array("unsigned char", "negative", [f"({n}) < 0" for n in names]),
            _array("unsigned char", "type", [f"KVMABI_TYPE({n})" for n in names]),
            _array(
                "unsigned long long", "align", [f"_Alignof({p.expression})" for p in self.places]
            ),
            _array("unsigned long long", "size", [f"sizeof({p.expression})" for p in self.places]),
            *(f"const char kvmabi_string_{m.name}[] = {m.name};\n" for m in self.strings),
        ]
        return "".join(parts)

    def compare(self, compiled: CompiledAbi, names: set[str], comparison: Comparison) -> None:
        """Compare every fact with what the compiler made of it."""
        for subject, reason in self.excluded:
            comparison.exclude(subject, reason)
        self._compare_records(compiled, comparison)
        self._compare_enumerators(compiled, comparison)
        self._compare_constants(compiled, comparison)
        known = {*self.abi.macros, *self.abi.functions, *self.abi.ioctls}
        for name in sorted(known | names):
            comparison.check("macro names", name, "a macro", name in known, name in names)

    def _compare_records(self, compiled: CompiledAbi, comparison: Comparison) -> None:
        outermost = {
            p.record.name: p.record for p in self.places if "__typeof__" not in p.expression
        }
        opaque = {item.name for item in self.abi.opaque.values()}
        for name in sorted({*outermost, *compiled.records} - opaque):
            known = (name in outermost, name in compiled.records)
            if comparison.check("record names", name, "a record", *known):
                comparison.record(outermost[name], compiled.records[name])
        alignments = compiled.integers("kvmabi_align", 8)
        sizes = compiled.integers("kvmabi_size", 8)
        for place, alignment, size in zip(self.places, alignments, sizes, strict=True):
            name = place.record.name
            comparison.check("alignments", name, "alignment", place.record.alignment, alignment)
            comparison.check("record sizes", name, "sizeof", place.record.size, size)

    def _compare_enumerators(self, compiled: CompiledAbi, comparison: Comparison) -> None:
        ours = {entry.name: entry.value for entry in self.abi.enumerators.values()}
        theirs = {entry.name: entry.value for entry in compiled.enumerators.values()}
        for name in sorted(ours.keys() | theirs.keys()):
            comparison.check("enumerators", name, "value", ours.get(name), theirs.get(name))

    def _compare_constants(self, compiled: CompiledAbi, comparison: Comparison) -> None:
        values = compiled.integers("kvmabi_value", 8)
        negative = compiled.integers("kvmabi_negative", 1)
        types = compiled.integers("kvmabi_type", 1)
        facts = zip(self.constants, values, negative, types, strict=True)
        for (name, ours, c_type), value, below_zero, type_ in facts:
            theirs = value - (1 << 64) if below_zero else value
            comparison.check(self._kind(name), name, "value", ours, theirs)
            if c_type:
                found = _TYPES[type_ - 1] if type_ else "no integer"
                comparison.check("macro types", name, "type", c_type, found)

        for macro in self.strings:
            codes = compiled.integers(f"kvmabi_string_{macro.name}", 1)
            theirs_text = bytes(codes).rstrip(b"\0").decode("utf-8", "replace")
            comparison.check("macros", macro.name, "value", macro.value, theirs_text)

    def _kind(self, name: str) -> str:
        if name in self.abi.ioctls:
            return "ioctls"
        return "enumerator values" if name in self.abi.enumerators else "macros"


def _indices(field: Field) -> str:
    type_ = field.type
    text = ""
    while isinstance(type_, Array):
        text += "[0]"
        type_ = type_.element
    return text


def _array(type_: str, name: str, values: Sequence[str]) -> str:
    lines = "".join(f"\t{value},\n" for value in values)
    return f"const {type_} kvmabi_{name}[] = {{\n{lines}}};\n"
