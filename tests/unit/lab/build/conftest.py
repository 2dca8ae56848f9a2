"""A tree that looks like a kernel's to the builder, and whose make only copies files."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

ELF = Path(__file__).parents[4] / "kvmabi/guest/exerciser.elf"
MAKEFILE = """\
VERSION = 6
PATCHLEVEL = 1
SUBLEVEL = 9
MODULE := $(O)/virt/kvm/kvm.ko
ORDER := virt/kvm/kvm.ko

.PHONY: allnoconfig bzImage modules
allnoconfig:
	@echo ARCH=$(ARCH) LOCALVERSION=$(LOCALVERSION) KCFLAGS=$(KCFLAGS)
	cat $(KCONFIG_ALLCONFIG) extra.config > $(O)/.config
bzImage: $(O)/arch/x86/boot/bzImage
$(O)/arch/x86/boot/bzImage: image.c
	@grep -qa fine $< || { echo "image.c:1:2: error: not fine"; exit 1; }
	@mkdir -p $(@D)
	cp $< $@
	touch $(O)/System.map $(O)/modules.builtin
modules: $(MODULE)
	echo $(ORDER) > $(O)/modules.order
$(MODULE): virt/kvm/kvm.bin
	@mkdir -p $(@D)
	cp $< $@
"""


def bzimage(banner: str) -> bytes:
    """As much of a kernel's image as tells its release."""
    head = bytearray(1 << 16)
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", head, 0x20E, 0x100)
    head[0x236] = 1
    head[0x300 : 0x300 + len(banner)] = banner.encode()
    return bytes(head)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """The tree; its file image.c must hold the word "fine" to be compiled."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    tree = tmp_path / "source"
    (tree / "virt/kvm").mkdir(parents=True)
    (tree / "Makefile").write_text(MAKEFILE)
    (tree / "image.c").write_bytes(bzimage("6.1.9-bare (fine)"))
    (tree / "extra.config").write_text("")
    shutil.copyfile(ELF, tree / "virt/kvm/kvm.bin")
    return tree
