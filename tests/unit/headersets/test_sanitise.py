"""Kernel headers made fit for programs, as scripts/headers_install.sh says."""

from __future__ import annotations

import pytest

from kvmabi.headersets.sanitise import sanitise


@pytest.mark.parametrize(
    ("kernel", "program"),
    [
        ("#ifdef __KERNEL__\nint a;\n#endif\nint b;\n", "int b;\n"),
        ("#ifndef __KERNEL__\nint a;\n#endif\n", "int a;\n"),
        ("#ifdef __KERNEL__\nint a;\n#else\nint b;\n#endif\n", "int b;\n"),
        ("#if defined(__KERNEL__) && X\nint a;\n#endif\n", ""),
        ("#if !defined(__KERNEL__) || X\nint a;\n#endif\n", "int a;\n"),
        ("#if defined __EXPORTED_HEADERS__\nint a;\n#endif\n", "int a;\n"),
        ("#ifdef __KERNEL__\n#elif defined(X)\na\n#endif\n", "#if   defined(X)\na\n#endif\n"),
        ("#ifdef __KERNEL__\n#ifdef X\nint a;\n#else\nint b;\n#endif\n#endif\nc\n", "c\n"),
        ("#ifdef X\n#ifdef __KERNEL__\na\n#endif\n#endif\n", "#ifdef X\n#endif\n"),
        ("#include <linux/compiler.h>\n", "\n"),
        ("#include <linux/compiler_types.h>\n", "\n"),
        ("void __user *p;\n", "void *p;\n"),
        ("struct a { int b; } __packed;\n", "struct a { int b; } __attribute__((packed));\n"),
        ("static inline int f(void);\n", "static __inline__ int f(void);\n"),
        ("#ifndef _UAPI__LINUX_X_H\n#endif /* _UAPI__LINUX_X_H */\n",
         "#ifndef __LINUX_X_H\n#endif /* __LINUX_X_H */\n"),
    ],
)  # fmt: skip
def test_what_programs_get(kernel: str, program: str) -> None:
    assert sanitise(kernel) == program


@pytest.mark.parametrize(
    "text",
    [
        "#if defined(__KERNEL__) || defined(X)\nint a;\n#endif\n",
        "#if X(1, 2) && Y\nint a;\n#elif Z\nint b;\n#else\nint c;\n#endif\n",
        "/*\n#ifdef __KERNEL__\n*/\nint a;\n",
        "#define A __packed_thing\n",
        "#ifdef __KERNEL__X\nint a;\n#endif\n",
        "#if __GNUC__ > 4 || (defined(X) && !Y)\nint a;\n#endif\n",
    ],
)
def test_what_no_program_would_see_otherwise_stays(text: str) -> None:
    assert sanitise(text) == text
