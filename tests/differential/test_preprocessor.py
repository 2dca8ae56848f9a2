"""Our preprocessor gives the very tokens that clang's gives."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from kvmabi import arch
from kvmabi.errors import HeaderError
from kvmabi.header import HeaderTree, SourceFile
from kvmabi.header.lexer import tokenise
from kvmabi.header.preprocessor import Preprocessor

pytestmark = pytest.mark.usefixtures("tool")  # which skips without a compiler


def clang_tokens(folder, architecture, folders, text):
    (folder / "input.c").write_text(text)
    command = [sys.executable, "-m", "ziglang", "cc", "-target", architecture.zig_target]
    command += ["-E", "-P", "-w", "-nostdinc", "-std=gnu11"]
    command += [part for path in folders for part in ("-isystem", str(path))]
    done = subprocess.run(
        [*command, "input.c"], cwd=folder, capture_output=True, text=True, check=True, timeout=300
    )
    lines = tokenise(SourceFile("clang", done.stdout), limit=1_000_000)
    return [token.text for line in lines for token in line]


@pytest.mark.parametrize("name", arch.ARCHITECTURES)
def test_kvm_h_token_for_token(tree_of, tmp_path, name):
    architecture = arch.ARCHITECTURES[name]
    tree = tree_of(architecture)
    ours = Preprocessor(tree, architecture.predefined)
    ours.include("linux/kvm.h")
    theirs = clang_tokens(tmp_path, architecture, tree.folders, "#include <linux/kvm.h>\n")
    assert [token.text for token in ours.tokens] == theirs
    assert len(theirs) > 2000


NAMES = ["a", "b", "c", "d", "e", "f", "g", "h"]


def random_program(generator):
    """Macros that call each other in all ways, and calls of them, some with too few arguments."""
    lines = []
    functions = {}
    for name in NAMES[4:]:
        functions[name] = generator.randint(1, 2)
    for name in NAMES:
        body = [piece(generator, functions) for _ in range(generator.randint(0, 4))]
        if name in functions:
            parameters = ["x", "y"][: functions[name]]
            body += generator.choices([*parameters, "#x", "x ## 1", "k ## x"], k=2)
            generator.shuffle(body)
            lines.append(f"#define {name}({', '.join(parameters)}) {' '.join(body)}")
        else:
            lines.append(f"#define {name} {' '.join(body)}")
    lines += [f"{piece(generator, functions)} ;" for _ in range(6)]
    return "\n".join(lines) + "\n"


def piece(generator, functions, depth=0):
    choice = generator.randrange(6)
    if choice < 2 or depth > 2:
        return generator.choice(["1", "z", "+", "q", *NAMES[:4]])
    if choice < 4:
        name = generator.choice(list(functions))
        arguments = [piece(generator, functions, depth + 1) for _ in range(functions[name])]
        # What is pasted must make one token, so an argument of one word stands first.
        arguments[0] = generator.choice(["1", "z", *NAMES])
        return f"{name}({', '.join(arguments)})"
    return generator.choice([*NAMES, "(z)", "2"])


def ours_of(text):
    preprocessor = Preprocessor(HeaderTree.of(), ())
    try:
        preprocessor.read(SourceFile("input.c", text))
    except HeaderError:
        return "refused"
    return [token.text for token in preprocessor.tokens]


def clangs_of(folder, text):
    try:
        return clang_tokens(folder, arch.X86, (), text)
    except subprocess.CalledProcessError:
        return "refused"


@pytest.mark.parametrize("seed", range(120))
def test_random_macros(tmp_path, seed):
    text = random_program(random.Random(seed))  # noqa: S311
    assert ours_of(text) == clangs_of(tmp_path, text), text
