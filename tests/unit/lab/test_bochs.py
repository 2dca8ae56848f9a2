from __future__ import annotations

from pathlib import Path

from kvmabi.lab.backends import backend
from kvmabi.lab.machine import bochs
from kvmabi.lab.machine.emulator import Machine


def test_the_configuration_says_what_the_back_end_says() -> None:
    machine = Machine(backend("vmx"), Path("k"), memory_mib=512)
    lines = bochs.configuration(machine, cd="/the/cd", console="/the/console").splitlines()
    text = "\n".join(lines)
    assert "model=corei7_haswell_4770," in text
    assert "memory: guest=512, host=512" in lines
    assert "path=/the/cd," in text
    assert "com1: enabled=1, mode=file, dev=/the/console" in lines
    assert "port_e9_hack: enabled=1" in lines
