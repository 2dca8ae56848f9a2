"""What every emulator's process is to us."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kvmabi.lab.machine import emulator
from kvmabi.lab.machine.emulator import Process


@pytest.mark.parametrize("refused", [True, False])
def test_a_network_that_cannot_be_left_is_noticed(monkeypatch, refused: bool) -> None:
    monkeypatch.setattr(emulator, "_libc", SimpleNamespace(unshare=lambda _: -1 if refused else 0))
    process = Process(["true"], [], net=False)
    try:
        assert process.shares_net is refused
    finally:
        process.close()
